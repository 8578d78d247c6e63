//! Adapters are small, hold no protocol, and `s2s-std` needs no executor.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The most lines of an adapter, as rustfmt writes them, without blanks, comments and tests.
const MOST_LINES: usize = 450;

/// The most lines of what both share: options of sockets, what routes there are, and nothing that waits.
const MOST_SHARED_LINES: usize = 90;

/// Crates of futures and executors.
const ASYNC: &[&str] = &[
    "async-channel",
    "async-executor",
    "async-io",
    "async-std",
    "futures",
    "futures-core",
    "futures-io",
    "futures-lite",
    "mio",
    "polling",
    "smol",
    "tokio",
];

/// What reaches `s2s-std` although it stands in [`ASYNC`], and why it does no harm.
const TOLERATED: &[(&str, &str)] =
    &[("futures-core", "rxml, of the core, names the traits; there is no code to run them")];

fn adapter(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../adapters").join(name)
}

/// All of the code, without what stands for readers and tests.
fn code(name: &str) -> Vec<String> {
    let mut code = Vec::new();
    for entry in std::fs::read_dir(adapter(name).join("src")).expect("sources") {
        let text = std::fs::read_to_string(entry.expect("an entry").path()).expect("a file, and no folder");
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        code.extend(
            text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).map(str::to_owned),
        );
    }
    code
}

#[test]
fn each_adapter_stays_small_and_so_does_what_both_share() {
    for (name, most) in [("smol", MOST_LINES), ("std", MOST_LINES), ("sockets", MOST_SHARED_LINES)] {
        let lines = code(name).len();
        println!("s2s-{name}: {lines} lines of {most}");
        assert!(lines > most / 4, "this is not all of s2s-{name}");
        assert!(lines <= most, "s2s-{name} has {lines} lines, of which {most} are the most");
    }
}

#[test]
fn no_helper_crate_hides_a_part_of_an_adapter() {
    for (name, ours) in
        [("smol", &["s2s-core", "s2s-sockets"][..]), ("std", &["s2s-core", "s2s-sockets"]), ("sockets", &["s2s-core"])]
    {
        let manifest = std::fs::read_to_string(adapter(name).join("Cargo.toml")).expect("a manifest");
        let (_, dependencies) = manifest.split_once("[dependencies]\n").expect("dependencies");
        let dependencies = dependencies.split("\n\n").next().unwrap_or_default();
        let names = dependencies.lines().filter_map(|line| line.split(['.', ' ']).next());
        let helpers: Vec<_> = names.filter(|name| name.starts_with("s2s")).collect();
        assert_eq!(helpers, ours, "s2s-{name}");
    }
}

#[test]
fn adapters_know_of_the_core_only_what_drives_it_and_what_it_asks() {
    let known = ["machine::", "time::Anchor", "dns::SourceAddresses"];
    for name in ["smol", "std", "sockets"] {
        for line in code(name) {
            let Some((_, rest)) = line.split_once("s2s_core::") else { continue };
            assert!(known.iter().any(|path| rest.starts_with(path)), "s2s-{name} uses {rest}");
        }
    }
}

#[test]
fn no_async_crate_is_below_s2s_std() {
    let tree = |package: &str| {
        let output = Command::new(env!("CARGO"))
            .args([
                "tree",
                "--locked",
                "--package",
                package,
                "--edges",
                "normal",
                "--prefix",
                "none",
                "--format",
                "{p}",
            ])
            .current_dir(adapter("std"))
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let tree = String::from_utf8(output.stdout).expect("UTF-8");
        tree.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect::<Vec<_>>()
    };
    let names = tree("s2s-std");
    assert!(names.iter().any(|name| name == "s2s-core"), "this is the tree of s2s-std: {names:?}");
    let tolerated = |name: &str| TOLERATED.iter().any(|(known, _)| *known == name);
    let asynchronous: Vec<_> = names.iter().filter(|name| ASYNC.contains(&name.as_str()) && !tolerated(name)).collect();
    assert!(asynchronous.is_empty(), "s2s-std depends on {asynchronous:?}");
    assert!(
        tree("s2s-smol").iter().any(|name| ASYNC.contains(&name.as_str()) && !tolerated(name)),
        "the list names no async crate"
    );
}
