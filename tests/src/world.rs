//! A network without sockets: nodes, a DNS zone and virtual time in one thread.
//!
//! Bytes travel in order, cut as a [`Cutting`] says, and at once unless there is a [latency](World::latency); time moves
//! only when nothing else does. Beside nodes there are puppets: peers whose every byte a test writes.

mod transit;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use s2s_core::addr::Domain;
use s2s_core::dialback::Secret;
use s2s_core::entropy::Seed;
use s2s_core::machine::{ConnId, Effect, Listener, Machine};
use s2s_core::node::{Command, Config, Event, Node};
use s2s_core::route::PrivateAddresses;
use s2s_core::stanza::Stanza;
use s2s_core::time::Anchor;
use s2s_core::tls::Provider;
use s2s_core::tls::verify::Trust;

use crate::certificates::NOW;
use crate::dns_server::Zone;
use crate::fake_tls;
use transit::{Happening, Transit};

pub use transit::Asked;

/// How bytes are cut on their way.
#[derive(Clone, Copy, Debug)]
pub enum Cutting {
    /// As they were written.
    Whole,
    /// Into pieces of this many bytes.
    Pieces(usize),
    /// Into pieces whose sizes a seed gives, from one byte to a hundred.
    Random(u64),
}

/// Which node.
pub type NodeIndex = usize;

/// The network.
#[derive(Debug)]
pub struct World {
    /// The present moment.
    pub now: Instant,
    /// What DNS knows.
    pub zone: Zone,
    /// How bytes are cut.
    pub cutting: Cutting,
    /// How long everything but DNS takes from one end of a connection to the other. A TCP handshake takes twice as long.
    pub latency: Duration,
    /// What nodes have written, by connection, since a test has begun to listen by putting an empty map here.
    pub tap: Option<BTreeMap<(NodeIndex, ConnId), Vec<u8>>>,
    /// What became of the connections that nodes dialled, in order, since a test has begun to listen by putting an empty list
    /// here.
    pub trace: Option<Vec<Traced>>,
    /// What nodes have written to each other, in order, since a test has begun to listen by putting an empty list here.
    pub journal: Option<Vec<Written>>,
    /// What nodes have asked DNS, in order, since a test has begun to listen by putting an empty list here.
    pub questions: Option<Vec<Asked>>,
    sites: Vec<Site>,
    listeners: BTreeMap<SocketAddr, (NodeIndex, Listener)>,
    puppets: BTreeMap<SocketAddr, VecDeque<Peer>>,
    black_holes: BTreeSet<SocketAddr>,
    /// Connections whose other end takes nothing.
    deaf: BTreeSet<(NodeIndex, ConnId)>,
    dials: Vec<(Instant, SocketAddr)>,
    /// Both ends of every connection.
    wires: BTreeMap<(NodeIndex, ConnId), End>,
    transit: Transit,
    random: u64,
    dialled: Vec<SocketAddr>,
    asked: Vec<String>,
}

/// What a node has written to another one at once.
#[derive(Clone, Debug)]
pub struct Written {
    /// Who wrote it, and its end of the connection.
    pub near: (NodeIndex, ConnId),
    /// Whom it was written to.
    pub far: (NodeIndex, ConnId),
    /// What.
    pub bytes: Vec<u8>,
}

/// What became of a connection that a node dialled.
#[derive(Clone, Debug)]
pub struct Traced {
    /// When.
    pub at: Instant,
    /// Whose connection it is.
    pub near: (NodeIndex, ConnId),
    /// What.
    pub what: Trace,
}

/// A moment in the life of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trace {
    /// The node dialled this address.
    Dialled(SocketAddr),
    /// The node was told that it is open.
    Opened,
    /// The node wrote this.
    Wrote(Vec<u8>),
    /// The node ended it.
    Dropped,
}

/// The other end of a node's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Node(NodeIndex, ConnId),
    Puppet(usize),
}

#[derive(Debug)]
struct Site {
    node: Node,
    addr: IpAddr,
    events: Vec<Event>,
    /// How many more events the application takes.
    room: usize,
    /// Bytes that puppets hear from this node, by connection.
    heard: BTreeMap<ConnId, Heard>,
}

/// What a puppet hears.
#[derive(Clone, Debug, Default)]
struct Heard {
    bytes: Vec<u8>,
    ended: bool,
}

