//! Certificates and keys from files, each host's chosen by the names *in* the certificate.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use s2s_core::addr::Domain;
use s2s_core::tls::identity::{Name, Names};
use s2s_core::tls::{HostIdentity, IdentityError};

use crate::config::{CertificateFiles, Error, Host, Problem, Settings};

/// What the hosts show, and what the operator should know about it.
#[derive(Debug)]
pub(crate) struct Identities {
    /// In the order in which the hosts stand in the file: the first answers clients that name no host.
    pub(crate) identities: Vec<HostIdentity>,
    /// The hosts among them.
    pub(crate) hosts: BTreeSet<Domain>,
    /// What is odd and does not keep us from starting.
    pub(crate) warnings: Vec<String>,
    /// Those of the warnings that are about files which could not be used.
    pub(crate) broken: Vec<String>,
}

/// A certificate with its key, and the names in it.
struct Candidate {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    names: Names,
}

impl Candidate {
    fn shown_by(&self, domain: &Domain, host: &Host) -> HostIdentity {
        HostIdentity::new(domain.clone(), self.chain.clone(), self.key.clone_key())
            .with_minimum_version(host.tls_min_version)
    }
}

/// Loads what `settings` names. A host that demands encryption and has no certificate is an error.
pub(crate) fn load(settings: &Settings) -> Result<Identities, Vec<Error>> {
    let mut warnings = Vec::new();
    let mut problems = Vec::new();
    let candidates = directory(settings, &mut warnings).map_err(|error| vec![error])?;
    let broken = warnings.clone();
    let mut in_order: Vec<_> = settings.hosts.iter().filter(|(_, host)| !host.options.tls_disabled).collect();
    in_order.sort_by_key(|(_, host)| (host.position.file != settings.file, &host.position));

    let mut identities = Vec::new();
    let mut hosts = BTreeSet::new();
    for (domain, host) in in_order {
        match identity(settings, domain, host, &candidates, &broken, &mut warnings) {
            Ok(Some(identity)) => {
                identities.push(identity);
                hosts.insert(domain.clone());
            }
            Ok(None) => {}
            Err(error) => problems.push(error),
        }
    }
    if problems.is_empty() { Ok(Identities { identities, hosts, warnings, broken }) } else { Err(problems) }
}

/// Refuses a reload that would leave a host without the certificate that it has: a file that is being written is the
/// usual cause.
pub(crate) fn check_kept(settings: &Settings, had: &BTreeSet<Domain>, now: &Identities) -> Result<(), Vec<Error>> {
    let gone = settings.hosts.iter().filter(|(domain, host)| {
        had.contains(*domain) && !now.hosts.contains(*domain) && !host.options.tls_disabled && !now.broken.is_empty()
    });
    let problems: Vec<_> = gone
        .map(|(domain, host)| {
            let problem = Problem::CertificateGone { host: domain.to_string(), problems: now.broken.clone() };
            Error::at(&host.position, problem)
        })
        .collect();
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// The error for an identity that the TLS provider would not take.
pub(crate) fn refused(settings: &Settings, error: &IdentityError) -> Error {
    Error::of(
        &settings.file,
        Problem::Certificate { path: settings.certificates.directory.clone(), problem: error.to_string() },
    )
}

/// What `host` shows; `None` if it has nothing and may go without.
fn identity(
    settings: &Settings,
    domain: &Domain,
    host: &Host,
    candidates: &[Candidate],
    broken: &[String],
    warnings: &mut Vec<String>,
) -> Result<Option<HostIdentity>, Error> {
    let at_host = |problem| Error::at(&host.position, problem);
    if let Some(files) = &host.certificate {
        let candidate = read(files).map_err(at_host)?;
        if candidate.names.covering(domain).is_none() {
            warnings.push(format!("{} does not name {domain}: peers will refuse it", files.certificate.display()));
        }
        return Ok(Some(candidate.shown_by(domain, host)));
    }
    if let Some(candidate) = choose(domain, candidates) {
        return Ok(Some(candidate.shown_by(domain, host)));
    }
    let demanded = host.options.require_encryption || host.options.secure_auth;
    if demanded && !host.options.s2s_disabled {
        let directory = settings.certificates.directory.clone();
        let (host, problems) = (domain.to_string(), broken.to_vec());
        return Err(at_host(Problem::HostWithoutCertificate { host, directory, problems }));
    }
    warnings.push(format!("no certificate for {domain}: it cannot offer encryption"));
    Ok(None)
}

/// The certificate for `domain`: one that names it exactly before one with a wildcard.
fn choose<'c>(domain: &Domain, candidates: &'c [Candidate]) -> Option<&'c Candidate> {
    let exact = |name: &Name| name.covers(domain) && !matches!(name, Name::Wildcard(_));
    let exactly = candidates.iter().find(|candidate| candidate.names.iter().any(exact));
    exactly.or_else(|| candidates.iter().find(|candidate| candidate.names.covering(domain).is_some()))
}

