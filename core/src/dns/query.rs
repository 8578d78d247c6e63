//! One question on its way to an answer: servers, transports, time.
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

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Behalf;
use super::desk::{AskingId, Desk};
use super::message::{self, Answer, Question, Verdict};
use crate::limits;
use crate::machine::{QueryId, Transport};
use crate::reason::Reason;

/// A question that has been put to a server.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) id: AskingId,
    pub(super) question: Question,
    /// Servers that had their chance before this one.
    attempt: usize,
    pub(super) asked: Asked,
}

/// What went out, or waits for its turn, and by whom it is to be answered.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) handle: QueryId,
    id: u16,
    server: SocketAddr,
    transport: Transport,
}

/// What has become of a query.
#[derive(Debug)]
pub(super) enum Step {
    /// It goes on.
    Open(Query),
    /// It has come to an end.
    Done(Outcome),
}

/// What a question came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The answer, or why there is none.
    pub(super) result: Result<Answer, Reason>,
    /// How long it may be remembered.
    pub(super) lifetime: Duration,
}

impl Outcome {
    /// A failure that was met in asking. Remembered for a moment, so that servers in trouble are left alone.
    const fn failed(reason: Reason) -> Self {
        Self { result: Err(reason), lifetime: limits::DNS_FAILURE }
    }

    /// Nobody could be asked.
    const fn impossible() -> Self {
        Self { result: Err(Reason::DnsFailure), lifetime: Duration::ZERO }
    }
}

impl Query {
    /// Puts `question` to the first server.
    pub(super) fn start(now: Instant, asking: (AskingId, Behalf), question: Question, desk: &mut Desk) -> Step {
        match desk.config.servers.first() {
            Some(&server) => Self::ask(now, asking, question, 0, (server, Transport::Udp), desk),
            None => Step::Done(Outcome::impossible()),
        }
    }

    //= RFC5452-9.2-2
    fn ask(
        now: Instant,
        (id, behalf): (AskingId, Behalf),
        question: Question,
        attempt: usize,
        (server, transport): (SocketAddr, Transport),
        desk: &mut Desk,
    ) -> Step {
        let message_id = desk.ids.next_u16();
        let Some(message) = message::query(&question, message_id) else {
            return Step::Done(Outcome::impossible());
        };
        let handle = desk.send(now, (id, behalf), server, transport, message);
        let asked = Asked { handle, id: message_id, server, transport };
        Step::Open(Self { id, question, attempt, asked })
    }

    /// A message arrived; `None`: the socket failed.
    pub(super) fn handle_reply(self, now: Instant, message: Option<&[u8]>, behalf: Behalf, desk: &mut Desk) -> Step {
        let Some(message) = message else {
            return self.next_server(now, Reason::DnsFailure, behalf, desk);
        };
        match message::judge(&self.question, self.asked.id, message) {
            //= RFC5452-9.1-1
            Verdict::Foreign => Step::Open(self),
            Verdict::Failure => self.next_server(now, Reason::DnsFailure, behalf, desk),
            //= RFC2782-p5-5
            Verdict::Truncated => match self.asked.transport {
                Transport::Udp => {
                    desk.forget(self.asked.handle);
                    let again = (self.asked.server, Transport::Tcp);
                    Self::ask(now, (self.id, behalf), self.question, self.attempt, again, desk)
                }
                // There is no room left to ask for.
                Transport::Tcp => self.next_server(now, Reason::DnsFailure, behalf, desk),
            },
            Verdict::Answer(answer, lifetime) => self.end(Outcome { result: Ok(answer), lifetime }, desk),
            // Another server would follow the same aliases.
            Verdict::Endless => self.end(Outcome::failed(Reason::DnsFailure), desk),
        }
    }

    /// The server did not answer in time.
    pub(super) fn handle_timeout(self, now: Instant, behalf: Behalf, desk: &mut Desk) -> Step {
        self.next_server(now, Reason::DnsTimeout, behalf, desk)
    }

    fn next_server(self, now: Instant, reason: Reason, behalf: Behalf, desk: &mut Desk) -> Step {
        desk.forget(self.asked.handle);
        let attempt = self.attempt.saturating_add(1);
        let servers = &desk.config.servers;
        let again = servers.first().filter(|_| reason == Reason::DnsTimeout);
        match servers.get(attempt).or(again) {
            Some(&server) if attempt < limits::DNS_ATTEMPTS => {
                Self::ask(now, (self.id, behalf), self.question, attempt, (server, Transport::Udp), desk)
            }
            _ => Step::Done(Outcome::failed(reason)),
        }
    }

    fn end(self, outcome: Outcome, desk: &mut Desk) -> Step {
        desk.forget(self.asked.handle);
        Step::Done(outcome)
    }
}
