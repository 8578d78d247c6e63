//! TLS sessions, real and fake: the handshake, what it establishes, and the seams.

use std::io::{Read, Write};
use std::sync::Arc;

use proptest::prelude::*;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ClientConfig, ClientConnection, Connection, DigitallySignedStruct, ServerConfig, ServerConnection, SignatureScheme,
    SupportedProtocolVersion, version,
};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use s2s_core::addr::Domain;
use s2s_core::tls::verify::{Rejection, judge};
use s2s_core::tls::{Facts, HostIdentity, IdentityError, Provider, RustlsProvider, Session, TlsError, Version};
use s2s_tests::certificates::{Authority, END, Identity, Kind, NOW, Request, San, tlv};
use s2s_tests::fake_tls::FakeProvider;

fn domain(text: &str) -> Domain {
    Domain::parse(text).expect(text)
}

fn root() -> Authority {
    Authority::root("a root")
}

fn crypto() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn identity(host: &str) -> Identity {
    root().issue(&Request::dns(host))
}

fn real_with(hosts: Vec<HostIdentity>, minimum: Version) -> RustlsProvider {
    let provider = RustlsProvider::new(crypto(), hosts, minimum).expect("usable identities");
    provider.set_time(NOW);
    provider
}

fn real(hosts: &[&str]) -> RustlsProvider {
    real_with(hosts.iter().map(|host| identity(host).host(&domain(host))).collect(), Version::Tls12)
}

fn fake(hosts: &[&str]) -> FakeProvider {
    FakeProvider::new(hosts.iter().map(|host| (domain(host), identity(host).chain)).collect())
}

/// Both kinds of providers, for what has to be the same.
fn providers(hosts: &[&str]) -> [Box<dyn Provider>; 2] {
    [Box::new(real(hosts)), Box::new(fake(hosts))]
}

/// One side of a connection: a session of ours, or rustls as it stands, under control of the test.
trait Side {
    fn turn(&mut self, bytes: &[u8], wire: &mut Vec<u8>) -> Result<(), String>;
}

/// A session of ours with all that came out of it.
struct Ours {
    session: Box<dyn Session>,
    plain: Vec<u8>,
}

impl Ours {
    fn new(session: Result<Box<dyn Session>, TlsError>) -> Self {
        Self { session: session.expect("a session"), plain: Vec::new() }
    }

    fn facts(&self) -> &Facts {
        self.session.facts().expect("a complete handshake")
    }
}

impl Side for Ours {
    fn turn(&mut self, bytes: &[u8], wire: &mut Vec<u8>) -> Result<(), String> {
        let result = self.session.receive(bytes, &mut self.plain, wire).map_err(|error| error.to_string());
        self.session.flush(wire);
        result
    }
}

struct Theirs(Connection);

impl Side for Theirs {
    fn turn(&mut self, mut bytes: &[u8], wire: &mut Vec<u8>) -> Result<(), String> {
        let mut result = Ok(());
        while !bytes.is_empty() && result.is_ok() {
            self.0.read_tls(&mut bytes).expect("room");
            result = self.0.process_new_packets().map(|_| ()).map_err(|error| error.to_string());
            let _ = self.0.reader().read(&mut [0; 65_536]);
        }
        while self.0.wants_write() {
            self.0.write_tls(wire).expect("a vector takes all");
        }
        result
    }
}

/// Carries bytes both ways until nobody has any left; `extra` waits for the server already. Gives the errors of
/// both sides.
fn run_with(client: &mut dyn Side, server: &mut dyn Side, extra: Vec<u8>) -> (Result<(), String>, Result<(), String>) {
    let (mut results, mut to_server, mut to_client) = ((Ok(()), Ok(())), extra, Vec::new());
    loop {
        if results.0.is_ok() {
            results.0 = client.turn(&std::mem::take(&mut to_client), &mut to_server);
        }
        if results.1.is_ok() {
            results.1 = server.turn(&std::mem::take(&mut to_server), &mut to_client);
        }
        if (to_client.is_empty() || results.0.is_err()) && (to_server.is_empty() || results.1.is_err()) {
            return results;
        }
    }
}