/// All pairs of certificate and key in the directory, by name. What cannot be used there is left out.
fn directory(settings: &Settings, warnings: &mut Vec<String>) -> Result<Vec<Candidate>, Error> {
    let directory = &settings.certificates.directory;
    let mut found = match pairs(directory) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !settings.certificates.configured => Vec::new(),
        Err(error) => {
            let problem = Problem::File { key: "certificates", path: directory.clone(), error: error.kind() };
            return Err(Error::of(&settings.file, problem));
        }
    };
    found.sort_by(|a, b| a.certificate.cmp(&b.certificate));
    let mut candidates = Vec::new();
    for files in found {
        match read(&files) {
            Ok(candidate) => candidates.push(candidate),
            Err(problem) => warnings.push(problem.to_string()),
        }
    }
    Ok(candidates)
}

/// `NAME.crt` with `NAME.key`, and `NAME/fullchain.pem` with `NAME/privkey.pem`.
fn pairs(directory: &Path) -> io::Result<Vec<CertificateFiles>> {
    let mut pairs = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let nested = CertificateFiles { certificate: path.join("fullchain.pem"), key: path.join("privkey.pem") };
        if nested.certificate.is_file() {
            pairs.push(nested);
        } else if path.extension().is_some_and(|extension| extension == "crt") {
            pairs.push(CertificateFiles { key: path.with_extension("key"), certificate: path });
        }
    }
    Ok(pairs)
}

