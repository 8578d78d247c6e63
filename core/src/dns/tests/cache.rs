//! What is remembered, for how long, and who shares what is being asked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME};
use hickory_proto::rr::{RData, Record};
use proptest::prelude::*;

use super::zone::{self, DIRECT, DOMAIN, Data, Fault, Node, PLAIN, Zone, alias, host, srv, v4, v6};
use super::{Bench, Kind, Out, TIMEOUT, cases, config, domain, server, starttls};
use crate::addr::Domain;
use crate::dns::cache::Cache;
use crate::dns::desk::{Cx, Standing};
use crate::dns::inquiry::{Found, Inquiry};
use crate::dns::message::{self, Answer, End, Finding, Name, Question, ServiceRecord, Verdict};
use crate::dns::{Behalf, LookupId, Progress, ResolverConfig};
use crate::limits;
use crate::machine::Transport;
use crate::reason::Reason;

const SECOND: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(1);

fn name(text: &str) -> Name {
    Name::new(&[], &Domain::parse(text).expect("a domain")).expect("a name")
}

fn question(text: &str, kind: Kind) -> Question {
    Question { name: name(text), kind }
}

/// How many messages a whole lookup of [`DOMAIN`] sends now.
fn messages(bench: &mut Bench, zone: &Zone) -> usize {
    let before = bench.asked.len();
    bench.lookup();
    let _ = bench.run(zone);
    bench.asked.len() - before
}

/// A domain with one server, whose records hold so long.
fn served(ttl: u32) -> Zone {
    Zone { ttl, ..Zone::new([(PLAIN, srv(&[(0, 0, 5269, "a.example")])), ("a.example", host(1))]) }
}

#[test]
fn a_question_is_not_asked_again_before_its_answer_has_expired() {
    let mut bench = Bench::new(config(2), 1);
    // That there is no direct TLS holds for five seconds only, see `zone::soa`.
    let zone = served(300);
    assert_eq!(messages(&mut bench, &zone), 4);
    bench.now += 5 * SECOND - MOMENT;
    assert_eq!(messages(&mut bench, &zone), 0);
    bench.now += MOMENT;
    assert_eq!(messages(&mut bench, &zone), 1);
    bench.now = bench.start + 300 * SECOND - MOMENT;
    assert_eq!(messages(&mut bench, &zone), 1);
    bench.now += MOMENT;
    assert_eq!(messages(&mut bench, &zone), 3);
}

#[test]
fn an_answer_without_lifetime_serves_the_lookups_that_wait_for_it() {
    // The highest bit makes a lifetime count as zero.
    for ttl in [0, 1 << 31, u32::MAX] {
        let mut bench = Bench::new(config(2), 1);
        let zone = served(ttl);
        assert_eq!(messages(&mut bench, &zone), 4);
        let before = bench.asked.len();
        let both = [bench.lookup(), bench.lookup()];
        bench.answer(&zone);
        assert_eq!(bench.asked.len() - before, 4, "asked once for both");
        let answers = [bench.resolver.poll_answer(), bench.resolver.poll_answer()];
        let expected = both.map(|id| Some((id, Ok(vec![starttls(v6(1), 5269), starttls(v4(1), 5269)]))));
        assert_eq!(answers, expected);
        assert_eq!(bench.resolver.desk.cache().extent(), (0, 0));
    }
}

#[test]
fn absence_holds_only_where_a_soa_record_says_for_how_long() {
    let mut bench = Bench::new(config(2), 1);
    let silent_about_it = Zone { soa: false, ..Zone::new([(DOMAIN, host(1)), (PLAIN, Node::Data(Data::default()))]) };
    assert_eq!(messages(&mut bench, &silent_about_it), 4);
    bench.now += 5 * SECOND - MOMENT;
    assert_eq!(messages(&mut bench, &silent_about_it), 1, "that PLAIN has no records; NXDOMAIN comes with SOA");
}

