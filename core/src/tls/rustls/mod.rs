//! TLS by rustls, through its buffered interface.
//!
//! The cryptography is a parameter, the time is set from outside, and certificates are accepted by possession
//! only (see [`verifier`]). Every domain of ours has configurations and session stores of its own, so that
//! nothing is resumed under another identity. Early data is never offered or taken.
//!
//! The cipher suites are those of the provider, which are the recommended ones: the suite that RFC 6120 makes
//! mandatory has no forward secrecy and is not among them (decision D-11). rustls speaks nothing below TLS 1.2
//! and never falls back after a failure. Nothing is renegotiated (see [`records`]).
//!
//! - [RFC 9325](https://www.rfc-editor.org/rfc/rfc9325), [XEP-0368](https://xmpp.org/extensions/xep-0368.html)

mod records;
mod session;
mod sessions;
mod verifier;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::{
    ClientConfig, ClientConnection, Error, InconsistentKeys, ServerConfig, ServerConnection, SupportedProtocolVersion,
    version,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use self::session::RustlsSession;
use self::sessions::{ClientSessions, ServerSessions};
use self::verifier::PossessionOnly;
use super::{Provider, Session, TlsError, Version};
use crate::addr::Domain;

/// The application protocol of server-to-server streams over direct TLS.
//= XEP0368-3-9
//= RFC9325-3.8-1
const ALPN: &[u8] = b"xmpp-server";

/// One of our domains with its certificate. Nothing is checked before it is given to a [`RustlsProvider`].
pub struct HostIdentity {
    host: Domain,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    minimum: Option<Version>,
}

impl HostIdentity {
    /// `host` shows `chain`, its own certificate first, and signs with `key`.
    #[must_use]
    pub const fn new(host: Domain, chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Self {
        Self { host, chain, key, minimum: None }
    }

    /// Speaks no lower version than this one for the host, whatever is good enough for the others.
    #[must_use]
    pub const fn with_minimum_version(mut self, minimum: Version) -> Self {
        self.minimum = Some(minimum);
        self
    }
}

impl fmt::Debug for HostIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostIdentity")
            .field("host", &self.host)
            .field("certificates", &self.chain.len())
            .field("minimum", &self.minimum)
            .finish_non_exhaustive()
    }
}

/// An identity cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdentityError {
    /// The host has two identities.
    Duplicate(Domain),
    /// The key is not the one in the certificate.
    KeyMismatch(Domain),
    /// The certificate cannot be read.
    MalformedCertificate(Domain),
    /// The key cannot be read, or is of a kind that the cryptography provider does not support.
    MalformedKey(Domain),
    /// There is no certificate in the chain.
    NoCertificate(Domain),
    /// The cryptography provider has no cipher suite for the versions that are allowed.
    NoCipherSuite,
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duplicate(host) => write!(f, "{host} has two certificates"),
            Self::KeyMismatch(host) => write!(f, "the private key of {host} does not belong to its certificate"),
            Self::MalformedCertificate(host) => write!(f, "the certificate of {host} cannot be read"),
            Self::MalformedKey(host) => write!(f, "the private key of {host} cannot be read"),
            Self::NoCertificate(host) => write!(f, "the certificate of {host} is missing"),
            Self::NoCipherSuite => f.write_str("no cipher suite for the TLS versions that are allowed"),
        }
    }
}

impl std::error::Error for IdentityError {}

/// Makes TLS sessions with rustls.
pub struct RustlsProvider {
    builder: Builder,
    hosts: BTreeMap<Domain, Host>,
    direct: Arc<DirectHosts>,
    /// For domains of ours without a certificate; without resumption, since they share it.
    nameless: Client,
    /// For those of them that have a minimum of their own.
    nameless_hosts: BTreeMap<Domain, Client>,
}

/// What one of our domains needs in both directions.
struct Host {
    chain: Vec<Vec<u8>>,
    client: Client,
    /// After STARTTLS.
    server: Arc<ServerConfig>,
}

/// The configurations of an initiating domain. They share one session store, if there is one.
struct Client {
    starttls: Arc<ClientConfig>,
    direct: Arc<ClientConfig>,
    sessions: Option<Arc<ClientSessions>>,
}

/// The configurations for connections that start with TLS: the client's hello says which one.
struct DirectHosts {
    hosts: BTreeMap<Domain, Arc<ServerConfig>>,
    /// The host that was named first, for clients that ask for none.
    first: Option<Domain>,
}

impl DirectHosts {
    /// The configuration for a server name indication.
    //= RFC9325-3.7-2
    fn choose(&self, name: Option<&str>) -> Option<&Arc<ServerConfig>> {
        match name {
            Some(name) => self.hosts.get(&Domain::parse(name).ok()?),
            None => self.hosts.get(self.first.as_ref()?),
        }
    }
}

