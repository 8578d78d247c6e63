//! `s2s_secure_auth`, `s2s_require_encryption`, `s2s_dialback_to_verified`, TLS first and dialback after it, and the
//! overrides of hosts.

use s2s_core::auth::Method;
use s2s_core::machine::Listener;
use s2s_core::policy::HostOptions;
use s2s_core::reason::Reason;
use s2s_tests::certificates::Kind;
use s2s_tests::puppetry::{PROCEED, STARTTLS, Tls, header};
use s2s_tests::world::{Cutting, World, domain};

use crate::federations::{IN, OURS, OUT, THEIRS, Told, Two, addr, authority, config, lax, list, message, secure};

/// The kinds of certificates that prove nothing, and why.
fn bad_kinds() -> impl Iterator<Item = (Kind, Reason)> {
    Kind::ALL.iter().filter_map(|kind| Some((*kind, kind.verdict().err()?.reason())))
}

#[test]
fn s2s_secure_auth_refuses_every_bad_certificate_in_both_directions() {
    for (kind, reason) in bad_kinds() {
        let mut two = Two::with((Some(Kind::Valid), secure()), (Some(kind), lax()));
        let (ours, theirs) = two.there();
        assert_eq!(ours, Told { refused: vec![(OUT, reason)], bounced: vec![reason], ..Told::default() }, "{kind:?}");
        assert_eq!(theirs.refused, [(IN, Reason::PeerStreamError)], "{kind:?}");
        let (ours, theirs) = two.back();
        assert_eq!(ours, Told { refused: vec![(IN, reason)], ..Told::default() }, "{kind:?}");
        assert_eq!(theirs.bounced, [Reason::PeerStreamError], "{kind:?}");
    }
}

#[test]
fn s2s_secure_auth_takes_every_good_certificate_in_both_directions() {
    for kind in Kind::ALL.iter().filter(|kind| kind.verdict().is_ok()) {
        let mut two = Two::with((Some(Kind::Valid), secure()), (Some(*kind), secure()));
        assert_eq!(two.federate(), (Method::External, Method::External), "{kind:?}");
    }
}

#[test]
fn s2s_secure_auth_demands_encryption_although_s2s_require_encryption_is_off() {
    let strict = HostOptions { secure_auth: true, ..HostOptions::default() };
    let mut two = Two::with((Some(Kind::Valid), strict), (None, lax()));
    let (ours, _) = two.there();
    assert_eq!(ours.bounced, [Reason::StarttlsNotOffered]);
    let (ours, theirs) = two.back();
    assert_eq!(ours.refused, [(IN, Reason::CertMissing)]);
    assert_eq!(theirs.bounced, [Reason::PeerStreamError]);
}

#[test]
fn s2s_secure_auth_off_takes_dialback_whatever_the_certificate() {
    for (kind, _) in bad_kinds() {
        let mut two = Two::with((Some(Kind::Valid), lax()), (Some(kind), lax()));
        let (_, theirs) = two.federate();
        assert_eq!(theirs, Method::Dialback, "{kind:?}");
    }
}

