//! Where to listen: ports and interfaces, and that no two listeners are in each other's way.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use s2s_core::addr::Domain;

use crate::config::document::{Located, Position, Reader, Section, integer};
use crate::config::error::{Problem, few};
use crate::config::{Host, Listen};

/// The registered port of server-to-server streams.
//= RFC6120-14.7-1
pub(super) const S2S_PORT: u16 = 5269;
/// The customary port of server-to-server streams inside TLS.
pub(super) const DIRECT_TLS_PORT: u16 = 5270;
/// The customary port of components.
const COMPONENT_PORT: u16 = 5347;

const PORTS: &str = "a list of port numbers, each from 0 (any free one) to 65535";
const INTERFACES: &str = "a list of IP addresses";

/// One entry of a list: where it stands, and what it says.
#[derive(Clone, Copy)]
struct Entry<T> {
    key: &'static str,
    /// Its place in the list.
    at: usize,
    /// `None`: it is the default.
    line: Option<usize>,
    value: T,
}

/// A listener, by the entries that it comes from.
#[derive(Clone, Copy)]
struct Listener {
    interface: Entry<IpAddr>,
    port: Entry<u16>,
}

/// Reads where to listen; `ipv4` and `ipv6` say what everywhere means.
pub(super) fn read<'t>(reader: &mut Reader<'t>, top: &Section<'t>, ipv4: bool, ipv6: bool) -> Listen {
    let mut everywhere = vec![IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
    everywhere.retain(|address| if address.is_ipv4() { ipv4 } else { ipv6 });
    let interfaces = interfaces(reader, top, "s2s_interfaces", &everywhere);
    let component_interfaces =
        self::interfaces(reader, top, "component_interfaces", &[IpAddr::V4(Ipv4Addr::LOCALHOST)]);
    let s2s = listeners(&interfaces, &ports(reader, top, "s2s_ports", &[S2S_PORT]));
    let direct = listeners(&interfaces, &ports(reader, top, "s2s_direct_tls_ports", &[]));
    let component = listeners(&component_interfaces, &ports(reader, top, "component_ports", &[COMPONENT_PORT]));
    check(reader, &[s2s.as_slice(), &direct, &component].concat());
    let addresses = |listeners: Vec<Listener>| listeners.iter().map(Listener::address).collect();
    Listen { s2s: addresses(s2s), direct: addresses(direct), component: addresses(component) }
}

/// Whom nobody will reach, because nothing listens, and where that is said.
pub(super) fn warnings<'t>(
    reader: &Reader<'t>,
    top: &Section<'t>,
    listen: &Listen,
    hosts: &BTreeMap<Domain, Host>,
) -> Vec<(Position, String)> {
    let named = |wanted: fn(&Host) -> bool| {
        let hosts = hosts.iter().filter(|(_, host)| wanted(host));
        few(hosts.map(|(name, _)| name), ", ")
    };
    let mut warnings = Vec::new();
    let mut warn = |who: &str, hosts: &str, interfaces: &'static str, ports: &'static str, usual: u16| {
        let (key, remedy) = if top.is_empty_list(interfaces) {
            (interfaces, "an address of this machine".to_owned())
        } else {
            (ports, format!("a port, usually {usual}"))
        };
        let position = reader.position(top.line_of(reader, key).unwrap_or(1));
        warnings.push((
            position,
            format!("with this nothing listens for {who} of {hosts}: '{key}' is empty; give {remedy}"),
        ));
    };
    let federating = named(|host| !host.options.s2s_disabled);
    if listen.s2s.is_empty() && listen.direct.is_empty() && !federating.is_empty() {
        warn("peers", &federating, "s2s_interfaces", "s2s_ports", S2S_PORT);
    }
    let with_component = named(|host| host.component_secret.is_some());
    if listen.component.is_empty() && !with_component.is_empty() {
        warn("the component", &with_component, "component_interfaces", "component_ports", COMPONENT_PORT);
    }
    warnings
}

impl Listener {
    fn address(&self) -> SocketAddr {
        SocketAddr::new(self.interface.value, self.port.value)
    }

    /// Whether the system lets only one of them have its port. An IPv6 wildcard takes no IPv4.
    fn excludes(&self, other: &Self) -> bool {
        let (one, another) = (self.interface.value, other.interface.value);
        let meets = one == another
            || (one.is_ipv4() == another.is_ipv4() && (one.is_unspecified() || another.is_unspecified()));
        self.port.value != 0 && self.port.value == other.port.value && meets
    }

    /// The key that is to be changed, and its line: that of the interface if one port is to be listened on twice.
    fn blame(&self, earlier: &Self) -> (&'static str, Option<usize>) {
        if (self.port.key, self.port.at) == (earlier.port.key, earlier.port.at) {
            return (self.interface.key, self.interface.line);
        }
        // A default is not at fault.
        match self.port.line {
            Some(_) => (self.port.key, self.port.line),
            None => (earlier.port.key, earlier.port.line),
        }
    }
}

/// Refuses what could not be bound.
fn check(reader: &mut Reader<'_>, listeners: &[Listener]) {
    for (at, later) in listeners.iter().enumerate() {
        if let Some(earlier) = listeners.iter().take(at).find(|earlier| later.excludes(earlier)) {
            let (key, line) = later.blame(earlier);
            let problem = Problem::Listeners { key, addr: later.address(), other: earlier.address() };
            return reader.problem(line.unwrap_or(1), problem);
        }
    }
}

fn listeners(interfaces: &[Entry<IpAddr>], ports: &[Entry<u16>]) -> Vec<Listener> {
    let all = ports.iter().flat_map(|port| interfaces.iter().map(|interface| (*interface, *port)));
    all.map(|(interface, port)| Listener { interface, port }).collect()
}

fn ports<'t>(reader: &mut Reader<'t>, top: &Section<'t>, key: &'static str, default: &[u16]) -> Vec<Entry<u16>> {
    let ports = reader.list(top, key, PORTS, |value| integer(value).and_then(|n| u16::try_from(n).ok()));
    entries(key, ports, default)
}

fn interfaces<'t>(
    reader: &mut Reader<'t>,
    top: &Section<'t>,
    key: &'static str,
    default: &[IpAddr],
) -> Vec<Entry<IpAddr>> {
    let addresses = reader.list(top, key, INTERFACES, |value| value.as_str()?.parse().ok());
    entries(key, addresses, default)
}

fn entries<T: Copy>(key: &'static str, given: Option<Vec<Located<T>>>, default: &[T]) -> Vec<Entry<T>> {
    match given {
        Some(given) => {
            let given = given.into_iter().enumerate();
            given.map(|(at, entry)| Entry { key, at, line: Some(entry.line), value: entry.value }).collect()
        }
        None => default.iter().enumerate().map(|(at, value)| Entry { key, at, line: None, value: *value }).collect(),
    }
}
