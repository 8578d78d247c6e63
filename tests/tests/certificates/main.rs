//! The names in certificates, and the judgement of chains.

mod issuers;

use std::time::Duration;

use proptest::prelude::*;
use rcgen::{Issuer, PKCS_RSA_SHA256, PublicKeyData, SignatureAlgorithm, SigningKey};
use s2s_core::addr::Domain;
use s2s_core::limits;
use s2s_core::reason::Reason;
use s2s_core::tls::identity::{self, MalformedCertificate, Name, NameForm, Names};
use s2s_core::tls::verify::{Rejection, Trust, TrustError, UnknownStatus, Verified, fingerprint, judge};
use s2s_tests::certificates::{Authority, END, Kind, NOW, Powers, Request, San, algorithms, tlv};

fn domain(text: &str) -> Domain {
    Domain::parse(text).expect(text)
}

fn dns(text: &str) -> San {
    San::Dns(text.to_owned())
}

fn srv(text: &str) -> San {
    San::Srv(text.to_owned())
}

fn xmpp(text: &str) -> San {
    San::XmppAddr(text.to_owned())
}

/// Whether a certificate with these names is for `text`, by which form.
fn proof(names: Vec<San>, text: &str) -> Option<NameForm> {
    let chain = Request::new(names).self_signed().chain;
    let form = Names::of(&chain[0]).expect("well-formed").covering(&domain(text)).map(Name::form);
    assert_eq!(identity::matches(&chain[0], &domain(text)), form.is_some());
    form
}

#[test]
//= RFC6120-13.7.1.2.1-1 test
//= RFC9525-6.2-2 test
//= RFC9525-6.3-1 test
fn a_dns_id_names_exactly_its_domain_in_any_case() {
    assert_eq!(proof(vec![dns("T.Example")], "t.example"), Some(NameForm::DnsId));
    assert_eq!(proof(vec![dns("t.example")], "a.t.example"), None);
    assert_eq!(proof(vec![dns("a.t.example")], "t.example"), None);
    assert_eq!(proof(vec![dns("m.example"), dns("t.example")], "t.example"), Some(NameForm::DnsId));
}

#[test]
//= RFC6120-13.7.1.2.1-4 test
//= RFC9525-6.3-3 test
//= RFC9525-6.3-4 test
//= XEP0178-3-8 test
fn a_wildcard_stands_for_the_whole_left_most_label_only() {
    assert_eq!(proof(vec![dns("*.m.example")], "a.m.example"), Some(NameForm::DnsId));
    assert_eq!(proof(vec![dns("*.m.example")], "xn--bcher-kva.m.example"), Some(NameForm::DnsId));
    for (name, text) in [
        ("*", "m.example"),
        ("*.", "m.example"),
        ("*.example", "m.example"),
        ("*.*.example", "a.m.example"),
        ("f*.m.example", "fa.m.example"),
        ("*a.m.example", "fa.m.example"),
        ("a.*.example", "a.m.example"),
        ("xn--*.m.example", "xn--bcher-kva.m.example"),
        ("*.m.example", "a.b.m.example"),
        ("*.m.example", "m.example"),
        ("*.m.example.", "a.m.example"),
        ("**.m.example", "a.m.example"),
    ] {
        assert_eq!(proof(vec![dns(name)], text), None, "{name} {text}");
    }
}

#[test]
//= RFC6120-13.7.1.2.1-2 test
//= RFC4985-2-1 test
//= RFC4985-2-2 test
//= RFC4985-3-1 test
//= RFC9525-6.5-1 test
//= RFC9525-6.2-1 test
//= RFC9525-6.1.1-3 test
fn an_srv_id_binds_its_own_domain_to_its_own_service() {
    assert_eq!(proof(vec![srv("_xmpp-server.t.example")], "t.example"), Some(NameForm::SrvId));
    assert_eq!(proof(vec![srv("_XMPP-Server.T.example")], "t.example"), Some(NameForm::SrvId));
    for name in [
        "_xmpp-client.t.example",
        "_imap.t.example",
        "xmpp-server.t.example",
        "_xmpp-server._tcp.t.example",
        "_xmpp-server.*.example",
        "_xmpp-server.t.example.",
        "_xmpp-server.",
        "_xmpp-server",
        "t.example",
    ] {
        assert_eq!(proof(vec![srv(name)], "t.example"), None, "{name}");
    }
    assert_eq!(proof(vec![srv("_xmpp-server.*.t.example")], "a.t.example"), None);
    // Service of one identifier, domain of another.
    assert_eq!(proof(vec![srv("_xmpp-server.m.example"), srv("_imap.t.example")], "t.example"), None);
    // A DNS-ID is for every service, whatever SRV-IDs stand beside it.
    let names = || vec![srv("_xmpp-server.m.example"), dns("t.example")];
    assert_eq!(proof(names(), "t.example"), Some(NameForm::DnsId));
    assert_eq!(proof(names(), "m.example"), Some(NameForm::SrvId));
}

