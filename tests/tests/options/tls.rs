//! `cafile`, `certificates` and `tls_min_version`.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConnection, SupportedProtocolVersion, version};
use rustls_pki_types::{ServerName, UnixTime};
use s2s_core::auth::Method;
use s2s_core::machine::Listener;
use s2s_core::policy::HostOptions;
use s2s_core::reason::Reason;
use s2s_core::tls::verify::Trust;
use s2s_core::tls::{Provider, RustlsProvider, Version};
use s2s_tests::certificates::{Authority, Kind, NOW, Request};
use s2s_tests::dns_server::Zone;
use s2s_tests::puppetry::header;
use s2s_tests::world::{Cutting, NodeIndex, Puppet, World, domain};

use crate::federations::{IN, OURS, OUT, THEIRS, Told, Two, addr, authority, config, lax, message, secure};

#[test]
fn cafile_decides_whose_certificates_count() {
    let other = Authority::root("another authority");
    let both = || {
        let mut trust = Trust::new(s2s_tests::certificates::algorithms());
        trust.add_anchor(other.der()).expect("an authority");
        trust.add_anchor(authority().der()).expect("an authority");
        trust
    };
    let reason = Reason::CertUnknownIssuer;
    for (trust, expected) in [(other.trust(), Some(reason)), (both(), None), (authority().trust(), None)] {
        let mut ours = config(OURS, Some(Kind::Valid), secure());
        ours.trust = Arc::new(trust);
        let mut two = Two::new(ours, config(THEIRS, Some(Kind::Valid), lax()));
        match expected {
            None => assert_eq!(two.federate(), (Method::External, Method::External)),
            Some(reason) => {
                let (ours, _) = two.there();
                assert_eq!(ours, Told { refused: vec![(OUT, reason)], bounced: vec![reason], ..Told::default() });
                assert_eq!(two.back().0.refused, [(IN, reason)]);
            }
        }
    }
}

/// Real TLS with a certificate for each of these hosts.
fn rustls_for(hosts: &[&str]) -> Arc<dyn Provider> {
    let identities = hosts.iter().map(|host| authority().issue(&Request::dns(host)).host(&domain(host)));
    let crypto = Arc::new(ring::default_provider());
    let provider = RustlsProvider::new(crypto, identities.collect(), Version::Tls12).expect("usable");
    provider.set_time(NOW);
    Arc::new(provider)
}

#[test]
//= RFC6120-5.4.3.1-5 test
fn certificates_are_chosen_by_the_domain_that_the_peer_asks_for() {
    const OTHER: &str = "other.example.org";
    for direct in [false, true] {
        let (mut ours, mut theirs) = (config(OURS, None, lax()), config(THEIRS, None, secure()));
        ours.hosts.insert(domain(OTHER), lax());
        ours.tls = rustls_for(&[OTHER, OURS]);
        theirs.tls = rustls_for(&[THEIRS]);
        let mut two = Two::new(ours, theirs);
        two.world.zone = Zone::new();
        for (host, last) in [(OURS, 1), (OTHER, 1), (THEIRS, 2)] {
            two.world.publish(host, addr(last), !direct, direct);
        }
        // The peer is strict: a certificate for another host would not do.
        for host in [OURS, OTHER] {
            two.world.send(two.theirs, &message(THEIRS, host, host));
            let (ours, theirs) = two.told();
            assert_eq!(ours, Told::up(IN, Method::External).delivered(host), "direct {direct}");
            assert_eq!(theirs, Told::up(OUT, Method::External), "direct {direct}");
        }
    }
}

/// What a node told whose host speaks `minimum` and later, when a client came that speaks one version.
fn met_by(theirs: &'static SupportedProtocolVersion, minimum: Version) -> (bool, Told) {
    let host = domain(OURS);
    let identity = authority().issue(&Request::dns(OURS)).host(&host).with_minimum_version(minimum);
    let crypto = Arc::new(ring::default_provider());
    let provider = RustlsProvider::new(crypto.clone(), vec![identity], Version::Tls12).expect("usable");
    provider.set_time(NOW);
    let mut config = config(OURS, None, lax());
    config.tls = Arc::new(provider);
    let mut world = World::new(Cutting::Whole);
    world.tap = Some(std::collections::BTreeMap::new());
    let node = world.add(addr(1), config);
    let puppet = world.connect(node, Listener::DirectTls);
    let client = rustls::ClientConfig::builder_with_provider(crypto)
        .with_protocol_versions(&[theirs])
        .expect("a version")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from(OURS).expect("a name");
    let mut client = ClientConnection::new(Arc::new(client), name).expect("a client");
    let mut hello = Vec::new();
    client.write_tls(&mut hello).expect("memory");
    world.say(puppet, hello);
    let heard = world.hear(puppet);
    // A handshake is answered by one, a version that is too old by an alert.
    (heard.first() == Some(&22), Told::of(&world.take_events(node)))
}

