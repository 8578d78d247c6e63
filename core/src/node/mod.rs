//! The node: all that an adapter sees of server-to-server federation.
//!
//! It owns links, routes, the resolver, pending verifications and deadlines, and joins them: what one raises, another
//! is told, until nothing is left to say. See the [crate's guide](crate) for the contract, and
//! [`Machine`](crate::machine::Machine) for the calls.

mod admission;
mod ahead;
mod certificates;
mod config;
mod deadlines;
mod dialling;
mod event;
mod inbound;
mod measures;
mod outbound;
mod rates;
mod reload;
mod retained;
mod routes;
mod settle;
mod turns;
mod verify;

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::addr::{Domain, Pair};
use crate::auth::Method;
use crate::dns::{Behalf, LookupId, Resolver};
use crate::entropy::{Entropy, Seed};
use crate::limits;
use crate::link::{Link, Settings};
use crate::machine::{ConnId, Effect};
use crate::rate::TokenBucket;
use crate::reason::Reason;
use crate::route::{Backoff, Peers, Route};
use crate::time::{Anchor, later};
use crate::tls::verify::{Rejection, Trust, Verified, fingerprint, judge};

pub use admission::Bound;
pub use config::{Config, Limits, StaticRoute, nearest_above};
pub use event::{Command, Direction, Event, LinkInfo};
pub use measures::{Measures, Totals};
pub use routes::SendError;

use admission::{Admission, TurnedAway};
use certificates::Certificates;
use deadlines::Deadlines;
use measures::Recent;
use rates::DomainRates;
use verify::{HeldKey, Verification};

/// Server-to-server federation for a set of domains, without I/O.
#[derive(Debug)]
pub struct Node {
    config: Config,
    entropy: Entropy,
    anchor: Anchor,
    last_id: u64,
    links: BTreeMap<ConnId, Box<Connected>>,
    routes: BTreeMap<Pair, Route>,
    /// When routes were last searched for streams that may be closed to make room.
    routes_swept: Option<Instant>,
    verifications: BTreeMap<VerificationId, Verification>,
    /// Keys that wait for one of those.
    held_keys: Vec<HeldKey>,
    resolver: Resolver,
    lookups: BTreeMap<LookupId, Errand>,
    backoff: Backoff,
    peers: Peers,
    certificates: Certificates,
    admission: Admission,
    turned_away: TurnedAway,
    totals: Totals,
    /// Routes over which nothing but answers to peers has gone.
    answering: usize,
    /// Connections that we are opening.
    opening: usize,
    /// Read rates of proved domains, where there is a limit.
    rates: DomainRates,
    /// Bytes that wait in all queues, and in links whose peers have not taken them yet.
    queued_bytes: usize,
    deadlines: Deadlines,
    effects: VecDeque<Effect>,
    events: VecDeque<Event>,
    /// Links in which something happened since the node was last settled.
    dirty: BTreeSet<ConnId>,
    /// Links with stanzas for which the application has no room yet, in the order of their turns.
    turns: VecDeque<ConnId>,
    /// Stanzas that may be taken in turn before the adapter has looked at its sockets.
    turns_left: usize,
    /// Whether reading is suspended until the application has taken its events.
    congested: bool,
    shutting_down: bool,
    /// When the node was last settled.
    now: Instant,
}

/// A verification that waits for an authoritative server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct VerificationId(u64);

/// What a connection that we open is for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Errand {
    Route(Pair),
    Verify(VerificationId),
}

impl Errand {
    /// On whose behalf, where patience with somebody who failed is concerned.
    const fn behalf(&self) -> Behalf {
        match self {
            Self::Route(_) => Behalf::Ours,
            Self::Verify(_) => Behalf::Peers,
        }
    }
}

/// What a connection is for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Purpose {
    Inbound,
    Errand(Errand),
}

impl Purpose {
    /// Who opened it.
    const fn direction(&self) -> Direction {
        match self {
            Self::Inbound => Direction::Inbound,
            Self::Errand(_) => Direction::Outbound,
        }
    }
}

/// A link and its circumstances.
#[derive(Debug)]
struct Connected {
    link: Link,
    addr: SocketAddr,
    since: Instant,
    purpose: Purpose,
    /// Whether the connection is open; those that we dial are not at first.
    open: bool,
    /// Whether the adapter was told to end our half.
    half_closed: bool,
    /// The domains that its header names: ours, and the peer's, not proved.
    header: (Option<Domain>, Option<Domain>),
    /// Whether a pair was proved on it, a question of dialback was answered, or a refusal was reported: its end needs no
    /// report of its own.
    served: bool,
    /// Whether a pair was ever proved on it: it is no stranger.
    proved: bool,
    /// Why it could not even be opened.
    connect_failure: Option<Reason>,
    /// Whether there was a reload since it began: what was offered on it before may be forbidden now.
    reloaded: bool,
    /// Keys on it that were refused although the certificate had to be judged for them: since when, and how many.
    refused_keys: (Instant, usize),
    /// SHA-256 of the certificate that the peer showed, from the first time that it was asked for.
    certificate: OnceCell<[u8; 32]>,
    /// What was last found out about that certificate: a stream that is negotiated asks several times within a second.
    judgement: RefCell<Option<Judgement>>,
    /// Pairs that are up on it, and how they were proved: for each, `PeerDown` is owed.
    up: BTreeMap<Pair, Method>,
    /// The read rate of this connection, where there is a limit.
    rate: Option<TokenBucket>,
    /// Until when nothing is read, because a rate is exceeded.
    paused_until: Option<Instant>,
    /// Whether it counts as a handshake that is under way.
    handshaking: bool,
    /// The limit that made us refuse it.
    bound: Option<Bound>,
    /// What its stanzas that are not wholly written count among the queues.
    in_flight_bytes: usize,
    /// Stanzas that were wholly written to it.
    written: Recent,
    /// When it is given up if too little of what is pending is taken before.
    stalled_at: Option<Instant>,
    /// What was taken of it since that was set.
    taken_bytes: usize,
    /// Whether its stanzas wait for their turn: nothing is read meanwhile, and nothing else of it happens.
    in_turn: bool,
    /// The last answer to [`Machine::interest`](crate::machine::Machine::interest), to wake the adapter only for news.
    reading: bool,
}

