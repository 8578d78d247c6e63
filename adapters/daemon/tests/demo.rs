//! The demo compares what it sees with what had to be seen: this holds it to its word.

use std::process::Command;

fn demo(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_s2sd")).args(arguments).output().expect("the program runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn every_way_to_federate_is_seen_and_one_refusal() {
    see(&["demo", "--json"]);
}

#[test]
fn threads_and_several_nodes_federate_in_the_same_ways() {
    for further in [&["--runtime", "threads"][..], &["--nodes", "2"], &["--runtime", "threads", "--nodes", "3"]] {
        see(&[&["demo", "--json"], further].concat());
    }
}

fn see(arguments: &[&str]) {
    let (code, stdout, stderr) = demo(arguments);
    assert_eq!(code, Some(0), "{stdout}\n{stderr}");
    let result: serde_json::Value = serde_json::from_str(&stdout).expect(&stdout);
    assert_eq!(result["ok"], true);
    let mut seen: Vec<_> = result["lanes"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|lane| {
            let text = |key: &str| lane[key].as_str().unwrap_or("-").to_owned();
            format!("{} {} {} {} {}", text("from"), text("to"), text("stream"), text("method"), text("refused"))
        })
        .collect();
    seen.sort();
    assert_eq!(
        seen,
        [
            "alpha.example beta.example starttls external -",
            "alpha.example self.beta.example - - cert-self-signed",
            "beta.example alpha.example starttls external -",
            "beta.example self.alpha.example direct external -",
            "self.alpha.example beta.example starttls dialback -",
            "self.alpha.example self.beta.example direct dialback -",
            "self.beta.example alpha.example - - cert-self-signed",
            "self.beta.example self.alpha.example direct dialback -",
        ]
    );
    for lane in result["lanes"].as_array().expect("a list").iter().filter(|lane| lane["refused"].is_null()) {
        assert_eq!((lane["tls"].as_str(), lane["stanzas"].as_u64()), (Some("TLSv1.3"), Some(10)), "{lane}");
        assert!(lane["first_stanza_ms"].as_f64().is_some_and(|time| time > 0.0), "{lane}");
    }
}

#[test]
fn without_arguments_the_demo_runs_and_closes_with_a_table() {
    let (code, stdout, stderr) = demo(&[]);
    assert_eq!(code, Some(0), "{stdout}\n{stderr}");
    assert!(stdout.contains("first stanza"), "{stdout}");
    assert!(stdout.contains("refused by alpha.example: cert-self-signed"), "{stdout}");
}
