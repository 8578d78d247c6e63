//! Certificates for one run: an authority, and what each host shows.

use std::io;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
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

    /// The same as text.
    pub(crate) fn certificate_pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for `domain`, and its key.
    pub(crate) fn identity(&self, domain: &Domain, voucher: Voucher) -> Result<HostIdentity, Failure> {
        let (certificate, key) = self.issue(domain.as_str(), voucher)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok(HostIdentity::new(domain.clone(), vec![certificate.der().clone()], key))
    }

    /// A certificate for the domain `name` that the authority vouches for, and its key, as text.
    pub(crate) fn pem(&self, name: &str) -> Result<[String; 2], Failure> {
        let (certificate, key) = self.issue(name, Voucher::Authority)?;
        Ok([certificate.pem(), key.serialize_pem()])
    }

    fn issue(&self, name: &str, voucher: Voucher) -> Result<(Certificate, KeyPair), Failure> {
        let mut params = CertificateParams::new(vec![name.to_owned()]).map_err(failed)?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = key()?;
        let certificate = match voucher {
            Voucher::Authority => params.signed_by(&key, &self.issuer),
            Voucher::Itself => params.self_signed(&key),
        };
        Ok((certificate.map_err(failed)?, key))
    }
}

fn key() -> Result<KeyPair, Failure> {
    KeyPair::generate().map_err(failed)
}

fn failed(error: rcgen::Error) -> Failure {
    Failure::Runtime("a certificate cannot be made".to_owned(), io::Error::other(error))
}
