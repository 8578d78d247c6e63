//! How much is read from each domain, over all its connections together.
//!
//! The rates of so many domains are remembered. Where none of them may be forgotten, all further domains share one:
//! nobody escapes the rate by being one of many, and what is remembered is bounded.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::addr::Domain;
use crate::limits;
use crate::rate::TokenBucket;
use crate::time::later;

/// What was read lately, by domain.
#[derive(Debug, Default)]
pub(super) struct DomainRates {
    known: BTreeMap<Domain, TokenBucket>,
    /// The rate that those share who find no room.
    others: Option<TokenBucket>,
    /// When it was last searched for domains that may be forgotten.
    swept: Option<Instant>,
}

impl DomainRates {
    /// So many `bytes` were read from `domains`, each of which may send `rate` in a second. When more may be read;
    /// `None`: now.
    pub(super) fn spend(
        &mut self,
        now: Instant,
        domains: &BTreeSet<&Domain>,
        rate: u64,
        bytes: usize,
    ) -> Option<Instant> {
        let mut ready: Option<Instant> = None;
        let mut has_others = false;
        for domain in domains {
            if let Some(own) = self.find(now, domain, rate) {
                own.spend(now, bytes);
                ready = ready.max(own.ready_at(now));
            } else {
                has_others = true;
            }
        }
        if has_others {
            let shared = self.others.get_or_insert_with(|| TokenBucket::new(now, rate));
            shared.spend(now, bytes);
            // What one of them owes is not for all others to pay.
            shared.forgive();
            ready = ready.max(shared.ready_at(now));
        }
        ready
    }

    /// What `domain` has for itself, if there is room to remember it.
    fn find(&mut self, now: Instant, domain: &Domain, rate: u64) -> Option<&mut TokenBucket> {
        if !self.known.contains_key(domain) && !self.has_room(now) {
            return None;
        }
        Some(self.known.entry(domain.clone()).or_insert_with(|| TokenBucket::new(now, rate)))
    }

    fn has_room(&mut self, now: Instant) -> bool {
        let is_full = self.known.len() >= limits::RATED_DOMAINS;
        // To look at all of them takes long: not at every read of somebody who finds no room.
        if is_full && self.swept.is_none_or(|swept| later(swept, limits::SWEEP_INTERVAL) <= now) {
            self.swept = Some(now);
            self.known.retain(|_, rate| !rate.is_full(now));
        }
        self.known.len() < limits::RATED_DOMAINS
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
mod tests {
    use std::time::Duration;

    use super::*;

    const RATE: u64 = 1000;

    fn domain(text: &str) -> Domain {
        Domain::parse(text).expect("a domain")
    }

    fn read(rates: &mut DomainRates, now: Instant, text: &str, bytes: usize) -> Option<Instant> {
        rates.spend(now, &BTreeSet::from([&domain(text)]), RATE, bytes)
    }

    /// As many domains as are remembered, `d0.example` and so on. None may be forgotten before a second has passed.
    fn full(now: Instant) -> DomainRates {
        let mut rates = DomainRates::default();
        for n in 0..limits::RATED_DOMAINS {
            assert_eq!(read(&mut rates, now, &format!("d{n}.example"), 1000), None);
        }
        rates
    }

    #[test]
    fn domains_that_find_no_room_share_one_rate_and_are_not_remembered() {
        let now = Instant::now();
        let mut rates = full(now);
        assert_eq!(read(&mut rates, now, "one.example", 1500), None, "two seconds' worth are not used up");
        assert!(read(&mut rates, now, "other.example", 1500).is_some(), "both together are over it");
        assert_eq!(read(&mut rates, now, "d0.example", 1000), None, "who is remembered has a rate of its own");
        assert_eq!(rates.known.len(), limits::RATED_DOMAINS);
    }

    #[test]
    fn who_shares_a_rate_waits_for_no_more_than_a_burst_of_what_others_owe() {
        let now = Instant::now();
        let mut rates = full(now);
        for n in 0..100 {
            read(&mut rates, now, &format!("greedy{n}.example"), 16_384);
        }
        let ready = read(&mut rates, now, "one.example", 1).expect("more was read than may be");
        assert!(ready <= later(now, Duration::from_secs(3)), "{:?}", ready - now);
    }

    #[test]
    fn what_was_read_once_is_taken_from_the_shared_rate_once() {
        let now = Instant::now();
        let mut rates = full(now);
        let many = ["one.example", "other.example", "third.example"].map(domain);
        assert_eq!(rates.spend(now, &many.iter().collect(), RATE, 1500), None);
    }

    #[test]
    fn who_found_no_room_has_a_rate_of_its_own_when_others_may_be_forgotten() {
        let now = Instant::now();
        let mut rates = full(now);
        assert!(read(&mut rates, now, "one.example", 3000).is_some());
        let moment = later(now, limits::SWEEP_INTERVAL / 2);
        assert!(read(&mut rates, moment, "one.example", 1).is_some(), "it was searched a moment ago");
        let second = later(now, limits::SWEEP_INTERVAL);
        assert_eq!(read(&mut rates, second, "one.example", 1500), None);
        let known: Vec<_> = rates.known.keys().cloned().collect();
        assert_eq!(known, [domain("one.example")], "nothing was read from the others since");
    }
}
