//! The benchmark of fairness: what one flooding stream among a thousand does to the others.
//!
//! Two nodes over real sockets, each on a thread: one receives, one has a thousand hosts that each send a little over a
//! stream of their own. The time from the command to the delivery is measured, first in quiet, then while a peer floods
//! the receiver. Between both, all streams together send as fast as they can.

mod flood;

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use s2s_core::dns::Security;
use s2s_core::node::{Command, Config, Event, StaticRoute};
use s2s_core::policy::HostOptions;
use s2s_core::route::PrivateAddresses;
use s2s_core::stanza::Stanza;

use crate::adapter::Adapter;
use crate::certificates::{Authority, Kind};
use crate::fake_tls::FakeProvider;
use crate::sockets::{Side, listen};
use crate::world::{World, domain};

use flood::Flooder;

/// Streams that send a little.
const QUIET_STREAMS: usize = 1000;
/// Between two stanzas of all of these together.
const EVERY: Duration = Duration::from_millis(2);
/// What the flood sends again and again.
const FLOOD_TEXT_BYTES: usize = 200;
/// The receiver.
const RECEIVER: &str = "receiver.example";
/// The one that floods.
const FLOODER: &str = "flooder.example";
/// Stanzas that all quiet streams together send as fast as they can.
const BURST: usize = 100_000;
/// How long the first stanzas of all streams may take, or the burst.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    quiet: Times,
    flooded: Times,
    /// Stanzas of all quiet streams that arrived in one second of the burst.
    burst_rate: f64,
    /// Stanzas of the flood that arrived in one second.
    flood_rate: f64,
}

/// Times from the command to the delivery.
#[derive(Clone, Copy, Debug)]
struct Times {
    count: usize,
    median: Duration,
    p99: Duration,
    max: Duration,
}

impl Times {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |part: usize| times.get((times.len() * part / 100).min(times.len() - 1)).copied().unwrap_or_default();
        Self { count: times.len(), median: at(50), p99: at(99), max: at(100) }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, times) in [("quiet", &self.quiet), ("flooded", &self.flooded)] {
            let Times { count, median, p99, max } = times;
            writeln!(f, "  {name}: {count} stanzas, median {median:?}, p99 {p99:?}, max {max:?}")?;
        }
        let ratio = self.flooded.p99.as_secs_f64() / self.quiet.p99.as_secs_f64();
        let verdict = if ratio <= 3.0 { "within" } else { "NOT within" };
        writeln!(f, "  p99 is {ratio:.2} times that of quiet, {verdict} 3")?;
        let (burst, flood) = (self.burst_rate, self.flood_rate);
        write!(f, "  stanzas a second: {burst:.0} of all streams at once, {flood:.0} of the flood")
    }
}

/// What the stanzas have come to: by number, when each was sent, and how long it took.
#[derive(Debug, Default)]
struct Clock {
    stanzas: Vec<(Instant, Option<Duration>)>,
    burst: usize,
    flood: u64,
}

/// Measures for so long, once without and once with the flood.
#[must_use]
pub fn run(adapter: Adapter, span: Duration) -> Report {
    let authority = Authority::root("the authority");
    let names: Vec<_> = (0..QUIET_STREAMS).map(|number| format!("q{number}.example")).collect();
    let (receiver, addr) = listen();
    let receiving = Side::start(adapter, receiver, config(&authority, &[RECEIVER.to_owned()], None), 1);
    let quiet = Side::start(adapter, listen().0, config(&authority, &names, Some(addr)), 2);
    let clock = Mutex::new(Clock::default());
    let report = thread::scope(|scope| {
        scope.spawn(|| {
            while let Some(event) = receiving.handle.event() {
                if let Event::Stanza { stanza, .. } = event {
                    lock(&clock).note(&stanza);
                }
            }
        });
        scope.spawn(|| while quiet.handle.event().is_some() {});
        let report = measure(&quiet, &clock, &names, span, |stop| {
            let chain = authority.issue_kind(Kind::Valid, &domain(FLOODER)).chain;
            let flooder = Flooder::connect(addr, &domain(FLOODER), chain, &domain(RECEIVER));
            let text = "x".repeat(FLOOD_TEXT_BYTES);
            let stanza = format!("<message from='x@{FLOODER}' to='y@{RECEIVER}'><body>{text}</body></message>");
            flooder.and_then(|flooder| flooder.flood(&stanza, stop)).expect("the receiver goes on");
        });
        for side in [&receiving, &quiet] {
            side.handle.send(Command::Shutdown).expect("it runs");
        }
        report
    });
    receiving.join();
    quiet.join();
    report
}

