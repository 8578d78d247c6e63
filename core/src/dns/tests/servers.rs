//! How servers are asked, and what of their answers counts.

use super::*;

#[test]
//= RFC5452-9.2-2 test
//= XEP0368-3-1 test
fn queries_are_absolute_and_unpredictable_and_ask_for_both_services_at_once() {
    let mut bench = Bench::new(config(1), 1);
    bench.lookup();
    assert_eq!(bench.out.len(), 2, "each on a socket of its own");
    let messages: Vec<_> = bench.asked.iter().map(|out| Message::from_vec(&out.message).expect("a message")).collect();
    let names: Vec<_> = messages.iter().map(|message| message.queries[0].name().to_ascii()).collect();
    assert_eq!(names, [format!("{DIRECT}."), format!("{PLAIN}.")]);
    for message in &messages {
        assert!(message.metadata.recursion_desired && message.metadata.authentic_data);
        assert_eq!(message.metadata.message_type, MessageType::Query);
        let edns = message.edns.as_ref().expect("EDNS");
        assert_eq!((edns.max_payload(), edns.version(), edns.flags().dnssec_ok), (1232, 0, false));
    }
    let ids: BTreeSet<_> = (0..40)
        .flat_map(|seed| {
            let mut bench = Bench::new(config(1), seed);
            bench.lookup();
            bench.asked.into_iter().map(|out| [out.message[0], out.message[1]])
        })
        .collect();
    assert!(ids.len() > 76, "ids repeat: {}", ids.len());
}

#[test]
//= RFC5891-5.5-1 test
//= RFC7673-8-1 test
fn names_beyond_ascii_are_asked_for_as_a_labels() {
    let mut bench = Bench::new(config(1), 1);
    bench.resolver.lookup(bench.now, &Domain::parse("BÜCHER.example").expect("a domain"), Behalf::Ours);
    bench.drain();
    let asked = Message::from_vec(&bench.asked[1].message).expect("a message");
    assert_eq!(asked.queries[0].name().to_ascii(), "_xmpp-server._tcp.xn--bcher-kva.example.");
}

#[test]
fn silence_is_retried_once_at_the_next_server_or_at_the_only_one() {
    let zone = Zone::new([]).failing(PLAIN, Kind::Srv, Fault::Silence).failing(DIRECT, Kind::Srv, Fault::Silence);
    for (servers, expected) in [(1, [0, 0, 0, 0]), (2, [0, 0, 1, 1]), (3, [0, 0, 1, 1])] {
        let mut bench = Bench::new(config(servers), 1);
        bench.lookup();
        assert_eq!(bench.resolver.poll_timeout(), Some(bench.start + TIMEOUT));
        assert_eq!(bench.run(&zone), Err(Reason::DnsTimeout));
        let asked: Vec<_> = bench.asked.iter().map(|out| out.server.port()).collect();
        assert_eq!(asked, expected);
        assert_eq!(bench.elapsed(), TIMEOUT * 2);
    }
}

#[test]
fn a_server_that_fails_is_not_asked_again_but_the_next_one_is() {
    for fault in [Fault::ServFail, Fault::Refused, Fault::Socket, Fault::Broken] {
        let mut zone = Zone::new([(DOMAIN, host(1))]);
        zone.faults = [(PLAIN, 0), (DIRECT, 0)].map(|(name, n)| ((name.to_owned(), Kind::Srv, n), fault)).into();
        let mut bench = Bench::new(config(1), 1);
        bench.lookup();
        assert_eq!(bench.run(&zone), Err(Reason::DnsFailure), "{fault:?}");
        assert_eq!((bench.asked.len(), bench.elapsed()), (2, Duration::ZERO));
        let mut bench = Bench::new(config(2), 1);
        bench.lookup();
        assert_eq!(bench.run(&zone).map(|candidates| candidates.len()), Ok(2), "{fault:?}");
        let asked: Vec<_> = bench.asked.iter().map(|out| out.server.port()).collect();
        assert_eq!(asked, [0, 0, 1, 1, 0, 0]);
    }
}

#[test]
//= RFC2782-p5-5 test
fn a_truncated_answer_is_asked_for_again_over_tcp_and_not_used_in_part() {
    let records = srv(&[(0, 0, 1, "a.example"), (1, 0, 2, "a.example")]);
    let host = Node::Data(Data { a: vec![v4(1)], ..Data::default() });
    let mut zone = Zone::new([(PLAIN, records), ("a.example", host)]);
    zone.faults.insert((PLAIN.to_owned(), Kind::Srv, 0), Fault::Truncated);
    let mut bench = Bench::new(config(2), 1);
    bench.lookup();
    assert_eq!(bench.run(&zone), Ok(vec![starttls(v4(1), 1), starttls(v4(1), 2)]));
    let tcp: Vec<_> = bench.asked.iter().filter(|out| out.transport == Transport::Tcp).collect();
    assert_eq!(tcp.len(), 1);
    assert_eq!(tcp[0].server, server(0));

    zone.faults.insert((PLAIN.to_owned(), Kind::Srv, 0), Fault::TruncatedThenSocket);
    let mut bench = Bench::new(config(2), 1);
    bench.lookup();
    assert_eq!(bench.run(&zone), Ok(vec![starttls(v4(1), 1), starttls(v4(1), 2)]));
    let services = bench.asked.iter().filter(|out| out.message[12..].starts_with(b"\x0c_xmpp-server"));
    let path: Vec<_> = services.map(|out| (out.server.port(), out.transport)).collect();
    assert_eq!(path, [(0, Transport::Udp), (0, Transport::Tcp), (1, Transport::Udp)]);
}

