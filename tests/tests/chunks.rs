//! Rule 2 of the architecture: the same bytes give the same events and the same plaintext, however they are cut.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use proptest::prelude::*;
use s2s_core::node::{Config, Event};
use s2s_core::policy::HostOptions;
use s2s_core::route::PrivateAddresses;
use s2s_tests::certificates::{Authority, Kind};
use s2s_tests::fake_tls::FakeProvider;
use s2s_tests::world::{Cutting, World, domain};

/// What one negotiation is made of.
#[derive(Clone, Copy, Debug)]
struct Negotiation {
    certificates: [Option<Kind>; 2],
    secure_auth: [bool; 2],
    require_encryption: [bool; 2],
    direct_tls: bool,
}

const NAMES: [&str; 2] = ["a.example.org", "b.example.net"];
const KINDS: [Kind; 4] = [Kind::Valid, Kind::SelfSigned, Kind::Expired, Kind::WrongName];

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

fn addr(host: usize) -> IpAddr {
    IpAddr::from([192, 0, 2, u8::try_from(host + 1).expect("two hosts")])
}

fn config(host: usize, negotiation: Negotiation) -> Config {
    let name = domain(NAMES[host]);
    let chain = negotiation.certificates[host].map(|kind| (name.clone(), certificate(host, kind)));
    let mut config = World::config(Arc::new(FakeProvider::new(chain.into_iter().collect())), authority().trust());
    config.private_addresses = PrivateAddresses::Always;
    config.hosts.insert(
        name,
        HostOptions {
            secure_auth: negotiation.secure_auth[host],
            require_encryption: negotiation.require_encryption[host],
            ..HostOptions::default()
        },
    );
    config
}

/// The events of both nodes after messages each way, and all XML that each wrote, connection by connection.
fn outcome(negotiation: Negotiation, cutting: Cutting) -> Vec<(Vec<Event>, Vec<String>)> {
    let mut world = World::new(cutting);
    world.tap = Some(BTreeMap::new());
    for (host, name) in NAMES.iter().enumerate() {
        world.add(addr(host), config(host, negotiation));
        world.publish(name, addr(host), !negotiation.direct_tls, negotiation.direct_tls);
    }
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
    (0..2).map(|host| (world.take_events(host), world.plaintext(host))).collect()
}

fn negotiation() -> impl Strategy<Value = Negotiation> {
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

fn cutting() -> impl Strategy<Value = Cutting> {
    prop_oneof![1 => (1_usize..40).prop_map(Cutting::Pieces), 4 => any::<u64>().prop_map(Cutting::Random)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    //= RFC6120-10.1-3 test
    fn any_split_of_whole_negotiations_gives_the_same_events_and_plaintext(negotiation in negotiation(), cutting in cutting()) {
        prop_assert_eq!(outcome(negotiation, cutting), outcome(negotiation, Cutting::Whole));
    }
}

#[test]
fn byte_at_a_time_is_a_split_too() {
    for certificates in [[Some(Kind::Valid); 2], [Some(Kind::SelfSigned); 2], [None; 2]] {
        let negotiation =
            Negotiation { certificates, secure_auth: [false; 2], require_encryption: [false; 2], direct_tls: false };
        let whole = outcome(negotiation, Cutting::Whole);
        let delivered =
            |(events, _): &(Vec<Event>, _)| events.iter().any(|event| matches!(event, Event::Stanza { .. }));
        assert!(whole.iter().all(delivered), "{whole:?}");
        assert_eq!(outcome(negotiation, Cutting::Pieces(1)), whole);
    }
}
