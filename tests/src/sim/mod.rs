//! Simulation: whole federations in one thread on virtual time, with a network, a DNS and operators that fail.
//!
//! One number is a run: it gives the domains, how they are set up, what the network is like and what goes wrong and when.
//! Nodes are real, with the [fake TLS](crate::fake_tls) and real certificates; everything around them is a model.
//!
//! ```text
//!  agenda --happening--> federation --report--> node
//!    ^                      |  ^                 |
//!    +---- net, dns <-------+  +--effect, event--+--> observe, ledger: is this lawful?
//! ```
//!
//! Things go wrong for ten minutes or an hour, and at every step the laws of safety hold:
//!
//! - A stanza is delivered only if the domain that it is from sent it, to the domain that it is for, with the same bytes,
//!   over a connection on which that domain was proved; and nobody believes an impostor or a liar about DNS.
//! - A pair is up only by a proof and over a stream that the operator of the site allows, and not any more once another
//!   configuration forbids it. What is sent to a domain that is denied comes back at once.
//! - No stanza is delivered twice, comes back after it was wholly written, or is written twice.
//! - On one stream the stanzas of a pair are written and arrive in the order in which they were sent.
//! - Ids are not given twice, and not named after their end. `PeerDown` follows `PeerUp`, once.
//! - No node is in a busy loop, or holds more than its limits say, and each counts the connections that it has.
//! - What is over, and timers that come early, move nothing.
//!
//! Then everything is healed, and within ten minutes:
//!
//! - whoever can send to somebody does: the last of three stanzas arrives; and nobody else's does;
//! - nothing waits, nothing is being verified or looked up;
//! - every stanza that was accepted was delivered, came back, was written to a connection that lost bytes, or was with a
//!   process that ended;
//! - of what a connection lost, its writer has told that it is uncertain, unless its peer said that it had read it.
//!
//! At last all nodes shut down, and let go of every id.

mod agenda;
mod dns;
mod faults;
mod federation;
mod ledger;
mod net;
mod observe;
mod options;
mod origin;
mod random;
mod site;
mod swarm;
mod traffic;
mod zone;

use std::any::Any;
use std::collections::BTreeMap;
use std::hash::Hasher;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use s2s_core::machine::Machine;
use s2s_core::node::{Command, Node};

pub use origin::{Failure, Origin, seed_named};
pub use random::Random;
pub use swarm::{Fault, Setup};

use agenda::Happening;
use federation::Federation;
use ledger::Fate;
use swarm::Swarm;

/// When, after everything is healed, stanzas are sent that have to arrive: failures are remembered for
/// [`BACKOFF_CAP`](s2s_core::limits::BACKOFF_CAP) at most, and the last one may be that of an attempt under way.
const PROBES: [Duration; 3] = [Duration::from_secs(400), Duration::from_secs(440), Duration::from_secs(480)];

/// When, after everything is healed, all has to be well.
const LIVENESS: Duration = Duration::from_secs(600);

/// How long a shutdown may take.
const SHUTDOWN: Duration = Duration::from_secs(60);

/// Pairs that are asked whether all is well.
const PROBED_PAIRS: usize = 40;

/// What a run was.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// A digest of everything that happened.
    pub hash: u64,
    /// Things that happened.
    pub steps: u64,
    /// Domains.
    pub domains: usize,
    /// Stanzas that were accepted or refused by nodes, those that were delivered, and those that came back.
    pub stanzas: usize,
    /// Of these, delivered.
    pub delivered: usize,
    /// Of these, given back.
    pub bounced: usize,
    /// What went wrong, and how often.
    pub faults: BTreeMap<Fault, u64>,
    /// Five domains for an hour of virtual time, with at least one stanza for each domain and minute, and at least twenty
    /// planned faults: less if there was less of one of them.
    pub federation_hours: f64,
}

/// Runs a federation. A failure is run once more, to tell what happened last.
pub fn run(origin: &Origin) -> Result<Summary, Box<Failure>> {
    attempt(origin, false).map_err(|failure| attempt(origin, true).err().unwrap_or(failure))
}

fn attempt(origin: &Origin, traced: bool) -> Result<Summary, Box<Failure>> {
    let mut random = match origin {
        Origin::Seed(seed) | Origin::Pinned { seed, .. } => Random::new(*seed),
        Origin::Script(script) => Random::scripted(script),
    };
    let aside = random.beside();
    let swarm = match origin {
        Origin::Seed(seed) => Swarm::draw(*seed, &mut random),
        Origin::Script(_) => Swarm::small(&mut random),
        Origin::Pinned { faults, .. } => Swarm::pinned(faults, &mut random),
    };
    let mut federation = Federation::new(random, aside, swarm, traced);
    let panicked = catch_unwind(AssertUnwindSafe(|| play(&mut federation))).err();
    if let Some(panic) = panicked {
        federation.break_law(format!("panicked: {}", text_of(&*panic)));
    }
    match federation.violation.take() {
        None => Ok(summarise(&federation)),
        Some(law) => Err(Box::new(Failure {
            origin: origin.clone(),
            step: federation.steps,
            at: federation.now.duration_since(federation.start),
            law,
            trace: federation.trace.take().unwrap_or_default().into(),
        })),
    }
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<String>().map_or_else(|| panic.downcast_ref::<&str>().copied().unwrap_or("?"), String::as_str)
}

