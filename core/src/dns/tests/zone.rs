//! DNS in memory: what servers with a given zone and given faults send back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, SOA, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::super::message::Kind;
use crate::machine::Transport;

pub(super) const DOMAIN: &str = "d.example";
pub(super) const PLAIN: &str = "_xmpp-server._tcp.d.example";
pub(super) const DIRECT: &str = "_xmpps-server._tcp.d.example";

/// A name that exists.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Alias(String),
    Data(Data),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Data {
    /// Priority, weight, port, target.
    pub(super) srv: Vec<(u16, u16, u16, String)>,
    pub(super) a: Vec<Ipv4Addr>,
    pub(super) aaaa: Vec<Ipv6Addr>,
}

/// What goes wrong with one question at one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Broken,
    Referral,
    Refused,
    ServFail,
    Silence,
    Socket,
    /// UDP is cut short, TCP works.
    Truncated,
    TruncatedThenSilence,
    TruncatedThenSocket,
    TruncatedTwice,
}

#[derive(Clone, Debug)]
pub(super) struct Zone {
    pub(super) nodes: BTreeMap<String, Node>,
    /// By name, type and number of the server.
    pub(super) faults: BTreeMap<(String, Kind, usize), Fault>,
    /// How many aliases one message follows; at least one.
    pub(super) chase: usize,
    /// Whether absence of records comes with the SOA record that proves it.
    pub(super) soa: bool,
    /// The lifetime of every record.
    pub(super) ttl: u32,
    /// Whether the server says that it has validated what it answers.
    pub(super) secure: bool,
}

/// What happens to a query.
#[derive(Clone, Debug)]
pub(super) enum Delivery {
    Message(Vec<u8>),
    Silence,
    Socket,
}