/// What the certificate on a connection was found to be worth, and what that holds for.
#[derive(Debug)]
struct Judgement {
    domain: Domain,
    trust: Arc<Trust>,
    /// Validity goes by seconds, since 1970.
    second: u64,
    worth: Result<Verified, Rejection>,
}

impl Connected {
    /// A key was refused although the certificate had to be judged for it: whether those have become too many.
    fn note_refused_key(&mut self, now: Instant) -> bool {
        let (since, count) = &mut self.refused_keys;
        if later(*since, limits::REFUSED_KEYS_INTERVAL) < now {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count >= limits::REFUSED_KEYS_PER_STREAM
    }

    /// SHA-256 of the certificate that the peer showed. It never changes while there is a connection.
    fn certificate(&self) -> Option<[u8; 32]> {
        let der = self.link.facts()?.chain.first()?;
        Some(*self.certificate.get_or_init(|| fingerprint(der)))
    }

    /// Whether nothing that was handed to it waits to be written.
    fn has_written_all(&self) -> bool {
        self.link.in_flight_bytes() == 0 && self.link.pending().is_empty()
    }

    /// When a stanza was last written to it, to the second; if none was, since when it is there.
    fn last_used(&self) -> Instant {
        self.written.last().unwrap_or(self.since)
    }

    /// Whether reading makes sense now.
    fn reads(&self) -> bool {
        self.open && self.link.wants_read() && self.paused_until.is_none() && !self.in_turn
    }
}

impl Node {
    /// A node that serves the hosts of `config`.
    #[must_use]
    pub fn new(config: Config, seed: Seed, anchor: Anchor) -> Self {
        let entropy = Entropy::new(seed);
        let resolver = Resolver::new(config.resolver(), entropy.fork("resolver", 0));
        let backoff = Backoff::new(entropy.fork("backoff", 0));
        Self {
            config,
            entropy,
            anchor,
            last_id: 0,
            links: BTreeMap::new(),
            routes: BTreeMap::new(),
            routes_swept: None,
            verifications: BTreeMap::new(),
            held_keys: Vec::new(),
            resolver,
            lookups: BTreeMap::new(),
            backoff,
            peers: Peers::default(),
            certificates: Certificates::default(),
            admission: Admission::default(),
            turned_away: TurnedAway::default(),
            totals: Totals::default(),
            answering: 0,
            opening: 0,
            rates: DomainRates::default(),
            queued_bytes: 0,
            deadlines: Deadlines::default(),
            effects: VecDeque::new(),
            events: VecDeque::new(),
            dirty: BTreeSet::new(),
            turns: VecDeque::new(),
            turns_left: limits::STANZAS_AT_ONCE,
            congested: false,
            shutting_down: false,
            now: anchor.instant,
        }
    }

    /// How many connections there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.links.len()
    }

    fn next_id(&mut self) -> u64 {
        self.last_id = self.last_id.saturating_add(1);
        self.last_id
    }

    const fn link_settings(&self) -> Settings {
        Settings {
            negotiation_timeout: self.config.negotiation_timeout,
            attempt_timeout: self.config.attempt_timeout,
            close_timeout: self.config.close_timeout,
            idle_timeout: self.config.idle_timeout,
            stanza_bytes: self.config.stanza_bytes,
        }
    }

    /// What the certificate on `conn` is worth for `domain` now; `None` if the stream is in clear.
    //= RFC6120-13.7.2-1
    fn certificate(&self, now: Instant, conn: ConnId, domain: &Domain) -> Option<Result<Verified, Rejection>> {
        let connected = self.links.get(&conn)?;
        let facts = connected.link.facts()?;
        let (trust, unix) = (&self.config.trust, self.anchor.unix_at(now));
        let mut known = connected.judgement.borrow_mut();
        let holds = |known: &Judgement| {
            known.domain == *domain && known.second == unix.as_secs() && Arc::ptr_eq(&known.trust, trust)
        };
        if !known.as_ref().is_some_and(holds) {
            let worth = judge(&facts.chain, domain, trust, unix);
            let (domain, trust) = (domain.clone(), Arc::clone(trust));
            *known = Some(Judgement { domain, trust, second: unix.as_secs(), worth });
        }
        known.as_ref().map(|known| known.worth.clone())
    }

    /// What is known of a connection, for events.
    //= RFC7590-3.6-1
    fn info(&self, now: Instant, conn: ConnId) -> Option<LinkInfo> {
        let connected = self.links.get(&conn)?;
        let since = match &connected.purpose {
            Purpose::Errand(errand) => self.errand_began(errand).unwrap_or(connected.since),
            Purpose::Inbound => connected.since,
        };
        Some(LinkInfo {
            conn,
            addr: connected.addr,
            direction: connected.purpose.direction(),
            tls: connected.link.facts().map(|facts| (facts.version, facts.cipher)),
            certificate: connected.certificate(),
            age: now.saturating_duration_since(since),
        })
    }

    /// The link of `conn`, marked as one in which something happens.
    fn touch(&mut self, conn: ConnId) -> Option<&mut Connected> {
        let connected = self.links.get_mut(&conn)?;
        self.dirty.insert(conn);
        Some(connected)
    }
}
