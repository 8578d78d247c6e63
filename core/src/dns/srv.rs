//! SRV records: what a domain offers, and in which order it is to be tried.
//!
//! - Order: [RFC 2782](https://www.rfc-editor.org/rfc/rfc2782), "Priority", "Weight"
//! - Both services in one order: [XEP-0368 section 3](https://xmpp.org/extensions/xep-0368.html#srv)

use super::Security;
use super::message::{Finding, Name, ServiceRecord};
use crate::entropy::Entropy;
use crate::reason::Reason;

/// One place at which a domain is served.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Service {
    pub(super) priority: u16,
    pub(super) weight: u16,
    pub(super) target: Name,
    pub(super) port: u16,
    pub(super) security: Security,
}

/// What DNS says about one of the two services of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// There are no such records.
    Absent,
    /// There is at least one record with the target `.` and none that can be used.
    Declined,
    /// It could not be found out.
    Failed(Reason),
    /// There are records and none of them can be used.
    Unusable,
    /// It is to be had here. Never empty.
    Usable(Vec<Service>),
}

impl Offer {
    /// Reads the outcome of the question for the SRV records of one service.
    ///
    /// A target `.` next to others and port 0 are ignored, they lead nowhere.
    //= RFC6120-3.2.1-2
    //= RFC2782-p3-4
    pub(super) fn new(security: Security, outcome: Result<Finding, Reason>) -> Self {
        let records = match outcome {
            Ok(Finding::Services(records)) => records,
            Ok(Finding::NoData | Finding::NxDomain) => return Self::Absent,
            Ok(Finding::Addresses(_)) => return Self::Failed(Reason::DnsFailure),
            Err(reason) => return Self::Failed(reason),
        };
        let declined = records.iter().any(|record| record.target.is_none());
        let usable: Vec<_> = records.into_iter().filter_map(|record| usable(security, record)).collect();
        match (usable.is_empty(), declined) {
            (false, _) => Self::Usable(usable),
            (true, true) => Self::Declined,
            (true, false) => Self::Unusable,
        }
    }
}

fn usable(security: Security, record: ServiceRecord) -> Option<Service> {
    let ServiceRecord { priority, weight, port, target } = record;
    let target = target.filter(|_| port != 0)?;
    Some(Service { priority, weight, target, port, security })
}

/// The order in which to try the services of a domain, of both kinds at once.
///
/// Lower priorities come first. Within one priority the next service is drawn by weight until none is left: the
/// services without weight stand first, a number from 0 to the sum of all weights is drawn, and the first service
/// at which the running sum reaches it is taken. Those that stand equal are shuffled before, so that the draw does
/// not favour one that the server happened to list first.
///
/// Decision D-10 as read here: direct TLS is no better than STARTTLS as such, the domain's priorities and weights decide. But
/// where both services name one target with the same priority and weight, that says nothing about the kind, and
/// the places that were drawn for it go to direct TLS first. The target's own chance stays as it is.
//= RFC6120-3.2.1-3
//= RFC2782-p3-1
//= RFC2782-p3-2
//= RFC2782-p5-3
//= XEP0368-3-1
pub(super) fn order(services: Vec<Service>, entropy: &mut Entropy) -> Vec<Service> {
    order_by(services, &mut |bound| entropy.below(bound))
}

/// The same with any source of numbers: `below(bound)` is to be less than `bound`.
pub(super) fn order_by(mut services: Vec<Service>, below: &mut impl FnMut(u64) -> u64) -> Vec<Service> {
    // The order of records in an answer has no meaning: take it out.
    services.sort();
    services.dedup();
    shuffle(&mut services, below);
    services.sort_by_key(|service| (service.priority, service.weight != 0));
    let mut ordered = Vec::with_capacity(services.len());
    for equals in services.chunk_by(|a, b| a.priority == b.priority) {
        let mut left = equals.to_vec();
        while !left.is_empty() {
            let drawn = draw(&left, below);
            ordered.push(left.remove(drawn));
        }
    }
    put_direct_tls_first(&mut ordered);
    ordered
}

fn shuffle(services: &mut [Service], below: &mut impl FnMut(u64) -> u64) {
    for last in (1..services.len()).rev() {
        let other = usize::try_from(below((last as u64).saturating_add(1))).unwrap_or(last);
        services.swap(last, other);
    }
}

fn draw(left: &[Service], below: &mut impl FnMut(u64) -> u64) -> usize {
    let sum: u64 = left.iter().map(|service| u64::from(service.weight)).sum();
    let drawn = below(sum.saturating_add(1));
    let mut running = 0_u64;
    left.iter()
        .position(|service| {
            running = running.saturating_add(u64::from(service.weight));
            running >= drawn
        })
        .unwrap_or(0)
}