#[test]
//= RFC6120-13.7.1.2.1-3 test
//= RFC6120-13.7.1.4-1 test
//= RFC6120-13.7.2.1-3 test
//= RFC9525-6.3-2 test
//= RFC5280-7.2-1 test
fn an_xmpp_addr_is_a_domain_compared_as_a_labels() {
    assert_eq!(proof(vec![xmpp("t.example")], "t.example"), Some(NameForm::XmppAddr));
    assert_eq!(proof(vec![xmpp("bücher.example")], "xn--bcher-kva.example"), Some(NameForm::XmppAddr));
    for name in ["a@t.example", "t.example/a", "*.example", "xmpp:t.example", ""] {
        assert_eq!(proof(vec![xmpp(name)], "t.example"), None, "{name}");
    }
}

#[test]
//= RFC9525-A-1 test
//= RFC6125-6.4.4-1 test
fn texts_that_look_like_names_are_none() {
    let request = Request { common_name: "t.example".to_owned(), ..Request::new(Vec::new()) };
    assert!(!identity::matches(&request.self_signed().chain[0], &domain("t.example")));
    let request = Request { common_name: "t.example".to_owned(), ..Request::dns("m.example") };
    assert!(!identity::matches(&request.self_signed().chain[0], &domain("t.example")));
    assert_eq!(proof(vec![San::Uri("xmpp:t.example".to_owned())], "t.example"), None);
    // The text of an XmppAddr in an otherName of another type.
    let other = tlv(0xa0, &[&tlv(6, &[0x2b, 6, 1, 4, 1])[..], &tlv(0xa0, &tlv(0x0c, b"t.example"))].concat());
    assert_eq!(proof(vec![San::Raw(other)], "t.example"), None);
}

#[test]
//= RFC5280-4.2.1.6-1 test
fn a_malformed_entry_names_nothing_and_hides_nothing() {
    let srv_type = tlv(6, &[0x2b, 6, 1, 5, 5, 7, 8, 7]);
    let xmpp_type = tlv(6, &[0x2b, 6, 1, 5, 5, 7, 8, 5]);
    let other = |form: &[u8], value: &[u8]| tlv(0xa0, &[form, value].concat());
    for entry in [
        tlv(0x82, b"t.example\0.m.example"),
        tlv(0x82, b"t.example\0"),
        tlv(0x82, b" t.example"),
        tlv(0x82, b"t.example."),
        tlv(0x82, b""),
        tlv(0x82, "t。example".as_bytes()),
        tlv(0x82, &[0xff, 0xfe]),
        tlv(0xa2, &tlv(0x16, b"t.example")),
        // Right texts of wrong types, and values that are not wrapped as they should be.
        other(&srv_type, &tlv(0xa0, &tlv(0x0c, b"_xmpp-server.t.example"))),
        other(&xmpp_type, &tlv(0xa0, &tlv(0x16, b"t.example"))),
        other(&xmpp_type, &tlv(0x0c, b"t.example")),
        other(&xmpp_type, &[tlv(0xa0, &tlv(0x0c, b"t.example")), vec![5, 0]].concat()),
        other(&xmpp_type, &tlv(0xa0, &[tlv(0x0c, b"t.example"), vec![5, 0]].concat())),
        other(&[], &[]),
    ] {
        assert_eq!(proof(vec![San::Raw(entry.clone())], "t.example"), None, "{entry:x?}");
        assert_eq!(proof(vec![San::Raw(entry.clone()), dns("t.example")], "t.example"), Some(NameForm::DnsId));
    }
}

