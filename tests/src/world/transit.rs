//! What is under way: bytes, ends of connections and answers of DNS, each with the moment at which it arrives.
//!
//! Without latency everything arrives in the moment in which it is sent.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use s2s_core::machine::{ConnId, Machine, QueryId};

use super::{End, NodeIndex, Peer, Trace, World};

/// A question that a node has put to DNS.
#[derive(Clone, Debug)]
pub struct Asked {
    /// When.
    pub at: Instant,
    /// The question, as it travels.
    pub message: Vec<u8>,
    /// How long the answer takes.
    pub delay: Duration,
    /// The answer, as it travels; none if the server keeps silent.
    pub reply: Option<Vec<u8>>,
}

/// What is under way, in the order in which it arrives.
#[derive(Debug, Default)]
pub(super) struct Transit {
    happenings: BTreeMap<(Instant, u64), Happening>,
    count: u64,
    /// Connections that were given up before their request has arrived.
    given_up: BTreeSet<(NodeIndex, ConnId)>,
    /// How long answers to questions for a name and a type take.
    answers: BTreeMap<(String, u16), Duration>,
    /// How much longer than others a request for a connection takes to some addresses.
    requests: BTreeMap<SocketAddr, Duration>,
}

/// What arrives.
#[derive(Debug)]
pub(super) enum Happening {
    /// Bytes, from a node.
    Bytes(NodeIndex, ConnId, End, Vec<u8>),
    /// The end of what the other side writes.
    Eof(NodeIndex, ConnId, End),
    /// The end of the connection.
    Gone(NodeIndex, ConnId, End),
    /// The request for a connection, from a node, to an address and from one.
    Request(NodeIndex, ConnId, SocketAddr, IpAddr),
    /// Its acceptance.
    Connected(NodeIndex, ConnId),
    /// Its refusal.
    Refused(NodeIndex, ConnId),
    /// An answer of DNS.
    Reply(NodeIndex, QueryId, Option<Vec<u8>>),
}

impl World {
    /// From now on answers to questions for `name` and a type (its number in DNS) take `span`.
    pub fn delay_answer(&mut self, name: &str, kind: u16, span: Duration) {
        self.transit.answers.insert((name.to_owned(), kind), span);
    }

    /// From now on requests for a connection take so much longer to `addr`.
    pub fn delay_request(&mut self, addr: SocketAddr, span: Duration) {
        self.transit.requests.insert(addr, span);
    }

    pub(super) fn delay_of(&self, addr: SocketAddr) -> Duration {
        self.transit.requests.get(&addr).copied().unwrap_or_default()
    }

    /// How long the answer to a question takes.
    pub(super) fn answer_delay(&self, name: &str, kind: u16) -> Duration {
        self.transit.answers.get(&(name.to_owned(), kind)).copied().unwrap_or_default()
    }

    /// When something arrives next.
    pub(super) fn next_arrival(&self) -> Option<Instant> {
        self.transit.happenings.first_key_value().map(|((at, _), _)| *at)
    }

    /// Lets `happening` arrive after `delay`.
    pub(super) fn post(&mut self, delay: Duration, happening: Happening) {
        if delay.is_zero() {
            return self.happen(happening);
        }
        self.transit.count += 1;
        self.transit.happenings.insert((self.now + delay, self.transit.count), happening);
    }

    /// A node gives up a connection whose request may be under way.
    pub(super) fn give_up(&mut self, site: NodeIndex, conn: ConnId) {
        if !self.latency.is_zero() || !self.transit.requests.is_empty() {
            self.transit.given_up.insert((site, conn));
        }
    }

    /// Lets everything arrive whose moment has come. True if there was something.
    pub(super) fn arrive(&mut self) -> bool {
        let mut arrived = false;
        while let Some(first) = self.transit.happenings.first_entry().filter(|first| first.key().0 <= self.now) {
            let happening = first.remove();
            self.happen(happening);
            arrived = true;
        }
        arrived
    }

    fn happen(&mut self, happening: Happening) {
        let now = self.now;
        match happening {
            Happening::Bytes(_, _, End::Node(far, conn), bytes) => {
                self.sites[far].node.handle_bytes(now, conn, &bytes);
            }
            Happening::Bytes(site, conn, End::Puppet(_), bytes) => {
                self.sites[site].heard.entry(conn).or_default().bytes.extend_from_slice(&bytes);
            }
            Happening::Eof(_, _, End::Node(far, conn)) => self.sites[far].node.handle_eof(now, conn),
            Happening::Gone(_, _, End::Node(far, conn)) => {
                self.wires.remove(&(far, conn));
                self.sites[far].node.handle_eof(now, conn);
                self.sites[far].node.handle_closed(now, conn, io::ErrorKind::ConnectionReset);
            }
            Happening::Eof(site, conn, End::Puppet(_)) | Happening::Gone(site, conn, End::Puppet(_)) => {
                self.sites[site].heard.entry(conn).or_default().ended = true;
            }
            Happening::Request(site, conn, addr, from) => self.request(site, conn, addr, from),
            Happening::Connected(site, conn) => {
                self.note(site, conn, Trace::Opened);
                self.sites[site].node.handle_connected(now, conn);
            }
            Happening::Refused(site, conn) => {
                self.sites[site].node.handle_closed(now, conn, io::ErrorKind::ConnectionRefused);
            }
            Happening::Reply(site, query, message) => {
                self.sites[site].node.handle_reply(now, query, message.as_deref());
            }
        }
    }

    /// A request for a connection arrives at `addr`.
    fn request(&mut self, site: NodeIndex, conn: ConnId, addr: SocketAddr, from: IpAddr) {
        if self.transit.given_up.remove(&(site, conn)) {
            return;
        }
        if let Some(waiting) = self.puppets.get_mut(&addr) {
            waiting.push_back(Peer { site, conn });
            self.wires.insert((site, conn), End::Puppet(0));
            return self.post(self.latency, Happening::Connected(site, conn));
        }
        let from = SocketAddr::new(from, 40_000);
        let now = self.now;
        let accepted = self.listeners.get(&addr).copied().and_then(|(far, listener)| {
            let conn = self.sites[far].node.handle_accept(now, from, listener)?;
            Some((far, conn))
        });
        let Some((far, far_conn)) = accepted else {
            return self.post(self.latency, Happening::Refused(site, conn));
        };
        self.wires.insert((site, conn), End::Node(far, far_conn));
        self.wires.insert((far, far_conn), End::Node(site, conn));
        self.post(self.latency, Happening::Connected(site, conn));
    }
}
