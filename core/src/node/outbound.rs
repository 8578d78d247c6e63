//! Streams that we open: how far policy lets us go with each, and what follows from what the peer answers.

use std::time::Instant;

use crate::addr::Pair;
use crate::auth::Method;
use crate::dialback::Answer;
use crate::link::End;
use crate::machine::ConnId;
use crate::node::ahead::is_refused_for_haste;
use crate::node::{Errand, Event, Node, Purpose};
use crate::policy::{self, Authentication, Protection};
use crate::reason::Reason;
use crate::route::{External, LastFeatures};
use crate::sasl::Failure;
use crate::stream::{Ahead, Features, Initiating, InitiatingEvent, StreamError};

impl Node {
    pub(super) fn handle_outbound(&mut self, now: Instant, conn: ConnId, event: InitiatingEvent) {
        match event {
            InitiatingEvent::Secured => self.speak_ahead(now, conn),
            InitiatingEvent::HeaderReceived => self.handle_response_header(now, conn),
            InitiatingEvent::FeaturesReceived(features) => self.handle_features(now, conn, &features),
            InitiatingEvent::ExternalRefused { failure, uninvited } => {
                self.handle_external_refused(now, conn, failure, uninvited);
            }
            InitiatingEvent::Authorised { pair, by } => self.handle_authorised(now, conn, &pair, by),
            InitiatingEvent::Settled { max_bytes } => {
                if let Some(pair) = self.errand_of(conn).and_then(|errand| self.pair_of(&errand)) {
                    self.peers.note_last_features(&pair, LastFeatures { max_bytes });
                    // What was kept until the peer had answered makes room.
                    self.feed(now, &pair);
                }
            }
            //= XEP0220-2.1.1-11
            InitiatingEvent::KeyRefused { pair, answer } => {
                // It was perhaps not the better way.
                if self.peers.external(&pair) == External::EndedTheStream {
                    self.peers.note_external(&pair, External::Unknown);
                }
                let invalid = answer == Answer::Invalid;
                let reason = if invalid { Reason::DialbackInvalid } else { Reason::DialbackError };
                let detail = describe(answer);
                self.raise_refused_pair(now, conn, &pair, reason, detail);
                self.give_up(now, conn, reason);
            }
            InitiatingEvent::Confirmed(confirmed) => {
                self.finish_verification(now, conn, Ok(confirmed));
                self.close(now, conn, Reason::Idle);
            }
            InitiatingEvent::NotConfirmed { answer, .. } => {
                self.finish_verification(now, conn, Err(answer));
                self.close(now, conn, Reason::Idle);
            }
        }
    }

    /// The protected header is there: now a strict peer's certificate is judged, whatever the peer says next
    /// (decision D-01).
    //= RFC6120-5.4.3.1-6
    //= RFC6120-13.7.2-4
    //= RFC7712-4.2-1
    fn handle_response_header(&mut self, now: Instant, conn: ConnId) {
        let pair = self.errand_of(conn).and_then(|errand| self.pair_of(&errand));
        let verdict = pair.and_then(|pair| {
            let options = self.config.hosts.get(&pair.local)?;
            let certificate = self.certificate(now, conn, &pair.remote)?;
            policy::judge_outbound(options, &pair.remote, Protection::Tls(&certificate)).err()
        });
        match verdict {
            Some(reason) => self.with_link(conn, |link| link.refuse(now, &StreamError::Refused(reason), None)),
            None => self.with_link(conn, |link| link.accept_header(now)),
        }
    }

    /// Features are there: go as far as policy lets us.
    fn handle_features(&mut self, now: Instant, conn: ConnId, features: &Features) {
        let Some(errand) = self.errand_of(conn) else {
            return;
        };
        let Some(pair) = self.pair_of(&errand) else {
            return self.close(now, conn, Reason::Idle);
        };
        match self.judge_features(now, conn, &errand, &pair, features) {
            Ok(Next::StartTls) => self.with_link(conn, |link| link.starttls(now)),
            Ok(Next::External) => self.with_link(conn, |link| link.external(now)),
            Ok(Next::Key) => self.send_key(now, conn, &pair),
            Ok(Next::Verify(id, key)) => self.with_link(conn, |link| link.send_verify(now, &pair, id, key)),
            Err(reason) => self.with_link(conn, |link| link.refuse(now, &StreamError::Refused(reason), None)),
        }
    }

