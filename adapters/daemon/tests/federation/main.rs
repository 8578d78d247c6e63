//! Processes that federate with nothing but what stands in their files, and go on when those change.

mod authorities;
#[cfg(target_os = "linux")]
mod descriptors;
mod metrics;
mod pair;
mod reload;
mod shutdown;
mod world;

use std::fs;

use s2s_tests::sockets::ReservedPort;
use world::{Authority, Component, SECRET, Serving, configuration};

#[test]
fn two_processes_federate_with_what_stands_in_their_files() {
    let home = tempfile::tempdir().expect("a directory");
    let authority = Authority::new();
    let (left, right) = (home.path().join("left"), home.path().join("right"));
    let (starttls, direct) = (ReservedPort::new(), ReservedPort::new());
    authority.issue("left.example", &left.join("certs/any.crt"), &left.join("certs/any.key"));
    let nested = right.join("certs/any");
    authority.issue("right.example", &nested.join("fullchain.pem"), &nested.join("privkey.pem"));
    for (directory, text) in [
        (
            &left,
            configuration(
                "left.example",
                &format!("s2s_ports = [{starttls}]"),
                "right.example",
                &format!("address = \"127.0.0.1:{direct}\"\ntls = \"direct\""),
            ),
        ),
        (
            &right,
            configuration(
                "right.example",
                &format!("s2s_ports = []\ns2s_direct_tls_ports = [{direct}]"),
                "left.example",
                &format!("address = \"127.0.0.1:{starttls}\""),
            ),
        ),
    ] {
        fs::write(directory.join("s2sd.toml"), text).expect("writable");
        fs::write(directory.join("ca.pem"), authority.0.pem()).expect("writable");
        fs::write(directory.join("secret"), format!("{SECRET}\n")).expect("writable");
        fs::write(directory.join("dialback"), "sixteen bytes, at least\n").expect("writable");
    }
    let (left, right) = (Serving::start(&left), Serving::start(&right));
    let mut romeo = Component::attach(left.component, "left.example");
    let mut juliet = Component::attach(right.component, "right.example");
    romeo.send("<message from='romeo@left.example' to='juliet@right.example'><body>Art thou there?</body></message>");
    juliet.wait("Art thou there?</body>");
    juliet.send("<message from='juliet@right.example' to='romeo@left.example'><body>Ay.</body></message>");
    romeo.wait("Ay.</body>");
    drop((romeo, juliet));

    for (server, outbound) in [(left, "right.example"), (right, "left.example")] {
        let log = server.end();
        let up: Vec<_> = log.iter().filter(|line| line["event"] == "peer-up").collect();
        assert_eq!(up.len(), 2, "{log:#?}");
        for line in up {
            assert_eq!((&line["method"], &line["remote"]), (&"external".into(), &outbound.into()), "{log:#?}");
            assert!(line["tls"].as_str().is_some_and(|tls| tls.starts_with("TLSv1.3 ")), "{log:#?}");
            assert!(line["certificate"].as_str().is_some_and(|digits| digits.len() == 64), "{log:#?}");
        }
    }
}
