//! DNS messages: our question as bytes, and what a reply to it says.
//!
//! The only file that knows hickory-proto. What it hands on is typed, lower-cased and bounded.
//!
//! - Which replies count at all: [RFC 5452 section 9.1](https://www.rfc-editor.org/rfc/rfc5452#section-9.1)
//! - Absence, how long it holds, and referrals: [RFC 2308](https://www.rfc-editor.org/rfc/rfc2308), sections 2, 3 and 5
//! - Lifetimes: [RFC 2181 section 8](https://www.rfc-editor.org/rfc/rfc2181#section-8)
//! - Aliases: [RFC 1034 section 3.6.2](https://www.rfc-editor.org/rfc/rfc1034#section-3.6.2)

use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::op::{Edns, Header, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name as WireName, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

use crate::addr::Domain;
use crate::limits;

/// An absolute name in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name(WireName);

impl Name {
    /// The name made of `prefix` and the labels of `domain`; `None` if it is longer than DNS allows.
    ///
    /// Made of labels rather than of text, so that nothing is an escape or a relative name.
    //= RFC5891-5.5-1
    //= RFC7673-8-1
    pub(super) fn new(prefix: &[&str], domain: &Domain) -> Option<Self> {
        let labels = prefix.iter().copied().chain(domain.as_str().split('.'));
        WireName::from_labels(labels.map(str::as_bytes)).ok().map(|name| Self::absolute(&name))
    }

    fn absolute(name: &WireName) -> Self {
        let mut lower = name.to_lowercase();
        lower.set_fqdn(true);
        Self(lower)
    }

    fn is(&self, name: &WireName) -> bool {
        self.0.eq_ignore_root(name)
    }

    fn is_in(&self, zone: &WireName) -> bool {
        zone.zone_of(&self.0)
    }

    /// Bytes on the wire, not compressed.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// The type of record that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    A,
    Aaaa,
    Srv,
}

impl Kind {
    const fn record_type(self) -> RecordType {
        match self {
            Self::A => RecordType::A,
            Self::Aaaa => RecordType::AAAA,
            Self::Srv => RecordType::SRV,
        }
    }
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Question {
    /// The name whose records are wanted.
    pub(super) name: Name,
    /// Which of its records.
    pub(super) kind: Kind,
}

/// One SRV record. Without a target (`.`) it says that there is no such service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServiceRecord {
    pub(super) priority: u16,
    pub(super) weight: u16,
    pub(super) port: u16,
    pub(super) target: Option<Name>,
}

/// What DNS has to say to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// The addresses, of the family that was asked for. Never empty.
    Addresses(Vec<IpAddr>),
    /// The name exists and has no such records.
    NoData,
    /// The name, or the one it is an alias of, does not exist.
    NxDomain,
    /// The SRV records. Never empty.
    Services(Vec<ServiceRecord>),
}

/// What one message answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// What stands at the end of the aliases in it.
    pub(super) end: End,
    /// Aliases that lead there.
    pub(super) hops: usize,
    /// The AD bit: the server says that it has validated all of it. Worth as much as the server and the way to it are
    /// trusted; decides nothing so far.
    pub(super) secure: bool,
}

/// Where the aliases of an answer lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// To this.
    Finding(Finding),
    /// To another name, about which the message says nothing: to be asked for.
    Elsewhere(Name),
}

/// What a message is to the question that it may answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It answers the question, and may be remembered for so long; zero: not at all.
    Answer(Answer, Duration),
    /// Its aliases lead in a circle, or too far.
    Endless,
    /// The server failed, refused, knows only somebody else to ask, or wrote nonsense.
    Failure,
    /// It does not belong to the question, whoever sent it.
    Foreign,
    /// It did not fit: to be asked for over TCP. What did fit is not looked at.
    Truncated,
}

/// The message that asks `question`; `None` if it cannot be written, which no name that we make brings about.
///
/// Recursion is desired; AD says that we would like to know whether the answer was validated
/// ([RFC 6840 section 5.7](https://www.rfc-editor.org/rfc/rfc6840#section-5.7)).
pub(super) fn query(question: &Question, id: u16) -> Option<Vec<u8>> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.metadata.authentic_data = true;
    message.add_query(Query::query(question.name.0.clone(), question.kind.record_type()));
    let mut edns = Edns::new();
    edns.set_version(0).set_max_payload(limits::DNS_DATAGRAM_BYTES).set_dnssec_ok(false);
    message.set_edns(edns);
    message.to_vec().ok()
}

/// Judges a message that came in on the socket from which `question` was asked with `id`.
///
/// Header and question are read by themselves first: what is not ours costs no more than that, and a reply
/// that is ours but broken further on is a failure of the server and not a forgery.
//= RFC5452-9.1-1
pub(super) fn judge(question: &Question, id: u16, message: &[u8]) -> Verdict {
    let mut decoder = BinDecoder::new(message);
    let Ok(header) = Header::read(&mut decoder) else { return Verdict::Foreign };
    let metadata = header.metadata;
    if metadata.message_type != MessageType::Response
        || metadata.id != id
        || metadata.op_code != OpCode::Query
        || header.counts.queries != 1
    {
        return Verdict::Foreign;
    }
    let Ok(asked) = Query::read(&mut decoder) else { return Verdict::Foreign };
    if !question.name.is(&asked.name)
        || asked.query_type != question.kind.record_type()
        || asked.query_class != DNSClass::IN
    {
        return Verdict::Foreign;
    }
    //= RFC2782-p5-5
    if metadata.truncation {
        return Verdict::Truncated;
    }
    let Ok(reply) = Message::from_vec(message) else { return Verdict::Failure };
    match reply.metadata.response_code {
        ResponseCode::NoError => read(question, &reply),
        ResponseCode::NXDomain => {
            let trail = Trail::follow(question, &reply);
            let lifetime = trail.and_then(|trail| trail.absence(&reply)).unwrap_or(Duration::ZERO);
            answer(End::Finding(Finding::NxDomain), 0, lifetime, &reply)
        }
        _ => Verdict::Failure,
    }
}

