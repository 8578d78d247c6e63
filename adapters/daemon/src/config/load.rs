//! From text to [`Settings`].

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use s2s_core::addr::Domain;
use s2s_core::component::ComponentSecret;
use s2s_core::dialback::Secret;
use s2s_core::dns::Security;
use s2s_core::limits;
use s2s_core::node::StaticRoute;
use s2s_core::route::PrivateAddresses;
use toml::de::{DeTable, DeValue};

use crate::config::document::{Located, Reader, Section, integer};
use crate::config::error::{Error, Problem};
use crate::config::host::{Idle, Shared, switch};
use crate::config::keys::Place;
use crate::config::{CertificateFiles, Certificates, Host, Listen, LogFormat, Roots, Settings, resolve};

/// Where the system names its DNS servers.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// The port of DNS.
const DNS_PORT: u16 = 53;
/// The registered port of server-to-server streams.
const S2S_PORT: u16 = 5269;
/// The customary port of server-to-server streams inside TLS.
const DIRECT_TLS_PORT: u16 = 5270;
/// The customary port of components.
const COMPONENT_PORT: u16 = 5347;

const SECONDS: &str = "a whole number of seconds from 1 to 86400";
const PORTS: &str = "a list of port numbers, each from 0 (any free one) to 65535";
const INTERFACES: &str = "a list of IP addresses";
const PATH: &str = "a path";
const TABLES: &str = "a table for each NAME";
const PRIVATE: &str = "true, false or a list of networks such as \"10.0.0.0/8\"";

/// Reads and validates a configuration file.
pub(crate) fn load(path: &Path) -> Result<Settings, Vec<Error>> {
    let unreadable = |error: std::io::Error| vec![Error::of(path, Problem::Unreadable(error.kind()))];
    let text = fs::read_to_string(path).map_err(unreadable)?;
    let mut settings = parse(&text, path)?;
    if settings.dns_servers.is_empty() {
        settings.dns_servers = nameservers(&fs::read_to_string(RESOLV_CONF).unwrap_or_default());
    }
    if settings.dns_servers.is_empty() {
        // What the C library does too.
        settings.dns_servers = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, DNS_PORT))];
        settings.warnings.push(format!("{RESOLV_CONF} names no DNS server: asking 127.0.0.1"));
    }
    Ok(settings)
}

/// Validates the text of a configuration file. Reads no other files than those of secrets.
pub(crate) fn parse(text: &str, path: &Path) -> Result<Settings, Vec<Error>> {
    let document = DeTable::parse(text).map_err(|error| {
        let line = error.span().map(|span| Reader::new(path, text).line(&span));
        vec![Error { file: path.to_owned(), line, problem: Problem::Syntax(error.message().to_owned()) }]
    })?;
    let mut reader = Reader::new(path, text);
    let top = reader.section(document.get_ref(), Place::Top);
    let settings = settings(&mut reader, &top, path);
    let mut problems = reader.problems;
    problems.sort_by_key(|problem| problem.line);
    // A contradiction of the global lists shows once for each host that has them.
    problems.dedup_by_key(|problem| problem.to_string());
    if problems.is_empty() { Ok(settings) } else { Err(problems) }
}

