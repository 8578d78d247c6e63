//! What a hub tells the application, and what the application asks of it.

use std::net::SocketAddr;

use crate::addr::Domain;
use crate::component::Config;
use crate::machine::ConnId;
use crate::reason::Reason;
use crate::stanza::Stanza;

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
    /// Connections were turned away: too many are attached to no host ([`limits::UNATTACHED_COMPONENTS`]). Told at once
    /// for the first one, then for those of a second together.
    ///
    /// [`limits::UNATTACHED_COMPONENTS`]: crate::limits::UNATTACHED_COMPONENTS
    TurnedAway {
        /// The address of the last of them.
        addr: SocketAddr,
        /// How many were turned away since this was last told.
        times: u64,
    },
    /// How much there is of everything, as was asked for.
    Measured(Measures),
    /// A stanza for one of our hosts went back to its sender as an error, which follows: as [`Event::Outbound`], or to a
    /// component. So did one that a component addressed to what is no address of a domain ([`Reason::Malformed`]).
    Returned {
        /// The domain that it was for; if that is none, the sender's.
        host: Domain,
        /// The domain that sent it.
        sender: Domain,
        /// Why.
        reason: Reason,
    },
    /// A stanza for one of our hosts was dropped, because no answer may be sent to it. So was one that a component
    /// addressed to what is no address of a domain ([`Reason::Malformed`]), or one of ours that could not be sent
    /// ([`Command::Undeliverable`]), if no answer may be sent to it or its component takes none.
    Dropped {
        /// The stanza. If its recipient is no address, the head has the sender's domain in its place.
        stanza: Stanza,
        /// Why it could not be delivered.
        reason: Reason,
    },
}

/// How much there is of everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Measures {
    /// Components that are attached.
    pub attached: usize,
    /// Connections that are attached to no host: before the handshake, or closing.
    pub unattached: usize,
    /// Bytes that wait for components.
    pub pending_bytes: usize,
}

/// What the application asks of a hub.
#[derive(Clone, Debug)]
pub enum Command {
    /// A stanza for one of our hosts, from a remote domain. Whoever gives it has judged that the sender is who it says.
    Deliver(Stanza),
    /// A stanza that one of our hosts sent could not be delivered: tell its sender.
    Undeliverable(Stanza, Reason),
    /// Tell how much there is of everything, by [`Event::Measured`].
    Measure,
    /// Take another configuration. The component of a host that it no longer has is closed with `host-gone`, that of
    /// a host with another secret with `reset`, so that it proves itself anew; the others go on.
    Reconfigure(Config),
    /// Close all component streams and finish.
    Shutdown,
}