impl RustlsProvider {
    /// Sessions for the hosts in `identities`, with cryptography by `crypto` and no version below `minimum`.
    /// The suites are those of `crypto`; rustls knows none without forward secrecy.
    /// The order counts: on direct TLS the first host answers clients that name none.
    ///
    /// The clock stands at 1970 until [`Provider::set_time`] is called. A [`Node`](crate::node::Node) does that; whoever has
    /// links without a node has to.
    //= RFC9325-4.1-2
    //= RFC9325-4.4-1
    //= RFC7590-3-1
    //= RFC9325-4.1-1
    //= RFC9325-4.1-3
    //= RFC9325-4.2-1
    //= RFC9325-4.2-2
    pub fn new(
        crypto: Arc<CryptoProvider>,
        identities: Vec<HostIdentity>,
        minimum: Version,
    ) -> Result<Self, IdentityError> {
        let builder = Builder {
            verifier: Arc::new(PossessionOnly::new(crypto.signature_verification_algorithms)),
            clock: Arc::new(Clock(AtomicU64::new(0))),
            crypto,
        };
        let nameless = builder.client(None, minimum)?;
        let first = identities.first().map(|identity| identity.host.clone());
        let mut hosts = BTreeMap::new();
        let mut direct = BTreeMap::new();
        for identity in identities {
            let versions = identity.minimum.map_or(minimum, |own| own.max(minimum));
            let host = identity.host.clone();
            let chain = identity.chain.iter().map(|der| der.to_vec()).collect();
            let key = builder.certified_key(identity)?;
            let client = builder.client(Some(key.clone()), versions)?;
            let server = builder.server(key, versions)?;
            let mut config = server.clone();
            //= RFC7301-3.2-1
            config.alpn_protocols = vec![ALPN.to_vec()];
            if direct.insert(host.clone(), Arc::new(config)).is_some() {
                return Err(IdentityError::Duplicate(host));
            }
            hosts.insert(host, Host { chain, client, server: Arc::new(server) });
        }
        let direct = Arc::new(DirectHosts { hosts: direct, first });
        Ok(Self { builder, hosts, direct, nameless, nameless_hosts: BTreeMap::new() })
    }

    /// The same, where `host` initiates no version below `minimum` although it has no identity. Where it has one, that
    /// decides.
    pub fn with_nameless_host(mut self, host: Domain, minimum: Version) -> Result<Self, IdentityError> {
        let client = self.builder.client(None, minimum)?;
        self.nameless_hosts.insert(host, client);
        Ok(self)
    }
}

impl Provider for RustlsProvider {
    fn set_time(&self, unix: Duration) {
        self.builder.clock.0.store(unix.as_secs(), Ordering::Relaxed);
    }

    //= XEP0368-3-7
    //= RFC7673-4.1-3
    //= RFC9325-3.7-1
    //= RFC6120-5.3.6-1
    //= RFC7590-3.5-1
    fn client(&self, local: &Domain, remote: &Domain, direct: bool) -> Result<Box<dyn Session>, TlsError> {
        let named = self.hosts.get(local).map(|host| &host.client);
        let client = named.or_else(|| self.nameless_hosts.get(local)).unwrap_or(&self.nameless);
        let config = if direct { &client.direct } else { &client.starttls };
        let name =
            ServerName::try_from(remote.as_str().to_owned()).map_err(|error| TlsError::Failed(error.to_string()))?;
        let connection = ClientConnection::new(Arc::clone(config), name).map_err(|error| failed(&error))?;
        Ok(Box::new(RustlsSession::client(connection)))
    }

    //= RFC6120-5.4.3.1-2
    fn server(&self, host: Option<&Domain>) -> Result<Box<dyn Session>, TlsError> {
        let Some(host) = host else {
            if self.direct.hosts.is_empty() {
                return Err(TlsError::NoCertificate);
            }
            return Ok(Box::new(RustlsSession::choosing(Arc::clone(&self.direct))));
        };
        let host = self.hosts.get(host).ok_or(TlsError::NoCertificate)?;
        let connection = ServerConnection::new(Arc::clone(&host.server)).map_err(|error| failed(&error))?;
        Ok(Box::new(RustlsSession::server(connection)))
    }

    fn chain(&self, host: &Domain) -> Vec<Vec<u8>> {
        self.hosts.get(host).map(|host| host.chain.clone()).unwrap_or_default()
    }

    fn has_certificate(&self, host: &Domain) -> bool {
        self.hosts.contains_key(host)
    }

