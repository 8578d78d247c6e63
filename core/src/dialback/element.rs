//! The elements of dialback, read and written: [XEP-0220 section 2](https://xmpp.org/extensions/xep-0220.html#protocol).

use crate::addr::Domain;
use crate::limits;
use crate::ns;
use crate::stanza::StanzaCondition;
use crate::xml::{Element, escape_attribute, escape_text};

/// A dialback element that a peer sent. `from` and `to` are the peer's and ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The domain that the peer speaks for.
    pub from: Domain,
    /// The domain of ours that it speaks to.
    pub to: Domain,
    /// Which of the four messages.
    pub kind: Kind,
}

/// Which of the four messages of dialback, by its step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Step 1: the initiating server sends a key.
    Key(String),
    /// Step 2: the receiving server asks whether a key is right.
    VerifyRequest {
        /// The id of the stream that the key was sent on.
        id: String,
        /// The key.
        key: String,
    },
    /// Step 3: the authoritative server answers.
    VerifyAnswer {
        /// The id of the request.
        id: String,
        /// The answer.
        answer: Answer,
    },
    /// Step 4: the receiving server answers.
    Result(Answer),
}

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The key is right.
    Valid,
    /// It is not.
    Invalid,
    /// It could not be judged. An unknown or missing condition counts as `None`.
    Error(Option<StanzaCondition>),
}

/// Why an element of the dialback namespace is none of the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Malformed {
    /// `from` or `to` is missing or not a domain.
    Addresses,
    /// `id` is missing, empty or too long.
    Id,
    /// The key is empty, too long, or holds elements.
    Key,
    /// Neither `result` nor `verify`.
    Name,
}

impl Message {
    /// Reads an element of the dialback namespace.
    //= XEP0220-6.1-1
    //= RFC7622-4-3
    pub fn read(element: &Element) -> Result<Self, Malformed> {
        let domain =
            |name: &str| element.attribute(name).and_then(|text| Domain::parse(text).ok()).ok_or(Malformed::Addresses);
        let (from, to) = (domain("from")?, domain("to")?);
        let answer = element.attribute("type").map(|value| match value {
            "valid" => Answer::Valid,
            "invalid" => Answer::Invalid,
            _ => Answer::Error(error_condition(element)),
        });
        let kind = match (element.name.as_str(), answer) {
            ("result", None) => Kind::Key(read_key(element)?),
            ("result", Some(answer)) => Kind::Result(answer),
            ("verify", None) => Kind::VerifyRequest { id: read_id(element)?, key: read_key(element)? },
            ("verify", Some(answer)) => Kind::VerifyAnswer { id: read_id(element)?, answer },
            _ => return Err(Malformed::Name),
        };
        Ok(Self { from, to, kind })
    }

    /// The element, from the peer's `to` to its `from`: who reads it sees us as `from`.
    //= XEP0220-2-1
    #[must_use]
    pub fn write(&self) -> String {
        let (from, to) = (self.from.spelled(), self.to.spelled());
        match &self.kind {
            Kind::Key(key) => format!("<db:result from='{from}' to='{to}'>{}</db:result>", escape_text(key)),
            Kind::Result(answer) => format!("<db:result from='{from}' to='{to}'{}", write_answer(*answer, "db:result")),
            Kind::VerifyRequest { id, key } => {
                format!(
                    "<db:verify from='{from}' to='{to}' id='{}'>{}</db:verify>",
                    escape_attribute(id),
                    escape_text(key)
                )
            }
            Kind::VerifyAnswer { id, answer } => format!(
                "<db:verify from='{from}' to='{to}' id='{}'{}",
                escape_attribute(id),
                write_answer(*answer, "db:verify")
            ),
        }
    }
}

fn read_id(element: &Element) -> Result<String, Malformed> {
    match element.attribute("id") {
        Some(id) if !id.is_empty() && id.len() <= limits::STREAM_ID_BYTES => Ok(id.to_owned()),
        _ => Err(Malformed::Id),
    }
}

/// The key, without the line breaks that some senders put around it.
fn read_key(element: &Element) -> Result<String, Malformed> {
    let text = element.text();
    let key = text.trim_matches([' ', '\t', '\r', '\n']);
    if key.is_empty() || key.len() > limits::DIALBACK_KEY_BYTES || element.children().next().is_some() {
        return Err(Malformed::Key);
    }
    Ok(key.to_owned())
}

