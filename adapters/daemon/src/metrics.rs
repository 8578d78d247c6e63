//! Figures for monitoring: what the events of nodes and hub add up to, and how much there is of everything.
//!
//! They are served as [OpenMetrics text](https://prometheus.io/docs/specs/om/open_metrics_spec/), which Prometheus
//! reads, at the address of `metrics_listen`. Levels are those of all nodes together. Reasons are the codes of the log;
//! labels never have anything in them that a peer has made up.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use s2s_core::component;
use s2s_core::node::{self, Direction};
use s2s_core::reason::Reason;
use smol::channel::{Receiver, Sender, bounded};
use smol::future::or;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::{Async, Timer};

use crate::bridge::{HubWay, Nodes};

/// Bytes of a request that are read.
const REQUEST_BYTES: usize = 8192;

/// How long one scrape may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long nodes and hub may take to answer, and how long to wait where a connection cannot be accepted.
const ANSWER: Duration = Duration::from_secs(1);

/// Everything that is counted.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    delivered: Counter,
    outbound: Counter,
    undeliverable: Family<ByReason, Counter>,
    returned: Family<ByReason, Counter>,
    dropped: Family<ByReason, Counter>,
    refused: Family<ByDirection, Counter>,
    ended: Family<ByDirection, Counter>,
    proved: Family<ByMethod, Counter>,
    turned_away: Family<ByLimit, Counter>,
    component_refused: Family<ByReason, Counter>,
    levels: Levels,
    hub: HubLevels,
    /// What each node has told last. Held for moments only.
    nodes: Mutex<Vec<node::Measures>>,
    /// That a node or the hub has told its measures.
    measured: (Sender<()>, Receiver<()>),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByDirection {
    direction: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByMethod {
    direction: &'static str,
    method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByLimit {
    limit: &'static str,
}

/// What all nodes tell when they are asked.
#[derive(Debug, Default)]
struct Levels {
    inbound: Gauge,
    unauthenticated: Gauge,
    outbound: Gauge,
    handshakes: Gauge,
    routes: Gauge,
    queued_bytes: Gauge,
    verifications: Gauge,
    lookups: Gauge,
    dns_queries: Gauge,
    backoff: Gauge,
    accepted: Counter,
    dialled: Counter,
    begun_handshakes: Counter,
    asked: Counter,
    sent: Counter,
    written: Counter,
    uncertain: Counter,
}

/// What a hub tells when it is asked.
#[derive(Debug, Default)]
struct HubLevels {
    attached: Gauge,
    unattached: Gauge,
    pending_bytes: Gauge,
}

impl Metrics {
    /// Nothing has happened yet to any of so many nodes.
    pub(crate) fn new(nodes: usize) -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("s2sd"),
            delivered: Counter::default(),
            outbound: Counter::default(),
            undeliverable: Family::default(),
            returned: Family::default(),
            dropped: Family::default(),
            refused: Family::default(),
            ended: Family::default(),
            proved: Family::default(),
            turned_away: Family::default(),
            component_refused: Family::default(),
            levels: Levels::default(),
            hub: HubLevels::default(),
            nodes: Mutex::new(vec![node::Measures::default(); nodes]),
            measured: bounded(nodes + 1),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let Self { registry, levels, hub, .. } = self;
        macro_rules! register {
            ($($metric:expr, $name:literal, $help:literal;)*) => {
                $(registry.register($name, $help, $metric.clone());)*
            };
        }
        register! {
            self.delivered, "stanzas_received", "Stanzas of peers for our hosts";
            self.outbound, "stanzas_outbound", "Stanzas of our hosts for remote domains";
            self.undeliverable, "stanzas_undeliverable", "Stanzas of our hosts that could not be sent, by reason";
            self.returned, "stanzas_returned", "Stanzas for our hosts that went back to their senders, by reason";
            self.dropped, "stanzas_dropped", "Stanzas that were dropped because nobody may or can be told, by reason";
            self.refused, "refused", "Streams, pairs and attempts that were refused or failed, by direction and reason";
            self.ended, "pairs_ended", "Pairs of domains that could no longer exchange stanzas, by direction and reason";
            self.proved, "pairs_proved", "Pairs of domains that were proved, by direction and method";
            self.turned_away, "turned_away", "Connections that were turned away, by limit";
            self.component_refused, "components_refused", "Components that were refused, by reason";
            levels.inbound, "connections_inbound", "Connections that peers opened";
            levels.unauthenticated, "connections_unauthenticated", "Of these, those on which nothing was proved";
            levels.outbound, "connections_outbound", "Connections that we opened or are opening";
            levels.handshakes, "handshakes", "TLS handshakes of peers under way";
            levels.routes, "routes", "Pairs for which something waits or a stream of ours is up";
            levels.queued_bytes, "queued_bytes", "Bytes that wait for peers, 512 for each stanza included";
            levels.verifications, "verifications", "Dialback keys that wait for their authoritative server";
            levels.lookups, "lookups", "Domains whose servers are being looked up";
            levels.dns_queries, "dns_queries_pending", "DNS queries under way";
            levels.backoff, "backoff_entries", "Domains, pairs and addresses that failed lately";
            levels.accepted, "connections_accepted", "Connections of peers that were admitted";
            levels.dialled, "connections_dialled", "Connections that we began to open";
            levels.begun_handshakes, "handshakes_begun", "TLS handshakes of peers that were admitted";
            levels.asked, "dns_queries", "DNS queries";
            levels.sent, "stanzas_accepted", "Stanzas of our hosts that were taken to be sent";
            levels.written, "stanzas_written", "Of these, those that were wholly written to a connection";
            levels.uncertain, "stanzas_uncertain", "Of these, those whose connection broke before the peer said goodbye";
            hub.attached, "components", "Components that are attached";
            hub.unattached, "components_unattached", "Connections of components that are not attached, or not any more";
            hub.pending_bytes, "component_bytes", "Bytes that wait for components";
        }
    }

    /// Counts an event of the node of that number.
    pub(crate) fn of_node(&self, number: usize, event: &node::Event) {
        match event {
            node::Event::Stanza { .. } => {
                self.delivered.inc();
            }
            node::Event::Undeliverable { reason, .. } => count(&self.undeliverable, &by_reason(*reason)),
            node::Event::PeerUp { by, link, .. } => {
                count(&self.proved, &ByMethod { direction: link.direction.as_str(), method: by.as_str() });
            }
            node::Event::PeerDown { direction, reason, .. } => count(&self.ended, &by_direction(*direction, *reason)),
            node::Event::Refused { direction, reason, .. } => count(&self.refused, &by_direction(*direction, *reason)),
            node::Event::TurnedAway { bound, times, .. } => {
                self.turned_away.get_or_create(&ByLimit { limit: bound.as_str() }).inc_by(*times);
            }
            node::Event::Measured(measures) => {
                let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(last) = nodes.get_mut(number) {
                    *last = *measures;
                }
                drop(nodes);
                // It fails where nobody waits for it any more.
                let _ = self.measured.0.try_send(());
            }
            _ => {}
        }
    }

    /// Counts an event of a hub.
    pub(crate) fn of_hub(&self, event: &component::Event) {
        match event {
            component::Event::Outbound(_) => {
                self.outbound.inc();
            }
            component::Event::Returned { reason, .. } => count(&self.returned, &by_reason(*reason)),
            component::Event::Dropped { reason, .. } => count(&self.dropped, &by_reason(*reason)),
            component::Event::Refused { reason, .. } => count(&self.component_refused, &by_reason(*reason)),
            component::Event::TurnedAway { times, .. } => {
                self.turned_away.get_or_create(&ByLimit { limit: "unattached components" }).inc_by(*times);
            }
            component::Event::Measured(measures) => {
                set(&self.hub.attached, measures.attached);
                set(&self.hub.unattached, measures.unattached);
                set(&self.hub.pending_bytes, measures.pending_bytes);
                let _ = self.measured.0.try_send(());
            }
            _ => {}
        }
    }

    /// Serves scrapes, one after the other, for ever.
    pub(crate) async fn serve(&self, listener: &Async<TcpListener>, nodes: &Nodes, hub: &HubWay) {
        loop {
            match listener.accept().await {
                Ok((socket, _)) => {
                    let answered = async {
                        // Who goes away in the middle has lost interest.
                        let _ = self.answer(socket, nodes, hub).await;
                    };
                    or(answered, sleep(PATIENCE)).await;
                }
                Err(_) => sleep(ANSWER).await,
            }
        }
    }

    async fn answer(&self, mut socket: Async<TcpStream>, nodes: &Nodes, hub: &HubWay) -> io::Result<()> {
        let mut request = Vec::new();
        while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < REQUEST_BYTES {
            let mut piece = [0; 1024];
            match socket.read(&mut piece).await? {
                0 => break,
                length => request.extend_from_slice(&piece[..length]),
            }
        }
        let (status, body) = if request.starts_with(b"GET /metrics ") {
            ("200 OK", self.text(nodes, hub).await?)
        } else {
            ("404 Not Found", "Figures are at /metrics\n".to_owned())
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        socket.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await?;
        socket.close().await
    }

    /// How many connections there are now, those of components and those that are being opened included. A node or hub that
    /// does not answer in time counts as without any.
    pub(crate) async fn streams(&self, nodes: &Nodes, hub: &HubWay, patience: Duration) -> usize {
        for measures in self.nodes.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
            (measures.inbound, measures.outbound) = (0, 0);
        }
        set(&self.hub.attached, 0);
        set(&self.hub.unattached, 0);
        self.measure(nodes, hub, patience).await;
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let of_nodes: usize = nodes.iter().map(|measures| measures.inbound + measures.outbound).sum();
        let of_hub = self.hub.attached.get() + self.hub.unattached.get();
        of_nodes + usize::try_from(of_hub).unwrap_or_default()
    }

    /// Asks nodes and hub how much there is of everything, and waits for their answers.
    async fn measure(&self, nodes: &Nodes, hub: &HubWay, patience: Duration) {
        while self.measured.1.try_recv().is_ok() {}
        let asked = nodes.measure() + usize::from(hub.try_send(component::Command::Measure));
        let measured = async {
            for _ in 0..asked {
                let _ = self.measured.1.recv().await;
            }
        };
        or(measured, sleep(patience)).await;
    }

    /// Everything, with the levels of now; of a node or hub that does not answer in time, with those before.
    async fn text(&self, nodes: &Nodes, hub: &HubWay) -> io::Result<String> {
        self.measure(nodes, hub, ANSWER).await;
        self.levels.set(&self.nodes.lock().unwrap_or_else(PoisonError::into_inner));
        let mut text = String::new();
        encode(&mut text, &self.registry).map_err(io::Error::other)?;
        Ok(text)
    }

    /// The names of all figures, in the order in which they are told.
    #[cfg(test)]
    pub(crate) fn names() -> Vec<String> {
        let metrics = Self::new(1);
        // What has labels is told when something was counted.
        for family in [&metrics.undeliverable, &metrics.returned, &metrics.dropped, &metrics.component_refused] {
            count(family, &by_reason(Reason::Limit));
        }
        for family in [&metrics.refused, &metrics.ended] {
            count(family, &by_direction(Direction::Inbound, Reason::Limit));
        }
        count(&metrics.proved, &ByMethod { direction: "in", method: "external" });
        count(&metrics.turned_away, &ByLimit { limit: "connections" });
        let mut text = String::new();
        encode(&mut text, &metrics.registry).expect("a text takes everything");
        let names = text.lines().filter_map(|line| line.strip_prefix("# HELP s2sd_")?.split(' ').next());
        names.map(ToOwned::to_owned).collect()
    }
}

impl Levels {
    fn set(&self, nodes: &[node::Measures]) {
        let level = |gauge, of: fn(&node::Measures) -> usize| set(gauge, nodes.iter().map(of).sum());
        level(&self.inbound, |measures| measures.inbound);
        level(&self.unauthenticated, |measures| measures.unauthenticated);
        level(&self.outbound, |measures| measures.outbound);
        level(&self.handshakes, |measures| measures.handshakes);
        level(&self.routes, |measures| measures.routes);
        level(&self.queued_bytes, |measures| measures.queued_bytes);
        level(&self.verifications, |measures| measures.verifications);
        level(&self.lookups, |measures| measures.lookups);
        level(&self.dns_queries, |measures| measures.dns_queries);
        level(&self.backoff, |measures| measures.backoff);
        let total = |counter: &Counter, of: fn(&node::Totals) -> u64| {
            let counter: &AtomicU64 = counter.inner();
            counter.store(nodes.iter().map(|measures| of(&measures.totals)).sum(), Ordering::Relaxed);
        };
        total(&self.accepted, |totals| totals.accepted);
        total(&self.dialled, |totals| totals.dialled);
        total(&self.begun_handshakes, |totals| totals.handshakes);
        total(&self.asked, |totals| totals.dns_queries);
        total(&self.sent, |totals| totals.sent);
        total(&self.written, |totals| totals.written);
        total(&self.uncertain, |totals| totals.uncertain);
    }
}

fn set(gauge: &Gauge, level: usize) {
    let gauge: &AtomicI64 = gauge.inner();
    gauge.store(i64::try_from(level).unwrap_or(i64::MAX), Ordering::Relaxed);
}

fn count<L: Clone + Eq + std::hash::Hash>(family: &Family<L, Counter>, labels: &L) {
    family.get_or_create_owned(labels).inc();
}

const fn by_reason(reason: Reason) -> ByReason {
    ByReason { reason: reason.code() }
}

const fn by_direction(direction: Direction, reason: Reason) -> ByDirection {
    ByDirection { direction: direction.as_str(), reason: reason.code() }
}

async fn sleep(time: Duration) {
    Timer::after(time).await;
}
