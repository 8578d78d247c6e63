//! SRV records, port 5269, `s2s_ports`, `s2s_direct_tls_ports`, `s2s_interfaces`, `s2s_outgoing_addresses`, routes.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use s2s_core::auth::Method;
use s2s_core::dns::{Security, SourceAddresses};
use s2s_core::machine::Listener;
use s2s_core::node::{Event, StaticRoute};
use s2s_core::reason::Reason;
use s2s_tests::certificates::Kind;
use s2s_tests::dns_server::Zone;
use s2s_tests::puppetry::header;
use s2s_tests::world::{Cutting, NodeIndex, World, domain};

use crate::federations::{IN, OURS, THEIRS, Told, Two, addr, config, lax, message, secure};

fn alone(zone: Zone) -> (World, NodeIndex) {
    let mut world = World::new(Cutting::Whole);
    world.tap = Some(std::collections::BTreeMap::new());
    let node = world.add(addr(1), config(OURS, Some(Kind::Valid), lax()));
    world.zone = zone;
    (world, node)
}

/// Whether the node dials `last:port` for a message to them, in a world with that zone.
fn dials(zone: Zone, last: u8, port: u16) -> bool {
    let (mut world, node) = alone(zone);
    let at = SocketAddr::new(addr(last), port);
    world.listen(at);
    world.send(node, &message(OURS, THEIRS, "1"));
    world.accept(at).is_some()
}

#[test]
fn srv_records_name_the_host_and_the_port() {
    let service = format!("_xmpp-server._tcp.{THEIRS}");
    let zone = || Zone::new().address("host.example.com", addr(9)).service(&service, 0, 0, 5999, "host.example.com");
    assert!(dials(zone(), 9, 5999));
    assert!(!dials(zone(), 9, 5269));
}

#[test]
fn port_5269_of_the_domain_itself_is_dialled_where_there_are_no_srv_records() {
    assert!(dials(Zone::new().address(THEIRS, addr(9)), 9, 5269));
}

#[test]
fn srv_records_keep_the_domains_own_address_out_of_it() {
    let service = format!("_xmpp-server._tcp.{THEIRS}");
    let zone = Zone::new().address(THEIRS, addr(8)).address("host.example.com", addr(9)).service(
        &service,
        0,
        0,
        5269,
        "host.example.com",
    );
    assert!(!dials(zone, 8, 5269));
}

#[test]
fn an_srv_record_of_a_dot_says_that_there_is_no_federation() {
    let service = format!("_xmpp-server._tcp.{THEIRS}");
    let zone = Zone::new().address(THEIRS, addr(9)).service(&service, 0, 0, 0, ".");
    let (mut world, node) = alone(zone);
    world.send(node, &message(OURS, THEIRS, "1"));
    world.run();
    assert_eq!(Told::of(&world.take_events(node)).bounced, [Reason::SrvDot]);
}

/// What a node answers to a header in clear, and what it tells of it.
fn greeted(listener: Listener) -> (String, Told) {
    let (mut world, node) = alone(Zone::new());
    let puppet = world.connect(node, listener);
    world.say(puppet, header(THEIRS, OURS));
    let heard = String::from_utf8_lossy(&world.hear(puppet)).into_owned();
    (heard, Told::of(&world.take_events(node)))
}

#[test]
fn s2s_ports_begin_in_clear_and_offer_starttls() {
    let (heard, told) = greeted(Listener::StartTls);
    assert!(heard.contains("<stream:stream ") && heard.contains("<starttls "), "{heard}");
    assert_eq!(told, Told::default());
}

#[test]
fn s2s_direct_tls_ports_take_nothing_in_clear() {
    let (heard, told) = greeted(Listener::DirectTls);
    assert!(!heard.contains("<stream:stream "), "{heard}");
    assert_eq!(told, Told { refused: vec![(IN, Reason::TlsFailed)], ..Told::default() });
}

#[test]
fn s2s_interfaces_and_their_ports_are_never_dialled_wherever_records_lead() {
    let service = format!("_xmpp-server._tcp.{THEIRS}");
    for (port, ours) in [(5269, true), (5999, false)] {
        let mut world = World::new(Cutting::Whole);
        let mut config = config(OURS, Some(Kind::Valid), lax());
        config.own_listeners = vec![SocketAddr::new(addr(9), 5269)];
        let node = world.add(addr(1), config);
        world.zone = Zone::new().address("host.example.com", addr(9)).service(&service, 0, 0, port, "host.example.com");
        let at = SocketAddr::new(addr(9), port);
        world.listen(at);
        world.send(node, &message(OURS, THEIRS, "1"));
        world.run();
        assert_eq!(world.accept(at).is_none(), ours, "{at}");
        let bounced = Told::of(&world.take_events(node)).bounced;
        assert_eq!(bounced, if ours { vec![Reason::AddressNotAllowed] } else { Vec::new() });
    }
}

