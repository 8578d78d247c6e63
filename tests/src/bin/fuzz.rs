//! Runs the bodies of the fuzz targets on damaged inputs of their corpora, each for as long as it is told:
//!
//!     cargo run --release -p s2s-tests --bin fuzz -- [SECONDS [TARGET..]]
//!
//! It needs no other toolchain than the normal one, and no C++; it does not see which code an input reaches. libFuzzer does:
//! see `fuzz/Cargo.toml`. What breaks a law is written to the directory for temporary files, and the exit code is 1.

use std::fs;
use std::panic::catch_unwind;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use s2s_tests::fuzz_bodies::{ALL, ELSEWHERE, Target, corpus, damage};
use s2s_tests::sim::Random;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let seconds = arguments.first().map_or(10, |text| text.parse().expect("a number of seconds"));
    let wanted = arguments.get(1..).unwrap_or_default();
    let is_wanted = |target: &str| wanted.is_empty() || wanted.iter().any(|name| name == target);
    let mut random = Random::new(Instant::now().elapsed().as_nanos() as u64 ^ u64::from(std::process::id()));
    let mut findings = 0;
    for Target { name, body } in ALL.iter().filter(|target| is_wanted(target.name)) {
        let corpus: Vec<Vec<u8>> = corpus(name).into_values().collect();
        let (start, mut executions, mut found) = (Instant::now(), 0_u64, 0);
        while start.elapsed() < Duration::from_secs(seconds) {
            let data = damage(&corpus, &mut random);
            executions += 1;
            if catch_unwind(|| body(&data)).is_err() {
                found += 1;
                let path = std::env::temp_dir().join(format!("fuzz-{name}-{executions}"));
                fs::write(&path, &data).expect("a place for what was found");
                println!("{name}: {}", path.display());
                break;
            }
        }
        findings += found;
        println!("{name:<20} {executions:>9} executions, {found} findings, corpus of {}", corpus.len());
    }
    for (name, file) in ELSEWHERE.iter().filter(|(name, _)| is_wanted(name)) {
        println!("{name:<20} is run by the test in {file}, with as many damaged inputs as PROPTEST_CASES says");
    }
    if findings == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
