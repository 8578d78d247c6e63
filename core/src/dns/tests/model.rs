//! What a lookup should come to, written down as plain recursion, and zones to try it on.
//!
//! `PROPTEST_CASES=100000 SRV_RECORDS=4 cargo test --release -p s2s-core plain_recursion` tries that many zones, and all
//! lists of that many SRV records.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::super::message::{Kind, Name};
use super::super::srv::{Service, order};
use super::super::{Candidate, Security};
use super::services::choices;
use super::zone::{DIRECT, DOMAIN, Data, Fault, Node, PLAIN, Zone, alias, forgeries, host, v4, v6};
use super::{Bench, cases, config};
use crate::addr::Domain;
use crate::dns::ResolverConfig;
use crate::entropy::{Entropy, Seed};
use crate::limits;
use crate::reason::Reason;

#[test]
//= RFC6120-3.2.1-1 test
//= RFC6120-3.2.1-3 test
//= RFC5452-9.1-1 test
fn a_lookup_comes_to_what_plain_recursion_comes_to_and_so_does_one_that_remembers_it() {
    let tally = RefCell::new(Tally::default());
    let inputs = (zones(), any::<bool>(), any::<bool>(), any::<u8>(), any::<u64>());
    let mut runner = TestRunner::new(cases(1024));
    let result = runner.run(&inputs, |(zone, ipv4, ipv6, seed, order)| {
        let expected = |n| {
            let draws = Entropy::new(Seed([seed; 32])).fork("dns-order", 0).fork("lookup", n);
            lookup(&zone, ipv4, ipv6, draws)
        };
        let config = ResolverConfig { ipv4, ipv6, query_timeout: Duration::from_millis(100), ..config(2) };
        let mut bench = Bench::new(config, seed);
        bench.lookup();
        let answer = bench.run_with(&zone, order, forgeries);
        prop_assert_eq!(&answer, &expected(0));
        tally.borrow_mut().note(&answer, bench.asked.len());
        bench.lookup();
        let asked = bench.asked.len();
        prop_assert_eq!(bench.run_with(&zone, order, forgeries), expected(1));
        // With more targets than are looked at, another draw leads to others.
        let lasting = zone.soa
            && zone.ttl == 300
            && zone.targets() <= limits::DNS_TARGETS
            && bench.elapsed() < Duration::from_secs(1);
        prop_assert!(!lasting || bench.asked.len() == asked, "asked again");
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}\n{runner}"));
    tally.into_inner().tell("generated zones");
}

/// A record, and the name at which it stands.
#[derive(Clone, Debug)]
struct Listed {
    service: &'static str,
    record: (u16, u16, u16, String),
}

/// Every record of either service with priority 0 or 1, weight 0 or 1, port 0 or 5269 and target t0, t1 or `.`.
fn records() -> Vec<Listed> {
    let mut records = Vec::new();
    for service in [PLAIN, DIRECT] {
        for bits in 0..8_u16 {
            let (priority, weight, port) = (bits & 1, bits >> 1 & 1, (bits >> 2 & 1) * 5269);
            let listed = |target: &str| Listed { service, record: (priority, weight, port, target.to_owned()) };
            records.extend(["t0.example", "t1.example", "."].map(listed));
        }
    }
    records
}

/// As many records as the variable `SRV_RECORDS` asks for, or else two.
fn most_records() -> usize {
    let most = std::env::var_os("SRV_RECORDS");
    most.map_or(2, |most| most.to_str().and_then(|most| most.parse().ok()).expect("SRV_RECORDS is a number"))
}

#[test]
//= RFC6120-3.2.1-3 test
fn every_list_of_srv_records_of_both_services_comes_to_what_plain_recursion_comes_to() {
    let (most, mut tally) = (most_records(), Tally::default());
    choices(&records(), most, &mut Vec::new(), &mut |chosen| {
        let t1 = Node::Data(Data { a: vec![v4(1)], ..Data::default() });
        let mut zone = Zone::new([("t0.example", host(0)), ("t1.example", t1), (DOMAIN, host(9))]);
        for Listed { service, record } in chosen {
            let node = zone.nodes.entry((*service).to_owned()).or_insert_with(|| Node::Data(Data::default()));
            let Node::Data(data) = node else { unreachable!("no alias is in it") };
            data.srv.push(record.clone());
        }
        let mut bench = Bench::new(config(2), 5);
        bench.lookup();
        let answer = bench.run(&zone);
        let draws = Entropy::new(Seed([5; 32])).fork("dns-order", 0).fork("lookup", 0);
        assert_eq!(answer, lookup(&zone, true, true, draws), "{chosen:?}");
        tally.note(&answer, bench.asked.len());
    });
    // Choices of up to so many out of 48, repetition allowed, order not regarded.
    let counts = [1, 49, 1225, 20_825, 270_725];
    assert_eq!(Some(&tally.zones), counts.get(most), "{most} records");
    tally.tell(&format!("lists of up to {most} SRV records of both services"));
}

/// What came of how many zones.
#[derive(Default)]
struct Tally {
    zones: usize,
    questions: usize,
    answers: BTreeMap<String, usize>,
}

impl Tally {
    fn note(&mut self, answer: &Result<Vec<Candidate>, Reason>, questions: usize) {
        self.zones += 1;
        self.questions += questions;
        let kind = answer.as_ref().map_or_else(ToString::to_string, |_| "candidates".to_owned());
        *self.answers.entry(kind).or_default() += 1;
    }

    fn tell(&self, what: &str) {
        let Self { zones, questions, answers } = self;
        let line = format!("resolver = model: {zones} {what}, {questions} questions, {answers:?}\n");
        // Past the capture of the test harness: the counts are wanted in every run.
        std::io::stderr().write_all(line.as_bytes()).expect("standard error");
    }
}

#[derive(Clone, Debug)]
enum Found {
    Data(Data),
    Nothing,
    NoSuchName,
}

/// The candidates of [`DOMAIN`], or why there are none.
pub(super) fn lookup(zone: &Zone, ipv4: bool, ipv6: bool, mut draws: Entropy) -> Result<Vec<Candidate>, Reason> {
    let direct = ask(zone, DIRECT, Kind::Srv, 0);
    let plain = ask(zone, PLAIN, Kind::Srv, 0);
    let mut services = Vec::new();
    let mut dots = 0;
    let mut records = 0;
    for (found, security) in [(&direct, Security::DirectTls), (&plain, Security::StartTls)] {
        let Ok(Found::Data(data)) = found else { continue };
        for (priority, weight, port, target) in &data.srv {
            records += 1;
            if target == "." {
                dots += 1;
            } else if *port != 0 {
                let target = Name::new(&[], &target.parse::<Domain>().expect("a domain")).expect("a name");
                services.push(Service { priority: *priority, weight: *weight, target, port: *port, security });
            }
        }
    }
    if !services.is_empty() {
        let names = services.iter().map(|service| service.target.clone()).zip(targets(&direct, &plain)).collect();
        return addresses_of(zone, &order(services, &mut draws), &names, ipv4, ipv6);
    }
    if let Some(reason) = [plain.err(), direct.err()].into_iter().flatten().next() {
        return Err(reason);
    }
    match (dots, records) {
        (1.., _) => Err(Reason::SrvDot),
        (0, 1..) => Err(Reason::NoAddress),
        _ => fallback(zone, ipv4, ipv6),
    }
}

/// The targets of usable records as text, in the order in which `lookup` collects the services.
fn targets(direct: &Result<Found, Reason>, plain: &Result<Found, Reason>) -> Vec<String> {
    let mut targets = Vec::new();
    for found in [direct, plain] {
        if let Ok(Found::Data(data)) = found {
            let usable = data.srv.iter().filter(|(_, _, port, target)| *port != 0 && target != ".");
            targets.extend(usable.map(|(.., target)| target.clone()));
        }
    }
    targets
}

fn addresses_of(
    zone: &Zone,
    ordered: &[Service],
    names: &BTreeMap<Name, String>,
    ipv4: bool,
    ipv6: bool,
) -> Result<Vec<Candidate>, Reason> {
    let mut first_targets = Vec::new();
    let mut candidates = Vec::new();
    let mut failures = Vec::new();
    for service in ordered {
        if !first_targets.contains(&&service.target) {
            if first_targets.len() == 8 {
                continue;
            }
            first_targets.push(&service.target);
            failures.extend(families(zone, &names[&service.target], ipv4, ipv6).into_iter().filter_map(Result::err));
        }
        for ip in interleaved(&families(zone, &names[&service.target], ipv4, ipv6)) {
            let candidate = Candidate { addr: SocketAddr::new(ip, service.port), security: service.security };
            if !candidates.contains(&candidate) {
                candidates.push(candidate);
            }
        }
    }
    candidates.truncate(16);
    match (candidates.is_empty(), failures.first()) {
        (false, _) => Ok(candidates),
        (true, Some(reason)) => Err(*reason),
        (true, None) => Err(Reason::NoAddress),
    }
}

fn fallback(zone: &Zone, ipv4: bool, ipv6: bool) -> Result<Vec<Candidate>, Reason> {
    let families = families(zone, DOMAIN, ipv4, ipv6);
    let ips = interleaved(&families);
    if !ips.is_empty() {
        let mut candidates = Vec::new();
        for ip in ips {
            let candidate = Candidate { addr: SocketAddr::new(ip, 5269), security: Security::StartTls };
            if !candidates.contains(&candidate) {
                candidates.push(candidate);
            }
        }
        candidates.truncate(16);
        return Ok(candidates);
    }
    let nowhere = families.iter().any(|found| matches!(found, Ok(Found::NoSuchName)));
    for found in families {
        found?;
    }
    Err(if nowhere { Reason::DnsNxdomain } else { Reason::NoAddress })
}

fn families(zone: &Zone, name: &str, ipv4: bool, ipv6: bool) -> [Result<Found, Reason>; 2] {
    [(Kind::Aaaa, ipv6), (Kind::A, ipv4)].map(|(kind, wanted)| match wanted {
        true => ask(zone, name, kind, 0),
        false => Ok(Found::Nothing),
    })
}

fn interleaved([six, four]: &[Result<Found, Reason>; 2]) -> Vec<IpAddr> {
    let six = if let Ok(Found::Data(data)) = six { data.aaaa.clone() } else { Vec::new() };
    let four = if let Ok(Found::Data(data)) = four { data.a.clone() } else { Vec::new() };
    let mut all = Vec::new();
    for at in 0..64 {
        all.extend(six.get(at).map(|ip| IpAddr::V6(*ip)));
        all.extend(four.get(at).map(|ip| IpAddr::V4(*ip)));
    }
    all
}

/// One question to two servers, after `hops` aliases.
fn ask(zone: &Zone, name: &str, kind: Kind, hops: usize) -> Result<Found, Reason> {
    let mut last = Reason::DnsFailure;
    for server in 0..2 {
        match zone.faults.get(&(name.to_owned(), kind, server)) {
            None | Some(Fault::Truncated) => return read(zone, name, kind, hops),
            Some(Fault::Silence | Fault::TruncatedThenSilence) => last = Reason::DnsTimeout,
            Some(_) => last = Reason::DnsFailure,
        }
    }
    Err(last)
}

/// What one message says, and those that must be asked for to complete it.
fn read(zone: &Zone, asked: &str, kind: Kind, hops: usize) -> Result<Found, Reason> {
    let mut followed = vec![asked.to_owned()];
    loop {
        let name = followed.last().expect("never empty").clone();
        let hops = hops + followed.len() - 1;
        match zone.nodes.get(&name) {
            None => return Ok(Found::NoSuchName),
            Some(Node::Alias(next)) if followed.len() <= zone.chase => {
                if followed.contains(next) {
                    return Err(Reason::DnsFailure);
                }
                followed.push(next.clone());
            }
            _ if hops > 8 => return Err(Reason::DnsFailure),
            Some(Node::Alias(_)) => return ask(zone, &name, kind, hops),
            Some(Node::Data(data)) => {
                let there = match kind {
                    Kind::A => !data.a.is_empty(),
                    Kind::Aaaa => !data.aaaa.is_empty(),
                    Kind::Srv => !data.srv.is_empty(),
                };
                return match there {
                    true => Ok(Found::Data(data.clone())),
                    false if !zone.soa && followed.len() > 1 => ask(zone, &name, kind, hops),
                    false => Ok(Found::Nothing),
                };
            }
        }
    }
}

/// Zones around [`DOMAIN`]: ten hosts, an alias chain of every length to 11, alias loops, and all faults.
pub(super) fn zones() -> impl Strategy<Value = Zone> {
    let chain = (0..11).map(|n| (format!("c{n}.example"), alias(&format!("c{}.example", n + 1))));
    let fixed: Vec<_> = chain
        .chain([
            ("c11.example".to_owned(), Node::Data(Data { a: vec![v4(99)], ..Data::default() })),
            ("loop0.example".to_owned(), alias("loop1.example")),
            ("loop1.example".to_owned(), alias("loop0.example")),
            ("self.example".to_owned(), alias("self.example")),
            ("t9.example".to_owned(), Node::Data(Data { aaaa: vec![v6(9)], ..Data::default() })),
        ])
        .collect();
    let hosts = prop::collection::btree_map((0..9).prop_map(|n| format!("t{n}.example")), data(false), 2..9);
    let services = [prop::option::weighted(0.8, node(true)), prop::option::weighted(0.8, node(true))];
    let behind_alias = prop::option::of(node(true));
    let domain = prop::option::of(node(false));
    let faults = prop::collection::btree_map((names(), kinds(), 0_usize..2), fault(), 0..7);
    let style = (1_usize..13, any::<bool>(), prop::sample::select(vec![0, 1, 300, u32::MAX]));
    (hosts, services, behind_alias, domain, faults, style).prop_map(
        move |(hosts, [plain, direct], behind_alias, domain, faults, (chase, soa, ttl))| {
            let mut nodes: BTreeMap<String, Node> = fixed.iter().cloned().chain(hosts).collect();
            let drawn = [(PLAIN, plain), (DIRECT, direct), ("s.example", behind_alias), (DOMAIN, domain)];
            nodes.extend(drawn.into_iter().filter_map(|(name, node)| Some((name.to_owned(), node?))));
            Zone { nodes, faults, chase, soa, ttl, secure: false }
        },
    )
}

fn names() -> impl Strategy<Value = String> {
    prop_oneof![
        1 => Just(PLAIN.to_owned()),
        1 => Just(DIRECT.to_owned()),
        3 => host_names(),
    ]
}

fn host_names() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => Just(DOMAIN.to_owned()),
        1 => Just("s.example".to_owned()),
        1 => (0..12).prop_map(|n| format!("c{n}.example")),
        5 => (0..10).prop_map(|n| format!("t{n}.example")),
        1 => prop::sample::select(vec!["loop0.example", "self.example", "gone.example"]).prop_map(str::to_owned),
    ]
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop::sample::select(vec![Kind::A, Kind::Aaaa, Kind::Srv])
}

