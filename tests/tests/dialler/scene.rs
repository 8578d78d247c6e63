//! Generated scenes: a domain with servers at many addresses, each with its fate, and DNS that tells of them bit by bit.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use proptest::prelude::*;
use s2s_core::node::Config;
use s2s_core::policy::HostOptions;
use s2s_core::route::PrivateAddresses;
use s2s_tests::certificates::{Authority, Kind};
use s2s_tests::dns_server::Zone;
use s2s_tests::fake_tls::FakeProvider;
use s2s_tests::puppetry::response;
use s2s_tests::world::{Cutting, NodeIndex, Puppet, World, domain};

/// Our domain.
pub(crate) const OURS: &str = "a.example.org";
/// The domain that is to be reached.
pub(crate) const THEIRS: &str = "b.example.net";

/// What comes of a connection to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    /// It is the server.
    Serves,
    /// It is the server, whose certificate has expired.
    Expired,
    /// It is the server, and does not trust our certificate.
    Distrusts,
    /// It is the server of another domain.
    OtherHost,
    /// Nobody listens.
    Refuses,
    /// Nothing is heard from there.
    BlackHole,
    /// Nothing is said there.
    Silent,
    /// The connection is ended at once.
    HangsUp,
    /// What is said is no XMPP.
    Garbage,
    /// The stream ends with an error.
    StreamError,
    /// TLS is not offered.
    NoTls,
    /// TLS is offered and refused.
    RefusesTls,
    /// It is a private address.
    Private,
    /// It is a listener of ours.
    OurListener,
}

/// An address and what is there.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) fate: Fate,
    /// How long a request for a connection takes to arrive.
    pub(crate) delay: Duration,
}

/// A target of SRV records.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// Whether it is served with TLS from the first byte.
    pub(crate) direct: bool,
    pub(crate) v6: Vec<Place>,
    pub(crate) v4: Vec<Place>,
    /// How long DNS takes for each family. More than the patience with a query: for ever.
    pub(crate) aaaa: Duration,
    pub(crate) a: Duration,
    /// Whether DNS fails for its addresses.
    pub(crate) fails: bool,
}

/// All of it. The hosts have the priorities of their places in the list.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) hosts: Vec<Host>,
    /// How long DNS takes for the records of direct TLS, and of STARTTLS.
    pub(crate) services: [Duration; 2],
    /// Which of them it fails for.
    pub(crate) failing: [bool; 2],
    pub(crate) ipv6: bool,
    pub(crate) ipv4: bool,
    /// `s2s_timeout`
    pub(crate) timeout: Duration,
    /// `s2s_attempt_timeout`
    pub(crate) attempt: Duration,
}

fn delay(milliseconds: Vec<u64>) -> impl Strategy<Value = Duration> {
    // No two things happen in the same moment unless they take no time.
    (prop::sample::select(milliseconds), 0..1_000_000_u64).prop_map(|(milliseconds, nanoseconds)| match milliseconds {
        0 => Duration::ZERO,
        some => Duration::from_millis(some) + Duration::from_nanos(nanoseconds),
    })
}

fn fates() -> impl Strategy<Value = Fate> {
    prop_oneof![
        2 => Just(Fate::Serves),
        2 => prop::sample::select(vec![Fate::Expired, Fate::Distrusts, Fate::OtherHost]),
        4 => prop::sample::select(vec![Fate::Refuses, Fate::BlackHole, Fate::Silent]),
        3 => prop::sample::select(vec![
            Fate::HangsUp, Fate::Garbage, Fate::StreamError, Fate::NoTls, Fate::RefusesTls,
        ]),
        1 => prop::sample::select(vec![Fate::Private, Fate::OurListener]),
    ]
}

fn places() -> impl Strategy<Value = Vec<Place>> {
    let place =
        (fates(), delay(vec![0, 0, 30, 200, 400, 2000, 12_000])).prop_map(|(fate, delay)| Place { fate, delay });
    prop::collection::vec(place, 0..4)
}

