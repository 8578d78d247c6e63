//! Nodes without sockets: one on a thread, then two on two.
//!
//! The load is prepared beforehand: TLS records, as a peer has written them to that very node, and the stanzas that the
//! node answers with. What is measured is all that a node does for a stanza each way, and nothing else.
//!
//! Two processes with a node each, which share nothing but the machine, are the control: more than they carry no two threads
//! can.

use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::io::{BufRead, BufReader, Write as _, stdin};
use std::net::SocketAddr;
use std::process::{Child, Command as Program, Stdio};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use s2s_core::dns::Security;
use s2s_core::entropy::Seed;
use s2s_core::machine::{ConnId, Driven, Effect, Listener, Machine, Step};
use s2s_core::node::{Command, Config, Direction, Event, Node, StaticRoute};
use s2s_core::policy::HostOptions;
use s2s_core::route::PrivateAddresses;
use s2s_core::stanza::Stanza;
use s2s_core::time::Anchor;
use s2s_core::tls::{RustlsProvider, Version};
use s2s_sockets::READ_BYTES;

use super::median;
use crate::certificates::{Authority, Kind, NOW};
use crate::world::{World, domain};

/// The peer, and the domain of the node that is measured.
const NAMES: [&str; 2] = ["peer.example", "ours.example"];

/// Which of both is measured.
const OURS: usize = 1;

/// Characters of a message's body.
const TEXT_BYTES: usize = 200;

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// Stanzas that one node carried in a second, those that came and those that went.
    pub one: f64,
    /// The same of two nodes together.
    pub two: f64,
    /// The same of two processes with one node each.
    pub processes: f64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { one, two, processes } = self;
        writeln!(f, "one node {one:.0} stanzas/s, two nodes {two:.0} stanzas/s: {:.2} times as many", two / one)?;
        write!(f, "control: two processes {processes:.0} stanzas/s: {:.2} times as many", processes / one)
    }
}

/// Gives each node so many stanzas, in each of so many rounds.
#[must_use]
pub fn run(stanzas: usize, rounds: usize) -> Report {
    let mut rates = [const { Vec::new() }; 3];
    for _ in 0..rounds {
        // All take turns, so that what else the machine does concerns all.
        for (rates, rate) in rates.iter_mut().zip([rate(1, stanzas), rate(2, stanzas), rate_of_processes(2, stanzas)]) {
            rates.push(rate);
        }
    }
    let [one, two, processes] = rates.map(median);
    Report { one, two, processes }
}

/// The argument that makes this program one of the processes of the control.
pub const ALONE: &str = "alone";

/// What such a process says when its load is prepared, and when it is carried. It begins at a line of its input.
const PREPARED: &str = "prepared";
const CARRIED: &str = "carried";

/// Carries so many stanzas as the control wants it.
pub fn alone(stanzas: usize) {
    let lane = Lane::prepare(stanzas);
    println!("{PREPARED}");
    let _ = stdin().read_line(&mut String::new());
    assert_eq!(lane.carry(&Barrier::new(1)), stanzas, "not all that was prepared came");
    println!("{CARRIED}");
}