    //= RFC6120-4.3.2-4
    fn judge_features(
        &self,
        now: Instant,
        conn: ConnId,
        errand: &Errand,
        pair: &Pair,
        features: &Features,
    ) -> Result<Next, Reason> {
        let options = self.config.hosts.get(&pair.local).ok_or(Reason::HostUnknown)?;
        let certificate = self.certificate(now, conn, &pair.remote);
        let protection = Protection::of(&certificate);
        if certificate.is_none() && policy::judge_clear(options, &pair.remote, features.starttls.is_some())? {
            return Ok(Next::StartTls);
        }
        //= RFC6120-5.3.1-1
        if certificate.is_none() && features.starttls == Some(policy::StartTls::Required) {
            return Err(Reason::EncryptionRequired);
        }
        policy::judge_outbound(options, &pair.remote, protection)?;
        match errand {
            Errand::Verify(id) => {
                let verification = self.verifications.get(id).ok_or(Reason::DialbackTimeout)?;
                Ok(Next::Verify(verification.stream_id.clone(), verification.key.clone()))
            }
            Errand::Route(_) => {
                let ahead = self.links.get(&conn).and_then(|connected| connected.link.initiating_stream());
                // An answer to what was said ahead will come, whatever was offered.
                let external = features.external || ahead.is_some_and(|stream| *stream.ahead() == Ahead::External);
                // Whoever shows no certificate would be refused.
                let external = external && self.config.tls.has_certificate(&pair.local);
                let dialback = features.dialback;
                // Who ended the last stream over EXTERNAL is spared it, if dialback may do.
                let external = external
                    && (self.peers.external(pair) != External::EndedTheStream
                        || policy::authenticate(options, &pair.remote, protection, false, dialback).is_err());
                Ok(match policy::authenticate(options, &pair.remote, protection, external, dialback)? {
                    Authentication::External { .. } => Next::External,
                    Authentication::Dialback => Next::Key,
                })
            }
        }
    }

    /// EXTERNAL was refused: dialback may follow on the same stream, or EXTERNAL once more if it came too early.
    //= XEP0178-3-7
    //= RFC6120-6.4.5-4
    fn handle_external_refused(&mut self, now: Instant, conn: ConnId, failure: Failure, uninvited: bool) {
        let Some((pair, features)) = self.errand_of(conn).and_then(|errand| {
            let features = self.links.get(&conn)?.link.initiating_stream()?.features()?.clone();
            Some((self.pair_of(&errand)?, features))
        }) else {
            return;
        };
        if uninvited && features.external && is_refused_for_haste(failure) {
            self.peers.note_haste(&pair);
            return self.with_link(conn, |link| link.external(now));
        }
        self.peers.note_external(&pair, External::Refused);
        let reason = if features.external { Reason::ExternalRefused } else { Reason::ExternalNotOffered };
        if features.external {
            self.raise_refused_pair(now, conn, &pair, reason, failure.as_str().to_owned());
        }
        let certificate = self.certificate(now, conn, &pair.remote);
        let protection = Protection::of(&certificate);
        let again = self.config.hosts.get(&pair.local).is_some_and(|options| {
            policy::authenticate(options, &pair.remote, protection, false, features.dialback).is_ok()
        });
        if again {
            self.send_key(now, conn, &pair);
        } else if features.external {
            self.give_up(now, conn, reason);
        } else {
            self.with_link(conn, |link| link.refuse(now, &StreamError::Refused(reason), None));
        }
    }

    /// The peer knows us and does not want us: other addresses of it would not either.
    fn give_up(&mut self, now: Instant, conn: ConnId, reason: Reason) {
        if let Some(errand) = self.errand_of(conn).filter(|errand| self.is_trying(errand, conn)) {
            self.fail_errand(now, &errand, reason);
        }
        self.close(now, conn, reason);
    }

    fn send_key(&mut self, now: Instant, conn: ConnId, pair: &Pair) {
        let id = self.links.get(&conn).and_then(|connected| connected.link.initiating_stream()?.id());
        let key = self.config.dialback_secret.key(&pair.remote, &pair.local, id.unwrap_or_default());
        self.with_link(conn, |link| link.send_key(now, pair, key));
    }

    //= XEP0220-2.1.1-10
    fn handle_authorised(&mut self, now: Instant, conn: ConnId, pair: &Pair, by: Method) {
        if by == Method::External {
            self.peers.note_external(pair, External::Accepted);
        }
        // An attempt that was given up may hear a late answer.
        if !self.is_trying(&Errand::Route(pair.clone()), conn) {
            return self.close(now, conn, Reason::Idle);
        }
        if let Err(error) = self.judge_after_reload(now, conn, pair, by) {
            return self.with_link(conn, |link| link.refuse(now, &error, None));
        }
        self.raise_up(now, conn, pair.clone(), by);
        self.route_is_up(now, pair, conn);
    }

