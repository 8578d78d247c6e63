//! Patience with those who refuse: a flood of stanzas makes few attempts, costs no memory, and every stanza comes back.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use s2s_core::limits;
use s2s_core::machine::Listener;
use s2s_core::node::{Config, Event};
use s2s_core::policy::HostOptions;
use s2s_core::reason::Reason;
use s2s_core::route::PrivateAddresses;
use s2s_tests::certificates::{Authority, Kind};
use s2s_tests::fake_tls::FakeProvider;
use s2s_tests::puppetry::{header, response};
use s2s_tests::sockets::footprint;
use s2s_tests::world::{Cutting, NodeIndex, Puppet, World, domain};

const A: &str = "a.example.org";
const B: &str = "b.example.net";

/// The most attempts of one minute.
const SINGLE_DIGIT: usize = 9;

/// How often stanzas are sent, and how many of them: five a second.
const STEP: Duration = Duration::from_secs(1);
const AT_ONCE: usize = 5;
const STEPS_PER_MINUTE: usize = 60;
const MINUTES: usize = 10;

/// Bytes of memory that a flood may leave behind: its stanzas, of a thousand bytes each, have many times that.
const FLAT: u64 = 2 << 20;

/// One test at a time, so that what it measures is its own.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn addr(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

/// Where the servers of [`B`] are.
fn theirs() -> SocketAddr {
    SocketAddr::new(addr(2), 5269)
}

fn config(host: &str, kind: Kind, options: HostOptions) -> Config {
    let (authority, host) = (Authority::root("the authority"), domain(host));
    let chain = authority.issue_kind(kind, &host).chain;
    let mut config = World::config(Arc::new(FakeProvider::new(vec![(host.clone(), chain)])), authority.trust());
    config.private_addresses = PrivateAddresses::Always;
    config.hosts.insert(host, options);
    config
}

fn lax() -> HostOptions {
    HostOptions::default()
}

fn message(from: &str, id: usize) -> String {
    format!("<message from='x@{from}' to='y@{B}' id='{id}'><body>{}</body></message>", "x".repeat(1000))
}

/// Why stanzas came back, and how many.
fn bounces(events: &[Event]) -> BTreeMap<Reason, usize> {
    let mut bounces = BTreeMap::new();
    for event in events {
        if let Event::Undeliverable { reason, .. } = event {
            *bounces.entry(*reason).or_default() += 1;
        }
    }
    bounces
}

/// How the peer refuses.
#[derive(Clone, Copy)]
enum Refuser {
    /// Nobody is there.
    Nobody,
    /// Nothing is heard from there.
    BlackHole,
    /// Its name does not exist.
    NoName,
    /// Its name servers fail.
    NoAnswer,
    /// A node whose certificate will not do.
    Certificate(Kind),
    /// Somebody who answers connections so.
    Answers(fn(&mut World, Puppet)),
}

/// The header of an answer, with these features or errors behind it.
fn answer(world: &mut World, puppet: Puppet, rest: &str) {
    world.say(puppet, response(B, A, "id") + rest);
}

fn fail(world: &mut World, puppet: Puppet, condition: &str) {
    let error = format!(
        "<stream:error><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>"
    );
    answer(world, puppet, &error);
    world.hang_up(puppet);
}

const DIALBACK: &str = "<stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>";

/// Accepts our key.
fn accept(world: &mut World, puppet: Puppet) {
    answer(world, puppet, DIALBACK);
    world.say(puppet, format!("<db:result from='{B}' to='{A}' type='valid'/>"));
}

