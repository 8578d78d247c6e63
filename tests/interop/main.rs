//! s2sd against real Prosody and ejabberd, all on the loopback.
//!
//! Needs root (port 53, mount namespaces) and the servers of Debian 12; `tests/run` installs them and runs this.
//! Arguments are words: only cells whose description has one of them are run. `--repeat N` runs the table N times.
//! Without s2sd only the control cells can be green.

mod cells;
mod component;
mod control;
mod dns;
mod failure;
mod lab;
mod peers;
mod pki;
mod process;
mod report;
mod s2sd;
mod stress;
mod talk;
mod xml;

use std::env;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use cells::{First, Scenario};
use failure::{Failure, fail};
use lab::Lab;
use peers::Software;

/// Set in the environment once the namespaces are entered.
const INSIDE: &str = "INTEROP_INSIDE";

fn main() -> ExitCode {
    if env::var_os(INSIDE).is_none() {
        println!("interop: NOT RUN: {}", enter_namespaces());
        return ExitCode::FAILURE;
    }
    match arguments().and_then(|(words, repeat)| all_green(&words, repeat)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            println!("interop: NOT RUN: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Starts this program again in network and mount namespaces of its own: nothing here can meet other servers on this
/// machine or leave it. Returns only if that fails.
fn enter_namespaces() -> Failure {
    let namespaces = ["--mount", "--net"];
    let probe = match Command::new("unshare").args(namespaces).arg("true").output() {
        Ok(probe) => probe,
        Err(error) => return error.into(),
    };
    if !probe.status.success() {
        let why = String::from_utf8_lossy(&probe.stderr).into_owned();
        return Failure::new(format!("network and mount namespaces need root: {}", why.trim()));
    }
    let program = match env::current_exe() {
        Ok(program) => program,
        Err(error) => return error.into(),
    };
    let mut inside = Command::new("unshare");
    inside.args(namespaces).args(["sh", "-c", include_str!("world.sh"), "world.sh"]);
    inside.arg(program).args(env::args_os().skip(1)).env(INSIDE, "1").exec().into()
}

fn arguments() -> Result<(Vec<String>, u32), Failure> {
    let (mut words, mut repeat) = (Vec::new(), 1);
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--repeat" => match arguments.next().and_then(|count| count.parse().ok()) {
                Some(count) => repeat = count,
                None => return fail("--repeat wants a number"),
            },
            // For the usual test harness; this one hides nothing.
            "--nocapture" => {}
            _ => words.push(argument),
        }
    }
    Ok((words, repeat))
}

/// Runs the table, each time in a world of its own.
fn all_green(words: &[String], repeat: u32) -> Result<bool, Failure> {
    for software in Software::ALL {
        println!("interop: {} {}", software.name(), software.version()?);
    }
    let wanted = |cell: &str| words.is_empty() || words.iter().any(|word| cell.contains(word.as_str()));
    let mut green = true;
    for round in 1..=repeat {
        if repeat > 1 {
            println!("\ninterop: round {round} of {repeat}");
        }
        let mut lab = Lab::new()?;
        let rows = table(&mut lab, wanted);
        if !report::print(&rows) {
            green = false;
            println!("interop: logs and configurations are kept in {}", lab.keep().display());
        }
    }
    Ok(green)
}

fn table(lab: &mut Lab, wanted: impl Fn(&str) -> bool) -> Vec<report::Row> {
    let mut rows = control::run(lab, &wanted);
    for software in Software::ALL {
        for scenario in Scenario::ALL {
            for first in First::BOTH {
                if wanted(&format!("{} {}", software.name(), scenario.name())) {
                    rows.push(cells::run(lab, software, scenario, first));
                }
            }
        }
    }
    if wanted(stress::NAME) {
        rows.push(stress::run(lab));
    }
    rows
}
