//! DNS queries against servers made of threads.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;

use s2s_core::machine::{QueryId, Transport};

use super::puppet::{DEADLINE, Manner, Order, Stage, Told, closed_port, until};
use crate::adapter::Adapter;

fn ask(stage: &Stage, server: SocketAddr, transport: Transport, message: &[u8]) -> QueryId {
    stage.order(Order::Ask(server, transport, message.to_vec()));
    let Told::Asked(query) = stage.told() else { panic!("no query") };
    query
}

fn udp_server(addr: &str) -> UdpSocket {
    let server = UdpSocket::bind(addr).unwrap();
    server.set_read_timeout(Some(DEADLINE)).unwrap();
    server
}

/// Takes the connection of a query, and the query.
fn take(server: &TcpListener) -> (TcpStream, Vec<u8>) {
    let (mut socket, _) = server.accept().unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut length = [0; 2];
    socket.read_exact(&mut length).unwrap();
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    socket.read_exact(&mut message).unwrap();
    (socket, message)
}

pub(super) fn every_datagram_is_handed_over_until_the_query_is_forgotten(adapter: Adapter) {
    for addr in ["127.0.0.1:0", "[::1]:0"] {
        let stage = Stage::new(adapter, Manner::Tell);
        let server = udp_server(addr);
        let query = ask(&stage, server.local_addr().unwrap(), Transport::Udp, b"who?");
        let mut buffer = [0; 512];
        let (n, asker) = server.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..n], b"who?");
        for reply in [&b"forged"[..], b"", b"true"] {
            server.send_to(reply, asker).unwrap();
            assert_eq!(stage.told(), Told::Reply(query, Some(reply.to_vec())));
        }
        // A datagram from anyone else does not arrive: the next is that of the server.
        udp_server(addr).send_to(b"stranger", asker).unwrap();
        server.send_to(b"again", asker).unwrap();
        assert_eq!(stage.told(), Told::Reply(query, Some(b"again".to_vec())));
        stage.order(Order::Forget(query));
        let _ = server.send_to(b"late", asker);
        assert_eq!(stage.leave().ghosts, 0);
    }
}

pub(super) fn each_query_has_a_port_of_its_own(adapter: Adapter) {
    let stage = Stage::new(adapter, Manner::Tell);
    let server = udp_server("127.0.0.1:0");
    let mut askers = Vec::new();
    for _ in 0..3 {
        ask(&stage, server.local_addr().unwrap(), Transport::Udp, b"who?");
        askers.push(server.recv_from(&mut [0; 512]).unwrap().1);
    }
    askers.sort_unstable();
    askers.dedup();
    assert_eq!(askers.len(), 3);
}

pub(super) fn a_query_to_a_closed_port_fails(adapter: Adapter) {
    let stage = Stage::new(adapter, Manner::Tell);
    // Connected elsewhere, a socket keeps its port and takes nothing from us.
    let reserved = udp_server("127.0.0.1:0");
    let nobody = reserved.local_addr().unwrap();
    reserved.connect("127.0.0.1:9").unwrap();
    let query = ask(&stage, nobody, Transport::Udp, b"who?");
    assert_eq!(stage.told(), Told::Reply(query, None));
    let (_reserved, nobody) = closed_port();
    let query = ask(&stage, nobody, Transport::Tcp, b"who?");
    assert_eq!(stage.told(), Told::Reply(query, None));
    // Forgetting what failed already is a normal race.
    stage.order(Order::Forget(query));
    assert_eq!(stage.leave().ghosts, 0);
}

pub(super) fn tcp_replies_are_framed_by_their_length_however_they_are_cut(adapter: Adapter) {
    let stage = Stage::new(adapter, Manner::Tell);
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = server.local_addr().unwrap();
    let long = vec![b'l'; 65_535];
    let replies = long.clone();
    let thread = thread::spawn(move || {
        let (mut socket, message) = take(&server);
        socket.set_nodelay(true).unwrap();
        assert_eq!(message, b"who?");
        for byte in b"\0\x05first\0\0\0\x06second" {
            socket.write_all(&[*byte]).unwrap();
        }
        socket.write_all(&[&[0xff, 0xff], replies.as_slice()].concat()).unwrap();
        // Half of a reply is none.
        socket.write_all(b"\0\x05thi").unwrap();
    });
    let query = ask(&stage, addr, Transport::Tcp, b"who?");
    for reply in [&b"first"[..], b"", b"second", &long] {
        assert_eq!(stage.told(), Told::Reply(query, Some(reply.to_vec())));
    }
    assert_eq!(stage.told(), Told::Reply(query, None));
    thread.join().unwrap();
}

pub(super) fn a_forgotten_tcp_query_closes_its_connection(adapter: Adapter) {
    let stage = Stage::new(adapter, Manner::Tell);
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let query = ask(&stage, server.local_addr().unwrap(), Transport::Tcp, b"who?");
    let (mut socket, _) = take(&server);
    stage.order(Order::Forget(query));
    assert_eq!(socket.read(&mut [0]).unwrap(), 0);
    assert_eq!(stage.leave().ghosts, 0);
}

pub(super) fn a_query_too_long_for_its_frame_fails(adapter: Adapter) {
    let stage = Stage::new(adapter, Manner::Tell);
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let query = ask(&stage, server.local_addr().unwrap(), Transport::Tcp, &vec![0; 65_536]);
    assert_eq!(stage.told(), Told::Reply(query, None));
}

pub(super) fn a_dns_server_that_is_silent_keeps_nobody_else_waiting(adapter: Adapter) {
    let stage = Stage::new(adapter, Manner::Tell);
    let (udp, tcp) = (udp_server("127.0.0.1:0"), TcpListener::bind("127.0.0.1:0").unwrap());
    let by_udp = ask(&stage, udp.local_addr().unwrap(), Transport::Udp, b"who?");
    let by_tcp = ask(&stage, tcp.local_addr().unwrap(), Transport::Tcp, b"who?");
    let (_, asker) = udp.recv_from(&mut [0; 512]).unwrap();
    let (mut socket, _) = take(&tcp);
    let (mut client, conn) = stage.accepted();
    client.write_all(b"hello").unwrap();
    assert_eq!(stage.told(), Told::Bytes(conn, b"hello".to_vec()));
    // Both sockets are closed when the machine has waited enough.
    stage.order(Order::Forget(by_udp));
    stage.order(Order::Forget(by_tcp));
    assert_eq!(socket.read(&mut [0]).unwrap(), 0);
    udp.connect(asker).unwrap();
    until("the end of the socket", || {
        udp.send(b"late").is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    });
    assert_eq!(stage.leave().ghosts, 0);
}
