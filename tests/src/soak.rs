//! The soak: two nodes over real sockets and real TLS, whose connections are reset and stalled at random all the time.
//!
//! At the end every stanza has exactly one fate: it arrived, it came back, or the connection that it was written to
//! broke, and the sender's node has counted it as uncertain. Memory and descriptors are where they were.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustls::crypto::ring;
use s2s_core::addr::Pair;
use s2s_core::dns::Security;
use s2s_core::node::{Command, Config, Event, Measures, StaticRoute};
use s2s_core::policy::HostOptions;
use s2s_core::reason::Reason;
use s2s_core::route::PrivateAddresses;
use s2s_core::stanza::Stanza;
use s2s_core::tls::{Provider, RustlsProvider, Version};

use crate::adapter::Adapter;
use crate::certificates::{Authority, Kind, NOW};
use crate::forwarder::{Forwarder, Random};
use crate::sockets::{Side, footprint, listen};
use crate::world::{World, domain};

/// Hosts of each side: every one of them sends to every one of the other side.
const HOSTS: usize = 4;
/// After so long without a stanza a stream is closed, in good order.
const IDLE: Duration = Duration::from_secs(3);
/// Of each such span, stanzas are sent in the first part; in the rest streams become idle.
const ROUND: Duration = Duration::from_secs(18);
const ACTIVE: Duration = Duration::from_secs(10);
/// Between two bursts of stanzas of one side.
const BURST_EVERY: Duration = Duration::from_millis(20);
/// Stanzas of one burst at most.
const BURST: u64 = 8;
/// Bytes of the text of a stanza at most.
const TEXT_BYTES: u64 = 4000;
/// How long a stanza may wait.
const QUEUE_AGE: Duration = Duration::from_secs(20);
/// How long it may take, without faults, until nothing waits any more.
const SETTLING: Duration = Duration::from_secs(120);
/// By how much memory may grow after the first quarter: the ledger of the fates, and what an allocator keeps.
const GROWTH_BYTES: u64 = 32 * 1024 * 1024;

/// What a soak has come to.
#[derive(Debug)]
pub struct Report {
    adapter: Adapter,
    seconds: u64,
    sides: [Account; 2],
    resets: u64,
    stalls: u64,
    /// Memory and descriptors: at the start, after a quarter, when nothing waits any more, and with everything closed.
    footprints: [(u64, usize); 4],
    problems: Vec<String>,
}

/// The fates of the stanzas of one side.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    sent: u64,
    delivered: u64,
    bounced: u64,
    /// Neither.
    lost: u64,
    /// What the node has counted: written to a connection, and to one that broke.
    written: u64,
    uncertain: u64,
}

/// What is known of one side while it runs.
#[derive(Debug, Default)]
struct Ledger {
    /// By number: to which pair it belongs, whether it arrived, whether it came back.
    stanzas: Vec<(usize, bool, bool)>,
    pairs: Vec<Pair>,
    uncertain: BTreeMap<Pair, u64>,
    reasons: BTreeMap<Reason, u64>,
    measures: Option<Measures>,
    problems: BTreeSet<String>,
}

impl Ledger {
    fn fate(&mut self, stanza: &Stanza, arrived: bool) {
        let number = stanza.head().id.as_deref().and_then(|id| id.parse::<usize>().ok());
        let Some(fates) = number.and_then(|number| self.stanzas.get_mut(number)) else {
            self.problems.insert("a stanza that nobody has sent".to_owned());
            return;
        };
        let fate = if arrived { &mut fates.1 } else { &mut fates.2 };
        if std::mem::replace(fate, true) {
            self.problems.insert(format!("stanza {number:?} has its fate (arrived: {arrived}) twice"));
        }
    }

    /// Adds everything up.
    fn close(&mut self, measures: Measures) -> Account {
        let count =
            |of: &dyn Fn(&(usize, bool, bool)) -> bool| self.stanzas.iter().filter(|fate| of(fate)).count() as u64;
        let account = Account {
            sent: self.stanzas.len() as u64,
            delivered: count(&|fate| fate.1),
            bounced: count(&|fate| fate.2),
            lost: count(&|fate| !fate.1 && !fate.2),
            written: measures.totals.written,
            uncertain: self.uncertain.values().sum(),
        };
        let both = count(&|fate| fate.1 && fate.2);
        let mut say = |wrong: bool, text: String| {
            if wrong {
                self.problems.insert(text);
            }
        };
        say(both > 0, format!("{both} stanzas arrived and came back"));
        say(account.sent != account.written + account.bounced, format!("not written and not back: {account:?}"));
        say(measures.totals.uncertain != account.uncertain, format!("told otherwise than counted: {account:?}"));
        for (at, pair) in self.pairs.iter().enumerate() {
            let lost = self.stanzas.iter().filter(|fate| fate.0 == at && !fate.1 && !fate.2).count() as u64;
            let uncertain = self.uncertain.get(pair).copied().unwrap_or_default();
            say(lost > uncertain, format!("{pair:?}: {lost} lost, {uncertain} uncertain"));
        }
        account
    }
}

