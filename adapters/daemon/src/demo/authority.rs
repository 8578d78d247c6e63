//! Certificates for one run: an authority, and what each host shows.

use std::io;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use s2s_core::addr::Domain;
use s2s_core::tls::HostIdentity;

use crate::demo::plan::Voucher;
use crate::failure::Failure;

/// The authority. Its key dies with the process.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// A new one.
    pub(crate) fn new() -> Result<Self, Failure> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "s2sd demo authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer = CertifiedIssuer::self_signed(params, key()?).map_err(failed)?;
        Ok(Self { issuer })
    }

    /// Its certificate.
    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        self.issuer.der()
    }

    /// A certificate for `domain`, and its key.
    pub(crate) fn identity(&self, domain: &Domain, voucher: Voucher) -> Result<HostIdentity, Failure> {
        let mut params = CertificateParams::new(vec![domain.to_string()]).map_err(failed)?;
        params.distinguished_name.push(DnType::CommonName, domain.as_str());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = key()?;
        let certificate = match voucher {
            Voucher::Authority => params.signed_by(&key, &self.issuer),
            Voucher::Itself => params.self_signed(&key),
        };
        let chain = vec![certificate.map_err(failed)?.der().clone()];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok(HostIdentity::new(domain.clone(), chain, key))
    }
}

fn key() -> Result<KeyPair, Failure> {
    KeyPair::generate().map_err(failed)
}

fn failed(error: rcgen::Error) -> Failure {
    Failure::Runtime("a certificate cannot be made".to_owned(), io::Error::other(error))
}
