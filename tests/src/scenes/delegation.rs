//! A domain that a provider serves: SRV leads to a name of the provider, whose certificate names nothing else. What is
//! specified for that is not built: what nodes ask and judge in its place, and what helps today.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::rdata::TLSA;
use hickory_proto::rr::rdata::tlsa::{CertUsage, Matching, Selector};
use hickory_proto::rr::{RData, RecordType};
use s2s_core::node::Event;
use s2s_core::policy::{HostOptions, KeyVerdict, Protection, judge_key};
use s2s_core::tls::verify::{Rejection, Verified, judge};

use super::lookups::{DIRECT, PLAIN, TYPE_A, TYPE_AAAA, TYPE_SRV, answer_to, ms, name_and_type, records, timeline};
use super::stage::outcome;
use super::tables::{row, table};
use super::{A, B, Setting, Two, config, message};
use crate::certificates::{Authority, Identity, Kind, NOW, Request, San};
use crate::dns_server::Zone;
use crate::fake_tls::FakeProvider;
use crate::world::{Asked, domain};

/// The name of the provider's server.
const PROVIDER: &str = "xmpp.hosting.example";

/// Where DANE looks for its key.
const ASSOCIATION: &str = "_5269._tcp.xmpp.hosting.example.";

/// The web server of B, where POSH looks.
const WEB: [u8; 4] = [192, 0, 2, 80];

fn authority() -> Authority {
    Authority::root("the authority")
}

/// What the provider's server shows, whichever domain it is asked for.
fn identity() -> Identity {
    authority().issue(&Request::dns(PROVIDER))
}

/// B is served by the provider, and has a web server.
fn delegated() -> Zone {
    Zone::new().service(PLAIN, 0, 0, 5269, PROVIDER).address(PROVIDER, [192, 0, 2, 2]).address(B, WEB)
}

/// The same where the provider publishes its key.
fn with_association() -> Zone {
    let key = identity().key_fingerprint().to_vec();
    let association = TLSA::new(CertUsage::DaneEe, Selector::Spki, Matching::Sha256, key);
    delegated().record(ASSOCIATION, RData::TLSA(association))
}

/// The options of a host that demands certificates, and of B this key.
fn pinning() -> HostOptions {
    let mut options = Setting::strict().options;
    options.pinned_domains.insert(B).expect("a domain");
    options
}

/// A, which demands certificates and may have pinned the key, and the provider's server for B.
fn nodes(zone: Zone, pinned: bool) -> Two {
    let identity = identity();
    let mut trust = authority().trust();
    if pinned {
        trust.pin(domain(B), identity.key_fingerprint());
    }
    let options = if pinned { pinning() } else { Setting::strict().options };
    let mut a = config(&authority(), A, Some(Kind::Valid), options);
    a.trust = Arc::new(trust);
    let mut b = config(&authority(), B, None, HostOptions::default());
    b.tls = Arc::new(FakeProvider::new(vec![(domain(B), identity.chain)]));
    let mut two = Two::of([(A, a), (B, b)], false);
    two.world.zone = zone;
    two.world.publish(A, IpAddr::from([192, 0, 2, 1]), true, false);
    two
}

/// What A asks and hears where every zone is signed, with the flags of each message; then what nobody asks for, why A
/// goes no further, and what is different where nothing is signed.
#[must_use]
pub fn signed() -> String {
    let (messages, told) = inquire(with_association().signed());
    let mut rows = vec![row(["", "question", "flags", "answer"])];
    for Asked { message, reply, .. } in &messages {
        let (question, reply) = (name_and_type(message), reply.as_deref().expect("an answer"));
        rows.push(row(["asks", &question, &flags(message), ""]));
        for record in records(reply) {
            rows.push(row(["hears", &question, &flags(reply), &record]));
        }
    }
    let association = answer_to(&messages[0].message, Some(ASSOCIATION), Some(RecordType::TLSA), &with_association());
    let (unsigned, told_unsigned) = inquire(with_association());
    let questions = |messages: &[Asked]| messages.iter().map(|asked| name_and_type(&asked.message)).collect::<Vec<_>>();
    let same = if questions(&messages) == questions(&unsigned) { "the same" } else { "other" };
    format!(
        "{}unasked: {}\n         {}\ntold: {told}\nunsigned: {same} questions, told: {told_unsigned}\n",
        table(&rows),
        name_and_type(&association),
        records(&association).join(", ")
    )
}

