//! Who was turned away, told together: a flood of connections is no flood of events, which would keep those components
//! from being read that are attached.

use std::net::SocketAddr;
use std::time::Instant;

use crate::limits;
use crate::time::later;

/// Those that were turned away, and when that was told.
#[derive(Debug, Default)]
pub(super) struct TurnedAway {
    untold: Option<Sum>,
    told: Option<Instant>,
}

/// Those of which nothing was told yet.
#[derive(Clone, Copy, Debug)]
struct Sum {
    times: u64,
    last: SocketAddr,
}

impl TurnedAway {
    /// `addr` was turned away.
    pub(super) fn note(&mut self, addr: SocketAddr) {
        let times = self.untold.map_or(0, |sum| sum.times);
        self.untold = Some(Sum { times: times.saturating_add(1), last: addr });
    }

    /// When there is something to tell. While nothing is told, it is always the same moment, or one that has come.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        self.untold?;
        Some(self.told.map_or(now, |told| later(told, limits::TURNED_AWAY_INTERVAL)))
    }

    /// What is to be told now: the last of them, and how many there were since it was last told.
    pub(super) fn take(&mut self, now: Instant) -> Option<(SocketAddr, u64)> {
        if self.due(now)? > now {
            return None;
        }
        self.take_all(now)
    }

    /// The same before its time.
    pub(super) fn take_all(&mut self, now: Instant) -> Option<(SocketAddr, u64)> {
        let sum = self.untold.take()?;
        self.told = Some(now);
        Some((sum.last, sum.times))
    }
}