fn answer(end: End, hops: usize, lifetime: Duration, reply: &Message) -> Verdict {
    Verdict::Answer(Answer { end, hops, secure: reply.metadata.authentic_data }, lifetime)
}

/// Reads an answer that is not an error.
fn read(question: &Question, reply: &Message) -> Verdict {
    let Some(trail) = Trail::follow(question, reply) else { return Verdict::Endless };
    if let Some(finding) = find(question.kind, &trail.owner, reply) {
        let wanted = records(question.kind.record_type(), &trail.owner, reply);
        let lifetime = wanted.map(|record| seconds(record.ttl)).fold(trail.lifetime, Duration::min);
        return answer(End::Finding(finding), trail.hops, lifetime, reply);
    }
    if let Some(lifetime) = trail.absence(reply) {
        return answer(End::Finding(Finding::NoData), trail.hops, lifetime, reply);
    }
    if trail.hops > 0 {
        // Nobody vouches that the last alias has no such records: the server may only have stopped there.
        return answer(End::Elsewhere(trail.owner), trail.hops, trail.lifetime, reply);
    }
    let referral = |record: &Record| record.record_type() == RecordType::NS && trail.owner.is_in(&record.name);
    if reply.authorities.iter().any(referral) {
        // This server does not recurse for us, which says nothing about the name.
        return Verdict::Failure;
    }
    // Without a SOA record absence holds for this once.
    answer(End::Finding(Finding::NoData), 0, Duration::ZERO, reply)
}

/// The aliases inside an answer.
struct Trail {
    /// The name to which they lead.
    owner: Name,
    hops: usize,
    /// The shortest of their lifetimes.
    lifetime: Duration,
}

impl Trail {
    /// Follows the aliases to the wanted records, or as far as they go. `None`: too far.
    //= RFC2782-p5-1
    fn follow(question: &Question, reply: &Message) -> Option<Self> {
        let mut trail = Self { owner: question.name.clone(), hops: 0, lifetime: limits::DNS_LIFETIME };
        while records(question.kind.record_type(), &trail.owner, reply).next().is_none() {
            let alias = records(RecordType::CNAME, &trail.owner, reply).find_map(|record| match &record.data {
                RData::CNAME(cname) => Some((Name::absolute(&cname.0), seconds(record.ttl))),
                _ => None,
            });
            let Some((owner, lifetime)) = alias else { break };
            trail.hops = trail.hops.saturating_add(1);
            if trail.hops > limits::CNAME_HOPS {
                return None;
            }
            trail.lifetime = trail.lifetime.min(lifetime);
            trail.owner = owner;
        }
        Some(trail)
    }

    /// How long the absence of what is at its end may be remembered; `None` if no SOA record vouches for it.
    fn absence(&self, reply: &Message) -> Option<Duration> {
        let vouched = reply.authorities.iter().find_map(|record| match &record.data {
            RData::SOA(soa) if self.owner.is_in(&record.name) => Some(seconds(record.ttl).min(seconds(soa.minimum))),
            _ => None,
        });
        vouched.map(|lifetime| lifetime.min(self.lifetime).min(limits::DNS_ABSENCE))
    }
}

/// A lifetime on the wire. What has the highest bit set counts as zero.
fn seconds(ttl: u32) -> Duration {
    Duration::from_secs(if ttl > i32::MAX as u32 { 0 } else { u64::from(ttl) })
}

fn records<'a>(kind: RecordType, owner: &'a Name, reply: &'a Message) -> impl Iterator<Item = &'a Record> {
    let looked_at = reply.answers.iter().take(limits::DNS_RECORDS);
    looked_at.filter(move |record| {
        record.record_type() == kind && record.dns_class == DNSClass::IN && owner.is(&record.name)
    })
}

fn find(kind: Kind, owner: &Name, reply: &Message) -> Option<Finding> {
    let wanted = records(kind.record_type(), owner, reply);
    if kind == Kind::Srv {
        let services: Vec<_> = wanted.filter_map(service).collect();
        return (!services.is_empty()).then_some(Finding::Services(services));
    }
    let addresses: Vec<_> = wanted
        .filter_map(|record| match &record.data {
            RData::A(a) => Some(IpAddr::V4(a.0)),
            RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
            _ => None,
        })
        .collect();
    (!addresses.is_empty()).then_some(Finding::Addresses(addresses))
}

fn service(record: &Record) -> Option<ServiceRecord> {
    let RData::SRV(srv) = &record.data else { return None };
    let target = (!srv.target.is_root()).then(|| Name::absolute(&srv.target));
    Some(ServiceRecord { priority: srv.priority, weight: srv.weight, port: srv.port, target })
}