/// Whether every account is exact, and memory and descriptors are where they were.
impl Report {
    /// What is wrong. Nothing, if all is well.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// How many connections were reset.
    #[must_use]
    pub const fn resets(&self) -> u64 {
        self.resets
    }

    fn judge(&mut self) {
        let [start, quarter, end, closed] = self.footprints;
        if end.0 > quarter.0 + GROWTH_BYTES {
            self.problems.push(format!("memory grows: {} bytes after a quarter, {} at the end", quarter.0, end.0));
        }
        if closed.1 > start.1 {
            self.problems.push(format!("descriptors are kept: {} at the start, {} at the end", start.1, closed.1));
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seconds, resets, stalls, .. } = self;
        writeln!(f, "soak, {}: {seconds} seconds, {resets} resets, {stalls} stalls", self.adapter.as_str())?;
        for (name, account) in ["left", "right"].iter().zip(&self.sides) {
            let Account { sent, delivered, bounced, lost, uncertain, .. } = account;
            writeln!(f, "  {name}: {sent} accepted = {delivered} delivered + {bounced} bounced + {lost} lost;")?;
            let (arrived, certain) = (uncertain.saturating_sub(*lost), account.written - uncertain);
            writeln!(
                f,
                "    {uncertain} counted as uncertain: {lost} lost, {arrived} arrived; {certain} certain, all arrived"
            )?;
        }
        let stages = ["start", "a quarter", "end", "closed"];
        for (stage, (bytes, descriptors)) in stages.iter().zip(&self.footprints) {
            writeln!(f, "  {stage}: {} KiB resident, {descriptors} descriptors", bytes / 1024)?;
        }
        for problem in &self.problems {
            writeln!(f, "  WRONG: {problem}")?;
        }
        write!(f, "  {}", if self.problems.is_empty() { "every stanza is accounted for" } else { "FAILED" })
    }
}

/// Runs for so many seconds, and as many more as it takes until nothing waits.
#[must_use]
pub fn run(adapter: Adapter, seconds: u64, seed: u64) -> Report {
    let authority = Authority::root("the authority");
    // What serves all sockets of a process is opened once and for all.
    smol::block_on(smol::Timer::after(Duration::from_millis(1)));
    let start = footprint();
    let [(left, left_addr), (right, right_addr)] = [listen(), listen()];
    let forwarders = [Forwarder::start(left_addr, seed), Forwarder::start(right_addr, !seed)];
    let sides = [
        Side::start(adapter, left, config(&authority, "left", "right", forwarders[1].addr), 1),
        Side::start(adapter, right, config(&authority, "right", "left", forwarders[0].addr), 2),
    ];
    let ledgers = [ledger("left", "right"), ledger("right", "left")];
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut footprints = [start; 4];
    thread::scope(|scope| {
        for own in [0, 1] {
            let (side, ledgers) = (&sides[own], &ledgers);
            scope.spawn(move || hear(side, &ledgers[own], &ledgers[1 - own]));
        }
        let senders = [0, 1].map(|own| {
            let (side, ledger, seed) = (&sides[own], &ledgers[own], seed + own as u64);
            scope.spawn(move || send(side, ledger, seed, end))
        });
        thread::sleep(Duration::from_secs(seconds) / 4);
        footprints[1] = footprint();
        for sender in senders {
            sender.join().expect("it does not panic");
        }
        forwarders.iter().for_each(Forwarder::behave);
        settle(&sides, &ledgers);
        footprints[2] = footprint();
        for side in &sides {
            // It fails only where the node has ended, which the account shows.
            let _ = side.handle.send(Command::Shutdown);
        }
    });
    sides.into_iter().for_each(Side::join);
    let faults = forwarders.map(Forwarder::end);
    footprints[3] = footprint();
    let accounts = ledgers.each_ref().map(|ledger| {
        let mut ledger = lock(ledger);
        let measures = ledger.measures.unwrap_or_default();
        ledger.close(measures)
    });
    let problems = ledgers.iter().flat_map(|ledger| lock(ledger).problems.clone()).collect();
    for ledger in &ledgers {
        eprintln!("came back: {:?}", lock(ledger).reasons);
    }
    let (resets, stalls) = (faults[0].0 + faults[1].0, faults[0].1 + faults[1].1);
    let mut report = Report { adapter, seconds, sides: accounts, resets, stalls, footprints, problems };
    report.judge();
    report
}

