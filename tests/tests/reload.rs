//! What another configuration means for what is under way: a pair that it forbids does not come up.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use s2s_core::machine::Listener;
use s2s_core::node::{Command, Config, Event};
use s2s_core::policy::{DomainList, HostOptions};
use s2s_core::reason::Reason;
use s2s_core::route::PrivateAddresses;
use s2s_tests::certificates::{Authority, Kind};
use s2s_tests::fake_tls::FakeProvider;
use s2s_tests::puppetry::{AUTH, PROCEED, STARTTLS, Tls, asked_id, header, response};
use s2s_tests::world::{Cutting, NodeIndex, World, domain};

const A: &str = "a.example.org";
const B: &str = "b.example.net";
const OFFERS_DIALBACK: &str = "<stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>";

fn theirs() -> SocketAddr {
    SocketAddr::new(IpAddr::from([192, 0, 2, 9]), 5269)
}

fn config(options: HostOptions) -> Config {
    let authority = Authority::root("the authority");
    let chain = authority.issue_kind(Kind::Valid, &domain(A)).chain;
    let mut config = World::config(Arc::new(FakeProvider::new(vec![(domain(A), chain)])), authority.trust());
    config.private_addresses = PrivateAddresses::Always;
    config.hosts.insert(domain(A), options);
    config
}

/// A node of [`A`], and a puppet at the server of [`B`].
fn world() -> (World, NodeIndex) {
    let mut world = World::new(Cutting::Whole);
    let node = world.add(IpAddr::from([192, 0, 2, 1]), config(HostOptions::default()));
    world.publish(B, theirs().ip(), true, false);
    world.listen(theirs());
    (world, node)
}

fn reload(world: &mut World, node: NodeIndex, options: HostOptions) {
    world.command(node, Command::Reconfigure(Box::new(config(options))));
    world.run();
}

fn denied() -> HostOptions {
    let mut deny_domains = DomainList::default();
    deny_domains.insert(B).expect("a domain");
    HostOptions { deny_domains, ..HostOptions::default() }
}

/// Whether a pair came up, and why something was refused.
fn told(world: &mut World, node: NodeIndex) -> (bool, Vec<Reason>) {
    let events = world.take_events(node);
    let up = events.iter().any(|event| matches!(event, Event::PeerUp { .. }));
    let refused =
        events.iter().filter_map(|event| if let Event::Refused { reason, .. } = event { Some(*reason) } else { None });
    (up, refused.collect())
}

#[test]
fn a_key_that_is_confirmed_behind_a_reload_proves_nobody_whom_that_denies() {
    for (options, expected) in
        [(HostOptions::default(), (true, vec![])), (denied(), (false, vec![Reason::DomainDenied]))]
    {
        let (mut world, node) = world();
        let peer = world.connect(node, Listener::StartTls);
        world.say(peer, header(B, A));
        world.say(peer, format!("<db:result from='{B}' to='{A}'>key</db:result>"));
        world.hear_text(peer);
        let server = world.accept(theirs()).expect("its server is asked");
        world.say(server, response(B, A, "server") + OFFERS_DIALBACK);
        let question = world.hear_text(server);
        let id = asked_id(&question);
        reload(&mut world, node, options);
        world.say(server, format!("<db:verify from='{B}' to='{A}' id='{id}' type='valid'/>"));
        assert_eq!(told(&mut world, node), expected);
        let answer = world.hear_text(peer);
        assert_eq!(answer.contains("type='valid'"), expected.0, "{answer}");
    }
}

/// The peer at `server` says that the key is valid which it was asked about.
fn confirm(world: &mut World, from: &str) {
    let server = world.accept(theirs()).expect("its server is asked");
    world.say(server, response(from, A, "server") + OFFERS_DIALBACK);
    let question = world.hear_text(server);
    let id = asked_id(&question);
    world.say(server, format!("<db:verify from='{from}' to='{A}' id='{id}' type='valid'/>"));
}

#[test]
fn a_domain_that_has_become_one_of_ours_is_nobody_elses_any_more() {
    for ours in [false, true] {
        let (mut world, node) = world();
        world.send(node, &format!("<message from='x@{A}' to='y@{B}'/>"));
        let server = world.accept(theirs()).expect("the node dials");
        world.say(server, response(B, A, "server") + OFFERS_DIALBACK);
        world.say(server, format!("<db:result from='{B}' to='{A}' type='valid'/>"));
        let peer = world.connect(node, Listener::StartTls);
        world.say(peer, header(B, A));
        world.say(peer, format!("<db:result from='{B}' to='{A}'>key</db:result>"));
        confirm(&mut world, B);
        world.take_events(node);

        let mut after = config(HostOptions::default());
        if ours {
            after.hosts.insert(domain(B), HostOptions::default());
        }
        world.command(node, Command::Reconfigure(Box::new(after)));
        world.run();
        world.say(peer, format!("<message from='x@{B}' to='y@{A}'/>"));
        let events = world.take_events(node);
        let heard = events.iter().any(|event| matches!(event, Event::Stanza { .. }));
        let down = events.iter().filter(|event| matches!(event, Event::PeerDown { .. })).count();
        assert_eq!((heard, down), if ours { (false, 2) } else { (true, 0) }, "{events:?}");
    }
}

