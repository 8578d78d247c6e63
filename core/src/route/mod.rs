//! One pair's way out: a bounded queue, and how far the attempt to reach the peer has come.
//!
//! - [RFC 6120 section 10.4](https://www.rfc-editor.org/rfc/rfc6120#section-10.4)

mod address;
mod backoff;
mod dial;
mod peers;
mod queue;

use std::time::Instant;

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
#[derive(Debug, Default)]
pub(crate) struct Route {
    /// How far it has come.
    pub(crate) state: State,
    /// What waits for it.
    pub(crate) queue: Queue,
    /// How many of its streams have ended, one after the other, in the middle of a stanza.
    pub(crate) interruptions: u8,
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
