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
//! - Order of addresses: [RFC 8305 section 4](https://www.rfc-editor.org/rfc/rfc8305#section-4)

use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::message::{Finding, Kind, Name, Question};
use super::query::Inquiry;
use super::srv::{self, Offer, Service};
use super::{Candidate, Cx, Desk, Security};
use crate::addr::Domain;
use crate::entropy::Entropy;
use crate::limits;
use crate::machine::QueryId;
use crate::reason::Reason;

/// Where servers listen that publish no SRV records, [RFC 6120 section 3.2.2](https://www.rfc-editor.org/rfc/rfc6120#section-3.2.2).
const FALLBACK_PORT: u16 = 5269;

/// How far a lookup has come.
#[derive(Debug)]
pub(super) struct Lookup {
    domain: Domain,
    pub(super) deadline: Instant,
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

/// The targets are known, their addresses are asked for.
#[derive(Debug)]
struct Addresses {
    /// In the order in which to try them.
    services: Vec<Service>,
    /// Their targets, each once.
    hosts: Vec<Host>,
    /// Whether the domain itself is the target, for want of SRV records.
    fallback: bool,
}

#[derive(Debug)]
struct Host {
    name: Name,
    v6: Inquiry,
    v4: Inquiry,
}

impl Lookup {
    /// Asks for the SRV records of both services at once.
    //= RFC6120-3.2.1-1
    //= XEP0368-3-1
    pub(super) fn new(domain: &Domain, deadline: Instant, order: Entropy, cx: &mut Cx<'_>) -> Self {
        let mut ask = |service| match Name::new(&[service, "_tcp"], domain) {
            Some(name) => Inquiry::new(Question { name, kind: Kind::Srv, hops: 0 }, cx),
            // Too long a name to exist.
            None => Inquiry::Done(Ok(Finding::NxDomain)),
        };
        let services = Services { direct: ask("_xmpps-server"), plain: ask("_xmpp-server") };
        Self { domain: domain.clone(), deadline, order, stage: Stage::Services(Box::new(services)) }
    }

    /// The inquiry that waits for `handle`.
    pub(super) fn waiting(&mut self, handle: QueryId) -> Option<&mut Inquiry> {
        self.inquiries_mut().into_iter().find(|inquiry| inquiry.waits_for(handle))
    }

    /// Gives up what is still open.
    pub(super) fn abandon(&mut self, desk: &mut Desk) {
        for inquiry in self.inquiries_mut() {
            inquiry.abandon(desk);
        }
    }

    /// The time of the whole lookup is up: what is there has to do.
    pub(super) fn expire(mut self, desk: &mut Desk) -> Result<Vec<Candidate>, Reason> {
        self.abandon(desk);
        match &self.stage {
            Stage::Services(_) => Err(Reason::DnsTimeout),
            Stage::Addresses(addresses) => addresses.conclude(),
        }
    }

    /// Goes on as far as the outcomes allow; gives the answer when there is one.
    pub(super) fn advance(&mut self, cx: &mut Cx<'_>) -> Option<Result<Vec<Candidate>, Reason>> {
        if self.inquiries_mut().iter().any(|inquiry| inquiry.outcome().is_none()) {
            return None;
        }
        if let Stage::Services(services) = &mut self.stage {
            let direct = Offer::new(Security::DirectTls, take(&mut services.direct));
            let plain = Offer::new(Security::StartTls, take(&mut services.plain));
            let addresses = match choose(direct, plain) {
                Err(reason) => return Some(Err(reason)),
                Ok(Some(services)) => Addresses::of_targets(srv::order(services, &mut self.order), cx),
                Ok(None) => Addresses::of_domain(&self.domain, cx),
            };
            self.stage = Stage::Addresses(addresses);
        }
        match &self.stage {
            Stage::Addresses(addresses) if addresses.is_complete() => Some(addresses.conclude()),
            _ => None,
        }
    }

