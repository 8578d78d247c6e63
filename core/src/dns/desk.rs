//! What all lookups share: the way out, the questions that are on it, and what came back.
//!
//! A question that is remembered is answered at once; one that is being asked is joined; any other is asked. Each goes out
//! for all who want to know, and is given up when the last of them does.
//!
//! What may be under way at once is shared by two classes, [`Behalf`]: what we want to know ourselves goes first, and what
//! peers make us ask takes half of it at most. A question that both want to know is ours, and so is one that was asked
//! for a peer before we had something to say there ourselves.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use super::cache::Cache;
use super::message::{Answer, Question};
use super::query::{Outcome, Query, Step};
use super::{Behalf, LookupId, ResolverConfig};
use crate::entropy::Entropy;
use crate::limits;
use crate::machine::{Effect, QueryId, Transport};
use crate::reason::Reason;
use crate::time::later;

/// One question that is being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct AskingId(u64);

/// The desk.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) config: ResolverConfig,
    /// What the ids of messages are drawn from.
    pub(super) ids: Entropy,
    pub(super) effects: VecDeque<Effect>,
    pub(super) deadlines: BTreeSet<(Instant, Timer)>,
    asking: BTreeMap<AskingId, Asking>,
    /// Which of them may be joined and remembered: those that were asked under the present configuration.
    current: BTreeMap<Question, AskingId>,
    cache: Cache,
    /// Queries that were asked and not forgotten, or wait for their turn, and for which question.
    open: BTreeMap<QueryId, Open>,
    /// Those of them that wait for their turn, in their order.
    held: BTreeMap<(Behalf, QueryId), Held>,
    /// How many of those that do not wait are under way on behalf of peers.
    peers: usize,
    next_asking: u64,
    next_query: u64,
}

/// A query that was asked, or is going to be.
#[derive(Debug)]
struct Open {
    id: AskingId,
    behalf: Behalf,
    /// When to stop waiting for its answer; `None` while it waits for its turn.
    deadline: Option<Instant>,
}

/// What goes out when its turn has come.
#[derive(Debug)]
struct Held {
    since: Instant,
    server: SocketAddr,
    transport: Transport,
    message: Vec<u8>,
}

/// A question on its way, and who waits for it. Never nobody.
#[derive(Debug)]
struct Asking {
    query: Query,
    behalf: Behalf,
    waiting: BTreeSet<LookupId>,
}

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A server has not answered.
    Query(QueryId),
    /// The addresses of one family have waited long enough for those of the other.
    Family(LookupId),
    /// A lookup has taken too long.
    Lookup(LookupId),
}

impl Timer {
    /// Sorts behind every timer that is ever armed.
    pub(super) const LAST: Self = Self::Lookup(LookupId(u64::MAX));
}

/// How it stands with a question.
#[derive(Debug)]
pub(super) enum Standing {
    /// The answer is there.
    Known(Result<Answer, Reason>),
    /// It is being asked.
    Asked(AskingId),
}

/// A question that has come to an end.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) id: AskingId,
    /// Who wanted to know.
    pub(super) waiting: BTreeSet<LookupId>,
    pub(super) result: Result<Answer, Reason>,
}

impl Desk {
    pub(super) fn new(config: ResolverConfig, entropy: Entropy) -> Self {
        Self {
            config,
            ids: entropy,
            effects: VecDeque::new(),
            deadlines: BTreeSet::new(),
            asking: BTreeMap::new(),
            current: BTreeMap::new(),
            cache: Cache::new(limits::DNS_CACHE_ENTRIES, limits::DNS_CACHE_BYTES),
            open: BTreeMap::new(),
            held: BTreeMap::new(),
            peers: 0,
            next_asking: 0,
            next_query: 0,
        }
    }

    /// What other servers said is not what these would say.
    pub(super) fn reconfigure(&mut self, config: ResolverConfig) {
        self.config = config;
        self.cache.clear();
        self.current.clear();
    }

    /// Asks `question` for `lookup`, unless that is not necessary.
    pub(super) fn ask(&mut self, now: Instant, (lookup, behalf): (LookupId, Behalf), question: &Question) -> Standing {
        if let Some(result) = self.cache.find(now, question) {
            return Standing::Known(result);
        }
        if let Some(&id) = self.current.get(question)
            && let Some(asking) = self.asking.get_mut(&id)
        {
            asking.waiting.insert(lookup);
            self.promote(now, id, behalf);
            return Standing::Asked(id);
        }
        let id = AskingId(self.next_asking);
        self.next_asking = self.next_asking.saturating_add(1);
        match Query::start(now, (id, behalf), question.clone(), self) {
            Step::Done(outcome) => Standing::Known(outcome.result),
            Step::Open(query) => {
                self.current.insert(question.clone(), id);
                self.asking.insert(id, Asking { query, behalf, waiting: BTreeSet::from([lookup]) });
                Standing::Asked(id)
            }
        }
    }

    /// `lookup` no longer wants to know.
    pub(super) fn leave(&mut self, id: AskingId, lookup: LookupId) {
        let Some(asking) = self.asking.get_mut(&id) else { return };
        asking.waiting.remove(&lookup);
        if !asking.waiting.is_empty() {
            return;
        }
        if let Some(Asking { query, .. }) = self.asking.remove(&id) {
            self.forget(query.asked.handle);
            self.remove_current(&query.question, id);
        }
    }

    /// A message for `query` arrived; `None`: the query failed. Gives the question if that ended it.
    pub(super) fn handle_reply(&mut self, now: Instant, query: QueryId, message: Option<&[u8]>) -> Option<Ended> {
        self.step(now, query, |query, behalf, desk| query.handle_reply(now, message, behalf, desk))
    }

