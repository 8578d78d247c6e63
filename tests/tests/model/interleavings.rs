//! Two nodes that dial each other at once, with dialback: every order in which what they write can arrive.
//!
//! There are four connections: each node dials the other one to send, and once more to ask about the key that it was
//! sent. What one call of a node writes to one connection arrives as one piece; which piece arrives next is the choice.
//! Orders that have led to the same state are gone on with once: the nodes, as their own words for debugging tell them,
//! and all that is under way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use s2s_core::addr::Pair;
use s2s_core::auth::Method;
use s2s_core::dns::Security;
use s2s_core::entropy::Seed;
use s2s_core::machine::{ConnId, Effect, Listener, Machine};
use s2s_core::node::{Command, Direction, Event, Node, StaticRoute};
use s2s_core::policy::HostOptions;
use s2s_core::route::PrivateAddresses;
use s2s_core::time::Anchor;
use s2s_core::tls::verify::Trust;
use s2s_tests::certificates::NOW;
use s2s_tests::fake_tls::FakeProvider;
use s2s_tests::scenes::message;
use s2s_tests::world::{World, domain, read_stanza};

const NAMES: [&str; 2] = ["a.example.org", "b.example.net"];

/// Choices of the longest order: more are a dialogue that does not end.
const CHOICES: usize = 100;

/// One end of a connection: whose, and its name there.
type End = (usize, ConnId);

/// What can happen next.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Choice {
    /// A dial reaches the other node.
    Syn(End),
    /// Whoever dialled hears that it did.
    Connected(End),
    /// What was written first to this end arrives.
    Arrival(End),
}

/// What is under way to one end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Piece {
    Bytes(Vec<u8>),
    End,
    Gone,
}

/// Two nodes, and all that is under way.
struct Meeting {
    nodes: [Node; 2],
    now: Instant,
    dialling: BTreeSet<End>,
    connecting: BTreeSet<End>,
    /// The other end of each end.
    wires: BTreeMap<End, End>,
    arriving: BTreeMap<End, VecDeque<Piece>>,
    up: BTreeSet<(usize, Pair, Direction)>,
    delivered: BTreeSet<usize>,
    /// A number for all that each node was told, byte by byte: that makes its state.
    told: [u64; 2],
}

fn addr(site: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, u8::try_from(site + 1).expect("two sites")], 5269))
}

impl Meeting {
    /// Both have just been told to send a message to the other.
    fn new(now: Instant) -> Self {
        let nodes = [0, 1].map(|site: usize| {
            let mut config = World::config(Arc::new(FakeProvider::new(Vec::new())), Trust::new(&[]));
            config.private_addresses = PrivateAddresses::Always;
            config.hosts.insert(domain(NAMES[site]), HostOptions::default());
            let route = StaticRoute { addr: addr(1 - site), security: Security::StartTls };
            config.routes.insert(domain(NAMES[1 - site]), route);
            Node::new(config, Seed([u8::try_from(site).expect("two sites"); 32]), Anchor { instant: now, unix: NOW })
        });
        let mut meeting = Self {
            nodes,
            now,
            dialling: BTreeSet::new(),
            connecting: BTreeSet::new(),
            wires: BTreeMap::new(),
            arriving: BTreeMap::new(),
            up: BTreeSet::new(),
            delivered: BTreeSet::new(),
            told: [0; 2],
        };
        for site in [0, 1] {
            let stanza = read_stanza(&message(NAMES[site], NAMES[1 - site], "Hello"));
            meeting.nodes[site].handle_command(now, Command::Send(stanza));
            meeting.settle(site);
        }
        meeting
    }

    /// The state that an order leads to.
    fn replay(now: Instant, order: &[Choice]) -> Self {
        let mut meeting = Self::new(now);
        for choice in order {
            meeting.choose(choice);
        }
        meeting
    }

