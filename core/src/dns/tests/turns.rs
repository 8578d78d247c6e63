//! How many queries are under way at once.

use super::*;

fn begin(bench: &mut Bench, count: usize) -> Vec<LookupId> {
    let domains = (0..count).map(|n| Domain::parse(&format!("d{n}.example")).expect("a domain"));
    let lookups = domains.map(|domain| bench.resolver.lookup(bench.now, &domain)).collect();
    bench.drain();
    lookups
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
