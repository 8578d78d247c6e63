//! Which address of a host comes first: ranks beside the rules that they stand for, and what lookups make of them.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::super::selection::{Rank, Ranks, Source, SourceAddresses};
use super::zone::{DIRECT, DOMAIN, Data, Node, PLAIN, Zone, srv, v4, v6};
use super::{Bench, cases, config, direct_tls, resolve, starttls};
use crate::dns::ResolverConfig;
use crate::limits::CANDIDATES;

/// A destination, and what is known of its source.
type Route = (IpAddr, Source);

/// The default policy table: a prefix and its length, precedence and label.
const POLICIES: [(&str, u32, u8, u8); 9] = [
    ("::1", 128, 50, 0),
    ("::", 0, 40, 1),
    ("::ffff:0:0", 96, 35, 4),
    ("2002::", 16, 30, 2),
    ("2001::", 32, 5, 5),
    ("fc00::", 7, 3, 13),
    ("::", 96, 1, 3),
    ("fec0::", 10, 1, 11),
    ("3ffe::", 16, 1, 12),
];

/// A destination and its source, a destination that comes behind it and its source, and the rule that decides. Where no
/// source stands there is no route.
const EXAMPLES: [([&str; 2], [&str; 2], u8); 15] = [
    // Those of RFC 6724 section 10.2, but for the two that are about what a source does not show.
    (["2001:db8:1::1", "2001:db8:1::2"], ["198.51.100.121", "169.254.13.78"], 2),
    (["198.51.100.121", "198.51.100.117"], ["2001:db8:1::1", "fe80::1"], 2),
    (["2001:db8:1::1", "2001:db8:1::2"], ["10.1.2.3", "10.1.2.4"], 6),
    (["fe80::1", "fe80::2"], ["2001:db8:1::1", "2001:db8:1::2"], 8),
    (["2001:db8:1::1", "2001:db8:1::2"], ["2001:db8:3ffe::1", "2001:db8:3f44::2"], 9),
    (["2002:c633:6401::1", "2002:c633:6401::2"], ["2001:db8:1::1", "2002:c633:6401::2"], 5),
    (["2001:db8:1::1", "2001:db8:1::2"], ["2002:c633:6401::1", "2002:c633:6401::2"], 6),
    // Here is no IPv6; or there is, but not beyond this site; or it is of other sorts.
    (["192.0.2.9", "192.0.2.1"], ["2001:db8::9", ""], 1),
    (["192.0.2.9", "192.0.2.1"], ["2001:db8::9", "fd00::1"], 5),
    (["192.0.2.9", "192.0.2.1"], ["fd00::9", "fd00::1"], 6),
    (["192.0.2.9", "192.0.2.1"], ["2001::9", "2001::1"], 6),
    (["fd00::9", "fd00::1"], ["::192.0.2.9", "::192.0.2.1"], 6),
    (["::1", "::1"], ["127.0.0.1", "127.0.0.1"], 6),
    (["127.0.0.1", "127.0.0.1"], ["10.0.0.9", "10.0.0.1"], 8),
    (["fec0::9", "fec0::1"], ["3ffe::9", "3ffe::1"], 8),
];

/// A system with a route to some destinations. It remembers what it was asked.
#[derive(Debug)]
struct System {
    sources: BTreeMap<IpAddr, IpAddr>,
    asked: Mutex<Vec<IpAddr>>,
}

impl System {
    fn new(routes: impl IntoIterator<Item = (IpAddr, Option<IpAddr>)>) -> Self {
        let sources = routes.into_iter().filter_map(|(to, from)| Some((to, from?))).collect();
        Self { sources, asked: Mutex::default() }
    }
}

