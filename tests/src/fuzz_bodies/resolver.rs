//! The resolver beside plain recursion over the zone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use s2s_core::dns::{Behalf, Candidate, Resolver, ResolverConfig, Security};
use s2s_core::entropy::{Entropy, Seed};
use s2s_core::limits;
use s2s_core::machine::{Effect, QueryId, Transport};
use s2s_core::reason::Reason;

use super::input::{Choices, Input};
use super::link::{REMOTE, domain, peer};
use crate::dns_server::Zone;

const SERVERS: usize = 2;
const HOSTS: [&str; 6] = ["h0.example", "h1.example", "h2.example", "h3.example", "loop.example", REMOTE];
const ALIASES: [&str; 3] = ["c0.example", "c1.example", "c2.example"];
const SERVICES: [(&str, Security); 2] =
    [("_xmpps-server._tcp", Security::DirectTls), ("_xmpp-server._tcp", Security::StartTls)];

/// A place at which the domain is served: priority, weight, target and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    priority: u16,
    weight: u16,
    target: &'static str,
    port: u16,
    security: Security,
}

/// What goes wrong with one question at one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    ServFail,
    Silence,
    Socket,
    Garbage,
    /// UDP is cut short, TCP works.
    Truncated,
}

/// What there is, and what goes wrong.
#[derive(Debug, Default)]
struct World {
    places: Vec<Place>,
    declined: BTreeSet<Security>,
    addresses: BTreeMap<&'static str, Vec<IpAddr>>,
    aliases: BTreeMap<&'static str, &'static str>,
    faults: BTreeMap<(String, RecordType, usize), Fault>,
}