#[test]
fn tls_min_version_refuses_what_is_older() {
    assert_eq!(met_by(&version::TLS12, Version::Tls12), (true, Told::default()));
    assert_eq!(met_by(&version::TLS13, Version::Tls13), (true, Told::default()));
    let (answered, told) = met_by(&version::TLS12, Version::Tls13);
    assert!(!answered);
    assert_eq!(told.refused, [(IN, Reason::TlsFailed)]);
}

/// The moment for which certificates are made.
#[derive(Debug)]
struct Now;

impl TimeProvider for Now {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(NOW))
    }
}

/// What the node answers to `text` inside TLS.
fn converse(client: &mut ClientConnection, world: &mut World, puppet: Puppet, text: &str) -> String {
    client.writer().write_all(text.as_bytes()).expect("memory");
    for _ in 0..6 {
        let mut said = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut said).expect("memory");
        }
        world.say(puppet, said);
        let heard = world.hear(puppet);
        let mut heard = heard.as_slice();
        while !heard.is_empty() {
            client.read_tls(&mut heard).expect("memory");
            client.process_new_packets().expect("TLS");
        }
    }
    let mut plain = Vec::new();
    // There is no end yet, which is an error to it.
    let _ = client.reader().read_to_end(&mut plain);
    String::from_utf8(plain).expect("text")
}

const SECOND: &str = "second.example.org";

/// A node that takes any version for `OURS`, and `minimum` for `SECOND`, and whoever has come to `OURS` with TLS 1.2.
fn with_tls_1_2(minimum: Version) -> (World, NodeIndex, Puppet, ClientConnection) {
    let mut config = config(OURS, Some(Kind::Valid), lax());
    config.tls = rustls_for(&[OURS]);
    config.hosts.insert(domain(SECOND), HostOptions { tls_min_version: minimum, ..lax() });
    let mut world = World::new(Cutting::Whole);
    world.tap = Some(std::collections::BTreeMap::new());
    let node = world.add(addr(1), config);
    let puppet = world.connect(node, Listener::DirectTls);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority().der().to_vec().into()).expect("an authority");
    let client = rustls::ClientConfig::builder_with_details(Arc::new(ring::default_provider()), Arc::new(Now))
        .with_protocol_versions(&[&version::TLS12])
        .expect("a version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(OURS).expect("a name");
    (world, node, puppet, ClientConnection::new(Arc::new(client), name).expect("a client"))
}

#[test]
fn tls_min_version_of_a_host_that_is_named_inside_tls_counts_too() {
    for minimum in [Version::Tls12, Version::Tls13] {
        let (mut world, node, puppet, mut client) = with_tls_1_2(minimum);
        let heard = converse(&mut client, &mut world, puppet, &header(THEIRS, SECOND));
        let served = minimum == Version::Tls12;
        assert_eq!(heard.contains("<stream:features>"), served, "{heard}");
        assert_eq!(heard.contains("<policy-violation "), !served, "{heard}");
        let refused = if served { vec![] } else { vec![(IN, Reason::TlsFailed)] };
        assert_eq!(Told::of(&world.take_events(node)).refused, refused);
    }
}

#[test]
fn tls_min_version_counts_for_each_key_and_each_question_about_one() {
    for minimum in [Version::Tls12, Version::Tls13] {
        let (mut world, _, puppet, mut client) = with_tls_1_2(minimum);
        let heard = converse(&mut client, &mut world, puppet, &header(THEIRS, OURS));
        assert!(heard.contains("<stream:features>"), "{heard}");
        let served = minimum == Version::Tls12;
        let question = format!("<db:verify from='{THEIRS}' to='{SECOND}' id='x'>key</db:verify>");
        let heard = converse(&mut client, &mut world, puppet, &question);
        assert_eq!(heard.contains(" type='invalid'"), served, "{heard}");
        assert_eq!(heard.contains("<policy-violation "), !served, "{heard}");
        let key = format!("<db:result from='{THEIRS}' to='{SECOND}'>key</db:result>");
        let heard = converse(&mut client, &mut world, puppet, &key);
        assert_eq!(heard.contains("<policy-violation "), !served, "{heard}");
    }
}
