//! The resolver, and servers that answer anything.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use hickory_proto::op::{Header, Query};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use s2s_core::dns::{Behalf, Candidate, LookupId, Resolver, ResolverConfig};
use s2s_core::entropy::{Entropy, Seed};
use s2s_core::limits;
use s2s_core::machine::{Effect, QueryId};
use s2s_core::reason::Reason;

use super::input::{Choices, Input};
use super::link::{REMOTE, domain, peer};
use crate::dns_server::Zone;

/// Questions that one lookup may put, to all servers together and over both transports.
const QUESTIONS: usize = 4 * limits::DNS_ATTEMPTS * (2 + 2 * limits::DNS_TARGETS) * (1 + limits::CNAME_HOPS);

/// What is made of every reply before it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Forgery {
    Nothing,
    /// It gets another id than its question has.
    Id,
    /// It gets the question for another name.
    Question,
}

/// A lookup among servers that answer anything, and what it came to.
struct Attempt {
    resolver: Resolver,
    lookup: LookupId,
    now: Instant,
    open: Vec<(QueryId, Vec<u8>)>,
    asked: BTreeSet<QueryId>,
    answer: Option<Result<Vec<Candidate>, Reason>>,
    /// Whether some reply belonged to its question.
    heard: bool,
}

/// A lookup whose questions are answered with these bytes: as they are, behind the id and question of the query, or by
/// a zone, perhaps damaged.
///
/// Nothing panics, every question ends once and is not named after that, and the lookup is over by its deadline. A
/// timer that comes early moves nothing, and when one has fired the next moment is later (P7). A reply with another id
/// or another question moves nothing either: where all are like that, which is tried too, nothing is found.
pub fn dns_reply(data: &[u8]) {
    for forgery in [Forgery::Nothing, Forgery::Id, Forgery::Question] {
        look_up(data, forgery);
    }
}

fn look_up(data: &[u8], forgery: Forgery) {
    let mut input = Input::new(data);
    let config = ResolverConfig { ipv6: input.below(2) == 0, ..ResolverConfig::new(vec![peer(53), peer(54)]) };
    let zone = zone(&mut input);
    let start = Instant::now();
    let mut attempt = Attempt::new(start, config);
    while attempt.goes_on() {
        let waits = attempt.tease();
        let choice = if waits || input.is_empty() { 0 } else { 1 + input.below(6) };
        if choice == 0 || attempt.open.is_empty() {
            if !attempt.wait() {
                break;
            }
            continue;
        }
        let (query, message) = attempt.open[input.below(attempt.open.len())].clone();
        let mut reply = reply(&mut input, choice, &zone, &message);
        if let Some(reply) = &mut reply {
            forgery.apply(&message, reply);
        }
        attempt.give(query, &message, reply.as_deref());
    }
    assert!(!attempt.heard || forgery == Forgery::Nothing, "not all were forged");
    let answer = attempt.answer.expect("a lookup is answered");
    assert!(attempt.heard || answer.is_err(), "{answer:?}, and no reply belonged to its question");
    let took = attempt.now.duration_since(start);
    assert!(took <= limits::DNS_LOOKUP + Duration::from_secs(1), "{took:?}");
}

impl Forgery {
    fn apply(self, query: &[u8], reply: &mut [u8]) {
        let (at, byte) = match self {
            Self::Nothing => return,
            Self::Id => (0, !query[0]),
            // The first letter of the name.
            Self::Question => (13, query[13] ^ 1),
        };
        if let Some(place) = reply.get_mut(at) {
            *place = byte;
        }
    }
}

impl Attempt {
    fn new(now: Instant, config: ResolverConfig) -> Self {
        let mut resolver = Resolver::new(config, Entropy::new(Seed([6; 32])));
        let lookup = resolver.lookup(now, &domain(REMOTE), Behalf::Ours);
        let (open, asked) = (Vec::new(), BTreeSet::new());
        Self { resolver, lookup, now, open, asked, answer: None, heard: false }
    }

