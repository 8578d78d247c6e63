//! Who may issue certificates, and for which names.

use rcgen::KeyUsagePurpose;
use s2s_core::tls::identity::NameForm;
use s2s_core::tls::verify::{Rejection, judge};
use s2s_tests::certificates::{Authority, Kind, NOW, Powers, Request, San};

use crate::{dns, domain, root, srv, xmpp};

#[test]
//= RFC6120-13.7.1.1-3 test
//= RFC5280-4.2.1.9-1 test
//= RFC5280-4.2.1.3-1 test
fn an_issuer_without_authority_is_none() {
    let domain = domain("t.example");
    let verdict = |issuer: &Authority| {
        judge(&issuer.issue(&Request::dns("t.example")).chain, &domain, &root().trust(), NOW).map(|_| ())
    };
    let leaf = Powers { authority: false, usages: Vec::new(), ..Powers::default() };
    assert_eq!(verdict(&root().subordinate("a leaf", &leaf)), Err(Rejection::NotAnAuthority));
    let unable = Powers { usages: vec![KeyUsagePurpose::DigitalSignature], ..Powers::default() };
    assert_eq!(verdict(&root().subordinate("no signer", &unable)), Err(Rejection::NotAnAuthority));
    let last = root().subordinate("last", &Powers { path_length: Some(0), ..Powers::default() });
    assert_eq!(verdict(&last), Ok(()));
    assert_eq!(verdict(&last.subordinate("one more", &Powers::default())), Err(Rejection::NotAnAuthority));
}

/// What an authority may do that says nothing of what its key is for.
fn silent() -> Powers {
    Powers { usages: Vec::new(), ..Powers::default() }
}

#[test]
//= RFC6120-13.7.1.1-3 test
fn every_issuer_below_the_trust_anchor_states_a_key_usage() {
    let verdict = |issuer: &Authority, anchor: &Authority| {
        judge(&issuer.issue(&Request::dns("t.example")).chain, &domain("t.example"), &anchor.trust(), NOW).map(|_| ())
    };
    let issuer = root().subordinate("silent", &silent());
    assert_eq!(verdict(&issuer, &root()), Err(Rejection::NoKeyUsage));
    let below = issuer.subordinate("below", &Powers::default());
    assert_eq!(verdict(&below, &root()), Err(Rejection::NoKeyUsage), "it is not the one that issued the certificate");
    // A trust anchor is none of the chain, whether it is a root or not.
    assert_eq!(verdict(&issuer, &issuer), Ok(()));
    assert_eq!(verdict(&below, &issuer), Ok(()));
    let anchor = Authority::root_with("a silent root", &silent());
    assert_eq!(verdict(&anchor.subordinate("below", &Powers::default()), &anchor), Ok(()));
}

#[test]
//= RFC6120-13.7.1.1-3 test
fn who_issued_nothing_on_the_path_need_not_state_a_key_usage() {
    let domain = domain("a.m.example");
    let good = root().issue_kind(Kind::Intermediate, &domain).chain;
    // One with the name and the key of the issuer, which is tried first, and one that has nothing to do with it.
    for (label, alone) in [("an intermediate authority", Rejection::NoKeyUsage), ("another", Rejection::UnknownIssuer)]
    {
        let spare = root().subordinate(label, &silent()).der().to_vec();
        let verdict = |chain: &[Vec<u8>]| judge(chain, &domain, &root().trust(), NOW).map(|_| ());
        assert_eq!(verdict(&[good[0].clone(), spare.clone(), good[1].clone()]), Ok(()), "{label}");
        assert_eq!(verdict(&[good[0].clone(), spare]), Err(alone), "{label}");
    }
}

#[test]
//= RFC5280-4.2.1.10-1 test
fn name_constraints_hold_whatever_the_form_of_the_name() {
    let powers = Powers {
        permitted: vec!["m.example".to_owned()],
        excluded: vec!["x.m.example".to_owned()],
        ..Powers::default()
    };
    let constrained_root = Authority::root_with("a constrained root", &powers);
    let constrained = root().subordinate("constrained", &powers);
    let below = constrained.subordinate("below", &Powers::default());
    let issuers =
        [(&constrained_root, constrained_root.trust()), (&constrained, root().trust()), (&below, root().trust())];
    for (issuer, trust) in &issuers {
        let verdict = |name: San, text: &str| {
            let chain = issuer.issue(&Request::new(vec![name])).chain;
            judge(&chain, &domain(text), trust, NOW).map(|verified| verified.form().expect("a name"))
        };
        assert_eq!(verdict(dns("a.m.example"), "a.m.example"), Ok(NameForm::DnsId));
        assert_eq!(verdict(srv("_xmpp-server.a.m.example"), "a.m.example"), Ok(NameForm::SrvId));
        assert_eq!(verdict(xmpp("m.example"), "m.example"), Ok(NameForm::XmppAddr));
        for name in [dns("t.example"), srv("_xmpp-server.t.example"), xmpp("t.example")] {
            assert_eq!(verdict(name, "t.example"), Err(Rejection::NameConstraints));
        }
        for name in [dns("x.m.example"), srv("_xmpp-server.x.m.example"), xmpp("x.m.example"), dns("*.m.example")] {
            assert_eq!(verdict(name, "x.m.example"), Err(Rejection::NameConstraints));
        }
        // What is allowed, but not for this domain, is a matter of names.
        assert_eq!(verdict(srv("_xmpp-server.m.example"), "t.example"), Err(Rejection::NameMismatch));
    }
}
