//! How a link ends: by a closing tag of either side, by an error of either side, or because the connection broke.
//!
//! - [RFC 6120 section 4.4](https://www.rfc-editor.org/rfc/rfc6120#section-4.4), decision D-20

use std::mem;
use std::time::Instant;

use crate::addr::Domain;
use crate::link::timer::Timer;
use crate::link::{Event, Link, Role};
use crate::reason::Reason;
use crate::stream::{self, PeerError, Receiving, StreamError};
use crate::time::later;
use crate::tls::TlsError;

/// Why and by whom a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Why.
    pub reason: Reason,
    /// More, for the log only: of the peer's making where the peer ended it.
    pub detail: String,
}

/// What the owner of the socket is to do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Connection {
    /// Go on.
    Keep,
    /// Write what is pending, then end our half; go on reading until the peer ends its half.
    CloseWrite,
    /// End it at once.
    Drop,
}

/// How far the end has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Both sides may write.
    Open,
    /// We sent our closing tag, for this reason, and process what still arrives until the peer's comes.
    //= RFC6120-4.4-2
    Draining(Reason),
    /// We ended the stream with an error. What arrives is dropped, but our half stays open until the peer ends its
    /// own: some servers do not read an error that comes together with the end of the connection.
    //= RFC6120-4.4-1
    Lingering,
    /// The stream is over; the last bytes are on their way, and what arrives is dropped.
    Closing,
    /// The connection is to be dropped.
    Ended,
}

impl Phase {
    /// Whether what arrives is XML to be processed.
    pub(super) const fn reads(&self) -> bool {
        matches!(self, Self::Open | Self::Draining(_))
    }

    /// Whether XML may be written.
    pub(super) const fn writes(&self) -> bool {
        matches!(self, Self::Open)
    }

    pub(super) const fn is_ended(&self) -> bool {
        matches!(self, Self::Ended)
    }
}

impl Link {
    /// What is to be done with the socket.
    #[must_use]
    pub const fn connection(&self) -> Connection {
        match self.phase {
            Phase::Open | Phase::Draining(_) | Phase::Lingering => Connection::Keep,
            Phase::Closing => Connection::CloseWrite,
            Phase::Ended => Connection::Drop,
        }
    }

    /// Whether the stream is over or about to be: nothing can be sent on it any more.
    #[must_use]
    pub const fn is_closing(&self) -> bool {
        !matches!(self.phase, Phase::Open)
    }

    /// Whether the peer has ended the stream by its closing tag: it has processed what was wholly written before ours.
    //= RFC6120-4.4-2
    #[must_use]
    pub const fn ended_in_good_order(&self) -> bool {
        self.peer_closed
    }

    /// Whether we closed the stream in good order, before anything else ended it: whatever came of that, the peer has
    /// broken nothing.
    #[must_use]
    pub(crate) const fn has_closed_first(&self) -> bool {
        self.closed_first
    }

    /// Closes the stream in good order: our closing tag goes out, and what still arrives is processed.
    //= RFC6120-4.4-1
    pub fn close(&mut self, now: Instant, reason: Reason) {
        if !self.phase.writes() {
            return;
        }
        if !self.tunnel.carries_xml() || !self.has_sent_header() {
            return self.abandon(reason, String::new());
        }
        self.transmit(stream::CLOSING.as_bytes());
        self.phase = Phase::Draining(reason);
        self.closed_first = true;
        self.timers.clear();
        self.timers.set(Timer::Close, later(now, self.settings.close_timeout));
    }

    /// Closes the stream with an error, which is that of the header where it has a fault. `local` is the `from` of our
    /// header, if none was sent yet.
    //= RFC6120-4.9-1
    //= RFC6120-4.9.1.1-1
    //= RFC6120-4.9.1.2-1
    pub fn refuse(&mut self, now: Instant, error: &StreamError, local: Option<&Domain>) {
        let fault = self.fault_of_header();
        self.fail(now, fault.as_ref().unwrap_or(error), local);
    }

