//! The attempt to reach one domain: from its lookup through a race of its candidates to a negotiated stream.
//!
//! Candidates join the race as DNS tells them, the first one while others are still looked up. They are dialled one after
//! the other, each a moment after the last, until one connection opens; the others are dropped then, so that never more
//! than one of them negotiates. What the winner fails at, a later candidate may still succeed at.
//!
//! - Answers as they come: [RFC 8305 section 3](https://www.rfc-editor.org/rfc/rfc8305#section-3)
//! - Connection attempts: [RFC 8305 section 5](https://www.rfc-editor.org/rfc/rfc8305#section-5)
//! - Success of TCP is not success: [RFC 8305 section 9.2](https://www.rfc-editor.org/rfc/rfc8305#section-9.2)

use std::collections::VecDeque;
use std::time::Instant;

use crate::dns::{Candidate, LookupId};
use crate::limits;
use crate::machine::ConnId;
use crate::reason::Reason;
use crate::time::later;

/// One attempt, within one overall deadline.
#[derive(Debug)]
pub(crate) struct Dial {
    began: Instant,
    deadline: Instant,
    race: Race,
    failure: Option<Reason>,
    lacked_tls: bool,
    /// When the first of those candidates may be tried again that may not be tried now, because they failed lately.
    waits_until: Option<Instant>,
}

impl Dial {
    /// An attempt by the candidates of `race`.
    #[must_use]
    pub(crate) const fn new(now: Instant, deadline: Instant, race: Race) -> Self {
        Self { began: now, deadline, race, failure: None, lacked_tls: false, waits_until: None }
    }

    /// When it began.
    #[must_use]
    pub(crate) const fn began(&self) -> Instant {
        self.began
    }

    /// When it ends whatever happens.
    #[must_use]
    pub(crate) const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// When something is to be done: the deadline, or the start of the next candidate.
    #[must_use]
    pub(crate) fn next_at(&self) -> (Instant, &'static str) {
        match self.race.next_at().filter(|at| *at < self.deadline) {
            Some(at) => (at, "next candidate"),
            None => (self.deadline, "reach"),
        }
    }

    /// Its candidates.
    #[must_use]
    pub(crate) const fn race(&self) -> &Race {
        &self.race
    }

    /// Its candidates, to let one of them move.
    pub(crate) const fn race_mut(&mut self) -> &mut Race {
        &mut self.race
    }

    /// Remembers why a candidate failed. What got further tells more than what could not even be reached, and that more
    /// than what may not be tried.
    pub(crate) fn note_failure(&mut self, reason: Reason) {
        if self.failure.is_none_or(|known| reach(known) <= reach(reason)) {
            self.failure = Some(reason);
        }
    }

    /// Remembers that a candidate may not be tried before `until`, because it failed lately for this reason.
    pub(crate) fn note_wait(&mut self, until: Instant, reason: Reason) {
        self.note_failure(reason);
        self.waits_until = self.waits_until.into_iter().chain([until]).min();
    }

    /// Until when nobody can be dialled, if nobody was for that reason.
    #[must_use]
    pub(crate) fn waits_until(&self) -> Option<Instant> {
        self.waits_until.filter(|_| !self.race.began)
    }

    /// Remembers that a candidate needs TLS, which we do not speak.
    pub(crate) const fn note_lack_of_tls(&mut self) {
        self.lacked_tls = true;
    }

    /// Why the attempt failed, if no candidate is left.
    #[must_use]
    pub(crate) fn failure(&self) -> Reason {
        match self.failure {
            _ if self.is_our_fault() => Reason::NoAddress,
            failure => failure.unwrap_or(Reason::NegotiationTimeout),
        }
    }

    /// Whether nobody was dialled for want of TLS on our side. That says nothing about the remote domain.
    #[must_use]
    pub(crate) const fn is_our_fault(&self) -> bool {
        self.lacked_tls && !self.race.began
    }
}

/// Candidates that compete for one stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Race {
    /// Who may tell of further candidates.
    lookup: Option<LookupId>,
    /// Dialled, not open yet, in the order of dialling.
    connecting: Vec<(ConnId, Candidate)>,
    /// The one that is open and negotiates.
    active: Option<(ConnId, Candidate)>,
    /// Not dialled yet, in the order in which to try them.
    rest: VecDeque<Candidate>,
    /// The last one that was dialled and has not failed at that, and when.
    last: Option<(ConnId, Instant)>,
    /// Whether any was ever dialled.
    began: bool,
}

