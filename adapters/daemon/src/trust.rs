//! The authorities that certificates of peers are judged by.

use std::fs;
use std::path::{Path, PathBuf};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::config::{Error, Problem, Settings};

/// Authorities, and what the operator should know about them.
#[derive(Debug, Default)]
pub(crate) struct Authorities {
    /// Their certificates.
    pub(crate) certificates: Vec<CertificateDer<'static>>,
    /// What is odd and does not keep us from starting.
    pub(crate) warnings: Vec<String>,
}

/// Loads `cafile` and `cadirectory`, and the system's store if it counts.
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
    Ok(authorities)
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
