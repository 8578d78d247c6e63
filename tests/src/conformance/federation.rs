//! Two nodes that meet over loopback, each in the hands of one adapter.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use s2s_core::auth::Method;
use s2s_core::dns::Security;
use s2s_core::entropy::Seed;
use s2s_core::limits;
use s2s_core::machine::Listener;
use s2s_core::node::{Command, Config, Event, Node, StaticRoute};
use s2s_core::policy::HostOptions;
use s2s_core::reason::Reason;
use s2s_core::route::PrivateAddresses;
use s2s_core::time::Anchor;
use s2s_core::tls::{RustlsProvider, Version};
use s2s_sockets::{EVENTS, bind};
use socket2::SockRef;

use super::puppet::until;
use crate::adapter::{Adapter, Handle};
use crate::certificates::{Authority, END, Kind, NOW};
use crate::world::{World, domain, read_stanza};

const NAMES: [&str; 2] = ["a.example", "b.example"];

/// What a shutdown may take beyond the time that peers have to close their side, on a machine that may stand still for
/// seconds: less than any timeout of a stream.
const GRACE: Duration = Duration::from_secs(20);

const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A node that runs.
struct Site {
    handle: Handle<Command, Event>,
    thread: JoinHandle<Node>,
}

/// How a connection is treated on its way.
#[derive(Clone, Copy)]
enum Wire {
    Whole,
    /// Every byte travels alone.
    SingleBytes,
    /// Both ends are reset when so many bytes have passed.
    CutAfter(usize),
}

/// Two nodes that know where the other is.
fn sites(adapters: [Adapter; 2], kind: Kind, security: Security, wire: Wire) -> [Site; 2] {
    sites_with(adapters, kind, security, wire, clocks(), |_| {})
}

/// The clocks on the walls of both, at a time when certificates of the tests are valid.
fn clocks() -> [impl Fn() -> Duration + Send + 'static; 2] {
    let start = Instant::now();
    [0, 1].map(|_| move || NOW + start.elapsed())
}

/// The same with other clocks on their walls, and other configurations.
fn sites_with(
    adapters: [Adapter; 2],
    kind: Kind,
    security: Security,
    wire: Wire,
    clocks: [impl Fn() -> Duration + Send + 'static; 2],
    configure: impl Fn(&mut Config),
) -> [Site; 2] {
    let authority = Authority::root("the authority");
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listeners = [0, 1].map(|_| bind(any).expect("a port"));
    let addrs = listeners.each_ref().map(|listener| lead(listener.local_addr().expect("bound"), wire));
    let mut own = 0;
    let mut clocks = clocks.into_iter();
    listeners.map(|listener| {
        let (name, peer) = (domain(NAMES[own]), 1 - own);
        let identity = authority.issue_kind(kind, &name).host(&name);
        let crypto = Arc::new(rustls::crypto::ring::default_provider());
        let tls = RustlsProvider::new(crypto, vec![identity], Version::Tls12).expect("usable");
        let mut config = World::config(Arc::new(tls), authority.trust());
        config.private_addresses = PrivateAddresses::Always;
        config.close_timeout = CLOSE_TIMEOUT;
        config.hosts.insert(name, HostOptions { require_encryption: true, ..HostOptions::default() });
        config.routes.insert(domain(NAMES[peer]), StaticRoute { addr: addrs[peer], security });
        configure(&mut config);
        let seed = Seed([u8::try_from(own).expect("two"); 32]);
        let node = Node::new(config, seed, Anchor { instant: Instant::now(), unix: NOW });
        let on = if security == Security::DirectTls { Listener::DirectTls } else { Listener::StartTls };
        let clock = clocks.next().expect("two");
        let (handle, thread) = adapters[own].run_with(node, vec![(on, listener)], clock);
        own = peer;
        Site { handle, thread }
    })
}

/// An address that leads to `to` over a wire.
fn lead(to: SocketAddr, wire: Wire) -> SocketAddr {
    if matches!(wire, Wire::Whole) {
        return to;
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let addr = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = TcpStream::connect(to) else { return };
            let ends = Arc::new([client, server]);
            let passed = Arc::new(AtomicUsize::new(0));
            for from in [0, 1] {
                let (ends, passed) = (Arc::clone(&ends), Arc::clone(&passed));
                thread::spawn(move || carry(&ends, from, wire, &passed));
            }
        }
    });
    addr
}