#[test]
fn an_extension_whose_entries_cannot_be_told_apart_makes_the_certificate_malformed() {
    let chain = Request::new(vec![dns("t.example"), San::Raw(vec![0x82, 0x7f, b'x'])]).self_signed().chain;
    assert_eq!(Names::of(&chain[0]), Err(MalformedCertificate));
    assert_eq!(Names::of(b"no certificate"), Err(MalformedCertificate));
    assert_eq!(Names::of(b""), Err(MalformedCertificate));
}

#[test]
fn names_beyond_the_limit_are_not_looked_at() {
    let mut names: Vec<San> = (0..limits::CERTIFICATE_NAMES - 1).map(|n| dns(&format!("n{n}.example"))).collect();
    names.push(dns("t.example"));
    names.push(dns("u.example"));
    let chain = Request::new(names).self_signed().chain;
    let names = Names::of(&chain[0]).expect("well-formed");
    assert_eq!(names.iter().count(), limits::CERTIFICATE_NAMES);
    assert!(names.covering(&domain("t.example")).is_some());
    assert!(names.covering(&domain("u.example")).is_none());
}

fn root() -> Authority {
    Authority::root("a root")
}

#[test]
//= RFC6120-13.7.2-1 test
//= RFC6120-13.7.2-2 test
//= RFC5280-6.1-1 test
//= RFC5280-4.1.2.5-1 test
//= RFC5280-4.2.1.12-1 test
//= RFC5280-4.2-1 test
//= RFC9525-6.1.1-1 test
//= RFC9525-6.6-1 test
fn every_kind_of_certificate_gets_its_verdict() {
    let domain = domain("a.m.example");
    let trust = root().trust();
    for kind in Kind::ALL {
        let chain = root().issue_kind(*kind, &domain).chain;
        let verdict = judge(&chain, &domain, &trust, NOW);
        assert_eq!(verdict.as_ref().map(Verified::form).map_err(|r| *r), kind.verdict().map(Some), "{kind:?}");
        assert!(verdict.is_err() || verdict.is_ok_and(|verified| *verified.domain() == domain));
    }
    assert_eq!(judge(&[], &domain, &trust, NOW), Err(Rejection::Missing));
}

#[test]
fn every_rejection_has_a_reason_for_certificates_and_a_text() {
    for rejection in Rejection::ALL {
        assert!(rejection.reason().code().starts_with("cert-"), "{rejection:?}");
        assert!(!rejection.to_string().is_empty());
    }
    assert_eq!(Rejection::BadSignature.reason(), Reason::CertUnknownIssuer);
    assert_eq!(Rejection::NotAnAuthority.reason(), Reason::CertPurpose);
}

#[test]
fn the_first_end_on_the_path_is_remembered_and_counts_to_the_second() {
    let domain = domain("t.example");
    let chain = root().issue(&Request::dns("t.example")).chain;
    let at = |unix| judge(&chain, &domain, &root().trust(), unix);
    assert_eq!(at(NOW).map(|verified| verified.not_after()), Ok(END));
    assert!(at(END).is_ok());
    assert_eq!(at(END + Duration::from_secs(1)), Err(Rejection::Expired));

    let below = root().subordinate("below", &Powers::default());
    let chain = below.issue(&Request::dns("t.example").with_years(2025, 2050)).chain;
    let end = judge(&chain, &domain, &root().trust(), NOW).expect("valid").not_after();
    assert_eq!(end, Duration::from_secs(2_208_988_800), "the issuer ends in 2040, before the certificate");
}

#[test]
fn a_self_signed_certificate_that_is_trusted_itself_is_valid() {
    let domain = domain("a.m.example");
    let chain = root().issue_kind(Kind::SelfSigned, &domain).chain;
    let mut trust = root().trust();
    trust.add_anchor(&chain[0]).expect("a certificate");
    assert!(judge(&chain, &domain, &trust, NOW).is_ok());
}

#[test]
fn an_impostor_with_the_name_of_the_authority_is_found_out() {
    let domain = domain("t.example");
    let mut trust = Authority::root_with("a root", &Powers::default()).trust();
    let chain = root().issue(&Request::dns("t.example")).chain;
    assert!(judge(&chain, &domain, &trust, NOW).is_ok(), "the same authority, derived again");
    let mut forged = chain;
    let last = forged[0].len() - 1;
    forged[0][last] ^= 1;
    assert_eq!(judge(&forged, &domain, &trust, NOW), Err(Rejection::BadSignature));
    assert_eq!(trust.add_anchor(b"nonsense"), Err(TrustError::MalformedAnchor));
    assert_eq!(trust.add_revocation_list(b"nonsense"), Err(TrustError::MalformedRevocationList));
    assert_eq!(trust.anchor_count(), 1);
}

