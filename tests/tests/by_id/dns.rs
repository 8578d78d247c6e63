//! DNS: what answers may make us do.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use s2s_core::node::Event;
use s2s_core::reason::Reason;
use s2s_core::route::PrivateAddresses;
use s2s_tests::dns_server::Zone;
use s2s_tests::world::{NodeIndex, World};

use crate::{addr, node, returned};

const XMPP: &str = "_xmpp-server._tcp.m.example";
const XMPPS: &str = "_xmpps-server._tcp.m.example";

/// Sends a message to m.example. Gives the reasons and conditions of those that came back.
fn send(world: &mut World, site: NodeIndex) -> (Vec<Reason>, String) {
    world.send(site, "<message from='u@v.example' to='w@m.example'/>");
    world.run();
    let events = world.take_events(site);
    let bounce = |event: &Event| match event {
        Event::Undeliverable { stanza, reason, .. } => stanza.bounce(*reason),
        _ => None,
    };
    let bounces = events.iter().filter_map(bounce).map(|stanza| String::from_utf8_lossy(stanza.bytes()).into_owned());
    (returned(&events), bounces.collect())
}

#[test]
fn dns_001_a_service_that_is_declared_absent_is_not_looked_for_elsewhere() {
    let (mut world, site) = node(|_| {});
    world.zone = Zone::new().service(XMPP, 0, 0, 0, ".").address("m.example", addr(66));
    let (reasons, bounce) = send(&mut world, site);
    assert_eq!(reasons, [Reason::SrvDot]);
    assert!(bounce.contains("<remote-server-not-found"), "{bounce}");
    assert!(world.take_dialled().is_empty());
    assert!(world.take_asked().iter().all(|name| name.starts_with('_')), "no address was asked for");

    // Among others a dot says nothing, and neither does a port of 0.
    let (mut world, site) = node(|_| {});
    world.publish("m.example", addr(66), true, false);
    world.zone = std::mem::take(&mut world.zone).service(XMPP, 0, 0, 0, ".").service(XMPP, 0, 0, 0, "host.m.example");
    send(&mut world, site);
    assert_eq!(world.take_dialled(), [SocketAddr::new(addr(66), 5269)]);
}

#[test]
fn dns_004_what_is_dialled_is_the_address_that_was_judged() {
    let (mut world, site) = node(|config| config.private_addresses = PrivateAddresses::Never);
    let outside = IpAddr::from([203, 0, 114, 66]);
    let zone = |address: IpAddr| {
        Zone::new().transient().service(XMPP, 0, 0, 5269, "host.m.example").address("host.m.example", address)
    };
    world.zone = zone(outside);
    assert_eq!(send(&mut world, site).0, [Reason::ConnectRefused]);
    assert_eq!(world.take_dialled(), [SocketAddr::new(outside, 5269)]);
    // The next lookup leads inside: it is judged anew, and nobody is dialled.
    world.zone = zone(IpAddr::from([10, 0, 0, 1]));
    world.run_for(Duration::from_secs(600));
    assert_eq!(send(&mut world, site).0, [Reason::AddressNotAllowed]);
    assert!(world.take_dialled().is_empty());
}

#[test]
fn dns_005_a_domain_that_leads_to_ourselves_is_not_found() {
    let (mut world, site) = node(|config| {
        config.own_listeners = vec![SocketAddr::new(addr(1), 5269), SocketAddr::new(addr(1), 5270)];
    });
    world.publish("m.example", addr(1), true, true);
    let (reasons, bounce) = send(&mut world, site);
    assert_eq!(reasons, [Reason::AddressNotAllowed]);
    assert!(bounce.contains("<remote-server-not-found"), "{bounce}");
    assert!(world.take_dialled().is_empty());
}

#[test]
fn dns_011_a_lookup_that_fails_is_not_an_absent_service() {
    let (mut world, site) = node(|_| {});
    world.zone = Zone::new().failing(XMPP).failing(XMPPS).address("m.example", addr(66));
    let (reasons, bounce) = send(&mut world, site);
    assert_eq!(reasons, [Reason::DnsFailure]);
    assert!(bounce.contains("type='wait'"), "{bounce}");
    assert!(world.take_dialled().is_empty());
    assert!(world.take_asked().iter().all(|name| name.starts_with('_')), "no address was asked for");
}

#[test]
fn dns_020_a_dot_for_direct_tls_alone_forbids_the_fallback_too() {
    let (mut world, site) = node(|_| {});
    world.zone = Zone::new().service(XMPPS, 0, 0, 0, ".").address("m.example", addr(66));
    assert_eq!(send(&mut world, site).0, [Reason::SrvDot]);
    assert!(world.take_dialled().is_empty());
}
