//! Peers that do not read, and connections that break: what it costs, and what becomes of the stanzas.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use s2s_core::limits;
use s2s_core::machine::{Listener, Machine};
use s2s_core::node::{Command, Config, Event, Limits};
use s2s_core::policy::HostOptions;
use s2s_core::reason::Reason;
use s2s_core::route::PrivateAddresses;
use s2s_tests::certificates::Authority;
use s2s_tests::fake_tls::FakeProvider;
use s2s_tests::puppetry::{header, response};
use s2s_tests::world::{Cutting, NodeIndex, Puppet, World, domain};

const A: &str = "a.example.org";
const B: &str = "b.example.net";

fn addr(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn server(last: u8) -> SocketAddr {
    SocketAddr::new(addr(last), 5269)
}

/// A node of [`A`], and puppets at the servers of [`B`] and of `p0.example.net` and so on.
fn world(limit: impl FnOnce(&mut Limits)) -> (World, NodeIndex) {
    let mut world = World::new(Cutting::Whole);
    let authority = Authority::root("the authority");
    let mut config: Config = World::config(Arc::new(FakeProvider::new(Vec::new())), authority.trust());
    config.private_addresses = PrivateAddresses::Always;
    config.hosts.insert(domain(A), HostOptions::default());
    limit(&mut config.limits);
    let node = world.add(addr(1), config);
    world.publish(B, addr(9), true, false);
    world.listen(server(9));
    for peer in 0..8 {
        world.publish(&format!("p{peer}.example.net"), addr(100 + peer), true, false);
        world.listen(server(100 + peer));
    }
    (world, node)
}

/// The next connection of the node to that server, over which it may send to `peer`.
fn reached(world: &mut World, at: SocketAddr, peer: &str) -> Puppet {
    let puppet = world.accept(at).expect("the node dials");
    let features = "<stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>";
    world.say(puppet, response(peer, A, "id") + features);
    world.say(puppet, format!("<db:result from='{peer}' to='{A}' type='valid'/>"));
    puppet
}

fn message(to: &str, id: usize, bytes: usize) -> String {
    format!("<message from='x@{A}' to='y@{to}' id='{id}'><body>{}</body></message>", "x".repeat(bytes))
}

fn bounces(events: &[Event]) -> Vec<Reason> {
    let reasons = events.iter().filter_map(|event| match event {
        Event::Undeliverable { reason, .. } => Some(*reason),
        _ => None,
    });
    reasons.collect()
}

fn uncertain(events: &[Event]) -> u64 {
    let stanzas = events.iter().filter_map(|event| match event {
        Event::Uncertain { stanzas, .. } => Some(*stanzas),
        _ => None,
    });
    stanzas.sum()
}

fn ends(events: &[Event]) -> Vec<Reason> {
    let reasons = events.iter().filter_map(|event| match event {
        Event::PeerDown { reason, .. } => Some(*reason),
        _ => None,
    });
    reasons.collect()
}

#[test]
fn peers_that_never_read_cost_what_is_allowed_for_each_and_for_all_and_every_stanza_has_an_end() {
    let (mut world, node) = world(|limits| {
        limits.queue_bytes_per_pair = 200_000;
        limits.queue_bytes = 1_000_000;
    });
    let peers: Vec<_> = (0..8).map(|peer| (format!("p{peer}.example.net"), server(100 + peer))).collect();
    for (name, at) in &peers {
        world.send(node, &message(name, 0, 10));
        let puppet = reached(&mut world, *at, name);
        assert!(world.hear_text(puppet).contains("id='0'"));
        world.deafen(puppet);
    }
    let mut sent = 0;
    for id in 100..400 {
        for (name, _) in &peers {
            world.send(node, &message(name, id, 2000));
            sent += 1;
        }
        world.run();
        assert!(world.node(node).measures().queued_bytes <= 1_000_000);
    }
    let early = world.take_events(node);
    let full = bounces(&early);
    assert!(full.iter().all(|reason| *reason == Reason::QueueFull), "{full:?}");
    let held = sent - full.len();
    assert_eq!(held, 1_000_000 / (limits::QUEUED_STANZA_BYTES + message("p0.example.net", 100, 2000).len()));
    // Nobody can be reached again: what was held for a stream comes back when its time is over.
    for (_, at) in &peers {
        world.swallow(*at);
    }
    world.run_for(limits::WRITE_STALL - Duration::from_millis(1));
    assert_eq!(ends(&world.take_events(node)), []);
    world.run_for(Duration::from_millis(1));
    let events = world.take_events(node);
    assert_eq!(ends(&events), [Reason::Unresponsive; 8], "none has taken a byte for a minute");
    assert_eq!(uncertain(&events), 8, "the one stanza that each has taken");
    world.run_for(limits::QUEUE_AGE);
    let mut back = bounces(&world.take_events(node));
    back.extend(bounces(&events));
    assert_eq!(back.len(), held, "every stanza that was held");
    assert!(back.iter().all(|reason| [Reason::ConnectTimeout, Reason::QueueExpired].contains(reason)), "{back:?}");
    assert_eq!((world.node(node).measures().queued_bytes, world.node(node).connections()), (0, 0));
}

#[test]
fn a_stanza_keeps_its_age_when_it_comes_back_from_a_stream_that_was_not_read() {
    let (mut world, node) = world(|limits| limits.queue_age = Duration::from_secs(90));
    world.send(node, &message(B, 0, 10));
    let puppet = reached(&mut world, server(9), B);
    world.hear_text(puppet);
    world.deafen(puppet);
    world.send(node, &message(B, 1, 10));
    world.run_for(limits::WRITE_STALL);
    assert_eq!(ends(&world.take_events(node)), [Reason::Unresponsive]);
    // It is dialled again, and says nothing this time.
    world.accept(server(9)).expect("the stanza wants a stream");
    world.run_for(Duration::from_secs(29));
    let early = bounces(&world.take_events(node));
    world.run_for(Duration::from_secs(1));
    let late = bounces(&world.take_events(node));
    assert_eq!((early.len(), late.len()), (1, 0), "{early:?} {late:?}");
}

#[test]
fn a_peer_that_reads_slowly_is_not_taken_for_one_that_does_not() {
    let (mut world, node) = world(|_| {});
    world.send(node, &message(B, 0, 10));
    let puppet = reached(&mut world, server(9), B);
    world.hear_text(puppet);
    world.deafen(puppet);
    world.send(node, &message(B, 1, 1000));
    world.run();
    let length = message(B, 1, 1000).len();
    for _ in 0..10 {
        world.run_for(limits::WRITE_STALL - Duration::from_secs(1));
        world.take_bytes(puppet, length);
        world.send(node, &message(B, 1, 1000));
    }
    assert_eq!(ends(&world.take_events(node)), [], "it takes all that there is");
    for _ in 0..100 {
        world.send(node, &message(B, 1, 1000));
    }
    for _ in 0..10 {
        world.run_for(limits::WRITE_STALL - Duration::from_secs(1));
        world.take_bytes(puppet, limits::WRITE_PROGRESS_BYTES);
    }
    assert_eq!(ends(&world.take_events(node)), [], "it takes enough");
}

#[test]
fn a_peer_that_takes_a_byte_now_and_then_is_let_go_like_one_that_takes_nothing() {
    let (mut world, node) = world(|_| {});
    world.send(node, &message(B, 0, 10));
    let puppet = reached(&mut world, server(9), B);
    world.hear_text(puppet);
    world.deafen(puppet);
    for _ in 0..100 {
        world.send(node, &message(B, 1, 1000));
    }
    world.run();
    world.run_for(limits::WRITE_STALL - Duration::from_secs(1));
    world.take_bytes(puppet, limits::WRITE_PROGRESS_BYTES - 1);
    assert_eq!(ends(&world.take_events(node)), []);
    world.run_for(Duration::from_secs(1));
    assert_eq!(ends(&world.take_events(node)), [Reason::Unresponsive]);
}

#[test]
fn a_peer_that_reads_none_of_our_answers_is_let_go() {
    let (mut world, node) = world(|_| {});
    let puppet = world.connect(node, Listener::StartTls);
    world.deafen(puppet);
    world.say(puppet, header(B, A));
    world.run_for(limits::WRITE_STALL);
    let events = world.take_events(node);
    let refused = events.iter().any(|event| matches!(event, Event::Refused { reason: Reason::Unresponsive, .. }));
    assert!(refused, "{events:?}");
    assert_eq!(world.node(node).connections(), 0);
}

#[test]
fn what_was_written_to_a_connection_that_broke_is_counted_as_uncertain_and_the_rest_goes_again() {
    let (mut world, node) = world(|_| {});
    for id in 0..5 {
        world.send(node, &message(B, id, 10));
    }
    let puppet = reached(&mut world, server(9), B);
    assert_eq!(world.hear_text(puppet).matches("<message ").count(), 5);
    world.deafen(puppet);
    for id in 5..8 {
        world.send(node, &message(B, id, 10));
    }
    // The sixth is taken whole, half of the seventh too.
    let length = message(B, 5, 10).len();
    world.take_bytes(puppet, length + length / 2);
    world.break_off(puppet);
    let events = world.take_events(node);
    assert_eq!((uncertain(&events), bounces(&events)), (6, Vec::new()));
    let next = reached(&mut world, server(9), B);
    let heard = world.hear_text(next);
    assert!(heard.matches("<message ").count() == 2 && heard.contains("id='6'") && heard.contains("id='7'"), "{heard}");
    let totals = world.node(node).measures().totals;
    assert_eq!((totals.sent, totals.written, totals.uncertain), (8, 8, 6));
}

#[test]
fn a_stanza_that_breaks_connections_comes_back_and_one_that_was_not_begun_does_not() {
    let features = "<stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>";
    for begun in [1, 0] {
        let (mut world, node) = world(|_| {});
        world.send(node, &message(B, 0, 10));
        for _ in 0..limits::INTERRUPTIONS {
            assert_eq!(bounces(&world.take_events(node)), []);
            let puppet = world.accept(server(9)).expect("the node dials");
            world.say(puppet, response(B, A, "id") + features);
            world.deafen(puppet);
            world.say(puppet, format!("<db:result from='{B}' to='{A}' type='valid'/>"));
            world.take_bytes(puppet, begun);
            world.break_off(puppet);
        }
        let expected = if begun > 0 { vec![Reason::ConnectionReset] } else { Vec::new() };
        assert_eq!(bounces(&world.take_events(node)), expected);
        assert_eq!(world.accept(server(9)).is_some(), begun == 0, "it goes again");
    }
}

/// The node reaches a puppet that takes `stanzas` whole stanzas and half of the next, and whose connection breaks then.
fn break_behind(world: &mut World, stanzas: usize) {
    let features = "<stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>";
    let puppet = world.accept(server(9)).expect("the node dials");
    world.say(puppet, response(B, A, "id") + features);
    world.deafen(puppet);
    world.say(puppet, format!("<db:result from='{B}' to='{A}' type='valid'/>"));
    let length = message(B, 0, 10).len();
    world.take_bytes(puppet, stanzas * length + length / 2);
    world.break_off(puppet);
}

#[test]
fn stanzas_that_were_interrupted_once_each_all_go_again() {
    let (mut world, node) = world(|_| {});
    for id in 0..4 {
        world.send(node, &message(B, id, 10));
    }
    break_behind(&mut world, 0);
    break_behind(&mut world, 1);
    assert_eq!(bounces(&world.take_events(node)), []);
    let next = reached(&mut world, server(9), B);
    let heard = world.hear_text(next);
    assert!(heard.matches("<message ").count() == 3 && !heard.contains("id='0'"), "{heard}");
}

#[test]
fn a_stanza_that_broke_two_connections_comes_back_although_the_first_had_taken_others() {
    let (mut world, node) = world(|_| {});
    for id in 0..3 {
        world.send(node, &message(B, id, 10));
    }
    break_behind(&mut world, 1);
    assert_eq!(bounces(&world.take_events(node)), []);
    break_behind(&mut world, 0);
    assert_eq!(bounces(&world.take_events(node)), [Reason::ConnectionReset]);
    let next = reached(&mut world, server(9), B);
    let heard = world.hear_text(next);
    assert!(heard.matches("<message ").count() == 1 && heard.contains("id='2'"), "{heard}");
}

#[test]
fn a_stanza_that_is_the_first_to_go_does_not_pay_for_the_interruptions_of_one_that_was_too_big() {
    let (mut world, node) = world(|_| {});
    world.send(node, &message(B, 0, 20_000));
    world.send(node, &message(B, 1, 10));
    break_behind(&mut world, 0);
    let puppet = world.accept(server(9)).expect("the node dials");
    let features = "<stream:features><dialback xmlns='urn:xmpp:features:dialback'/>\
                    <limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>10000</max-bytes></limits></stream:features>";
    world.say(puppet, response(B, A, "id") + features);
    world.deafen(puppet);
    world.say(puppet, format!("<db:result from='{B}' to='{A}' type='valid'/>"));
    assert_eq!(bounces(&world.take_events(node)), [Reason::StanzaTooBig]);
    world.take_bytes(puppet, 10);
    world.break_off(puppet);
    assert_eq!(bounces(&world.take_events(node)), [], "it was interrupted once, and the other one is gone");
    let next = reached(&mut world, server(9), B);
    assert!(world.hear_text(next).contains("id='1'"), "it goes again");
}

#[test]
//= RFC6120-4.4-2 test
fn what_was_written_before_both_sides_said_goodbye_is_certain() {
    for (goodbye, uncertain_stanzas) in [
        ("</stream:stream>", 0),
        ("<stream:error><reset xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>", 1),
    ] {
        let (mut world, node) = world(|_| {});
        world.send(node, &message(B, 0, 10));
        let puppet = reached(&mut world, server(9), B);
        world.say(puppet, goodbye);
        world.hang_up(puppet);
        assert_eq!(uncertain(&world.take_events(node)), uncertain_stanzas, "{goodbye}");
    }
    // Both sides go down at once: the peer's closing tag stands behind its own error and does not answer ours.
    for (answer, uncertain_stanzas) in [
        ("</stream:stream>", 0),
        (
            "<stream:error><system-shutdown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>",
            1,
        ),
    ] {
        let (mut world, node) = world(|_| {});
        world.send(node, &message(B, 0, 10));
        let puppet = reached(&mut world, server(9), B);
        world.command(node, Command::Shutdown);
        world.say(puppet, answer);
        world.hang_up(puppet);
        assert_eq!(uncertain(&world.take_events(node)), uncertain_stanzas, "{answer}");
    }
    let (mut world, node) = world(|_| {});
    world.send(node, &message(B, 0, 10));
    let puppet = reached(&mut world, server(9), B);
    let idle = limits::IDLE;
    world.run_for(idle);
    assert!(world.hear_text(puppet).ends_with("</stream:stream>"), "our goodbye");
    world.break_off(puppet);
    assert_eq!(uncertain(&world.take_events(node)), 1, "the peer never said that it has seen it");
}

#[test]
fn whoever_refuses_our_key_is_told_of_with_what_it_said() {
    let error = "<error type='wait'><remote-connection-failed xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>";
    for (said, content, told) in
        [("invalid", "", "invalid"), ("error", "", "error"), ("error", error, "remote-connection-failed")]
    {
        let (mut world, node) = world(|_| {});
        world.send(node, &message(B, 0, 10));
        let puppet = world.accept(server(9)).expect("the node dials");
        let features = "<stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>";
        world.say(puppet, response(B, A, "id") + features);
        world.say(puppet, format!("<db:result from='{B}' to='{A}' type='{said}'>{content}</db:result>"));
        let events = world.take_events(node);
        let details: Vec<_> = events
            .iter()
            .filter_map(|event| if let Event::Refused { detail, .. } = event { Some(detail.as_str()) } else { None })
            .collect();
        assert_eq!(details, [told], "{events:?}");
    }
}

#[test]
fn who_has_said_nothing_hears_nothing_when_we_go_down() {
    let (mut world, node) = world(|_| {});
    let stranger = world.connect(node, Listener::StartTls);
    world.command(node, Command::Shutdown);
    world.run();
    assert_eq!(world.hear_text(stranger), "");
    assert!(world.node(node).is_finished());
}

#[test]
fn the_second_address_is_asked_about_a_key_when_the_first_says_nothing_for_a_moment() {
    let (mut world, node) = world(|_| {});
    let peer = "two.example.net";
    for (priority, last) in [(0, 50), (1, 51)] {
        let host = format!("host{last}.{peer}");
        let zone = std::mem::take(&mut world.zone);
        let zone =
            zone.address(&host, addr(last)).service(&format!("_xmpp-server._tcp.{peer}"), priority, 0, 5269, &host);
        world.zone = zone;
    }
    world.swallow(server(50));
    world.listen(server(51));
    let stranger = world.connect(node, Listener::StartTls);
    world.say(stranger, header(peer, A));
    world.say(stranger, format!("<db:result from='{peer}' to='{A}'>key</db:result>"));
    assert_eq!(world.accept(server(51)), None, "not yet");
    world.run_for(limits::DIAL_STAGGER);
    let asked = world.accept(server(51)).expect("its server is asked");
    assert!(world.hear_text(asked).contains("<stream:stream"));
}

#[test]
fn a_peer_that_says_goodbye_behind_each_stanza_is_dialled_again_at_once_and_one_that_takes_none_is_not() {
    for takes in [true, false] {
        let (mut world, node) = world(|_| {});
        let dialled = (0..10).take_while(|id| {
            world.send(node, &message(B, *id, 10));
            let Some(puppet) = world.accept(server(9)) else {
                return false;
            };
            let features = "<stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>";
            world.say(puppet, response(B, A, "id") + features);
            if !takes {
                world.deafen(puppet);
            }
            world.say(puppet, format!("<db:result from='{B}' to='{A}' type='valid'/>"));
            world.say(puppet, "</stream:stream>");
            world.hang_up(puppet);
            true
        });
        let dialled = dialled.count();
        assert!(if takes { dialled == 10 } else { (1..=3).contains(&dialled) }, "dialled {dialled} times: {takes}");
    }
}

#[test]
fn what_is_under_way_counts_as_held_until_it_is_written() {
    let (mut world, node) = world(|_| {});
    world.send(node, &message(B, 0, 10));
    let puppet = reached(&mut world, server(9), B);
    world.hear_text(puppet);
    assert_eq!(world.node(node).measures().queued_bytes, 0);
    world.deafen(puppet);
    let stanza = message(B, 1, 1000);
    world.send(node, &stanza);
    world.run();
    let counted = stanza.len() + limits::QUEUED_STANZA_BYTES;
    assert_eq!(world.node(node).measures().queued_bytes, counted);
    world.take_bytes(puppet, stanza.len() - 1);
    assert_eq!(world.node(node).measures().queued_bytes, counted, "not its last byte");
    world.take_bytes(puppet, 1);
    assert_eq!(world.node(node).measures().queued_bytes, 0);
    assert_eq!(world.node(node).poll_timeout().map(|(_, why)| why), Some("idle"));
}
