//! DNS messages: our question as bytes, and what a reply to it says.
//!
//! The only file that knows hickory-proto. What it hands on is typed, lower-cased and bounded.
//!
//! - Which replies count at all: [RFC 5452 section 9.1](https://www.rfc-editor.org/rfc/rfc5452#section-9.1)
//! - Absence and referrals: [RFC 2308 section 2](https://www.rfc-editor.org/rfc/rfc2308#section-2)
//! - Aliases: [RFC 1034 section 3.6.2](https://www.rfc-editor.org/rfc/rfc1034#section-3.6.2)

use std::net::IpAddr;

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// The name whose records are wanted.
    pub(super) name: Name,
    /// Which of its records.
    pub(super) kind: Kind,
    /// Aliases that were followed on the way to this name.
    pub(super) hops: usize,
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

/// What a message is to the question that it may answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It answers the question.
    Answer(Finding),
    /// It leads to another name, and says nothing about that: ask again.
    Elsewhere(Question),
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
        ResponseCode::NoError => follow(question, &reply),
        ResponseCode::NXDomain => Verdict::Answer(Finding::NxDomain),
        _ => Verdict::Failure,
    }
}

/// Follows the aliases inside an answer to the records that are wanted.
//= RFC2782-p5-1
fn follow(question: &Question, reply: &Message) -> Verdict {
    let mut owner = question.name.clone();
    let mut hops = question.hops;
    loop {
        if let Some(finding) = find(question.kind, &owner, reply) {
            return Verdict::Answer(finding);
        }
        let alias = owned(&owner, reply).find_map(|record| match &record.data {
            RData::CNAME(cname) => Some(Name::absolute(&cname.0)),
            _ => None,
        });
        let Some(alias) = alias else { break };
        hops += 1;
        if hops > limits::CNAME_HOPS {
            return Verdict::Endless;
        }
        owner = alias;
    }
    let authority = |kind, name: &Name| {
        reply.authorities.iter().any(|record| record.record_type() == kind && record.name.zone_of(&name.0))
    };
    if authority(RecordType::SOA, &owner) {
        return Verdict::Answer(Finding::NoData);
    }
    if hops > question.hops {
        // Nobody vouches that the last alias has no such records: the server may only have stopped there.
        return Verdict::Elsewhere(Question { name: owner, kind: question.kind, hops });
    }
    if authority(RecordType::NS, &owner) {
        // A referral: this server does not recurse for us, which says nothing about the name.
        return Verdict::Failure;
    }
    Verdict::Answer(Finding::NoData)
}

fn owned<'a>(owner: &'a Name, reply: &'a Message) -> impl Iterator<Item = &'a Record> {
    let looked_at = reply.answers.iter().take(limits::DNS_RECORDS);
    looked_at.filter(move |record| record.dns_class == DNSClass::IN && owner.is(&record.name))
}

fn find(kind: Kind, owner: &Name, reply: &Message) -> Option<Finding> {
    if kind == Kind::Srv {
        let services: Vec<_> = owned(owner, reply).filter_map(service).collect();
        return (!services.is_empty()).then_some(Finding::Services(services));
    }
    let addresses: Vec<_> = owned(owner, reply)
        .filter_map(|record| match (kind, &record.data) {
            (Kind::A, RData::A(a)) => Some(IpAddr::V4(a.0)),
            (Kind::Aaaa, RData::AAAA(aaaa)) => Some(IpAddr::V6(aaaa.0)),
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
