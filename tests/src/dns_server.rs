//! A small authoritative DNS server on threads, over UDP and TCP on one loopback port.
//!
//! It answers for the whole tree of names: what its zone does not hold does not exist. That is enough for
//! resolvers of other servers, which take it for a recursive one.
//!
//! - Absence: [RFC 2308 section 2](https://www.rfc-editor.org/rfc/rfc2308#section-2)
//! - Empty non-terminals exist: [RFC 8020](https://www.rfc-editor.org/rfc/rfc8020)
//! - TCP: [RFC 7766](https://www.rfc-editor.org/rfc/rfc7766)

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, SOA, SRV};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

/// Bytes of a UDP reply to somebody who speaks no EDNS, [RFC 1035 section 4.2.1](https://www.rfc-editor.org/rfc/rfc1035#section-4.2.1).
const PLAIN_DATAGRAM_BYTES: usize = 512;

/// Bytes of the longest UDP reply, whatever the client would take.
const DATAGRAM_BYTES: usize = 1232;

/// Aliases that one reply follows.
const ALIASES: usize = 16;

/// Seconds that anybody may keep a record, unless a zone says otherwise.
const TTL: u32 = 1;

/// What the server knows. Names are given as text, with or without the final dot.
#[derive(Clone, Debug, Default)]
pub struct Zone {
    records: BTreeMap<(Name, RecordType), Vec<RData>>,
    failing: BTreeSet<Name>,
    truncating: bool,
    lifetime: Option<u32>,
    signed: bool,
}

impl Zone {
    /// A zone in which no name exists.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a record of any type.
    #[must_use]
    pub fn record(mut self, name: &str, data: RData) -> Self {
        self.records.entry((absolute(name), data.record_type())).or_default().push(data);
        self
    }

    /// Adds an address.
    #[must_use]
    pub fn address(self, name: &str, ip: impl Into<IpAddr>) -> Self {
        let data = match ip.into() {
            IpAddr::V4(ip) => RData::A(A(ip)),
            IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
        };
        self.record(name, data)
    }

    /// Makes `name` an alias.
    #[must_use]
    pub fn alias(self, name: &str, target: &str) -> Self {
        self.record(name, RData::CNAME(CNAME(absolute(target))))
    }

    /// Adds a place of a service: `name` with its underscores, the target `.` for "not offered".
    #[must_use]
    pub fn service(self, name: &str, priority: u16, weight: u16, port: u16, target: &str) -> Self {
        self.record(name, RData::SRV(SRV::new(priority, weight, port, absolute(target))))
    }

    /// Answers every question for `name` with SERVFAIL.
    #[must_use]
    pub fn failing(mut self, name: &str) -> Self {
        self.failing.insert(absolute(name));
        self
    }

    /// Sets TC in every reply over UDP, with part of the records in it.
    #[must_use]
    pub const fn truncating(mut self) -> Self {
        self.truncating = true;
        self
    }

    /// Nobody may keep what is answered.
    #[must_use]
    pub const fn transient(self) -> Self {
        self.lasting(0)
    }

    /// Lets everybody keep every record, and its absence, for so many seconds.
    #[must_use]
    pub const fn lasting(mut self, seconds: u32) -> Self {
        self.lifetime = Some(seconds);
        self
    }

    /// Every reply says by AD that it was validated, to who asks whether it was.
    #[must_use]
    pub const fn signed(mut self) -> Self {
        self.signed = true;
        self
    }

    /// The reply to a query, both as they travel; none to what is no question.
    #[must_use]
    pub fn respond(&self, query: &[u8]) -> Option<Vec<u8>> {
        self.reply(&Message::from_vec(query).ok()?)?.to_vec().ok()
    }

    /// Whether `name` exists: it has records, or a name below it has.
    fn holds(&self, name: &Name) -> bool {
        self.records.keys().any(|(owner, _)| name.zone_of(owner))
    }

    fn records(&self, name: &Name, kind: RecordType) -> Vec<Record> {
        let data = self.records.get(&(name.clone(), kind)).into_iter().flatten();
        data.map(|data| Record::from_rdata(name.clone(), self.lifetime.unwrap_or(TTL), data.clone())).collect()
    }