/// A reply to the question for the address of `d.example`, and how long it may be remembered.
fn lifetime(change: impl FnOnce(&mut Message)) -> (Finding, Duration) {
    let question = question(DOMAIN, Kind::A);
    let query = message::query(&question, 7).expect("a message");
    let mut reply = Message::new(7, MessageType::Response, OpCode::Query);
    reply.queries = Message::from_vec(&query).expect("a message").queries;
    change(&mut reply);
    match message::judge(&question, 7, &zone::encode(&reply)) {
        Verdict::Answer(Answer { end: End::Finding(finding), .. }, lifetime) => (finding, lifetime),
        other => panic!("not an answer: {other:?}"),
    }
}

fn record(owner: &str, ttl: u32, data: RData) -> Record {
    Record::from_rdata(zone::wire(owner), ttl, data)
}

/// A SOA record of `owner` whose last field is `minimum`.
fn soa(owner: &str, ttl: u32, minimum: u32) -> Record {
    let mut record = zone::soa();
    record.name = zone::wire(owner);
    record.ttl = ttl;
    if let RData::SOA(soa) = &mut record.data {
        soa.minimum = minimum;
    }
    record
}

#[test]
fn an_answer_holds_as_long_as_the_shortest_lived_record_that_led_to_it_and_a_day_at_most() {
    let a = |owner: &str, ttl| record(owner, ttl, RData::A(A(v4(1))));
    let cname = |owner: &str, ttl, to| record(owner, ttl, RData::CNAME(CNAME(zone::wire(to))));
    let of = |answers: Vec<Record>| lifetime(|reply| reply.answers = answers).1.as_secs();
    assert_eq!(of(vec![a(DOMAIN, 300)]), 300);
    assert_eq!(of(vec![a(DOMAIN, 300), a(DOMAIN, 20)]), 20);
    assert_eq!(of(vec![a(DOMAIN, 300), a("other.example", 20)]), 300);
    assert_eq!(of(vec![cname(DOMAIN, 10, "b.example"), a("b.example", 20)]), 10);
    assert_eq!(of(vec![cname(DOMAIN, 30, "b.example"), a("b.example", 20)]), 20);
    assert_eq!(of(vec![a(DOMAIN, 86_401)]), 86_400);
    assert_eq!(of(vec![a(DOMAIN, i32::MAX as u32)]), 86_400);
    assert_eq!(of(vec![a(DOMAIN, 1 << 31), a(DOMAIN, 300)]), 0);
}

#[test]
fn absence_holds_as_long_as_soa_and_aliases_say_and_five_minutes_at_most() {
    for code in [ResponseCode::NoError, ResponseCode::NXDomain] {
        let of = |answers: Vec<Record>, soa: Option<Record>| {
            let (finding, lifetime) = lifetime(|reply| {
                reply.metadata.response_code = code;
                reply.answers = answers;
                reply.authorities.extend(soa);
            });
            let absent = if code == ResponseCode::NXDomain { Finding::NxDomain } else { Finding::NoData };
            assert_eq!(finding, absent);
            lifetime.as_secs()
        };
        let cname = |ttl| vec![record(DOMAIN, ttl, RData::CNAME(CNAME(zone::wire("b.test"))))];
        assert_eq!(of(vec![], None), 0);
        assert_eq!(of(vec![], Some(soa("example", 60, 90))), 60);
        assert_eq!(of(vec![], Some(soa("example", 90, 60))), 60);
        assert_eq!(of(vec![], Some(soa("example", 90, 0))), 0);
        assert_eq!(of(vec![], Some(soa("example", 86_400, 86_400))), 300);
        assert_eq!(of(vec![], Some(soa("example", 1 << 31, 60))), 0);
        assert_eq!(of(cname(10), Some(soa("test", 60, 60))), 10, "the alias may lead elsewhere by then");
        assert_eq!(of(cname(90), Some(soa("test", 60, 60))), 60);
        assert_eq!(of(vec![], Some(soa("elsewhere", 60, 60))), 0, "no say in this");
    }
}

