//! A complete server in one thread: a node, a hub, their sockets, and the bridge between them.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use s2s_core::addr::Domain;
use s2s_core::component::{self, Hub};
use s2s_core::dialback::Secret;
use s2s_core::dns::ResolverConfig;
use s2s_core::entropy::Seed;
use s2s_core::limits;
use s2s_core::machine::Listener;
use s2s_core::node::{self, Node};
use s2s_core::time::Anchor;
use s2s_core::tls::verify::Trust;
use s2s_core::tls::{HostIdentity, Provider, RustlsProvider, Version};
use s2s_smol::{Driver, bind};
use smol::Timer;
use smol::future::{or, zip};

use crate::bridge::{self, HubHandle, NodeHandle};
use crate::certificates;
use crate::config::{Error, Problem, Settings};
use crate::failure::Failure;
use crate::log::Record;

/// How often the TLS provider is told the time.
const TLS_CLOCK: Duration = Duration::from_secs(60);

/// What a shutdown may take beyond `s2s_close_timeout`. The contract grants a second; some of it is for the process.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(700);

/// A server whose listeners are bound.
pub(crate) struct Server {
    node: Driver<Node>,
    hub: Driver<Hub>,
    node_handle: NodeHandle,
    hub_handle: HubHandle,
    tls: Arc<RustlsProvider>,
    bound: Bound,
    close_timeout: Duration,
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
}

impl Server {
    /// Binds all listeners and makes the machines. `authorities` are certificates in DER.
    pub(crate) fn bind(
        settings: &Settings,
        identities: Vec<HostIdentity>,
        authorities: &[impl AsRef<[u8]>],
    ) -> Result<Self, Failure> {
        let crypto = rustls::crypto::aws_lc_rs::default_provider();
        // The first draw collects entropy for tens of milliseconds: not during somebody's handshake.
        let _ = crypto.secure_random.fill(&mut [0; 32]);
        let trust = trust(&crypto, authorities, settings)?;
        // Each identity carries the minimum of its host; this one is for hosts that have none.
        let minimum = settings.hosts.values().map(|host| host.tls_min_version).min().unwrap_or(Version::Tls12);
        let tls = RustlsProvider::new(Arc::new(crypto), identities, minimum)
            .map_err(|error| vec![certificates::refused(settings, &error)])?;
        tls.set_time(unix_now());
        let tls = Arc::new(tls);

        let s2s = listeners(&settings.listen.s2s)?;
        let direct = listeners(&settings.listen.direct)?;
        let component = listeners(&settings.listen.component)?;
        let bound = Bound { s2s: addresses(&s2s)?, direct: addresses(&direct)?, component: addresses(&component)? };

        let config = node_config(settings, &tls, trust, &bound)?;
        let anchor = anchor();
        let node = Node::new(config, seed()?, anchor);
        let hub = Hub::new(hub_config(settings), seed()?, anchor);
        let node_listeners = on(Listener::StartTls, s2s).chain(on(Listener::DirectTls, direct)).collect();
        let registered = Failure::runtime("listeners cannot be watched");
        let (node, node_handle) = Driver::new(node, node_listeners).map_err(registered)?;
        let registered = Failure::runtime("listeners cannot be watched");
        let (hub, hub_handle) = Driver::new(hub, on(Listener::Component, component).collect()).map_err(registered)?;
        Ok(Self {
            node,
            hub,
            node_handle: NodeHandle(node_handle),
            hub_handle: HubHandle(hub_handle),
            tls,
            bound,
            close_timeout: settings.close_timeout,
        })
    }

    /// Where it listens.
    pub(crate) const fn bound(&self) -> &Bound {
        &self.bound
    }

    /// Serves until `stop` is ready, then closes all streams. Returns whether they all closed in time.
    pub(crate) async fn run(self, journal: impl Fn(Record), stop: impl Future<Output = ()>) -> bool {
        let Self { node, hub, node_handle, hub_handle, tls, close_timeout, .. } = self;
        let machines = zip(node.run(), hub.run());
        let bridge = zip(
            bridge::inward(&node_handle, &hub_handle, &journal),
            bridge::outward(&hub_handle, &node_handle, &journal),
        );
        let ended = async {
            zip(machines, bridge).await;
            true
        };
        let stopped = async {
            stop.await;
            // It fails where the machine has ended already.
            let _ = node_handle.0.send(node::Command::Shutdown).await;
            let _ = hub_handle.0.send(component::Command::Shutdown).await;
            Timer::after(close_timeout + SHUTDOWN_GRACE).await;
            false
        };
        let ticking = async {
            loop {
                tls.set_time(unix_now());
                Timer::after(TLS_CLOCK).await;
            }
        };
        or(or(ended, stopped), ticking).await
    }
}

