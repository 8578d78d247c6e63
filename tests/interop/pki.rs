//! The authority that everybody here trusts, and certificates of each kind below it.
//!
//! No xmppAddr names: ejabberd 23.01 drops the stream of a peer whose certificate has one.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

use crate::failure::Failure;

/// What a certificate is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Good for server and client, from the trusted authority.
    Valid,
    /// As public authorities issue them since 2026: serverAuth only.
    ServerAuthOnly,
    /// Signed by itself.
    SelfSigned,
    /// Ended in 2021.
    Expired,
    /// For another domain.
    WrongName,
}

/// The files of one certificate.
pub(crate) struct Identity {
    /// The certificate, PEM.
    pub(crate) certificate: PathBuf,
    /// Its private key, PEM.
    pub(crate) key: PathBuf,
    /// Both in one file, as ejabberd wants them.
    pub(crate) both: PathBuf,
}

/// The authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    directory: PathBuf,
    /// Its certificate, PEM.
    pub(crate) file: PathBuf,
}

impl Authority {
    /// A new authority that keeps its files in `directory`.
    pub(crate) fn new(directory: &Path) -> Result<Self, Failure> {
        fs::create_dir_all(directory)?;
        let mut params = params(&[])?;
        params.distinguished_name.push(DnType::CommonName, "Interop test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let file = directory.join("ca.crt");
        fs::write(&file, params.self_signed(&key)?.pem())?;
        Ok(Self { issuer: Issuer::new(params, key), directory: directory.to_owned(), file })
    }

    /// Issues a certificate for `domain` and everything one label below it.
    pub(crate) fn issue(&self, domain: &str, kind: Kind) -> Result<Identity, Failure> {
        let name = if kind == Kind::WrongName { "elsewhere.test" } else { domain };
        let mut params = params(&[name.to_owned(), format!("*.{name}")])?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        if kind != Kind::ServerAuthOnly {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        }
        if kind == Kind::Expired {
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate()?;
        let certificate = match kind {
            Kind::SelfSigned => params.self_signed(&key)?,
            _ => params.signed_by(&key, &self.issuer)?,
        };
        let file = |extension: &str| self.directory.join(format!("{domain}.{extension}"));
        let identity = Identity { certificate: file("crt"), key: file("key"), both: file("pem") };
        fs::write(&identity.certificate, certificate.pem())?;
        fs::write(&identity.key, key.serialize_pem())?;
        fs::write(&identity.both, certificate.pem() + &key.serialize_pem())?;
        Ok(identity)
    }
}

fn params(names: &[String]) -> Result<CertificateParams, Failure> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2040, 1, 1);
    Ok(params)
}
