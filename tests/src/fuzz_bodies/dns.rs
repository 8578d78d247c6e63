//! The resolver, and servers that answer anything.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use s2s_core::dns::{Behalf, Resolver, ResolverConfig};
use s2s_core::entropy::{Entropy, Seed};
use s2s_core::limits;
use s2s_core::machine::{Effect, QueryId};

use super::input::Input;
use super::link::{REMOTE, domain, peer};
use crate::dns_server::Zone;

/// Questions that one lookup may put, to all servers together and over both transports.
const QUESTIONS: usize = 4 * limits::DNS_ATTEMPTS * (2 + 2 * limits::DNS_TARGETS) * (1 + limits::CNAME_HOPS);

/// A lookup whose questions are answered with these bytes: as they are, behind the id and question of the query, or by a
/// zone, perhaps damaged.
///
/// Nothing panics, every question ends once and is not named after that, and the lookup is over by its deadline.
pub fn dns_reply(data: &[u8]) {
    let mut input = Input(data);
    let (start, mut now) = (Instant::now(), Instant::now());
    let config = ResolverConfig { ipv6: input.below(2) == 0, ..ResolverConfig::new(vec![peer(53), peer(54)]) };
    let zone = zone(&mut input);
    let mut resolver = Resolver::new(config, Entropy::new(Seed([6; 32])));
    let lookup = resolver.lookup(now, &domain(REMOTE), Behalf::Ours);
    let (mut open, mut asked): (Vec<(QueryId, Vec<u8>)>, BTreeSet<QueryId>) = (Vec::new(), BTreeSet::new());
    let mut answers = 0;
    loop {
        while let Some(effect) = resolver.poll_effect() {
            match effect {
                Effect::Ask { query, message, .. } => {
                    assert!(asked.insert(query), "{query:?} is given twice");
                    open.push((query, message));
                }
                Effect::Forget(query) => {
                    let at = open.iter().position(|(open, _)| *open == query).expect("a question ends once");
                    open.remove(at);
                }
                other => panic!("a resolver does not ask for {other:?}"),
            }
        }
        assert!(asked.len() <= QUESTIONS, "{} questions", asked.len());
        while let Some((id, answer)) = resolver.poll_answer() {
            assert_eq!(id, lookup);
            assert!(answer.is_err() || answer.as_ref().is_ok_and(|all| (1..=limits::CANDIDATES).contains(&all.len())));
            answers += 1;
        }
        if answers > 0 && open.is_empty() {
            break;
        }
        let choice = if input.is_empty() { 0 } else { 1 + input.below(6) };
        if choice == 0 || open.is_empty() {
            let Some(at) = resolver.poll_timeout() else { break };
            now = now.max(at);
            resolver.handle_timeout(now);
            continue;
        }
        let (query, message) = open[input.below(open.len())].clone();
        let reply = reply(&mut input, choice, &zone, &message);
        now += Duration::from_millis(1);
        resolver.handle_reply(now, query, reply.as_deref());
    }
    assert_eq!(answers, 1, "a lookup is answered once");
    assert!(now <= start.max(now) && now.duration_since(start) <= limits::DNS_LOOKUP + Duration::from_secs(1));
}

fn reply(input: &mut Input<'_>, choice: usize, zone: &Zone, message: &[u8]) -> Option<Vec<u8>> {
    let honest = zone.respond(message);
    match choice {
        1 => {
            let length = input.below(256);
            Some(input.bytes(length).to_vec())
        }
        2 => {
            let length = input.below(256);
            Some([message, input.bytes(length)].concat())
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
