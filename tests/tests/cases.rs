//! Adversarial cases: the files in `cases/`, run in the core and over sockets.
//!
//! `CASE=HDR-001` in the environment runs the cases whose id begins so.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use s2s_tests::cases::run::{Report, in_core, over_sockets};
use s2s_tests::cases::{Case, parse};

/// All cases, in the order of their ids.
fn cases() -> Vec<Case> {
    let wanted = std::env::var("CASE").unwrap_or_default();
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/cases");
    let files = std::fs::read_dir(directory).expect("the directory of cases");
    let mut cases: Vec<Case> = files
        .map(|file| file.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "case"))
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("a case");
            let case = parse(&text).unwrap_or_else(|error| panic!("{}: {error:?}", path.display()));
            assert_eq!(path.file_stem(), Some(case.id.as_ref()), "a file has the name of its case");
            case
        })
        .filter(|case| case.id.starts_with(&wanted))
        .collect();
    cases.sort_by(|one, other| one.id.cmp(&other.id));
    cases
}

/// Runs `cases` on all cores.
fn run_all(cases: &[Case], run: fn(&Case) -> Report) -> Report {
    let next = AtomicUsize::new(0);
    let total = Mutex::new(Report::default());
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let report = run(case);
                    let mut total = total.lock().expect("nobody panics");
                    total.runs += report.runs;
                    total.failures.extend(report.failures);
                }
            });
        }
    });
    total.into_inner().expect("nobody panics")
}

fn check(what: &str, run: fn(&Case) -> Report) {
    let cases = cases();
    let report = run_all(&cases, run);
    println!("{what}: {} cases, {} runs, failures {}", cases.len(), report.runs, report.failures.len());
    assert!(report.failures.is_empty(), "{}", report.failures.join("\n\n"));
}

#[test]
fn every_case_ends_as_its_file_says_however_its_bytes_are_cut() {
    check("core", in_core);
}

#[test]
fn every_case_ends_over_sockets_as_it_does_in_the_core() {
    check("sockets", over_sockets);
}