    fn inquiries_mut(&mut self) -> Vec<&mut Inquiry> {
        match &mut self.stage {
            Stage::Services(services) => vec![&mut services.direct, &mut services.plain],
            Stage::Addresses(addresses) => {
                addresses.hosts.iter_mut().flat_map(|host| [&mut host.v6, &mut host.v4]).collect()
            }
        }
    }
}

fn take(inquiry: &mut Inquiry) -> Result<Finding, Reason> {
    match mem::replace(inquiry, Inquiry::Done(Err(Reason::DnsFailure))) {
        Inquiry::Open(_) => Err(Reason::DnsFailure),
        Inquiry::Done(outcome) => outcome,
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

impl Addresses {
    /// Asks for the addresses of the first targets.
    ///
    /// What the SRV answer says about them in passing is not used: nothing ties it to the question.
    //= RFC2782-p5-2
    fn of_targets(mut services: Vec<Service>, cx: &mut Cx<'_>) -> Self {
        let mut hosts: Vec<Host> = Vec::new();
        services.retain(|service| {
            let known = hosts.iter().any(|host| host.name == service.target);
            let wanted = known || hosts.len() < limits::DNS_TARGETS;
            if wanted && !known {
                hosts.push(Host::new(service.target.clone(), cx));
            }
            wanted
        });
        Self { services, hosts, fallback: false }
    }

    //= RFC6120-3.2.2-1
    fn of_domain(domain: &Domain, cx: &mut Cx<'_>) -> Self {
        let target = Name::new(&[], domain);
        let hosts = target.iter().map(|name| Host::new(name.clone(), cx)).collect();
        let services = target.map(|target| Service {
            priority: 0,
            weight: 0,
            target,
            port: FALLBACK_PORT,
            security: Security::StartTls,
        });
        Self { services: services.into_iter().collect(), hosts, fallback: true }
    }

    fn is_complete(&self) -> bool {
        self.outcomes().all(|outcome| outcome.is_some())
    }

    fn outcomes(&self) -> impl Iterator<Item = Option<&Result<Finding, Reason>>> {
        self.hosts.iter().flat_map(|host| [host.v6.outcome(), host.v4.outcome()])
    }

    fn conclude(&self) -> Result<Vec<Candidate>, Reason> {
        let mut candidates = Vec::new();
        for service in &self.services {
            let Some(host) = self.hosts.iter().find(|host| host.name == service.target) else { continue };
            for ip in host.addresses() {
                let candidate = Candidate { addr: SocketAddr::new(ip, service.port), security: service.security };
                if candidates.len() < limits::CANDIDATES && !candidates.contains(&candidate) {
                    candidates.push(candidate);
                }
            }
        }
        if !candidates.is_empty() {
            return Ok(candidates);
        }
        if let Some(Err(reason)) = self.outcomes().flatten().find(|outcome| outcome.is_err()) {
            return Err(*reason);
        }
        let nowhere = self.outcomes().flatten().any(|outcome| matches!(outcome, Ok(Finding::NxDomain)));
        Err(if self.fallback && nowhere { Reason::DnsNxdomain } else { Reason::NoAddress })
    }
}

impl Host {
    //= RFC8305-3-1
    fn new(name: Name, cx: &mut Cx<'_>) -> Self {
        let (ipv6, ipv4) = (cx.desk.config.ipv6, cx.desk.config.ipv4);
        let mut ask = |kind, wanted| match wanted {
            true => Inquiry::new(Question { name: name.clone(), kind, hops: 0 }, cx),
            false => Inquiry::Done(Ok(Finding::NoData)),
        };
        let v6 = ask(Kind::Aaaa, ipv6);
        let v4 = ask(Kind::A, ipv4);
        Self { name, v6, v4 }
    }

    /// The addresses of both families in turn, IPv6 first.
    //= RFC8305-4-2
    fn addresses(&self) -> Vec<IpAddr> {
        let [v6, v4] = [&self.v6, &self.v4].map(|inquiry| match inquiry.outcome() {
            Some(Ok(Finding::Addresses(addresses))) => addresses.as_slice(),
            _ => &[],
        });
        (0..v6.len().max(v4.len())).flat_map(|at| [v6.get(at), v4.get(at)]).flatten().copied().collect()
    }
}