fn settings<'t>(reader: &mut Reader<'t>, top: &Section<'t>, path: &Path) -> Settings {
    refuse_what_is_not_built(reader, top);
    let global = Shared::read(reader, top);
    global.check(reader);
    let mut idle = Idle::default();
    let hosts = hosts(reader, top, path, &global, &mut idle);
    let warnings = idle.warnings().map(|(line, text)| format!("{}:{line}: {text}", path.display())).collect();
    let direct = ports(reader, top, "s2s_direct_tls_ports", &[]);
    let s2s = ports(reader, top, "s2s_ports", &[S2S_PORT]);
    let ipv4 = switch(reader, top, "use_ipv4").unwrap_or(true);
    let ipv6 = switch(reader, top, "use_ipv6").unwrap_or(true);
    let mut everywhere = vec![IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
    everywhere.retain(|address| if address.is_ipv4() { ipv4 } else { ipv6 });
    let interfaces = interfaces(reader, top, "s2s_interfaces", &everywhere);
    let component = ports(reader, top, "component_ports", &[COMPONENT_PORT]);
    let component_interfaces =
        self::interfaces(reader, top, "component_interfaces", &[IpAddr::V4(Ipv4Addr::LOCALHOST)]);
    Settings {
        file: path.to_owned(),
        hosts,
        listen: Listen {
            s2s: addresses(&interfaces, &s2s),
            direct: addresses(&interfaces, &direct),
            component: addresses(&component_interfaces, &component),
        },
        routes: routes(reader, top),
        private_addresses: private_addresses(reader, top),
        ipv4,
        ipv6,
        stanza_bytes: stanza_bytes(reader, top),
        negotiation_timeout: seconds(reader, top, "s2s_timeout", limits::NEGOTIATION),
        attempt_timeout: seconds(reader, top, "s2s_attempt_timeout", limits::ATTEMPT),
        close_timeout: seconds(reader, top, "s2s_close_timeout", limits::CLOSE),
        idle_timeout: seconds(reader, top, "s2s_idle_timeout", limits::IDLE),
        roots: roots(reader, top, path),
        certificates: certificates(reader, top, path),
        dialback_secret: dialback_secret(reader, top, path),
        dns_servers: dns_servers(reader, top),
        log_format: log_format(reader, top),
        warnings,
    }
}

/// Values that the configuration knows and this version has no function for.
fn refuse_what_is_not_built<'t>(reader: &mut Reader<'t>, top: &Section<'t>) {
    let nodes = reader.value(top, "nodes", "a whole number, at least 1", |value| integer(value).filter(|n| *n >= 1));
    if let Some(nodes) = nodes.filter(|nodes| nodes.value > 1) {
        reader.problem(nodes.line, Problem::NotInThisVersion(format!("nodes = {}", nodes.value)));
    }
    let runtime = reader.value(top, "runtime", "\"smol\" or \"threads\"", |value| {
        value.as_str().filter(|name| ["smol", "threads"].contains(name))
    });
    if let Some(runtime) = runtime.filter(|runtime| runtime.value == "threads") {
        reader.problem(runtime.line, Problem::NotInThisVersion("runtime = \"threads\"".to_owned()));
    }
}

fn hosts<'t>(
    reader: &mut Reader<'t>,
    top: &Section<'t>,
    path: &Path,
    global: &Shared,
    idle: &mut Idle,
) -> BTreeMap<Domain, Host> {
    let tables = reader.tables(top, "host", TABLES);
    if tables.is_empty() && reader.problems.is_empty() {
        reader.problems.push(Error::of(path, Problem::NoHosts));
    }
    let mut hosts = BTreeMap::new();
    for (name, line, table) in tables {
        let section = reader.section(table, Place::Host);
        let shared = Shared::read(reader, &section).over(global);
        shared.check(reader);
        idle.host(&shared);
        let options = shared.options(switch(reader, &section, "anonymous").unwrap_or_default());
        let host = Host {
            line,
            options,
            tls_min_version: shared.tls_min_version(),
            certificate: certificate(reader, &section, path),
            component_secret: component_secret(reader, &section, path),
        };
        match Domain::parse(name) {
            Err(error) => reader.problem(line, Problem::Name { name: name.to_owned(), error }),
            Ok(domain) if !domain.is_qualified() => reader.problem(line, Problem::UnqualifiedHost(name.to_owned())),
            Ok(domain) => {
                if hosts.insert(domain, host).is_some() {
                    reader.problem(line, Problem::Twice(name.to_owned()));
                }
            }
        }
    }
    hosts
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

fn component_secret<'t>(reader: &mut Reader<'t>, section: &Section<'t>, file: &Path) -> Option<ComponentSecret> {
    let secret = secret(reader, section, file, "component_secret", "component_secret_file")?;
    if secret.value.is_empty() {
        reader.problem(secret.line, Problem::SecretEmpty("component_secret"));
    }
    Some(ComponentSecret::new(secret.value))
}

fn dialback_secret<'t>(reader: &mut Reader<'t>, section: &Section<'t>, file: &Path) -> Option<Secret> {
    let secret = secret(reader, section, file, "dialback_secret", "dialback_secret_file")?;
    match Secret::new(secret.value.as_bytes()) {
        Ok(secret) => Some(secret),
        Err(_) => {
            reader.problem(secret.line, Problem::SecretTooShort);
            None
        }
    }
}

