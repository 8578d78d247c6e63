//! Sockets are given back, and running out of them is survived. Unix only: limits are set by the shell.
#![cfg(unix)]

use std::env;
use std::fs::File;
use std::io::{Read, Write};
use std::process::Command;

use crate::puppet::{Manner, Order, Stage, Told};

const ALONE: &str = "S2S_SMOL_TEST_ALONE";

/// Runs one test in a process of its own that may have so many descriptors. True there, false here, after it passed.
fn is_alone(test: &str, descriptors: u32) -> bool {
    if env::var_os(ALONE).is_some() {
        return true;
    }
    let output = Command::new("sh")
        .args(["-c", &format!("ulimit -n {descriptors} && exec \"$0\" --exact descriptors::{test}")])
        .arg(env::current_exe().unwrap())
        .env(ALONE, "1")
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}{}", String::from_utf8_lossy(&output.stderr));
    assert!(report.contains("1 passed"), "{report}");
    false
}

#[test]
fn five_hundred_connections_give_their_descriptors_back() {
    // Enough for one wave of pairs, not for two.
    if !is_alone("five_hundred_connections_give_their_descriptors_back", 1100) {
        return;
    }
    let stage = Stage::new(Manner::Tell);
    for wave in 0..3 {
        let mut pairs: Vec<_> = (0..500).map(|_| stage.accepted()).collect();
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
    }
    assert_eq!(stage.leave().ghosts, 0);
}

#[test]
fn who_comes_while_descriptors_have_run_out_is_accepted_when_there_are_some_again() {
    if !is_alone("who_comes_while_descriptors_have_run_out_is_accepted_when_there_are_some_again", 64) {
        return;
    }
    let stage = Stage::new(Manner::Tell);
    let (mut first, conn) = stage.accepted();
    let mut ballast: Vec<_> = (0..64).map_while(|_| File::open("/dev/null").ok()).collect();
    assert!(ballast.len() < 64);
    ballast.pop();
    let second = stage.client();
    // The driver goes on with those that it has.
    for _ in 0..100 {
        first.write_all(b"1").unwrap();
        assert_eq!(stage.told(), Told::Bytes(conn, b"1".to_vec()));
    }
    stage.order(Order::Drop(conn));
    let Told::Accepted(_, peer, _) = stage.told() else { panic!("nobody was accepted") };
    assert_eq!(peer, second.local_addr().unwrap());
}
