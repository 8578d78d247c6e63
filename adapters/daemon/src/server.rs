//! A complete server: its nodes, a hub, their sockets, and the bridge between them.
//!
//! One node driven by smol shares a thread with the hub. Otherwise each machine has a thread of its own, and nodes share
//! nothing but configuration and the secret of dialback.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use s2s_core::addr::Domain;
use s2s_core::component::{self, Hub};
use s2s_core::dialback::Secret;
use s2s_core::dns::ResolverConfig;
use s2s_core::entropy::Seed;
use s2s_core::machine::Listener;
use s2s_core::node::{self, Node};
use s2s_core::time::Anchor;
use s2s_core::tls::verify::Trust;
use s2s_core::tls::{HostIdentity, Provider, RustlsProvider, Version};
use s2s_sockets::SystemSources;
use smol::channel::{Receiver, Sender};
use smol::future::{or, pending, zip};
use smol::{Async, Timer};

use crate::bridge::{self, HubWay, Nodes, Way};
use crate::certificates;
use crate::config::{self, Listen, LogFormat, LogLevel, Settings};
use crate::failure::Failure;
use crate::listeners::{self, addresses, check_outgoing, on};
use crate::log::Record;
use crate::metrics::Metrics;
use crate::runtime::{Driver, Runtime};
use crate::trust::{self, Authorities};

/// How often the TLS provider is told the time.
const TLS_CLOCK: Duration = Duration::from_secs(60);

/// What a shutdown may take beyond `s2s_close_timeout`. The contract grants a second; some of it is for the process.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(700);

/// How much of that is for counting what did not close.
const COUNTING: Duration = Duration::from_millis(300);

/// A server whose listeners are bound.
pub(crate) struct Server {
    nodes: Vec<Driver<Node>>,
    hub: Driver<Hub>,
    running: Running,
    metrics: Option<Async<TcpListener>>,
}

/// A server that can be told another configuration.
#[derive(Clone)]
pub(crate) struct Running {
    nodes: Nodes,
    hub: HubWay,
    fixed: Arc<Fixed>,
    /// Held for moments only.
    current: Arc<Mutex<Current>>,
}

/// What stays as it was at the start.
struct Fixed {
    bound: Bound,
    listen: Listen,
    log_format: LogFormat,
    log_level: LogLevel,
    metrics_listen: Option<SocketAddr>,
    runtime: Runtime,
    nodes: usize,
}

/// What the last configuration said.
struct Current {
    tls: Arc<RustlsProvider>,
    /// Kept where a configuration names none: a random one is ours as long as we run.
    secret: Secret,
    close_timeout: Duration,
}

/// Another configuration that can be used.
pub(crate) struct Prepared {
    node: Box<node::Config>,
    hub: component::Config,
    current: Current,
    kept: Vec<String>,
}

/// The addresses of the listeners.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bound {
    /// Streams that begin in clear.
    pub(crate) s2s: Vec<SocketAddr>,
    /// Streams inside TLS.
    pub(crate) direct: Vec<SocketAddr>,
    /// Components.
    pub(crate) component: Vec<SocketAddr>,
    /// Metrics.
    pub(crate) metrics: Option<SocketAddr>,
}

impl Server {
    /// Binds all listeners and makes the machines.
    pub(crate) fn bind(
        settings: &Settings,
        identities: Vec<HostIdentity>,
        authorities: &Authorities,
    ) -> Result<Self, Failure> {
        let (tls, trust) = protection(settings, identities, authorities)?;
        let secret = match &settings.dialback_secret {
            Some(secret) => secret.clone(),
            None => Secret::new(&random()?).map_err(|error| Failure::Usage(error.to_string()))?,
        };

        check_outgoing(&settings.outgoing_addresses)?;
        let count = settings.nodes;
        let s2s = listeners::bind(settings, listeners::S2S, &settings.listen.s2s, count)?;
        let direct = listeners::bind(settings, listeners::DIRECT, &settings.listen.direct, count)?;
        let component = listeners::bind(settings, listeners::COMPONENT, &settings.listen.component, 1)?.remove(0);
        let first = |of: &[Vec<TcpListener>]| of.first().map_or_else(|| Ok(Vec::new()), |one| addresses(one));
        let metrics = listeners::metrics(settings)?;
        let bound = Bound {
            s2s: first(&s2s)?,
            direct: first(&direct)?,
            component: addresses(&component)?,
            metrics: metrics.as_ref().and_then(|listener| listener.get_ref().local_addr().ok()),
        };

        let anchor = anchor();
        let config = node_config(settings, count, &tls, trust, secret.clone(), &bound);
        let registered = || Failure::runtime("listeners cannot be watched");
        let (mut nodes, mut node_ways) = (Vec::new(), Vec::new());
        for (s2s, direct) in s2s.into_iter().zip(direct) {
            let node = Node::new(config.clone(), seed()?, anchor);
            let listeners = on(Listener::StartTls, s2s).chain(on(Listener::DirectTls, direct)).collect();
            let (node, handle) = Driver::new(settings.runtime, node, listeners).map_err(registered())?;
            nodes.push(node);
            node_ways.push(Way::new(handle));
        }
        let hub = Hub::new(hub_config(settings), seed()?, anchor);
        let listeners = on(Listener::Component, component).collect();
        let (hub, hub_handle) = Driver::new(settings.runtime, hub, listeners).map_err(registered())?;
        let fixed = Fixed {
            bound,
            listen: settings.listen.clone(),
            log_format: settings.log_format,
            log_level: settings.log_level,
            metrics_listen: settings.metrics_listen,
            runtime: settings.runtime,
            nodes: settings.nodes,
        };
        let current = Current { tls, secret, close_timeout: settings.close_timeout };
        let running = Running {
            nodes: Nodes(node_ways),
            hub: Way::new(hub_handle),
            fixed: Arc::new(fixed),
            current: Arc::new(Mutex::new(current)),
        };
        Ok(Self { nodes, hub, running, metrics })
    }

