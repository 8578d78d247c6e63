//! How peers are reached: the race of candidates, and the patience with those who fail.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use s2s_core::dns::Security;
use s2s_core::limits;
use s2s_core::machine::Listener;
use s2s_core::node::{Config, Event, StaticRoute};
use s2s_core::policy::HostOptions;
use s2s_core::reason::Reason;
use s2s_core::route::PrivateAddresses;
use s2s_tests::certificates::{Authority, Kind};
use s2s_tests::fake_tls::FakeProvider;
use s2s_tests::puppetry::{STARTTLS, header, response};
use s2s_tests::world::{Cutting, NodeIndex, World, domain};

const A: &str = "a.example.org";
const B: &str = "b.example.net";

fn addr(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn config(authority: &Authority, host: &str) -> Config {
    let host = domain(host);
    let chain = authority.issue_kind(Kind::Valid, &host).chain;
    let mut config = World::config(Arc::new(FakeProvider::new(vec![(host.clone(), chain)])), authority.trust());
    config.private_addresses = PrivateAddresses::Always;
    config.hosts.insert(host, HostOptions { secure_auth: true, ..HostOptions::default() });
    config
}

fn world() -> (World, NodeIndex, NodeIndex) {
    let authority = Authority::root("the authority");
    let mut world = World::new(Cutting::Whole);
    let a = world.add(addr(1), config(&authority, A));
    let b = world.add(addr(2), config(&authority, B));
    world.publish(A, addr(1), true, false);
    (world, a, b)
}

/// Publishes b at several addresses, in this order.
fn publish_b(world: &mut World, places: &[IpAddr]) {
    let mut zone = std::mem::take(&mut world.zone);
    for (priority, place) in (0..).zip(places) {
        let host = format!("host{priority}.{B}");
        zone = zone.address(&host, *place).service(&format!("_xmpp-server._tcp.{B}"), priority, 0, 5269, &host);
    }
    world.zone = zone;
}

fn message(id: &str) -> String {
    format!("<message from='x@{A}' to='y@{B}' id='{id}'><body>x</body></message>")
}

fn delivered(events: &[Event]) -> usize {
    events.iter().filter(|event| matches!(event, Event::Stanza { .. })).count()
}

fn bounces(events: &[Event]) -> Vec<Reason> {
    let reasons = events.iter().filter_map(|event| match event {
        Event::Undeliverable { reason, .. } => Some(*reason),
        _ => None,
    });
    reasons.collect()
}

#[test]
//= RFC8305-5-1 test
fn an_address_that_says_nothing_costs_one_moment() {
    let (mut world, a, b) = world();
    publish_b(&mut world, &[addr(9), addr(2)]);
    world.swallow(SocketAddr::new(addr(9), 5269));
    let start = world.now;
    world.send(a, &message("1"));
    world.run_for(limits::DIAL_STAGGER * 2);
    assert_eq!(delivered(&world.take_events(b)), 1);
    let dials: Vec<_> = world.take_dials().into_iter().map(|(at, to)| (at - start, to.ip())).collect();
    assert_eq!(dials[..2], [(Duration::ZERO, addr(9)), (limits::DIAL_STAGGER, addr(2))]);
}

#[test]
fn in_a_crowd_of_dials_an_attempt_opens_no_second_connection_beside_its_first() {
    let authority = Authority::root("the authority");
    let mut ours = config(&authority, A);
    let crowded = SocketAddr::new(addr(9), 5269);
    let route = StaticRoute { addr: crowded, security: Security::StartTls };
    ours.routes_below.insert(domain("example.com"), route);
    let mut world = World::new(Cutting::Whole);
    let a = world.add(addr(1), ours);
    let places = [addr(7), addr(8)];
    publish_b(&mut world, &places);
    for place in places.into_iter().chain([addr(9)]) {
        world.swallow(SocketAddr::new(place, 5269));
    }
    for n in 0..limits::DIALS {
        world.send(a, &format!("<message from='x@{A}' to='y@d{n}.example.com'/>"));
    }
    world.send(a, &message("1"));
    world.run_for(limits::DIAL_STAGGER * 5);
    let dials: Vec<_> = world.take_dials().into_iter().map(|(_, to)| to).filter(|to| *to != crowded).collect();
    assert_eq!(dials, [SocketAddr::new(addr(7), 5269)]);
}

#[test]
//= RFC8305-5-3 test
fn who_loses_the_race_is_dropped() {
    let (mut world, a, b) = world();
    let places = [addr(9), addr(2)];
    publish_b(&mut world, &places);
    world.swallow(SocketAddr::new(addr(9), 5269));
    world.send(a, &message("1"));
    world.run_for(limits::DIAL_STAGGER * 2);
    assert_eq!(delivered(&world.take_events(b)), 1);
    assert_eq!(world.take_dialled(), places.map(|ip| SocketAddr::new(ip, 5269)));
    assert_eq!(world.node(a).connections(), 1, "the one that serves");
}

const TYPE_A: u16 = 1;
const TYPE_SRV: u16 = 33;
const TYPE_AAAA: u16 = 28;

/// Publishes b at one name with an address of each family; the answer for one of them takes long.
fn publish_both_families(world: &mut World, slow: u16, span: Duration) -> IpAddr {
    let v6 = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 2]);
    let host = format!("host.{B}");
    let zone = std::mem::take(&mut world.zone).address(&host, v6).address(&host, addr(2));
    world.zone = zone.service(&format!("_xmpp-server._tcp.{B}"), 0, 0, 5269, &host);
    world.delay_answer(&host, slow, span);
    v6
}

