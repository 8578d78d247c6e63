//! What nodes ask DNS and whom they dial, in virtual time; and which answers of DNS count.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use s2s_core::dns::{Behalf, Candidate, Resolver, ResolverConfig};
use s2s_core::entropy::{Entropy, Seed};
use s2s_core::machine::{ConnId, Effect, QueryId};
use s2s_core::policy::HostOptions;

use super::stage::Stage;
use super::{A, B, Setting, Two, config, message};
use crate::certificates::{Authority, Kind};
use crate::dns_server::Zone;
use crate::transcript::Side;
use crate::world::{Asked, NodeIndex, Trace, Traced, World, domain};

pub(super) const TYPE_A: u16 = 1;
pub(super) const TYPE_AAAA: u16 = 28;
pub(super) const TYPE_SRV: u16 = 33;

pub(super) const PLAIN: &str = "_xmpp-server._tcp.b.example.net";
pub(super) const DIRECT: &str = "_xmpps-server._tcp.b.example.net";

const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9));

pub(super) const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// One line of a timeline.
struct Moment {
    at: Duration,
    /// Of what happens at the same time, what brings the other about comes first.
    rank: u8,
    text: String,
}

/// What was asked and dialled since `start`, in order, a line for each.
pub(super) fn timeline(world: &World, start: Instant) -> String {
    let asked = world.questions.iter().flatten().flat_map(|asked| questions(asked, start));
    let dialled = dials(world.trace.iter().flatten(), start);
    let mut moments: Vec<Moment> = asked.chain(dialled).collect();
    moments.sort_by_key(|moment| (moment.at, moment.rank));
    moments.iter().map(|moment| format!("{:>4} ms  {}\n", moment.at.as_millis(), moment.text)).collect()
}

/// A question, and the records of its answer.
fn questions(asked: &Asked, start: Instant) -> Vec<Moment> {
    let question = name_and_type(&asked.message);
    let at = asked.at - start;
    let mut moments = vec![Moment { at, rank: 1, text: format!("asks   {question}") }];
    for answer in asked.reply.as_deref().map(records).into_iter().flatten() {
        moments.push(Moment { at: at + asked.delay, rank: 0, text: format!("hears  {question}  {answer}") });
    }
    moments
}

/// The records in an answer, or what it says instead.
pub(super) fn records(reply: &[u8]) -> Vec<String> {
    let reply = Message::from_vec(reply).expect("servers answer DNS");
    match reply.metadata.response_code {
        ResponseCode::NXDomain => vec!["no such name".to_owned()],
        ResponseCode::ServFail => vec!["the server failed".to_owned()],
        _ if reply.answers.is_empty() => vec!["no such record".to_owned()],
        _ => reply.answers.iter().map(|record| record.data.to_string()).collect(),
    }
}

/// `SRV _xmpp-server._tcp.b.example.net`
pub(super) fn name_and_type(message: &[u8]) -> String {
    let message = Message::from_vec(message).expect("nodes ask DNS");
    let question = &message.queries[0];
    let name = question.name().to_ascii();
    format!("{:<4} {}", question.query_type().to_string(), name.trim_end_matches('.'))
}

/// What became of each connection: that it was dialled, that it opened, and what was dropped when another one had won.
fn dials<'t>(trace: impl Iterator<Item = &'t Traced>, start: Instant) -> Vec<Moment> {
    let mut addrs: Vec<((NodeIndex, ConnId), SocketAddr)> = Vec::new();
    let mut won = false;
    let mut moments = Vec::new();
    for Traced { at, near, what } in trace {
        if let Trace::Dialled(addr) = what {
            addrs.push((*near, *addr));
        }
        let Some((_, addr)) = addrs.iter().find(|(dialled, _)| dialled == near) else { continue };
        won |= *what == Trace::Opened;
        let text = match what {
            Trace::Dialled(_) => format!("dials  {addr}"),
            Trace::Opened => format!("open   {addr}"),
            Trace::Dropped if won => format!("drops  {addr}"),
            Trace::Dropped | Trace::Wrote(_) => continue,
        };
        moments.push(Moment { at: *at - start, rank: 2, text });
    }
    moments
}