/// Everything in turn: quiet, the burst, and quiet again while `flood` runs until it is told to stop.
fn measure(
    side: &Side,
    clock: &Mutex<Clock>,
    names: &[String],
    span: Duration,
    flood: impl FnOnce(&AtomicBool) + Send,
) -> Report {
    for name in names {
        send(side, clock, name);
        thread::sleep(EVERY);
    }
    let (_, after_first) = times(clock, 0);
    trickle(side, clock, names, span);
    let (quiet, after_quiet) = times(clock, after_first);
    let burst_rate = burst(side, clock, names);
    let stop = AtomicBool::new(false);
    let (flooded, flood_rate) = thread::scope(|scope| {
        scope.spawn(|| flood(&stop));
        until(clock, |clock| clock.flood > 0);
        let (start, before) = (Instant::now(), lock(clock).flood);
        trickle(side, clock, names, span);
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let flood_rate = (lock(clock).flood - before) as f64 / start.elapsed().as_secs_f64();
        let (flooded, _) = times(clock, after_quiet);
        stop.store(true, Ordering::Relaxed);
        (flooded, flood_rate)
    });
    Report { quiet, flooded, burst_rate, flood_rate }
}

impl Clock {
    fn note(&mut self, stanza: &Stanza) {
        let Some(id) = stanza.head().id.as_deref() else {
            self.flood += 1;
            return;
        };
        match id.parse::<usize>().ok().and_then(|number| self.stanzas.get_mut(number)) {
            Some((sent, took)) => *took = Some(sent.elapsed()),
            None => self.burst += 1,
        }
    }
}

fn lock(clock: &Mutex<Clock>) -> MutexGuard<'_, Clock> {
    clock.lock().unwrap_or_else(PoisonError::into_inner)
}

fn config(authority: &Authority, names: &[String], route: Option<SocketAddr>) -> Config {
    let hosts: Vec<_> = names.iter().map(|name| domain(name)).collect();
    let chains = hosts.iter().map(|host| (host.clone(), authority.issue_kind(Kind::Valid, host).chain));
    let mut config = World::config(Arc::new(FakeProvider::new(chains.collect())), authority.trust());
    config.hosts = hosts.into_iter().map(|host| (host, HostOptions::default())).collect();
    config.private_addresses = PrivateAddresses::Always;
    config.routes.extend(route.map(|addr| (domain(RECEIVER), StaticRoute { addr, security: Security::StartTls })));
    config.limits.connections_per_address = 2 * QUIET_STREAMS;
    // All of them are begun at one address in a moment.
    config.limits.handshakes = 2 * QUIET_STREAMS;
    config.limits.handshakes_per_address = 2 * QUIET_STREAMS;
    config.limits.handshake_rate_per_address = 2000;
    config.limits.handshake_rate = 2000;
    config.limits.connection_rate_per_address = 2000;
    config
}

fn send(side: &Side, clock: &Mutex<Clock>, from: &str) {
    let number = lock(clock).stanzas.len();
    let stanza = message(from, &number.to_string());
    lock(clock).stanzas.push((Instant::now(), None));
    side.handle.send(Command::Send(stanza)).expect("it runs");
}

fn message(from: &str, id: &str) -> Stanza {
    let stanza = format!("<message from='x@{from}' to='y@{RECEIVER}' id='{id}'><body>hello</body></message>");
    Stanza::parse(&stanza).expect("a stanza")
}

fn trickle(side: &Side, clock: &Mutex<Clock>, names: &[String], span: Duration) {
    let end = Instant::now() + span;
    let mut next = 0;
    while Instant::now() < end {
        next = (next + 7) % names.len();
        send(side, clock, &names[next]);
        thread::sleep(EVERY);
    }
}

/// All streams at once: how many stanzas arrive in one second.
fn burst(side: &Side, clock: &Mutex<Clock>, names: &[String]) -> f64 {
    let stanzas: Vec<_> = names.iter().map(|name| message(name, "burst")).collect();
    let start = Instant::now();
    for number in 0..BURST {
        side.handle.send(Command::Send(stanzas[number % stanzas.len()].clone())).expect("it runs");
    }
    until(clock, |clock| clock.burst == BURST);
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let count = BURST as f64;
    count / start.elapsed().as_secs_f64()
}

/// The times of all stanzas from the one of number `first` on, once they have arrived, and the number of the next.
fn times(clock: &Mutex<Clock>, first: usize) -> (Times, usize) {
    until(clock, |clock| clock.stanzas.iter().all(|(_, took)| took.is_some()));
    let clock = lock(clock);
    let measured = clock.stanzas.get(first..).unwrap_or_default();
    (Times::of(measured.iter().filter_map(|(_, took)| *took).collect()), clock.stanzas.len())
}

/// Waits until it is so.
fn until(clock: &Mutex<Clock>, condition: impl Fn(&Clock) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition(&lock(clock)) {
        assert!(Instant::now() < deadline, "not everything arrives");
        thread::sleep(Duration::from_millis(5));
    }
}
