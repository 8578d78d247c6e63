//! What the certificate on a connection is worth: for whom, when, and to whom we trust at that moment.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use s2s_core::machine::{Listener, Machine};
use s2s_core::node::{Command, Config, Event};
use s2s_core::policy::HostOptions;
use s2s_core::reason::Reason;
use s2s_tests::certificates::{Authority, Kind, NOW};
use s2s_tests::fake_tls::FakeProvider;
use s2s_tests::puppetry::{AUTH, Tls, header};
use s2s_tests::world::{Cutting, NodeIndex, World, domain};

const OURS: &str = "a.example.org";
const PEER: &str = "b.example.net";
const OTHER: &str = "c.example.com";

/// A host of ours that proves peers by their certificates alone, if `authority` issued them.
fn config(authority: &Authority) -> Config {
    let chain = authority.issue_kind(Kind::Valid, &domain(OURS)).chain;
    let mut config = World::config(Arc::new(FakeProvider::new(vec![(domain(OURS), chain)])), authority.trust());
    config.hosts.insert(domain(OURS), HostOptions { secure_auth: true, ..HostOptions::default() });
    config
}

/// A node, and a peer that is invited to prove itself by its certificate, which `authority` issued.
fn invited(authority: &Authority) -> (World, NodeIndex, Tls) {
    let mut world = World::new(Cutting::Whole);
    let node = world.add(IpAddr::from([192, 0, 2, 1]), config(authority));
    let puppet = world.connect(node, Listener::DirectTls);
    let chain = authority.issue_kind(Kind::Valid, &domain(PEER)).chain;
    let mut tls = Tls::connect(&mut world, puppet, &domain(PEER), chain, &domain(OURS));
    let offer = tls.say(&mut world, &header(PEER, OURS));
    assert!(offer.contains("EXTERNAL"), "{offer}");
    (world, node, tls)
}

/// How many pairs came up, and why somebody was refused.
fn told(world: &mut World, node: NodeIndex) -> (usize, Vec<Reason>) {
    let events = world.take_events(node);
    let refused = events.iter().filter_map(|event| match event {
        Event::Refused { reason, .. } => Some(*reason),
        _ => None,
    });
    let up = events.iter().filter(|event| matches!(event, Event::PeerUp { .. })).count();
    (up, refused.collect())
}

#[test]
fn a_certificate_that_proved_one_domain_proves_no_other_on_the_same_stream() {
    let authority = Authority::root("the authority");
    let (mut world, node, mut tls) = invited(&authority);
    tls.say(&mut world, AUTH);
    tls.say(&mut world, &header(PEER, OURS));
    assert_eq!(told(&mut world, node), (1, vec![]));
    let heard = tls.say(&mut world, &format!("<db:result from='{OTHER}' to='{OURS}'>key</db:result>"));
    assert_eq!(told(&mut world, node), (0, vec![Reason::CertNameMismatch]), "{heard}");
}

#[test]
fn a_certificate_that_has_ended_since_it_was_judged_first_proves_nobody() {
    let authority = Authority::root("the authority");
    for (passed, expected) in [
        (Duration::from_secs(1), (1, vec![])),
        (Duration::from_secs(30 * 365 * 86_400), (0, vec![Reason::CertExpired])),
    ] {
        let (mut world, node, mut tls) = invited(&authority);
        // The clock is set, and no other time passes.
        let now = world.now;
        world.node(node).handle_clock(now, NOW + passed);
        let heard = tls.say(&mut world, &format!("<db:result from='{PEER}' to='{OURS}'>key</db:result>"));
        assert_eq!(told(&mut world, node), expected, "{heard}");
    }
}

#[test]
fn a_certificate_of_an_authority_that_a_reload_has_taken_away_proves_nobody() {
    let (before, other) = (Authority::root("the authority"), Authority::root("another"));
    for (after, expected) in [(&before, (1, vec![])), (&other, (0, vec![Reason::CertUnknownIssuer]))] {
        let (mut world, node, mut tls) = invited(&before);
        world.command(node, Command::Reconfigure(Box::new(config(after))));
        world.run();
        let heard = tls.say(&mut world, AUTH);
        assert_eq!(told(&mut world, node), expected, "{heard}");
    }
}
