//! `s2sd explain`: what decides, and where it stands.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

fn run(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_s2sd"));
    command.args(["explain", "--config", "s2sd.toml"]).args(arguments).current_dir(directory);
    command.stdin(Stdio::null()).output().expect("the program runs")
}

/// A directory with the configuration, and a certificate for m.example.
fn home(configuration: &str) -> tempfile::TempDir {
    let home = tempfile::tempdir().expect("a directory");
    let certs = home.path().join("certs");
    fs::create_dir(&certs).expect("a directory");
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec!["m.example".to_owned()]).expect("a name");
    fs::write(certs.join("m.crt"), params.self_signed(&key).expect("a certificate").pem()).expect("writable");
    fs::write(certs.join("m.key"), key.serialize_pem()).expect("writable");
    fs::write(home.path().join("s2sd.toml"), configuration).expect("writable");
    home
}

fn explained(directory: &Path, domain: &str) -> Value {
    let output = run(directory, &["--json", domain]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let object: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(object["domain"], domain);
    object
}

/// What is admitted, and how.
fn admitted(encryption: &str, certificate: &str, methods: &[&str], by: (&str, Option<u64>)) -> Value {
    let file = if by.1.is_some() { "s2sd.toml" } else { "default" };
    let line = by.1.map_or_else(|| Value::from("default"), Value::from);
    json!({
        "admitted": true, "reason": null, "encryption": encryption, "certificate": certificate, "methods": methods,
        "decided_by": by.0, "file": file, "line": line,
    })
}

/// What is refused.
fn refused(reason: &str, encryption: &str, certificate: &str, by: (&str, Option<u64>)) -> Value {
    let mut value = admitted(encryption, certificate, &[], by);
    value["admitted"] = false.into();
    value["reason"] = reason.into();
    value
}

const HOST: &str = "[host.\"m.example\"]\n";

#[test]
fn without_options_the_defaults_decide() {
    let home = home(HOST);
    let by = || ("default", None);
    let expected = json!({
        "local": "m.example",
        "in": admitted("optional", "optional", &["external", "certificate", "dialback"], by()),
        "out": admitted("optional", "optional", &["external", "dialback"], by()),
    });
    let object = explained(home.path(), "p.example");
    assert_eq!((&object["hosts"], &object["route"]), (&json!([expected]), &Value::Null));
}

#[test]
fn a_strict_host_tells_the_switch_and_the_exception_tells_its_entry() {
    let text = "s2s_secure_auth = true\ns2s_insecure_domains = [\n  \"old.example\",\n  \"*.old.example\",\n]\n";
    let home = home(&format!("{text}{HOST}"));
    let host = &explained(home.path(), "p.example")["hosts"][0];
    assert_eq!(
        host["in"],
        admitted("required", "required", &["external", "certificate"], ("s2s_secure_auth", Some(1)))
    );
    assert_eq!(host["out"], admitted("required", "required", &["external"], ("s2s_secure_auth", Some(1))));
    for (domain, at) in [("old.example", 3), ("x.old.example", 4)] {
        let host = &explained(home.path(), domain)["hosts"][0];
        let by = || ("s2s_insecure_domains", Some(at));
        assert_eq!(host["in"], admitted("optional", "optional", &["external", "certificate", "dialback"], by()));
        assert_eq!(host["out"], admitted("optional", "optional", &["external", "dialback"], by()));
    }
}

#[test]
fn encryption_that_is_demanded_of_all_and_a_certificate_that_is_demanded_of_some() {
    let text =
        "s2s_require_encryption = true\ns2s_secure_domains = [\"bank.example\"]\ns2s_dialback_to_verified = true\n";
    let home = home(&format!("{text}{HOST}"));
    let host = &explained(home.path(), "p.example")["hosts"][0];
    let by = || ("s2s_require_encryption", Some(1));
    assert_eq!(host["in"], admitted("required", "optional", &["external", "certificate", "dialback"], by()));
    assert_eq!(host["out"], admitted("required", "optional", &["external", "dialback"], by()));
    let host = &explained(home.path(), "bank.example")["hosts"][0];
    let by = || ("s2s_secure_domains", Some(2));
    assert_eq!(host["in"], admitted("required", "required", &["external", "certificate"], by()));
    assert_eq!(host["out"], admitted("required", "required", &["external", "dialback"], by()));
}

#[test]
fn who_is_denied_is_told_the_entry_even_in_a_file_of_its_own() {
    let text = "s2s_allow_domains = [\"*.example\"]\ns2s_deny_domains = [\"d.example\"]\n\
                s2s_deny_domains_file = \"denied\"\ns2s_secure_auth = true\n";
    let home = home(&format!("{text}{HOST}"));
    fs::write(home.path().join("denied"), "# enemies\nenemy.example\n").expect("writable");
    for (domain, option, file, at) in [
        ("d.example", "s2s_deny_domains", "s2sd.toml", 2),
        ("enemy.example", "s2s_deny_domains_file", "denied", 2),
        ("p.invalid", "s2s_allow_domains", "s2sd.toml", 1),
    ] {
        let host = &explained(home.path(), domain)["hosts"][0];
        for direction in ["in", "out"] {
            let mut expected = refused("domain-denied", "required", "required", (option, Some(at)));
            expected["file"] = file.into();
            assert_eq!(host[direction], expected, "{domain}");
        }
    }
    let host = &explained(home.path(), "localhost")["hosts"][0];
    let by = ("built-in", None);
    assert_eq!(host["in"], refused("domain-denied", "required", "required", by));
}

#[test]
fn every_host_has_its_own_answer_and_a_host_that_was_loosened_names_the_line() {
    let text = "s2s_secure_auth = true\n[host.\"m.example\"]\ns2s_secure_auth = false\n\
                [host.\"anon.example\"]\nanonymous = true\ns2s_secure_auth = false\n\
                [host.\"clear.example\"]\nmodules_disabled = [\"tls\"]\ns2s_secure_auth = false\n\
                [host.\"off.example\"]\nmodules_disabled = [\"s2s\"]\n";
    let home = home(text);
    let object = explained(home.path(), "p.example");
    let host = |name: &str| {
        let hosts = object["hosts"].as_array().expect("a list");
        hosts.iter().find(|host| host["local"] == name).expect(name).clone()
    };
    let lax = ["external", "certificate", "dialback"];
    assert_eq!(host("m.example")["in"], admitted("optional", "optional", &lax, ("s2s_secure_auth", Some(3))));
    // It has no certificate, so that others can encrypt for it only when they are the servers.
    let bare = || ("certificates", None);
    assert_eq!(host("anon.example")["in"], admitted("none", "optional", &["dialback"], bare()));
    assert_eq!(host("anon.example")["out"], refused("anonymous-host", "optional", "optional", ("anonymous", Some(5))));
    for direction in ["in", "out"] {
        let by = || ("modules_disabled", Some(8));
        assert_eq!(host("clear.example")[direction], admitted("none", "optional", &["dialback"], by()));
        let by = ("modules_disabled", Some(11));
        assert_eq!(host("off.example")[direction], refused("host-disabled", "required", "required", by));
    }
}

#[test]
fn pins_and_static_routes_are_told_with_their_lines() {
    let text = "[s2s_pins]\n\"p.example\" = [\"sha256:PIN\"]\n[route.\"p.example\"]\naddress = \"192.0.2.1\"\n\
                tls = \"direct\"\n";
    let home = home(&format!("{}{HOST}", text.replace("PIN", &"0".repeat(64))));
    let object = explained(home.path(), "p.example");
    let host = &object["hosts"][0];
    assert_eq!(host["in"], admitted("required", "required", &["external", "certificate"], ("s2s_pins", Some(2))));
    assert_eq!(host["out"], admitted("required", "required", &["external"], ("s2s_pins", Some(2))));
    let route = json!({ "address": "192.0.2.1:5270", "tls": "direct", "file": "s2sd.toml", "line": 3 });
    assert_eq!(object["route"], route);

    let output = run(home.path(), &["p.example"]);
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(
        text,
        "p.example -> m.example\n    encryption required, valid certificate required, proved by external, then \
         certificate\n    because of s2s_pins, s2sd.toml:2\nm.example -> p.example\n    encryption required, valid \
         certificate required, proved by external\n    because of s2s_pins, s2sd.toml:2\np.example is reached at \
         192.0.2.1:5270 (direct), s2sd.toml:3\n"
    );
}

#[test]
fn of_wildcard_routes_the_nearest_is_told_and_one_of_the_domain_itself_before_them() {
    let route = |name: &str, last: u8| format!("[route.\"{name}\"]\naddress = \"192.0.2.{last}\"\n");
    let routes = [route("*.example", 1), route("*.lab.example", 2), route("a.lab.example", 3)].concat();
    let home = home(&format!("{routes}{HOST}"));
    for (domain, expected) in [
        ("p.example", json!({ "address": "192.0.2.1:5269", "tls": "starttls", "file": "s2sd.toml", "line": 1 })),
        ("b.lab.example", json!({ "address": "192.0.2.2:5269", "tls": "starttls", "file": "s2sd.toml", "line": 3 })),
        ("a.lab.example", json!({ "address": "192.0.2.3:5269", "tls": "starttls", "file": "s2sd.toml", "line": 5 })),
        ("example", Value::Null),
    ] {
        assert_eq!(explained(home.path(), domain)["route"], expected, "{domain}");
    }
}

#[test]
fn what_cannot_be_explained_ends_with_2() {
    let home = home(HOST);
    for (domain, expected) in [("a b", "'a b': "), ("m.example", "m.example is served here")] {
        let output = run(home.path(), &[domain]);
        assert_eq!(output.status.code(), Some(2));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(expected), "{text}");
    }
    fs::write(home.path().join("s2sd.toml"), "s2s_secure_ath = true").expect("writable");
    assert_eq!(run(home.path(), &["p.example"]).status.code(), Some(2));
}
