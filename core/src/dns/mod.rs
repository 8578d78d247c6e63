//! A stub resolver without I/O: from a domain to the addresses where its servers may be reached.
//!
//! A lookup asks for the SRV records of both services, orders what it finds, asks for the addresses of the targets, and
//! tells the [`Candidate`]s one after the other as they become known, or a [`Reason`] why there are none: [`Progress`].
//! Questions go out as [`Effect::Ask`], one socket each; every one of them is followed by exactly one [`Effect::Forget`].
//! All lookups share one cache, and questions that are being asked: nothing is asked twice while the first answer holds,
//! or is awaited.
//!
//! Whatever servers answer, and whether they do, a lookup ends after [`limits::DNS_LOOKUP`]; its work is bounded by
//! [`limits::DNS_TARGETS`], [`limits::DNS_ATTEMPTS`], [`limits::CNAME_HOPS`] and [`limits::DNS_RECORDS`], what is
//! remembered by [`limits::DNS_CACHE_ENTRIES`] and [`limits::DNS_CACHE_BYTES`], what is asked at once by
//! [`ResolverConfig::queries`].
//!
//! - `lookup`: which questions, and what the answers come to
//! - `addresses`: from targets to candidates, and when they may be told
//! - `selection`: which address of a target comes first
//! - `srv`: what SRV records say, and their order
//! - `inquiry`: one question of one lookup, through aliases
//! - `desk`: what lookups share
//! - `cache`: what is remembered, and for how long
//! - `query`: one question, through servers and transports
//! - `message`: the wire format; hickory-proto appears only there

mod addresses;
mod cache;
mod desk;
mod inquiry;
mod lookup;
mod message;
mod query;
mod selection;
mod srv;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::addr::Domain;
use crate::entropy::Entropy;
use crate::limits;
use crate::machine::{Effect, QueryId};
use crate::reason::Reason;
use crate::time::later;
use desk::{Cx, Desk, Ended, Timer};
use lookup::Lookup;

pub use selection::SourceAddresses;

/// One lookup of a domain's servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LookupId(pub u64);

/// On whose behalf a lookup is made. Queries wait for their turn in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Behalf {
    /// On ours: somebody here has something to say.
    Ours,
    /// On that of a peer, whoever it is: it wants to prove a domain, or waits for an answer. Its queries take no more
    /// than half of what may be under way at once, so that domains which never answer do not keep ours from being asked
    /// about.
    Peers,
}

/// How a stream begins at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Security {
    /// TLS from the first byte: a `_xmpps-server` record.
    DirectTls,
    /// In clear, then STARTTLS: a `_xmpp-server` record or the fallback.
    StartTls,
}

/// One way to reach a domain, in the order in which to try them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Address and port.
    pub addr: SocketAddr,
    /// How the stream begins there.
    pub security: Security,
}

/// What a lookup has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Further candidates, never none, each told once. They follow those told before, in the order in which to try them.
    ///
    /// Attempts may begin at once; more may come until [`Progress::Done`].
    //= RFC8305-3-2
    Candidates(Vec<Candidate>),
    /// The end, told once and last. An error: why not a single candidate was told.
    Done(Result<(), Reason>),
}

/// What the resolver needs to know.
#[derive(Clone, Debug)]
pub struct ResolverConfig {
    /// Recursive servers. Every question goes to the first one, and to the second if that fails.
    pub servers: Vec<SocketAddr>,
    /// How long to wait for one query over one transport to one server; at most [`limits::DNS_LOOKUP`] counts.
    pub query_timeout: Duration,
    /// Whether to look for IPv4 addresses.
    pub ipv4: bool,
    /// Whether to look for IPv6 addresses.
    pub ipv6: bool,
    /// Knows from which address the system would send to each address of a host, by which they are sorted
    /// ([RFC 6724 section 6](https://www.rfc-editor.org/rfc/rfc6724#section-6)). With `None` they are sorted by
    /// precedence and scope alone: IPv6 first, but for unique local and tunnelled addresses, whether we have it or not.
    pub sources: Option<Arc<dyn SourceAddresses>>,
    /// Queries under way at once, at least one. Further ones wait for their turn, ours before those of peers
    /// ([`Behalf`]), and their time begins with it.
    pub queries: usize,
}

impl ResolverConfig {
    /// Both families from these servers, within the bounds of [`limits`], with nothing known of sources.
    #[must_use]
    pub const fn new(servers: Vec<SocketAddr>) -> Self {
        Self {
            servers,
            query_timeout: limits::DNS_QUERY,
            ipv4: true,
            ipv6: true,
            sources: None,
            queries: limits::DNS_QUERIES,
        }
    }
}

/// The resolver.
#[derive(Debug)]
pub struct Resolver {
    desk: Desk,
    /// What the order of every lookup's services is drawn from, a fork for each.
    order: Entropy,
    lookups: BTreeMap<LookupId, Lookup>,
    next_lookup: u64,
    told: VecDeque<(LookupId, Told)>,
}

/// What waits to be told.
#[derive(Debug)]
enum Told {
    Candidates(Vec<Candidate>),
    /// The end, with all candidates once more, in the order that they would have if all had been known at once.
    Done(Result<Vec<Candidate>, Reason>),
}

impl Resolver {
    /// A resolver without lookups that remembers nothing.
    #[must_use]
    pub fn new(config: ResolverConfig, entropy: Entropy) -> Self {
        let order = entropy.fork("dns-order", 0);
        Self {
            desk: Desk::new(config, entropy),
            order,
            lookups: BTreeMap::new(),
            next_lookup: 0,
            told: VecDeque::new(),
        }
    }

