//! A stub resolver without I/O: from a domain to the addresses where its servers may be reached.
//!
//! A lookup asks for the SRV records of both services, orders what it finds, asks for the addresses of the targets, and
//! ends with a list of [`Candidate`]s or a [`Reason`]. Questions go out as [`Effect::Ask`], one socket each; every one of
//! them is followed by exactly one [`Effect::Forget`]. Nothing is remembered from one lookup to the next.
//!
//! Whatever servers answer, and whether they do, a lookup ends after [`limits::DNS_LOOKUP`]; its work is bounded by
//! [`limits::DNS_TARGETS`], [`limits::DNS_ATTEMPTS`], [`limits::CNAME_HOPS`] and [`limits::DNS_RECORDS`].
//!
//! - `lookup`: which questions, and what the answers come to
//! - `srv`: what SRV records say, and their order
//! - `query`: one question, through servers, transports and aliases
//! - `message`: the wire format; hickory-proto appears only there

mod lookup;
mod message;
mod query;
mod srv;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::addr::Domain;
use crate::entropy::Entropy;
use crate::limits;
use crate::machine::{Effect, QueryId, Transport};
use crate::reason::Reason;
use lookup::Lookup;
use query::Asked;

/// One lookup of a domain's servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LookupId(pub u64);

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
}

/// The resolver.
#[derive(Debug)]
pub struct Resolver {
    desk: Desk,
    /// What the order of every lookup's services is drawn from, a fork for each.
    order: Entropy,
    lookups: BTreeMap<LookupId, Lookup>,
    next_lookup: u64,
    answers: VecDeque<(LookupId, Result<Vec<Candidate>, Reason>)>,
}

impl Resolver {
    /// A resolver without lookups.
    #[must_use]
    pub fn new(config: ResolverConfig, entropy: Entropy) -> Self {
        let order = entropy.fork("dns-order", 0);
        Self {
            desk: Desk::new(config, entropy),
            order,
            lookups: BTreeMap::new(),
            next_lookup: 0,
            answers: VecDeque::new(),
        }
    }

    /// Changes the configuration, for queries that are made from now on.
    pub fn reconfigure(&mut self, config: ResolverConfig) {
        self.desk.config = config;
    }

    /// Begins to look for the servers of `domain`. The answer comes from [`Resolver::poll_answer`], never earlier.
    pub fn lookup(&mut self, now: Instant, domain: &Domain) -> LookupId {
        let id = LookupId(self.next_lookup);
        self.next_lookup += 1;
        let deadline = now + limits::DNS_LOOKUP;
        self.desk.deadlines.insert((deadline, Timer::Lookup(id)));
        let order = self.order.fork("lookup", id.0);
        let mut cx = Cx { now, lookup: id, desk: &mut self.desk };
        let lookup = Lookup::new(domain, deadline, order, &mut cx);
        self.lookups.insert(id, lookup);
        self.advance(now, id);
        id
    }

    /// Ends a lookup. Its answer will not come.
    pub fn cancel(&mut self, lookup: LookupId) {
        if let Some(mut state) = self.remove(lookup) {
            state.abandon(&mut self.desk);
        }
        self.answers.retain(|(id, _)| *id != lookup);
    }

    /// A message for `query` arrived; `None`: the query failed.
    pub fn handle_reply(&mut self, now: Instant, query: QueryId, message: Option<&[u8]>) {
        self.with_inquiry(now, query, |inquiry, cx| inquiry.handle_reply(message, cx));
    }

