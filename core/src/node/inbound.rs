//! Streams that peers open: what they are offered, and what becomes of what they send.

use std::time::Instant;

use crate::addr::{Domain, Pair};
use crate::auth::{Method, Proof};
use crate::dialback::Answer;
use crate::machine::ConnId;
use crate::node::{Bound, Direction, Event, Node, Purpose};
use crate::policy::{self, HostOptions, KeyVerdict, Offer, Protection};
use crate::reason::Reason;
use crate::stanza::StanzaCondition;
use crate::stream::{Header, KeyOutcome, Receiving, ReceivingEvent, StreamError, Version};

impl Node {
    pub(super) fn handle_inbound(&mut self, now: Instant, conn: ConnId, event: ReceivingEvent) {
        match event {
            ReceivingEvent::HeaderReceived(header) => self.handle_header(now, conn, &header),
            ReceivingEvent::StartTlsRequested => self.handle_starttls(now, conn),
            ReceivingEvent::Authenticated(pair) => self.handle_authenticated(now, conn, pair),
            ReceivingEvent::KeyReceived { pair, key } => self.handle_key(now, conn, pair, key),
            ReceivingEvent::VerifyReceived { receiving, originating, id, key } => {
                let answer = self.judge_own_key(conn, &receiving, &originating, &id, &key);
                if let Some(connected) = self.touch(conn) {
                    connected.served = true;
                    connected.link.answer_verify(now, receiving, originating, id, answer);
                }
            }
            ReceivingEvent::ExternalFailed(failure) => {
                self.raise_refused(now, conn, Reason::ExternalRefused, failure.as_str().to_owned());
            }
            ReceivingEvent::Stanza { pair, stanza } => self.events.push_back(Event::Stanza { pair, stanza }),
        }
    }

    fn handle_header(&mut self, now: Instant, conn: ConnId, header: &Header) {
        let verdict = self.judge_header(now, conn, header);
        let Some(connected) = self.touch(conn) else {
            return;
        };
        // Behind EXTERNAL a header may leave out what is settled.
        let settled = connected.link.receiving_stream().and_then(Receiving::settled_pair).cloned();
        let (local, remote) = settled.map(|pair| (pair.local, pair.remote)).unzip();
        connected.header = (header.to.clone().or(local), header.from.clone().or(remote));
        match verdict {
            Ok((local, offer)) => connected.link.offer(now, local, offer),
            Err((error, local)) => connected.link.refuse(now, &error, local.as_ref()),
        }
    }

    /// TLS was offered and is asked for: granted unless there are too many handshakes.
    //= RFC6120-4.9.3.17-1
    fn handle_starttls(&mut self, now: Instant, conn: ConnId) {
        let Some(addr) = self.links.get(&conn).map(|connected| connected.addr.ip()) else {
            return;
        };
        let admitted = self.admission.begin_handshake(now, addr, &self.config.limits);
        self.totals.handshakes = self.totals.handshakes.saturating_add(u64::from(admitted.is_ok()));
        if let Some(connected) = self.touch(conn) {
            connected.handshaking = admitted.is_ok();
            connected.bound = admitted.err();
            match admitted {
                Ok(()) => connected.link.proceed(now),
                Err(_) => connected.link.refuse(now, &StreamError::TooManyHandshakes, None),
            }
        }
    }

    /// The peer has proved itself by its certificate: welcome, unless it has enough streams.
    //= RFC6120-4.9.3.3-1
    //= RFC6120-4.5-3
    fn handle_authenticated(&mut self, now: Instant, conn: ConnId, pair: Pair) {
        if let Err(error) = self.judge_after_reload(now, conn, &pair, Method::External) {
            return self.with_link(conn, |link| link.refuse(now, &error, Some(&pair.local)));
        }
        if self.has_room_for(conn, &pair) {
            return self.raise_up(now, conn, pair, Method::External);
        }
        if let Some(connected) = self.touch(conn) {
            connected.bound = Some(Bound::StreamsPerPair);
            connected.link.refuse(now, &StreamError::TooManyStreams, Some(&pair.local));
        }
    }

