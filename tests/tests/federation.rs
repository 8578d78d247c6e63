//! Whole federations of two nodes, without sockets: every way to authenticate, and every way to refuse.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use s2s_core::auth::Method;
use s2s_core::node::{Config, Direction, Event};
use s2s_core::policy::HostOptions;
use s2s_core::reason::Reason;
use s2s_core::route::PrivateAddresses;
use s2s_tests::certificates::{Authority, Kind};
use s2s_tests::fake_tls::FakeProvider;
use s2s_tests::puppetry::response;
use s2s_tests::world::{Cutting, NodeIndex, Puppet, World, domain};

const A: &str = "a.example.org";
const B: &str = "b.example.net";

fn addr(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

/// A node's configuration: one host, its certificate, and what its operator decided.
fn config(authority: &Authority, host: &str, kind: Option<Kind>, options: HostOptions) -> Config {
    let host = domain(host);
    let chains = kind.map(|kind| (host.clone(), authority.issue_kind(kind, &host).chain)).into_iter().collect();
    let mut config = World::config(Arc::new(FakeProvider::new(chains)), authority.trust());
    config.private_addresses = PrivateAddresses::Always;
    config.hosts.insert(host, options);
    config
}

fn secure() -> HostOptions {
    HostOptions { secure_auth: true, require_encryption: true, ..HostOptions::default() }
}

fn world(
    a: (Option<Kind>, HostOptions),
    b: (Option<Kind>, HostOptions),
    starttls: bool,
    direct: bool,
) -> (World, NodeIndex, NodeIndex) {
    let authority = Authority::root("the authority");
    let mut world = World::new(Cutting::Whole);
    let first = world.add(addr(1), config(&authority, A, a.0, a.1));
    let second = world.add(addr(2), config(&authority, B, b.0, b.1));
    world.publish(A, addr(1), starttls, direct);
    world.publish(B, addr(2), starttls, direct);
    (world, first, second)
}

fn message(from: &str, to: &str, body: &str) -> String {
    format!("<message from='x@{from}' to='y@{to}' id='{body}'><body>{body}</body></message>")
}

fn delivered(events: &[Event]) -> Vec<String> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Stanza { stanza, .. } => stanza.head().id.clone(),
            _ => None,
        })
        .collect()
}

fn methods(events: &[Event]) -> Vec<(Direction, Method)> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::PeerUp { by, link, .. } => Some((link.direction, *by)),
            _ => None,
        })
        .collect()
}

fn refusals(events: &[Event]) -> Vec<(Direction, Reason)> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Refused { direction, reason, .. } => Some((*direction, *reason)),
            _ => None,
        })
        .collect()
}

fn bounces(events: &[Event]) -> Vec<Reason> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Undeliverable { reason, .. } => Some(*reason),
            _ => None,
        })
        .collect()
}

/// Sends a message each way and says how each direction was proved.
fn exchange(world: &mut World, a: NodeIndex, b: NodeIndex) -> (Method, Method) {
    world.send(a, &message(A, B, "there"));
    world.run();
    world.send(b, &message(B, A, "back"));
    world.run();
    let (at_a, at_b) = (world.take_events(a), world.take_events(b));
    assert_eq!(delivered(&at_b), ["there"], "at a: {at_a:?}\nat b: {at_b:?}");
    assert_eq!(delivered(&at_a), ["back"], "at a: {at_a:?}\nat b: {at_b:?}");
    let of = |events: &[Event], direction| methods(events).iter().find(|(way, _)| *way == direction).map(|(_, by)| *by);
    let there = of(&at_a, Direction::Outbound).expect("a is up");
    let back = of(&at_b, Direction::Outbound).expect("b is up");
    // Who receives may have proved a dialback by the certificate: that is its own affair.
    assert!(of(&at_b, Direction::Inbound).is_some() && of(&at_a, Direction::Inbound).is_some());
    (there, back)
}