#[test]
//= RFC7590-3.4-2 test
//= XEP0220-3-1 test
fn s2s_secure_auth_turns_dialback_off_for_every_domain_on_a_stream() {
    const OTHER: &str = "other.example.com";
    let mut world = World::new(Cutting::Whole);
    world.tap = Some(std::collections::BTreeMap::new());
    let node = world.add(addr(1), config(OURS, Some(Kind::Valid), secure()));
    let authoritative = std::net::SocketAddr::new(addr(9), 5269);
    world.publish(OTHER, addr(9), true, false);
    world.listen(authoritative);
    let puppet = world.connect(node, Listener::StartTls);
    world.say(puppet, header(THEIRS, OURS));
    world.say(puppet, STARTTLS);
    assert!(world.hear_text(puppet).ends_with(PROCEED));
    let chain = authority().issue_kind(Kind::Valid, &domain(THEIRS)).chain;
    let mut tls = Tls::connect(&mut world, puppet, &domain(THEIRS), chain, &domain(OURS));
    tls.say(&mut world, &header(THEIRS, OURS));
    let proved = tls.say(&mut world, &format!("<db:result from='{THEIRS}' to='{OURS}'>a key</db:result>"));
    assert!(proved.contains("type='valid'"), "the certificate proves this one: {proved}");
    let denied = tls.say(&mut world, &format!("<db:result from='{OTHER}' to='{OURS}'>a key</db:result>"));
    assert!(denied.contains("type='error'") && denied.contains("<not-authorized "), "{denied}");
    assert!(world.accept(authoritative).is_none(), "nobody is asked");
    let told = Told::of(&world.take_events(node));
    assert_eq!(told.up, [(IN, Method::Certificate)]);
    assert_eq!(told.refused, [(IN, Reason::CertNameMismatch)]);
    tls.say(&mut world, &message(THEIRS, OURS, "1"));
    assert_eq!(Told::of(&world.take_events(node)).delivered, ["1"], "the stream and the other pair live on");
    let heard = tls.say(&mut world, &message(OTHER, OURS, "2"));
    assert!(heard.contains("<invalid-from "), "{heard}");
    assert_eq!(Told::of(&world.take_events(node)).delivered, Vec::<String>::new());
}

#[test]
//= RFC6120-5.2-2 test
//= RFC9325-3.2-1 test
fn s2s_require_encryption_refuses_clear_text_in_both_directions() {
    let demands = HostOptions { require_encryption: true, ..HostOptions::default() };
    let without_tls = HostOptions { tls_disabled: true, ..HostOptions::default() };
    let mut two = Two::with((Some(Kind::Valid), demands), (None, without_tls));
    let (ours, theirs) = two.there();
    let reason = Reason::StarttlsNotOffered;
    assert_eq!(ours, Told { refused: vec![(OUT, reason)], bounced: vec![reason], ..Told::default() });
    assert_eq!(theirs.refused, [(IN, Reason::StarttlsRefused)], "TLS was asked for with the header");
    let (ours, theirs) = two.back();
    // What they send in clear is dialback, which their features said they may not.
    assert!(ours.up.is_empty() && ours.delivered.is_empty(), "{ours:?}");
    assert!(!theirs.bounced.is_empty(), "{theirs:?}");
}