    /// Where it listens.
    pub(crate) fn bound(&self) -> &Bound {
        &self.running.fixed.bound
    }

    /// What can be told another configuration.
    pub(crate) const fn running(&self) -> &Running {
        &self.running
    }

    /// Serves until `stop` is ready, then closes all streams. If some did not close in time the error is how many
    /// connections are known to be left.
    pub(crate) async fn run(
        self,
        journal: impl Fn(Record) + Clone + Send + 'static,
        stop: impl Future<Output = ()>,
    ) -> Result<(), usize> {
        let Self { nodes, hub, running, metrics: listener } = self;
        let metrics = Arc::new(Metrics::new(nodes.len()));
        // Each way from a node to the hub has the sender until that node has ended.
        let (carrying, carried) = smol::channel::bounded::<Infallible>(1);
        let (handling, handled) = smol::channel::bounded(1);
        let ended = async {
            running.drive(nodes, hub, journal, &metrics, carrying, handling).await;
            Ok(())
        };
        let stopped = async {
            stop.await;
            let close_timeout = running.with_current(|current| current.close_timeout);
            let late = async {
                Timer::after(close_timeout + SHUTDOWN_GRACE.saturating_sub(COUNTING)).await;
                Err(metrics.streams(&running.nodes, &running.hub, COUNTING).await)
            };
            // Components stay until they have what the nodes still got and what comes back of their own, but for half of
            // the time at most: the other half is theirs to close in. What hangs at a peer that reads nothing is told of in the
            // log only.
            let hub = async {
                running.nodes.close().await;
                let carried = async {
                    let _ = carried.recv().await;
                    running.wait_for_outward(&handled).await;
                };
                let patience = async {
                    Timer::after(close_timeout / 2).await;
                };
                or(carried, patience).await;
                running.hub.close(component::Command::Shutdown).await;
                pending().await
            };
            or(late, hub).await
        };
        let ticking = async {
            loop {
                running.with_current(|current| current.tls.set_time(unix_now()));
                Timer::after(TLS_CLOCK).await;
            }
        };
        let measuring = async {
            if let Some(listener) = &listener {
                metrics.serve(listener, &running.nodes, &running.hub).await;
            }
            pending().await
        };
        or(or(ended, stopped), or(ticking, measuring)).await
    }
}

impl Running {
    /// Runs all machines, and what goes on between them, until they have finished.
    async fn drive(
        &self,
        nodes: Vec<Driver<Node>>,
        hub: Driver<Hub>,
        journal: impl Fn(Record) + Clone + Send + 'static,
        metrics: &Arc<Metrics>,
        carrying: Sender<Infallible>,
        handling: Sender<()>,
    ) {
        let outward =
            bridge::outward(self.hub.clone(), self.nodes.clone(), journal.clone(), Arc::clone(metrics), handling);
        let inward = self.nodes.0.iter().enumerate().map(|(number, node)| {
            let way = bridge::inward(
                number,
                node.clone(),
                self.nodes.clone(),
                self.hub.clone(),
                journal.clone(),
                Arc::clone(metrics),
            );
            let carrying = carrying.clone();
            async move {
                way.await;
                drop(carrying);
            }
        });
        let mut parts: Vec<_> = nodes.into_iter().zip(inward).collect();
        drop(carrying);
        if self.fixed.runtime == Runtime::Smol && parts.len() == 1 {
            let Some((node, inward)) = parts.pop() else { return };
            zip(zip(node.run(), inward), zip(hub.run(), outward)).await;
            return;
        }
        // Each thread has the sender until it ends.
        let (running, ended) = smol::channel::bounded::<Infallible>(1);
        for (node, inward) in parts {
            let running = running.clone();
            thread::spawn(move || {
                node.run_beside(inward);
                drop(running);
            });
        }
        thread::spawn(move || {
            hub.run_beside(outward);
            drop(running);
        });
        let _ = ended.recv().await;
    }

