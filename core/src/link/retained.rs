//! How much a link holds. Tests compare it with the limits.

use crate::link::{Event, Link, Role};
use crate::stream::ReceivingEvent;

impl Link {
    /// Bytes held, roughly: by the element in progress, in both directions, for stanzas on their way, by events that
    /// were not taken, of the peer's certificates and of the pairs that it proves. What a session of TLS holds beside
    /// that is its own.
    #[doc(hidden)]
    #[must_use]
    pub fn retained_bytes(&self) -> usize {
        let pairs = match &self.role {
            Role::Initiating { .. } => 0, // as many as we have said ourselves
            Role::Receiving { stream, .. } => stream.retained_bytes(),
        };
        let events = self.events.iter().map(Event::retained_bytes);
        [
            self.framer.retained_bytes(),
            self.tunnel.retained_bytes(),
            self.input.retained_bytes(),
            self.output.retained_bytes(),
            self.in_flight_bytes,
            pairs,
        ]
        .into_iter()
        .chain(events)
        .sum()
    }
}

impl Event {
    fn retained_bytes(&self) -> usize {
        let content = match self {
            Self::Receiving(ReceivingEvent::Stanza { stanza, .. }) => stanza.bytes().len(),
            Self::Receiving(ReceivingEvent::KeyReceived { key, .. }) => key.len(),
            Self::Receiving(ReceivingEvent::VerifyReceived { id, key, .. }) => id.len().saturating_add(key.len()),
            Self::Ended(end) => end.detail.len(),
            Self::Initiating(_) | Self::Receiving(_) => 0,
        };
        size_of::<Self>().saturating_add(content)
    }
}