#[test]
//= RFC6120-13.7.2-3 test
//= RFC5280-5.2-1 test
//= RFC5280-6.3.3-1 test
fn revocation_lists_are_believed_if_signed_and_their_absence_is_policy() {
    let domain = domain("t.example");
    let good = Request::dns("t.example");
    let bad = Request::new(vec![dns("t.example"), dns("revoked.example")]);
    let verdict = |request: &Request, list: Option<Vec<u8>>, policy: UnknownStatus| {
        let mut trust = root().trust();
        trust.set_unknown_status(policy);
        if let Some(list) = list {
            trust.add_revocation_list(&list).expect("a list");
        }
        judge(&root().issue(request).chain, &domain, &trust, NOW).map(|_| ())
    };
    let fresh = || Some(root().revoke(&[&bad], (2025, 2030)));
    let old = || Some(root().revoke(&[&bad], (2020, 2025)));
    let foreign = || Some(Authority::root("another").revoke(&[&bad], (2025, 2030)));
    let forged = || {
        fresh().map(|mut list| {
            let last = list.len() - 1;
            list[last] ^= 1;
            list
        })
    };
    for policy in [UnknownStatus::Accept, UnknownStatus::Refuse] {
        assert_eq!(verdict(&bad, fresh(), policy), Err(Rejection::Revoked));
        assert_eq!(verdict(&good, fresh(), policy), Ok(()));
        assert_eq!(verdict(&bad, None, policy), Ok(()), "without lists nothing is checked");
    }
    assert_eq!(verdict(&bad, old(), UnknownStatus::Accept), Err(Rejection::Revoked));
    assert_eq!(verdict(&good, old(), UnknownStatus::Accept), Ok(()));
    for list in [old(), foreign(), forged()] {
        assert_eq!(verdict(&good, list, UnknownStatus::Refuse), Err(Rejection::RevocationUnknown));
    }
    for list in [foreign(), forged()] {
        assert_eq!(verdict(&bad, list, UnknownStatus::Accept), Ok(()));
    }
}

#[test]
//= RFC5280-6.3.3-1 test
fn of_two_lists_of_one_issuer_the_newer_counts_in_whichever_order_they_come() {
    let bad = Request::dns("t.example");
    let (old, new) = (root().revoke(&[], (2021, 2025)), root().revoke(&[&bad], (2025, 2030)));
    for (lists, policy) in [[&old, &new], [&new, &old]]
        .into_iter()
        .flat_map(|lists| [UnknownStatus::Accept, UnknownStatus::Refuse].map(|policy| (lists, policy)))
    {
        let mut trust = root().trust();
        trust.set_unknown_status(policy);
        for list in lists {
            trust.add_revocation_list(list).expect("a list");
        }
        let verdict =
            |request: &Request| judge(&root().issue(request).chain, &domain("t.example"), &trust, NOW).map(|_| ());
        assert_eq!(verdict(&bad), Err(Rejection::Revoked), "{policy:?}");
        let good = Request::new(vec![dns("t.example"), dns("good.example")]);
        assert_eq!(verdict(&good), Ok(()), "{policy:?}");
    }
}

#[test]
//= RFC5280-6.3.3-1 test
fn a_list_that_cannot_be_used_does_not_silence_another_of_the_same_issuer() {
    let bad = Request::dns("t.example");
    let good = root().revoke(&[&bad], (2025, 2030));
    let mut forged = good.clone();
    *forged.last_mut().expect("a list") ^= 1;
    for lists in [[&forged, &good], [&good, &forged]] {
        let mut trust = root().trust();
        trust.set_unknown_status(UnknownStatus::Accept);
        for list in lists {
            trust.add_revocation_list(list).expect("a list");
        }
        let verdict = judge(&root().issue(&bad).chain, &domain("t.example"), &trust, NOW);
        assert_eq!(verdict.map(|_| ()), Err(Rejection::Revoked));
    }
}

