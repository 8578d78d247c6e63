//! What certificates of peers are judged by: authorities, revocation lists, pins.

use std::fs;
use std::path::{Path, PathBuf};

use rustls::crypto::CryptoProvider;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use s2s_core::tls::verify::Trust;

use crate::config::{Error, Position, Problem, Settings};

/// Authorities and revocation lists, and what the operator should know about them.
#[derive(Debug, Default)]
pub(crate) struct Authorities {
    /// Their certificates.
    pub(crate) certificates: Vec<CertificateDer<'static>>,
    /// Revocation lists in DER, and where their files are named.
    pub(crate) revocation_lists: Vec<(Vec<u8>, PathBuf, Position)>,
    /// What is odd and does not keep us from starting.
    pub(crate) warnings: Vec<String>,
}

/// Loads `cafile` and `cadirectory`, the system's store if it counts, and `s2s_crls`.
pub(crate) fn load(settings: &Settings) -> Result<Authorities, Vec<Error>> {
    let roots = &settings.roots;
    let mut authorities = Authorities::default();
    if let Some(path) = &roots.file {
        let problem = |problem| vec![Error::of(&settings.file, Problem::Certificate { path: path.clone(), problem })];
        let certificates = file(path).map_err(problem)?;
        if certificates.is_empty() {
            return Err(problem("there is no certificate in it".to_owned()));
        }
        authorities.certificates.extend(certificates);
    }
    if let Some(path) = &roots.directory {
        directory(path, &mut authorities).map_err(|error| {
            let problem = Problem::File { key: "cadirectory", path: path.clone(), error: error.kind() };
            vec![Error::of(&settings.file, problem)]
        })?;
    }
    if roots.system {
        let system = rustls_native_certs::load_native_certs();
        authorities.warnings.extend(system.errors.iter().map(|error| format!("the system's authorities: {error}")));
        authorities.certificates.extend(system.certs);
    }
    authorities.certificates.sort_by(|a, b| a.as_ref().cmp(b.as_ref()));
    authorities.certificates.dedup();
    if authorities.certificates.is_empty() {
        authorities.warnings.push("no authority is trusted: no certificate of a peer will be valid".to_owned());
    }
    for (path, position) in &settings.revocation.lists {
        let file = |error: std::io::Error| Problem::File { key: "s2s_crls", path: path.clone(), error: error.kind() };
        let bytes = fs::read(path).map_err(|error| vec![Error::at(position, file(error))])?;
        let lists = lists(bytes)
            .map_err(|problem| vec![Error::at(position, Problem::Certificate { path: path.clone(), problem })])?;
        authorities.revocation_lists.extend(lists.into_iter().map(|list| (list, path.clone(), position.clone())));
    }
    Ok(authorities)
}

/// The revocation lists of one file: several in PEM, or one in DER.
fn lists(bytes: Vec<u8>) -> Result<Vec<Vec<u8>>, String> {
    // The tag of a sequence, which no PEM begins with.
    if bytes.first() == Some(&0x30) {
        return Ok(vec![bytes]);
    }
    let lists = CertificateRevocationListDer::pem_slice_iter(&bytes);
    let lists = lists.map(|list| list.map(|list| list.as_ref().to_vec())).collect::<Result<Vec<_>, _>>();
    match lists {
        Ok(lists) if lists.is_empty() => Err("there is no revocation list in it".to_owned()),
        Ok(lists) => Ok(lists),
        Err(error) => Err(error.to_string()),
    }
}

/// What certificates of peers are judged by.
pub(crate) fn build(
    crypto: &CryptoProvider,
    authorities: &Authorities,
    settings: &Settings,
) -> Result<Trust, Vec<Error>> {
    let mut trust = Trust::new(crypto.signature_verification_algorithms.all);
    for der in &authorities.certificates {
        let Err(error) = trust.add_anchor(der) else { continue };
        // Systems ship some that cannot be read; one that the operator chose must count.
        if settings.roots.system {
            tracing::warn!(event = "configuration", "an authority is left out: {error}");
            continue;
        }
        let path = settings.roots.file.clone().or_else(|| settings.roots.directory.clone()).unwrap_or_default();
        return Err(vec![Error::of(&settings.file, Problem::Certificate { path, problem: error.to_string() })]);
    }
    for (der, path, position) in &authorities.revocation_lists {
        if let Err(error) = trust.add_revocation_list(der) {
            let problem = Problem::Certificate { path: path.clone(), problem: error.to_string() };
            return Err(vec![Error::at(position, problem)]);
        }
    }
    trust.set_unknown_status(settings.revocation.unknown_status);
    for (domain, pins) in &settings.pins {
        for key in &pins.keys {
            trust.pin(domain.clone(), *key);
        }
    }
    Ok(trust)
}

fn file(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| error.to_string())
}

/// Every file in the directory that holds certificates. Hashed names, as OpenSSL wants them, lead to the same ones.
fn directory(path: &Path, authorities: &mut Authorities) -> std::io::Result<()> {
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        if !path.is_file() {
            continue;
        }
        match file(&path) {
            Ok(certificates) => authorities.certificates.extend(certificates),
            Err(error) => authorities.warnings.push(format!("{}: {error}", path.display())),
        }
    }
    Ok(())
}
