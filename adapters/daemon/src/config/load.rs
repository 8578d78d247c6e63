//! From text to [`Settings`].

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use s2s_core::addr::Domain;
use s2s_core::dns::Security;
use s2s_core::limits;
use s2s_core::node::StaticRoute;
use s2s_core::route::PrivateAddresses;
use s2s_core::tls::verify::UnknownStatus;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::document::{Position, Reader, Section, integer};
use crate::config::error::{Error, Problem};
use crate::config::host::{Idle, Shared, switch};
use crate::config::keys::Place;
use crate::config::listen::{self, DIRECT_TLS_PORT, S2S_PORT};
use crate::config::{
    CertificateFiles, Certificates, Host, Limits, LogFormat, LogLevel, Pins, Revocation, Roots, Route, Settings,
    resolve, secrets,
};
use crate::runtime::Runtime;

/// Where the system names its DNS servers.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// The port of DNS.
const DNS_PORT: u16 = 53;
/// The most nodes of a server: more than that is no number of cores.
const MOST_NODES: usize = 256;

const SECONDS: &str = "a whole number of seconds from 1 to 86400";
const OUTGOING: &str = "a list of IP addresses of this machine";
const NODES: &str = "a whole number from 1 to 256";
pub(super) const PATH: &str = "a path";
const TABLES: &str = "a table for each NAME";
const PINS: &str = "a table of lists of \"sha256:\" and 64 hexadecimal digits, at least one for each domain";
const PRIVATE: &str = "true, false or a list of networks such as \"10.0.0.0/8\"";

/// Reads and validates a configuration file.
pub(crate) fn load(path: &Path) -> Result<Settings, Vec<Error>> {
    match read(path) {
        (Some(settings), problems) if problems.is_empty() => Ok(settings),
        (_, problems) => Err(problems),
    }
}

/// Reads a configuration file: what it says, as far as it can be read, and all that is wrong with it.
pub(crate) fn read(path: &Path) -> (Option<Settings>, Vec<Error>) {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return (None, vec![Error::of(path, Problem::Unreadable(error.kind()))]),
    };
    let (mut settings, problems) = match read_text(&text, path) {
        Ok(read) => read,
        Err(error) => return (None, vec![error]),
    };
    if settings.dns_servers.is_empty() {
        settings.sources.push(PathBuf::from(RESOLV_CONF));
        settings.dns_servers = nameservers(&fs::read_to_string(RESOLV_CONF).unwrap_or_default());
    }
    if settings.dns_servers.is_empty() {
        // What the C library does too.
        settings.dns_servers = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, DNS_PORT))];
        settings.warnings.push(format!("{RESOLV_CONF} names no DNS server: asking 127.0.0.1"));
    }
    (Some(settings), problems)
}

/// Validates the text of a configuration file. Reads no other files than those of secrets, of lists, and those that it
/// includes.
pub(crate) fn parse(text: &str, path: &Path) -> Result<Settings, Vec<Error>> {
    let (settings, problems) = read_text(text, path).map_err(|error| vec![error])?;
    if problems.is_empty() { Ok(settings) } else { Err(problems) }
}

/// What a text says, as far as it is a configuration, and all that is wrong with it; or why it is no TOML.
fn read_text(text: &str, path: &Path) -> Result<(Settings, Vec<Error>), Error> {
    let document = document(text, path)?;
    let mut reader = Reader::new(path, text);
    let top = reader.section(document.get_ref(), Place::Top);
    let mut settings = settings(&mut reader, &top, path);
    let mut problems = reader.problems;
    // In the order of this file, then of each included one.
    problems.sort_by(|a, b| (a.file != path, &a.file, a.line).cmp(&(b.file != path, &b.file, b.line)));
    // A contradiction of the global lists shows once for each host that has them.
    problems.dedup_by_key(|problem| problem.to_string());
    settings.sources.extend(reader.sources);
    Ok((settings, problems))
}

fn document<'t>(text: &'t str, path: &Path) -> Result<Spanned<DeTable<'t>>, Error> {
    DeTable::parse(text).map_err(|error| {
        let line = error.span().map(|span| Reader::new(path, text).line(&span));
        Error { file: path.to_owned(), line, problem: Problem::Syntax(error.message().to_owned()) }
    })
}

