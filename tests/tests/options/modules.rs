//! `modules_disabled`.

use std::net::SocketAddr;

use s2s_core::auth::Method;
use s2s_core::dns::Security;
use s2s_core::machine::Listener;
use s2s_core::node::StaticRoute;
use s2s_core::policy::HostOptions;
use s2s_core::reason::Reason;
use s2s_tests::certificates::Kind;
use s2s_tests::dns_server::Zone;
use s2s_tests::puppetry::{PROCEED, STARTTLS, Tls, header};
use s2s_tests::world::{Cutting, World, domain};

use crate::federations::{IN, OURS, OUT, THEIRS, Told, Two, addr, authority, config, lax, message, secure};

fn valid(options: HostOptions) -> (Option<Kind>, HostOptions) {
    (Some(Kind::Valid), options)
}

#[test]
fn modules_disabled_s2s_closes_both_directions() {
    let mut two = Two::with(valid(HostOptions { s2s_disabled: true, ..lax() }), valid(lax()));
    let (ours, theirs) = two.there();
    assert_eq!(ours, Told { bounced: vec![Reason::HostDisabled], ..Told::default() });
    assert_eq!(theirs, Told::default(), "nobody was dialled");
    let (ours, theirs) = two.back();
    assert_eq!(ours, Told { refused: vec![(IN, Reason::HostDisabled)], ..Told::default() });
    assert_eq!(theirs.bounced, [Reason::PeerStreamError]);
    let written = two.world.plaintext(two.ours).concat();
    assert!(written.contains("<policy-violation "), "{written}");
    assert!(written.contains("Server-to-server communication is disabled for this host"), "{written}");
}

#[test]
fn modules_disabled_s2s_of_one_host_leaves_the_others_alone() {
    const SECOND: &str = "second.example.org";
    let mut both = config(OURS, None, HostOptions { s2s_disabled: true, ..lax() });
    both.hosts.insert(domain(SECOND), lax());
    let mut two = Two::new(both, config(THEIRS, None, lax()));
    two.world.publish(SECOND, addr(1), true, false);
    two.world.send(two.theirs, &message(THEIRS, SECOND, "1"));
    let (ours, _) = two.told();
    assert_eq!(ours.delivered, ["1"]);
    assert_eq!(two.there().0.bounced, [Reason::HostDisabled]);
}

#[test]
fn modules_disabled_tls_speaks_in_clear_and_offers_no_starttls() {
    let mut two = Two::with(valid(HostOptions { tls_disabled: true, ..lax() }), valid(lax()));
    assert_eq!(two.federate(), (Method::Dialback, Method::Dialback));
    let written = two.world.plaintext(two.ours).concat();
    assert!(!written.contains("<starttls ") && !written.contains("<proceed "), "{written}");
}

#[test]
fn modules_disabled_tls_meets_nobody_who_demands_encryption() {
    let mut two = Two::with(valid(HostOptions { tls_disabled: true, ..lax() }), valid(secure()));
    let (ours, theirs) = two.there();
    assert!(theirs.delivered.is_empty() && !ours.bounced.is_empty(), "{ours:?} {theirs:?}");
    assert!(ours.up.is_empty() && theirs.up.is_empty(), "{ours:?} {theirs:?}");
    assert_eq!(two.back().1.bounced, [Reason::StarttlsNotOffered]);
}

#[test]
fn modules_disabled_tls_beside_a_demand_for_encryption_says_so() {
    let mut two = Two::with(valid(HostOptions { tls_disabled: true, ..secure() }), valid(lax()));
    let (ours, _) = two.there();
    let reason = Reason::EncryptionRequired;
    assert_eq!(ours, Told { refused: vec![(OUT, reason)], bounced: vec![reason], ..Told::default() });
    let (ours, theirs) = two.back();
    assert_eq!(ours.refused, [(IN, reason)]);
    assert_eq!(theirs.bounced, [Reason::PeerStreamError]);
}

#[test]
fn modules_disabled_tls_neither_dials_nor_answers_direct_tls() {
    let mut two = Two::with(valid(HostOptions { tls_disabled: true, ..lax() }), valid(lax()));
    two.world.publish(THEIRS, addr(2), false, true);
    assert_eq!(two.federate(), (Method::Dialback, Method::Dialback), "the records for STARTTLS are there too");
    two.world.zone = Zone::new();
    two.world.publish("direct.example.net", addr(2), false, true);
    two.world.send(two.ours, &message(OURS, "direct.example.net", "1"));
    assert_eq!(two.told().0.bounced, [Reason::NoAddress]);
    let mut routed = config(OURS, None, HostOptions { tls_disabled: true, ..lax() });
    let security = Security::DirectTls;
    routed.routes.insert(domain(THEIRS), StaticRoute { addr: SocketAddr::new(addr(2), 5270), security });
    let mut two = Two::new(routed, config(THEIRS, Some(Kind::Valid), lax()));
    assert_eq!(two.there().0.bounced, [Reason::NoAddress]);
    let mut world = World::new(Cutting::Whole);
    world.tap = Some(std::collections::BTreeMap::new());
    let node = world.add(addr(1), config(OURS, Some(Kind::Valid), HostOptions { tls_disabled: true, ..lax() }));
    let puppet = world.connect(node, Listener::DirectTls);
    let chain = authority().issue_kind(Kind::Valid, &domain(THEIRS)).chain;
    let mut tls = Tls::connect(&mut world, puppet, &domain(THEIRS), chain, &domain(OURS));
    let heard = tls.say(&mut world, &header(THEIRS, OURS));
    assert!(heard.contains("<policy-violation ") && !heard.contains("<stream:features>"), "{heard}");
    assert_eq!(Told::of(&world.take_events(node)).refused, [(IN, Reason::HostDisabled)]);
}

