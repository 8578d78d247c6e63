//! `s2s_timeout`, `s2s_attempt_timeout`, `s2s_close_timeout`, `s2s_idle_timeout`, in virtual time.

use std::net::SocketAddr;
use std::time::Duration;

use s2s_core::machine::Listener;
use s2s_core::node::{Command, Config};
use s2s_core::reason::Reason;
use s2s_tests::certificates::Kind;
use s2s_tests::puppetry::{header, response};
use s2s_tests::world::{Cutting, NodeIndex, World};

use crate::federations::{IN, OURS, OUT, THEIRS, Told, Two, addr, config, lax, message, secure};

const MOMENT: Duration = Duration::from_millis(1);

fn timed() -> Config {
    let mut config = config(OURS, None, lax());
    config.negotiation_timeout = Duration::from_secs(30);
    config.attempt_timeout = Duration::from_secs(7);
    config.close_timeout = Duration::from_secs(3);
    config.idle_timeout = Duration::from_secs(60);
    config
}

fn alone() -> (World, NodeIndex) {
    let mut world = World::new(Cutting::Whole);
    world.tap = Some(std::collections::BTreeMap::new());
    let node = world.add(addr(1), timed());
    (world, node)
}

/// Lets `span` pass but for a moment, and then that moment; what the node told before, and at the end.
fn around(world: &mut World, node: NodeIndex, span: Duration) -> (Told, Told) {
    world.run_for(span - MOMENT);
    let before = Told::of(&world.take_events(node));
    world.run_for(MOMENT);
    (before, Told::of(&world.take_events(node)))
}

#[test]
fn s2s_timeout_ends_a_stream_on_which_a_peer_proves_nothing() {
    for said in [String::new(), header(THEIRS, OURS), header(THEIRS, OURS) + &" ".repeat(100)] {
        let (mut world, node) = alone();
        let puppet = world.connect(node, Listener::StartTls);
        world.say(puppet, &said);
        let (before, after) = around(&mut world, node, Duration::from_secs(30));
        assert_eq!(before, Told::default(), "{said}");
        assert_eq!(after.refused, [(IN, Reason::NegotiationTimeout)], "{said}");
        let heard = world.hear_text(puppet);
        assert_eq!(heard.contains("<connection-timeout "), !said.is_empty(), "{heard}");
        world.run_for(Duration::from_secs(3));
        assert!(world.has_ended(puppet), "after s2s_close_timeout at the latest");
    }
}

#[test]
fn s2s_timeout_is_not_put_off_by_a_peer_that_says_a_little_now_and_then() {
    let (mut world, node) = alone();
    let puppet = world.connect(node, Listener::StartTls);
    world.say(puppet, header(THEIRS, OURS));
    for _ in 0..29 {
        world.run_for(Duration::from_secs(1));
        world.say(puppet, " ");
    }
    assert!(!world.hear_text(puppet).contains("<stream:error>"));
    world.run_for(Duration::from_secs(1));
    assert!(world.hear_text(puppet).contains("<connection-timeout "));
}

#[test]
//= XEP0220-2.1.1-7 test
fn s2s_timeout_bounds_the_way_out_from_the_lookup_to_authentication() {
    let (mut world, node) = alone();
    let server = SocketAddr::new(addr(9), 5269);
    world.publish(THEIRS, addr(9), true, false);
    world.listen(server);
    world.send(node, &message(OURS, THEIRS, "1"));
    let puppet = world.accept(server).expect("the node dials");
    let features = "<stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>";
    world.say(puppet, response(THEIRS, OURS, "1") + features);
    assert!(world.hear_text(puppet).contains("<db:result "));
    let (before, after) = around(&mut world, node, Duration::from_secs(30));
    assert_eq!(before, Told::default());
    assert_eq!(after.bounced, [Reason::DialbackTimeout]);
}

#[test]
fn an_attempt_in_which_nobody_was_reached_does_not_tell_of_a_negotiation() {
    let mut world = World::new(Cutting::Whole);
    let mut ours = timed();
    ours.negotiation_timeout = Duration::from_secs(5);
    let node = world.add(addr(1), ours);
    world.publish(THEIRS, addr(9), true, false);
    world.swallow(SocketAddr::new(addr(9), 5269));
    world.send(node, &message(OURS, THEIRS, "1"));
    let (before, after) = around(&mut world, node, Duration::from_secs(5));
    assert_eq!(before, Told::default());
    assert_eq!(after.bounced, [Reason::ConnectTimeout]);
}

