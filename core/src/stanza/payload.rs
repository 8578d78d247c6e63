//! The payload of an iq that is addressed to ourselves: the only case in which a stanza becomes a tree.

use std::fmt;

use crate::limits;
use crate::ns;
use crate::stanza::Stanza;
use crate::xml::{Bounds, Content, Element, Frame, Framer};

/// Why an iq has no payload to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoPayload {
    /// A request has exactly one child element; this one has none, or more, or text beside it.
    NotOne,
    /// More than a request that we would answer ever holds. Nothing was judged.
    TooBig,
}

impl fmt::Display for NoPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotOne => "a request has exactly one child element",
            Self::TooBig => "the request is larger than any that is answered",
        })
    }
}

impl std::error::Error for NoPayload {}

/// What the stanza is wrapped in, so that the framer reads a tree: for it, an element of the stream namespace is no stanza.
const BEFORE: &str = "<stream:payload>";
const AFTER: &str = "</stream:payload>";

impl Stanza {
    /// The single child element of a request, [RFC 6120 section 8.2.3](https://www.rfc-editor.org/rfc/rfc6120#section-8.2.3).
    ///
    /// What a peer may make us allocate here is bounded as if it were not authenticated.
    //= RFC6120-8.2.3-4
    pub fn payload(&self) -> Result<Element, NoPayload> {
        if self.bytes.len() > limits::UNAUTHENTICATED_ELEMENT_BYTES {
            return Err(NoPayload::TooBig);
        }
        let around = BEFORE.len().saturating_add(AFTER.len());
        let bounds = Bounds {
            element_bytes: limits::UNAUTHENTICATED_ELEMENT_BYTES.saturating_add(around),
            depth: limits::ELEMENT_DEPTH + 1,
            children: limits::UNAUTHENTICATED_CHILDREN,
        };
        let header = format!("<stream:stream xmlns='{}' xmlns:stream='{}'>", ns::SERVER, ns::STREAMS);
        let document = [header.as_bytes(), BEFORE.as_bytes(), &self.bytes, AFTER.as_bytes()].concat();
        let mut rest = document.as_slice();
        let mut framer = Framer::new(ns::SERVER, bounds);
        // The bytes were written by our own writer, so that the only way to fail is a bound.
        while let Some(frame) = framer.next(&mut rest).map_err(|_| NoPayload::TooBig)? {
            let Frame::Element(wrapper) = frame else { continue };
            let iq = only_child(wrapper).ok_or(NoPayload::NotOne)?;
            return only_child(iq).ok_or(NoPayload::NotOne);
        }
        Err(NoPayload::TooBig)
    }
}

/// The child of `parent`, if there is exactly one and nothing but white space beside it.
fn only_child(parent: Element) -> Option<Element> {
    let mut only = None;
    for content in parent.content {
        match content {
            Content::Element(child) if only.is_none() => only = Some(child),
            Content::Text(text) if text.trim_matches([' ', '\t', '\r', '\n']).is_empty() => {}
            Content::Element(_) | Content::Text(_) => return None,
        }
    }
    only
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Address;
    use crate::stanza::Head;
    use crate::xml::StanzaKind;

    fn iq(inside: &str) -> Stanza {
        let address = |text| Address::parse(text).expect(text);
        let head = Head {
            kind: StanzaKind::Iq,
            to: address("a.example"),
            from: address("u@m.example"),
            id: None,
            stanza_type: Some("get".to_owned()),
        };
        Stanza {
            head: Box::new(head),
            bytes: format!("<iq type='get' to='a.example' from='u@m.example'>{inside}</iq>").into_bytes(),
        }
    }

    #[test]
    //= RFC6120-8.2.3-4 test
    fn a_request_has_exactly_one_child() {
        let ping = iq("\n <ping xmlns='urn:xmpp:ping' x='1'><deep/></ping>\n").payload().expect("one child");
        assert!(ping.is(ns::PING, "ping"));
        assert_eq!(ping.attribute("x"), Some("1"));
        for inside in ["", " ", "text", "<a xmlns='u'/><b xmlns='u'/>", "<a xmlns='u'/>text"] {
            assert_eq!(iq(inside).payload(), Err(NoPayload::NotOne), "{inside}");
        }
    }

    #[test]
    fn a_child_in_the_neutral_namespace_is_a_child() {
        assert!(iq("<query/>").payload().expect("one child").is(ns::SERVER, "query"));
    }

    #[test]
    fn a_child_may_be_as_deep_in_its_request_as_any_element() {
        let deep = |levels: usize| {
            let inside = format!("{}{}", "<a xmlns='u'>".repeat(levels), "</a>".repeat(levels));
            iq(&inside).payload().map(|element| element.name)
        };
        assert_eq!(deep(limits::ELEMENT_DEPTH - 1), Ok("a".to_owned()), "the request is a level itself");
        assert_eq!(deep(limits::ELEMENT_DEPTH), Err(NoPayload::TooBig));
    }

    #[test]
    fn no_tree_is_built_of_what_is_too_big() {
        let long = format!("<ping xmlns='urn:xmpp:ping'>{}</ping>", " ".repeat(limits::UNAUTHENTICATED_ELEMENT_BYTES));
        assert_eq!(iq(&long).payload(), Err(NoPayload::TooBig));
        let many = format!("<ping xmlns='urn:xmpp:ping'>{}</ping>", "<a/>".repeat(limits::UNAUTHENTICATED_CHILDREN));
        assert_eq!(iq(&many).payload(), Err(NoPayload::TooBig));
    }
}