#[test]
//= RFC6120-5.2-1 test
//= RFC6120-13.4-1 test
//= RFC7590-3.1-1 test
//= RFC6120-6.2-1 test
//= RFC6120-13.5-1 test
//= RFC6120-13.8.4-1 test
fn valid_certificates_federate_by_external_over_starttls() {
    let (mut world, a, b) = world((Some(Kind::Valid), secure()), (Some(Kind::Valid), secure()), true, false);
    assert_eq!(exchange(&mut world, a, b), (Method::External, Method::External));
}

#[test]
fn valid_certificates_federate_by_external_over_direct_tls() {
    let (mut world, a, b) = world((Some(Kind::Valid), secure()), (Some(Kind::Valid), secure()), false, true);
    assert_eq!(exchange(&mut world, a, b), (Method::External, Method::External));
}

#[test]
fn a_certificate_for_servers_only_proves_both_directions() {
    let (mut world, a, b) = world((Some(Kind::ServerAuth), secure()), (Some(Kind::ServerAuth), secure()), true, false);
    assert_eq!(exchange(&mut world, a, b), (Method::External, Method::External));
}

#[test]
//= RFC6120-13.14-2 test
//= RFC7590-3.4-2 test
//= XEP0220-3-1 test
//= XEP0178-3-3 test
fn self_signed_certificates_federate_by_dialback_where_both_sides_are_lax() {
    let lax = || HostOptions { require_encryption: true, ..HostOptions::default() };
    let (mut world, a, b) = world((Some(Kind::SelfSigned), lax()), (Some(Kind::SelfSigned), lax()), true, false);
    assert_eq!(exchange(&mut world, a, b), (Method::Dialback, Method::Dialback));
}

#[test]
fn servers_without_certificates_federate_by_dialback_in_clear_where_that_is_allowed() {
    let (mut world, a, b) = world((None, HostOptions::default()), (None, HostOptions::default()), true, false);
    assert_eq!(exchange(&mut world, a, b), (Method::Dialback, Method::Dialback));
}

#[test]
//= RFC6120-4.9.1.3-1 test
fn that_a_domain_is_not_served_is_heard_although_the_header_in_front_of_it_names_no_domain() {
    let authority = Authority::root("the authority");
    let mut world = World::new(Cutting::Whole);
    let mut asking = config(&authority, A, Some(Kind::Valid), secure());
    asking.speak_ahead = true;
    let a = world.add(addr(1), asking);
    let b = world.add(addr(2), config(&authority, "elsewhere.example.net", Some(Kind::Valid), secure()));
    world.publish(B, addr(2), true, false);
    world.send(a, &message(A, B, "there"));
    world.run();
    let (at_a, at_b) = (world.take_events(a), world.take_events(b));
    assert_eq!(bounces(&at_a), [Reason::PeerStreamError]);
    assert_eq!(refusals(&at_a), [(Direction::Outbound, Reason::PeerStreamError)]);
    assert_eq!(refusals(&at_b), [(Direction::Inbound, Reason::HostUnknown)]);
    assert_eq!(world.take_dialled(), [SocketAddr::new(addr(2), 5269)], "our haste is not to blame");
}

#[test]
//= RFC7590-3.4-1 test
fn a_strict_host_refuses_a_self_signed_peer_in_both_directions() {
    let lax = HostOptions::default();
    let (mut world, a, b) = world((Some(Kind::Valid), secure()), (Some(Kind::SelfSigned), lax), true, false);
    world.send(a, &message(A, B, "there"));
    world.run();
    let (at_a, at_b) = (world.take_events(a), world.take_events(b));
    assert_eq!(bounces(&at_a), [Reason::CertSelfSigned]);
    assert_eq!(refusals(&at_a), [(Direction::Outbound, Reason::CertSelfSigned)]);
    assert_eq!(refusals(&at_b), [(Direction::Inbound, Reason::PeerStreamError)]);

    world.send(b, &message(B, A, "back"));
    world.run();
    let (at_a, at_b) = (world.take_events(a), world.take_events(b));
    assert_eq!(bounces(&at_b), [Reason::PeerStreamError]);
    assert_eq!(refusals(&at_a), [(Direction::Inbound, Reason::CertSelfSigned)]);
    let Some(Event::Refused { detail, .. }) = at_b.iter().find(|event| matches!(event, Event::Refused { .. })) else {
        panic!("b is told: {at_b:?}");
    };
    assert_eq!(detail, "not-authorized: Your server's certificate is self-signed");
    assert!(delivered(&at_a).is_empty());
}

