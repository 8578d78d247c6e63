//! Examples for embedders stay examples: the tests run each, and the loop is short enough to be read.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The most lines of the loop of `poll_loop.rs`, as rustfmt writes them, without blanks and comments.
const MOST_LINES: usize = 120;

fn core() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../core")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(core().join(path)).expect("a file of the core")
}

#[test]
fn every_example_runs_its_main_as_a_test() {
    let entries = std::fs::read_dir(core().join("examples")).expect("examples");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let programs = paths.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let names: BTreeSet<_> =
        programs.map(|path| path.file_stem().expect("a name").to_str().expect("ASCII").to_owned()).collect();
    assert!(names.contains("in_memory") && names.contains("link_alone") && names.contains("poll_loop"), "{names:?}");
    let manifest = read("Cargo.toml");
    for name in names {
        let declared = format!("[[example]]\nname = \"{name}\"\ntest = true\n");
        assert!(manifest.contains(&declared), "{name} is not declared with its test");
        assert!(read(&format!("examples/{name}.rs")).contains("super::main().unwrap()"), "the test of {name} runs it");
    }
}

#[test]
fn the_loop_around_poll_is_short() {
    let program = read("examples/poll_loop.rs");
    let (_, program) = program.split_once("\nimpl<").expect("the loop");
    let (code, _) = program.split_once("\nfn main").expect("its user");
    let (code, _) = code.split_once("\n/// Begins to connect").expect("how sockets are made");
    let lines = code.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).count();
    println!("poll_loop: {lines} lines of {MOST_LINES}");
    assert!(lines > MOST_LINES / 2, "this is not the whole loop");
    assert!(lines < MOST_LINES, "the loop has {lines} lines");
}
