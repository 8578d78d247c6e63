//! What lookups come to: candidates, or why there are none.

use super::*;

#[test]
//= RFC8305-4-2 test
fn addresses_of_a_target_come_in_turns_and_ipv6_first() {
    let hosts = Node::Data(Data { a: vec![v4(1), v4(2), v4(3)], aaaa: vec![v6(1)], ..Data::default() });
    let zone = Zone::new([(PLAIN, srv(&[(0, 0, 5300, "a.example")])), ("a.example", hosts)]);
    let expected = [starttls(v6(1), 5300), starttls(v4(1), 5300), starttls(v4(2), 5300), starttls(v4(3), 5300)];
    assert_eq!(resolve(&zone), Ok(expected.to_vec()));
}

#[test]
//= XEP0368-3-1 test
fn both_services_are_mixed_by_priority() {
    let zone = Zone::new([
        (PLAIN, srv(&[(1, 0, 5269, "a.example"), (3, 0, 5269, "b.example")])),
        (DIRECT, srv(&[(2, 0, 5270, "b.example"), (1, 0, 443, "a.example")])),
        ("a.example", Node::Data(Data { a: vec![v4(1)], ..Data::default() })),
        ("b.example", Node::Data(Data { a: vec![v4(2)], ..Data::default() })),
    ]);
    let expected = [direct_tls(v4(1), 443), starttls(v4(1), 5269), direct_tls(v4(2), 5270), starttls(v4(2), 5269)];
    assert_eq!(resolve(&zone), Ok(expected.to_vec()));
}

#[test]
//= RFC6120-3.2.2-1 test
//= RFC6120-3.2.1-6 test
//= RFC2782-p5-4 test
//= RFC7712-5.1-2 test
fn without_srv_records_the_domain_itself_is_the_target() {
    let expected = Ok(vec![starttls(v6(1), 5269), starttls(v4(1), 5269)]);
    assert_eq!(resolve(&Zone::new([(DOMAIN, host(1))])), expected, "NXDOMAIN");
    let empty = || Node::Data(Data::default());
    assert_eq!(resolve(&Zone::new([(DOMAIN, host(1)), (PLAIN, empty()), (DIRECT, empty())])), expected, "NODATA");
    assert_eq!(resolve(&Zone::new([])), Err(Reason::DnsNxdomain));
    assert_eq!(resolve(&Zone::new([(DOMAIN, empty())])), Err(Reason::NoAddress));
}

#[test]
//= RFC6120-3.2.1-2 test
//= RFC6120-3.2.1-5 test
//= RFC2782-p3-4 test
//= XEP0368-5-1 test
//= XEP0368-5-2 test
fn a_dot_declares_a_service_absent_and_forbids_the_fallback() {
    let dot = || srv(&[(0, 0, 0, ".")]);
    let real = |port| srv(&[(0, 0, port, "a.example")]);
    let with = |nodes: Vec<(&'static str, Node)>| {
        resolve(&Zone::new([(DOMAIN, host(1)), ("a.example", host(2))].into_iter().chain(nodes)))
    };
    assert_eq!(with(vec![(PLAIN, dot())]), Err(Reason::SrvDot));
    assert_eq!(with(vec![(DIRECT, dot())]), Err(Reason::SrvDot));
    assert_eq!(with(vec![(PLAIN, dot()), (DIRECT, dot())]), Err(Reason::SrvDot));
    let found = with(vec![(PLAIN, real(5269)), (DIRECT, dot())]);
    assert_eq!(found, Ok(vec![starttls(v6(2), 5269), starttls(v4(2), 5269)]));
    let found = with(vec![(PLAIN, dot()), (DIRECT, real(5270))]);
    assert_eq!(found, Ok(vec![direct_tls(v6(2), 5270), direct_tls(v4(2), 5270)]));
    let among_others = srv(&[(0, 0, 5269, "."), (1, 0, 5269, "a.example"), (2, 0, 0, "a.example")]);
    assert_eq!(with(vec![(PLAIN, among_others)]), Ok(vec![starttls(v6(2), 5269), starttls(v4(2), 5269)]));
    assert_eq!(with(vec![(PLAIN, srv(&[(0, 0, 0, "a.example")]))]), Err(Reason::NoAddress), "only port 0");
    assert_eq!(with(vec![(PLAIN, srv(&[(0, 0, 5269, "gone.example")]))]), Err(Reason::NoAddress));
}

