//! Which cases there are, and what became of them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Case, parse};

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
    ("BID", &[1, 2, 4, 5, 7, 8]),
    ("DNS", &[1, 2, 4, 5, 7, 8, 10, 11, 13, 14, 16, 17, 19, 20]),
    ("DOS", &[1, 2, 4, 5, 7, 8, 10, 11, 13, 14, 16, 17, 19, 20, 22, 23]),
    ("SMX", &[1, 2, 4, 5, 7, 8]),
    ("LIM", &[1, 2, 4]),
    ("CMP", &[1, 2, 4, 5]),
    ("LOG", &[1, 2, 4, 5, 7]),
    ("OPS", &[1, 2, 4, 5, 7, 8, 10, 11, 13]),
];

/// What became of cases.
#[derive(Debug, Default)]
pub struct Report {
    /// Inputs, each in one state.
    pub inputs: usize,
    /// Runs in all.
    pub runs: usize,
    /// What went wrong.
    pub failures: Vec<String>,
}

impl Report {
    /// Takes in another one.
    pub(super) fn add(&mut self, other: Self) {
        self.inputs += other.inputs;
        self.runs += other.runs;
        self.failures.extend(other.failures);
    }

    /// Prints what became of `cases`, and panics if there are failures.
    pub fn conclude(&self, against: &str, cases: &[Case]) {
        let line = format!(
            "cases ({against}): {} run of {} listed ({} are tests, {} come later), {} inputs at {} cuts, failures {}\n",
            cases.len(),
            listed().len(),
            placed_in("TESTS.md").len(),
            placed_in("LATER.md").len(),
            self.inputs,
            self.runs,
            self.failures.len()
        );
        // Past the capture of the test harness: the counts are wanted in every run.
        std::io::stderr().write_all(line.as_bytes()).expect("standard error");
        assert!(self.failures.is_empty(), "{}", self.failures.join("\n\n"));
    }
}

/// The ids of all cases that are listed.
#[must_use]
pub fn listed() -> Vec<String> {
    let ids = |(family, numbers): &(&'static str, &'static [u32])| {
        let family = *family;
        numbers.iter().map(move |number| format!("{family}-{number:03}"))
    };
    LISTED.iter().flat_map(ids).collect()
}

/// Where the case files are, and the lists beside them.
fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")
}

/// The lines of one of the lists beside the cases: an id, and the rest.
#[must_use]
pub fn placed_in(list: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(directory().join(list)).expect("a list");
    let ids = text.lines().filter_map(|line| line.split_once(' '));
    let is_id = |id: &str| id.len() == 7 && id.as_bytes()[3] == b'-';
    ids.filter(|(id, _)| is_id(id)).map(|(id, rest)| (id.to_owned(), rest.to_owned())).collect()
}

/// All cases, in the order of their ids; if `CASE` is in the environment, those whose ids begin so.
#[must_use]
pub fn cases() -> Vec<Case> {
    let wanted = std::env::var("CASE").unwrap_or_default();
    let files = std::fs::read_dir(directory()).expect("the directory of cases");
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

/// Runs all of `items` on so many threads.
pub fn in_parallel<T: Sync>(items: &[T], threads: usize, run: impl Fn(&T) -> Report + Sync) -> Report {
    let next = AtomicUsize::new(0);
    let total = Mutex::new(Report::default());
    std::thread::scope(|scope| {
        for _ in 0..threads.min(items.len()) {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let report = run(item);
                    total.lock().expect("nobody panics").add(report);
                }
            });
        }
    });
    total.into_inner().expect("nobody panics")
}
