//! What goes on between a node and a hub: stanzas from one to the other, and everything else into the log.
//!
//! One task for each way, and for each node, so that none waits for another. Each waits only for room among the commands of
//! the machine that it sends to. A driver takes commands whether or not its own events find room, so that this wait
//! always ends and the two ways cannot block each other, however full both are. Backpressure comes from the events: a
//! way that is slow leaves them in the machine, which then reads no more from its sockets.
//!
//! Each stanza ends somewhere, while the server goes down too: with a node or the hub, or in the log.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use s2s_core::addr::Pair;
use s2s_core::component;
use s2s_core::node;
use s2s_core::reason::Reason;
use s2s_core::stanza::Stanza;
use smol::channel::Sender;
use smol::lock::RwLock;
use tracing::Level;

use crate::log::Record;
use crate::metrics::Metrics;
use crate::runtime::Handle;

/// The application's side of a machine, until the machine is told to go down.
///
/// A machine that has nothing to close ends at once, and never takes what stands behind that order among its commands.
/// So nothing is sent behind it: whoever wants to has its command back, and can do something else with it.
#[derive(Debug)]
pub(crate) struct Way<C, E> {
    handle: Handle<C, E>,
    /// Whether the order was not given yet. Who sends holds it, so that the order does not overtake.
    open: Arc<RwLock<bool>>,
}

/// The application's side of the hub.
pub(crate) type HubWay = Way<component::Command, component::Event>;

/// The application's side of one node.
pub(crate) type NodeWay = Way<node::Command, node::Event>;

impl<C, E> Way<C, E> {
    /// The way through `handle`.
    pub(crate) fn new(handle: Handle<C, E>) -> Self {
        Self { handle, open: Arc::new(RwLock::new(true)) }
    }

    /// Sends a command, waiting while too many wait already. A machine that goes down or has ended gives it back.
    pub(crate) async fn send(&self, command: C) -> Result<(), C> {
        let open = self.open.read().await;
        if *open { self.handle.send(command).await } else { Err(command) }
    }

    /// Sends a question if there is room for it now. Returns whether there was. It may stay without an answer.
    pub(crate) fn try_send(&self, question: C) -> bool {
        self.handle.try_send(question)
    }

    /// Sends the last command there is: the order to go down.
    pub(crate) async fn close(&self, order: C) {
        *self.open.write().await = false;
        let _ = self.handle.send(order).await; // whoever has ended need not know
    }

    /// Waits for the next event. `None`: the machine has ended.
    pub(crate) async fn event(&self) -> Option<E> {
        self.handle.event().await
    }
}

impl<C, E> Clone for Way<C, E> {
    fn clone(&self) -> Self {
        Self { handle: self.handle.clone(), open: Arc::clone(&self.open) }
    }
}

/// The application's side of each node.
///
/// What goes from one of our domains to a remote one always goes through the same node, which has the queue and the
/// connection of that pair. What comes in may come through any.
#[derive(Clone, Debug)]
pub(crate) struct Nodes(pub(crate) Vec<NodeWay>);

impl Nodes {
    /// The number of the node through which a stanza goes: that of its pair.
    pub(crate) fn number_for(&self, stanza: &Stanza) -> usize {
        let mut hasher = DefaultHasher::new();
        (stanza.head().from.domain(), stanza.head().to.domain()).hash(&mut hasher);
        let count = u64::try_from(self.0.len()).unwrap_or(u64::MAX).max(1);
        usize::try_from(hasher.finish() % count).unwrap_or_default()
    }

    /// Sends a stanza through the node of its pair. A node that goes down or has ended gives it back.
    pub(crate) async fn send(&self, stanza: Stanza) -> Result<(), Stanza> {
        match self.0.get(self.number_for(&stanza)) {
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

    /// Tells all of them to go down. What they have not written by then comes back as events, and all later stanzas at
    /// once.
    pub(crate) async fn close(&self) {
        for node in &self.0 {
            node.close(node::Command::Shutdown).await;
        }
    }
}

/// Carries the events of the node of that number to the hub until the node has ended.
pub(crate) async fn inward(
    number: usize,
    node: NodeWay,
    nodes: Nodes,
    hub: HubWay,
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
        if let Err(late) = hub.send(command).await {
            tell_of_late(late, &journal, &metrics);
        }
    }
}

/// Carries a hub's events to the nodes until the hub has ended. Whenever the hub tells its measures, `handling`
/// carries the word that everything before is handled.
pub(crate) async fn outward(
    hub: HubWay,
    nodes: Nodes,
    journal: impl Fn(Record),
    metrics: Arc<Metrics>,
    handling: Sender<()>,
) {
    while let Some(event) = hub.event().await {
        metrics.of_hub(&event);
        if let Some(record) = Record::of_hub(&event) {
            journal(record);
        }
        match event {
            component::Event::Outbound(stanza) => {
                let Err(stanza) = nodes.send(stanza).await else { continue };
                let (number, reason) = (nodes.number_for(&stanza), Reason::Shutdown);
                let event = node::Event::Undeliverable { pair: stanza.outbound_pair(), stanza: stanza.clone(), reason };
                metrics.of_node(number, &event);
                if let Some(record) = Record::of_node(&event) {
                    journal(record.at(number, nodes.0.len()));
                }
                if let Err(late) = hub.send(component::Command::Undeliverable(stanza, reason)).await {
                    tell_of_late(late, &journal, &metrics);
                }
            }
            component::Event::Measured(_) => {
                // It fails where nobody has asked, or does not wait any more.
                let _ = handling.try_send(());
            }
            _ => {}
        }
    }
}

/// The hub goes down, with all components: what was for one of them is dropped, and nobody but the log will say so.
fn tell_of_late(command: component::Command, journal: &impl Fn(Record), metrics: &Metrics) {
    let (component::Command::Deliver(stanza) | component::Command::Undeliverable(stanza, _)) = command else { return };
    let event = component::Event::Dropped { stanza, reason: Reason::Shutdown };
    metrics.of_hub(&event);
    if let Some(record) = Record::of_hub(&event) {
        journal(Record { level: Level::WARN, ..record });
    }
}