#[test]
fn a_stanza_on_its_way_to_a_domain_that_a_reload_denies_comes_back_for_that() {
    let (mut world, node) = world();
    world.send(node, &format!("<message from='x@{A}' to='y@{B}'/>"));
    let server = world.accept(theirs()).expect("the node dials");
    world.say(server, response(B, A, "server") + OFFERS_DIALBACK);
    world.deafen(server);
    world.say(server, format!("<db:result from='{B}' to='{A}' type='valid'/>"));
    reload(&mut world, node, denied());
    world.break_off(server);
    let events = world.take_events(node);
    let reasons = events.iter().filter_map(|event| match event {
        Event::Undeliverable { reason, .. } => Some(*reason),
        _ => None,
    });
    assert_eq!(reasons.collect::<Vec<_>>(), [Reason::DomainDenied]);
}

#[test]
fn a_pair_in_which_we_proved_ourselves_by_dialback_ends_with_a_reload_that_disables_it() {
    for dialback_disabled in [false, true] {
        let (mut world, node) = world();
        world.send(node, &format!("<message from='x@{A}' to='y@{B}'/>"));
        let server = world.accept(theirs()).expect("the node dials");
        world.say(server, response(B, A, "server") + OFFERS_DIALBACK);
        world.say(server, format!("<db:result from='{B}' to='{A}' type='valid'/>"));
        assert_eq!(told(&mut world, node), (true, Vec::new()));
        reload(&mut world, node, HostOptions { dialback_disabled, ..HostOptions::default() });
        let refused = if dialback_disabled { vec![Reason::DialbackDeniedByPolicy] } else { Vec::new() };
        assert_eq!(told(&mut world, node), (false, refused));
        let heard = world.hear_text(server);
        assert_eq!(heard.contains("<policy-violation "), dialback_disabled, "{heard}");
    }
}

#[test]
fn a_certificate_that_was_invited_before_a_reload_proves_nobody_whom_that_denies() {
    for (options, expected) in
        [(HostOptions::default(), (true, vec![])), (denied(), (false, vec![Reason::DomainDenied]))]
    {
        let (mut world, node) = world();
        let peer = world.connect(node, Listener::DirectTls);
        let chain = Authority::root("the authority").issue_kind(Kind::Valid, &domain(B)).chain;
        let mut tls = Tls::connect(&mut world, peer, &domain(B), chain, &domain(A));
        let offer = tls.say(&mut world, &header(B, A));
        assert!(offer.contains("EXTERNAL"), "{offer}");
        reload(&mut world, node, options);
        let heard = tls.say(&mut world, AUTH);
        assert_eq!(told(&mut world, node), expected);
        assert_eq!(heard.contains("<policy-violation"), !expected.0, "{heard}");
    }
}

#[test]
fn a_stream_in_clear_that_is_accepted_behind_a_reload_carries_nothing_if_that_demands_encryption() {
    for demand in [false, true] {
        let (mut world, node) = world();
        world.send(node, &format!("<message from='x@{A}' to='y@{B}'/>"));
        let server = world.accept(theirs()).expect("the node dials");
        world.say(server, response(B, A, "server") + OFFERS_DIALBACK);
        reload(&mut world, node, HostOptions { require_encryption: demand, ..HostOptions::default() });
        world.say(server, format!("<db:result from='{B}' to='{A}' type='valid'/>"));
        let expected = if demand { (false, vec![Reason::EncryptionRequired]) } else { (true, Vec::new()) };
        let told = told(&mut world, node);
        assert_eq!((told.0, told.1.first()), (expected.0, expected.1.first()));
        assert_eq!(world.hear_text(server).contains("<message"), !demand);
    }
}

#[test]
fn a_certificate_that_a_reload_brings_is_there_for_connections_that_were_there_before() {
    let mut world = World::new(Cutting::Whole);
    let without = Config { tls: Arc::new(FakeProvider::new(vec![])), ..config(HostOptions::default()) };
    let node = world.add(IpAddr::from([192, 0, 2, 1]), without);
    let peer = world.connect(node, Listener::StartTls);
    reload(&mut world, node, HostOptions::default());
    world.say(peer, header(B, A) + STARTTLS);
    assert!(world.hear_text(peer).ends_with(PROCEED));
    let mut tls = Tls::connect(&mut world, peer, &domain(B), vec![], &domain(A));
    assert!(tls.say(&mut world, &header(B, A)).contains("<stream:features"));
    assert_eq!(told(&mut world, node), (false, vec![]));
}

#[test]
fn tls_that_was_offered_is_served_although_a_reload_has_taken_the_certificate_away_since() {
    let (mut world, node) = world();
    let peer = world.connect(node, Listener::StartTls);
    world.say(peer, header(B, A));
    assert!(world.hear_text(peer).contains("<starttls"));
    let without = Config { tls: Arc::new(FakeProvider::new(vec![])), ..config(HostOptions::default()) };
    world.command(node, Command::Reconfigure(Box::new(without)));
    world.run();
    world.say(peer, STARTTLS);
    assert!(world.hear_text(peer).ends_with(PROCEED));
    let mut tls = Tls::connect(&mut world, peer, &domain(B), vec![], &domain(A));
    assert!(tls.say(&mut world, &header(B, A)).contains("<stream:stream"));
}
