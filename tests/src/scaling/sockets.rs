//! `s2sd` over sockets: how many stanzas it carries for a second of its processor time, by runtime and number of nodes.
//!
//! The program runs as a process of its own. This one plays all remote domains, and the component. What the program does
//! beside stanzas is done before: every stream is up when its time begins to count. What is sent is made once, and many
//! stanzas are written at once, so that the program is the one that is busy: what waits for its load does more for each
//! stanza, the more so the more threads wait.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use s2s_core::dns::Security;
use s2s_core::node::{Command, Config, Event, StaticRoute};
use s2s_core::policy::HostOptions;
use s2s_core::route::PrivateAddresses;
use s2s_core::tls::{Provider, RustlsProvider, Version};
use tempfile::TempDir;

use super::median;
use crate::adapter::Adapter;
use crate::cases::program::component::Component;
use crate::cases::program::configuration::{SECRET, pem};
use crate::cases::program::process::Process;
use crate::certificates::{Authority, Kind};
use crate::peer::Peer;
use crate::sockets::{Side, listen};
use crate::world::{World, domain};

/// The domain of the program.
const OURS: &str = "ours.example";

/// Remote domains: each has a stream of its own either way, and more than one of them comes to each node.
const PEERS: usize = 16;

/// Stanzas that a remote domain writes at once, or the component to one.
const AT_ONCE: usize = 32;

/// Stanzas that are on their way at once, at most: enough that nobody waits for the next.
const UNDER_WAY: u64 = 4096;

/// Characters of a message's body.
const TEXT_BYTES: usize = 200;

/// Stands in each message once.
const MARK: u8 = b'#';

/// How long nothing may arrive.
const PATIENCE: Duration = Duration::from_secs(20);

/// Ticks of a second in which Linux counts processor time for programs, on every machine that this is run on.
const TICKS: f64 = 100.0;

/// Ways to run the program.
const ENGINES: [(Adapter, usize); 4] =
    [(Adapter::Smol, 1), (Adapter::Smol, 2), (Adapter::Threads, 1), (Adapter::Threads, 2)];

/// Which way stanzas go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// From the remote domains to the component.
    In,
    /// From the component to the remote domains.
    Out,
}

impl Way {
    const BOTH: [Self; 2] = [Self::In, Self::Out];
}

/// What was measured of each way to run the program, in each round.
#[derive(Clone, Debug)]
pub struct Report(BTreeMap<(Adapter, usize, Way), Vec<Rates>>);

#[derive(Clone, Copy, Debug)]
struct Rates {
    /// Stanzas for one second of processor time.
    processor: f64,
    /// Stanzas in one second.
    clock: f64,
}

impl fmt::Display for Report {
    /// Medians. What several nodes do is compared with what one did in the same round: the machine is not as fast in each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |rates: &[Rates], value: fn(&Rates) -> f64| median(rates.iter().map(value).collect());
        for ((adapter, nodes, way), rates) in &self.0 {
            let one = self.0.get(&(*adapter, 1, *way)).map_or(&[][..], Vec::as_slice);
            let ratios = rates.iter().zip(one).map(|(rates, one)| 100.0 * rates.processor / one.processor);
            writeln!(
                f,
                "{:7}  nodes = {nodes}  {:3}  {:7.0} stanzas per CPU second  {:4.0} %  {:7.0} stanzas/s",
                adapter.as_str(),
                format!("{way:?}").to_lowercase(),
                of(rates, |rates| rates.processor),
                median(ratios.collect()),
                of(rates, |rates| rates.clock),
            )?;
        }
        Ok(())
    }
}