#[test]
fn s2s_direct_tls_ports_are_dialled_where_records_name_them() {
    let mut two = Two::with((Some(Kind::Valid), secure()), (Some(Kind::Valid), secure()));
    two.world.zone = Zone::new();
    two.world.publish(OURS, addr(1), false, true);
    two.world.publish(THEIRS, addr(2), false, true);
    assert_eq!(two.federate(), (Method::External, Method::External));
    let written = two.world.plaintext(two.ours).concat();
    assert!(!written.contains("<starttls ") && !written.contains("<proceed "), "{written}");
}

#[test]
fn s2s_direct_tls_ports_and_s2s_ports_are_tried_in_the_order_of_their_priorities() {
    let (plain, direct) = (format!("_xmpp-server._tcp.{THEIRS}"), format!("_xmpps-server._tcp.{THEIRS}"));
    for (plain_priority, direct_priority) in [(1, 2), (2, 1)] {
        let zone = || {
            Zone::new()
                .address("host.example.com", addr(9))
                .service(&plain, plain_priority, 0, 5269, "host.example.com")
                .service(&direct, direct_priority, 0, 5270, "host.example.com")
        };
        let direct_first = direct_priority < plain_priority;
        let (mut world, node) = alone(zone());
        let (starttls, tls) = (SocketAddr::new(addr(9), 5269), SocketAddr::new(addr(9), 5270));
        world.listen(starttls);
        world.listen(tls);
        world.send(node, &message(OURS, THEIRS, "1"));
        assert_eq!(world.accept(tls).is_some(), direct_first);
        assert_eq!(world.accept(starttls).is_some(), !direct_first);
    }
}

#[test]
//= RFC6120-3.2.3-1 test
fn a_static_route_takes_the_place_of_dns() {
    for (security, starts_in_clear) in [(Security::StartTls, true), (Security::DirectTls, false)] {
        let mut ours = config(OURS, Some(Kind::Valid), lax());
        let at = SocketAddr::new(addr(9), 7000);
        ours.routes.insert(domain(THEIRS), StaticRoute { addr: at, security });
        let mut world = World::new(Cutting::Whole);
        world.tap = Some(std::collections::BTreeMap::new());
        let node = world.add(addr(1), ours);
        world.listen(at);
        world.send(node, &message(OURS, THEIRS, "1"));
        let puppet = world.accept(at).expect("the route is taken");
        assert_eq!(world.hear(puppet).starts_with(b"<?xml"), starts_in_clear);
    }
}

/// Where the node dials `remote` by these routes, if it does so in place of asking DNS.
fn routed(exact: &[(&str, u8)], below: &[(&str, u8)], remote: &str) -> Option<u8> {
    let mut ours = config(OURS, Some(Kind::Valid), lax());
    let route = |last| StaticRoute { addr: SocketAddr::new(addr(last), 5269), security: Security::StartTls };
    ours.routes = exact.iter().map(|(name, last)| (domain(name), route(*last))).collect();
    ours.routes_below = below.iter().map(|(name, last)| (domain(name), route(*last))).collect();
    let mut world = World::new(Cutting::Whole);
    let node = world.add(addr(1), ours);
    world.send(node, &message(OURS, remote, "1"));
    world.run();
    let dialled: Vec<_> = world.take_dialled().iter().map(SocketAddr::ip).collect();
    assert_eq!(dialled.is_empty(), !world.take_asked().is_empty(), "either a route or DNS");
    (100..110).find(|last| dialled.first() == Some(&addr(*last)))
}

#[test]
fn route_of_a_wildcard_holds_for_all_depths_below_the_name_and_not_for_the_name() {
    let below = [("lab.example", 100)];
    assert_eq!(routed(&[], &below, "a.lab.example"), Some(100));
    assert_eq!(routed(&[], &below, "a.b.lab.example"), Some(100));
    assert_eq!(routed(&[], &below, "A.LAB.example"), Some(100), "whatever the case");
    assert_eq!(routed(&[], &below, "lab.example"), None);
    assert_eq!(routed(&[], &below, "xlab.example"), None);
    assert_eq!(routed(&[], &below, "lab.example.net"), None);
}

