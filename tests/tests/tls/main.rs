//! TLS sessions, real and fake: the handshake, and what it establishes.

mod amounts;
mod hellos;
mod renegotiation;
mod seams;
mod sessions;
mod sides;

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::{ClientConnection, Connection, version};
use rustls_pki_types::{PrivatePkcs8KeyDer, ServerName};
use s2s_core::addr::Domain;
use s2s_core::tls::verify::{Rejection, judge};
use s2s_core::tls::{HostIdentity, IdentityError, Provider, RustlsProvider, Session, TlsError, Version};
use s2s_tests::certificates::{END, Identity, Kind, NOW, tlv};

use crate::sides::{
    Ours, Side, Theirs, VERSIONS, crypto, domain, identity, providers, real, real_with, root, run, shake, starttls,
    their_client, their_server,
};

#[test]
//= RFC9325-3.1.1-3 test
//= XEP0368-3-7 test
//= RFC9325-3.7-1 test
//= RFC6120-13.7.2.1-1 test
//= RFC6120-13.7.2.1-2 test
//= RFC6120-5.3.6-1 test
//= RFC6120-5.4.3.1-2 test
//= RFC6120-5.4.3.1-3 test
//= RFC6120-5.4.3.1-4 test
//= RFC7590-3.5-1 test
fn a_handshake_shows_each_side_the_other() {
    for provider in providers(&["m.example", "t.example"]) {
        let (client, server) = starttls(provider.as_ref(), "m.example", "t.example");
        for (facts, peer) in [(client.facts(), "t.example"), (server.facts(), "m.example")] {
            assert_eq!(facts.version, Version::Tls13);
            assert_eq!(facts.chain, identity(peer).chain);
            assert_eq!(facts.alpn, None);
            assert!(!facts.resumed);
            let verified = judge(&facts.chain, &domain(peer), &root().trust(), NOW).expect("valid");
            assert_eq!(*verified.domain(), domain(peer));
        }
        assert_eq!(client.facts().server_name, None);
        assert_eq!(server.facts().server_name.as_deref(), Some("t.example"));
    }
}

#[test]
fn what_a_host_shows_is_known_before_any_handshake_where_a_provider_can_tell() {
    #[derive(Debug)]
    struct Taciturn;

    impl Provider for Taciturn {
        fn client(&self, _: &Domain, _: &Domain, _: bool) -> Result<Box<dyn Session>, TlsError> {
            Err(TlsError::NoCertificate)
        }
        fn server(&self, _: Option<&Domain>) -> Result<Box<dyn Session>, TlsError> {
            Err(TlsError::NoCertificate)
        }
        fn has_certificate(&self, _: &Domain) -> bool {
            false
        }
    }

    let provider = real(&["m.example", "t.example"]);
    assert_eq!(provider.chain(&domain("m.example")), identity("m.example").chain);
    for nothing in [provider.chain(&domain("x.example")), Taciturn.chain(&domain("m.example"))] {
        assert_eq!(nothing, Vec::<Vec<u8>>::new());
    }
}

#[test]
//= RFC9325-3.1.1-1 test
//= RFC9325-3.1.1-2 test
//= RFC9325-4.1-2 test
//= RFC7590-3-1 test
//= RFC9325-4.1-1 test
//= RFC9325-4.1-3 test
//= RFC9325-4.2-2 test
fn both_versions_are_spoken_with_suites_named_as_by_iana() {
    let provider = real(&["m.example", "t.example"]);
    for (version, ours, suites) in [
        (&version::TLS12, Version::Tls12, ["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"]),
        (&version::TLS13, Version::Tls13, ["TLS_AES_256_GCM_SHA384"]),
    ] {
        let mut client = their_client(version, &identity("m.example"), "t.example", |_| {});
        let mut server = Ours::new(provider.server(Some(&domain("t.example"))));
        shake(&mut client, &mut server);
        let mut client = Ours::new(provider.client(&domain("m.example"), &domain("t.example"), false));
        shake(&mut client, &mut their_server(version, &identity("t.example")));
        for facts in [client.facts(), server.facts()] {
            assert_eq!(facts.version, ours);
            assert!(suites.contains(&facts.cipher), "{}", facts.cipher);
        }
        assert_eq!(server.facts().chain, identity("m.example").chain);
    }
}

