//! From services to candidates: the addresses of their targets, told as soon as order allows.
//!
//! Candidates are told in the order of the services. The addresses of one host are sorted as far as they are known
//! (`selection`); then the families take turns, beginning with that of the first, so that the second address to be
//! tried is one of the other family already, if there is one. A service whose host is not known yet holds up those
//! behind it, because they are only for the case that it cannot be reached. A host with addresses of one family is not
//! held up by the other for longer than [`limits::RESOLUTION_DELAY`]:
//!
//! | IPv6 | IPv4 | may be tried |
//! |---|---|---|
//! | answered | answered | all |
//! | addresses | not yet | the first, unless the way to it is poor; after the delay all |
//! | not yet | addresses | none; after the delay all |
//! | otherwise | | none |
//!
//! What comes later than that is told behind what was told before. So that there is room for it, a host with an
//! unanswered family fills no more than half of [`limits::CANDIDATES`].
//!
//! - When to begin: [RFC 8305 section 3](https://www.rfc-editor.org/rfc/rfc8305#section-3)
//! - Order of addresses: [RFC 8305 section 4](https://www.rfc-editor.org/rfc/rfc8305#section-4)

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::desk::{Cx, Desk, Timer};
use super::inquiry::Inquiry;
use super::message::{Finding, Kind, Name, Question};
use super::selection::Ranks;
use super::srv::Service;
use super::{Candidate, LookupId, Security};
use crate::addr::Domain;
use crate::limits;
use crate::reason::Reason;
use crate::time::later;

/// Where servers listen that publish no SRV records, [RFC 6120 section 3.2.2](https://www.rfc-editor.org/rfc/rfc6120#section-3.2.2).
const FALLBACK_PORT: u16 = 5269;

/// The targets are known, their addresses are asked for.
#[derive(Debug)]
pub(super) struct Addresses {
    /// In the order in which to try them.
    services: Vec<Service>,
    /// Their targets, each once.
    hosts: Vec<Host>,
    /// What the addresses of all hosts are sorted by.
    ranks: Ranks,
    /// Whether the domain itself is the target, for want of SRV records.
    fallback: bool,
    /// What was told so far.
    told: Vec<Candidate>,
}

#[derive(Debug)]
struct Host {
    name: Name,
    v6: Inquiry,
    v4: Inquiry,
    /// How long addresses of one family wait for the other, once there are some.
    patience: Option<Instant>,
}

/// How many of a host's addresses may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Share {
    Nothing,
    First,
    All,
}

impl Addresses {
    /// Asks for the addresses of the first targets.
    ///
    /// What the SRV answer says about them in passing is not used: nothing ties it to the question.
    //= RFC2782-p5-2
    pub(super) fn of_targets(mut services: Vec<Service>, cx: &mut Cx<'_>) -> Self {
        let mut hosts: Vec<Host> = Vec::new();
        services.retain(|service| {
            let known = hosts.iter().any(|host| host.name == service.target);
            let wanted = known || hosts.len() < limits::DNS_TARGETS;
            if wanted && !known {
                hosts.push(Host::new(service.target.clone(), cx));
            }
            wanted
        });
        Self { services, hosts, ranks: Ranks::default(), fallback: false, told: Vec::new() }
    }

    /// Asks for the addresses of the domain itself.
    //= RFC6120-3.2.2-1
    pub(super) fn of_domain(domain: &Domain, cx: &mut Cx<'_>) -> Self {
        let target = Name::new(&[], domain);
        let hosts = target.iter().map(|name| Host::new(name.clone(), cx)).collect();
        let services = target.map(|target| Service {
            priority: 0,
            weight: 0,
            target,
            port: FALLBACK_PORT,
            security: Security::StartTls,
        });
        let services = services.into_iter().collect();
        Self { services, hosts, ranks: Ranks::default(), fallback: true, told: Vec::new() }
    }

    pub(super) fn inquiries_mut(&mut self) -> impl Iterator<Item = &mut Inquiry> {
        self.hosts.iter_mut().flat_map(|host| [&mut host.v6, &mut host.v4])
    }

    /// Whether everything has been answered.
    pub(super) fn is_complete(&self) -> bool {
        self.hosts.iter().all(Host::is_complete)
    }

    /// The candidates that may be tried by now and were not told yet.
    //= RFC8305-3-2
    //= RFC8305-3-3
    //= RFC8305-3-4
    pub(super) fn tell(&mut self, cx: &mut Cx<'_>) -> Vec<Candidate> {
        for host in &mut self.hosts {
            host.arm(cx);
        }
        for ip in self.hosts.iter().flat_map(Host::known) {
            self.ranks.note(ip, cx.desk.config.sources.as_deref());
        }
        let before = self.told.len();
        for service in &self.services {
            let Some(host) = self.hosts.iter().find(|host| host.name == service.target) else { continue };
            if self.told.len() >= limits::CANDIDATES {
                break;
            }
            let share = host.share(cx.now);
            let addresses = host.addresses(&self.ranks);
            let room = if host.is_complete() { limits::CANDIDATES } else { limits::CANDIDATES / 2 };
            let count = match share {
                Share::Nothing => 0,
                Share::First if addresses.first().is_some_and(|ip| self.ranks.is_poor(*ip)) => 0,
                Share::First => 1,
                Share::All => addresses.len(),
            };
            for ip in addresses.into_iter().take(count) {
                add(&mut self.told, service.at(ip), room);
            }
            if share != Share::All {
                break;
            }
        }
        self.told.iter().skip(before).copied().collect()
    }