    /// The time of `query` is up. Gives the question if that ended it.
    pub(super) fn handle_timeout(&mut self, now: Instant, query: QueryId) -> Option<Ended> {
        self.step(now, query, |query, behalf, desk| query.handle_timeout(now, behalf, desk))
    }

    fn step(
        &mut self,
        now: Instant,
        query: QueryId,
        advance: impl FnOnce(Query, Behalf, &mut Self) -> Step,
    ) -> Option<Ended> {
        // A reply to a query that was forgotten is a normal race.
        let id = self.open.get(&query)?.id;
        let Asking { query, behalf, waiting } = self.asking.remove(&id)?;
        let question = query.question.clone();
        match advance(query, behalf, self) {
            Step::Open(query) => {
                self.asking.insert(id, Asking { query, behalf, waiting });
                None
            }
            Step::Done(Outcome { result, lifetime }) => {
                if self.remove_current(&question, id) {
                    self.cache.insert(now, question, result.clone(), lifetime);
                }
                Some(Ended { id, waiting, result })
            }
        }
    }

    /// Whether it was current.
    fn remove_current(&mut self, question: &Question, id: AskingId) -> bool {
        let current = self.current.get(question) == Some(&id);
        if current {
            self.current.remove(question);
        }
        current
    }

    /// Sends a message from a socket of its own, when its turn has come.
    pub(super) fn send(
        &mut self,
        now: Instant,
        (id, behalf): (AskingId, Behalf),
        server: SocketAddr,
        transport: Transport,
        message: Vec<u8>,
    ) -> QueryId {
        let query = QueryId(self.next_query);
        self.next_query = self.next_query.saturating_add(1);
        self.open.insert(query, Open { id, behalf, deadline: None });
        self.held.insert((behalf, query), Held { since: now, server, transport, message });
        self.serve(now);
        query
    }

    /// Sends what waits for its turn, as much as may be under way at once.
    pub(super) fn serve(&mut self, now: Instant) {
        while let Some((behalf, query)) = self.next_held()
            && let Some(held) = self.held.remove(&(behalf, query))
        {
            let deadline = later(now, self.config.query_timeout.min(limits::DNS_LOOKUP));
            if let Some(open) = self.open.get_mut(&query) {
                open.deadline = Some(deadline);
            }
            self.peers = self.peers.saturating_add(usize::from(behalf == Behalf::Peers));
            self.deadlines.insert((deadline, Timer::Query(query)));
            let Held { server, transport, message, .. } = held;
            self.effects.push_back(Effect::Ask { query, server, transport, message });
        }
    }

    /// Since when something has waited whose turn has come.
    pub(super) fn next_turn(&self) -> Option<Instant> {
        self.next_held().and_then(|next| self.held.get(&next)).map(|held| held.since)
    }

    /// What goes out next, if its turn has come.
    fn next_held(&self) -> Option<(Behalf, QueryId)> {
        self.held.keys().next().copied().filter(|(behalf, _)| self.has_room(*behalf))
    }

    /// The question is wanted on this behalf too: if that goes first, it takes its turn, or goes on, on that behalf.
    pub(super) fn promote(&mut self, now: Instant, id: AskingId, behalf: Behalf) {
        let Some(asking) = self.asking.get_mut(&id).filter(|asking| behalf < asking.behalf) else { return };
        asking.behalf = behalf;
        let query = asking.query.asked.handle;
        let Some(open) = self.open.get_mut(&query) else { return };
        let before = std::mem::replace(&mut open.behalf, behalf);
        match self.held.remove(&(before, query)) {
            Some(held) => drop(self.held.insert((behalf, query), held)),
            None => self.leave_peers(before),
        }
        self.serve(now);
    }

    /// How many queries are under way.
    pub(super) fn queries(&self) -> usize {
        self.open.len().saturating_sub(self.held.len())
    }

    /// A query that was under way on this behalf is so no more.
    fn leave_peers(&mut self, behalf: Behalf) {
        self.peers = self.peers.saturating_sub(usize::from(behalf == Behalf::Peers));
    }

    fn has_room(&self, behalf: Behalf) -> bool {
        let queries = self.config.queries.max(1);
        self.queries() < queries
            && match behalf {
                Behalf::Ours => true,
                Behalf::Peers => self.peers < queries.div_ceil(limits::DNS_QUERIES_PER_PEERS),
            }
    }

    /// Closes the socket of a query, if it was asked.
    pub(super) fn forget(&mut self, query: QueryId) {
        let Some(Open { behalf, deadline, .. }) = self.open.remove(&query) else { return };
        self.held.remove(&(behalf, query));
        if let Some(deadline) = deadline {
            self.leave_peers(behalf);
            self.deadlines.remove(&(deadline, Timer::Query(query)));
            self.effects.push_back(Effect::Forget(query));
        }
    }

    /// Whether nothing is being asked.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        let nothing_waits = self.open.is_empty() && self.held.is_empty() && self.peers == 0;
        nothing_waits && self.asking.is_empty() && self.current.is_empty() && self.deadlines.is_empty()
    }

    #[cfg(test)]
    pub(super) fn limit_cache(&mut self, entries: usize, bytes: usize) {
        self.cache = Cache::new(entries, bytes);
    }

    #[cfg(test)]
    pub(super) const fn cache(&self) -> &Cache {
        &self.cache
    }
}

/// In whose name, and when, something is done.
pub(super) struct Cx<'a> {
    pub(super) now: Instant,
    pub(super) lookup: LookupId,
    pub(super) behalf: Behalf,
    pub(super) desk: &'a mut Desk,
}