    fn forget_sessions(&self, local: &Domain, remote: &Domain) {
        let sessions = self.hosts.get(local).and_then(|host| host.client.sessions.as_ref());
        if let (Some(sessions), Ok(name)) = (sessions, ServerName::try_from(remote.as_str().to_owned())) {
            sessions.forget(&name);
        }
    }
}

impl fmt::Debug for RustlsProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RustlsProvider").field("hosts", &self.hosts.keys()).finish_non_exhaustive()
    }
}

fn failed(error: &Error) -> TlsError {
    TlsError::Failed(error.to_string())
}

/// What all configurations have in common.
struct Builder {
    crypto: Arc<CryptoProvider>,
    clock: Arc<Clock>,
    verifier: Arc<PossessionOnly>,
}

impl Builder {
    fn certified_key(&self, identity: HostIdentity) -> Result<Arc<CertifiedKey>, IdentityError> {
        let HostIdentity { host, chain, key, .. } = identity;
        if chain.is_empty() {
            return Err(IdentityError::NoCertificate(host));
        }
        let Ok(key) = self.crypto.key_provider.load_private_key(key) else {
            return Err(IdentityError::MalformedKey(host));
        };
        let key = CertifiedKey::new(chain, key);
        match key.keys_match() {
            // Some kinds of keys cannot tell their public half; their peers will notice a mismatch.
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(Arc::new(key)),
            Err(Error::InconsistentKeys(_)) => Err(IdentityError::KeyMismatch(host)),
            Err(_) => Err(IdentityError::MalformedCertificate(host)),
        }
    }

    /// A client of rustls signals that it knows secure renegotiation, and offers the extended master secret, which
    /// servers need not have.
    //= RFC6120-3.3-3
    //= RFC6120-5.4.3.1-4
    //= RFC9325-3.5-1
    //= RFC9325-3.5-2
    fn client(&self, key: Option<Arc<CertifiedKey>>, minimum: Version) -> Result<Client, IdentityError> {
        let builder = ClientConfig::builder_with_details(self.crypto.clone(), self.clock.clone())
            .with_protocol_versions(versions(minimum))
            .map_err(|_| IdentityError::NoCipherSuite)?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier.clone());
        let (starttls, sessions) = match key {
            Some(key) => {
                let mut config = builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
                let sessions = Arc::new(ClientSessions::new(self.clock.clone()));
                config.resumption = Resumption::store(sessions.clone());
                (config, Some(sessions))
            }
            None => {
                let mut config = builder.with_no_client_auth();
                config.resumption = Resumption::disabled();
                (config, None)
            }
        };
        // A server that answers with a protocol that is not here is refused (`check_selected_alpn`).
        //= XEP0368-3-8
        //= RFC7301-3.1-1
        let mut direct = starttls.clone();
        direct.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Client { starttls: Arc::new(starttls), direct: Arc::new(direct), sessions })
    }

    /// Sessions are remembered in memory, for [a while](crate::limits::TLS_SESSION_AGE): a ticket is a random name for
    /// one, so that no ticket key has to be kept or rotated. A client of TLS 1.2 that signals secure renegotiation, or
    /// offers the extended master secret, is answered that we know it.
    //= RFC9325-3.5-1
    //= RFC9325-3.5-2
    //= RFC9325-3.4-1
    //= RFC7590-3.3-1
    //= RFC9325-3.10-1
    //= RFC6120-5.4.3.1-3
    fn server(&self, key: Arc<CertifiedKey>, minimum: Version) -> Result<ServerConfig, IdentityError> {
        let mut config = ServerConfig::builder_with_details(self.crypto.clone(), self.clock.clone())
            .with_protocol_versions(versions(minimum))
            .map_err(|_| IdentityError::NoCipherSuite)?
            .with_client_cert_verifier(self.verifier.clone())
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
        config.session_storage = Arc::new(ServerSessions::new(self.clock.clone()));
        config.send_tls13_tickets = 2;
        config.max_early_data_size = 0;
        Ok(config)
    }
}

/// The versions from `minimum` on, the best first.
//= RFC9325-3.1.1-1
//= RFC9325-3.1.1-2
//= RFC9325-3.1.1-3
//= RFC9325-3.1.3-1
//= RFC6120-13.9.5-1
fn versions(minimum: Version) -> &'static [&'static SupportedProtocolVersion] {
    static BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
    match minimum {
        Version::Tls12 => &BOTH,
        Version::Tls13 => &BOTH[..1],
    }
}

/// Seconds since 1970, set from outside: the core does not ask the operating system for the time.
#[derive(Debug)]
struct Clock(AtomicU64);

impl Clock {
    fn seconds(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.seconds())))
    }
}