#[test]
fn a_host_that_demands_encryption_does_not_speak_in_clear() {
    let demands = HostOptions { require_encryption: true, ..HostOptions::default() };
    let (mut world, a, b) = world((Some(Kind::Valid), demands), (None, HostOptions::default()), true, false);
    world.send(a, &message(A, B, "there"));
    world.run();
    assert_eq!(bounces(&world.take_events(a)), [Reason::StarttlsNotOffered]);
    world.take_events(b);
    world.send(b, &message(B, A, "back"));
    world.run();
    // b has no certificate of its own, but can speak TLS: dialback inside it is what a lax host takes.
    assert_eq!(bounces(&world.take_events(b)), [Reason::DialbackError]);
    assert!(delivered(&world.take_events(a)).is_empty());
}

#[test]
//= RFC6120-13.9.2-1 test
fn names_that_do_not_resolve_and_ports_that_are_closed_bounce_with_their_reason() {
    let (mut world, a, _) = world((Some(Kind::Valid), secure()), (Some(Kind::Valid), secure()), true, false);
    world.publish("dead.example.com", addr(9), true, false);
    world.send(a, &message(A, "nowhere.example.com", "1"));
    world.send(a, &message(A, "dead.example.com", "2"));
    world.run();
    assert_eq!(bounces(&world.take_events(a)), [Reason::DnsNxdomain, Reason::ConnectRefused]);
}

#[test]
//= RFC6120-10.1-2 test
//= RFC6120-10.4.2-1 test
//= XEP0220-2.1.1-3 test
fn stanzas_arrive_in_order_and_wait_for_the_stream() {
    let (mut world, a, b) = world((Some(Kind::Valid), secure()), (Some(Kind::Valid), secure()), true, false);
    let ids: Vec<_> = (0..500).map(|n| n.to_string()).collect();
    for id in &ids {
        world.send(a, &message(A, B, id));
    }
    world.run();
    assert_eq!(delivered(&world.take_events(b)), ids);
}

#[test]
fn errors_and_results_are_never_answered_by_an_error() {
    let (mut world, a, _) = world((Some(Kind::Valid), secure()), (Some(Kind::Valid), secure()), true, false);
    for (kind, stanza_type) in [("message", "error"), ("presence", "error"), ("iq", "result"), ("iq", "error")] {
        world.send(a, &format!("<{kind} type='{stanza_type}' id='1' from='x@{A}' to='y@nowhere.example.com'/>"));
    }
    world.send(a, &format!("<iq type='get' id='1' from='x@{A}' to='y@nowhere.example.com'><q xmlns='urn:q'/></iq>"));
    world.run();
    let answers: Vec<_> = world
        .take_events(a)
        .into_iter()
        .filter_map(|event| match event {
            Event::Undeliverable { stanza, reason, .. } => Some(stanza.bounce(reason).is_some()),
            _ => None,
        })
        .collect();
    assert_eq!(answers, [false, false, false, false, true]);
}

#[test]
//= RFC6120-4.6.1-1 test
fn a_killed_peer_costs_no_stanza_that_was_not_written() {
    let (mut world, a, b) = world((Some(Kind::Valid), secure()), (Some(Kind::Valid), secure()), true, false);
    world.send(a, &message(A, B, "before"));
    world.run();
    assert_eq!(delivered(&world.take_events(b)), ["before"]);
    for n in 0..50 {
        world.send(a, &message(A, B, &n.to_string()));
    }
    world.kill(addr(2));
    world.run();
    let at_a = world.take_events(a);
    assert_eq!(bounces(&at_a), vec![Reason::ConnectRefused; 50], "all fifty waited, and nobody is there any more");
    let authority = Authority::root("the authority");
    world.revive(b, config(&authority, B, Some(Kind::Valid), secure()));
    world.run_for(s2s_core::limits::BACKOFF_BASE);
    world.send(a, &message(A, B, "after"));
    world.run();
    assert_eq!(delivered(&world.take_events(b)), ["after"]);
}