fn carry(ends: &[TcpStream; 2], from: usize, wire: Wire, passed: &AtomicUsize) {
    let (mut from, mut to) = (&ends[from], &ends[1 - from]);
    to.set_nodelay(true).expect("an option");
    let mut buffer = vec![0; if matches!(wire, Wire::SingleBytes) { 1 } else { 4096 }];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        let already = passed.fetch_add(n, SeqCst);
        if let Wire::CutAfter(limit) = wire
            && already + n >= limit
        {
            let _ = to.write_all(&buffer[..limit.saturating_sub(already)]);
            for end in ends {
                let _ = SockRef::from(end).set_linger(Some(Duration::ZERO));
                let _ = end.shutdown(Shutdown::Both);
            }
            return;
        }
        if to.write_all(&buffer[..n]).is_err() {
            return;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

fn message(from: usize, number: usize) -> Command {
    let (from, to) = (NAMES[from], NAMES[1 - from]);
    Command::Send(read_stanza(&format!("<message from='x@{from}' to='y@{to}' id='{number}'><body>b</body></message>")))
}

impl Site {
    /// The number in the next stanza, and how its sender was proved if that was told before.
    fn stanza(&self) -> (usize, Option<Method>) {
        let mut method = None;
        loop {
            match self.handle.event().expect("the node runs") {
                Event::Stanza { stanza, .. } => {
                    let id = stanza.head().id.as_deref().expect("all have ids");
                    return (id.parse().expect("a number"), method);
                }
                Event::PeerUp { by, pair, .. } if pair.remote != domain(NAMES[0]) || method.is_none() => {
                    method = Some(by);
                }
                Event::PeerUp { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Shuts down, and returns what was told until the end, and when that was.
    fn end(self) -> (Vec<Event>, Instant) {
        // It fails where the node has ended already.
        let _ = self.handle.send(Command::Shutdown);
        let events = std::iter::from_fn(|| self.handle.event()).collect();
        self.thread.join().expect("the driver does not panic");
        (events, Instant::now())
    }
}

fn both_directions(adapters: [Adapter; 2], kind: Kind, security: Security, wire: Wire, expected: Method) {
    let sites = sites(adapters, kind, security, wire);
    for (from, number) in [(0, 1), (1, 2), (0, 3), (1, 4)] {
        sites[from].handle.send(message(from, number)).expect("the node runs");
        let (heard, method) = sites[1 - from].stanza();
        assert_eq!(heard, number);
        if let Some(method) = method {
            assert_eq!(method, expected);
        } else {
            assert!(number > 1, "nobody was proved");
        }
    }
    let [one, other] = sites;
    one.end();
    other.end();
}

pub(super) fn certificates_prove_both_directions(one: Adapter, other: Adapter) {
    both_directions([one, other], Kind::Valid, Security::StartTls, Wire::Whole, Method::External);
}

pub(super) fn dialback_proves_both_directions_inside_direct_tls(one: Adapter, other: Adapter) {
    both_directions([one, other], Kind::SelfSigned, Security::DirectTls, Wire::Whole, Method::Dialback);
}

pub(super) fn a_negotiation_cut_into_single_bytes_succeeds(one: Adapter, other: Adapter) {
    both_directions([one, other], Kind::Valid, Security::StartTls, Wire::SingleBytes, Method::External);
}

pub(super) fn a_reset_after_any_number_of_bytes_harms_nobody(one: Adapter, other: Adapter) {
    for bytes in (0..6000).step_by(400) {
        let sites = sites([one, other], Kind::Valid, Security::StartTls, Wire::CutAfter(bytes));
        sites[0].handle.send(message(0, 1)).expect("the node runs");
        // Either it came before the reset, or its sender is told.
        let (settled, told) = std::sync::mpsc::channel();
        thread::scope(|scope| {
            for site in &sites {
                let settled = settled.clone();
                scope.spawn(move || {
                    let mut events = std::iter::from_fn(|| site.handle.event());
                    if events.any(|event| matches!(event, Event::Stanza { .. } | Event::Undeliverable { .. })) {
                        settled.send(()).expect("the case goes on");
                    }
                });
            }
            told.recv().expect("the case goes on");
            for site in &sites {
                site.handle.send(Command::Shutdown).expect("the node runs");
            }
        });
        for site in sites {
            site.end();
        }
    }
}

pub(super) fn an_application_that_takes_no_stanzas_stops_the_reading_and_gets_all_of_them_later(
    one: Adapter,
    other: Adapter,
) {
    // More than what waits for the application on one side and for the peer on the other.
    let count = 4 * (EVENTS + limits::EVENTS_HIGH_WATER);
    let sites = sites([one, other], Kind::Valid, Security::StartTls, Wire::Whole);
    for number in 0..count {
        sites[0].handle.send(message(0, number)).expect("the node runs");
    }
    for number in 0..count {
        assert_eq!(sites[1].stanza().0, number);
    }
    for site in sites {
        site.end();
    }
}

pub(super) fn a_shutdown_closes_all_streams_inside_its_deadline(one: Adapter, other: Adapter) {
    let sites = sites([one, other], Kind::Valid, Security::StartTls, Wire::Whole);
    sites[0].handle.send(message(0, 1)).expect("the node runs");
    assert_eq!(sites[1].stanza().0, 1);
    let [first, second] = sites;
    let start = Instant::now();
    let (events, ended) = first.end();
    assert!(ended - start < CLOSE_TIMEOUT + GRACE, "it took {:?}", ended - start);
    assert!(events.iter().any(|event| matches!(event, Event::PeerDown { .. })), "{events:?}");
    // The other is told, and has nothing left to close.
    let told = std::iter::from_fn(|| second.handle.event()).find(|event| matches!(event, Event::PeerDown { .. }));
    assert!(told.is_some());
    let start = Instant::now();
    let (_, ended) = second.end();
    assert!(ended - start < CLOSE_TIMEOUT + GRACE, "it took {:?}", ended - start);
}

pub(super) fn a_dns_server_that_is_silent_costs_its_stanza_and_no_other(one: Adapter, other: Adapter) {
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let silent = server.local_addr().expect("bound");
    let configure = |config: &mut Config| config.resolver.servers = vec![silent];
    let sites = sites_with([one, other], Kind::Valid, Security::StartTls, Wire::Whole, clocks(), configure);
    let lost = "<message from='x@a.example' to='y@nowhere.example' id='0'><body>b</body></message>";
    sites[0].handle.send(Command::Send(read_stanza(lost))).expect("the node runs");
    let (reason, told) = std::sync::mpsc::channel();
    let [first, second] = sites;
    thread::scope(|scope| {
        let first = &first;
        scope.spawn(move || {
            let returned = std::iter::from_fn(|| first.handle.event()).find_map(|event| match event {
                Event::Undeliverable { reason, .. } => Some(reason),
                _ => None,
            });
            reason.send(returned).expect("the case goes on");
        });
        let mut number = 0;
        let returned = loop {
            // All the time others get through.
            number += 1;
            first.handle.send(message(0, number)).expect("the node runs");
            assert_eq!(second.stanza().0, number);
            if let Ok(returned) = told.try_recv() {
                break returned;
            }
        };
        assert_eq!(returned, Some(Reason::DnsTimeout));
    });
    first.end();
    second.end();
}

pub(super) fn a_certificate_is_judged_by_the_wall_clock_as_it_was_stepped(one: Adapter, other: Adapter) {
    let (start, step, looks) = (Instant::now(), Arc::new(AtomicU64::new(0)), Arc::new(AtomicUsize::new(0)));
    let (stepped, looked) = (Arc::clone(&step), Arc::clone(&looks));
    let first: Box<dyn Fn() -> Duration + Send> = Box::new(move || {
        let unix = NOW + start.elapsed() + Duration::from_secs(stepped.load(SeqCst));
        looked.fetch_add(1, SeqCst);
        unix
    });
    let second: Box<dyn Fn() -> Duration + Send> = Box::new(move || NOW + start.elapsed());
    let strict = |config: &mut Config| config.hosts.values_mut().for_each(|options| options.secure_auth = true);
    let [a, b] = sites_with([one, other], Kind::Valid, Security::StartTls, Wire::Whole, [first, second], strict);
    let set = |seconds| {
        let before = looks.load(SeqCst);
        step.store(seconds, SeqCst);
        // The machine is told between two looks, and the first of them may have begun before.
        until("the look at the wall clock", || looks.load(SeqCst) >= before + 3);
    };
    // The first look is what a step is measured by.
    until("the first look at the wall clock", || looks.load(SeqCst) > 0);
    set((END - NOW).as_secs());
    a.handle.send(message(0, 1)).expect("the node runs");
    let refused = std::iter::from_fn(|| a.handle.event()).find_map(|event| match event {
        Event::Undeliverable { reason, .. } => Some(reason),
        _ => None,
    });
    assert_eq!(refused, Some(Reason::CertExpired));
    set(0);
    for (from, to, number) in [(&b, &a, 2), (&a, &b, 3)] {
        let own = usize::from(number == 2);
        from.handle.send(message(own, number)).expect("the node runs");
        let arrived = std::iter::from_fn(|| to.handle.event()).find_map(|event| match event {
            Event::Stanza { stanza, .. } => stanza.head().id.clone(),
            _ => None,
        });
        assert_eq!(arrived, Some(number.to_string()));
    }
    a.end();
    b.end();
}