#[test]
fn a_failure_is_remembered_for_five_seconds_and_no_longer() {
    for (fault, reason) in [(Fault::ServFail, Reason::DnsFailure), (Fault::Silence, Reason::DnsTimeout)] {
        let mut bench = Bench::new(config(2), 1);
        let failing = served(300).failing(PLAIN, Kind::Srv, fault);
        assert_eq!(messages(&mut bench, &failing), 3);
        bench.now += limits::DNS_FAILURE - MOMENT;
        bench.lookup();
        assert_eq!((bench.out.len(), bench.run(&failing)), (usize::from(fault == Fault::Silence), Err(reason)));
        bench.now += MOMENT;
        bench.lookup();
        assert_eq!(bench.run(&served(300)), Ok(vec![starttls(v6(1), 5269), starttls(v4(1), 5269)]));
    }
}

#[test]
fn a_circle_of_aliases_is_walked_once_and_a_long_chain_counts_from_where_it_is_entered() {
    let circle = Zone { chase: 1, ..Zone::new([(DOMAIN, alias("b.example")), ("b.example", alias(DOMAIN))]) };
    let mut bench = Bench::new(config(2), 1);
    assert_eq!(messages(&mut bench, &circle), 2 + 4);
    let mut zone = Zone { chase: 1, ..Zone::new([("c12.example", host(1))]) };
    zone.nodes.extend((0..12).map(|n| (format!("c{n}.example"), alias(&format!("c{}.example", n + 1)))));
    let mut bench = Bench::new(config(2), 1);
    for (n, found) in [(6, true), (3, false), (4, true), (0, false)] {
        zone.nodes.insert(PLAIN.to_owned(), srv(&[(0, 0, 1, &format!("c{n}.example"))]));
        bench.now += 300 * SECOND - MOMENT * 100;
        bench.lookup();
        assert_eq!(bench.run(&zone).is_ok(), found, "from c{n}");
        bench.now += MOMENT * 100;
    }
}

#[test]
//= RFC5452-9.1-1 test
fn forgeries_do_not_enter_the_cache() {
    let mut bench = Bench::new(config(2), 1);
    bench.lookup();
    for (query, out) in bench.out.clone() {
        let genuine = served(300).serve(0, Transport::Udp, &out.message);
        let zone::Delivery::Message(genuine) = genuine else { panic!("no answer") };
        for forgery in zone::forgeries(&genuine) {
            bench.reply(query, Some(&forgery));
        }
    }
    assert_eq!((bench.out.len(), bench.resolver.desk.cache().extent()), (2, (0, 0)));
}

#[test]
fn questions_that_are_being_asked_are_shared_and_outlive_one_of_those_who_wait() {
    let zone = served(300);
    let mut bench = Bench::new(config(2), 1);
    let [first, second] = [bench.lookup(), bench.lookup()];
    assert_eq!(bench.out.len(), 2);
    bench.resolver.cancel(first);
    bench.drain();
    assert_eq!(bench.out.len(), 2, "the other still waits");
    bench.answer(&zone);
    assert_eq!(bench.asked.len(), 4);
    let found = Ok(vec![starttls(v6(1), 5269), starttls(v4(1), 5269)]);
    assert_eq!(bench.resolver.poll_answer(), Some((second, found)));
    assert_eq!(bench.resolver.poll_answer(), None);
    bench.assert_idle();
}

#[test]
fn a_question_is_given_up_with_the_last_who_waits_and_can_be_asked_anew() {
    let mut bench = Bench::new(config(2), 1);
    let [first, second] = [bench.lookup(), bench.lookup()];
    bench.resolver.cancel(second);
    bench.resolver.cancel(first);
    bench.drain();
    bench.assert_idle();
    bench.lookup();
    assert_eq!(bench.out.len(), 2);
    assert_eq!(bench.run(&served(300)).map(|candidates| candidates.len()), Ok(2));
}

#[test]
fn different_domains_share_the_questions_about_their_common_server() {
    let mut zone = served(300);
    zone.nodes.insert("_xmpp-server._tcp.e.example".to_owned(), srv(&[(0, 0, 7, "a.example")]));
    let mut bench = Bench::new(config(2), 1);
    bench.lookup();
    bench.resolver.lookup(bench.now, &Domain::parse("e.example").expect("a domain"), Behalf::Ours);
    bench.answer(&zone);
    assert_eq!(bench.asked.len(), 2 + 2 + 2);
    let answers: Vec<_> = std::iter::from_fn(|| bench.resolver.poll_answer()).map(|(_, answer)| answer).collect();
    let at = |port| Ok(vec![starttls(v6(1), port), starttls(v4(1), port)]);
    assert!(answers == [at(5269), at(7)] || answers == [at(7), at(5269)], "{answers:?}");
    bench.assert_idle();
}

