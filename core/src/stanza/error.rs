//! Error stanzas: conditions, and the answer that a sender gets.

use crate::limits;
use crate::ns;
use crate::reason::Reason;
use crate::stanza::{Head, Stanza};
use crate::xml::{escape_attribute, escape_text};

/// What the sender may do about an error, [RFC 6120 section 8.3.2](https://www.rfc-editor.org/rfc/rfc6120#section-8.3.2).
//= RFC6120-8.3.2-1
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    /// Prove who you are and try again.
    Auth,
    /// Give up.
    Cancel,
    /// Change the stanza and try again.
    Modify,
    /// Wait and try again.
    Wait,
}

macro_rules! conditions {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $type:ident;)*) => {
        /// The conditions that we send, [RFC 6120 section 8.3.3](https://www.rfc-editor.org/rfc/rfc6120#section-8.3.3).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum StanzaCondition { $($(#[$doc])* $variant,)* }

        impl StanzaCondition {
            /// The name of the element.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The type that goes with it.
            #[must_use]
            pub const fn error_type(self) -> ErrorType {
                match self { $(Self::$variant => ErrorType::$type,)* }
            }

            /// The condition of that name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

//= RFC6120-8.3.3.12-1
//= RFC6120-8.3.3.16-1
//= RFC6120-8.3.3.17-1
conditions! {
    /// The stanza is not one that may be answered otherwise.
    BadRequest = "bad-request", Modify;
    /// The other side denied the key of a dialback.
    Forbidden = "forbidden", Auth;
    /// We are at fault.
    InternalServerError = "internal-server-error", Cancel;
    /// The addressed domain is not served.
    ItemNotFound = "item-not-found", Cancel;
    /// The recipient is not an address, or not one that federation has.
    JidMalformed = "jid-malformed", Modify;
    /// Policy of the local side forbids it.
    NotAllowed = "not-allowed", Cancel;
    /// Another proof is demanded.
    NotAuthorized = "not-authorized", Auth;
    /// A rule of local policy was broken.
    PolicyViolation = "policy-violation", Modify;
    /// A connection that was needed could not be opened.
    RemoteConnectionFailed = "remote-connection-failed", Cancel;
    /// The remote server does not exist, or nothing of it could be reached.
    RemoteServerNotFound = "remote-server-not-found", Cancel;
    /// The remote server exists and does not work with us.
    RemoteServerTimeout = "remote-server-timeout", Wait;
    /// There is too much of something.
    ResourceConstraint = "resource-constraint", Wait;
    /// Nobody there answers such stanzas.
    ServiceUnavailable = "service-unavailable", Cancel;
}

impl ErrorType {
    /// The value of the attribute.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Cancel => "cancel",
            Self::Modify => "modify",
            Self::Wait => "wait",
        }
    }
}

impl Stanza {
    /// The error that goes back to the sender for `reason`, or `None` where none may be sent.
    #[must_use]
    pub fn bounce(&self, reason: Reason) -> Option<Self> {
        let mut condition_type = reason.bounce().error_type();
        if matches!(reason, Reason::DnsFailure | Reason::DnsTimeout) {
            condition_type = ErrorType::Wait; // decision D-18: a failed lookup is not an absent domain
        }
        self.error(reason.bounce(), condition_type, Some(reason.bounce_text()))
    }

    /// An error of `condition` in answer to this stanza, or `None` where none may be sent. The payload of
    /// the stanza is not repeated.
    //= RFC6120-8.3.1-2
    //= RFC6120-8.3.1-3
    //= RFC6120-8.3.1-6
    //= RFC6120-12-1
    //= XEP0205-4.5-2
    #[must_use]
    pub fn error(&self, condition: StanzaCondition, error_type: ErrorType, text: Option<&str>) -> Option<Self> {
        self.may_bounce().then(|| self.answer("error", &error_element(condition, error_type, text)))
    }

    /// The error that goes back to the sender of a stanza for `to`, which is no address, or `None` where none may be
    /// sent. It comes from `to`, so that the sender knows what it is about; if that is empty, or longer than any
    /// address, it comes from the recipient of the head (decision D-37).
    //= RFC6120-8.3.3.8-1
    //= RFC7622-4-1
    pub(crate) fn jid_malformed(&self, to: &str) -> Option<Self> {
        let condition = StanzaCondition::JidMalformed;
        let text = "The recipient is not an address of a domain that takes part in federation";
        let from = if (1..=ADDRESS_BYTES).contains(&to.len()) { to } else { self.head.to.as_str() };
        let error = || self.answer_from(from, "error", &error_element(condition, condition.error_type(), Some(text)));
        self.may_bounce().then(error)
    }

