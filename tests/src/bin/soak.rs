//! The soak, see `s2s_tests::soak`: `soak [smol | threads] [SECONDS [SEED]]`, with smol for 600 seconds if not said
//! otherwise.

use std::env;
use std::process::ExitCode;

use s2s_tests::adapter::Adapter;

fn main() -> ExitCode {
    let mut arguments: Vec<_> = env::args().skip(1).collect();
    let named = arguments.first().and_then(|first| Adapter::named(first));
    if named.is_some() {
        arguments.remove(0);
    }
    let numbers: Result<Vec<u64>, _> = arguments.iter().map(|text| text.parse()).collect();
    let (Ok(numbers), 0..=2) = (numbers, arguments.len()) else {
        eprintln!("soak [smol | threads] [SECONDS [SEED]]");
        return ExitCode::from(2);
    };
    let (seconds, seed) = (numbers.first().copied().unwrap_or(600), numbers.get(1).copied().unwrap_or(1));
    let report = s2s_tests::soak::run(named.unwrap_or(Adapter::Smol), seconds, seed);
    println!("{report}");
    if report.problems().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
