//! What a node is told when it is made and when it is reconfigured.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::addr::Domain;
use crate::dialback::Secret;
use crate::dns::{ResolverConfig, Security, SourceAddresses};
use crate::limits;
use crate::policy::HostOptions;
use crate::route::PrivateAddresses;
use crate::tls::Provider;
use crate::tls::verify::Trust;

/// The configuration of a [`Node`](crate::node::Node).
#[derive(Clone, Debug)]
pub struct Config {
    /// The domains that we serve.
    pub hosts: BTreeMap<Domain, HostOptions>,
    /// Makes TLS sessions and knows our certificates.
    pub tls: Arc<dyn Provider>,
    /// What certificates of peers are judged against.
    pub trust: Arc<Trust>,
    /// The secret of our dialback keys, shared by all nodes that serve the same domains.
    pub dialback_secret: Secret,
    /// Which DNS servers to ask, and how. Where its `sources` have a route,
    /// [`outgoing_addresses`](Self::outgoing_addresses) count before what they say.
    pub resolver: ResolverConfig,
    /// Static routes, in place of DNS.
    pub routes: BTreeMap<Domain, StaticRoute>,
    /// The same for all domains below a name, at any depth, but not for that name itself: `[route."*.NAME"]`. Of several
    /// the longest name counts, and a route of the domain itself before all of them.
    pub routes_below: BTreeMap<Domain, StaticRoute>,
    /// Which addresses may be dialled although they are loopback, link-local or private. Static routes are not asked.
    pub private_addresses: PrivateAddresses,
    /// Addresses of our own listeners: a record of DNS that leads there is not followed, so that we do not talk to
    /// ourselves. IPv4 addresses count in either notation. A listener at an unspecified address has to be named by the
    /// addresses that lead to it, such as loopback. Static routes are not compared.
    pub own_listeners: Vec<SocketAddr>,
    /// Addresses of ours to dial from, one of the peer's family, by the number of all dials so far: `s2s_outgoing_addresses`.
    /// Where there is none of that family the system chooses.
    pub outgoing_addresses: Vec<IpAddr>,
    /// Bytes of a stanza from an authenticated peer: `s2s_stanza_size_limit`. Fewer than [`limits::MIN_STANZA_BYTES`]
    /// count as that many.
    pub stanza_bytes: usize,
    /// How much of everything there may be.
    pub limits: Limits,
    /// Whether requests travel before a peer has invited them, to save round trips (decision D-52). On by default; a peer
    /// that cannot bear it is found out, and spoken to in turns.
    pub speak_ahead: bool,
    /// From the lookup to authentication; inbound from the accept: `s2s_timeout`.
    pub negotiation_timeout: Duration,
    /// One candidate, from the dial to features that can be acted on, and the answer to a question about a key:
    /// `s2s_attempt_timeout`.
    pub attempt_timeout: Duration,
    /// From our closing tag to the end of the connection: `s2s_close_timeout`.
    pub close_timeout: Duration,
    /// Without a byte from the peer or a stanza of ours: `s2s_idle_timeout`.
    pub idle_timeout: Duration,
}

impl Config {
    /// A configuration without hosts, with the defaults of [`limits`].
    #[must_use]
    pub fn new(
        tls: Arc<dyn Provider>,
        trust: Arc<Trust>,
        dialback_secret: Secret,
        dns_servers: Vec<SocketAddr>,
    ) -> Self {
        Self {
            hosts: BTreeMap::new(),
            tls,
            trust,
            dialback_secret,
            resolver: ResolverConfig::new(dns_servers),
            routes: BTreeMap::new(),
            routes_below: BTreeMap::new(),
            private_addresses: PrivateAddresses::Never,
            own_listeners: Vec::new(),
            outgoing_addresses: Vec::new(),
            stanza_bytes: limits::STANZA_BYTES,
            limits: Limits::default(),
            speak_ahead: true,
            negotiation_timeout: limits::NEGOTIATION,
            attempt_timeout: limits::ATTEMPT,
            close_timeout: limits::CLOSE,
            idle_timeout: limits::IDLE,
        }
    }

    /// How to resolve, with the addresses as sources that are really dialled from.
    pub(super) fn resolver(&self) -> ResolverConfig {
        let sources = self.resolver.sources.clone().map(|system| -> Arc<dyn SourceAddresses> {
            Arc::new(DialledFrom { outgoing: self.outgoing_addresses.clone(), system })
        });
        ResolverConfig { sources, ..self.resolver.clone() }
    }