#[test]
//= RFC9325-4.2-1 test
fn the_four_suites_that_are_recommended_for_tls_1_2_are_offered() {
    let provider = real(&["m.example"]);
    for direct in [false, true] {
        let mut session = provider.client(&domain("m.example"), &domain("t.example"), direct).expect("a session");
        let mut hello = Vec::new();
        session.flush(&mut hello);
        // Behind the heads of the record and of the message, a version and 32 random bytes: an id, then the suites.
        let (id, rest) = hello[43..].split_first().expect("an id");
        let suites = &rest[usize::from(*id)..];
        let length = usize::from(suites[0]) << 8 | usize::from(suites[1]);
        let offered: Vec<_> = suites[2..2 + length].chunks(2).map(|suite| [suite[0], suite[1]]).collect();
        // ECDHE with ECDSA and with RSA, each with both sizes of AES-GCM.
        for suite in [[0xc0, 0x2b], [0xc0, 0x2c], [0xc0, 0x2f], [0xc0, 0x30]] {
            assert!(offered.contains(&suite), "{suite:x?} {offered:x?}");
        }
    }
}

#[test]
//= RFC9325-3.1.3-1 test
fn a_host_can_demand_the_newer_version_for_itself() {
    let hosts = || {
        let strict = identity("s.example").host(&domain("s.example")).with_minimum_version(Version::Tls13);
        vec![strict, identity("t.example").host(&domain("t.example"))]
    };
    let old = |host: &str, direct: bool, minimum: Version| {
        let provider = real_with(hosts(), minimum);
        let host_asked = domain(host);
        let mut client = their_client(&version::TLS12, &identity("m.example"), host, |_| {});
        let mut server = Ours::new(provider.server(Some(&host_asked).filter(|_| !direct)));
        run(&mut client, &mut server)
    };
    for direct in [false, true] {
        assert_eq!(old("t.example", direct, Version::Tls12), (Ok(()), Ok(())));
        for (host, minimum) in [("s.example", Version::Tls12), ("t.example", Version::Tls13)] {
            let (client, server) = old(host, direct, minimum);
            assert_eq!(client, Err("received fatal alert: ProtocolVersion".to_owned()), "{host} {direct}");
            assert!(server.is_err());
        }
    }
}

#[test]
//= RFC9325-3.1.3-1 test
fn a_host_without_a_certificate_can_demand_the_newer_version_too() {
    let provider = real(&[]).with_nameless_host(domain("s.example"), Version::Tls13).expect("a version");
    for direct in [false, true] {
        let old = |host: &str| {
            let mut client = Ours::new(provider.client(&domain(host), &domain("m.example"), direct));
            run(&mut client, &mut their_server(&version::TLS12, &identity("m.example")))
        };
        assert_eq!(old("t.example"), (Ok(()), Ok(())));
        let (client, server) = old("s.example");
        assert!(client.is_err(), "{client:?}");
        assert!(server.is_err(), "{server:?}");
    }
}

#[test]
//= RFC7590-3.3-1 test
//= RFC6120-3.3-3 test
fn a_resumed_session_shows_the_chain_and_is_judged_again() {
    for version in VERSIONS {
        let provider = real(&["t.example"]);
        let mut config = None;
        their_client(version, &identity("m.example"), "t.example", |made| config = Some(made.clone()));
        let config = Arc::new(config.expect("a configuration"));
        for resumed in [false, true] {
            let name = ServerName::try_from("t.example").expect("a name");
            let client = ClientConnection::new(Arc::clone(&config), name).expect("a client");
            let mut server = Ours::new(provider.server(Some(&domain("t.example"))));
            shake(&mut Theirs(Connection::Client(client)), &mut server);
            assert_eq!(server.facts().resumed, resumed, "{version:?}");
            assert_eq!(server.facts().chain, identity("m.example").chain);
        }
    }
    let provider = real(&["m.example", "t.example"]);
    for resumed in [false, true] {
        let (client, server) = starttls(&provider, "m.example", "t.example");
        for (facts, peer) in [(client.facts(), "t.example"), (server.facts(), "m.example")] {
            assert_eq!(facts.resumed, resumed);
            let late = END + std::time::Duration::from_secs(1);
            assert!(judge(&facts.chain, &domain(peer), &root().trust(), NOW).is_ok());
            assert_eq!(judge(&facts.chain, &domain(peer), &root().trust(), late), Err(Rejection::Expired));
        }
    }
}