    /// What is wrong with the header that the owner decides on.
    pub(super) fn fault_of_header(&self) -> Option<StreamError> {
        self.receiving_stream()?.fault().cloned()
    }

    /// Nobody wants this connection any more, and nothing was said on it.
    pub fn cancel(&mut self) {
        self.phase = Phase::Ended;
        self.timers.clear();
    }

    /// We are going down: says so if there is a stream to say it on.
    pub fn shut_down(&mut self, now: Instant) {
        self.hear_out(now);
        if self.tunnel.carries_xml() && self.has_sent_header() {
            self.fail(now, &StreamError::Refused(Reason::Shutdown), None);
        } else {
            self.abandon(Reason::Shutdown, String::new());
        }
    }

    /// The peer will send no more.
    pub fn handle_eof(&mut self, now: Instant) {
        self.hear_out(now);
        match &self.phase {
            Phase::Open | Phase::Draining(_) => {
                let announced = self.tunnel.is_closed_by_peer();
                let detail = if announced { "end of connection" } else { "end of connection without close_notify" };
                // Anybody on the way can end a connection, and only the peer announces it.
                self.heard_out = announced && self.input.is_empty();
                self.handle_closed(now, detail);
            }
            Phase::Lingering | Phase::Closing => {
                self.peer_ended = true;
                self.half_close();
                self.drop_if_done();
            }
            Phase::Ended => {}
        }
    }

    /// What arrives while we linger is dropped; only the peer's end matters.
    pub(super) fn linger(&mut self, bytes: &[u8]) {
        let before = self.output.len();
        let failure = self.tunnel.receive(bytes, self.input.tail(), &mut self.output).failure;
        self.count_written(before);
        let body = self.ended_body();
        // Behind an error of its own it is no answer to ours: both were under way at once, and each drops what it reads.
        let answers = body.is_some_and(|body| !body.trim_ascii_end().ends_with(b"error>"));
        self.peer_closed |= answers && !self.peer_erred;
        self.drop_input(failure.as_ref());
    }

    /// What stands before the closing tag of the peer, if that has come.
    fn ended_body(&self) -> Option<&[u8]> {
        let closing = stream::CLOSING.as_bytes();
        let input = self.input.pending();
        let at = input.windows(closing.len()).position(|window| window == closing)?;
        input.get(..at)
    }

    /// Drops the input of a stream that we ended, up to the peer's end.
    fn drop_input(&mut self, failure: Option<&TlsError>) {
        //= RFC6120-5.3.5-2
        if failure == Some(&TlsError::Renegotiation) {
            return self.abandon(Reason::TlsFailed, String::new());
        }
        let ended = self.ended_body().is_some() || failure.is_some();
        if ended || (self.tunnel.facts().is_some() && self.tunnel.is_closed_by_peer()) {
            return self.half_close();
        }
        self.input.consume(self.input.len().saturating_sub(stream::CLOSING.len().saturating_mul(2)));
    }

    /// Nothing more is to be said: closes the tunnel and our half of the connection.
    fn half_close(&mut self) {
        if self.phase == Phase::Lingering {
            self.phase = Phase::Closing;
            let before = self.output.len();
            self.tunnel.close(&mut self.output);
            self.count_written(before);
            self.input.clear();
        }
    }

    /// The peer had its time: once everything is written, the connection ends without it.
    fn part(&mut self) {
        self.peer_ended = true;
        self.drop_if_done();
    }

    /// Drops the connection once both sides have ended and everything is written.
    pub(super) fn drop_if_done(&mut self) {
        if self.phase == Phase::Closing && self.peer_ended && self.output.is_empty() {
            self.phase = Phase::Ended;
            self.timers.clear();
        }
    }