    /// Waits until the hub has back whatever of what it has told by now no node takes any more.
    async fn wait_for_outward(&self, handled: &Receiver<()>) {
        // A monitor may have asked before.
        let _ = handled.try_recv();
        if self.hub.send(component::Command::Measure).await.is_ok() {
            let _ = handled.recv().await;
        }
    }

    /// Makes of another configuration what [`apply`](Self::apply) needs. After an error everything is as it was.
    pub(crate) fn prepare(
        &self,
        settings: &Settings,
        identities: Vec<HostIdentity>,
        authorities: &Authorities,
    ) -> Result<Prepared, Failure> {
        check_outgoing(&settings.outgoing_addresses)?;
        let (tls, trust) = protection(settings, identities, authorities)?;
        let secret = match &settings.dialback_secret {
            Some(secret) => secret.clone(),
            None => self.with_current(|current| current.secret.clone()),
        };
        let node = node_config(settings, self.fixed.nodes, &tls, trust, secret.clone(), &self.fixed.bound);
        Ok(Prepared {
            node: Box::new(node),
            hub: hub_config(settings),
            kept: self.fixed.kept(settings),
            current: Current { tls, secret, close_timeout: settings.close_timeout },
        })
    }

    /// Goes on with another configuration, which closes the streams that it forbids. Returns what of it has to wait for
    /// a restart.
    pub(crate) async fn apply(&self, prepared: Prepared) -> Vec<String> {
        let Prepared { node, hub, current, kept } = prepared;
        self.with_current(|last| *last = current);
        self.nodes.tell(&node::Command::Reconfigure(node)).await;
        let _ = self.hub.send(component::Command::Reconfigure(hub)).await;
        kept
    }

