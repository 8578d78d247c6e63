//! Routes: what is sent for a pair waits, flows, or goes back with the reason.
//!
//! - [RFC 6120 section 10.4](https://www.rfc-editor.org/rfc/rfc6120#section-10.4)

use std::cmp::Reverse;
use std::fmt;
use std::time::Instant;

use crate::addr::Pair;
use crate::dns::Behalf;
use crate::limits;
use crate::machine::ConnId;
use crate::node::deadlines::Owner;
use crate::node::{Errand, Event, Node};
use crate::reason::Reason;
use crate::route::{Interrupted, Queue, Route, State};
use crate::stanza::Stanza;
use crate::time::later;

/// A stanza cannot be accepted. It is given back.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The sender's domain is not one that this node serves, or the recipient's is.
    NotOurs(Box<Stanza>),
    /// The queue of the pair is full, or the room of all pairs together is used up.
    QueueFull(Box<Stanza>),
    /// Policy refuses, the node is going down, or there are too many pairs ([`Reason::Limit`]).
    Refused(Box<Stanza>, Reason),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOurs(_) => f.write_str("the stanza is not from one of our domains to a remote one"),
            Self::QueueFull(_) => f.write_str(Reason::QueueFull.bounce_text()),
            Self::Refused(_, reason) => f.write_str(reason.bounce_text()),
        }
    }
}