    /// Whether `pair` may be proved on `conn` as far as the number of its streams is concerned.
    fn has_room_for(&self, conn: ConnId, pair: &Pair) -> bool {
        self.links.get(&conn).is_some_and(|connected| connected.up.contains_key(pair))
            || self.admission.has_room_for(pair, &self.config.limits)
    }

    /// What to offer, or why not, and whose name stands in our header then.
    //= RFC6120-4.9.3.6-1
    fn judge_header(
        &self,
        now: Instant,
        conn: ConnId,
        header: &Header,
    ) -> Result<(Domain, Offer), (StreamError, Option<Domain>)> {
        let settled = self.links.get(&conn).and_then(|connected| connected.link.receiving_stream()?.settled_pair());
        let to = settled.map(|pair| &pair.local).or(header.to.as_ref());
        let Some(to) = to else {
            return Err((StreamError::ImproperHeader, None)); // decision D-02
        };
        let local = to;
        let Some(options) = self.config.hosts.get(local) else {
            return Err((StreamError::HostUnknown, None)); // decision D-17
        };
        let refuse = |error| (error, Some(local.clone()));
        if header.from.as_ref().is_some_and(|from| self.config.hosts.contains_key(from)) {
            return Err(refuse(StreamError::FromIsOurs));
        }
        if !self.is_protected_enough(conn, options) {
            return Err(refuse(StreamError::Refused(Reason::TlsFailed)));
        }
        if settled.is_some() {
            let offer = Offer { starttls: None, external: None, dialback: !options.dialback_disabled };
            return Ok((local.clone(), offer));
        }
        //= RFC6120-5.4.3.1-7
        //= RFC6120-13.7.2-4
        //= RFC7712-4.2-1
        let certificate = match &header.from {
            Some(from) => self.certificate(now, conn, from),
            //= RFC6120-4.7.1-4
            None => self.is_protected(conn).then_some(Err(crate::tls::verify::Rejection::Missing)),
        };
        let protection = Protection::of(&certificate);
        let tls_available = self.config.tls.has_certificate(local);
        let offer = policy::offer(options, header.from.as_ref(), protection, tls_available)
            .map_err(|reason| refuse(StreamError::Refused(reason)))?;
        // Decision D-03: without a version there are no features, so no TLS.
        if header.version == Version::Legacy && offer.starttls == Some(policy::StartTls::Required) {
            return Err(refuse(StreamError::UnsupportedVersion));
        }
        Ok((local.clone(), offer))
    }

    pub(super) fn is_protected(&self, conn: ConnId) -> bool {
        self.links.get(&conn).is_some_and(|connected| connected.link.facts().is_some())
    }

    /// Whether the version of TLS, if there is any on `conn`, is one that a host with these options speaks.
    pub(super) fn is_protected_enough(&self, conn: ConnId, options: &HostOptions) -> bool {
        let facts = self.links.get(&conn).and_then(|connected| connected.link.facts());
        facts.is_none_or(|facts| facts.version >= options.tls_min_version)
    }

    /// Why a key is refused, as far as the certificate need not be judged for that.
    fn refusal_of_key(&self, conn: ConnId, pair: &Pair) -> Option<Reason> {
        //= XEP0220-2.2.1-3
        let Some(options) = self.config.hosts.get(&pair.local) else {
            return Some(Reason::HostUnknown);
        };
        if self.config.hosts.contains_key(&pair.remote) {
            return Some(Reason::FromMismatch);
        }
        if !self.has_room_for(conn, pair) {
            return Some(Reason::Limit);
        }
        let too_old = (!self.is_protected_enough(conn, options)).then_some(Reason::TlsFailed);
        policy::refusal_of_keys(options, &pair.remote).or(too_old)
    }

