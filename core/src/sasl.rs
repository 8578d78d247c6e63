//! SASL EXTERNAL: its elements, and the authorization identity.
//!
//! No other mechanism exists between servers, in either role.
//!
//! - [RFC 6120 section 6](https://www.rfc-editor.org/rfc/rfc6120#section-6),
//!   [RFC 4422 appendix A](https://www.rfc-editor.org/rfc/rfc4422#appendix-A), [XEP-0178](https://xmpp.org/extensions/xep-0178.html)

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::addr::Domain;
use crate::ns;
use crate::xml::Element;

/// The only mechanism.
pub const EXTERNAL: &str = "EXTERNAL";
/// The server tells that the attempt succeeded. EXTERNAL has no additional data.
//= RFC4422-A.1-5
pub const SUCCESS: &str = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
/// The server asks for the initial response that `auth` did not carry.
//= RFC6120-6.4.3-1
pub const EMPTY_CHALLENGE: &str = "<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";

/// Our attempt, with our own domain as authorization identity (decision D-06).
//= RFC6120-6.3.5-1
//= RFC6120-6.2-1
//= RFC6120-13.5-1
//= RFC6120-13.8.4-1
//= RFC6120-6.3.5-2
//= RFC6120-6.3.8-1
//= RFC6120-6.3.8-3
//= XEP0178-3-4
#[must_use]
pub fn auth(local: &Domain) -> String {
    format!("<auth xmlns='{}' mechanism='{EXTERNAL}'>{}</auth>", ns::SASL, STANDARD.encode(local.spelled().as_bytes()))
}

/// Our answer to a challenge that came although `auth` said everything.
#[must_use]
pub fn response(local: &Domain) -> String {
    format!("<response xmlns='{}'>{}</response>", ns::SASL, STANDARD.encode(local.spelled().as_bytes()))
}

/// A refusal.
#[must_use]
pub fn failure(condition: Failure) -> String {
    format!("<failure xmlns='{}'><{}/></failure>", ns::SASL, condition.as_str())
}

/// What an element of the SASL namespace says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The initiating side gives up its attempt.
    Abort,
    /// The initiating side begins an attempt.
    Auth {
        /// The mechanism, as it was written.
        mechanism: String,
        /// The initial response, if there is one; `=` stands for an empty one.
        response: Option<String>,
    },
    /// The receiving side asks for more. EXTERNAL has nothing more to say.
    Challenge,
    /// The receiving side refuses.
    Failure(Failure),
    /// The initiating side answers a challenge.
    Response(String),
    /// The receiving side accepts.
    Success,
}

impl Message {
    /// The message that `element` is, if it is one.
    #[must_use]
    pub fn of(element: &Element) -> Option<Self> {
        if element.namespace != ns::SASL {
            return None;
        }
        Some(match element.name.as_str() {
            "abort" => Self::Abort,
            "auth" => Self::Auth {
                mechanism: element.attribute("mechanism").unwrap_or_default().to_owned(),
                response: Some(element.text()).filter(|text| !text.is_empty()),
            },
            "challenge" => Self::Challenge,
            "failure" => Self::Failure(element.children().find_map(Failure::of).unwrap_or(Failure::NotAuthorized)),
            "response" => Self::Response(element.text()),
            "success" => Self::Success,
            _ => return None,
        })
    }
}