/// Runs `program` in each way, or in those with one adapter, in each of so many rounds, with so many stanzas either way.
#[must_use]
pub fn run(program: &Path, stanzas: u64, rounds: usize, only: Option<Adapter>) -> Report {
    let mut measured: BTreeMap<_, Vec<Rates>> = BTreeMap::new();
    for _ in 0..rounds {
        for (adapter, nodes) in ENGINES.into_iter().filter(|(adapter, _)| only.is_none_or(|only| only == *adapter)) {
            let mut bench = Bench::start(program, adapter, nodes);
            for way in Way::BOTH {
                // The streams come up, and everything has been done once.
                bench.carry(way, stanzas / 10);
                measured.entry((adapter, nodes, way)).or_default().push(bench.measure(way, stanzas));
            }
            bench.end();
        }
    }
    Report(measured)
}

/// The program, the remote domains and the component.
struct Bench {
    process: Process,
    /// Those who send.
    peers: Vec<Peer>,
    /// The remote domains that receive.
    side: Side,
    component: TcpStream,
    /// How many have arrived.
    arrived: [Arc<AtomicU64>; 2],
    _home: TempDir,
}

impl Bench {
    fn start(program: &Path, adapter: Adapter, nodes: usize) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let authority = Authority::root("the authority");
        let (listener, addr) = listen();
        let engine = format!("runtime = \"{}\"\nnodes = {nodes}\n", adapter.as_str());
        write_files(home.path(), &authority, &engine, addr);
        let process = Process::start(program, home.path()).expect("the program starts");
        let config = config(&authority, process.starttls);
        let tls: Arc<dyn Provider> = Arc::clone(&config.tls);
        let peer = |number| Peer::connect(process.starttls, &tls, &domain(&name(number)), &domain(OURS));
        let peers = (0..PEERS).map(peer).collect::<io::Result<_>>().expect("it lets them in");
        let side = Side::start(Adapter::Smol, listener, config, 7);
        let component = Component::attach(process.component, OURS).expect("a component may attach").into_socket();
        component.set_read_timeout(None).expect("an option");
        let arrived: [Arc<AtomicU64>; 2] = Default::default();

        let (mut reader, count) = (component.try_clone().expect("a socket"), Arc::clone(&arrived[0]));
        thread::spawn(move || {
            let mut bytes = vec![0; 65_536];
            while let Ok(length @ 1..) = reader.read(&mut bytes) {
                let marks = bytes[..length].iter().filter(|byte| **byte == MARK).count();
                count.fetch_add(u64::try_from(marks).expect("few"), Relaxed);
            }
        });
        let (handle, count) = (side.handle.clone(), Arc::clone(&arrived[1]));
        thread::spawn(move || {
            while let Some(event) = handle.event() {
                match event {
                    Event::Stanza { .. } => drop(count.fetch_add(1, Relaxed)),
                    Event::Undeliverable { reason, .. } => panic!("a stanza came back: {reason:?}"),
                    _ => {}
                }
            }
        });
        Self { process, peers, side, component, arrived, _home: home }
    }

    fn measure(&mut self, way: Way, stanzas: u64) -> Rates {
        let (begin, used) = (Instant::now(), self.processor_time());
        self.carry(way, stanzas);
        let stanzas = f64::from(u32::try_from(stanzas).expect("few"));
        let (clock, processor) = (begin.elapsed().as_secs_f64(), self.processor_time() - used);
        Rates { processor: stanzas / processor, clock: stanzas / clock }
    }

    /// Sends so many stanzas and returns when all have arrived.
    fn carry(&mut self, way: Way, stanzas: u64) {
        let arrived = Arc::clone(&self.arrived[usize::from(way == Way::Out)]);
        let mut sent = arrived.load(Relaxed);
        let goal = sent + stanzas;
        let text = format!("{}{}", "x".repeat(TEXT_BYTES - 1), char::from(MARK));
        let stanza = |peer| {
            let (peer, ours) = (format!("romeo@{}/r", name(peer)), format!("juliet@{OURS}/j"));
            let (from, to) = if way == Way::In { (peer, ours) } else { (ours, peer) };
            format!("<message from='{from}' to='{to}' type='chat'><body>{text}</body></message>")
        };
        let blocks: Vec<_> = (0..PEERS).map(|peer| stanza(peer).repeat(AT_ONCE)).collect();
        let (mut progress, mut last) = (Instant::now(), sent);
        for peer in (0..PEERS).cycle() {
            let mut now = arrived.load(Relaxed);
            while now < goal && (sent >= goal || sent - now > UNDER_WAY) {
                if now > last {
                    (progress, last) = (Instant::now(), now);
                }
                assert!(progress.elapsed() < PATIENCE, "only {now} of {goal} stanzas have arrived ({way:?})");
                thread::sleep(Duration::from_micros(200));
                now = arrived.load(Relaxed);
            }
            if now >= goal {
                return;
            }
            let count = AT_ONCE.min(usize::try_from(goal - sent).unwrap_or(AT_ONCE));
            let block = &blocks[peer][..blocks[peer].len() / AT_ONCE * count];
            match way {
                Way::In => self.peers[peer].say(block).expect("it runs"),
                Way::Out => self.component.write_all(block.as_bytes()).expect("it runs"),
            }
            sent += count as u64;
        }
    }

    /// Seconds that the program has used, in all of its threads.
    fn processor_time(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id())).expect("it runs");
        let (_, fields) = stat.rsplit_once(") ").expect("a name in parentheses");
        // The 14th and 15th field, in user mode and in the kernel; the first two are gone.
        let ticks: u32 = fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u32>().expect("a number")).sum();
        f64::from(ticks) / TICKS
    }

    fn end(self) {
        self.process.end().expect("in good order");
        let _ = self.side.handle.send(Command::Shutdown);
        self.side.join();
    }
}

