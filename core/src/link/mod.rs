//! One TCP connection: tunnel, framer and stream, with the splices of STARTTLS and of restarts.
//!
//! A link takes bytes and commands, and gives bytes and events. It has no policy: it asks its owner, through the
//! events of its stream, and suspends all input until the answer has come. Embedders that have their own routing
//! use it directly: `examples/link_alone.rs` is such a program. Whoever drives a link repeats these steps:
//!
//! 1. Call [`Link::handle_connected`], [`Link::handle_bytes`], [`Link::handle_eof`], [`Link::handle_closed`] or
//!    [`Link::handle_timeout`], or a command.
//! 2. Drain [`Link::poll_event`], and answer each event before the next is asked for, by a command of the table below;
//!    anything that must not be by [`Link::refuse`].
//! 3. Write what is [`pending`](Link::pending), report it by [`Link::handle_sent`], and do what
//!    [`Link::connection`] says, which is [`Connection::Drop`] in the end.
//! 4. Read while [`Link::wants_read`] says so, and arm the timer for [`Link::poll_timeout`]. How long the peer may take to
//!    answer a key or EXTERNAL on a stream that we opened, the owner knows: until something is authorised there, no timer
//!    of the link runs behind the features, but for a question about a key and for EXTERNAL that was not offered.
//!
//! | what the peer said | event | answered by |
//! |---|---|---|
//! | to us: a header | [`ReceivingEvent::HeaderReceived`] | [`Link::offer`] |
//! | a request for TLS | [`ReceivingEvent::StartTlsRequested`] | [`Link::proceed`] |
//! | a key | [`ReceivingEvent::KeyReceived`] | [`Link::answer_key`], at once or later |
//! | a question about a key of ours | [`ReceivingEvent::VerifyReceived`] | [`Link::answer_verify`] |
//! | on a stream that we opened: a header | [`InitiatingEvent::HeaderReceived`] | [`Link::accept_header`] |
//! | features | [`InitiatingEvent::FeaturesReceived`] | [`Link::starttls`], [`Link::external`], [`Link::send_key`] or [`Link::send_verify`] |
//! | that EXTERNAL failed | [`InitiatingEvent::ExternalRefused`] | [`Link::send_key`], if it may be |
//!
//! All others need no answer.
//!
//! After EXTERNAL the stream begins anew, so that a header comes once more: [`Receiving::settled_pair`] tells.
//! The functions of [`policy`](crate::policy) and [`verify`](crate::tls::verify) are there for the decisions.
//!
//! ```text
//!  bytes --> Tunnel --plain--> Framer --Frame--> Initiating | Receiving --> Event
//!  bytes <-- Tunnel <--------- plain <---------- Initiating | Receiving <-- commands
//! ```

mod close;
mod command;
mod in_flight;
mod retained;
mod timer;
mod tunnel;

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::addr::Domain;
use crate::buf::Output;
use crate::entropy::Entropy;
use crate::limits;
use crate::ns;
use crate::stream::{Condition, Flow, Initiating, InitiatingEvent, Receiving, ReceivingEvent, Sink, StreamError};
use crate::time::{TimerTable, later};
use crate::tls::{Facts, Provider, TlsError};
use crate::xml::{Bounds, Frame, Framer};

pub use close::{Connection, End};

use close::Phase;
use in_flight::InFlight;
use timer::Timer;
use tunnel::Tunnel;

/// What happened on a link.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// On a stream that we opened.
    Initiating(InitiatingEvent),
    /// On a stream that the peer opened.
    Receiving(ReceivingEvent),
    /// The stream is over. Nothing follows.
    Ended(End),
}

/// The times and sizes of one link.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Inbound: from the accept to the first proof.
    pub negotiation_timeout: Duration,
    /// Outbound: from the dial to features that may be acted on.
    pub attempt_timeout: Duration,
    /// From our closing tag to the end.
    pub close_timeout: Duration,
    /// Without a byte from the peer or a stanza of ours.
    pub idle_timeout: Duration,
    /// Bytes of a first-level element of an authenticated peer. Fewer than [`limits::MIN_STANZA_BYTES`] count as that
    /// many.
    pub stanza_bytes: usize,
}