//= RFC6120-8.3.2-2
//= RFC6120-8.3.2-3
//= RFC6120-8.3.4-1
fn error_condition(element: &Element) -> Option<StanzaCondition> {
    let error = element.children().find(|child| child.name == "error")?;
    error
        .children()
        .filter(|child| child.namespace == ns::STANZA_ERRORS)
        .find_map(|child| StanzaCondition::from_name(&child.name))
}

//= XEP0220-2.5-4
fn write_answer(answer: Answer, name: &str) -> String {
    match answer {
        Answer::Valid => " type='valid'/>".to_owned(),
        Answer::Invalid => " type='invalid'/>".to_owned(),
        Answer::Error(condition) => {
            let condition = condition.unwrap_or(StanzaCondition::InternalServerError);
            format!(
                " type='error'><error type='{}'><{} xmlns='{}'/></error></{name}>",
                condition.error_type().as_str(),
                condition.as_str(),
                ns::STANZA_ERRORS
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::{Attribute, Content};

    fn element(name: &str, attributes: &[(&str, &str)], text: &str) -> Element {
        Element {
            namespace: ns::DIALBACK.to_owned(),
            name: name.to_owned(),
            attributes: attributes
                .iter()
                .map(|(name, value)| Attribute {
                    namespace: String::new(),
                    name: (*name).to_owned(),
                    value: (*value).to_owned(),
                })
                .collect(),
            content: vec![Content::Text(text.to_owned())],
        }
    }

    const PAIR: [(&str, &str); 2] = [("from", "M.example."), ("to", "v.example")];

    #[test]
    //= XEP0220-6.1-1 test
    fn each_of_the_four_messages_is_told_from_the_others() {
        let with = |extra: &[(&str, &str)], name: &str, text: &str| {
            let attributes: Vec<_> = PAIR.iter().chain(extra).copied().collect();
            Message::read(&element(name, &attributes, text)).map(|message| {
                assert_eq!((message.from.as_str(), message.to.as_str()), ("m.example", "v.example"));
                message.kind
            })
        };
        assert_eq!(with(&[], "result", "\n  abc\n"), Ok(Kind::Key("abc".to_owned())));
        assert_eq!(with(&[("type", "valid")], "result", ""), Ok(Kind::Result(Answer::Valid)));
        assert_eq!(with(&[("type", "invalid")], "result", ""), Ok(Kind::Result(Answer::Invalid)));
        for odd in ["VALID", " valid", "true", ""] {
            assert_eq!(with(&[("type", odd)], "result", ""), Ok(Kind::Result(Answer::Error(None))), "{odd}");
        }
        let (id, key) = ("7".to_owned(), "k".to_owned());
        assert_eq!(with(&[("id", "7")], "verify", "k"), Ok(Kind::VerifyRequest { id: id.clone(), key }));
        assert_eq!(
            with(&[("id", "7"), ("type", "valid")], "verify", ""),
            Ok(Kind::VerifyAnswer { id, answer: Answer::Valid })
        );
        assert_eq!(with(&[], "verify", "k"), Err(Malformed::Id));
        assert_eq!(with(&[], "result", "  "), Err(Malformed::Key));
        assert_eq!(with(&[], "result", &"k".repeat(limits::DIALBACK_KEY_BYTES + 1)), Err(Malformed::Key));
        assert_eq!(with(&[], "other", "k"), Err(Malformed::Name));
        assert_eq!(Message::read(&element("result", &PAIR[..1], "k")), Err(Malformed::Addresses));
    }

    fn message(kind: Kind) -> Message {
        let domain = |text: &str| Domain::parse(text).expect(text);
        Message { from: domain("m.example"), to: domain("v.example"), kind }
    }

    fn read_with(name: &str, extra: &[(&str, &str)], text: &str) -> Result<Kind, Malformed> {
        let attributes: Vec<_> = PAIR.iter().chain(extra).copied().collect();
        Message::read(&element(name, &attributes, text)).map(|message| message.kind)
    }

    #[test]
    fn an_id_and_a_key_may_be_as_long_as_their_limit_and_not_empty() {
        let verify = |id: &str| read_with("verify", &[("id", id)], "k").map(|_| ());
        assert_eq!(verify(&"i".repeat(limits::STREAM_ID_BYTES)), Ok(()));
        assert_eq!(verify(&"i".repeat(limits::STREAM_ID_BYTES + 1)), Err(Malformed::Id));
        assert_eq!(verify(""), Err(Malformed::Id));
        assert_eq!(read_with("verify", &[("type", "valid")], ""), Err(Malformed::Id), "an answer needs it too");

        let longest = "k".repeat(limits::DIALBACK_KEY_BYTES);
        assert_eq!(read_with("result", &[], &format!(" {longest} ")), Ok(Kind::Key(longest)));
        assert_eq!(read_with("verify", &[("id", "7")], " "), Err(Malformed::Key));
    }

    #[test]
    fn a_key_that_holds_elements_is_none() {
        let element = element("result", &PAIR, "k").with_child(Element::new(ns::DIALBACK, "x"));
        assert_eq!(Message::read(&element), Err(Malformed::Key));
    }

    #[test]
    //= RFC7622-4-3 test
    fn both_addresses_must_be_domains() {
        for attributes in [&PAIR[1..], &[PAIR[0], ("to", "")], &[PAIR[0], ("to", "a@v.example")]] {
            assert_eq!(Message::read(&element("result", attributes, "k")), Err(Malformed::Addresses));
        }
    }

    #[test]
    //= RFC6120-8.3.2-3 test
    //= RFC6120-8.3.4-1 test
    fn the_condition_of_an_error_is_the_first_known_one_of_its_namespace() {
        let read = |error: Element| {
            let result = element("result", &[PAIR[0], PAIR[1], ("type", "error")], "");
            Message::read(&result.with_child(error)).map(|message| message.kind)
        };
        let error = || Element::new(ns::SERVER, "error");
        let condition = |name: &str| Element::new(ns::STANZA_ERRORS, name);
        let answer = |condition| Ok(Kind::Result(Answer::Error(condition)));
        let not_found = StanzaCondition::ItemNotFound;
        assert_eq!(read(error().with_child(condition("item-not-found"))), answer(Some(not_found)));
        let many = error()
            .with_child(Element::new("urn:example:other", "forbidden"))
            .with_child(condition("text"))
            .with_child(condition("item-not-found"))
            .with_child(condition("forbidden"));
        assert_eq!(read(many), answer(Some(not_found)));
        assert_eq!(read(error().with_child(Element::new("urn:example:other", "forbidden"))), answer(None));
        assert_eq!(read(Element::new(ns::SERVER, "other").with_child(condition("forbidden"))), answer(None));
    }

    #[test]
    //= RFC7622-3.2.1-2 test
    fn messages_name_domains_in_the_form_that_they_were_written_in() {
        let domain = |text: &str| Domain::parse(text).expect(text);
        let message = Message {
            from: domain("b\u{fc}cher.example"),
            to: domain("xn--80a.example"),
            kind: Kind::Result(Answer::Valid),
        };
        assert_eq!(message.write(), "<db:result from='b\u{fc}cher.example' to='xn--80a.example' type='valid'/>");
    }

    #[test]
    //= XEP0220-2.5-4 test
    //= XEP0220-2-1 test
    fn what_is_written_is_this_and_nothing_else() {
        let (id, key) = ("<'7'>".to_owned(), "a<b&c".to_owned());
        let refused = Answer::Error(Some(StanzaCondition::ItemNotFound));
        for (kind, text) in [
            (Kind::Key(key.clone()), "<db:result from='m.example' to='v.example'>a&lt;b&amp;c</db:result>"),
            (Kind::Result(Answer::Valid), "<db:result from='m.example' to='v.example' type='valid'/>"),
            (Kind::Result(Answer::Invalid), "<db:result from='m.example' to='v.example' type='invalid'/>"),
            (
                Kind::Result(refused),
                "<db:result from='m.example' to='v.example' type='error'><error type='cancel'>\
                 <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></db:result>",
            ),
            (
                Kind::Result(Answer::Error(None)),
                "<db:result from='m.example' to='v.example' type='error'><error type='cancel'>\
                 <internal-server-error xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></db:result>",
            ),
            (
                Kind::VerifyRequest { id: id.clone(), key },
                "<db:verify from='m.example' to='v.example' id='&lt;&apos;7&apos;&gt;'>a&lt;b&amp;c</db:verify>",
            ),
            (
                Kind::VerifyAnswer { id: id.clone(), answer: Answer::Valid },
                "<db:verify from='m.example' to='v.example' id='&lt;&apos;7&apos;&gt;' type='valid'/>",
            ),
            (
                Kind::VerifyAnswer { id, answer: refused },
                "<db:verify from='m.example' to='v.example' id='&lt;&apos;7&apos;&gt;' type='error'>\
                 <error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></db:verify>",
            ),
        ] {
            assert_eq!(message(kind).write(), text);
        }
    }
}