fn settings<'t>(reader: &mut Reader<'t>, top: &Section<'t>, path: &Path) -> Settings {
    let pins = pins(reader, top);
    let pinned = pins.iter().map(|(domain, pins)| (domain.clone(), pins.position.clone())).collect();
    let global = Shared::read(reader, top).with_pinned(pinned);
    global.check(reader);
    let mut tables = Tables::default();
    tables.read(reader, top, &global);
    include(reader, top, &global, &mut tables);
    if tables.hosts.is_empty() && reader.problems.is_empty() {
        reader.problems.push(Error::of(path, Problem::NoHosts));
    }
    let Tables { hosts, routes, routes_below, idle } = tables;
    let (ipv4, ipv6) = families(reader, top);
    let listen = listen::read(reader, top, ipv4, ipv6);
    let warnings = idle.warnings().chain(listen::warnings(reader, top, &listen, &hosts));
    let warnings = warnings.map(|(at, text)| format!("{}:{}: {text}", at.file.display(), at.line)).collect();
    let stanza_bytes = stanza_bytes(reader, top);
    Settings {
        file: path.to_owned(),
        hosts,
        listen,
        routes,
        routes_below,
        private_addresses: private_addresses(reader, top),
        outgoing_addresses: outgoing_addresses(reader, top),
        ipv4,
        ipv6,
        stanza_bytes,
        limits: Limits::read(reader, top, stanza_bytes),
        negotiation_timeout: seconds(reader, top, "s2s_timeout", limits::NEGOTIATION),
        attempt_timeout: seconds(reader, top, "s2s_attempt_timeout", limits::ATTEMPT),
        close_timeout: seconds(reader, top, "s2s_close_timeout", limits::CLOSE),
        idle_timeout: seconds(reader, top, "s2s_idle_timeout", limits::IDLE),
        roots: roots(reader, top, path),
        pins,
        revocation: revocation(reader, top),
        certificates: certificates(reader, top, path),
        dialback_secret: secrets::dialback(reader, top, path),
        dns_servers: dns_servers(reader, top),
        log_format: log_format(reader, top),
        log_level: log_level(reader, top),
        metrics_listen: metrics_listen(reader, top),
        runtime: runtime(reader, top),
        nodes: nodes(reader, top),
        positions: reader.positions(top),
        warnings,
        sources: Vec::new(),
    }
}

/// Whether IPv4 is used, and IPv6. One of them must be.
fn families<'t>(reader: &mut Reader<'t>, top: &Section<'t>) -> (bool, bool) {
    let ipv4 = switch(reader, top, "use_ipv4").unwrap_or(true);
    let ipv6 = switch(reader, top, "use_ipv6").unwrap_or(true);
    if let (false, false, Some(line)) = (ipv4, ipv6, top.line_of(reader, "use_ipv6")) {
        reader.problem(line, Problem::NoFamily);
    }
    (ipv4, ipv6)
}

fn nodes<'t>(reader: &mut Reader<'t>, top: &Section<'t>) -> usize {
    let nodes = reader.value(top, "nodes", NODES, |value| {
        usize::try_from(integer(value)?).ok().filter(|nodes| (1..=MOST_NODES).contains(nodes))
    });
    nodes.map_or(1, |nodes| nodes.value)
}

fn runtime<'t>(reader: &mut Reader<'t>, top: &Section<'t>) -> Runtime {
    let runtime = reader.value(top, "runtime", "\"smol\" or \"threads\"", |value| match value.as_str()? {
        "smol" => Some(Runtime::Smol),
        "threads" => Some(Runtime::Threads),
        _ => None,
    });
    runtime.map(|runtime| runtime.value).unwrap_or_default()
}

/// What may stand in several files.
#[derive(Debug, Default)]
struct Tables {
    hosts: BTreeMap<Domain, Host>,
    routes: BTreeMap<Domain, Route>,
    routes_below: BTreeMap<Domain, Route>,
    idle: Idle,
}

