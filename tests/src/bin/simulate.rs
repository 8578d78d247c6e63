//! Simulates federations for as long as it is told, and says how many federation-hours that were:
//!
//!     cargo run --release -p s2s-tests --bin simulate -- [SECONDS [THREADS [FIRST SEED]]]
//!
//! It ends with the first law that is broken, and the command that replays it.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use s2s_tests::sim::{Fault, Origin, Summary, run};

/// What all runs were together.
#[derive(Default)]
struct Total {
    runs: u64,
    steps: u64,
    stanzas: usize,
    delivered: usize,
    bounced: usize,
    federation_hours: f64,
    faults: BTreeMap<Fault, u64>,
}

impl Total {
    fn add(&mut self, summary: &Summary) {
        self.runs += 1;
        self.steps += summary.steps;
        self.stanzas += summary.stanzas;
        self.delivered += summary.delivered;
        self.bounced += summary.bounced;
        self.federation_hours += summary.federation_hours;
        for (fault, count) in &summary.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>().expect("numbers"));
    let span = Duration::from_secs(arguments.next().unwrap_or(60));
    let threads = arguments.next().unwrap_or(2);
    let next = AtomicU64::new(arguments.next().unwrap_or(0));
    let failed = AtomicBool::new(false);
    let start = Instant::now();
    let totals = thread::scope(|scope| {
        let work = || {
            let mut total = Total::default();
            while start.elapsed() < span && !failed.load(Ordering::Relaxed) {
                match run(&Origin::Seed(next.fetch_add(1, Ordering::Relaxed))) {
                    Ok(summary) => total.add(&summary),
                    Err(failure) => {
                        failed.store(true, Ordering::Relaxed);
                        println!("{failure}");
                    }
                }
            }
            total
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().expect("runs catch what panics")).collect::<Vec<_>>()
    });
    let minutes = start.elapsed().as_secs_f64() / 60.0;
    let sum = |of: fn(&Total) -> u64| totals.iter().map(of).sum::<u64>();
    let hours: f64 = totals.iter().map(|total| total.federation_hours).sum();
    let (runs, steps) = (sum(|total| total.runs), sum(|total| total.steps));
    let stanzas = sum(|total| total.stanzas as u64);
    let (delivered, bounced) = (sum(|total| total.delivered as u64), sum(|total| total.bounced as u64));
    println!("{runs} runs, {steps} steps, {stanzas} stanzas: {delivered} delivered, {bounced} given back");
    for fault in Fault::ALL {
        let count: u64 = totals.iter().filter_map(|total| total.faults.get(fault)).sum();
        println!("{count:>10} {fault:?}");
    }
    println!("{hours:.0} federation-hours in {minutes:.2} minutes: {:.0} a minute, {threads} threads", hours / minutes);
    if failed.into_inner() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