    /// A dialback key: each pair is judged on its own, before any lookup or connection. The certificate, which is dear to
    /// judge, comes last.
    pub(super) fn handle_key(&mut self, now: Instant, conn: ConnId, pair: Pair, key: String) {
        if self.links.get(&conn).is_none_or(|connected| connected.link.is_closing()) {
            return;
        }
        if let Some(reason) = self.refusal_of_key(conn, &pair) {
            let bound = (reason == Reason::Limit).then_some(Bound::StreamsPerPair);
            return self.refuse_key(now, conn, &pair, reason, bound.map_or("", Bound::as_str));
        }
        let certificate = self.certificate(now, conn, &pair.remote);
        let protection = Protection::of(&certificate);
        let Some(options) = self.config.hosts.get(&pair.local) else {
            return;
        };
        match policy::judge_key(options, &pair.remote, protection) {
            KeyVerdict::Proved(verified) => {
                let proof = Proof::by_certificate(pair.local.clone(), &verified);
                self.answer_key(now, conn, &pair, KeyOutcome::Proved(proof));
            }
            KeyVerdict::CallBack => self.begin_verification(now, conn, pair, key),
            KeyVerdict::Refuse(reason) => {
                self.refuse_key(now, conn, &pair, reason, "");
                self.note_refused_key(now, conn, &pair);
            }
        }
    }

    fn refuse_key(&mut self, now: Instant, conn: ConnId, pair: &Pair, reason: Reason, detail: &str) {
        self.raise_refused_pair(now, conn, pair, reason, detail.to_owned());
        self.answer_key(now, conn, pair, KeyOutcome::Failed(dialback_condition(reason)));
    }

    /// A key was refused at once although the certificate had to be judged for it. Who goes on like that is a flood.
    pub(super) fn note_refused_key(&mut self, now: Instant, conn: ConnId, pair: &Pair) {
        if let Some(connected) = self.touch(conn)
            && connected.note_refused_key(now)
        {
            connected.link.refuse(now, &StreamError::TooManyRefusedKeys, Some(&pair.local));
        }
    }

    /// Tells the peer what became of its key, and the application if it proved the pair.
    pub(super) fn answer_key(&mut self, now: Instant, conn: ConnId, pair: &Pair, outcome: KeyOutcome) {
        let forbidden = match &outcome {
            KeyOutcome::Proved(proof) => self.judge_after_reload(now, conn, pair, proof.by()).err(),
            KeyOutcome::Denied | KeyOutcome::Failed(_) => None,
        };
        let outcome = match (outcome, forbidden) {
            (_, Some(error)) => {
                self.raise_refused_pair(now, conn, pair, error.reason(), "reload".to_owned());
                KeyOutcome::Failed(dialback_condition(error.reason()))
            }
            // Others have come while the authoritative server was asked.
            (KeyOutcome::Proved(_), None) if !self.has_room_for(conn, pair) => {
                let bound = Bound::StreamsPerPair.as_str().to_owned();
                self.raise_refused_pair(now, conn, pair, Reason::Limit, bound);
                KeyOutcome::Failed(StanzaCondition::ResourceConstraint)
            }
            (outcome, None) => outcome,
        };
        let method = match &outcome {
            KeyOutcome::Proved(proof) => Some(proof.by()),
            KeyOutcome::Denied | KeyOutcome::Failed(_) => None,
        };
        let Some(connected) = self.touch(conn) else {
            return;
        };
        if connected.link.is_closing() {
            return;
        }
        // The event comes first: behind the answer, stanzas of the pair may stand already.
        if let Some(method) = method {
            self.raise_up(now, conn, pair.clone(), method);
        }
        if let Some(connected) = self.touch(conn) {
            connected.link.answer_key(now, pair, outcome);
        }
    }