/// What is asked when A sends to B, and why that comes to nothing.
fn inquire(zone: Zone) -> (Vec<Asked>, String) {
    let mut two = nodes(zone, false);
    two.world.questions = Some(Vec::new());
    two.send("Hello");
    let events = two.world.take_events(two.a);
    let reasons = events.iter().filter_map(|event| match event {
        Event::Refused { reason, .. } => Some(reason.code()),
        _ => None,
    });
    let told = reasons.collect::<Vec<_>>().join(", ");
    (two.world.questions.take().unwrap_or_default(), told)
}

/// The flags in the header of a message of DNS, as `dig` names them.
fn flags(message: &[u8]) -> String {
    let metadata = Message::from_vec(message).expect("a message").metadata;
    let flags = [
        (metadata.message_type == MessageType::Response, "qr"),
        (metadata.authoritative, "aa"),
        (metadata.recursion_desired, "rd"),
        (metadata.recursion_available, "ra"),
        (metadata.authentic_data, "ad"),
    ];
    flags.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect::<Vec<_>>().join(" ")
}

/// A opens a stream to the provider's server, from TLS on, and what comes of it.
#[must_use]
pub fn refused() -> String {
    let mut two = nodes(with_association().signed(), false);
    two.send("Hello");
    let conversation = two.transcript().since("ClientHello").to_string();
    conversation + &outcome(&two.world.take_events(two.a))
}

/// What comes of certificates that the provider's server may show as it opens a stream, by what the other side decided.
#[must_use]
pub fn policies() -> String {
    let authority = authority();
    let own = Authority::root("an authority of its own");
    let mut of_its_own = own.issue(&Request::dns(B));
    of_its_own.chain.push(own.der().to_vec());
    let service = Request::new(vec![San::Srv(format!("_xmpp-server.{B}"))]);
    let mut rows = vec![row(["certificate", "default", "s2s_secure_auth", "s2s_pins"])];
    for (what, identity) in [
        ("for the domain", authority.issue(&Request::dns(B))),
        ("for XMPP at the domain", authority.issue(&service)),
        ("for the target", identity()),
        ("for the target, expired", authority.issue(&Request::dns(PROVIDER).with_years(2020, 2025))),
        ("for the domain, by itself", Request::dns(B).self_signed()),
        ("for the domain, by an authority of its own", of_its_own),
    ] {
        let mut trust = authority.trust();
        let verdict = judge(&identity.chain, &domain(B), &trust, NOW);
        trust.pin(domain(B), identity.key_fingerprint());
        let pinned = judge(&identity.chain, &domain(B), &trust, NOW);
        let default = fate(&HostOptions::default(), &verdict);
        let strict = fate(&Setting::strict().options, &verdict);
        rows.push(row([what, &default, &strict, &fate(&pinning(), &pinned)]));
    }
    table(&rows)
}

/// What becomes of a stream from B on which a certificate was judged so.
fn fate(options: &HostOptions, verdict: &Result<Verified, Rejection>) -> String {
    match judge_key(options, &domain(B), Protection::Tls(verdict)) {
        KeyVerdict::Proved(_) => "proved".to_owned(),
        KeyVerdict::CallBack => "dialback".to_owned(),
        KeyVerdict::Refuse(reason) => reason.code().to_owned(),
    }
}

/// What A asks and dials, where nothing is signed and a web server of B would answer, and why it goes no further.
#[must_use]
pub fn no_https() -> String {
    let mut two = nodes(delegated(), false);
    two.world.latency = ms(20);
    for (name, kind) in [(PLAIN, TYPE_SRV), (DIRECT, TYPE_SRV), (PROVIDER, TYPE_AAAA), (PROVIDER, TYPE_A)] {
        two.world.delay_answer(name, kind, ms(10));
    }
    two.world.listen(SocketAddr::from((WEB, 443)));
    two.world.questions = Some(Vec::new());
    two.world.trace = Some(Vec::new());
    let start = two.world.now;
    two.world.send(two.a, &message(A, B, "Hello"));
    two.world.run_for(ms(1000));
    timeline(&two.world, start) + &outcome(&two.world.take_events(two.a))
}

/// What A's operator may write about the key of the same server, and what both domains say to each other then.
#[must_use]
pub fn pinned() -> String {
    let mut two = nodes(delegated(), true);
    two.send("Hello");
    two.send_back("Hello to you");
    let mut transcript = two.transcript();
    let shown = ["TLS ServerHello", "TLS Finished", "<auth ", "<success ", "<message "];
    transcript.lines.retain(|line| shown.iter().any(|part| line.text.contains(part)));
    let digits: String = identity().key_fingerprint().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("[s2s_pins]\n\"{B}\" = [\"sha256:{digits}\"]\n\n{transcript}")
}
