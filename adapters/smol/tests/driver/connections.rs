//! How connections begin and end.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc;

use s2s_core::machine::Listener;

use crate::puppet::{Manner, Order, Stage, Told, closed_port, until};

/// More than the buffers of two sockets hold.
const MUCH: usize = 64 << 20;

#[test]
fn a_refused_dial_says_so() {
    let stage = Stage::new(Manner::Tell);
    let (_reserved, nobody) = closed_port();
    stage.order(Order::Dial(nobody));
    let Told::Dialling(conn) = stage.told() else { panic!("no dial") };
    assert_eq!(stage.told(), Told::Closed(conn, ErrorKind::ConnectionRefused));
}

#[test]
fn a_dialled_connection_carries_bytes_both_ways() {
    let stage = Stage::new(Manner::Tell);
    let peer = TcpListener::bind("127.0.0.1:0").unwrap();
    stage.order(Order::Dial(peer.local_addr().unwrap()));
    let Told::Dialling(conn) = stage.told() else { panic!("no dial") };
    assert_eq!(stage.told(), Told::Connected(conn));
    let (mut socket, _) = peer.accept().unwrap();
    stage.order(Order::Write(conn, b"ping".to_vec()));
    let mut heard = [0; 4];
    socket.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"ping");
    socket.write_all(b"pong").unwrap();
    assert_eq!(stage.told(), Told::Bytes(conn, b"pong".to_vec()));
}

#[test]
fn a_dial_that_is_dropped_is_never_heard_of_again() {
    let stage = Stage::new(Manner::Tell);
    let peer = TcpListener::bind("127.0.0.1:0").unwrap();
    for _ in 0..20 {
        stage.order(Order::Dial(peer.local_addr().unwrap()));
        let conn = loop {
            // The one before may have been faster than its end.
            match stage.told() {
                Told::Dialling(conn) => break conn,
                Told::Connected(_) => {}
                other => panic!("{other:?}"),
            }
        };
        stage.order(Order::Drop(conn));
    }
    assert_eq!(stage.leave().ghosts, 0);
}

#[test]
fn a_refused_peer_is_closed_at_once() {
    let stage = Stage::new(Manner::Refuse);
    let mut client = stage.client();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    assert_eq!(stage.gauge.refused.load(SeqCst), 1);
}

#[test]
fn a_peer_that_ends_its_half_still_hears_ours() {
    let stage = Stage::new(Manner::Tell);
    let (mut client, conn) = stage.accepted();
    client.write_all(b"last").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(stage.told(), Told::Bytes(conn, b"last".to_vec()));
    assert_eq!(stage.told(), Told::Eof(conn));
    stage.order(Order::Write(conn, vec![b'x'; 1 << 20]));
    stage.order(Order::CloseWrite(conn));
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).unwrap();
    assert_eq!(heard.len(), 1 << 20);
}

#[test]
fn our_half_ends_after_what_is_pending_and_theirs_goes_on() {
    let stage = Stage::new(Manner::Tell);
    let (mut client, conn) = stage.accepted();
    stage.order(Order::Write(conn, vec![b'x'; MUCH]));
    stage.order(Order::CloseWrite(conn));
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).unwrap();
    assert_eq!(heard.len(), MUCH);
    client.write_all(b"and you?").unwrap();
    assert_eq!(stage.told(), Told::Bytes(conn, b"and you?".to_vec()));
    drop(client);
    assert_eq!(stage.told(), Told::Eof(conn));
}

#[test]
fn a_drop_abandons_what_is_pending() {
    let stage = Stage::new(Manner::Tell);
    let (mut client, conn) = stage.accepted();
    stage.order(Order::Write(conn, vec![b'x'; MUCH]));
    until("the first write", || stage.gauge.sent.load(SeqCst) > 0);
    stage.order(Order::Drop(conn));
    let mut heard = Vec::new();
    let end = client.read_to_end(&mut heard);
    assert!(end.is_ok() || end.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
    assert!(heard.len() < MUCH, "everything came");
    assert_eq!(stage.leave().ghosts, 0);
}

#[test]
fn a_connection_that_breaks_while_we_write_is_closed_after_its_last_words() {
    let stage = Stage::new(Manner::Tell);
    let (mut client, conn) = stage.accepted();
    stage.order(Order::Write(conn, b"unread".to_vec()));
    until("the write", || stage.gauge.sent.load(SeqCst) == 6);
    // The driver finds the last words, the reset and something to write all at once.
    let (hold, held) = mpsc::channel();
    stage.order(Order::Hold(held));
    stage.order(Order::Write(conn, b"more".to_vec()));
    client.write_all(b"enough").unwrap();
    // What it has not read turns its end into a reset.
    drop(client);
    drop(hold);
    assert_eq!(stage.told(), Told::Bytes(conn, b"enough".to_vec()));
    let end = loop {
        let told = stage.told();
        if told != Told::Eof(conn) {
            break told;
        }
    };
    let Told::Closed(closed, kind) = end else { panic!("{end:?}") };
    assert_eq!(closed, conn);
    assert!(matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{kind:?}");
    assert_eq!(stage.leave().ghosts, 0);
}

#[test]
fn both_wildcards_can_be_listened_on() {
    // Some other program may have the IPv4 port, but not every time.
    let both = (0..50).find_map(|_| {
        let v6 = s2s_smol::bind("[::]:0".parse().unwrap()).unwrap();
        let v4 = SocketAddr::from(([0, 0, 0, 0], v6.local_addr().unwrap().port()));
        Some((s2s_smol::bind(v4).ok()?, v6))
    });
    assert!(both.is_some(), "the IPv6 wildcard takes the IPv4 port");
}

#[test]
fn a_peer_on_ipv6_is_accepted() {
    let stage = Stage::on("[::1]:0".parse().unwrap(), Manner::Tell);
    let client = stage.client();
    let Told::Accepted(_, peer, Listener::DirectTls) = stage.told() else { panic!("nobody was accepted") };
    assert_eq!(peer, client.local_addr().unwrap());
}