    fn with_current<T>(&self, look: impl FnOnce(&mut Current) -> T) -> T {
        look(&mut self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Fixed {
    /// One line for each option of which the value that was given at the start goes on to count.
    fn kept(&self, settings: &Settings) -> Vec<String> {
        let ports = |of: &[SocketAddr]| of.iter().map(SocketAddr::port).collect::<BTreeSet<_>>();
        let interfaces = |of: &[SocketAddr]| of.iter().map(SocketAddr::ip).collect::<BTreeSet<_>>();
        let s2s = |listen: &Listen| [listen.s2s.as_slice(), &listen.direct].concat();
        let (was, is) = (&self.listen, &settings.listen);
        let changed = [
            ("s2s_ports", ports(&was.s2s) != ports(&is.s2s)),
            ("s2s_direct_tls_ports", ports(&was.direct) != ports(&is.direct)),
            ("s2s_interfaces", interfaces(&s2s(was)) != interfaces(&s2s(is))),
            ("component_ports", ports(&was.component) != ports(&is.component)),
            ("component_interfaces", interfaces(&was.component) != interfaces(&is.component)),
            ("log_format", self.log_format != settings.log_format),
            ("log_level", self.log_level != settings.log_level),
            ("metrics_listen", self.metrics_listen != settings.metrics_listen),
            ("runtime", self.runtime != settings.runtime),
            ("nodes", self.nodes != settings.nodes),
        ];
        let changed = changed.into_iter().filter(|(_, changed)| *changed);
        changed
            .map(|(key, _)| format!("'{key}' was changed: that needs a restart, until when the old value counts"))
            .collect()
    }
}

/// Our certificates, and what those of peers are judged by.
fn protection(
    settings: &Settings,
    identities: Vec<HostIdentity>,
    authorities: &Authorities,
) -> Result<(Arc<RustlsProvider>, Trust), Failure> {
    let crypto = rustls::crypto::aws_lc_rs::default_provider();
    // The first draw collects entropy for tens of milliseconds: not during somebody's handshake.
    let _ = crypto.secure_random.fill(&mut [0; 32]);
    let trust = trust::build(&crypto, authorities, settings)?;
    let refused = |error| vec![certificates::refused(settings, &error)];
    // Each identity carries the minimum of its host; a host without one may have a minimum too.
    let mut tls = RustlsProvider::new(Arc::new(crypto), identities, Version::Tls12).map_err(refused)?;
    for (name, host) in settings.hosts.iter().filter(|(_, host)| host.tls_min_version > Version::Tls12) {
        tls = tls.with_nameless_host(name.clone(), host.tls_min_version).map_err(refused)?;
    }
    tls.set_time(unix_now());
    Ok((Arc::new(tls), trust))
}

impl fmt::Display for Bound {
    /// As the line that says that we are ready.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |addresses: &[SocketAddr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        write!(f, "s2s={} direct={} component={}", list(&self.s2s), list(&self.direct), list(&self.component))
    }
}

/// The configuration of each of so many `nodes`.
fn node_config(
    settings: &Settings,
    nodes: usize,
    tls: &Arc<RustlsProvider>,
    trust: Trust,
    secret: Secret,
    bound: &Bound,
) -> node::Config {
    let provider: Arc<RustlsProvider> = Arc::clone(tls);
    let servers = settings.dns_servers.clone();
    let defaults = node::Config::new(provider, Arc::new(trust), secret, servers.clone());
    node::Config {
        hosts: settings.hosts.iter().map(|(name, host)| (name.clone(), host.options.clone())).collect(),
        resolver: ResolverConfig {
            ipv4: settings.ipv4,
            ipv6: settings.ipv6,
            queries: settings.limits.dns_queries.div_ceil(nodes),
            sources: Some(Arc::new(SystemSources)),
            ..defaults.resolver
        },
        routes: settings.routes.iter().map(|(name, route)| (name.clone(), route.to)).collect(),
        routes_below: settings.routes_below.iter().map(|(name, route)| (name.clone(), route.to)).collect(),
        outgoing_addresses: settings.outgoing_addresses.iter().map(|(address, _)| *address).collect(),
        private_addresses: settings.private_addresses.clone(),
        own_listeners: own_addresses(bound),
        stanza_bytes: settings.stanza_bytes,
        negotiation_timeout: settings.negotiation_timeout,
        attempt_timeout: settings.attempt_timeout,
        close_timeout: settings.close_timeout,
        idle_timeout: settings.idle_timeout,
        limits: share(&settings.limits.node, nodes, settings.stanza_bytes),
        ..defaults
    }
}

/// What one of so many nodes may hold, so that all of them hold what one would: but each has room for all that waits for
/// one pair, and for one stanza of `stanza_bytes`, which is more in all where there are many.
///
/// What counts for one address, one pair or one connection counts at each node.
fn share(limits: &node::Limits, nodes: usize, stanza_bytes: usize) -> node::Limits {
    let part = |of: usize| of.div_ceil(nodes);
    let one = config::Limits::one_stanza(stanza_bytes);
    node::Limits {
        connections: part(limits.connections),
        unauthenticated: part(limits.unauthenticated),
        handshakes: part(limits.handshakes),
        handshake_rate: limits.handshake_rate.div_ceil(nodes as u64),
        queue_bytes: part(limits.queue_bytes).max(limits.queue_bytes_per_pair).max(one),
        verifications: part(limits.verifications),
        ..limits.clone()
    }
}

/// Where a dial would reach ourselves: a listener on every address is one on the loopback address too. Its other addresses
/// nobody knows; who is dialled there answers that it does not serve the domain.
fn own_addresses(bound: &Bound) -> Vec<SocketAddr> {
    let listeners = bound.s2s.iter().chain(&bound.direct).chain(&bound.component).chain(&bound.metrics);
    let mut own = Vec::new();
    for addr in listeners {
        own.push(*addr);
        if addr.ip().is_unspecified() {
            let loopback: IpAddr = if addr.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
            own.push(SocketAddr::new(loopback, addr.port()));
        }
    }
    own
}

fn hub_config(settings: &Settings) -> component::Config {
    let hosts: BTreeMap<Domain, component::Host> = settings
        .hosts
        .iter()
        .map(|(name, host)| {
            let component_secret = host.component_secret.clone();
            (name.clone(), component::Host { component_secret, contacts: Vec::new() })
        })
        .collect();
    component::Config {
        hosts,
        stanza_bytes: settings.stanza_bytes,
        output_bytes: settings.limits.component_bytes,
        // A component is local and has little to say: as long as one attempt to reach a peer may take.
        handshake_timeout: settings.attempt_timeout,
        // They are told to go when the nodes have had the other half.
        close_timeout: settings.close_timeout / 2,
    }
}

fn anchor() -> Anchor {
    Anchor { instant: Instant::now(), unix: unix_now() }
}

/// Wall-clock time. A clock before 1970 counts as 1970: no certificate is valid then.
pub(crate) fn unix_now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn seed() -> Result<Seed, Failure> {
    random().map(Seed)
}

/// 256 bits from the operating system.
pub(crate) fn random() -> Result<[u8; 32], Failure> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| {
        Failure::Runtime("the operating system gives no randomness".to_owned(), io::Error::other(error.to_string()))
    })?;
    Ok(bytes)
}