#[test]
fn s2s_attempt_timeout_bounds_one_candidate_and_the_next_one_is_tried() {
    let (mut world, node) = alone();
    let (silent, other) = (SocketAddr::new(addr(8), 5269), SocketAddr::new(addr(9), 5269));
    let zone = std::mem::take(&mut world.zone);
    world.zone = zone
        .address("silent.example.net", addr(8))
        .address("other.example.net", addr(9))
        .service(&format!("_xmpp-server._tcp.{THEIRS}"), 1, 0, 5269, "silent.example.net")
        .service(&format!("_xmpp-server._tcp.{THEIRS}"), 2, 0, 5269, "other.example.net");
    world.listen(silent);
    world.listen(other);
    world.send(node, &message(OURS, THEIRS, "1"));
    let first = world.accept(silent).expect("the node dials");
    world.run_for(Duration::from_secs(7) - MOMENT);
    assert!(world.accept(other).is_none() && !world.has_ended(first));
    world.run_for(MOMENT);
    let second = world.accept(other).expect("the second is tried");
    assert!(world.hear_text(first).contains("<connection-timeout "));
    assert!(world.hear_text(second).contains("<stream:stream "));
    assert_eq!(Told::of(&world.take_events(node)).refused, [(OUT, Reason::NegotiationTimeout)]);
}

#[test]
fn s2s_close_timeout_bounds_the_wait_for_a_peer_that_does_not_close() {
    let (mut world, node) = alone();
    let puppet = world.connect(node, Listener::StartTls);
    world.say(puppet, header(THEIRS, OURS));
    world.command(node, Command::Shutdown);
    world.run();
    assert!(world.hear_text(puppet).contains("<system-shutdown "));
    world.run_for(Duration::from_secs(3) - MOMENT);
    assert_eq!(world.node(node).connections(), 1);
    world.run_for(MOMENT);
    assert_eq!(world.node(node).connections(), 0);
}

#[test]
//= RFC6120-4.4-3 test
fn s2s_close_timeout_bounds_the_wait_for_a_closing_tag_that_answers_ours() {
    let (mut world, node) = alone();
    let server = SocketAddr::new(addr(9), 5269);
    world.publish(THEIRS, addr(9), true, false);
    world.listen(server);
    world.send(node, &message(OURS, THEIRS, "1"));
    let puppet = world.accept(server).expect("the node dials");
    let features = "<stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>";
    world.say(puppet, response(THEIRS, OURS, "1") + features);
    world.say(puppet, format!("<db:result from='{THEIRS}' to='{OURS}' type='valid'/>"));
    assert!(world.hear_text(puppet).contains("<message "));
    world.take_events(node);
    let (before, after) = around(&mut world, node, Duration::from_secs(60));
    assert_eq!((before, after), (Told::default(), Told::default()), "it is idle, which is no end yet");
    assert_eq!(world.hear_text(puppet), "</stream:stream>");
    let (before, after) = around(&mut world, node, Duration::from_secs(3));
    assert_eq!((before, after.down), (Told::default(), vec![(OUT, Reason::Idle)]));
    assert_eq!(world.node(node).connections(), 0);
    assert_eq!(world.hear_text(puppet), "", "there is nothing left to say");
}

#[test]
//= RFC6120-4.6.3-1 test
//= RFC6120-4.9.3.4-1 test
fn s2s_idle_timeout_closes_what_nobody_uses_and_the_next_stanza_opens_it_again() {
    let mut ours = config(OURS, Some(Kind::Valid), secure());
    ours.idle_timeout = Duration::from_secs(60);
    let mut two = Two::new(ours, config(THEIRS, Some(Kind::Valid), secure()));
    two.there();
    assert_eq!(two.wait(59), (Told::default(), Told::default()));
    two.world.send(two.ours, &message(OURS, THEIRS, "use"));
    two.told();
    assert_eq!(two.wait(59), (Told::default(), Told::default()), "every stanza puts it off");
    let (ours, theirs) = two.wait(1);
    assert_eq!(ours, Told { down: vec![(OUT, Reason::Idle)], ..Told::default() });
    assert_eq!(theirs, Told { down: vec![(IN, Reason::Idle)], ..Told::default() });
    assert_eq!(two.there().1.delivered, ["there"]);
}

#[test]
fn s2s_idle_timeout_is_put_off_by_white_space() {
    let mut ours = config(OURS, Some(Kind::Valid), secure());
    ours.idle_timeout = Duration::from_secs(60);
    let mut world = World::new(Cutting::Whole);
    world.tap = Some(std::collections::BTreeMap::new());
    let node = world.add(addr(1), ours);
    let puppet = world.connect(node, Listener::StartTls);
    world.say(puppet, header(THEIRS, OURS));
    for _ in 0..3 {
        world.run_for(Duration::from_secs(20));
        world.say(puppet, "\n");
    }
    assert!(!world.has_ended(puppet));
}
