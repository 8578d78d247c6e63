//! The benchmark of fairness: what one flooding stream among a thousand does to the others.
//!
//! Three nodes over real sockets, each on a thread: one receives, one has a thousand hosts that each send a little over a
//! stream of their own, one floods. The time from the command to the delivery is measured, first in quiet, then with the flood.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use s2s_core::dns::Security;
use s2s_core::node::{Command, Config, Event, StaticRoute};
use s2s_core::policy::HostOptions;
use s2s_core::route::PrivateAddresses;
use s2s_core::stanza::Stanza;
use smol::Timer;
use smol::future::{or, zip};

use crate::certificates::{Authority, Kind};
use crate::fake_tls::FakeProvider;
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
/// How long the first stanzas of all streams may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    quiet: Times,
    flooded: Times,
    /// Stanzas of the flood that arrived in one second.
    flood_rate: u64,
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
        write!(
            f,
            "  p99 is {ratio:.2} times that of quiet, {verdict} 3; the flood: {} stanzas a second",
            self.flood_rate
        )
    }
}

/// What the stanzas of the quiet streams have come to: by number, when each was sent, and how long it took.
#[derive(Debug, Default)]
struct Clock {
    stanzas: Vec<(Instant, Option<Duration>)>,
    flood: u64,
}

/// Measures for so long, once without and once with the flood.
#[must_use]
pub fn run(span: Duration) -> Report {
    let authority = Authority::root("the authority");
    let names: Vec<_> = (0..QUIET_STREAMS).map(|number| format!("q{number}.example")).collect();
    let (receiver, addr) = listen();
    let receiving = Side::start(receiver, config(&authority, &[RECEIVER.to_owned()], None), 1);
    let quiet = Side::start(listen().0, config(&authority, &names, Some(addr)), 2);
    let flooder = Side::start(listen().0, config(&authority, &[FLOODER.to_owned()], Some(addr)), 3);
    let clock = Mutex::new(Clock::default());
    let mut flood_rate = 0;
    let mut marks = [0; 3];
    smol::block_on(async {
        let hearing = async {
            while let Some(event) = receiving.handle.event().await {
                if let Event::Stanza { stanza, .. } = event {
                    lock(&clock).note(&stanza);
                }
            }
        };
        let draining = zip(drain(&quiet), drain(&flooder));
        let conduct = async {
            for name in &names {
                send(&quiet, &clock, name).await;
                Timer::after(EVERY).await;
            }
            arrive(&clock).await;
            marks[0] = lock(&clock).stanzas.len();
            trickle(&quiet, &clock, &names, span).await;
            arrive(&clock).await;
            marks[1] = lock(&clock).stanzas.len();
            let flooding = async {
                let text = "x".repeat(FLOOD_TEXT_BYTES);
                let stanza = format!("<message from='x@{FLOODER}' to='y@{RECEIVER}'><body>{text}</body></message>");
                let stanza = Stanza::parse(&stanza).expect("a stanza");
                while flooder.handle.send(Command::Send(stanza.clone())).await.is_ok() {}
            };
            let measuring = async {
                Timer::after(Duration::from_secs(1)).await; // its stream has to come up
                marks[1] = lock(&clock).stanzas.len();
                let before = lock(&clock).flood;
                trickle(&quiet, &clock, &names, span).await;
                flood_rate = (lock(&clock).flood - before) / span.as_secs().max(1);
                arrive(&clock).await;
                marks[2] = lock(&clock).stanzas.len();
            };
            or(flooding, measuring).await;
        };
        or(conduct, async {
            zip(hearing, draining).await;
        })
        .await;
    });
    let clock = lock(&clock);
    let times = |from: usize, to: usize| {
        let measured = clock.stanzas.get(from..to).unwrap_or_default();
        Times::of(measured.iter().filter_map(|(_, took)| *took).collect())
    };
    Report { quiet: times(marks[0], marks[1]), flooded: times(marks[1], marks[2]), flood_rate }
}

impl Clock {
    fn note(&mut self, stanza: &Stanza) {
        match stanza.head().id.as_deref().and_then(|id| id.parse::<usize>().ok()) {
            Some(number) => {
                if let Some((sent, took)) = self.stanzas.get_mut(number) {
                    *took = Some(sent.elapsed());
                }
            }
            None => self.flood += 1,
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
    config
}

async fn send(side: &Side, clock: &Mutex<Clock>, from: &str) {
    let number = lock(clock).stanzas.len();
    let stanza = format!("<message from='x@{from}' to='y@{RECEIVER}' id='{number}'><body>hello</body></message>");
    let stanza = Stanza::parse(&stanza).expect("a stanza");
    lock(clock).stanzas.push((Instant::now(), None));
    side.handle.send(Command::Send(stanza)).await.expect("it runs");
}

async fn trickle(side: &Side, clock: &Mutex<Clock>, names: &[String], span: Duration) {
    let end = Instant::now() + span;
    let mut next = 0;
    while Instant::now() < end {
        next = (next + 7) % names.len();
        send(side, clock, &names[next]).await;
        Timer::after(EVERY).await;
    }
}

/// Waits until all that was sent has arrived.
async fn arrive(clock: &Mutex<Clock>) {
    let deadline = Instant::now() + PATIENCE;
    while lock(clock).stanzas.iter().any(|(_, took)| took.is_none()) {
        assert!(Instant::now() < deadline, "not everything arrives");
        Timer::after(Duration::from_millis(20)).await;
    }
}

async fn drain(side: &Side) {
    while side.handle.event().await.is_some() {}
}
