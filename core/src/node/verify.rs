//! The receiving role of dialback: keys that peers sent us, and the authoritative servers that we ask about them.
//!
//! - [XEP-0220 section 2.1.2](https://xmpp.org/extensions/xep-0220.html#outbound-receiving)

use std::net::IpAddr;
use std::time::Instant;

use crate::addr::{Domain, Pair};
use crate::auth::Proof;
use crate::dialback::{Answer, Confirmed};
use crate::dns::Behalf;
use crate::limits;
use crate::machine::ConnId;
use crate::node::deadlines::Owner;
use crate::node::{Errand, Node, VerificationId};
use crate::reason::Reason;
use crate::route::{Dial, places};
use crate::stanza::StanzaCondition;
use crate::stream::{Condition, KeyOutcome};

/// A key that waits for its authoritative server.
#[derive(Debug)]
pub(super) struct Verification {
    /// What the key would prove.
    pub(super) pair: Pair,
    /// The stream that it came on, from where, and the id that we gave to it.
    pub(super) inbound: ConnId,
    pub(super) from: IpAddr,
    pub(super) stream_id: String,
    pub(super) key: String,
    /// Whether a server of the domain has said that it does not serve it.
    pub(super) unknown_there: bool,
    pub(super) dial: Dial,
}

/// A key whose verification waits for what that of another key of the same domain comes to.
#[derive(Debug)]
pub(super) struct HeldKey {
    pub(super) pair: Pair,
    pub(super) inbound: ConnId,
    pub(super) from: IpAddr,
    pub(super) key: String,
}

impl Node {
    /// Begins to ask the authoritative server of `pair.remote` about `key`, over a connection of its own: never the
    /// one that the key came on.
    //= XEP0220-2.1.2-2
    //= XEP0220-2.1.2-3
    //= XEP0288-2.2-3
    pub(super) fn begin_verification(&mut self, now: Instant, inbound: ConnId, pair: Pair, key: String) {
        let connected = self.links.get(&inbound).filter(|connected| !connected.link.is_closing());
        let Some((from, stream_id)) = connected
            .and_then(|connected| Some((connected.addr.ip(), connected.link.receiving_stream()?.id().to_owned())))
        else {
            return;
        };
        if self.shutting_down {
            self.answer_unreachable(now, inbound, &pair, Reason::Shutdown, false);
            return self.note_refused_key(now, inbound, &pair);
        }
        if self.verifications.len().saturating_add(self.held_keys.len()) >= self.config.limits.verifications
            || self.has_enough_verifications(from)
        {
            self.raise_refused_pair(now, inbound, &pair, Reason::Limit, "pending verifications".to_owned());
            self.answer_key(now, inbound, &pair, KeyOutcome::Failed(StanzaCondition::ResourceConstraint));
            return self.note_refused_key(now, inbound, &pair);
        }
        if self.waits_for_another(now, &pair) {
            return self.held_keys.push(HeldKey { pair, inbound, from, key });
        }
        if let Some(reason) = self.backoff.reason(now, &pair, Behalf::Peers) {
            self.answer_unreachable(now, inbound, &pair, reason, false);
            return self.note_refused_key(now, inbound, &pair);
        }
        let id = VerificationId(self.next_id());
        let errand = Errand::Verify(id);
        let dial = self.begin_dial(now, &errand, &pair);
        let verification = Verification { pair, inbound, from, stream_id, key, unknown_there: false, dial };
        self.verifications.insert(id, verification);
        self.start_candidates(now, &errand);
    }

    /// Whether an authoritative server of `remote` is being asked.
    fn is_asking(&self, remote: &Domain) -> bool {
        self.verifications.values().any(|verification| verification.pair.remote == *remote)
    }

