//! Two servers that federate, until the files of one of them change.

use std::fs;

use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber, date_time_ymd};

use crate::pair::Federation;
use crate::world::{Authority, Component};

#[test]
fn a_pair_that_policy_now_forbids_is_closed_and_the_option_behind_it_is_told() {
    let mut world = Federation::start(|_, _, _| {});
    world.talk();
    world.answer();
    world.edit("[host.", "s2s_deny_domains = [\"*.example\"]\n[host.");
    world.left.reload();
    world.left.wait(&[("event", "reload"), ("trigger", "signal"), ("outcome", "done")]);
    for direction in ["in", "out"] {
        let refused = [("event", "refused"), ("direction", direction), ("reason", "domain-denied")];
        let line = world.left.wait(&refused);
        assert_eq!((&line["decided_by"], &line["detail"]), (&"s2s_deny_domains".into(), &"reload".into()), "{line}");
        world.left.wait(&[("event", "peer-down"), ("direction", direction), ("reason", "reload")]);
        // They say so to the peer.
        world.right.wait(&[("event", "peer-down"), ("reason", "peer-stream-error")]);
    }
    world.fail("not-allowed");
    let line = world.left.wait(&[("event", "undeliverable"), ("reason", "domain-denied")]);
    assert_eq!(line["decided_by"], "s2s_deny_domains", "{line}");

    world.edit("s2s_deny_domains = [\"*.example\"]\n", "");
    world.left.wait(&[("event", "reload"), ("trigger", "files"), ("outcome", "done")]);
    world.talk();
}

#[test]
fn the_streams_and_the_component_of_a_host_that_was_removed_are_closed_with_host_gone() {
    let mut world = Federation::start(|home, authority, text| {
        let certs = home.join("left/certs");
        authority.issue("spare.example", &certs.join("spare.crt"), &certs.join("spare.key"));
        text.push_str("[host.\"spare.example\"]\ncomponent_secret_file = \"secret\"\n");
    });
    world.talk();
    world.edit("[host.\"left.example\"]\ncomponent_secret_file = \"secret\"\n", "");
    world.left.reload();
    world.left.wait(&[("event", "reload"), ("outcome", "done")]);
    world.romeo.wait("<host-gone");
    world.left.wait(&[("event", "component-down"), ("local", "left.example")]);
    world.right.wait(&[("event", "refused"), ("reason", "peer-stream-error"), ("detail", "host-gone")]);
    // The other host is there as it was.
    Component::attach(world.left.component, "spare.example");
}

#[test]
fn a_renewed_certificate_is_used_without_a_signal() {
    let mut world = Federation::start(|home, _, _| {
        let stranger = Authority::new();
        stranger.issue("left.example", &home.join("left/certs/left.crt"), &home.join("left/certs/left.key"));
    });
    world.fail("remote-server-timeout");
    let line = world.right.wait(&[("event", "refused"), ("reason", "cert-unknown-issuer")]);
    assert_eq!(line["decided_by"], "s2s_secure_auth", "{line}");

    world.authority.issue("left.example", &world.file("left/certs/left.crt"), &world.file("left/certs/left.key"));
    world.left.wait(&[("event", "reload"), ("trigger", "files"), ("outcome", "done")]);
    world.talk();
}

#[test]
fn a_file_that_cannot_be_used_changes_nothing_and_why_is_told() {
    let mut world = Federation::start(|_, _, _| {});
    world.edit("s2s_secure_auth = true", "s2s_secure_ath = true");
    world.left.reload();
    let refused = [("event", "reload"), ("outcome", "refused"), ("level", "error")];
    let line = world.left.wait(&[&refused[..], &[("trigger", "signal")]].concat());
    let reason = line["reason"].as_str().expect("a reason");
    assert!(reason.contains("s2sd.toml:2: unknown key 's2s_secure_ath'; did you mean 's2s_secure_auth'?"), "{reason}");
    world.talk();
    world.edit("s2s_secure_ath = true", "s2s_secure_auth = true");
    world.left.wait(&[("event", "reload"), ("outcome", "done")]);

    // Half of a new key, none at all, authorities that are none.
    let key = fs::read(world.file("left/certs/left.key")).expect("readable");
    for (file, bytes, expected) in [
        ("left/certs/left.key", &key[..key.len() / 2], "left.key: "),
        ("left/certs/left.key", &b""[..], "demands encryption and has no certificate"),
        ("left/ca.pem", b"-----BEGIN", "ca.pem: there is no certificate in it"),
    ] {
        let good = fs::read(world.file(file)).expect("readable");
        fs::write(world.file(file), bytes).expect("writable");
        let line = world.left.wait(&refused);
        let reason = line["reason"].as_str().expect("a reason");
        assert!(reason.contains(expected), "{file}: {reason}");
        world.talk();
        fs::write(world.file(file), good).expect("writable");
        world.left.wait(&[("event", "reload"), ("outcome", "done")]);
    }
    world.talk();
}

#[test]
fn a_file_that_is_named_before_it_is_there_is_waited_for() {
    let mut world = Federation::start(|_, _, _| {});
    let refused = [("event", "reload"), ("outcome", "refused"), ("level", "error")];
    let named = "s2s_deny_domains_file = \"deny\"\ncafile = \"new.pem\"";
    world.edit("cafile = \"ca.pem\"", named);
    for (missing, text) in [("left/deny", "elsewhere.example\n".to_owned()), ("left/new.pem", world.authority.0.pem())]
    {
        let line = world.left.wait(&refused);
        let name = missing.rsplit('/').next().expect("a name");
        assert!(line["reason"].as_str().expect("a reason").contains(name), "{line}");
        fs::write(world.file(missing), text).expect("writable");
    }
    world.left.wait(&[("event", "reload"), ("trigger", "files"), ("outcome", "done")]);
    world.talk();
}

#[test]
fn a_peer_whose_certificate_was_revoked_is_closed_when_the_list_says_so() {
    let list = |authority: &Authority, serial: Option<SerialNumber>| {
        let revoked = serial.map(|serial_number| RevokedCertParams {
            serial_number,
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2100, 1, 1),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.into_iter().collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&authority.0).expect("a list").pem().expect("text")
    };
    let mut serial = None;
    let mut world = Federation::start(|home, authority, text| {
        serial = Some(authority.issue(
            "right.example",
            &home.join("right/certs/right.crt"),
            &home.join("right/certs/right.key"),
        ));
        fs::write(home.join("left/crl.pem"), list(authority, None)).expect("writable");
        text.insert_str(0, "s2s_crls = [\"crl.pem\"]\ns2s_crl_policy = \"hard\"\n");
    });
    world.talk();
    fs::write(world.file("left/crl.pem"), list(&world.authority, serial)).expect("writable");
    let line = world.left.wait(&[("event", "refused"), ("direction", "out"), ("reason", "cert-revoked")]);
    assert_eq!(line["decided_by"], "s2s_secure_auth", "{line}");
    world.left.wait(&[("event", "peer-down"), ("reason", "reload")]);
    world.fail("remote-server-timeout");
}
