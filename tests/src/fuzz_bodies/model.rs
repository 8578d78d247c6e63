//! Real nodes beside the naive [model], step by step.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arbitrary::Arbitrary;
use s2s_core::addr::{Domain, Pair};
use s2s_core::limits;
use s2s_core::machine::ConnId;
use s2s_core::node::{Command, Config, Direction, Event};
use s2s_core::policy::HostOptions;
use s2s_core::route::PrivateAddresses;
use s2s_core::tls::verify::Trust;

use super::input::{Choices, Input};
use crate::certificates::{Authority, Kind};
use crate::fake_tls::FakeProvider;
use crate::model::{Model, Operation, Sight, Way};
use crate::sim::Setup;
use crate::world::{Cutting, World, domain};

const SITES: usize = 3;

/// Operations of one input at most.
const OPERATIONS: usize = 40;

/// Failures are remembered no longer, so that what is tried then is tried in earnest.
const REST: Duration = limits::BACKOFF_CAP.saturating_add(Duration::from_secs(30));

/// The input is how three sites are set up and what is done to them. After every operation everybody sees what the
/// [`Model`] says: what was delivered and what came back, in which order, and between whom stanzas can flow.
pub fn model(data: &[u8]) {
    let mut input = Input::new(data);
    let setups: Vec<Setup> = (0..SITES).map(|_| input.pick(&Setup::ALL)).collect();
    let direct_tls = input.byte();
    let cutting = if input.below(2) == 0 { Cutting::Whole } else { Cutting::Pieces(1 + input.below(60)) };
    let mut model = Model::new(&setups);
    let mut nodes = Nodes::new(&setups, direct_tls, cutting);
    let mut history = Vec::new();
    while !input.is_empty() && history.len() < OPERATIONS {
        let operation: Operation = input.read();
        if !model.allows(operation) {
            continue;
        }
        history.push(operation);
        let first = model.next();
        let expected = model.step(operation);
        let seen = nodes.step(operation, first, &model);
        assert_eq!(seen, expected, "left: the nodes, right: the model, after {history:?} among {setups:?}");
    }
}

impl<'a> Arbitrary<'a> for Operation {
    fn arbitrary(input: &mut Input<'a>) -> arbitrary::Result<Self> {
        let from = input.below(SITES);
        let to = (from + 1 + input.below(SITES - 1)) % SITES;
        let way = Way { from, to };
        Ok(match input.below(10) {
            0..5 => Self::Send(way, 1 + input.below(4)),
            5 | 6 => Self::Break(way),
            7 => Self::Stop(from),
            8 => Self::Start(from),
            _ => Self::Deny(from, to),
        })
    }
}

/// The real ones.
struct Nodes {
    world: World,
    setups: Vec<Setup>,
    /// What each node has told to be up.
    up: BTreeSet<(usize, Pair, Direction, ConnId)>,
}

fn name(site: usize) -> Domain {
    domain(&format!("d{site}.example"))
}

fn addr(site: usize) -> IpAddr {
    IpAddr::from([10, 0, 0, u8::try_from(site + 1).expect("few sites")])
}

fn authority() -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    AUTHORITY.get_or_init(|| Authority::root("the authority"))
}

/// The chain that a site shows.
fn chain(site: usize, kind: Kind) -> Vec<Vec<u8>> {
    static ISSUED: OnceLock<Vec<[Vec<Vec<u8>>; 2]>> = OnceLock::new();
    let issue = |site| [Kind::Valid, Kind::SelfSigned].map(|kind| authority().issue_kind(kind, &name(site)).chain);
    ISSUED.get_or_init(|| (0..SITES).map(issue).collect())[site][usize::from(kind == Kind::SelfSigned)].clone()
}

fn config(site: usize, setup: Setup, denies: &BTreeSet<usize>) -> Config {
    static TRUST: OnceLock<Arc<Trust>> = OnceLock::new();
    let kind = match setup {
        Setup::Bare => None,
        Setup::SelfSigned => Some(Kind::SelfSigned),
        Setup::Strict | Setup::Certified | Setup::Open => Some(Kind::Valid),
    };
    let chains = kind.map(|kind| (name(site), chain(site, kind))).into_iter().collect();
    let mut config = World::config(Arc::new(FakeProvider::new(chains)), Trust::new(&[]));
    config.trust = Arc::clone(TRUST.get_or_init(|| Arc::new(authority().trust())));
    config.private_addresses = PrivateAddresses::Always;
    // The model knows no time.
    config.idle_timeout = Duration::from_secs(86_400 * 365);
    let mut options = HostOptions {
        secure_auth: setup == Setup::Strict,
        require_encryption: setup.demands_encryption(),
        ..HostOptions::default()
    };
    for denied in denies {
        options.deny_domains.insert(name(*denied).as_str()).expect("a domain");
    }
    config.hosts.insert(name(site), options);
    config
}

