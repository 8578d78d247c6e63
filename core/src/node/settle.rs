//! The calls of an adapter, and what follows from each: children are drained until nothing is left to say.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::limits;
use crate::link::{self, Connection, Link};
use crate::machine::{ConnId, Effect, Interest, Listener, Machine, QueryId};
use crate::node::deadlines::Owner;
use crate::node::measures::Recent;
use crate::node::{Bound, Command, Connected, Errand, Event, Node, Purpose};
use crate::rate::TokenBucket;
use crate::reason::Reason;
use crate::route::Interrupted;
use crate::time::{Anchor, later};

impl Machine for Node {
    type Command = Command;
    type Event = Event;

    fn handle_accept(&mut self, now: Instant, peer: SocketAddr, on: Listener) -> Option<ConnId> {
        if self.shutting_down || on == Listener::Component {
            return None;
        }
        self.config.tls.set_time(self.anchor.unix_at(now));
        let direct_tls = on == Listener::DirectTls;
        if let Err(bound) = self.admit(now, peer, direct_tls) {
            self.turned_away.note(bound, peer);
            self.tell_turned_away(now);
            return None;
        }
        self.totals.accepted = self.totals.accepted.saturating_add(1);
        let id = self.next_id();
        let conn = ConnId(id);
        let entropy = self.entropy.fork("link", id);
        let link = Link::receiving(now, direct_tls, self.config.tls.clone(), self.link_settings(), entropy);
        self.insert(conn, now, link, peer, Purpose::Inbound);
        if let Some(connected) = self.links.get_mut(&conn) {
            connected.handshaking = direct_tls;
        }
        self.settle(now);
        Some(conn)
    }

    fn handle_connected(&mut self, now: Instant, conn: ConnId) {
        if self.race_connected(conn)
            && !self.give_up_if_unwanted(now, conn)
            && let Some(connected) = self.touch(conn)
        {
            connected.open = true;
            connected.link.handle_connected(now);
            self.opening = self.opening.saturating_sub(1);
            self.ask_for_tls_ahead(now, conn);
        }
        self.settle(now);
    }

    fn handle_bytes(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) {
        self.turns_left = self.turns_left.max(limits::STANZAS_AFTER_READ);
        if let Some(connected) = self.touch(conn) {
            connected.link.handle_bytes(now, bytes);
            let stanzas = connected.link.take_written();
            connected.written.note(now, stanzas);
            self.totals.written = self.totals.written.saturating_add(stanzas);
        }
        // What was kept until the peer had answered makes room.
        self.feed_stream(now, conn);
        self.charge(now, conn, bytes.len());
        self.settle(now);
    }

    fn handle_eof(&mut self, now: Instant, conn: ConnId) {
        if let Some(connected) = self.touch(conn) {
            connected.link.handle_eof(now);
        }
        self.settle(now);
    }

    fn handle_sent(&mut self, now: Instant, conn: ConnId, n: usize) {
        let Some(connected) = self.touch(conn) else {
            return;
        };
        connected.taken_bytes = connected.taken_bytes.saturating_add(n);
        if connected.taken_bytes >= limits::WRITE_PROGRESS_BYTES {
            connected.stalled_at = None;
        }
        let stanzas = connected.link.handle_sent(n);
        connected.written.note(now, stanzas);
        self.totals.written = self.totals.written.saturating_add(stanzas);
        self.feed_stream(now, conn);
        self.settle(now);
    }

    fn handle_closed(&mut self, now: Instant, conn: ConnId, error: io::ErrorKind) {
        if let Some(connected) = self.touch(conn) {
            connected.link.handle_closed(now, &error.to_string());
            if !connected.open {
                let refused = error == io::ErrorKind::ConnectionRefused;
                connected.connect_failure = Some(if refused { Reason::ConnectRefused } else { Reason::ConnectTimeout });
            }
        }
        self.settle(now);
    }