impl std::error::Error for SendError {}

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
    //= RFC6120-4.5-2
    //= RFC6120-13.6-5
    //= XEP0220-2.3-1
    pub fn send(&mut self, now: Instant, stanza: Stanza) -> Result<(), SendError> {
        let pair = stanza.outbound_pair();
        match self.refusal_to_send(&pair) {
            None => {}
            Some(Reason::HostUnknown) => return Err(SendError::NotOurs(Box::new(stanza))),
            Some(reason) => return Err(SendError::Refused(Box::new(stanza), reason)),
        }
        let behalf = behalf_of(&stanza);
        if !self.has_room_for_route(now, &pair, behalf) {
            return Err(SendError::Refused(Box::new(stanza), Reason::Limit));
        }
        let cost = Queue::cost(&stanza);
        if self.config.limits.queue_bytes.saturating_sub(self.queued_bytes) < cost {
            return Err(SendError::QueueFull(Box::new(stanza)));
        }
        let route = self.routes.entry(pair.clone()).or_insert_with(|| {
            self.answering = self.answering.saturating_add(usize::from(behalf == Behalf::Peers));
            Route::new(behalf)
        });
        // What the stream has not written yet waits too.
        let in_flight = match route.state {
            State::Up(conn) | State::Leaving(conn, _) => {
                self.links.get(&conn).map_or(0, |connected| connected.link.in_flight_bytes())
            }
            State::Idle | State::Reaching(_) => 0,
        };
        let limit = self.config.limits.queue_bytes_per_pair.saturating_sub(in_flight);
        if let Err(stanza) = route.queue.push(now, stanza, limit) {
            return Err(SendError::QueueFull(Box::new(stanza)));
        }
        if behalf < route.behalf {
            route.behalf = behalf;
            self.answering = self.answering.saturating_sub(1);
            if let State::Reaching(dial) = &route.state
                && let Some(lookup) = dial.race().lookup()
            {
                self.resolver.promote(now, lookup);
            }
        }
        self.queued_bytes = self.queued_bytes.saturating_add(cost);
        self.totals.sent = self.totals.sent.saturating_add(1);
        self.drive_route(now, &pair);
        self.settle(now);
        Ok(())
    }

    /// Whether `pair` has a route, or there is room for one.
    fn has_room_for_route(&mut self, now: Instant, pair: &Pair, behalf: Behalf) -> bool {
        let has_spare = match behalf {
            Behalf::Ours => self.routes.len() <= KEPT_ROUTES,
            Behalf::Peers => self.answering <= KEPT_ANSWERING_ROUTES && self.routes.len() <= KEPT_ROUTES,
        };
        if has_spare || self.routes.contains_key(pair) {
            return true;
        }
        self.close_unused_streams(now);
        self.routes.len() < limits::ROUTES && (behalf == Behalf::Ours || self.answering < KEPT_ROUTES)
    }

    /// Where there are more routes than are to be kept, closes the streams that have carried nothing for longest, as
    /// idle ones are closed: first those that have carried nothing but answers to peers. One of ours that was used a
    /// short time ago stays as long as there is any room. They make room when they are gone.
    fn close_unused_streams(&mut self, now: Instant) {
        // To look at all of them takes long: not for each of many stanzas.
        if self.routes_swept.is_some_and(|swept| later(swept, limits::SWEEP_INTERVAL) > now) {
            return;
        }
        self.routes_swept = Some(now);
        let is_full = self.routes.len() >= limits::ROUTES;
        let (mut staying, mut answering, mut unused) = (self.routes.len(), self.answering, Vec::new());
        for route in self.routes.values() {
            let (State::Up(conn) | State::Leaving(conn, _)) = route.state else { continue };
            let Some(connected) = self.links.get(&conn) else { continue };
            if !route.queue.is_empty() {
                continue; // what closes is dialled again at once
            }
            if connected.link.is_closing() {
                staying = staying.saturating_sub(1);
                answering = answering.saturating_sub(usize::from(route.behalf == Behalf::Peers));
            } else if connected.has_written_all() {
                unused.push((Reverse(route.behalf), connected.last_used(), conn));
            }
        }
        unused.sort_unstable();
        for (Reverse(behalf), last_used, conn) in unused {
            let is_steady = later(last_used, limits::STEADY_STREAM) > now;
            let (is_surplus, answers) = match behalf {
                Behalf::Ours => (staying > KEPT_ROUTES && (is_full || !is_steady), 0),
                Behalf::Peers => (staying > KEPT_ROUTES || answering > KEPT_ANSWERING_ROUTES, 1),
            };
            if is_surplus {
                staying = staying.saturating_sub(1);
                answering = answering.saturating_sub(answers);
                self.close(now, conn, Reason::Idle);
            }
        }
        self.settle(now);
    }

    /// Does what the state of a route asks for while something waits in its queue.
    //= XEP0220-2.1.1-3
    fn drive_route(&mut self, now: Instant, pair: &Pair) {
        match self.routes.get(pair).map(|route| (&route.state, route.queue.is_empty())) {
            Some((State::Idle, false)) => self.begin_route(now, pair),
            Some((State::Up(_), _)) => self.feed(now, pair),
            _ => {}
        }
        self.arm_route(pair);
    }

    pub(super) fn arm_route(&mut self, pair: &Pair) {
        let route = self.routes.get(pair);
        let deadline = route.and_then(|route| route.deadline(self.config.limits.queue_age));
        self.deadlines.set(Owner::Route(pair.clone()), deadline);
        if route.is_some_and(|route| matches!(route.state, State::Idle) && route.queue.is_empty()) {
            self.remove_route(pair);
        }
    }

    fn remove_route(&mut self, pair: &Pair) -> Option<Route> {
        let route = self.routes.remove(pair)?;
        self.answering = self.answering.saturating_sub(usize::from(route.behalf == Behalf::Peers));
        Some(route)
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
            let Some((since, stanza)) = route.queue.pop() else {
                break;
            };
            self.queued_bytes = self.queued_bytes.saturating_sub(Queue::cost(&stanza));
            //= XEP0478-4-1
            //= XEP0478-4-2
            if max_bytes.is_some_and(|max| stanza.bytes().len() as u64 > u64::from(max)) {
                let reason = Reason::StanzaTooBig;
                if connected.written.is_empty() && link.in_flight_bytes() == 0 {
                    route.interruptions = 0; // it was the first to go
                }
                self.events.push_back(Event::Undeliverable { pair: pair.clone(), stanza, reason });
            } else if let Err(stanza) = link.send_stanza(now, since, stanza) {
                self.queued_bytes = self.queued_bytes.saturating_add(Queue::cost(&stanza));
                route.queue.put_back(vec![(since, stanza)]);
                break;
            }
        }
        self.dirty.insert(conn);
        self.arm_route(pair);
    }

    fn begin_route(&mut self, now: Instant, pair: &Pair) {
        if let Some(reason) = self.backoff.reason(now, pair, Behalf::Ours) {
            return self.fail_route(now, pair, reason);
        }
        let errand = Errand::Route(pair.clone());
        let dial = self.begin_dial(now, &errand, pair);
        if let Some(route) = self.routes.get_mut(pair) {
            route.state = State::Reaching(dial);
        }
        self.start_candidates(now, &errand);
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
        if let Some(mut route) = self.remove_route(pair) {
            self.queued_bytes = self.queued_bytes.saturating_sub(route.queue.bytes());
            while let Some((_, stanza)) = route.queue.pop() {
                self.events.push_back(Event::Undeliverable { pair: pair.clone(), stanza, reason });
            }
        }
        self.arm_route(pair);
    }

    /// The peer accepts stanzas of `pair` on `conn`.
    pub(super) fn route_is_up(&mut self, now: Instant, pair: &Pair, conn: ConnId) {
        match self.routes.get_mut(pair) {
            Some(route) if matches!(&route.state, State::Reaching(_)) => {
                if let State::Reaching(dial) = std::mem::replace(&mut route.state, State::Up(conn)) {
                    self.dial_succeeded(&dial);
                }
                self.backoff.note_success(pair);
                self.backoff.end(pair, Behalf::Ours);
                self.release_held_keys(now, &pair.remote);
                self.feed(now, pair);
            }
            _ => self.close(now, conn, Reason::Idle),
        }
    }

    /// The stream of a route is over. The next one begins when its connection is gone.
    pub(super) fn route_is_down(&mut self, pair: &Pair, conn: ConnId, reason: Reason) {
        if let Some(route) =
            self.routes.get_mut(pair).filter(|route| matches!(route.state, State::Up(up) if up == conn))
        {
            route.state = State::Leaving(conn, reason);
        }
    }

    /// The connection of a route is gone. What was not wholly written to it goes out on the next one, but for a stanza
    /// that was interrupted too often.
    pub(super) fn route_is_gone(
        &mut self,
        now: Instant,
        pair: &Pair,
        conn: ConnId,
        mut unsent: Vec<(Instant, Stanza)>,
        interrupted: Interrupted,
    ) {
        let leaving = self.routes.get_mut(pair).and_then(|route| match route.state {
            State::Leaving(leaving, reason) if leaving == conn => Some((route, reason)),
            _ => None,
        });
        match leaving {
            Some((route, reason)) => {
                route.state = State::Idle;
                if route.note_end(interrupted) {
                    let (_, stanza) = unsent.remove(0);
                    self.events.push_back(Event::Undeliverable { pair: pair.clone(), stanza, reason });
                }
                self.queued_bytes = self
                    .queued_bytes
                    .saturating_add(unsent.iter().map(|(_, stanza)| Queue::cost(stanza)).sum::<usize>());
                route.queue.put_back(unsent);
                if self.shutting_down {
                    self.fail_route(now, pair, Reason::Shutdown);
                } else {
                    self.drive_route(now, pair);
                }
            }
            None => {
                let reason = self.refusal_to_send(pair).unwrap_or(Reason::ConnectionReset);
                for (_, stanza) in unsent {
                    self.events.push_back(Event::Undeliverable { pair: pair.clone(), stanza, reason });
                }
            }
        }
    }

    /// Why nothing may be sent for `pair`, whatever its peer does.
    pub(super) fn refusal_to_send(&self, pair: &Pair) -> Option<Reason> {
        match self.config.hosts.get(&pair.local) {
            None => Some(Reason::HostUnknown),
            Some(_) if self.config.hosts.contains_key(&pair.remote) => Some(Reason::HostUnknown),
            Some(_) if self.shutting_down => Some(Reason::Shutdown),
            Some(options) => options.admit_outbound(&pair.remote).err(),
        }
    }

    /// The time that an attempt may take is over. Who has not answered a key lives, and is silent about that key only.
    fn expire_attempt(&mut self, now: Instant, pair: &Pair) {
        let errand = Errand::Route(pair.clone());
        let conn = self.dial(&errand).and_then(|dial| dial.race().active());
        let stream = conn.and_then(|conn| self.links.get(&conn)?.link.initiating_stream());
        let asked = stream.is_some_and(|stream| stream.awaits_answer_to_key(pair));
        let Some(dial) = self.dial_mut(&errand) else {
            return;
        };
        let reason = match conn {
            Some(_) if asked => Reason::DialbackTimeout,
            Some(_) => Reason::NegotiationTimeout,
            None if dial.race().has_begun() => Reason::ConnectTimeout,
            None => Reason::DnsTimeout,
        };
        dial.note_failure(reason);
        let failure = dial.failure();
        match conn {
            Some(conn) => self.raise_refused_pair(now, conn, pair, failure, String::new()),
            None => self.raise_unreached(pair.clone(), failure),
        }
        self.fail_errand(now, &errand, failure);
    }

    /// The deadline of a route has come: of its attempt, or of its oldest stanza.
    //= XEP0220-2.1.1-7
    pub(super) fn expire_route(&mut self, now: Instant, pair: &Pair) {
        let Some(route) = self.routes.get_mut(pair) else {
            return;
        };
        if let State::Reaching(dial) = &mut route.state {
            if dial.deadline() <= now {
                return self.expire_attempt(now, pair);
            }
            self.start_candidates(now, &Errand::Route(pair.clone()));
        }
        let Some(route) = self.routes.get_mut(pair) else {
            return;
        };
        while let Some(stanza) = route.queue.pop_expired(now, self.config.limits.queue_age) {
            self.queued_bytes = self.queued_bytes.saturating_sub(Queue::cost(&stanza));
            route.interruptions = 0; // it was the first to go
            let reason = Reason::QueueExpired;
            self.events.push_back(Event::Undeliverable { pair: pair.clone(), stanza, reason });
        }
        self.arm_route(pair);
    }
}

/// On whose behalf `stanza` goes out. Where answers go, and to how many domains, is the choice of whoever has asked.
fn behalf_of(stanza: &Stanza) -> Behalf {
    if stanza.may_bounce() { Behalf::Ours } else { Behalf::Peers }
}

/// Up to how many routes there are, none is closed for want of room.
const KEPT_ROUTES: usize = limits::ROUTES.saturating_sub(limits::SPARE_ROUTES);

/// The same of those that carry nothing but answers to peers. There may be no more of them than [`KEPT_ROUTES`].
const KEPT_ANSWERING_ROUTES: usize = KEPT_ROUTES.saturating_sub(limits::SPARE_ROUTES);
