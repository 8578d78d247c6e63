//! s2sd against real Prosody and ejabberd, all on the loopback.
//!
//! Needs root (port 53, mount namespaces) and the servers of Debian 12; `tests/run` installs them and runs this.
//! Arguments are words: only cells whose description has one of them are run. `--repeat N` runs the table N times,
//! `--runtime` and `--nodes` say what drives s2sd in all of it; `--round-trips` counts round trips instead; `--keep` leaves
//! logs and configurations of green worlds too; `INTEROP_DEBUG=1` makes Prosody log more.
//! Without s2sd only the control cells can be green.

mod cells;
mod component;
mod contact;
mod control;
mod dns;
mod explain;
mod failure;
mod forwarder;
mod lab;
mod matrix;
mod options;
mod peers;
mod pki;
mod process;
mod report;
mod round_trips;
mod s2sd;
mod seed;
mod stress;
mod talk;
mod wire;
mod xml;

use std::env;
use std::process::{Command, ExitCode};

use failure::{Failure, While, fail};
use lab::Lab;
use peers::Software;
use s2s_tests::adapter::Adapter;
use s2sd::Engine;

/// Set in the environment of the program that runs inside of its own namespaces.
const INSIDE: &str = "INTEROP_INSIDE";

/// The command line.
struct Options {
    /// Only cells whose description has one of these words; none: all.
    words: Vec<String>,
    /// How many worlds to build, one after the other.
    repeat: u32,
    /// Whether the files of green worlds stay too.
    keep: bool,
    /// Whether to count round trips instead.
    round_trips: bool,
    /// What drives s2sd in the whole table. None: its defaults, and in the scenarios the others too.
    engine: Option<Engine>,
}

fn main() -> ExitCode {
    let inside = env::var_os(INSIDE).is_some();
    match Options::read().and_then(|options| if inside { options.run() } else { options.run_inside() }) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            println!("interop: NOT RUN: {failure}");
            ExitCode::FAILURE
        }
    }
}

impl Options {
    fn read() -> Result<Self, Failure> {
        let mut options = Self { words: Vec::new(), repeat: 1, keep: false, round_trips: false, engine: None };
        let mut arguments = env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--repeat" => match arguments.next().and_then(|count| count.parse().ok()) {
                    Some(count) => options.repeat = count,
                    None => return fail("--repeat wants a number"),
                },
                "--runtime" => {
                    let name = arguments.next().unwrap_or_default();
                    match Adapter::ALL.into_iter().find(|runtime| runtime.as_str() == name) {
                        Some(runtime) => options.engine.get_or_insert(Engine::DEFAULT).runtime = runtime,
                        None => return fail(format!("--runtime wants smol or threads, not '{name}'")),
                    }
                }
                "--nodes" => match arguments.next().and_then(|count| count.parse().ok()) {
                    Some(nodes) => options.engine.get_or_insert(Engine::DEFAULT).nodes = nodes,
                    None => return fail("--nodes wants a number"),
                },
                "--keep" => options.keep = true,
                "--round-trips" => options.round_trips = true,
                // For the usual test harness; this one hides nothing.
                "--nocapture" => {}
                _ => options.words.push(argument),
            }
        }
        Ok(options)
    }

    /// Runs this program in network and mount namespaces of its own, once for each round: nothing there can meet other
    /// servers on this machine, or leave it.
    fn run_inside(&self) -> Result<bool, Failure> {
        let namespaces = ["--mount", "--net"];
        let probe = Command::new("unshare").args(namespaces).arg("true").output().when("unshare")?;
        if !probe.status.success() {
            let why = String::from_utf8_lossy(&probe.stderr);
            return fail(format!("this needs root, for network and mount namespaces: {}", why.trim()));
        }
        let mut green = 0;
        for round in 1..=self.repeat {
            if self.repeat > 1 {
                println!("\ninterop: round {round} of {}", self.repeat);
            }
            let mut inside = Command::new("setpriv");
            inside.args(["--pdeathsig", "KILL", "unshare"]).args(namespaces);
            inside.args(["sh", "-c", include_str!("world.sh"), "world.sh"]).arg(env::current_exe()?);
            inside.args(env::args_os().skip(1)).env(INSIDE, "1");
            green += u32::from(inside.status().when("setpriv")?.success());
        }
        if self.repeat > 1 {
            println!("\ninterop: {} rounds, {green} green", self.repeat);
        }
        Ok(green == self.repeat && green > 0)
    }

    /// Builds the world and runs the table in it.
    fn run(&self) -> Result<bool, Failure> {
        for software in Software::ALL {
            println!("interop: {} {}", software.name(), peers::version(software)?);
        }
        if self.round_trips {
            return self.count_round_trips();
        }
        let mut lab = Lab::new()?;
        lab.engine = self.engine.unwrap_or(Engine::DEFAULT);
        println!("interop: s2sd runs by {}", lab.engine);
        let rows = self.table(&mut lab);
        let green = report::print(&rows);
        println!("{}", matrix::summary(&rows));
        if !green || self.keep {
            println!("interop: logs and configurations are kept in {}", lab.keep().display());
        }
        Ok(green)
    }

    fn count_round_trips(&self) -> Result<bool, Failure> {
        let mut lab = Lab::without_servers(Some(round_trips::ROUND_TRIP / 2))?;
        let words = &self.words;
        let done =
            round_trips::run(&mut lab, |method| words.is_empty() || words.iter().any(|word| method.contains(word)))?;
        if !done || self.keep {
            println!("interop: logs and configurations are kept in {}", lab.keep().display());
        }
        Ok(done)
    }

    fn table(&self, lab: &mut Lab) -> Vec<report::Row> {
        let wanted = |cell: &str| self.words.is_empty() || self.words.iter().any(|word| cell.contains(word.as_str()));
        let mut rows = control::run(lab, wanted);
        rows.extend(cells::run(lab, wanted));
        rows.extend(options::run(lab, wanted));
        rows.extend(explain::run(lab, wanted));
        rows.extend(matrix::run(lab, wanted));
        if wanted(seed::NAME) {
            rows.push(seed::check());
        }
        if wanted(stress::NAME) {
            rows.push(stress::run(lab));
        }
        if self.engine.is_none() {
            for engine in Engine::SEVERAL_NODES {
                lab.engine = engine;
                rows.extend(cells::run(lab, wanted));
            }
        }
        rows
    }
}
