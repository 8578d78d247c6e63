//! What was seen of each lane, and whether it is what had to come.

use std::time::{Duration, Instant};

use s2s_core::dns::Security;
use s2s_core::node::Direction;
use s2s_core::ns;
use s2s_core::reason::Reason;
use s2s_core::stanza::{Stanza, StanzaCondition};
use s2s_core::tls::Version;

use crate::demo::plan::{Lane, Outcome, Side, entrance, site};
use crate::log::Record;

/// Messages that each component sends to each other one.
pub(crate) const ASKS: usize = 5;

/// What was seen of a lane.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    /// Which.
    pub(crate) lane: Lane,
    /// When the sender's component sent the first message.
    started: Option<Instant>,
    /// How long it took until the first message was there.
    pub(crate) first: Option<Duration>,
    /// Stanzas that arrived: messages, and echoes of those that went the other way.
    pub(crate) stanzas: usize,
    /// The sender's server may send.
    pub(crate) outbound: Option<Record>,
    /// The recipient's server has proof of the sender.
    inbound: Option<Record>,
    /// The server of the host that had to refuse has refused, or that of the sender has given up.
    pub(crate) refused: Option<Record>,
    /// The sender's component was told.
    pub(crate) bounce: Option<Bounce>,
}

/// An error that came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bounce {
    /// Its condition.
    pub(crate) condition: Option<StanzaCondition>,
    /// Its text.
    pub(crate) text: String,
}

impl Sight {
    /// Nothing yet.
    pub(crate) const fn new(lane: Lane) -> Self {
        Self {
            lane,
            started: None,
            first: None,
            stanzas: 0,
            outbound: None,
            inbound: None,
            refused: None,
            bounce: None,
        }
    }

    /// The sender's component sends now.
    pub(crate) const fn start(&mut self, now: Instant) {
        self.started = Some(now);
    }

    /// Takes in a line of a server's log.
    pub(crate) fn record(&mut self, side: Side, record: &Record) {
        let names = |own: &str, other: &str| {
            let is =
                |domain: &Option<s2s_core::addr::Domain>, name| domain.as_ref().is_some_and(|d| d.as_str() == name);
            is(&record.local, own) && is(&record.remote, other)
        };
        let at_sender = is_served_by(self.lane.from, side) && names(self.lane.from, self.lane.to);
        let at_recipient = is_served_by(self.lane.to, side) && names(self.lane.to, self.lane.from);
        let is_judge = |name| match self.lane.outcome {
            Outcome::Refused { by, .. } => by == name,
            // Nobody has to: then it counts wherever it comes from.
            Outcome::Federated { .. } => true,
        };
        match (record.event, record.direction) {
            ("peer-up", Some(Direction::Outbound)) if at_sender => self.outbound = Some(record.clone()),
            ("peer-up", Some(Direction::Inbound)) if at_recipient => self.inbound = Some(record.clone()),
            ("refused", Some(Direction::Outbound)) if at_sender && is_judge(self.lane.from) => self.refuse(record),
            ("refused", Some(Direction::Inbound)) if at_recipient && is_judge(self.lane.to) => self.refuse(record),
            _ => {}
        }
    }

    fn refuse(&mut self, record: &Record) {
        self.refused.get_or_insert_with(|| record.clone());
    }

    /// Takes in a stanza that the component of `host` received. Returns whether it was the first of this lane.
    pub(crate) fn stanza(&mut self, host: &str, at: Instant, stanza: &Stanza) -> bool {
        let head = stanza.head();
        let from = head.from.domain().as_str();
        if head.stanza_type.as_deref() == Some("error") {
            if host == self.lane.from && from == self.lane.to {
                self.bounce.get_or_insert_with(|| Bounce::of(stanza));
            }
            return false;
        }
        if host != self.lane.to || from != self.lane.from {
            return false;
        }
        self.stanzas += 1;
        if self.first.is_some() {
            return false;
        }
        self.first = self.started.map(|started| at.saturating_duration_since(started));
        true
    }