/// A peer of our own making that node 0 has reached in clear and proved itself to by dialback.
fn reached_puppet(world: &mut World, a: NodeIndex, server: SocketAddr) -> Puppet {
    world.listen(server);
    world.send(a, &message(A, B, "first"));
    let puppet = world.accept(server).expect("a dials");
    world.say(
        puppet,
        response(B, A, "id") + "<stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>",
    );
    world.say(puppet, format!("<db:result from='{B}' to='{A}' type='valid'/>"));
    assert!(world.hear_text(puppet).contains("id='first'"));
    puppet
}

#[test]
//= RFC6120-4.4-2 test
fn what_was_written_before_the_peer_closed_is_not_sent_again() {
    let authority = Authority::root("the authority");
    let mut world = World::new(Cutting::Whole);
    let a = world.add(addr(1), config(&authority, A, None, HostOptions::default()));
    world.publish(B, addr(9), true, false);
    let server = SocketAddr::new(addr(9), 5269);
    let puppet = reached_puppet(&mut world, a, server);
    world.send(a, &message(A, B, "second"));
    world.say(puppet, "</stream:stream>");
    let heard = world.hear_text(puppet);
    assert!(heard.contains("id='second'") && heard.ends_with("</stream:stream>"), "{heard}");
    world.send(a, &message(A, B, "third"));
    assert_eq!(world.accept(server), None, "the old connection is still there");
    world.hang_up(puppet);
    let next = world.accept(server).expect("the third stanza wants a stream");
    world.say(
        next,
        response(B, A, "id2") + "<stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>",
    );
    world.say(next, format!("<db:result from='{B}' to='{A}' type='valid'/>"));
    let heard = world.hear_text(next);
    assert!(heard.contains("id='third'") && !heard.contains("id='second'"), "{heard}");
}

/// What is told of certificates: of each pair that came up, its own, and of each change, the ones before and of now.
fn certificates(events: &[Event]) -> (Vec<[u8; 32]>, Vec<[[u8; 32]; 2]>) {
    let (mut up, mut changed) = (Vec::new(), Vec::new());
    for event in events {
        match event {
            Event::PeerUp { link, .. } => up.push(link.certificate.expect("it showed one")),
            Event::CertificateChanged { link, before, .. } => {
                changed.push([*before, link.certificate.expect("it showed one")]);
            }
            _ => {}
        }
    }
    (up, changed)
}

#[test]
//= RFC7590-3.6-1 test
fn the_certificate_of_a_peer_is_told_with_each_stream_and_once_more_when_it_has_changed() {
    let authority = Authority::root("the authority");
    let mut world = World::new(Cutting::Whole);
    let a = world.add(addr(1), config(&authority, A, Some(Kind::Valid), secure()));
    let b = world.add(addr(2), config(&authority, B, Some(Kind::Valid), secure()));
    world.publish(A, addr(1), true, false);
    world.publish(B, addr(2), true, false);
    exchange_without_looking(&mut world, a, b);
    let (first, changed) = certificates(&world.take_events(a));
    let old = first[0];
    assert_eq!((first, changed), (vec![old; 2], vec![]), "both directions, one certificate, and nothing before it");

    world.kill(addr(2));
    world.run();
    world.revive(b, config(&authority, B, Some(Kind::ServerAuth), secure()));
    exchange_without_looking(&mut world, a, b);
    let (second, changed) = certificates(&world.take_events(a));
    let new = second[0];
    assert_ne!(old, new, "another one");
    assert_eq!((second, changed), (vec![new; 2], vec![[old, new]]), "told once, not for each stream");
}

fn exchange_without_looking(world: &mut World, a: NodeIndex, b: NodeIndex) {
    world.send(a, &message(A, B, "there"));
    world.run();
    world.send(b, &message(B, A, "back"));
    world.run();
}