impl Race {
    /// A race of these candidates and no others.
    #[must_use]
    pub(crate) const fn of(candidates: VecDeque<Candidate>) -> Self {
        Self { lookup: None, connecting: Vec::new(), active: None, rest: candidates, last: None, began: false }
    }

    /// A race of the candidates that `lookup` will tell.
    #[must_use]
    pub(crate) fn awaiting(lookup: LookupId) -> Self {
        Self { lookup: Some(lookup), ..Self::of(VecDeque::new()) }
    }

    /// Who may tell of further candidates, if the race waits for any.
    #[must_use]
    pub(crate) const fn lookup(&self) -> Option<LookupId> {
        self.lookup
    }

    /// Further candidates, to be tried after those that are known.
    pub(crate) fn join(&mut self, candidates: impl IntoIterator<Item = Candidate>) {
        self.rest.extend(candidates);
    }

    /// The connection that is open and negotiates.
    #[must_use]
    pub(crate) fn active(&self) -> Option<ConnId> {
        self.active.as_ref().map(|(conn, _)| *conn)
    }

    /// No further candidates will come.
    pub(crate) const fn complete(&mut self) {
        self.lookup = None;
    }

    /// Whether any candidate was ever dialled.
    #[must_use]
    pub(crate) const fn has_begun(&self) -> bool {
        self.began
    }

    /// The candidate to be dialled now, if there is one: nobody is connecting, or the moment for the next has come. In a
    /// crowd that moment is put off.
    //= RFC8305-5-1
    //= RFC8305-5-2
    pub(crate) fn start_next(&mut self, now: Instant, is_crowded: bool) -> Option<Candidate> {
        let due = self.connecting.is_empty() || self.next_at().is_some_and(|at| at <= now);
        if self.active.is_some() || !due {
            return None;
        }
        if is_crowded && !self.connecting.is_empty() {
            self.last = self.last.map(|(conn, _)| (conn, now));
            return None;
        }
        self.rest.pop_front()
    }

    /// When to dial the next one although others are still connecting.
    #[must_use]
    pub(crate) fn next_at(&self) -> Option<Instant> {
        if self.active.is_some() || self.rest.is_empty() {
            return None;
        }
        self.last.map(|(_, at)| later(at, limits::DIAL_STAGGER))
    }

    /// `candidate` is being dialled as `conn`.
    pub(crate) fn started(&mut self, now: Instant, conn: ConnId, candidate: Candidate) {
        self.connecting.push((conn, candidate));
        self.last = Some((conn, now));
        self.began = true;
    }

    /// `conn` is open. `true`: it has won, and the connections in `losers` are to be dropped; their candidates may be
    /// tried again later. `false`: it is not wanted.
    //= RFC8305-5-3
    pub(crate) fn connected(&mut self, conn: ConnId, losers: &mut Vec<ConnId>) -> bool {
        let Some(position) = self.connecting.iter().position(|(connecting, _)| *connecting == conn) else {
            return false;
        };
        if self.active.is_some() {
            return false;
        }
        let (_, winner) = self.connecting.remove(position);
        for (loser, candidate) in self.connecting.drain(..).rev() {
            losers.push(loser);
            self.rest.push_front(candidate);
        }
        self.active = Some((conn, winner));
        self.last = None;
        true
    }

    /// `conn` has failed, open or not. If it was the last one that was dialled, the next one need not wait.
    pub(crate) fn failed(&mut self, now: Instant, conn: ConnId) {
        self.connecting.retain(|(connecting, _)| *connecting != conn);
        self.active = self.active.filter(|(active, _)| *active != conn);
        if let Some((last, at)) = &mut self.last
            && *last == conn
        {
            *at = now.checked_sub(limits::DIAL_STAGGER).unwrap_or(*at);
        }
    }

    /// `conn` has failed and is to be dialled once more, before all others. True if it was the one that negotiated.
    pub(crate) fn retry(&mut self, conn: ConnId) -> bool {
        let again = self.active.take_if(|(active, _)| *active == conn);
        if let Some((_, candidate)) = again {
            self.rest.push_front(candidate);
        }
        again.is_some()
    }

    /// Whether nobody is under way, waiting, or still to come.
    #[must_use]
    pub(crate) fn is_over(&self) -> bool {
        self.lookup.is_none() && self.active.is_none() && self.connecting.is_empty() && self.rest.is_empty()
    }

    /// Whether `conn` is under way.
    #[must_use]
    pub(crate) fn is_trying(&self, conn: ConnId) -> bool {
        self.conns().any(|trying| trying == conn)
    }

    /// Everything that is under way.
    pub(crate) fn conns(&self) -> impl Iterator<Item = ConnId> {
        self.connecting.iter().chain(&self.active).map(|(conn, _)| *conn)
    }
}

