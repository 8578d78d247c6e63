//! Adversarial cases: the files in `cases/`, run in the core and over sockets.
//!
//! `CASE=HDR-001` in the environment runs the cases whose id begins so.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use s2s_tests::cases::run::{Report, in_core, over_sockets};
use s2s_tests::cases::{Case, parse};

/// The numbers of the cases that are listed for each family.
const LISTED: &[(&str, &[u32])] = &[
    (
        "HDR",
        &[1, 2, 4, 5, 7, 8, 10, 11, 13, 14, 16, 17, 19, 20, 22, 23, 25, 26, 28, 29, 31, 32, 34, 35, 37, 38, 40, 41, 43],
    ),
    ("XML", &[1, 2, 4, 5, 7, 8, 10, 11, 13, 14, 16, 17, 19, 20, 22, 23, 25, 26, 28, 29]),
    ("STZ", &[1, 2, 4, 5, 7, 8, 10, 11, 13, 14, 16, 17, 19, 20]),
    ("IDN", &[1, 2, 4, 5, 7, 8]),
    ("TLS", &[1, 2, 4, 5, 7, 8, 10, 11, 13, 14, 16, 17, 19, 20, 22, 23, 25, 26, 28]),
    ("CRT", &[1, 2, 4, 5, 7, 8, 10, 11, 13, 14, 16, 17, 19, 20, 22, 23, 25, 26]),
    ("SAS", &[1, 2, 4, 5, 7, 8, 10, 11, 13, 14]),
    (
        "DBK",
        &[
            1, 2, 4, 5, 7, 8, 10, 11, 13, 14, 16, 17, 19, 20, 22, 23, 25, 26, 28, 29, 31, 32, 34, 35, 37, 38, 40, 41,
            43, 44, 46, 47,
        ],
    ),
    ("LIM", &[1, 2, 4]),
];

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/cases");

/// The lines of one of the lists beside the cases: an id, and the rest.
fn list(name: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(format!("{DIRECTORY}/{name}")).expect("a list");
    let ids = text.lines().filter_map(|line| line.split_once(' '));
    let is_id = |id: &str| id.len() == 7 && id.as_bytes()[3] == b'-';
    ids.filter(|(id, _)| is_id(id)).map(|(id, rest)| (id.to_owned(), rest.to_owned())).collect()
}

/// All cases, in the order of their ids.
fn cases() -> Vec<Case> {
    let wanted = std::env::var("CASE").unwrap_or_default();
    let files = std::fs::read_dir(DIRECTORY).expect("the directory of cases");
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
    let (tests, later) = (list("TESTS.md").len(), list("LATER.md").len());
    let report = run_all(&cases, run);
    println!(
        "cases ({what}): {} run of {} listed ({tests} are tests, {later} come later), {} cuts, failures {}",
        cases.len(),
        LISTED.iter().map(|(_, numbers)| numbers.len()).sum::<usize>(),
        report.runs,
        report.failures.len()
    );
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

#[test]
fn every_listed_case_is_a_file_or_a_test_or_comes_later_with_a_reason() {
    if std::env::var_os("CASE").is_some() {
        return;
    }
    let listed =
        LISTED.iter().flat_map(|(family, numbers)| numbers.iter().map(move |number| format!("{family}-{number:03}")));
    let mut listed: Vec<String> = listed.collect();
    let mut found: Vec<String> = cases().into_iter().map(|case| case.id).collect();
    for (id, place) in list("TESTS.md") {
        let (file, test) = place.split_once(' ').expect("a file and a test");
        let text = std::fs::read_to_string(format!("{}/../{file}", env!("CARGO_MANIFEST_DIR"))).expect("a file");
        assert!(text.contains(&format!("fn {test}()")), "{id}: {file} has no {test}");
        found.push(id);
    }
    found.extend(list("LATER.md").into_iter().map(|(id, _)| id));
    listed.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, listed);
}
