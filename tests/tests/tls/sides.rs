//! The two sides of a connection, and how bytes pass between them.

use std::io::Read;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ClientConfig, ClientConnection, Connection, DigitallySignedStruct, ServerConfig, ServerConnection, SignatureScheme,
    SupportedProtocolVersion, version,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use s2s_core::addr::Domain;
use s2s_core::tls::{Facts, HostIdentity, Provider, RustlsProvider, Session, TlsError, Version};
use s2s_tests::certificates::{Authority, Identity, NOW, Request};
use s2s_tests::fake_tls::FakeProvider;

pub(crate) fn domain(text: &str) -> Domain {
    Domain::parse(text).expect(text)
}

pub(crate) fn root() -> Authority {
    Authority::root("a root")
}

pub(crate) fn crypto() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

pub(crate) fn identity(host: &str) -> Identity {
    root().issue(&Request::dns(host))
}

pub(crate) fn real_with(hosts: Vec<HostIdentity>, minimum: Version) -> RustlsProvider {
    let provider = RustlsProvider::new(crypto(), hosts, minimum).expect("usable identities");
    provider.set_time(NOW);
    provider
}

pub(crate) fn real(hosts: &[&str]) -> RustlsProvider {
    real_with(hosts.iter().map(|host| identity(host).host(&domain(host))).collect(), Version::Tls12)
}

pub(crate) fn fake(hosts: &[&str]) -> FakeProvider {
    FakeProvider::new(hosts.iter().map(|host| (domain(host), identity(host).chain)).collect())
}

/// Both kinds of providers, for what has to be the same.
pub(crate) fn providers(hosts: &[&str]) -> [Box<dyn Provider>; 2] {
    [Box::new(real(hosts)), Box::new(fake(hosts))]
}

/// One side of a connection: a session of ours, or rustls as it stands, under control of the test.
pub(crate) trait Side {
    fn turn(&mut self, bytes: &[u8], wire: &mut Vec<u8>) -> Result<(), String>;
}

/// A session of ours with all that came out of it.
pub(crate) struct Ours {
    pub(crate) session: Box<dyn Session>,
    pub(crate) plain: Vec<u8>,
}

impl Ours {
    pub(crate) fn new(session: Result<Box<dyn Session>, TlsError>) -> Self {
        Self { session: session.expect("a session"), plain: Vec::new() }
    }

    pub(crate) fn facts(&self) -> &Facts {
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

pub(crate) struct Theirs(pub(crate) Connection);

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
pub(crate) fn run_with(
    client: &mut dyn Side,
    server: &mut dyn Side,
    extra: Vec<u8>,
) -> (Result<(), String>, Result<(), String>) {
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

pub(crate) fn run(client: &mut dyn Side, server: &mut dyn Side) -> (Result<(), String>, Result<(), String>) {
    run_with(client, server, Vec::new())
}

pub(crate) fn shake(client: &mut dyn Side, server: &mut dyn Side) {
    assert_eq!(run(client, server), (Ok(()), Ok(())));
}

/// A connection after STARTTLS from `local` to `remote`, both served by `provider`.
pub(crate) fn starttls(provider: &dyn Provider, local: &str, remote: &str) -> (Ours, Ours) {
    let (local, remote) = (domain(local), domain(remote));
    let mut client = Ours::new(provider.client(&local, &remote, false));
    let mut server = Ours::new(provider.server(Some(&remote)));
    shake(&mut client, &mut server);
    (client, server)
}

/// Carries what `from` sends to `to`.
pub(crate) fn say(from: &mut Ours, to: &mut Ours, plain: &[u8]) {
    let mut wire = Vec::new();
    from.session.send(plain, &mut wire);
    assert_eq!(to.turn(&wire, &mut Vec::new()), Ok(()));
}

/// Lets everything through but the signature of the handshake, which it does not look at either.
#[derive(Debug)]
pub(crate) struct Anything;

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
pub(crate) fn unchecked(identity: &Identity) -> Arc<SingleCertAndKey> {
    let key = crypto().key_provider.load_private_key(identity.private_key()).expect("a key");
    let chain = identity.chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
    Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key)))
}

pub(crate) const VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS12, &version::TLS13];

/// A client that shows `identity` and does as `change` says.
pub(crate) fn their_client(
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

/// The configuration of a server that shows `identity`.
pub(crate) fn their_server_config(version: &'static SupportedProtocolVersion, identity: &Identity) -> ServerConfig {
    ServerConfig::builder_with_provider(crypto())
        .with_protocol_versions(&[version])
        .expect("suites")
        .with_no_client_auth()
        .with_cert_resolver(unchecked(identity))
}

pub(crate) fn their_server(version: &'static SupportedProtocolVersion, identity: &Identity) -> Theirs {
    their_server_of(their_server_config(version, identity))
}

pub(crate) fn their_server_of(config: ServerConfig) -> Theirs {
    Theirs(Connection::Server(ServerConnection::new(Arc::new(config)).expect("a server")))
}