#[test]
fn another_configuration_forgets_everything_and_does_not_learn_from_the_servers_of_before() {
    let zone = served(300);
    let mut bench = Bench::new(config(1), 1);
    assert_eq!(messages(&mut bench, &zone), 4);
    let other = || ResolverConfig { servers: vec![server(1)], ..config(1) };
    bench.resolver.reconfigure(other());
    assert_eq!(messages(&mut bench, &zone), 4, "forgotten");

    let mut bench = Bench::new(config(1), 1);
    let before = bench.lookup();
    bench.resolver.reconfigure(other());
    let after = bench.lookup();
    assert_eq!(bench.out.len(), 4, "not joined");
    let old: Vec<_> = bench.out.keys().copied().take(2).collect();
    for query in old {
        let zone::Delivery::Message(message) = zone.serve(0, Transport::Udp, &bench.out[&query].message) else {
            panic!("no answer")
        };
        bench.reply(query, Some(&message));
    }
    let srv = [DIRECT, PLAIN].map(|text| {
        let labels: Vec<_> = text.splitn(3, '.').collect();
        Question { name: Name::new(&labels[..2], &domain()).expect("a name"), kind: Kind::Srv }
    });
    for question in srv {
        let standing = bench.resolver.desk.ask(bench.now, (after, Behalf::Ours), &question);
        assert!(matches!(standing, Standing::Asked(_)), "{question:?} was learnt from a server of before");
    }
    bench.answer(&zone);
    let answers: BTreeMap<LookupId, _> = std::iter::from_fn(|| bench.resolver.poll_answer()).collect();
    assert!(answers.len() == 2 && answers[&before].is_ok() && answers[&after].is_ok());
    bench.assert_idle();
}

#[test]
fn the_ad_bit_is_kept_with_each_answer_and_an_alias_is_as_secure_as_its_weakest_part() {
    // One alias a message, so that the second one is not said by this server.
    let aliases = [("c0.example", alias("c1.example")), ("c1.example", alias("c2.example"))];
    let secure = Zone { chase: 1, secure: true, ..Zone::new(aliases) };
    let mut bench = Bench::new(config(1), 1);
    for (c1_is_secure, expected) in [(true, true), (false, false)] {
        bench.resolver.reconfigure(config(1));
        let c1 = Zone { secure: c1_is_secure, ..Zone::new([("c1.example", host(1))]) };
        let ask = |bench: &mut Bench| {
            let mut cx =
                Cx { now: bench.now, lookup: LookupId(99), behalf: Behalf::Ours, desk: &mut bench.resolver.desk };
            Inquiry::new(question("c0.example", Kind::A), &mut cx)
        };
        for zone in [&secure, &c1] {
            let _ = ask(&mut bench);
            bench.drain();
            let (query, out) = bench.out.first_key_value().expect("it was asked");
            let zone::Delivery::Message(message) = zone.serve(0, Transport::Udp, &out.message) else { panic!() };
            bench.reply(*query, Some(&message));
        }
        let Inquiry::Done(found) = ask(&mut bench) else { panic!("not remembered") };
        let finding = Finding::Addresses(vec![v4(1).into()]);
        assert_eq!(found, Ok(Found { finding, secure: expected }));
        let asked = (LookupId(99), Behalf::Ours);
        let standing = bench.resolver.desk.ask(bench.now, asked, &question("c0.example", Kind::A));
        assert!(matches!(standing, Standing::Known(Ok(Answer { secure: true, .. }))), "{standing:?}");
    }
}

fn instant() -> Instant {
    Bench::new(config(1), 1).start
}

fn found(finding: Finding) -> Result<Answer, Reason> {
    Ok(Answer { end: End::Finding(finding), hops: 0, secure: false })
}

