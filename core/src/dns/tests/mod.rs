//! The resolver against zones in memory: scenarios, and a model.

mod cache;
mod model;
mod progress;
mod services;
mod turns;
mod zone;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, OpCode};
use hickory_proto::rr::rdata::{A, SRV};
use hickory_proto::rr::{RData, RecordType};
use proptest::prelude::*;

use super::message::Kind;
use super::{Candidate, LookupId, Progress, Resolver, ResolverConfig, Security};
use crate::addr::Domain;
use crate::entropy::{Entropy, Seed};
use crate::limits;
use crate::machine::{Effect, QueryId, Transport};
use crate::reason::Reason;
use zone::{DIRECT, DOMAIN, Data, Delivery, Fault, Node, PLAIN, Zone, alias, host, srv, v4, v6};

const TIMEOUT: Duration = Duration::from_secs(3);

fn server(n: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], n))
}

fn domain() -> Domain {
    Domain::parse(DOMAIN).expect("a domain")
}

fn config(servers: u16) -> ResolverConfig {
    let servers = (0..servers).map(server).collect();
    ResolverConfig { query_timeout: TIMEOUT, ..ResolverConfig::new(servers) }
}

fn starttls(ip: impl Into<std::net::IpAddr>, port: u16) -> Candidate {
    Candidate { addr: SocketAddr::new(ip.into(), port), security: Security::StartTls }
}

fn direct_tls(ip: impl Into<std::net::IpAddr>, port: u16) -> Candidate {
    Candidate { addr: SocketAddr::new(ip.into(), port), security: Security::DirectTls }
}

/// A query that is out.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Out {
    server: SocketAddr,
    transport: Transport,
    message: Vec<u8>,
}

/// A resolver with its sockets and its clock. Checks that every query is asked once and forgotten once.
struct Bench {
    resolver: Resolver,
    start: Instant,
    now: Instant,
    out: BTreeMap<QueryId, Out>,
    asked: Vec<Out>,
    used: BTreeSet<QueryId>,
}

impl Bench {
    fn new(config: ResolverConfig, seed: u8) -> Self {
        #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
        let start = Instant::now();
        let resolver = Resolver::new(config, Entropy::new(Seed([seed; 32])));
        Self { resolver, start, now: start, out: BTreeMap::new(), asked: Vec::new(), used: BTreeSet::new() }
    }

    /// Begins a lookup of [`DOMAIN`].
    fn lookup(&mut self) -> LookupId {
        let lookup = self.resolver.lookup(self.now, &domain());
        self.drain();
        lookup
    }

    fn drain(&mut self) {
        while let Some(effect) = self.resolver.poll_effect() {
            match effect {
                Effect::Ask { query, server, transport, message } => {
                    assert!(self.used.insert(query), "{query:?} is used again");
                    let out = Out { server, transport, message };
                    self.asked.push(out.clone());
                    self.out.insert(query, out);
                }
                Effect::Forget(query) => assert!(self.out.remove(&query).is_some(), "{query:?} is not there to forget"),
                other => panic!("a resolver does not ask for {other:?}"),
            }
        }
    }

    fn reply(&mut self, query: QueryId, message: Option<&[u8]>) {
        self.resolver.handle_reply(self.now, query, message);
        self.drain();
    }

    /// Lets time pass until the next deadline.
    fn wait(&mut self) {
        self.now = self.resolver.poll_timeout().expect("something is waited for");
        self.resolver.handle_timeout(self.now);
        self.drain();
    }

    /// Delivers what `zone` answers, in an order drawn from `order`; every reply after `forged` of it.
    fn answer_all(&mut self, zone: &Zone, order: &mut Entropy, forged: fn(&[u8]) -> Vec<Vec<u8>>) {
        loop {
            let mut ready: Vec<_> = self
                .out
                .iter()
                .map(|(query, out)| (*query, zone.serve(usize::from(out.server.port()), out.transport, &out.message)))
                .filter(|(_, delivery)| !matches!(delivery, Delivery::Silence))
                .collect();
            if ready.is_empty() {
                return;
            }
            let drawn = order.below(ready.len() as u64) as usize;
            match ready.swap_remove(drawn) {
                (query, Delivery::Message(message)) => {
                    for forgery in forged(&message) {
                        self.resolver.handle_reply(self.now, query, Some(&forgery));
                        assert_eq!(self.resolver.poll_effect(), None, "a forgery had an effect: {forgery:?}");
                    }
                    self.reply(query, Some(&message));
                }
                (query, _) => self.reply(query, None),
            }
        }
    }

    /// Answers and waits until the only lookup is over.
    fn run(&mut self, zone: &Zone) -> Result<Vec<Candidate>, Reason> {
        self.run_with(zone, 0, |_| Vec::new())
    }

    fn run_with(
        &mut self,
        zone: &Zone,
        order: u64,
        forged: fn(&[u8]) -> Vec<Vec<u8>>,
    ) -> Result<Vec<Candidate>, Reason> {
        let mut order = Entropy::new(Seed([9; 32])).fork("order", order);
        self.drain();
        for _ in 0..200 {
            self.answer_all(zone, &mut order, forged);
            if let Some((_, answer)) = self.resolver.poll_answer() {
                self.assert_idle();
                return answer;
            }
            self.wait();
        }
        panic!("the lookup does not end");
    }