fn fault() -> impl Strategy<Value = Fault> {
    prop::sample::select(vec![
        Fault::Broken,
        Fault::Referral,
        Fault::Refused,
        Fault::ServFail,
        Fault::Silence,
        Fault::Socket,
        Fault::Truncated,
        Fault::TruncatedThenSilence,
        Fault::TruncatedThenSocket,
        Fault::TruncatedTwice,
    ])
}

fn node(services: bool) -> impl Strategy<Value = Node> {
    prop_oneof![5 => data(services), 1 => names().prop_map(Node::Alias)]
}

fn data(services: bool) -> impl Strategy<Value = Node> {
    let target = prop_oneof![9 => host_names(), 1 => Just(".".to_owned())];
    let port = prop_oneof![6 => 5269_u16..5272, 1 => Just(0)];
    let records = prop::collection::vec((0_u16..3, 0_u16..4, port, target), 0..12);
    let few = prop_oneof![4 => Just(1), 1 => Just(12)];
    (records, few, prop::collection::vec(any::<u8>(), 0..4), prop::collection::vec(any::<u8>(), 0..4)).prop_map(
        move |(mut srv, few, a, aaaa)| {
            srv.truncate(few);
            if !services {
                srv.clear();
            }
            let a = a.into_iter().map(v4).collect();
            let aaaa = aaaa.into_iter().map(v6).collect();
            Node::Data(Data { srv, a, aaaa })
        },
    )
}