/// A node that serves A and wants to reach B by this zone, whose answers take their time.
pub(super) fn seeker(zone: Zone, delays: &[(&str, u16, u64)], ipv6: bool) -> (Stage, Instant) {
    let mut stage = Stage::with(A, HostOptions::default(), |config| config.resolver.ipv6 = ipv6);
    stage.world.zone = zone;
    stage.world.latency = ms(20);
    for (name, kind, delay) in delays {
        stage.world.delay_answer(name, *kind, ms(*delay));
    }
    stage.world.questions = Some(Vec::new());
    stage.world.trace = Some(Vec::new());
    let start = stage.world.now;
    stage.world.send(stage.node, &message(A, B, "Hello"));
    (stage, start)
}

/// B has three servers, all with IPv4, of which the first two refuse.
#[must_use]
pub fn three_servers() -> String {
    let mut delays = vec![(PLAIN, TYPE_SRV, 10), (DIRECT, TYPE_SRV, 10)];
    delays.extend(["x1.b.example.net", "x2.b.example.net", "backup.b.example.net"].map(|host| (host, TYPE_A, 10)));
    let (mut stage, start) = seeker(weighted_zone(), &delays, false);
    stage.world.listen(SocketAddr::from(([192, 0, 2, 23], 5269)));
    stage.world.run_for(ms(300));
    timeline(&stage.world, start)
}

fn weighted_zone() -> Zone {
    Zone::new()
        .service(PLAIN, 10, 60, 5269, "x1.b.example.net")
        .service(PLAIN, 10, 40, 5269, "x2.b.example.net")
        .service(PLAIN, 20, 0, 5269, "backup.b.example.net")
        .address("x1.b.example.net", [192, 0, 2, 21])
        .address("x2.b.example.net", [192, 0, 2, 22])
        .address("backup.b.example.net", [192, 0, 2, 23])
}

/// In which order the same three servers come, in so many lookups of different seeds.
#[must_use]
pub fn weights(lookups: u64) -> String {
    let zone = weighted_zone();
    let mut orders = BTreeMap::<String, u64>::new();
    for lookup in 0..lookups {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&lookup.to_be_bytes());
        let candidates = resolve(Entropy::new(Seed(seed)), &zone);
        let order: Vec<_> = candidates.iter().map(|candidate| candidate.addr.ip().to_string()).collect();
        *orders.entry(order.join(", ")).or_default() += 1;
    }
    orders.into_iter().map(|(order, times)| format!("{times:>5} times  {order}\n")).collect()
}

/// One lookup of B, where every answer comes at once.
fn resolve(entropy: Entropy, zone: &Zone) -> Vec<Candidate> {
    let now = Instant::now();
    let mut resolver = Resolver::new(resolver_config(), entropy);
    let _ = resolver.lookup(now, &domain(B), Behalf::Ours);
    while let Some(effect) = resolver.poll_effect() {
        if let Effect::Ask { query, message, .. } = effect {
            resolver.handle_reply(now, query, zone.respond(&message).as_deref());
        }
    }
    let (_, answer) = resolver.poll_answer().expect("an answer");
    answer.expect("candidates")
}

fn resolver_config() -> ResolverConfig {
    ResolverConfig::new(vec![SocketAddr::from(([192, 0, 2, 53], 53))])
}

/// B has an address of each family, and the one of IPv6 does not work.
#[must_use]
pub fn no_ipv6() -> String {
    happy_eyeballs(&[(TYPE_AAAA, 10), (TYPE_A, 30)])
}

/// The same where the answer about IPv6 takes long.
#[must_use]
pub fn late_ipv6() -> String {
    happy_eyeballs(&[(TYPE_A, 10), (TYPE_AAAA, 400)])
}

fn happy_eyeballs(delays: &[(u16, u64)]) -> String {
    let host = "host.b.example.net";
    let v6 = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 9]);
    let zone = Zone::new().address(host, v6).address(host, V4).service(PLAIN, 0, 0, 5269, host);
    let mut all = vec![(PLAIN, TYPE_SRV, 10), (DIRECT, TYPE_SRV, 10)];
    all.extend(delays.iter().map(|(kind, delay)| (host, *kind, *delay)));
    let (mut stage, start) = seeker(zone, &all, true);
    stage.world.swallow(SocketAddr::new(v6, 5269));
    stage.world.listen(SocketAddr::new(V4, 5269));
    stage.world.run_for(ms(390));
    timeline(&stage.world, start)
}