/// All that refuse, and the reasons that stanzas may come back with.
fn refusers() -> Vec<(&'static str, Refuser, Vec<Reason>)> {
    use Refuser::{Answers, BlackHole, Certificate, NoAnswer, NoName, Nobody};
    vec![
        ("nobody listens", Nobody, vec![Reason::ConnectRefused]),
        ("a black hole", BlackHole, vec![Reason::ConnectTimeout]),
        ("a name that does not exist", NoName, vec![Reason::DnsNxdomain]),
        ("name servers that fail", NoAnswer, vec![Reason::DnsFailure]),
        ("an expired certificate", Certificate(Kind::Expired), vec![Reason::CertExpired]),
        ("silence", Answers(|_, _| {}), vec![Reason::NegotiationTimeout]),
        ("hangs up", Answers(World::hang_up), vec![Reason::ConnectionReset]),
        ("breaks off", Answers(World::break_off), vec![Reason::ConnectionReset]),
        ("no XML", Answers(|world, puppet| world.say(puppet, "220 ready")), vec![Reason::Malformed]),
        ("host-unknown", Answers(|world, puppet| fail(world, puppet, "host-unknown")), vec![Reason::PeerStreamError]),
        ("system-shutdown", Answers(|world, puppet| fail(world, puppet, "system-shutdown")), vec![Reason::Shutdown]),
        (
            "nothing is offered",
            Answers(|world, puppet| answer(world, puppet, "<stream:features/>")),
            // A peer that says nothing of dialback may know it all the same: it has its time to answer, and meanwhile the queue
            // is full.
            vec![Reason::DialbackTimeout, Reason::QueueFull],
        ),
        (
            "an invalid key",
            Answers(|world, puppet| {
                answer(world, puppet, DIALBACK);
                world.say(puppet, format!("<db:result from='{B}' to='{A}' type='invalid'/>"));
            }),
            vec![Reason::DialbackInvalid],
        ),
        (
            "accepts and breaks off",
            Answers(|world, puppet| {
                accept(world, puppet);
                world.break_off(puppet);
            }),
            vec![Reason::ConnectionReset],
        ),
        (
            "accepts and ends with an error",
            Answers(|world, puppet| {
                accept(world, puppet);
                world.say(puppet, "<stream:error><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>");
                world.hang_up(puppet);
            }),
            vec![Reason::PeerStreamError],
        ),
    ]
}

fn world(refuser: Refuser) -> (World, NodeIndex) {
    let mut world = World::new(Cutting::Whole);
    let strict = matches!(refuser, Refuser::Certificate(_));
    let node = world.add(addr(1), config(A, Kind::Valid, HostOptions { secure_auth: strict, ..lax() }));
    world.publish(A, addr(1), true, false);
    match refuser {
        Refuser::NoName => return (world, node),
        Refuser::NoAnswer => {
            let services = ["_xmpp-server._tcp", "_xmpps-server._tcp"];
            let zone = std::mem::take(&mut world.zone);
            world.zone = services.iter().fold(zone, |zone, service| zone.failing(&format!("{service}.{B}")));
            return (world, node);
        }
        Refuser::Nobody => {}
        Refuser::BlackHole => world.swallow(theirs()),
        Refuser::Certificate(kind) => drop(world.add(addr(2), config(B, kind, lax()))),
        Refuser::Answers(_) => world.listen(theirs()),
    }
    world.publish(B, addr(2), true, false);
    (world, node)
}

/// What came of a flood.
#[derive(Debug, Default)]
struct Flood {
    /// Attempts in each minute: connections that were dialled, or lookups where there is nobody to dial.
    attempts: Vec<usize>,
    sent: usize,
    bounced: BTreeMap<Reason, usize>,
    /// Stanzas that were written.
    written: u64,
    /// Bytes of memory after the first minute and at the end.
    memory: [u64; 2],
}

/// Ten simulated minutes of a stanza flood.
fn flood(refuser: Refuser) -> Flood {
    let (mut world, node) = world(refuser);
    let mut flood = Flood::default();
    let mut events = Vec::new();
    for minute in 0..MINUTES {
        let mut attempts = 0;
        for _ in 0..STEPS_PER_MINUTE {
            for _ in 0..AT_ONCE {
                world.send(node, &message(A, flood.sent));
                flood.sent += 1;
            }
            world.run_for(STEP);
            if let Refuser::Answers(answer) = refuser {
                while let Some(puppet) = world.accept(theirs()) {
                    answer(&mut world, puppet);
                    world.run();
                    world.hear(puppet);
                }
            }
            let dials = world.take_dials().iter().filter(|(_, to)| *to == theirs()).count();
            let asked = world.take_asked().iter().filter(|name| name.starts_with("_xmpp-server.")).count();
            world.take_dialled();
            attempts += if matches!(refuser, Refuser::NoName | Refuser::NoAnswer) { asked } else { dials };
            for (reason, count) in bounces(&world.take_events(node)) {
                *flood.bounced.entry(reason).or_default() += count;
            }
        }
        flood.attempts.push(attempts);
        if minute == 0 {
            flood.memory[0] = footprint().0;
        }
    }
    flood.memory[1] = footprint().0;
    // What waits for an attempt that is under way has its end with it.
    world.run_for(limits::NEGOTIATION);
    events.extend(world.take_events(node));
    for (reason, count) in bounces(&events) {
        *flood.bounced.entry(reason).or_default() += count;
    }
    let measures = world.node(node).measures();
    assert_eq!((measures.queued_bytes, measures.routes, measures.lookups), (0, 0, 0));
    flood.written = measures.totals.written;
    flood
}

