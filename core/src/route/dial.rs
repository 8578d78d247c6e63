//! The attempt to reach one domain: from its lookup through a race of its candidates to a negotiated stream.
//!
//! Candidates are dialled one after the other, each a moment after the last, until one connection opens; the others
//! are dropped then, so that never more than one of them negotiates. What the winner fails at, a later candidate may
//! still succeed at.
//!
//! - Connection attempts: [RFC 8305 section 5](https://www.rfc-editor.org/rfc/rfc8305#section-5)
//! - Success of TCP is not success: [RFC 8305 section 9.2](https://www.rfc-editor.org/rfc/rfc8305#section-9.2)

use std::collections::VecDeque;
use std::time::Instant;

use crate::dns::{Candidate, LookupId};
use crate::limits;
use crate::machine::ConnId;
use crate::reason::Reason;

/// One attempt, within one overall deadline.
#[derive(Debug)]
pub struct Dial {
    began: Instant,
    deadline: Instant,
    step: Step,
    failure: Option<Reason>,
}

/// What an attempt waits for.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The answer of DNS.
    Resolving(LookupId),
    /// A connection, and then its negotiation.
    Racing(Race),
}

impl Dial {
    /// An attempt that began with `step`.
    #[must_use]
    pub const fn new(now: Instant, deadline: Instant, step: Step) -> Self {
        Self { began: now, deadline, step, failure: None }
    }

    /// When it began.
    #[must_use]
    pub const fn began(&self) -> Instant {
        self.began
    }

    /// When it ends whatever happens.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// When something is to be done: the deadline, or the start of the next candidate.
    #[must_use]
    pub fn next_at(&self) -> (Instant, &'static str) {
        match &self.step {
            Step::Racing(Race { next_at: Some(at), .. }) if *at < self.deadline => (*at, "next candidate"),
            Step::Resolving(_) | Step::Racing(_) => (self.deadline, "reach"),
        }
    }

    /// What it waits for.
    #[must_use]
    pub const fn step(&self) -> &Step {
        &self.step
    }

    /// The race, if it has begun.
    pub const fn race(&mut self) -> Option<&mut Race> {
        match &mut self.step {
            Step::Racing(race) => Some(race),
            Step::Resolving(_) => None,
        }
    }

    /// DNS has answered.
    pub fn begin_race(&mut self, candidates: VecDeque<Candidate>) {
        self.step = Step::Racing(Race::new(candidates));
    }

    /// Whether `conn` is one of the race.
    #[must_use]
    pub fn is_trying(&self, conn: ConnId) -> bool {
        match &self.step {
            Step::Racing(race) => race.is_trying(conn),
            Step::Resolving(_) => false,
        }
    }

    /// Remembers why a candidate failed. What got further tells more than what could not even be reached.
    pub fn note_failure(&mut self, reason: Reason) {
        if self.failure.is_none_or(|known| !reached_something(known) || reached_something(reason)) {
            self.failure = Some(reason);
        }
    }

    /// Why the attempt failed, if no candidate is left.
    #[must_use]
    pub fn failure(&self) -> Reason {
        self.failure.unwrap_or(Reason::NegotiationTimeout)
    }
}

/// Candidates that compete for one stream.
#[derive(Debug, PartialEq, Eq)]
pub struct Race {
    /// Dialled, not open yet, in the order of dialling.
    connecting: Vec<(ConnId, Candidate)>,
    /// The one that is open and negotiates.
    active: Option<ConnId>,
    /// Not dialled yet, in the order in which to try them.
    rest: VecDeque<Candidate>,
    /// When to dial the next one although others are still connecting.
    next_at: Option<Instant>,
}

impl Race {
    /// A race in which nobody has started.
    #[must_use]
    pub const fn new(candidates: VecDeque<Candidate>) -> Self {
        Self { connecting: Vec::new(), active: None, rest: candidates, next_at: None }
    }

    /// The candidate to be dialled now, if there is one: nobody is connecting, or the moment for the next has come.
    //= RFC8305-5-1
    //= RFC8305-5-2
    pub fn start_next(&mut self, now: Instant) -> Option<Candidate> {
        let due = self.connecting.is_empty() || self.next_at.is_some_and(|at| at <= now);
        if self.active.is_some() || !due {
            return None;
        }
        self.rest.pop_front()
    }

    /// `candidate` is being dialled as `conn`.
    pub fn started(&mut self, now: Instant, conn: ConnId, candidate: Candidate) {
        self.connecting.push((conn, candidate));
        self.next_at = (!self.rest.is_empty()).then(|| now + limits::DIAL_STAGGER);
    }

