//! Stanzas on their way to the socket, and whose they are when the connection ends.
//!
//! - [RFC 6120 section 8](https://www.rfc-editor.org/rfc/rfc6120#section-8), decision D-52

use std::mem;
use std::ops::Range;
use std::time::Instant;

use crate::limits;
use crate::link::Link;
use crate::stanza::Stanza;
use crate::stream::Initiating;

/// A stanza that is not wholly written to the socket, or stands behind a header that the peer has not answered.
#[derive(Debug)]
pub(super) struct InFlight {
    /// The positions of its first byte and of its end in all that is ever written.
    pub(super) span: Range<u64>,
    /// Since when it has waited.
    pub(super) since: Instant,
    pub(super) stanza: Stanza,
}

impl InFlight {
    pub(super) fn cost(&self) -> usize {
        self.stanza.bytes().len().saturating_add(limits::QUEUED_STANZA_BYTES)
    }
}

impl Link {
    /// The first `n` bytes of [`Link::pending`] were written. Gives how many stanzas are wholly written thereby.
    pub fn handle_sent(&mut self, n: usize) -> u64 {
        let n = n.min(self.output.len());
        self.output.consume(n);
        self.sent = self.sent.saturating_add(n as u64);
        self.forget_sent();
        self.drop_if_done();
        self.take_written()
    }

    /// Stanzas that have become wholly written and were not told yet.
    pub const fn take_written(&mut self) -> u64 {
        mem::replace(&mut self.newly_written, 0)
    }

    /// Stanzas that are wholly written are the peer's: not before it has answered the header in front of them.
    pub(super) fn forget_sent(&mut self) {
        if !self.awaits_header_behind_stanzas() {
            self.forget_written();
        }
    }

    /// Whether stanzas may be under way behind a header that the peer has not answered.
    pub(super) fn awaits_header_behind_stanzas(&self) -> bool {
        self.initiating_stream().is_some_and(Initiating::awaits_header_behind_stanzas)
    }

    /// Stanzas that are wholly written are the peer's.
    fn forget_written(&mut self) {
        while let Some(first) = self.in_flight.front().filter(|first| first.span.end <= self.sent) {
            self.in_flight_bytes = self.in_flight_bytes.saturating_sub(first.cost());
            self.in_flight.pop_front();
            self.newly_written = self.newly_written.saturating_add(1);
        }
    }

    /// Bytes of the stanzas that are not wholly written, with [`limits::QUEUED_STANZA_BYTES`] for each.
    #[must_use]
    pub const fn in_flight_bytes(&self) -> usize {
        self.in_flight_bytes
    }

    /// The stanzas that the peer cannot have processed, each with the moment since when it has waited. To be called when
    /// the connection is dropped; they may be sent again elsewhere.
    ///
    /// A peer processes no part of a stanza, and nothing behind a header of ours that it has not answered when it
    /// announces its end. What it perhaps answered is counted by [`Link::take_written`].
    //= RFC6120-8-2
    #[must_use]
    pub fn take_unsent(&mut self) -> Vec<(Instant, Stanza)> {
        if !self.heard_out {
            self.forget_written();
        }
        self.in_flight_bytes = 0;
        self.in_flight.drain(..).map(|in_flight| (in_flight.since, in_flight.stanza)).collect()
    }

    /// Whether the first of the stanzas that [`Link::take_unsent`] would give was begun and not ended.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        let mut unsent = self.in_flight.iter().filter(|stanza| self.heard_out || stanza.span.end > self.sent);
        unsent.next().is_some_and(|first| first.span.start < self.sent && first.span.end > self.sent)
    }
}
