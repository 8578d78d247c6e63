//! One lookup: the services of a domain, then the addresses of their targets.
//!
//! ```text
//! _xmpps-server, _xmpp-server --+--> targets --> AAAA, A of each --> candidates
//!        (both at once)         +--> both absent: AAAA, A of the domain, port 5269
//!                               '--> declared absent, unusable or unknown: the reason
//! ```
//!
//! - The process: [RFC 6120 section 3.2](https://www.rfc-editor.org/rfc/rfc6120#section-3.2)
//! - Direct TLS: [XEP-0368](https://xmpp.org/extensions/xep-0368.html)
//! - What counts as absent: decision D-18

use std::mem;
use std::time::Instant;

use super::addresses::Addresses;
use super::desk::{AskingId, Cx, Desk, Timer};
use super::inquiry::Inquiry;
use super::message::{Answer, Finding, Kind, Name, Question};
use super::srv::{self, Offer, Service};
use super::{Behalf, Candidate, LookupId, Security};
use crate::addr::Domain;
use crate::entropy::Entropy;
use crate::reason::Reason;

/// How far a lookup has come.
#[derive(Debug)]
pub(super) struct Lookup {
    domain: Domain,
    behalf: Behalf,
    deadline: Instant,
    order: Entropy,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Services(Box<Services>),
    Addresses(Addresses),
}

/// What the domain offers is being asked for.
#[derive(Debug)]
struct Services {
    direct: Inquiry,
    plain: Inquiry,
}

/// What is to be told.
#[derive(Debug)]
pub(super) struct Step {
    /// Further candidates.
    pub(super) candidates: Vec<Candidate>,
    /// The end: all candidates, or why there are none.
    pub(super) end: Option<Result<Vec<Candidate>, Reason>>,
}

impl Step {
    const NOTHING: Self = Self { candidates: Vec::new(), end: None };

    const fn failed(reason: Reason) -> Self {
        Self { candidates: Vec::new(), end: Some(Err(reason)) }
    }
}

impl Lookup {
    /// Asks for the SRV records of both services at once.
    //= RFC6120-3.2.1-1
    //= XEP0368-3-1
    pub(super) fn new(domain: &Domain, deadline: Instant, order: Entropy, cx: &mut Cx<'_>) -> Self {
        let mut ask = |service| match Name::new(&[service, "_tcp"], domain) {
            Some(name) => Inquiry::new(Question { name, kind: Kind::Srv }, cx),
            // Too long a name to exist.
            None => Inquiry::known(Finding::NxDomain),
        };
        let services = Services { direct: ask("_xmpps-server"), plain: ask("_xmpp-server") };
        let stage = Stage::Services(Box::new(services));
        Self { domain: domain.clone(), behalf: cx.behalf, deadline, order, stage }
    }

    /// On whose behalf it is made.
    pub(super) const fn behalf(&self) -> Behalf {
        self.behalf
    }

    /// From now on it is made on behalf of `cx`.
    pub(super) fn promote(&mut self, cx: &mut Cx<'_>) {
        self.behalf = cx.behalf;
        self.each_inquiry(|inquiry| inquiry.promote(cx));
    }

    /// The question `id`, for which this may have waited, has come to an end.
    pub(super) fn hear(&mut self, id: AskingId, result: &Result<Answer, Reason>, cx: &mut Cx<'_>) {
        self.each_inquiry(|inquiry| inquiry.hear(id, result, cx));
    }

    /// Gives up what is still open.
    pub(super) fn abandon(&mut self, lookup: LookupId, desk: &mut Desk) {
        self.expire(lookup, desk);
        desk.deadlines.remove(&(self.deadline, Timer::Lookup(lookup)));
        if let Stage::Addresses(addresses) = &self.stage {
            addresses.disarm(lookup, desk);
        }
    }

    /// The time of the whole lookup is up: what is there has to do.
    pub(super) fn expire(&mut self, lookup: LookupId, desk: &mut Desk) {
        self.each_inquiry(|inquiry| inquiry.abandon(lookup, desk));
    }

    /// Goes on as far as the outcomes allow.
    pub(super) fn advance(&mut self, cx: &mut Cx<'_>) -> Step {
        if let Stage::Services(services) = &mut self.stage {
            if [&services.direct, &services.plain].iter().any(|inquiry| inquiry.outcome().is_none()) {
                return Step::NOTHING;
            }
            if cx.now >= self.deadline {
                return Step::failed(Reason::DnsTimeout);
            }
            let direct = Offer::new(Security::DirectTls, take(&mut services.direct));
            let plain = Offer::new(Security::StartTls, take(&mut services.plain));
            let addresses = match choose(direct, plain) {
                Err(reason) => return Step::failed(reason),
                Ok(Some(services)) => Addresses::of_targets(srv::order(services, &mut self.order), cx),
                Ok(None) => Addresses::of_domain(&self.domain, cx),
            };
            self.stage = Stage::Addresses(addresses);
        }
        match &mut self.stage {
            Stage::Services(_) => Step::NOTHING,
            Stage::Addresses(addresses) => {
                let candidates = addresses.tell(cx);
                let end = addresses.is_complete().then(|| addresses.conclude());
                Step { candidates, end }
            }
        }
    }

    fn each_inquiry(&mut self, act: impl FnMut(&mut Inquiry)) {
        match &mut self.stage {
            Stage::Services(services) => [&mut services.direct, &mut services.plain].into_iter().for_each(act),
            Stage::Addresses(addresses) => addresses.inquiries_mut().for_each(act),
        }
    }
}

fn take(inquiry: &mut Inquiry) -> Result<Finding, Reason> {
    match mem::replace(inquiry, Inquiry::Done(Err(Reason::DnsFailure))) {
        Inquiry::Waiting(_) => Err(Reason::DnsFailure),
        Inquiry::Done(outcome) => outcome.map(|found| found.finding),
    }
}

/// What both offers come to: services, `None` for the fallback to the domain's own addresses, or a reason.
///
/// Records of one service are used whatever became of the other. Without any, a failure is worth more than a declaration
/// of absence, since the unknown half might have had records; and the fallback is for domains that say nothing at all.
//= RFC6120-3.2.1-2
//= RFC6120-3.2.1-5
//= RFC6120-3.2.1-6
//= RFC2782-p5-4
//= XEP0368-5-1
//= XEP0368-5-2
//= RFC7712-5.1-2
fn choose(direct: Offer, plain: Offer) -> Result<Option<Vec<Service>>, Reason> {
    match (direct, plain) {
        (Offer::Usable(mut direct), Offer::Usable(plain)) => {
            direct.extend(plain);
            Ok(Some(direct))
        }
        (Offer::Usable(services), _) | (_, Offer::Usable(services)) => Ok(Some(services)),
        (_, Offer::Failed(reason)) | (Offer::Failed(reason), _) => Err(reason),
        (Offer::Declined, _) | (_, Offer::Declined) => Err(Reason::SrvDot),
        (Offer::Unusable, _) | (_, Offer::Unusable) => Err(Reason::NoAddress),
        (Offer::Absent, Offer::Absent) => Ok(None),
    }
}