#[test]
//= RFC6120-4.9.3.16-1 test
fn sessions_that_are_forgotten_are_not_resumed() {
    let provider = real(&["m.example", "t.example"]);
    let (m, t) = (domain("m.example"), domain("t.example"));
    for (forgotten, resumed) in [(None, false), (None, true), (Some((&t, &m)), true), (Some((&m, &t)), false)] {
        if let Some((local, remote)) = forgotten {
            provider.forget_sessions(local, remote);
        }
        let (client, server) = starttls(&provider, "m.example", "t.example");
        assert_eq!((client.facts().resumed, server.facts().resumed), (resumed, resumed), "{forgotten:?}");
    }
}

#[test]
fn sessions_are_not_resumed_as_another_domain_of_ours() {
    let provider = real(&["m.example", "t.example", "u.example"]);
    let resumed = |local: &str, remote: &str| {
        let (client, server) = starttls(&provider, local, remote);
        assert_eq!(client.facts().resumed, server.facts().resumed);
        client.facts().resumed
    };
    assert!(!resumed("m.example", "t.example"));
    assert!(!resumed("u.example", "t.example"));
    assert!(!resumed("m.example", "u.example"));
    assert!(resumed("m.example", "t.example"));
    assert!(resumed("u.example", "t.example"));
    // Without a certificate nothing is remembered.
    assert!(!resumed("nobody.example", "t.example"));
    assert!(!resumed("nobody.example", "t.example"));
}

#[test]
fn any_chain_completes_the_handshake_and_is_judged_later() {
    let host = domain("a.m.example");
    for version in VERSIONS {
        for kind in Kind::ALL {
            let shown = root().issue_kind(*kind, &host);
            let mut client = their_client(version, &shown, "t.example", |_| {});
            let mut server = Ours::new(real(&["t.example"]).server(Some(&domain("t.example"))));
            shake(&mut client, &mut server);
            let mut client = Ours::new(real(&["t.example"]).client(&domain("t.example"), &host, false));
            shake(&mut client, &mut their_server(version, &shown));
            for facts in [client.facts(), server.facts()] {
                assert_eq!(facts.chain, shown.chain, "{kind:?}");
                let verdict = judge(&facts.chain, &host, &root().trust(), NOW);
                assert_eq!(verdict.map(|verified| verified.form().expect("a name")), kind.verdict(), "{kind:?}");
            }
        }
    }
}

/// A certificate of X.509 version 1 for the key of `identity`, which has the label `label`.
fn version_1(identity: &Identity) -> Identity {
    let key = PrivatePkcs8KeyDer::from(identity.key.clone());
    let pair = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&key, &rcgen::PKCS_ED25519).expect("a key");
    let algorithm = tlv(0x30, &[6, 3, 0x2b, 0x65, 0x70]);
    let validity = tlv(0x30, &[tlv(0x17, b"250101000000Z"), tlv(0x17, b"300101000000Z")].concat());
    let public = tlv(0x30, &[algorithm.clone(), tlv(3, &[&[0], pair.public_key_raw()].concat())].concat());
    let name = tlv(0x30, &[]);
    let body = tlv(0x30, &[tlv(2, &[1]), algorithm.clone(), name.clone(), validity, name, public].concat());
    let certificate = tlv(0x30, &[body, algorithm, tlv(3, &[0; 65])].concat());
    Identity { chain: vec![certificate], key: identity.key.clone() }
}