    fn handle_reply(&mut self, now: Instant, query: QueryId, message: Option<&[u8]>) {
        self.resolver.handle_reply(now, query, message);
        self.settle(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        while let Some(owner) = self.deadlines.expire(now) {
            match owner {
                Owner::Link(conn) => {
                    if let Some(connected) = self.touch(conn) {
                        connected.paused_until = connected.paused_until.filter(|until| *until > now);
                        connected.link.handle_timeout(now);
                        if connected.stalled_at.is_some_and(|at| at <= now) {
                            connected.link.stalled();
                        }
                    }
                }
                Owner::Resolver => self.resolver.handle_timeout(now),
                Owner::Route(pair) => self.expire_route(now, &pair),
                Owner::TurnedAway => self.tell_turned_away(now),
                Owner::Turns => self.turns_left = limits::STANZAS_AT_ONCE,
                Owner::Verification(id) => self.expire_verification(now, id),
            }
            self.settle(now);
        }
    }

    fn handle_clock(&mut self, now: Instant, unix: Duration) {
        self.anchor = Anchor { instant: now, unix };
    }

    fn handle_command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Send(stanza) => {
                if let Err(error) = self.send(now, stanza) {
                    let (stanza, reason) = error.into_parts();
                    let pair = stanza.outbound_pair();
                    self.events.push_back(Event::Undeliverable { pair, stanza, reason });
                }
            }
            Command::Measure => self.events.push_back(Event::Measured(self.measures())),
            Command::SignOfLife { pair, from } => {
                self.backoff.note_sign_of_life(now, &pair, from);
                self.release_held_keys(now, &pair.remote);
                self.settle(now);
            }
            Command::Reconfigure(config) => self.reconfigure(now, *config),
            Command::Shutdown => self.shutdown(now),
        }
    }

    fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    fn poll_event(&mut self) -> Option<Event> {
        if self.events.is_empty() {
            self.take_turn();
        }
        let event = self.events.pop_front();
        if self.congested && self.events.len() <= limits::EVENTS_HIGH_WATER / 2 {
            self.congested = false;
            self.effects.extend(self.links.keys().copied().map(Effect::Wake));
        }
        event
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.deadlines.next()
    }

    fn pending(&self, conn: ConnId) -> &[u8] {
        self.links.get(&conn).map(|connected| connected.link.pending()).unwrap_or_default()
    }

    fn interest(&self, conn: ConnId) -> Interest {
        self.links.get(&conn).map_or(Interest { read: false, write: false }, |connected| Interest {
            read: connected.reads() && !self.congested,
            write: !connected.link.pending().is_empty(),
        })
    }

    fn is_negotiating(&self, conn: ConnId) -> bool {
        self.links.get(&conn).is_some_and(|connected| !connected.proved && connected.up.is_empty())
    }

    fn is_finished(&self) -> bool {
        self.shutting_down && self.links.is_empty() && self.effects.is_empty()
    }
}

impl Node {
    /// Closes all streams, gives back what waits, and accepts nothing more.
    //= RFC6120-4.9.3.20-1
    pub fn shutdown(&mut self, now: Instant) {
        self.shutting_down = true;
        self.tell_turned_away(now);
        let pairs: Vec<_> = self.routes.keys().cloned().collect();
        for pair in pairs {
            self.fail_route(now, &pair, Reason::Shutdown);
        }
        let ids: Vec<_> = self.verifications.keys().copied().collect();
        for id in ids {
            self.fail_verification(now, id, Reason::Shutdown);
        }
        let conns: Vec<_> = self.links.keys().copied().collect();
        for conn in conns {
            if let Some(connected) = self.touch(conn) {
                connected.link.shut_down(now);
            }
        }
        self.settle(now);
    }

