//! One XML stream's negotiation, initiating or receiving, as states that hold only what is true in them.
//!
//! A stream takes frames and commands, and writes bytes and events. It knows no TLS, no sockets and no policy:
//! where policy decides, it raises an event, says [`Flow::Undecided`], and is given no further frame until the
//! command has come ([RFC 6120 section 10.1](https://www.rfc-editor.org/rfc/rfc6120#section-10.1)).
//!
//! ```text
//!  initiating                             receiving
//!  header          ---------------------> HeaderReceived -> offer | refuse
//!  FeaturesReceived <-------------------- header, features
//!    -> starttls   ---------------------> StartTlsRequested -> proceed | refuse     both forget what they learned
//!    -> external   ---------------------> success | failure               success: both restart
//!    -> send_key   ---------------------> KeyReceived -> answer_key
//!    -> send_verify ---------------------> VerifyReceived -> answer_verify
//! ```

mod error;
mod features;
mod header;
mod initiating;
mod receiving;

use std::collections::VecDeque;

pub use error::{Condition, StreamError};
pub use features::Features;
pub use header::{Header, Version};
pub use initiating::{Ahead, Initiating, InitiatingEvent};
pub use receiving::{KeyOutcome, Receiving, ReceivingEvent};

pub(crate) use header::{CLOSING, error as write_error};

use crate::limits;
use crate::ns;
use crate::xml::Element;

/// Where a stream puts what it produces.
#[derive(Debug)]
pub struct Sink<'a, E> {
    /// Bytes for the peer.
    pub wire: &'a mut Vec<u8>,
    /// Events for the owner.
    pub events: &'a mut VecDeque<E>,
}

impl<E> Sink<'_, E> {
    fn write(&mut self, text: &str) {
        self.wire.extend_from_slice(text.as_bytes());
    }
}

/// How to go on after a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flow {
    /// With the next frame.
    Continue,
    /// An event waits for its command: no frame before that.
    Undecided,
    /// Every byte behind this frame is TLS.
    StartTls,
    /// STARTTLS was answered with a failure, by us or by the peer: the stream is closed.
    StartTlsRefused,
    /// The next byte begins a new document.
    Restart,
    /// The peer closed the stream.
    Closed,
    /// The peer closed the stream with an error.
    Failed(PeerError),
}

/// The error with which a peer ended a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerError {
    /// The condition; an unknown one counts as `undefined-condition`.
    pub condition: Condition,
    /// The text, cut to [`limits::ERROR_TEXT_BYTES`]. For people; never interpreted.
    pub text: String,
}

/// The error for a first-level element that nothing waits for: a stanza of another kind of stream, or something unknown.
//= RFC6120-4.8.3-2
//= RFC6120-4.8.4-1
//= RFC6120-4.8.4-2
fn unexpected(element: &Element) -> StreamError {
    match element.name.as_str() {
        "iq" | "message" | "presence" => StreamError::InvalidNamespace,
        _ => StreamError::UnexpectedElement,
    }
}

impl PeerError {
    //= RFC6120-4.9.2-2
    //= RFC6120-4.9.2-5
    fn read(element: &Element) -> Option<Self> {
        if !element.is(ns::STREAMS, "error") {
            return None;
        }
        let mut conditions =
            element.children().filter(|child| child.namespace == ns::STREAM_ERRORS && child.name != "text");
        let condition =
            conditions.next().map_or(Condition::UndefinedCondition, |child| Condition::from_name(&child.name));
        let mut text = element.child(ns::STREAM_ERRORS, "text").map(Element::text).unwrap_or_default();
        let mut end = text.len().min(limits::ERROR_TEXT_BYTES);
        while !text.is_char_boundary(end) {
            end = end.saturating_sub(1);
        }
        text.truncate(end);
        Some(Self { condition, text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Reason;

    #[test]
    fn the_condition_of_a_peer_is_the_element_of_its_namespace_that_is_no_text_wherever_it_stands() {
        let defined = |name: &str| Element::new(ns::STREAM_ERRORS, name);
        let text = || defined("text").with_text("because");
        let of_an_application = || Element::new("urn:example:errors", "conflict");
        let error = || Element::new(ns::STREAMS, "error");
        for (element, condition, because) in [
            (error().with_child(text()).with_child(defined("reset")), Condition::Reset, "because"),
            (error().with_child(of_an_application()).with_child(defined("reset")), Condition::Reset, ""),
            (error().with_child(text()).with_child(of_an_application()), Condition::UndefinedCondition, "because"),
            (error(), Condition::UndefinedCondition, ""),
        ] {
            let read = PeerError::read(&element);
            assert_eq!(read, Some(PeerError { condition, text: because.to_owned() }), "{element:?}");
        }
        assert_eq!(PeerError::read(&of_an_application()), None);
    }

    #[test]
    fn whoever_speaks_no_version_that_knows_starttls_is_refused_for_want_of_encryption() {
        let error = StreamError::UnsupportedVersion;
        assert_eq!(error.reason(), Reason::EncryptionRequired);
        assert_eq!(error.text(), Some("Encryption is required, and needs version 1.0"));
    }
}