#[test]
fn a_stolen_certificate_is_of_no_use_without_its_key() {
    let victim = identity("m.example");
    let thief = identity("thief.example");
    let unreadable = root().issue_kind(Kind::UnknownCritical, &domain("m.example"));
    let ancient = version_1(&victim);
    for version in VERSIONS {
        for certificate in [&victim, &unreadable, &ancient] {
            for (shown, fails) in [(certificate.clone(), false), (certificate.with_key_of(&thief), true)] {
                let mut client = their_client(version, &shown, "t.example", |_| {});
                let mut server = Ours::new(real(&["t.example"]).server(Some(&domain("t.example"))));
                let (_, ours) = run(&mut client, &mut server);
                assert_eq!(ours.is_err(), fails, "{ours:?}");
                assert_eq!(server.session.facts().is_none(), fails);

                let mut client =
                    Ours::new(real(&["t.example"]).client(&domain("t.example"), &domain("m.example"), false));
                let (ours, theirs) = run(&mut client, &mut their_server(version, &shown));
                assert_eq!(client.session.facts().is_none(), fails);
                if fails {
                    assert_eq!(ours, Err("invalid peer certificate: BadSignature".to_owned()));
                    assert_eq!(theirs, Err("received fatal alert: DecryptError".to_owned()));
                }
            }
        }
        // What is no certificate at all has no key to verify with.
        let shown = Identity { chain: vec![b"nonsense".to_vec()], key: victim.key.clone() };
        let mut client = their_client(version, &shown, "t.example", |_| {});
        let mut server = Ours::new(real(&["t.example"]).server(Some(&domain("t.example"))));
        assert_eq!(run(&mut client, &mut server).1, Err("invalid peer certificate: BadEncoding".to_owned()));
    }
}

#[test]
fn a_certificate_for_servers_proves_the_one_who_opens_the_connection() {
    let shown = root().issue_kind(Kind::ServerAuth, &domain("m.example"));
    let hosts = vec![shown.host(&domain("m.example")), identity("t.example").host(&domain("t.example"))];
    let (_, server) = starttls(&real_with(hosts, Version::Tls12), "m.example", "t.example");
    assert!(judge(&server.facts().chain, &domain("m.example"), &root().trust(), NOW).is_ok());
}

#[test]
fn a_domain_without_a_certificate_can_open_but_not_accept() {
    for provider in providers(&["t.example"]) {
        let (_, server) = starttls(provider.as_ref(), "m.example", "t.example");
        assert_eq!(server.facts().chain, Vec::<Vec<u8>>::new());
        let verdict = judge(&server.facts().chain, &domain("m.example"), &root().trust(), NOW);
        assert_eq!(verdict, Err(Rejection::Missing));
        assert!(provider.has_certificate(&domain("t.example")));
        assert!(!provider.has_certificate(&domain("m.example")));
        assert_eq!(provider.server(Some(&domain("m.example"))).map(|_| ()), Err(TlsError::NoCertificate));
    }
    for provider in providers(&[]) {
        assert_eq!(provider.server(None).map(|_| ()), Err(TlsError::NoCertificate));
    }
}

#[test]
//= XEP0368-3-8 test
//= XEP0368-3-9 test
//= RFC9325-3.8-1 test
//= XEP0368-3-5 test
fn direct_tls_agrees_on_the_protocol_and_finds_the_host() {
    for provider in providers(&["m.example", "t.example"]) {
        let mut client = Ours::new(provider.client(&domain("m.example"), &domain("t.example"), true));
        let mut server = Ours::new(provider.server(None));
        shake(&mut client, &mut server);
        for facts in [client.facts(), server.facts()] {
            assert_eq!(facts.alpn.as_deref(), Some(&b"xmpp-server"[..]));
        }
        for (facts, peer) in [(client.facts(), "t.example"), (server.facts(), "m.example")] {
            assert_eq!(facts.chain, identity(peer).chain);
            assert!(judge(&facts.chain, &domain(peer), &root().trust(), NOW).is_ok());
        }
    }
}

#[test]
//= RFC7301-3.2-1 test
//= RFC9325-3.8-1 test
fn protocols_are_optional_but_never_wrong() {
    let provider = real(&["t.example"]);
    let offer = |protocols: &[&[u8]], direct: bool| {
        let mut client = their_client(&version::TLS13, &identity("m.example"), "t.example", |config| {
            config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        });
        let host = domain("t.example");
        let mut server = Ours::new(provider.server(Some(&host).filter(|_| !direct)));
        let results = run(&mut client, &mut server);
        (results.0, server.session.facts().map(|facts| facts.alpn.clone()))
    };
    assert_eq!(offer(&[], true), (Ok(()), Some(None)));
    assert_eq!(offer(&[b"xmpp-client", b"xmpp-server"], true), (Ok(()), Some(Some(b"xmpp-server".to_vec()))));
    let refused = Err("received fatal alert: NoApplicationProtocol".to_owned());
    assert_eq!(offer(&[b"xmpp-client"], true), (refused, None));
    assert_eq!(offer(&[b"xmpp-server"], false), (Ok(()), Some(None)), "after STARTTLS nothing is agreed on");
}