    /// `conn` is open. `true`: it has won, and the connections in `losers` are to be dropped; their candidates may be
    /// tried again later. `false`: it is not wanted.
    //= RFC8305-5-3
    pub fn connected(&mut self, conn: ConnId, losers: &mut Vec<ConnId>) -> bool {
        let Some(position) = self.connecting.iter().position(|(connecting, _)| *connecting == conn) else {
            return false;
        };
        if self.active.is_some() {
            return false;
        }
        self.connecting.remove(position);
        for (loser, candidate) in self.connecting.drain(..).rev() {
            losers.push(loser);
            self.rest.push_front(candidate);
        }
        self.active = Some(conn);
        self.next_at = None;
        true
    }

    /// `conn` has failed, open or not. True if nobody is left: neither under way nor waiting.
    pub fn failed(&mut self, conn: ConnId) -> bool {
        self.connecting.retain(|(connecting, _)| *connecting != conn);
        if self.active == Some(conn) {
            self.active = None;
        }
        self.is_over()
    }

    /// Whether nobody is under way or waiting.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.active.is_none() && self.connecting.is_empty() && self.rest.is_empty()
    }

    /// Whether `conn` is under way.
    #[must_use]
    pub fn is_trying(&self, conn: ConnId) -> bool {
        self.active == Some(conn) || self.connecting.iter().any(|(connecting, _)| *connecting == conn)
    }

    /// Everything that is under way.
    pub fn conns(&self) -> impl Iterator<Item = ConnId> {
        self.connecting.iter().map(|(conn, _)| *conn).chain(self.active)
    }
}

/// Whether a peer was there at all.
const fn reached_something(reason: Reason) -> bool {
    !matches!(reason, Reason::ConnectRefused | Reason::ConnectTimeout | Reason::AddressNotAllowed)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
mod tests {
    use super::*;
    use crate::dns::Security;
    use std::net::SocketAddr;

    fn race(count: u16) -> Race {
        let candidate =
            |port| Candidate { addr: SocketAddr::from(([192, 0, 2, 1], port)), security: Security::StartTls };
        Race::new((1..=count).map(candidate).collect())
    }

    fn start(race: &mut Race, now: Instant, conn: u64) -> Option<u16> {
        let candidate = race.start_next(now)?;
        race.started(now, ConnId(conn), candidate);
        Some(candidate.addr.port())
    }

    #[test]
    //= RFC8305-5-1 test
    //= RFC8305-5-2 test
    fn candidates_start_one_by_one_a_moment_apart() {
        let (mut race, now) = (race(3), Instant::now());
        assert_eq!(start(&mut race, now, 1), Some(1));
        assert_eq!(start(&mut race, now, 2), None, "the first has its moment");
        let later = now + limits::DIAL_STAGGER;
        assert_eq!(start(&mut race, later, 2), Some(2));
        assert_eq!(start(&mut race, later, 3), None);
        assert_eq!(start(&mut race, later + limits::DIAL_STAGGER, 3), Some(3));
        assert_eq!(race.next_at, None, "nobody is left to start");
    }

    #[test]
    fn a_candidate_that_fails_at_once_makes_way_at_once() {
        let (mut race, now) = (race(2), Instant::now());
        assert_eq!(start(&mut race, now, 1), Some(1));
        assert!(!race.failed(ConnId(1)));
        assert_eq!(start(&mut race, now, 2), Some(2));
        assert!(race.failed(ConnId(2)), "nobody is left");
    }

    #[test]
    //= RFC8305-5-3 test
    //= RFC8305-9.2-1 test
    fn the_first_connection_wins_and_the_losers_come_back_if_it_fails_later() {
        let (mut race, now) = (race(4), Instant::now());
        start(&mut race, now, 1);
        start(&mut race, now + limits::DIAL_STAGGER, 2);
        start(&mut race, now + limits::DIAL_STAGGER * 2, 3);
        let mut losers = Vec::new();
        assert!(race.connected(ConnId(2), &mut losers));
        losers.sort_unstable();
        assert_eq!(losers, [ConnId(1), ConnId(3)]);
        assert!(!race.connected(ConnId(3), &mut losers), "only one negotiates");
        assert_eq!(start(&mut race, now + limits::DIAL_STAGGER * 9, 4), None, "nobody starts while it negotiates");
        assert!(!race.failed(ConnId(2)));
        let again: Vec<_> = (4..7)
            .filter_map(|conn| {
                let port = start(&mut race, now, conn);
                race.failed(ConnId(conn));
                port
            })
            .collect();
        assert_eq!(again, [1, 3, 4], "in their order");
    }
}
