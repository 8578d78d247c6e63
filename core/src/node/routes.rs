//! Routes, and the errands that open connections: lookup, candidates in turn, success or the reason of the failure.
//!
//! - [RFC 6120 section 10.4](https://www.rfc-editor.org/rfc/rfc6120#section-10.4)

use std::collections::VecDeque;
use std::time::Instant;

use crate::addr::Pair;
use crate::dns::{Candidate, LookupId, Security};
use crate::limits;
use crate::link::Link;
use crate::machine::{ConnId, Effect};
use crate::node::deadlines::Owner;
use crate::node::{Errand, Event, Node, Purpose};
use crate::reason::Reason;
use crate::route::{Dial, State, Step};
use crate::stanza::Stanza;

/// A stanza cannot be accepted. It is given back.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The sender's domain is not one that this node serves, or the recipient's is.
    NotOurs(Box<Stanza>),
    /// The queue of the pair is full.
    QueueFull(Box<Stanza>),
    /// Policy refuses, or the node is going down.
    Refused(Box<Stanza>, Reason),
}

impl SendError {
    /// The stanza, and why it was not accepted.
    #[must_use]
    pub fn into_parts(self) -> (Stanza, Reason) {
        match self {
            Self::NotOurs(stanza) => (*stanza, Reason::HostUnknown),
            Self::QueueFull(stanza) => (*stanza, Reason::QueueFull),
            Self::Refused(stanza, reason) => (*stanza, reason),
        }
    }
}

impl Node {
    /// Sends a stanza from one of our domains to a remote one: now, or when a stream is up.
    //= RFC6120-10.4.1-1
    //= RFC6120-10.4.2-1
    //= RFC6120-10.1-2
    //= RFC6120-10.5-1
    pub fn send(&mut self, now: Instant, stanza: Stanza) -> Result<(), SendError> {
        let pair = stanza.outbound_pair();
        let Some(options) =
            self.config.hosts.get(&pair.local).filter(|_| !self.config.hosts.contains_key(&pair.remote))
        else {
            return Err(SendError::NotOurs(Box::new(stanza)));
        };
        if self.shutting_down {
            return Err(SendError::Refused(Box::new(stanza), Reason::Shutdown));
        }
        if let Err(reason) = options.admit_outbound(&pair.remote) {
            return Err(SendError::Refused(Box::new(stanza), reason));
        }
        let limit = self.config.queue_bytes_per_pair;
        let route = self.routes.entry(pair.clone()).or_default();
        if let Err(stanza) = route.queue.push(now, stanza, limit) {
            return Err(SendError::QueueFull(Box::new(stanza)));
        }
        self.drive_route(now, &pair);
        self.settle(now);
        Ok(())
    }

    /// Does what the state of a route asks for while something waits in its queue.
    fn drive_route(&mut self, now: Instant, pair: &Pair) {
        match self.routes.get(pair).map(|route| (&route.state, route.queue.is_empty())) {
            Some((State::Idle, false)) => self.begin_route(now, pair),
            Some((State::Up(_), _)) => self.feed(now, pair),
            _ => {}
        }
        self.arm_route(pair);
    }

    fn arm_route(&mut self, pair: &Pair) {
        let route = self.routes.get(pair);
        let deadline = route.and_then(|route| route.deadline(self.config.queue_age));
        self.deadlines.set(Owner::Route(pair.clone()), deadline);
        if route.is_some_and(|route| matches!(route.state, State::Idle) && route.queue.is_empty()) {
            self.routes.remove(pair);
        }
    }

    /// Hands waiting stanzas to the link of a route, as long as it has room.
    pub(super) fn feed(&mut self, now: Instant, pair: &Pair) {
        let Some(route) = self.routes.get_mut(pair) else {
            return;
        };
        let State::Up(conn) = route.state else {
            return;
        };
        let Some(connected) = self.links.get_mut(&conn) else {
            return;
        };
        let link = &mut connected.link;
        let max_bytes = link.initiating_stream().and_then(crate::stream::Initiating::peer_max_bytes);
        while link.has_room() && !link.is_closing() {
            let Some(stanza) = route.queue.pop() else {
                break;
            };
            //= XEP0478-4-1
            //= XEP0478-4-2
            if max_bytes.is_some_and(|max| stanza.bytes().len() as u64 > u64::from(max)) {
                let reason = Reason::StanzaTooBig;
                self.events.push_back(Event::Undeliverable { pair: pair.clone(), stanza, reason });
            } else if let Err(stanza) = link.send_stanza(now, stanza) {
                route.queue.put_back(now, vec![stanza]);
                break;
            }
        }
        self.dirty.insert(conn);
        self.arm_route(pair);
    }