fn put_direct_tls_first(ordered: &mut [Service]) {
    let mut rest = ordered;
    while let [first, others @ ..] = rest {
        let twin = others.iter_mut().find(|other| {
            (other.priority, other.weight, other.security) == (first.priority, first.weight, Security::DirectTls)
                && other.target == first.target
        });
        if let (Security::StartTls, Some(twin)) = (first.security, twin) {
            std::mem::swap(first, twin);
        }
        rest = others;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Domain;
    use crate::entropy::Seed;
    use proptest::prelude::*;

    fn service(security: Security, priority: u16, weight: u16, port: u16, host: u8) -> Service {
        let domain = Domain::parse(&format!("h{host}.example")).expect("a domain");
        let target = Name::new(&[], &domain).expect("a name");
        Service { priority, weight, target, port, security }
    }

    fn entropy(seed: u64) -> Entropy {
        Entropy::new(Seed([5; 32])).fork("test", seed)
    }

    /// How often each port came first in 4000 draws.
    fn firsts(services: &[Service]) -> std::collections::BTreeMap<u16, u32> {
        let mut counts = std::collections::BTreeMap::new();
        for seed in 0..4000 {
            let first = order(services.to_vec(), &mut entropy(seed)).swap_remove(0);
            *counts.entry(first.port).or_default() += 1;
        }
        counts
    }

    #[test]
    //= RFC2782-p3-2 test
    fn the_chance_to_come_first_follows_the_weight_and_weight_0_has_a_small_one() {
        let plain = |weight, port| service(Security::StartTls, 1, weight, port, port as u8);
        let counts = firsts(&[plain(0, 1), plain(10, 2), plain(30, 3), plain(60, 4)]);
        // 0 to 100 are drawn: 1, 10, 30 and 60 in 101.
        for (port, expected) in [(1, 40_i32), (2, 396), (3, 1188), (4, 2376)] {
            let seen = counts[&port] as i32;
            assert!((seen - expected).abs() < 25 + expected / 8, "port {port}: {seen} instead of {expected}");
        }
    }

    #[test]
    //= RFC2782-p3-2 test
    fn services_without_weight_are_equals() {
        let plain = |port| service(Security::StartTls, 0, 0, port, port as u8);
        let counts = firsts(&[plain(1), plain(2), plain(3), plain(4)]);
        assert!(counts.len() == 4 && counts.values().all(|seen| (850..1150).contains(seen)), "{counts:?}");
    }

    #[test]
    //= RFC9325-3.2-2 test
    fn direct_tls_comes_first_on_a_target_and_leaves_the_chances_of_targets_alone() {
        let services = [
            service(Security::StartTls, 5, 20, 1, 1),
            service(Security::DirectTls, 5, 20, 2, 1),
            service(Security::StartTls, 5, 20, 3, 2),
            service(Security::DirectTls, 5, 20, 4, 2),
        ];
        let counts = firsts(&services);
        assert_eq!(counts.keys().copied().collect::<Vec<_>>(), [2, 4]);
        assert!(counts.values().all(|seen| (1850..2150).contains(seen)), "{counts:?}");
    }

    #[test]
    //= XEP0368-3-1 test
    fn starttls_with_a_better_priority_comes_before_direct_tls() {
        let services = [service(Security::DirectTls, 2, 0, 1, 1), service(Security::StartTls, 1, 0, 2, 1)];
        assert_eq!(firsts(&services), [(2, 4000)].into());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        //= RFC2782-p3-1 test
        //= RFC2782-p5-3 test
        fn the_order_keeps_every_service_once_respects_priorities_and_puts_direct_tls_first(
            drawn in prop::collection::vec((any::<bool>(), 0_u16..3, 0_u16..3, 1_u16..4, 0_u8..3), 0..24),
            seed in any::<u64>(),
        ) {
            let services: Vec<_> = drawn.iter().map(|&(direct, priority, weight, port, host)| {
                let security = if direct { Security::DirectTls } else { Security::StartTls };
                service(security, priority, weight, port, host)
            }).collect();
            let ordered = order(services.clone(), &mut entropy(seed));
            prop_assert!(ordered.is_sorted_by_key(|service| service.priority));
            for (at, first) in ordered.iter().enumerate() {
                let same = |other: &&Service| (other.priority, other.weight, &other.target)
                    == (first.priority, first.weight, &first.target);
                let later_is_direct = ordered.iter().skip(at).filter(same).any(|other| other.security == Security::DirectTls);
                prop_assert!(first.security == Security::DirectTls || !later_is_direct);
            }
            let mut backwards = services.clone();
            backwards.reverse();
            prop_assert_eq!(&order(backwards, &mut entropy(seed)), &ordered, "the order of an answer matters");
            let [mut sorted, mut expected] = [ordered, services];
            sorted.sort();
            expected.sort();
            expected.dedup();
            prop_assert_eq!(sorted, expected);
        }
    }
}
