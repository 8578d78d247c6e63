//! What goes on between a node and a hub: stanzas from one to the other, and everything else into the log.
//!
//! Two tasks, one for each way, so that neither waits for the other. Each waits only for room among the commands of
//! the machine that it sends to. A driver takes commands whether or not its own events find room, so that this wait
//! always ends and the two ways cannot block each other, however full both are. Backpressure comes from the events: a
//! way that is slow leaves them in the machine, which then reads no more from its sockets.

use s2s_core::component;
use s2s_core::node;
use s2s_smol::Handle;

use crate::log::Record;

/// The application's side of a node.
#[derive(Clone, Debug)]
pub(crate) struct NodeHandle(pub(crate) Handle<node::Command, node::Event>);

/// The application's side of a hub.
#[derive(Clone, Debug)]
pub(crate) struct HubHandle(pub(crate) Handle<component::Command, component::Event>);

/// Carries a node's events to the hub until the node has ended.
pub(crate) async fn inward(node: &NodeHandle, hub: &HubHandle, journal: &impl Fn(Record)) {
    while let Some(event) = node.0.event().await {
        if let Some(record) = Record::of_node(&event) {
            journal(record);
        }
        let command = match event {
            node::Event::Stanza { stanza, .. } => component::Command::Deliver(stanza),
            node::Event::Undeliverable { stanza, reason, .. } => component::Command::Undeliverable(stanza, reason),
            _ => continue,
        };
        // A hub that has ended serves nobody who could miss it.
        let _ = hub.0.send(command).await;
    }
}

/// Carries a hub's events to the node until the hub has ended.
pub(crate) async fn outward(hub: &HubHandle, node: &NodeHandle, journal: &impl Fn(Record)) {
    while let Some(event) = hub.0.event().await {
        if let Some(record) = Record::of_hub(&event) {
            journal(record);
        }
        if let component::Event::Outbound(stanza) = event {
            // A node that has ended has told its peers so.
            let _ = node.0.send(node::Command::Send(stanza)).await;
        }
    }
}