    fn begin_route(&mut self, now: Instant, pair: &Pair) {
        let deadline = now + self.config.negotiation_timeout;
        let (step, candidates) = self.begin_dial(now, Errand::Route(pair.clone()), pair);
        if let Some(route) = self.routes.get_mut(pair) {
            route.state = State::Reaching(Dial::new(now, deadline, step));
        }
        if let Some(candidates) = candidates {
            self.try_candidates(now, &Errand::Route(pair.clone()), candidates);
        }
    }

    /// The first step towards the servers of `pair.remote`: a lookup, or the candidates of a static route.
    //= RFC6120-3.2.3-1
    pub(super) fn begin_dial(
        &mut self,
        now: Instant,
        errand: Errand,
        pair: &Pair,
    ) -> (Step, Option<VecDeque<Candidate>>) {
        if let Some(route) = self.config.routes.get(&pair.remote) {
            let candidate = Candidate { addr: route.addr, security: route.security };
            let nowhere = Step::Trying { conn: ConnId(0), rest: VecDeque::new() };
            return (nowhere, Some(VecDeque::from([candidate])));
        }
        let lookup = self.resolver.lookup(now, &pair.remote);
        self.lookups.insert(lookup, errand);
        (Step::Resolving(lookup), None)
    }

    /// DNS has answered.
    pub(super) fn handle_answer(&mut self, now: Instant, lookup: LookupId, answer: Result<Vec<Candidate>, Reason>) {
        let Some(errand) = self.lookups.remove(&lookup) else {
            return;
        };
        match answer {
            Err(reason) => self.fail_errand(now, &errand, reason),
            Ok(candidates) => {
                let allowed: VecDeque<_> = candidates
                    .into_iter()
                    .filter(|candidate| self.may_dial(candidate))
                    .take(limits::CANDIDATES)
                    .collect();
                if allowed.is_empty() {
                    self.fail_errand(now, &errand, Reason::AddressNotAllowed);
                } else {
                    self.try_candidates(now, &errand, allowed);
                }
            }
        }
    }

    fn may_dial(&self, candidate: &Candidate) -> bool {
        self.config.private_addresses.allow(candidate.addr.ip()) && !self.config.own_listeners.contains(&candidate.addr)
    }

    fn tls_enabled(&self, errand: &Errand) -> bool {
        let pair = self.pair_of(errand);
        pair.and_then(|pair| self.config.hosts.get(&pair.local)).is_some_and(|options| !options.tls_disabled)
    }

    /// Dials the first of `candidates` that a host with its options may use.
    pub(super) fn try_candidates(&mut self, now: Instant, errand: &Errand, mut candidates: VecDeque<Candidate>) {
        let Some(pair) = self.pair_of(errand) else {
            return;
        };
        if !self.tls_enabled(errand) {
            candidates.retain(|candidate| candidate.security == Security::StartTls);
        }
        let Some(candidate) = candidates.pop_front() else {
            // XEP-0368 section 3: without TLS the targets of _xmpps-server are no candidates.
            return self.fail_errand(now, errand, Reason::NoAddress);
        };
        self.config.tls.set_time(self.anchor.unix_at(now));
        let id = self.next_id();
        let conn = ConnId(id);
        let entropy = self.entropy.fork("link", id);
        let direct_tls = candidate.security == Security::DirectTls;
        let (settings, tls) = (self.link_settings(), self.config.tls.clone());
        let link = Link::initiating(now, pair.local, pair.remote, direct_tls, tls, settings, entropy);
        self.insert(conn, now, link, candidate.addr, Purpose::Errand(errand.clone()));
        self.effects.push_back(Effect::Dial { conn, addr: candidate.addr });
        if let Some(dial) = self.dial_mut(errand) {
            dial.proceed(Step::Trying { conn, rest: candidates });
        }
    }

    /// A candidate failed before it could serve: the next one is tried, or the errand fails.
    //= RFC6120-3.2.1-4
    //= RFC8305-9.2-1
    pub(super) fn candidate_failed(&mut self, now: Instant, errand: &Errand, conn: ConnId, reason: Reason) {
        if !self.is_trying(errand, conn) {
            return;
        }
        let Some(dial) = self.dial_mut(errand) else {
            return;
        };
        dial.note_failure(reason);
        let rest = dial.take_rest();
        let failure = dial.failure();
        if rest.is_empty() || self.shutting_down {
            self.fail_errand(now, errand, failure);
        } else {
            self.try_candidates(now, errand, rest);
        }
    }