/// Answers a query with records of our choice, whatever their owner.
fn answer(bench: &mut Bench, query: QueryId, answers: Vec<(&str, RData)>, additionals: Vec<(&str, RData)>) {
    let asked = Message::from_vec(&bench.out[&query].message).expect("a message");
    let mut reply = Message::new(asked.metadata.id, MessageType::Response, OpCode::Query);
    reply.queries = asked.queries;
    reply.answers = answers.into_iter().map(|(owner, data)| zone::record(owner, data)).collect();
    reply.additionals = additionals.into_iter().map(|(owner, data)| zone::record(owner, data)).collect();
    bench.reply(query, Some(&zone::encode(&reply)));
}

#[test]
//= RFC2782-p5-2 test
fn records_that_nobody_asked_for_are_not_used() {
    let mut bench = Bench::new(config(1), 1);
    bench.lookup();
    let service = |target| RData::SRV(SRV::new(0, 0, 5269, zone::wire(target)));
    let [direct, plain] = [0, 1].map(QueryId);
    answer(&mut bench, direct, vec![("elsewhere.example", service("evil.example"))], vec![]);
    let glue = vec![("a.example", RData::A(A(v4(66))))];
    answer(&mut bench, plain, vec![(PLAIN, service("A.Example")), (DIRECT, service("evil.example"))], glue);
    let zone = Zone::new([("a.example", host(1))]);
    assert_eq!(bench.run(&zone), Ok(vec![starttls(v6(1), 5269), starttls(v4(1), 5269)]));
    assert_eq!(bench.asked.len(), 4);
}

#[test]
fn names_are_compared_without_regard_to_case() {
    let mut bench = Bench::new(config(1), 1);
    bench.lookup();
    let asked = Message::from_vec(&bench.out[&QueryId(1)].message).expect("a message");
    let mut reply = Message::new(asked.metadata.id, MessageType::Response, OpCode::Query);
    reply.queries = asked.queries;
    reply.queries[0].set_name(zone::wire("_XMPP-Server._TCP.D.example"));
    reply.answers =
        vec![zone::record("_xmpp-SERVER._tcp.D.EXAMPLE", RData::SRV(SRV::new(0, 0, 1, zone::wire("A.example"))))];
    bench.reply(QueryId(1), Some(&zone::encode(&reply)));
    assert_eq!(bench.run(&Zone::new([("a.example", host(1))])).map(|candidates| candidates.len()), Ok(2));
}

#[test]
fn a_huge_answer_is_cut_at_the_limits() {
    let mut bench = Bench::new(config(1), 1);
    bench.lookup();
    let targets: Vec<_> = (0..900).map(|n| (n, format!("t{n}.example"))).collect();
    let record = |(n, target): &(u16, String)| (PLAIN, RData::SRV(SRV::new(900 - n, 0, 5269, zone::wire(target))));
    answer(&mut bench, QueryId(0), vec![], vec![]);
    answer(&mut bench, QueryId(1), targets.iter().map(record).collect(), vec![]);
    let hosts: Vec<_> = bench.out.keys().copied().collect();
    assert_eq!(hosts.len(), 2 * limits::DNS_TARGETS);
    let best_that_is_looked_at = zone::wire(&format!("t{}.example", limits::DNS_RECORDS - 1));
    let asked = Message::from_vec(&bench.out[&hosts[0]].message).expect("a message");
    assert_eq!(*asked.queries[0].name(), best_that_is_looked_at);
    let many = Node::Data(Data { a: (0..200).map(v4).collect(), ..Data::default() });
    let mut zone = Zone::new([]);
    zone.nodes = targets.into_iter().map(|(_, target)| (target, many.clone())).collect();
    assert_eq!(bench.run(&zone).map(|candidates| candidates.len()), Ok(limits::CANDIDATES));
}

#[test]
fn early_timeouts_and_late_replies_change_nothing() {
    let mut bench = Bench::new(config(2), 1);
    bench.lookup();
    let Delivery::Message(late) = Zone::new([]).serve(0, Transport::Udp, &bench.asked[0].message) else { panic!() };
    bench.resolver.handle_timeout(bench.now + TIMEOUT - Duration::from_millis(1));
    bench.drain();
    assert_eq!(bench.asked.len(), 2);
    bench.wait();
    assert_eq!(bench.asked.len(), 4);
    bench.reply(QueryId(0), Some(&late));
    bench.reply(QueryId(1), None);
    assert_eq!((bench.asked.len(), bench.out.len()), (4, 2));
}

#[test]
fn a_new_configuration_holds_for_the_next_query() {
    let mut bench = Bench::new(config(1), 1);
    bench.lookup();
    let servers = vec![server(7)];
    bench.resolver.reconfigure(ResolverConfig {
        query_timeout: TIMEOUT * 2,
        ipv6: false,
        ..ResolverConfig::new(servers)
    });
    bench.wait();
    let asked: Vec<_> = bench.asked.iter().map(|out| out.server.port()).collect();
    assert_eq!(asked, [0, 0, 7, 7]);
    assert_eq!(bench.resolver.poll_timeout(), Some(bench.now + TIMEOUT * 2));
    assert_eq!(bench.run(&Zone::new([(DOMAIN, host(1))])), Ok(vec![starttls(v4(1), 5269)]));
}

#[test]
fn without_servers_every_lookup_fails() {
    let mut bench = Bench::new(config(0), 1);
    let lookup = bench.lookup();
    assert_eq!(bench.resolver.poll_answer(), Some((lookup, Err(Reason::DnsFailure))));
    bench.assert_idle();
}
