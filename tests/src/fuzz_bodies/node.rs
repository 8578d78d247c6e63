//! A whole node among scripted peers.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use s2s_core::addr::Pair;
use s2s_core::dns::Security;
use s2s_core::entropy::Seed;
use s2s_core::limits;
use s2s_core::machine::{ConnId, Effect, Interest, Listener, Machine, QueryId};
use s2s_core::node::{Command, Config, Direction, Event, Node, StaticRoute};
use s2s_core::policy::HostOptions;
use s2s_core::reason::Reason;
use s2s_core::stanza::Stanza;
use s2s_core::time::Anchor;
use s2s_core::tls::verify::Trust;

use super::input::{Choices, Input};
use super::link::{Frame, LOCAL, REMOTE, domain, peer, text_of, whole_messages};
use crate::bounds;
use crate::certificates::{Authority, NOW};
use crate::dns_server::Zone;
use crate::fake_tls::FakeProvider;
use crate::puppetry::header;
use crate::world::World;

/// Operations of one input at most.
const OPERATIONS: usize = 400;

/// Bytes that may wait in all, and for one pair, where the bounds are tight.
const TIGHT_QUEUES: (usize, usize) = (3000, 1500);

/// Quarters of the first byte with which the application is slow: with wide queues, and with tight ones.
const SLOW: [u8; 2] = [62, 55];

/// One thing that happens, as it stands in an input.
#[derive(Debug)]
struct Operation<'a> {
    /// To which connection, counted over and over again.
    conn: u8,
    act: Act<'a>,
}

/// The same where the application is slow.
#[derive(Debug)]
struct Unhurried<'a>(Operation<'a>);

#[derive(Debug)]
enum Act<'a> {
    Accept(Listener, u8),
    Connected,
    Frame(Frame),
    Bytes(&'a [u8]),
    /// The network takes so many bytes.
    Take(usize),
    /// The peer says no more.
    End,
    Break(io::ErrorKind),
    /// DNS answers, if it was asked.
    Answer,
    Send {
        to: &'static str,
        filling: usize,
    },
    Pass(Duration),
    /// The application takes so many events.
    Drain(usize),
}

/// Which question is answered, counted over and over again, and whether with nothing.
#[derive(Debug)]
struct Reply {
    query: u8,
    lost: bool,
}

impl<'a> Operation<'a> {
    /// One of so many kinds of acts.
    fn read(input: &mut Input<'a>, kinds: usize) -> Self {
        let conn = input.byte();
        let act = match input.below(kinds) {
            0 => {
                let listener = input.pick(&[Listener::StartTls, Listener::DirectTls, Listener::Component]);
                Act::Accept(listener, 200 + input.byte() % 3)
            }
            1 => Act::Connected,
            2..5 => Act::Frame(input.read()),
            5 => {
                let length = input.below(64);
                Act::Bytes(input.up_to(length))
            }
            6 => Act::Take(16 * input.below(256)),
            7 => Act::End,
            8 => Act::Break(input.pick(&[io::ErrorKind::ConnectionReset, io::ErrorKind::TimedOut])),
            9 => Act::Answer,
            10 => {
                let to = input.pick(&[REMOTE, REMOTE, "c.example.com", LOCAL]);
                Act::Send { to, filling: input.below(200) }
            }
            11 => Act::Pass(Duration::from_millis(10 * (1 << input.below(14)))),
            12 => Act::Drain(input.below(8)),
            _ => Act::Take(input.below(256)),
        };
        Self { conn, act }
    }
}

impl<'a> Arbitrary<'a> for Operation<'a> {
    fn arbitrary(input: &mut Input<'a>) -> arbitrary::Result<Self> {
        Ok(Self::read(input, 12))
    }
}

impl<'a> Arbitrary<'a> for Unhurried<'a> {
    fn arbitrary(input: &mut Input<'a>) -> arbitrary::Result<Self> {
        Ok(Self(Operation::read(input, 14)))
    }
}

