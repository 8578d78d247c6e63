//! The world of the demo: two complete servers in threads of their own, DNS, and a component behind each host.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::rc::Rc;
use std::thread::{self, JoinHandle};

use s2s_core::addr::Domain;
use s2s_core::dns::Security;
use smol::LocalExecutor;
use smol::channel::{Receiver, Sender};

use crate::config::{self, Settings};
use crate::demo::Sighting;
use crate::demo::authority::Authority;
use crate::demo::components::Component;
use crate::demo::dns::{DnsServer, Zone};
use crate::demo::plan::{SITES, Side, Site};
use crate::failure::Failure;
use crate::init::hexadecimal;
use crate::runtime::Runtime;
use crate::server::{Bound, Server, random};
use crate::trust::Authorities;

/// Everything that runs.
pub(crate) struct World {
    /// The component of each host.
    pub(crate) components: BTreeMap<&'static str, Component>,
    /// What is seen, by servers and components.
    pub(crate) sightings: Receiver<Sighting>,
    /// Where the servers listen.
    pub(crate) bound: BTreeMap<Side, Bound>,
    /// Whom both servers trust.
    pub(crate) authority: Authority,
    /// Where names are asked for.
    pub(crate) dns: SocketAddr,
    zone: Rc<RefCell<Zone>>,
    running: Vec<Running>,
}

/// A server in its thread. It shuts down when the sender is dropped.
struct Running {
    stop: Sender<()>,
    thread: JoinHandle<bool>,
}

impl World {
    /// Brings everything up.
    pub(crate) async fn start(
        executor: &Rc<LocalExecutor<'static>>,
        runtime: Runtime,
        nodes: usize,
    ) -> Result<Self, Failure> {
        let authority = Authority::new()?;
        let zone = Rc::new(RefCell::new(Zone::default()));
        let dns = DnsServer::bind(Rc::clone(&zone)).await.map_err(Failure::runtime("DNS cannot listen"))?;
        let dns_addr = dns.addr().map_err(Failure::runtime("DNS has no address"))?;
        let (sender, sightings) = smol::channel::unbounded();

        let mut servers = Vec::new();
        let mut bound = BTreeMap::new();
        let mut secrets = BTreeMap::new();
        for side in Side::ALL {
            let sites: Vec<_> = SITES.iter().filter(|site| site.side == side).collect();
            for site in &sites {
                secrets.insert(site.name, hexadecimal(&random()?));
            }
            let server = bind(side, &sites, &secrets, dns_addr, &authority, (runtime, nodes))?;
            bound.insert(side, server.bound().clone());
            servers.push((side, server));
        }
        publish(&mut zone.borrow_mut(), &bound).map_err(Failure::runtime("the zone cannot be filled"))?;
        dns.start(executor);
        let running = servers.into_iter().map(|(side, server)| run(side, server, sender.clone()));
        let running = running.collect::<io::Result<_>>().map_err(Failure::runtime("a thread cannot be started"))?;

        let mut components = BTreeMap::new();
        for site in &SITES {
            let failed = || format!("the component of {} cannot attach", site.name);
            let addr = bound.get(&site.side).and_then(|bound: &Bound| bound.component.first().copied());
            let addr = addr.ok_or_else(|| Failure::Runtime(failed(), io::ErrorKind::NotFound.into()))?;
            let secret = secrets.get(site.name).map(String::as_str).unwrap_or_default();
            let component = Component::attach(executor, addr, site.name, secret, sender.clone()).await;
            components.insert(site.name, component.map_err(Failure::runtime(failed()))?);
        }
        Ok(Self { components, sightings, bound, authority, dns: dns_addr, zone, running })
    }

    /// Publishes one more domain, that of a server which is no part of this.
    pub(crate) fn publish(&self, name: &str, addr: SocketAddr) -> io::Result<()> {
        let (mut zone, server) = (self.zone.borrow_mut(), format!("server.{name}"));
        zone.address(&server, Ipv4Addr::LOCALHOST);
        zone.service(&format!("_xmpp-server._tcp.{name}"), &server, addr.port())
    }