/// A secret that stands in the configuration, or in a file of its own without the final line break.
fn secret<'t>(
    reader: &mut Reader<'t>,
    section: &Section<'t>,
    file: &Path,
    key: &'static str,
    file_key: &'static str,
) -> Option<Located<String>> {
    let inline = reader.value(section, key, "a text", DeValue::as_str);
    let separate = reader.value(section, file_key, PATH, DeValue::as_str);
    match (inline, separate) {
        (None, None) => None,
        (Some(_), Some(separate)) => {
            reader.problem(separate.line, Problem::Both(key, file_key));
            None
        }
        (Some(inline), None) => Some(Located { value: inline.value.to_owned(), line: inline.line }),
        (None, Some(separate)) => {
            let path = resolve(file, separate.value);
            match fs::read_to_string(&path) {
                Ok(text) => {
                    let value = text.trim_end_matches(['\r', '\n']).to_owned();
                    Some(Located { value, line: separate.line })
                }
                Err(error) => {
                    reader.problem(separate.line, Problem::File { key: file_key, path, error: error.kind() });
                    None
                }
            }
        }
    }
}

fn routes<'t>(reader: &mut Reader<'t>, top: &Section<'t>) -> BTreeMap<Domain, StaticRoute> {
    let mut routes = BTreeMap::new();
    for (name, line, table) in reader.tables(top, "route", TABLES) {
        let section = reader.section(table, Place::Route);
        let security = reader.value(&section, "tls", "\"starttls\" or \"direct\"", |value| match value.as_str()? {
            "starttls" => Some(Security::StartTls),
            "direct" => Some(Security::DirectTls),
            _ => None,
        });
        let security = security.map_or(Security::StartTls, |security| security.value);
        let port = if security == Security::DirectTls { DIRECT_TLS_PORT } else { S2S_PORT };
        let addr = reader.value(&section, "address", "\"IP:PORT\", or \"IP\" for the usual port", |value| {
            socket_address(value.as_str()?, port).filter(|addr| addr.port() != 0)
        });
        if name.starts_with("*.") {
            reader.problem(line, Problem::NotInThisVersion(format!("[route.\"{}\"]", name.escape_debug())));
            continue;
        }
        match (Domain::parse(name), addr) {
            (Err(error), _) => reader.problem(line, Problem::Name { name: name.to_owned(), error }),
            (Ok(_), None) if !table.contains_key("address") => {
                reader.problem(line, Problem::RouteWithoutAddress(name.to_owned()));
            }
            (Ok(_), None) => {}
            (Ok(domain), Some(addr)) => {
                if routes.insert(domain, StaticRoute { addr: addr.value, security }).is_some() {
                    reader.problem(line, Problem::Twice(name.to_owned()));
                }
            }
        }
    }
    routes
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

fn ports<'t>(reader: &mut Reader<'t>, top: &Section<'t>, key: &'static str, default: &[u16]) -> Vec<u16> {
    let ports = reader.list(top, key, PORTS, |value| integer(value).and_then(|n| u16::try_from(n).ok()));
    ports.map_or_else(|| default.to_vec(), |ports| ports.into_iter().map(|port| port.value).collect())
}

fn interfaces<'t>(reader: &mut Reader<'t>, top: &Section<'t>, key: &'static str, default: &[IpAddr]) -> Vec<IpAddr> {
    let addresses = reader.list(top, key, INTERFACES, |value| value.as_str()?.parse().ok());
    addresses.map_or_else(|| default.to_vec(), |all| all.into_iter().map(|address| address.value).collect())
}

fn addresses(interfaces: &[IpAddr], ports: &[u16]) -> Vec<SocketAddr> {
    ports.iter().flat_map(|port| interfaces.iter().map(|address| SocketAddr::from((*address, *port)))).collect()
}

fn roots<'t>(reader: &mut Reader<'t>, top: &Section<'t>, file: &Path) -> Roots {
    let cafile = path(reader, top, "cafile", file);
    let cadirectory = path(reader, top, "cadirectory", file);
    let replaced = cafile.is_some() || cadirectory.is_some();
    let system = switch(reader, top, "system_roots").unwrap_or(!replaced);
    Roots { file: cafile, directory: cadirectory, system }
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
