//! A machine on strings: it tells what it is told, and does what it is commanded.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use s2s_core::machine::{ConnId, Effect, Interest, Listener, Machine, QueryId, Transport};
use s2s_sockets::bind;
use socket2::{Domain, SockRef, Socket, Type};

use crate::adapter::{Adapter, Handle};

/// After this, a condition that a test waits for will not come.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

/// What is asked for where a buffer of a socket is to be as small as the system makes it.
pub(super) const TINY_BYTES: usize = 1024;

/// Bytes that an echo may have waiting before it stops reading.
pub(super) const ECHO_BYTES: usize = 65_536;

/// Events that may wait in the puppet before it stops reading.
pub(super) const WAITING_EVENTS: usize = 8;

/// What the puppet does with those who connect.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// Sends back what comes, and tells of no bytes.
    Echo,
    /// Tells the application.
    Tell,
    /// Does not let them in.
    Refuse,
}

#[derive(Debug)]
pub(super) enum Order {
    Dial(SocketAddr),
    /// The same from this address of ours.
    DialFrom(IpAddr, SocketAddr),
    Write(ConnId, Vec<u8>),
    CloseWrite(ConnId),
    Drop(ConnId),
    Ask(SocketAddr, Transport, Vec<u8>),
    Forget(QueryId),
    Alarm(Instant),
    Boast(usize),
    /// Whether all connections are being negotiated from now on.
    Negotiate(bool),
    /// Keep the driver's thread until the other end is dropped.
    Hold(mpsc::Receiver<()>),
    Shutdown,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Accepted(ConnId, SocketAddr, Listener),
    Dialling(ConnId),
    Connected(ConnId),
    Bytes(ConnId, Vec<u8>),
    Eof(ConnId),
    Closed(ConnId, ErrorKind),
    Asked(QueryId),
    Reply(QueryId, Option<Vec<u8>>),
    Alarm { due: Instant, now: Instant },
    Clock(Duration),
    Count(usize),
}

/// What tests see of a puppet that runs.
#[derive(Default)]
pub(super) struct Gauge {
    /// Bytes that were read from sockets.
    pub(super) read: AtomicUsize,
    /// Bytes that were written to sockets.
    pub(super) sent: AtomicUsize,
    /// The most bytes that waited in the machine at once.
    pub(super) peak: AtomicUsize,
    /// Whether it has stopped reading because events wait.
    pub(super) is_stalled: AtomicBool,
    /// Connections that were refused.
    pub(super) refused: AtomicUsize,
}

pub(super) struct Puppet {
    manner: Manner,
    names: u64,
    conns: BTreeMap<ConnId, Line>,
    queries: BTreeSet<QueryId>,
    effects: VecDeque<Effect>,
    events: VecDeque<Told>,
    due: Option<Instant>,
    last: Instant,
    is_shut: bool,
    negotiating: bool,
    gauge: Arc<Gauge>,
    /// Reports about what was dropped.
    pub(super) ghosts: usize,
    /// Timeouts that came before their time.
    pub(super) early: usize,
}

#[derive(Default)]
struct Line {
    out: Vec<u8>,
    /// How much of `out` was written.
    written: usize,
    is_ended: bool,
}

impl Puppet {
    fn note(&mut self, now: Instant) {
        assert!(now >= self.last, "time went back");
        self.last = now;
    }

    fn name(&mut self) -> u64 {
        self.names += 1;
        self.names
    }

    fn tell(&mut self, told: Told) {
        self.events.push_back(told);
        self.gauge.is_stalled.store(self.is_stalled(), SeqCst);
    }

    fn is_stalled(&self) -> bool {
        self.events.len() >= WAITING_EVENTS
    }

    fn gauge_peak(&self) {
        let out: usize = self.conns.values().map(|line| line.out.len() - line.written).sum();
        let told: usize =
            self.events.iter().map(|told| if let Told::Bytes(_, bytes) = told { bytes.len() } else { 0 }).sum();
        self.gauge.peak.fetch_max(out + told, SeqCst);
    }

    fn known(&mut self, conn: ConnId) -> bool {
        let is_known = self.conns.contains_key(&conn);
        self.ghosts += usize::from(!is_known);
        is_known
    }

    fn dial(&mut self, addr: SocketAddr, from: Option<IpAddr>) {
        let conn = ConnId(self.name());
        self.conns.insert(conn, Line::default());
        self.effects.push_back(Effect::Dial { conn, addr, from });
        self.tell(Told::Dialling(conn));
    }

