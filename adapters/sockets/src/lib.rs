//! The sockets of the adapters: how they are made and which options they have, whoever waits for them.
//!
//! No protocol and no waiting stands here, so that both adapters share it: what a peer sees of a socket is the same
//! whichever adapter moves its bytes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, SystemTime};

use s2s_core::dns::SourceAddresses;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

/// Bytes of one read, and of the largest datagram that is taken.
pub const READ_BYTES: usize = 16_384;

/// Commands that wait for the machine of a driver. `Handle::send` waits while there are as many.
pub const COMMANDS: usize = 1024;

/// Events that wait for the application of a driver, besides one that waits for room. Further ones stay in the machine,
/// where peers take turns: here what one of them floods delays the others.
pub const EVENTS: usize = 64;

/// When to accept again after it failed: most likely descriptors ran out.
pub const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Connections that wait to be accepted, for each listener. The system may allow fewer (`net.core.somaxconn`).
pub const BACKLOG: i32 = 1024;

/// How long what was written may stay unacknowledged, and a probe unanswered, before the connection is broken
/// ([RFC 5482](https://www.rfc-editor.org/rfc/rfc5482)).
pub const USER_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a connection may be silent before the peer's system is asked whether it is still there.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);

/// How long to wait before asking again.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// Whether no socket could be made, or no thread for it, because descriptors or threads have run out, of this process or
/// of the system: no fault of the other end.
#[must_use]
pub fn is_out_of_resources(error: &io::Error) -> bool {
    // `ENFILE` and `EMFILE`, which have the same numbers on all systems that have them; who has no thread left says `EAGAIN`.
    let is_descriptors = |number| matches!(number, 23 | 24);
    error.kind() == io::ErrorKind::WouldBlock || cfg!(unix) && error.raw_os_error().is_some_and(is_descriptors)
}

/// Listens on an address. With port 0, ask the listener for its port.
///
/// A port that was just closed is taken over, and an IPv6 address serves IPv6 only, so that both wildcards can be
/// listened on.
pub fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    listen(addr, false)
}

/// Listens on one address as often as asked: the system gives each new connection to one of the listeners.
///
/// Fails if another process listens there, like [`bind`].
pub fn bind_shared(addr: SocketAddr, count: usize) -> io::Result<Vec<TcpListener>> {
    // Sharing is allowed to every process of this user. The first one asks for the port alone.
    let addr = bind(addr)?.local_addr()?;
    (0..count).map(|_| listen(addr, true)).collect()
}

fn listen(addr: SocketAddr, is_shared: bool) -> io::Result<TcpListener> {
    let socket = stream_socket(addr, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(is_shared)?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Gives a connection the options that all have: no delay of small writes, and an end when the peer's system is gone.
pub fn tune<'s>(socket: impl Into<SockRef<'s>>) -> io::Result<()> {
    let socket = socket.into();
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL))
}

/// Acknowledges what was just read: at once, or as the system does, when there is something to send along.
pub fn acknowledge<'s>(socket: impl Into<SockRef<'s>>, at_once: bool) {
    if at_once {
        // It only makes things faster, and fails only where the connection has ended, which the next read tells.
        let _ = socket.into().set_tcp_quickack(true);
    }
}

/// A socket for a connection that is yet to be opened to `addr`, from an address of ours if one is given.
///
/// Fails if that is none of this machine's, or of another family.
pub fn stream_socket(addr: SocketAddr, from: Option<IpAddr>) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if let Some(from) = from {
        socket.bind(&SocketAddr::new(from, 0).into())?;
    }
    Ok(socket)
}

/// A connection that is being opened without waiting for it: when it is writable it is open, or has failed.
pub fn begin_to_connect(addr: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpStream> {
    /// `EINPROGRESS`: as it should be.
    const IN_PROGRESS: i32 = if cfg!(any(target_os = "linux", target_os = "android")) { 115 } else { 36 };
    let socket = stream_socket(addr, from)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&addr.into()) {
        Err(error) if error.raw_os_error() != Some(IN_PROGRESS) => Err(error),
        _ => Ok(socket.into()),
    }
}

/// A socket for a query to a DNS server, that takes datagrams from this server only. Its port is drawn by the system.
//= RFC5452-9.2-1
pub fn query_socket(server: SocketAddr) -> io::Result<Socket> {
    let unspecified: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = Socket::new(Domain::for_address(server), Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind(&unspecified.into())?;
    socket.connect(&server.into())?;
    Ok(socket)
}

/// From which addresses this system would send: what the core sorts the addresses of a host by.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemSources;

impl SourceAddresses for SystemSources {
    /// Nothing is sent and nobody waits: to connect a socket for datagrams is to look for the route. The port is any.
    fn source(&self, destination: IpAddr) -> Option<IpAddr> {
        let socket = query_socket(SocketAddr::new(destination, 9)).ok()?;
        Some(socket.local_addr().ok()?.as_socket()?.ip())
    }
}

/// A query as TCP carries it, in one piece, so that servers which read once see the whole
/// ([RFC 1035 section 4.2.2](https://www.rfc-editor.org/rfc/rfc1035#section-4.2.2)).
pub fn framed(message: &[u8]) -> io::Result<Vec<u8>> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    Ok([&length.to_be_bytes(), message].concat())
}