/// Stanzas in a second, in and out, of so many processes with a node each.
fn rate_of_processes(processes: usize, stanzas: usize) -> f64 {
    let program = env::current_exe().expect("a program");
    let start = || {
        let mut program = Program::new(&program);
        let program = program.args([ALONE, &stanzas.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        program.spawn().expect("this program starts")
    };
    let mut children: Vec<Child> = (0..processes).map(|_| start()).collect();
    let mut told: Vec<_> =
        children.iter_mut().map(|child| BufReader::new(child.stdout.take().expect("piped")).lines()).collect();
    let mut wait_for =
        |word| told.iter_mut().for_each(|lines| assert_eq!(lines.next().expect("a line").expect("text"), word));
    wait_for(PREPARED);
    let begin = Instant::now();
    for child in &mut children {
        child.stdin.take().expect("piped").write_all(b"\n").expect("it waits");
    }
    wait_for(CARRIED);
    let took = begin.elapsed();
    children.iter_mut().for_each(|child| assert!(child.wait().expect("it ends").success()));
    2.0 * f64::from(u32::try_from(processes * stanzas).expect("few")) / took.as_secs_f64()
}

/// Stanzas in a second, in and out, of so many nodes with a thread each.
fn rate(nodes: usize, stanzas: usize) -> f64 {
    let lanes: Vec<_> = (0..nodes).map(|_| Lane::prepare(stanzas)).collect();
    let start = Barrier::new(nodes + 1);
    thread::scope(|scope| {
        let threads: Vec<_> = lanes.into_iter().map(|lane| scope.spawn(|| lane.carry(&start))).collect();
        start.wait();
        let begin = Instant::now();
        let carried: usize = threads.into_iter().map(|thread| thread.join().expect("a node does not panic")).sum();
        let took = begin.elapsed();
        assert_eq!(carried, nodes * stanzas, "not all that was prepared came");
        2.0 * f64::from(u32::try_from(carried).expect("few")) / took.as_secs_f64()
    })
}

/// A node with its load.
struct Lane {
    node: Driven<Node>,
    /// Where the load comes in.
    inbound: ConnId,
    /// Where the answers go out.
    outbound: ConnId,
    /// What is read there, read by read.
    reads: Vec<Vec<u8>>,
    answers: Vec<Stanza>,
}

impl Lane {
    fn prepare(stanzas: usize) -> Self {
        let mut network = Network::new();
        let [inbound, outbound] = network.introduce();
        let peer = 1 - OURS;
        let far = network.wires[&(OURS, inbound)];
        let mut load = Vec::new();
        for _ in 0..stanzas {
            network.command(peer, message(peer));
            let pending = network.nodes[peer].machine().pending(far);
            load.extend_from_slice(pending);
            let sent = pending.len();
            network.nodes[peer].report(Instant::now(), |node, now| node.handle_sent(now, far, sent));
            while network.nodes[peer].step().is_some() {}
        }
        let [_, node] = network.nodes;
        let reads = load.chunks(READ_BYTES).map(<[u8]>::to_vec).collect();
        Self { node, inbound, outbound, reads, answers: vec![message(OURS); stanzas] }
    }

    /// Takes the whole load and answers each stanza. Returns how many came.
    fn carry(mut self, start: &Barrier) -> usize {
        start.wait();
        let mut came = 0;
        for read in std::mem::take(&mut self.reads) {
            self.node.report(Instant::now(), |node, now| node.handle_bytes(now, self.inbound, &read));
            came += self.answer();
            // Stanzas wait for their turn, between which an adapter looks at its sockets.
            while self.node.deadline() <= Instant::now() {
                self.node.handle_time(Instant::now(), NOW);
                came += self.answer();
            }
            let sent = self.node.machine().pending(self.outbound).len();
            assert!(sent > 0 || came == 0, "answers are written");
            self.node.report(Instant::now(), |node, now| node.handle_sent(now, self.outbound, sent));
        }
        came
    }

    /// Answers the stanzas that have come, and tells how many.
    fn answer(&mut self) -> usize {
        let mut came = 0;
        while let Some(step) = self.node.step() {
            if let Step::Event(event) = step {
                assert!(matches!(event, Event::Stanza { .. }), "{event:?}");
                came += 1;
                let answer = self.answers.pop().expect("one for each");
                let command = Command::Send(answer);
                self.node.report(Instant::now(), |node, now| node.handle_command(now, command));
            }
        }
        came
    }
}

/// A peer and the node that is measured, until they know each other.
struct Network {
    nodes: [Driven<Node>; 2],
    /// From either end to the other.
    wires: BTreeMap<(usize, ConnId), ConnId>,
}

impl Network {
    fn new() -> Self {
        let authority = Authority::root("the authority");
        let nodes = [0, 1].map(|own| {
            let anchor = Anchor { instant: Instant::now(), unix: NOW };
            let seed = Seed([u8::try_from(own).expect("two"); 32]);
            Driven::new(Node::new(config(&authority, own), seed, anchor), Instant::now())
        });
        Self { nodes, wires: BTreeMap::new() }
    }

    fn command(&mut self, own: usize, stanza: Stanza) {
        self.nodes[own].report(Instant::now(), |node, now| node.handle_command(now, Command::Send(stanza)));
    }

    /// Lets stanzas flow both ways. Returns the connections of the node that is measured, to it and from it.
    fn introduce(&mut self) -> [ConnId; 2] {
        for own in [0, 1] {
            self.command(own, message(own));
        }
        let (mut conns, mut heard) = ([None; 2], 0);
        while conns.contains(&None) || heard < 2 {
            for own in [0, 1] {
                while let Some(step) = self.nodes[own].step() {
                    match step {
                        Step::Effect(Effect::Dial { conn, .. }) => self.connect(own, conn),
                        Step::Effect(Effect::Wake(_)) => {}
                        Step::Event(Event::PeerUp { link, .. }) if own == OURS => {
                            conns[usize::from(link.direction == Direction::Outbound)] = Some(link.conn);
                        }
                        Step::Event(Event::PeerUp { .. }) => {}
                        Step::Event(Event::Stanza { .. }) => heard += 1,
                        other => panic!("{other:?}"),
                    }
                }
                self.carry(own);
            }
        }
        conns.map(|conn| conn.expect("both are up"))
    }

    fn connect(&mut self, own: usize, conn: ConnId) {
        let from = addr(own);
        let accept = |node: &mut Node, now| node.handle_accept(now, from, Listener::StartTls);
        let far = self.nodes[1 - own].report(Instant::now(), accept).expect("there is room");
        self.wires.extend([((own, conn), far), ((1 - own, far), conn)]);
        self.nodes[own].report(Instant::now(), |node, now| node.handle_connected(now, conn));
    }

    fn carry(&mut self, own: usize) {
        for ((_, conn), far) in self.wires.iter().filter(|((end, _), _)| *end == own) {
            let bytes = self.nodes[own].machine().pending(*conn).to_vec();
            if !bytes.is_empty() {
                self.nodes[own].report(Instant::now(), |node, now| node.handle_sent(now, *conn, bytes.len()));
                self.nodes[1 - own].report(Instant::now(), |node, now| node.handle_bytes(now, *far, &bytes));
            }
        }
    }
}

fn addr(own: usize) -> SocketAddr {
    ([192, 0, 2, u8::try_from(own).expect("two")], 5269).into()
}

fn config(authority: &Authority, own: usize) -> Config {
    let name = domain(NAMES[own]);
    let identity = authority.issue_kind(Kind::Valid, &name).host(&name);
    let crypto = Arc::new(rustls::crypto::ring::default_provider());
    let tls = RustlsProvider::new(crypto, vec![identity], Version::Tls13).expect("usable");
    let mut config = World::config(Arc::new(tls), authority.trust());
    config.private_addresses = PrivateAddresses::Always;
    config.hosts.insert(name, HostOptions { secure_auth: true, require_encryption: true, ..HostOptions::default() });
    let route = StaticRoute { addr: addr(1 - own), security: Security::StartTls };
    config.routes.insert(domain(NAMES[1 - own]), route);
    // The whole load is there at once, and time stands still for it.
    config.idle_timeout = Duration::from_secs(3600);
    config
}

fn message(own: usize) -> Stanza {
    let (from, to, text) = (NAMES[own], NAMES[1 - own], "x".repeat(TEXT_BYTES));
    let stanza = format!("<message from='romeo@{from}/r' to='juliet@{to}/j' type='chat'><body>{text}</body></message>");
    Stanza::parse(&stanza).expect("a stanza")
}