    /// The verification of a key of `remote` is over, or `remote` has shown to be alive: keys that have waited for that are
    /// judged as if they came now.
    pub(super) fn release_held_keys(&mut self, now: Instant, remote: &Domain) {
        let held = std::mem::take(&mut self.held_keys);
        for held in held {
            // Most go on waiting, for the first that does not: nothing else is judged anew about them, or whoever shows signs
            // of life in a row could make us judge certificates without end.
            if held.pair.remote == *remote && !self.waits_for_another(now, &held.pair) {
                self.judge_held_key(now, held);
            } else {
                self.held_keys.push(held);
            }
        }
    }

    /// All that have waited are judged anew: it is another configuration that counts.
    pub(super) fn release_all_held_keys(&mut self, now: Instant) {
        for held in std::mem::take(&mut self.held_keys) {
            self.judge_held_key(now, held);
        }
    }

    fn judge_held_key(&mut self, now: Instant, held: HeldKey) {
        let HeldKey { pair, inbound, key, .. } = held;
        self.handle_key(now, inbound, pair, key);
    }

    /// Whether a key for `pair` waits for what the verification of another one comes to.
    fn waits_for_another(&self, now: Instant, pair: &Pair) -> bool {
        self.backoff.awaits_another_question(now, pair) && self.is_asking(&pair.remote)
    }

    /// Whether as many verifications as may be are pending for streams from one of the places of `from`.
    fn has_enough_verifications(&self, from: IpAddr) -> bool {
        let pending = |place| {
            let held = self.held_keys.iter().map(|held| held.from);
            let whose = self.verifications.values().map(|verification| verification.from).chain(held);
            whose.filter(|from| places(*from).any(|(of, _)| of == place)).count()
        };
        places(from)
            .any(|(place, shares)| pending(place) >= limits::PENDING_VERIFICATIONS_PER_ADDRESS.saturating_mul(shares))
    }

    /// The authoritative server has answered on `conn`.
    //= XEP0220-2.1.2-7
    //= XEP0220-2.5-3
    //= XEP0220-2.5-7
    //= RFC6120-4.3.6-3
    pub(super) fn finish_verification(&mut self, now: Instant, conn: ConnId, answer: Result<Confirmed, Answer>) {
        let Some(Errand::Verify(id)) = self.errand_of(conn) else {
            return;
        };
        let Some(verification) = self.take_verification(id) else {
            return;
        };
        let Verification { pair, inbound, dial, .. } = verification;
        self.dial_succeeded(&dial);
        self.backoff.note_answer(&pair);
        self.backoff.end(&pair, Behalf::Peers);
        self.release_held_keys(now, &pair.remote);
        if !self.links.contains_key(&inbound) {
            return;
        }
        let outcome = match answer {
            Ok(confirmed) => KeyOutcome::Proved(Proof::by_dialback(confirmed)),
            Err(Answer::Invalid) => {
                self.raise_refused_pair(now, inbound, &pair, Reason::DialbackInvalid, String::new());
                KeyOutcome::Denied
            }
            Err(answer) => {
                self.raise_refused_pair(now, inbound, &pair, Reason::DialbackError, format!("{answer:?}"));
                KeyOutcome::Failed(StanzaCondition::RemoteServerNotFound)
            }
        };
        self.answer_key(now, inbound, &pair, outcome);
    }

    /// A server of the domain has ended the stream because it does not serve it.
    //= XEP0220-2.5-7
    pub(super) fn note_unknown_there(&mut self, errand: &Errand, condition: Option<Condition>) {
        if matches!(condition, Some(Condition::HostUnknown | Condition::HostGone))
            && let Errand::Verify(id) = errand
            && let Some(verification) = self.verifications.get_mut(id)
        {
            verification.unknown_there = true;
        }
    }

