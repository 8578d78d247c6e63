//! Adversarial cases that bytes alone do not make: keys, configuration, certificates, the application. Each test is
//! named by the number of its case.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use s2s_core::machine::Listener;
use s2s_core::node::{Config, Event};
use s2s_core::policy::HostOptions;
use s2s_core::reason::Reason;
use s2s_core::route::PrivateAddresses;
use s2s_core::tls::{Provider, RustlsProvider, Session, Version};
use s2s_tests::certificates::{Authority, NOW, Request};
use s2s_tests::fake_tls::{FakeProvider, FakeSession};
use s2s_tests::world::{Cutting, NodeIndex, Puppet, World, domain};

const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback' \
     xmlns:stream='http://etherx.jabber.org/streams' from='m.example' to='v.example' version='1.0'>";

fn addr(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn config(authority: &Authority, host: &str) -> Config {
    let chain = authority.issue(&Request::dns(host)).chain;
    let mut config = World::config(Arc::new(FakeProvider::new(vec![(domain(host), chain)])), authority.trust());
    config.private_addresses = PrivateAddresses::Always;
    config.hosts.insert(domain(host), HostOptions::default());
    config
}

/// A node that serves v.example.
fn node(change: impl FnOnce(&mut Config)) -> (World, NodeIndex) {
    let mut world = World::new(Cutting::Whole);
    let mut config = config(&Authority::root("the authority"), "v.example");
    change(&mut config);
    let site = world.add(addr(1), config);
    (world, site)
}

fn returned(events: &[Event]) -> Vec<Reason> {
    let reason = |event: &Event| if let Event::Undeliverable { reason, .. } = event { Some(*reason) } else { None };
    events.iter().filter_map(reason).collect()
}

fn refused(events: &[Event]) -> Vec<Reason> {
    let reason = |event: &Event| if let Event::Refused { reason, .. } = event { Some(*reason) } else { None };
    events.iter().filter_map(reason).collect()
}

#[test]
fn stz_014_a_stanza_that_came_back_is_not_queued_for_anybody() {
    let (mut world, site) = node(|_| {});
    world.send(site, "<message from='u@v.example' to='w@gone.example'/>");
    world.run();
    let events = world.take_events(site);
    assert_eq!(returned(&events), [Reason::DnsNxdomain]);
    let came_back = events.into_iter().find_map(|event| match event {
        Event::Undeliverable { stanza, reason, .. } => Some((stanza, reason)),
        _ => None,
    });
    let (stanza, reason) = came_back.expect("it came back");
    let bounce = stanza.bounce(reason).expect("a message has a sender who is told");
    let text = String::from_utf8(bounce.bytes().to_vec()).expect("text");
    assert!(text.contains("type='error'") && text.contains("to='u@v.example'"), "{text}");
    assert!(bounce.bounce(reason).is_none(), "an error is never answered by an error");
    // The bounce is for a host of ours: no way leads it to another server.
    world.take_asked();
    world.send(site, &text);
    world.run();
    assert_eq!(returned(&world.take_events(site)), [Reason::HostUnknown]);
    assert!(world.take_asked().is_empty() && world.take_dialled().is_empty());
}

#[test]
fn stz_019_a_stanza_for_a_local_domain_is_not_sent_outward() {
    let (mut world, site) = node(|config| {
        config.hosts.insert(domain("chat.v.example"), HostOptions::default());
    });
    for to in ["u@v.example", "chat.v.example", "u@CHAT.v.example."] {
        world.send(site, &format!("<message from='u@v.example' to='{to}'/>"));
        world.run();
        assert_eq!(returned(&world.take_events(site)), [Reason::HostUnknown], "{to}");
    }
    assert!(world.take_asked().is_empty() && world.take_dialled().is_empty());
}

#[test]
fn stz_020_a_stanza_from_a_foreign_domain_is_not_sent_outward() {
    let (mut world, site) = node(|_| {});
    for from in ["a@t.example", "a@x.v.example", "example"] {
        world.send(site, &format!("<message from='{from}' to='a@m.example'/>"));
        world.run();
        assert_eq!(returned(&world.take_events(site)), [Reason::HostUnknown], "{from}");
    }
    assert!(world.take_asked().is_empty() && world.take_dialled().is_empty());
}

#[test]
//= RFC6120-4.7.3-1 test
fn dbk_014_stream_ids_are_long_and_random_and_never_the_same() {
    let (mut world, site) = node(|_| {});
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

#[test]
fn xml_022_the_core_has_no_hash_tables() {
    let mut directories = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/src")];
    let mut files = 0;
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
            } else {
                files += 1;
                let text = std::fs::read_to_string(&path).expect("source");
                assert!(!text.contains("HashMap") && !text.contains("HashSet"), "{}", path.display());
            }
        }
    }
    assert!(files > 50);
}