    /// The connection broke, or could not be opened.
    //= RFC6120-4.6.1-1
    pub fn handle_closed(&mut self, now: Instant, detail: &str) {
        let was_over = self.phase.is_ended();
        self.hear_out(now);
        match self.phase.clone() {
            Phase::Open => {
                // A peer that goes in the middle of the handshake did not like what it saw there.
                let handshaking = !self.tunnel.carries_xml();
                let reason = if handshaking { Reason::TlsFailed } else { Reason::ConnectionReset };
                self.abandon(reason, detail.to_owned());
            }
            Phase::Draining(reason) => self.abandon(reason, String::new()),
            Phase::Lingering | Phase::Closing | Phase::Ended => self.phase = Phase::Ended,
        }
        // What was over cannot break any more.
        self.peer_closed &= was_over;
        self.output.clear();
        self.timers.clear();
    }

    /// The peer takes nothing of what we have to say, so that there is no way to say anything more.
    pub fn stalled(&mut self) {
        self.hear_out(self.now);
        self.abandon(Reason::Unresponsive, "the peer reads nothing".to_owned());
    }

    /// The moment of [`Link::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.expire(now) {
            let phase = self.phase.clone();
            self.hear_out(now);
            if self.phase != phase {
                // The stream has ended by what the peer said in time.
                if timer == Timer::Close {
                    self.part();
                }
                continue;
            }
            match (timer, phase) {
                (Timer::End, _) => self.timers.set(Timer::Close, later(now, self.settings.close_timeout)),
                //= RFC6120-4.4-3
                (Timer::Close, Phase::Draining(reason)) => {
                    self.end(now, reason, "the peer did not close its side".to_owned());
                    self.part();
                }
                (Timer::Close, Phase::Lingering) => {
                    self.half_close();
                    self.timers.set(Timer::Close, later(now, self.settings.close_timeout));
                    self.part();
                }
                (Timer::Close, _) => self.phase = Phase::Ended,
                //= RFC6120-4.6.3-1
                //= RFC6120-4.9.3.4-1
                (Timer::Idle, Phase::Open) if self.unauthenticated_bytes.is_none() => self.close(now, Reason::Idle),
                // It waits for us, who wait for the authoritative server: the silence is not its own.
                //= XEP0220-2.1.2-7
                (Timer::Negotiation, Phase::Open) if self.is_verifying() && !self.extended => {
                    self.extended = true;
                    self.timers.set(Timer::Negotiation, later(now, self.settings.negotiation_timeout));
                }
                (Timer::Attempt | Timer::Negotiation, Phase::Open) => self.give_up(now),
                _ => {}
            }
        }
    }

    /// Whether the peer waits for what becomes of a key.
    fn is_verifying(&self) -> bool {
        self.receiving_stream().is_some_and(Receiving::is_verifying)
    }

    /// The peer did not negotiate in time. During a handshake there is no XML to say it with.
    //= RFC6120-4.6.2-1
    fn give_up(&mut self, now: Instant) {
        if self.tunnel.carries_xml() && self.has_sent_header() {
            self.fail(now, &StreamError::Refused(Reason::NegotiationTimeout), None);
        } else {
            self.abandon(Reason::NegotiationTimeout, String::new());
        }
    }

    /// Ends the stream because of `error`, which the peer is told.
    //= RFC6120-4.9.1.4-1
    pub(super) fn fail(&mut self, now: Instant, error: &StreamError, local: Option<&Domain>) {
        if !self.phase.reads() {
            return;
        }
        let mut plain = Vec::new();
        if !self.has_sent_header() {
            self.write_late_header(local, &mut plain);
        }
        plain.extend_from_slice(stream::write_error(error).as_bytes());
        plain.extend_from_slice(stream::CLOSING.as_bytes());
        self.transmit(&plain);
        self.peer_erred = !matches!(error, StreamError::Refused(_) | StreamError::HostGone);
        let unread = mem::take(&mut self.input);
        let failure = self.tls_failure.take();
        self.finish(now, Phase::Lingering, error.reason(), error.condition().as_str().to_owned());
        // The peer's end may stand behind what we did not like, in the same piece.
        self.input = unread;
        self.drop_input(failure.as_ref());
    }

    /// Ends the connection because TLS failed: its alert is all that the peer is told. One that wants to renegotiate is
    /// told nothing, and not waited for.
    //= RFC6120-5.4.3.2-1
    //= RFC6120-5.4.3.2-2
    //= RFC6120-5.3.5-2
    //= RFC6120-5.3.5-3
    pub(super) fn fail_tls(&mut self, now: Instant, error: &TlsError) {
        if !self.phase.reads() {
            return;
        }
        if *error == TlsError::Renegotiation {
            return self.abandon(Reason::TlsFailed, error.to_string());
        }
        self.finish(now, Phase::Closing, Reason::TlsFailed, error.to_string());
    }

    /// The peer's closing tag came: ours answers it, if it did not come first.
    pub(super) fn closed_by_peer(&mut self, now: Instant) {
        self.peer_closed = true;
        let reason = match &self.phase {
            Phase::Draining(reason) => *reason,
            _ if self.unauthenticated_bytes.is_some() => Reason::ConnectionReset,
            _ => Reason::Idle,
        };
        self.transmit(stream::CLOSING.as_bytes());
        self.end(now, reason, "closed by the peer".to_owned());
    }

    /// The peer grants TLS on a stream that we have closed: nothing but TLS could follow, and we may say nothing more.
    //= RFC6120-4.4-2
    pub(super) fn granted_too_late(&mut self, now: Instant) {
        if let Phase::Draining(reason) = self.phase {
            self.end(now, reason, "the peer granted TLS after our closing tag".to_owned());
        }
    }

    /// STARTTLS was answered with a failure, by us or by the peer: the stream is closed.
    //= RFC6120-5.4.2.2-1
    pub(super) fn closed_after_starttls(&mut self, now: Instant) {
        self.transmit(stream::CLOSING.as_bytes());
        self.end(now, Reason::StarttlsRefused, String::new());
    }

    /// The peer's stream error came.
    //= RFC6120-4.9.1.1-2
    pub(super) fn failed_by_peer(&mut self, now: Instant, error: &PeerError) {
        //= RFC6120-4.9.3.16-1
        if let (stream::Condition::Reset, Role::Initiating { local, remote, .. }) = (error.condition, &self.role) {
            self.tls.forget_sessions(local, remote);
        }
        self.transmit(stream::CLOSING.as_bytes());
        self.peer_condition = Some(error.condition);
        let detail = match error.text.as_str() {
            "" => error.condition.to_string(),
            text => format!("{}: {text}", error.condition),
        };
        let reason = match error.condition {
            stream::Condition::SystemShutdown => Reason::Shutdown,
            _ => Reason::PeerStreamError,
        };
        self.end(now, reason, detail);
    }

    /// The peer has said everything: closes the tunnel, and waits for the peer to go.
    fn end(&mut self, now: Instant, reason: Reason, detail: String) {
        let before = self.output.len();
        self.tunnel.close(&mut self.output);
        self.count_written(before);
        self.finish(now, Phase::Closing, reason, detail);
    }

    /// The stream is over.
    fn finish(&mut self, now: Instant, phase: Phase, reason: Reason, detail: String) {
        self.phase = phase;
        self.events.push_back(Event::Ended(End { reason, detail }));
        self.timers.clear();
        self.timers.set(Timer::Close, later(now, self.settings.close_timeout));
        self.input.clear();
    }

    /// Ends everything at once, without another byte.
    pub(super) fn abandon(&mut self, reason: Reason, detail: String) {
        if matches!(self.phase, Phase::Open | Phase::Draining(_)) {
            self.events.push_back(Event::Ended(End { reason, detail }));
        }
        self.phase = Phase::Ended;
        self.timers.clear();
        self.input.clear();
    }

    const fn has_sent_header(&self) -> bool {
        match &self.role {
            Role::Initiating { stream, .. } => stream.has_sent_header(),
            Role::Receiving { stream, .. } => stream.has_sent_header(),
        }
    }

    /// The header that must stand before an error.
    fn write_late_header(&mut self, local: Option<&Domain>, plain: &mut Vec<u8>) {
        match &mut self.role {
            Role::Initiating { stream, .. } => stream.open(plain),
            Role::Receiving { stream, .. } => stream.open_for_error(local, plain),
        }
    }
}
