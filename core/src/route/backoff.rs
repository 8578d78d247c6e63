//! Who failed a short time ago, and until when nobody tries again.
//!
//! Waits grow exponentially, with jitter and a cap. What could not be reached at all is remembered for the domain,
//! and for the address where one failed: all pairs and all verifications share it. What a reachable peer refused is
//! remembered for the pair.
//!
//! - [RFC 6120 section 3.3](https://www.rfc-editor.org/rfc/rfc6120#section-3.3)

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::addr::{Domain, Pair};
use crate::entropy::Entropy;
use crate::limits;
use crate::reason::Reason;
use crate::time::later;

/// Everybody who failed.
#[derive(Debug)]
pub struct Backoff {
    failed: BTreeMap<Failed, Entry>,
    entropy: Entropy,
}

/// Who failed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Failed {
    Address(SocketAddr),
    Domain(Domain),
    Pair(Pair),
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    times: u32,
    until: Instant,
    reason: Reason,
    /// When a sign of life of the peer last ended the wait.
    ended: Option<Instant>,
}

impl Backoff {
    /// Nobody has failed yet.
    #[must_use]
    pub const fn new(entropy: Entropy) -> Self {
        Self { failed: BTreeMap::new(), entropy }
    }

    /// Why `pair` is not tried now, if it is not.
    #[must_use]
    pub fn reason(&self, now: Instant, pair: &Pair) -> Option<Reason> {
        let waiting =
            |failed: &Failed| self.failed.get(failed).filter(|entry| entry.until > now).map(|entry| entry.reason);
        waiting(&Failed::Domain(pair.remote.clone())).or_else(|| waiting(&Failed::Pair(pair.clone())))
    }

    /// Why `addr` is not dialled for `pair` now, if it is not. That its peer has given a sign of life since it failed counts
    /// for all of its addresses.
    #[must_use]
    pub fn address_reason(&self, now: Instant, addr: SocketAddr, pair: &Pair) -> Option<Reason> {
        let lives = |failed: &Failed| self.failed.get(failed).is_some_and(|entry| entry.ended == Some(entry.until));
        if lives(&Failed::Domain(pair.remote.clone())) || lives(&Failed::Pair(pair.clone())) {
            return None;
        }
        self.failed.get(&Failed::Address(addr)).filter(|entry| entry.until > now).map(|entry| entry.reason)
    }

    /// An attempt for `pair` failed for good.
    //= RFC6120-3.3-2
    pub fn note_failure(&mut self, now: Instant, pair: &Pair, reason: Reason) {
        match reason {
            Reason::DnsNxdomain
            | Reason::DnsFailure
            | Reason::DnsTimeout
            | Reason::SrvDot
            | Reason::NoAddress
            | Reason::AddressNotAllowed
            | Reason::ConnectRefused
            | Reason::ConnectTimeout
            | Reason::NegotiationTimeout => self.note(now, Failed::Domain(pair.remote.clone()), reason),
            // Nothing failed: we did not want it, or not any more.
            Reason::Shutdown
            | Reason::Reload
            | Reason::HostUnknown
            | Reason::HostDisabled
            | Reason::DomainDenied
            | Reason::AnonymousHost => {}
            _ => self.note(now, Failed::Pair(pair.clone()), reason),
        }
    }

    /// A connection to `addr` could not be opened.
    pub fn note_address(&mut self, now: Instant, addr: SocketAddr, reason: Reason) {
        self.note(now, Failed::Address(addr), reason);
    }

    /// We are configured in another way: what failed may work now, and somebody is probably waiting to see.
    pub fn forget(&mut self) {
        self.failed.clear();
    }

    /// A stream of ours for `pair`, over `addr`, is up.
    pub fn note_success(&mut self, pair: &Pair, addr: SocketAddr) {
        for failed in [Failed::Address(addr), Failed::Domain(pair.remote.clone()), Failed::Pair(pair.clone())] {
            self.failed.remove(&failed);
        }
    }

    /// The domain of `pair` has proved itself to us over a connection from `from`, so both live: what waits for either waits
    /// no longer. A wait ends so at most once in [`limits::BACKOFF_END_INTERVAL`].
    pub fn note_sign_of_life(&mut self, now: Instant, pair: &Pair, from: IpAddr) {
        let at = |port| Failed::Address(SocketAddr::new(from, port));
        let address = self.failed.range(at(0)..=at(u16::MAX)).map(|(failed, _)| failed.clone());
        let domain = [Failed::Domain(pair.remote.clone()), Failed::Pair(pair.clone())];
        for failed in address.chain(domain).collect::<Vec<_>>() {
            if let Some(entry) = self.failed.get_mut(&failed)
                && entry.ended.is_none_or(|ended| later(ended, limits::BACKOFF_END_INTERVAL) <= now)
            {
                entry.until = now;
                entry.ended = Some(now);
            }
        }
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.failed.len()
    }

