//! Time as an input: instants for deadlines, one anchor for wall-clock time.

use std::time::{Duration, Instant};

/// The longest wait there is: a century, in which nothing of ours is still running.
const LONGEST_WAIT: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The moment `wait` after `from`.
///
/// Waits come from configuration and from TTLs, and adding one to an instant by `+` panics where the sum is out of the
/// range of the platform's clock. A wait longer than a century counts as a century.
pub(crate) fn later(from: Instant, wait: Duration) -> Instant {
    from.checked_add(wait.min(LONGEST_WAIT)).unwrap_or(from)
}

/// Ties monotonic time to wall-clock time, which only the judgement of certificates needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// A moment of monotonic time.
    pub instant: Instant,
    /// The same moment as time since 1970-01-01T00:00:00Z.
    pub unix: Duration,
}

impl Anchor {
    /// Wall-clock time at `now`.
    #[must_use]
    pub fn unix_at(&self, now: Instant) -> Duration {
        match now.checked_duration_since(self.instant) {
            Some(later) => self.unix.saturating_add(later),
            None => self.unix.saturating_sub(self.instant.saturating_duration_since(now)),
        }
    }
}

/// The deadlines of one object, one for each label of an enum `K`.
///
/// Tables are tiny, so a list beats a tree.
#[derive(Clone, Debug)]
pub(crate) struct TimerTable<K> {
    armed: Vec<(K, Instant)>,
}

impl<K: Copy + Eq> TimerTable<K> {
    /// A table without deadlines.
    #[must_use]
    pub(crate) const fn new() -> Self {
        Self { armed: Vec::new() }
    }

    /// Arms `label` for `at`, in place of any earlier deadline of that label.
    pub(crate) fn set(&mut self, label: K, at: Instant) {
        self.cancel(label);
        self.armed.push((label, at));
    }

    /// Disarms `label`.
    pub(crate) fn cancel(&mut self, label: K) {
        self.armed.retain(|(armed, _)| *armed != label);
    }

    /// Disarms everything.
    pub(crate) fn clear(&mut self) {
        self.armed.clear();
    }

    /// The earliest deadline and its label.
    #[must_use]
    pub(crate) fn next(&self) -> Option<(K, Instant)> {
        self.armed.iter().copied().min_by_key(|(_, at)| *at)
    }

    /// Takes out one deadline that `now` has reached.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<K> {
        let (label, at) = self.next()?;
        if at > now {
            return None;
        }
        self.cancel(label);
        Some(label)
    }
}

impl<K: Copy + Eq> Default for TimerTable<K> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Label {
        A,
        B,
    }

    #[test]
    fn deadlines_come_out_in_order_and_once() {
        let start = Instant::now();
        let mut table = TimerTable::new();
        table.set(Label::A, start + Duration::from_secs(9));
        table.set(Label::B, start + Duration::from_secs(2));
        table.set(Label::A, start + Duration::from_secs(1));
        assert_eq!(table.expire(start), None);
        let late = start + Duration::from_secs(10);
        assert_eq!(table.expire(late), Some(Label::A));
        assert_eq!(table.expire(late), Some(Label::B));
        assert_eq!(table.expire(late), None);
    }

    #[test]
    fn a_wait_longer_than_any_clock_is_a_century() {
        let now = Instant::now();
        assert_eq!(later(now, Duration::from_secs(3)), now + Duration::from_secs(3));
        assert_eq!(later(now, Duration::MAX), now + Duration::from_secs(3_153_600_000));
        assert_eq!(later(later(now, Duration::MAX), Duration::ZERO), now + LONGEST_WAIT);
    }

    #[test]
    fn wall_clock_time_follows_the_anchor_both_ways() {
        let instant = Instant::now() + Duration::from_secs(100);
        let anchor = Anchor { instant, unix: Duration::from_secs(1_000) };
        assert_eq!(anchor.unix_at(instant + Duration::from_secs(5)), Duration::from_secs(1_005));
        assert_eq!(anchor.unix_at(instant - Duration::from_secs(5)), Duration::from_secs(995));
    }
}