#[test]
//= RFC8305-3-2 test
//= RFC8305-3-4 test
fn the_first_address_is_dialled_while_the_other_family_is_still_looked_up() {
    let (mut world, a, b) = world();
    let v6 = publish_both_families(&mut world, TYPE_A, Duration::from_secs(1));
    world.swallow(SocketAddr::new(v6, 5269));
    let start = world.now;
    world.send(a, &message("1"));
    world.run_for(Duration::from_secs(2));
    let dials: Vec<_> = world.take_dials().into_iter().map(|(at, to)| (at - start, to.ip())).collect();
    let expected = [(Duration::ZERO, v6), (Duration::from_secs(1), addr(2))];
    assert_eq!(dials[..2], expected, "IPv6 at once; IPv4 as soon as it is known, since its moment has passed");
    assert_eq!(delivered(&world.take_events(b)), 1);
}

#[test]
//= RFC8305-3-3 test
fn ipv4_waits_for_ipv6_no_longer_than_the_resolution_delay() {
    let (mut world, a, b) = world();
    let v6 = publish_both_families(&mut world, TYPE_AAAA, Duration::from_secs(1));
    let start = world.now;
    world.send(a, &message("1"));
    world.run_for(Duration::from_secs(2));
    let dials: Vec<_> = world.take_dials().into_iter().map(|(at, to)| (at - start, to.ip())).collect();
    assert_eq!(dials.first(), Some(&(limits::RESOLUTION_DELAY, addr(2))));
    assert!(dials.iter().all(|(_, to)| *to != v6), "nobody needs the late answer: {dials:?}");
    assert_eq!(delivered(&world.take_events(b)), 1);
}

#[test]
//= RFC8305-3-2 test
fn an_attempt_whose_candidates_all_failed_waits_for_those_that_dns_may_still_tell() {
    let (mut world, a, b) = world();
    publish_b(&mut world, &[addr(9), addr(2)]);
    world.delay_answer(&format!("host1.{B}"), TYPE_A, Duration::from_secs(1));
    let start = world.now;
    world.send(a, &message("1"));
    world.run_for(Duration::from_millis(500));
    assert_eq!(bounces(&world.take_events(a)), [], "the first refused, the second is still looked up");
    world.run_for(Duration::from_secs(2));
    let dials: Vec<_> = world.take_dials().into_iter().map(|(at, to)| (at - start, to.ip())).collect();
    assert_eq!(dials[..2], [(Duration::ZERO, addr(9)), (Duration::from_secs(1), addr(2))]);
    assert_eq!(delivered(&world.take_events(b)), 1);
}

