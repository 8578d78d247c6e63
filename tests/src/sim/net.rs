//! TCP, as far as two ends of a connection can tell: ordered bytes in each direction, cut anywhere, late, stalled, ended
//! by either side, or broken in the middle.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::ledger::Scanner;
use super::random::Random;
use super::site::Life;
use s2s_core::machine::ConnId;

/// Bytes that the sockets of one direction hold: what was written and is not read.
const WINDOW_BYTES: usize = 65_536;

/// One connection, seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct WireId(pub(super) u64);

/// One connection.
#[derive(Debug)]
pub(super) struct Wire {
    /// Who dialled, and who accepted.
    pub(super) ends: [End; 2],
    /// What each end has written.
    pub(super) pipes: [Pipe; 2],
}

/// One end.
#[derive(Debug)]
pub(super) struct End {
    pub(super) life: Life,
    pub(super) conn: ConnId,
    /// Whether the node has it still.
    pub(super) open: bool,
    /// Whether the node wants to end its half when everything is written.
    pub(super) ending: bool,
    /// Whether it is told so already.
    pub(super) connected: bool,
}

/// One direction.
#[derive(Debug)]
pub(super) struct Pipe {
    /// On the way: for each there is one arrival on the agenda.
    pub(super) flying: VecDeque<Segment>,
    /// Arrived, and not read.
    pub(super) unread: VecDeque<Segment>,
    held: usize,
    /// Whether the end of the direction was written.
    pub(super) ended: bool,
    last_arrival: Instant,
    /// Nothing arrives before.
    pub(super) stalled_until: Instant,
    /// Reads what is written.
    pub(super) scanner: Scanner,
    /// Reads what is read.
    pub(super) heard: Scanner,
}

/// What travels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Segment {
    Bytes(Vec<u8>),
    /// The writer will write no more.
    End,
    /// The connection is broken.
    Reset,
}

/// How the network of one run is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quality {
    pub(super) latency: (Duration, Duration),
    pub(super) bytes_per_second: usize,
    /// Bytes of the longest segment.
    pub(super) segment: usize,
    /// Whether writes are taken in part.
    pub(super) partial: bool,
}

impl Pipe {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            flying: VecDeque::new(),
            unread: VecDeque::new(),
            held: 0,
            ended: false,
            last_arrival: now,
            stalled_until: now,
            scanner: Scanner::default(),
            heard: Scanner::default(),
        }
    }

    pub(super) fn room(&self) -> usize {
        WINDOW_BYTES.saturating_sub(self.held)
    }

    /// Puts a segment on its way. The moment of its arrival.
    pub(super) fn put(&mut self, now: Instant, segment: Segment, quality: Quality, random: &mut Random) -> Instant {
        let size = segment.len();
        self.held += size;
        let (low, high) = quality.latency;
        let micros = (size * 1_000_000 / quality.bytes_per_second) as u64;
        let at = now + random.span(low, high);
        self.last_arrival = at.max(self.last_arrival) + Duration::from_micros(micros);
        self.ended |= !matches!(segment, Segment::Bytes(_));
        self.flying.push_back(segment);
        self.last_arrival
    }

    /// Nothing arrives before `at`.
    pub(super) fn delay(&mut self, at: Instant) {
        self.last_arrival = self.last_arrival.max(at);
    }

    /// The first segment arrives.
    pub(super) fn land(&mut self) -> Option<Segment> {
        let segment = self.flying.pop_front()?;
        self.held = self.held.saturating_sub(segment.len());
        Some(segment)
    }

    pub(super) fn hold(&mut self, segment: Segment) {
        self.held += segment.len();
        self.unread.push_back(segment);
    }

    /// At most `limit` bytes of what has arrived, or its end.
    pub(super) fn read(&mut self, limit: usize) -> Option<Segment> {
        let first = self.unread.front_mut()?;
        let segment = match first {
            Segment::Bytes(bytes) if bytes.len() > limit => {
                let rest = bytes.split_off(limit);
                Segment::Bytes(std::mem::replace(bytes, rest))
            }
            _ => self.unread.pop_front()?,
        };
        self.held = self.held.saturating_sub(segment.len());
        Some(segment)
    }

    /// Forgets what is under way. Whether that were bytes.
    pub(super) fn lose(&mut self) -> bool {
        let lost = self.flying.iter().chain(&self.unread).any(|segment| segment.len() > 0);
        self.flying.clear();
        self.unread.clear();
        self.held = 0;
        lost
    }
}

impl Segment {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::End | Self::Reset => 0,
        }
    }
}