impl Nodes {
    fn new(setups: &[Setup], direct_tls: u8, cutting: Cutting) -> Self {
        let mut world = World::new(cutting);
        for (site, setup) in setups.iter().enumerate() {
            world.add(addr(site), config(site, *setup, &BTreeSet::new()));
            let direct = *setup != Setup::Bare && direct_tls >> site & 1 == 1;
            world.publish(name(site).as_str(), addr(site), !direct, direct);
        }
        world.zone = std::mem::take(&mut world.zone).transient();
        Self { world, setups: setups.to_vec(), up: BTreeSet::new() }
    }

    /// Does it, lets everything come to rest, and tells what was seen. The model has done it before.
    fn step(&mut self, operation: Operation, first: u64, model: &Model) -> Sight {
        match operation {
            Operation::Send(way, stanzas) => {
                let (from, to) = (name(way.from), name(way.to));
                for id in first..first + stanzas as u64 {
                    let text = format!("<message from='x@{from}' to='y@{to}' id='{id}'><body>é</body></message>");
                    self.world.send(way.from, &text);
                }
            }
            Operation::Break(way) => {
                let pair = Pair::new(name(way.from), name(way.to));
                let carries = |up: &&(usize, Pair, Direction, ConnId)| {
                    (up.0, &up.1, up.2) == (way.from, &pair, Direction::Outbound)
                };
                let conn = self.up.iter().find(carries).expect("it is up").3;
                self.world.sever(way.from, conn);
            }
            Operation::Stop(site) => {
                self.world.kill(addr(site));
                self.up.retain(|(at, ..)| *at != site);
            }
            Operation::Start(site) => {
                self.world.revive(site, config(site, self.setups[site], model.denied_by(site)));
                self.world.take_events(site);
            }
            Operation::Deny(site, _) => {
                let config = config(site, self.setups[site], model.denied_by(site));
                self.world.command(site, Command::Reconfigure(Box::new(config)));
            }
        }
        self.world.run_for(REST);
        let mut sight = Sight::default();
        for site in (0..SITES).filter(|site| model.is_alive(*site)) {
            for event in self.world.take_events(site) {
                self.note(site, event, &mut sight);
            }
        }
        sight.up = self.both_ends();
        sight
    }

    fn note(&mut self, site: usize, event: Event, sight: &mut Sight) {
        let id = |stanza: &s2s_core::stanza::Stanza| {
            stanza.head().id.as_ref().and_then(|id| id.parse::<u64>().ok()).expect("a number")
        };
        let index = |domain: &Domain| (0..SITES).find(|site| name(*site) == *domain).expect("one of ours");
        match event {
            Event::Stanza { pair, stanza } => {
                let way = Way { from: index(&pair.remote), to: site };
                sight.delivered.entry(way).or_default().push(id(&stanza));
            }
            Event::Undeliverable { pair, stanza, .. } => {
                let way = Way { from: site, to: index(&pair.remote) };
                sight.returned.entry(way).or_default().push(id(&stanza));
            }
            Event::PeerUp { pair, link, .. } => _ = self.up.insert((site, pair, link.direction, link.conn)),
            Event::PeerDown { pair, direction, conn, .. } => {
                assert!(self.up.remove(&(site, pair, direction, conn)), "down, and was not up");
            }
            _ => {}
        }
    }

    /// The ways that are up: both ends must say so.
    fn both_ends(&self) -> BTreeSet<Way> {
        let mut ends: BTreeMap<Way, [bool; 2]> = BTreeMap::new();
        for (site, pair, direction, _) in &self.up {
            let other = (0..SITES).find(|site| name(*site) == pair.remote).expect("one of ours");
            match direction {
                Direction::Outbound => ends.entry(Way { from: *site, to: other }).or_default()[0] = true,
                Direction::Inbound => ends.entry(Way { from: other, to: *site }).or_default()[1] = true,
            }
        }
        for (way, ends) in &ends {
            assert_eq!(*ends, [true; 2], "{way:?} is up at one end only");
        }
        ends.into_keys().collect()
    }
}