#[test]
fn a_late_answer_for_an_attempt_that_is_over_does_not_join_the_next_one() {
    let (mut world, a, b) = world();
    publish_b(&mut world, &[addr(2), addr(9)]);
    world.delay_answer(&format!("host1.{B}"), TYPE_A, Duration::from_secs(1));
    world.send(a, &message("1"));
    world.run();
    assert_eq!(delivered(&world.take_events(b)), 1, "the lookup goes on, for what will be remembered");
    world.kill(addr(2));
    world.send(a, &message("2"));
    world.run_for(Duration::from_secs(6));
    let dials: Vec<_> = world.take_dials().into_iter().map(|(_, to)| to).filter(|to| to.port() == 5269).collect();
    let expected = [2, 2, 9].map(|last| SocketAddr::new(addr(last), 5269));
    assert_eq!(dials, expected, "both lookups have told of the last one");
    assert_eq!(bounces(&world.take_events(a)), [Reason::ConnectRefused]);
}

#[test]
//= RFC8305-5-4 test
fn lookups_that_nobody_waits_for_any_more_go_on_only_while_there_are_few() {
    let count = limits::LATE_LOOKUPS + 20;
    let hosts: Vec<_> = (0..count).map(|n| format!("d{n}.example.net")).collect();
    let authority = Authority::root("the authority");
    let certified = hosts.iter().map(|host| {
        let host = domain(host);
        let chain = authority.issue_kind(Kind::Valid, &host).chain;
        (host, chain)
    });
    let mut serving = config(&authority, B);
    serving.tls = Arc::new(FakeProvider::new(certified.collect()));
    serving.hosts.extend(hosts.iter().map(|host| (domain(host), HostOptions::default())));
    let mut world = World::new(Cutting::Whole);
    let a = world.add(addr(1), config(&authority, A));
    let b = world.add(addr(2), serving);
    for host in &hosts {
        let (service, late) = (format!("_xmpp-server._tcp.{host}"), format!("late.{host}"));
        let zone = std::mem::take(&mut world.zone).address(&late, addr(9)).service(&service, 1, 0, 5269, &late);
        let soon = format!("soon.{host}");
        world.zone = zone.address(&soon, addr(2)).service(&service, 0, 0, 5269, &soon);
        world.delay_answer(&late, TYPE_A, Duration::from_secs(3));
        world.send(a, &format!("<message from='x@{A}' to='y@{host}'><body>x</body></message>"));
    }
    world.run_for(Duration::from_secs(1));
    assert_eq!(delivered(&world.take_events(b)), count);
    assert_eq!(world.node(a).measures().lookups, limits::LATE_LOOKUPS);
    world.run_for(limits::DNS_LOOKUP);
    assert_eq!(world.node(a).measures().lookups, 0);
}

#[test]
//= RFC6120-3.2.1-4 test
fn an_address_that_refuses_costs_nothing() {
    let (mut world, a, b) = world();
    publish_b(&mut world, &[addr(8), addr(9), addr(2)]);
    world.send(a, &message("1"));
    world.run();
    assert_eq!(delivered(&world.take_events(b)), 1);
}

#[test]
//= RFC8305-9.2-1 test
fn a_server_that_is_not_the_one_is_passed_over() {
    let (mut world, a, b) = world();
    let authority = Authority::root("the authority");
    world.add(addr(3), config(&authority, "c.example.com"));
    publish_b(&mut world, &[addr(3), addr(2)]);
    world.send(a, &message("1"));
    world.run();
    assert_eq!(delivered(&world.take_events(b)), 1, "the first knows no such host");
}

#[test]
fn every_attempt_ends_at_its_deadline_and_gives_everything_back() {
    let (mut world, a, _) = world();
    let places: Vec<_> = (100..110).map(addr).collect();
    publish_b(&mut world, &places);
    for place in &places {
        world.swallow(SocketAddr::new(*place, 5269));
    }
    for n in 0..5 {
        world.send(a, &message(&n.to_string()));
    }
    world.run_for(limits::NEGOTIATION + Duration::from_secs(10));
    assert_eq!(bounces(&world.take_events(a)), vec![Reason::ConnectTimeout; 5]);
    assert_eq!(world.node(a).connections(), 0);
}