#[test]
fn xml_023_the_size_after_our_escapes_is_what_counts_for_the_next_hop() {
    let authority = Authority::root("the authority");
    let mut world = World::new(Cutting::Whole);
    let sender = world.add(addr(1), config(&authority, "v.example"));
    let mut small = config(&authority, "m.example");
    small.stanza_bytes = 10_000;
    let receiver = world.add(addr(2), small);
    world.publish("v.example", addr(1), true, false);
    world.publish("m.example", addr(2), true, false);
    let message = |count: usize| {
        let id = "'".repeat(count);
        format!("<message from='u@v.example' to='w@m.example' id=\"{id}\"/>")
    };
    world.send(sender, &message(1000));
    world.run();
    assert!(returned(&world.take_events(sender)).is_empty());
    assert!(message(5000).len() < 10_000);
    world.send(sender, &message(5000));
    world.run();
    assert_eq!(returned(&world.take_events(sender)), [Reason::StanzaTooBig]);
    let delivered = world.take_events(receiver).iter().filter(|event| matches!(event, Event::Stanza { .. })).count();
    assert_eq!(delivered, 1);
}

#[test]
fn tls_014_a_hello_in_many_fragments_is_bounded_work() {
    let authority = Authority::root("the authority");
    let provider = |host: &str| {
        let identity = authority.issue(&Request::dns(host)).host(&domain(host));
        let crypto = Arc::new(rustls::crypto::ring::default_provider());
        let provider = RustlsProvider::new(crypto, vec![identity], Version::Tls12).expect("usable");
        provider.set_time(NOW);
        provider
    };
    let client = provider("m.example").client(&domain("m.example"), &domain("v.example"), true);
    let mut hello = Vec::new();
    client.expect("a client").flush(&mut hello);
    let fragments: Vec<u8> = hello[5..].iter().flat_map(|byte| [22, 3, 1, 0, 1, *byte]).collect();
    // A length of three bytes that announces far more than will ever come.
    let endless: Vec<u8> = std::iter::once([22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff].to_vec())
        .chain(std::iter::repeat_n([&[22, 3, 1, 0x40, 0][..], &[0; 0x4000]].concat(), 8))
        .flatten()
        .collect();
    let server = provider("v.example");
    let began = Instant::now();
    for host in [None, Some(&domain("v.example"))] {
        for bytes in [&fragments, &endless] {
            for size in [1, 7, bytes.len()] {
                let mut session = server.server(host).expect("a server");
                let (mut plain, mut wire) = (Vec::new(), Vec::new());
                // An answer or an end: no panic, no silence that hoards.
                let end = bytes.chunks(size).try_for_each(|chunk| session.receive(chunk, &mut plain, &mut wire));
                assert!(plain.is_empty() && session.facts().is_none());
                assert!(!wire.is_empty() || end.is_err(), "{} bytes in pieces of {size}", bytes.len());
            }
        }
    }
    assert!(began.elapsed() < Duration::from_secs(20));
}
