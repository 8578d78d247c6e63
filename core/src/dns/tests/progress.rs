//! When candidates are told, and in which order.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;
use proptest::prelude::*;

use super::zone::{DIRECT, DOMAIN, Data, Fault, Node, PLAIN, Zone, host, srv, v4, v6};
use super::{Bench, Kind, cases, config, direct_tls, model, starttls};
use crate::dns::{Candidate, LookupId, Progress, ResolverConfig, SourceAddresses};
use crate::limits::{CANDIDATES, RESOLUTION_DELAY};
use crate::reason::Reason;

const MILLISECOND: Duration = Duration::from_millis(1);

fn hosts(a: u8, aaaa: u8) -> Node {
    Node::Data(Data { a: (1..=a).map(v4).collect(), aaaa: (1..=aaaa).map(v6).collect(), ..Data::default() })
}

/// The questions for the addresses of [`DOMAIN`] are out.
fn begun(zone: &Zone) -> (Bench, LookupId) {
    begun_with(config(2), zone)
}

fn begun_with(config: ResolverConfig, zone: &Zone) -> (Bench, LookupId) {
    let mut bench = Bench::new(config, 1);
    let lookup = bench.lookup();
    bench.answer_only(zone, DIRECT, RecordType::SRV);
    bench.answer_only(zone, PLAIN, RecordType::SRV);
    assert_eq!(bench.progress(), []);
    (bench, lookup)
}

fn told(bench: &mut Bench) -> Vec<Progress> {
    bench.progress().into_iter().map(|(_, progress)| progress).collect()
}

fn four(n: u8) -> Candidate {
    starttls(v4(n), 5269)
}

fn six(n: u8) -> Candidate {
    starttls(v6(n), 5269)
}

#[test]
//= RFC8305-3-1 test
fn aaaa_is_asked_first_and_a_right_behind_it() {
    let (bench, _) = begun(&Zone::new([(DOMAIN, hosts(1, 1))]));
    let asked =
        bench.asked.iter().map(|out| Message::from_vec(&out.message).expect("a message").queries[0].query_type());
    let addresses: Vec<_> = asked.filter(|kind| *kind != RecordType::SRV).collect();
    assert_eq!(addresses, [RecordType::AAAA, RecordType::A]);
    assert_eq!(bench.out.len(), 2, "neither waits for the other");
}

#[test]
//= RFC8305-3-2 test
//= RFC8305-4-2 test
fn the_first_ipv6_address_is_told_at_once_and_the_others_in_turn_with_ipv4() {
    let zone = Zone::new([(DOMAIN, hosts(2, 3))]);
    let (mut bench, _) = begun(&zone);
    bench.answer_only(&zone, DOMAIN, RecordType::AAAA);
    assert_eq!(told(&mut bench), [Progress::Candidates(vec![six(1)])]);
    bench.pass(RESOLUTION_DELAY - MILLISECOND);
    bench.answer_only(&zone, DOMAIN, RecordType::A);
    let rest = vec![four(1), six(2), four(2), six(3)];
    assert_eq!(told(&mut bench), [Progress::Candidates(rest), Progress::Done(Ok(()))]);
    bench.assert_idle();
}

/// A system without IPv6.
#[derive(Debug)]
struct WithoutIpv6;

impl SourceAddresses for WithoutIpv6 {
    fn source(&self, destination: IpAddr) -> Option<IpAddr> {
        destination.is_ipv4().then_some(v4(99).into())
    }
}

#[test]
//= RFC8305-4-1 test
fn an_ipv6_address_without_a_route_is_not_told_before_ipv4_had_its_time() {
    let zone = Zone::new([(DOMAIN, hosts(2, 2))]);
    for ipv4_is_answered in [true, false] {
        let (mut bench, _) = begun_with(ResolverConfig { sources: Some(Arc::new(WithoutIpv6)), ..config(2) }, &zone);
        bench.answer_only(&zone, DOMAIN, RecordType::AAAA);
        bench.pass(RESOLUTION_DELAY - MILLISECOND);
        assert_eq!(told(&mut bench), []);
        if ipv4_is_answered {
            bench.answer_only(&zone, DOMAIN, RecordType::A);
            let all = vec![four(1), six(1), four(2), six(2)];
            assert_eq!(told(&mut bench), [Progress::Candidates(all), Progress::Done(Ok(()))]);
        } else {
            bench.pass(MILLISECOND);
            assert_eq!(told(&mut bench), [Progress::Candidates(vec![six(1), six(2)])], "perhaps the system is wrong");
        }
    }
}