impl fmt::Display for Bound {
    /// As the line that says that we are ready.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |addresses: &[SocketAddr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        write!(f, "s2s={} direct={} component={}", list(&self.s2s), list(&self.direct), list(&self.component))
    }
}

/// Listens on all of `addresses`. Only `::` may fail, and only on a host without IPv6.
fn listeners(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, Failure> {
    let mut listeners = Vec::new();
    for addr in addresses {
        match bind(*addr) {
            Ok(listener) => listeners.push(listener),
            Err(_) if addr.ip() == Ipv6Addr::UNSPECIFIED && !has_ipv6() => {
                tracing::warn!(event = "no-ipv6", addr = tracing::field::display(addr), "this host has no IPv6");
            }
            Err(error) => return Err(Failure::Runtime(format!("cannot listen on {addr}"), error)),
        }
    }
    Ok(listeners)
}

fn has_ipv6() -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

fn addresses(listeners: &[TcpListener]) -> Result<Vec<SocketAddr>, Failure> {
    let addresses: io::Result<_> = listeners.iter().map(TcpListener::local_addr).collect();
    addresses.map_err(Failure::runtime("a listener has no address"))
}

fn on(kind: Listener, listeners: Vec<TcpListener>) -> impl Iterator<Item = (Listener, TcpListener)> {
    listeners.into_iter().map(move |listener| (kind, listener))
}

fn trust(
    crypto: &rustls::crypto::CryptoProvider,
    authorities: &[impl AsRef<[u8]>],
    settings: &Settings,
) -> Result<Trust, Failure> {
    let mut trust = Trust::new(crypto.signature_verification_algorithms.all);
    for der in authorities {
        let Err(error) = trust.add_anchor(der.as_ref()) else { continue };
        // Systems ship some that cannot be read; one that the operator chose must count.
        if settings.roots.system {
            tracing::warn!(event = "configuration", "an authority is left out: {error}");
            continue;
        }
        let path = settings.roots.file.clone().or_else(|| settings.roots.directory.clone()).unwrap_or_default();
        let problem = Problem::Certificate { path, problem: error.to_string() };
        return Err(vec![Error::of(&settings.file, problem)].into());
    }
    Ok(trust)
}

fn node_config(
    settings: &Settings,
    tls: &Arc<RustlsProvider>,
    trust: Trust,
    bound: &Bound,
) -> Result<node::Config, Failure> {
    let secret = match &settings.dialback_secret {
        Some(secret) => secret.clone(),
        None => Secret::new(&random()?).map_err(|error| Failure::Usage(error.to_string()))?,
    };
    let provider: Arc<RustlsProvider> = Arc::clone(tls);
    let servers = settings.dns_servers.clone();
    let defaults = node::Config::new(provider, Arc::new(trust), secret, servers.clone());
    Ok(node::Config {
        hosts: settings.hosts.iter().map(|(name, host)| (name.clone(), host.options.clone())).collect(),
        resolver: ResolverConfig { ipv4: settings.ipv4, ipv6: settings.ipv6, ..defaults.resolver },
        routes: settings.routes.clone(),
        private_addresses: settings.private_addresses.clone(),
        own_listeners: own_addresses(bound),
        stanza_bytes: settings.stanza_bytes,
        negotiation_timeout: settings.negotiation_timeout,
        attempt_timeout: settings.attempt_timeout,
        close_timeout: settings.close_timeout,
        idle_timeout: settings.idle_timeout,
        ..defaults
    })
}

/// Where a dial would reach ourselves: a listener on every address is one on the loopback address too.
fn own_addresses(bound: &Bound) -> Vec<SocketAddr> {
    let listeners = bound.s2s.iter().chain(&bound.direct).chain(&bound.component);
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
        // Room for one stanza of the largest size beside what normally waits.
        output_bytes: settings.stanza_bytes.saturating_add(limits::OUTPUT_HIGH_WATER_BYTES),
        // A component is local and has little to say: as long as one attempt to reach a peer may take.
        handshake_timeout: settings.attempt_timeout,
        close_timeout: settings.close_timeout,
    }
}

fn anchor() -> Anchor {
    Anchor { instant: Instant::now(), unix: unix_now() }
}

/// Wall-clock time. A clock before 1970 counts as 1970: no certificate is valid then.
fn unix_now() -> Duration {
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
