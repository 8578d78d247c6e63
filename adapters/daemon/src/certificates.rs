//! Certificates and keys from files, each host's chosen by the names *in* the certificate.

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::InconsistentKeys;
use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use s2s_core::addr::Domain;
use s2s_core::tls::identity::{MalformedCertificate, Name, Names, validity};
use s2s_core::tls::{HostIdentity, IdentityError};

use crate::config::{CertificateFiles, Error, Host, Problem, Settings, few};
use crate::pem::{self, unreadable};
use crate::server::unix_now;

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

/// What is in the directory of certificates, and what time it is.
struct Found {
    candidates: Vec<Candidate>,
    /// Those that cannot be used.
    broken: Vec<Unusable>,
    /// Since 1970.
    now: Duration,
}

/// A file of a certificate or its key that cannot be used.
#[derive(Debug)]
struct Unusable {
    /// The key by which a host would name it.
    key: &'static str,
    path: PathBuf,
    /// Why.
    problem: String,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.problem)
    }
}

impl Unusable {
    /// The same as a problem of what is named by `key`.
    fn named_by(&self, key: &'static str) -> Problem {
        Problem::Certificate { key, path: self.path.clone(), problem: self.problem.clone() }
    }
}

/// A certificate with its key, and what it says.
struct Candidate {
    path: PathBuf,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    names: Names,
    validity: RangeInclusive<Duration>,
}

impl Candidate {
    /// Whether it names `domain`, and not with a wildcard.
    fn is_exactly_for(&self, domain: &Domain) -> bool {
        self.names.iter().any(|name| name.covers(domain) && !matches!(name, Name::Wildcard(_)))
    }

    /// What the operator should know of its dates, if it is that of `domain`.
    fn untimely(&self, domain: &Domain, now: Duration) -> Option<String> {
        let (from, until) = (*self.validity.start(), *self.validity.end());
        let what = if now > until {
            format!("has expired on {}: peers will refuse it until it is renewed", date(until))
        } else if now < from {
            format!("is not valid before {}: peers will refuse it until then; is the clock right?", date(from))
        } else {
            return None;
        };
        Some(format!("the certificate of {domain} in {} {what}", self.path.display()))
    }

    fn shown_by(&self, domain: &Domain, host: &Host) -> HostIdentity {
        HostIdentity::new(domain.clone(), self.chain.clone(), self.key.clone_key())
            .with_minimum_version(host.tls_min_version)
    }
}

/// Loads what `settings` names. A host that needs a certificate and has none is an error.
pub(crate) fn load(settings: &Settings) -> Result<Identities, Vec<Error>> {
    let mut problems = Vec::new();
    let mut broken = Vec::new();
    let candidates = directory(settings, &mut broken).map_err(|error| vec![error])?;
    let told = |broken: &Unusable| settings.error("certificates", broken.named_by("certificates")).to_string();
    let mut warnings: Vec<_> = broken.iter().map(told).collect();
    let found = Found { candidates, broken, now: unix_now() };
    let mut in_order: Vec<_> = settings.hosts.iter().filter(|(_, host)| !host.options.tls_disabled).collect();
    in_order.sort_by_key(|(_, host)| (host.position.file != settings.file, &host.position));

    let mut identities = Vec::new();
    let mut hosts = BTreeSet::new();
    for (domain, host) in in_order {
        match identity(settings, domain, host, &found, &mut warnings) {
            Ok(Some(identity)) => {
                identities.push(identity);
                hosts.insert(domain.clone());
            }
            Ok(None) => {}
            Err(error) => problems.push(error),
        }
    }
    let broken = found.broken.iter().map(ToString::to_string).collect();
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
    let (key, path) = ("certificates", settings.certificates.directory.clone());
    settings.error(key, Problem::Certificate { key, path, problem: error.to_string() })
}

/// What `host` shows; `None` if it has nothing and may go without.
fn identity(
    settings: &Settings,
    domain: &Domain,
    host: &Host,
    found: &Found,
    warnings: &mut Vec<String>,
) -> Result<Option<HostIdentity>, Error> {
    let at_host = |problem| Error::at(&host.position, problem);
    let at_key = |key| host.shared.position(key).unwrap_or(&host.position);
    let own = host.certificate.as_ref().map(read).transpose();
    let own = own.map_err(|broken| Error::at(at_key(broken.key), broken.named_by(broken.key)))?;
    if let Some(own) = own.as_ref().filter(|own| own.names.covering(domain).is_none()) {
        let (at, path, names) = (at_key("certificate"), own.path.display(), named(&own.names));
        let told = format!("{path} does not name {domain}, but {names}: peers will refuse it; give one for {domain}");
        warnings.push(format!("{}:{}: 'certificate': {told}", at.file.display(), at.line));
    }
    if let Some(candidate) = own.as_ref().or_else(|| choose(domain, &found.candidates, found.now)) {
        warnings.extend(candidate.untimely(domain, found.now));
        return Ok(Some(candidate.shown_by(domain, host)));
    }
    let options = &host.options;
    let misfits = misfits(domain, &found.candidates);
    if !options.s2s_disabled {
        let directory = settings.certificates.directory.clone();
        let problems = misfits.iter().cloned().chain(found.broken.iter().map(ToString::to_string)).collect();
        let host = domain.to_string();
        if options.require_encryption || options.secure_auth {
            return Err(at_host(Problem::HostWithoutCertificate { host, directory, problems }));
        }
        if options.dialback_disabled {
            return Err(at_host(Problem::HostWithoutProof { host, directory, problems }));
        }
    }
    let misfits = misfits.map(|misfits| format!("; {misfits}")).unwrap_or_default();
    warnings.push(format!("no certificate for {domain}: it cannot offer encryption{misfits}"));
    Ok(None)
}

