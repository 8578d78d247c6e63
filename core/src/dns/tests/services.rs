//! All SRV answers of up to four records over small domains, and all draws that can be made for them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use proptest::prelude::*;

use super::super::Security;
use super::super::message::{Finding, Name, ServiceRecord};
use super::super::srv::{Offer, Service, order, order_by};
use crate::addr::Domain;
use crate::entropy::{Entropy, Seed};
use crate::reason::Reason;

fn name(text: &str) -> Name {
    Name::new(&[], &Domain::parse(text).expect("a domain")).expect("a name")
}

/// Every record with priority 0 or 1, weight 0, 1 or 5, port 0 or 5269 and target a, b or `.`.
fn records() -> Vec<ServiceRecord> {
    let targets = [Some(name("a.example")), Some(name("b.example")), None];
    let mut records = Vec::new();
    for priority in [0, 1] {
        for weight in [0, 1, 5] {
            for port in [0, 5269] {
                let record = |target: &Option<Name>| ServiceRecord { priority, weight, port, target: target.clone() };
                records.extend(targets.iter().map(record));
            }
        }
    }
    records
}

/// Calls `check` for every choice of up to `most` of `items`, repetition allowed, order not regarded.
pub(super) fn choices<T: Clone>(items: &[T], most: usize, chosen: &mut Vec<T>, check: &mut impl FnMut(&[T])) {
    check(chosen);
    if chosen.len() == most {
        return;
    }
    for (at, item) in items.iter().enumerate() {
        chosen.push(item.clone());
        choices(&items[at..], most, chosen, check);
        chosen.pop();
    }
}

/// Past the capture of the test harness: the counts are wanted in every run.
fn tell(line: &str) {
    std::io::stderr().write_all(format!("SRV: {line}\n").as_bytes()).expect("standard error");
}

fn service(security: Security, record: &ServiceRecord) -> Service {
    let ServiceRecord { priority, weight, port, target } = record.clone();
    Service { priority, weight, target: target.expect("a target"), port, security }
}

/// Everything that `order` can make of `services`, with its probability: `order` is called for every sequence of
/// draws that it can ask for.
fn outcomes(services: &[Service]) -> BTreeMap<Vec<Service>, f64> {
    // By place in `services`: names are slow to compare.
    let mut outcomes: BTreeMap<Vec<usize>, f64> = BTreeMap::new();
    let place = |one: &Service| services.iter().position(|other| one == other).expect("nothing is added");
    let mut script: Vec<(u64, u64)> = Vec::new();
    loop {
        let mut at = 0;
        let ordered = order_by(services.to_vec(), &mut |bound| {
            if at == script.len() {
                script.push((0, bound));
            }
            let (value, told) = script[at];
            assert_eq!(told, bound, "the same draws lead to the same question");
            at += 1;
            value
        });
        assert_eq!(at, script.len());
        let probability: f64 = script.iter().map(|(_, bound)| 1.0 / *bound as f64).product();
        *outcomes.entry(ordered.iter().map(place).collect()).or_insert(0.0) += probability;
        while let Some((value, bound)) = script.pop() {
            if value + 1 < bound {
                script.push((value + 1, bound));
                break;
            }
        }
        if script.is_empty() {
            let named = |places: Vec<usize>| places.into_iter().map(|place| services[place].clone()).collect();
            return outcomes.into_iter().map(|(places, chance)| (named(places), chance)).collect();
        }
    }
}

/// The chance that RFC 2782 gives each service of one priority to be the next, in closed form.
///
/// A number from 0 to the sum of the weights is drawn. With services without weight in front, 0 hits the first of
/// them, and which that is, is open; without such, 0 hits the first of all, which is open as well.
fn next(left: &[Service]) -> Vec<f64> {
    let sum: u64 = left.iter().map(|service| u64::from(service.weight)).sum();
    let weightless = left.iter().filter(|service| service.weight == 0).count();
    let first = if weightless == 0 { left.len() } else { weightless };
    let share = |service: &Service| {
        let hit_by_zero = if service.weight == 0 || weightless == 0 { 1.0 / first as f64 } else { 0.0 };
        (f64::from(service.weight) + hit_by_zero) / (sum + 1) as f64
    };
    left.iter().map(share).collect()
}

/// All orders that RFC 2782 allows, with their probability.
fn expected(left: &[Service]) -> BTreeMap<Vec<Service>, f64> {
    let Some(best) = left.iter().map(|service| service.priority).min() else { return [(Vec::new(), 1.0)].into() };
    let equals: Vec<_> = left.iter().filter(|service| service.priority == best).cloned().collect();
    let mut all = BTreeMap::new();
    for (first, chance) in equals.iter().zip(next(&equals)) {
        let rest: Vec<_> = left.iter().filter(|service| *service != first).cloned().collect();
        for (order, probability) in expected(&rest) {
            let order = std::iter::once(first.clone()).chain(order).collect();
            *all.entry(order).or_insert(0.0) += chance * probability;
        }
    }
    all
}

fn distinct(services: &[Service]) -> Vec<Service> {
    services.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect()
}

fn same(one: &BTreeMap<Vec<Service>, f64>, other: &BTreeMap<Vec<Service>, f64>) -> bool {
    one.len() == other.len()
        && one.iter().zip(other).all(|((a, p), (b, q))| a == b && (p - q).abs() < 1e-9)
        && (one.values().sum::<f64>() - 1.0).abs() < 1e-9
}