fn hosts() -> impl Strategy<Value = Host> {
    let dns = || delay(vec![0, 0, 0, 20, 70, 300, 1500, 2900, 5000]);
    (any::<bool>(), places(), places(), dns(), dns(), prop::bool::weighted(0.1))
        .prop_map(|(direct, v6, v4, aaaa, a, fails)| Host { direct, v6, v4, aaaa, a, fails })
}

pub(crate) fn scenes() -> impl Strategy<Value = Scene> {
    let dns = || delay(vec![0, 0, 0, 100, 2000, 5000]);
    let rarely = || prop::bool::weighted(0.08);
    (
        prop::collection::vec(hosts(), 1..5),
        (dns(), dns()),
        (rarely(), rarely()),
        (prop::bool::weighted(0.9), prop::bool::weighted(0.9)),
        prop::sample::select(vec![5_300, 21_700, 88_888]),
        prop::sample::select(vec![2_100, 10_000]),
    )
        .prop_map(|(hosts, services, failing, (ipv6, ipv4), timeout, attempt)| Scene {
            hosts,
            services: services.into(),
            failing: failing.into(),
            ipv6,
            ipv4,
            timeout: Duration::from_millis(timeout),
            attempt: Duration::from_millis(attempt),
        })
}

impl Host {
    pub(crate) const fn port(&self) -> u16 {
        if self.direct { 5270 } else { 5269 }
    }

    fn name(at: usize) -> String {
        format!("host{at}.{THEIRS}")
    }

    /// Its addresses of one family, `at` being its place in the list.
    pub(crate) fn addrs(&self, at: usize, ipv6: bool) -> Vec<(SocketAddr, &Place)> {
        let places = if ipv6 { &self.v6 } else { &self.v4 };
        let addr = |(n, place): (usize, &'_ Place)| {
            let last = u8::try_from(10 + at * 10 + n).expect("few hosts");
            let ip: IpAddr = match (ipv6, place.fate) {
                (true, Fate::Private) => [0xfd00, 0, 0, 0, 0, 0, 0, u16::from(last)].into(),
                (true, _) => [0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(last)].into(),
                (false, Fate::Private) => [10, 0, 0, last].into(),
                (false, _) => [192, 0, 2, last].into(),
            };
            SocketAddr::new(ip, self.port())
        };
        places.iter().enumerate().map(|(n, place)| (addr((n, place)), place)).collect()
    }
}

impl Scene {
    /// All addresses and what is there.
    pub(crate) fn places(&self) -> Vec<(SocketAddr, &Place)> {
        let hosts = self.hosts.iter().enumerate();
        hosts.flat_map(|(at, host)| [host.addrs(at, true), host.addrs(at, false)]).flatten().collect()
    }

    /// How many nodes there are, with ours.
    pub(crate) fn nodes(&self) -> usize {
        let is_node = |fate| matches!(fate, Fate::Serves | Fate::Expired | Fate::Distrusts | Fate::OtherHost);
        1 + self.places().iter().filter(|(_, place)| is_node(place.fate)).count()
    }

    /// The world of this scene, and our node in it.
    pub(crate) fn stage(&self) -> (World, NodeIndex) {
        let mut world = World::new(Cutting::Whole);
        let mut ours = config(OURS, Party::Ours);
        ours.negotiation_timeout = self.timeout;
        ours.attempt_timeout = self.attempt;
        ours.limits.queue_age = Duration::from_secs(1000);
        ours.resolver.ipv6 = self.ipv6;
        ours.resolver.ipv4 = self.ipv4;
        let listeners = self.places().into_iter().filter(|(_, place)| place.fate == Fate::OurListener);
        ours.own_listeners = listeners.map(|(addr, _)| addr).collect();
        let node = world.add([192, 0, 2, 1].into(), ours);
        for (addr, place) in self.places() {
            world.delay_request(addr, place.delay);
            match place.fate {
                Fate::Serves => drop(world.add(addr.ip(), config(THEIRS, Party::Theirs))),
                Fate::Expired => drop(world.add(addr.ip(), config(THEIRS, Party::Expired))),
                Fate::Distrusts => drop(world.add(addr.ip(), config(THEIRS, Party::Distrusts))),
                Fate::OtherHost => drop(world.add(addr.ip(), config("c.example.com", Party::Other))),
                Fate::BlackHole => world.swallow(addr),
                Fate::Refuses | Fate::Private | Fate::OurListener => {}
                Fate::Silent | Fate::HangsUp | Fate::Garbage | Fate::StreamError | Fate::NoTls | Fate::RefusesTls => {
                    world.listen(addr);
                }
            }
        }
        self.publish(&mut world);
        (world, node)
    }