#[test]
//= RFC6120-3.2.1-6 test
fn failure_is_not_absence_but_the_records_of_the_other_service_are_used() {
    let faults = [
        (Fault::ServFail, Reason::DnsFailure),
        (Fault::Refused, Reason::DnsFailure),
        (Fault::Broken, Reason::DnsFailure),
        (Fault::Referral, Reason::DnsFailure),
        (Fault::Socket, Reason::DnsFailure),
        (Fault::TruncatedTwice, Reason::DnsFailure),
        (Fault::Silence, Reason::DnsTimeout),
        (Fault::TruncatedThenSilence, Reason::DnsTimeout),
    ];
    for (fault, reason) in faults {
        for (failed, other) in [(PLAIN, DIRECT), (DIRECT, PLAIN)] {
            let absent = Zone::new([(DOMAIN, host(1))]).failing(failed, Kind::Srv, fault);
            assert_eq!(resolve(&absent), Err(reason), "{fault:?} of {failed}");
            let dot = Zone::new([(DOMAIN, host(1)), (other, srv(&[(0, 0, 0, ".")]))]).failing(failed, Kind::Srv, fault);
            assert_eq!(resolve(&dot), Err(reason), "{fault:?} of {failed}, the other declined");
            let usable = Zone::new([("a.example", host(2)), (other, srv(&[(0, 0, 1, "a.example")]))]);
            let found = resolve(&usable.failing(failed, Kind::Srv, fault)).map(|candidates| candidates.len());
            assert_eq!(found, Ok(2), "{fault:?} of {failed}, the other usable");
        }
    }
}

#[test]
fn of_two_failures_that_of_the_older_service_is_told() {
    let zone = |timeout: &str, failure: &str| {
        Zone::new([]).failing(timeout, Kind::Srv, Fault::Silence).failing(failure, Kind::Srv, Fault::ServFail)
    };
    assert_eq!(resolve(&zone(PLAIN, DIRECT)), Err(Reason::DnsTimeout));
    assert_eq!(resolve(&zone(DIRECT, PLAIN)), Err(Reason::DnsFailure));
}

#[test]
fn aliases_are_followed_eight_hops_far_in_one_answer_or_in_many() {
    for chase in [1, 3, 16] {
        let chain = |length: usize| {
            let names: Vec<_> =
                (0..=length).map(|n| if n == 0 { DOMAIN.to_owned() } else { format!("c{n}.example") }).collect();
            let mut zone = Zone { chase, ..Zone::new([]) };
            zone.nodes = names.windows(2).map(|pair| (pair[0].clone(), alias(&pair[1]))).collect();
            zone.nodes.insert(names[length].clone(), host(1));
            zone
        };
        assert_eq!(resolve(&chain(8)).map(|candidates| candidates.len()), Ok(2), "{chase} aliases a message");
        assert_eq!(resolve(&chain(9)), Err(Reason::DnsFailure), "{chase} aliases a message");
        let circle = Zone { chase, ..Zone::new([(DOMAIN, alias("b.example")), ("b.example", alias(DOMAIN))]) };
        assert_eq!(resolve(&circle), Err(Reason::DnsFailure));
        let service = Zone {
            chase,
            ..Zone::new([
                (PLAIN, alias("s.example")),
                ("s.example", srv(&[(0, 0, 7, "a.example")])),
                ("a.example", host(1)),
            ])
        };
        assert_eq!(resolve(&service), Ok(vec![starttls(v6(1), 7), starttls(v4(1), 7)]));
    }
}

#[test]
fn a_lookup_ends_at_its_deadline_with_what_is_there() {
    let patient = || ResolverConfig { query_timeout: Duration::from_secs(20), ..config(2) };
    let host = Node::Data(Data { a: vec![v4(1)], ..Data::default() });
    let zone = Zone::new([(DOMAIN, host)]);
    let mut bench = Bench::new(patient(), 1);
    bench.lookup();
    let silent = zone.clone().failing(DIRECT, Kind::Srv, Fault::Silence);
    assert_eq!(bench.run(&silent), Err(Reason::DnsTimeout));
    assert_eq!(bench.elapsed(), limits::DNS_LOOKUP);
    let mut bench = Bench::new(patient(), 1);
    bench.lookup();
    let half = zone.failing(DOMAIN, Kind::Aaaa, Fault::Silence);
    assert_eq!(bench.run(&half), Ok(vec![starttls(v4(1), 5269)]));
    assert_eq!(bench.elapsed(), limits::DNS_LOOKUP);
}

#[test]
fn a_cancelled_lookup_gives_no_answer_and_forgets_its_queries() {
    let mut bench = Bench::new(config(2), 1);
    let lookup = bench.lookup();
    bench.resolver.cancel(lookup);
    bench.drain();
    bench.assert_idle();
    bench.reply(QueryId(0), Some(b"late"));
    assert_eq!(bench.resolver.poll_answer(), None);

    let lookup = bench.lookup();
    let other = bench.lookup();
    bench.answer_all(&Zone::new([]), &mut Entropy::new(Seed([0; 32])), |_| Vec::new());
    bench.resolver.cancel(lookup);
    assert_eq!(bench.resolver.poll_answer(), Some((other, Err(Reason::DnsNxdomain))), "answered, but not yet told");
    assert_eq!(bench.resolver.poll_answer(), None);
    bench.assert_idle();
}

#[test]
fn a_domain_too_long_for_srv_records_is_asked_for_its_addresses() {
    let label = "a".repeat(61);
    let name = format!("{label}.{label}.{label}.{label}");
    let mut bench = Bench::new(config(1), 1);
    bench.resolver.lookup(bench.now, &Domain::parse(&name).expect("a domain"), Behalf::Ours);
    let mut zone = Zone::new([]);
    zone.nodes.insert(name, host(1));
    assert_eq!(bench.run(&zone), Ok(vec![starttls(v6(1), 5269), starttls(v4(1), 5269)]));
}