/// That there are certificates, none of them for `domain`, and for whom they are; `None` if there is none at all.
fn misfits(domain: &Domain, candidates: &[Candidate]) -> Option<String> {
    let each = candidates.iter().map(|one| format!("{} names {}", one.path.display(), named(&one.names)));
    let each = few(each, "; ");
    match candidates.len() {
        0 => None,
        1 => Some(format!("the certificate that is there does not name {domain}: {each}")),
        many => Some(format!("none of the {many} certificates that are there names {domain}: {each}")),
    }
}

/// The first of the names, or that there is none.
fn named(names: &Names) -> String {
    let named = few(names.iter(), ", ");
    if named.is_empty() { "no domain, since a common name does not count".to_owned() } else { named }
}

/// The certificate for `domain`: one that is valid now before one that is not, which peers refuse whatever it names; of
/// several such one that names it exactly before one with a wildcard; of those the one that is valid longest.
fn choose<'c>(domain: &Domain, candidates: &'c [Candidate], now: Duration) -> Option<&'c Candidate> {
    let fitting = candidates.iter().filter(|candidate| candidate.names.covering(domain).is_some());
    // Of those that are alike it is the first one.
    fitting.min_by_key(|candidate| {
        let validity = &candidate.validity;
        (!validity.contains(&now), !candidate.is_exactly_for(domain), Reverse(*validity.end()))
    })
}

/// All pairs of certificate and key in the directory, by name. What cannot be used there goes to `broken`.
fn directory(settings: &Settings, broken: &mut Vec<Unusable>) -> Result<Vec<Candidate>, Error> {
    let directory = &settings.certificates.directory;
    let mut found = match pairs(directory) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !settings.certificates.configured => Vec::new(),
        Err(error) => {
            let key = "certificates";
            return Err(settings.error(key, Problem::File { key, path: directory.clone(), error: error.kind() }));
        }
    };
    found.sort_by(|a, b| a.certificate.cmp(&b.certificate));
    let mut candidates = Vec::new();
    for files in found {
        match read(&files) {
            Ok(candidate) => candidates.push(candidate),
            Err(unusable) => broken.push(unusable),
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

impl CertificateFiles {
    fn unusable_certificate(&self, problem: String) -> Unusable {
        Unusable { key: "certificate", path: self.certificate.clone(), problem }
    }

    fn unusable_key(&self, problem: String) -> Unusable {
        Unusable { key: "key", path: self.key.clone(), problem }
    }
}

fn read(files: &CertificateFiles) -> Result<Candidate, Unusable> {
    let of_certificate = |problem| files.unusable_certificate(problem);
    let of_key = |problem| files.unusable_key(problem);
    let bytes = fs::read(&files.certificate).map_err(|error| of_certificate(unreadable(&error)))?;
    let chain = pem::certificates(&bytes).map_err(of_certificate)?;
    let own = chain.first().ok_or_else(|| of_certificate(pem::no_certificate(&files.certificate, &bytes)))?;
    let names = Names::of(own).map_err(|error| of_certificate(error.to_string()))?;
    let validity = validity(own).ok_or_else(|| of_certificate(MalformedCertificate.to_string()))?;
    let bytes = fs::read(&files.key).map_err(|error| {
        let certificate = files.certificate.display();
        of_key(format!("{}; the private key of the certificate in {certificate} must be there", unreadable(&error)))
    })?;
    let key = pem::private_key(&files.key, &bytes).map_err(of_key)?;
    check_key(files, &chain, &key)?;
    Ok(Candidate { path: files.certificate.clone(), chain, key, names, validity })
}

/// Refuses a key that is not the one in the certificate.
fn check_key(
    files: &CertificateFiles,
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
) -> Result<(), Unusable> {
    let unknown = |_| files.unusable_key("the key cannot be read, or is of a kind that is not supported".to_owned());
    let key = aws_lc_rs::default_provider().key_provider.load_private_key(key.clone_key()).map_err(unknown)?;
    match CertifiedKey::new(chain.to_vec(), key).keys_match() {
        // Some kinds of keys cannot tell their public half; peers will notice a mismatch.
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => {
            let certificate = files.certificate.display();
            Err(files
                .unusable_key(format!("this is not the key of the certificate in {certificate}: put that one here")))
        }
        Err(error) => Err(files.unusable_certificate(error.to_string())),
    }
}

/// The day of a time since 1970, in UTC.
fn date(unix: Duration) -> String {
    // Years that begin in March end with the day that not all of them have. One era is 400 years.
    let days = unix.as_secs() / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!("{}-{month:02}-{day:02}", 400 * era + year + later)
}
