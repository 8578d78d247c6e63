//! The soak, see `s2s_tests::soak`: `soak [SECONDS [SEED]]`, 600 seconds if not said otherwise.

use std::env;
use std::process::ExitCode;

fn main() -> ExitCode {
    let number = |at: usize| env::args().nth(at).and_then(|text| text.parse().ok());
    if env::args().len() > 3 || (1..env::args().len()).any(|at| number(at).is_none()) {
        eprintln!("soak [SECONDS [SEED]]");
        return ExitCode::from(2);
    }
    let report = s2s_tests::soak::run(number(1).unwrap_or(600), number(2).unwrap_or(1));
    println!("{report}");
    if report.problems().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
