//! The authority that everybody here trusts, and certificates of each kind below it.
//!
//! No xmppAddr names, unless they are asked for: ejabberd 23.01 drops the stream of a peer whose certificate has one.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, date_time_ymd,
};
use s2s_core::addr::Domain;
use s2s_core::tls::verify::fingerprint;
use s2s_tests::certificates::San;
use s2s_tests::matrix::kind;
pub(crate) use s2s_tests::oracle::Certificate;

use crate::failure::{Failure, fail};

/// The files of one certificate.
pub(crate) struct Identity {
    /// The certificate, PEM.
    pub(crate) certificate: PathBuf,
    /// Its private key, PEM.
    pub(crate) key: PathBuf,
    /// Both in one file, as ejabberd wants them.
    pub(crate) both: PathBuf,
    /// The SHA-256 of the public key, in hexadecimal digits.
    pub(crate) pin: String,
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
        let (issuer, certificate) = root("Interop test authority")?;
        let file = directory.join("ca.crt");
        fs::write(&file, certificate)?;
        Ok(Self { issuer, directory: directory.to_owned(), file })
    }

    /// Issues a certificate for `domain`; one that names it also names everything one label below it.
    pub(crate) fn issue(&self, domain: &str, certificate: Certificate) -> Result<Identity, Failure> {
        let parsed = Domain::parse(domain).map_err(|error| std::io::Error::other(error.to_string()))?;
        let Some(kind) = kind(certificate) else { return fail("nothing to issue") };
        let mut request = kind.request(&parsed);
        request.key = format!("{certificate:?} {domain}");
        if matches!(&request.names[..], [San::Dns(name)] if name == domain) {
            request.names.push(San::Dns(format!("*.{domain}")));
        }
        // The kinds have their meanings at a moment of their own; here the clock is real.
        request.years = match certificate {
            Certificate::Expired => (2020, 2021),
            Certificate::NotYetValid => (2040, 2041),
            _ => (2020, 2040),
        };
        let mut params = request.params();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = false;
        let key = KeyPair::generate()?;
        let issued = match certificate {
            Certificate::SelfSigned => params.self_signed(&key)?,
            Certificate::UnknownAuthority => params.signed_by(&key, &root("An authority that nobody trusts")?.0)?,
            _ => params.signed_by(&key, &self.issuer)?,
        };
        let file = |extension: &str| self.directory.join(format!("{domain}.{extension}"));
        let pin = fingerprint(&key.subject_public_key_info()).map(|byte| format!("{byte:02x}")).concat();
        let identity = Identity { certificate: file("crt"), key: file("key"), both: file("pem"), pin };
        fs::write(&identity.certificate, issued.pem())?;
        fs::write(&identity.key, key.serialize_pem())?;
        fs::write(&identity.both, issued.pem() + &key.serialize_pem())?;
        Ok(identity)
    }
}

/// A new root of that name, and its certificate in PEM.
fn root(name: &str) -> Result<(Issuer<'static, KeyPair>, String), Failure> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2040, 1, 1);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?.pem();
    Ok((Issuer::new(params, key), certificate))
}
