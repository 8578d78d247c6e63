//! What goes on between a node and a hub: stanzas from one to the other, and everything else into the log.
//!
//! One task for each way, and for each node, so that none waits for another. Each waits only for room among the commands of
//! the machine that it sends to. A driver takes commands whether or not its own events find room, so that this wait
//! always ends and the two ways cannot block each other, however full both are. Backpressure comes from the events: a
//! way that is slow leaves them in the machine, which then reads no more from its sockets.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use s2s_core::addr::Pair;
use s2s_core::component;
use s2s_core::node;
use s2s_core::reason::Reason;
use s2s_core::stanza::Stanza;

use crate::log::Record;
use crate::metrics::Metrics;
use crate::runtime::Handle;

/// The application's side of each node.
///
/// What goes from one of our domains to a remote one always goes through the same node, which has the queue and the
/// connection of that pair. What comes in may come through any.
#[derive(Clone, Debug)]
pub(crate) struct Nodes(pub(crate) Vec<Handle<node::Command, node::Event>>);

impl Nodes {
    /// Sends a stanza through the node of its pair. A node that has ended gives it back, but not what it had not taken yet
    /// when it ended.
    async fn send(&self, stanza: Stanza) -> Result<(), Stanza> {
        let mut hasher = DefaultHasher::new();
        (stanza.head().from.domain(), stanza.head().to.domain()).hash(&mut hasher);
        let count = u64::try_from(self.0.len()).unwrap_or(u64::MAX).max(1);
        let own = usize::try_from(hasher.finish() % count).unwrap_or_default();
        match self.0.get(own) {
            Some(node) => match node.send(node::Command::Send(stanza)).await {
                Err(node::Command::Send(stanza)) => Err(stanza),
                _ => Ok(()),
            },
            None => Err(stanza),
        }
    }

    /// Asks all that have room for a question how much there is of everything, and tells how many those are.
    pub(crate) fn measure(&self) -> usize {
        self.0.iter().filter(|node| node.try_send(node::Command::Measure)).count()
    }

    /// A remote domain has proved itself to one of them. All learn that it lives: another may have failed to reach it, and
    /// is to carry the answers.
    async fn note_sign_of_life(&self, pair: Pair, from: IpAddr) {
        if self.0.len() > 1 {
            self.tell(&node::Command::SignOfLife { pair, from }).await;
        }
    }

    /// Tells all of them the same.
    pub(crate) async fn tell(&self, command: &node::Command) {
        for node in &self.0 {
            let _ = node.send(command.clone()).await; // whoever has ended need not know
        }
    }
}

/// Carries the events of the node of that number to the hub until the node has ended.
pub(crate) async fn inward(
    number: usize,
    node: Handle<node::Command, node::Event>,
    nodes: Nodes,
    hub: Handle<component::Command, component::Event>,
    journal: impl Fn(Record),
    metrics: Arc<Metrics>,
) {
    while let Some(event) = node.event().await {
        metrics.of_node(number, &event);
        if let Some(record) = Record::of_node(&event) {
            journal(record.at(number, nodes.0.len()));
        }
        let command = match event {
            node::Event::Stanza { stanza, .. } => component::Command::Deliver(stanza),
            node::Event::Undeliverable { stanza, reason, .. } => component::Command::Undeliverable(stanza, reason),
            node::Event::PeerUp { pair, link, .. } if link.direction == node::Direction::Inbound => {
                nodes.note_sign_of_life(pair, link.addr.ip()).await;
                continue;
            }
            _ => continue,
        };
        // A hub that has ended serves nobody who could miss it.
        let _ = hub.send(command).await;
    }
}

/// Carries a hub's events to the nodes until the hub has ended.
pub(crate) async fn outward(
    hub: Handle<component::Command, component::Event>,
    nodes: Nodes,
    journal: impl Fn(Record),
    metrics: Arc<Metrics>,
) {
    while let Some(event) = hub.event().await {
        metrics.of_hub(&event);
        if let Some(record) = Record::of_hub(&event) {
            journal(record);
        }
        // While the server goes down, one node may have ended and others not yet.
        if let component::Event::Outbound(stanza) = event
            && let Err(stanza) = nodes.send(stanza).await
        {
            let _ = hub.send(component::Command::Undeliverable(stanza, Reason::Shutdown)).await;
        }
    }
}
