//! The elements of STARTTLS, [RFC 6120 section 5.4](https://www.rfc-editor.org/rfc/rfc6120#section-5.4).

use crate::ns;
use crate::xml::Element;

/// Asks for TLS.
//= RFC6120-5.3.3-1
pub const REQUEST: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
/// Grants it: TLS begins behind the `>`.
pub const PROCEED: &str = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
/// Refuses it. The stream is closed after it.
pub const FAILURE: &str = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";

/// What an element of the STARTTLS namespace says. What stands inside is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// The initiating side asks.
    Request,
    /// The receiving side grants.
    Proceed,
    /// The receiving side refuses.
    Failure,
}

impl Message {
    /// The message that `element` is, if it is one.
    #[must_use]
    pub fn of(element: &Element) -> Option<Self> {
        match element.name.as_str() {
            _ if element.namespace != ns::TLS => None,
            "starttls" => Some(Self::Request),
            "proceed" => Some(Self::Proceed),
            "failure" => Some(Self::Failure),
            _ => None,
        }
    }
}