    /// The reply to `query`, or none to what is no question.
    fn reply(&self, query: &Message) -> Option<Message> {
        let [question] = query.queries.as_slice() else { return None };
        if query.metadata.message_type != MessageType::Query || question.query_class() != DNSClass::IN {
            return None;
        }
        let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
        reply.metadata.recursion_desired = query.metadata.recursion_desired;
        reply.metadata.recursion_available = true;
        reply.metadata.authoritative = true;
        reply.metadata.authentic_data = self.signed && query.metadata.authentic_data;
        reply.add_query(question.clone());
        if query.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(DATAGRAM_BYTES as u16);
            reply.set_edns(edns);
        }
        if query.metadata.op_code == OpCode::Query {
            let mut name = question.name().to_lowercase();
            name.set_fqdn(true);
            self.answer(name, question.query_type(), &mut reply);
        } else {
            reply.metadata.response_code = ResponseCode::NotImp;
        }
        Some(reply)
    }

    fn answer(&self, mut name: Name, kind: RecordType, reply: &mut Message) {
        for _ in 0..ALIASES {
            if self.failing.contains(&name) {
                reply.metadata.response_code = ResponseCode::ServFail;
                return;
            }
            let found = self.records(&name, kind);
            if !found.is_empty() {
                reply.add_answers(found);
                return;
            }
            let Some(alias) = self.records(&name, RecordType::CNAME).into_iter().next() else {
                if !self.holds(&name) {
                    reply.metadata.response_code = ResponseCode::NXDomain;
                }
                reply.add_authority(start_of_authority(self.lifetime.unwrap_or(TTL)));
                return;
            };
            if let RData::CNAME(target) = &alias.data {
                name = target.0.to_lowercase();
            }
            reply.add_answer(alias);
        }
    }
}

fn absolute(name: &str) -> Name {
    let mut name = Name::from_ascii(name).expect("names in tests are names").to_lowercase();
    name.set_fqdn(true);
    name
}

fn start_of_authority(ttl: u32) -> Record {
    let soa = SOA::new(absolute("ns.test"), absolute("hostmaster.test"), 1, 1, 1, 1, ttl);
    Record::from_rdata(Name::root(), ttl, RData::SOA(soa))
}

/// A running server. Dropping it ends its threads and frees its port.
#[derive(Debug)]
pub struct DnsServer {
    addr: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    zone: Mutex<Zone>,
    asked: Mutex<Vec<(String, RecordType)>>,
    /// Those that are open, by their number, so that they can be shut down.
    connections: Mutex<BTreeMap<u64, TcpStream>>,
    stopping: AtomicBool,
}

