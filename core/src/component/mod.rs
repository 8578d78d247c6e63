//! The server side of XEP-0114 and the table of our hosts, the same way as a node: bytes in, events out.
//!
//! Whatever arrives for one of our hosts goes to its component; hosts without one answer what they must.
//!
//! - Component protocol: [XEP-0114](https://xmpp.org/extensions/xep-0114.html)
//! - Answers for a bare domain: [RFC 6120 section 10.5](https://www.rfc-editor.org/rfc/rfc6120#section-10.5)

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::addr::Domain;
use crate::machine::ConnId;
use crate::reason::Reason;
use crate::stanza::Stanza;

/// The configuration of a [`Hub`].
#[derive(Clone, Debug)]
pub struct Config {
    /// The domains that we serve.
    pub hosts: BTreeMap<Domain, Host>,
    /// Bytes of a stanza from a component.
    pub stanza_bytes: usize,
    /// Bytes that may wait for a component that does not read, beyond which stanzas for it are refused.
    pub output_bytes: usize,
    /// From the accept to the handshake.
    pub handshake_timeout: Duration,
    /// From our closing tag to the end of the connection.
    pub close_timeout: Duration,
}

/// One of our hosts, as the hub sees it.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// The secret that its component must know; `None`: no component may attach.
    pub component_secret: Option<ComponentSecret>,
    /// Contact addresses (XEP-0157), as pairs of field name (`abuse-addresses`) and URI.
    pub contacts: Vec<(String, String)>,
}

/// The secret of a component. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct ComponentSecret(String);

impl ComponentSecret {
    /// The secret as it is configured on both sides.
    #[must_use]
    pub const fn new(secret: String) -> Self {
        Self(secret)
    }
}

impl std::fmt::Debug for ComponentSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ComponentSecret(..)")
    }
}

/// What a hub tells the application.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A stanza of one of our hosts for a remote domain: to be given to a node.
    Outbound(Stanza),
    /// A component attached.
    ComponentUp {
        /// The host that it serves.
        host: Domain,
        /// Its connection.
        conn: ConnId,
        /// Its address.
        addr: SocketAddr,
    },
    /// It is gone.
    ComponentDown {
        /// The host that it served.
        host: Domain,
        /// Its connection.
        conn: ConnId,
        /// Why.
        reason: Reason,
    },
    /// A component, or somebody who claimed to be one, was refused.
    Refused {
        /// The host that it named, if it is one of ours.
        host: Option<Domain>,
        /// Its connection.
        conn: ConnId,
        /// Its address.
        addr: SocketAddr,
        /// Why.
        reason: Reason,
        /// More, for the log only.
        detail: String,
    },
    /// A stanza for one of our hosts was dropped, because no answer may be sent to it.
    Dropped {
        /// The stanza.
        stanza: Stanza,
        /// Why it could not be delivered.
        reason: Reason,
    },
}

/// What the application asks of a hub.
#[derive(Clone, Debug)]
pub enum Command {
    /// A stanza for one of our hosts, from a remote domain.
    Deliver(Stanza),
    /// A stanza that one of our hosts sent could not be delivered: tell its sender.
    Undeliverable(Stanza, Reason),
    /// Take another configuration.
    Reconfigure(Config),
    /// Close all component streams and finish.
    Shutdown,
}
