//! What every adapter does: the table of cases and adapters, in `tests/src/conformance`.
//!
//!     cargo test --workspace --test conformance -- dial shutdown     # cases that have one of these words
//!     cargo test --workspace --test conformance -- --repeat 10

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if s2s_tests::conformance::run(&arguments) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