/// All that is asked on the way to a domain that has everything published.
#[must_use]
pub fn everything_asked() -> String {
    let mut two = Two::new(&Setting::strict());
    two.world.publish(B, IpAddr::from([192, 0, 2, 2]), false, true);
    two.world.questions = Some(Vec::new());
    two.send("Hello");
    let asked = two.world.questions.iter().flatten();
    asked.map(|asked| format!("asks  {}\n", name_and_type(&asked.message))).collect()
}

/// A sends a message to a domain that is written with a letter beyond ASCII: what is asked and said.
#[must_use]
pub fn beyond_ascii() -> String {
    let written = "b\u{fc}cher.example";
    let canonical = domain(written);
    let authority = Authority::root("the authority");
    let [a, b] = [A, canonical.as_str()].map(|host| config(&authority, host, Some(Kind::Valid), strict()));
    let mut two = Two::of([(A, a), (canonical.as_str(), b)], true);
    two.world.questions = Some(Vec::new());
    two.world.send(two.a, &message(A, written, "Hello"));
    two.world.run();
    let asked = two.world.questions.iter().flatten().take(2);
    let text: String = asked.map(|asked| format!("asks: {}\n", name_and_type(&asked.message))).collect();
    let mut transcript = two.transcript();
    transcript.lines.retain(|line| {
        let told = ["ClientHello", "<stream:stream", "<message"].iter().any(|part| line.text.contains(part));
        told && line.connection == 1 && line.side == Side::Opening
    });
    transcript.lines.dedup();
    text + &transcript.to_string()
}

fn strict() -> HostOptions {
    Setting::strict().options
}

/// The first questions about B, and what becomes of messages that come back for the second one.
#[must_use]
pub fn forgeries() -> String {
    let now = Instant::now();
    let mut resolver = Resolver::new(resolver_config(), Entropy::new(Seed([1; 32])));
    let _ = resolver.lookup(now, &domain(B), Behalf::Ours);
    let mut asked: Vec<(QueryId, Vec<u8>)> = Vec::new();
    while let Some(effect) = resolver.poll_effect() {
        if let Effect::Ask { query, message, .. } = effect {
            asked.push((query, message));
        }
    }
    let mut text: String = asked.iter().map(|(_, message)| format!("asks   {}\n", with_id(message))).collect();
    let [(_, other), (query, question)] = asked.as_slice() else { panic!("two questions: {text}") };
    let zone = Zone::new().service(PLAIN, 0, 0, 5269, "host.b.example.net");
    let right = zone.respond(question).expect("a reply");
    let mut wrong_id = right.clone();
    wrong_id[1] ^= 1;
    let elsewhere = Zone::new().service("_xmpp-server._tcp.c.example.net", 0, 0, 5269, "host.c.example.net");
    for (description, message) in [
        ("the right answer with another id", wrong_id),
        ("the answer to the first question", zone.respond(other).expect("a reply")),
        (
            "an answer about another name",
            answer_to(question, Some("_xmpp-server._tcp.c.example.net."), None, &elsewhere),
        ),
        ("an answer about another type", answer_to(question, None, Some(RecordType::A), &zone)),
        ("the question itself", question.clone()),
        ("the right answer", right),
    ] {
        resolver.handle_reply(now, *query, Some(&message));
        let ended = std::iter::from_fn(|| resolver.poll_effect()).any(|effect| effect == Effect::Forget(*query));
        text.push_str(&format!("hears  {description}: {}\n", if ended { "taken" } else { "ignored" }));
    }
    text
}

/// `3a1f SRV _xmpp-server._tcp.b.example.net`
fn with_id(message: &[u8]) -> String {
    format!("id {:02x}{:02x}  {}", message[0], message[1], name_and_type(message))
}

/// What `zone` answers to `question` once its name or type is another one.
pub(super) fn answer_to(question: &[u8], name: Option<&str>, kind: Option<RecordType>, zone: &Zone) -> Vec<u8> {
    let mut question = Message::from_vec(question).expect("a question");
    if let Some(name) = name {
        question.queries[0].set_name(Name::from_ascii(name).expect("a name"));
    }
    if let Some(kind) = kind {
        question.queries[0].set_query_type(kind);
    }
    let bytes = question.to_vec().expect("a question");
    zone.respond(&bytes).expect("a reply")
}
