//! What real TLS agrees on with clients of every age. Nothing is played here: both sides are rustls, or bytes of ours.

use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::time_provider::TimeProvider;
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, Error, RootCertStore, SupportedProtocolVersion, version,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use s2s_core::tls::{Facts, Provider, RustlsProvider, Session, Version};

use super::{A, B};
use crate::certificates::{Authority, NOW, Request};
use crate::world::domain;

/// Turns of a handshake, more than any takes.
const TURNS: usize = 8;

/// Suite without forward secrecy: `TLS_RSA_WITH_AES_128_GCM_SHA256`.
const STATIC_RSA: [u8; 2] = [0x00, 0x9c];
/// Suite of TLS 1.0 and 1.1: `TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA`.
const CBC: [u8; 2] = [0xc0, 0x09];

/// The time of all certificates here.
#[derive(Debug)]
struct Clock(Duration);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0))
    }
}

fn authority() -> Authority {
    Authority::root("the authority")
}

/// A provider of ours that serves B.
fn provider(minimum: Version) -> RustlsProvider {
    let identity = authority().issue(&Request::dns(B)).host(&domain(B));
    let provider = RustlsProvider::new(Arc::new(ring::default_provider()), vec![identity], minimum);
    let provider = provider.expect("a usable identity");
    provider.set_time(NOW);
    provider
}

/// A client of rustls, with a certificate for A and trust in who issued that of B.
fn client(versions: &[&'static SupportedProtocolVersion], protocols: &[&str]) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(authority().der().to_vec())).expect("a certificate");
    let own = authority().issue(&Request::dns(A));
    let chain = own.chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
    let crypto = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_details(crypto, Arc::new(Clock(NOW)))
        .with_protocol_versions(versions)
        .expect("suites")
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, own.private_key())
        .expect("a usable identity");
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    ClientConnection::new(Arc::new(config), ServerName::try_from(B).expect("a name")).expect("a client")
}

/// What both sides have come to: the facts as the server states them, or the error of the client.
fn shake(mut client: ClientConnection, mut server: Box<dyn Session>) -> Result<Facts, Error> {
    for _ in 0..TURNS {
        let (mut to_server, mut to_client, mut plain) = (Vec::new(), Vec::new(), Vec::new());
        while client.wants_write() {
            client.write_tls(&mut to_server).expect("a vector takes all");
        }
        let _ = server.receive(&to_server, &mut plain, &mut to_client);
        server.flush(&mut to_client);
        let mut rest = to_client.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).expect("room");
            client.process_new_packets()?;
        }
    }
    Ok(server.facts().expect("a complete handshake").clone())
}

/// What the client hears who says `hello`: the alert, in the words of rustls.
fn alert(mut server: Box<dyn Session>, hello: &[u8]) -> String {
    let mut answer = Vec::new();
    let _ = server.receive(hello, &mut Vec::new(), &mut answer);
    match answer.as_slice() {
        [21, .., 2, code] => format!("alert {:?}", AlertDescription::from(*code)),
        _ => panic!("no alert: {answer:?}"),
    }
}

fn outcome(result: Result<Facts, Error>, of: impl FnOnce(&Facts) -> String) -> String {
    match result {
        Ok(facts) => of(&facts),
        Err(Error::AlertReceived(alert)) => format!("alert {alert:?}"),
        Err(error) => error.to_string(),
    }
}

/// Peers of several ages begin TLS with B behind STARTTLS.
#[must_use]
pub fn versions() -> String {
    let server = |minimum| provider(minimum).server(Some(&domain(B))).expect("a session");
    let agreed = |versions: &[&'static SupportedProtocolVersion], minimum| {
        let of = |facts: &Facts| format!("{}, {}", facts.version, facts.cipher);
        outcome(shake(client(versions, &[]), server(minimum)), of)
    };
    let rows = [
        ("TLS 1.3 and 1.2", agreed(&[&version::TLS13, &version::TLS12], Version::Tls12)),
        ("TLS 1.2", agreed(&[&version::TLS12], Version::Tls12)),
        ("TLS 1.2, where tls_min_version is 1.3", agreed(&[&version::TLS12], Version::Tls13)),
        ("TLS 1.2 without forward secrecy", alert(server(Version::Tls12), &hello([3, 3], STATIC_RSA))),
        ("TLS 1.1", alert(server(Version::Tls12), &hello([3, 2], CBC))),
    ];
    let mut text = format!("{:<48}{}\n", "the peer speaks", "the answer");
    text.extend(rows.iter().map(|(peer, answer)| format!("{peer:<48}{answer}\n")));
    text
}

/// The first message of a client that speaks nothing above `version`, with one suite.
fn hello(version: [u8; 2], suite: [u8; 2]) -> Vec<u8> {
    // Algorithms of signatures: Ed25519 and ECDSA on P-256.
    let extensions = [0, 13, 0, 6, 0, 4, 8, 7, 4, 3];
    let body = [
        &version[..],
        &[7; 32], // random
        &[0],     // no session
        &[0, 2],
        &suite,
        &[1, 0], // no compression
        &[0, extensions.len() as u8],
        &extensions,
    ]
    .concat();
    let message = [&[1, 0, 0, body.len() as u8][..], &body].concat();
    [&[22, 3, 1, 0, message.len() as u8][..], &message].concat()
}

/// Clients offer protocols on direct TLS, and behind STARTTLS.
#[must_use]
pub fn protocols() -> String {
    let provider = provider(Version::Tls12);
    let mut text = format!("{:<14}{:<26}{}\n", "connection", "the client offers", "the server answers");
    for (direct, offered) in [
        (true, &["xmpp-server"][..]),
        (true, &["xmpp-client", "xmpp-server"]),
        (true, &["xmpp-client"]),
        (true, &[]),
        (false, &["xmpp-server"]),
    ] {
        let host = domain(B);
        let server = provider.server(Some(&host).filter(|_| !direct)).expect("a session");
        let chosen = |facts: &Facts| facts.alpn.as_deref().map(|alpn| String::from_utf8_lossy(alpn).into_owned());
        let answer = outcome(shake(client(&[&version::TLS13], offered), server), |facts| {
            chosen(facts).unwrap_or_else(|| "nothing, and goes on".to_owned())
        });
        let connection = if direct { "direct TLS" } else { "STARTTLS" };
        let offered = if offered.is_empty() { "nothing".to_owned() } else { offered.join(" ") };
        text.push_str(&format!("{connection:<14}{offered:<26}{answer}\n"));
    }
    text
}