    fn choices(&self) -> Vec<Choice> {
        let connected = |end: &&End| !self.connecting.contains(*end);
        let arriving = self.arriving.iter().filter(|(_, pieces)| !pieces.is_empty()).map(|(end, _)| end);
        let syns = self.dialling.iter().map(|end| Choice::Syn(*end));
        let connects = self.connecting.iter().map(|end| Choice::Connected(*end));
        syns.chain(connects).chain(arriving.filter(connected).map(|end| Choice::Arrival(*end))).collect()
    }

    fn choose(&mut self, choice: &Choice) {
        let now = self.now;
        match choice {
            Choice::Syn(end) => {
                assert!(self.dialling.remove(end), "{end:?} is dialling");
                let site = 1 - end.0;
                self.note(site, "accept");
                let accepted = self.nodes[site].handle_accept(now, addr(end.0), Listener::StartTls).expect("accepted");
                self.wires.extend([(*end, (site, accepted)), ((site, accepted), *end)]);
                self.connecting.insert(*end);
                self.settle(site);
            }
            Choice::Connected(end) => {
                assert!(self.connecting.remove(end), "{end:?} is being connected");
                self.note(end.0, end);
                self.nodes[end.0].handle_connected(now, end.1);
                self.settle(end.0);
            }
            Choice::Arrival(end) => {
                let (site, conn) = *end;
                let piece = self.arriving.get_mut(end).and_then(VecDeque::pop_front).expect("something arrives");
                self.note(site, (conn, &piece));
                match piece {
                    Piece::Bytes(bytes) => self.nodes[site].handle_bytes(now, conn, &bytes),
                    Piece::End => self.nodes[site].handle_eof(now, conn),
                    Piece::Gone => self.nodes[site].handle_closed(now, conn, std::io::ErrorKind::ConnectionReset),
                }
                self.settle(site);
            }
        }
    }

    fn note(&mut self, site: usize, told: impl Hash) {
        let mut hasher = DefaultHasher::new();
        (self.told[site], told).hash(&mut hasher);
        self.told[site] = hasher.finish();
    }

    /// Does what a node asks for, and hears what it tells.
    fn settle(&mut self, site: usize) {
        loop {
            while let Some(effect) = self.nodes[site].poll_effect() {
                self.obey(site, effect);
            }
            let Some(event) = self.nodes[site].poll_event() else { break };
            self.hear(site, event);
        }
        let conns: Vec<ConnId> = self.wires.keys().filter(|end| end.0 == site).map(|end| end.1).collect();
        for conn in conns {
            let bytes = self.nodes[site].pending(conn).to_vec();
            if !bytes.is_empty() {
                self.nodes[site].handle_sent(self.now, conn, bytes.len());
                self.send((site, conn), Piece::Bytes(bytes));
                self.settle(site);
            }
        }
    }

    fn send(&mut self, from: End, piece: Piece) {
        // Nobody is at an end that was dropped.
        if let Some(far) = self.wires.get(&from).filter(|far| self.wires.contains_key(far)) {
            self.arriving.entry(*far).or_default().push_back(piece);
        }
    }

    fn obey(&mut self, site: usize, effect: Effect) {
        match effect {
            Effect::Dial { conn, addr: to, .. } => {
                assert_eq!(to, addr(1 - site));
                self.dialling.insert((site, conn));
            }
            Effect::Wake(_) => {}
            Effect::CloseWrite(conn) => {
                let bytes = self.nodes[site].pending(conn).to_vec();
                if !bytes.is_empty() {
                    self.nodes[site].handle_sent(self.now, conn, bytes.len());
                    self.send((site, conn), Piece::Bytes(bytes));
                }
                self.send((site, conn), Piece::End);
            }
            Effect::Drop(conn) => {
                self.send((site, conn), Piece::Gone);
                self.wires.remove(&(site, conn));
                self.arriving.remove(&(site, conn));
            }
            effect => panic!("nobody needs {effect:?}"),
        }
    }

    fn hear(&mut self, site: usize, event: Event) {
        match event {
            Event::PeerUp { pair, by, link } => {
                assert_eq!(by, Method::Dialback);
                assert!(self.up.insert((site, pair, link.direction)), "up twice at once");
            }
            Event::Stanza { pair, .. } => {
                assert!(self.up.contains(&(site, pair.clone(), Direction::Inbound)), "{pair:?} was not proved");
                assert!(self.delivered.insert(site), "delivered twice");
            }
            event => panic!("{} tells {event:?}", NAMES[site]),
        }
    }

