//! Limits: of connections, of handshakes, of queues, of rates. What is over one of them costs nothing and is said.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use s2s_core::dialback::Secret;
use s2s_core::limits;
use s2s_core::machine::{Listener, Machine};
use s2s_core::node::{Bound, Command, Config, Event, Limits, Node};
use s2s_core::policy::HostOptions;
use s2s_core::reason::Reason;
use s2s_core::route::PrivateAddresses;
use s2s_tests::certificates::{Authority, Kind, Request, San};
use s2s_tests::fake_tls::FakeProvider;
use s2s_tests::puppetry::{AUTH, STARTTLS, Tls, header};
use s2s_tests::world::{Cutting, NodeIndex, Puppet, World, domain};

const A: &str = "a.example.org";
const B: &str = "b.example.net";

fn addr(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn config(host: &str) -> Config {
    config_of(&Authority::root("the authority"), host)
}

fn config_of(authority: &Authority, host: &str) -> Config {
    let host = domain(host);
    let chain = authority.issue_kind(Kind::Valid, &host).chain;
    let mut config = World::config(Arc::new(FakeProvider::new(vec![(host.clone(), chain)])), authority.trust());
    config.private_addresses = PrivateAddresses::Always;
    config.hosts.insert(host, HostOptions::default());
    config
}

/// A node of [`A`] with these limits.
fn limited(limit: impl FnOnce(&mut Limits)) -> (World, NodeIndex) {
    let mut world = World::new(Cutting::Whole);
    let mut config = config(A);
    limit(&mut config.limits);
    let node = world.add(addr(1), config);
    (world, node)
}

fn from(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn accept(world: &mut World, node: NodeIndex, peer: &str) -> bool {
    world.connect_from(node, Listener::StartTls, from(peer)).is_some()
}

fn accept_direct(world: &mut World, node: NodeIndex, peer: &str) -> Option<Puppet> {
    world.connect_from(node, Listener::DirectTls, from(peer))
}

/// Which limits turned connections away, and how many.
fn turned_away(events: &[Event]) -> Vec<(Bound, u64)> {
    let told = events.iter().filter_map(|event| match event {
        Event::TurnedAway { bound, times, .. } => Some((*bound, *times)),
        _ => None,
    });
    told.collect()
}

fn refusals(events: &[Event]) -> Vec<(Reason, &str)> {
    let told = events.iter().filter_map(|event| match event {
        Event::Refused { reason, detail, .. } => Some((*reason, detail.as_str())),
        _ => None,
    });
    told.collect()
}

fn bounces(events: &[Event]) -> Vec<Reason> {
    let reasons = events.iter().filter_map(|event| match event {
        Event::Undeliverable { reason, .. } => Some(*reason),
        _ => None,
    });
    reasons.collect()
}

/// A message that counts `bytes` in a queue.
fn message(to: &str, bytes: usize) -> String {
    let frame = format!("<message from='x@{A}' to='y@{to}'><body></body></message>");
    let body = "x".repeat(bytes - limits::QUEUED_STANZA_BYTES - frame.len());
    frame.replace("<body>", &format!("<body>{body}"))
}

#[test]
//= RFC6120-13.12-2 test
//= XEP0205-4.1-1 test
fn connections_are_limited_from_one_place_and_of_strangers_and_in_all() {
    let (mut world, node) = limited(|limits| {
        limits.connections_per_address = 2;
        limits.unauthenticated = 4;
    });
    assert!(accept(&mut world, node, "[2001:db8:1:2::1]:1") && accept(&mut world, node, "[2001:db8:1:2:3::9]:1"));
    assert!(!accept(&mut world, node, "[2001:db8:1:2:ffff::]:1"), "the same /64");
    assert_eq!(turned_away(&world.take_events(node)), [(Bound::ConnectionsPerAddress, 1)]);
    assert!(accept(&mut world, node, "[2001:db8:1:3::1]:1") && accept(&mut world, node, "198.51.100.7:1"));
    assert!(!accept(&mut world, node, "198.51.100.8:1"), "four strangers are there");
    assert_eq!(turned_away(&world.take_events(node)), [(Bound::Unauthenticated, 1)]);
    world.run_for(limits::NEGOTIATION + Duration::from_secs(11));
    assert_eq!(world.node(node).connections(), 0, "strangers do not stay");
    assert!(accept(&mut world, node, "198.51.100.8:1"), "and make room when they go");

    let (mut world, node) = limited(|limits| limits.connections = 3);
    for last in 0..3 {
        assert!(accept(&mut world, node, &format!("198.51.100.{last}:1")));
    }
    assert!(!accept(&mut world, node, "198.51.100.9:1"));
    assert_eq!(turned_away(&world.take_events(node)), [(Bound::Connections, 1)]);
}

#[test]
fn a_site_of_ipv6_has_the_shares_of_four_addresses_however_many_it_uses() {
    let (mut world, node) = limited(|limits| {
        limits.connections_per_address = 2;
        limits.handshakes_per_address = 1;
    });
    let at = |subscriber: usize| format!("[2001:db8:1:{subscriber:x}::1]:1");
    let came = (0..100).filter(|subscriber| accept(&mut world, node, &at(*subscriber))).count();
    assert_eq!(came, 2 * limits::SHARES_PER_SITE, "one from each /64");
    assert_eq!(turned_away(&world.take_events(node))[0].0, Bound::ConnectionsPerAddress);
    assert!(accept(&mut world, node, "[2001:db8:2::1]:1"), "another site");

    let (mut world, node) = limited(|limits| {
        limits.handshakes_per_address = 1;
        limits.handshake_rate_per_address = 1;
    });
    let puppets: Vec<_> = (0..100).filter_map(|subscriber| accept_direct(&mut world, node, &at(subscriber))).collect();
    assert_eq!(puppets.len(), limits::SHARES_PER_SITE, "handshakes under way");
    puppets.into_iter().for_each(|puppet| world.break_off(puppet));
    let more = (100..200).filter(|subscriber| {
        let puppet = accept_direct(&mut world, node, &at(*subscriber));
        puppet.inspect(|puppet| world.break_off(*puppet)).is_some()
    });
    assert_eq!(more.count(), limits::SHARES_PER_SITE, "what two seconds allow is used up");
    assert!(accept_direct(&mut world, node, "[2001:db8:2::1]:1").is_some(), "another site");
    let told: Vec<_> = turned_away(&world.take_events(node)).into_iter().map(|(bound, _)| bound).collect();
    assert_eq!(told, [Bound::HandshakesPerAddress, Bound::HandshakeRatePerAddress]);
}

#[test]
//= RFC6120-13.12-3 test
//= XEP0205-4.2-1 test
fn connections_in_one_second_are_limited_from_one_place_even_if_each_is_gone_at_once() {
    let (mut world, node) = limited(|limits| limits.connection_rate_per_address = 3);
    let begin = |world: &mut World, peer: &str| {
        let puppet = world.connect_from(node, Listener::StartTls, from(peer));
        puppet.inspect(|puppet| world.break_off(*puppet)).is_some()
    };
    let burst = (0..20).filter(|n| begin(&mut world, &format!("[2001:db8:1:2::{n}]:1"))).count();
    assert_eq!(burst, 6, "what two seconds allow to one /64");
    assert_eq!(turned_away(&world.take_events(node)), [(Bound::ConnectionRatePerAddress, 1)]);
    assert!(begin(&mut world, "[2001:db8:1:3::1]:1"), "another one is welcome");
    world.run_for(Duration::from_secs(1));
    let later = (0..20).filter(|n| begin(&mut world, &format!("[2001:db8:1:2::{n}]:1"))).count();
    assert_eq!(later, 3, "what one second allows");
    assert_eq!(turned_away(&world.take_events(node)), [(Bound::ConnectionRatePerAddress, 13)], "the others of before");
}

#[test]
fn a_flood_of_connections_is_counted_and_is_no_flood_of_events() {
    let (mut world, node) = limited(|limits| limits.connections = 1);
    let mut accepted = 0;
    for n in 0..100_000_u32 {
        let peer = SocketAddr::from(((0x0a00_0000 + n).to_be_bytes(), 1));
        let now = world.now;
        accepted += u32::from(world.node(node).handle_accept(now, peer, Listener::StartTls).is_some());
        if n % 10_000 == 0 {
            world.run_for(Duration::from_millis(300));
        }
    }
    world.run_for(Duration::from_secs(2));
    let told = turned_away(&world.take_events(node));
    assert!(told.len() <= 6, "in five seconds: {told:?}");
    assert!(told.iter().all(|(bound, _)| *bound == Bound::Connections));
    assert_eq!((accepted, told.iter().map(|(_, times)| times).sum::<u64>()), (1, 99_999), "none is forgotten");
    assert_eq!(world.node(node).measures().inbound, 1);
}

#[test]
fn handshakes_under_way_are_limited_in_all_and_from_one_place() {
    let (mut world, node) = limited(|limits| {
        limits.handshakes = 3;
        limits.handshakes_per_address = 2;
    });
    let first = accept_direct(&mut world, node, "198.51.100.1:1").expect("the first");
    assert!(accept_direct(&mut world, node, "198.51.100.1:2").is_some());
    assert!(accept_direct(&mut world, node, "198.51.100.1:3").is_none());
    assert!(accept(&mut world, node, "198.51.100.1:4"), "a stream that begins in clear needs no handshake yet");
    assert!(accept_direct(&mut world, node, "198.51.100.2:1").is_some());
    assert!(accept_direct(&mut world, node, "198.51.100.3:1").is_none());
    let told = turned_away(&world.take_events(node));
    assert_eq!(told, [(Bound::HandshakesPerAddress, 1), (Bound::Handshakes, 1)]);
    assert_eq!((world.node(node).measures().handshakes, world.node(node).measures().inbound), (3, 4));

    Tls::connect(&mut world, first, &domain(B), Vec::new(), &domain(A));
    assert_eq!(world.node(node).measures().handshakes, 2, "the first one is complete");
    assert!(accept_direct(&mut world, node, "198.51.100.3:1").is_some());
    world.run_for(limits::NEGOTIATION);
    let measures = world.node(node).measures();
    assert_eq!((measures.handshakes, measures.inbound), (0, 0), "who never completes it gives it back");
    assert_eq!(measures.totals.handshakes, 4);
}

#[test]
//= RFC6120-4.9.3.17-1 test
fn a_peer_that_may_not_begin_tls_now_is_told_to_come_again() {
    let (mut world, node) = limited(|limits| limits.handshakes = 1);
    let busy = world.connect(node, Listener::StartTls);
    world.say(busy, header(B, A) + STARTTLS);
    assert!(world.hear_text(busy).contains("<proceed"));
    let puppet = world.connect(node, Listener::StartTls);
    world.say(puppet, header(B, A) + STARTTLS);
    let heard = world.hear_text(puppet);
    assert!(heard.contains("<resource-constraint ") && heard.contains("try again later"), "{heard}");
    assert!(!heard.contains("<proceed") && heard.ends_with("</stream:stream>"), "{heard}");
    assert_eq!(refusals(&world.take_events(node)), [(Reason::Limit, "handshakes")]);
    world.break_off(busy);
    let puppet = world.connect(node, Listener::StartTls);
    world.say(puppet, header(B, A) + STARTTLS);
    assert!(world.hear_text(puppet).contains("<proceed"), "the slot is free again");
}

#[test]
fn handshakes_begun_in_one_second_are_limited_in_all_and_from_one_place() {
    let (mut world, node) = limited(|limits| {
        limits.handshake_rate = 4;
        limits.handshake_rate_per_address = 2;
    });
    let begin = |world: &mut World, peer: &str| {
        let puppet = accept_direct(world, node, peer);
        puppet.inspect(|puppet| world.break_off(*puppet)).is_some()
    };
    let burst = (0..9).filter(|_| begin(&mut world, "198.51.100.1:1")).count();
    assert_eq!(burst, 4, "what two seconds allow");
    let others = (2..9).filter(|last| begin(&mut world, &format!("198.51.100.{last}:1"))).count();
    assert_eq!(others, 4, "who was refused took nothing from those");
    let told = turned_away(&world.take_events(node));
    let told = (told[0], told.last().map(|(bound, _)| *bound));
    assert_eq!(told, ((Bound::HandshakeRatePerAddress, 1), Some(Bound::HandshakeRate)));
    world.run_for(Duration::from_millis(500));
    assert!(begin(&mut world, "198.51.100.1:1"), "half a second later there is one for it");
    assert!(!begin(&mut world, "198.51.100.1:1"));
    assert!(begin(&mut world, "198.51.100.50:1") && !begin(&mut world, "198.51.100.51:1"));
}

#[test]
fn what_waits_is_bounded_for_each_pair_and_in_all() {
    let (mut world, node) = limited(|limits| {
        limits.queue_bytes_per_pair = 10_000;
        limits.queue_bytes = 25_000;
    });
    for peer in 0..4_u8 {
        let name = format!("p{peer}.example.net");
        world.publish(&name, addr(100 + peer), true, false);
        world.swallow(SocketAddr::new(addr(100 + peer), 5269));
        for _ in 0..12 {
            world.send(node, &message(&name, 1000));
        }
        world.run();
    }
    let full = bounces(&world.take_events(node));
    assert!(full.iter().all(|reason| *reason == Reason::QueueFull), "{full:?}");
    assert_eq!(full.len(), 48 - 25, "ten for each of two pairs, five more, and no more");
    assert_eq!(world.node(node).measures().queued_bytes, 25_000);
    world.run_for(Duration::from_secs(120));
    assert_eq!(bounces(&world.take_events(node)).len(), 25, "nothing vanishes");
    assert_eq!(world.node(node).measures().queued_bytes, 0);
    world.publish("q.example.net", addr(120), true, false);
    world.swallow(SocketAddr::new(addr(120), 5269));
    world.send(node, &message("q.example.net", 1000));
    world.run();
    assert_eq!(bounces(&world.take_events(node)), [], "what went back made room");
}

#[test]
fn a_stanza_waits_no_longer_than_it_may() {
    let (mut world, node) = limited(|limits| limits.queue_age = Duration::from_secs(7));
    world.publish(B, addr(9), true, false);
    world.swallow(SocketAddr::new(addr(9), 5269));
    world.send(node, &message(B, 1000));
    world.run_for(Duration::from_millis(6999));
    assert_eq!(bounces(&world.take_events(node)), []);
    world.run_for(Duration::from_millis(1));
    assert_eq!(bounces(&world.take_events(node)), [Reason::QueueExpired]);
}

#[test]
fn stanzas_for_ever_more_domains_are_not_a_way_to_fill_the_memory() {
    let (mut world, node) = limited(|limits| limits.queue_bytes = 1 << 30);
    // They wait for an answer of DNS that never comes, because nothing takes the questions out.
    let now = world.now;
    for n in 0..limits::ROUTES + 100 {
        let stanza = s2s_tests::world::read_stanza(&format!("<message from='x@{A}' to='y@d{n}.example.net'/>"));
        world.node(node).handle_command(now, Command::Send(stanza));
    }
    let measures = world.node(node).measures();
    assert_eq!(measures.routes, limits::ROUTES);
    assert_eq!(measures.dns_queries, limits::DNS_QUERIES, "the others wait for their turn");
    let mut back = Vec::new();
    while let Some(event) = world.node(node).poll_event() {
        back.push(event);
    }
    assert_eq!(bounces(&back), [Reason::Limit; 100]);
}

#[test]
fn verifications_are_limited_in_all_and_the_peer_is_told() {
    let authority = Authority::root("the authority");
    let mut world = World::new(Cutting::Whole);
    let mut limited = config_of(&authority, A);
    limited.limits.verifications = 2;
    let node = world.add(addr(1), limited);
    let key = Secret::new(b"a secret of twenty-six bytes").expect("long enough").key(&domain(A), &domain(B), "id");
    for n in 0..3 {
        let name = format!("p{n}.example.net");
        world.publish(&name, addr(100), true, false);
        world.swallow(SocketAddr::new(addr(100), 5269));
        let puppet = world.connect(node, Listener::StartTls);
        world.say(puppet, header(&name, A) + &format!("<db:result from='{name}' to='{A}'>{key}</db:result>"));
        let refused = world.hear_text(puppet).contains("<resource-constraint ");
        assert_eq!(refused, n == 2);
    }
    assert_eq!(refusals(&world.take_events(node)), [(Reason::Limit, "pending verifications")]);
    assert_eq!(world.node(node).measures().verifications, 2);
}

#[test]
//= RFC6120-13.12-7 test
//= XEP0205-4.7-1 test
//= XEP0478-8-1 test
fn a_connection_that_is_too_fast_is_not_read_for_a_while() {
    let (mut world, node) = limited(|limits| limits.rate_per_connection = Some(100));
    let now = world.now;
    let conn = world.node(node).handle_accept(now, from("198.51.100.1:1"), Listener::StartTls);
    let conn = conn.expect("accepted");
    let node: &mut Node = world.node(node);
    node.handle_bytes(now, conn, header(B, A).as_bytes());
    let bytes = header(B, A).len() as u64;
    assert!(!node.interest(conn).read, "two seconds' worth were {bytes} bytes too few");
    let (at, why) = node.poll_timeout().expect("it resumes");
    assert_eq!(why, "read rate");
    assert_eq!((at - now).as_millis(), u128::from((bytes - 200) * 10));
    node.handle_timeout(at);
    assert!(node.interest(conn).read);
}

#[test]
//= RFC6120-13.12-6 test
fn a_stranger_may_say_as_many_bytes_as_it_is_allowed_and_not_one_more() {
    let (mut world, node) = limited(|_| {});
    let puppet = world.connect(node, Listener::StartTls);
    let header = header(B, A);
    world.say(puppet, &header);
    world.say(puppet, " ".repeat(limits::UNAUTHENTICATED_TOTAL_BYTES - header.len()));
    assert_eq!(refusals(&world.take_events(node)), []);
    world.say(puppet, " ");
    let refused: Vec<_> = refusals(&world.take_events(node)).into_iter().map(|(reason, _)| reason).collect();
    assert_eq!(refused, [Reason::Limit]);
}

#[test]
fn a_connection_is_negotiated_until_a_pair_is_proved_on_it() {
    let mut world = World::new(Cutting::Whole);
    let [one, other] = [(1, A), (2, B)].map(|(last, host)| {
        let node = world.add(addr(last), config(host));
        world.publish(host, addr(last), true, false);
        node
    });
    let now = world.now;
    let from = SocketAddr::new(addr(9), 1);
    let stranger = world.node(other).handle_accept(now, from, Listener::StartTls).expect("accepted");
    world.send(one, &message(B, 1000));
    world.run();
    let mut proved = 0;
    for node in [one, other] {
        for event in world.take_events(node) {
            if let Event::PeerUp { link, .. } = event {
                assert!(!world.node(node).is_negotiating(link.conn), "acknowledged as the system likes");
                proved += 1;
            }
        }
    }
    assert_eq!(proved, 2, "both sides know");
    assert!(world.node(other).is_negotiating(stranger), "who said nothing has proved nothing");
}

/// A puppet that has proved itself as `name` by its certificate.
fn proved(world: &mut World, node: NodeIndex, authority: &Authority, name: &str) -> (Puppet, Tls) {
    let puppet = world.connect(node, Listener::DirectTls);
    let chain = authority.issue_kind(Kind::Valid, &domain(name)).chain;
    let mut tls = Tls::connect(world, puppet, &domain(name), chain, &domain(A));
    let features = tls.say(world, &header(name, A));
    assert!(features.contains("EXTERNAL"), "{features}");
    let success = tls.say(world, AUTH);
    assert!(success.contains("<success"), "{success}");
    tls.say(world, &header(name, A));
    (puppet, tls)
}

#[test]
fn who_has_proved_itself_is_no_stranger_and_makes_room_for_another_one() {
    let authority = Authority::root("the authority");
    let mut world = World::new(Cutting::Whole);
    let mut limited = config_of(&authority, A);
    limited.limits.unauthenticated = 1;
    let node = world.add(addr(1), limited);
    let _known = proved(&mut world, node, &authority, B);
    assert!(accept(&mut world, node, "198.51.100.1:1"), "the one that is there is known");
    assert!(!accept(&mut world, node, "198.51.100.2:1"));
    assert_eq!(turned_away(&world.take_events(node)), [(Bound::Unauthenticated, 1)]);
}

#[test]
fn a_peer_that_leaves_as_many_answers_unread_as_may_wait_is_read_no_more() {
    let authority = Authority::root("the authority");
    let mut world = World::new(Cutting::Whole);
    let node = world.add(addr(1), config_of(&authority, A));
    let (puppet, mut tls) = proved(&mut world, node, &authority, B);
    world.deafen(puppet);
    let question = format!("<db:verify from='{B}' to='{A}' id='1'>k</db:verify>");
    tls.say(&mut world, &question.repeat(10));
    assert!(world.is_read(puppet), "little waits for it");
    tls.say(&mut world, &question.repeat(limits::OUTPUT_HIGH_WATER_BYTES / question.len()));
    assert!(!world.is_read(puppet));
}

#[test]
//= RFC6120-4.9.3.3-1 test
//= RFC6120-4.5-3 test
fn dos_020_a_pair_has_so_many_streams_and_a_further_one_is_in_conflict_with_them() {
    let authority = Authority::root("the authority");
    let mut world = World::new(Cutting::Whole);
    let mut limited = config_of(&authority, A);
    limited.limits.streams_per_pair = 3;
    limited.limits.handshake_rate_per_address = 1000;
    limited.limits.handshake_rate = 1000;
    let node = world.add(addr(1), limited);
    let mut streams: Vec<_> = (0..3).map(|_| proved(&mut world, node, &authority, B)).collect();
    world.take_events(node);
    for _ in 0..100 {
        let puppet = world.connect(node, Listener::DirectTls);
        let chain = authority.issue_kind(Kind::Valid, &domain(B)).chain;
        let mut tls = Tls::connect(&mut world, puppet, &domain(B), chain, &domain(A));
        tls.say(&mut world, &header(B, A));
        let heard = tls.say(&mut world, AUTH);
        assert!(heard.contains("<conflict ") && heard.ends_with("</stream:stream>"), "{heard}");
        world.break_off(puppet);
    }
    let events = world.take_events(node);
    assert_eq!(refusals(&events), [(Reason::Limit, "streams_per_pair"); 100]);
    assert!(!events.iter().any(|event| matches!(event, Event::PeerUp { .. } | Event::PeerDown { .. })), "{events:?}");

    // Another pair is another matter, also on a stream that is not welcome for this one.
    let (_, mut other) = proved(&mut world, node, &authority, "c.example.com");
    let heard = other.say(&mut world, &format!("<db:result from='c.example.com' to='{A}'>key</db:result>"));
    assert!(heard.contains("type='valid'"), "{heard}");
    // By dialback it is the same, without an end of the stream.
    let puppet = world.connect(node, Listener::DirectTls);
    let chain = authority.issue_kind(Kind::Valid, &domain(B)).chain;
    let mut keyed = Tls::connect(&mut world, puppet, &domain(B), chain, &domain(A));
    keyed.say(&mut world, &header(B, A));
    let key = format!("<db:result from='{B}' to='{A}'>key</db:result>");
    let heard = keyed.say(&mut world, &key);
    assert!(heard.contains("<resource-constraint "), "{heard}");
    world.break_off(streams.remove(0).0);
    let heard = keyed.say(&mut world, &key);
    assert!(heard.contains("type='valid'"), "a stream has gone: {heard}");
    for (number, (_, tls)) in streams.iter_mut().enumerate() {
        tls.say(&mut world, &format!("<message from='x@{B}' to='y@{A}' id='{number}'/>"));
    }
    let told: Vec<_> =
        world.take_events(node).into_iter().filter(|event| matches!(event, Event::Stanza { .. })).collect();
    assert_eq!(told.len(), 2, "those that were there go on");
}

#[test]
fn all_connections_of_one_domain_share_its_rate_and_others_do_not() {
    let authority = Authority::root("the authority");
    let mut world = World::new(Cutting::Whole);
    let mut limited = config_of(&authority, A);
    limited.limits.rate_per_domain = Some(10_000);
    let node = world.add(addr(1), limited);
    let (one, mut tls) = proved(&mut world, node, &authority, B);
    let (two, mut other_tls) = proved(&mut world, node, &authority, B);
    let (foreign, mut foreign_tls) = proved(&mut world, node, &authority, "c.example.com");
    let stanza = |from: &str| format!("<message from='x@{from}' to='y@{A}'>{}</message>", "x".repeat(15_000));
    tls.say(&mut world, &stanza(B));
    assert!(world.is_read(one), "two seconds' worth are not used up");
    other_tls.say(&mut world, &stanza(B));
    assert!(!world.is_read(two), "both together are over it");
    foreign_tls.say(&mut world, &stanza("c.example.com"));
    assert!(world.is_read(foreign), "another domain has its own");
    world.run_for(Duration::from_secs(2));
    assert!(world.is_read(two));
}

#[test]
fn every_domain_that_is_proved_on_a_connection_pays_for_what_is_read_there() {
    let authority = Authority::root("the authority");
    let mut world = World::new(Cutting::Whole);
    let mut limited = config_of(&authority, A);
    limited.limits.rate_per_domain = Some(10_000);
    let node = world.add(addr(1), limited);
    let puppet = world.connect(node, Listener::DirectTls);
    let first = "a.first.example";
    let chain = authority.issue(&Request::new([B, first].map(|name| San::Dns(name.to_owned())).to_vec())).chain;
    let mut tls = Tls::connect(&mut world, puppet, &domain(B), chain, &domain(A));
    for said in [&header(B, A), AUTH, &header(B, A)] {
        tls.say(&mut world, said);
    }
    let answer = tls.say(&mut world, &format!("<db:result from='{first}' to='{A}'>key</db:result>"));
    assert!(answer.contains("type='valid'"), "{answer}");
    let stanza = format!("<message from='x@{B}' to='y@{A}'>{}</message>", "x".repeat(15_000));
    tls.say(&mut world, &stanza);
    let (other, mut other_tls) = proved(&mut world, node, &authority, B);
    other_tls.say(&mut world, &stanza);
    assert!(!world.is_read(other), "both together are over the rate of {B}");
}

#[test]
fn a_reload_changes_every_limit_for_what_comes_next() {
    let mut world = World::new(Cutting::Whole);
    let authority = Authority::root("the authority");
    let node = world.add(addr(1), config_of(&authority, A));
    let reload = |world: &mut World, limit: &dyn Fn(&mut Config)| {
        let mut config = config_of(&authority, A);
        limit(&mut config);
        world.command(node, Command::Reconfigure(Box::new(config)));
        world.take_events(node);
    };
    let early = world.connect(node, Listener::StartTls);
    for (limit, bound) in [
        ((|config| config.limits.connections = 1) as fn(&mut Config), Bound::Connections),
        (|config| config.limits.connections_per_address = 1, Bound::ConnectionsPerAddress),
        (|config| config.limits.unauthenticated = 1, Bound::Unauthenticated),
        (|config| config.limits.handshakes = 0, Bound::Handshakes),
        (|config| config.limits.handshakes_per_address = 0, Bound::HandshakesPerAddress),
        (|config| config.limits.handshake_rate = 0, Bound::HandshakeRate),
        (|config| config.limits.handshake_rate_per_address = 0, Bound::HandshakeRatePerAddress),
    ] {
        reload(&mut world, &limit);
        let puppet = world.connect_from(node, Listener::DirectTls, from("198.51.100.1:2"));
        assert_eq!(puppet, None, "{bound:?}");
        world.run_for(limits::TURNED_AWAY_INTERVAL);
        assert_eq!(turned_away(&world.take_events(node)), [(bound, 1)]);
        reload(&mut world, &|_| {});
        let puppet = world.connect_from(node, Listener::DirectTls, from("198.51.100.1:2")).expect("the default");
        world.break_off(puppet);
    }
    world.publish(B, addr(9), true, false);
    world.swallow(SocketAddr::new(addr(9), 5269));
    reload(&mut world, &|config| config.limits.queue_bytes = 1500);
    for _ in 0..2 {
        world.send(node, &message(B, 1000));
    }
    world.run();
    assert_eq!(bounces(&world.take_events(node)), [Reason::QueueFull]);
    reload(&mut world, &|config| config.limits.queue_bytes_per_pair = 2500);
    for _ in 0..2 {
        world.send(node, &message(B, 1000));
    }
    world.run();
    assert_eq!(bounces(&world.take_events(node)), [Reason::QueueFull], "two of them fit into what a pair may hold");
    reload(&mut world, &|config| config.limits.queue_age = Duration::from_secs(1));
    world.send(node, &message(B, 1000));
    world.run_for(Duration::from_secs(1));
    assert_eq!(bounces(&world.take_events(node)), [Reason::QueueExpired; 3], "those that wait already too");

    reload(&mut world, &|config| config.limits.rate_per_connection = Some(100));
    world.say(early, header(B, A));
    assert!(!world.is_read(early), "a connection that was there before");
    reload(&mut world, &|_| {});
    assert!(world.is_read(early), "without a limit there is nothing to wait for");
    reload(&mut world, &|config| config.limits.verifications = 0);
    world.say(early, format!("<db:result from='{B}' to='{A}'>key</db:result>"));
    assert!(world.hear_text(early).contains("<resource-constraint "));
    reload(&mut world, &|config| config.resolver.queries = 1);
    for n in 0..4 {
        world.send(node, &message(&format!("d{n}.example.net"), 1000));
    }
    assert_eq!(world.node(node).measures().dns_queries, 1);
}

#[test]
fn who_was_turned_away_and_not_told_of_is_told_of_at_the_end() {
    let (mut world, node) = limited(|limits| limits.connections = 0);
    let refused = (0..3).filter(|port| !accept(&mut world, node, &format!("192.0.2.7:{port}"))).count();
    assert_eq!((refused, turned_away(&world.take_events(node))), (3, vec![(Bound::Connections, 1)]));
    world.command(node, Command::Shutdown);
    world.run();
    assert_eq!(turned_away(&world.take_events(node)), [(Bound::Connections, 2)]);
}