#[test]
//= RFC6120-3.3-2 test
fn a_flood_for_a_peer_that_refuses_makes_few_attempts_and_every_stanza_comes_back() {
    let (mut world, a, _) = world();
    publish_b(&mut world, &[addr(9)]);
    let (mut sent, mut back, mut in_first_minute, mut attempts) = (0, 0, 0, 0);
    for tenth in 0..6000_u32 {
        world.send(a, &message(&tenth.to_string()));
        sent += 1;
        world.run_for(Duration::from_millis(100));
        let reasons = bounces(&world.take_events(a));
        assert!(reasons.iter().all(|reason| *reason == Reason::ConnectRefused), "{reasons:?}");
        back += reasons.len();
        attempts += world.take_dials().len();
        if tenth == 600 {
            in_first_minute = attempts;
        }
    }
    assert_eq!(back, sent, "at once, with the reason that is remembered");
    assert!(in_first_minute < 10, "{in_first_minute} attempts in the first minute");
    assert!(attempts < 14, "{attempts} attempts in ten minutes");
    println!("back-off: {sent} stanzas in 10 simulated minutes, {attempts} attempts, all came back");
}

#[test]
fn a_peer_that_proves_itself_to_us_is_tried_again_at_once() {
    let (mut world, a, b) = world();
    // Twice, so that the wait is longer than DNS keeps its answers.
    for id in ["1", "2"] {
        world.send(a, &message(id));
        world.run();
        assert_eq!(bounces(&world.take_events(a)), [Reason::DnsNxdomain]);
        world.run_for(limits::BACKOFF_BASE * 2);
    }
    world.send(a, &message("3"));
    world.run_for(Duration::from_millis(1500));
    assert_eq!(bounces(&world.take_events(a)), [Reason::DnsNxdomain]);
    publish_b(&mut world, &[addr(2)]);
    world.send(a, &message("4"));
    world.run();
    assert_eq!(bounces(&world.take_events(a)), [Reason::DnsNxdomain], "remembered");
    world.send(b, &format!("<message from='y@{B}' to='x@{A}' id='3'/>"));
    world.run();
    assert_eq!(delivered(&world.take_events(a)), 1);
    world.send(a, &message("4"));
    world.run();
    assert_eq!(delivered(&world.take_events(b)), 1);
}

/// B fails until the wait is as long as it can be.
fn fail_for_long(world: &mut World, a: NodeIndex) {
    for _ in 0..9 {
        world.run_for(limits::BACKOFF_CAP);
        world.send(a, &message("lost"));
        world.run();
        assert_eq!(bounces(&world.take_events(a)), [Reason::ConnectRefused]);
    }
}

/// A node speaks to A, and is answered.
fn speak_first(world: &mut World, a: NodeIndex, from: (NodeIndex, &str)) {
    let (peer, name) = from;
    world.send(peer, &format!("<message from='y@{name}' to='x@{A}'><body>here I am</body></message>"));
    world.run();
    assert_eq!(delivered(&world.take_events(a)), 1);
    world.send(a, &format!("<message from='x@{A}' to='y@{name}'><body>welcome</body></message>"));
    world.run();
    assert_eq!(bounces(&world.take_events(a)), []);
    assert_eq!(delivered(&world.take_events(peer)), 1);
}

#[test]
fn a_peer_that_speaks_first_is_answered_at_the_address_that_has_refused() {
    let (mut world, a, b) = world();
    // Not the address that it dials from.
    let listens_at = addr(3);
    publish_b(&mut world, &[listens_at]);
    fail_for_long(&mut world, a);
    world.listen_also(b, SocketAddr::new(listens_at, 5269));
    speak_first(&mut world, a, (b, B));
}

