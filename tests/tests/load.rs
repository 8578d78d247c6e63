//! Limits: of connections, of queues, of rates. What is over one of them costs nothing and is said.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use s2s_core::machine::{Listener, Machine};
use s2s_core::node::{Config, Event, Node};
use s2s_core::policy::HostOptions;
use s2s_core::reason::Reason;
use s2s_core::route::PrivateAddresses;
use s2s_tests::certificates::Authority;
use s2s_tests::fake_tls::FakeProvider;
use s2s_tests::puppetry::header;
use s2s_tests::world::{Cutting, NodeIndex, World, domain};

const A: &str = "a.example.org";
const B: &str = "b.example.net";

fn addr(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn config(host: &str) -> Config {
    let authority = Authority::root("the authority");
    let mut config = World::config(Arc::new(FakeProvider::new(Vec::new())), authority.trust());
    config.private_addresses = PrivateAddresses::Always;
    config.hosts.insert(domain(host), HostOptions::default());
    config
}

fn accept(world: &mut World, node: NodeIndex, from: &str) -> bool {
    let now = world.now;
    let from: SocketAddr = from.parse().expect("an address");
    world.node(node).handle_accept(now, from, Listener::StartTls).is_some()
}

#[test]
//= RFC6120-13.12-2 test
//= XEP0205-4.1-1 test
fn connections_are_limited_from_one_place_and_of_strangers_and_in_all() {
    let mut world = World::new(Cutting::Whole);
    let mut limited = config(A);
    limited.limits.connections_per_address = 2;
    limited.limits.unauthenticated = 4;
    let node = world.add(addr(1), limited);
    assert!(accept(&mut world, node, "[2001:db8:1:2::1]:1") && accept(&mut world, node, "[2001:db8:1:2:3::9]:1"));
    assert!(!accept(&mut world, node, "[2001:db8:1:2:ffff::]:1"), "the same /64");
    assert!(accept(&mut world, node, "[2001:db8:1:3::1]:1") && accept(&mut world, node, "198.51.100.7:1"));
    assert!(!accept(&mut world, node, "198.51.100.8:1"), "four strangers are there");
    world.run_for(s2s_core::limits::NEGOTIATION + Duration::from_secs(11));
    assert_eq!(world.node(node).connections(), 0, "strangers do not stay");
    assert!(accept(&mut world, node, "198.51.100.8:1"), "and make room when they go");
}

fn bounces(events: &[Event]) -> Vec<Reason> {
    let reasons = events.iter().filter_map(|event| match event {
        Event::Undeliverable { reason, .. } => Some(*reason),
        _ => None,
    });
    reasons.collect()
}

fn message(to: &str, bytes: usize) -> String {
    format!("<message from='x@{A}' to='y@{to}'><body>{}</body></message>", "x".repeat(bytes))
}

#[test]
fn what_waits_is_bounded_for_each_pair_and_in_all() {
    let mut world = World::new(Cutting::Whole);
    let mut limited = config(A);
    limited.limits.queue_bytes_per_pair = 10_000;
    limited.limits.queue_bytes = 25_000;
    let node = world.add(addr(1), limited);
    for peer in 0..4_u8 {
        let name = format!("p{peer}.example.net");
        world.publish(&name, addr(100 + peer), true, false);
        world.swallow(SocketAddr::new(addr(100 + peer), 5269));
        for _ in 0..12 {
            world.send(node, &message(&name, 900));
        }
        world.run();
    }
    let full = bounces(&world.take_events(node));
    assert!(full.iter().all(|reason| *reason == Reason::QueueFull), "{full:?}");
    assert_eq!(full.len(), 48 - 25, "ten for each of two pairs, five more, and no more");
    world.run_for(Duration::from_secs(120));
    assert_eq!(bounces(&world.take_events(node)).len(), 25, "nothing vanishes");
    world.publish("q.example.net", addr(120), true, false);
    world.swallow(SocketAddr::new(addr(120), 5269));
    world.send(node, &message("q.example.net", 900));
    world.run();
    assert_eq!(bounces(&world.take_events(node)), [], "what went back made room");
}

#[test]
//= RFC6120-13.12-7 test
//= XEP0205-4.7-1 test
//= XEP0478-8-1 test
fn a_connection_that_is_too_fast_is_not_read_for_a_while() {
    let mut world = World::new(Cutting::Whole);
    let mut limited = config(A);
    limited.limits.rate_per_connection = Some(100);
    let node = world.add(addr(1), limited);
    let now = world.now;
    let conn = world.node(node).handle_accept(now, SocketAddr::from(([198, 51, 100, 1], 1)), Listener::StartTls);
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
    world.send(one, &message(B, 10));
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