#[test]
//= RFC6120-13.6-3 test
//= RFC6120-13.6-4 test
fn a_pinned_domain_accepts_its_keys_alone() {
    // An Ed25519 key has 44 bytes, which stand in the certificate as they are.
    let chain = root().issue(&Request::dns("t.example")).chain;
    let start = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    let at = chain[0].windows(start.len()).position(|window| window == start).expect("a key");
    let pin = fingerprint(&chain[0][at..at + 44]);
    let verdict = |pinned: &str, pin: [u8; 32]| {
        let mut trust = root().trust();
        trust.pin(domain(pinned), pin);
        judge(&chain, &domain("t.example"), &trust, NOW).map(|_| ())
    };
    assert_eq!(verdict("t.example", pin), Ok(()));
    assert_eq!(verdict("t.example", [0; 32]), Err(Rejection::PinMismatch));
    assert_eq!(verdict("m.example", [0; 32]), Ok(()));
}

#[test]
fn a_pinned_key_counts_as_a_valid_chain_and_name() {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec!["elsewhere.example".to_owned()]).expect("a name");
    let chain = vec![params.self_signed(&key).expect("a certificate").der().to_vec()];
    let mut trust = root().trust();
    trust.pin(domain("t.example"), fingerprint(&PublicKeyData::subject_public_key_info(&key)));
    let verified = judge(&chain, &domain("t.example"), &trust, NOW).expect("pinned");
    assert_eq!((verified.domain(), verified.form()), (&domain("t.example"), None));
    // Only for the domain that it is pinned for.
    assert_eq!(judge(&chain, &domain("elsewhere.example"), &trust, NOW).err(), Some(Rejection::SelfSigned));
    // Who has no certificate at all has no key either.
    assert_eq!(judge(&[], &domain("t.example"), &trust, NOW).err(), Some(Rejection::Missing));
}

/// An RSA key of this size that nobody can use.
struct RsaKey(Vec<u8>);

impl RsaKey {
    fn new(bits: usize) -> Self {
        let modulus = [vec![0, 0x80 >> ((8 - bits % 8) % 8)], vec![1; bits.div_ceil(8) - 1]].concat();
        let modulus = if bits.is_multiple_of(8) { modulus } else { modulus[1..].to_vec() };
        Self(tlv(0x30, &[tlv(2, &modulus), tlv(2, &[1, 0, 1])].concat()))
    }
}

impl PublicKeyData for RsaKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_RSA_SHA256
    }
}

impl SigningKey for RsaKey {
    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(vec![1; 256])
    }
}

#[test]
//= RFC9325-4.5-1 test
fn weak_keys_and_signatures_are_refused() {
    let domain = domain("t.example");
    let trust = root().trust();
    for (bits, verdict) in
        [(1024, Err(Rejection::WeakKey)), (2047, Err(Rejection::WeakKey)), (2048, Ok(())), (4096, Ok(()))]
    {
        let chain = root().issue_for_key(&Request::dns("t.example"), &RsaKey::new(bits));
        assert_eq!(judge(&chain, &domain, &trust, NOW).map(|_| ()), verdict, "{bits}");
    }

    // The algorithm of the signature, inside and outside, turned into one that nobody knows; the key between them.
    let mut chain = root().issue(&Request::dns("t.example")).chain;
    let algorithm = [0x06, 0x03, 0x2b, 0x65, 0x70];
    let at: Vec<usize> = (0..chain[0].len()).filter(|at| chain[0][*at..].starts_with(&algorithm)).collect();
    assert_eq!(at.len(), 3);
    chain[0][at[0] + 4] = 0x7f;
    chain[0][at[2] + 4] = 0x7f;
    assert_eq!(judge(&chain, &domain, &trust, NOW), Err(Rejection::WeakSignature));
}

#[test]
//= RFC9325-4.5-1 test
fn a_signature_over_sha_1_is_refused_before_it_is_looked_at() {
    let authority = Request { authority: true, common_name: "an RSA root".to_owned(), ..Request::new(Vec::new()) };
    let authority = authority.params();
    let mut trust = Trust::new(algorithms());
    let anchor = authority.self_signed(&RsaKey::new(2048)).expect("a legal authority");
    trust.add_anchor(anchor.der()).expect("a certificate");
    let issuer = Issuer::new(authority, RsaKey::new(2048));
    let issued = Request::dns("t.example").params().signed_by(&RsaKey::new(2048), &issuer).expect("a legal request");
    let mut der = issued.der().to_vec();
    let verdict = |der: &[u8]| judge(&[der.to_vec()], &domain("t.example"), &trust, NOW).map(|_| ());
    assert_eq!(verdict(&der), Err(Rejection::BadSignature), "with SHA-256 it is looked at: nobody has that key");

    // Inside and outside, sha256WithRSAEncryption turned into sha1WithRSAEncryption.
    let sha_256 = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b];
    let at: Vec<usize> = (0..der.len()).filter(|at| der[*at..].starts_with(&sha_256)).collect();
    assert_eq!(at.len(), 2);
    for at in at {
        der[at + 10] = 0x05;
    }
    assert_eq!(verdict(&der), Err(Rejection::WeakSignature));
}

