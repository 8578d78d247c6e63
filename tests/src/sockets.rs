//! Nodes over real sockets, each on a thread of its own.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread::JoinHandle;
use std::time::Instant;

use s2s_core::entropy::Seed;
use s2s_core::machine::Listener;
use s2s_core::node::{Command, Config, Event, Node};
use s2s_core::time::Anchor;
use socket2::{Domain, Socket, Type};

use crate::adapter::{Adapter, Handle};
use crate::certificates::NOW;

/// A node that serves, and the application's side of it.
#[derive(Debug)]
pub struct Side {
    /// What the application holds.
    pub handle: Handle<Command, Event>,
    thread: JoinHandle<Node>,
}

impl Side {
    /// Serves `config` on `listener`.
    #[must_use]
    pub fn start(adapter: Adapter, listener: TcpListener, config: Config, seed: u8) -> Self {
        let anchor = Anchor { instant: Instant::now(), unix: NOW };
        let node = Node::new(config, Seed([seed; 32]), anchor);
        let (handle, thread) = adapter.run(node, vec![(Listener::StartTls, listener)]);
        Self { handle, thread }
    }

    /// Waits until the node has finished.
    pub fn join(self) {
        drop(self.handle);
        self.thread.join().expect("it does not panic");
    }
}

/// A listener on the loopback address, and where it is.
#[must_use]
pub fn listen() -> (TcpListener, SocketAddr) {
    let listener = s2s_sockets::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    let addr = listener.local_addr().expect("it is bound");
    (listener, addr)
}

/// A port of all IPv4 addresses that a server is to listen on later, when others know its number already.
///
/// It is bound without listening. So the system gives it to nobody who asks for any port, nor to a connection; and a server
/// that asks for this one gets it, if it takes over ports that were just closed, as [`s2s_sockets::bind`] does.
#[derive(Debug)]
pub struct ReservedPort {
    number: u16,
    _socket: Socket,
}

impl ReservedPort {
    /// Reserves a free one.
    #[must_use]
    pub fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_reuse_address(true).expect("an option");
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into()).expect("a free port");
        let addr = socket.local_addr().expect("it is bound").as_socket().expect("an Internet address");
        Self { number: addr.port(), _socket: socket }
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }
}

impl Default for ReservedPort {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Display for ReservedPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.number.fmt(f)
    }
}

/// Bytes of memory that this process has, and its descriptors. Linux only; elsewhere zero.
#[must_use]
pub fn footprint() -> (u64, usize) {
    /// Bytes of a page on every machine that this is run on.
    const PAGE: u64 = 4096;
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let resident = pages.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or_default();
    let descriptors = std::fs::read_dir("/proc/self/fd").map(Iterator::count).unwrap_or_default();
    (resident * PAGE, descriptors)
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn a_reserved_port_goes_to_who_asks_for_it_and_to_nobody_else() {
        let port = ReservedPort::new();
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port.number()));
        assert!(TcpStream::connect(addr).is_err(), "nobody listens yet");
        let server = s2s_sockets::bind(addr).expect("the server gets it");
        // Again, as after the end of a server whose connections are still being forgotten.
        let client = TcpStream::connect(addr).expect("it listens");
        let (accepted, _) = server.accept().expect("a client");
        drop((accepted, server, client));
        drop(s2s_sockets::bind(addr).expect("the server gets it"));
        // Nor does it go to who takes over nothing, as the system does when it looks for a port that is free.
        let other = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let free = SocketAddr::from(([127, 0, 0, 78], port.number()));
        assert_eq!(other.bind(&free.into()).expect_err("it is reserved").kind(), ErrorKind::AddrInUse);
        drop(port);
        other.bind(&free.into()).expect("it is free again");
    }
}