    /// Whether nothing more is to be waited for.
    pub(crate) fn is_complete(&self) -> bool {
        match self.lane.outcome {
            Outcome::Federated { .. } if self.bounce.is_some() => true,
            Outcome::Federated { .. } => self.stanzas >= 2 * ASKS && self.outbound.is_some() && self.inbound.is_some(),
            Outcome::Refused { .. } => (self.bounce.is_some() && self.refused.is_some()) || self.stanzas > 0,
        }
    }

    /// How the stream began: told by the port that it went to. `direct` is that of the recipient's server.
    pub(crate) fn security(&self, direct: u16) -> Option<Security> {
        let addr = self.outbound.as_ref()?.addr?;
        Some(if addr.port() == direct { Security::DirectTls } else { Security::StartTls })
    }

    /// Why it was refused, if it was.
    pub(crate) fn reason(&self) -> Option<Reason> {
        self.refused.as_ref().and_then(|record| record.reason)
    }

    /// What differs from what had to come, in words.
    pub(crate) fn differences(&self, direct: u16) -> Vec<String> {
        let found = match self.lane.outcome {
            Outcome::Federated { security, .. } => self.differences_of_federated(security, direct),
            Outcome::Refused { reason, .. } => self.differences_of_refused(reason),
        };
        found.into_iter().map(|text| format!("{} -> {}: {text}", self.lane.from, self.lane.to)).collect()
    }

    fn differences_of_federated(&self, security: Security, direct: u16) -> Vec<String> {
        let Outcome::Federated { method, .. } = self.lane.outcome else { return Vec::new() };
        let mut found = Vec::new();
        if let Some(bounce) = &self.bounce {
            let reason = self.reason().map_or("no reason in the log", Reason::code);
            found.push(format!("bounced ({reason}): {}", bounce.text));
        }
        for (at, record) in [("sender", &self.outbound), ("recipient", &self.inbound)] {
            match record {
                None => found.push(format!("the {at}'s server never reported it up")),
                Some(record) if record.method != Some(method) => {
                    let by = record.method.map_or("nothing", s2s_core::auth::Method::as_str);
                    found.push(format!("authenticated by {by} according to the {at}'s server, not by {method}"));
                }
                Some(record) if record.tls.is_none_or(|(version, _)| version != Version::Tls13) => {
                    found.push(format!("not TLSv1.3 according to the {at}'s server"));
                }
                Some(_) => {}
            }
        }
        if let Some(seen) = self.security(direct).filter(|seen| *seen != security) {
            found.push(format!("began with {}, not with {}", entrance(seen), entrance(security)));
        }
        if self.stanzas != 2 * ASKS {
            found.push(format!("{} of {} stanzas arrived", self.stanzas, 2 * ASKS));
        }
        found
    }

    fn differences_of_refused(&self, reason: Reason) -> Vec<String> {
        let mut found = Vec::new();
        if self.stanzas > 0 {
            found.push(format!("{} stanzas arrived though it had to be refused", self.stanzas));
        }
        match self.reason() {
            None => found.push("no refusal was logged".to_owned()),
            Some(seen) if seen != reason => found.push(format!("refused for {seen}, not for {reason}")),
            Some(_) => {}
        }
        match self.bounce.as_ref().map(|bounce| bounce.condition) {
            None => found.push("the sender was not told".to_owned()),
            Some(Some(condition)) if condition == reason.bounce() => {}
            Some(condition) => {
                let seen = condition.map_or("something unknown", StanzaCondition::as_str);
                found.push(format!("the sender was told {seen}, not {}", reason.bounce().as_str()));
            }
        }
        found
    }
}

impl Bounce {
    fn of(stanza: &Stanza) -> Self {
        let Ok(error) = stanza.payload() else { return Self { condition: None, text: String::new() } };
        let condition = error
            .children()
            .filter(|child| child.namespace == ns::STANZA_ERRORS)
            .find_map(|child| StanzaCondition::from_name(&child.name));
        let text = error.child(ns::STANZA_ERRORS, "text").map(s2s_core::xml::Element::text).unwrap_or_default();
        Self { condition, text }
    }
}