fn host(side: &str, number: usize) -> String {
    format!("{side}{number}.example")
}

fn config(authority: &Authority, own: &str, other: &str, route: SocketAddr) -> Config {
    let hosts: Vec<_> = (0..HOSTS).map(|number| domain(&host(own, number))).collect();
    let identities = hosts.iter().map(|host| authority.issue_kind(Kind::Valid, host).host(host)).collect();
    let provider = RustlsProvider::new(Arc::new(ring::default_provider()), identities, Version::Tls12);
    let provider = provider.expect("usable identities");
    provider.set_time(NOW);
    let mut config = World::config(Arc::new(provider), authority.trust());
    let options = HostOptions { secure_auth: true, require_encryption: true, ..HostOptions::default() };
    config.hosts = hosts.into_iter().map(|host| (host, options.clone())).collect();
    config.private_addresses = PrivateAddresses::Always;
    let route = StaticRoute { addr: route, security: Security::StartTls };
    config.routes = (0..HOSTS).map(|number| (domain(&host(other, number)), route)).collect();
    config.limits.queue_age = QUEUE_AGE;
    config.close_timeout = Duration::from_secs(2);
    config.idle_timeout = IDLE;
    config
}

fn ledger(own: &str, other: &str) -> Mutex<Ledger> {
    let pairs =
        (0..HOSTS * HOSTS).map(|at| Pair::new(domain(&host(own, at / HOSTS)), domain(&host(other, at % HOSTS))));
    Mutex::new(Ledger { pairs: pairs.collect(), ..Ledger::default() })
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

fn send(side: &Side, ledger: &Mutex<Ledger>, seed: u64, end: Instant) {
    let mut random = Random(seed);
    let begin = Instant::now();
    while Instant::now() < end {
        if begin.elapsed().as_millis() % ROUND.as_millis() >= ACTIVE.as_millis() {
            thread::sleep(BURST_EVERY);
            continue;
        }
        for _ in 0..random.number() % (BURST + 1) {
            let text = "x".repeat(usize::try_from(random.number() % TEXT_BYTES).unwrap_or_default());
            let stanza = {
                let mut ledger = lock(ledger);
                let at = usize::try_from(random.number()).unwrap_or_default() % ledger.pairs.len();
                let (from, to, id) = (&ledger.pairs[at].local, &ledger.pairs[at].remote, ledger.stanzas.len());
                let stanza = format!("<message from='x@{from}' to='y@{to}' id='{id}'><body>{text}</body></message>");
                ledger.stanzas.push((at, false, false));
                Stanza::parse(&stanza).expect("a stanza")
            };
            if side.handle.send(Command::Send(stanza)).is_err() {
                return;
            }
        }
        thread::sleep(BURST_EVERY);
    }
}

fn hear(side: &Side, own: &Mutex<Ledger>, other: &Mutex<Ledger>) {
    while let Some(event) = side.handle.event() {
        match event {
            Event::Stanza { stanza, .. } => lock(other).fate(&stanza, true),
            Event::Undeliverable { stanza, reason, .. } => {
                lock(own).fate(&stanza, false);
                *lock(own).reasons.entry(reason).or_default() += 1;
            }
            Event::Uncertain { pair, stanzas, .. } => *lock(own).uncertain.entry(pair).or_default() += stanzas,
            Event::Measured(measures) => lock(own).measures = Some(measures),
            _ => {}
        }
    }
}

/// Waits until nothing waits on either side, and all streams were closed in good order because they are idle.
fn settle(sides: &[Side; 2], ledgers: &[Mutex<Ledger>; 2]) {
    let deadline = Instant::now() + SETTLING;
    loop {
        for (side, ledger) in sides.iter().zip(ledgers) {
            lock(ledger).measures = None;
            let _ = side.handle.send(Command::Measure);
        }
        thread::sleep(Duration::from_millis(200));
        let waiting = |ledger: &Mutex<Ledger>| {
            let open = |measures: Measures| measures.inbound + measures.outbound > 0;
            lock(ledger).measures.is_none_or(|measures| measures.queued_bytes > 0 || open(measures))
        };
        if !ledgers.iter().any(waiting) {
            return;
        }
        if Instant::now() > deadline {
            lock(&ledgers[0]).problems.insert("something waits for ever".to_owned());
            return;
        }
    }
}
