//! Stanzas: what is known of one without building a tree, and the rules for its addresses.
//!
//! - Addresses: [RFC 6120 section 8.1](https://www.rfc-editor.org/rfc/rfc6120#section-8.1)
//! - Errors: [RFC 6120 section 8.3](https://www.rfc-editor.org/rfc/rfc6120#section-8.3)

mod error;
mod payload;

use std::fmt;

use crate::addr::{Address, Pair};
use crate::limits;
use crate::ns;
use crate::xml::{Bounds, Frame, Framer, StanzaFrame, StanzaKind, XmlError};

pub use error::{ErrorType, StanzaCondition};
pub use payload::NoPayload;

/// A stanza: its head, and its bytes.
///
/// The bytes are one element in the *neutral* content namespace: the stanza element, and those of its
/// descendants that belong to the same content namespace through an unbroken chain, carry no declaration, so
/// that the same bytes are right in a `jabber:server` and in a `jabber:component:accept` stream
/// ([RFC 6120 section 4.8.3](https://www.rfc-editor.org/rfc/rfc6120#section-4.8.3)).
#[derive(Clone, PartialEq, Eq)]
pub struct Stanza {
    head: Box<Head>,
    bytes: Vec<u8>,
}

/// What routing needs to know of a stanza.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Message, presence or iq.
    pub kind: StanzaKind,
    /// The recipient.
    pub to: Address,
    /// The sender.
    pub from: Address,
    /// The `id`, if there is one.
    pub id: Option<String>,
    /// The `type`, if there is one.
    pub stanza_type: Option<String>,
}

impl Stanza {
    /// Judges the addresses of what the framer read.
    //= RFC6120-8.1.1.2-2
    //= RFC6120-8.1.2.2-2
    //= RFC6120-10.3-1
    //= RFC7622-4-1
    //= RFC7622-4-3
    pub fn from_frame(frame: StanzaFrame) -> Result<Self, Improper> {
        let to = Address::parse(frame.to.as_deref().ok_or(Improper::NoTo)?).map_err(|_| Improper::To)?;
        Self::addressed(frame, to)
    }

    /// Judges the sender alone: the recipient is `to`, whatever the frame says.
    pub(crate) fn addressed(frame: StanzaFrame, to: Address) -> Result<Self, Improper> {
        let from = Address::parse(frame.from.as_deref().ok_or(Improper::NoFrom)?).map_err(|_| Improper::From)?;
        let head = Box::new(Head { kind: frame.kind, to, from, id: frame.id, stanza_type: frame.stanza_type });
        Ok(Self { head, bytes: frame.bytes })
    }

    /// Reads one stanza from `text`, an element that belongs to the content namespace unless it says otherwise: the
    /// way in for applications that write stanzas themselves.
    //= RFC6120-8.1.1.2-1
    //= RFC6120-8.1.2.2-1
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let bounds = Bounds {
            element_bytes: limits::STANZA_BYTES,
            depth: limits::ELEMENT_DEPTH,
            children: limits::STANZA_CHILDREN,
        };
        let mut framer = Framer::new(ns::SERVER, bounds);
        let mut header = PARSE_HEADER.as_bytes();
        framer.next(&mut header).map_err(ParseError::Xml)?;
        let mut bytes = text.as_bytes();
        let frame = framer.next(&mut bytes).map_err(ParseError::Xml)?;
        match (frame, bytes.trim_ascii().is_empty()) {
            (Some(Frame::Stanza(frame)), true) => Self::from_frame(frame).map_err(ParseError::Improper),
            _ => Err(ParseError::NotOneStanza),
        }
    }

    /// What routing needs to know.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The element, in the neutral content namespace.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The pair that an outgoing stanza belongs to.
    #[must_use]
    pub fn outbound_pair(&self) -> Pair {
        Pair::new(self.head.from.domain().clone(), self.head.to.domain().clone())
    }

    /// The pair that an incoming stanza belongs to.
    #[must_use]
    pub fn inbound_pair(&self) -> Pair {
        Pair::new(self.head.to.domain().clone(), self.head.from.domain().clone())
    }

    /// Whether an error may be sent in answer: never to an error
    /// ([RFC 6120 section 8.3.1](https://www.rfc-editor.org/rfc/rfc6120#section-8.3.1)), never to the result of an iq
    /// ([section 8.2.3](https://www.rfc-editor.org/rfc/rfc6120#section-8.2.3)). Elsewhere `result` means nothing: a
    /// message of that type is a message like any other.
    //= RFC6120-8.3.1-7
    //= RFC6120-8.2.3-3
    #[must_use]
    pub fn may_bounce(&self) -> bool {
        match self.head.stanza_type.as_deref() {
            Some("error") => false,
            Some("result") => self.head.kind != StanzaKind::Iq,
            _ => true,
        }
    }
}