    /// As authoritative server: whether a key is ours. Always answered, under the same demand of encryption as a
    /// stream of that peer.
    //= XEP0220-2.2.2-1
    //= XEP0220-2.5-9
    fn judge_own_key(&self, conn: ConnId, receiving: &Domain, originating: &Domain, id: &str, key: &str) -> Answer {
        let Some(options) = self.config.hosts.get(originating).filter(|options| !options.dialback_disabled) else {
            return Answer::Error(Some(StanzaCondition::ItemNotFound));
        };
        let in_clear = !self.is_protected(conn) && options.demands_encryption(receiving);
        if options.admit(receiving).is_err() || in_clear || !self.is_protected_enough(conn, options) {
            return Answer::Error(Some(StanzaCondition::PolicyViolation));
        }
        if self.config.dialback_secret.verify(receiving, originating, id, key) {
            Answer::Valid
        } else {
            Answer::Invalid
        }
    }

    /// Tells that stanzas can flow, and who has another certificate than before.
    //= RFC7590-3.6-1
    pub(super) fn raise_up(&mut self, now: Instant, conn: ConnId, pair: Pair, by: Method) {
        let Some(link) = self.info(now, conn) else {
            return;
        };
        if let Some(connected) = self.links.get_mut(&conn) {
            if connected.purpose == Purpose::Inbound && !std::mem::replace(&mut connected.proved, true) {
                self.admission.introduce();
            }
            connected.served = true;
            let is_news = connected.up.insert(pair.clone(), by).is_none();
            if is_news && connected.purpose == Purpose::Inbound {
                self.admission.join(&pair);
            }
        }
        let is_inbound = link.direction == Direction::Inbound;
        if is_inbound {
            self.backoff.note_sign_of_life(now, &pair, link.addr.ip());
        }
        let remote = pair.remote.clone();
        let before = link.certificate.and_then(|certificate| self.certificates.note(&pair.remote, certificate));
        let changed = before.map(|before| Event::CertificateChanged { pair: pair.clone(), link: link.clone(), before });
        self.events.push_back(Event::PeerUp { pair, by, link });
        self.events.extend(changed);
        if is_inbound {
            self.release_held_keys(now, &remote);
        }
    }

    /// Reports a refusal on an inbound stream, with the domains of its header.
    pub(super) fn raise_refused(&mut self, now: Instant, conn: ConnId, reason: Reason, detail: String) {
        let Some(connected) = self.links.get_mut(&conn) else {
            return;
        };
        connected.served = true;
        let (local, remote) = connected.header.clone();
        let link = self.info(now, conn);
        let direction = Direction::Inbound;
        self.events.push_back(Event::Refused { local, remote, link, direction, reason, detail });
    }

    /// Reports a refusal of one pair.
    pub(super) fn raise_refused_pair(
        &mut self,
        now: Instant,
        conn: ConnId,
        pair: &Pair,
        reason: Reason,
        detail: String,
    ) {
        if let Some(connected) = self.links.get_mut(&conn) {
            connected.served = true;
        }
        let link = self.info(now, conn);
        let direction = link.as_ref().map_or(Direction::Outbound, |link| link.direction);
        let (local, remote) = (Some(pair.local.clone()), Some(pair.remote.clone()));
        self.events.push_back(Event::Refused { local, remote, link, direction, reason, detail });
    }
}

/// The dialback error for a key that policy refuses, [XEP-0220 section 2.5](https://xmpp.org/extensions/xep-0220.html#errors).
//= XEP0220-2.5-5
//= XEP0220-2.5-10
const fn dialback_condition(reason: Reason) -> StanzaCondition {
    match reason {
        Reason::HostUnknown => StanzaCondition::ItemNotFound,
        Reason::Limit => StanzaCondition::ResourceConstraint,
        Reason::EncryptionRequired | Reason::TlsFailed | Reason::DomainDenied | Reason::HostDisabled => {
            StanzaCondition::PolicyViolation
        }
        _ => StanzaCondition::NotAuthorized,
    }
}
