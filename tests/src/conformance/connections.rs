//! How connections begin and end.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc;

use s2s_core::machine::Listener;
use socket2::SockRef;

use super::puppet::{Manner, Order, Stage, Told, closed_port, until};
use crate::adapter::Adapter;

/// More than the buffers of two sockets hold.
const MUCH: usize = 64 << 20;

pub(super) fn a_refused_dial_says_so(adapter: Adapter) {
    let stage = Stage::new(adapter, Manner::Tell);
    let (_reserved, nobody) = closed_port();
    stage.order(Order::Dial(nobody));
    let Told::Dialling(conn) = stage.told() else { panic!("no dial") };
    assert_eq!(stage.told(), Told::Closed(conn, ErrorKind::ConnectionRefused));
}

pub(super) fn a_dialled_connection_carries_bytes_both_ways(adapter: Adapter) {
    let stage = Stage::new(adapter, Manner::Tell);
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

pub(super) fn a_dial_begins_at_the_address_that_is_asked_for(adapter: Adapter) {
    let stage = Stage::new(adapter, Manner::Tell);
    let peer = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = peer.local_addr().unwrap();
    let mut open = Vec::new();
    for from in [IpAddr::from([127, 0, 0, 9]), IpAddr::from([127, 0, 0, 8])] {
        stage.order(Order::DialFrom(from, addr));
        let Told::Dialling(conn) = stage.told() else { panic!("no dial") };
        assert_eq!(stage.told(), Told::Connected(conn));
        let (socket, caller) = peer.accept().unwrap();
        assert_eq!(caller.ip(), from);
        open.push(socket);
    }
    // An address that is not of this machine, as after it was taken away: the dial fails, and nothing else does.
    stage.order(Order::DialFrom([192, 0, 2, 1].into(), addr));
    let Told::Dialling(conn) = stage.told() else { panic!("no dial") };
    assert_eq!(stage.told(), Told::Closed(conn, ErrorKind::AddrNotAvailable));
    assert_eq!(stage.leave().ghosts, 0);
}

pub(super) fn a_dial_that_is_dropped_is_never_heard_of_again(adapter: Adapter) {
    let stage = Stage::new(adapter, Manner::Tell);
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

pub(super) fn a_refused_peer_is_closed_at_once(adapter: Adapter) {
    let stage = Stage::new(adapter, Manner::Refuse);
    let mut client = stage.client();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    assert_eq!(stage.gauge.refused.load(SeqCst), 1);
}

pub(super) fn a_peer_that_ends_its_half_still_hears_ours(adapter: Adapter) {
    let stage = Stage::new(adapter, Manner::Tell);
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

pub(super) fn our_half_ends_after_what_is_pending_and_theirs_goes_on(adapter: Adapter) {
    let stage = Stage::new(adapter, Manner::Tell);
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

pub(super) fn a_drop_abandons_what_is_pending(adapter: Adapter) {
    let stage = Stage::new(adapter, Manner::Tell);
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

pub(super) fn a_connection_that_breaks_while_we_write_is_closed_after_its_last_words(adapter: Adapter) {
    let stage = Stage::new(adapter, Manner::Tell);
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

pub(super) fn a_peer_on_ipv6_is_accepted(adapter: Adapter) {
    let stage = Stage::on(adapter, "[::1]:0".parse().unwrap(), Manner::Tell);
    let client = stage.client();
    let Told::Accepted(_, peer, Listener::DirectTls) = stage.told() else { panic!("nobody was accepted") };
    assert_eq!(peer, client.local_addr().unwrap());
}

/// What the two sides of a connection have done before the peer resets it.
#[derive(Clone, Copy, Debug)]
enum Point {
    Start,
    Heard,
    HalfClosed,
    WhileWeWrite,
    AfterOurHalf,
}

fn reset(client: TcpStream) {
    SockRef::from(&client).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(client);
}

pub(super) fn a_reset_at_any_point_is_told_once_and_others_go_on(adapter: Adapter) {
    let stage = Stage::new(adapter, Manner::Tell);
    let (mut other, other_conn) = stage.accepted();
    for point in [Point::Start, Point::Heard, Point::HalfClosed, Point::WhileWeWrite, Point::AfterOurHalf] {
        let (mut client, conn) = stage.accepted();
        match point {
            Point::Start => {}
            Point::Heard => {
                client.write_all(b"hello").unwrap();
                assert_eq!(stage.told(), Told::Bytes(conn, b"hello".to_vec()));
            }
            Point::HalfClosed => {
                client.shutdown(Shutdown::Write).unwrap();
                assert_eq!(stage.told(), Told::Eof(conn));
                // Nothing is read any more: it is writing that meets the reset.
                stage.order(Order::Write(conn, vec![b'x'; MUCH]));
            }
            Point::WhileWeWrite => {
                stage.order(Order::Write(conn, vec![b'x'; MUCH]));
                client.read_exact(&mut [0; 1000]).unwrap();
            }
            Point::AfterOurHalf => {
                stage.order(Order::CloseWrite(conn));
                assert_eq!(client.read(&mut [0]).unwrap(), 0);
            }
        }
        reset(client);
        let told = stage.told();
        let Told::Closed(closed, kind) = told else { panic!("{point:?}: {told:?}") };
        assert_eq!(closed, conn);
        assert!(matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{point:?}: {kind:?}");
        other.write_all(b"1").unwrap();
        assert_eq!(stage.told(), Told::Bytes(other_conn, b"1".to_vec()));
    }
    assert_eq!(stage.leave().ghosts, 0);
}
