//! Every clause in `spec-notes` against the code and the tests that cite it.
//!
//! `SPEC_NOTES=write` in the environment writes `spec-notes/COVERAGE.md` anew, `SPEC_NOTES=places` prints where each
//! clause is cited.

use std::fs;

use s2s_tests::trace::{Citation, Fault, Place, Trace, workspace};

#[test]
fn every_clause_that_is_done_is_cited_in_code_and_in_a_test() {
    let trace = Trace::read(&workspace());
    if std::env::var("SPEC_NOTES").as_deref() == Ok("places") {
        println!("{}", trace.places());
    }
    let faults: Vec<_> = trace.faults.iter().map(ToString::to_string).collect();
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    assert!(trace.documents.len() > 20 && trace.citations.len() > 500, "the workspace was not found");
}

#[test]
fn the_table_of_coverage_is_that_of_the_documents() {
    let path = workspace().join("spec-notes/COVERAGE.md");
    let coverage = Trace::read(&workspace()).coverage();
    if std::env::var("SPEC_NOTES").as_deref() == Ok("write") {
        fs::write(&path, &coverage).expect("COVERAGE.md can be written");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    let command = "SPEC_NOTES=write cargo test -p s2s-tests --test spec_trace";
    assert!(written == coverage, "spec-notes/COVERAGE.md is out of date; write it anew:\n    {command}");
}

/// A document with these rows, and a file with these lines.
fn judge(rows: &str, code: &str, test: &str) -> Vec<Fault> {
    let mut trace = Trace::default();
    let head = "# RFC 1\n\n## Clauses\n\n| id | level | requirement | status |\n|---|---|---|---|\n";
    trace.add_document("rfc0001.md", &format!("{head}{rows}\n"));
    trace.add_citations("core/src/a.rs", code);
    trace.add_citations("tests/tests/a.rs", test);
    trace.judge();
    trace.faults
}

const DONE: &str = "| RFC0001-1.2-1 | MUST NOT* | Do nothing. | done |";
const CODE: &str = "    //= RFC0001-1.2-1\n    fn a() {}";
const TEST: &str = "#[test]\n//= RFC0001-1.2-1 test\nfn a() {}";

#[test]
fn a_clause_that_is_cited_in_both_ways_is_in_order() {
    assert_eq!(judge(DONE, CODE, TEST), []);
    assert_eq!(judge("| RFC0001-1.2-1 | MAY | Do it. | exempt: we do not |", "", TEST), []);
    assert_eq!(judge("| RFC0001-1.2-1 | MAY | Do it. | todo: later |", CODE, ""), []);
}

#[test]
fn every_broken_rule_of_citations_is_found() {
    let id = || "RFC0001-1.2-1".to_owned();
    assert_eq!(judge(DONE, "", TEST), [Fault::Uncited(id(), Place::Code)]);
    assert_eq!(judge(DONE, CODE, ""), [Fault::Uncited(id(), Place::Test)]);
    let unknown = |id: &str, file: &str, line, place| {
        Fault::Unknown(Citation { id: id.to_owned(), place, file: file.to_owned(), line })
    };
    let code = format!("{CODE}\n//= RFC0001-1.2-2\n");
    assert_eq!(judge(DONE, &code, TEST), [unknown("RFC0001-1.2-2", "core/src/a.rs", 3, Place::Code)]);
    let exempt = DONE.replace("done", "exempt: no");
    let cited = Citation { id: id(), place: Place::Code, file: "core/src/a.rs".to_owned(), line: 1 };
    assert_eq!(judge(&exempt, CODE, TEST), [Fault::ExemptCited(cited)]);
    let (file, code) = (|| "core/src/a.rs".to_owned(), |line: &str| format!("{CODE}\n{line}"));
    for line in ["//=RFC0001-1.2-1", "//= RFC0001-1.2-1 tests", "//= RFC0001-1.2-1 test test"] {
        assert_eq!(judge(DONE, &code(line), TEST), [Fault::NotACitation(file(), 3)], "{line}");
    }
    assert_eq!(judge(DONE, &code("//= RFC0001-1.2-1 test\nlet a;"), TEST), [Fault::NoFunction(file(), 3)]);
    let test = format!("{TEST}\n//= RFC0001-1.2-1\n");
    assert_eq!(judge(DONE, CODE, &test), [Fault::CodeInTest("tests/tests/a.rs".to_owned(), 4)]);
}

#[test]
fn every_broken_rule_of_documents_is_found() {
    let file = || "rfc0001.md".to_owned();
    let faults = |rows: &str| judge(rows, "", "");
    assert_eq!(faults("some prose"), [Fault::NotARow(file(), 7)]);
    assert_eq!(faults("| RFC0001-1-1 | MAY | | todo: a |"), [Fault::NotARow(file(), 7)]);
    assert_eq!(faults("| RFC0001-1-1 | MAYBE | Do. | todo: a |"), [Fault::NoLevel(file(), 7)]);
    assert_eq!(faults("| RFC0001-1-1 | MAY | Do. | open |"), [Fault::NoStatus(file(), 7)]);
    for status in ["exempt", "todo", "done: yes"] {
        assert_eq!(faults(&format!("| RFC0001-1-1 | MAY | Do. | {status} |")), [Fault::Reason(file(), 7)], "{status}");
    }
    for id in ["RFC0002-1-1", "RFC0001-1", "1-1"] {
        assert_eq!(faults(&format!("| {id} | MAY | Do. | todo: a |")), [Fault::WrongFile(file(), 7)], "{id}");
    }
    let row = |id: &str| format!("| RFC0001-{id} | MAY | Do. | todo: a |");
    let rows = |ids: &[&str]| ids.iter().map(|id| row(id)).collect::<Vec<_>>().join("\n");
    assert_eq!(faults(&rows(&["1.2-2", "1.2-10", "1.10-1", "2-1", "A.1-1"])), []);
    for ids in [["1-1", "1-1"], ["1.10-1", "1.9-1"], ["1-2", "1-1"], ["A-1", "7-1"]] {
        assert_eq!(faults(&rows(&ids)), [Fault::Order(file(), 8)], "{ids:?}");
    }
    let mut trace = Trace::default();
    trace.add_document("rfc0001.md", "# RFC 1\n");
    assert_eq!(trace.faults, [Fault::NoClauses(file())]);
}