#[test]
fn a_peer_that_speaks_first_is_answered_where_another_domain_has_failed() {
    const C: &str = "c.example.net";
    let authority = Authority::root("the authority");
    let mut world = World::new(Cutting::Whole);
    let a = world.add(addr(1), config(&authority, A));
    let c = world.add(addr(2), config(&authority, C));
    world.publish(A, addr(1), true, false);
    world.publish(C, addr(2), true, false);
    publish_b(&mut world, &[addr(2)]);
    world.kill(addr(2));
    fail_for_long(&mut world, a);
    world.revive(c, config(&authority, C));
    speak_first(&mut world, a, (c, C));
}

#[test]
fn a_domain_whose_only_address_waits_is_not_looked_up_again_before_that_may_be_dialled() {
    const C: &str = "c.example.net";
    let (mut world, a, _) = world();
    publish_b(&mut world, &[addr(3)]);
    world.publish(C, addr(3), true, false);
    fail_for_long(&mut world, a);
    let send = |world: &mut World| {
        world.send(a, &format!("<message from='x@{A}' to='y@{C}'/>"));
        world.run();
        assert_eq!(bounces(&world.take_events(a)), [Reason::ConnectRefused]);
        !world.take_asked().is_empty()
    };
    world.take_asked();
    assert!(send(&mut world), "whether the two share an address is not known before");
    // Failures of its own would be forgiven sooner.
    for _ in 0..4 {
        world.run_for(limits::BACKOFF_BASE * 2);
        assert!(!send(&mut world), "looked up again, to dial nobody");
    }
}

#[test]
fn an_attempt_that_was_given_up_does_not_take_the_place_of_the_next_one_by_a_late_answer() {
    let authority = Authority::root("the authority");
    let mut world = World::new(Cutting::Whole);
    let mut lax = config(&authority, A);
    lax.hosts.insert(domain(A), HostOptions::default());
    let a = world.add(addr(1), lax);
    publish_b(&mut world, &[addr(9)]);
    let place = SocketAddr::new(addr(9), 5269);
    world.listen(place);
    let asked = |world: &mut World, id: &str| {
        world.send(a, &message(id));
        let puppet = world.accept(place).expect("dialled");
        let features = "<stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>";
        world.say(puppet, response(B, A, id) + features);
        assert!(world.hear_text(puppet).contains("<db:result"));
        puppet
    };
    let accept = format!("<db:result from='{B}' to='{A}' type='valid'/>");
    let late = asked(&mut world, "1");
    world.run_for(limits::NEGOTIATION);
    assert_eq!(bounces(&world.take_events(a)), [Reason::DialbackTimeout]);
    world.run_for(limits::BACKOFF_BASE);
    let next = asked(&mut world, "2");
    world.say(late, &accept);
    let up = |events: Vec<Event>| events.iter().filter(|event| matches!(event, Event::PeerUp { .. })).count();
    assert_eq!(up(world.take_events(a)), 0, "nobody waits for that answer");
    world.say(next, &accept);
    assert_eq!(up(world.take_events(a)), 1);
    assert!(world.hear_text(next).contains("id='2'"));
}

#[test]
fn claims_to_domains_that_never_answer_do_not_hold_up_what_we_have_to_say() {
    let authority = Authority::root("the authority");
    let mut world = World::new(Cutting::Whole);
    let mut ours = config(&authority, A);
    ours.hosts.insert(domain(A), HostOptions::default());
    let a = world.add(addr(1), ours);
    let b = world.add(addr(2), config(&authority, B));
    world.publish(A, addr(1), true, false);
    world.publish(B, addr(2), true, false);
    let services = ["_xmpp-server._tcp", "_xmpps-server._tcp"];
    for stream in 0..limits::PENDING_VERIFICATIONS / limits::PENDING_VERIFICATIONS_PER_STREAM {
        let from = SocketAddr::from(([198, 51, 100, stream as u8 / 4], 40_000));
        let puppet = world.connect_from(a, Listener::StartTls, from).expect("accepted");
        world.say(puppet, header(&format!("s{stream}.example.com"), A));
        for n in 0..limits::PENDING_VERIFICATIONS_PER_STREAM {
            let name = format!("n{n}.s{stream}.example.com");
            for service in services {
                world.delay_answer(&format!("{service}.{name}"), TYPE_SRV, Duration::from_secs(3600));
            }
            world.say(puppet, format!("<db:result from='{name}' to='{A}'>key</db:result>"));
        }
    }
    assert_eq!(world.node(a).measures().verifications, limits::PENDING_VERIFICATIONS, "each waits for DNS");
    world.send(a, &message("1"));
    world.run();
    assert_eq!(delivered(&world.take_events(b)), 1, "in no time");
}

