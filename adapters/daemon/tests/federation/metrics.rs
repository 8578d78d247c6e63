//! Figures, as a monitor fetches them.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use s2s_tests::sockets::ReservedPort;

use crate::world::{Authority, Component, PATIENCE, SECRET, Serving, configuration};

/// Domains that nobody serves: enough of them to have some at each node.
const GONE: usize = 8;

fn fetch(port: u16, path: &str) -> String {
    let mut socket = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).expect("it listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).expect("writable");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("answered and closed");
    answer
}

/// What a server of that runtime and so many nodes tells when nobody of whom it wants to reach is there.
fn figures(runtime: &str, nodes: usize) {
    let home = tempfile::tempdir().expect("a directory");
    let authority = Authority::new();
    let directory = home.path().join("server");
    authority.issue("left.example", &directory.join("certs/l.crt"), &directory.join("certs/l.key"));
    let (metrics, nobody) = (ReservedPort::new(), ReservedPort::new());
    let address = |number: usize| format!("address = \"127.0.0.{}:{nobody}\"", number + 1);
    let mut text = format!("metrics_listen = \"127.0.0.1:{metrics}\"\nruntime = \"{runtime}\"\nnodes = {nodes}\n")
        + &configuration("left.example", "s2s_ports = [0]", "gone0.example", &address(0));
    for number in 1..GONE {
        text.push_str(&format!("\n[route.\"gone{number}.example\"]\n{}\n", address(number)));
    }
    fs::write(directory.join("s2sd.toml"), text).expect("writable");
    fs::write(directory.join("ca.pem"), authority.0.pem()).expect("writable");
    fs::write(directory.join("secret"), SECRET).expect("writable");
    fs::write(directory.join("dialback"), "sixteen bytes, at least\n").expect("writable");
    let server = Serving::start(&directory);
    let mut component = Component::attach(server.component, "left.example");
    for number in 0..GONE {
        let to = format!("y@gone{number}.example");
        component
            .send(&format!("<message from='x@left.example' to='{to}' id='letter{number}'><body>b</body></message>"));
    }
    for number in 0..GONE {
        component.wait(&format!("letter{number}"));
    }

    let expected = [
        "s2sd_stanzas_outbound_total 8",
        "s2sd_stanzas_accepted_total 8",
        "s2sd_stanzas_written_total 0",
        "s2sd_stanzas_undeliverable_total{reason=\"connect-refused\"} 8",
        "s2sd_refused_total{direction=\"out\",reason=\"connect-refused\"} 8",
        "s2sd_connections_dialled_total 8",
        "s2sd_connections_outbound 0",
        "s2sd_queued_bytes 0",
        "s2sd_components 1",
    ];
    let is_told = |answer: &str, line: &str| answer.lines().any(|told| told == line);
    // A node that does not answer in a second is told as it was before. Nothing changes any more.
    let deadline = Instant::now() + PATIENCE;
    let mut answer = fetch(metrics.number(), "/metrics");
    while !expected.iter().all(|line| is_told(&answer, line)) && Instant::now() < deadline {
        answer = fetch(metrics.number(), "/metrics");
    }
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text; version=1.0.0";
    assert!(answer.starts_with(head), "{answer}");
    assert!(answer.ends_with("# EOF\n"), "{answer}");
    for line in expected {
        assert!(is_told(&answer, line), "{runtime}, {nodes} nodes: {line} is missing: {answer}");
    }
    assert!(fetch(metrics.number(), "/").starts_with("HTTP/1.1 404 "));
    assert!(!answer.contains("gone"), "names of peers are no figures");

    let log = server.end();
    let returned: Vec<_> = log.iter().filter(|line| line["event"] == "undeliverable").collect();
    assert_eq!(returned.len(), GONE, "{log:#?}");
    // Only where there are several the log tells which.
    let told = if nodes == 1 { 0..=0 } else { 1..=nodes as u64 };
    for line in returned {
        assert!(told.contains(&line["node"].as_u64().unwrap_or_default()), "{runtime}, {nodes} nodes: {line}");
    }
}

#[test]
fn what_happened_and_what_there_is_can_be_fetched_from_every_runtime_and_sums_all_nodes() {
    for runtime in ["smol", "threads"] {
        for nodes in [1, 3] {
            figures(runtime, nodes);
        }
    }
}
