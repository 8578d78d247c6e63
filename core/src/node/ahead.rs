//! Speaking ahead: what travels with our header, before the peer's features have invited it, to save a round trip.
//!
//! Nothing is said ahead that would not be said anyway if the features are as expected, and nothing before what policy
//! demands for it: `auth` and questions of dialback only inside TLS, and only to a peer whose certificate was judged. The
//! features are judged all the same when they come. A peer that cannot bear it is dialled once more, and never again spoken
//! to in this way (decision D-52).

use std::time::Instant;

use crate::addr::Pair;
use crate::machine::ConnId;
use crate::node::outbound::Next;
use crate::node::{Errand, Node};
use crate::policy::{self, Authentication, Protection};
use crate::reason::Reason;
use crate::route::{External, LastFeatures};
use crate::sasl::Failure;
use crate::stream::{Ahead, Condition, Initiating};
use crate::tls::verify::judge;

impl Node {
    /// Our header is on its way in clear: `<starttls/>` goes with it where the stream is of no use without TLS, so that
    /// nothing is lost if the peer refuses.
    pub(super) fn ask_for_tls_ahead(&mut self, now: Instant, conn: ConnId) {
        let Some(pair) = self.errand_of(conn).and_then(|errand| self.pair_of(&errand)) else {
            return;
        };
        let options = self.config.hosts.get(&pair.local);
        let demanded = options.is_some_and(|options| !options.tls_disabled && options.demands_encryption(&pair.remote));
        if demanded && self.may_speak_ahead(&pair) {
            self.with_link(conn, |link| link.starttls_ahead(now));
        }
    }

    /// TLS is up: the certificate of the peer is judged, and if it will do, what we want goes with our header.
    pub(super) fn speak_ahead(&mut self, now: Instant, conn: ConnId) {
        let Some(errand) = self.errand_of(conn) else {
            return;
        };
        let Some(pair) = self.pair_of(&errand).filter(|pair| self.may_speak_ahead(pair)) else {
            return;
        };
        if let Some(LastFeatures { max_bytes }) = self.peers.last_features(&pair) {
            self.with_link(conn, |link| link.expect_last_features(now, max_bytes));
        }
        match self.next_ahead(now, conn, &errand, &pair) {
            Some(Next::External) => self.with_link(conn, |link| link.external_ahead(now)),
            Some(Next::Verify(id, key)) => self.with_link(conn, |link| link.verify_ahead(now, &pair, id, key)),
            // A key depends on the id that the peer gives to the stream.
            Some(Next::StartTls | Next::Key) | None => {}
        }
    }

    fn may_speak_ahead(&self, pair: &Pair) -> bool {
        self.config.speak_ahead && self.peers.may_speak_ahead(pair)
    }

    fn next_ahead(&self, now: Instant, conn: ConnId, errand: &Errand, pair: &Pair) -> Option<Next> {
        let options = self.config.hosts.get(&pair.local)?;
        let certificate = self.certificate(now, conn, &pair.remote)?;
        let protection = Protection::Tls(&certificate);
        policy::judge_outbound(options, &pair.remote, protection).ok()?;
        match errand {
            Errand::Verify(id) => {
                let verification = self.verifications.get(id)?;
                Some(Next::Verify(verification.stream_id.clone(), verification.key.clone()))
            }
            Errand::Route(_) => {
                let external = self.expects_external(now, pair);
                match policy::authenticate(options, &pair.remote, protection, external, false) {
                    Ok(Authentication::External { .. }) => Some(Next::External),
                    Ok(Authentication::Dialback) | Err(_) => None,
                }
            }
        }
    }

    /// Whether the peer will probably accept EXTERNAL: it did before, or our certificate is one that we would accept.
    fn expects_external(&self, now: Instant, pair: &Pair) -> bool {
        match self.peers.external(pair) {
            External::Accepted => true,
            External::Refused | External::EndedTheStream => false,
            External::Unknown => {
                let chain = self.config.tls.chain(&pair.local);
                judge(&chain, &pair.local, &self.config.trust, self.anchor.unix_at(now)).is_ok()
            }
        }
    }

    /// A stream that we opened has ended before it could serve. True if the peer has refused EXTERNAL and gone without a look
    /// at the key that followed, as some servers do: then it is dialled once more, and gets the key in the first place.
    pub(super) fn retry_by_dialback(&mut self, now: Instant, errand: &Errand, conn: ConnId, reason: Reason) -> bool {
        let (Errand::Route(pair), false) = (errand, self.shutting_down) else {
            return false;
        };
        let Some(connected) = self.links.get(&conn) else {
            return false;
        };
        let awaits_answer = connected.link.initiating_stream().is_some_and(|stream| stream.awaits_answer_to_key(pair));
        let has_just_gone = reason == Reason::ConnectionReset && connected.link.peer_condition().is_none();
        if !awaits_answer || !has_just_gone || self.peers.external(pair) != External::Refused {
            return false;
        }
        self.peers.note_external(pair, External::EndedTheStream);
        self.dial_again(now, errand, conn)
    }

    /// Dials once more the address of a stream that has ended. False if nobody waits for it any more.
    fn dial_again(&mut self, now: Instant, errand: &Errand, conn: ConnId) -> bool {
        let again = self.dial_mut(errand).is_some_and(|dial| dial.race_mut().retry(conn));
        if again {
            self.start_candidates(now, errand);
        }
        again
    }

    /// A stream that we opened has ended before it could serve. True if that may come of our haste: then it is dialled once
    /// more, and we wait for features.
    pub(super) fn retry_without_haste(&mut self, now: Instant, errand: &Errand, conn: ConnId, reason: Reason) -> bool {
        let Some(connected) = self.links.get(&conn) else {
            return false;
        };
        let stream = connected.link.initiating_stream().filter(|stream| *stream.ahead() != Ahead::Nothing);
        let hasty = stream.filter(|_| may_come_of_haste(reason, connected.link.peer_condition()));
        let Some(heard_header) = hasty.map(Initiating::has_heard_header) else {
            return false;
        };
        let Some(pair) = self.pair_of(errand).filter(|_| !self.shutting_down) else {
            return false;
        };
        self.peers.note_haste(&pair);
        // Who has kept silent for so long makes way for others. The next attempt is without haste.
        if reason == Reason::NegotiationTimeout && !heard_header {
            return false;
        }
        self.dial_again(now, errand, conn)
    }
}

/// Whether a peer that does not expect what we said would end the stream so. What it says about who we are is no such end.
const fn may_come_of_haste(reason: Reason, condition: Option<Condition>) -> bool {
    match condition {
        Some(condition) => matches!(
            condition,
            Condition::BadFormat
                | Condition::ConnectionTimeout
                | Condition::InternalServerError
                | Condition::InvalidNamespace
                | Condition::InvalidXml
                | Condition::NotWellFormed
                | Condition::UndefinedCondition
                | Condition::UnsupportedFeature
                | Condition::UnsupportedStanzaType
        ),
        None => matches!(
            reason,
            Reason::ConnectionReset | Reason::Malformed | Reason::NegotiationTimeout | Reason::StarttlsRefused
        ),
    }
}

/// The same of an attempt of EXTERNAL that the peer has refused: what it says about our certificate is no such refusal.
pub(super) const fn is_refused_for_haste(failure: Failure) -> bool {
    matches!(
        failure,
        Failure::Aborted
            | Failure::EncryptionRequired
            | Failure::InvalidMechanism
            | Failure::MalformedRequest
            | Failure::TemporaryAuthFailure
    )
}
