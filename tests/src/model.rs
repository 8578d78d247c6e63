//! The naive federation: maps and queues, without bytes, timers or bounds. It says what everybody sees once everything is
//! at rest after one operation; real nodes are compared with it step by step
//! ([`fuzz_bodies::model`](crate::fuzz_bodies::model)).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::sim::Setup;

/// A server, which serves one domain.
pub type SiteIndex = usize;

/// From which site to which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    /// The sender's.
    pub from: SiteIndex,
    /// The recipient's.
    pub to: SiteIndex,
}

impl Way {
    /// The way back.
    #[must_use]
    pub const fn back(self) -> Self {
        Self { from: self.to, to: self.from }
    }
}

/// What somebody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// So many stanzas are sent, before anything moves.
    Send(Way, usize),
    /// The connection that carries stanzas this way breaks, if there is one.
    Break(Way),
    /// A site goes down without a word.
    Stop(SiteIndex),
    /// It comes up again.
    Start(SiteIndex),
    /// A site denies another one, or no longer, and is configured anew.
    Deny(SiteIndex, SiteIndex),
}

/// What everybody sees after an operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// Stanzas that were delivered, in order, by the way.
    pub delivered: BTreeMap<Way, Vec<u64>>,
    /// Stanzas that came back, in order, by the way.
    pub returned: BTreeMap<Way, Vec<u64>>,
    /// The ways on which stanzas can flow.
    pub up: BTreeSet<Way>,
}

/// The federation.
#[derive(Clone, Debug)]
pub struct Model {
    sites: Vec<Site>,
    queues: BTreeMap<Way, VecDeque<u64>>,
    up: BTreeSet<Way>,
    sent: u64,
}

#[derive(Clone, Debug)]
struct Site {
    setup: Setup,
    alive: bool,
    denies: BTreeSet<SiteIndex>,
}

impl Model {
    /// Sites that have not met yet.
    #[must_use]
    pub fn new(setups: &[Setup]) -> Self {
        let sites = setups.iter().map(|setup| Site { setup: *setup, alive: true, denies: BTreeSet::new() }).collect();
        Self { sites, queues: BTreeMap::new(), up: BTreeSet::new(), sent: 0 }
    }

    /// Whether a site is up.
    #[must_use]
    pub fn is_alive(&self, site: SiteIndex) -> bool {
        self.sites[site].alive
    }

    /// Whom a site denies.
    #[must_use]
    pub fn denied_by(&self, site: SiteIndex) -> &BTreeSet<SiteIndex> {
        &self.sites[site].denies
    }

    /// The number of the next stanza.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.sent
    }

    /// Whether the operation means anything now: who is down does nothing.
    #[must_use]
    pub fn allows(&self, operation: Operation) -> bool {
        match operation {
            Operation::Send(way, _) => way.from != way.to && self.is_alive(way.from),
            Operation::Break(way) => self.up.contains(&way),
            Operation::Stop(site) => self.is_alive(site),
            Operation::Start(site) => !self.is_alive(site),
            Operation::Deny(site, other) => site != other && self.is_alive(site),
        }
    }

    /// Does it, and tells what is seen of it.
    pub fn step(&mut self, operation: Operation) -> Sight {
        match operation {
            Operation::Send(way, stanzas) => {
                let queue = self.queues.entry(way).or_default();
                queue.extend(self.sent..self.sent + stanzas as u64);
                self.sent += stanzas as u64;
            }
            Operation::Break(way) => _ = self.up.remove(&way),
            Operation::Stop(site) => {
                self.sites[site].alive = false;
                self.up.retain(|way| way.from != site && way.to != site);
            }
            Operation::Start(site) => self.sites[site].alive = true,
            Operation::Deny(site, other) => {
                let denies = &mut self.sites[site].denies;
                if !denies.remove(&other) {
                    denies.insert(other);
                }
                let sites = &self.sites;
                self.up.retain(|way| {
                    !sites[way.from].denies.contains(&way.to) && !sites[way.to].denies.contains(&way.from)
                });
            }
        }
        self.flow()
    }

    /// What waits flows, or goes back.
    fn flow(&mut self) -> Sight {
        let mut sight = Sight::default();
        for (way, queue) in &mut self.queues {
            let [from, to] = [&self.sites[way.from], &self.sites[way.to]];
            let denied = from.denies.contains(&way.to) || to.denies.contains(&way.from);
            let flows = from.alive && to.alive && !denied && from.setup.can_federate(to.setup);
            if queue.is_empty() {
                continue;
            }
            let there = if flows { &mut sight.delivered } else { &mut sight.returned };
            there.entry(*way).or_default().extend(queue.drain(..));
            if flows {
                self.up.insert(*way);
            }
        }
        sight.up.clone_from(&self.up);
        sight
    }
}