#[test]
fn a_flood_of_names_does_not_exceed_the_bounds_and_what_is_used_stays() {
    let now = instant();
    let numbered = |n: usize| question(&format!("n{n}.example"), Kind::A);
    let mut cache = Cache::new(limits::DNS_CACHE_ENTRIES, limits::DNS_CACHE_BYTES);
    for n in 0..limits::DNS_CACHE_ENTRIES + 500 {
        cache.insert(now, numbered(n), found(Finding::NxDomain), SECOND);
        assert!(cache.find(now, &numbered(0)).is_some(), "used all the time");
    }
    assert_eq!(cache.extent().0, limits::DNS_CACHE_ENTRIES);
    assert!(cache.extent().1 <= limits::DNS_CACHE_BYTES);
    assert_eq!(cache.find(now, &numbered(500)), None);
    assert!(cache.find(now, &numbered(501)).is_some());
    assert_eq!(cache.find(now + SECOND, &numbered(501)), None, "expired");
    assert_eq!(cache.extent().0, limits::DNS_CACHE_ENTRIES - 1);
    cache.clear();
    assert_eq!(cache.extent(), (0, 0));
}

#[test]
fn the_largest_answers_do_not_exceed_the_bound_in_bytes() {
    let now = instant();
    let label = "a".repeat(60);
    let target = name(&format!("{label}.{label}.{label}.{label}"));
    let record = ServiceRecord { priority: 1, weight: 1, port: 1, target: Some(target) };
    let largest = Finding::Services(vec![record; limits::DNS_RECORDS]);
    let mut cache = Cache::new(limits::DNS_CACHE_ENTRIES, limits::DNS_CACHE_BYTES);
    for n in 0..1000 {
        cache.insert(now, question(&format!("n{n}.example"), Kind::Srv), found(largest.clone()), SECOND);
    }
    let (entries, bytes) = cache.extent();
    assert!((100..400).contains(&entries) && bytes <= limits::DNS_CACHE_BYTES, "{entries} entries of {bytes} bytes");
    let mut small = Cache::new(10, 1000);
    small.insert(now, question(DOMAIN, Kind::Srv), found(largest), SECOND);
    assert_eq!(small.extent(), (0, 0), "larger than everything");
}

#[test]
fn a_flood_of_lookups_leaves_nothing_behind_but_the_cache() {
    let mut bench = Bench::new(config(2), 1);
    bench.resolver.desk.limit_cache(100, 30_000);
    for n in 0..200 {
        bench.resolver.lookup(bench.now, &Domain::parse(&format!("n{n}.example")).expect("a domain"), Behalf::Ours);
        assert_eq!(bench.run(&Zone::new([])), Err(Reason::DnsNxdomain));
    }
    let (entries, bytes) = bench.resolver.desk.cache().extent();
    assert!((50..=100).contains(&entries) && bytes <= 30_000, "{entries} entries of {bytes} bytes");
    bench.assert_idle();
}

/// What a run of the resolver with several lookups at once shows of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Trace {
    asked: Vec<Out>,
    told: Vec<(LookupId, Progress)>,
}

#[derive(Clone, Debug)]
enum Act {
    Lookup(u8),
    Cancel(u64),
    Pass(u16),
    Answer(u8),
    Reconfigure,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (0_u8..3).prop_map(Act::Lookup),
        1 => (0_u64..20).prop_map(Act::Cancel),
        3 => (1_u16..3000).prop_map(Act::Pass),
        6 => any::<u8>().prop_map(Act::Answer),
        1 => Just(Act::Reconfigure),
    ];
    prop::collection::vec(act, 1..60)
}

/// A zone in which the address of a host says in which tenth of a second it was asked for. Two domains have one server.
fn clock_zone(bench: &Bench, ttl: u32) -> Zone {
    let tenths = (bench.elapsed().as_millis() / 100) as u32;
    let now = Node::Data(Data { a: vec![(0x0a00_0000 + tenths).into()], ..Data::default() });
    let mut zone = Zone::new([(PLAIN, srv(&[(0, 0, 1, "a.example")])), ("a.example", now.clone()), (DOMAIN, now)]);
    zone.nodes.insert("_xmpp-server._tcp.n1.example".to_owned(), srv(&[(0, 0, 2, "a.example")]));
    Zone { ttl, ..zone }
}

