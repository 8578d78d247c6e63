//! The public API of the crates that others build upon is what stands beside this file, so that review sees what changes.
//!
//!     cargo test --workspace --features s2s-public-api/check --test public_api
//!     PUBLIC_API=write cargo test --workspace --features s2s-public-api/check --test public_api
//!
//! The second writes the files anew. rustdoc describes a crate as JSON, in a format that is not stable yet: `rustdoc`, beside
//! this file, lets a stable compiler do so, and the library that reads it is pinned to the format of Rust 1.95. With a
//! compiler of another format this fails and says so: then another version of the library is due.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The crates that others depend on.
const CRATES: [&str; 4] = ["s2s-core", "s2s-sockets", "s2s-smol", "s2s-std"];

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// One line for each public item, without what every type has.
fn describe(name: &str) -> String {
    let status = Command::new(env!("CARGO"))
        .args(["rustdoc", "--quiet", "--locked", "--lib", "--package", name])
        .args(["--", "-Z", "unstable-options", "--output-format", "json"])
        .env("RUSTDOC", here().join("rustdoc"))
        .current_dir(here())
        .status()
        .expect("cargo runs");
    assert!(status.success(), "rustdoc cannot describe {name}");
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("doc");
    let json = directory.join(name.replace('-', "_")).with_extension("json");
    let api =
        public_api::Builder::from_rustdoc_json(&json).omit_blanket_impls(true).omit_auto_trait_impls(true).build();
    api.unwrap_or_else(|error| panic!("{name}: {error}\nthis is {}", version())).to_string()
}

fn version() -> String {
    let output = Command::new(env!("CARGO")).arg("--version").output().expect("cargo runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The lines of `text` that `other` lacks.
fn beyond<'t>(text: &'t str, other: &str, sign: char) -> impl Iterator<Item = String> + use<'t> {
    let other: Vec<_> = other.lines().map(str::to_owned).collect();
    text.lines().filter(move |line| !other.iter().any(|known| known == line)).map(move |line| format!("{sign} {line}"))
}

fn file(name: &str) -> PathBuf {
    here().join(name).with_extension("txt")
}

#[test]
fn the_public_api_is_what_was_committed() {
    let mut differences = Vec::new();
    for name in CRATES {
        let is = describe(name);
        if env::var_os("PUBLIC_API").is_some_and(|value| value == "write") {
            fs::write(file(name), &is).expect("writable");
        }
        let was = fs::read_to_string(file(name)).unwrap_or_default();
        differences.extend(beyond(&was, &is, '-').chain(beyond(&is, &was, '+')));
    }
    assert!(
        differences.is_empty(),
        "the public API has changed:\n{}\nif that is meant, write it anew and look at the difference:\n    \
         PUBLIC_API=write cargo test --workspace --features s2s-public-api/check --test public_api",
        differences.join("\n")
    );
}