fn name(peer: usize) -> String {
    format!("p{peer}.example")
}

/// The configuration of the program, and the files that it names.
fn write_files(home: &Path, authority: &Authority, engine: &str, peers: SocketAddr) {
    let mut text = format!(
        r#"s2s_secure_auth = true
s2s_require_encryption = true
s2s_interfaces = ["127.0.0.1"]
s2s_ports = [0]
s2s_direct_tls_ports = [0]
component_ports = [0]
cafile = "ca.pem"
s2s_allow_private_addresses = true
dns_servers = ["127.0.0.1:9"]
{engine}
[host."{OURS}"]
component_secret = "{SECRET}"
"#
    );
    for peer in 0..PEERS {
        let _ = write!(text, "[route.\"{}\"]\naddress = \"{peers}\"\n", name(peer));
    }
    let identity = authority.issue_kind(Kind::Valid, &domain(OURS));
    let chain: String = identity.chain.iter().map(|der| pem("CERTIFICATE", der)).collect();
    fs::create_dir_all(home.join("certs")).expect("writable");
    for (file, text) in [
        ("certs/ours.crt", chain),
        ("certs/ours.key", pem("PRIVATE KEY", &identity.key)),
        ("ca.pem", pem("CERTIFICATE", authority.der())),
        ("s2sd.toml", text),
    ] {
        fs::write(home.join(file), text).expect("writable");
    }
}

/// The configuration of all remote domains together.
fn config(authority: &Authority, program: SocketAddr) -> Config {
    let names: Vec<_> = (0..PEERS).map(|peer| domain(&name(peer))).collect();
    let identities = names.iter().map(|name| authority.issue_kind(Kind::Valid, name).host(name)).collect();
    let crypto = Arc::new(rustls::crypto::ring::default_provider());
    let tls = RustlsProvider::new(crypto, identities, Version::Tls13).expect("usable");
    let mut config = World::config(Arc::new(tls), authority.trust());
    config.private_addresses = PrivateAddresses::Always;
    let options = HostOptions { secure_auth: true, require_encryption: true, ..HostOptions::default() };
    config.hosts = names.into_iter().map(|name| (name, options.clone())).collect();
    config.routes.insert(domain(OURS), StaticRoute { addr: program, security: Security::StartTls });
    // All of it comes from one place and goes to one.
    config.limits.queue_bytes_per_pair = 1 << 30;
    config.limits.queue_bytes = 1 << 30;
    config
}