#[test]
//= RFC8305-3-2 test
//= RFC8305-3-3 test
fn ipv4_addresses_wait_for_ipv6_no_longer_than_the_resolution_delay() {
    let zone = Zone::new([(DOMAIN, hosts(2, 2))]);
    let (mut bench, _) = begun(&zone);
    bench.answer_only(&zone, DOMAIN, RecordType::A);
    assert_eq!(bench.resolver.poll_timeout(), Some(bench.now + RESOLUTION_DELAY));
    bench.pass(RESOLUTION_DELAY - MILLISECOND);
    assert_eq!(told(&mut bench), []);
    bench.answer_only(&zone, DOMAIN, RecordType::AAAA);
    let all = vec![six(1), four(1), six(2), four(2)];
    assert_eq!(told(&mut bench), [Progress::Candidates(all), Progress::Done(Ok(()))]);
    bench.assert_idle();
}

#[test]
//= RFC8305-3-3 test
//= RFC8305-3-4 test
fn what_comes_after_the_resolution_delay_is_told_behind_what_was_told() {
    let zone = Zone::new([(DOMAIN, hosts(2, 2))]);
    for (early, late, first, then) in [
        (RecordType::A, RecordType::AAAA, [four(1), four(2)], [six(1), six(2)]),
        (RecordType::AAAA, RecordType::A, [six(1), six(2)], [four(1), four(2)]),
    ] {
        let (mut bench, _) = begun(&zone);
        bench.answer_only(&zone, DOMAIN, early);
        bench.pass(RESOLUTION_DELAY);
        let early: Vec<_> = told(&mut bench)
            .into_iter()
            .flat_map(|progress| match progress {
                Progress::Candidates(candidates) => candidates,
                Progress::Done(_) => panic!("not done"),
            })
            .collect();
        assert_eq!(early, first);
        bench.pass(Duration::from_secs(1));
        assert_eq!(told(&mut bench), []);
        bench.answer_only(&zone, DOMAIN, late);
        assert_eq!(told(&mut bench), [Progress::Candidates(then.to_vec()), Progress::Done(Ok(()))]);
        bench.assert_idle();
    }
}

#[test]
//= RFC8305-3-2 test
fn a_family_that_does_not_exist_or_fails_is_not_waited_for() {
    let v4_only = Zone::new([(DOMAIN, hosts(1, 0))]);
    let (mut bench, _) = begun(&v4_only);
    bench.answer_only(&v4_only, DOMAIN, RecordType::AAAA);
    bench.answer_only(&v4_only, DOMAIN, RecordType::A);
    assert_eq!(told(&mut bench), [Progress::Candidates(vec![four(1)]), Progress::Done(Ok(()))]);

    // A server that is silent about one family: the other is used long before that is a failure.
    let half = Zone::new([(DOMAIN, hosts(1, 1))]).failing(DOMAIN, Kind::Aaaa, Fault::Silence);
    let (mut bench, _) = begun(&half);
    bench.answer(&half);
    bench.wait();
    assert_eq!(told(&mut bench), [Progress::Candidates(vec![four(1)])]);
    assert_eq!(bench.elapsed(), RESOLUTION_DELAY);
    bench.wait();
    bench.wait();
    assert_eq!(told(&mut bench), [Progress::Done(Ok(()))]);
    bench.assert_idle();
}

#[test]
//= RFC6120-3.2.1-3 test
fn a_service_is_told_only_after_those_before_it() {
    let zone = Zone::new([
        (DIRECT, srv(&[(1, 0, 443, "a.example")])),
        (PLAIN, srv(&[(2, 0, 5269, "b.example"), (3, 0, 5300, "a.example")])),
        ("a.example", hosts(1, 1)),
        ("b.example", host(2)),
    ]);
    let (mut bench, lookup) = begun(&zone);
    bench.answer_only(&zone, "b.example", RecordType::A);
    bench.answer_only(&zone, "b.example", RecordType::AAAA);
    bench.pass(RESOLUTION_DELAY * 2);
    assert_eq!(told(&mut bench), []);
    bench.answer_only(&zone, "a.example", RecordType::AAAA);
    assert_eq!(told(&mut bench), [Progress::Candidates(vec![direct_tls(v6(1), 443)])]);
    bench.pass(RESOLUTION_DELAY);
    let behind = vec![six(2), four(2), starttls(v6(1), 5300)];
    assert_eq!(told(&mut bench), [Progress::Candidates(behind)]);
    bench.answer_only(&zone, "a.example", RecordType::A);
    let late = vec![direct_tls(v4(1), 443), starttls(v4(1), 5300)];
    let end = [(lookup, Progress::Candidates(late)), (lookup, Progress::Done(Ok(())))];
    assert_eq!(bench.progress(), end);
    bench.assert_idle();
}

