//! Stanzas that wait for a stream: bounded in bytes and age, in order.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::stanza::Stanza;

/// The queue of one pair.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: VecDeque<(Instant, Stanza)>,
    bytes: usize,
}

impl Queue {
    /// Adds a stanza at the end, unless the queue would hold more than `limit` bytes. An empty queue takes any.
    pub fn push(&mut self, now: Instant, stanza: Stanza, limit: usize) -> Result<(), Stanza> {
        let size = stanza.bytes().len();
        if !self.waiting.is_empty() && self.bytes.saturating_add(size) > limit {
            return Err(stanza);
        }
        self.bytes = self.bytes.saturating_add(size);
        self.waiting.push_back((now, stanza));
        Ok(())
    }

    /// Puts back, before all others, stanzas that were taken and not sent. They were accepted once, so no limit
    /// applies.
    pub fn put_back(&mut self, now: Instant, unsent: Vec<Stanza>) {
        for stanza in unsent.into_iter().rev() {
            self.bytes = self.bytes.saturating_add(stanza.bytes().len());
            self.waiting.push_front((now, stanza));
        }
    }

    /// Takes the first stanza.
    pub fn pop(&mut self) -> Option<Stanza> {
        let (_, stanza) = self.waiting.pop_front()?;
        self.bytes = self.bytes.saturating_sub(stanza.bytes().len());
        Some(stanza)
    }

    /// Takes the first stanza if it has waited for `age`.
    pub fn pop_expired(&mut self, now: Instant, age: Duration) -> Option<Stanza> {
        if self.oldest()? + age > now {
            return None;
        }
        self.pop()
    }

    /// Since when the first stanza has waited.
    #[must_use]
    pub fn oldest(&self) -> Option<Instant> {
        self.waiting.front().map(|(since, _)| *since)
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Bytes that wait.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}