impl Tables {
    /// Takes in what stands at the top of one file.
    fn read<'t>(&mut self, reader: &mut Reader<'t>, top: &Section<'t>, global: &Shared) {
        for (name, line, table) in reader.tables(top, "host", TABLES) {
            self.host(reader, name, line, table, global);
        }
        self.routes(reader, top);
    }

    fn host<'t>(&mut self, reader: &mut Reader<'t>, name: &str, line: usize, table: &'t DeTable<'t>, global: &Shared) {
        let path = reader.file();
        let section = reader.section(table, Place::Host);
        let shared = Shared::read(reader, &section).over(global);
        let options = shared.options(switch(reader, &section, "anonymous").unwrap_or_default());
        shared.check(reader);
        shared.check_modules(name, &options, reader);
        self.idle.host(&shared);
        let host = Host {
            position: reader.position(line),
            options,
            tls_min_version: shared.tls_min_version(),
            certificate: certificate(reader, &section, path),
            component_secret: secrets::component(reader, &section, path),
            shared,
        };
        match Domain::parse(name) {
            Err(error) => reader.problem(line, Problem::Name { name: name.to_owned(), error }),
            Ok(domain) if !domain.is_qualified() => reader.problem(line, Problem::UnqualifiedHost(name.to_owned())),
            Ok(domain) => {
                if self.hosts.insert(domain, host).is_some() {
                    reader.problem(line, Problem::Twice(name.to_owned()));
                }
            }
        }
    }

    fn routes<'t>(&mut self, reader: &mut Reader<'t>, top: &Section<'t>) {
        for (name, line, table) in reader.tables(top, "route", TABLES) {
            let section = reader.section(table, Place::Route);
            let security =
                reader.value(&section, "tls", "\"starttls\" or \"direct\"", |value| match value.as_str()? {
                    "starttls" => Some(Security::StartTls),
                    "direct" => Some(Security::DirectTls),
                    _ => None,
                });
            let security = security.map_or(Security::StartTls, |security| security.value);
            let port = if security == Security::DirectTls { DIRECT_TLS_PORT } else { S2S_PORT };
            let addr = reader.value(&section, "address", "\"IP:PORT\", or \"IP\" for the usual port", |value| {
                socket_address(value.as_str()?, port).filter(|addr| addr.port() != 0)
            });
            let parent = name.strip_prefix("*.");
            match (Domain::parse(parent.unwrap_or(name)), addr) {
                (Err(error), _) => reader.problem(line, Problem::Name { name: name.to_owned(), error }),
                (Ok(_), None) if !table.contains_key("address") => {
                    reader.problem(line, Problem::RouteWithoutAddress(name.to_owned()));
                }
                (Ok(_), None) => {}
                (Ok(domain), Some(addr)) => {
                    let to = StaticRoute { addr: addr.value, security };
                    let routes = if parent.is_some() { &mut self.routes_below } else { &mut self.routes };
                    if routes.insert(domain, Route { to, position: reader.position(line) }).is_some() {
                        reader.problem(line, Problem::Twice(name.to_owned()));
                    }
                }
            }
        }
    }
}

/// Reads the files in the directory of `include`, in the order of their names.
fn include<'t>(reader: &mut Reader<'t>, top: &Section<'t>, global: &Shared, tables: &mut Tables) {
    let Some(directory) = reader.value(top, "include", PATH, |value| value.as_str().filter(|path| !path.is_empty()))
    else {
        return;
    };
    let path = resolve(reader.file(), directory.value);
    reader.sources.push(path.clone());
    let files = fs::read_dir(&path).and_then(|entries| {
        let paths = entries.map(|entry| entry.map(|entry| entry.path()));
        paths.collect::<std::io::Result<Vec<_>>>()
    });
    let mut files = match files {
        Ok(files) => files,
        Err(error) => {
            return reader.problem(directory.line, Problem::File { key: "include", path, error: error.kind() });
        }
    };
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    for file in files {
        match fs::read_to_string(&file) {
            Ok(text) => included(&text, &file, global, tables, reader),
            Err(error) => reader.problems.push(Error::of(&file, Problem::Unreadable(error.kind()))),
        }
        reader.sources.push(file);
    }
}

fn included(text: &str, file: &Path, global: &Shared, tables: &mut Tables, outer: &mut Reader<'_>) {
    let document = match document(text, file) {
        Ok(document) => document,
        Err(error) => return outer.problems.push(error),
    };
    let mut reader = Reader::new(file, text);
    let top = reader.section(document.get_ref(), Place::Included);
    tables.read(&mut reader, &top, global);
    outer.problems.append(&mut reader.problems);
    outer.sources.append(&mut reader.sources);
}