#[test]
//= RFC6120-5.4.1-2 test
fn s2s_require_encryption_offers_starttls_as_required_and_no_dialback_before_it() {
    for (demanded, starttls) in [(true, "<required/>"), (false, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")]
    {
        let options = HostOptions { require_encryption: demanded, ..HostOptions::default() };
        let mut world = World::new(Cutting::Whole);
        world.tap = Some(std::collections::BTreeMap::new());
        let node = world.add(addr(1), config(OURS, Some(Kind::Valid), options));
        let puppet = world.connect(node, Listener::StartTls);
        world.say(puppet, header(THEIRS, OURS));
        let heard = world.hear_text(puppet);
        assert!(heard.contains(starttls), "{heard}");
        assert_eq!(heard.contains("<dialback "), !demanded, "{heard}");
        if demanded {
            world.say(puppet, format!("<db:result from='{THEIRS}' to='{OURS}'>a key</db:result>"));
            let heard = world.hear_text(puppet);
            assert!(heard.contains("<policy-violation "), "{heard}");
            assert_eq!(Told::of(&world.take_events(node)).refused, [(IN, Reason::EncryptionRequired)]);
        }
    }
}

#[test]
fn s2s_require_encryption_off_federates_in_clear_with_who_has_no_tls() {
    let without_tls = HostOptions { tls_disabled: true, ..HostOptions::default() };
    let mut two = Two::with((Some(Kind::Valid), lax()), (None, without_tls));
    assert_eq!(two.federate(), (Method::Dialback, Method::Dialback));
}

#[test]
fn s2s_require_encryption_off_still_prefers_tls() {
    let mut two = Two::with((Some(Kind::Valid), lax()), (Some(Kind::Valid), lax()));
    assert_eq!(two.federate(), (Method::External, Method::External));
}

#[test]
//= RFC6120-6.4.5-5 test
fn tls_comes_first_and_dialback_follows_on_the_same_stream_where_certificates_do_not_do() {
    let mut two = Two::with((Some(Kind::Valid), lax()), (Some(Kind::UnknownAuthority), lax()));
    two.back();
    let opened_by_them = &two.world.plaintext(two.theirs)[0];
    let request = opened_by_them.find("<starttls ").expect("TLS is asked for");
    let key = opened_by_them.find("<db:result ").expect("a key is sent");
    assert!(request < key, "{opened_by_them}");
    assert!(!opened_by_them.contains("<auth "), "EXTERNAL is not offered to such a certificate: {opened_by_them}");
}

#[test]
fn s2s_dialback_to_verified_lets_us_prove_ourselves_by_dialback_to_a_strict_peer() {
    // Theirs is lax and does not trust us: it offers no EXTERNAL.
    for (allowed, expected) in [(true, Ok(Method::Dialback)), (false, Err(Reason::ExternalNotOffered))] {
        let strict = HostOptions { dialback_to_verified: allowed, ..secure() };
        let mut two = Two::with((Some(Kind::SelfSigned), strict), (Some(Kind::Valid), lax()));
        let (ours, theirs) = two.there();
        match expected {
            Ok(method) => {
                assert_eq!(ours.up.first(), Some(&(OUT, method)), "{ours:?}");
                assert_eq!(theirs.delivered, ["there"]);
            }
            Err(reason) => {
                assert_eq!(ours, Told { refused: vec![(OUT, reason)], bounced: vec![reason], ..Told::default() });
                assert_eq!(theirs.delivered, Vec::<String>::new());
            }
        }
    }
}

#[test]
fn s2s_dialback_to_verified_sends_nothing_to_a_peer_whose_certificate_is_bad() {
    let strict = HostOptions { dialback_to_verified: true, ..secure() };
    let mut two = Two::with((Some(Kind::SelfSigned), strict), (Some(Kind::Expired), lax()));
    let (ours, _) = two.there();
    assert_eq!(ours.bounced, [Reason::CertExpired]);
    let written = two.world.plaintext(two.ours).concat();
    assert!(!written.contains("<db:result "), "{written}");
}

#[test]
fn a_host_overrides_what_holds_for_the_others() {
    const SECOND: &str = "second.example.org";
    let mut both = config(OURS, Some(Kind::Valid), secure());
    both.hosts.insert(domain(SECOND), lax());
    let chain = |host: &str| (domain(host), authority().issue_kind(Kind::Valid, &domain(host)).chain);
    both.tls = std::sync::Arc::new(s2s_tests::fake_tls::FakeProvider::new(vec![chain(OURS), chain(SECOND)]));
    let mut two = Two::new(both, config(THEIRS, Some(Kind::SelfSigned), lax()));
    two.world.publish(SECOND, addr(1), true, false);
    let (ours, _) = two.there();
    assert_eq!(ours.bounced, [Reason::CertSelfSigned]);
    let (ours, _) = two.back();
    assert_eq!(ours.refused, [(IN, Reason::CertSelfSigned)]);
    two.world.send(two.ours, &message(SECOND, THEIRS, "1"));
    let (ours, theirs) = two.told();
    assert_eq!((ours.bounced, theirs.delivered), (vec![], vec!["1".to_owned()]));
    two.world.send(two.theirs, &message(THEIRS, SECOND, "2"));
    let (ours, theirs) = two.told();
    assert_eq!((ours.delivered, theirs.bounced), (vec!["2".to_owned()], vec![]));
}

#[test]
fn a_listed_domain_in_clear_needs_both_switches_off() {
    let without_tls = || HostOptions { tls_disabled: true, ..HostOptions::default() };
    let waived = HostOptions { secure_auth: true, insecure_domains: list(&[THEIRS]), ..HostOptions::default() };
    let mut two = Two::with((Some(Kind::Valid), waived.clone()), (None, without_tls()));
    assert_eq!(two.federate(), (Method::Dialback, Method::Dialback));
    let encrypted = HostOptions { require_encryption: true, ..waived };
    let mut two = Two::with((Some(Kind::Valid), encrypted), (None, without_tls()));
    assert_eq!(two.there().0.bounced, [Reason::StarttlsNotOffered]);
}