#[test]
fn modules_disabled_saslauth_leaves_dialback_which_the_certificate_proves() {
    let mut two = Two::with(valid(HostOptions { external_disabled: true, ..lax() }), valid(lax()));
    let (ours, theirs) = two.federate();
    assert_eq!((ours, theirs), (Method::Dialback, Method::Dialback));
    let written = two.world.plaintext(two.ours).concat();
    assert!(!written.contains("<mechanisms ") && !written.contains("<auth "), "{written}");
}

#[test]
fn modules_disabled_saslauth_answers_an_attempt_all_the_same_with_a_failure() {
    let mut world = World::new(Cutting::Whole);
    world.tap = Some(std::collections::BTreeMap::new());
    let options = HostOptions { external_disabled: true, ..lax() };
    let node = world.add(addr(1), config(OURS, Some(Kind::Valid), options));
    let puppet = world.connect(node, Listener::StartTls);
    world.say(puppet, header(THEIRS, OURS));
    world.say(puppet, STARTTLS);
    assert!(world.hear_text(puppet).ends_with(PROCEED));
    let chain = authority().issue_kind(Kind::Valid, &domain(THEIRS)).chain;
    let mut tls = Tls::connect(&mut world, puppet, &domain(THEIRS), chain, &domain(OURS));
    let features = tls.say(&mut world, &header(THEIRS, OURS));
    assert!(features.contains("<dialback ") && !features.contains("EXTERNAL"), "{features}");
    let answer = tls.say(&mut world, s2s_tests::puppetry::AUTH);
    assert!(answer.contains("<failure ") && !answer.contains("<success "), "{answer}");
    assert!(Told::of(&world.take_events(node)).up.is_empty());
}

#[test]
fn modules_disabled_dialback_leaves_external_alone() {
    let mut two = Two::with(valid(HostOptions { dialback_disabled: true, ..lax() }), valid(lax()));
    assert_eq!(two.federate(), (Method::External, Method::External));
    assert!(!two.world.plaintext(two.ours).concat().contains("<dialback "));
}

#[test]
fn modules_disabled_dialback_refuses_what_could_be_proved_in_no_other_way() {
    let options = || HostOptions { dialback_disabled: true, ..lax() };
    let mut two = Two::with(valid(options()), (Some(Kind::SelfSigned), lax()));
    let (ours, theirs) = two.back();
    // Nothing is offered to such a certificate; they try because our header declares the namespace of dialback.
    assert_eq!(ours.refused.first(), Some(&(IN, Reason::DialbackDeniedByPolicy)));
    assert_eq!((ours.up, ours.delivered), (vec![], vec![]));
    assert_eq!(theirs.bounced, [Reason::DialbackError]);
    // We prove ourselves by certificate even so, whatever theirs is.
    assert_eq!(two.there().1.delivered, ["there"]);
    // Where they do not take ours, there is no other way.
    let mut two = Two::with((Some(Kind::SelfSigned), options()), valid(lax()));
    assert_eq!(two.there().0.bounced, [Reason::ExternalNotOffered]);
}

#[test]
fn modules_disabled_dialback_answers_keys_and_questions_with_errors() {
    let mut world = World::new(Cutting::Whole);
    world.tap = Some(std::collections::BTreeMap::new());
    let node = world.add(addr(1), config(OURS, None, HostOptions { dialback_disabled: true, ..lax() }));
    let authoritative = SocketAddr::new(addr(9), 5269);
    world.publish(THEIRS, addr(9), true, false);
    world.listen(authoritative);
    let puppet = world.connect(node, Listener::StartTls);
    world.say(puppet, header(THEIRS, OURS));
    world.hear(puppet);
    world.say(puppet, format!("<db:result from='{THEIRS}' to='{OURS}'>a key</db:result>"));
    let heard = world.hear_text(puppet);
    assert!(heard.contains("type='error'") && heard.contains("<not-authorized "), "{heard}");
    world.say(puppet, format!("<db:verify from='{THEIRS}' to='{OURS}' id='1'>a key</db:verify>"));
    let heard = world.hear_text(puppet);
    assert!(heard.contains("type='error'") && heard.contains("<item-not-found "), "{heard}");
    assert!(world.accept(authoritative).is_none(), "nobody is asked");
    assert_eq!(Told::of(&world.take_events(node)).refused, [(IN, Reason::DialbackDeniedByPolicy)]);
}