    /// Whether nobody is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.failed.is_empty()
    }

    fn note(&mut self, now: Instant, failed: Failed, reason: Reason) {
        let known = self.failed.get(&failed).filter(|entry| later(entry.until, limits::BACKOFF_CAP) > now);
        let times = known.map_or(1, |entry| entry.times.saturating_add(1));
        let ended = known.and_then(|entry| entry.ended);
        let until = later(now, self.wait(times));
        if !self.failed.contains_key(&failed) && self.failed.len() >= limits::BACKOFF_ENTRIES {
            self.forget_one();
        }
        self.failed.insert(failed, Entry { times, until, reason, ended });
    }

    /// From half of the full wait to all of it.
    fn wait(&mut self, times: u32) -> Duration {
        let doublings = times.saturating_sub(1).min(16);
        let full = limits::BACKOFF_BASE.saturating_mul(1 << doublings).min(limits::BACKOFF_CAP);
        let half = u64::try_from(full.as_millis()).unwrap_or(u64::MAX) / 2;
        Duration::from_millis(half.saturating_add(self.entropy.below(half)))
    }

    /// Forgets who may be tried again first.
    fn forget_one(&mut self) {
        let first = self.failed.iter().min_by_key(|(_, entry)| entry.until).map(|(failed, _)| failed.clone());
        if let Some(failed) = first {
            self.failed.remove(&failed);
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
mod tests {
    use super::*;
    use crate::entropy::Seed;

    fn pair(local: &str, remote: &str) -> Pair {
        let domain = |text| Domain::parse(text).expect("a domain");
        Pair::new(domain(local), domain(remote))
    }

    fn backoff() -> Backoff {
        Backoff::new(Entropy::new(Seed([3; 32])))
    }

    #[test]
    //= RFC6120-3.3-2 test
    fn waits_grow_to_the_cap_with_jitter() {
        let (mut backoff, mut now) = (backoff(), Instant::now());
        let pair = pair("a.example", "b.example");
        let mut attempts_in_a_minute = 0;
        let start = now;
        for times in 0..12_u32 {
            backoff.note_failure(now, &pair, Reason::ConnectRefused);
            assert_eq!(backoff.reason(now, &pair), Some(Reason::ConnectRefused));
            let full = (limits::BACKOFF_BASE * 2_u32.pow(times)).min(limits::BACKOFF_CAP);
            assert!(backoff.reason(now + full / 2 - Duration::from_millis(1), &pair).is_some(), "{times}");
            assert_eq!(backoff.reason(now + full, &pair), None, "{times}");
            attempts_in_a_minute += u32::from(now - start < Duration::from_secs(60));
            now += full;
        }
        assert!(attempts_in_a_minute < 10, "{attempts_in_a_minute}");
    }

    #[test]
    fn another_configuration_is_another_chance() {
        let (mut backoff, now) = (backoff(), Instant::now());
        let pair = pair("a.example", "b.example");
        let addr = SocketAddr::from(([192, 0, 2, 1], 5269));
        backoff.note_failure(now, &pair, Reason::ConnectRefused);
        backoff.note_address(now, addr, Reason::ConnectRefused);
        backoff.forget();
        assert_eq!((backoff.reason(now, &pair), backoff.address_reason(now, addr, &pair)), (None, None));
    }

    #[test]
    fn what_cannot_be_reached_counts_for_all_pairs_and_what_was_refused_for_one() {
        let (mut backoff, now) = (backoff(), Instant::now());
        let (one, other) = (pair("a.example", "b.example"), pair("c.example", "b.example"));
        backoff.note_failure(now, &one, Reason::CertExpired);
        assert_eq!((backoff.reason(now, &one), backoff.reason(now, &other)), (Some(Reason::CertExpired), None));
        backoff.note_failure(now, &one, Reason::DnsTimeout);
        assert_eq!(backoff.reason(now, &other), Some(Reason::DnsTimeout));
        backoff.note_failure(now, &pair("a.example", "x.example"), Reason::Shutdown);
        assert_eq!(backoff.reason(now, &pair("a.example", "x.example")), None);
    }

    #[test]
    fn a_sign_of_life_ends_the_wait_at_most_once_a_minute() {
        let (mut backoff, now) = (backoff(), Instant::now());
        let pair = pair("a.example", "b.example");
        backoff.note_failure(now, &pair, Reason::ConnectTimeout);
        backoff.note_sign_of_life(now, &pair, IpAddr::from([192, 0, 2, 1]));
        assert_eq!(backoff.reason(now, &pair), None);
        backoff.note_failure(now, &pair, Reason::ConnectTimeout);
        backoff.note_sign_of_life(now, &pair, IpAddr::from([192, 0, 2, 1]));
        assert_eq!(backoff.reason(now, &pair), Some(Reason::ConnectTimeout), "too soon");
    }

    #[test]
    fn however_many_fail_the_memory_is_bounded() {
        let (mut backoff, now) = (backoff(), Instant::now());
        for n in 0..limits::BACKOFF_ENTRIES + 100 {
            backoff.note_failure(now, &pair("a.example", &format!("d{n}.example")), Reason::DnsNxdomain);
        }
        assert_eq!(backoff.len(), limits::BACKOFF_ENTRIES);
    }
}