    /// Takes a link into the node.
    pub(super) fn insert(&mut self, conn: ConnId, now: Instant, link: Link, addr: SocketAddr, purpose: Purpose) {
        let open = purpose == Purpose::Inbound;
        let connected = Connected {
            link,
            addr,
            since: now,
            purpose,
            open,
            half_closed: false,
            header: (None, None),
            served: false,
            proved: false,
            connect_failure: None,
            reloaded: false,
            up: BTreeMap::new(),
            rate: self.config.limits.rate_per_connection.map(|rate| TokenBucket::new(now, rate)),
            paused_until: None,
            handshaking: false,
            bound: None,
            in_flight_bytes: 0,
            written: Recent::default(),
            stalled_at: None,
            taken_bytes: 0,
            refused_keys: (now, 0),
            certificate: OnceCell::new(),
            judgement: RefCell::new(None),
            in_turn: false,
            reading: open,
        };
        self.opening = self.opening.saturating_add(usize::from(!open));
        self.dirty.insert(conn);
        self.links.insert(conn, Box::new(connected));
    }

    /// Counts a connection from `peer`, and the handshake that a listener for direct TLS begins with.
    fn admit(&mut self, now: Instant, peer: SocketAddr, direct_tls: bool) -> Result<(), Bound> {
        let (addr, limits) = (peer.ip(), &self.config.limits);
        self.admission.admit(now, addr, limits)?;
        if direct_tls {
            if let Err(bound) = self.admission.begin_handshake(now, addr, limits) {
                self.admission.leave(addr, true);
                return Err(bound);
            }
            self.totals.handshakes = self.totals.handshakes.saturating_add(1);
        }
        Ok(())
    }

    /// Tells who was turned away, or arms the moment to do so.
    fn tell_turned_away(&mut self, now: Instant) {
        let told = if self.shutting_down { self.turned_away.take_all() } else { self.turned_away.take(now) };
        self.events.extend(told.into_iter().map(|(bound, times, addr)| Event::TurnedAway { bound, times, addr }));
        let next = self.turned_away.due(now).map(|at| (at, "turned away"));
        self.deadlines.set(Owner::TurnedAway, next);
    }

    /// Drains all children, as often as one of them is told something.
    pub(super) fn settle(&mut self, now: Instant) {
        self.now = now;
        loop {
            while let Some(conn) = self.dirty.pop_first() {
                self.settle_link(now, conn);
            }
            while let Some(effect) = self.resolver.poll_effect() {
                self.totals.dns_queries =
                    self.totals.dns_queries.saturating_add(u64::from(matches!(effect, Effect::Ask { .. })));
                self.effects.push_back(effect);
            }
            let Some((lookup, progress)) = self.resolver.poll_progress() else {
                break;
            };
            self.handle_progress(now, lookup, progress);
        }
        let next = self.resolver.poll_timeout().map(|at| (at, "dns"));
        self.deadlines.set(Owner::Resolver, next);
        if self.events.len() >= limits::EVENTS_HIGH_WATER {
            self.congested = true;
        }
    }

    /// Hands waiting stanzas to a link that may have room now.
    fn feed_stream(&mut self, now: Instant, conn: ConnId) {
        if let Some(Errand::Route(pair)) = self.errand_of(conn) {
            self.feed(now, &pair);
        }
    }

    /// Takes what was read out of the rates that bound it; where one is exceeded, nothing is read for a while.
    //= RFC6120-13.12-7
    //= XEP0205-4.7-1
    //= XEP0478-8-1
    fn charge(&mut self, now: Instant, conn: ConnId, bytes: usize) {
        let Some(connected) = self.links.get_mut(&conn) else {
            return;
        };
        let mut ready = None;
        if let Some(rate) = &mut connected.rate {
            rate.spend(now, bytes);
            ready = rate.ready_at(now);
        }
        if let Some(rate) = self.config.limits.rate_per_domain {
            // Each domain that is proved here has said it, as far as anybody can tell.
            let domains = connected.up.keys().map(|pair| &pair.remote).collect();
            ready = ready.max(self.rates.spend(now, &domains, rate, bytes));
        }
        connected.paused_until = ready;
    }