    fn publish(&self, world: &mut World) {
        let names = [format!("_xmpps-server._tcp.{THEIRS}"), format!("_xmpp-server._tcp.{THEIRS}")];
        let mut zone = Zone::new().transient();
        for ((name, delay), failing) in names.iter().zip(self.services).zip(self.failing) {
            world.delay_answer(name, SRV, delay);
            zone = if failing { zone.failing(name) } else { zone };
        }
        for (at, host) in self.hosts.iter().enumerate() {
            let target = Host::name(at);
            let priority = u16::try_from(at).expect("few hosts");
            zone = zone.service(&names[usize::from(!host.direct)], priority, 0, host.port(), &target);
            for (addr, _) in [host.addrs(at, true), host.addrs(at, false)].concat() {
                zone = zone.address(&target, addr.ip());
            }
            zone = if host.fails { zone.failing(&target) } else { zone };
            world.delay_answer(&target, AAAA, host.aaaa);
            world.delay_answer(&target, A, host.a);
        }
        world.zone = zone;
    }
}

/// The numbers of types in DNS.
const A: u16 = 1;
const AAAA: u16 = 28;
const SRV: u16 = 33;

/// What the puppet at a place says when it is dialled.
pub(crate) fn act(world: &mut World, puppet: Puppet, fate: Fate) {
    let say = |world: &mut World, rest: &str| world.say(puppet, response(THEIRS, OURS, "id") + rest);
    match fate {
        Fate::HangsUp => world.hang_up(puppet),
        Fate::Garbage => world.say(puppet, "220 ready\r\n"),
        Fate::StreamError => say(
            world,
            "<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>",
        ),
        Fate::NoTls => say(world, "<stream:features/>"),
        Fate::RefusesTls => say(
            world,
            "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>\
             <failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>",
        ),
        _ => {}
    }
}

/// Whose configuration.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Party {
    Ours,
    Theirs,
    Expired,
    Distrusts,
    Other,
}

/// Made once: certificates take longer than everything else.
fn config(host: &str, party: Party) -> Config {
    static CONFIGS: OnceLock<Vec<(Party, Config)>> = OnceLock::new();
    let configs = CONFIGS.get_or_init(|| {
        let (authority, other) = (Authority::root("the authority"), Authority::root("another"));
        let parties = [Party::Ours, Party::Theirs, Party::Expired, Party::Distrusts, Party::Other];
        let names = [OURS, THEIRS, THEIRS, THEIRS, "c.example.com"];
        let config = |(party, name): (Party, &str)| {
            let (name, kind) = (domain(name), if party == Party::Expired { Kind::Expired } else { Kind::Valid });
            let chain = authority.issue_kind(kind, &name).chain;
            let trust = if party == Party::Distrusts { other.trust() } else { authority.trust() };
            let mut config = World::config(Arc::new(FakeProvider::new(vec![(name.clone(), chain)])), trust);
            config.private_addresses = PrivateAddresses::Never;
            config.speak_ahead = false;
            let strict = HostOptions { secure_auth: true, require_encryption: true, ..HostOptions::default() };
            config.hosts.insert(name, strict);
            (party, config)
        };
        parties.into_iter().zip(names).map(config).collect()
    });
    let (_, config) = configs.iter().find(|(known, _)| *known == party).expect("all are made");
    assert!(config.hosts.contains_key(&domain(host)));
    config.clone()
}