#[test]
//= RFC6120-3.3-2 test
fn ten_minutes_of_a_flood_make_few_attempts_whoever_refuses_and_every_stanza_comes_back() {
    let _alone = alone();
    for (name, refuser, reasons) in refusers() {
        let Flood { attempts, sent, bounced, written, memory: [early, late] } = flood(refuser);
        let line = format!(
            "back-off: {name}: {sent} stanzas in {MINUTES} simulated minutes, attempts by minute {attempts:?}, \
             back {bounced:?}, written {written}, memory {} KiB, then {} KiB\n",
            early / 1024,
            late / 1024
        );
        // Past the capture of the test harness: the counts are wanted in every run.
        std::io::stderr().write_all(line.as_bytes()).expect("standard error");
        assert!(attempts.iter().all(|attempts| *attempts <= SINGLE_DIGIT), "{name}: {attempts:?}");
        assert!(attempts.iter().sum::<usize>() > 4, "{name}: it is tried again: {attempts:?}");
        assert!(bounced.keys().all(|reason| reasons.contains(reason)), "{name}: {bounced:?}");
        assert_eq!(bounced.values().sum::<usize>() + usize::try_from(written).expect("few"), sent, "{name}");
        assert!(late < early + FLAT, "{name}: {early} bytes grew to {late}");
    }
}

/// Our hosts, all of them with something to say to [`B`].
const HOSTS: usize = 20;

fn host(n: usize) -> String {
    format!("h{n}.example.org")
}

/// A node of many hosts, which demand certificates, and a peer that refuses them all or is not there.
fn many(peer: Option<Kind>) -> (World, NodeIndex) {
    let authority = Authority::root("the authority");
    let chains = (0..HOSTS).map(|n| {
        let host = domain(&host(n));
        let chain = authority.issue_kind(Kind::Valid, &host).chain;
        (host, chain)
    });
    let mut world = World::new(Cutting::Whole);
    let mut ours = World::config(Arc::new(FakeProvider::new(chains.collect())), authority.trust());
    ours.private_addresses = PrivateAddresses::Always;
    ours.hosts = (0..HOSTS).map(|n| (domain(&host(n)), HostOptions { secure_auth: true, ..lax() })).collect();
    let node = world.add(addr(1), ours);
    if let Some(kind) = peer {
        world.add(addr(2), config(B, kind, lax()));
    }
    world.publish(B, addr(2), true, false);
    (world, node)
}