fn read(files: &CertificateFiles) -> Result<Candidate, Problem> {
    let of = |path: &PathBuf, problem: String| Problem::Certificate { path: path.clone(), problem };
    let chain = CertificateDer::pem_file_iter(&files.certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(|error| of(&files.certificate, error.to_string()))?;
    let own = chain.first().ok_or_else(|| of(&files.certificate, "there is no certificate in it".to_owned()))?;
    let names = Names::of(own).map_err(|error| of(&files.certificate, error.to_string()))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| of(&files.key, error.to_string()))?;
    Ok(Candidate { chain, key, names })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn write(directory: &Path, certificate: &str, key: &str, names: &[&str]) {
        let params = rcgen::CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>());
        let pair = rcgen::KeyPair::generate().expect("a key");
        let signed = params.expect("names").self_signed(&pair).expect("a certificate");
        let path = directory.join(certificate);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, signed.pem()).expect("writable");
        fs::write(directory.join(key), pair.serialize_pem()).expect("writable");
    }

    fn settings(directory: &Path, text: &str) -> Settings {
        config::parse(text, &directory.join("s2sd.toml")).expect(text)
    }

    fn domain(text: &str) -> Domain {
        Domain::parse(text).expect(text)
    }

    #[test]
    fn a_certificate_is_chosen_by_the_names_in_it_and_exact_ones_come_first() {
        let home = tempfile::tempdir().expect("a directory");
        let certs = home.path().join("certs");
        write(&certs, "a-wildcard.crt", "a-wildcard.key", &["*.m.example"]);
        write(&certs, "misnamed.crt", "misnamed.key", &["chat.m.example", "m.example"]);
        write(&certs, "nested/fullchain.pem", "nested/privkey.pem", &["o.example"]);
        fs::write(certs.join("broken.crt"), "not a certificate").expect("writable");
        fs::write(certs.join("README"), "no certificate either").expect("writable");

        let settings = settings(home.path(), "[host.\"m.example\"]");
        let mut warnings = Vec::new();
        let candidates = directory(&settings, &mut warnings).expect("readable");
        assert_eq!(candidates.len(), 3);
        assert!(warnings.len() == 1 && warnings[0].contains("broken.crt"), "{warnings:?}");
        let names = |host: &str| {
            let candidate = choose(&domain(host), &candidates)?;
            Some(candidate.names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(names("chat.m.example").as_deref(), Some("chat.m.example m.example"));
        assert_eq!(names("other.m.example").as_deref(), Some("*.m.example"));
        assert_eq!(names("o.example").as_deref(), Some("o.example"));
        assert_eq!(names("deep.other.m.example"), None);
    }

    #[test]
    fn a_host_that_demands_encryption_needs_a_certificate() {
        let home = tempfile::tempdir().expect("a directory");
        for demand in ["s2s_secure_auth = true", "s2s_require_encryption = true"] {
            let demanding = settings(home.path(), &format!("[host.\"m.example\"]\n{demand}"));
            let errors = load(&demanding).expect_err(demand);
            assert!(errors.len() == 1, "{errors:?}");
            let text = errors[0].to_string();
            assert!(text.contains("s2sd.toml:1: host 'm.example' demands encryption and has no certificate"), "{text}");
        }
        let lax = load(&settings(home.path(), "[host.\"m.example\"]")).expect("no demand");
        assert!(lax.identities.is_empty());
        assert_eq!(lax.warnings, ["no certificate for m.example: it cannot offer encryption"]);
    }

    #[test]
    fn a_host_with_tls_disabled_shows_nothing() {
        let home = tempfile::tempdir().expect("a directory");
        write(&home.path().join("certs"), "m.crt", "m.key", &["m.example"]);
        let text = "modules_disabled = [\"tls\"]\n[host.\"m.example\"]";
        let loaded = load(&settings(home.path(), text)).expect("loads");
        assert!(loaded.identities.is_empty() && loaded.hosts.is_empty() && loaded.warnings.is_empty(), "{loaded:?}");
    }

    #[test]
    fn a_reload_takes_no_certificate_away_because_its_file_is_broken() {
        let home = tempfile::tempdir().expect("a directory");
        let certs = home.path().join("certs");
        write(&certs, "m.crt", "m.key", &["m.example"]);
        let settings = settings(home.path(), "[host.\"m.example\"]");
        let had = load(&settings).expect("loads").hosts;
        assert_eq!(had.len(), 1);

        fs::write(certs.join("m.key"), "half").expect("writable");
        let errors = check_kept(&settings, &had, &load(&settings).expect("lax")).expect_err("broken");
        let text = errors[0].to_string();
        assert!(text.contains(":1: host 'm.example' had a certificate and would have none now"), "{text}");
        assert!(text.contains("m.key"), "{text}");
        // Where it is taken away on purpose, it is.
        fs::remove_file(certs.join("m.crt")).expect("there");
        check_kept(&settings, &had, &load(&settings).expect("lax")).expect("on purpose");
    }

    #[test]
    fn the_first_host_of_the_file_answers_clients_that_name_none() {
        let home = tempfile::tempdir().expect("a directory");
        write(&home.path().join("certs"), "both.crt", "both.key", &["a.example", "z.example"]);
        let loaded = load(&settings(home.path(), "[host.\"z.example\"]\n[host.\"a.example\"]")).expect("loads");
        assert!(format!("{:?}", loaded.identities[0]).contains("z.example"), "{:?}", loaded.identities);
    }

    #[test]
    fn a_hosts_own_certificate_is_used_and_a_wrong_name_in_it_is_told() {
        let home = tempfile::tempdir().expect("a directory");
        write(home.path(), "own.pem", "own.key", &["other.example"]);
        let text = "[host.\"m.example\"]\ncertificate = \"own.pem\"\nkey = \"own.key\"";
        let loaded = load(&settings(home.path(), text)).expect("loads");
        assert_eq!(loaded.identities.len(), 1);
        assert!(loaded.warnings[0].contains("own.pem does not name m.example"), "{:?}", loaded.warnings);

        let absent = text.replace("own.key", "absent.key");
        let errors = load(&settings(home.path(), &absent)).expect_err("no key");
        assert!(errors[0].to_string().contains("absent.key"), "{errors:?}");
    }

    #[test]
    fn a_configured_directory_must_exist() {
        let home = tempfile::tempdir().expect("a directory");
        let errors = load(&settings(home.path(), "certificates = \"no-such\"\n[host.\"m.example\"]"));
        let errors = errors.expect_err("absent");
        assert!(errors[0].to_string().contains("'certificates': "), "{errors:?}");
    }
}