impl fmt::Debug for Stanza {
    /// The head only: payloads do not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stanza").field("head", &self.head).field("bytes", &self.bytes.len()).finish()
    }
}

/// The stream that [`Stanza::parse`] reads its text in.
const PARSE_HEADER: &str = "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams'>";

/// Why a text is not a stanza.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseError {
    /// An address is missing or malformed.
    Improper(Improper),
    /// It is another element, or there is more, or less, than one.
    NotOneStanza,
    /// It is not the XML of a stream.
    Xml(XmlError),
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Improper(_) => f.write_str("an address of the stanza is missing or malformed"),
            Self::NotOneStanza => f.write_str("this is not one stanza"),
            Self::Xml(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ParseError {}

/// Which address of a stanza is missing or malformed: the stream error is `improper-addressing`,
/// [RFC 6120 section 4.9.3.7](https://www.rfc-editor.org/rfc/rfc6120#section-4.9.3.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Improper {
    /// `from` is not an address.
    From,
    /// There is no `from`.
    NoFrom,
    /// There is no `to`.
    NoTo,
    /// `to` is not an address.
    To,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Reason;

    #[test]
    //= RFC6120-8.1.1.2-1 test
    //= RFC6120-8.1.2.2-1 test
    fn a_text_is_one_stanza_or_says_why_not() {
        let stanza = Stanza::parse(
            "<message xmlns='jabber:server' to='a@b.example' from='c.example'><body>1</body></message>\n",
        );
        let stanza = stanza.expect("a stanza");
        assert_eq!(stanza.bytes(), b"<message to='a@b.example' from='c.example'><body>1</body></message>");
        assert_eq!(stanza.outbound_pair().remote.as_str(), "b.example");
        for (text, error) in [
            ("<message from='c.example'/>", ParseError::Improper(Improper::NoTo)),
            ("<message to='b.example' from='@c.example'/>", ParseError::Improper(Improper::From)),
            ("<message to='b.example' from='c.example'/><iq/>", ParseError::NotOneStanza),
            ("<message to='b.example' from='c.example'>", ParseError::NotOneStanza),
            ("<other xmlns='urn:x'/>", ParseError::NotOneStanza),
            ("", ParseError::NotOneStanza),
        ] {
            assert_eq!(Stanza::parse(text), Err(error), "{text}");
        }
        assert!(matches!(Stanza::parse("<message></iq>"), Err(ParseError::Xml(_))));
    }

    #[test]
    //= RFC6120-8.3.1-7 test
    //= RFC6120-8.2.3-3 test
    fn errors_and_results_of_iq_have_no_answer_and_a_result_of_another_kind_is_none() {
        for (start, answered) in [
            ("iq type='get'", true),
            ("iq type='set'", true),
            ("iq type='result'", false),
            ("iq type='error'", false),
            ("message", true),
            ("message type='result'", true),
            ("message type='error'", false),
            ("presence", true),
            ("presence type='result'", true),
            ("presence type='error'", false),
        ] {
            let stanza = Stanza::parse(&format!("<{start} to='b.example' from='c.example'/>")).expect("a stanza");
            assert_eq!(stanza.may_bounce(), answered, "{start}");
            assert_eq!(stanza.bounce(Reason::QueueFull).is_some(), answered, "{start}");
        }
    }
}
