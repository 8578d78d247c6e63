//! A whole node among scripted peers.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use s2s_core::addr::Pair;
use s2s_core::dns::Security;
use s2s_core::entropy::Seed;
use s2s_core::limits;
use s2s_core::machine::{ConnId, Effect, Listener, Machine, QueryId};
use s2s_core::node::{Command, Direction, Event, Node, StaticRoute};
use s2s_core::policy::HostOptions;
use s2s_core::stanza::Stanza;
use s2s_core::time::Anchor;
use s2s_core::tls::verify::Trust;

use super::input::Input;
use super::link::{LOCAL, REMOTE, domain, frame, peer};
use crate::certificates::{Authority, NOW};
use crate::dns_server::Zone;
use crate::fake_tls::{FakeProvider, plaintext};
use crate::world::World;

/// Operations of one input at most.
const OPERATIONS: usize = 400;

/// Timers that may fire at one moment.
const TIMEOUTS_AT_ONCE: usize = 100;

/// Bytes that may wait in all, and for one pair, where the bounds are tight.
const TIGHT_QUEUES: (usize, usize) = (3000, 1500);

/// A node, and what is known of it from outside.
struct Watched {
    node: Node,
    now: Instant,
    open: BTreeSet<ConnId>,
    queries: BTreeMap<QueryId, Vec<u8>>,
    seen: BTreeSet<u64>,
    up: BTreeSet<(Pair, Direction, ConnId)>,
    /// Stanzas that were sent and did not come back.
    sent: BTreeSet<u64>,
    /// The number of the next one.
    next: u64,
    /// What the network took of each connection.
    taken: BTreeMap<ConnId, Vec<u8>>,
    queue_bytes: usize,
    zone: Zone,
}

/// Any operations: peers connect, write frames and bytes, read a part, end and break connections; DNS answers or does not;
/// the application sends, takes events or waits; time passes.
///
/// Ids are given once and not named after their end; a stanza is delivered only where its pair is up (P5); timers that come
/// early move nothing, and none fires for ever (P7); what waits is bounded (P8); and after a shutdown everything is let go
/// of, and every stanza that was sent has come back or was wholly written, one of both, once and in order (P9).
pub fn node_ops(data: &[u8]) {
    let mut input = Input(data);
    let mut watched = Watched::new(&mut input);
    for _ in 0..OPERATIONS {
        if input.is_empty() {
            break;
        }
        watched.tease();
        watched.operate(&mut input);
        watched.drain(usize::MAX);
        let held = watched.node.measures().queued_bytes;
        assert!(held <= watched.queue_bytes, "{held} bytes wait");
    }
    watched.finish();
}

impl Watched {
    fn new(input: &mut Input<'_>) -> Self {
        let chains = vec![(domain(LOCAL), vec![b"a chain".to_vec()])];
        let mut config = World::config(Arc::new(FakeProvider::new(chains)), Trust::new(&[]));
        config.trust = trust();
        // Three more choices in the byte of the next one.
        if input.clone().byte() / 4 % 8 == 7 {
            (config.limits.queue_bytes, config.limits.queue_bytes_per_pair) = TIGHT_QUEUES;
        }
        let queue_bytes = config.limits.queue_bytes;
        let options = HostOptions { require_encryption: input.below(4) == 3, ..HostOptions::default() };
        config.hosts.insert(domain(LOCAL), options);
        if input.below(2) == 0 {
            let security = if input.below(4) == 0 { Security::DirectTls } else { Security::StartTls };
            config.routes.insert(domain(REMOTE), StaticRoute { addr: peer(1), security });
        }
        let zone = Zone::new()
            .service(&format!("_xmpp-server._tcp.{REMOTE}"), 0, 0, 5269, "host.example.net")
            .address("host.example.net", [198, 51, 100, 1])
            .address("c.example.com", [198, 51, 100, 2]);
        let now = Instant::now();
        let node = Node::new(config, Seed([8; 32]), Anchor { instant: now, unix: NOW });
        Self {
            node,
            now,
            open: BTreeSet::new(),
            queries: BTreeMap::new(),
            seen: BTreeSet::new(),
            up: BTreeSet::new(),
            sent: BTreeSet::new(),
            next: 1,
            taken: BTreeMap::new(),
            queue_bytes,
            zone,
        }
    }

