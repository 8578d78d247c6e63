//! How a configuration can be wrong. Every problem names its file and, where there is one, its line.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use s2s_core::addr::DomainError;
use s2s_core::policy::DomainListError;

use crate::config::document::Position;

/// One thing that is wrong, and where.
#[derive(Debug)]
pub(crate) struct Error {
    /// The file.
    pub(crate) file: PathBuf,
    /// The line in it, counted from 1.
    pub(crate) line: Option<usize>,
    /// What is wrong.
    pub(crate) problem: Problem,
}

/// What is wrong.
#[derive(Debug)]
pub(crate) enum Problem {
    /// The file cannot be read.
    Unreadable(io::ErrorKind),
    /// The file is not TOML.
    Syntax(String),
    /// There is no such key.
    UnknownKey {
        /// As it was written.
        key: String,
        /// Those that may stand in its place.
        allowed: Vec<&'static str>,
    },
    /// The key exists, and what it is for does not.
    NotInThisVersion(String),
    /// The key may stand elsewhere only.
    Misplaced {
        /// The key.
        key: &'static str,
        /// Where it may stand.
        place: &'static str,
    },
    /// The value has the wrong type, or is out of range.
    Value {
        /// The key.
        key: String,
        /// What was found.
        found: String,
        /// What may stand there.
        allowed: &'static str,
    },
    /// Two listeners of which the system allows one.
    Listeners {
        /// The key that asks for the second one.
        key: &'static str,
        /// The second one.
        addr: SocketAddr,
        /// The first one.
        other: SocketAddr,
    },
    /// Connections cannot begin there.
    Outgoing {
        /// The address.
        address: IpAddr,
        /// Why.
        error: io::ErrorKind,
    },
    /// No family of addresses is left.
    NoFamily,
    /// A limit that is less than what depends on it.
    TooSmall {
        /// The key.
        key: &'static str,
        /// Its value.
        value: usize,
        /// What it must be at least.
        least: String,
    },
    /// An entry of a list of domains is none.
    Entry {
        /// The key.
        key: &'static str,
        /// The entry.
        entry: String,
        /// Why.
        error: DomainListError,
    },
    /// The name of a host or route is not a domain.
    Name {
        /// As it was written.
        name: String,
        /// Why.
        error: DomainError,
    },
    /// A host of one label can never federate.
    UnqualifiedHost(String),
    /// Two tables are for the same domain, spelled differently.
    Twice(String),
    /// One entry both demands and waives certificates.
    Contradiction(String),
    /// A key is demanded of a domain that need not show one.
    PinnedInsecure(String),
    /// A host that federates and has no way to authenticate anybody.
    NoMethod(String),
    /// A host that federates, demands encryption and has it disabled.
    TlsDisabled {
        /// The host.
        host: String,
        /// What demands it.
        key: &'static str,
    },
    /// Two keys of which only one may be given.
    Both(&'static str, &'static str),
    /// A key that is needed beside another.
    Without {
        /// The one that is given.
        key: &'static str,
        /// The one that is missing.
        missing: &'static str,
    },
    /// A route without an address.
    RouteWithoutAddress(String),
    /// A dialback secret that could be guessed.
    SecretTooShort,
    /// A component secret without a character.
    SecretEmpty(&'static str),
    /// A file that the configuration names cannot be read.
    File {
        /// The key that names it.
        key: &'static str,
        /// Its path.
        path: PathBuf,
        /// Why.
        error: io::ErrorKind,
    },
    /// There is nothing to serve.
    NoHosts,
    /// What is being served cannot go on as it was.
    CertificateGone {
        /// The host that had one.
        host: String,
        /// What is wrong with those that are there.
        problems: Vec<String>,
    },
    /// A certificate or key is of no use.
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// No certificate for a host that demands encryption.
    HostWithoutCertificate {
        /// The host.
        host: String,
        /// Where certificates were looked for.
        directory: PathBuf,
        /// What is wrong with those that are there.
        problems: Vec<String>,
    },
    /// No certificate for a host that has no dialback either.
    HostWithoutProof {
        /// The host.
        host: String,
        /// Where certificates were looked for.
        directory: PathBuf,
        /// What is wrong with those that are there.
        problems: Vec<String>,
    },
}

impl Error {
    /// A problem of a whole file.
    pub(crate) fn of(file: &Path, problem: Problem) -> Self {
        Self { file: file.to_owned(), line: None, problem }
    }

    /// A problem of a line.
    pub(crate) fn at(position: &Position, problem: Problem) -> Self {
        Self { file: position.file.clone(), line: Some(position.line), problem }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file.display(), self.problem),
            None => write!(f, "{}: {}", self.file.display(), self.problem),
        }
    }
}