#[test]
fn answers_to_domains_that_never_answer_do_not_hold_up_what_we_have_to_say() {
    let authority = Authority::root("the authority");
    let mut world = World::new(Cutting::Whole);
    let a = world.add(addr(1), config(&authority, A));
    let b = world.add(addr(2), config(&authority, B));
    world.publish(A, addr(1), true, false);
    world.publish(B, addr(2), true, false);
    let silent = |n: usize| format!("n{n}.example.com");
    for n in 0..limits::DNS_QUERIES {
        for service in ["_xmpp-server._tcp", "_xmpps-server._tcp"] {
            world.delay_answer(&format!("{service}.{}", silent(n)), TYPE_SRV, Duration::from_secs(3600));
        }
        world.send(a, &format!("<iq from='x@{A}' to='y@{}' id='{n}' type='result'/>", silent(n)));
    }
    world.run();
    let theirs = limits::DNS_QUERIES / limits::DNS_QUERIES_PER_PEERS;
    assert_eq!(world.node(a).measures().dns_queries, theirs, "the others wait for their turn");
    world.send(a, &message("1"));
    world.run();
    assert_eq!(delivered(&world.take_events(b)), 1, "in no time");
    // Where we have something to say ourselves, the answer waits no longer either.
    world.send(a, &format!("<message from='x@{A}' to='y@{}'/>", silent(limits::DNS_QUERIES - 1)));
    world.run();
    assert_eq!(world.node(a).measures().dns_queries, theirs + 2, "both services");
}

#[test]
fn our_own_listener_is_not_dialled_by_its_ipv4_address_in_an_ipv6_record() {
    let authority = Authority::root("the authority");
    let mut world = World::new(Cutting::Whole);
    let mut ours = config(&authority, A);
    ours.own_listeners = vec![SocketAddr::new(addr(9), 5269)];
    let a = world.add(addr(1), ours);
    let disguised: IpAddr = "::ffff:192.0.2.9".parse().expect("an address");
    publish_b(&mut world, &[disguised]);
    world.send(a, &message("1"));
    world.run();
    assert_eq!(world.take_dialled(), []);
    assert_eq!(bounces(&world.take_events(a)), [Reason::AddressNotAllowed]);
}

#[test]
fn a_version_or_an_id_that_is_wrong_is_no_answer_to_our_haste() {
    let proper = response(B, A, "id");
    let long = format!(" id='{}'", "i".repeat(limits::STREAM_ID_BYTES + 1));
    for (wrong, condition) in [
        (proper.replace(" version='1.0' id=", " version='1' id="), "unsupported-version"),
        (proper.replace(" id='id'", &long), "improper-addressing"),
    ] {
        assert_ne!(wrong, proper);
        let (mut world, a, _) = world();
        let place = SocketAddr::new(addr(7), 5269);
        publish_b(&mut world, &[addr(7)]);
        world.listen(place);
        world.send(a, &message("1"));
        let puppet = world.accept(place).expect("dialled");
        let heard = world.hear_text(puppet);
        assert!(heard.ends_with(STARTTLS), "the request travels with the header: {heard}");
        world.say(puppet, &wrong);
        let heard = world.hear_text(puppet);
        assert!(heard.contains(&format!("<{condition} ")), "{heard}");
        world.hang_up(puppet);
        assert!(world.accept(place).is_none(), "one dial, as for any failure: {condition}");
        assert_eq!(bounces(&world.take_events(a)), [Reason::Malformed], "{condition}");
        world.run_for(Duration::from_secs(600));
        world.send(a, &message("2"));
        let next = world.accept(place).expect("dialled after the wait");
        let heard = world.hear_text(next);
        assert!(heard.ends_with(STARTTLS), "it has not been found unable to bear that: {heard}");
    }
}
