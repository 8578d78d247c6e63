//! The soak, see `s2s_tests::soak`: `soak [smol | threads] [SECONDS [SEED]]`, with smol for 600 seconds if not said
//! otherwise.

use std::process::ExitCode;

use s2s_tests::adapter::{self, Adapter};

fn main() -> ExitCode {
    let Some((named, numbers)) = adapter::arguments(2) else {
        eprintln!("soak [smol | threads] [SECONDS [SEED]]");
        return ExitCode::from(2);
    };
    let (seconds, seed) = (numbers.first().copied().unwrap_or(600), numbers.get(1).copied().unwrap_or(1));
    let report = s2s_tests::soak::run(named.unwrap_or(Adapter::Smol), seconds, seed);
    println!("{report}");
    if report.problems().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