    /// Everything that has become known since the last time.
    fn progress(&mut self) -> Vec<(LookupId, Progress)> {
        std::iter::from_fn(|| self.resolver.poll_progress()).collect()
    }

    /// Lets `time` pass.
    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.resolver.handle_timeout(self.now);
        self.drain();
    }

    /// Delivers what `zone` answers to what is out.
    fn answer(&mut self, zone: &Zone) {
        self.answer_all(zone, &mut Entropy::new(Seed([0; 32])), |_| Vec::new());
    }

    /// Delivers what `zone` answers to the question for `name` and `kind` that is out.
    fn answer_only(&mut self, zone: &Zone, name: &str, kind: RecordType) {
        let asked = |out: &Out| Message::from_vec(&out.message).expect("a message").queries.swap_remove(0);
        let wanted = |out: &Out| (asked(out).name().clone(), asked(out).query_type()) == (zone::wire(name), kind);
        let (query, out) = self.out.iter().find(|(_, out)| wanted(out)).expect("it was asked");
        let (query, out) = (*query, out.clone());
        let Delivery::Message(message) = zone.serve(usize::from(out.server.port()), out.transport, &out.message) else {
            panic!("{name} has no answer");
        };
        self.reply(query, Some(&message));
    }

    fn assert_idle(&self) {
        assert!(self.out.is_empty(), "not forgotten: {:?}", self.out);
        assert_eq!(self.resolver.poll_timeout(), None);
        assert!(self.resolver.desk.is_idle() && self.resolver.lookups.is_empty());
    }

    fn elapsed(&self) -> Duration {
        self.now - self.start
    }
}

fn resolve(zone: &Zone) -> Result<Vec<Candidate>, Reason> {
    let mut bench = Bench::new(config(2), 1);
    bench.lookup();
    bench.run(zone)
}

/// As many cases as the variable `PROPTEST_CASES` asks for, or else `normally`.
fn cases(normally: u32) -> ProptestConfig {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default(),
        None => ProptestConfig::with_cases(normally),
    }
}

proptest! {
    #![proptest_config(cases(512))]
    #[test]
    fn nothing_that_servers_send_makes_it_panic_or_last_longer_than_a_lookup_may(
        zone in model::zones(),
        noise in prop::collection::vec((any::<bool>(), prop::collection::vec((any::<u16>(), any::<u8>()), 1..6)), 1..12),
    ) {
        let mut bench = Bench::new(config(2), 3);
        bench.lookup();
        for (mutate, bytes) in noise.iter().cycle().take(80) {
            for (query, out) in bench.out.clone() {
                let genuine = zone.serve(usize::from(out.server.port()), out.transport, &out.message);
                let mut message = match genuine {
                    Delivery::Message(message) if *mutate => message,
                    _ => bytes.iter().map(|(_, byte)| *byte).collect(),
                };
                for (at, byte) in bytes {
                    let at = usize::from(*at) % message.len();
                    // Beyond the header and question, so that the rest is read at all, in half of the cases.
                    let at = if byte % 2 == 0 { at } else { (12 + at).min(message.len() - 1) };
                    message[at] = *byte;
                }
                bench.reply(query, Some(&message));
            }
            if bench.resolver.poll_timeout().is_none() {
                break;
            }
            bench.wait();
        }
        prop_assert!(bench.resolver.poll_answer().is_some(), "the lookup does not end");
        bench.assert_idle();
        prop_assert!(bench.elapsed() <= limits::DNS_LOOKUP);
    }
}

#[test]
fn the_same_seed_and_replies_give_the_same_queries_and_answers() {
    let targets: Vec<_> = ["a.example", "b.example", "c.example", "e.example"].into_iter().zip(1_u8..).collect();
    let records: Vec<_> = targets.iter().map(|(name, _)| (1, 5, 5269, *name)).collect();
    let zone = Zone::new([(PLAIN, srv(&records))].into_iter().chain(targets.iter().map(|(name, n)| (*name, host(*n)))));
    let run = |seed| {
        let mut bench = Bench::new(config(2), seed);
        bench.lookup();
        (bench.run(&zone), bench.asked)
    };
    assert_eq!(run(1), run(1));
    let answers: BTreeSet<_> = (0..50).map(|seed| format!("{:?}", run(seed).0)).collect();
    assert!(answers.len() > 10, "the order hardly depends on the seed: {}", answers.len());
}

#[test]
//= RFC5452-9.2-1 test
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
fn names_beyond_ascii_are_asked_for_as_a_labels() {
    let mut bench = Bench::new(config(1), 1);
    bench.resolver.lookup(bench.now, &Domain::parse("BÜCHER.example").expect("a domain"));
    bench.drain();
    let asked = Message::from_vec(&bench.asked[1].message).expect("a message");
    assert_eq!(asked.queries[0].name().to_ascii(), "_xmpp-server._tcp.xn--bcher-kva.example.");
}

#[test]
//= RFC8305-3-1 test
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

#[test]
fn a_domain_too_long_for_srv_records_is_asked_for_its_addresses() {
    let label = "a".repeat(61);
    let name = format!("{label}.{label}.{label}.{label}");
    let mut bench = Bench::new(config(1), 1);
    bench.resolver.lookup(bench.now, &Domain::parse(&name).expect("a domain"));
    let mut zone = Zone::new([]);
    zone.nodes.insert(name, host(1));
    assert_eq!(bench.run(&zone), Ok(vec![starttls(v6(1), 5269), starttls(v4(1), 5269)]));
}