/// How far an attempt came that failed for this reason: not even to dialling, to nobody, to a peer.
const fn reach(reason: Reason) -> u8 {
    match reason {
        Reason::AddressNotAllowed | Reason::NoAddress => 0,
        Reason::ConnectRefused | Reason::ConnectTimeout => 1,
        _ => 2,
    }
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
        Race::of((1..=count).map(candidate).collect())
    }

    fn start(race: &mut Race, now: Instant, conn: u64) -> Option<u16> {
        let candidate = race.start_next(now, false)?;
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
        assert_eq!(race.next_at(), None, "nobody is left to start");
    }

    #[test]
    fn in_a_crowd_a_candidate_starts_only_when_no_other_is_connecting() {
        let (mut race, now) = (race(2), Instant::now());
        let first = race.start_next(now, true).expect("no other is connecting");
        race.started(now, ConnId(1), first);
        let moment = now + limits::DIAL_STAGGER;
        assert_eq!(race.start_next(moment, true), None);
        assert_eq!(race.next_at(), Some(moment + limits::DIAL_STAGGER), "not to be asked again and again");
        race.failed(moment, ConnId(1));
        assert_eq!(race.start_next(moment, true).map(|second| second.addr.port()), Some(2));
    }

    #[test]
    fn a_candidate_that_fails_at_once_makes_way_at_once() {
        let (mut race, now) = (race(2), Instant::now());
        assert_eq!(start(&mut race, now, 1), Some(1));
        race.failed(now, ConnId(1));
        assert_eq!(start(&mut race, now, 2), Some(2));
        race.failed(now, ConnId(2));
        assert!(race.is_over(), "nobody is left");
    }

    #[test]
    fn a_candidate_that_fails_makes_way_even_while_an_earlier_one_is_connecting() {
        let (mut race, now) = (race(4), Instant::now());
        start(&mut race, now, 1);
        let second = now + limits::DIAL_STAGGER;
        assert_eq!(start(&mut race, second, 2), Some(2));
        race.failed(second, ConnId(2));
        assert_eq!(start(&mut race, second, 3), Some(3), "the second has made way");
        race.failed(second, ConnId(1));
        assert_eq!(start(&mut race, second, 4), None, "the third still has its moment");
        assert_eq!(race.next_at(), Some(second + limits::DIAL_STAGGER));
    }

    #[test]
    //= RFC8305-3-2 test
    fn candidates_join_while_others_are_tried_and_the_end_waits_for_all_of_them() {
        let (mut joining, now) = (Race::awaiting(LookupId(7)), Instant::now());
        let candidates = Vec::from(race(3).rest);
        assert_eq!(start(&mut joining, now, 1), None, "nobody is known yet");
        joining.join(candidates[..1].iter().copied());
        assert_eq!(start(&mut joining, now, 1), Some(1));
        let late = now + limits::DIAL_STAGGER / 2;
        joining.join(candidates[1..].iter().copied());
        assert_eq!(start(&mut joining, late, 2), None, "the first has its whole moment");
        assert_eq!(joining.next_at(), Some(now + limits::DIAL_STAGGER), "counted from its start");
        assert_eq!(start(&mut joining, now + limits::DIAL_STAGGER, 2), Some(2));
        assert_eq!(start(&mut joining, now + limits::DIAL_STAGGER * 2, 3), Some(3));
        for conn in 1..4 {
            joining.failed(late, ConnId(conn));
            assert!(!joining.is_over(), "DNS may tell of more");
        }
        joining.complete();
        assert!(joining.is_over());
    }

    #[test]
    fn the_failure_that_is_told_is_that_of_who_came_furthest() {
        let now = Instant::now();
        let mut dial = Dial::new(now, now + limits::NEGOTIATION, Race::of(VecDeque::new()));
        for (reason, told) in [
            (Reason::AddressNotAllowed, Reason::AddressNotAllowed),
            (Reason::ConnectRefused, Reason::ConnectRefused),
            (Reason::CertExpired, Reason::CertExpired),
            (Reason::ConnectTimeout, Reason::CertExpired),
            (Reason::AddressNotAllowed, Reason::CertExpired),
        ] {
            dial.note_failure(reason);
            assert_eq!(dial.failure(), told, "after {reason}");
        }
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
        race.failed(now, ConnId(2));
        let again: Vec<_> = (4..7)
            .filter_map(|conn| {
                let port = start(&mut race, now, conn);
                race.failed(now, ConnId(conn));
                port
            })
            .collect();
        assert_eq!(again, [1, 3, 4], "in their order");
    }
}
