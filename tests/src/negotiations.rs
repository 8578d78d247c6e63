//! Two nodes that meet: every certificate, every demand, either beginning.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use proptest::prelude::*;
use s2s_core::node::{Config, Event};
use s2s_core::policy::HostOptions;
use s2s_core::route::PrivateAddresses;
use s2s_core::tls::verify::Trust;

use crate::certificates::{Authority, Kind};
use crate::fake_tls::FakeProvider;
use crate::world::{Cutting, World, domain};

/// The domains of the two nodes.
pub const NAMES: [&str; 2] = ["a.example.org", "b.example.net"];

const KINDS: [Kind; 4] = [Kind::Valid, Kind::SelfSigned, Kind::Expired, Kind::WrongName];

/// What one negotiation is made of: each item for both nodes.
#[derive(Clone, Copy, Debug)]
pub struct Negotiation {
    /// What they show.
    pub certificates: [Option<Kind>; 2],
    /// Whether they demand a valid certificate.
    pub secure_auth: [bool; 2],
    /// Whether they demand encryption.
    pub require_encryption: [bool; 2],
    /// Whether both are reached by direct TLS, and not by STARTTLS.
    pub direct_tls: bool,
}

impl Negotiation {
    /// Nobody shows anything, and nobody demands anything: dialback in clear.
    pub const OPEN: Self =
        Self { certificates: [None; 2], secure_auth: [false; 2], require_encryption: [false; 2], direct_tls: false };
}

/// What one node made of a negotiation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Course {
    /// What it told.
    pub events: Vec<Event>,
    /// The XML that it wrote, connection by connection.
    pub written: Vec<String>,
}

fn certificate(host: usize, kind: Kind) -> Vec<Vec<u8>> {
    static ISSUED: OnceLock<Vec<Vec<Vec<Vec<u8>>>>> = OnceLock::new();
    let issued = ISSUED.get_or_init(|| {
        let issue = |name: &&str| KINDS.map(|kind| authority().issue_kind(kind, &domain(name)).chain).to_vec();
        NAMES.iter().map(issue).collect()
    });
    issued[host][KINDS.iter().position(|known| *known == kind).expect("a kind of the list")].clone()
}

fn authority() -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    AUTHORITY.get_or_init(|| Authority::root("the authority"))
}

fn trust() -> Arc<Trust> {
    static TRUST: OnceLock<Arc<Trust>> = OnceLock::new();
    Arc::clone(TRUST.get_or_init(|| Arc::new(authority().trust())))
}

fn addr(host: usize) -> IpAddr {
    IpAddr::from([192, 0, 2, u8::try_from(host + 1).expect("two hosts")])
}

fn config(host: usize, negotiation: Negotiation) -> Config {
    let name = domain(NAMES[host]);
    let chain = negotiation.certificates[host].map(|kind| (name.clone(), certificate(host, kind)));
    let mut config = World::config(Arc::new(FakeProvider::new(chain.into_iter().collect())), Trust::new(&[]));
    config.trust = trust();
    config.private_addresses = PrivateAddresses::Always;
    let options = HostOptions {
        secure_auth: negotiation.secure_auth[host],
        require_encryption: negotiation.require_encryption[host],
        ..HostOptions::default()
    };
    config.hosts.insert(name, options);
    config
}

/// The world of two nodes that have not met yet, each configured as `adjust` leaves it.
pub fn world(negotiation: Negotiation, cutting: Cutting, adjust: impl Fn(&mut Config)) -> World {
    let mut world = World::new(cutting);
    for (host, name) in NAMES.iter().enumerate() {
        let mut config = config(host, negotiation);
        adjust(&mut config);
        world.add(addr(host), config);
        world.publish(name, addr(host), !negotiation.direct_tls, negotiation.direct_tls);
    }
    world
}

/// What both nodes make of three messages each way, first one way, then the other.
#[must_use]
pub fn course(negotiation: Negotiation, cutting: Cutting) -> [Course; 2] {
    let mut world = world(negotiation, cutting, |_| {});
    world.tap = Some(BTreeMap::new());
    for (from, to) in [(0, 1), (1, 0)] {
        for n in 0..3 {
            let (from_name, to_name) = (NAMES[from], NAMES[to]);
            let body = "é&lt;".repeat(n * 20);
            world.send(
                from,
                &format!("<message from='x@{from_name}' to='y@{to_name}' id='{n}'><body>{body}</body></message>"),
            );
        }
        world.run();
    }
    [0, 1].map(|host| Course { events: world.take_events(host), written: world.plaintext(host) })
}

/// Any negotiation.
pub fn negotiation() -> impl Strategy<Value = Negotiation> {
    let kind = || prop::option::of(prop::sample::select(KINDS.to_vec()));
    ([kind(), kind()], any::<[bool; 2]>(), any::<[bool; 2]>(), any::<bool>()).prop_map(
        |(certificates, secure_auth, require_encryption, direct_tls)| Negotiation {
            certificates,
            secure_auth,
            require_encryption,
            direct_tls,
        },
    )
}

/// Any way to cut.
pub fn cutting() -> impl Strategy<Value = Cutting> {
    prop_oneof![1 => (1_usize..40).prop_map(Cutting::Pieces), 4 => any::<u64>().prop_map(Cutting::Random)]
}
