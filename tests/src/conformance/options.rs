//! What the sockets of a running driver are like: their options are read back from the system.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use s2s_sockets::{BACKLOG, KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, USER_TIMEOUT};
use socket2::{SockRef, Type};

use super::puppet::{DEADLINE, Manner, Order, Stage, Told};
use crate::adapter::Adapter;

/// The TCP socket of this process whose own address and other end are these.
fn socket(own: SocketAddr, peer: Option<SocketAddr>) -> OwnedFd {
    let process = pidfd_open(getpid(), PidfdFlags::empty()).expect("a process may look at itself");
    let numbers = fs::read_dir("/proc/self/fd").expect("Linux").map(|entry| entry.expect("an entry").file_name());
    let mut sockets = numbers.filter_map(|number| {
        let number = number.to_str()?.parse().ok()?;
        // What is no socket has no addresses, and others may come and go meanwhile.
        pidfd_getfd(&process, number, PidfdGetfdFlags::empty()).ok()
    });
    let found = sockets.find(|socket| {
        let socket = SockRef::from(socket);
        let addr = |addr: std::io::Result<socket2::SockAddr>| addr.ok().and_then(|addr| addr.as_socket());
        socket.r#type().is_ok_and(|kind| kind == Type::STREAM)
            && addr(socket.local_addr()) == Some(own)
            && addr(socket.peer_addr()) == peer
    });
    found.expect("a socket of the driver (pidfd_getfd must be allowed)")
}

fn assert_tuned(socket: &OwnedFd) {
    let socket = SockRef::from(socket);
    assert!(socket.tcp_nodelay().unwrap(), "small writes wait");
    assert_eq!(socket.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
    assert_eq!(USER_TIMEOUT, Duration::from_secs(60));
    assert!(socket.keepalive().unwrap(), "nobody notices that the peer's system is gone");
    assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
    assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEPALIVE_INTERVAL);
}

pub(super) fn every_socket_has_the_options_that_all_have(adapter: Adapter) {
    for ip in ["127.0.0.1", "[::1]"] {
        let any: SocketAddr = format!("{ip}:0").parse().unwrap();
        let stage = Stage::on(adapter, any, Manner::Tell);
        let (client, _) = stage.accepted();
        assert_tuned(&socket(stage.addr, client.local_addr().ok()));

        let peer = TcpListener::bind(any).unwrap();
        stage.order(Order::Dial(peer.local_addr().unwrap()));
        let Told::Dialling(conn) = stage.told() else { panic!("no dial") };
        assert_eq!(stage.told(), Told::Connected(conn));
        let (_, near) = peer.accept().unwrap();
        assert_tuned(&socket(near, peer.local_addr().ok()));

        let listener = socket(stage.addr, None);
        let listener = SockRef::from(&listener);
        assert!(listener.is_listener().unwrap() && listener.reuse_address().unwrap());
        assert!(stage.addr.is_ipv4() || listener.only_v6().unwrap(), "the other wildcard cannot be listened on");
    }
}

pub(super) fn what_comes_is_acknowledged_at_once_while_the_machine_negotiates(adapter: Adapter) {
    let stage = Stage::new(adapter, Manner::Tell);
    let (mut client, conn) = stage.accepted();
    let accepted = socket(stage.addr, client.local_addr().ok());
    let at_once_after = |client: &mut TcpStream, negotiating| {
        stage.order(Order::Negotiate(negotiating));
        client.write_all(b"?").unwrap();
        assert_eq!(stage.told(), Told::Bytes(conn, b"?".to_vec()));
        let at_once = SockRef::from(&accepted).tcp_quickack().unwrap();
        stage.order(Order::Write(conn, b"!".to_vec()));
        client.read_exact(&mut [0]).unwrap();
        at_once
    };
    // The system learns that each question has an answer for its acknowledgement to travel with.
    let learnt = (0..100).any(|_| !at_once_after(&mut client, false));
    assert!(learnt, "the system always acknowledges at once");
    for _ in 0..10 {
        assert!(at_once_after(&mut client, true), "the acknowledgement waits for an answer");
    }
    assert!((0..100).any(|_| !at_once_after(&mut client, false)), "it goes on when nobody negotiates any more");
}

pub(super) fn as_many_as_the_backlog_says_may_wait_for_a_busy_driver(adapter: Adapter) {
    let stage = Stage::new(adapter, Manner::Tell);
    let (hold, held) = mpsc::channel();
    stage.order(Order::Hold(held));
    let most = fs::read_to_string("/proc/sys/net/core/somaxconn").expect("Linux");
    let most: usize = most.trim().parse().expect("a number");
    let waiting = most.min(usize::try_from(BACKLOG).expect("positive"));
    let connect = |_| TcpStream::connect_timeout(&stage.addr, DEADLINE).expect("there is room");
    let clients: Vec<_> = (0..waiting).map(connect).collect();
    drop(hold);
    for _ in &clients {
        assert!(matches!(stage.told(), Told::Accepted(..)));
    }
    drop(clients);
}
