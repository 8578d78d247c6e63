//! One question on its way to an answer: servers, transports, time, aliases.
//!
//! ```text
//!            .------ reply of somebody else ------.
//!            v                                    |
//! start --> UDP, first server ------------------- + --> answer
//!            |      | truncated                   |
//!            |      '--> TCP, same server --------' --> answer
//!            | time, socket, SERVFAIL, nonsense (of either)
//!            '--> the same once more with the next server --> failure
//! ```
//!
//! A question is put to [`limits::DNS_ATTEMPTS`] servers, in the order of the configuration, beginning with the first.
//! Where there is no next server, one that was silent is asked again, because a datagram may be lost; one that failed is
//! not. The reason that is given in the end is that of the last attempt.

use std::mem;
use std::net::SocketAddr;
use std::time::Instant;

use super::message::{self, Finding, Question, Verdict};
use super::{Cx, Desk};
use crate::limits;
use crate::machine::{QueryId, Transport};
use crate::reason::Reason;

/// A question that is followed through aliases until it is answered.
///
/// This is where a cache belongs: before a [`Query`] is started, and after it gave a finding.
#[derive(Debug)]
pub(super) enum Inquiry {
    Open(Query),
    Done(Result<Finding, Reason>),
}

impl Inquiry {
    /// Asks `question`.
    pub(super) fn new(question: Question, cx: &mut Cx<'_>) -> Self {
        Self::from_step(Query::start(question, cx), cx)
    }

    /// The outcome, once there is one.
    pub(super) const fn outcome(&self) -> Option<&Result<Finding, Reason>> {
        match self {
            Self::Open(_) => None,
            Self::Done(outcome) => Some(outcome),
        }
    }

    /// Whether this waits for `handle`.
    pub(super) fn waits_for(&self, handle: QueryId) -> bool {
        matches!(self, Self::Open(query) if query.asked.handle == handle)
    }

    /// A message arrived; `None`: the socket failed.
    pub(super) fn handle_reply(&mut self, message: Option<&[u8]>, cx: &mut Cx<'_>) {
        self.step(cx, |query, cx| query.handle_reply(message, cx));
    }

    /// The server did not answer in time.
    pub(super) fn handle_timeout(&mut self, cx: &mut Cx<'_>) {
        self.step(cx, |query, cx| query.next_server(Reason::DnsTimeout, cx));
    }

    /// Gives up what is still open.
    pub(super) fn abandon(&mut self, desk: &mut Desk) {
        if let Self::Open(query) = self {
            desk.forget(&query.asked);
            *self = Self::Done(Err(Reason::DnsTimeout));
        }
    }

    fn step(&mut self, cx: &mut Cx<'_>, advance: impl FnOnce(Query, &mut Cx<'_>) -> Step) {
        *self = match mem::replace(self, Self::Done(Err(Reason::DnsFailure))) {
            Self::Open(query) => Self::from_step(advance(query, cx), cx),
            done @ Self::Done(_) => done,
        };
    }

    fn from_step(mut step: Step, cx: &mut Cx<'_>) -> Self {
        loop {
            step = match step {
                Step::Open(query) => return Self::Open(query),
                Step::Done(outcome) => return Self::Done(outcome),
                // Ends: every such question has followed more aliases than the one before.
                Step::Elsewhere(question) => Query::start(question, cx),
            };
        }
    }
}

/// A question that has been put to a server.
#[derive(Debug)]
pub(super) struct Query {
    question: Question,
    /// Servers that had their chance before this one.
    attempt: usize,
    asked: Asked,
}

/// What went out, by whom it is to be answered, and until when.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) handle: QueryId,
    pub(super) deadline: Instant,
    id: u16,
    server: SocketAddr,
    transport: Transport,
}

/// What has become of a query.
enum Step {
    Done(Result<Finding, Reason>),
    Elsewhere(Question),
    Open(Query),
}

impl Query {
    fn start(question: Question, cx: &mut Cx<'_>) -> Step {
        match cx.desk.config.servers.first() {
            Some(&server) => Self::ask(question, 0, server, Transport::Udp, cx),
            None => Step::Done(Err(Reason::DnsFailure)),
        }
    }

    //= RFC5452-9.2-2
    fn ask(question: Question, attempt: usize, server: SocketAddr, transport: Transport, cx: &mut Cx<'_>) -> Step {
        let id = cx.desk.ids.next_u16();
        let Some(message) = message::query(&question, id) else {
            return Step::Done(Err(Reason::DnsFailure));
        };
        let (handle, deadline) = cx.ask(server, transport, message);
        Step::Open(Self { question, attempt, asked: Asked { handle, deadline, id, server, transport } })
    }

    fn handle_reply(self, message: Option<&[u8]>, cx: &mut Cx<'_>) -> Step {
        let Some(message) = message else {
            return self.next_server(Reason::DnsFailure, cx);
        };
        match message::judge(&self.question, self.asked.id, message) {
            //= RFC5452-9.1-1
            Verdict::Foreign => Step::Open(self),
            Verdict::Failure => self.next_server(Reason::DnsFailure, cx),
            //= RFC2782-p5-5
            Verdict::Truncated => match self.asked.transport {
                Transport::Udp => {
                    cx.desk.forget(&self.asked);
                    Self::ask(self.question, self.attempt, self.asked.server, Transport::Tcp, cx)
                }
                // There is no room left to ask for.
                Transport::Tcp => self.next_server(Reason::DnsFailure, cx),
            },
            Verdict::Answer(finding) => self.end(Step::Done(Ok(finding)), cx),
            Verdict::Elsewhere(question) => self.end(Step::Elsewhere(question), cx),
            // Another server would follow the same aliases.
            Verdict::Endless => self.end(Step::Done(Err(Reason::DnsFailure)), cx),
        }
    }

    fn next_server(self, reason: Reason, cx: &mut Cx<'_>) -> Step {
        cx.desk.forget(&self.asked);
        let attempt = self.attempt + 1;
        let servers = &cx.desk.config.servers;
        let again = servers.first().filter(|_| reason == Reason::DnsTimeout);
        match servers.get(attempt).or(again) {
            Some(&server) if attempt < limits::DNS_ATTEMPTS => {
                Self::ask(self.question, attempt, server, Transport::Udp, cx)
            }
            _ => Step::Done(Err(reason)),
        }
    }

    fn end(self, step: Step, cx: &mut Cx<'_>) -> Step {
        cx.desk.forget(&self.asked);
        step
    }
}