    /// The moment of [`Resolver::poll_timeout`] has come. Early calls change nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        // Taken out first: what is armed meanwhile waits for the next call.
        let later = self.desk.deadlines.split_off(&(now, Timer::LAST));
        let due = std::mem::replace(&mut self.desk.deadlines, later);
        for (_, timer) in due {
            match timer {
                Timer::Query(query) => self.with_inquiry(now, query, query::Inquiry::handle_timeout),
                Timer::Lookup(id) => {
                    if let Some(lookup) = self.remove(id) {
                        let answer = lookup.expire(&mut self.desk);
                        self.answers.push_back((id, answer));
                    }
                }
            }
        }
    }

    /// When to call [`Resolver::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.desk.deadlines.first().map(|(at, _)| *at)
    }

    /// The next [`Effect::Ask`] or [`Effect::Forget`].
    #[must_use]
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.desk.effects.pop_front()
    }

    /// The next finished lookup: candidates in the order in which to try them (never empty), or why there are none.
    #[must_use]
    pub fn poll_answer(&mut self) -> Option<(LookupId, Result<Vec<Candidate>, Reason>)> {
        self.answers.pop_front()
    }

    fn with_inquiry(&mut self, now: Instant, query: QueryId, act: impl FnOnce(&mut query::Inquiry, &mut Cx<'_>)) {
        // A reply to a query that was forgotten is a normal race.
        let Some(&id) = self.desk.open.get(&query) else { return };
        let Some(inquiry) = self.lookups.get_mut(&id).and_then(|lookup| lookup.waiting(query)) else { return };
        act(inquiry, &mut Cx { now, lookup: id, desk: &mut self.desk });
        self.advance(now, id);
    }

    fn advance(&mut self, now: Instant, id: LookupId) {
        let Some(lookup) = self.lookups.get_mut(&id) else { return };
        if let Some(answer) = lookup.advance(&mut Cx { now, lookup: id, desk: &mut self.desk }) {
            self.remove(id);
            self.answers.push_back((id, answer));
        }
    }

    fn remove(&mut self, id: LookupId) -> Option<Lookup> {
        let lookup = self.lookups.remove(&id)?;
        self.desk.deadlines.remove(&(lookup.deadline, Timer::Lookup(id)));
        Some(lookup)
    }
}

/// What every lookup shares: the way out.
#[derive(Debug)]
struct Desk {
    config: ResolverConfig,
    /// What the ids of messages are drawn from.
    ids: Entropy,
    effects: VecDeque<Effect>,
    /// Queries that were asked and not forgotten, and for whom.
    open: BTreeMap<QueryId, LookupId>,
    next_query: u64,
    deadlines: BTreeSet<(Instant, Timer)>,
}

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// A server has not answered.
    Query(QueryId),
    /// A lookup has taken too long.
    Lookup(LookupId),
}

impl Timer {
    /// Sorts behind every timer that is ever armed.
    const LAST: Self = Self::Lookup(LookupId(u64::MAX));
}

impl Desk {
    fn new(config: ResolverConfig, entropy: Entropy) -> Self {
        Self {
            config,
            ids: entropy,
            effects: VecDeque::new(),
            open: BTreeMap::new(),
            next_query: 0,
            deadlines: BTreeSet::new(),
        }
    }

    fn forget(&mut self, asked: &Asked) {
        self.open.remove(&asked.handle);
        self.deadlines.remove(&(asked.deadline, Timer::Query(asked.handle)));
        self.effects.push_back(Effect::Forget(asked.handle));
    }
}

/// In whose name, and when, something is done.
struct Cx<'a> {
    now: Instant,
    lookup: LookupId,
    desk: &'a mut Desk,
}

impl Cx<'_> {
    /// Sends a message from a socket of its own; gives the query and when to stop waiting for it.
    //= RFC5452-9.2-1
    fn ask(&mut self, server: SocketAddr, transport: Transport, message: Vec<u8>) -> (QueryId, Instant) {
        let query = QueryId(self.desk.next_query);
        self.desk.next_query += 1;
        let deadline = self.now + self.desk.config.query_timeout.min(limits::DNS_LOOKUP);
        self.desk.open.insert(query, self.lookup);
        self.desk.deadlines.insert((deadline, Timer::Query(query)));
        self.desk.effects.push_back(Effect::Ask { query, server, transport, message });
        (query, deadline)
    }
}
