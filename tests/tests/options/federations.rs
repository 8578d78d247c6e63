//! Two nodes whose operators decided something, and what each of them tells.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use s2s_core::auth::Method;
use s2s_core::node::{Config, Direction, Event};
use s2s_core::policy::{DomainList, HostOptions};
use s2s_core::reason::Reason;
use s2s_core::route::PrivateAddresses;
use s2s_tests::certificates::{Authority, Kind};
use s2s_tests::fake_tls::FakeProvider;
use s2s_tests::world::{Cutting, NodeIndex, World, domain};

/// The domain whose options are tried.
pub(crate) const OURS: &str = "ours.example.org";
/// The domain of the other node.
pub(crate) const THEIRS: &str = "theirs.example.net";

pub(crate) const IN: Direction = Direction::Inbound;
pub(crate) const OUT: Direction = Direction::Outbound;

pub(crate) fn addr(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

pub(crate) fn authority() -> Authority {
    Authority::root("the authority")
}

/// A list with these entries.
pub(crate) fn list(entries: &[&str]) -> DomainList {
    let mut list = DomainList::default();
    for entry in entries {
        list.insert(entry).expect("a test writes domains");
    }
    list
}

/// Everything is demanded.
pub(crate) fn secure() -> HostOptions {
    HostOptions { secure_auth: true, require_encryption: true, ..HostOptions::default() }
}

/// The defaults of the configuration.
pub(crate) fn lax() -> HostOptions {
    HostOptions::default()
}

/// A node's configuration: one host, its certificate, and what its operator decided.
pub(crate) fn config(host: &str, kind: Option<Kind>, options: HostOptions) -> Config {
    let host = domain(host);
    let chains = kind.map(|kind| (host.clone(), authority().issue_kind(kind, &host).chain)).into_iter().collect();
    let mut config = World::config(Arc::new(FakeProvider::new(chains)), authority().trust());
    config.private_addresses = PrivateAddresses::Always;
    config.hosts.insert(host, options);
    config
}

/// Two nodes that find each other.
pub(crate) struct Two {
    pub(crate) world: World,
    pub(crate) ours: NodeIndex,
    pub(crate) theirs: NodeIndex,
    /// The domain of the other node.
    pub(crate) remote: String,
}

/// What a node told.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// The ids of stanzas that it delivered.
    pub(crate) delivered: Vec<String>,
    /// Pairs that came up.
    pub(crate) up: Vec<(Direction, Method)>,
    /// Pairs that went down.
    pub(crate) down: Vec<(Direction, Reason)>,
    /// Refusals.
    pub(crate) refused: Vec<(Direction, Reason)>,
    /// Stanzas that went back.
    pub(crate) bounced: Vec<Reason>,
    /// Stanzas that were written and may not have arrived.
    pub(crate) uncertain: u64,
}

impl Told {
    pub(crate) fn of(events: &[Event]) -> Self {
        let mut told = Self::default();
        for event in events {
            match event {
                Event::Stanza { stanza, .. } => told.delivered.extend(stanza.head().id.clone()),
                Event::PeerUp { by, link, .. } => told.up.push((link.direction, *by)),
                Event::PeerDown { direction, reason, .. } => told.down.push((*direction, *reason)),
                Event::Refused { direction, reason, .. } => told.refused.push((*direction, *reason)),
                Event::Undeliverable { reason, .. } => told.bounced.push(*reason),
                Event::Uncertain { stanzas, .. } => told.uncertain += stanzas,
                Event::CertificateChanged { .. } => {}
                other => panic!("an event that these tests do not know: {other:?}"),
            }
        }
        told
    }

    /// Nothing went wrong, and nothing was delivered here.
    pub(crate) fn up(direction: Direction, by: Method) -> Self {
        Self { up: vec![(direction, by)], ..Self::default() }
    }

    pub(crate) fn delivered(mut self, id: &str) -> Self {
        self.delivered.push(id.to_owned());
        self
    }
}

impl Two {
    pub(crate) fn new(ours: Config, theirs: Config) -> Self {
        Self::named(ours, theirs, THEIRS)
    }

    /// With another domain for the other node.
    pub(crate) fn named(ours: Config, theirs: Config, remote: &str) -> Self {
        let mut world = World::new(Cutting::Whole);
        world.tap = Some(BTreeMap::new());
        let ours = world.add(addr(1), ours);
        let theirs = world.add(addr(2), theirs);
        world.publish(OURS, addr(1), true, false);
        world.publish(domain(remote).as_str(), addr(2), true, false);
        Self { world, ours, theirs, remote: remote.to_owned() }
    }

    /// The certificates are of these kinds.
    pub(crate) fn with(ours: (Option<Kind>, HostOptions), theirs: (Option<Kind>, HostOptions)) -> Self {
        Self::new(config(OURS, ours.0, ours.1), config(THEIRS, theirs.0, theirs.1))
    }

    /// One message from ours to theirs: what we told, and what they did.
    pub(crate) fn there(&mut self) -> (Told, Told) {
        let stanza = message(OURS, &self.remote, "there");
        self.world.send(self.ours, &stanza);
        self.told()
    }

    /// One message from theirs to ours: what we told, and what they did.
    pub(crate) fn back(&mut self) -> (Told, Told) {
        let stanza = message(&self.remote, OURS, "back");
        self.world.send(self.theirs, &stanza);
        self.told()
    }

    /// What both told since the last time.
    pub(crate) fn told(&mut self) -> (Told, Told) {
        self.world.run();
        let (ours, theirs) = (self.world.take_events(self.ours), self.world.take_events(self.theirs));
        (Told::of(&ours), Told::of(&theirs))
    }

    pub(crate) fn wait(&mut self, seconds: u64) -> (Told, Told) {
        self.world.run_for(Duration::from_secs(seconds));
        self.told()
    }

    /// A message each way must arrive; how we proved ourselves, and how they did.
    pub(crate) fn federate(&mut self) -> (Method, Method) {
        let there = self.there();
        assert_eq!(there.1.delivered, ["there"], "{there:?}");
        let back = self.back();
        assert_eq!(back.0.delivered, ["back"], "{back:?}");
        let method = |told: &Told| told.up.iter().find(|(way, _)| *way == OUT).map(|(_, by)| *by);
        (method(&there.0).expect("we are up"), method(&back.1).expect("they are up"))
    }
}

pub(crate) fn message(from: &str, to: &str, id: &str) -> String {
    format!("<message from='x@{from}' to='y@{to}' id='{id}'><body>{id}</body></message>")
}
