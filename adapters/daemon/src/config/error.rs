//! How a configuration can be wrong. Every problem names its file and, where there is one, its line.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use s2s_core::addr::DomainError;
use s2s_core::policy::DomainListError;

use crate::config::document::Position;

/// How many of many a message names.
const FEW: usize = 3;

/// Where a secret comes from.
const FRESH: &str = "'openssl rand -hex 32' prints a good one";

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
    /// Nothing can be listened on there.
    Unbound {
        /// The key that is to be changed.
        key: &'static str,
        /// Where.
        addr: SocketAddr,
        /// Why.
        error: io::Error,
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
    /// A secret that is none, or could be guessed.
    Secret {
        /// The key.
        key: &'static str,
        /// The file that it names, where the secret stands in one.
        path: Option<PathBuf>,
        /// How long it is.
        bytes: usize,
        /// What is broken.
        rule: &'static str,
    },
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
    /// A file with certificates, a private key or revocation lists is of no use.
    Certificate {
        /// The key that names it, or its directory.
        key: &'static str,
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
            Self::Unbound { key, addr, error } => f.write_str(&unbound(key, *addr, error)),
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
            Self::Secret { key, path, bytes, rule } => write!(f, "{}, but {rule}: {FRESH}", secret(key, path, *bytes)),
            Self::File { key, path, error } => {
                write!(f, "'{key}': {}: cannot be read: {}", path.display(), cause(*error))
            }
            Self::NoHosts => f.write_str("there is no [host.\"NAME\"] to serve"),
            Self::CertificateGone { host, problems } => {
                write!(f, "host '{host}' had a certificate and would have none now: {}", problems.join("; "))
            }
            Self::Certificate { key, path, problem } => write!(f, "'{key}': {}: {problem}", path.display()),
            Self::HostWithoutCertificate { host, directory, problems } => {
                let [missing, remedy] = without_certificate(directory, problems);
                write!(f, "host '{host}' demands encryption and has {missing}: {remedy}")
            }
            Self::HostWithoutProof { host, directory, problems } => {
                let [missing, remedy] = without_certificate(directory, problems);
                write!(
                    f,
                    "host '{host}' has {missing}, and dialback is disabled, so that nobody can be authenticated: take \
                     \"dialback\" out of 'modules_disabled', or {remedy}"
                )
            }
        }
    }
}

/// What a host without a certificate is said to have, with what is wrong with those that were found; and what to do.
fn without_certificate(directory: &Path, problems: &[String]) -> [String; 2] {
    let directory = directory.display();
    let remedy = format!("give 'certificate' and 'key', or put NAME.crt with NAME.key into {directory}");
    if problems.is_empty() {
        return ["no certificate".to_owned(), remedy];
    }
    [format!("no certificate that can be used ({})", problems.join("; ")), format!("mend that, or {remedy}")]
}

/// Below this number a port needs a privilege on most systems.
const PRIVILEGED_BELOW: u16 = 1024;

/// Why nothing can be listened on, and what to do.
fn unbound(key: &str, addr: SocketAddr, error: &io::Error) -> String {
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; something listens there, or another key has this port: end that, or give another port"
        }
        io::ErrorKind::AddrNotAvailable => "; it is no address of this machine: give one that is",
        io::ErrorKind::PermissionDenied if addr.port() < PRIVILEGED_BELOW => {
            "; ports below 1024 need a privilege: give another port"
        }
        io::ErrorKind::PermissionDenied => "; the system forbids it: allow it there, or give another port",
        _ => "",
    };
    format!("'{key}': cannot listen on {addr}: {error}{remedy}")
}

/// How long a secret is, which is named by its key and, where it stands in one, its file.
fn secret(key: &str, path: &Option<PathBuf>, bytes: usize) -> String {
    let place = path.as_ref().map_or_else(|| format!("'{key}'"), |path| format!("'{key}': {}", path.display()));
    if bytes == 0 { format!("{place} is empty") } else { format!("{place} has {bytes} bytes") }
}

/// Why a file cannot be read, and what to do: the standard library calls what is not there an entity.
pub(crate) fn cause(error: io::ErrorKind) -> String {
    match error {
        io::ErrorKind::NotFound => "it does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied: let the user that s2sd runs as read it".to_owned(),
        io::ErrorKind::IsADirectory => "it is a directory, but must be a file".to_owned(),
        io::ErrorKind::NotADirectory => "what must be a directory is none".to_owned(),
        io::ErrorKind::InvalidData => "it is not text in UTF-8".to_owned(),
        error => error.to_string(),
    }
}

/// The first of `words` with `separator` between them, and how many more there are.
pub(crate) fn few(words: impl IntoIterator<Item: fmt::Display>, separator: &str) -> String {
    let mut words = words.into_iter();
    let mut told: Vec<_> = words.by_ref().take(FEW).map(|word| word.to_string()).collect();
    let more = words.count();
    if more > 0 {
        told.push(format!("and {more} more"));
    }
    told.join(separator)
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