impl DnsServer {
    /// Serves `zone` on a free port of 127.0.0.1.
    pub fn start(zone: Zone) -> io::Result<Self> {
        Self::start_at(zone, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    /// Serves `zone` at `addr`; on a free port if that of `addr` is 0.
    pub fn start_at(zone: Zone, addr: SocketAddr) -> io::Result<Self> {
        let (udp, tcp) = bind(addr)?;
        let addr = udp.local_addr()?;
        let shared = Arc::new(Shared {
            zone: Mutex::new(zone),
            asked: Mutex::default(),
            connections: Mutex::default(),
            stopping: AtomicBool::new(false),
        });
        let threads = vec![
            thread::spawn({
                let shared = Arc::clone(&shared);
                move || shared.serve_udp(&udp)
            }),
            thread::spawn({
                let shared = Arc::clone(&shared);
                move || shared.serve_tcp(&tcp)
            }),
        ];
        Ok(Self { addr, shared, threads })
    }

    /// Where it listens, over both transports.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves `zone` from now on.
    pub fn replace(&self, zone: Zone) {
        *lock(&self.shared.zone) = zone;
    }

    /// The questions so far, in the order in which they came: lower-case name with the final dot, and type.
    #[must_use]
    pub fn asked(&self) -> Vec<(String, RecordType)> {
        lock(&self.shared.asked).clone()
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Both threads are woken by what they wait for.
        if let Ok(waker) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) {
            let _ = waker.send_to(&[], self.addr);
        }
        let _ = TcpStream::connect(self.addr);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// One port for both transports.
fn bind(addr: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..16 {
        let udp = UdpSocket::bind(addr)?;
        match TcpListener::bind(udp.local_addr()?) {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    fn reply(&self, query: &Message) -> Option<Message> {
        let question = query.queries.first()?;
        lock(&self.asked).push((question.name().to_lowercase().to_ascii(), question.query_type()));
        lock(&self.zone).reply(query)
    }

    fn serve_udp(&self, socket: &UdpSocket) {
        let mut buffer = [0; 4096];
        while !self.is_stopping() {
            // An error here is that of an earlier reply, to a client that has gone.
            let Ok((length, client)) = socket.recv_from(&mut buffer) else { continue };
            let Ok(query) = Message::from_vec(&buffer[..length]) else { continue };
            let Some(reply) = self.reply(&query) else { continue };
            let room = query.edns.as_ref().map_or(PLAIN_DATAGRAM_BYTES, |edns| usize::from(edns.max_payload()));
            let Some(bytes) = self.datagram(reply, room.clamp(PLAIN_DATAGRAM_BYTES, DATAGRAM_BYTES)) else { continue };
            let _ = socket.send_to(&bytes, client);
        }
    }

    fn datagram(&self, mut reply: Message, room: usize) -> Option<Vec<u8>> {
        if lock(&self.zone).truncating {
            reply.metadata.truncation = true;
            reply.answers.truncate(1);
        }
        let bytes = reply.to_vec().ok()?;
        match bytes.len() <= room {
            true => Some(bytes),
            false => reply.truncate().to_vec().ok(),
        }
    }

    fn serve_tcp(self: &Arc<Self>, listener: &TcpListener) {
        let mut threads: Vec<JoinHandle<()>> = Vec::new();
        for number in 0.. {
            if self.is_stopping() {
                break;
            }
            let Ok((stream, _)) = listener.accept() else { continue };
            let Ok(handle) = stream.try_clone() else { continue };
            lock(&self.connections).insert(number, handle);
            let shared = Arc::clone(self);
            threads.retain(|thread| !thread.is_finished());
            threads.push(thread::spawn(move || {
                let _ = shared.serve_connection(stream);
                lock(&shared.connections).remove(&number);
            }));
        }
        for connection in lock(&self.connections).values() {
            let _ = connection.shutdown(Shutdown::Both);
        }
        for thread in threads {
            let _ = thread.join();
        }
    }

    fn serve_connection(&self, mut stream: TcpStream) -> io::Result<()> {
        while !self.is_stopping() {
            let mut length = [0; 2];
            stream.read_exact(&mut length)?;
            let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut message)?;
            let query = Message::from_vec(&message).map_err(io::Error::other)?;
            let Some(reply) = self.reply(&query) else { break };
            let reply = reply.to_vec().map_err(io::Error::other)?;
            let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
            stream.write_all(&[&length.to_be_bytes(), reply.as_slice()].concat())?;
        }
        stream.shutdown(Shutdown::Both)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::Query;
    use s2s_core::addr::Domain;
    use s2s_core::dns::{Behalf, Candidate, Resolver, ResolverConfig, Security};
    use s2s_core::entropy::{Entropy, Seed};
    use s2s_core::machine::{Effect, QueryId, Transport};
    use s2s_core::reason::Reason;
    use std::time::{Duration, Instant};

    enum Socket {
        Tcp(TcpStream),
        Udp(UdpSocket),
    }

    impl Socket {
        fn ask(server: SocketAddr, transport: Transport, message: &[u8]) -> io::Result<Self> {
            if transport == Transport::Tcp {
                let mut stream = TcpStream::connect(server)?;
                stream.write_all(&u16::try_from(message.len()).map_err(io::Error::other)?.to_be_bytes())?;
                stream.write_all(message)?;
                return Ok(Self::Tcp(stream));
            }
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            socket.connect(server)?;
            socket.send(message)?;
            Ok(Self::Udp(socket))
        }

        fn read(&mut self) -> io::Result<Vec<u8>> {
            match self {
                Self::Tcp(stream) => {
                    let mut length = [0; 2];
                    stream.read_exact(&mut length)?;
                    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
                    stream.read_exact(&mut message)?;
                    Ok(message)
                }
                Self::Udp(socket) => {
                    let mut message = vec![0; 4096];
                    let length = socket.recv(&mut message)?;
                    message.truncate(length);
                    Ok(message)
                }
            }
        }
    }

    /// One lookup over real sockets, with the server as the only one.
    fn resolve(server: &DnsServer, domain: &str) -> Result<Vec<Candidate>, Reason> {
        let timeout = Duration::from_secs(10);
        let config = ResolverConfig { query_timeout: timeout, ..ResolverConfig::new(vec![server.addr()]) };
        let mut resolver = Resolver::new(config, Entropy::new(Seed([4; 32])));
        let _ = resolver.lookup(Instant::now(), &Domain::parse(domain).expect("a domain"), Behalf::Ours);
        let mut sockets: BTreeMap<QueryId, Socket> = BTreeMap::new();
        loop {
            while let Some(effect) = resolver.poll_effect() {
                match effect {
                    Effect::Ask { query, server, transport, message } => {
                        sockets.insert(query, Socket::ask(server, transport, &message).expect("a socket"));
                    }
                    Effect::Forget(query) => assert!(sockets.remove(&query).is_some()),
                    other => panic!("a resolver does not ask for {other:?}"),
                }
            }
            if let Some((_, answer)) = resolver.poll_answer() {
                assert!(sockets.is_empty());
                return answer;
            }
            // Every query is answered in the end: to wait for them one by one is enough.
            let mut first = sockets.first_entry().expect("something is waited for");
            let reply = first.get_mut().read().ok();
            resolver.handle_reply(Instant::now(), *first.key(), reply.as_deref());
        }
    }

    fn zone() -> Zone {
        Zone::new()
            .service("_xmpp-server._tcp.a.test", 10, 0, 5269, "xmpp.a.test")
            .service("_xmpps-server._tcp.a.test", 5, 0, 5270, "XMPP.a.test.")
            .alias("xmpp.a.test", "host.a.test")
            .address("host.a.test", [127, 0, 0, 2])
            .service("_xmpp-server._tcp.dot.test", 0, 0, 0, ".")
            .failing("_xmpp-server._tcp.broken.test")
            .address("plain.test", [127, 0, 0, 3])
            .address("plain.test", [0, 0, 0, 0, 0, 0, 0, 1])
            .address("below.empty.test", [127, 0, 0, 4])
    }

    #[test]
    fn the_resolver_finds_over_real_sockets_what_the_zone_holds() {
        for zone in [zone(), zone().truncating()] {
            let server = DnsServer::start(zone).expect("a server");
            let at = |addr: &str, security| Candidate { addr: addr.parse().expect("an address"), security };
            let mixed = [at("127.0.0.2:5270", Security::DirectTls), at("127.0.0.2:5269", Security::StartTls)];
            assert_eq!(resolve(&server, "a.test"), Ok(mixed.to_vec()));
            let fallback = [at("[::1]:5269", Security::StartTls), at("127.0.0.3:5269", Security::StartTls)];
            assert_eq!(resolve(&server, "plain.test"), Ok(fallback.to_vec()));
            assert_eq!(resolve(&server, "dot.test"), Err(Reason::SrvDot));
            assert_eq!(resolve(&server, "broken.test"), Err(Reason::DnsFailure));
            assert_eq!(resolve(&server, "gone.test"), Err(Reason::DnsNxdomain));
            assert_eq!(resolve(&server, "empty.test"), Err(Reason::NoAddress), "an empty non-terminal exists");
            let asked = server.asked();
            assert!(asked.contains(&("_xmpps-server._tcp.gone.test.".to_owned(), RecordType::SRV)), "{asked:?}");
        }
    }

    #[test]
    fn a_signed_zone_says_that_it_was_validated_to_who_asks_for_that_alone() {
        for (signed, asked) in [(true, true), (true, false), (false, true)] {
            let zone = if signed { zone().signed() } else { zone() };
            let mut query = Message::new(1, MessageType::Query, OpCode::Query);
            query.metadata.authentic_data = asked;
            query.add_query(Query::query(absolute("plain.test"), RecordType::A));
            let reply = zone.respond(&query.to_vec().expect("a query")).expect("a reply");
            let reply = Message::from_vec(&reply).expect("a message");
            assert_eq!(reply.metadata.authentic_data, signed && asked, "signed {signed}, asked {asked}");
        }
    }

    #[test]
    fn an_answer_too_long_for_a_datagram_comes_over_tcp_as_a_whole() {
        let many = (0..100).fold(Zone::new(), |zone, n| zone.address("many.test", [127, 0, 1, n]));
        let server = DnsServer::start(many).expect("a server");
        assert_eq!(resolve(&server, "many.test").map(|candidates| candidates.len()), Ok(16));
        server.replace(Zone::new());
        assert_eq!(resolve(&server, "many.test"), Err(Reason::DnsNxdomain));
    }

    #[test]
    fn dropping_the_server_frees_its_port_even_while_a_client_is_connected() {
        // Nobody else uses this address, so that nobody else gets the port.
        let server = DnsServer::start_at(zone(), SocketAddr::from(([127, 0, 0, 77], 0))).expect("a server");
        let addr = server.addr();
        let mut idle = TcpStream::connect(addr).expect("a connection");
        drop(server);
        assert!(UdpSocket::bind(addr).is_ok());
        assert!(!matches!(idle.read(&mut [0]), Ok(1..)), "the connection has ended");
        assert!(TcpStream::connect(addr).is_err(), "nobody listens any more");
    }
}