/// One connection.
#[derive(Debug)]
pub struct Link {
    role: Role,
    tls: Arc<dyn Provider>,
    settings: Settings,
    entropy: Entropy,
    tunnel: Tunnel,
    framer: Framer,
    phase: Phase,
    /// Whether the peer has ended its half of the connection.
    peer_ended: bool,
    timers: TimerTable<Timer>,
    /// XML that is not framed yet, because a decision is awaited or an event was not taken.
    input: Output,
    /// Why TLS ends the connection, as soon as `input` is used up.
    tls_failure: Option<TlsError>,
    /// The condition of the peer's stream error.
    peer_condition: Option<Condition>,
    /// When something last arrived or was commanded.
    now: Instant,
    output: Output,
    events: VecDeque<Event>,
    /// XML bytes of a peer that has proved nothing; `None` once it has.
    unauthenticated_bytes: Option<usize>,
    /// Bytes ever put into `output`, and ever written to the socket.
    written: u64,
    sent: u64,
    /// Stanzas that are not wholly written to the socket.
    in_flight: VecDeque<InFlight>,
    /// Their bytes, with [`limits::QUEUED_STANZA_BYTES`] for each.
    in_flight_bytes: usize,
    /// Stanzas that have become wholly written since this was last asked.
    newly_written: u64,
    /// Whether we closed the stream in good order, before anything else ended it.
    closed_first: bool,
    /// Whether we ended the stream because of what the peer said: its closing tag was under way then, and answers nothing.
    peer_erred: bool,
    /// Whether the peer's closing tag came, and the connection has not broken since.
    peer_closed: bool,
    /// Whether the peer has announced its end, and all that it said was heard: what it did not answer it did not process.
    heard_out: bool,
    /// Whether the peer got its time once more, because it waited for us.
    extended: bool,
}

/// Who opened the stream.
#[derive(Debug)]
enum Role {
    Initiating {
        stream: Initiating,
        events: VecDeque<InitiatingEvent>,
        local: Domain,
        remote: Domain,
        direct_tls: bool,
    },
    Receiving {
        stream: Receiving,
        events: VecDeque<ReceivingEvent>,
    },
}

/// How much of the input is handled in one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// Up to the next event: what follows is handled once that was taken, so that a record full of stanzas delays the
    /// other peers by no more than those that the owner takes in a row.
    OneEvent,
    /// Stanzas do not hold it up.
    All,
}

impl Link {
    /// A link that we dial, from `local` to `remote`. It speaks once [`Link::handle_connected`] is called.
    #[must_use]
    pub fn initiating(
        now: Instant,
        local: Domain,
        remote: Domain,
        direct_tls: bool,
        tls: Arc<dyn Provider>,
        settings: Settings,
        entropy: Entropy,
    ) -> Self {
        let stream = Initiating::new(local.clone(), remote.clone());
        let mut link = Self::new(
            now,
            Role::Initiating { stream, events: VecDeque::new(), local, remote, direct_tls },
            tls,
            settings,
            entropy,
        );
        link.timers.set(Timer::Attempt, later(now, settings.attempt_timeout));
        link
    }

    /// A link that was accepted. With `direct_tls` it begins with TLS, and the server name chooses the certificate.
    #[must_use]
    pub fn receiving(
        now: Instant,
        direct_tls: bool,
        tls: Arc<dyn Provider>,
        settings: Settings,
        mut entropy: Entropy,
    ) -> Self {
        let stream = Receiving::new(entropy.hex_128(), false);
        let mut link = Self::new(now, Role::Receiving { stream, events: VecDeque::new() }, tls, settings, entropy);
        link.timers.set(Timer::Negotiation, later(now, settings.negotiation_timeout));
        if direct_tls {
            link.begin_tls(now, false);
        }
        link
    }

    //= RFC6120-13.12-5
    fn new(now: Instant, role: Role, tls: Arc<dyn Provider>, settings: Settings, entropy: Entropy) -> Self {
        Self {
            role,
            tls,
            settings: Settings { stanza_bytes: settings.stanza_bytes.max(limits::MIN_STANZA_BYTES), ..settings },
            entropy,
            tunnel: Tunnel::Clear,
            framer: Framer::new(ns::SERVER, UNAUTHENTICATED),
            phase: Phase::Open,
            peer_ended: false,
            timers: TimerTable::new(),
            input: Output::new(),
            tls_failure: None,
            peer_condition: None,
            now,
            output: Output::new(),
            events: VecDeque::new(),
            unauthenticated_bytes: Some(0),
            written: 0,
            sent: 0,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            newly_written: 0,
            closed_first: false,
            peer_erred: false,
            peer_closed: false,
            heard_out: false,
            extended: false,
        }
    }