/// A connection that waits for the test to speak.
#[derive(Clone, Copy, Debug)]
struct Peer {
    site: NodeIndex,
    conn: ConnId,
}

/// The test's end of a connection with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Puppet {
    site: NodeIndex,
    conn: ConnId,
}

impl World {
    /// An empty network.
    #[must_use]
    pub fn new(cutting: Cutting) -> Self {
        let random = if let Cutting::Random(seed) = cutting { seed } else { 0 };
        Self {
            now: Instant::now(),
            zone: Zone::new(),
            cutting,
            latency: Duration::ZERO,
            tap: None,
            journal: None,
            questions: None,
            trace: None,
            sites: Vec::new(),
            listeners: BTreeMap::new(),
            puppets: BTreeMap::new(),
            black_holes: BTreeSet::new(),
            deaf: BTreeSet::new(),
            dials: Vec::new(),
            wires: BTreeMap::new(),
            transit: Transit::default(),
            random,
            dialled: Vec::new(),
            asked: Vec::new(),
        }
    }

    /// A configuration without hosts, with the DNS of this network and leave to dial it.
    #[must_use]
    pub fn config(tls: Arc<dyn Provider>, trust: Trust) -> Config {
        let secret = Secret::new(b"a secret of twenty-six bytes").expect("long enough");
        let mut config = Config::new(tls, Arc::new(trust), secret, vec![SocketAddr::from(([192, 0, 2, 53], 53))]);
        config.private_addresses = PrivateAddresses::Never;
        config
    }

    /// Adds a node at `addr` that listens on 5269 and, for direct TLS, on 5270.
    pub fn add(&mut self, addr: IpAddr, config: Config) -> NodeIndex {
        let index = self.sites.len();
        let anchor = Anchor { instant: self.now, unix: NOW };
        let node = Node::new(config, Seed([u8::try_from(index + 1).expect("few nodes"); 32]), anchor);
        self.sites.push(Site { node, addr, events: Vec::new(), room: usize::MAX, heard: BTreeMap::new() });
        self.listeners.insert(SocketAddr::new(addr, 5269), (index, Listener::StartTls));
        self.listeners.insert(SocketAddr::new(addr, 5270), (index, Listener::DirectTls));
        index
    }

    /// Publishes `domain` at `addr`: STARTTLS on 5269, direct TLS on 5270, or neither.
    pub fn publish(&mut self, domain: &str, addr: IpAddr, starttls: bool, direct_tls: bool) {
        let host = format!("host.{domain}");
        let mut zone = std::mem::take(&mut self.zone).address(&host, addr);
        if starttls {
            zone = zone.service(&format!("_xmpp-server._tcp.{domain}"), 0, 0, 5269, &host);
        }
        if direct_tls {
            zone = zone.service(&format!("_xmpps-server._tcp.{domain}"), 0, 0, 5270, &host);
        }
        self.zone = zone;
    }

    /// A node listens at one more address, from which it never dials.
    pub fn listen_also(&mut self, site: NodeIndex, addr: SocketAddr) {
        self.listeners.insert(addr, (site, Listener::StartTls));
    }

    /// Who dials `addr` from now on never hears anything.
    pub fn swallow(&mut self, addr: SocketAddr) {
        self.black_holes.insert(addr);
    }

    /// Which addresses were dialled since the last call, and when.
    pub fn take_dials(&mut self) -> Vec<(Instant, SocketAddr)> {
        std::mem::take(&mut self.dials)
    }

    /// Nothing listens at `addr` any more, and what was connected to it breaks.
    pub fn kill(&mut self, addr: IpAddr) {
        self.listeners.retain(|listening, _| listening.ip() != addr);
        let broken: Vec<_> = self.wires.iter().map(|(near, far)| (*near, *far)).collect();
        for ((site, conn), far) in broken {
            if self.sites[site].addr != addr {
                if matches!(far, End::Node(far, _) if self.sites[far].addr == addr) {
                    self.wires.remove(&(site, conn));
                    let now = self.now;
                    self.sites[site].node.handle_closed(now, conn, io::ErrorKind::ConnectionReset);
                }
            } else {
                self.wires.remove(&(site, conn));
            }
        }
    }

