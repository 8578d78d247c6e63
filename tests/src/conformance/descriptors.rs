//! Sockets are given back, and running out of them is survived. The suite gives each of these a process of its own
//! that may have so many descriptors.

use std::fs::File;
use std::io::{Read, Write};

use socket2::{Domain, Socket, Type};

use super::puppet::{Manner, Order, Stage, Told, until};
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

fn open_descriptors() -> usize {
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