    /// Lets a link go whose connection is to be dropped.
    fn remove(&mut self, now: Instant, conn: ConnId) {
        self.deadlines.set(Owner::Link(conn), None);
        self.effects.push_back(Effect::Drop(conn));
        let Some(mut connected) = self.links.remove(&conn) else {
            return;
        };
        if connected.handshaking {
            self.admission.end_handshake(connected.addr.ip());
        }
        self.opening = self.opening.saturating_sub(usize::from(!connected.open));
        self.queued_bytes = self.queued_bytes.saturating_sub(connected.in_flight_bytes);
        match &connected.purpose {
            Purpose::Inbound => self.admission.leave(connected.addr.ip(), !connected.proved),
            Purpose::Errand(Errand::Verify(_)) => {}
            Purpose::Errand(Errand::Route(pair)) => {
                let interrupted = connected.link.is_interrupted();
                let unsent = connected.link.take_unsent();
                let stanzas = connected.link.take_written();
                connected.written.note(now, stanzas);
                self.totals.written = self.totals.written.saturating_add(stanzas);
                let interrupted = match interrupted {
                    false => Interrupted::Nothing,
                    true if connected.written.is_empty() => Interrupted::First,
                    true => Interrupted::Later,
                };
                let stanzas = if connected.link.ended_in_good_order() { 0 } else { connected.written.count(now) };
                if stanzas > 0 {
                    self.totals.uncertain = self.totals.uncertain.saturating_add(stanzas);
                    self.events.push_back(Event::Uncertain { pair: pair.clone(), conn, stanzas });
                }
                self.route_is_gone(now, pair, conn, unsent, interrupted);
            }
        }
    }

    fn settle_link(&mut self, now: Instant, conn: ConnId) {
        while !self.take_place_in_turn(conn)
            && let Some(event) = self.links.get_mut(&conn).and_then(|connected| connected.link.poll_event())
        {
            match event {
                link::Event::Receiving(event) => self.handle_inbound(now, conn, event),
                link::Event::Initiating(event) => self.handle_outbound(now, conn, event),
                link::Event::Ended(end) => self.handle_ended(now, conn, &end),
            }
        }
        self.dirty.remove(&conn);
        let Some(connected) = self.links.get_mut(&conn) else {
            return;
        };
        match connected.link.connection() {
            // What it said before is heard first.
            Connection::Drop if !connected.in_turn => return self.remove(now, conn),
            Connection::CloseWrite if !connected.half_closed => {
                connected.half_closed = true;
                self.effects.push_back(Effect::CloseWrite(conn));
            }
            Connection::CloseWrite | Connection::Drop | Connection::Keep => {}
        }
        if connected.handshaking && !connected.link.is_handshaking() {
            connected.handshaking = false;
            self.admission.end_handshake(connected.addr.ip());
        }
        let in_flight_bytes = connected.link.in_flight_bytes();
        self.queued_bytes = self.queued_bytes.saturating_sub(connected.in_flight_bytes).saturating_add(in_flight_bytes);
        connected.in_flight_bytes = in_flight_bytes;
        connected.stalled_at = match connected.stalled_at {
            _ if !connected.open || connected.link.connection() == Connection::Drop => None,
            _ if connected.link.pending().is_empty() => None,
            None => {
                connected.taken_bytes = 0;
                Some(later(now, limits::WRITE_STALL))
            }
            armed => armed,
        };
        let reading = connected.reads();
        if connected.open && (!connected.link.pending().is_empty() || reading != connected.reading) {
            connected.reading = reading;
            self.effects.push_back(Effect::Wake(conn));
        }
        let resume = connected.paused_until.map(|until| (until, "read rate"));
        let stalled = connected.stalled_at.map(|at| (at, "write"));
        let deadline = connected.link.poll_timeout().into_iter().chain(resume).chain(stalled);
        let deadline = deadline.min_by_key(|(at, _)| *at);
        self.deadlines.set(Owner::Link(conn), deadline);
    }
}
