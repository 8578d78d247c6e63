//! A token bucket: how much may be read, or done, now, and when more may be.

use std::time::{Duration, Instant};

use crate::time::later;

/// A bucket of bytes, or of whatever is counted, that fills at a constant rate and holds what two seconds bring.
///
/// Spending may overdraw it, because what a socket gave cannot be given back; then nothing more is taken until the
/// debt is paid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokenBucket {
    bytes_per_second: u64,
    level: i128,
    at: Instant,
}

/// Seconds of income that a bucket holds.
const BURST_SECONDS: u64 = 2;

/// Levels are kept in billionths of a byte, so that any time and any rate count exactly.
const SCALE: i128 = 1_000_000_000;

impl TokenBucket {
    /// A full bucket.
    #[must_use]
    pub(crate) fn new(now: Instant, bytes_per_second: u64) -> Self {
        Self { bytes_per_second, level: Self::capacity(bytes_per_second), at: now }
    }

    fn capacity(bytes_per_second: u64) -> i128 {
        i128::from(bytes_per_second.saturating_mul(BURST_SECONDS)).saturating_mul(SCALE)
    }

    /// Takes `bytes` out.
    pub(crate) fn spend(&mut self, now: Instant, bytes: usize) {
        self.fill(now);
        self.level = self.level.saturating_sub(i128::try_from(bytes).unwrap_or(i128::MAX).saturating_mul(SCALE));
    }

    /// Forgives what is owed beyond what a full bucket holds.
    pub(crate) fn forgive(&mut self) {
        self.level = self.level.max(Self::capacity(self.bytes_per_second).saturating_neg());
    }

    /// Takes `count` out if that much is in.
    pub(crate) fn take(&mut self, now: Instant, count: usize) -> bool {
        self.fill(now);
        let wanted = i128::try_from(count).unwrap_or(i128::MAX).saturating_mul(SCALE);
        let enough = self.level >= wanted;
        if enough {
            self.level = self.level.saturating_sub(wanted);
        }
        enough
    }

    /// When something may be taken again; `None`: now.
    #[must_use]
    pub(crate) fn ready_at(&self, now: Instant) -> Option<Instant> {
        let mut bucket = *self;
        bucket.fill(now);
        if bucket.level >= 0 {
            return None;
        }
        let rate = i128::from(self.bytes_per_second.max(1));
        let nanoseconds = bucket.level.unsigned_abs().div_ceil(rate.unsigned_abs());
        Some(later(now, Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))))
    }

    /// Whether it holds all that it can: as if nothing had ever been taken.
    #[must_use]
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        let mut bucket = *self;
        bucket.fill(now);
        bucket.level == Self::capacity(self.bytes_per_second)
    }

    fn fill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.at);
        let income =
            i128::try_from(elapsed.as_nanos()).unwrap_or(i128::MAX).saturating_mul(i128::from(self.bytes_per_second));
        self.level = self.level.saturating_add(income).min(Self::capacity(self.bytes_per_second));
        self.at = self.at.max(now);
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_taken_whole_is_never_owed() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(start, 5);
        assert_eq!((0..20).filter(|_| bucket.take(start, 1)).count(), 10, "what two seconds bring");
        assert!(!bucket.take(start + Duration::from_millis(199), 1));
        assert!(bucket.take(start + Duration::from_millis(200), 1));
        assert!(!bucket.take(start + Duration::from_millis(200), 1));
    }

    proptest! {
        #[test]
        fn over_any_time_no_more_than_the_burst_and_the_income_is_taken(
            rate in 1_u64..1_000_000,
            steps in prop::collection::vec((0_u64..2_000, 1_usize..20_000), 1..60),
        ) {
            let start = Instant::now();
            let (mut now, mut bucket, mut taken) = (start, TokenBucket::new(start, rate), 0_u128);
            for (milliseconds, bytes) in steps {
                now += Duration::from_millis(milliseconds);
                if let Some(at) = bucket.ready_at(now) {
                    prop_assert!(at > now);
                    now = at;
                    prop_assert_eq!(bucket.ready_at(now), None, "the moment it names is early enough and not too early");
                }
                let income = u128::from(rate) * (now - start).as_nanos() / 1_000_000_000;
                prop_assert!(taken <= income + u128::from(rate * BURST_SECONDS) + 1);
                bucket.spend(now, bytes);
                taken += bytes as u128;
            }
        }
    }
}
