//! What a node holds at the moment, for whoever watches it.

use crate::node::Node;

/// How much a node holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Connections, in both directions and in every stage.
    pub connections: usize,
    /// Pairs that something is sent or waits for.
    pub routes: usize,
    /// Bytes of stanzas that wait for a stream.
    pub queued_bytes: usize,
    /// Dialback keys whose authoritative server is being asked.
    pub verifications: usize,
    /// Domains whose servers are being looked up.
    pub lookups: usize,
    /// Events that the application has not taken.
    pub events: usize,
}

impl Node {
    /// What the node holds at the moment.
    #[must_use]
    pub fn load(&self) -> Load {
        Load {
            connections: self.links.len(),
            routes: self.routes.len(),
            queued_bytes: self.queued_bytes,
            verifications: self.verifications.len(),
            lookups: self.lookups.len(),
            events: self.events.len(),
        }
    }
}