    /// A stream is over, whoever opened it.
    //= XEP0220-2.1.1-8
    pub(super) fn handle_ended(&mut self, now: Instant, conn: ConnId, end: &End) {
        let Some(connected) = self.links.get_mut(&conn) else {
            return;
        };
        let purpose = connected.purpose.clone();
        let up = std::mem::take(&mut connected.up);
        let unfinished = connected.header.1.is_some() && !connected.served && end.reason == Reason::ConnectionReset;
        let reason = connected.connect_failure.unwrap_or(match end.reason {
            Reason::NegotiationTimeout if !connected.open => Reason::ConnectTimeout,
            reason => reason,
        });
        let detail = connected.bound.map_or_else(|| end.detail.clone(), |bound| bound.as_str().to_owned());
        let direction = purpose.direction();
        let (was_up, age) = (!up.is_empty(), now.saturating_duration_since(connected.since));
        for pair in up.into_keys() {
            if purpose == Purpose::Inbound {
                self.admission.part(&pair);
            }
            self.events.push_back(Event::PeerDown { pair, direction, reason, conn });
        }
        match purpose {
            Purpose::Inbound => {
                let ordinary = matches!(reason, Reason::ConnectionReset | Reason::Idle | Reason::Shutdown);
                // A peer that names itself and goes without having proved or asked anything did not like what it
                // saw: some servers say nothing when they refuse a certificate.
                // Whose key was denied was told of when the answer came.
                let told = reason == Reason::DialbackInvalid;
                if (!ordinary && !told) || unfinished {
                    self.raise_refused(now, conn, reason, detail);
                }
                self.forget_verifications_of(now, conn);
            }
            Purpose::Errand(Errand::Route(pair)) if was_up => {
                let stream = self.links.get(&conn).and_then(|connected| connected.link.initiating_stream());
                if stream.is_some_and(Initiating::is_settling) {
                    self.peers.note_early_stanzas_failed(&pair);
                }
                let connected = self.links.get(&conn);
                let served = connected.is_some_and(|connected| connected.written.count(now) > 0);
                let by_us = connected.is_some_and(|connected| connected.link.has_closed_first());
                self.backoff.note_end(now, &pair, age, served, (!by_us).then_some(reason));
                self.route_is_down(&pair, conn, reason);
            }
            Purpose::Errand(errand) => {
                if self.retry_by_dialback(now, &errand, conn, reason)
                    || self.retry_without_haste(now, &errand, conn, reason)
                {
                    return;
                }
                let condition = self.links.get(&conn).and_then(|connected| connected.link.peer_condition());
                self.note_unknown_there(&errand, condition);
                if let Some(pair) = self.pair_of(&errand).filter(|_| self.is_trying(&errand, conn)) {
                    self.raise_refused_pair(now, conn, &pair, reason, end.detail.clone());
                }
                self.candidate_failed(now, &errand, conn, reason);
            }
        }
    }

    /// Ends a stream in good order.
    pub(super) fn close(&mut self, now: Instant, conn: ConnId, reason: Reason) {
        self.with_link(conn, |link| link.close(now, reason));
    }

    pub(super) fn with_link(&mut self, conn: ConnId, command: impl FnOnce(&mut crate::link::Link)) {
        if let Some(connected) = self.touch(conn) {
            command(&mut connected.link);
        }
    }

    /// What a connection that we opened is for.
    pub(super) fn errand_of(&self, conn: ConnId) -> Option<Errand> {
        match &self.links.get(&conn)?.purpose {
            Purpose::Errand(errand) => Some(errand.clone()),
            Purpose::Inbound => None,
        }
    }

    /// The pair that an errand is for, as long as somebody waits for it.
    pub(super) fn pair_of(&self, errand: &Errand) -> Option<Pair> {
        match errand {
            Errand::Route(pair) => Some(pair.clone()),
            Errand::Verify(id) => self.verifications.get(id).map(|verification| verification.pair.clone()),
        }
    }
}

/// How an outbound stream goes on.
pub(super) enum Next {
    StartTls,
    External,
    Key,
    Verify(String, String),
}

fn describe(answer: Answer) -> String {
    match answer {
        Answer::Valid => "valid".to_owned(),
        Answer::Invalid => "invalid".to_owned(),
        Answer::Error(condition) => condition.map_or("error", |condition| condition.as_str()).to_owned(),
    }
}
