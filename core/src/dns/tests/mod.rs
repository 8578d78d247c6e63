//! The resolver against zones in memory: scenarios, and a model.

mod cache;
mod model;
mod outcomes;
mod progress;
mod selection;
mod servers;
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
use super::{Behalf, Candidate, LookupId, Progress, Resolver, ResolverConfig, Security};
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
        let lookup = self.resolver.lookup(self.now, &domain(), Behalf::Ours);
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