    /// The static route that counts for `remote`.
    #[must_use]
    pub fn route(&self, remote: &Domain) -> Option<&StaticRoute> {
        self.routes.get(remote).or_else(|| nearest_above(&self.routes_below, remote))
    }
}

/// Where connections begin: at an address of `outgoing_addresses`, or where the system chooses if there is none of the
/// family. Those of one family take turns, and the first stands for all of them.
#[derive(Debug)]
struct DialledFrom {
    outgoing: Vec<IpAddr>,
    system: Arc<dyn SourceAddresses>,
}

impl SourceAddresses for DialledFrom {
    fn source(&self, destination: IpAddr) -> Option<IpAddr> {
        let chosen = self.system.source(destination)?;
        let named = self.outgoing.iter().find(|from| from.is_ipv4() == destination.is_ipv4());
        Some(named.copied().unwrap_or(chosen))
    }
}

/// What stands in `below` for the nearest name that `domain` is below.
#[must_use]
pub fn nearest_above<'b, T>(below: &'b BTreeMap<Domain, T>, domain: &Domain) -> Option<&'b T> {
    let above = below.iter().filter(|(parent, _)| domain.is_below(parent));
    above.max_by_key(|(parent, _)| parent.as_str().len()).map(|(_, route)| route)
}

/// How much of everything there may be: `[limits]`.
///
/// Any value is taken: zero lets nothing through, or next to nothing, and no number or time is too large to count with.
/// Whether they fit together is not looked at, such as room for all pairs that holds no stanza of the largest size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Inbound connections in all.
    pub connections: usize,
    /// Inbound connections from one address (IPv6: one /64; a /48 may have [`limits::SHARES_PER_SITE`] times as many, here
    /// and wherever something is limited for one address).
    pub connections_per_address: usize,
    /// Inbound connections accepted in one second from one address (IPv6: one /64); what two quiet seconds would have
    /// allowed may come at once.
    pub connection_rate_per_address: u64,
    /// Inbound connections that have proved nothing yet.
    pub unauthenticated: usize,
    /// Inbound streams on which one pair of domains is proved.
    pub streams_per_pair: usize,
    /// Inbound TLS handshakes under way.
    pub handshakes: usize,
    /// Inbound TLS handshakes under way from one address (IPv6: one /64).
    pub handshakes_per_address: usize,
    /// Inbound TLS handshakes begun in one second; what two quiet seconds would have allowed may come at once.
    pub handshake_rate: u64,
    /// The same from one address (IPv6: one /64).
    pub handshake_rate_per_address: u64,
    /// Bytes of stanzas held for one pair, those that its stream has not written yet included, and
    /// [`limits::QUEUED_STANZA_BYTES`] for each. One stanza may always be held.
    pub queue_bytes_per_pair: usize,
    /// The same for all pairs together, without exception.
    pub queue_bytes: usize,
    /// How long a stanza may wait for a stream, or for room on it.
    pub queue_age: Duration,
    /// Dialback verifications pending at once.
    pub verifications: usize,
    /// Bytes a second read from one connection; `None` for no limit.
    pub rate_per_connection: Option<u64>,
    /// Bytes a second read from all connections of one proved domain; `None` for no limit.
    pub rate_per_domain: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: limits::CONNECTIONS,
            connections_per_address: limits::CONNECTIONS_PER_ADDRESS,
            connection_rate_per_address: limits::CONNECTION_RATE_PER_ADDRESS,
            unauthenticated: limits::UNAUTHENTICATED_CONNECTIONS,
            streams_per_pair: limits::STREAMS_PER_PAIR,
            handshakes: limits::HANDSHAKES,
            handshakes_per_address: limits::HANDSHAKES_PER_ADDRESS,
            handshake_rate: limits::HANDSHAKE_RATE,
            handshake_rate_per_address: limits::HANDSHAKE_RATE_PER_ADDRESS,
            queue_bytes_per_pair: limits::QUEUE_BYTES_PER_PAIR,
            queue_bytes: limits::QUEUE_BYTES,
            queue_age: limits::QUEUE_AGE,
            verifications: limits::PENDING_VERIFICATIONS,
            rate_per_connection: None,
            rate_per_domain: None,
        }
    }
}

/// Where a domain is found without DNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaticRoute {
    /// Address and port.
    pub addr: SocketAddr,
    /// How the stream begins there.
    pub security: Security,
}
