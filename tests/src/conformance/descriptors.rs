//! Sockets are given back, and running out of them is survived. The suite gives each of these a process of its own
//! that may have so many descriptors.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::time::Instant;

use s2s_core::machine::Transport;
use s2s_sockets::ACCEPT_RETRY;
use socket2::{Domain, Socket, Type};

use super::puppet::{DEADLINE, Manner, Order, Stage, Told, until};
use crate::adapter::Adapter;

/// Enough for one wave of a thousand pairs, not for two.
pub(super) const FOR_A_THOUSAND: u32 = 2300;

/// Few enough to be used up.
pub(super) const FEW: u32 = 64;

pub(super) fn a_thousand_connections_give_their_descriptors_back(adapter: Adapter) {
    let stage = Stage::new(adapter, Manner::Tell);
    for wave in 0..3 {
        let mut pairs: Vec<_> = (0..1000).map(|_| stage.accepted()).collect();
        for (client, conn) in &mut pairs {
            client.write_all(b"hello").unwrap();
            assert_eq!(stage.told(), Told::Bytes(*conn, b"hello".to_vec()));
        }
        for (_, conn) in &pairs {
            stage.order(Order::Drop(*conn));
        }
        for (client, _) in &mut pairs {
            assert_eq!(client.read(&mut [0]).unwrap(), 0, "wave {wave}");
        }
        drop(pairs);
        until("the descriptors", || open_descriptors() < 100);
    }
    assert_eq!(stage.leave().ghosts, 0);
}

pub(super) fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

pub(super) fn who_comes_while_descriptors_have_run_out_is_accepted_when_there_are_some_again(adapter: Adapter) {
    let stage = Stage::new(adapter, Manner::Tell);
    let (mut first, conn) = stage.accepted();
    let others = [0, 1].map(|_| Socket::new(Domain::IPV4, Type::STREAM, None).unwrap());
    let ballast: Vec<_> = (0..FEW).map_while(|_| File::open("/dev/null").ok()).collect();
    assert!(ballast.len() < FEW as usize);
    others.iter().for_each(|client| client.connect(&stage.addr.into()).unwrap());
    // The driver goes on with those that it has.
    let mut accepted = Vec::new();
    for _ in 0..100 {
        first.write_all(b"1").unwrap();
        loop {
            match stage.told() {
                Told::Bytes(..) => break,
                Told::Accepted(_, peer, _) => accepted.push(peer),
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(accepted.len() < 2, "only a thread that waited already has a descriptor for one");
    stage.order(Order::Drop(conn));
    drop(first);
    while accepted.len() < 2 {
        let Told::Accepted(_, peer, _) = stage.told() else { panic!("nobody was accepted") };
        accepted.push(peer);
    }
    accepted.sort_unstable();
    let mut peers = others.map(|client| client.local_addr().unwrap().as_socket().unwrap());
    peers.sort_unstable();
    assert_eq!(accepted, peers);
}

pub(super) fn a_dial_and_queries_without_a_descriptor_are_made_when_there_is_one(adapter: Adapter) {
    let stage = Stage::new(adapter, Manner::Tell);
    let peer = TcpListener::bind("127.0.0.1:0").unwrap();
    let (udp, tcp) = (UdpSocket::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    udp.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut ballast = Vec::new();
    // What the driver opens only while it starts it gives back: once more when it runs.
    for _ in 0..2 {
        ballast.extend((0..FEW).map_while(|_| File::open("/dev/null").ok()));
        stage.order(Order::Alarm(Instant::now()));
        let told = stage.told();
        assert!(matches!(told, Told::Alarm { .. }), "it runs: {told:?}");
    }
    assert!(ballast.len() < FEW as usize);
    stage.order(Order::Dial(peer.local_addr().unwrap()));
    let Told::Dialling(conn) = stage.told() else { panic!("it dials") };
    let queries =
        [(udp.local_addr(), Transport::Udp), (tcp.local_addr(), Transport::Tcp)].map(|(server, transport)| {
            stage.order(Order::Ask(server.unwrap(), transport, b"who?".to_vec()));
            match stage.told() {
                Told::Asked(query) => query,
                told => panic!("it asks, and nothing else happens: {told:?}"),
            }
        });
    // One that nobody wants any more when there are descriptors again.
    stage.order(Order::Ask(udp.local_addr().unwrap(), Transport::Udp, b"never mind".to_vec()));
    let forgotten = match stage.told() {
        Told::Asked(query) => query,
        told => panic!("it asks, and nothing else happens: {told:?}"),
    };
    stage.order(Order::Forget(forgotten));
    stage.order(Order::Alarm(Instant::now() + 3 * ACCEPT_RETRY));
    let told = stage.told();
    assert!(matches!(told, Told::Alarm { .. }), "nothing has failed meanwhile: {told:?}");

    drop(ballast);
    let mut question = [0; 64];
    let (length, asker) = udp.recv_from(&mut question).unwrap();
    assert_eq!(&question[..length], b"who?");
    udp.send_to(b"I", asker).unwrap();
    let (mut asker, _) = tcp.accept().unwrap();
    asker.read_exact(&mut question[..6]).unwrap();
    assert_eq!(&question[..6], b"\0\x04who?");
    asker.write_all(b"\0\x01I").unwrap();
    let _open = peer.accept().unwrap();
    let mut told: Vec<_> = (0..3).map(|_| stage.told()).collect();
    for awaited in [
        Told::Connected(conn),
        Told::Reply(queries[0], Some(b"I".to_vec())),
        Told::Reply(queries[1], Some(b"I".to_vec())),
    ] {
        let at = told.iter().position(|told| *told == awaited);
        told.remove(at.unwrap_or_else(|| panic!("{awaited:?} is not among {told:?}")));
    }
}
