//! What the owner of a link tells it: decisions, answers, stanzas. A command that does not fit the state of the
//! stream changes nothing.

use std::mem;
use std::sync::Arc;
use std::time::Instant;

use crate::addr::{Domain, Pair};
use crate::dialback::Answer;
use crate::limits;
use crate::link::in_flight::InFlight;
use crate::link::timer::Timer;
use crate::link::{Extent, Link, Role};
use crate::policy::Offer;
use crate::stanza::Stanza;
use crate::stream::{Initiating, KeyOutcome, Receiving, StreamError};
use crate::time::later;
use crate::tls::Provider;

impl Link {
    /// Outbound, on the response header: let the peer go on.
    pub fn accept_header(&mut self, now: Instant) {
        self.initiate(now, |stream, _| stream.accept_header());
    }

    /// Outbound, ahead of features: ask for TLS.
    pub fn starttls_ahead(&mut self, now: Instant) {
        self.initiate(now, Initiating::starttls_ahead);
    }

    /// Outbound, ahead of features: attempt EXTERNAL.
    pub fn external_ahead(&mut self, now: Instant) {
        self.initiate(now, Initiating::external_ahead);
    }

    /// Outbound, ahead of features: ask about a key that we were sent.
    pub fn verify_ahead(&mut self, now: Instant, pair: &Pair, id: String, key: String) {
        self.initiate(now, |stream, wire| stream.verify_ahead(pair, id, key, wire));
    }

    /// Outbound: stanzas need not wait for the features behind authentication.
    pub fn expect_last_features(&mut self, now: Instant, max_bytes: Option<u32>) {
        self.initiate(now, |stream, _| stream.expect_last_features(max_bytes));
    }

    /// Outbound, on features: ask for TLS.
    pub fn starttls(&mut self, now: Instant) {
        self.initiate(now, Initiating::starttls);
    }

    /// Outbound, on features: attempt EXTERNAL.
    pub fn external(&mut self, now: Instant) {
        let features = self.initiating_stream().and_then(Initiating::features);
        match features.map(|features| features.external) {
            Some(true) => self.timers.cancel(Timer::Attempt),
            Some(false) if self.phase.writes() => {
                // It was said ahead: some peers never answer what they have not offered.
                let patience = limits::UNASKED_ANSWER.min(self.settings.attempt_timeout);
                self.timers.set(Timer::Attempt, later(now, patience));
            }
            Some(false) | None => {}
        }
        self.initiate(now, Initiating::external);
    }

    /// Outbound, on features or later: prove `pair` by a dialback key.
    pub fn send_key(&mut self, now: Instant, pair: &Pair, key: String) {
        if self.takes_dialback() {
            self.timers.cancel(Timer::Attempt);
        }
        self.initiate(now, |stream, wire| stream.send_key(pair, key, wire));
    }

    /// Outbound, on features or later: ask about a key that we were sent.
    pub fn send_verify(&mut self, now: Instant, pair: &Pair, id: String, key: String) {
        // A peer waits for the answer on a stream that is being negotiated: another candidate may know it in time.
        if self.takes_dialback() {
            self.timers.set(Timer::Attempt, later(now, self.settings.attempt_timeout));
        }
        self.initiate(now, |stream, wire| stream.send_verify(pair, id, key, wire));
    }

    /// Whether what we say of dialback goes out.
    fn takes_dialback(&self) -> bool {
        self.phase.writes() && self.initiating_stream().is_some_and(Initiating::takes_dialback)
    }

    /// Outbound: sends a stanza of an authorised pair, which has waited `since`, or gives it back.
    //= XEP0220-2.1.1-4
    pub fn send_stanza(&mut self, now: Instant, since: Instant, stanza: Stanza) -> Result<(), Stanza> {
        let authorised = match &self.role {
            Role::Initiating { stream, .. } => stream.is_authorised(&stanza.outbound_pair()),
            Role::Receiving { .. } => false,
        };
        // A session that has failed writes nothing any more, although its end is not told yet.
        if !authorised || !self.phase.writes() || self.tls_failure.is_some() {
            return Err(stanza);
        }
        self.touch(now);
        if self.in_flight.is_empty() && self.awaits_header_behind_stanzas() {
            self.timers.set(Timer::Attempt, later(now, self.settings.attempt_timeout));
        }
        let begin = self.written;
        self.transmit(stanza.bytes());
        let in_flight = InFlight { span: begin..self.written, since, stanza };
        self.in_flight_bytes = self.in_flight_bytes.saturating_add(in_flight.cost());
        self.in_flight.push_back(in_flight);
        Ok(())
    }

    /// Inbound, on a header: answers it as `local`, with these features; a header with a
    /// [fault](crate::stream::Receiving::fault) gets the error in their place.
    pub fn offer(&mut self, now: Instant, local: Domain, offer: Offer) {
        if let Some(fault) = self.fault_of_header() {
            return self.fail(now, &fault, Some(&local));
        }
        let max_bytes = self.settings.stanza_bytes;
        self.receive_with(now, |stream, wire| {
            stream.offer(local, offer, max_bytes, wire);
            Ok(())
        });
    }

    /// Inbound, on the request for TLS: grant it, unless we have closed the stream since.
    pub fn proceed(&mut self, now: Instant) {
        let mut plain = Vec::new();
        let granted = match &mut self.role {
            Role::Receiving { stream, .. } if self.phase.writes() => stream.proceed(&mut plain),
            Role::Receiving { .. } | Role::Initiating { .. } => false,
        };
        self.transmit(&plain);
        if granted {
            let input = mem::take(&mut self.input);
            self.splice(now, input.pending());
        }
    }

    /// Inbound: what became of a key.
    pub fn answer_key(&mut self, now: Instant, pair: &Pair, outcome: KeyOutcome) {
        self.receive_with(now, |stream, wire| stream.answer_key(pair, outcome, wire));
    }

    /// Inbound: whether a key is ours.
    pub fn answer_verify(&mut self, now: Instant, receiving: Domain, originating: Domain, id: String, answer: Answer) {
        self.receive_with(now, |stream, wire| {
            stream.answer_verify(receiving, originating, id, answer, wire);
            Ok(())
        });
    }

    /// Inbound: takes back the proof of a pair that policy forbids now. True if it was there.
    pub fn revoke(&mut self, pair: &Pair) -> bool {
        match &mut self.role {
            Role::Receiving { stream, .. } => stream.revoke(pair),
            Role::Initiating { .. } => false,
        }
    }

    /// Takes other certificates, for a handshake that has not begun.
    pub fn set_provider(&mut self, tls: Arc<dyn Provider>) {
        self.tls = tls;
    }

    fn initiate(&mut self, now: Instant, command: impl FnOnce(&mut Initiating, &mut Vec<u8>)) {
        let mut plain = Vec::new();
        if let Role::Initiating { stream, .. } = &mut self.role {
            command(stream, &mut plain);
        }
        self.transmit(&plain);
        self.pump(now, Extent::OneEvent);
    }

    fn receive_with(
        &mut self,
        now: Instant,
        command: impl FnOnce(&mut Receiving, &mut Vec<u8>) -> Result<(), StreamError>,
    ) {
        let mut plain = Vec::new();
        let verdict = match &mut self.role {
            Role::Receiving { stream, .. } => command(stream, &mut plain),
            Role::Initiating { .. } => Ok(()),
        };
        self.transmit(&plain);
        self.note_authorisation();
        match verdict {
            Ok(()) => self.pump(now, Extent::OneEvent),
            Err(error) => self.fail(now, &error, None),
        }
    }
}
