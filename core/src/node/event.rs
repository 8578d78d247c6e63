//! What a node tells the application, and what the application asks of it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::addr::{Domain, Pair};
use crate::auth::Method;
use crate::machine::ConnId;
use crate::node::{Bound, Config, Measures};
use crate::reason::Reason;
use crate::stanza::Stanza;
use crate::tls::Version;

/// Which side opened a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// The peer.
    Inbound,
    /// We.
    Outbound,
}

impl Direction {
    /// `in` or `out`, as in logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "in",
            Self::Outbound => "out",
        }
    }
}

/// What is known of the connection that something happened on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkInfo {
    /// Its name.
    pub conn: ConnId,
    /// The other end.
    pub addr: SocketAddr,
    /// Who opened it.
    pub direction: Direction,
    /// Version and cipher suite, if it is encrypted.
    pub tls: Option<(Version, &'static str)>,
    /// SHA-256 of the certificate that the peer showed, whatever it is worth.
    pub certificate: Option<[u8; 32]>,
    /// Since it was accepted, or since the attempt to reach the peer began.
    pub age: Duration,
}

/// What a node tells the application.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A stanza for one of our domains, from a peer that proved itself for its sender's.
    Stanza {
        /// The domains of recipient and sender.
        pair: Pair,
        /// The stanza.
        stanza: Stanza,
    },
    /// A stanza of ours that was not delivered. Each comes back once at most, and not if a connection broke with it
    /// ([`Uncertain`](Self::Uncertain)).
    Undeliverable {
        /// The domains of sender and recipient.
        pair: Pair,
        /// The stanza.
        stanza: Stanza,
        /// Why.
        reason: Reason,
    },
    /// Stanzas can now flow in this direction.
    PeerUp {
        /// The pair.
        pair: Pair,
        /// How the entity that opened the stream was proved to the other: inbound the peer to us, outbound we to the peer.
        /// Outbound it does not say what the peer has shown: what it had to show is a matter of
        /// [policy](crate::policy::HostOptions).
        by: Method,
        /// Over which connection.
        link: LinkInfo,
    },
    /// A pair is up on a connection on which the domain has shown a certificate that it has not shown before, while others
    /// are remembered: a renewal, another of its servers, or somebody in between. On a stream that we opened it need not
    /// have proved itself by it. A [`PeerUp`](Self::PeerUp) goes before.
    CertificateChanged {
        /// The pair.
        pair: Pair,
        /// The connection, with the certificate of now.
        link: LinkInfo,
        /// SHA-256 of the certificate that the domain showed last.
        before: [u8; 32],
    },
    /// Stanzas can no longer flow in this direction. Once for each `PeerUp`.
    PeerDown {
        /// The pair.
        pair: Pair,
        /// The direction.
        direction: Direction,
        /// Why.
        reason: Reason,
        /// The connection.
        conn: ConnId,
    },
    /// Stanzas of ours were wholly written to a connection that broke, and nothing shows whether they have arrived
    /// ([`Reason::DeliveryUncertain`]). They are not sent again, and not returned. A peer that goes down with an error,
    /// as a node does on [`Command::Shutdown`], leaves us as uncertain as one that vanishes: only its own closing tag,
    /// in good order, shows that it has processed what came before.
    Uncertain {
        /// The domains of senders and recipients.
        pair: Pair,
        /// The connection.
        conn: ConnId,
        /// How many.
        stanzas: u64,
    },
    /// Connections were turned away because a limit is reached ([`Reason::Limit`]). Told at once for the first one, then
    /// for those of a second together.
    TurnedAway {
        /// The limit.
        bound: Bound,
        /// How many it turned away since this was last told for it.
        times: u64,
        /// The last of them.
        addr: SocketAddr,
    },
    /// How much there is of everything, as was asked for.
    Measured(Measures),
    /// A stream, a pair or an attempt to reach a peer was refused or failed, by us or by the peer.
    Refused {
        /// Our domain, where one was named.
        local: Option<Domain>,
        /// The peer's domain, where one was named; not proved.
        remote: Option<Domain>,
        /// The connection, if there was one.
        link: Option<LinkInfo>,
        /// Which way the stream would have gone.
        direction: Direction,
        /// Why.
        reason: Reason,
        /// More, for the log only: bounded; of the peer's making, so to be escaped.
        detail: String,
    },
}

/// What the application asks of a node.
#[derive(Clone, Debug)]
pub enum Command {
    /// Send a stanza from one of our domains to a remote one.
    Send(Stanza),
    /// Tell how much there is of everything, by [`Event::Measured`].
    Measure,
    /// A remote domain has proved itself to another node that serves the same hosts ([`Event::PeerUp`], inbound). If it has
    /// failed here, the wait ends as if it had proved itself to this node.
    SignOfLife {
        /// The pair.
        pair: Pair,
        /// Where the connection came from.
        from: IpAddr,
    },
    /// Take another configuration.
    Reconfigure(Box<Config>),
    /// Close all streams with `system-shutdown` and finish: what waits comes back as [`Event::Undeliverable`], and
    /// [`is_finished`](crate::machine::Machine::is_finished) turns true when the last connection is gone, after
    /// twice [`Config::close_timeout`] at the latest. Events go on to be raised until then.
    Shutdown,
}