    fn drop_conn(&mut self, conn: ConnId) {
        self.conns.remove(&conn);
        self.effects.push_back(Effect::Drop(conn));
    }
}

impl Machine for Puppet {
    type Command = Order;
    type Event = Told;

    fn handle_accept(&mut self, now: Instant, peer: SocketAddr, on: Listener) -> Option<ConnId> {
        self.note(now);
        if self.manner == Manner::Refuse {
            self.gauge.refused.fetch_add(1, SeqCst);
            return None;
        }
        let conn = ConnId(self.name());
        self.conns.insert(conn, Line::default());
        self.tell(Told::Accepted(conn, peer, on));
        Some(conn)
    }

    fn handle_connected(&mut self, now: Instant, conn: ConnId) {
        self.note(now);
        if self.known(conn) {
            self.tell(Told::Connected(conn));
        }
    }

    fn handle_bytes(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) {
        self.note(now);
        assert!(!bytes.is_empty(), "an empty slice is no report");
        assert!(self.interest(conn).read, "bytes were read that nobody waits for");
        self.gauge.read.fetch_add(bytes.len(), SeqCst);
        if !self.known(conn) {
            return;
        }
        if self.manner == Manner::Echo {
            self.conns.get_mut(&conn).unwrap().out.extend_from_slice(bytes);
            self.effects.push_back(Effect::Wake(conn));
        } else {
            self.tell(Told::Bytes(conn, bytes.to_vec()));
        }
        self.gauge_peak();
    }

    fn handle_eof(&mut self, now: Instant, conn: ConnId) {
        self.note(now);
        if !self.known(conn) {
            return;
        }
        let line = self.conns.get_mut(&conn).unwrap();
        assert!(!line.is_ended, "a stream ends once");
        line.is_ended = true;
        if self.manner == Manner::Echo {
            self.effects.push_back(Effect::CloseWrite(conn));
        }
        self.tell(Told::Eof(conn));
    }

    fn handle_sent(&mut self, now: Instant, conn: ConnId, n: usize) {
        self.note(now);
        self.gauge.sent.fetch_add(n, SeqCst);
        if !self.known(conn) {
            return;
        }
        let line = self.conns.get_mut(&conn).unwrap();
        line.written += n;
        assert!(line.written <= line.out.len(), "more was sent than there is");
        if line.written == line.out.len() {
            line.out.clear();
            line.written = 0;
        }
        self.effects.push_back(Effect::Wake(conn));
    }

    fn handle_closed(&mut self, now: Instant, conn: ConnId, error: ErrorKind) {
        self.note(now);
        if self.known(conn) {
            self.conns.remove(&conn);
            self.tell(Told::Closed(conn, error));
        }
    }

    fn handle_reply(&mut self, now: Instant, query: QueryId, message: Option<&[u8]>) {
        self.note(now);
        if self.queries.contains(&query) {
            self.tell(Told::Reply(query, message.map(<[u8]>::to_vec)));
        } else {
            self.ghosts += 1;
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.note(now);
        match self.due {
            Some(due) if due <= now => {
                self.due = None;
                self.tell(Told::Alarm { due, now });
            }
            _ => self.early += 1,
        }
    }

    fn handle_clock(&mut self, now: Instant, unix: Duration) {
        self.note(now);
        self.tell(Told::Clock(unix));
    }

    fn handle_command(&mut self, now: Instant, order: Order) {
        self.note(now);
        match order {
            Order::Dial(addr) => self.dial(addr, None),
            Order::DialFrom(from, addr) => self.dial(addr, Some(from)),
            Order::Write(conn, bytes) => {
                self.conns.get_mut(&conn).unwrap().out.extend_from_slice(&bytes);
                self.effects.push_back(Effect::Wake(conn));
            }
            Order::CloseWrite(conn) => self.effects.push_back(Effect::CloseWrite(conn)),
            Order::Drop(conn) => self.drop_conn(conn),
            Order::Ask(server, transport, message) => {
                let query = QueryId(self.name());
                self.queries.insert(query);
                self.effects.push_back(Effect::Ask { query, server, transport, message });
                self.tell(Told::Asked(query));
            }
            Order::Forget(query) => {
                self.queries.remove(&query);
                self.effects.push_back(Effect::Forget(query));
            }
            Order::Alarm(due) => self.due = Some(due),
            Order::Negotiate(negotiating) => self.negotiating = negotiating,
            Order::Boast(n) => (0..n).for_each(|n| self.tell(Told::Count(n))),
            Order::Hold(held) => assert!(held.recv_timeout(DEADLINE) == Err(mpsc::RecvTimeoutError::Disconnected)),
            Order::Shutdown => {
                self.is_shut = true;
                let conns: Vec<_> = self.conns.keys().copied().collect();
                conns.into_iter().for_each(|conn| self.drop_conn(conn));
            }
        }
    }

    fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    fn poll_event(&mut self) -> Option<Told> {
        let was_stalled = self.is_stalled();
        let told = self.events.pop_front()?;
        if was_stalled && !self.is_stalled() {
            self.gauge.is_stalled.store(false, SeqCst);
            self.effects.extend(self.conns.keys().copied().map(Effect::Wake));
        }
        Some(told)
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.due.map(|due| (due, "alarm"))
    }

    fn pending(&self, conn: ConnId) -> &[u8] {
        self.conns.get(&conn).map_or(&[], |line| &line.out[line.written..])
    }

    fn interest(&self, conn: ConnId) -> Interest {
        let waiting = self.pending(conn).len();
        let has_room = self.manner != Manner::Echo || waiting < ECHO_BYTES;
        Interest { read: has_room && !self.is_stalled(), write: waiting > 0 }
    }

    fn is_negotiating(&self, _: ConnId) -> bool {
        self.negotiating
    }

    fn is_finished(&self) -> bool {
        self.is_shut && self.conns.is_empty()
    }
}

/// A puppet that runs, seen from the application.
pub(super) struct Stage {
    pub(super) addr: SocketAddr,
    pub(super) gauge: Arc<Gauge>,
    pub(super) handle: Handle<Order, Told>,
    thread: JoinHandle<Puppet>,
}

impl Stage {
    pub(super) fn new(adapter: Adapter, manner: Manner) -> Self {
        Self::on(adapter, "127.0.0.1:0".parse().unwrap(), manner)
    }

