//! The sockets that are listened on, and the addresses that are dialled from.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};

use s2s_core::machine::Listener;
use s2s_sockets::{bind_shared, is_out_of_resources, stream_socket};
use smol::Async;

use crate::config::{self, Position, Problem, Settings};
use crate::failure::Failure;

/// By which keys one kind of listeners is given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys {
    ports: &'static str,
    interfaces: &'static str,
}

/// Those of streams that begin in clear.
pub(crate) const S2S: Keys = Keys { ports: "s2s_ports", interfaces: "s2s_interfaces" };
/// Those of streams inside TLS.
pub(crate) const DIRECT: Keys = Keys { ports: "s2s_direct_tls_ports", interfaces: "s2s_interfaces" };
/// Those of components.
pub(crate) const COMPONENT: Keys = Keys { ports: "component_ports", interfaces: "component_interfaces" };
/// That of metrics.
const METRICS: Keys = Keys { ports: "metrics_listen", interfaces: "metrics_listen" };

/// Listens on all of `addresses`, once for each of `count` nodes. Only `::` may fail, and only on a host without IPv6.
pub(crate) fn bind(
    settings: &Settings,
    keys: Keys,
    addresses: &[SocketAddr],
    count: usize,
) -> Result<Vec<Vec<TcpListener>>, Failure> {
    let mut of_nodes: Vec<_> = (0..count).map(|_| Vec::new()).collect();
    for addr in addresses {
        let bound = match count {
            1 => s2s_sockets::bind(*addr).map(|listener| vec![listener]),
            _ => bind_shared(*addr, count),
        };
        match bound {
            Ok(listeners) => {
                for (of_node, listener) in of_nodes.iter_mut().zip(listeners) {
                    of_node.push(listener);
                }
            }
            Err(_) if addr.ip() == Ipv6Addr::UNSPECIFIED && !has_ipv6() => {
                tracing::warn!(event = "no-ipv6", addr = tracing::field::display(addr), "this host has no IPv6");
            }
            Err(error) if is_out_of_resources(&error) => {
                return Err(Failure::Runtime(format!("cannot listen on {addr}"), error));
            }
            Err(error) => return Err(unbound(settings, keys, *addr, error)),
        }
    }
    Ok(of_nodes)
}

/// Listens at `metrics_listen`.
pub(crate) fn metrics(settings: &Settings) -> Result<Option<Async<TcpListener>>, Failure> {
    let Some(addr) = settings.metrics_listen else { return Ok(None) };
    Async::<TcpListener>::bind(addr).map(Some).map_err(|error| unbound(settings, METRICS, addr, error))
}

/// The failure to listen, with the key to change: that of the port if the port is taken or forbidden, else that of the
/// interface.
fn unbound(settings: &Settings, keys: Keys, addr: SocketAddr, error: io::Error) -> Failure {
    let key = match error.kind() {
        io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => keys.ports,
        _ => keys.interfaces,
    };
    Failure::Listener(Box::new(settings.error(key, Problem::Unbound { key, addr, error })))
}

/// Each must be an address of this machine: a connection that cannot begin would look as if the peer were at fault.
pub(crate) fn check_outgoing(addresses: &[(IpAddr, Position)]) -> Result<(), Vec<config::Error>> {
    let refused = addresses.iter().filter_map(|(address, position)| {
        let error = stream_socket(SocketAddr::new(*address, 0), Some(*address)).err()?;
        Some(config::Error::at(position, Problem::Outgoing { address: *address, error: error.kind() }))
    });
    let refused: Vec<_> = refused.collect();
    if refused.is_empty() { Ok(()) } else { Err(refused) }
}

fn has_ipv6() -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

/// Where they listen.
pub(crate) fn addresses(listeners: &[TcpListener]) -> Result<Vec<SocketAddr>, Failure> {
    let addresses: io::Result<_> = listeners.iter().map(TcpListener::local_addr).collect();
    addresses.map_err(Failure::runtime("a listener has no address"))
}

/// Each with its kind.
pub(crate) fn on(kind: Listener, listeners: Vec<TcpListener>) -> impl Iterator<Item = (Listener, TcpListener)> {
    listeners.into_iter().map(move |listener| (kind, listener))
}