impl<'a> Arbitrary<'a> for Reply {
    fn arbitrary(input: &mut Input<'a>) -> arbitrary::Result<Self> {
        Ok(Self { query: input.byte(), lost: input.below(4) == 0 })
    }
}

/// A node, and what is known of it from outside.
struct Watched {
    node: Node,
    config: Config,
    now: Instant,
    /// Whether the application takes an event only now and then, and nothing is read meanwhile from who has to wait.
    slow: bool,
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
    zone: Zone,
}

/// Any operations: peers connect, write frames and bytes, read a part, end and break connections; DNS answers or does
/// not; the application sends, takes events or waits; time passes. With some first bytes it takes few events.
///
/// Ids are given once and not named after their end; a stanza is delivered only where its pair is up (P5); timers that come
/// early move nothing, and what has fired is not due again (P7); what waits and what is held is bounded (P8); and after a
/// shutdown everything is let go of, every stanza that was sent has come back or was wholly written, one of both, once and in
/// order (P9), and nothing has an effect any more (P4).
pub fn node_ops(data: &[u8]) {
    let mut input = Input::new(data);
    let mut watched = Watched::new(&mut input);
    for _ in 0..OPERATIONS {
        if input.is_empty() {
            break;
        }
        watched.tease();
        watched.operate(&mut input);
        watched.drain(watched.patience());
        let held = watched.node.measures().queued_bytes;
        assert!(held <= watched.config.limits.queue_bytes, "{held} bytes wait");
        watched.check_counts();
    }
    watched.finish();
}

impl Watched {
    fn new(input: &mut Input<'_>) -> Self {
        let chains = vec![(domain(LOCAL), vec![b"a chain".to_vec()])];
        let mut config = World::config(Arc::new(FakeProvider::new(chains)), Trust::new(&[]));
        config.trust = trust();
        // More choices in the byte of the next one.
        let quarter = input.peek() / 4;
        if quarter % 8 == 7 {
            (config.limits.queue_bytes, config.limits.queue_bytes_per_pair) = TIGHT_QUEUES;
        }
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
        let node = Node::new(config.clone(), Seed([8; 32]), Anchor { instant: now, unix: NOW });
        Self {
            node,
            config,
            now,
            slow: SLOW.contains(&quarter),
            open: BTreeSet::new(),
            queries: BTreeMap::new(),
            seen: BTreeSet::new(),
            up: BTreeSet::new(),
            sent: BTreeSet::new(),
            next: 1,
            taken: BTreeMap::new(),
            zone,
        }
    }

    /// A timer that comes early changes nothing.
    fn tease(&mut self) {
        let before = self.node.poll_timeout();
        if before.is_none_or(|(at, _)| at > self.now) {
            self.node.handle_timeout(self.now);
            let event = if self.slow { None } else { self.node.poll_event() };
            let moved = (self.node.poll_timeout(), self.node.poll_effect(), event);
            assert_eq!(moved, (before, None, None), "moved by a timer that came early");
        }
    }