fn certificate<'t>(reader: &mut Reader<'t>, section: &Section<'t>, file: &Path) -> Option<CertificateFiles> {
    let certificate = reader.value(section, "certificate", PATH, DeValue::as_str);
    let key = reader.value(section, "key", PATH, DeValue::as_str);
    match (certificate, key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => {
            Some(CertificateFiles { certificate: resolve(file, certificate.value), key: resolve(file, key.value) })
        }
        (Some(certificate), None) => {
            reader.problem(certificate.line, Problem::Without { key: "certificate", missing: "key" });
            None
        }
        (None, Some(key)) => {
            reader.problem(key.line, Problem::Without { key: "key", missing: "certificate" });
            None
        }
    }
}

fn private_addresses<'t>(reader: &mut Reader<'t>, top: &Section<'t>) -> PrivateAddresses {
    let allowed = reader.value(top, "s2s_allow_private_addresses", PRIVATE, |value| match value {
        DeValue::Boolean(true) => Some(PrivateAddresses::Always),
        DeValue::Boolean(false) => Some(PrivateAddresses::Never),
        DeValue::Array(networks) => {
            let networks = networks.iter().map(|network| self::network(network.get_ref().as_str()?));
            networks.collect::<Option<Vec<_>>>().map(PrivateAddresses::Within)
        }
        _ => None,
    });
    allowed.map(|allowed| allowed.value).unwrap_or_default()
}

/// `ADDRESS/LENGTH`, or an address alone.
fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let length = match length {
        Some(length) => length.parse().ok().filter(|length| *length <= bits)?,
        None => bits,
    };
    Some((address, length))
}

fn stanza_bytes<'t>(reader: &mut Reader<'t>, top: &Section<'t>) -> usize {
    //= RFC6120-13.12-5
    let bytes = reader.value(top, "s2s_stanza_size_limit", "a whole number of bytes, at least 10000", |value| {
        integer(value).and_then(|n| usize::try_from(n).ok()).filter(|n| *n >= limits::MIN_STANZA_BYTES)
    });
    bytes.map_or(limits::STANZA_BYTES, |bytes| bytes.value)
}

fn seconds<'t>(reader: &mut Reader<'t>, top: &Section<'t>, key: &'static str, default: Duration) -> Duration {
    let seconds = reader.value(top, key, SECONDS, |value| {
        integer(value).and_then(|n| u64::try_from(n).ok()).filter(|n| (1..=86_400).contains(n))
    });
    seconds.map_or(default, |seconds| Duration::from_secs(seconds.value))
}

/// Whether they are addresses of this machine is seen when the server is bound.
fn outgoing_addresses<'t>(reader: &mut Reader<'t>, top: &Section<'t>) -> Vec<(IpAddr, Position)> {
    let own = |address: &IpAddr| !address.is_unspecified() && !address.is_multicast();
    let addresses =
        reader.list(top, "s2s_outgoing_addresses", OUTGOING, |value| value.as_str()?.parse().ok().filter(own));
    let addresses = addresses.unwrap_or_default().into_iter();
    addresses.map(|address| (address.value, reader.position(address.line))).collect()
}

fn roots<'t>(reader: &mut Reader<'t>, top: &Section<'t>, file: &Path) -> Roots {
    let cafile = path(reader, top, "cafile", file);
    let cadirectory = path(reader, top, "cadirectory", file);
    let replaced = cafile.is_some() || cadirectory.is_some();
    let system = switch(reader, top, "system_roots").unwrap_or(!replaced);
    Roots { file: cafile, directory: cadirectory, system }
}

fn pins<'t>(reader: &mut Reader<'t>, top: &Section<'t>) -> BTreeMap<Domain, Pins> {
    let mut pins = BTreeMap::new();
    for (name, line, keys) in reader.lists(top, "s2s_pins", PINS, |value| pin(value.as_str()?)) {
        let position = reader.position(line);
        match Domain::parse(name) {
            Err(error) => reader.problem(line, Problem::Name { name: name.to_owned(), error }),
            Ok(domain) => {
                if pins.insert(domain, Pins { keys, position }).is_some() {
                    reader.problem(line, Problem::Twice(name.to_owned()));
                }
            }
        }
    }
    pins
}

