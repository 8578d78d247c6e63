//! The benchmark of fairness, see `s2s_tests::fairness`: `fairness [smol | threads] [SECONDS [TIMES]]`.

use std::process::ExitCode;
use std::time::Duration;

use s2s_tests::adapter::{self, Adapter};

fn main() -> ExitCode {
    let Some((named, numbers)) = adapter::arguments(2) else {
        eprintln!("fairness [smol | threads] [SECONDS [TIMES]]");
        return ExitCode::from(2);
    };
    let (seconds, times) = (numbers.first().copied().unwrap_or(10), numbers.get(1).copied().unwrap_or(3));
    for adapter in Adapter::ALL.into_iter().filter(|adapter| named.is_none_or(|named| named == *adapter)) {
        for run in 1..=times {
            let report = s2s_tests::fairness::run(adapter, Duration::from_secs(seconds));
            println!("fairness, {}, run {run}:\n{report}", adapter.as_str());
        }
    }
    ExitCode::SUCCESS
}
