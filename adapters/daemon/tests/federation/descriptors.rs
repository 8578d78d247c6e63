//! Descriptors run out: what is there goes on, what waits comes later, and nothing is lost.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use s2s_tests::sockets::ReservedPort;

use crate::world::{Authority, Component, PATIENCE, SECRET, Serving, configuration};

/// How many the server may have.
const DESCRIPTORS: usize = 64;

const HEADER: &str = "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' \
                      from='new.example' to='left.example' version='1.0'>";

fn message(from: &str, to: &str, text: &str) -> String {
    format!("<message from='x@{from}' to='y@{to}'><body>{text}</body></message>")
}

/// Connects to `addr` more often than the server has descriptors, and waits until none is left: `reserved` of them are not
/// open yet.
fn exhaust(server: &Serving, addr: SocketAddr, reserved: usize) -> Vec<TcpStream> {
    let deadline = Instant::now() + PATIENCE;
    let crowd = (0..2 * DESCRIPTORS).map(|_| TcpStream::connect(addr).expect("the backlog has room")).collect();
    while server.descriptors(DESCRIPTORS) < DESCRIPTORS - reserved {
        assert!(Instant::now() < deadline, "it has {} descriptors", server.descriptors(DESCRIPTORS));
        thread::yield_now();
    }
    crowd
}

#[test]
fn a_server_without_descriptors_serves_whom_it_has_and_then_accepts_again_and_loses_nothing() {
    run_out_of_descriptors("smol", 0);
    // A thread that waits in accept() has a descriptor reserved, which is not open before somebody comes: here the one
    // that waits for components.
    run_out_of_descriptors("threads", 1);
}

fn run_out_of_descriptors(runtime: &str, reserved: usize) {
    let home = tempfile::tempdir().expect("a directory");
    let authority = Authority::new();
    let (left, right) = (home.path().join("left"), home.path().join("right"));
    let (left_port, right_port) = (ReservedPort::new(), ReservedPort::new());
    authority.issue("left.example", &left.join("certs/l.crt"), &left.join("certs/l.key"));
    authority.issue("right.example", &right.join("certs/r.crt"), &right.join("certs/r.key"));
    authority.issue("late.example", &right.join("certs/late.crt"), &right.join("certs/late.key"));
    let at = |port: &ReservedPort| format!("address = \"127.0.0.1:{port}\"");
    let late = format!("[route.\"late.example\"]\n{}", at(&right_port));
    let serve = |port: &ReservedPort| format!("s2s_ports = [{port}]");
    let left_text = format!("runtime = \"{runtime}\"")
        + &configuration("left.example", &serve(&left_port), "right.example", &at(&right_port))
        + &late;
    let right_text = configuration("right.example", &serve(&right_port), "left.example", &at(&left_port))
        + "[host.\"late.example\"]\ncomponent_secret_file = \"secret\"\n";
    for (directory, text) in [(&left, left_text), (&right, right_text)] {
        fs::write(directory.join("s2sd.toml"), text).expect("writable");
        fs::write(directory.join("ca.pem"), authority.0.pem()).expect("writable");
        fs::write(directory.join("secret"), SECRET).expect("writable");
        fs::write(directory.join("dialback"), "sixteen bytes, at least\n").expect("writable");
    }
    let (left, right) = (Serving::start_with_descriptors(&left, DESCRIPTORS), Serving::start(&right));
    let mut romeo = Component::attach(left.component, "left.example");
    let mut juliet = Component::attach(right.component, "right.example");
    let mut latecomer = Component::attach(right.component, "late.example");
    romeo.send(&message("left.example", "right.example", "before"));
    juliet.wait("before");
    juliet.send(&message("right.example", "left.example", "before"));
    romeo.wait("before");

    let left_addr = SocketAddr::from(([127, 0, 0, 1], left_port.number()));
    let crowd = exhaust(&left, left_addr, reserved);
    // This one needs a connection, for which there is no descriptor.
    romeo.send(&message("left.example", "late.example", "at last"));
    for n in 0..20 {
        let text = format!("meanwhile {n};");
        romeo.send(&message("left.example", "right.example", &text));
        juliet.wait(&text);
        juliet.send(&message("right.example", "left.example", &text));
        romeo.wait(&text);
    }
    // Nor is there one for this one, which waits in the backlog.
    let mut newcomer = TcpStream::connect(left_addr).expect("the backlog has room");
    newcomer.write_all(HEADER.as_bytes()).expect("writable");
    newcomer.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    assert!(newcomer.read(&mut [0; 16]).is_err(), "answered without a descriptor");

    drop(crowd);
    newcomer.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    assert!(newcomer.read(&mut [0; 16]).expect("answered") > 0);
    latecomer.wait("at last");
    drop((romeo, juliet, latecomer, newcomer));
    let log = left.end();
    assert!(!log.iter().any(|line| line["event"] == "undeliverable"), "{log:#?}");
    right.end();
}