    /// The connection breaks, for both ends.
    pub fn sever(&mut self, site: NodeIndex, conn: ConnId) {
        let now = self.now;
        if let Some(End::Node(far, far_conn)) = self.wires.remove(&(site, conn)) {
            self.wires.remove(&(far, far_conn));
            self.sites[far].node.handle_closed(now, far_conn, io::ErrorKind::ConnectionReset);
        }
        self.sites[site].node.handle_closed(now, conn, io::ErrorKind::ConnectionReset);
    }

    /// A node listens again at the address of `site`.
    pub fn revive(&mut self, site: NodeIndex, config: Config) {
        let addr = self.sites[site].addr;
        let anchor = Anchor { instant: self.now, unix: NOW };
        self.sites[site].node = Node::new(config, Seed([99; 32]), anchor);
        self.listeners.insert(SocketAddr::new(addr, 5269), (site, Listener::StartTls));
        self.listeners.insert(SocketAddr::new(addr, 5270), (site, Listener::DirectTls));
    }

    /// The node.
    pub fn node(&mut self, site: NodeIndex) -> &mut Node {
        &mut self.sites[site].node
    }

    /// What the node has told since the last call.
    pub fn take_events(&mut self, site: NodeIndex) -> Vec<Event> {
        std::mem::take(&mut self.sites[site].events)
    }

    /// From now on the application takes so many more events. It takes all of them by default.
    pub fn set_room(&mut self, site: NodeIndex, events: usize) {
        self.sites[site].room = events;
    }

    /// The XML that went through the [tap](Self::tap) from the node, connection by connection, without the records of
    /// the fake TLS.
    #[must_use]
    pub fn plaintext(&self, site: NodeIndex) -> Vec<String> {
        let written = self.tap.iter().flatten().filter(|((from, _), _)| *from == site);
        written.map(|(_, bytes)| String::from_utf8_lossy(&fake_tls::plaintext(bytes)).into_owned()).collect()
    }

    /// The addresses that nodes have dialled since the last call.
    pub fn take_dialled(&mut self) -> Vec<SocketAddr> {
        std::mem::take(&mut self.dialled)
    }

    /// The names that nodes have asked DNS about since the last call.
    pub fn take_asked(&mut self) -> Vec<String> {
        std::mem::take(&mut self.asked)
    }

    /// Sends a stanza through the node.
    pub fn send(&mut self, site: NodeIndex, stanza: &str) {
        let now = self.now;
        self.sites[site].node.handle_command(now, Command::Send(read_stanza(stanza)));
    }

    /// Tells the node something else.
    pub fn command(&mut self, site: NodeIndex, command: Command) {
        let now = self.now;
        self.sites[site].node.handle_command(now, command);
    }

    /// Moves bytes, answers and events until nothing moves.
    pub fn run(&mut self) {
        while self.step() {}
    }

