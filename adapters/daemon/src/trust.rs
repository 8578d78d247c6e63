//! What certificates of peers are judged by: authorities, revocation lists, pins.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustls::crypto::CryptoProvider;
use rustls_pki_types::CertificateDer;
use s2s_core::tls::verify::Trust;

use crate::config::{Error, Position, Problem, Settings};
use crate::pem::{self, unreadable};

/// Authorities and revocation lists, and what the operator should know about them.
#[derive(Debug, Default)]
pub(crate) struct Authorities {
    /// Their certificates, each with the configuration key and the file that it comes from; `None` if the system has it.
    pub(crate) certificates: Vec<(CertificateDer<'static>, Option<(&'static str, PathBuf)>)>,
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
        let problem = |problem| vec![of_no_use(settings, "cafile", path, problem)];
        let (bytes, certificates) = file(path).map_err(problem)?;
        if certificates.is_empty() {
            return Err(problem(pem::no_certificate(path, &bytes)));
        }
        authorities.add("cafile", path, certificates);
    }
    if let Some(path) = &roots.directory {
        directory(settings, path, &mut authorities).map_err(|error| {
            let key = "cadirectory";
            vec![settings.error(key, Problem::File { key, path: path.clone(), error: error.kind() })]
        })?;
    }
    if roots.system {
        let system = rustls_native_certs::load_native_certs();
        authorities.warnings.extend(system.errors.iter().map(|error| format!("the system's authorities: {error}")));
        authorities.certificates.extend(system.certs.into_iter().map(|der| (der, None)));
    }
    authorities.certificates.sort_by(|(a, _), (b, _)| a.as_ref().cmp(b.as_ref()));
    authorities.certificates.dedup_by(|(a, _), (b, _)| a == b);
    if authorities.certificates.is_empty() {
        authorities.warnings.push("no authority is trusted: no certificate of a peer will be valid".to_owned());
    }
    for (path, position) in &settings.revocation.lists {
        let lists = fs::read(path).map_err(|error| unreadable(&error)).and_then(pem::revocation_lists);
        let lists = lists.map_err(|problem| vec![Error::at(position, list_of_no_use(path, problem))])?;
        authorities.revocation_lists.extend(lists.into_iter().map(|list| (list, path.clone(), position.clone())));
    }
    Ok(authorities)
}

impl Authorities {
    /// Takes the certificates in the file `path`, to which `key` has led.
    fn add(&mut self, key: &'static str, path: &Path, certificates: Vec<CertificateDer<'static>>) {
        let origin = Some((key, path.to_owned()));
        self.certificates.extend(certificates.into_iter().map(|der| (der, origin.clone())));
    }
}

/// The error for a file of authorities, or their directory, that is of no use.
fn of_no_use(settings: &Settings, key: &'static str, path: &Path, problem: String) -> Error {
    settings.error(key, Problem::Certificate { key, path: path.to_owned(), problem })
}

/// The problem of a file of revocation lists that is of no use.
fn list_of_no_use(path: &Path, problem: String) -> Problem {
    Problem::Certificate { key: "s2s_crls", path: path.to_owned(), problem }
}