/// What plain recursion finds for one question.
enum Found {
    Name(&'static str),
    NoSuchName,
}

/// A zone and a schedule. Answers come in the order that the input says, with what goes wrong at each server.
///
/// The lookup comes to what plain recursion over the zone comes to, in an order that the priorities allow, once, and in
/// time; the questions are all closed then.
pub fn resolver(data: &[u8]) {
    let mut input = Input::new(data);
    let families = input.below(4);
    let (ipv4, ipv6) = (families != 1, families != 2);
    let world = World::draw(&mut input);
    let zone = world.zone();
    let servers = vec![peer(53), peer(54)];
    let config =
        ResolverConfig { ipv4, ipv6, query_timeout: Duration::from_millis(100), ..ResolverConfig::new(servers) };
    let start = Instant::now();
    let mut now = start;
    let mut resolver = Resolver::new(config, Entropy::new(Seed([input.byte(); 32])));
    resolver.lookup(now, &domain(REMOTE), Behalf::Ours);
    let mut open: BTreeMap<QueryId, (usize, Transport, Vec<u8>)> = BTreeMap::new();
    let mut answer = None;
    loop {
        while let Some(effect) = resolver.poll_effect() {
            match effect {
                Effect::Ask { query, server, transport, message } => {
                    open.insert(query, (usize::from(server != peer(53)), transport, message));
                }
                Effect::Forget(query) => assert!(open.remove(&query).is_some(), "a question ends once"),
                other => panic!("a resolver does not ask for {other:?}"),
            }
        }
        while let Some((_, end)) = resolver.poll_answer() {
            assert!(answer.replace(end).is_none(), "a lookup is answered once");
        }
        if answer.is_some() {
            break;
        }
        let audible = open.iter().filter_map(|(query, (server, transport, message))| {
            Some((*query, world.deliver(&zone, *server, *transport, message)?))
        });
        let mut audible: Vec<_> = audible.collect();
        if audible.is_empty() {
            now = now.max(resolver.poll_timeout().expect("something is waited for"));
            resolver.handle_timeout(now);
        } else {
            let (query, message) = audible.swap_remove(input.below(audible.len()));
            resolver.handle_reply(now, query, message.as_deref());
        }
    }
    assert!(open.is_empty(), "{} questions stay open", open.len());
    assert!(now.duration_since(start) <= limits::DNS_LOOKUP, "later than its deadline");
    world.check(answer.expect("an answer"), ipv4, ipv6);
}

impl World {
    fn draw(input: &mut Input<'_>) -> Self {
        let mut world = Self::default();
        for _ in 0..input.below(7) {
            let security = SERVICES[input.below(2)].1;
            let port = [5269, 5270, 443, 0][input.below(4)];
            let (priority, weight) = (input.below(3) as u16, 10 * input.below(3) as u16);
            let target = match input.below(10) {
                at @ 0..6 => HOSTS[at],
                at @ 6..9 => ALIASES[at - 6],
                _ => {
                    world.declined.insert(security);
                    continue;
                }
            };
            world.places.push(Place { priority, weight, target, port, security });
        }
        for (n, host) in (0_u8..).zip(HOSTS).filter(|(_, host)| *host != "loop.example") {
            let (four, six) = (input.below(3), input.below(3));
            let addresses = world.addresses.entry(host).or_default();
            addresses.extend((0..six).map(|at| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, u16::from(n), at as u16])));
            addresses.extend((0..four).map(|at| IpAddr::from([10, 0, n, at as u8])));
        }
        world.aliases.insert("loop.example", "loop.example");
        for alias in ALIASES {
            let to =
                input.pick(&["h0.example", "h1.example", "c0.example", "c1.example", "loop.example", "gone.example"]);
            world.aliases.insert(alias, to);
        }
        for _ in 0..input.below(8) {
            let names = HOSTS.iter().chain(&ALIASES).map(|name| (*name).to_owned());
            let names: Vec<String> = names.chain(SERVICES.map(|(service, _)| format!("{service}.{REMOTE}"))).collect();
            let kind = input.pick(&[RecordType::A, RecordType::AAAA, RecordType::SRV]);
            let fault = input.pick(&[Fault::ServFail, Fault::Silence, Fault::Socket, Fault::Garbage, Fault::Truncated]);
            let name = names[input.below(names.len())].clone();
            world.faults.insert((name, kind, input.below(SERVERS)), fault);
        }
        world
    }

    fn zone(&self) -> Zone {
        let mut zone = Zone::new();
        for (service, security) in SERVICES {
            let name = format!("{service}.{REMOTE}");
            for place in self.places.iter().filter(|place| place.security == security) {
                zone = zone.service(&name, place.priority, place.weight, place.port, place.target);
            }
            if self.declined.contains(&security) {
                zone = zone.service(&name, 0, 0, 0, ".");
            }
        }
        for (host, addresses) in &self.addresses {
            zone = addresses.iter().fold(zone, |zone, address| zone.address(host, *address));
        }
        self.aliases.iter().fold(zone, |zone, (alias, to)| zone.alias(alias, to))
    }

    /// What comes back to a question, if anything does: a message, or none if the query fails.
    fn deliver(&self, zone: &Zone, server: usize, transport: Transport, query: &[u8]) -> Option<Option<Vec<u8>>> {
        let honest = zone.respond(query).expect("a question");
        let mut message = Message::from_vec(&honest).expect("a message");
        let question = message.queries.first().expect("a question").clone();
        let name = question.name().to_ascii().trim_end_matches('.').to_lowercase();
        match self.faults.get(&(name, question.query_type(), server)) {
            None => return Some(Some(honest)),
            Some(Fault::Truncated) if transport == Transport::Tcp => return Some(Some(honest)),
            Some(Fault::Silence) => return None,
            Some(Fault::Socket) => return Some(None),
            Some(Fault::ServFail) => message.metadata.response_code = ResponseCode::ServFail,
            Some(Fault::Truncated) => message.metadata.truncation = true,
            Some(Fault::Garbage) => {
                // Behind its head and its question nothing can be read.
                message.metadata.truncation = false;
                let mut bytes = message.to_vec().expect("a message");
                bytes[7] = bytes[7].wrapping_add(1);
                return Some(Some(bytes));
            }
        }
        message.answers.clear();
        Some(Some(message.to_vec().expect("a message")))
    }

    /// One question to the servers, one after the other.
    fn ask(&self, name: &str, kind: RecordType) -> Result<Found, Reason> {
        let mut last = Reason::DnsFailure;
        for server in 0..SERVERS {
            last = match self.faults.get(&(name.to_owned(), kind, server)) {
                None | Some(Fault::Truncated) => return self.follow(name),
                Some(Fault::Silence) => Reason::DnsTimeout,
                Some(Fault::ServFail | Fault::Socket | Fault::Garbage) => Reason::DnsFailure,
            };
        }
        Err(last)
    }

    /// Where the aliases lead.
    fn follow(&self, name: &str) -> Result<Found, Reason> {
        let mut met = BTreeSet::new();
        let mut name = name.to_owned();
        while let Some(next) = self.aliases.get(name.as_str()) {
            if !met.insert(name) {
                return Err(Reason::DnsFailure);
            }
            name = (*next).to_owned();
        }
        match HOSTS.iter().find(|host| **host == name) {
            Some(host) if self.exists(host) => Ok(Found::Name(host)),
            _ => Ok(Found::NoSuchName),
        }
    }

    /// Whether the name or one below it has records.
    fn exists(&self, host: &str) -> bool {
        let services = host == REMOTE && !(self.places.is_empty() && self.declined.is_empty());
        services || self.addresses.get(host).is_some_and(|addresses| !addresses.is_empty())
    }

    /// The addresses of a host in the order in which to try them, and what went wrong.
    fn addresses(&self, host: &str, ipv4: bool, ipv6: bool) -> (Vec<IpAddr>, Vec<Reason>, bool) {
        let (mut families, mut failures, mut nowhere) = (Vec::new(), Vec::new(), false);
        for (kind, wanted) in [(RecordType::AAAA, ipv6), (RecordType::A, ipv4)] {
            let found = if wanted { self.ask(host, kind) } else { continue };
            let of_kind = |ip: &&IpAddr| ip.is_ipv6() == (kind == RecordType::AAAA);
            match found {
                Ok(Found::Name(name)) => {
                    families.push(self.addresses[name].iter().filter(of_kind).copied().collect::<Vec<_>>());
                }
                Ok(Found::NoSuchName) => nowhere = true,
                Err(reason) => failures.push(reason),
            }
        }
        let longest = families.iter().map(Vec::len).max().unwrap_or_default();
        let interleaved = (0..longest).flat_map(|at| families.iter().filter_map(move |family| family.get(at))).copied();
        (interleaved.collect(), failures, nowhere)
    }

    fn check(&self, answer: Result<Vec<Candidate>, Reason>, ipv4: bool, ipv6: bool) {
        let asked = SERVICES.map(|(service, security)| {
            let found = self.ask(&format!("{service}.{REMOTE}"), RecordType::SRV);
            (security, found.map(|_| ()))
        });
        let known = |security: Security| asked.iter().any(|(asked, found)| *asked == security && found.is_ok());
        let told: Vec<Place> = self.places.iter().filter(|place| known(place.security)).copied().collect();
        let mut places: Vec<Place> = told.iter().filter(|place| place.port != 0).copied().collect();
        places.sort_unstable();
        places.dedup();
        if !places.is_empty() {
            return self.check_places(&places, answer, ipv4, ipv6);
        }
        let failure = asked.iter().rev().find_map(|(_, found)| found.err());
        let expected = if let Some(reason) = failure {
            Err(reason)
        } else if !self.declined.is_empty() {
            Err(Reason::SrvDot)
        } else if !told.is_empty() {
            Err(Reason::NoAddress)
        } else {
            let (addresses, failures, nowhere) = self.addresses(REMOTE, ipv4, ipv6);
            let at = |ip: &IpAddr| Candidate { addr: SocketAddr::new(*ip, 5269), security: Security::StartTls };
            match (addresses.is_empty(), failures.first()) {
                (false, _) => Ok(addresses.iter().map(at).collect()),
                (true, Some(reason)) => Err(*reason),
                (true, None) => Err(if nowhere { Reason::DnsNxdomain } else { Reason::NoAddress }),
            }
        };
        assert_eq!(answer, expected, "left: the resolver, right: plain recursion over {self:?}");
    }

    fn check_places(&self, places: &[Place], answer: Result<Vec<Candidate>, Reason>, ipv4: bool, ipv6: bool) {
        let found: BTreeMap<&str, (Vec<IpAddr>, Vec<Reason>, bool)> =
            places.iter().map(|place| (place.target, self.addresses(place.target, ipv4, ipv6))).collect();
        match answer {
            Ok(candidates) => {
                let fits = fits(places, &mut Vec::new(), &candidates, &|target| &found[target].0);
                assert!(fits, "{candidates:?} is no order of {self:?}");
            }
            Err(reason) => {
                assert!(found.values().all(|(addresses, ..)| addresses.is_empty()), "{reason}, for {self:?}");
                let failures: Vec<Reason> = found.values().flat_map(|(_, failures, _)| failures).copied().collect();
                let none = failures.is_empty() && reason == Reason::NoAddress;
                assert!(none || failures.contains(&reason), "{reason} instead of {failures:?}, for {self:?}");
            }
        }
    }
}