fn act(bench: &mut Bench, acts: &[Act], ttl: u32) -> Trace {
    let domains = [DOMAIN, "n1.example", "n2.example"].map(|text| Domain::parse(text).expect("a domain"));
    let mut told = Vec::new();
    for act in acts {
        match act {
            Act::Lookup(n) => {
                let behalf = if n % 2 == 0 { Behalf::Ours } else { Behalf::Peers };
                bench.resolver.lookup(bench.now, &domains[usize::from(*n)], behalf);
            }
            Act::Cancel(n) => bench.resolver.cancel(LookupId(*n)),
            Act::Pass(milliseconds) => bench.pass(Duration::from_millis(u64::from(*milliseconds))),
            Act::Answer(n) => {
                let zone = clock_zone(bench, ttl);
                let at = usize::from(*n) % bench.out.len().max(1);
                if let Some((query, out)) = bench.out.iter().nth(at) {
                    let zone::Delivery::Message(message) = zone.serve(0, out.transport, &out.message) else { panic!() };
                    bench.reply(*query, Some(&message));
                }
            }
            Act::Reconfigure => bench.resolver.reconfigure(config(2)),
        }
        bench.drain();
        check_told(bench, ttl, &mut told);
    }
    while bench.resolver.poll_timeout().is_some() {
        bench.wait();
        check_told(bench, ttl, &mut told);
    }
    bench.assert_idle();
    Trace { asked: bench.asked.clone(), told }
}

/// Nothing that is told is older than its lifetime, the time in which it may have been waited for included.
fn check_told(bench: &mut Bench, ttl: u32, told: &mut Vec<(LookupId, Progress)>) {
    let now = bench.elapsed();
    for (id, progress) in bench.progress() {
        if let Progress::Candidates(candidates) = &progress {
            for candidate in candidates {
                let IpAddr::V4(v4) = candidate.addr.ip() else { panic!("no IPv6 in these zones") };
                let at = Duration::from_millis(u64::from(u32::from(v4) - 0x0a00_0000) * 100);
                let oldest = Duration::from_secs(u64::from(ttl)) + limits::DNS_LOOKUP + Duration::from_millis(100);
                assert!(at + oldest >= now, "{candidate:?} is told {now:?} after the start");
            }
        }
        told.push((id, progress));
    }
}

proptest! {
    #![proptest_config(cases(512))]
    #[test]
    fn whatever_is_looked_up_cancelled_and_answered_every_lookup_ends_once_and_runs_repeat_exactly(
        acts in acts(), ttl in prop::sample::select(vec![0_u32, 1, 3, 60]), seed in any::<u8>(),
    ) {
        let run = || act(&mut Bench::new(config(2), seed), &acts, ttl);
        let trace = run();
        prop_assert_eq!(&run(), &trace);
        let mut ended = BTreeMap::new();
        for (id, progress) in &trace.told {
            prop_assert!(!ended.contains_key(id), "told after its end");
            if let Progress::Done(end) = progress {
                ended.insert(*id, *end);
            }
        }
        // Those that were cancelled after they began need not have an end, all others must.
        let mut begun = 0;
        let mut cancelled = BTreeSet::new();
        for act in &acts {
            match act {
                Act::Lookup(_) => begun += 1,
                Act::Cancel(n) if *n < begun => {
                    cancelled.insert(LookupId(*n));
                }
                _ => {}
            }
        }
        let missing = (0..begun).map(LookupId).find(|id| !ended.contains_key(id) && !cancelled.contains(id));
        prop_assert_eq!(missing, None);
    }
}

#[test]
fn a_late_server_is_asked_once_for_all_and_its_silence_told_to_all() {
    let mut bench = Bench::new(config(1), 1);
    let first = bench.lookup();
    bench.pass(TIMEOUT / 2);
    let second = bench.lookup();
    assert_eq!(bench.asked.len(), 2);
    bench.wait();
    assert_eq!(bench.asked.len(), 4, "the second attempt, for both");
    bench.wait();
    let end = |id| (id, Progress::Done(Err(Reason::DnsTimeout)));
    assert_eq!(bench.progress(), [end(first), end(second)]);
    assert_eq!(bench.elapsed(), TIMEOUT * 2);
    bench.assert_idle();
}