    /// A timer that comes early changes nothing.
    fn tease(&mut self) {
        let before = self.node.poll_timeout();
        if before.is_none_or(|(at, _)| at > self.now) {
            self.node.handle_timeout(self.now);
            let moved = (self.node.poll_timeout(), self.node.poll_effect(), self.node.poll_event());
            assert_eq!(moved, (before, None, None), "moved by a timer that came early");
        }
    }

    fn operate(&mut self, input: &mut Input<'_>) {
        let now = self.now;
        let conns: Vec<ConnId> = self.open.iter().copied().chain([ConnId(u64::MAX)]).collect();
        let conn = conns[input.below(conns.len())];
        match input.below(12) {
            0 => {
                let listener = input.pick(&[Listener::StartTls, Listener::DirectTls, Listener::Component]);
                if let Some(conn) = self.node.handle_accept(now, peer(200 + input.byte() % 3), listener) {
                    assert!(self.seen.insert(conn.0), "{conn:?} is given twice");
                    self.open.insert(conn);
                }
            }
            1 => self.node.handle_connected(now, conn),
            2..5 => {
                let frame = frame(input);
                self.node.handle_bytes(now, conn, frame.as_bytes());
            }
            5 => {
                let length = input.below(64);
                let bytes = input.bytes(length);
                if !bytes.is_empty() {
                    self.node.handle_bytes(now, conn, bytes);
                }
            }
            6 => {
                let pending = self.node.pending(conn);
                let taken = pending[..pending.len().min(16 * input.below(256))].to_vec();
                self.node.handle_sent(now, conn, taken.len());
                self.taken.entry(conn).or_default().extend(taken);
            }
            7 => self.node.handle_eof(now, conn),
            8 => self.node.handle_closed(
                now,
                conn,
                input.pick(&[io::ErrorKind::ConnectionReset, io::ErrorKind::TimedOut]),
            ),
            9 => self.answer(input),
            10 => self.send(input),
            _ => self.pass(Duration::from_millis(10 * (1 << input.below(14)))),
        }
    }

    fn answer(&mut self, input: &mut Input<'_>) {
        let queries: Vec<QueryId> = self.queries.keys().copied().collect();
        if queries.is_empty() {
            return;
        }
        let query = queries[input.below(queries.len())];
        let reply = if input.below(4) == 0 { None } else { self.zone.respond(&self.queries[&query]) };
        self.node.handle_reply(self.now, query, reply.as_deref());
    }

    fn send(&mut self, input: &mut Input<'_>) {
        let (id, to) = (self.next, input.pick(&[REMOTE, REMOTE, "c.example.com", LOCAL]));
        let filling = "x".repeat(input.below(200));
        let text = format!("<message from='x@{LOCAL}' to='y@{to}' id='{id}'><body>{filling}</body></message>");
        self.next += 1;
        self.sent.insert(id);
        self.node.handle_command(self.now, Command::Send(Stanza::parse(&text).expect("a stanza")));
    }