#[test]
//= RFC9325-3.7-2 test
//= RFC6120-5.4.3.1-5 test
fn an_unknown_server_name_is_refused_by_its_alert_on_direct_tls() {
    for provider in providers(&["m.example", "t.example"]) {
        let mut client = Ours::new(provider.client(&domain("m.example"), &domain("unknown.example"), true));
        let mut server = Ours::new(provider.server(None));
        let (mut hello, mut answer) = (Vec::new(), Vec::new());
        client.session.flush(&mut hello);
        let error = server.turn(&hello, &mut answer).expect_err("unknown");
        assert!(error.ends_with("a host that is not ours"), "{error}");
        assert_eq!((answer[0], &answer[answer.len() - 2..]), (21, &[2, 112][..]));
        assert!(client.turn(&answer, &mut Vec::new()).is_err());
    }
    // The stream header has chosen already: a disagreeing name changes nothing.
    let provider = real(&["m.example", "t.example"]);
    let mut client = their_client(&version::TLS13, &identity("m.example"), "unknown.example", |_| {});
    let mut server = Ours::new(provider.server(Some(&domain("t.example"))));
    shake(&mut client, &mut server);
    assert_eq!(server.facts().server_name.as_deref(), Some("unknown.example"));
    let shown = client.0.peer_certificates().expect("a chain").iter().map(|der| der.to_vec());
    assert_eq!(shown.collect::<Vec<_>>(), identity("t.example").chain);
}

#[test]
fn without_a_server_name_the_first_host_answers() {
    let provider = real(&["t.example", "a.example"]);
    for (name, indicated, expected) in [
        ("t.example", false, "t.example"),
        ("a.example", false, "t.example"),
        ("A.Example", true, "a.example"),
        ("a.example.", true, "a.example"),
    ] {
        let mut client = their_client(&version::TLS13, &identity("m.example"), name, |config| {
            config.enable_sni = indicated;
        });
        let mut server = Ours::new(provider.server(None));
        shake(&mut client, &mut server);
        let shown = client.0.peer_certificates().expect("a chain").iter().map(|der| der.to_vec());
        assert_eq!(shown.collect::<Vec<_>>(), identity(expected).chain, "{name}");
    }
}

#[test]
fn identities_that_cannot_be_used_are_told_apart() {
    let host = domain("m.example");
    let problem = |hosts: Vec<HostIdentity>| {
        RustlsProvider::new(crypto(), hosts, Version::Tls12).map(|_| ()).expect_err("unusable")
    };
    let (good, other) = (identity("m.example"), identity("t.example"));
    let with = |chain: &[&[u8]], key: &[u8]| {
        vec![Identity { chain: chain.iter().map(|der| der.to_vec()).collect(), key: key.to_vec() }.host(&host)]
    };
    assert_eq!(problem(with(&[&good.chain[0]], &other.key)), IdentityError::KeyMismatch(host.clone()));
    assert_eq!(problem(with(&[], &good.key)), IdentityError::NoCertificate(host.clone()));
    assert_eq!(problem(with(&[b"nonsense"], &good.key)), IdentityError::MalformedCertificate(host.clone()));
    assert_eq!(problem(with(&[&good.chain[0]], b"nonsense")), IdentityError::MalformedKey(host.clone()));
    assert_eq!(problem(vec![good.host(&host), good.host(&host)]), IdentityError::Duplicate(host.clone()));
    let old =
        Arc::new(CryptoProvider { cipher_suites: ring::ALL_CIPHER_SUITES[3..].to_vec(), ..ring::default_provider() });
    let provider = RustlsProvider::new(old, vec![good.host(&host)], Version::Tls13);
    assert_eq!(provider.map(|_| ()).expect_err("no suites"), IdentityError::NoCipherSuite);
    assert!(!format!("{:?}", good.host(&host)).contains("302e"));
}
