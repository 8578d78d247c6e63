//! The server side of XEP-0114 and the table of our hosts, the same way as a node: bytes in, events out.
//!
//! Whatever arrives for one of our hosts goes to its component; hosts without one answer what they must. What a
//! component sends in the name of another host ends its link; what it sends to no address of a domain comes back to it.
//! A component link lives through these states:
//!
//! ```text
//! accept -> ExpectHeader --header--> ExpectHandshake --handshake--> Open --stanzas both ways--+
//!                |                        |                          |                       |
//!                +------ broken rule, timeout, closing tag, end of input, reload ------------+
//!                                         v
//!                                      Closing --the peer's end, or a deadline--> dropped
//! ```
//!
//! - Component protocol: [XEP-0114](https://xmpp.org/extensions/xep-0114.html)
//! - Answers for a bare domain: [RFC 6120 section 10.5](https://www.rfc-editor.org/rfc/rfc6120#section-10.5)

mod answer;
mod config;
mod ending;
mod event;
mod hub;
mod link;
mod route;
mod session;
#[cfg(test)]
mod tests;
mod turned_away;

pub use config::{ComponentSecret, Config, Host};
pub use event::{Command, Event, Measures};
pub use hub::Hub;
