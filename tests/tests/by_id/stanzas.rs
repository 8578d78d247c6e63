//! STZ and XML: what the application sends, and how large it may be.

use std::path::Path;

use s2s_core::node::Event;
use s2s_core::policy::HostOptions;
use s2s_core::reason::Reason;
use s2s_tests::certificates::Authority;
use s2s_tests::world::{Cutting, World, domain};

use crate::{addr, config, node, returned};

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
