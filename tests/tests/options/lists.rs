//! `s2s_secure_domains`, `s2s_insecure_domains`, `s2s_allow_domains`, `s2s_deny_domains`.

use std::net::SocketAddr;

use s2s_core::auth::Method;
use s2s_core::machine::Listener;
use s2s_core::policy::{DomainList, HostOptions};
use s2s_core::reason::Reason;
use s2s_tests::certificates::Kind;
use s2s_tests::puppetry::header;
use s2s_tests::world::{Cutting, World};

use crate::federations::{IN, OURS, OUT, THEIRS, Told, Two, addr, config, lax, list, secure};

/// Entries, a name, and whether one of them stands for it.
const MEMBERS: [(&[&str], &str, bool); 12] = [
    (&["theirs.example.net"], "theirs.example.net", true),
    (&["THEIRS.Example.Net."], "theirs.example.net", true),
    (&["theirs.example.net"], "below.theirs.example.net", false),
    (&["*.example.net"], "theirs.example.net", true),
    (&["*.example.net"], "far.below.theirs.example.net", true),
    (&["*.theirs.example.net"], "theirs.example.net", false),
    (&["*.ample.net"], "theirs.example.net", false),
    (&["bücher.example.net"], "xn--bcher-kva.example.net", true),
    (&["xn--bcher-kva.example.net"], "BÜCHER.example.net", true),
    (&["*.bücher.example.net"], "im.xn--bcher-kva.example.net", true),
    (&["*.bücher.example.net"], "bücher.example.net", false),
    (&["other.example.net", "*.elsewhere.example.net"], "theirs.example.net", false),
];

/// We, with a valid certificate, and a peer of that name with a bad one.
fn meet(options: HostOptions, remote: &str) -> Two {
    Two::named(config(OURS, Some(Kind::Valid), options), config(remote, Some(Kind::SelfSigned), lax()), remote)
}

#[test]
fn s2s_secure_domains_demands_certificates_of_its_entries_alone() {
    for (entries, remote, listed) in MEMBERS {
        let options = HostOptions { secure_domains: list(entries), ..HostOptions::default() };
        let mut two = meet(options, remote);
        if listed {
            refused(&mut two, Reason::CertSelfSigned);
        } else {
            assert_eq!(two.federate().1, Method::Dialback, "{entries:?} {remote}");
        }
    }
}

#[test]
fn s2s_insecure_domains_waives_certificates_for_its_entries_alone() {
    for (entries, remote, listed) in MEMBERS {
        let mut two = meet(HostOptions { insecure_domains: list(entries), ..secure() }, remote);
        if listed {
            assert_eq!(two.federate().1, Method::Dialback, "{entries:?} {remote}");
        } else {
            refused(&mut two, Reason::CertSelfSigned);
        }
    }
}

#[test]
fn s2s_secure_domains_wins_over_s2s_insecure_domains() {
    for secure_auth in [true, false] {
        for (secure_domains, insecure_domains) in
            [(THEIRS, THEIRS), ("*.example.net", THEIRS), (THEIRS, "*.example.net")]
        {
            let options = HostOptions {
                secure_auth,
                secure_domains: list(&[secure_domains]),
                insecure_domains: list(&[insecure_domains]),
                ..HostOptions::default()
            };
            refused(&mut meet(options, THEIRS), Reason::CertSelfSigned);
        }
    }
}

#[test]
fn s2s_deny_domains_closes_both_directions_to_its_entries_alone() {
    for (entries, remote, listed) in MEMBERS {
        let mut two = meet(HostOptions { deny_domains: list(entries), ..HostOptions::default() }, remote);
        if listed {
            denied(&mut two);
        } else {
            two.federate();
        }
    }
}

#[test]
fn s2s_allow_domains_opens_both_directions_to_its_entries_alone() {
    for (entries, remote, listed) in MEMBERS {
        let mut two = meet(HostOptions { allow_domains: list(entries), ..HostOptions::default() }, remote);
        if listed {
            two.federate();
        } else {
            denied(&mut two);
        }
    }
}