    /// Changes the configuration, for queries that are made from now on, and forgets all answers. Answers to queries
    /// that were made before serve the lookups that wait for them, and no others.
    pub fn reconfigure(&mut self, config: ResolverConfig) {
        self.desk.reconfigure(config);
    }

    /// Begins to look for the servers of `domain`. What comes of it, also if it is known already, is told by
    /// [`Resolver::poll_progress`], never earlier.
    pub fn lookup(&mut self, now: Instant, domain: &Domain, behalf: Behalf) -> LookupId {
        self.desk.serve(now);
        let id = LookupId(self.next_lookup);
        self.next_lookup = self.next_lookup.saturating_add(1);
        let deadline = later(now, limits::DNS_LOOKUP);
        self.desk.deadlines.insert((deadline, Timer::Lookup(id)));
        let order = self.order.fork("lookup", id.0);
        let mut cx = Cx { now, lookup: id, behalf, desk: &mut self.desk };
        let lookup = Lookup::new(domain, deadline, order, &mut cx);
        self.lookups.insert(id, lookup);
        self.advance(now, id);
        id
    }

    /// What was looked up on behalf of a peer is wanted on ours too. It goes on on ours.
    pub(crate) fn promote(&mut self, now: Instant, lookup: LookupId) {
        if let Some(promoted) = self.lookups.get_mut(&lookup) {
            promoted.promote(&mut Cx { now, lookup, behalf: Behalf::Ours, desk: &mut self.desk });
        }
    }

    /// Ends a lookup. Nothing more will be told about it. Questions that others wait for too go on.
    ///
    /// A lookup whose further candidates are not needed may be left to its end instead, for the sake of what will be
    /// remembered ([RFC 8305 section 5](https://www.rfc-editor.org/rfc/rfc8305#section-5) recommends it for late answers).
    pub fn cancel(&mut self, lookup: LookupId) {
        self.end(lookup);
        self.told.retain(|(id, _)| *id != lookup);
    }

    /// A message for `query` arrived; `None`: the query failed.
    pub fn handle_reply(&mut self, now: Instant, query: QueryId, message: Option<&[u8]>) {
        let ended = self.desk.handle_reply(now, query, message);
        self.spread(now, ended);
        self.desk.serve(now);
    }

    /// The moment of [`Resolver::poll_timeout`] has come. Early calls change nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        // Taken out first: what is armed meanwhile waits for the next call.
        let later = self.desk.deadlines.split_off(&(now, Timer::LAST));
        let due = std::mem::replace(&mut self.desk.deadlines, later);
        for (_, timer) in due {
            match timer {
                Timer::Query(query) => {
                    let ended = self.desk.handle_timeout(now, query);
                    self.spread(now, ended);
                }
                Timer::Family(id) => self.advance(now, id),
                Timer::Lookup(id) => {
                    if let Some(lookup) = self.lookups.get_mut(&id) {
                        lookup.expire(id, &mut self.desk);
                    }
                    self.advance(now, id);
                }
            }
        }
        self.desk.serve(now);
    }

    /// When to call [`Resolver::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let first = self.desk.deadlines.first().map(|(at, _)| *at);
        // A turn that came when a lookup was cancelled: at once.
        self.desk.next_turn().into_iter().chain(first).min()
    }

    /// How many queries are under way.
    #[must_use]
    pub fn queries(&self) -> usize {
        self.desk.queries()
    }

    /// The next [`Effect::Ask`] or [`Effect::Forget`].
    #[must_use]
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.desk.effects.pop_front()
    }

    /// What has become known. Drain after every call that takes `now`.
    ///
    /// Of one lookup: [`Progress::Candidates`] any number of times, in the order in which to try them, then
    /// [`Progress::Done`] once; never more than [`limits::CANDIDATES`] candidates. Call either this or
    /// [`Resolver::poll_answer`], they take from one queue.
    #[must_use]
    pub fn poll_progress(&mut self) -> Option<(LookupId, Progress)> {
        let (id, told) = self.told.pop_front()?;
        let progress = match told {
            Told::Candidates(candidates) => Progress::Candidates(candidates),
            Told::Done(answer) => Progress::Done(answer.map(|_| ())),
        };
        Some((id, progress))
    }

    /// The next finished lookup: all its candidates in the order in which to try them (never empty), or why there are
    /// none. For those who would rather wait than begin early; what was told meanwhile is skipped.
    #[must_use]
    pub fn poll_answer(&mut self) -> Option<(LookupId, Result<Vec<Candidate>, Reason>)> {
        loop {
            if let (id, Told::Done(answer)) = self.told.pop_front()? {
                return Some((id, answer));
            }
        }
    }

    /// Tells those who wait for a question what it came to.
    fn spread(&mut self, now: Instant, ended: Option<Ended>) {
        let Some(Ended { id: question, waiting, result }) = ended else { return };
        for id in waiting {
            if let Some(lookup) = self.lookups.get_mut(&id) {
                let behalf = lookup.behalf();
                lookup.hear(question, &result, &mut Cx { now, lookup: id, behalf, desk: &mut self.desk });
            }
            self.advance(now, id);
        }
    }

    fn advance(&mut self, now: Instant, id: LookupId) {
        let Some(lookup) = self.lookups.get_mut(&id) else { return };
        let behalf = lookup.behalf();
        let step = lookup.advance(&mut Cx { now, lookup: id, behalf, desk: &mut self.desk });
        if !step.candidates.is_empty() {
            self.told.push_back((id, Told::Candidates(step.candidates)));
        }
        if let Some(answer) = step.end {
            self.end(id);
            self.told.push_back((id, Told::Done(answer)));
        }
    }

    fn end(&mut self, id: LookupId) {
        if let Some(mut lookup) = self.lookups.remove(&id) {
            lookup.abandon(id, &mut self.desk);
        }
    }
}