#[test]
fn a_chain_made_to_multiply_paths_is_given_up_soon() {
    // Authorities that all have one name, each of which could have issued each.
    let domain = domain("t.example");
    let maze: Vec<Vec<u8>> = (0..60)
        .map(|n| {
            let request = Request {
                authority: true,
                common_name: "a maze".to_owned(),
                key: format!("maze {n}"),
                ..Request::dns("maze.example")
            };
            request.self_signed().chain.remove(0)
        })
        .collect();
    let request = Request { common_name: "a maze".to_owned(), ..Request::dns("t.example") };
    let mut chain = request.self_signed().chain;
    chain.extend(maze);
    // The paths through all of them would use up webpki's budget of 200 000 steps, and the verdict would say so.
    assert_eq!(judge(&chain, &domain, &root().trust(), NOW), Err(Rejection::SelfSigned));
}

#[test]
fn what_does_not_belong_to_the_chain_does_not_disturb() {
    let domain = domain("a.m.example");
    let mut chain = root().issue_kind(Kind::Intermediate, &domain).chain;
    chain.insert(1, b"nonsense".to_vec());
    chain.push(root().der().to_vec());
    chain.push(Request::dns("elsewhere.example").self_signed().chain.remove(0));
    assert!(judge(&chain, &domain, &root().trust(), NOW).is_ok());
}

fn label() -> impl Strategy<Value = String> {
    "[a-z]([a-z0-9-]{0,6}[a-z0-9])?".prop_filter("no reserved labels", |label| label.get(2..4) != Some("--"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// `*.PARENT` covers exactly the domains that are one label longer.
    #[test]
    //= RFC9525-6.3-4 test
    fn the_law_of_wildcards(
        labels in prop::collection::vec(label(), 1..5),
        parent_at in 0_usize..5,
        other in prop::collection::vec(label(), 1..4),
    ) {
        let name = labels.join(".") + ".example";
        let parts: Vec<&str> = name.split('.').collect();
        let parent = parts[parent_at.min(parts.len() - 1)..].join(".");
        let expected = |text: &str| {
            parent.contains('.') && text.split_once('.').is_some_and(|(_, above)| above == parent)
        };
        for text in [name.clone(), other.join(".") + ".example", parent.clone(), format!("{}.{parent}", other[0])] {
            let covered = proof(vec![dns(&format!("*.{parent}"))], &text).is_some();
            prop_assert_eq!(covered, expected(&text), "{} {}", parent, text);
        }
    }

    /// Nothing that a peer shows panics, and nothing that was changed is valid: every byte is signed.
    #[test]
    fn changed_certificates_are_refused(
        kind in prop::sample::select(Kind::ALL),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
        which in any::<prop::sample::Index>(),
    ) {
        let domain = domain("a.m.example");
        let original = root().issue_kind(kind, &domain).chain;
        let mut chain = original.clone();
        let certificate = &mut chain[which.index(original.len())];
        for (at, byte) in changes {
            let at = at.index(certificate.len());
            certificate[at] = byte;
        }
        if let Some(cut) = cut {
            certificate.truncate(cut.index(certificate.len()));
        }
        let _ = Names::of(&chain[0]);
        let verdict = judge(&chain, &domain, &root().trust(), NOW);
        prop_assert!(verdict.is_err() || chain == original, "{verdict:?}");
    }

    #[test]
    fn random_bytes_are_no_certificate(chain in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..4)) {
        prop_assert_eq!(Names::of(&chain[0]), Err(MalformedCertificate));
        let verdict = judge(&chain, &domain("t.example"), &root().trust(), NOW);
        prop_assert_eq!(verdict, Err(Rejection::Malformed));
    }
}
