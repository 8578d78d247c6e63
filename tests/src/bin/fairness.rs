//! The benchmark of fairness, see `s2s_tests::fairness`: `fairness [SECONDS [TIMES]]`.

use std::env;
use std::time::Duration;

fn main() {
    let number = |at: usize| env::args().nth(at).and_then(|text| text.parse::<u64>().ok());
    for run in 0..number(2).unwrap_or(3) {
        println!(
            "fairness, run {}:\n{}",
            run + 1,
            s2s_tests::fairness::run(Duration::from_secs(number(1).unwrap_or(10)))
        );
    }
}