fn run(client: &mut dyn Side, server: &mut dyn Side) -> (Result<(), String>, Result<(), String>) {
    run_with(client, server, Vec::new())
}

fn shake(client: &mut dyn Side, server: &mut dyn Side) {
    assert_eq!(run(client, server), (Ok(()), Ok(())));
}

/// A connection after STARTTLS from `local` to `remote`, both served by `provider`.
fn starttls(provider: &dyn Provider, local: &str, remote: &str) -> (Ours, Ours) {
    let (local, remote) = (domain(local), domain(remote));
    let mut client = Ours::new(provider.client(&local, &remote, false));
    let mut server = Ours::new(provider.server(Some(&remote)));
    shake(&mut client, &mut server);
    (client, server)
}

/// Carries what `from` sends to `to`.
fn say(from: &mut Ours, to: &mut Ours, plain: &[u8]) {
    let mut wire = Vec::new();
    from.session.send(plain, &mut wire);
    assert_eq!(to.turn(&wire, &mut Vec::new()), Ok(()));
}

/// Lets everything through but the signature of the handshake, which it does not look at either.
#[derive(Debug)]
struct Anything;

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        crypto().signature_verification_algorithms.supported_schemes()
    }
}

/// A key with any certificate, whether they belong together or not.
fn unchecked(identity: &Identity) -> Arc<SingleCertAndKey> {
    let key = crypto().key_provider.load_private_key(identity.private_key()).expect("a key");
    let chain = identity.chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
    Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key)))
}

const VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS12, &version::TLS13];

/// A client that shows `identity` and does as `change` says.
fn their_client(
    version: &'static SupportedProtocolVersion,
    identity: &Identity,
    name: &str,
    change: impl FnOnce(&mut ClientConfig),
) -> Theirs {
    let mut config = ClientConfig::builder_with_provider(crypto())
        .with_protocol_versions(&[version])
        .expect("suites")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything))
        .with_client_cert_resolver(unchecked(identity));
    change(&mut config);
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    Theirs(Connection::Client(ClientConnection::new(Arc::new(config), name).expect("a client")))
}

fn their_server(version: &'static SupportedProtocolVersion, identity: &Identity) -> Theirs {
    let config = ServerConfig::builder_with_provider(crypto())
        .with_protocol_versions(&[version])
        .expect("suites")
        .with_no_client_auth()
        .with_cert_resolver(unchecked(identity));
    Theirs(Connection::Server(ServerConnection::new(Arc::new(config)).expect("a server")))
}

#[test]
//= RFC9325-3.1.1-2 test
//= RFC9325-3.1.1-3 test
//= XEP0368-3-7 test
//= RFC9325-3.7-1 test
//= RFC6120-13.7.2.1-1 test
//= RFC6120-13.7.2.1-2 test
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
//= RFC9325-3.1.1-1 test
//= RFC9325-4.1-2 test
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
//= RFC7590-3.3-1 test
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
//= RFC9325-3.4-1 test
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
                assert_eq!(verdict.map(|verified| verified.form()), kind.verdict(), "{kind:?}");
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
fn what_is_no_tls_is_answered_with_an_alert_and_ends_the_session() {
    for provider in providers(&["m.example", "t.example"]) {
        let (local, remote) = (domain("m.example"), domain("t.example"));
        for session in [provider.client(&local, &remote, false), provider.server(Some(&remote)), provider.server(None)]
        {
            let mut ours = Ours::new(session);
            ours.session.flush(&mut Vec::new());
            let mut wire = Vec::new();
            let error = ours.turn(b"<?xml version='1.0'?>", &mut wire).expect_err("no TLS");
            assert_eq!(wire.first(), Some(&21), "{error}");
            wire.clear();
            for bytes in [&b"<"[..], b"", &[22, 3, 3, 0, 1, 1]] {
                assert_eq!(ours.turn(bytes, &mut wire), Err(error.clone()));
            }
            ours.session.send(b"x", &mut wire);
            ours.session.close(&mut wire);
            assert_eq!((wire, ours.plain), (Vec::new(), Vec::new()));
            assert!(ours.session.facts().is_none() && !ours.session.is_closed_by_peer());
        }
    }
}