#[test]
//= RFC6120-3.3-2 test
fn all_our_hosts_and_all_verifications_share_their_patience_with_a_peer() {
    let _alone = alone();
    for (peer, reason) in [(None, Reason::ConnectRefused), (Some(Kind::SelfSigned), Reason::CertSelfSigned)] {
        let (mut world, node) = many(peer);
        let mut attempts = Vec::new();
        let (mut sent, mut back) = (0, 0);
        for second in 0..600_usize {
            for n in 0..HOSTS {
                world.send(node, &message(&host(n), sent));
                sent += 1;
            }
            // Somebody claims to be that peer all the time, and each time it would have to be asked.
            let puppet = world.connect(node, Listener::StartTls);
            let to = host(second % HOSTS);
            world.say(puppet, header(B, &to) + &format!("<db:result from='{B}' to='{to}'>key</db:result>"));
            world.break_off(puppet);
            world.run_for(Duration::from_secs(1));
            let bounced = bounces(&world.take_events(node));
            assert!(bounced.keys().all(|bounced| *bounced == reason), "{bounced:?}");
            back += bounced.values().sum::<usize>();
            let dials = world.take_dials();
            attempts.extend(dials.iter().filter(|(_, to)| *to == theirs()).map(|_| second));
        }
        let by_minute: Vec<_> =
            (0..10).map(|minute| attempts.iter().filter(|second| **second / 60 == minute).count()).collect();
        println!("back-off: {HOSTS} hosts, {reason}: {sent} stanzas, attempts by minute {by_minute:?}");
        assert_eq!(sent, back);
        assert!(by_minute[0] <= HOSTS + SINGLE_DIGIT, "each once, because it may be welcome: {by_minute:?}");
        assert!(by_minute[1..].iter().all(|attempts| *attempts <= SINGLE_DIGIT), "{by_minute:?}");
    }
}

#[test]
fn a_peer_that_was_away_and_proves_itself_to_us_is_dialled_at_once_at_the_address_that_refused() {
    let _alone = alone();
    let mut world = World::new(Cutting::Whole);
    let a = world.add(addr(1), config(A, Kind::Valid, lax()));
    let b = world.add(addr(2), config(B, Kind::Valid, lax()));
    world.publish(A, addr(1), true, false);
    world.publish(B, addr(2), true, false);
    world.kill(addr(2));
    for minute in 0..10 {
        world.send(a, &message(A, minute));
        world.run_for(Duration::from_secs(60));
    }
    assert_eq!(bounces(&world.take_events(a)), [(Reason::ConnectRefused, 10)].into());
    world.revive(b, config(B, Kind::Valid, lax()));
    world.send(a, &message(A, 10));
    world.run();
    assert_eq!(bounces(&world.take_events(a)), [(Reason::ConnectRefused, 1)].into(), "remembered for minutes");
    world.send(b, &format!("<message from='y@{B}' to='x@{A}'/>"));
    world.run();
    world.send(a, &message(A, 11));
    world.run();
    let delivered = |events: &[Event]| events.iter().filter(|event| matches!(event, Event::Stanza { .. })).count();
    assert_eq!(bounces(&world.take_events(a)), BTreeMap::new());
    assert_eq!(delivered(&world.take_events(b)), 1);
}

#[test]
fn a_server_that_is_away_for_a_moment_is_waited_for_as_after_one_failure_however_many_domains_it_has() {
    let _alone = alone();
    let authority = Authority::root("the authority");
    let names: Vec<_> = (0..50).map(|n| format!("d{n}.example.net")).collect();
    let chains = names.iter().map(|name| (domain(name), authority.issue_kind(Kind::Valid, &domain(name)).chain));
    let mut theirs = World::config(Arc::new(FakeProvider::new(chains.collect())), authority.trust());
    theirs.private_addresses = PrivateAddresses::Always;
    theirs.hosts = names.iter().map(|name| (domain(name), lax())).collect();
    let mut world = World::new(Cutting::Whole);
    let a = world.add(addr(1), config(A, Kind::Valid, lax()));
    let b = world.add(addr(2), theirs.clone());
    world.publish(A, addr(1), true, false);
    for name in &names {
        world.publish(name, addr(2), true, false);
    }
    world.kill(addr(2));
    let send = |world: &mut World, names: &[String]| {
        for name in names {
            world.send(a, &format!("<message from='x@{A}' to='y@{name}'/>"));
        }
        world.run();
    };
    send(&mut world, &names);
    assert_eq!(bounces(&world.take_events(a)), [(Reason::ConnectRefused, names.len())].into());
    world.revive(b, theirs);
    world.run_for(limits::BACKOFF_BASE);
    // One of them finds out whether it is there again.
    send(&mut world, &names[..1]);
    send(&mut world, &names);
    let delivered = world.take_events(b).iter().filter(|event| matches!(event, Event::Stanza { .. })).count();
    assert_eq!(delivered, names.len() + 1, "fifty dials that failed at once were one failure");
}
