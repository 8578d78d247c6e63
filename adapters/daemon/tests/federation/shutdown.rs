//! What waits when a server is told to end.

use std::fs;
use std::net::TcpListener;

use crate::pair::Federation;
use crate::world::{Authority, CLOSE_TIMEOUT, Component, SECRET, Serving, configuration};

/// In place of [`CLOSE_TIMEOUT`], where half of it has to be enough for a slow machine.
fn with_patience(text: &str, seconds: u64) -> String {
    let given = format!("s2s_close_timeout = {CLOSE_TIMEOUT}\n");
    assert!(text.contains(&given));
    text.replace(&given, &format!("s2s_close_timeout = {seconds}\n"))
}

/// More than the events of the hub that wait on their way to a node.
const LETTERS: usize = 100;

/// Bytes of one message of many that fill what the system holds for a connection.
const HEAVY: usize = 65_536;

#[test]
fn a_component_gets_back_what_waits_before_it_is_told_to_go() {
    for runtime in ["", "nodes = 2", "runtime = \"threads\""] {
        let home = tempfile::tempdir().expect("a directory");
        let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let route = format!("address = \"{}\"", silent.local_addr().expect("bound"));
        let text = with_patience(&configuration("left.example", "s2s_ports = [0]", "right.example", &route), 20);
        Authority::new().issue("left.example", &home.path().join("certs/l.crt"), &home.path().join("certs/l.key"));
        for (name, text) in [
            ("s2sd.toml", format!("{runtime}\n{text}")),
            ("ca.pem", Authority::new().0.pem()),
            ("secret", SECRET.to_owned()),
            ("dialback", "sixteen bytes, at least".to_owned()),
        ] {
            fs::write(home.path().join(name), text).expect("writable");
        }
        let server = Serving::start(home.path());
        let mut romeo = Component::attach(server.component, "left.example");
        for letter in 0..LETTERS {
            let ids = format!("from='romeo@left.example' to='juliet@right.example' id='letter{letter}'");
            romeo.send(&format!("<message {ids}><body>Ay?</body></message>"));
        }
        let dialled = silent.accept().expect("they are on their way");
        // What comes back to the component itself was read behind all of them.
        romeo.send("<message from='romeo@left.example' to='romeo@left.example' id='mark'/>");
        romeo.wait("id='mark'");
        server.begin_to_end();
        for letter in 0..LETTERS {
            romeo.wait(&format!("id='letter{letter}'"));
        }
        romeo.wait("type='error'");
        assert!(!romeo.has_read("</stream:stream>"), "{runtime}: told to go before");
        drop((dialled, silent));
        romeo.wait("</stream:stream>");
        drop(romeo);
        server.ended();
    }
}

#[test]
fn streams_that_do_not_close_in_time_are_counted_in_the_log() {
    for runtime in ["", "nodes = 2\n", "runtime = \"threads\"\n"] {
        let mut world = Federation::start(|_, _, text| *text = format!("{runtime}{}", with_patience(text, 3)));
        world.talk();
        world.right.freeze();
        // What the other side does not read fills up the systems of both, then the queue, and then comes back.
        let message = format!(
            "<message from='romeo@left.example' to='juliet@right.example'><body>{}</body></message>",
            "x".repeat(HEAVY)
        );
        let mut round = 0;
        while !world.romeo.has_read("resource-constraint") {
            assert!(round < LETTERS, "{runtime}: whatever is sent is taken");
            for _ in 0..16 {
                world.romeo.send(&message);
            }
            let mark = format!("id='mark{round}'");
            world.romeo.send(&format!("<message from='romeo@left.example' to='romeo@left.example' {mark}/>"));
            world.romeo.wait(&mark);
            round += 1;
        }
        // It is no stream that is to be counted.
        drop(world.romeo);
        let log = world.left.end();
        let told: Vec<_> = log.iter().filter(|line| line["event"] == "shutdown" && line["level"] == "warn").collect();
        assert!(told.len() == 1 && told[0]["streams"] == 1, "{runtime}: {told:#?} in {log:#?}");
    }
}