#[test]
//= RFC9325-3.10-1 test
fn what_is_sent_too_early_is_kept_back() {
    for provider in providers(&["m.example", "t.example"]) {
        for direct in [false, true] {
            let (local, remote) = (domain("m.example"), domain("t.example"));
            let large = vec![b'x'; 200_000];
            // The second connection is resumed: no early data even so.
            for _ in 0..2 {
                let mut client = Ours::new(provider.client(&local, &remote, direct));
                let mut server = Ours::new(provider.server(Some(&remote).filter(|_| !direct)));
                let mut wire = Vec::new();
                client.session.send(&large, &mut wire);
                server.session.send(&large, &mut wire);
                server.session.send(b".", &mut wire);
                assert!(wire.len() < 10_000, "nothing but a hello: {}", wire.len());
                // The hello went to the wire with that call.
                assert_eq!(run_with(&mut client, &mut server, wire), (Ok(()), Ok(())));
                assert_eq!(server.plain, large);
                assert_eq!(client.plain, [&large[..], b"."].concat());
            }
        }
    }
}

#[test]
fn large_data_passes_both_ways() {
    for provider in providers(&["m.example", "t.example"]) {
        let (mut client, mut server) = starttls(provider.as_ref(), "m.example", "t.example");
        let large: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        say(&mut client, &mut server, &large);
        say(&mut server, &mut client, &large);
        assert!(client.plain == large && server.plain == large);
        say(&mut client, &mut server, b"");
        assert_eq!(server.plain.len(), large.len());
    }
}

#[test]
//= RFC6120-4.4-4 test
fn a_close_is_announced_both_ways() {
    for provider in providers(&["m.example", "t.example"]) {
        let (mut client, mut server) = starttls(provider.as_ref(), "m.example", "t.example");
        let mut wire = Vec::new();
        client.session.send(b"</stream:stream>", &mut wire);
        client.session.close(&mut wire);
        let length = wire.len();
        client.session.send(b"too late", &mut wire);
        client.session.close(&mut wire);
        assert_eq!(wire.len(), length, "nothing is sent after it");
        wire.extend(b"whatever follows is ignored");
        assert!(!server.session.is_closed_by_peer());
        assert_eq!(server.turn(&wire, &mut Vec::new()), Ok(()));
        assert_eq!(server.turn(b"and this too", &mut Vec::new()), Ok(()));
        assert!(server.session.is_closed_by_peer());
        assert_eq!(server.plain, b"</stream:stream>");

        // The other direction is still open until it is closed too.
        say(&mut server, &mut client, b"bye");
        assert!(!client.session.is_closed_by_peer());
        wire.clear();
        server.session.close(&mut wire);
        let mut answer = Vec::new();
        assert_eq!(client.turn(&wire, &mut answer), Ok(()));
        assert!(client.session.is_closed_by_peer() && answer.is_empty());
        assert_eq!(client.plain, b"bye");
    }
}

#[test]
fn a_truncated_connection_is_not_a_closed_one() {
    for provider in providers(&["m.example", "t.example"]) {
        let (mut client, mut server) = starttls(provider.as_ref(), "m.example", "t.example");
        let mut wire = Vec::new();
        client.session.send(b"half a stan", &mut wire);
        client.session.close(&mut wire);
        wire.pop();
        assert_eq!(server.turn(&wire, &mut Vec::new()), Ok(()));
        assert_eq!(server.plain, b"half a stan");
        assert!(!server.session.is_closed_by_peer());
    }
}

#[test]
fn after_our_close_a_broken_peer_gets_no_answer_and_does_no_harm() {
    for provider in providers(&["m.example", "t.example"]) {
        let (mut client, _) = starttls(provider.as_ref(), "m.example", "t.example");
        let mut wire = Vec::new();
        client.session.close(&mut wire);
        wire.clear();
        let error = client.turn(&[23, 3, 3, 0, 30].into_iter().chain([7; 30]).collect::<Vec<_>>(), &mut wire);
        assert!(error.is_err());
        assert_eq!(client.turn(b"", &mut wire), error);
        assert!(wire.is_empty());
    }
}