#[test]
fn route_of_a_wildcard_gives_way_to_nearer_ones_and_to_one_of_the_domain_itself() {
    let below = [("example", 100), ("lab.example", 101), ("b.lab.example", 102)];
    let exact = [("a.lab.example", 103)];
    assert_eq!(routed(&exact, &below, "c.example"), Some(100));
    assert_eq!(routed(&exact, &below, "c.lab.example"), Some(101));
    assert_eq!(routed(&exact, &below, "c.b.lab.example"), Some(102));
    assert_eq!(routed(&exact, &below, "a.lab.example"), Some(103));
    assert_eq!(routed(&exact, &below, "x.a.lab.example"), Some(101), "an exact route is for that name only");
}

/// From which addresses a peer is dialled that is at an address of each family, one stream after the other.
fn callers(outgoing: &[IpAddr], at: IpAddr, streams: usize) -> Vec<IpAddr> {
    let mut ours = config(OURS, Some(Kind::Valid), lax());
    ours.outgoing_addresses = outgoing.to_vec();
    let mut world = World::new(Cutting::Whole);
    let node = world.add(addr(1), ours);
    let names: Vec<_> = (0..streams).map(|n| format!("t{n}.example.net")).collect();
    let mut theirs = config(&names[0], Some(Kind::Valid), lax());
    theirs.hosts.extend(names.iter().map(|name| (domain(name), lax())));
    let other = world.add(at, theirs);
    world.publish(OURS, addr(1), true, false);
    for name in &names {
        world.publish(name, at, true, false);
        world.send(node, &message(OURS, name, "1"));
        world.run();
    }
    let events = world.take_events(other);
    let up = events.iter().filter_map(|event| match event {
        Event::PeerUp { link, .. } if link.direction == IN => Some(link.addr.ip()),
        _ => None,
    });
    up.collect()
}

#[test]
fn s2s_outgoing_addresses_are_dialled_from_by_family_and_in_turn() {
    let (v4, v6): ([IpAddr; 2], [IpAddr; 2]) =
        ([addr(50), addr(51)], ["2001:db8::50", "2001:db8::51"].map(|text| text.parse().expect("an address")));
    let theirs: IpAddr = "2001:db8::2".parse().expect("an address");
    assert_eq!(callers(&[], addr(2), 2), [addr(1); 2], "the system chooses");
    assert_eq!(callers(&[v4[0], v6[0]], addr(2), 2), [v4[0]; 2]);
    assert_eq!(callers(&[v4[0], v6[0]], theirs, 2), [v6[0]; 2]);
    assert_eq!(callers(&[v6[0]], addr(2), 2), [addr(1); 2], "of this family there is none: the system chooses");
    let mut several = callers(&[v4[0], v6[0], v4[1], v6[1]], addr(2), 4);
    several.sort_unstable();
    assert_eq!(several, [v4[0], v4[0], v4[1], v4[1]]);
}

/// A system that sends from one address of each family.
#[derive(Debug)]
struct Dual;

impl SourceAddresses for Dual {
    fn source(&self, destination: IpAddr) -> Option<IpAddr> {
        Some(if destination.is_ipv4() { addr(1) } else { IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]) })
    }
}

/// Which address of them is dialled first, of one of each family.
fn dialled_first(outgoing: &[IpAddr]) -> IpAddr {
    const TYPE_AAAA: u16 = 28;
    let mut ours = config(OURS, Some(Kind::Valid), lax());
    ours.outgoing_addresses = outgoing.to_vec();
    ours.resolver.sources = Some(Arc::new(Dual));
    let mut world = World::new(Cutting::Whole);
    let node = world.add(addr(1), ours);
    let host = format!("host.{THEIRS}");
    world.publish(THEIRS, IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 2]), true, false);
    world.zone = std::mem::take(&mut world.zone).address(&host, addr(2));
    // IPv6 addresses alone would be tried at once.
    world.delay_answer(&host, TYPE_AAAA, Duration::from_millis(20));
    world.send(node, &message(OURS, THEIRS, "1"));
    world.run_for(Duration::from_secs(1));
    world.take_dialled()[0].ip()
}

#[test]
//= RFC8305-4-1 test
fn s2s_outgoing_addresses_are_what_the_addresses_of_a_peer_are_sorted_by() {
    assert!(dialled_first(&[]).is_ipv6(), "both go with what the system has, and IPv6 has precedence");
    let local: IpAddr = "fd00::50".parse().expect("an address");
    assert!(dialled_first(&[local]).is_ipv4(), "a unique local address does not go with a global one");
    assert!(dialled_first(&[addr(50)]).is_ipv6(), "that is of the other family");
}