/// Wall-clock time since 1970. A clock before that counts as 1970.
#[must_use]
pub fn wall_clock() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::net::UdpSocket;

    fn loopback() -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 0).into()
    }

    #[test]
    fn descriptors_and_threads_that_have_run_out_are_no_fault_of_the_other_end() {
        let is_ours = |number| is_out_of_resources(&io::Error::from_raw_os_error(number));
        // `ENFILE`, `EMFILE`, and `EAGAIN` of Linux.
        for number in [23, 24, 11] {
            assert!(is_ours(number), "{number}");
        }
        for kind in
            [io::ErrorKind::ConnectionRefused, io::ErrorKind::AddrNotAvailable, io::ErrorKind::NetworkUnreachable]
        {
            assert!(!is_out_of_resources(&kind.into()), "{kind}");
        }
    }

    #[test]
    fn a_connection_has_the_options_of_all() {
        let listener = bind(loopback()).unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        tune(&socket).unwrap();
        let socket = SockRef::from(&socket);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEPALIVE_INTERVAL);
    }

    #[test]
    fn what_is_acknowledged_at_once_leaves_the_system_in_that_mode() {
        let listener = bind(loopback()).unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        SockRef::from(&socket).set_tcp_quickack(false).unwrap();
        acknowledge(&socket, false);
        assert!(!SockRef::from(&socket).tcp_quickack().unwrap());
        acknowledge(&socket, true);
        assert!(SockRef::from(&socket).tcp_quickack().unwrap());
    }

    #[test]
    fn a_port_is_listened_on_once_unless_it_is_shared() {
        let listener = bind(loopback()).unwrap();
        let addr = listener.local_addr().unwrap();
        assert_eq!(bind(addr).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(bind_shared(addr, 2).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let shared = bind_shared(loopback(), 3).unwrap();
        let addrs: Vec<_> = shared.iter().map(|listener| listener.local_addr().unwrap()).collect();
        assert_eq!(addrs, [addrs[0]; 3]);
        assert_eq!(bind_shared(addrs[0], 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_connection_begins_at_the_address_that_is_asked_for_and_at_none_of_another_family() {
        let listener = bind(loopback()).unwrap();
        let addr = listener.local_addr().unwrap();
        let from = Ipv4Addr::new(127, 0, 0, 9);
        let socket = stream_socket(addr, Some(from.into())).unwrap();
        socket.connect(&addr.into()).unwrap();
        assert_eq!(listener.accept().unwrap().1.ip(), from);
        assert!(stream_socket(addr, Some(Ipv6Addr::LOCALHOST.into())).is_err());
        let elsewhere = stream_socket(addr, Some(Ipv4Addr::new(192, 0, 2, 1).into())).unwrap_err();
        assert_eq!(elsewhere.kind(), io::ErrorKind::AddrNotAvailable);
    }

    #[test]
    fn both_wildcards_can_be_listened_on() {
        // Some other program may have the IPv4 port, but not every time.
        let both = (0..50).find_map(|_| {
            let v6 = bind("[::]:0".parse().unwrap()).unwrap();
            let v4 = SocketAddr::from(([0, 0, 0, 0], v6.local_addr().unwrap().port()));
            Some((bind(v4).ok()?, v6))
        });
        let (v4, v6) = both.expect("the IPv6 wildcard takes the IPv4 port");
        for (listener, host) in [(v4, "127.0.0.1"), (v6, "::1")] {
            let port = listener.local_addr().unwrap().port();
            let _client = TcpStream::connect((host, port)).unwrap();
            let (_, peer) = listener.accept().unwrap();
            assert_eq!(peer.ip().to_string(), host);
        }
    }

    #[test]
    //= RFC5452-9.2-1 test
    fn queries_that_are_under_way_at_once_come_from_ports_that_nobody_can_count_on() {
        let server = UdpSocket::bind(loopback()).unwrap();
        let sockets: Vec<_> = (0..64).map(|_| query_socket(server.local_addr().unwrap()).unwrap()).collect();
        let port = |socket: &Socket| socket.local_addr().unwrap().as_socket().unwrap().port();
        let ports: Vec<_> = sockets.iter().map(port).collect();
        assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), 64, "each has its own: {ports:?}");
        let steps: BTreeSet<_> = ports.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
        assert!(steps.len() > 32, "one tells nothing of the next: {ports:?}");
    }

    #[test]
    fn the_system_says_from_which_address_it_would_send_and_whether_it_has_a_route() {
        let here = IpAddr::from(Ipv4Addr::LOCALHOST);
        assert_eq!(SystemSources.source(here), Some(here));
        // Link-local, and nothing says on which link.
        assert_eq!(SystemSources.source("fe80::1".parse().unwrap()), None);
    }

    #[test]
    fn a_query_that_does_not_fit_its_frame_is_refused() {
        assert_eq!(framed(b"who?").unwrap(), b"\0\x04who?");
        assert!(framed(&vec![0; 65_535]).is_ok());
        assert_eq!(framed(&vec![0; 65_536]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
