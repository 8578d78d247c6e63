// What domains need to prove themselves to each other: certificates of an authority that all of them trust.
//
// A program reads its certificates and keys from files; here they are made on the spot. The documentation of the
// adapters includes this file, which inner documentation comments would not allow.

use std::error::Error;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::CryptoProvider;
use rustls_pki_types::PrivatePkcs8KeyDer;
use s2s_core::addr::Domain;
use s2s_core::tls::verify::Trust;
use s2s_core::tls::{HostIdentity, Provider, RustlsProvider, Version};

/// An authority, and trust in it alone.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    trust: Arc<Trust>,
    crypto: Arc<CryptoProvider>,
}

impl Authority {
    pub(crate) fn new() -> Result<Self, Box<dyn Error>> {
        let crypto = Arc::new(rustls::crypto::ring::default_provider());
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        let mut trust = Trust::new(crypto.signature_verification_algorithms.all);
        trust.add_anchor(params.self_signed(&key)?.der())?;
        Ok(Self { issuer: Issuer::new(params, key), trust: Arc::new(trust), crypto })
    }

    /// What certificates of peers are judged against.
    pub(crate) fn trust(&self) -> Arc<Trust> {
        Arc::clone(&self.trust)
    }

    /// TLS for a host, with a certificate for its name.
    pub(crate) fn provider(&self, host: &Domain) -> Result<Arc<dyn Provider>, Box<dyn Error>> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new([host.to_string()])?.signed_by(&key, &self.issuer)?;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let identity = HostIdentity::new(host.clone(), vec![certificate.der().clone()], key);
        Ok(Arc::new(RustlsProvider::new(Arc::clone(&self.crypto), vec![identity], Version::Tls12)?))
    }
}
