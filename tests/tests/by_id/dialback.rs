//! DBK: keys, and the servers that are asked about them.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use s2s_core::machine::Listener;
use s2s_core::node::Event;
use s2s_core::reason::Reason;
use s2s_core::route::PrivateAddresses;
use s2s_core::tls::Session;
use s2s_tests::certificates::{Authority, Request};
use s2s_tests::fake_tls::FakeSession;
use s2s_tests::world::{NodeIndex, Puppet, World};

use crate::{HEADER, addr, node, refused};

#[test]
//= RFC6120-4.7.3-1 test
fn dbk_014_stream_ids_are_long_and_random_and_never_the_same() {
    let (mut world, site) = node(|config| config.limits.connection_rate_per_address = 1000);
    let mut ids = BTreeSet::new();
    for _ in 0..500 {
        let puppet = world.connect(site, Listener::StartTls);
        world.say(puppet, HEADER);
        let heard = world.hear_text(puppet);
        let id = heard.split_once(" id='").and_then(|(_, rest)| rest.split_once('\'')).expect("an id").0.to_owned();
        assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "128 bits: {id}");
        assert!(ids.insert(id), "twice");
        world.hang_up(puppet);
    }
    // No position is constant.
    for at in 0..32 {
        let digits: BTreeSet<_> = ids.iter().map(|id| id.as_bytes()[at]).collect();
        assert!(digits.len() > 12, "position {at}: {digits:?}");
    }
}

/// A key for m.example in clear, and what is answered.
fn answer_to_key(world: &mut World, site: NodeIndex) -> (Puppet, String) {
    let puppet = world.connect(site, Listener::StartTls);
    world.say(puppet, HEADER);
    world.hear(puppet);
    world.say(puppet, "<db:result from='m.example' to='v.example'>a key</db:result>");
    let answer = world.hear_text(puppet);
    (puppet, answer)
}

#[test]
fn dbk_022_a_domain_that_leads_to_ourselves_is_not_dialled() {
    let (mut world, site) = node(|config| {
        config.own_listeners = vec![SocketAddr::new(addr(1), 5269), SocketAddr::new(addr(1), 5270)];
    });
    world.publish("m.example", addr(1), true, true);
    let (_, answer) = answer_to_key(&mut world, site);
    assert!(answer.contains("type='error'") && answer.contains("remote-connection-failed"), "{answer}");
    assert_eq!(refused(&world.take_events(site)), [Reason::AddressNotAllowed]);
    assert!(world.take_dialled().is_empty());
}

#[test]
fn dbk_025_addresses_of_our_own_network_are_not_dialled() {
    let inside: [IpAddr; 6] = [
        [127, 0, 0, 1].into(),
        [10, 0, 0, 1].into(),
        [192, 168, 0, 1].into(),
        [169, 254, 169, 254].into(),
        "::1".parse().expect("an address"),
        "fe80::1".parse().expect("an address"),
    ];
    for address in inside {
        let (mut world, site) = node(|config| config.private_addresses = PrivateAddresses::Never);
        world.publish("m.example", address, true, true);
        let (_, answer) = answer_to_key(&mut world, site);
        assert!(answer.contains("type='error'"), "{address}: {answer}");
        assert_eq!(refused(&world.take_events(site)), [Reason::AddressNotAllowed], "{address}");
        assert!(world.take_dialled().is_empty(), "{address}");
    }
}

#[test]
fn dbk_043_one_stream_proves_so_many_pairs_and_no_more() {
    let (mut world, site) = node(|_| {});
    let puppet = world.connect(site, Listener::StartTls);
    world.say(puppet, HEADER);
    world.say(puppet, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    world.hear(puppet);
    let chain = Authority::root("the authority").issue(&Request::dns("*.m.example")).chain;
    let mut session = FakeSession::client("v.example", &[], chain);
    let mut wire = Vec::new();
    session.flush(&mut wire);
    world.say(puppet, &wire);
    let mut heard = Vec::new();
    let mut exchange = |world: &mut World, text: &str| {
        let mut wire = Vec::new();
        session.send(text.as_bytes(), &mut wire);
        world.say(puppet, &wire);
        wire.clear();
        session.receive(&world.hear(puppet), &mut heard, &mut wire).expect("TLS");
        world.say(puppet, &wire);
        session.receive(&world.hear(puppet), &mut heard, &mut Vec::new()).expect("TLS");
        String::from_utf8(std::mem::take(&mut heard)).expect("text")
    };
    exchange(&mut world, "");
    exchange(&mut world, HEADER);
    for n in 0..1000 {
        let answer = exchange(&mut world, &format!("<db:result from='d{n}.m.example' to='v.example'>key</db:result>"));
        if n < 256 {
            assert!(answer.contains("type='valid'"), "{n}: {answer}");
        } else {
            assert!(answer.contains("<resource-constraint"), "{n}: {answer}");
        }
    }
    let up = world.take_events(site).iter().filter(|event| matches!(event, Event::PeerUp { .. })).count();
    assert_eq!(up, 256);
}
