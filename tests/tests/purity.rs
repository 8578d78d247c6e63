//! Rule 1 of the architecture: the core does no I/O, and depends on nothing that does.

use std::path::Path;
use std::process::Command;

/// Crates that open sockets, files, threads or clocks, or ask the operating system for randomness on their own.
const IMPURE: &[&str] = &[
    "async-io",
    "async-std",
    "getrandom",
    "hickory-net",
    "hickory-resolver",
    "libc",
    "mio",
    "polling",
    "rand",
    "rustix",
    "smol",
    "socket2",
    "tokio",
    "windows-sys",
];

/// What reaches the core although it stands in [`IMPURE`], and why it does no harm.
const TOLERATED: &[(&str, &str)] = &[
    ("getrandom", "hickory-proto draws message ids with it unless they are given; the core always gives them"),
    ("libc", "getrandom's way to the system call"),
    ("rand", "hickory-proto draws message ids with it unless they are given; the core always gives them"),
];

fn core() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../core")
}

#[test]
fn no_dependency_of_the_core_does_io() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--package", "s2s-core", "--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .current_dir(core())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).expect("UTF-8");
    let names: Vec<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains(&"rxml") && names.contains(&"rustls"), "this is the tree of the core: {names:?}");
    let tolerated = |name: &str| TOLERATED.iter().any(|(known, _)| *known == name);
    let impure: Vec<_> = names.iter().filter(|name| IMPURE.contains(name) && !tolerated(name)).collect();
    assert!(impure.is_empty(), "the core depends on {impure:?}");
}

#[test]
fn the_core_forbids_what_only_adapters_may_do() {
    let clippy = std::fs::read_to_string(core().join("clippy.toml")).expect("core has lints of its own");
    for banned in [
        "std::time::Instant::now",
        "std::time::SystemTime::now",
        "std::thread::spawn",
        "std::net::TcpStream",
        "std::net::TcpListener",
        "std::net::UdpSocket",
        "std::fs::File",
        "std::collections::HashMap",
    ] {
        assert!(clippy.contains(&format!("\"{banned}\"")), "{banned} is not banned");
    }
    let manifest = std::fs::read_to_string(core().join("Cargo.toml")).expect("core has a manifest");
    assert!(manifest.contains("[lints]\nworkspace = true"), "the core takes the workspace's lints");
}
