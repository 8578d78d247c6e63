//! What a node counts.

use std::collections::VecDeque;
use std::time::Instant;

use crate::limits;
use crate::node::{Node, Purpose};
use crate::time::later;

/// How much there is of everything, and how much there was in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Measures {
    /// Connections that peers opened.
    pub inbound: usize,
    /// Those of them on which nothing was proved.
    pub unauthenticated: usize,
    /// Connections that we opened, or are opening.
    pub outbound: usize,
    /// TLS handshakes under way that peers began.
    pub handshakes: usize,
    /// Pairs for which something waits or a stream of ours is up.
    pub routes: usize,
    /// Bytes that wait for peers, with [`limits::QUEUED_STANZA_BYTES`] for each stanza.
    pub queued_bytes: usize,
    /// Dialback verifications that wait for an authoritative server.
    pub verifications: usize,
    /// Domains whose servers are being looked up.
    pub lookups: usize,
    /// DNS queries under way.
    pub dns_queries: usize,
    /// Failures of domains, pairs and addresses that are remembered, whether or not anybody waits for them.
    pub backoff: usize,
    /// What there was in all.
    pub totals: Totals,
}

/// What there was in all since the node was made. Counts only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// Connections that peers opened and that were admitted.
    pub accepted: u64,
    /// Connections that we began to open.
    pub dialled: u64,
    /// TLS handshakes that peers began and that were admitted.
    pub handshakes: u64,
    /// DNS queries.
    pub dns_queries: u64,
    /// Stanzas that were accepted to be sent.
    pub sent: u64,
    /// Of these, those that were wholly written to a connection.
    pub written: u64,
    /// Of these, those that were written to a connection that broke.
    pub uncertain: u64,
}

impl Node {
    /// How much there is of everything.
    #[must_use]
    pub fn measures(&self) -> Measures {
        let (inbound, unauthenticated, handshakes) = self.admission.counts();
        Measures {
            inbound,
            unauthenticated,
            outbound: self.links.values().filter(|connected| connected.purpose != Purpose::Inbound).count(),
            handshakes,
            routes: self.routes.len(),
            queued_bytes: self.queued_bytes,
            verifications: self.verifications.len().saturating_add(self.held_keys.len()),
            lookups: self.lookups.len(),
            dns_queries: self.resolver.queries(),
            backoff: self.backoff.len(),
            totals: self.totals,
        }
    }
}

/// How many stanzas were written to a connection lately, by the second.
///
/// What was written longer ago than [`limits::UNCERTAIN_AGE`] is not counted any more.
#[derive(Debug, Default)]
pub(super) struct Recent {
    seconds: VecDeque<(Instant, u64)>,
}

impl Recent {
    /// `stanzas` were written.
    pub(super) fn note(&mut self, now: Instant, stanzas: u64) {
        if stanzas == 0 {
            return;
        }
        match self.seconds.back_mut() {
            Some((since, count)) if now.saturating_duration_since(*since).as_secs() == 0 => {
                *count = count.saturating_add(stanzas);
            }
            _ => self.seconds.push_back((now, stanzas)),
        }
        while self.seconds.front().is_some_and(|(at, _)| later(*at, limits::UNCERTAIN_AGE) < now) {
            self.seconds.pop_front();
        }
    }

    /// Whether none was ever written.
    pub(super) fn is_empty(&self) -> bool {
        self.seconds.is_empty() // the newest is never dropped
    }

    /// When the last one was written, to the second.
    pub(super) fn last(&self) -> Option<Instant> {
        self.seconds.back().map(|(since, _)| *since)
    }

    /// How many may not have arrived, if the connection breaks now.
    pub(super) fn count(&self, now: Instant) -> u64 {
        let recent = self.seconds.iter().filter(|(at, _)| later(*at, limits::UNCERTAIN_AGE) >= now);
        recent.map(|(_, count)| *count).sum()
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_was_written_counts_until_tcp_would_have_given_up_and_takes_one_entry_a_second() {
        let (mut recent, start) = (Recent::default(), Instant::now());
        let seconds = limits::UNCERTAIN_AGE.as_secs();
        for tenth in 0..seconds * 20 {
            recent.note(start + Duration::from_millis(tenth * 100), 3);
        }
        assert!(recent.seconds.len() as u64 <= seconds + 2, "{}", recent.seconds.len());
        let end = start + Duration::from_millis(seconds * 2000 - 100);
        assert!(recent.count(end).abs_diff(seconds * 30) <= 30, "{}", recent.count(end));
        assert_eq!(recent.count(end + limits::UNCERTAIN_AGE + Duration::from_secs(1)), 0);
    }

    #[test]
    fn what_is_as_old_as_that_still_counts_when_more_is_written() {
        let (mut recent, start) = (Recent::default(), Instant::now());
        recent.note(start, 1);
        let end = start + limits::UNCERTAIN_AGE;
        recent.note(end, 1);
        assert_eq!(recent.count(end), 2);
        assert_eq!(recent.count(end + Duration::from_nanos(1)), 1);
    }
}