    pub(super) fn on(adapter: Adapter, addr: SocketAddr, manner: Manner) -> Self {
        Self::start(adapter, bind(addr).unwrap(), manner, s2s_sockets::wall_clock)
    }

    /// One whose connections can hold little of what is to be sent.
    pub(super) fn narrow(adapter: Adapter, manner: Manner) -> Self {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        SockRef::from(&listener).set_send_buffer_size(TINY_BYTES).unwrap();
        SockRef::from(&listener).set_recv_buffer_size(TINY_BYTES).unwrap();
        Self::start(adapter, listener, manner, s2s_sockets::wall_clock)
    }

    pub(super) fn start(
        adapter: Adapter,
        listener: TcpListener,
        manner: Manner,
        wall: impl Fn() -> Duration + Send + 'static,
    ) -> Self {
        let addr = listener.local_addr().unwrap();
        let gauge = Arc::<Gauge>::default();
        let puppet = Puppet {
            manner,
            names: 0,
            conns: BTreeMap::new(),
            queries: BTreeSet::new(),
            effects: VecDeque::new(),
            events: VecDeque::new(),
            due: None,
            last: Instant::now(),
            is_shut: false,
            negotiating: false,
            gauge: Arc::clone(&gauge),
            ghosts: 0,
            early: 0,
        };
        let (handle, thread) = adapter.run_with(puppet, vec![(Listener::DirectTls, listener)], wall);
        Self { addr, gauge, handle, thread }
    }

    /// A connection to the puppet. Its reads and writes fail at the deadline.
    pub(super) fn client(&self) -> TcpStream {
        let client = TcpStream::connect(self.addr).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        client.set_write_timeout(Some(DEADLINE)).unwrap();
        client
    }

    /// A connection to the puppet, and its name there.
    pub(super) fn accepted(&self) -> (TcpStream, ConnId) {
        let client = self.client();
        let Told::Accepted(conn, peer, Listener::DirectTls) = self.told() else { panic!("nobody was accepted") };
        assert_eq!(peer, client.local_addr().unwrap());
        (client, conn)
    }

    pub(super) fn order(&self, order: Order) {
        self.handle.send(order).expect("the driver has ended");
    }

    /// The next event.
    pub(super) fn told(&self) -> Told {
        self.handle.event().expect("the driver has ended")
    }

    /// Leaves, and gives back the machine when the driver has ended.
    pub(super) fn leave(self) -> Puppet {
        drop(self.handle);
        self.thread.join().unwrap()
    }
}

/// An address where nobody listens, and the socket that keeps others from it.
pub(super) fn closed_port() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, addr)
}

/// Waits for a condition that another thread makes true.
pub(super) fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not come");
        thread::yield_now();
    }
}