    /// Runs, and lets time pass to each deadline, for `span` in all.
    pub fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        while self.advance(end) {}
        self.now = end;
    }

    /// Runs, then lets time pass to the next deadline or arrival, unless that is after `end`. False if there is none.
    pub fn advance(&mut self, end: Instant) -> bool {
        self.run();
        let due = self.sites.iter().filter_map(|site| site.node.poll_timeout()).map(|(at, _)| at);
        let Some(at) = due.chain(self.next_arrival()).min().filter(|at| *at <= end) else {
            return false;
        };
        self.now = self.now.max(at);
        let now = self.now;
        for site in &mut self.sites {
            site.node.handle_timeout(now);
        }
        true
    }

    /// One round over all nodes. True if anything happened.
    fn step(&mut self) -> bool {
        let mut moved = false;
        for site in 0..self.sites.len() {
            let node = &mut self.sites[site].node;
            if node.poll_timeout().is_some_and(|(at, _)| at <= self.now) {
                moved = true;
                node.handle_timeout(self.now);
            }
            while let Some(effect) = self.sites[site].node.poll_effect() {
                moved = true;
                self.obey(site, effect);
            }
            while self.sites[site].room > 0
                && let Some(event) = self.sites[site].node.poll_event()
            {
                moved = true;
                self.sites[site].room -= 1;
                self.sites[site].events.push(event);
            }
        }
        let wires: Vec<_> = self.wires.keys().copied().collect();
        for (site, conn) in wires {
            moved |= self.carry(site, conn);
        }
        moved | self.arrive()
    }

    fn obey(&mut self, site: NodeIndex, effect: Effect) {
        match effect {
            Effect::Dial { conn, addr, from } => self.dial(site, conn, addr, from),
            Effect::Wake(_) | Effect::Forget(_) => {}
            Effect::CloseWrite(conn) => {
                while self.carry(site, conn) {}
                if let Some(far) = self.wires.get(&(site, conn)).copied() {
                    self.post(self.latency, Happening::Eof(site, conn, far));
                }
            }
            Effect::Drop(conn) => {
                self.note(site, conn, Trace::Dropped);
                match self.wires.remove(&(site, conn)) {
                    Some(far) => self.post(self.latency, Happening::Gone(site, conn, far)),
                    None => self.give_up(site, conn),
                }
            }
            Effect::Ask { query, message, .. } => {
                let (name, kind) = question(&message);
                let delay = self.answer_delay(&name, kind);
                self.asked.push(name);
                let reply = self.zone.respond(&message);
                if let Some(questions) = &mut self.questions {
                    questions.push(Asked { at: self.now, message, delay, reply: reply.clone() });
                }
                self.post(delay, Happening::Reply(site, query, reply));
            }
        }
    }

    fn note(&mut self, site: NodeIndex, conn: ConnId, what: Trace) {
        let (at, near) = (self.now, (site, conn));
        if let Some(trace) = &mut self.trace {
            trace.push(Traced { at, near, what });
        }
    }

    fn dial(&mut self, site: NodeIndex, conn: ConnId, addr: SocketAddr, from: Option<IpAddr>) {
        self.note(site, conn, Trace::Dialled(addr));
        self.dialled.push(addr);
        self.dials.push((self.now, addr));
        if !self.black_holes.contains(&addr) {
            let from = from.unwrap_or(self.sites[site].addr);
            self.post(self.latency + self.delay_of(addr), Happening::Request(site, conn, addr, from));
        }
    }

    /// Carries what one end has to write to the other. True if there was something.
    fn carry(&mut self, site: NodeIndex, conn: ConnId) -> bool {
        let now = self.now;
        let bytes = self.sites[site].node.pending(conn).to_vec();
        let hears = !bytes.is_empty() && !self.deaf.contains(&(site, conn));
        let Some(far) = self.wires.get(&(site, conn)).copied().filter(|_| hears) else {
            return false;
        };
        self.note(site, conn, Trace::Wrote(bytes.clone()));
        if let Some(tap) = &mut self.tap {
            tap.entry((site, conn)).or_default().extend_from_slice(&bytes);
        }
        if let (Some(journal), End::Node(far, far_conn)) = (&mut self.journal, far) {
            journal.push(Written { near: (site, conn), far: (far, far_conn), bytes: bytes.clone() });
        }
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at(self.piece(rest.len()));
            rest = tail;
            self.sites[site].node.handle_sent(now, conn, piece.len());
            self.post(self.latency, Happening::Bytes(site, conn, far, piece.to_vec()));
        }
        true
    }

    fn piece(&mut self, available: usize) -> usize {
        let size = match self.cutting {
            Cutting::Whole => available,
            Cutting::Pieces(size) => size,
            Cutting::Random(_) => {
                self.random =
                    self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                1 + (self.random >> 33) as usize % 100
            }
        };
        size.clamp(1, available)
    }

    /// A puppet that connects to a node.
    pub fn connect(&mut self, site: NodeIndex, listener: Listener) -> Puppet {
        let from = SocketAddr::from(([198, 51, 100, 1], 40_000));
        self.connect_from(site, listener, from).expect("accepted")
    }

    /// A puppet that connects to a node from `from`, unless it is turned away.
    pub fn connect_from(&mut self, site: NodeIndex, listener: Listener, from: SocketAddr) -> Option<Puppet> {
        let now = self.now;
        let conn = self.sites[site].node.handle_accept(now, from, listener);
        self.wires.extend(conn.map(|conn| ((site, conn), End::Puppet(0))));
        self.run();
        Some(Puppet { site, conn: conn? })
    }

    /// The puppet takes nothing any more of what the node writes to it.
    pub fn deafen(&mut self, puppet: Puppet) {
        self.deaf.insert((puppet.site, puppet.conn));
    }

    /// The network takes `count` bytes of what the node has for the puppet, which nobody hears.
    pub fn take_bytes(&mut self, puppet: Puppet, count: usize) {
        let now = self.now;
        self.sites[puppet.site].node.handle_sent(now, puppet.conn, count);
        self.run();
    }

    /// Whether the node would read from the puppet now.
    pub fn is_read(&mut self, puppet: Puppet) -> bool {
        self.sites[puppet.site].node.interest(puppet.conn).read
    }

    /// The connection of the puppet breaks.
    pub fn break_off(&mut self, puppet: Puppet) {
        let now = self.now;
        self.wires.remove(&(puppet.site, puppet.conn));
        self.sites[puppet.site].node.handle_closed(now, puppet.conn, io::ErrorKind::ConnectionReset);
        self.run();
    }

    /// Waits at `addr`: whoever dials it speaks to a puppet, see [`World::accept`].
    pub fn listen(&mut self, addr: SocketAddr) {
        self.puppets.entry(addr).or_default();
    }

    /// Nobody waits at `addr` any more: whoever dials it meets the node that listens there, if there is one.
    pub fn leave(&mut self, addr: SocketAddr) {
        self.puppets.remove(&addr);
    }

    /// The next connection that a node has opened to `addr`.
    pub fn accept(&mut self, addr: SocketAddr) -> Option<Puppet> {
        self.run();
        let peer = self.puppets.get_mut(&addr)?.pop_front()?;
        Some(Puppet { site: peer.site, conn: peer.conn })
    }

    /// The puppet writes, cut as the network cuts; then everything runs.
    pub fn say(&mut self, puppet: Puppet, bytes: impl AsRef<[u8]>) {
        let mut rest = bytes.as_ref();
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at(self.piece(rest.len()));
            rest = tail;
            let now = self.now;
            self.sites[puppet.site].node.handle_bytes(now, puppet.conn, piece);
        }
        self.run();
    }

    /// The puppet ends its half of the connection.
    pub fn hang_up(&mut self, puppet: Puppet) {
        let now = self.now;
        self.sites[puppet.site].node.handle_eof(now, puppet.conn);
        self.run();
    }

    /// The puppet writes, the network takes `taken` bytes of what the node answers, and the connection breaks.
    pub fn break_while(&mut self, puppet: Puppet, bytes: impl AsRef<[u8]>, taken: usize) {
        let now = self.now;
        self.sites[puppet.site].node.handle_bytes(now, puppet.conn, bytes.as_ref());
        self.wires.remove(&(puppet.site, puppet.conn));
        self.sites[puppet.site].node.handle_sent(now, puppet.conn, taken);
        self.sites[puppet.site].node.handle_closed(now, puppet.conn, io::ErrorKind::ConnectionReset);
        self.run();
    }

    /// What the puppet has heard since the last call.
    pub fn hear(&mut self, puppet: Puppet) -> Vec<u8> {
        self.run();
        let heard = self.sites[puppet.site].heard.entry(puppet.conn).or_default();
        std::mem::take(&mut heard.bytes)
    }

    /// What the puppet has heard since the last call, as text.
    pub fn hear_text(&mut self, puppet: Puppet) -> String {
        String::from_utf8(self.hear(puppet)).expect("nodes speak UTF-8")
    }

    /// Whether the node has ended its half of the connection, or dropped it.
    pub fn has_ended(&mut self, puppet: Puppet) -> bool {
        self.run();
        self.sites[puppet.site].heard.entry(puppet.conn).or_default().ended
    }
}

/// The name that a DNS query asks about, and the number of the type.
fn question(message: &[u8]) -> (String, u16) {
    let mut labels = Vec::new();
    let mut rest = message.get(12..).unwrap_or_default();
    while let Some((length, tail)) = rest.split_first().filter(|(length, _)| **length > 0) {
        let (label, tail) = tail.split_at(usize::from(*length).min(tail.len()));
        labels.push(String::from_utf8_lossy(label).to_lowercase());
        rest = tail;
    }
    let kind = rest.get(1..3).map_or(0, |kind| u16::from_be_bytes([kind[0], kind[1]]));
    (labels.join("."), kind)
}

/// Reads one stanza as a server-to-server stream would.
#[must_use]
pub fn read_stanza(text: &str) -> Stanza {
    Stanza::parse(text).expect("a test writes stanzas")
}

/// The domain of that name.
#[must_use]
pub fn domain(text: &str) -> Domain {
    Domain::parse(text).expect("a test writes domains")
}
