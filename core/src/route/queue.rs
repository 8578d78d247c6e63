//! Stanzas that wait for a stream: bounded in bytes and age, in order.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::limits;
use crate::stanza::Stanza;
use crate::time::later;

/// The queue of one pair.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: VecDeque<(Instant, Stanza)>,
    bytes: usize,
}

impl Queue {
    /// What a stanza that waits counts.
    #[must_use]
    pub(crate) fn cost(stanza: &Stanza) -> usize {
        stanza.bytes().len().saturating_add(limits::QUEUED_STANZA_BYTES)
    }

    /// Adds a stanza at the end, unless more than `limit` bytes would wait. An empty queue takes any.
    pub(crate) fn push(&mut self, now: Instant, stanza: Stanza, limit: usize) -> Result<(), Stanza> {
        let cost = Self::cost(&stanza);
        if !self.waiting.is_empty() && self.bytes.saturating_add(cost) > limit {
            return Err(stanza);
        }
        self.bytes = self.bytes.saturating_add(cost);
        self.waiting.push_back((now, stanza));
        Ok(())
    }

    /// Puts back, before all others, stanzas that were taken and not sent, each with the moment since when it has
    /// waited. They were accepted once, so no limit applies.
    pub(crate) fn put_back(&mut self, unsent: Vec<(Instant, Stanza)>) {
        for (since, stanza) in unsent.into_iter().rev() {
            self.bytes = self.bytes.saturating_add(Self::cost(&stanza));
            self.waiting.push_front((since, stanza));
        }
    }

    /// Takes the first stanza, with the moment since when it has waited.
    pub(crate) fn pop(&mut self) -> Option<(Instant, Stanza)> {
        let (since, stanza) = self.waiting.pop_front()?;
        self.bytes = self.bytes.saturating_sub(Self::cost(&stanza));
        Some((since, stanza))
    }

    /// Takes the first stanza if it has waited for `age`.
    pub(crate) fn pop_expired(&mut self, now: Instant, age: Duration) -> Option<Stanza> {
        if later(self.oldest()?, age) > now {
            return None;
        }
        self.pop().map(|(_, stanza)| stanza)
    }

    /// Since when the first stanza has waited.
    #[must_use]
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.waiting.front().map(|(since, _)| *since)
    }

    /// Whether nothing waits.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Bytes that wait, with what each stanza counts beside its own.
    #[must_use]
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }
}
