//! The machine: reports in, effects and events out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::addr::Domain;
use crate::component::ending::{Ending, LinkError};
use crate::component::link::{Link, State};
use crate::component::turned_away::TurnedAway;
use crate::component::{Command, Config, Event, Measures};
use crate::entropy::{Entropy, Seed};
use crate::limits;
use crate::machine::{ConnId, Effect, Interest, Listener, Machine, QueryId};
use crate::time::Anchor;

/// Component links, and the table of our hosts.
///
/// Every stanza that goes in ends in exactly one place: with a component, as [`Event::Outbound`], or as
/// [`Event::Dropped`]; an answer takes the place of what it answers.
#[derive(Debug)]
pub struct Hub {
    pub(super) config: Config,
    /// The link of each host that has one: exactly those in [`State::Open`].
    pub(super) attached: BTreeMap<Domain, ConnId>,
    pub(super) links: BTreeMap<ConnId, Link>,
    pub(super) entropy: Entropy,
    deadlines: BTreeSet<(Instant, Owner)>,
    turned_away: TurnedAway,
    next_conn: u64,
    effects: VecDeque<Effect>,
    events: VecDeque<Event>,
    /// Whether links may read as far as the events that wait are concerned.
    reading: bool,
    shutting_down: bool,
}

/// Whose deadline it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Link(ConnId),
    TurnedAway,
}

impl Hub {
    /// A hub without links. Of time it needs deadlines only, so that the anchor is not kept: it is asked for because
    /// all machines are made alike.
    #[must_use]
    pub fn new(config: Config, seed: Seed, _anchor: Anchor) -> Self {
        Self {
            config,
            attached: BTreeMap::new(),
            links: BTreeMap::new(),
            entropy: Entropy::new(seed).fork("component stream ids", 0),
            deadlines: BTreeSet::new(),
            turned_away: TurnedAway::default(),
            next_conn: 0,
            effects: VecDeque::new(),
            events: VecDeque::new(),
            reading: true,
            shutting_down: false,
        }
    }

    /// How much there is of everything.
    #[must_use]
    pub fn measures(&self) -> Measures {
        Measures {
            attached: self.attached.len(),
            unattached: self.links.len().saturating_sub(self.attached.len()),
            pending_bytes: self.links.values().map(|link| link.output.len()).sum(),
        }
    }

    /// Tells the application.
    pub(super) fn tell(&mut self, event: Event) {
        self.events.push_back(event);
        if self.reading && self.events.len() >= limits::EVENTS_HIGH_WATER {
            self.reading = false;
            self.wake_all();
        }
    }

    /// Asks the adapter to look at `conn`, unless it is asked already.
    pub(super) fn wake(&mut self, conn: ConnId) {
        if let Some(link) = self.links.get_mut(&conn)
            && !link.wake_queued
        {
            link.wake_queued = true;
            self.effects.push_back(Effect::Wake(conn));
        }
    }

    fn wake_all(&mut self) {
        let conns: Vec<_> = self.links.keys().copied().collect();
        for conn in conns {
            self.wake(conn);
        }
    }

    /// Sets the one deadline of a link to `wait` from now; `None`: it has none any more.
    pub(super) fn arm(&mut self, now: Instant, conn: ConnId, wait: Option<Duration>) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        if let Some(at) = link.deadline.take() {
            self.deadlines.remove(&(at, Owner::Link(conn)));
        }
        // A wait beyond the end of time is one without end.
        if let Some(at) = wait.and_then(|wait| now.checked_add(wait)) {
            link.deadline = Some(at);
            self.deadlines.insert((at, Owner::Link(conn)));
        }
    }

    /// The one deadline of a link has come.
    fn expire(&mut self, now: Instant, conn: ConnId) {
        self.arm(now, conn, None);
        match self.links.get(&conn).map(|link| &link.state) {
            Some(State::ExpectHeader | State::ExpectHandshake { .. }) => {
                self.end(now, conn, &LinkError::HandshakeTimeout.into());
            }
            _ => self.drop_link(now, conn),
        }
    }

    /// Tells who was turned away, or arms the moment to do so.
    fn tell_turned_away(&mut self, now: Instant) {
        let Some(at) = self.turned_away.due(now) else { return };
        self.deadlines.remove(&(at, Owner::TurnedAway));
        match self.turned_away.take(now) {
            Some((addr, times)) => self.tell(Event::TurnedAway { addr, times }),
            None => {
                self.deadlines.insert((at, Owner::TurnedAway));
            }
        }
    }

    /// Asks for the writing half to be shut down behind what is pending.
    pub(super) fn close_write(&mut self, conn: ConnId) {
        self.wake(conn);
        self.effects.push_back(Effect::CloseWrite(conn));
    }

    /// Ends the connection and forgets it.
    pub(super) fn drop_link(&mut self, now: Instant, conn: ConnId) {
        self.arm(now, conn, None);
        if self.links.remove(&conn).is_some() {
            self.effects.push_back(Effect::Drop(conn));
        }
    }

    /// Drops a link on which everything was said by both sides.
    fn drop_if_done(&mut self, now: Instant, conn: ConnId) {
        let done = |link: &Link| matches!(link.state, State::Closing { peer_ended: true }) && link.output.is_empty();
        if self.links.get(&conn).is_some_and(done) {
            self.drop_link(now, conn);
        }
    }

    /// Bytes of output beyond which a component that does not read is not read from.
    fn output_mark(&self) -> usize {
        self.config.output_bytes.min(limits::OUTPUT_HIGH_WATER_BYTES)
    }

    fn reconfigure(&mut self, now: Instant, config: Config) {
        let old = std::mem::replace(&mut self.config, config);
        for (host, conn) in self.attached.clone() {
            let secret = |config: &Config| config.hosts.get(&host).map(|host| host.component_secret.clone());
            match secret(&self.config) {
                None => self.end(now, conn, &Ending::HostGone),
                new if new != secret(&old) => self.end(now, conn, &Ending::SecretChanged),
                _ => {
                    if let Some(link) = self.links.get_mut(&conn) {
                        link.set_stanza_bytes(self.config.stanza_bytes);
                    }
                }
            }
        }
        self.wake_all(); // the mark of the output may have moved
    }

    fn shutdown(&mut self, now: Instant) {
        self.shutting_down = true;
        let conns: Vec<_> = self.links.keys().copied().collect();
        for conn in conns {
            self.end(now, conn, &Ending::Shutdown);
        }
        // Nobody will be told later.
        if let Some((addr, times)) = self.turned_away.take_all(now) {
            self.deadlines.retain(|(_, owner)| *owner != Owner::TurnedAway);
            self.tell(Event::TurnedAway { addr, times });
        }
    }
}