    /// Takes what the resolver says: whether something is still to come.
    fn goes_on(&mut self) -> bool {
        while let Some(effect) = self.resolver.poll_effect() {
            match effect {
                Effect::Ask { query, message, .. } => {
                    assert!(self.asked.insert(query), "{query:?} is given twice");
                    self.open.push((query, message));
                }
                Effect::Forget(query) => {
                    let at = self.open.iter().position(|(open, _)| *open == query).expect("a question ends once");
                    self.open.remove(at);
                }
                other => panic!("a resolver does not ask for {other:?}"),
            }
        }
        assert!(self.asked.len() <= QUESTIONS, "{} questions", self.asked.len());
        while let Some((id, answer)) = self.resolver.poll_answer() {
            assert_eq!(id, self.lookup);
            assert!(answer.is_err() || answer.as_ref().is_ok_and(|all| (1..=limits::CANDIDATES).contains(&all.len())));
            assert!(self.answer.replace(answer).is_none(), "a lookup is answered once");
        }
        self.answer.is_none() || !self.open.is_empty()
    }

    /// A timer that comes early moves nothing. Gives whether one is due.
    fn tease(&mut self) -> bool {
        let due = self.resolver.poll_timeout();
        if due.is_some_and(|at| at <= self.now) {
            return true;
        }
        self.resolver.handle_timeout(self.now);
        self.assert_unmoved(due, "a timer that came early");
        false
    }

    fn assert_unmoved(&mut self, due: Option<Instant>, what: &str) {
        let resolver = &mut self.resolver;
        let moved = (resolver.poll_timeout(), resolver.poll_effect(), resolver.poll_progress());
        assert_eq!(moved, (due, None, None), "moved by {what}");
    }

    /// Waits for the next timer, if there is one.
    fn wait(&mut self) -> bool {
        let Some(at) = self.resolver.poll_timeout() else { return false };
        self.now = self.now.max(at);
        self.resolver.handle_timeout(self.now);
        let next = self.resolver.poll_timeout();
        assert!(next.is_none_or(|at| at > self.now), "what was due has been done");
        true
    }

    /// Somebody answers a question.
    fn give(&mut self, query: QueryId, message: &[u8], reply: Option<&[u8]>) {
        self.now += Duration::from_millis(1);
        let due = self.resolver.poll_timeout();
        self.resolver.handle_reply(self.now, query, reply);
        match reply {
            Some(reply) if belongs(message, reply) => self.heard = true,
            Some(_) => self.assert_unmoved(due, "a reply to something else"),
            None => {}
        }
    }
}

/// Whether a message says of itself that it belongs to a query: by its id, and by the question in it. The resolver asks
/// for more.
fn belongs(query: &[u8], reply: &[u8]) -> bool {
    let question = |message: &[u8]| {
        let mut decoder = BinDecoder::new(message);
        Header::read(&mut decoder).and_then(|_| Query::read(&mut decoder)).ok()
    };
    let (Some(asked), Some(answered)) = (question(query), question(reply)) else { return false };
    query[..2] == reply[..2] && asked.name.eq_ignore_root(&answered.name) && asked.query_type == answered.query_type
}

fn reply(input: &mut Input<'_>, choice: usize, zone: &Zone, message: &[u8]) -> Option<Vec<u8>> {
    let honest = zone.respond(message);
    match choice {
        1 => {
            let length = input.below(256);
            Some(input.up_to(length).to_vec())
        }
        2 => {
            let length = input.below(256);
            Some([message, input.up_to(length)].concat())
        }
        3 => honest.map(|mut honest| {
            let at = input.below(256) % honest.len().max(1);
            honest[at] ^= input.byte();
            honest
        }),
        4 => None,
        _ => honest,
    }
}

/// A zone in which the domain may be found, or not.
fn zone(input: &mut Input<'_>) -> Zone {
    let mut zone = Zone::new();
    for _ in 0..input.below(6) {
        let target = input.pick(&["one.example.net", "two.example.net", REMOTE, "."]);
        let service = input.pick(&["_xmpp-server._tcp.", "_xmpps-server._tcp."]);
        let port = u16::from(input.byte()) + 1;
        zone = match input.below(4) {
            0 => zone.service(&format!("{service}{REMOTE}"), port % 3, port % 5, port, target),
            1 => zone.address(input.pick(&["one.example.net", "two.example.net", REMOTE]), [10, 0, 0, input.byte()]),
            2 => zone.alias(input.pick(&["one.example.net", "two.example.net"]), "two.example.net"),
            _ => zone.failing(input.pick(&["one.example.net", REMOTE])),
        };
    }
    zone
}
