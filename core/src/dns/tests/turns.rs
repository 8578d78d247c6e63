//! How many queries are under way at once.

use super::*;

fn begin(bench: &mut Bench, count: usize) -> Vec<LookupId> {
    begin_for(bench, 0..count, Behalf::Ours)
}

fn begin_for(bench: &mut Bench, numbers: std::ops::Range<usize>, behalf: Behalf) -> Vec<LookupId> {
    let domains = numbers.map(|n| Domain::parse(&format!("d{n}.example")).expect("a domain"));
    let lookups = domains.map(|domain| bench.resolver.lookup(bench.now, &domain, behalf)).collect();
    bench.drain();
    lookups
}

/// The numbers of the domains that queries under way are about, each once.
fn under_way(bench: &Bench) -> BTreeSet<usize> {
    let number = |out: &Out| {
        let asked = Message::from_vec(&out.message).expect("a message").queries[0].name().to_ascii();
        asked.split('.').find_map(|label| label.strip_prefix('d')?.parse().ok()).expect("one of ours")
    };
    bench.out.values().map(number).collect()
}

#[test]
fn however_many_lookups_begin_no_more_queries_are_under_way_than_may_be() {
    let mut bench = Bench::new(ResolverConfig { queries: 3, ..config(1) }, 1);
    begin(&mut bench, 20);
    assert_eq!((bench.out.len(), bench.resolver.queries()), (3, 3));
    let zone = Zone::new([]);
    while let Some((query, out)) = bench.out.first_key_value() {
        let (query, message) = (*query, out.message.clone());
        let Delivery::Message(reply) = zone.serve(0, Transport::Udp, &message) else { panic!("it answers") };
        bench.reply(query, Some(&reply));
        assert!(bench.out.len() <= 3);
    }
    assert_eq!(
        (bench.asked.len(), bench.elapsed()),
        (80, Duration::ZERO),
        "four questions about each domain, in no time"
    );
    assert_eq!(std::iter::from_fn(|| bench.resolver.poll_answer()).count(), 20);
    bench.assert_idle();
}

#[test]
fn the_time_of_a_query_begins_when_it_goes_out() {
    let mut bench = Bench::new(ResolverConfig { queries: 2, ..config(1) }, 1);
    begin(&mut bench, 2);
    let first: Vec<_> = bench.out.keys().copied().collect();
    bench.pass(TIMEOUT - Duration::from_millis(1));
    assert_eq!(bench.out.keys().copied().collect::<Vec<_>>(), first);
    // The first two are repeated, behind the others that have waited longer.
    bench.pass(Duration::from_millis(1));
    let second: Vec<_> = bench.out.keys().copied().collect();
    assert!(second.iter().all(|query| !first.contains(query)) && second.len() == 2);
    bench.pass(TIMEOUT - Duration::from_millis(1));
    assert_eq!(bench.out.keys().copied().collect::<Vec<_>>(), second, "they have their full time");
    for _ in 0..100 {
        if bench.resolver.poll_timeout().is_none() {
            break;
        }
        bench.wait();
        assert!(bench.out.len() <= 2);
    }
    let answers: Vec<_> = std::iter::from_fn(|| bench.resolver.poll_answer()).map(|(_, answer)| answer).collect();
    assert_eq!(answers, [Err(Reason::DnsTimeout), Err(Reason::DnsTimeout)]);
    bench.assert_idle();
}

#[test]
fn a_turn_that_becomes_free_by_a_cancelled_lookup_is_taken_at_once() {
    let mut bench = Bench::new(ResolverConfig { queries: 2, ..config(1) }, 1);
    let lookups = begin(&mut bench, 2);
    let first: Vec<_> = bench.out.keys().copied().collect();
    bench.resolver.cancel(lookups[0]);
    bench.drain();
    assert!(bench.out.is_empty());
    assert!(bench.resolver.poll_timeout().is_some_and(|at| at <= bench.now), "now");
    bench.pass(Duration::ZERO);
    assert!(bench.out.len() == 2 && bench.out.keys().all(|query| !first.contains(query)));
    // What was never asked is never forgotten: the bench checks it.
    bench.resolver.cancel(lookups[1]);
    bench.drain();
    bench.assert_idle();
}