    /// The authoritative server could not be asked.
    //= XEP0220-2.5-6
    //= XEP0220-2.5-8
    //= XEP0220-2.1.2-4
    pub(super) fn fail_verification(&mut self, now: Instant, id: VerificationId, reason: Reason) {
        let Some(verification) = self.take_verification(id) else {
            return;
        };
        let Verification { pair, inbound, dial, unknown_there, .. } = verification;
        self.abandon_dial(now, &dial);
        if unknown_there {
            self.raise_refused_pair(now, inbound, &pair, reason, "authoritative server: host-unknown".to_owned());
            let condition = StanzaCondition::RemoteServerNotFound;
            self.answer_key(now, inbound, &pair, KeyOutcome::Failed(condition));
        } else {
            self.answer_unreachable(now, inbound, &pair, reason, dial.race().has_begun());
        }
        self.release_held_keys(now, &pair.remote);
    }

    /// Tells the peer why its authoritative server could not be asked. A connection that failed was reported with its
    /// cause already; where there was none, this is the only report.
    fn answer_unreachable(&mut self, now: Instant, inbound: ConnId, pair: &Pair, cause: Reason, was_dialled: bool) {
        if !self.links.contains_key(&inbound) {
            return;
        }
        let (reason, detail) = match was_dialled {
            true => (Reason::AuthoritativeUnreachable, format!("authoritative server: {cause}")),
            false => (cause, "authoritative server".to_owned()),
        };
        self.raise_refused_pair(now, inbound, pair, reason, detail);
        let condition = match cause.bounce() {
            StanzaCondition::RemoteServerNotFound => StanzaCondition::RemoteConnectionFailed,
            _ => StanzaCondition::RemoteServerTimeout,
        };
        self.answer_key(now, inbound, pair, KeyOutcome::Failed(condition));
    }

    /// The deadline of a verification has come, or the moment for its next candidate.
    pub(super) fn expire_verification(&mut self, now: Instant, id: VerificationId) {
        match self.verifications.get(&id).map(|verification| verification.dial.deadline()) {
            Some(deadline) if deadline <= now => self.fail_errand(now, &Errand::Verify(id), Reason::DialbackTimeout),
            Some(_) => self.start_candidates(now, &Errand::Verify(id)),
            None => {}
        }
    }

    pub(super) fn arm_verification(&mut self, id: VerificationId) {
        let deadline = self.verifications.get(&id).map(|verification| verification.dial.next_at());
        self.deadlines.set(Owner::Verification(id), deadline);
    }

    /// The stream that keys came on is gone: nobody waits for their verification. An attempt to reach somebody who does not
    /// answer goes on to its end all the same: otherwise whoever goes early enough makes us dial again and again.
    //= XEP0220-2.1.2-6
    pub(super) fn forget_verifications_of(&mut self, now: Instant, inbound: ConnId) {
        self.held_keys.retain(|held| held.inbound != inbound);
        let is_open = |conn: ConnId| self.links.get(&conn).is_some_and(|connected| connected.open);
        let waiting = self.verifications.iter().filter(|(_, verification)| {
            verification.inbound == inbound && verification.dial.race().conns().any(is_open)
        });
        let ids: Vec<_> = waiting.map(|(id, _)| *id).collect();
        for id in ids {
            self.forget_verification(now, id);
        }
    }

    /// A connection is open. If it is for a key whose stream has gone meanwhile, the attempt is given up: whether it is.
    pub(super) fn give_up_if_unwanted(&mut self, now: Instant, conn: ConnId) -> bool {
        let Some(Errand::Verify(id)) = self.errand_of(conn) else {
            return false;
        };
        let inbound = self.verifications.get(&id).and_then(|verification| self.links.get(&verification.inbound));
        let gone = inbound.is_none_or(|connected| connected.link.is_closing());
        if gone {
            self.forget_verification(now, id);
        }
        gone
    }

    fn forget_verification(&mut self, now: Instant, id: VerificationId) {
        if let Some(verification) = self.take_verification(id) {
            self.abandon_dial(now, &verification.dial);
            self.backoff.end(&verification.pair, Behalf::Peers);
            self.release_held_keys(now, &verification.pair.remote);
        }
    }

    fn take_verification(&mut self, id: VerificationId) -> Option<Verification> {
        self.deadlines.set(Owner::Verification(id), None);
        self.verifications.remove(&id)
    }
}