#[test]
fn a_changed_record_is_an_error_after_what_came_before_it() {
    let (mut client, mut server) = starttls(&real(&["m.example", "t.example"]), "m.example", "t.example");
    let (mut wire, mut answer) = (Vec::new(), Vec::new());
    client.session.send(b"genuine", &mut wire);
    let length = wire.len();
    client.session.send(b"forged", &mut wire);
    wire[length + 7] ^= 1;
    assert_eq!(server.turn(&wire, &mut answer), Err("cannot decrypt peer's message".to_owned()));
    assert_eq!(server.plain, b"genuine");
    assert_eq!(client.turn(&answer, &mut Vec::new()), Err("received fatal alert: BadRecordMac".to_owned()));
}

#[test]
//= RFC9325-3.1.1-1 test
fn older_versions_are_refused() {
    let provider = real(&["t.example"]);
    for server in [provider.server(Some(&domain("t.example"))), provider.server(None)] {
        let (mut hello, mut answer) = (Vec::new(), Vec::new());
        let mut client = their_client(&version::TLS12, &identity("m.example"), "t.example", |_| {});
        client.turn(b"", &mut hello).expect("a hello");
        // TLS 1.1 instead of 1.2, in the old place and in the extension.
        let extension = [0, 43, 0, 3, 2, 3, 3];
        let at = hello.windows(extension.len()).position(|window| window == extension).expect("an extension");
        hello[at + 6] = 2;
        hello[10] = 2;
        assert!(Ours::new(server).turn(&hello, &mut answer).is_err());
        assert_eq!(answer, [21, 3, 3, 0, 2, 2, 70]);
    }
}

