//! Adversarial cases: the files in `cases/`, run in the core. The program runs the same files in its own tests.
//!
//! `CASE=HDR-001` in the environment runs the cases whose id begins so.

use std::num::NonZero;
use std::thread::available_parallelism;

use s2s_tests::cases::list::{cases, in_parallel, listed, placed_in};
use s2s_tests::cases::run::in_core;

#[test]
fn every_case_ends_as_its_file_says_however_its_bytes_are_cut() {
    let cases = cases();
    let threads = available_parallelism().map_or(1, NonZero::get);
    in_parallel(&cases, threads, in_core).conclude("core", &cases);
}

#[test]
fn every_listed_case_is_a_file_or_a_test_or_comes_later_with_a_reason() {
    if std::env::var_os("CASE").is_some() {
        return;
    }
    let mut listed = listed();
    let mut found: Vec<String> = cases().into_iter().map(|case| case.id).collect();
    for (id, place) in placed_in("TESTS.md") {
        let (file, test) = place.split_once(' ').expect("a file and a test");
        let text = std::fs::read_to_string(format!("{}/../{file}", env!("CARGO_MANIFEST_DIR"))).expect("a file");
        assert!(text.contains(&format!("fn {test}(")), "{id}: {file} has no {test}");
        found.push(id);
    }
    found.extend(placed_in("LATER.md").into_iter().map(|(id, _)| id));
    listed.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, listed);
}
