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
    #[must_use]
    pub fn write(&self) -> String {
        let (from, to) = (&self.from, &self.to);
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
}