    /// Whether `conn` is the candidate that `errand` waits for.
    pub(super) fn is_trying(&self, errand: &Errand, conn: ConnId) -> bool {
        let dial = self.dial(errand);
        dial.is_some_and(|dial| matches!(dial.step(), Step::Trying { conn: trying, .. } if *trying == conn))
    }

    fn dial(&self, errand: &Errand) -> Option<&Dial> {
        match errand {
            Errand::Route(pair) => match &self.routes.get(pair)?.state {
                State::Reaching(dial) => Some(dial),
                State::Idle | State::Up(_) => None,
            },
            Errand::Verify(id) => self.verifications.get(id).map(|verification| &verification.dial),
        }
    }

    fn dial_mut(&mut self, errand: &Errand) -> Option<&mut Dial> {
        match errand {
            Errand::Route(pair) => match &mut self.routes.get_mut(pair)?.state {
                State::Reaching(dial) => Some(dial),
                State::Idle | State::Up(_) => None,
            },
            Errand::Verify(id) => self.verifications.get_mut(id).map(|verification| &mut verification.dial),
        }
    }

    pub(super) fn errand_began(&self, errand: &Errand) -> Option<Instant> {
        self.dial(errand).map(Dial::began)
    }

    /// The errand has failed for good.
    pub(super) fn fail_errand(&mut self, now: Instant, errand: &Errand, reason: Reason) {
        match errand {
            Errand::Route(pair) => self.fail_route(now, pair, reason),
            Errand::Verify(id) => self.fail_verification(now, *id, reason),
        }
    }

    /// Abandons what an attempt has under way: its lookup, or its connection.
    pub(super) fn abandon_dial(&mut self, now: Instant, dial: &Dial) {
        match dial.step() {
            Step::Resolving(lookup) => {
                self.resolver.cancel(*lookup);
                self.lookups.remove(lookup);
            }
            Step::Trying { conn, .. } => self.close(now, *conn, Reason::NegotiationTimeout),
        }
    }

    /// No stream can be had for `pair`: everything that waits goes back to its senders.
    //= RFC6120-10.4.3-1
    //= XEP0220-2.1.1-12
    //= XEP0220-2.5-2
    pub(super) fn fail_route(&mut self, now: Instant, pair: &Pair, reason: Reason) {
        let Some(route) = self.routes.get_mut(pair) else {
            return;
        };
        if let State::Reaching(dial) = std::mem::take(&mut route.state) {
            self.abandon_dial(now, &dial);
        }
        if let Some(mut route) = self.routes.remove(pair) {
            while let Some(stanza) = route.queue.pop() {
                self.events.push_back(Event::Undeliverable { pair: pair.clone(), stanza, reason });
            }
        }
        self.arm_route(pair);
    }

    /// The peer accepts stanzas of `pair` on `conn`.
    pub(super) fn route_is_up(&mut self, now: Instant, pair: &Pair, conn: ConnId) {
        match self.routes.get_mut(pair) {
            Some(route) if matches!(&route.state, State::Reaching(_)) => {
                route.state = State::Up(conn);
                self.feed(now, pair);
            }
            _ => self.close(now, conn, Reason::Idle),
        }
    }

    /// The stream of a route is over. What was not wholly written goes out on the next one.
    pub(super) fn route_is_down(
        &mut self,
        now: Instant,
        pair: &Pair,
        conn: ConnId,
        unsent: Vec<Stanza>,
        reason: Reason,
    ) {
        let shutting_down = self.shutting_down;
        match self.routes.get_mut(pair) {
            Some(route) if matches!(route.state, State::Up(up) if up == conn) => {
                route.state = State::Idle;
                route.queue.put_back(now, unsent);
                if shutting_down { self.fail_route(now, pair, reason) } else { self.drive_route(now, pair) }
            }
            _ => {
                for stanza in unsent {
                    self.events.push_back(Event::Undeliverable { pair: pair.clone(), stanza, reason });
                }
            }
        }
    }

    /// The deadline of a route has come: of its attempt, or of its oldest stanza.
    pub(super) fn expire_route(&mut self, now: Instant, pair: &Pair) {
        let Some(route) = self.routes.get_mut(pair) else {
            return;
        };
        if let State::Reaching(dial) = &mut route.state
            && dial.deadline() <= now
        {
            dial.note_failure(Reason::NegotiationTimeout);
            let failure = dial.failure();
            return self.fail_route(now, pair, failure);
        }
        while let Some(stanza) = route.queue.pop_expired(now, self.config.queue_age) {
            let reason = Reason::QueueExpired;
            self.events.push_back(Event::Undeliverable { pair: pair.clone(), stanza, reason });
        }
        self.arm_route(pair);
    }
}
