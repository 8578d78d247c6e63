//! One pair's way out: a bounded queue, and how far the attempt to reach the peer has come.
//!
//! - [RFC 6120 section 10.4](https://www.rfc-editor.org/rfc/rfc6120#section-10.4)

mod address;
mod backoff;
mod dial;
mod peers;
mod queue;

use std::time::Instant;

use crate::dns::Behalf;
use crate::limits;
use crate::machine::ConnId;
use crate::reason::Reason;
use crate::time::later;

pub use address::{PrivateAddresses, is_private};

pub(crate) use address::{Place, places};
pub(crate) use backoff::Backoff;
pub(crate) use dial::{Dial, Race};
pub(crate) use peers::{External, LastFeatures, Peers};
pub(crate) use queue::Queue;

/// The route of one pair.
#[derive(Debug)]
pub(crate) struct Route {
    /// On whose behalf: that of peers as long as it has carried nothing but answers to them.
    pub(crate) behalf: Behalf,
    /// How far it has come.
    pub(crate) state: State,
    /// What waits for it.
    pub(crate) queue: Queue,
    /// How many of its streams have ended, one after the other, in the middle of the stanza that is the first to go.
    pub(crate) interruptions: u8,
}

/// Which stanza a stream has ended in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interrupted {
    /// None.
    Nothing,
    /// The first that went over it: that may be the one that an earlier stream has ended in.
    First,
    /// Another one.
    Later,
}

/// How far a route has come.
#[derive(Debug, Default)]
pub(crate) enum State {
    /// Nothing is to be sent.
    #[default]
    Idle,
    /// The peer is looked up, dialled, and negotiated with.
    Reaching(Dial),
    /// Stanzas flow over this connection.
    Up(ConnId),
    /// The stream on this connection is over, for this reason, and its last bytes are on their way. What was written before the end
    /// still arrives at a peer that closes in good order, so nothing goes another way before it is gone.
    Leaving(ConnId, Reason),
}

impl Route {
    /// A route over which nothing has gone yet.
    #[must_use]
    pub(crate) fn new(behalf: Behalf) -> Self {
        Self { behalf, state: State::Idle, queue: Queue::default(), interruptions: 0 }
    }

    /// A stream of this route has ended. Whether the stanza in the middle of which it did so ends too many of them.
    pub(crate) const fn note_end(&mut self, interrupted: Interrupted) -> bool {
        self.interruptions = match interrupted {
            Interrupted::Nothing => 0,
            Interrupted::First => self.interruptions.saturating_add(1),
            Interrupted::Later => 1,
        };
        let too_many = self.interruptions >= limits::INTERRUPTIONS;
        if too_many {
            self.interruptions = 0;
        }
        too_many
    }

    /// When something of this route is due: the end of an attempt, or of a stanza's patience.
    #[must_use]
    pub(crate) fn deadline(&self, queue_age: std::time::Duration) -> Option<(Instant, &'static str)> {
        let reaching = match &self.state {
            State::Reaching(dial) => Some(dial.next_at()),
            State::Idle | State::Up(_) | State::Leaving(..) => None,
        };
        let oldest = self.queue.oldest().map(|since| (later(since, queue_age), "queue"));
        reaching.into_iter().chain(oldest).min_by_key(|(at, _)| *at)
    }
}