    /// All candidates, in the order that they would have if all had been known at once.
    pub(super) fn conclude(&self) -> Result<Vec<Candidate>, Reason> {
        let mut candidates = Vec::new();
        for service in &self.services {
            let Some(host) = self.hosts.iter().find(|host| host.name == service.target) else { continue };
            if candidates.len() >= limits::CANDIDATES {
                break;
            }
            for ip in host.addresses(&self.ranks) {
                add(&mut candidates, service.at(ip), limits::CANDIDATES);
            }
        }
        if !candidates.is_empty() {
            return Ok(candidates);
        }
        let outcomes = || self.hosts.iter().flat_map(|host| [host.v6.outcome(), host.v4.outcome()]).flatten();
        if let Some(reason) = outcomes().find_map(Result::err) {
            return Err(reason);
        }
        let nowhere = outcomes().any(|outcome| outcome == Ok(&Finding::NxDomain));
        Err(if self.fallback && nowhere { Reason::DnsNxdomain } else { Reason::NoAddress })
    }

    /// Takes back the deadlines of all hosts.
    pub(super) fn disarm(&self, lookup: LookupId, desk: &mut Desk) {
        for at in self.hosts.iter().filter_map(|host| host.patience) {
            desk.deadlines.remove(&(at, Timer::Family(lookup)));
        }
    }
}

fn add(candidates: &mut Vec<Candidate>, candidate: Candidate, room: usize) {
    if candidates.len() < room && !candidates.contains(&candidate) {
        candidates.push(candidate);
    }
}

impl Service {
    const fn at(&self, ip: IpAddr) -> Candidate {
        Candidate { addr: SocketAddr::new(ip, self.port), security: self.security }
    }
}

impl Host {
    //= RFC8305-3-1
    fn new(name: Name, cx: &mut Cx<'_>) -> Self {
        let (ipv6, ipv4) = (cx.desk.config.ipv6, cx.desk.config.ipv4);
        let mut ask = |kind, wanted| match wanted {
            true => Inquiry::new(Question { name: name.clone(), kind }, cx),
            false => Inquiry::known(Finding::NoData),
        };
        let v6 = ask(Kind::Aaaa, ipv6);
        let v4 = ask(Kind::A, ipv4);
        Self { name, v6, v4, patience: None }
    }

    fn is_complete(&self) -> bool {
        self.v6.outcome().is_some() && self.v4.outcome().is_some()
    }

    /// Begins to wait for one family when there are addresses of the other.
    fn arm(&mut self, cx: &mut Cx<'_>) {
        if self.patience.is_none() && !self.is_complete() && self.known().next().is_some() {
            let until = later(cx.now, limits::RESOLUTION_DELAY);
            self.patience = Some(until);
            cx.desk.deadlines.insert((until, Timer::Family(cx.lookup)));
        }
    }

    fn share(&self, now: Instant) -> Share {
        let patience_ended = self.patience.is_some_and(|until| until <= now);
        match (self.v6.outcome(), self.v4.outcome()) {
            (Some(_), Some(_)) => Share::All,
            _ if patience_ended => Share::All,
            (Some(Ok(Finding::Addresses(_))), None) => Share::First,
            _ => Share::Nothing,
        }
    }

    /// The addresses that are known, as DNS tells them, IPv6 first; of each family no more than may be tried.
    fn known(&self) -> impl Iterator<Item = IpAddr> {
        let known = [&self.v6, &self.v4].into_iter().flat_map(|inquiry| match inquiry.outcome() {
            Some(Ok(Finding::Addresses(addresses))) => addresses.get(..limits::CANDIDATES).unwrap_or(addresses),
            _ => &[],
        });
        known.copied()
    }

    /// The addresses that are known, sorted, with the families in turn: that of the best one begins.
    //= RFC8305-4-2
    fn addresses(&self, ranks: &Ranks) -> Vec<IpAddr> {
        let mut sorted: Vec<_> = self.known().collect();
        ranks.sort(&mut sorted);
        let begins_with_ipv6 = sorted.first().is_some_and(IpAddr::is_ipv6);
        let (first, second): (Vec<_>, Vec<_>) = sorted.into_iter().partition(|ip| ip.is_ipv6() == begins_with_ipv6);
        (0..first.len().max(second.len())).flat_map(|at| [first.get(at), second.get(at)]).flatten().copied().collect()
    }
}