#[test]
fn silent_domains_that_peers_want_to_prove_leave_half_of_the_turns_to_ours() {
    let mut bench = Bench::new(ResolverConfig { queries: 8, ..config(1) }, 1);
    begin_for(&mut bench, 0..100, Behalf::Peers);
    assert_eq!(under_way(&bench), (0..2).collect(), "half of eight, two for each domain");
    begin_for(&mut bench, 100..102, Behalf::Ours);
    assert_eq!(under_way(&bench), [0, 1, 100, 101].into(), "at once");
    // One of ours has its answer, in no time, whatever waits.
    let silent = (0..100).chain([101]).map(|n| format!("d{n}.example"));
    let mut zone = Zone::new([("d100.example", host(1))]);
    for name in silent {
        for service in ["_xmpp-server._tcp", "_xmpps-server._tcp"] {
            zone = zone.failing(&format!("{service}.{name}"), Kind::Srv, Fault::Silence);
        }
    }
    bench.answer(&zone);
    let answer = bench.resolver.poll_answer().map(|(_, answer)| answer.map(|candidates| candidates.len()));
    assert_eq!((answer, bench.elapsed()), (Some(Ok(2)), Duration::ZERO));
    assert_eq!(under_way(&bench), [0, 1, 101].into(), "what it leaves goes to none of them");
}

#[test]
fn ours_go_before_those_of_peers_that_have_waited_longer() {
    let mut bench = Bench::new(ResolverConfig { queries: 2, ..config(1) }, 1);
    begin_for(&mut bench, 0..1, Behalf::Ours);
    begin_for(&mut bench, 1..9, Behalf::Peers);
    let ours = begin_for(&mut bench, 9..10, Behalf::Ours);
    let zone = Zone::new([]);
    assert_eq!(under_way(&bench), [0].into());
    for kind in [DIRECT, PLAIN] {
        let name = kind.replace(DOMAIN, "d0.example");
        bench.answer_only(&zone, &name, RecordType::SRV);
    }
    assert!(under_way(&bench).contains(&9), "{:?}", under_way(&bench));
    bench.resolver.cancel(ours[0]);
    bench.drain();
}

#[test]
fn a_question_of_peers_that_we_want_to_know_too_is_ours() {
    let mut bench = Bench::new(ResolverConfig { queries: 4, ..config(1) }, 1);
    begin_for(&mut bench, 0..20, Behalf::Peers);
    assert_eq!(under_way(&bench), [0].into());
    let held = begin_for(&mut bench, 19..20, Behalf::Ours);
    assert_eq!(under_way(&bench), [0, 19].into(), "it waited, and waits no more");
    let shared = begin_for(&mut bench, 0..1, Behalf::Ours);
    assert_eq!(under_way(&bench), [0, 19].into());
    for lookup in held.into_iter().chain(shared) {
        bench.resolver.cancel(lookup);
    }
    bench.drain();
    // Peers still wait for what was ours for a while; nothing is counted twice.
    for _ in 0..200 {
        if bench.resolver.poll_timeout().is_none() {
            break;
        }
        bench.wait();
        assert!(bench.out.len() <= 4);
    }
    while bench.resolver.poll_answer().is_some() {}
    bench.assert_idle();
}

#[test]
fn a_lookup_of_peers_that_we_want_to_know_too_is_ours_with_all_that_it_has_still_to_ask() {
    let mut bench = Bench::new(ResolverConfig { queries: 4, ..config(1) }, 1);
    let lookups = begin_for(&mut bench, 0..20, Behalf::Peers);
    assert_eq!(under_way(&bench), [0].into());
    bench.resolver.promote(bench.now, lookups[19]);
    bench.drain();
    assert_eq!(under_way(&bench), [0, 19].into(), "it waited behind all others");
    let zone = Zone::new([]);
    for kind in [DIRECT, PLAIN] {
        bench.answer_only(&zone, &kind.replace(DOMAIN, "d19.example"), RecordType::SRV);
    }
    assert_eq!(under_way(&bench), [0, 19].into(), "now about its addresses");
    bench.resolver.promote(bench.now, lookups[0]);
    bench.drain();
    bench.answer(&zone);
    assert_eq!(std::iter::from_fn(|| bench.resolver.poll_answer()).count(), 20);
    bench.assert_idle();
}

#[test]
fn one_turn_is_enough_for_both() {
    let mut bench = Bench::new(ResolverConfig { queries: 1, ..config(1) }, 1);
    begin_for(&mut bench, 0..1, Behalf::Peers);
    begin_for(&mut bench, 1..2, Behalf::Ours);
    let zone = Zone::new([]);
    bench.answer(&zone);
    assert_eq!(std::iter::from_fn(|| bench.resolver.poll_answer()).count(), 2);
    bench.assert_idle();
}
