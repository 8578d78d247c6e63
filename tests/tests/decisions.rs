//! Every decision names a test that exists.

use std::path::{Path, PathBuf};

use s2s_tests::cases::list::{cases, placed_in};

/// Decisions that there were to be from the beginning.
const FIRST: usize = 20;

/// The sources of all tests.
fn sources() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut directories: Vec<PathBuf> =
        ["core", "adapters/smol", "adapters/daemon", "tests"].iter().map(|member| root.join(member)).collect();
    let mut text = String::new();
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text.push_str(&std::fs::read_to_string(path).expect("source"));
            }
        }
    }
    text
}

/// What stands between backticks.
fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(|word| word.split_whitespace().collect()).collect()
}

/// Whether it is the number of a case.
fn is_case(word: &str) -> bool {
    let (family, number) = word.split_once('-').unwrap_or_default();
    family.len() == 3 && number.len() == 3 && number.bytes().all(|byte| byte.is_ascii_digit())
}

#[test]
fn every_decision_names_tests_and_all_that_it_names_exist() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../spec-notes/decisions.md"));
    let text = text.expect("the decisions");
    let sources = sources();
    let mut known: Vec<String> = cases().into_iter().map(|case| case.id).collect();
    known.extend(placed_in("TESTS.md").into_iter().map(|(id, _)| id));
    let mut numbers = Vec::new();
    let mut wrong = Vec::new();
    for entry in text.split("\n### D-").skip(1) {
        let (number, rest) = entry.split_once(' ').expect("a number and a title");
        numbers.push(number.parse::<usize>().expect("a number"));
        let tests = rest.split_once("- *Test*:").map(|(_, tests)| tests.split("\n\n").next().unwrap_or_default());
        let mut named = 0;
        for word in quoted(tests.unwrap_or_default()) {
            let is_function =
                word.contains('_') && word.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric());
            let exists = if is_case(&word) {
                known.contains(&word)
            } else if is_function {
                sources.contains(&format!("fn {word}("))
            } else {
                continue;
            };
            named += usize::from(exists);
            if !exists {
                wrong.push(format!("D-{number} names {word}, which does not exist"));
            }
        }
        if named == 0 {
            wrong.push(format!("D-{number} names no test"));
        }
    }
    assert_eq!(wrong, [""; 0]);
    assert_eq!(numbers, (1..=numbers.len()).collect::<Vec<_>>());
    assert!(numbers.len() >= FIRST);
}