/// Whether `candidates` is what some order of `left` behind `tried` comes to: by priority, then in any order, but direct TLS
/// before STARTTLS on the same target.
fn fits<'a>(
    left: &[Place],
    tried: &mut Vec<Candidate>,
    candidates: &[Candidate],
    addresses: &dyn Fn(&str) -> &'a Vec<IpAddr>,
) -> bool {
    let Some(priority) = left.iter().map(|place| place.priority).min() else {
        tried.truncate(limits::CANDIDATES);
        return *tried == candidates;
    };
    for (at, place) in left.iter().enumerate().filter(|(_, place)| place.priority == priority) {
        let twin = |other: &Place| {
            (other.priority, other.weight, other.target, other.security)
                == (place.priority, place.weight, place.target, Security::DirectTls)
        };
        if place.security == Security::StartTls && left.iter().any(twin) {
            continue;
        }
        let before = tried.len();
        for ip in addresses(place.target) {
            let candidate = Candidate { addr: SocketAddr::new(*ip, place.port), security: place.security };
            if !tried.contains(&candidate) {
                tried.push(candidate);
            }
        }
        let agreed = tried.iter().zip(candidates).all(|(one, other)| one == other);
        let rest = [&left[..at], &left[at + 1..]].concat();
        if agreed && fits(&rest, tried, candidates, addresses) {
            return true;
        }
        tried.truncate(before);
    }
    false
}