    /// The connection that was dialled is open.
    //= RFC6120-3.1-1
    //= XEP0368-3-3
    //= XEP0368-3-4
    pub fn handle_connected(&mut self, now: Instant) {
        let Role::Initiating { stream, direct_tls, .. } = &mut self.role else {
            return;
        };
        if !self.phase.writes() {
            return; // it was given up before
        }
        if *direct_tls {
            self.begin_tls(now, false);
        } else {
            let mut plain = Vec::new();
            stream.open(&mut plain);
            self.transmit(&plain);
        }
    }

    /// Bytes arrived.
    pub fn handle_bytes(&mut self, now: Instant, bytes: &[u8]) {
        match self.phase {
            Phase::Open | Phase::Draining(_) => {
                self.touch(now);
                self.receive(now, bytes);
            }
            Phase::Lingering => self.linger(bytes), // decision D-20: after an error, input is dropped
            Phase::Closing | Phase::Ended => {}
        }
    }

    /// Whether a handshake of TLS is under way.
    #[must_use]
    pub const fn is_handshaking(&self) -> bool {
        self.phase.reads() && !self.tunnel.carries_xml()
    }

    /// What is to be written.
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        self.output.pending()
    }

    /// Whether reading makes sense now: not while the peer leaves our answers unread.
    #[must_use]
    pub fn wants_read(&self) -> bool {
        !self.phase.is_ended() && self.output.len() < limits::OUTPUT_HIGH_WATER_BYTES
    }

    /// Whether stanzas may be sent without piling them up in memory: behind a header that the peer has not answered they
    /// are kept although they are written.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let kept = if self.awaits_header_behind_stanzas() { self.in_flight_bytes } else { 0 };
        self.output.len().max(kept) < limits::OUTPUT_LOW_WATER_BYTES
    }

    /// The next event. Input that follows an event is handled when the event was taken and answered: what the peer
    /// sends next is judged by the answer, however its bytes were cut.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.refill();
        self.events.pop_front()
    }

    /// Whether the next event is a stanza.
    pub(crate) fn has_stanza(&mut self) -> bool {
        self.refill();
        matches!(self.events.front(), Some(Event::Receiving(ReceivingEvent::Stanza { .. })))
    }

    fn refill(&mut self) {
        let may_go_on = !self.input.is_empty() || self.framer.may_have_ended() || self.tls_failure.is_some();
        if self.events.is_empty() && may_go_on {
            let was_open = self.phase.reads();
            self.pump(self.now, Extent::OneEvent);
            if was_open && matches!(self.phase, Phase::Lingering | Phase::Closing) {
                // The last call may be long ago: the peer has its time from the next one on.
                self.timers.cancel(Timer::Close);
                self.timers.set(Timer::End, self.now);
            }
        }
    }

    /// Handles all that the peer has said, because the stream is about to end. What stands behind an event that is to be
    /// answered is not heard, as if it had not been read.
    pub(super) fn hear_out(&mut self, now: Instant) {
        self.pump(now, Extent::All);
    }

    /// When to call [`Link::handle_timeout`], and what for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.timers.next().map(|(timer, at)| (at, timer.as_str()))
    }

    /// What TLS established, if it protects this link.
    #[must_use]
    pub const fn facts(&self) -> Option<&Facts> {
        self.tunnel.facts()
    }

    /// The condition of the stream error with which the peer ended the stream, if it did.
    #[must_use]
    pub const fn peer_condition(&self) -> Option<Condition> {
        self.peer_condition
    }

    /// The stream, if we opened it.
    #[must_use]
    pub const fn initiating_stream(&self) -> Option<&Initiating> {
        match &self.role {
            Role::Initiating { stream, .. } => Some(stream),
            Role::Receiving { .. } => None,
        }
    }

    /// The stream, if the peer opened it.
    #[must_use]
    pub const fn receiving_stream(&self) -> Option<&Receiving> {
        match &self.role {
            Role::Receiving { stream, .. } => Some(stream),
            Role::Initiating { .. } => None,
        }
    }

    /// Takes bytes from the wire through the tunnel to the framer.
    fn receive(&mut self, now: Instant, bytes: &[u8]) {
        let before = self.output.len();
        let received = self.tunnel.receive(bytes, self.input.tail(), &mut self.output);
        self.count_written(before);
        self.tls_failure = received.failure;
        if received.secured {
            self.secured();
        }
        self.pump(now, Extent::OneEvent);
    }

    /// TLS is up: a new document begins on both sides.
    //= RFC6120-5.3.2-1
    //= RFC6120-4.3.3-1
    fn secured(&mut self) {
        self.framer.restart();
        match &mut self.role {
            Role::Initiating { stream, .. } => {
                let mut plain = Vec::new();
                stream.secured(&mut plain);
                self.transmit(&plain);
                self.events.push_back(Event::Initiating(InitiatingEvent::Secured));
            }
            Role::Receiving { stream, .. } => stream.secured(self.entropy.hex_128()),
        }
    }

    /// Frames and handles input until it is used up, or the owner has something to take or to decide.
    fn pump(&mut self, now: Instant, extent: Extent) {
        self.now = now;
        if !self.phase.reads() {
            return; // of a stream that is over, only the end of the input matters: it is kept for `linger`
        }
        let mut input = mem::take(&mut self.input);
        while (!input.is_empty() || self.framer.may_have_ended())
            && self.phase.reads()
            && self.tunnel.carries_xml()
            && !self.is_suspended(extent)
        {
            let offered = input.pending().get(..self.unauthenticated_room()).unwrap_or_else(|| input.pending());
            let mut rest = offered;
            let framed = self.framer.next(&mut rest);
            let used = offered.len().saturating_sub(rest.len());
            self.count_unauthenticated(used);
            input.consume(used);
            let flow = match framed {
                Err(error) => Err(StreamError::Xml(error)),
                Ok(_) if self.unauthenticated_room() == 0 => Err(StreamError::TooManyBytes),
                Ok(Some(frame)) => self.handle_frame(frame),
                Ok(None) => break,
            };
            match flow {
                Ok(Flow::StartTls) if !self.phase.writes() => return self.granted_too_late(now),
                Ok(Flow::StartTls) => return self.splice(now, input.pending()),
                Ok(flow) => self.follow(now, flow),
                Err(error) => {
                    self.input = input;
                    return self.fail(now, &error, None);
                }
            }
        }
        if self.phase.reads() {
            self.input = input;
        }
        if !self.is_suspended(extent)
            && let Some(error) = self.tls_failure.take()
        {
            self.fail_tls(now, &error);
        }
    }

    fn handle_frame(&mut self, frame: Frame) -> Result<Flow, StreamError> {
        let mut plain = Vec::new();
        let awaited = self.awaits_header_behind_stanzas();
        let flow = match &mut self.role {
            Role::Initiating { stream, events, .. } => {
                let flow = stream.handle(frame, &mut Sink { wire: &mut plain, events });
                self.events.extend(events.drain(..).map(Event::Initiating));
                if awaited && !self.awaits_header_behind_stanzas() {
                    self.timers.cancel(Timer::Attempt);
                }
                self.forget_sent();
                flow
            }
            Role::Receiving { stream, events } => {
                let flow = stream.handle(frame, &mut Sink { wire: &mut plain, events });
                self.events.extend(events.drain(..).map(Event::Receiving));
                flow
            }
        };
        self.transmit(&plain);
        self.note_authorisation();
        flow
    }

    /// Goes on after a frame, as the stream says.
    fn follow(&mut self, now: Instant, flow: Flow) {
        match flow {
            Flow::Continue | Flow::Undecided | Flow::StartTls => {}
            //= RFC6120-3.1-2
            //= RFC6120-4.3.3-2
            //= RFC6120-4.3.3-3
            Flow::Restart => {
                self.framer.restart();
                if let Role::Receiving { stream, .. } = &mut self.role {
                    //= RFC6120-4.7.3-1
                    stream.restarted(self.entropy.hex_128());
                }
            }
            Flow::StartTlsRefused => self.closed_after_starttls(now),
            Flow::Closed => self.closed_by_peer(now),
            Flow::Failed(error) => self.failed_by_peer(now, &error),
        }
    }

    /// The next byte is TLS; `rest` came behind `<starttls/>` or `<proceed/>` in the same piece.
    //= RFC6120-5.4.2.3-1
    //= RFC6120-5.4.2.3-2
    //= RFC6120-5.2-1
    //= RFC6120-13.4-1
    //= RFC7590-3.1-1
    fn splice(&mut self, now: Instant, rest: &[u8]) {
        self.begin_tls(now, true);
        if !rest.is_empty() && self.phase.reads() {
            self.receive(now, rest);
        }
    }

    /// Begins the handshake. `spliced`: after STARTTLS, where the domain of the stream chooses the certificate.
    //= RFC6120-5.4.3.1-5
    //= XEP0368-6-1
    fn begin_tls(&mut self, now: Instant, spliced: bool) {
        let session = match &self.role {
            Role::Initiating { local, remote, direct_tls, .. } => self.tls.client(local, remote, *direct_tls),
            Role::Receiving { stream, .. } => self.tls.server(stream.local()),
        };
        match session {
            Ok(session) => {
                let before = self.output.len();
                self.tunnel = Tunnel::handshaking(session, &mut self.output, spliced);
                self.count_written(before);
            }
            Err(error) => self.fail_tls(now, &error),
        }
    }

    /// Writes XML through the tunnel, unless our side of the stream is closed.
    fn transmit(&mut self, plain: &[u8]) {
        if plain.is_empty() || !self.phase.writes() {
            return;
        }
        let before = self.output.len();
        self.tunnel.send(plain, &mut self.output);
        self.count_written(before);
    }

    fn count_written(&mut self, before: usize) {
        self.written = self.written.saturating_add(self.output.len().saturating_sub(before) as u64);
    }

    /// How many bytes the framer may be offered so that the one beyond the bound is the last.
    fn unauthenticated_room(&self) -> usize {
        self.unauthenticated_bytes
            .map_or(usize::MAX, |bytes| (limits::UNAUTHENTICATED_TOTAL_BYTES + 1).saturating_sub(bytes))
    }

    fn count_unauthenticated(&mut self, consumed: usize) {
        if let Some(bytes) = &mut self.unauthenticated_bytes {
            *bytes = bytes.saturating_add(consumed);
        }
    }

    /// Whether the owner must take, and perhaps answer, an event before input goes on. Stanzas are not answered here,
    /// and nothing is decided any more once we have closed the stream.
    //= RFC6120-10.1-3
    fn is_suspended(&self, extent: Extent) -> bool {
        match (self.events.back(), extent) {
            (None, _) | (Some(Event::Receiving(ReceivingEvent::Stanza { .. })), Extent::All) => {}
            (Some(_), _) => return true,
        }
        let is_undecided = match &self.role {
            Role::Initiating { stream, .. } => stream.is_undecided(),
            Role::Receiving { stream, .. } => stream.is_undecided(),
        };
        is_undecided && self.phase.writes()
    }

    /// The first proof lifts the bounds that are for strangers.
    fn note_authorisation(&mut self) {
        if self.unauthenticated_bytes.is_none() {
            return;
        }
        let authorised = match &self.role {
            Role::Initiating { stream, .. } => stream.has_authorised(),
            Role::Receiving { stream, .. } => stream.proofs().next().is_some(),
        };
        if authorised {
            self.unauthenticated_bytes = None;
            self.timers.cancel(Timer::Negotiation);
            self.timers.cancel(Timer::Attempt);
            // On a stream that we opened it is we who have proved something, and no stanza comes there.
            //= RFC6120-13.12-4
            if let Role::Receiving { .. } = self.role {
                self.framer.set_bounds(Bounds {
                    element_bytes: self.settings.stanza_bytes,
                    depth: limits::ELEMENT_DEPTH,
                    children: limits::STANZA_CHILDREN,
                });
            }
        }
    }

    /// Something happened: the peer is not idle.
    fn touch(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Open) {
            self.timers.set(Timer::Idle, later(now, self.settings.idle_timeout));
        }
    }
}

/// The bounds for strangers (decision D-15).
const UNAUTHENTICATED: Bounds = Bounds {
    element_bytes: limits::UNAUTHENTICATED_ELEMENT_BYTES,
    depth: limits::ELEMENT_DEPTH,
    children: limits::UNAUTHENTICATED_CHILDREN,
};