#[test]
fn many_addresses_of_one_family_leave_room_for_the_other() {
    let zone = Zone::new([(DOMAIN, hosts(3, 60))]);
    let (mut bench, _) = begun(&zone);
    bench.answer_only(&zone, DOMAIN, RecordType::AAAA);
    bench.pass(RESOLUTION_DELAY);
    let early: Vec<_> = (1..=CANDIDATES as u8 / 2).map(six).collect();
    let [first, rest] = [early[..1].to_vec(), early[1..].to_vec()].map(Progress::Candidates);
    assert_eq!(told(&mut bench), [first, rest]);
    bench.answer_only(&zone, DOMAIN, RecordType::A);
    let late = [four(1), four(2), four(3)].into_iter().chain((9..14).map(six)).collect();
    assert_eq!(told(&mut bench), [Progress::Candidates(late), Progress::Done(Ok(()))]);
}

#[test]
fn a_cancelled_lookup_tells_nothing_more() {
    let zone = Zone::new([(DOMAIN, hosts(1, 1))]);
    let (mut bench, lookup) = begun(&zone);
    bench.answer_only(&zone, DOMAIN, RecordType::AAAA);
    bench.resolver.cancel(lookup);
    bench.drain();
    assert_eq!(bench.progress(), []);
    bench.assert_idle();
}

#[test]
fn what_is_remembered_is_told_without_waiting_and_in_order() {
    let zone = Zone::new([(DOMAIN, hosts(1, 1))]);
    let (mut bench, _) = begun(&zone);
    bench.answer(&zone);
    let _ = bench.progress();
    let lookup = bench.lookup();
    let all = Progress::Candidates(vec![six(1), four(1)]);
    assert_eq!(bench.progress(), [(lookup, all), (lookup, Progress::Done(Ok(())))]);
}

proptest! {
    #![proptest_config(cases(512))]
    #[test]
    //= RFC8305-3-2 test
    fn what_is_told_step_by_step_is_in_the_end_what_is_told_at_once(
        zone in model::zones(), seed in any::<u8>(), order in any::<u64>(),
    ) {
        let config = || ResolverConfig { query_timeout: Duration::from_millis(100), ..config(2) };
        let mut bench = Bench::new(config(), seed);
        bench.lookup();
        let whole = bench.run_with(&zone, order, |_| Vec::new());
        let mut bench = Bench::new(config(), seed);
        let lookup = bench.lookup();
        let (candidates, end) = follow(&mut bench, &zone, lookup);
        bench.assert_idle();
        prop_assert_eq!(end, whole.clone().map(|_| ()));
        let whole = whole.unwrap_or_default();
        prop_assert!(candidates.len() <= CANDIDATES);
        prop_assert!(candidates.iter().enumerate().all(|(at, one)| !candidates[..at].contains(one)), "told twice");
        if bench.elapsed().is_zero() {
            prop_assert_eq!(candidates, whole);
        } else if whole.len() < CANDIDATES / 2 {
            let sorted = |mut all: Vec<Candidate>| {
                all.sort_by_key(|candidate| (candidate.addr, candidate.security));
                all
            };
            prop_assert_eq!(sorted(candidates), sorted(whole));
        }
    }
}

/// Answers and waits until `lookup` is over, and checks how it is told.
fn follow(bench: &mut Bench, zone: &Zone, lookup: LookupId) -> (Vec<Candidate>, Result<(), Reason>) {
    let mut all = Vec::new();
    for _ in 0..200 {
        bench.answer(zone);
        for (id, progress) in bench.progress() {
            assert_eq!(id, lookup);
            match progress {
                Progress::Candidates(further) => {
                    assert!(!further.is_empty());
                    all.extend(further);
                }
                Progress::Done(end) => {
                    assert_eq!(end.is_ok(), !all.is_empty());
                    assert_eq!(bench.progress(), [], "told after the end");
                    return (all, end);
                }
            }
        }
        bench.wait();
    }
    panic!("the lookup does not end");
}