#[test]
fn a_client_that_starts_over_in_the_clear_is_cut_off() {
    let provider = real(&["t.example"]);
    let mut client = their_client(&version::TLS12, &identity("m.example"), "t.example", |_| {});
    let mut server = Ours::new(provider.server(Some(&domain("t.example"))));
    shake(&mut client, &mut server);
    // A hello in the clear, in the middle of the stream.
    let mut hello = Vec::new();
    let mut other = their_client(&version::TLS12, &identity("m.example"), "t.example", |_| {});
    other.turn(b"", &mut hello).expect("a hello");
    assert!(server.turn(&hello, &mut Vec::new()).is_err());
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

/// Gives `bytes` to a session in pieces.
fn feed(
    session: &mut dyn Session,
    bytes: &[u8],
    cuts: &[prop::sample::Index],
    plain: &mut Vec<u8>,
    wire: &mut Vec<u8>,
) -> Result<(), TlsError> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    at.windows(2).try_for_each(|range| session.receive(&bytes[range[0]..range[1]], plain, wire))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However the bytes are cut, the same plaintext comes out, up to the same end.
    #[test]
    fn cuts_change_nothing(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20_000), 0..4),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        handshake_cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        close in any::<bool>(),
        direct in any::<bool>(),
        damage in prop::option::of(any::<prop::sample::Index>()),
    ) {
        for provider in providers(&["m.example", "t.example"]) {
            let (local, remote) = (domain("m.example"), domain("t.example"));
            let mut client = provider.client(&local, &remote, direct).expect("a client");
            let mut server = provider.server(Some(&remote).filter(|_| !direct)).expect("a server");
            // The handshake in pieces, the server's side first.
            let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
            client.flush(&mut to_server);
            while !(to_server.is_empty() && to_client.is_empty()) {
                let (mut server_plain, mut client_plain) = (Vec::new(), Vec::new());
                let bytes = std::mem::take(&mut to_server);
                feed(server.as_mut(), &bytes, &handshake_cuts, &mut server_plain, &mut to_client).expect("a handshake");
                let bytes = std::mem::take(&mut to_client);
                feed(client.as_mut(), &bytes, &handshake_cuts, &mut client_plain, &mut to_server).expect("a handshake");
                prop_assert!(server_plain.is_empty() && client_plain.is_empty());
            }
            prop_assert!(client.facts().is_some() && server.facts().is_some());

            let mut wire = Vec::new();
            for piece in &pieces {
                client.send(piece, &mut wire);
            }
            if close {
                client.close(&mut wire);
            }
            let sent = pieces.concat();
            if let (Some(at), false) = (damage, wire.is_empty()) {
                let at = at.index(wire.len());
                wire[at] ^= 1;
            }
            let mut plain = Vec::new();
            let result = feed(server.as_mut(), &wire, &cuts, &mut plain, &mut Vec::new());
            if damage.is_none() {
                prop_assert_eq!(result, Ok(()));
                prop_assert!(plain == sent);
                prop_assert_eq!(server.is_closed_by_peer(), close);
            }
        }
    }

    /// The fake is deterministic, so that damaged bytes can be compared whole and in pieces.
    #[test]
    fn cuts_change_nothing_in_damaged_bytes_either(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..4),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let provider = fake(&["m.example", "t.example"]);
        let (mut client, _) = starttls(&provider, "m.example", "t.example");
        let mut wire = Vec::new();
        for piece in &pieces {
            client.session.send(piece, &mut wire);
        }
        client.session.close(&mut wire);
        for (at, byte) in damage {
            let at = at.index(wire.len());
            wire[at] = byte;
        }
        let outcome = |cuts: &[prop::sample::Index]| {
            let (_, mut server) = starttls(&provider, "m.example", "t.example");
            let mut answer = Vec::new();
            let result = feed(server.session.as_mut(), &wire, cuts, &mut server.plain, &mut answer);
            (result, answer, server.plain, server.session.is_closed_by_peer())
        };
        prop_assert_eq!(outcome(&cuts), outcome(&[]));
    }

    /// Bytes of anybody never panic and never become plaintext; an error stays.
    #[test]
    fn noise_is_an_error_that_stays(bytes in prop::collection::vec(any::<u8>(), 0..300), record in any::<bool>()) {
        let bytes = if record { [&[22, 3, 1, 1, 0][..], &bytes].concat() } else { bytes };
        for provider in providers(&["m.example", "t.example"]) {
            let (local, remote) = (domain("m.example"), domain("t.example"));
            for session in [provider.client(&local, &remote, true), provider.server(Some(&remote)), provider.server(None)] {
                let mut session = session.expect("a session");
                let mut plain = Vec::new();
                let result = session.receive(&bytes, &mut plain, &mut Vec::new());
                prop_assert!(plain.is_empty() && session.facts().is_none());
                if result.is_err() {
                    prop_assert_eq!(session.receive(b"more", &mut plain, &mut Vec::new()), result);
                }
            }
        }
    }
}

#[test]
fn the_fake_says_the_same_bytes_in_every_run() {
    let transcript = || {
        let provider = fake(&["m.example", "t.example"]);
        let mut client = Ours::new(provider.client(&domain("m.example"), &domain("t.example"), true));
        let mut server = Ours::new(provider.server(None));
        let mut wire = Vec::new();
        client.session.flush(&mut wire);
        let mut transcript = wire.clone();
        for _ in 0..2 {
            let mut answer = Vec::new();
            server.turn(&std::mem::take(&mut wire), &mut answer).expect("legal");
            client.turn(&answer, &mut wire).expect("legal");
            transcript.write_all(&answer).and_then(|()| transcript.write_all(&wire)).expect("a vector takes all");
        }
        assert!(client.session.facts().is_some() && server.session.facts().is_some());
        transcript
    };
    assert_eq!(transcript(), transcript());
}

#[test]
fn the_fake_shows_whatever_chain_it_is_given() {
    let shown = root().issue(&Request::new(vec![San::XmppAddr("m.example".to_owned())])).chain;
    let provider = FakeProvider::new(vec![
        (domain("m.example"), shown.clone()),
        (domain("t.example"), vec![b"no certificate".to_vec()]),
    ]);
    let (client, server) = starttls(&provider, "m.example", "t.example");
    assert_eq!(server.facts().chain, shown);
    let verdict = judge(&client.facts().chain, &domain("t.example"), &root().trust(), NOW);
    assert_eq!(verdict, Err(Rejection::Malformed));
}
