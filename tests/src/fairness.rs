//! The benchmark of fairness: what one flooding stream among a thousand does to the others.
//!
//! A node on a thread receives over real sockets; a thousand peers each send a little over a stream of their own. The
//! time from the write to the delivery is measured, first in quiet, then beside a thread that only keeps a processor
//! busy, then while a peer floods the node. In between, all streams together send as fast as they can.
//!
//! The peers stand for machines elsewhere: they go before the node and its application, which yield to them, and the one
//! that floods yields to all of them. So what is measured is how long the node takes, and not which thread of this
//! benchmark the system lets wait.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use s2s_core::node::{Command, Config, Event};
use s2s_core::policy::HostOptions;
use s2s_core::stanza::Stanza;
use s2s_core::tls::Provider;

use crate::adapter::Adapter;
use crate::certificates::{Authority, Kind};
use crate::fake_tls::FakeProvider;
use crate::peer::Peer;
use crate::sockets::{Side, listen};
use crate::world::{World, domain};

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
/// How much the node and its application yield to the peers, as `nice` counts.
const NODE_DEFERENCE: i32 = 10;
/// How much the one that floods yields to all of them.
const FLOOD_DEFERENCE: i32 = 19;
/// How long the burst may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    quiet: Times,
    /// Beside a processor that is busy with something else.
    busy: Times,
    flooded: Times,
    /// Stanzas of all streams that arrived in one second of the burst.
    burst_rate: f64,
    /// Stanzas of the flood that arrived in one second.
    flood_rate: f64,
}

/// Times from the write to the delivery.
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
        for (name, times) in [("quiet", &self.quiet), ("busy", &self.busy), ("flooded", &self.flooded)] {
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

/// Measures for so long each: in quiet, beside a busy processor, and with the flood.
#[must_use]
pub fn run(adapter: Adapter, span: Duration) -> Report {
    let authority = Authority::root("the authority");
    let (listener, addr) = listen();
    let node = deferring(|| Side::start(adapter, listener, config(&authority), 1));
    let peer = |name: &str| {
        let chain = authority.issue_kind(Kind::Valid, &domain(name)).chain;
        let provider: Arc<dyn Provider> = Arc::new(FakeProvider::new(vec![(domain(name), chain)]));
        Peer::connect(addr, &provider, &domain(name), &domain(RECEIVER)).expect("it is let in")
    };
    let clock = Mutex::new(Clock::default());
    let report = thread::scope(|scope| {
        scope.spawn(|| {
            defer(NODE_DEFERENCE);
            while let Some(event) = node.handle.event() {
                if let Event::Stanza { stanza, .. } = event {
                    lock(&clock).note(&stanza);
                }
            }
        });
        let names = (0..QUIET_STREAMS).map(|number| format!("q{number}.example"));
        let mut peers: Vec<_> = names.map(|name| (peer(&name), name)).collect();
        let report = measure(&clock, &mut peers, peer(FLOODER), span);
        node.handle.send(Command::Shutdown).expect("it runs");
        drop(peers);
        report
    });
    node.join();
    report
}

fn measure(clock: &Mutex<Clock>, peers: &mut [(Peer, String)], flooder: Peer, span: Duration) -> Report {
    trickle(clock, peers, span / 4);
    let (_, warm) = times(clock, 0);
    trickle(clock, peers, span);
    let (quiet, after_quiet) = times(clock, warm);
    let burst_rate = burst(clock, peers);
    let ((), busy, after_busy) = beside(clock, peers, span, after_quiet, spin, || ());
    let text = "x".repeat(FLOOD_TEXT_BYTES);
    let stanza = format!("<message from='x@{FLOODER}' to='y@{RECEIVER}'><body>{text}</body></message>");
    let flood = |stop: &AtomicBool| flooder.flood(&stanza, stop).expect("the receiver goes on");
    let begun = || {
        until(clock, |clock| clock.flood > 0);
        (Instant::now(), lock(clock).flood)
    };
    let ((start, before), flooded, _) = beside(clock, peers, span, after_busy, flood, begun);
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let flood_rate = (lock(clock).flood - before) as f64 / start.elapsed().as_secs_f64();
    Report { quiet, busy, flooded, burst_rate, flood_rate }
}

/// The times of what the peers send while `other` does something until it is told to stop, from `begun` on.
fn beside<R>(
    clock: &Mutex<Clock>,
    peers: &mut [(Peer, String)],
    span: Duration,
    first: usize,
    other: impl FnOnce(&AtomicBool) + Send,
    begun: impl FnOnce() -> R,
) -> (R, Times, usize) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            defer(FLOOD_DEFERENCE);
            other(&stop);
        });
        let begun = begun();
        trickle(clock, peers, span);
        let (times, next) = times(clock, first);
        stop.store(true, Ordering::Relaxed);
        (begun, times, next)
    })
}

/// Keeps a processor busy.
fn spin(stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        std::hint::spin_loop();
    }
}

/// Lets this thread, and those that it will make, go after the others.
fn defer(to: i32) {
    rustix::process::setpriority_process(None, to).expect("anybody may yield");
}

/// Does something on a thread that defers, and so do the threads that come of it.
fn deferring<R: Send>(act: impl FnOnce() -> R + Send) -> R {
    let acting = || {
        defer(NODE_DEFERENCE);
        act()
    };
    thread::scope(|scope| scope.spawn(acting).join().expect("it does not panic"))
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

fn config(authority: &Authority) -> Config {
    let host = domain(RECEIVER);
    let chain = authority.issue_kind(Kind::Valid, &host).chain;
    let provider = FakeProvider::new(vec![(host.clone(), chain)]);
    let mut config = World::config(Arc::new(provider), authority.trust());
    config.hosts.insert(host, HostOptions::default());
    // All come from one address, in a moment.
    config.limits.connections_per_address = 2 * QUIET_STREAMS;
    config.limits.handshake_rate_per_address = 2000;
    config.limits.handshake_rate = 2000;
    config.limits.connection_rate_per_address = 2000;
    config
}

fn message(from: &str, id: &str) -> String {
    format!("<message from='x@{from}' to='y@{RECEIVER}' id='{id}'><body>hello</body></message>")
}

fn trickle(clock: &Mutex<Clock>, peers: &mut [(Peer, String)], span: Duration) {
    let end = Instant::now() + span;
    let mut next = 0;
    while Instant::now() < end {
        next = (next + 7) % peers.len();
        let (peer, name) = &mut peers[next];
        let number = lock(clock).stanzas.len();
        let stanza = message(name, &number.to_string());
        lock(clock).stanzas.push((Instant::now(), None));
        peer.say(&stanza).expect("it is read");
        thread::sleep(EVERY);
    }
}

/// All streams at once: how many stanzas arrive in one second.
fn burst(clock: &Mutex<Clock>, peers: &mut [(Peer, String)]) -> f64 {
    let start = Instant::now();
    for _ in 0..BURST / peers.len() {
        for (peer, name) in &mut *peers {
            peer.say(&message(name, "burst")).expect("it is read");
        }
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