macro_rules! failures {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Why an attempt failed, [RFC 6120 section 6.5](https://www.rfc-editor.org/rfc/rfc6120#section-6.5).
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Failure { $($(#[$doc])* $variant,)* }

        impl Failure {
            /// The name of the element.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The failure that a child of `failure` names. One that is not known counts as `not-authorized`;
            /// `text` names none.
            //= RFC6120-6.5-1
            fn of(child: &Element) -> Option<Self> {
                match child.name.as_str() {
                    _ if child.namespace != ns::SASL => None,
                    $($name => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

failures! {
    /// The initiating side gave up.
    Aborted = "aborted",
    /// The account is disabled.
    AccountDisabled = "account-disabled",
    /// The credentials have expired.
    CredentialsExpired = "credentials-expired",
    /// TLS is needed first.
    EncryptionRequired = "encryption-required",
    /// The data is not base64.
    IncorrectEncoding = "incorrect-encoding",
    /// The peer may not act as that identity.
    InvalidAuthzid = "invalid-authzid",
    /// The mechanism is missing or not supported.
    InvalidMechanism = "invalid-mechanism",
    /// The request breaks the syntax.
    MalformedRequest = "malformed-request",
    /// Policy wants a stronger mechanism.
    MechanismTooWeak = "mechanism-too-weak",
    /// The credentials do not suffice.
    NotAuthorized = "not-authorized",
    /// Try again later.
    TemporaryAuthFailure = "temporary-auth-failure",
}

/// Judges the authorization identity in a response: empty, or exactly the domain that the certificate proves.
//= RFC6120-6.6-1
//= RFC6120-6.3.8-4
//= RFC6120-13.9.1-1
//= RFC6120-6.3.8-3
//= RFC6120-6.5.5-1
//= RFC6120-6.5.8-1
//= RFC4422-A.1-2
//= RFC4422-A.1-3
//= XEP0178-2-1
//= RFC6120-6.5.6-1
//= RFC6120-13.9.1-2
//= RFC6120-13.9.1-3
pub fn judge_identity(response: &str, proved: &Domain) -> Result<(), Failure> {
    if matches!(response, "" | "=") {
        return Ok(());
    }
    let bytes = STANDARD.decode(response).map_err(|_| Failure::IncorrectEncoding)?;
    let text = String::from_utf8(bytes).map_err(|_| Failure::MalformedRequest)?;
    if text.contains('\0') {
        return Err(Failure::MalformedRequest);
    }
    match Domain::parse(&text) {
        Ok(domain) if domain == *proved => Ok(()),
        _ => Err(Failure::InvalidAuthzid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    //= RFC6120-6.6-1 test
    //= RFC6120-6.3.8-4 test
    //= RFC6120-13.9.1-1 test
    //= RFC6120-6.3.8-3 test
    //= RFC6120-13.9.1-2 test
    //= RFC6120-13.9.1-3 test
    fn only_no_identity_or_the_proved_one_is_accepted() {
        let proved = Domain::parse("m.example").expect("a domain");
        let encode = |text: &str| STANDARD.encode(text);
        for (response, verdict) in [
            (String::new(), Ok(())),
            ("=".to_owned(), Ok(())),
            (encode("m.example"), Ok(())),
            (encode("M.EXAMPLE."), Ok(())),
            (encode("t.example"), Err(Failure::InvalidAuthzid)),
            (encode("a@m.example"), Err(Failure::InvalidAuthzid)),
            (encode("m.example/x"), Err(Failure::InvalidAuthzid)),
            (encode("m.example\0"), Err(Failure::MalformedRequest)),
            ("bS5leGFtcGxl=".to_owned(), Err(Failure::IncorrectEncoding)),
            ("bS5leG FtcGxl".to_owned(), Err(Failure::IncorrectEncoding)),
            ("/w==".to_owned(), Err(Failure::MalformedRequest)),
            ("/x==".to_owned(), Err(Failure::IncorrectEncoding)),
        ] {
            assert_eq!(judge_identity(&response, &proved), verdict, "{response}");
        }
    }

    fn domain() -> Domain {
        Domain::parse("m.example").expect("a domain")
    }

    fn element(name: &str) -> Element {
        Element::new(ns::SASL, name)
    }

    #[test]
    //= RFC6120-6.3.5-2 test
    //= RFC6120-6.3.8-1 test
    //= RFC6120-6.3.8-3 test
    //= XEP0178-3-4 test
    fn what_we_write_carries_our_domain_in_base64() {
        assert_eq!(
            auth(&domain()),
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>bS5leGFtcGxl</auth>"
        );
        assert_eq!(response(&domain()), "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>bS5leGFtcGxl</response>");
        assert_eq!(
            failure(Failure::InvalidAuthzid),
            "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><invalid-authzid/></failure>"
        );
    }

    #[test]
    fn each_element_is_the_message_that_its_name_says() {
        let auth = element("auth").with_attribute("mechanism", "EXTERNAL");
        let mechanism = || "EXTERNAL".to_owned();
        for (element, message) in [
            (element("abort"), Some(Message::Abort)),
            (auth.clone(), Some(Message::Auth { mechanism: mechanism(), response: None })),
            (
                auth.clone().with_text("="),
                Some(Message::Auth { mechanism: mechanism(), response: Some("=".to_owned()) }),
            ),
            (element("auth"), Some(Message::Auth { mechanism: String::new(), response: None })),
            (element("challenge"), Some(Message::Challenge)),
            (element("response").with_text("bS5leGFtcGxl"), Some(Message::Response("bS5leGFtcGxl".to_owned()))),
            (element("response"), Some(Message::Response(String::new()))),
            (element("success"), Some(Message::Success)),
            (element("mechanisms"), None),
            (Element::new(ns::TLS, "abort"), None),
        ] {
            assert_eq!(Message::of(&element), message, "{element:?}");
        }
    }

    #[test]
    //= RFC6120-6.5-1 test
    fn a_failure_that_names_no_known_condition_counts_as_not_authorized() {
        let read = |children: &[Element]| {
            let failure = children.iter().fold(element("failure"), |failure, child| failure.with_child(child.clone()));
            Message::of(&failure)
        };
        let (text, known) = (element("text").with_text("no"), element("temporary-auth-failure"));
        let temporary = Some(Message::Failure(Failure::TemporaryAuthFailure));
        assert_eq!(read(std::slice::from_ref(&known)), temporary);
        assert_eq!(read(&[text.clone(), known]), temporary, "text is no condition");
        let not_authorized = Some(Message::Failure(Failure::NotAuthorized));
        assert_eq!(read(&[]), not_authorized);
        assert_eq!(read(&[text, element("a-condition-of-tomorrow")]), not_authorized);
        assert_eq!(read(&[Element::new(ns::STREAM_ERRORS, "invalid-mechanism")]), not_authorized);
    }

    #[test]
    fn every_condition_that_is_written_reads_as_itself() {
        for condition in [
            Failure::Aborted,
            Failure::AccountDisabled,
            Failure::CredentialsExpired,
            Failure::EncryptionRequired,
            Failure::IncorrectEncoding,
            Failure::InvalidAuthzid,
            Failure::InvalidMechanism,
            Failure::MalformedRequest,
            Failure::MechanismTooWeak,
            Failure::NotAuthorized,
            Failure::TemporaryAuthFailure,
        ] {
            let element = element("failure").with_child(element(condition.as_str()));
            assert_eq!(Message::of(&element), Some(Message::Failure(condition)));
        }
    }
}