    /// A number for the whole state. `words`: what nodes in their states are, put into words once.
    fn digest(&self, words: &mut BTreeMap<(usize, u64), u64>) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (site, node) in self.nodes.iter().enumerate() {
            let put = || {
                let mut hasher = DefaultHasher::new();
                format!("{node:?}").hash(&mut hasher);
                hasher.finish()
            };
            words.entry((site, self.told[site])).or_insert_with(put).hash(&mut hasher);
        }
        format!("{:?}", self.up).hash(&mut hasher);
        (&self.dialling, &self.connecting, &self.wires, &self.arriving, &self.delivered).hash(&mut hasher);
        hasher.finish()
    }

    /// Nothing is under way any more.
    fn check_end(&self) {
        assert_eq!(self.delivered.len(), 2, "both messages have arrived");
        let ways: BTreeSet<_> = self.up.iter().map(|(site, _, direction)| (*site, direction.as_str())).collect();
        assert_eq!(ways, [(0, "in"), (0, "out"), (1, "in"), (1, "out")].into());
        for node in &self.nodes {
            let held = node.measures();
            assert_eq!((held.queued_bytes, held.verifications, held.inbound, held.outbound), (0, 0, 1, 1), "{held:?}");
        }
    }
}

/// Orders that have led to one state: the first of them, what each node has been through in it, what can happen next, and
/// how many such orders there are.
struct Reached {
    order: Vec<Choice>,
    histories: [u64; 2],
    choices: Vec<Choice>,
    count: u128,
}

/// What a node has been through, and then this choice, if it concerns that node.
fn history(node: usize, before: u64, choice: &Choice) -> u64 {
    let concerned = match choice {
        Choice::Syn(end) => 1 - end.0,
        Choice::Connected(end) | Choice::Arrival(end) => end.0,
    };
    if concerned != node {
        return before;
    }
    let mut hasher = DefaultHasher::new();
    (before, choice).hash(&mut hasher);
    hasher.finish()
}

#[test]
//= XEP0220-2.3-1 test
fn whatever_the_order_two_nodes_that_dial_each_other_at_once_both_deliver() {
    let now = Instant::now();
    let begin = Reached { order: Vec::new(), histories: [0; 2], choices: Meeting::new(now).choices(), count: 1 };
    // All orders of one length, by the state that they lead to.
    let mut reached = BTreeMap::from([(0, begin)]);
    let mut words = BTreeMap::new();
    let (mut states, mut orders, mut longest) = (1_usize, 0_u128, 0_usize);
    while !reached.is_empty() {
        let mut further: BTreeMap<u64, Reached> = BTreeMap::new();
        // Where both nodes have been through the same, in whichever order between them, the state is the same.
        let mut known: BTreeMap<[u64; 2], u64> = BTreeMap::new();
        for Reached { order, histories, choices, count } in reached.into_values() {
            assert!(order.len() < CHOICES, "this goes on for ever: {order:?}");
            if choices.is_empty() {
                (orders, longest) = (orders + count, longest.max(order.len()));
            }
            for choice in choices {
                let histories = [0, 1].map(|node| history(node, histories[node], &choice));
                let state = *known.entry(histories).or_insert_with(|| {
                    let order = [order.as_slice(), &[choice]].concat();
                    let meeting = Meeting::replay(now, &order);
                    let state = meeting.digest(&mut words);
                    further.entry(state).or_insert_with(|| {
                        let choices = meeting.choices();
                        if choices.is_empty() {
                            meeting.check_end();
                        }
                        Reached { order, histories, choices, count: 0 }
                    });
                    state
                });
                further.entry(state).and_modify(|reached| reached.count += count);
            }
        }
        states += further.len();
        reached = further;
    }
    println!("{orders} orders of up to {longest} steps, through {states} states");
    assert!(states > 1000, "{states} states");
}