impl std::error::Error for Error {}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, "cannot be read: {}", cause(*error)),
            Self::Syntax(text) => write!(f, "not TOML: {}", text.trim_end().replace('\n', ", ")),
            Self::UnknownKey { key, allowed } => {
                write!(f, "unknown key '{}'", key.escape_debug())?;
                if let Some(near) = nearest(key, allowed) {
                    write!(f, "; did you mean '{near}'?")?;
                }
                write!(f, "; allowed here: {}", allowed.join(", "))
            }
            Self::NotInThisVersion(key) => write!(f, "{key} is not in this version"),
            Self::Misplaced { key, place } => write!(f, "'{key}' may only stand {place}"),
            Self::Value { key, found, allowed } => write!(f, "'{key}' is {found}, but must be {allowed}"),
            Self::Listeners { key, addr, other } => write!(
                f,
                "'{key}' asks for a listener on {addr} beside one on {other}, but must leave each address and port to one \
                 listener; a wildcard address has the port of all addresses of its family"
            ),
            Self::Outgoing { address, error } => write!(
                f,
                "'s2s_outgoing_addresses' has {address}, but must be a list of IP addresses of this machine: {error}"
            ),
            Self::NoFamily => {
                f.write_str("'use_ipv4' and 'use_ipv6' are both false, so that nobody is reached: one must be true")
            }
            Self::TooSmall { key, value, least } => write!(f, "'{key}' is {value}, but must be at least {least}"),
            Self::Entry { key, entry, error } => write!(f, "'{}' in '{key}': {error}", entry.escape_debug()),
            Self::Name { name, error } => write!(f, "'{}' is not a domain: {error}", name.escape_debug()),
            Self::UnqualifiedHost(name) => {
                write!(f, "'{name}' has one label only: such names take no part in federation")
            }
            Self::Twice(name) => write!(f, "'{name}' has two tables"),
            Self::Contradiction(entry) => {
                write!(f, "'{entry}' stands in both s2s_secure_domains and s2s_insecure_domains")
            }
            Self::PinnedInsecure(entry) => write!(f, "'{entry}' stands in both s2s_pins and s2s_insecure_domains"),
            Self::NoMethod(host) => write!(
                f,
                "host '{host}' has no way to authenticate anybody: saslauth needs tls, and dialback is disabled too"
            ),
            Self::TlsDisabled { host, key } => write!(f, "host '{host}' has tls disabled, but {key} demands it"),
            Self::Both(one, other) => write!(f, "'{one}' and '{other}' exclude each other"),
            Self::Without { key, missing } => write!(f, "'{key}' needs '{missing}' beside it"),
            Self::RouteWithoutAddress(name) => write!(f, "the route of '{name}' has no 'address'"),
            Self::SecretTooShort => f.write_str("a dialback secret has at least 16 bytes"),
            Self::SecretEmpty(key) => write!(f, "'{key}' is empty"),
            Self::File { key, path, error } => {
                write!(f, "'{key}': {} cannot be read: {}", path.display(), cause(*error))
            }
            Self::NoHosts => f.write_str("there is no [host.\"NAME\"] to serve"),
            Self::CertificateGone { host, problems } => {
                write!(f, "host '{host}' had a certificate and would have none now: {}", problems.join("; "))
            }
            Self::Certificate { path, problem } => write!(f, "{}: {problem}", path.display()),
            Self::HostWithoutCertificate { host, directory, problems } => {
                write!(f, "host '{host}' demands encryption and has no certificate: {}", remedy(directory, problems))
            }
            Self::HostWithoutProof { host, directory, problems } => write!(
                f,
                "host '{host}' has no certificate, and dialback is disabled, so that nobody can be authenticated: take \
                 \"dialback\" out of 'modules_disabled', or {}",
                remedy(directory, problems)
            ),
        }
    }
}

/// What to do where a host has no certificate, and what is wrong with those that are there.
fn remedy(directory: &Path, problems: &[String]) -> String {
    let directory = directory.display();
    let remedy = format!("give 'certificate' and 'key', or put NAME.crt with NAME.key into {directory}");
    [&[remedy][..], problems].concat().join("; ")
}

/// Why a file cannot be read: the standard library calls what is not there an entity.
fn cause(error: io::ErrorKind) -> String {
    match error {
        io::ErrorKind::NotFound => "it does not exist".to_owned(),
        error => error.to_string(),
    }
}

/// The allowed name that was probably meant.
fn nearest(key: &str, allowed: &[&'static str]) -> Option<&'static str> {
    let bound = 1 + key.len().min(64) / 5;
    allowed.iter().map(|name| (distance(key, name), *name)).min().filter(|(d, _)| *d <= bound).map(|(_, name)| name)
}

/// How many letters must be changed, added or left out.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let cost = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