#[test]
fn s2s_deny_domains_wins_over_s2s_allow_domains() {
    for (allow, deny) in [(THEIRS, THEIRS), ("*.example.net", THEIRS), (THEIRS, "*.example.net")] {
        let (allow_domains, deny_domains) = (list(&[allow]), list(&[deny]));
        denied(&mut meet(HostOptions { allow_domains, deny_domains, ..HostOptions::default() }, THEIRS));
    }
}

#[test]
fn s2s_deny_domains_holds_for_each_key_on_a_stream_and_before_any_call_back() {
    const DENIED: &str = "denied.example.com";
    let options = HostOptions { deny_domains: list(&[DENIED]), ..HostOptions::default() };
    let mut world = World::new(Cutting::Whole);
    world.tap = Some(std::collections::BTreeMap::new());
    let node = world.add(addr(1), config(OURS, None, options));
    let authoritative = SocketAddr::new(addr(9), 5269);
    world.publish(DENIED, addr(9), true, false);
    world.listen(authoritative);
    let puppet = world.connect(node, Listener::StartTls);
    world.say(puppet, header(THEIRS, OURS));
    world.say(puppet, format!("<db:result from='{DENIED}' to='{OURS}'>a key</db:result>"));
    let heard = world.hear_text(puppet);
    assert!(heard.contains("type='error'") && heard.contains("<policy-violation "), "{heard}");
    assert!(world.accept(authoritative).is_none(), "nobody is asked");
    assert_eq!(Told::of(&world.take_events(node)).refused, [(IN, Reason::DomainDenied)]);
}

#[test]
fn s2s_deny_domains_answers_questions_about_our_keys_with_an_error() {
    let options = HostOptions { deny_domains: list(&[THEIRS]), ..HostOptions::default() };
    let mut world = World::new(Cutting::Whole);
    world.tap = Some(std::collections::BTreeMap::new());
    let node = world.add(addr(1), config(OURS, None, options));
    let puppet = world.connect(node, Listener::StartTls);
    world.say(puppet, header("innocent.example.com", OURS));
    world.say(puppet, format!("<db:verify from='{THEIRS}' to='{OURS}' id='1'>a key</db:verify>"));
    let heard = world.hear_text(puppet);
    assert!(heard.contains("type='error'") && heard.contains("<policy-violation "), "{heard}");
}

#[test]
fn no_list_has_everything_as_an_entry() {
    assert!(DomainList::default().insert("*").is_err());
    assert!(DomainList::default().insert("*.").is_err());
    assert!(DomainList::default().insert("a.*.example.net").is_err());
}

/// Both directions fail for what is wrong with their certificate.
fn refused(two: &mut Two, reason: Reason) {
    let remote = two.remote.clone();
    let (ours, _) = two.there();
    assert_eq!(ours, Told { refused: vec![(OUT, reason)], bounced: vec![reason], ..Told::default() }, "{remote}");
    let (ours, theirs) = two.back();
    assert_eq!(ours, Told { refused: vec![(IN, reason)], ..Told::default() }, "{remote}");
    assert_eq!(theirs.bounced, [Reason::PeerStreamError], "{remote}");
}

/// Both directions fail because of who they are; we dial nobody.
fn denied(two: &mut Two) {
    let remote = two.remote.clone();
    let (ours, theirs) = two.there();
    assert_eq!(ours, Told { bounced: vec![Reason::DomainDenied], ..Told::default() }, "{remote}");
    assert_eq!(theirs, Told::default(), "{remote}");
    assert!(two.world.take_asked().is_empty() && two.world.take_dialled().is_empty(), "policy comes before lookups");
    let (ours, theirs) = two.back();
    assert_eq!(ours, Told { refused: vec![(IN, Reason::DomainDenied)], ..Told::default() }, "{remote}");
    assert_eq!(theirs.bounced, [Reason::PeerStreamError], "{remote}");
    let written = two.world.plaintext(two.ours).concat();
    assert!(written.contains("<policy-violation ") && !written.contains("<db:"), "{written}");
}