impl Zone {
    pub(super) fn new(nodes: impl IntoIterator<Item = (&'static str, Node)>) -> Self {
        let nodes = nodes.into_iter().map(|(name, node)| (name.to_owned(), node)).collect();
        Self { nodes, faults: BTreeMap::new(), chase: 16, soa: true, ttl: 300, secure: false }
    }

    /// The same zone with one more fault, at both servers.
    pub(super) fn failing(mut self, name: &str, kind: Kind, fault: Fault) -> Self {
        for server in 0..2 {
            self.faults.insert((name.to_owned(), kind, server), fault);
        }
        self
    }

    /// Distinct targets of all SRV records.
    pub(super) fn targets(&self) -> usize {
        let records = self.nodes.values().flat_map(|node| match node {
            Node::Data(data) => data.srv.as_slice(),
            Node::Alias(_) => &[],
        });
        records.map(|(.., target)| target).collect::<BTreeSet<_>>().len()
    }

    pub(super) fn serve(&self, server: usize, transport: Transport, query: &[u8]) -> Delivery {
        let query = Message::from_vec(query).expect("we write messages that can be read");
        let question = query.queries.first().expect("a question").clone();
        let kind = match question.query_type() {
            RecordType::A => Kind::A,
            RecordType::AAAA => Kind::Aaaa,
            RecordType::SRV => Kind::Srv,
            other => panic!("nobody asks for {other}"),
        };
        let name = text(question.name());
        let mut reply = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
        reply.metadata.recursion_available = true;
        let fault = self.faults.get(&(name.clone(), kind, server)).copied();
        reply.metadata.authentic_data = self.secure;
        self.answer(&name, kind, &mut reply);
        reply.answers.iter_mut().chain(&mut reply.authorities).for_each(|record| record.ttl = self.ttl);
        reply.add_query(question);
        match (fault, transport) {
            (Some(Fault::Silence), _) | (Some(Fault::TruncatedThenSilence), Transport::Tcp) => {
                return Delivery::Silence;
            }
            (Some(Fault::Socket), _) | (Some(Fault::TruncatedThenSocket), Transport::Tcp) => return Delivery::Socket,
            (Some(Fault::ServFail), _) => reply.metadata.response_code = ResponseCode::ServFail,
            (Some(Fault::Refused), _) => reply.metadata.response_code = ResponseCode::Refused,
            (Some(Fault::Referral), _) => {
                reply.metadata.response_code = ResponseCode::NoError;
                reply.answers.clear();
                reply.authorities = vec![record("example", RData::NS(NS(wire("ns.example"))))];
            }
            (Some(Fault::Broken), _) => {
                reply.authorities.push(soa());
                let mut bytes = encode(&reply);
                bytes.truncate(bytes.len() - 3);
                return Delivery::Message(bytes);
            }
            (Some(Fault::Truncated | Fault::TruncatedThenSilence | Fault::TruncatedThenSocket), Transport::Udp)
            | (Some(Fault::TruncatedTwice), _) => {
                reply.metadata.truncation = true;
                reply.answers.truncate(1);
            }
            (None | Some(Fault::Truncated), _) => {}
        }
        Delivery::Message(encode(&reply))
    }

    fn answer(&self, name: &str, kind: Kind, reply: &mut Message) {
        let mut owner = name.to_owned();
        let mut met = vec![owner.clone()];
        loop {
            match self.nodes.get(&owner) {
                None => {
                    reply.metadata.response_code = ResponseCode::NXDomain;
                    reply.authorities.push(soa());
                    return;
                }
                Some(Node::Alias(next)) => {
                    if met.len() > self.chase {
                        return;
                    }
                    reply.answers.push(record(&owner, RData::CNAME(CNAME(wire(next)))));
                    if met.contains(next) {
                        return;
                    }
                    owner.clone_from(next);
                    met.push(owner.clone());
                }
                Some(Node::Data(data)) => {
                    let records = data.records(&owner, kind);
                    if records.is_empty() && self.soa {
                        reply.authorities.push(soa());
                    }
                    reply.answers.extend(records);
                    return;
                }
            }
        }
    }
}

impl Data {
    fn records(&self, owner: &str, kind: Kind) -> Vec<Record> {
        let data: Vec<RData> = match kind {
            Kind::A => self.a.iter().map(|a| RData::A(A(*a))).collect(),
            Kind::Aaaa => self.aaaa.iter().map(|aaaa| RData::AAAA(AAAA(*aaaa))).collect(),
            Kind::Srv => self
                .srv
                .iter()
                .map(|(priority, weight, port, target)| RData::SRV(SRV::new(*priority, *weight, *port, wire(target))))
                .collect(),
        };
        data.into_iter().map(|data| record(owner, data)).collect()
    }
}

/// Replies that look like `genuine` and do not belong to its question.
pub(super) fn forgeries(genuine: &[u8]) -> Vec<Vec<u8>> {
    let Ok(genuine) = Message::from_vec(genuine) else { return Vec::new() };
    let forge = |change: fn(&mut Message)| {
        let mut forged = genuine.clone();
        forged.metadata.response_code = ResponseCode::NXDomain;
        change(&mut forged);
        encode(&forged)
    };
    vec![
        forge(|m| m.metadata.id ^= 1),
        forge(|m| m.metadata.message_type = MessageType::Query),
        forge(|m| m.metadata.op_code = OpCode::Status),
        forge(|m| m.queries.clear()),
        forge(|m| m.queries = vec![m.queries[0].clone(), m.queries[0].clone()]),
        forge(|m| m.queries = vec![Query::query(wire("other.example"), m.queries[0].query_type())]),
        forge(|m| m.queries = vec![Query::query(m.queries[0].name().clone(), RecordType::TXT)]),
        forge(|m| {
            m.queries[0].set_query_class(hickory_proto::rr::DNSClass::CH);
        }),
        encode(&genuine)[..11].to_vec(),
        Vec::new(),
    ]
}

pub(super) fn srv(records: &[(u16, u16, u16, &str)]) -> Node {
    let srv = records.iter().map(|&(priority, weight, port, target)| (priority, weight, port, target.to_owned()));
    Node::Data(Data { srv: srv.collect(), ..Data::default() })
}

/// A host with the addresses `10.0.0.N` and `2001:db8::N`.
pub(super) fn host(n: u8) -> Node {
    Node::Data(Data { a: vec![v4(n)], aaaa: vec![v6(n)], ..Data::default() })
}

pub(super) fn alias(to: &str) -> Node {
    Node::Alias(to.to_owned())
}

pub(super) const fn v4(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, n)
}

pub(super) const fn v6(n: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n as u16)
}

pub(super) fn encode(message: &Message) -> Vec<u8> {
    message.to_vec().expect("a small message")
}

pub(super) fn record(owner: &str, data: RData) -> Record {
    Record::from_rdata(wire(owner), 300, data)
}

pub(super) fn wire(name: &str) -> Name {
    let mut name = Name::from_ascii(name).expect("a name");
    name.set_fqdn(true);
    name
}

fn text(name: &Name) -> String {
    let text = name.to_ascii();
    assert!(text.ends_with('.'), "{text} is not absolute");
    text.trim_end_matches('.').to_ascii_lowercase()
}

/// Vouches for absence for five seconds at most.
pub(super) fn soa() -> Record {
    record("example", RData::SOA(SOA::new(wire("ns.example"), wire("hostmaster.example"), 1, 2, 3, 4, 5)))
}
