//! What will happen, in the order of time; what is planned for the same moment happens in the order of planning.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use s2s_core::machine::{ConnId, QueryId};

use super::net::WireId;
use super::site::Life;
use super::swarm::Fault;

/// Something that happens at one moment.
#[derive(Clone, Debug, Hash)]
pub(super) enum Happening {
    /// The timer of a node, armed for this moment.
    Timer(Life),
    /// A dialled connection reaches the other side.
    Syn { from: Life, conn: ConnId, addr: SocketAddr },
    /// A dialled connection is open.
    Connected { at: Life, conn: ConnId },
    /// It cannot be opened.
    Failed { at: Life, conn: ConnId, error: io::ErrorKind },
    /// The first segment on its way to one end of a wire arrives.
    Arrival { wire: WireId, to: usize },
    /// There is room again for what one end of a wire wants to write.
    Room { wire: WireId, end: usize },
    /// A DNS message, or the failure of a query.
    Reply { at: Life, query: QueryId, message: Option<Vec<u8>> },
    /// A user of this domain writes to somebody.
    Write { domain: usize },
    /// Something breaks.
    Fault,
    /// This breaks, here.
    Pinned { fault: Fault, site: usize },
    /// A site that was down comes up.
    Rise { site: usize },
    /// What was broken at a site, and does not mend by itself, is mended.
    Mend { site: usize },
    /// An application takes its events again.
    Resume { site: usize },
}

/// The plan.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    /// When it happens, how much was planned before it, and its place in `planned`.
    order: BinaryHeap<Reverse<(Instant, u64, usize)>>,
    /// What is large stays where it is while the order changes.
    planned: Vec<Option<Happening>>,
    vacant: Vec<usize>,
    count: u64,
}

impl Agenda {
    pub(super) fn plan(&mut self, at: Instant, happening: Happening) {
        self.count += 1;
        let place = self.vacant.pop().unwrap_or(self.planned.len());
        match self.planned.get_mut(place) {
            Some(vacant) => *vacant = Some(happening),
            None => self.planned.push(Some(happening)),
        }
        self.order.push(Reverse((at, self.count, place)));
    }

    /// The next one that happens before `end`.
    pub(super) fn next_before(&mut self, end: Instant) -> Option<(Instant, Happening)> {
        self.order.peek().filter(|Reverse((at, ..))| *at < end)?;
        let Reverse((at, _, place)) = self.order.pop()?;
        self.vacant.push(place);
        Some((at, self.planned.get_mut(place)?.take()?))
    }
}
