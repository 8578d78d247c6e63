//! Certificates and keys from files, each host's chosen by the names *in* the certificate.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::InconsistentKeys;
use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use s2s_core::addr::Domain;
use s2s_core::tls::identity::{MalformedCertificate, Name, Names, validity};
use s2s_core::tls::{HostIdentity, IdentityError};

use crate::config::{CertificateFiles, Error, Host, Problem, Settings};
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
    /// What is wrong with those that cannot be used.
    broken: Vec<String>,
    /// Since 1970.
    now: Duration,
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
    let mut warnings = Vec::new();
    let mut problems = Vec::new();
    let candidates = directory(settings, &mut warnings).map_err(|error| vec![error])?;
    let found = Found { candidates, broken: warnings.clone(), now: unix_now() };
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
    let broken = found.broken;
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
    found: &Found,
    warnings: &mut Vec<String>,
) -> Result<Option<HostIdentity>, Error> {
    let at_host = |problem| Error::at(&host.position, problem);
    let own = host.certificate.as_ref().map(read).transpose().map_err(at_host)?;
    if let Some(own) = own.as_ref().filter(|own| own.names.covering(domain).is_none()) {
        warnings.push(format!("{} does not name {domain}: peers will refuse it", own.path.display()));
    }
    if let Some(candidate) = own.as_ref().or_else(|| choose(domain, &found.candidates, found.now)) {
        warnings.extend(candidate.untimely(domain, found.now));
        return Ok(Some(candidate.shown_by(domain, host)));
    }
    let options = &host.options;
    if !options.s2s_disabled {
        let directory = settings.certificates.directory.clone();
        let (host, problems) = (domain.to_string(), found.broken.clone());
        if options.require_encryption || options.secure_auth {
            return Err(at_host(Problem::HostWithoutCertificate { host, directory, problems }));
        }
        if options.dialback_disabled {
            return Err(at_host(Problem::HostWithoutProof { host, directory, problems }));
        }
    }
    warnings.push(format!("no certificate for {domain}: it cannot offer encryption"));
    Ok(None)
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
    let validity = validity(own).ok_or_else(|| of(&files.certificate, MalformedCertificate.to_string()))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| of(&files.key, error.to_string()))?;
    check_key(files, &chain, &key)?;
    Ok(Candidate { path: files.certificate.clone(), chain, key, names, validity })
}