    /// Shuts both servers down at once. Returns those that did not close everything in time.
    pub(crate) async fn stop(self) -> Vec<&'static str> {
        let (stops, threads): (Vec<_>, Vec<_>) = self.running.into_iter().map(|r| (r.stop, r.thread)).unzip();
        drop(stops);
        // Not on this thread: the components have their part in closing.
        let ended = smol::unblock(|| threads.into_iter().map(|thread| thread.join().unwrap_or(false)).collect());
        let ended: Vec<bool> = ended.await;
        ended.into_iter().zip(Side::ALL).filter_map(|(in_time, side)| (!in_time).then_some(side.as_str())).collect()
    }
}

/// The configuration of one server, as an operator would write it.
fn configuration(sites: &[&Site], secrets: &BTreeMap<&'static str, String>, dns: SocketAddr) -> String {
    let mut text = format!(
        r#"s2s_require_encryption = true
s2s_interfaces = ["127.0.0.1"]
s2s_ports = [0]
s2s_direct_tls_ports = [0]
component_ports = [0]
dns_servers = ["{dns}"]
s2s_allow_private_addresses = ["127.0.0.0/8"]
s2s_timeout = 60
s2s_attempt_timeout = 30
s2s_close_timeout = 10
system_roots = false
"#
    );
    for site in sites {
        let secret = secrets.get(site.name).map(String::as_str).unwrap_or_default();
        text.push_str(&format!(
            "\n[host.\"{}\"]\ns2s_secure_auth = {}\ncomponent_secret = \"{secret}\"\n",
            site.name, site.strict
        ));
    }
    text
}

fn bind(
    side: Side,
    sites: &[&Site],
    secrets: &BTreeMap<&'static str, String>,
    dns: SocketAddr,
    authority: &Authority,
    (runtime, nodes): (Runtime, usize),
) -> Result<Server, Failure> {
    let name = format!("configuration of {}", side.as_str());
    let settings = config::parse(&configuration(sites, secrets, dns), Path::new(&name))?;
    let settings = Settings { runtime, nodes, ..settings };
    let identities = sites.iter().map(|site| {
        let domain = Domain::parse(site.name).map_err(|error| Failure::Usage(error.to_string()))?;
        authority.identity(&domain, site.voucher)
    });
    let authorities =
        Authorities { certificates: vec![(authority.certificate().clone(), None)], ..Authorities::default() };
    Server::bind(&settings, identities.collect::<Result<_, _>>()?, &authorities)
}

/// Publishes for each host the one service that it has, and where it is.
fn publish(zone: &mut Zone, bound: &BTreeMap<Side, Bound>) -> io::Result<()> {
    for side in Side::ALL {
        zone.address(&server_name(side), Ipv4Addr::LOCALHOST);
    }
    for site in &SITES {
        let bound = bound.get(&site.side).ok_or(io::ErrorKind::NotFound)?;
        let (service, listeners) = match site.entrance {
            Security::StartTls => ("_xmpp-server", &bound.s2s),
            Security::DirectTls => ("_xmpps-server", &bound.direct),
        };
        let addr = listeners.first().ok_or(io::ErrorKind::NotFound)?;
        zone.service(&format!("{service}._tcp.{}", site.name), &server_name(site.side), addr.port())?;
    }
    Ok(())
}

fn server_name(side: Side) -> String {
    format!("server-{}.example", side.as_str().to_ascii_lowercase())
}

fn run(side: Side, server: Server, sightings: Sender<Sighting>) -> io::Result<Running> {
    let (stop, stopped) = smol::channel::bounded::<()>(1);
    let thread = thread::Builder::new().name(format!("server {}", side.as_str())).spawn(move || {
        let journal = move |record| {
            // Nobody looks any more once the demo ends.
            let _ = sightings.try_send(Sighting::Record { side, record: Box::new(record) });
        };
        let closed = smol::block_on(server.run(journal, async {
            let _ = stopped.recv().await;
        }));
        closed.is_ok()
    })?;
    Ok(Running { stop, thread })
}
