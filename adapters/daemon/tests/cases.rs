//! Adversarial cases: the files in `tests/cases`, run against the program over sockets.
//!
//! `CASE=HDR-001` in the environment runs the cases whose id begins so.

use std::path::Path;

use s2s_tests::cases::list::cases;
use s2s_tests::cases::program::through;

#[test]
fn every_case_ends_in_the_program_as_it_does_in_the_core() {
    let cases = cases();
    through(Path::new(env!("CARGO_BIN_EXE_s2sd")), &cases).conclude("s2sd serve", &cases);
}