/// Refuses a key that is not the one in the certificate.
fn check_key(
    files: &CertificateFiles,
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
) -> Result<(), Problem> {
    let of_key = |problem: String| Problem::Certificate { path: files.key.clone(), problem };
    let unknown = |_| of_key("the key cannot be read, or is of a kind that is not supported".to_owned());
    let key = aws_lc_rs::default_provider().key_provider.load_private_key(key.clone_key()).map_err(unknown)?;
    match CertifiedKey::new(chain.to_vec(), key).keys_match() {
        // Some kinds of keys cannot tell their public half; peers will notice a mismatch.
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => {
            let certificate = files.certificate.display();
            Err(of_key(format!("this is not the key of the certificate in {certificate}: put that one here")))
        }
        Err(error) => Err(Problem::Certificate { path: files.certificate.clone(), problem: error.to_string() }),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn write(directory: &Path, certificate: &str, key: &str, names: &[&str]) {
        write_valid(directory, certificate, key, names, (1975, 4096));
    }

    /// Valid from the beginning of one year to that of another.
    fn write_valid(directory: &Path, certificate: &str, key: &str, names: &[&str], (from, until): (i32, i32)) {
        let params = rcgen::CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>());
        let mut params = params.expect("names");
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let pair = rcgen::KeyPair::generate().expect("a key");
        let signed = params.self_signed(&pair).expect("a certificate");
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
            let candidate = choose(&domain(host), &candidates, unix_now())?;
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
    fn a_host_without_certificate_and_dialback_has_no_way_to_authenticate_anybody() {
        let home = tempfile::tempdir().expect("a directory");
        let text = "[host.\"m.example\"]\nmodules_disabled = [\"dialback\"]";
        let errors = load(&settings(home.path(), text)).expect_err("nobody can be authenticated");
        assert!(errors.len() == 1, "{errors:?}");
        let told = errors[0].to_string();
        let expected = "s2sd.toml:1: host 'm.example' has no certificate, and dialback is disabled, so that nobody can \
                        be authenticated: take \"dialback\" out of 'modules_disabled', or give 'certificate' and 'key'";
        assert!(told.contains(expected), "{told}");
        let closed = text.replace("[\"dialback\"]", "[\"dialback\", \"s2s\"]");
        load(&settings(home.path(), &closed)).expect("it talks to nobody anyway");
        write(&home.path().join("certs"), "m.crt", "m.key", &["m.example"]);
        load(&settings(home.path(), text)).expect("a certificate is enough");
    }

    #[test]
    fn a_key_that_does_not_fit_is_an_error_of_its_host_and_in_the_directory_spoils_nothing_but_its_pair() {
        let home = tempfile::tempdir().expect("a directory");
        let certs = home.path().join("certs");
        write(&certs, "a.crt", "a.key", &["m.example"]);
        write(&certs, "b.crt", "b.key", &["m.example"]);
        fs::copy(certs.join("b.key"), certs.join("a.key")).expect("writable");
        let loaded = load(&settings(home.path(), "[host.\"m.example\"]\ns2s_secure_auth = true")).expect("b is good");
        assert_eq!((loaded.identities.len(), loaded.warnings.len()), (1, 1), "{loaded:?}");
        let expected = format!(
            "{}: this is not the key of the certificate in {}",
            certs.join("a.key").display(),
            certs.join("a.crt").display()
        );
        assert!(loaded.broken[0].starts_with(&expected), "{loaded:?}");

        let text = "\n[host.\"m.example\"]\ncertificate = \"certs/a.crt\"\nkey = \"certs/a.key\"";
        let errors = load(&settings(home.path(), text)).expect_err("that is the key of b");
        let told = errors[0].to_string();
        assert!(errors.len() == 1 && told.contains(&format!("s2sd.toml:2: {expected}")), "{told}");
    }

    #[test]
    fn of_certificates_that_name_a_host_alike_the_one_that_is_valid_now_and_longest_is_chosen() {
        let home = tempfile::tempdir().expect("a directory");
        let certs = home.path().join("certs");
        for (name, years) in [("a", (2020, 2021)), ("b", (2019, 2030)), ("c", (2019, 2040)), ("d", (2050, 2060))] {
            write_valid(&certs, &format!("{name}.crt"), &format!("{name}.key"), &["m.example"], years);
        }
        let candidates = directory(&settings(home.path(), "[host.\"m.example\"]"), &mut Vec::new()).expect("readable");
        for (year, expected) in [(2020, "c"), (2035, "c"), (2045, "d"), (2055, "d"), (2070, "d")] {
            // A day after its beginning, or before.
            let now = Duration::from_secs((year - 1970) * 31_556_952 + 86_400);
            let chosen = choose(&domain("m.example"), &candidates, now).expect("all of them name it");
            assert_eq!(chosen.path, certs.join(format!("{expected}.crt")), "{year}");
        }
    }

    #[test]
    fn a_certificate_that_is_valid_now_comes_before_an_exact_name_and_that_before_a_later_end() {
        let home = tempfile::tempdir().expect("a directory");
        let certs = home.path().join("certs");
        write_valid(&certs, "exact.crt", "exact.key", &["chat.m.example"], (2019, 2030));
        write_valid(&certs, "wildcard.crt", "wildcard.key", &["*.m.example"], (2019, 2040));
        let settings = settings(home.path(), "[host.\"chat.m.example\"]");
        let candidates = directory(&settings, &mut Vec::new()).expect("readable");
        for (year, expected) in [(2018, "exact"), (2020, "exact"), (2035, "wildcard"), (2045, "exact")] {
            let now = Duration::from_secs((year - 1970) * 31_556_952 + 86_400);
            let chosen = choose(&domain("chat.m.example"), &candidates, now).expect("both name it");
            assert_eq!(chosen.path, certs.join(format!("{expected}.crt")), "{year}");
        }
        // What is shown is good, so that there is nothing to warn of.
        write_valid(&certs, "exact.crt", "exact.key", &["chat.m.example"], (2019, 2020));
        write(&certs, "wildcard.crt", "wildcard.key", &["*.m.example"]);
        let loaded = load(&settings).expect("it loads");
        assert_eq!((loaded.identities.len(), loaded.warnings), (1, Vec::new()));
    }

    #[test]
    fn a_certificate_that_is_not_valid_now_is_shown_and_told() {
        for (years, expected) in [
            ((2020, 2021), "has expired on 2021-01-01: peers will refuse it"),
            ((4000, 4096), "is not valid before 4000-01-01: peers will refuse it"),
        ] {
            let home = tempfile::tempdir().expect("a directory");
            write_valid(&home.path().join("certs"), "m.crt", "m.key", &["m.example"], years);
            for own in ["", "certificate = \"certs/m.crt\"\nkey = \"certs/m.key\""] {
                let loaded = load(&settings(home.path(), &format!("[host.\"m.example\"]\n{own}"))).expect("it loads");
                assert_eq!((loaded.identities.len(), loaded.warnings.len()), (1, 1), "{loaded:?}");
                let path = home.path().join("certs/m.crt");
                let expected = format!("the certificate of m.example in {} {expected}", path.display());
                assert!(loaded.warnings[0].starts_with(&expected), "{loaded:?}");
            }
        }
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        for (seconds, day) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (1_703_980_800, "2023-12-31"),
            (1_709_251_199, "2024-02-29"),
            (4_107_542_399, "2100-02-28"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(date(Duration::from_secs(seconds)), day);
        }
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