#[test]
//= RFC6120-3.2.1-2 test
//= RFC2782-p3-4 test
//= RFC2782-p5-1 test
fn every_answer_of_up_to_four_records_is_usable_declined_unusable_or_absent() {
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    choices(&records(), 4, &mut Vec::new(), &mut |records| {
        let finding = if records.is_empty() { Finding::NoData } else { Finding::Services(records.to_vec()) };
        let usable = |record: &&ServiceRecord| record.port != 0 && record.target.is_some();
        let expected: Vec<_> =
            records.iter().filter(usable).map(|record| service(Security::StartTls, record)).collect();
        let dots = records.iter().filter(|record| record.target.is_none()).count();
        let (kind, expected) = match (records.len(), expected.len(), dots) {
            (0, ..) => ("absent", Offer::Absent),
            (_, 1.., _) => ("usable", Offer::Usable(expected)),
            (_, 0, 1..) => ("declined", Offer::Declined),
            (_, 0, 0) => ("unusable", Offer::Unusable),
        };
        *seen.entry(kind).or_default() += 1;
        assert_eq!(Offer::new(Security::StartTls, Ok(finding)), expected);
    });
    assert_eq!(seen.len(), 4);
    assert_eq!(seen.values().sum::<u32>(), 91_390);
    tell(&format!("91390 answers of up to four SRV records of one service, {seen:?}"));
    assert_eq!(Offer::new(Security::StartTls, Err(Reason::DnsTimeout)), Offer::Failed(Reason::DnsTimeout));
}

#[test]
//= RFC6120-3.2.1-3 test
//= RFC2782-p3-1 test
//= RFC2782-p3-2 test
fn every_list_of_up_to_four_services_comes_in_each_order_as_often_as_its_weights_say() {
    let usable: Vec<_> = records().into_iter().filter(|record| record.port != 0 && record.target.is_some()).collect();
    let usable: Vec<_> = usable.iter().map(|record| service(Security::StartTls, record)).collect();
    let mut lists = 0;
    choices(&usable, 4, &mut Vec::new(), &mut |services| {
        lists += 1;
        let distinct = distinct(services);
        if distinct.len() < services.len() {
            // Repetition says nothing.
            let [mut one, mut other] = [Entropy::new(Seed([1; 32])), Entropy::new(Seed([1; 32]))];
            assert_eq!(order(services.to_vec(), &mut one), order(distinct, &mut other));
        } else if distinct.len() < 4 || !is_like_another(&distinct) {
            let [came, expected] = [outcomes(services), expected(services)];
            assert!(same(&came, &expected), "{services:?}: {came:?} instead of {expected:?}");
        }
    });
    assert_eq!(lists, 1820);
    tell("1820 lists of up to four services in every order that draws can give");
}

/// Whether a list differs from one that comes earlier only in the names of its targets, or in the number of its only
/// priority. The longest lists have 100,000 draws each, so one of each sort has to do.
fn is_like_another(services: &[Service]) -> bool {
    let [a, b] = ["a.example", "b.example"].map(name);
    let exchanged = |service: &Service| {
        let target = if service.target == a { b.clone() } else { a.clone() };
        Service { target, ..service.clone() }
    };
    let other = distinct(&services.iter().map(exchanged).collect::<Vec<_>>());
    services.iter().all(|service| service.priority == 1) || other.as_slice() < services
}

/// Whether no target is tried with STARTTLS before direct TLS where priority and weight are the same.
fn direct_tls_is_first(ordered: &[Service]) -> bool {
    ordered.iter().enumerate().all(|(at, first)| {
        let twin = |later: &Service| {
            (later.priority, later.weight, &later.target) == (first.priority, first.weight, &first.target)
                && later.security == Security::DirectTls
        };
        first.security == Security::DirectTls || !ordered[at..].iter().any(twin)
    })
}

proptest! {
    #![proptest_config(super::cases(256))]
    #[test]
    //= XEP0368-3-1 test
    fn services_of_both_kinds_come_in_every_order_that_weights_allow_and_direct_tls_first_on_a_target(
        direct in prop::collection::btree_set(0_usize..12, 0..3), plain in prop::collection::btree_set(0_usize..12, 0..3),
    ) {
        let usable: Vec<_> =
            records().into_iter().filter(|record| record.port != 0 && record.target.is_some()).collect();
        let of = |security, chosen: &BTreeSet<usize>| {
            chosen.iter().map(|at| service(security, &usable[*at])).collect::<Vec<_>>()
        };
        let services = [of(Security::DirectTls, &direct), of(Security::StartTls, &plain)].concat();
        // The target's chance is what counts, so the chance of an order is that of all orders that differ only in kind.
        let mut allowed = BTreeMap::new();
        for (mut order, chance) in expected(&services) {
            for at in 0..order.len() {
                if direct_tls_is_first(&order) {
                    break;
                }
                let twin = (at..order.len()).find(|later| {
                    (order[*later].priority, order[*later].weight, &order[*later].target)
                        == (order[at].priority, order[at].weight, &order[at].target)
                        && order[*later].security == Security::DirectTls
                });
                if let Some(twin) = twin {
                    order.swap(at, twin);
                }
            }
            prop_assert!(direct_tls_is_first(&order));
            *allowed.entry(order).or_insert(0.0) += chance;
        }
        prop_assert!(same(&outcomes(&services), &allowed));
    }
}