    /// The result of an iq, with `payload` (well-formed elements, possibly none) inside.
    #[must_use]
    pub fn result(&self, payload: &str) -> Self {
        self.answer("result", payload)
    }

    fn answer(&self, stanza_type: &str, payload: &str) -> Self {
        self.answer_from(self.head.to.as_str(), stanza_type, payload)
    }

    //= RFC6120-8.1.3-1
    //= RFC6120-8.3.1-4
    fn answer_from(&self, from: &str, stanza_type: &str, payload: &str) -> Self {
        let name = self.head.kind.as_str();
        let mut text = format!(
            "<{name} type='{stanza_type}' to='{}' from='{}'",
            escape_attribute(self.head.from.as_str()),
            escape_attribute(from)
        );
        if let Some(id) = &self.head.id {
            text.push_str(&format!(" id='{}'", escape_attribute(id)));
        }
        if payload.is_empty() {
            text.push_str("/>");
        } else {
            text.push_str(&format!(">{payload}</{name}>"));
        }
        let head = Box::new(Head {
            kind: self.head.kind,
            to: self.head.from.clone(),
            from: self.head.to.clone(),
            id: self.head.id.clone(),
            stanza_type: Some(stanza_type.to_owned()),
        });
        Self { head, bytes: text.into_bytes() }
    }
}

/// Bytes of the longest address: three parts, and what separates them,
/// [RFC 7622 section 3.1](https://www.rfc-editor.org/rfc/rfc7622#section-3.1).
const ADDRESS_BYTES: usize = limits::ADDRESS_PART_BYTES * 3 + 2;

fn error_element(condition: StanzaCondition, error_type: ErrorType, text: Option<&str>) -> String {
    let mut element =
        format!("<error type='{}'><{} xmlns='{}'/>", error_type.as_str(), condition.as_str(), ns::STANZA_ERRORS);
    if let Some(text) = text {
        element.push_str(&format!("<text xmlns='{}' xml:lang='en'>{}</text>", ns::STANZA_ERRORS, escape_text(text)));
    }
    element.push_str("</error>");
    element
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    //= RFC6120-8.3.2-1 test
    //= RFC6120-8.3.3.12-1 test
    //= RFC6120-8.3.3.16-1 test
    //= RFC6120-8.3.3.17-1 test
    fn each_condition_says_what_the_sender_may_do() {
        use StanzaCondition as Condition;
        for (condition, name, error_type) in [
            (Condition::BadRequest, "bad-request", "modify"),
            (Condition::JidMalformed, "jid-malformed", "modify"),
            (Condition::PolicyViolation, "policy-violation", "modify"),
            (Condition::NotAuthorized, "not-authorized", "auth"),
            (Condition::Forbidden, "forbidden", "auth"),
            (Condition::RemoteServerNotFound, "remote-server-not-found", "cancel"),
            (Condition::RemoteServerTimeout, "remote-server-timeout", "wait"),
            (Condition::ResourceConstraint, "resource-constraint", "wait"),
            (Condition::ServiceUnavailable, "service-unavailable", "cancel"),
        ] {
            assert_eq!((condition.as_str(), condition.error_type().as_str()), (name, error_type));
        }
    }

    #[test]
    //= RFC6120-8.1.3-1 test
    //= RFC6120-8.3.1-4 test
    //= RFC6120-8.3.1-6 test
    //= XEP0205-4.5-2 test
    fn an_error_holds_an_error_and_nothing_of_what_caused_it() {
        let text = "<message to='b@b.example' from='a@a.example' id='7'><body>secret</body></message>";
        let bounce = Stanza::parse(text).expect("a stanza").bounce(Reason::StanzaTooBig).expect("an error");
        assert_eq!(
            String::from_utf8_lossy(bounce.bytes()),
            "<message type='error' to='a@a.example' from='b@b.example' id='7'><error type='modify'>\
             <policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
             <text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>The stanza is too big</text>\
             </error></message>"
        );
    }
}
