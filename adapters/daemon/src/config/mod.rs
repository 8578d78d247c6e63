//! The configuration file: from text to settings that are known to make sense. The README of the program has its keys.

mod document;
mod error;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod host;
mod keys;
mod limits;
mod listen;
mod lists;
mod load;
mod secrets;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use s2s_core::addr::Domain;
use s2s_core::component::ComponentSecret;
use s2s_core::dialback::Secret;
use s2s_core::node::StaticRoute;
use s2s_core::policy::HostOptions;
use s2s_core::route::PrivateAddresses;
use s2s_core::tls::Version;
use s2s_core::tls::verify::UnknownStatus;

use crate::runtime::Runtime;

pub(crate) use document::Position;
pub(crate) use error::{Error, Problem, cause, few};
pub(crate) use host::{Decider, Shared};
#[cfg(test)]
pub(crate) use keys::{KEYS, Place, Status};
pub(crate) use limits::Limits;
pub(crate) use load::{load, parse, read};

/// What the operator wrote, validated, with the defaults filled in.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The file it was read from.
    pub(crate) file: PathBuf,
    /// The hosts. At least one.
    pub(crate) hosts: BTreeMap<Domain, Host>,
    /// Where to listen.
    pub(crate) listen: Listen,
    /// Static routes.
    pub(crate) routes: BTreeMap<Domain, Route>,
    /// Those of all domains below a name.
    pub(crate) routes_below: BTreeMap<Domain, Route>,
    /// `s2s_outgoing_addresses`, and where each of them stands.
    pub(crate) outgoing_addresses: Vec<(IpAddr, Position)>,
    /// `s2s_allow_private_addresses`
    pub(crate) private_addresses: PrivateAddresses,
    /// `use_ipv4`
    pub(crate) ipv4: bool,
    /// `use_ipv6`
    pub(crate) ipv6: bool,
    /// `s2s_stanza_size_limit`, in bytes
    pub(crate) stanza_bytes: usize,
    /// `[limits]`
    pub(crate) limits: Limits,
    /// `s2s_timeout`
    pub(crate) negotiation_timeout: Duration,
    /// `s2s_attempt_timeout`
    pub(crate) attempt_timeout: Duration,
    /// `s2s_close_timeout`
    pub(crate) close_timeout: Duration,
    /// `s2s_idle_timeout`
    pub(crate) idle_timeout: Duration,
    /// What peers are judged against.
    pub(crate) roots: Roots,
    /// `s2s_pins`
    pub(crate) pins: BTreeMap<Domain, Pins>,
    /// `s2s_crls` and `s2s_crl_policy`
    pub(crate) revocation: Revocation,
    /// Where certificates are looked for.
    pub(crate) certificates: Certificates,
    /// `dialback_secret`; `None`: a random one.
    pub(crate) dialback_secret: Option<Secret>,
    /// Recursive DNS servers, in the order in which to ask them.
    pub(crate) dns_servers: Vec<SocketAddr>,
    /// `log_format`
    pub(crate) log_format: LogFormat,
    /// `log_level`
    pub(crate) log_level: LogLevel,
    /// `metrics_listen`
    pub(crate) metrics_listen: Option<SocketAddr>,
    /// `runtime`
    pub(crate) runtime: Runtime,
    /// `nodes`
    pub(crate) nodes: usize,
    /// Where everything stands that was given at the top.
    pub(crate) positions: BTreeMap<&'static str, Position>,
    /// What is legal and yet probably not what was meant.
    pub(crate) warnings: Vec<String>,
    /// The other files of which something stands in here.
    pub(crate) sources: Vec<PathBuf>,
}

impl Settings {
    /// An error of what `key` says at the top, or of its default.
    pub(crate) fn error(&self, key: &'static str, problem: Problem) -> Error {
        match self.positions.get(key) {
            Some(position) => Error::at(position, problem),
            None => Error::of(&self.file, problem),
        }
    }
}

/// One host.
#[derive(Debug)]
pub(crate) struct Host {
    /// Where it stands.
    pub(crate) position: Position,
    /// Its policy.
    pub(crate) options: HostOptions,
    /// `tls_min_version`
    pub(crate) tls_min_version: Version,
    /// `certificate` and `key`
    pub(crate) certificate: Option<CertificateFiles>,
    /// `component_secret`
    pub(crate) component_secret: Option<ComponentSecret>,
    /// Of what its policy was made.
    pub(crate) shared: Shared,
}

/// A static route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// Where to.
    pub(crate) to: StaticRoute,
    /// Where it stands.
    pub(crate) position: Position,
}

/// The keys of one domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pins {
    /// SHA-256 of each `SubjectPublicKeyInfo`.
    pub(crate) keys: Vec<[u8; 32]>,
    /// Where they stand.
    pub(crate) position: Position,
}

/// What is known of certificates that were revoked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Revocation {
    /// `s2s_crls`: files, and where they are named.
    pub(crate) lists: Vec<(PathBuf, Position)>,
    /// `s2s_crl_policy`
    pub(crate) unknown_status: UnknownStatus,
}

/// A certificate chain and its key, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CertificateFiles {
    /// The chain, the host's own certificate first.
    pub(crate) certificate: PathBuf,
    /// The private key.
    pub(crate) key: PathBuf,
}

/// The directory of certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certificates {
    /// Its path.
    pub(crate) directory: PathBuf,
    /// Whether it was configured, so that it must exist.
    pub(crate) configured: bool,
}

/// Which authorities are trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Roots {
    /// `cafile`
    pub(crate) file: Option<PathBuf>,
    /// `cadirectory`
    pub(crate) directory: Option<PathBuf>,
    /// Whether the system's store counts: `system_roots`, and if nothing else is given.
    pub(crate) system: bool,
}

/// Addresses of listeners.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listen {
    /// `s2s_ports` on `s2s_interfaces`
    pub(crate) s2s: Vec<SocketAddr>,
    /// `s2s_direct_tls_ports` on `s2s_interfaces`
    pub(crate) direct: Vec<SocketAddr>,
    /// `component_ports` on `component_interfaces`
    pub(crate) component: Vec<SocketAddr>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// Which lines are logged: those of this level and above.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LogLevel {
    /// What is or may be wrong.
    Warn,
    /// What happens to streams, pairs and components, and what of ours cannot be sent, too.
    #[default]
    Info,
    /// What cannot be delivered here, too: peers decide how much that is.
    Debug,
}

/// A path in the configuration: relative to the directory of its file.
fn resolve(file: &Path, path: &str) -> PathBuf {
    file.parent().unwrap_or_else(|| Path::new("")).join(path)
}