/// Trouble, health, the end.
fn play(federation: &mut Federation) {
    federation.publish();
    let now = federation.now;
    for site in 0..federation.sites.len() {
        federation.rise(site);
    }
    for domain in 0..federation.names.len() {
        federation.agenda.plan(now, Happening::Write { domain });
    }
    plan_faults(federation);
    federation.run_until(now + federation.swarm.span);
    if federation.violation.is_some() {
        return;
    }
    federation.heal();
    let healed = federation.now;
    let pairs = choose_pairs(federation);
    let mut last = Vec::new();
    for moment in PROBES {
        federation.run_until(healed + moment);
        last = pairs
            .iter()
            .map(|(from, to)| federation.send(federation.homes[*from], *from, *to, 0, true))
            .collect::<Vec<_>>();
    }
    federation.run_until(healed + LIVENESS);
    if federation.violation.is_none() {
        judge_liveness(federation, &pairs, &last);
    }
    if federation.violation.is_none() {
        shut_down(federation);
    }
}

/// Faults strike by chance, or when and where it was said.
fn plan_faults(federation: &mut Federation) {
    let now = federation.now;
    let Some(pinned) = federation.swarm.pinned.clone() else {
        return federation.agenda.plan(now + Duration::from_secs(1), Happening::Fault);
    };
    let sites = federation.honest_sites();
    for (at, fault, site) in pinned.into_iter().filter(|(_, fault, _)| fault.is_planned()) {
        federation.agenda.plan(now + at, Happening::Pinned { fault, site: site % sites });
    }
}

/// Pairs of domains of different sites.
fn choose_pairs(federation: &mut Federation) -> Vec<(usize, usize)> {
    let domains = 0..federation.names.len();
    let all = domains.clone().flat_map(|from| domains.clone().map(move |to| (from, to)));
    let mut pairs: Vec<_> = all.filter(|(from, to)| federation.homes[*from] != federation.homes[*to]).collect();
    while pairs.len() > PROBED_PAIRS {
        let at = federation.random.below(pairs.len());
        pairs.swap_remove(at);
    }
    pairs
}

fn judge_liveness(federation: &mut Federation, pairs: &[(usize, usize)], last: &[Option<usize>]) {
    for ((from, to), number) in pairs.iter().zip(last) {
        let expected = federation.can_send(*from, *to);
        let fate = number.map(|number| federation.ledger.entries[number].fate);
        if (fate == Some(Fate::Delivered)) != expected {
            let [one, other] = [from, to].map(|domain| &federation.sites[federation.homes[*domain]]);
            let [one, other] = [one, other].map(|site| format!("{:?} with {:?}", site.setup, site.orders));
            return federation
                .break_law(format!("d{from}, {one}, to d{to}, {other}, all healed: {number:?} is {fate:?}"));
        }
    }
    if let Some(number) = federation.ledger.vanished() {
        let entry = federation.ledger.entries[number].clone();
        return federation.break_law(format!("stanza {number} vanished: {entry:?}"));
    }
    if let Some((wire, lost, told)) = federation.ledger.uncounted() {
        return federation
            .break_law(format!("{wire:?} broke with {lost} stanzas, and {told} are told to be uncertain"));
    }
    for site in 0..federation.sites.len() {
        let held = federation.sites[site].node.as_ref().map(Node::measures).unwrap_or_default();
        if (held.queued_bytes, held.verifications, held.lookups) != (0, 0, 0) {
            return federation.break_law(format!("site {site} is at rest, and holds {held:?}"));
        }
    }
}

fn shut_down(federation: &mut Federation) {
    let now = federation.now;
    for site in 0..federation.sites.len() {
        let life = federation.sites[site].life;
        federation.tell(life, |node| node.handle_command(now, Command::Shutdown));
    }
    federation.run_until(now + SHUTDOWN);
    for number in 0..federation.sites.len() {
        let site = &federation.sites[number];
        let finished = site.node.as_ref().is_none_or(Machine::is_finished);
        if !finished || !site.conns.is_empty() || !site.asks.is_empty() || !site.up.is_empty() {
            let (conns, asks, up) = (&site.conns, &site.asks, &site.up);
            return federation.break_law(format!("site {number} was shut down, and holds {conns:?} {asks:?} {up:?}"));
        }
    }
}

fn summarise(federation: &Federation) -> Summary {
    let entries = &federation.ledger.entries;
    let (domains, hours) = (federation.names.len(), federation.swarm.span.as_secs_f64() / 3600.0);
    let planned = federation.struck.iter().filter(|(fault, _)| fault.is_planned());
    let planned: u64 = planned.map(|(_, count)| count).sum();
    let genuine = entries.iter().filter(|entry| !entry.probe && !entry.forged).count();
    let federation_hours = (domains as f64 / 5.0 * hours).min(planned as f64 / 20.0).min(genuine as f64 / 300.0);
    Summary {
        hash: federation.hasher.finish(),
        steps: federation.steps,
        domains,
        stanzas: entries.len(),
        delivered: entries.iter().filter(|entry| entry.fate == Fate::Delivered).count(),
        bounced: entries.iter().filter(|entry| matches!(entry.fate, Fate::Bounced(_))).count(),
        faults: federation.struck.clone(),
        federation_hours,
    }
}