/// What certificates of peers are judged by.
pub(crate) fn build(
    crypto: &CryptoProvider,
    authorities: &Authorities,
    settings: &Settings,
) -> Result<Trust, Vec<Error>> {
    let mut trust = Trust::new(crypto.signature_verification_algorithms.all);
    for (der, origin) in &authorities.certificates {
        let Err(error) = trust.add_anchor(der) else { continue };
        match origin {
            // Systems ship some that cannot be read; one that the operator chose must count.
            None => tracing::warn!(event = "configuration", "an authority is left out: {error}"),
            Some((key, path)) => return Err(vec![of_no_use(settings, key, path, error.to_string())]),
        }
    }
    for (der, path, position) in &authorities.revocation_lists {
        if let Err(error) = trust.add_revocation_list(der) {
            return Err(vec![Error::at(position, list_of_no_use(path, error.to_string()))]);
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

/// The content of a file, and the certificates in it.
fn file(path: &Path) -> Result<(Vec<u8>, Vec<CertificateDer<'static>>), String> {
    let bytes = fs::read(path).map_err(|error| unreadable(&error))?;
    let certificates = pem::certificates(&bytes)?;
    Ok((bytes, certificates))
}

/// Every file in the directory that holds certificates. Hashed names, as OpenSSL wants them, lead to the same ones.
fn directory(settings: &Settings, path: &Path, authorities: &mut Authorities) -> io::Result<()> {
    let key = "cadirectory";
    let before = authorities.certificates.len();
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        if !path.is_file() {
            continue;
        }
        match file(&path) {
            Ok((_, certificates)) => authorities.add(key, &path, certificates),
            Err(problem) => authorities.warnings.push(of_no_use(settings, key, &path, problem).to_string()),
        }
    }
    if authorities.certificates.len() == before {
        let problem = "no file in it has a certificate: one in PEM begins with -----BEGIN CERTIFICATE-----".to_owned();
        authorities.warnings.push(of_no_use(settings, key, path, problem).to_string());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn loaded(home: &Path, text: &str) -> Result<Authorities, Vec<Error>> {
        let text = format!("system_roots = false\n{text}\n[host.\"m.example\"]");
        load(&config::parse(&text, &home.join("s2sd.toml")).expect(&text))
    }

    #[test]
    fn authorities_and_lists_that_are_of_no_use_are_told_with_their_option_their_line_and_what_to_do() {
        let home = tempfile::tempdir().expect("a directory");
        fs::create_dir(home.path().join("directory")).expect("a directory");
        for (name, content) in [
            ("text.pem", "text"),
            ("half.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n"),
            ("crl.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"),
        ] {
            fs::write(home.path().join(name), content).expect("writable");
        }
        fs::write(home.path().join("ca.der"), [0x30, 0x82]).expect("writable");
        for (key, value, expected) in [
            ("cafile", "\"absent.pem\"", "absent.pem: cannot be read: it does not exist"),
            ("cafile", "\"directory\"", "directory: cannot be read: it is a directory, but must be a file"),
            ("cafile", "\"text.pem\"", "text.pem: there is no certificate in it: one in PEM begins with -----BEGIN C"),
            ("cafile", "\"ca.der\"", "ca.der: it is not PEM, but DER: openssl x509 -inform der -in "),
            ("cafile", "\"half.pem\"", "half.pem: it is cut off, or its line breaks are lost: the line that begins"),
            ("cadirectory", "\"absent\"", "absent: cannot be read: it does not exist"),
            ("s2s_crls", "[\"absent.crl\"]", "absent.crl: cannot be read: it does not exist"),
            ("s2s_crls", "[\"crl.pem\"]", "crl.pem: there is no revocation list in it: one in PEM begins with"),
        ] {
            let errors = loaded(home.path(), &format!("{key} = {value}")).expect_err(value);
            let told = errors[0].to_string();
            assert!(errors.len() == 1 && told.contains(&format!("s2sd.toml:2: '{key}': ")), "{told}");
            assert!(told.contains(expected), "{told}");
        }
    }

    #[test]
    fn files_in_a_directory_of_authorities_that_are_of_no_use_are_warned_of_and_so_is_a_directory_without_any() {
        let home = tempfile::tempdir().expect("a directory");
        let directory = home.path().join("cas");
        fs::create_dir(&directory).expect("a directory");
        fs::write(directory.join("README"), "no certificate").expect("writable");
        fs::write(directory.join("half.pem"), "-----BEGIN CERTIFICATE-----\nMIIB\n").expect("writable");
        let authorities = loaded(home.path(), "\ncadirectory = \"cas\"").expect("nothing keeps us from starting");
        let warnings = authorities.warnings;
        let place = "s2sd.toml:3: 'cadirectory': ";
        for (warning, expected) in warnings.iter().zip(["half.pem: it is cut off, ", "cas: no file in it has a "]) {
            assert!(warning.contains(place) && warning.contains(expected), "{warnings:?}");
        }
        assert_eq!(warnings.len(), 3, "the last one says that nobody is trusted: {warnings:?}");
    }

    #[test]
    fn of_many_authorities_the_one_that_is_none_is_told_with_its_own_file_and_key() {
        let home = tempfile::tempdir().expect("a directory");
        let directory = home.path().join("cas");
        fs::create_dir(&directory).expect("a directory");
        let authority = rcgen::generate_simple_self_signed(vec!["ca.example".to_owned()]).expect("a certificate");
        fs::write(home.path().join("ca.pem"), authority.cert.pem()).expect("writable");
        let none = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
        fs::write(directory.join("none.pem"), none).expect("writable");
        for system in [false, true] {
            let text =
                format!("system_roots = {system}\ncafile = \"ca.pem\"\ncadirectory = \"cas\"\n[host.\"m.example\"]");
            let settings = config::parse(&text, &home.path().join("s2sd.toml")).expect(&text);
            let authorities = load(&settings).expect("they are read");
            let errors = build(&rustls::crypto::ring::default_provider(), &authorities, &settings).expect_err(&text);
            let told = errors[0].to_string();
            assert!(told.contains("s2sd.toml:3: 'cadirectory': ") && told.contains("none.pem: "), "{told}");
        }
    }
}
