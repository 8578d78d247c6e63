//! Whether the wall clock still agrees with the monotonic one.

use std::time::{Duration, Instant, SystemTime};

/// How often the two clocks are compared.
pub(crate) const CLOCK_CHECK: Duration = Duration::from_secs(10);

/// By how much the clocks may disagree before the machine is told.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(1);

/// One moment, on both clocks.
pub(crate) struct Clock {
    instant: Instant,
    unix: Duration,
}

impl Clock {
    /// Takes this moment as the anchor.
    pub(crate) fn start() -> Self {
        Self { instant: Instant::now(), unix: unix_now() }
    }

    /// The new wall-clock time, if it was stepped, or time passed that the monotonic clock did not see. The anchor moves.
    pub(crate) fn step(&mut self, instant: Instant, unix: Duration) -> Option<Duration> {
        let expected = self.unix + instant.saturating_duration_since(self.instant);
        if unix.abs_diff(expected) <= CLOCK_TOLERANCE {
            return None;
        }
        *self = Self { instant, unix };
        Some(unix)
    }
}

/// Time since the epoch. A clock before it counts as the epoch itself.
pub(crate) fn unix_now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn clock() -> Clock {
        Clock { instant: Instant::now(), unix: HOUR * 1000 }
    }

    #[test]
    fn clocks_that_agree_within_a_second_are_left_alone() {
        let mut clock = clock();
        let (later, unix) = (clock.instant + HOUR, clock.unix + HOUR);
        assert_eq!(clock.step(later, unix), None);
        assert_eq!(clock.step(later, unix + CLOCK_TOLERANCE), None);
        assert_eq!(clock.step(later, unix - CLOCK_TOLERANCE), None);
    }

    #[test]
    fn a_step_either_way_is_told_once() {
        for forward in [true, false] {
            let mut clock = clock();
            let (later, unix) = (clock.instant + HOUR, clock.unix + HOUR);
            let beyond = CLOCK_TOLERANCE + Duration::from_millis(1);
            let stepped = if forward { unix + beyond } else { unix - beyond };
            assert_eq!(clock.step(later, stepped), Some(stepped));
            assert_eq!(clock.step(later + HOUR, stepped + HOUR), None);
        }
    }
}