    fn operate(&mut self, input: &mut Input<'_>) {
        let now = self.now;
        let conns: Vec<ConnId> = self.open.iter().copied().chain([ConnId(u64::MAX)]).collect();
        let operation: Operation<'_> = if self.slow { input.read::<Unhurried<'_>>().0 } else { input.read() };
        let conn = conns[usize::from(operation.conn) % conns.len()];
        let reads = !self.slow || self.node.interest(conn).read;
        match operation.act {
            Act::Accept(listener, last) => {
                if let Some(conn) = self.node.handle_accept(now, peer(last), listener) {
                    assert!(self.seen.insert(conn.0), "{conn:?} is given twice");
                    self.open.insert(conn);
                }
            }
            Act::Connected => self.node.handle_connected(now, conn),
            Act::Frame(Frame(text)) if reads => self.node.handle_bytes(now, conn, text.as_bytes()),
            Act::Bytes(bytes) if reads && !bytes.is_empty() => self.node.handle_bytes(now, conn, bytes),
            Act::End if reads => self.node.handle_eof(now, conn),
            Act::Frame(_) | Act::Bytes(_) | Act::End => {}
            Act::Take(bytes) => {
                let pending = self.node.pending(conn);
                let taken = pending[..pending.len().min(bytes)].to_vec();
                self.node.handle_sent(now, conn, taken.len());
                self.taken.entry(conn).or_default().extend(taken);
            }
            Act::Break(error) => self.node.handle_closed(now, conn, error),
            Act::Answer => self.answer(input),
            Act::Send { to, filling } => self.send(to, filling),
            Act::Pass(span) => self.pass(span),
            Act::Drain(events) => _ = self.drain(events),
        }
    }

    fn answer(&mut self, input: &mut Input<'_>) {
        let queries: Vec<QueryId> = self.queries.keys().copied().collect();
        if queries.is_empty() {
            return;
        }
        let Reply { query, lost } = input.read();
        let query = queries[usize::from(query) % queries.len()];
        let reply = if lost { None } else { self.zone.respond(&self.queries[&query]) };
        self.node.handle_reply(self.now, query, reply.as_deref());
    }

    fn send(&mut self, to: &str, filling: usize) {
        let (id, filling) = (self.next, "x".repeat(filling));
        let text = format!("<message from='x@{LOCAL}' to='y@{to}' id='{id}'><body>{filling}</body></message>");
        self.next += 1;
        self.sent.insert(id);
        self.node.handle_command(self.now, Command::Send(Stanza::parse(&text).expect("a stanza")));
    }

    /// Time passes, with all timers that fire in it. What was due has been done then, and what is armed anew is later. Only
    /// what follows from an event that was taken may be due at once: the [turns](limits::STANZAS_AT_ONCE) of links of which
    /// some were heard, and the time of a peer whose stream has ended with what was heard.
    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some((at, why)) = self.node.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            self.node.handle_timeout(self.now);
            let next = self.node.poll_timeout();
            assert!(next.is_none_or(|(at, _)| at > self.now), "{why} has fired, and {next:?} is due");
            let told = self.drain(self.patience());
            let due = self.node.poll_timeout().filter(|(at, _)| *at <= self.now);
            assert!(
                due.is_none_or(|(_, why)| matches!(why, "turns" | "end") && told > 0),
                "{due:?} is due at once, and {told} events were told"
            );
        }
        self.now = end;
    }

    /// How many events are taken at once where nothing else is said.
    const fn patience(&self) -> usize {
        if self.slow { 0 } else { usize::MAX }
    }

    /// Does what the node asks for, and takes its events, so many at most. Gives how many these were.
    fn drain(&mut self, most: usize) -> usize {
        let mut events = 0;
        loop {
            while let Some(effect) = self.node.poll_effect() {
                self.obey(effect);
            }
            let next = if events < most { self.node.poll_event() } else { None };
            let Some(event) = next else { return events };
            self.observe(event);
            events += 1;
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

    /// What the node counts is what was seen of it, and what it holds is bounded, once its events were taken.
    fn check_counts(&self) {
        let held = self.node.measures();
        assert_eq!(held.inbound + held.outbound, self.open.len(), "{held:?}, and open are {:?}", self.open);
        assert!(held.unauthenticated <= held.inbound && held.handshakes <= held.inbound, "{held:?}");
        assert_eq!(held.dns_queries, self.queries.len(), "{held:?}");
        let totals = held.totals;
        assert!(totals.uncertain <= totals.written && totals.written <= totals.sent, "{held:?}");
        assert!(totals.sent < self.next, "{held:?}");
        if !self.slow {
            bounds::check(&self.node, self.config.limits.queue_bytes, self.config.stanza_bytes);
        }
    }

    fn finish(&mut self) {
        self.slow = false;
        self.drain(usize::MAX);
        self.pass(2 * limits::QUEUE_AGE);
        self.node.handle_command(self.now, Command::Shutdown);
        self.drain(usize::MAX);
        self.pass(4 * limits::CLOSE);
        let held = self.node.measures();
        assert!(self.node.is_finished() && self.open.is_empty(), "{held:?}, {:?} after a shutdown", self.open);
        assert!(self.queries.is_empty() && self.up.is_empty(), "{:?} {:?}", self.queries.keys(), self.up);
        assert_eq!((held.queued_bytes, held.verifications, held.routes), (0, 0, 0), "{held:?}");
        self.account();
        self.check_end();
    }

    /// Behind the end no report has an effect, and no command another one than its answer, which stays the same.
    fn check_end(&mut self) {
        let (now, node) = (self.now, &mut self.node);
        for listener in [Listener::StartTls, Listener::DirectTls, Listener::Component] {
            assert_eq!(node.handle_accept(now, peer(200), listener), None);
        }
        for conn in self.seen.iter().copied().chain([u64::MAX]).map(ConnId) {
            node.handle_connected(now, conn);
            node.handle_bytes(now, conn, header(REMOTE, LOCAL).as_bytes());
            node.handle_sent(now, conn, 1);
            node.handle_eof(now, conn);
            node.handle_closed(now, conn, io::ErrorKind::ConnectionReset);
            assert!(node.pending(conn).is_empty());
            assert_eq!(node.interest(conn), Interest { read: false, write: false });
        }
        for query in (0..4).map(QueryId) {
            node.handle_reply(now, query, Some(b"no answer"));
            node.handle_reply(now, query, None);
        }
        let later = now + limits::IDLE;
        node.handle_timeout(later);
        node.handle_clock(later, NOW);
        let pair = Pair::new(domain(LOCAL), domain(REMOTE));
        node.handle_command(later, Command::SignOfLife { pair, from: peer(1).ip() });
        node.handle_command(later, Command::Reconfigure(Box::new(self.config.clone())));
        node.handle_command(later, Command::Shutdown);
        assert_eq!((node.poll_effect(), node.poll_event(), node.poll_timeout()), (None, None, None));
        for _ in 0..2 {
            let text = format!("<message from='x@{LOCAL}' to='y@{REMOTE}'/>");
            node.handle_command(later, Command::Send(Stanza::parse(&text).expect("a stanza")));
            let back = node.poll_event();
            assert!(matches!(back, Some(Event::Undeliverable { reason: Reason::Shutdown, .. })), "{back:?}");
        }
        node.handle_command(later, Command::Measure);
        assert_eq!(node.poll_event(), Some(Event::Measured(node.measures())));
        assert_eq!((node.poll_effect(), node.poll_event(), node.poll_timeout()), (None, None, None));
        assert!(node.is_finished());
    }

    /// What did not come back was written, wholly and once; and on one connection in the order of sending.
    fn account(&self) {
        let mut written = BTreeSet::new();
        for (conn, bytes) in &self.taken {
            let numbers = whole_messages(&text_of(bytes));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_read_as_long_as_a_slow_application_leaves_its_events() {
        // A peer is accepted, three hundred stanzas to ourselves come back, and a report about nobody is the next call.
        let data = [&[248, 0, 1, 255, 0, 0, 0][..], &[255, 10, 3, 0].repeat(300), &[255, 1]].concat();
        let mut input = Input::new(&data);
        let mut watched = Watched::new(&mut input);
        while !input.is_empty() {
            watched.operate(&mut input);
            watched.drain(watched.patience());
        }
        let conn = *watched.open.first().expect("it was accepted");
        assert!(!watched.node.interest(conn).read, "the events wait");
        assert_eq!(watched.drain(usize::MAX), 300);
        assert!(watched.node.interest(conn).read, "the events were taken");
    }
}