impl SourceAddresses for System {
    fn source(&self, destination: IpAddr) -> Option<IpAddr> {
        self.asked.lock().expect("nobody panics").push(destination);
        self.sources.get(&destination).copied()
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect(text)
}

fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

fn in_common(one: IpAddr, other: IpAddr) -> u32 {
    (bits(one) ^ bits(other)).leading_zeros()
}

/// Precedence and label, by the longest prefix.
fn policy(of: IpAddr) -> (u8, u8) {
    let fitting = POLICIES.iter().filter(|(prefix, length, ..)| in_common(ip(prefix), of) >= *length);
    let (_, _, precedence, label) = fitting.max_by_key(|(_, length, ..)| *length).expect("all are below ::/0");
    (*precedence, *label)
}

fn label(of: IpAddr) -> u8 {
    policy(of).1
}

/// As it is numbered where multicast addresses name it.
fn scope(of: IpAddr) -> u8 {
    match of.to_canonical() {
        IpAddr::V4(ip) if ip.is_loopback() || ip.is_link_local() => 2,
        IpAddr::V6(ip) if ip.is_loopback() || ip.is_unicast_link_local() => 2,
        IpAddr::V6(ip) if ip.segments()[0] & 0xffc0 == 0xfec0 => 5,
        _ => 14,
    }
}

/// Whether a figure is the same for destination and source, as far as that is known.
fn agree((to, source): Route, figure: fn(IpAddr) -> u8) -> bool {
    match source {
        Source::Known(from) => figure(from) == figure(to),
        Source::Unknown | Source::Unroutable => true,
    }
}

fn network_bits_in_common((to, source): Route) -> u32 {
    match source {
        Source::Known(from) => in_common(from, to).min(64),
        Source::Unknown | Source::Unroutable => 0,
    }
}

/// The rules as they are written: one after the other, about two destinations. Which decides, and how.
fn judge(one: Route, other: Route) -> (u8, Ordering) {
    let whose = |holds: &dyn Fn(Route) -> bool| holds(other).cmp(&holds(one));
    let are_ipv6 = [one, other].iter().all(|(to, _)| to.to_canonical().is_ipv6());
    let longer = network_bits_in_common(other).cmp(&network_bits_in_common(one));
    let rules = [
        (1, whose(&|(_, source)| source != Source::Unroutable)),
        (2, whose(&|route| agree(route, scope))),
        (5, whose(&|route| agree(route, label))),
        (6, policy(other.0).0.cmp(&policy(one.0).0)),
        (8, scope(one.0).cmp(&scope(other.0))),
        (9, if are_ipv6 { longer } else { Ordering::Equal }),
    ];
    rules.into_iter().find(|(_, order)| order.is_ne()).unwrap_or((10, Ordering::Equal))
}

fn rank((to, source): Route) -> Rank {
    Rank::new(to, source)
}

fn sorted(listed: &[IpAddr], sources: Option<&dyn SourceAddresses>) -> Vec<IpAddr> {
    let (mut ranks, mut sorted) = (Ranks::default(), listed.to_vec());
    listed.iter().for_each(|to| ranks.note(*to, sources));
    ranks.sort(&mut sorted);
    sorted
}

#[test]
//= RFC8305-4-1 test
fn the_first_rule_that_tells_two_addresses_apart_decides_which_one_comes_first() {
    for (first, second, rule) in EXAMPLES {
        let routes = [first, second].map(|[to, from]| (ip(to), from.parse::<IpAddr>().ok()));
        let [one, other] = routes.map(|(to, from)| (to, from.map_or(Source::Unroutable, Source::Known)));
        assert_eq!(judge(one, other), (rule, Ordering::Less), "{first:?} and {second:?}");
        let system = System::new(routes);
        for listed in [[one.0, other.0], [other.0, one.0]] {
            assert_eq!(sorted(&listed, Some(&system)), [one.0, other.0], "by rule {rule}");
        }
    }
}

#[test]
fn what_is_of_one_network_or_ipv4_stays_in_the_order_of_the_answer() {
    for [one, other, source] in
        [["198.51.100.9", "192.0.2.9", "192.0.2.1"], ["2001:db8::ffff:0:0:1", "2001:db8::2", "2001:db8::1"]]
    {
        let system = System::new([one, other].map(|to| (ip(to), Some(ip(source)))));
        for listed in [[ip(one), ip(other)], [ip(other), ip(one)]] {
            assert_eq!(sorted(&listed, Some(&system)), listed);
        }
    }
}

/// Addresses of all sorts, of which many differ in one bit.
fn addresses() -> impl Strategy<Value = IpAddr> {
    let ipv6 = ["::1", "::", "2001:db8::1", "2001:db8:1::1", "2001::1", "2002::1", "3ffe::1", "fd00::1", "fe80::1"];
    let others = ["fec0::1", "127.0.0.1", "169.254.0.1", "10.0.0.1", "192.0.2.1"];
    let all: Vec<_> = ipv6.into_iter().chain(others).map(ip).collect();
    (prop::sample::select(all), 0_u32..160, any::<bool>()).prop_map(|(like, bit, is_canonical)| {
        let address = IpAddr::from(Ipv6Addr::from(bits(like) ^ 1_u128.checked_shl(bit).unwrap_or_default()));
        if is_canonical { address.to_canonical() } else { address }
    })
}

fn routes() -> impl Strategy<Value = Route> {
    let known = addresses().prop_map(Source::Known);
    (addresses(), prop_oneof![1 => Just(Source::Unknown), 1 => Just(Source::Unroutable), 6 => known])
}

proptest! {
    #![proptest_config(cases(1024))]
    #[test]
    //= RFC8305-4-1 test
    fn ranks_compare_as_the_rules_do_and_those_are_a_total_order(
        [a, b, c] in [routes(), routes(), routes()],
    ) {
        for (one, other) in [(a, b), (b, c), (a, c), (a, a)] {
            let (rule, order) = judge(one, other);
            prop_assert_eq!(rank(one).cmp(&rank(other)), order, "rule {} decides", rule);
            prop_assert_eq!(judge(other, one), (rule, order.reverse()));
        }
        let is_before = |one, other| judge(one, other).1.is_le();
        for [one, two, three] in [[a, b, c], [a, c, b], [b, a, c], [b, c, a], [c, a, b], [c, b, a]] {
            let in_order = is_before(one, two) && is_before(two, three);
            prop_assert!(!in_order || is_before(one, three), "{:?}, {:?}, {:?}", one, two, three);
        }
    }

    #[test]
    fn sorting_loses_no_address_and_leaves_equals_in_their_order(
        routes in prop::collection::btree_map(addresses(), prop::option::weighted(0.8, addresses()), 0..12)
            .prop_map(|routes| routes.into_iter().collect::<Vec<_>>())
            .prop_shuffle(),
        is_known in any::<bool>(),
    ) {
        let system = System::new(routes.iter().copied());
        let listed: Vec<_> = routes.iter().map(|(to, _)| *to).collect();
        let mut expected: Vec<Route> = Vec::new();
        for (to, from) in routes {
            let known = from.map_or(Source::Unroutable, Source::Known);
            let route = (to, if is_known { known } else { Source::Unknown });
            let end = expected.len();
            let at = expected.iter().position(|other| judge(route, *other).1.is_lt()).unwrap_or(end);
            expected.insert(at, route);
        }
        let expected: Vec<_> = expected.into_iter().map(|(to, _)| to).collect();
        prop_assert_eq!(sorted(&listed, is_known.then_some(&system as &dyn SourceAddresses)), expected);
    }
}

/// A host with these addresses, and two of IPv4.
fn host(aaaa: &[Ipv6Addr]) -> Node {
    Node::Data(Data { a: vec![v4(1), v4(2)], aaaa: aaaa.to_vec(), ..Data::default() })
}

#[test]
//= RFC8305-4-1 test
//= RFC8305-4-2 test
fn where_there_is_no_route_for_ipv6_ipv4_comes_first_and_the_families_take_turns() {
    let system = Arc::new(System::new([v4(1), v4(2)].map(|to| (IpAddr::from(to), Some(IpAddr::from(v4(99)))))));
    let zone = Zone::new([
        (DIRECT, srv(&[(1, 0, 5270, "a.example")])),
        (PLAIN, srv(&[(2, 0, 5269, "a.example")])),
        ("a.example", host(&[v6(1), v6(2)])),
    ]);
    let mut bench = Bench::new(ResolverConfig { sources: Some(system.clone()), ..config(2) }, 1);
    bench.lookup();
    let mut in_turn: [IpAddr; 4] = [v4(1).into(), v6(1).into(), v4(2).into(), v6(2).into()];
    let expected = [in_turn.map(|ip| direct_tls(ip, 5270)), in_turn.map(|ip| starttls(ip, 5269))];
    assert_eq!(bench.run(&zone), Ok(expected.concat()));
    let mut asked = system.asked.lock().expect("nobody panics").clone();
    asked.sort_unstable();
    in_turn.sort_unstable();
    assert_eq!(asked, in_turn, "once about each");
}

#[test]
//= RFC8305-4-1 test
fn where_nobody_knows_of_routes_ipv6_comes_first_but_for_6to4_and_then_unique_local_addresses() {
    let [local, tunnelled]: [Ipv6Addr; 2] =
        ["fd00::1", "2002:c633:6401::1"].map(|text| text.parse().expect("an address"));
    let candidates = |ips: &[IpAddr]| ips.iter().map(|ip| starttls(*ip, 5269)).collect::<Vec<_>>();
    let with_global = Zone::new([(DOMAIN, host(&[local, tunnelled, v6(1)]))]);
    let expected: [IpAddr; 5] = [v6(1).into(), v4(1).into(), tunnelled.into(), v4(2).into(), local.into()];
    assert_eq!(resolve(&with_global), Ok(candidates(&expected)));
    let without = Zone::new([(DOMAIN, host(&[local, tunnelled]))]);
    let expected: [IpAddr; 4] = [v4(1).into(), tunnelled.into(), v4(2).into(), local.into()];
    assert_eq!(resolve(&without), Ok(candidates(&expected)));
}

#[test]
fn of_a_host_with_many_addresses_the_system_is_asked_about_no_more_of_a_family_than_may_be_tried() {
    let system = Arc::new(System::new([]));
    let many: Vec<u8> = (1..=40).collect();
    let data =
        Data { a: many.iter().copied().map(v4).collect(), aaaa: many.into_iter().map(v6).collect(), ..Data::default() };
    let mut bench = Bench::new(ResolverConfig { sources: Some(system.clone()), ..config(2) }, 1);
    bench.lookup();
    let candidates = bench.run(&Zone::new([(DOMAIN, Node::Data(data))])).expect("addresses");
    assert_eq!(candidates.len(), CANDIDATES);
    assert_eq!(system.asked.lock().expect("nobody panics").len(), 2 * CANDIDATES);
}