fn is_served_by(name: &str, side: Side) -> bool {
    site(name).is_some_and(|site| site.side == side)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::plan::STEPS;
    use s2s_core::auth::Method;
    use s2s_core::machine::ConnId;
    use s2s_core::node::{Event, LinkInfo};
    use s2s_core::xml::{StanzaFrame, StanzaKind};

    const DIRECT: u16 = 5270;

    fn pair(local: &str, remote: &str) -> s2s_core::addr::Pair {
        let domain = |text| s2s_core::addr::Domain::parse(text).expect(text);
        s2s_core::addr::Pair::new(domain(local), domain(remote))
    }

    fn up(local: &str, remote: &str, direction: Direction, by: Method, port: u16) -> Record {
        let link = LinkInfo {
            conn: ConnId(1),
            addr: ([127, 0, 0, 1], port).into(),
            direction,
            tls: Some((Version::Tls13, "TLS_AES_256_GCM_SHA384")),
            certificate: None,
            age: Duration::ZERO,
        };
        Record::of_node(&Event::PeerUp { pair: pair(local, remote), by, link }).expect("a line")
    }

    fn refused(local: &str, remote: &str, direction: Direction, reason: Reason) -> Record {
        let pair = pair(local, remote);
        let (local, remote) = (Some(pair.local), Some(pair.remote));
        let event = Event::Refused { local, remote, link: None, direction, reason, detail: String::new() };
        Record::of_node(&event).expect("a line")
    }

    fn message(from: &str, to: &str) -> Stanza {
        Stanza::from_frame(StanzaFrame {
            kind: StanzaKind::Message,
            to: Some(to.to_owned()),
            from: Some(from.to_owned()),
            id: None,
            stanza_type: None,
            bytes: format!("<message from='{from}' to='{to}'/>").into_bytes(),
        })
        .expect("addressed")
    }

    /// alpha.example to beta.example, by STARTTLS and EXTERNAL, with everything that must be seen.
    fn federated(by: Method, port: u16) -> Sight {
        let mut sight = Sight::new(STEPS[0].lanes[0]);
        let now = Instant::now();
        sight.start(now);
        sight.record(Side::A, &up("alpha.example", "beta.example", Direction::Outbound, by, port));
        sight.record(Side::B, &up("beta.example", "alpha.example", Direction::Inbound, by, 40_000));
        for _ in 0..2 * ASKS {
            sight.stanza("beta.example", now, &message("alpha.example", "beta.example"));
        }
        sight
    }

    #[test]
    fn what_had_to_come_is_no_difference() {
        let sight = federated(Method::External, 5269);
        assert!(sight.is_complete());
        assert_eq!(sight.differences(DIRECT), [""; 0]);
    }

    #[test]
    fn another_method_another_beginning_and_lost_stanzas_are_differences() {
        let sight = federated(Method::Dialback, DIRECT);
        let differences = sight.differences(DIRECT).join("; ");
        for part in ["authenticated by dialback according to the sender's server, not by external", "began with direct"]
        {
            assert!(differences.contains(part), "{differences}");
        }
        let nothing = Sight::new(STEPS[0].lanes[0]);
        assert!(!nothing.is_complete());
        let differences = nothing.differences(DIRECT).join("; ");
        for part in ["the sender's server never reported it up", "0 of 10 stanzas arrived"] {
            assert!(differences.contains(part), "{differences}");
        }
    }

    #[test]
    fn a_refusal_must_come_from_the_strict_host_for_its_reason_and_reach_the_sender() {
        let mut sight = Sight::new(STEPS[3].lanes[1]);
        assert_eq!((sight.lane.from, sight.lane.to), ("self.beta.example", "alpha.example"));
        let other = refused("self.beta.example", "alpha.example", Direction::Outbound, Reason::PeerStreamError);
        sight.record(Side::B, &other);
        assert_eq!(sight.reason(), None);
        let wrong = refused("alpha.example", "self.beta.example", Direction::Inbound, Reason::CertExpired);
        sight.record(Side::A, &wrong);
        let differences = sight.differences(DIRECT).join("; ");
        for part in ["refused for cert-expired, not for cert-self-signed", "the sender was not told"] {
            assert!(differences.contains(part), "{differences}");
        }
        sight.stanza("alpha.example", Instant::now(), &message("self.beta.example", "alpha.example"));
        assert!(sight.differences(DIRECT)[0].contains("1 stanzas arrived though it had to be refused"));
    }
}