/// `sha256:` and the digest of a key.
fn pin(text: &str) -> Option<[u8; 32]> {
    let digits = text.strip_prefix("sha256:").filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    let bytes: Option<Vec<u8>> =
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()).collect();
    bytes?.try_into().ok()
}

fn revocation<'t>(reader: &mut Reader<'t>, top: &Section<'t>) -> Revocation {
    let policy = reader.value(top, "s2s_crl_policy", "\"soft\" or \"hard\"", |value| match value.as_str()? {
        "soft" => Some(UnknownStatus::Accept),
        "hard" => Some(UnknownStatus::Refuse),
        _ => None,
    });
    let files = reader.list(top, "s2s_crls", "a list of paths", |value| value.as_str().filter(|path| !path.is_empty()));
    let lists: Vec<_> = files
        .unwrap_or_default()
        .into_iter()
        .map(|file| (resolve(reader.file(), file.value), reader.position(file.line)))
        .collect();
    if let Some(policy) = policy.as_ref().filter(|policy| policy.value == UnknownStatus::Refuse && lists.is_empty()) {
        // Nothing would be checked.
        reader.problem(policy.line, Problem::Without { key: "s2s_crl_policy", missing: "s2s_crls" });
    }
    Revocation { lists, unknown_status: policy.map(|policy| policy.value).unwrap_or_default() }
}

fn certificates<'t>(reader: &mut Reader<'t>, top: &Section<'t>, file: &Path) -> Certificates {
    let directory = path(reader, top, "certificates", file);
    let configured = directory.is_some();
    Certificates { directory: directory.unwrap_or_else(|| resolve(file, "certs")), configured }
}

fn path<'t>(reader: &mut Reader<'t>, top: &Section<'t>, key: &'static str, file: &Path) -> Option<PathBuf> {
    let path = reader.value(top, key, PATH, |value| value.as_str().filter(|path| !path.is_empty()))?;
    Some(resolve(file, path.value))
}

fn dns_servers<'t>(reader: &mut Reader<'t>, top: &Section<'t>) -> Vec<SocketAddr> {
    let servers = reader
        .list(top, "dns_servers", "a list of \"IP\" or \"IP:PORT\"", |value| socket_address(value.as_str()?, DNS_PORT));
    servers.unwrap_or_default().into_iter().map(|server| server.value).collect()
}

fn log_format<'t>(reader: &mut Reader<'t>, top: &Section<'t>) -> LogFormat {
    let format = reader.value(top, "log_format", "\"human\" or \"json\"", |value| match value.as_str()? {
        "human" => Some(LogFormat::Human),
        "json" => Some(LogFormat::Json),
        _ => None,
    });
    format.map(|format| format.value).unwrap_or_default()
}

fn log_level<'t>(reader: &mut Reader<'t>, top: &Section<'t>) -> LogLevel {
    let level = reader.value(top, "log_level", "\"warn\", \"info\" or \"debug\"", |value| match value.as_str()? {
        "warn" => Some(LogLevel::Warn),
        "info" => Some(LogLevel::Info),
        "debug" => Some(LogLevel::Debug),
        _ => None,
    });
    level.map(|level| level.value).unwrap_or_default()
}

/// There is no usual port, and nobody would find a free one.
fn metrics_listen<'t>(reader: &mut Reader<'t>, top: &Section<'t>) -> Option<SocketAddr> {
    let addr = reader.value(top, "metrics_listen", "\"IP:PORT\"", |value| {
        value.as_str()?.parse::<SocketAddr>().ok().filter(|addr| addr.port() != 0)
    });
    addr.map(|addr| addr.value)
}

/// `IP:PORT`, or `IP` for the usual port.
fn socket_address(text: &str, port: u16) -> Option<SocketAddr> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(|address| SocketAddr::from((address, port))))
}

/// The servers of a `resolv.conf`. Those with a scope are left out.
fn nameservers(text: &str) -> Vec<SocketAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("nameserver")).then(|| words.next()?.parse::<IpAddr>().ok()).flatten()
        })
        .map(|address| SocketAddr::from((address, DNS_PORT)))
        .collect()
}