    /// Time passes, with all timers that fire in it.
    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        let (mut at_once, mut last) = (0, None);
        while let Some((at, why)) = self.node.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            at_once = if last == Some(self.now) { at_once + 1 } else { 0 };
            last = Some(self.now);
            assert!(at_once < TIMEOUTS_AT_ONCE, "a busy loop: {why}");
            self.node.handle_timeout(self.now);
            self.drain(usize::MAX);
        }
        self.now = end;
    }

    fn drain(&mut self, mut events: usize) {
        loop {
            while let Some(effect) = self.node.poll_effect() {
                self.obey(effect);
            }
            if events == 0 {
                return;
            }
            events -= 1;
            let Some(event) = self.node.poll_event() else { return };
            self.observe(event);
        }
    }

    fn obey(&mut self, effect: Effect) {
        match effect {
            Effect::Dial { conn, .. } => {
                assert!(self.seen.insert(conn.0), "{conn:?} is given twice");
                self.open.insert(conn);
            }
            Effect::Wake(conn) | Effect::CloseWrite(conn) => {
                assert!(self.open.contains(&conn), "{conn:?} is named after its end");
                let pending = self.node.pending(conn).len();
                assert!(pending <= limits::OUTPUT_HIGH_WATER_BYTES + limits::UNAUTHENTICATED_TOTAL_BYTES, "{pending}");
            }
            Effect::Drop(conn) => assert!(self.open.remove(&conn), "{conn:?} is named after its end"),
            Effect::Ask { query, message, .. } => {
                assert!(self.queries.insert(query, message).is_none(), "{query:?} is given twice");
            }
            Effect::Forget(query) => assert!(self.queries.remove(&query).is_some(), "{query:?} ends twice"),
        }
    }

    fn observe(&mut self, event: Event) {
        match event {
            Event::Stanza { pair, stanza } => {
                let proved =
                    |(up, direction, _): &&(Pair, Direction, ConnId)| *up == pair && *direction == Direction::Inbound;
                assert!(self.up.iter().any(|up| proved(&up)), "{pair:?} is not up");
                assert_eq!(stanza.inbound_pair(), pair);
            }
            Event::Undeliverable { stanza, .. } => {
                let id = stanza.head().id.as_ref().and_then(|id| id.parse().ok()).expect("a number");
                assert!(self.sent.remove(&id), "{id} comes back, and was not sent, or twice");
            }
            Event::PeerUp { pair, link, .. } => {
                assert_eq!(pair.local, domain(LOCAL));
                self.up.insert((pair, link.direction, link.conn));
            }
            Event::PeerDown { pair, direction, conn, .. } => {
                assert!(self.up.remove(&(pair, direction, conn)), "down, and was not up");
            }
            _ => {}
        }
    }

    fn finish(&mut self) {
        self.pass(2 * limits::QUEUE_AGE);
        self.node.handle_command(self.now, Command::Shutdown);
        self.drain(usize::MAX);
        self.pass(4 * limits::CLOSE);
        let held = self.node.measures();
        assert!(self.node.is_finished() && self.open.is_empty(), "{held:?}, {:?} after a shutdown", self.open);
        assert!(self.queries.is_empty() && self.up.is_empty(), "{:?} {:?}", self.queries.keys(), self.up);
        assert_eq!((held.queued_bytes, held.verifications, held.routes), (0, 0, 0), "{held:?}");
        self.account();
    }

    /// What did not come back was written, wholly and once; and on one connection in the order of sending.
    fn account(&self) {
        let mut written = BTreeSet::new();
        for (conn, bytes) in &self.taken {
            let plain = String::from_utf8(plaintext(bytes)).expect("we write UTF-8");
            let whole = plain.split_inclusive("</message>").filter(|stanza| stanza.ends_with("</message>"));
            let numbers: Vec<u64> =
                whole.filter_map(|stanza| stanza.split(" id='").last()?.split('\'').next()?.parse().ok()).collect();
            assert!(numbers.is_sorted(), "{numbers:?} on {conn:?}");
            for number in numbers {
                assert!(written.insert(number), "{number} was written twice");
            }
        }
        assert_eq!(written, self.sent, "written, and sent without coming back");
    }
}

fn trust() -> Arc<Trust> {
    static TRUST: OnceLock<Arc<Trust>> = OnceLock::new();
    Arc::clone(TRUST.get_or_init(|| Arc::new(Authority::root("the authority").trust())))
}
