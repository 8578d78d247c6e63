//! One server of a run: its node, what it has open, and what its operator decided.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use s2s_core::addr::{Domain, Pair};
use s2s_core::auth::Method;
use s2s_core::dialback::Secret;
use s2s_core::entropy::Seed;
use s2s_core::machine::{ConnId, QueryId};
use s2s_core::node::{Config, Direction, Node};
use s2s_core::route::PrivateAddresses;
use s2s_core::time::Anchor;
use s2s_core::tls::Version;
use s2s_core::tls::verify::Trust;

use super::net::WireId;
use super::options::{Decree, Orders};
use super::swarm::{Setup, Swarm};
use crate::certificates::{Authority, Identity, Kind};
use crate::fake_tls::FakeProvider;

/// One process of a site: after a restart the number is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Life {
    pub(super) site: usize,
    pub(super) number: u64,
}

/// A server.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) life: Life,
    /// The domains that it serves.
    pub(super) domains: Vec<usize>,
    pub(super) setup: Setup,
    /// What else its operator decided, for good and for a while. Not while the application takes no events: what they
    /// tell is judged by what counts when they are taken.
    pub(super) orders: Orders,
    pub(super) decree: Option<Decree>,
    /// Whether the domains are not its own.
    pub(super) impostor: bool,
    pub(super) addr: IpAddr,
    /// What its DNS records offer; without any, there is only an address.
    pub(super) starttls: bool,
    pub(super) direct_tls: bool,
    /// What the dialback secret is made of.
    pub(super) secret: u64,
    /// None while it is down.
    pub(super) node: Option<Node>,
    /// Whether not even its machine answers while it is down.
    pub(super) silent: bool,
    /// Connections that the node has.
    pub(super) conns: BTreeMap<ConnId, Place>,
    /// Queries that the node waits for.
    pub(super) asks: BTreeSet<QueryId>,
    /// The last ids that the node has given.
    pub(super) last_dial: Option<ConnId>,
    pub(super) last_ask: Option<QueryId>,
    /// Connections to look at.
    pub(super) woken: BTreeSet<ConnId>,
    /// The deadline that the node asked for, and when its timer fires.
    pub(super) armed: Option<(Instant, Instant)>,
    /// When a timer fired last, and how often at that moment.
    pub(super) timeouts: (Instant, u32),
    /// The wires of connections that it has let go, and its end of each.
    pub(super) past: BTreeMap<ConnId, (WireId, usize)>,
    /// What the node said is up.
    pub(super) up: BTreeMap<(Pair, Direction, ConnId), Shown>,
    /// Whether the application takes no events.
    pub(super) paused: bool,
    pub(super) refuses_until: Instant,
    pub(super) swallows_until: Instant,
    pub(super) wrong_certificate: Option<Kind>,
}

/// What was said of a pair when it came up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    /// How the side that opened the stream was proved.
    pub(super) by: Method,
    /// The version of TLS, if there is any.
    pub(super) tls: Option<Version>,
}

/// Where a connection of a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Dialling,
    Wire { wire: WireId, end: usize },
}

impl Site {
    pub(super) fn new(site: usize, domains: Vec<usize>, setup: Setup, addr: IpAddr, now: Instant) -> Self {
        Self {
            life: Life { site, number: 0 },
            domains,
            setup,
            orders: Orders::default(),
            decree: None,
            impostor: false,
            addr,
            starttls: true,
            direct_tls: false,
            secret: site as u64,
            node: None,
            silent: false,
            conns: BTreeMap::new(),
            asks: BTreeSet::new(),
            last_dial: None,
            last_ask: None,
            woken: BTreeSet::new(),
            armed: None,
            timeouts: (now, 0),
            past: BTreeMap::new(),
            up: BTreeMap::new(),
            paused: false,
            refuses_until: now,
            swallows_until: now,
            wrong_certificate: None,
        }
    }

    /// Begins another life.
    pub(super) fn start(&mut self, config: Config, now: Instant, unix: Duration) {
        self.life.number += 1;
        let mut seed = [0x5e; 32];
        seed[..8].copy_from_slice(&(self.life.site as u64).to_be_bytes());
        seed[8..16].copy_from_slice(&self.life.number.to_be_bytes());
        self.node = Some(Node::new(config, Seed(seed), Anchor { instant: now, unix }));
        self.armed = None;
        self.paused = false;
        self.silent = false;
    }

    /// Ends its life: what was open is the network's affair now.
    pub(super) fn stop(&mut self) -> BTreeMap<ConnId, Place> {
        self.node = None;
        self.life.number += 1;
        self.asks.clear();
        self.woken.clear();
        self.past.clear();
        self.up.clear();
        (self.last_dial, self.last_ask, self.armed) = (None, None, None);
        std::mem::take(&mut self.conns)
    }

    /// The wire of a connection and its end of it, whether or not it has let it go.
    pub(super) fn wire(&self, conn: ConnId) -> Option<(WireId, usize)> {
        let present = self.conns.get(&conn).and_then(|place| match place {
            Place::Wire { wire, end } => Some((*wire, *end)),
            Place::Dialling => None,
        });
        present.or_else(|| self.past.get(&conn).copied())
    }

    /// How its node is configured, but for routes. `names` are those of all domains, `homes` their sites.
    pub(super) fn config(&self, names: &[Domain], homes: &[usize], swarm: &Swarm) -> Config {
        let kind = match self.setup {
            Setup::Bare => None,
            Setup::SelfSigned => Some(Kind::SelfSigned),
            Setup::Strict | Setup::Certified | Setup::Open => Some(self.wrong_certificate.unwrap_or(Kind::Valid)),
        };
        let hosts = || self.domains.iter().map(|domain| names[*domain].clone());
        let chains = kind.map(|kind| hosts().map(|host| (host.clone(), chain(kind, &host))).collect());
        let tls = Arc::new(FakeProvider::new(chains.unwrap_or_default()));
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&self.secret.to_be_bytes());
        let secret = Secret::new(&bytes).expect("long enough");
        let servers = [53, 54].map(|last| SocketAddr::from(([192, 0, 2, last], 53)));
        let mut config = Config::new(tls, trust(), secret, servers.to_vec());
        config.private_addresses = PrivateAddresses::Always;
        config.idle_timeout = swarm.idle;
        config.limits.queue_bytes_per_pair = swarm.queue_bytes;
        self.orders.configure(self, &mut config);
        let options = self.options(names, homes);
        config.hosts = hosts().map(|host| (host, options.clone())).collect();
        config
    }
}

fn authority() -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    AUTHORITY.get_or_init(|| Authority::root("the authority of the simulation"))
}

fn trust() -> Arc<Trust> {
    static TRUST: OnceLock<Arc<Trust>> = OnceLock::new();
    Arc::clone(TRUST.get_or_init(|| Arc::new(authority().trust())))
}

/// The chain of a certificate of this kind for a domain.
fn chain(kind: Kind, domain: &Domain) -> Vec<Vec<u8>> {
    static KNOWN: Mutex<BTreeMap<(Kind, String), Identity>> = Mutex::new(BTreeMap::new());
    // They are the same in all runs, and made once.
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let identity = known.entry((kind, domain.to_string()));
    identity.or_insert_with(|| authority().issue_kind(kind, domain)).chain.clone()
}