impl Machine for Hub {
    type Command = Command;
    type Event = Event;

    fn handle_accept(&mut self, now: Instant, peer: SocketAddr, on: Listener) -> Option<ConnId> {
        let unattached = self.links.len().saturating_sub(self.attached.len());
        if on != Listener::Component || self.shutting_down {
            return None;
        }
        if unattached >= limits::UNATTACHED_COMPONENTS {
            self.turned_away.note(peer);
            self.tell_turned_away(now);
            return None;
        }
        let conn = ConnId(self.next_conn);
        self.next_conn = self.next_conn.wrapping_add(1);
        self.links.insert(conn, Link::new(peer));
        self.arm(now, conn, Some(self.config.handshake_timeout));
        self.wake(conn);
        Some(conn)
    }

    /// A hub dials nobody.
    fn handle_connected(&mut self, _now: Instant, _conn: ConnId) {}

    //= RFC6120-10.1-1
    fn handle_bytes(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(link) = self.links.get_mut(&conn) {
            let handled = match link.next_frame(&mut rest) {
                Ok(Some(frame)) => self.handle_frame(now, conn, frame),
                Ok(None) => break,
                Err(error) => Err(LinkError::Xml(error).into()),
            };
            if let Err(ending) = handled {
                self.end(now, conn, &ending);
            }
        }
    }

    fn handle_eof(&mut self, now: Instant, conn: ConnId) {
        match self.links.get_mut(&conn).map(|link| &mut link.state) {
            Some(State::ExpectHeader) => self.drop_link(now, conn),
            Some(State::Closing { peer_ended }) => *peer_ended = true,
            Some(State::ExpectHandshake { .. } | State::Open { .. }) => self.end(now, conn, &Ending::PeerEof),
            None => {}
        }
        self.drop_if_done(now, conn);
    }

    fn handle_sent(&mut self, now: Instant, conn: ConnId, n: usize) {
        let mark = self.output_mark();
        let Some(link) = self.links.get_mut(&conn) else { return };
        let was_over = link.output.len() > mark;
        link.output.consume(n);
        if was_over && link.output.len() <= mark {
            self.wake(conn);
        }
        self.drop_if_done(now, conn);
    }

    fn handle_closed(&mut self, now: Instant, conn: ConnId, _error: io::ErrorKind) {
        self.forsake(conn, &Ending::PeerEof);
        self.drop_link(now, conn);
    }

    /// A hub asks nobody.
    fn handle_reply(&mut self, _now: Instant, _query: QueryId, _message: Option<&[u8]>) {}

    fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, owner)) = self.deadlines.first().copied()
            && at <= now
        {
            self.deadlines.remove(&(at, owner));
            match owner {
                Owner::Link(conn) => self.expire(now, conn),
                Owner::TurnedAway => self.tell_turned_away(now),
            }
        }
    }

    /// Nothing here depends on wall-clock time.
    fn handle_clock(&mut self, _now: Instant, _unix: Duration) {}

    fn handle_command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Deliver(stanza) => self.deliver(stanza),
            Command::Undeliverable(stanza, reason) => self.return_to_sender(stanza, reason),
            Command::Measure => self.tell(Event::Measured(self.measures())),
            Command::Reconfigure(config) => self.reconfigure(now, config),
            Command::Shutdown => self.shutdown(now),
        }
    }

    fn poll_effect(&mut self) -> Option<Effect> {
        let effect = self.effects.pop_front()?;
        if let Effect::Wake(conn) = effect
            && let Some(link) = self.links.get_mut(&conn)
        {
            link.wake_queued = false;
        }
        Some(effect)
    }

    fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        // Half of the mark, so that links are not woken for every single event.
        if !self.reading && self.events.len() <= limits::EVENTS_HIGH_WATER / 2 {
            self.reading = true;
            self.wake_all();
        }
        event
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let (at, owner) = self.deadlines.first()?;
        let why = match owner {
            Owner::Link(conn) => match self.links.get(conn)?.state {
                State::Closing { .. } => "component close",
                _ => "component handshake",
            },
            Owner::TurnedAway => "turned away",
        };
        Some((*at, why))
    }

    fn pending(&self, conn: ConnId) -> &[u8] {
        self.links.get(&conn).map_or(&[], |link| link.output.pending())
    }

    fn interest(&self, conn: ConnId) -> Interest {
        let Some(link) = self.links.get(&conn) else { return Interest { read: false, write: false } };
        let read = match link.state {
            State::Closing { peer_ended } => !peer_ended,
            _ => self.reading && link.output.len() <= self.output_mark(),
        };
        Interest { read, write: !link.output.is_empty() }
    }

    fn is_finished(&self) -> bool {
        self.shutting_down && self.links.is_empty()
    }
}
