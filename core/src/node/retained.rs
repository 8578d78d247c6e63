//! How much a node holds. Tests compare it with the limits.

use crate::machine::Effect;
use crate::node::{Event, Node};

impl Node {
    /// Bytes held, roughly: by links, of stanzas that wait for a stream, with [`limits::QUEUED_STANZA_BYTES`] for each, of
    /// keys that are verified or wait for it, and by what was not taken yet. What DNS has answered is bounded apart.
    ///
    /// [`limits::QUEUED_STANZA_BYTES`]: crate::limits::QUEUED_STANZA_BYTES
    #[doc(hidden)]
    #[must_use]
    pub fn retained_bytes(&self) -> usize {
        let links = self.links.values().map(|connected| connected.link.retained_bytes());
        let queues = self.routes.values().map(|route| route.queue.bytes());
        let held = self.held_keys.iter().map(|held| held.key.len());
        let asked = self.verifications.values().flat_map(|asked| [asked.stream_id.len(), asked.key.len()]);
        let events = self.events.iter().map(|event| match event {
            Event::Stanza { stanza, .. } | Event::Undeliverable { stanza, .. } => stanza.bytes().len(),
            _ => size_of::<Event>(),
        });
        let effects = self.effects.iter().map(|effect| match effect {
            Effect::Ask { message, .. } => message.len(),
            _ => size_of::<Effect>(),
        });
        links.chain(queues).chain(held).chain(asked).chain(events).chain(effects).sum()
    }
}
