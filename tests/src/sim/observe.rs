//! What nodes tell, held against what the simulator knows.

use std::hash::Hash;

use s2s_core::addr::{Domain, Pair};
use s2s_core::auth::Method;
use s2s_core::limits;
use s2s_core::node::{Direction, Event, Limits, LinkInfo};
use s2s_core::reason::Reason;
use s2s_core::stanza::Stanza;

use super::federation::{Federation, LONG_STANZA_BYTES};
use super::site::{Place, Shown};
use super::swarm::Fault;

/// What waits for one pair at most, beyond its limit: long stanzas that are held whatever waits already, one in the
/// queue and some in the link, and the tiny ones that a link takes at once, which count several times their bytes.
const HELD_BEYOND_LIMIT: usize = 4 * LONG_STANZA_BYTES + 6 * limits::OUTPUT_LOW_WATER_BYTES;

impl Federation {
    /// A node tells its application something.
    pub(super) fn observe(&mut self, site: usize, event: Event) {
        self.note(|| format!("site {site} tells {event:?}"));
        match event {
            Event::Stanza { pair, stanza } => self.observe_stanza(site, &pair, &stanza),
            Event::Undeliverable { pair, stanza, reason } => self.observe_return(site, &pair, &stanza, reason),
            Event::PeerUp { pair, by, link } => self.observe_up(site, &pair, by, &link),
            Event::CertificateChanged { pair, link, before } => {
                before.hash(&mut self.hasher);
                let is_up = self.sites[site].up.contains_key(&(pair.clone(), link.direction, link.conn));
                if !is_up || link.certificate.is_none_or(|certificate| certificate == before) {
                    self.break_law(format!("site {site} tells that {pair:?} has another certificate: {link:?}"));
                }
            }
            Event::PeerDown { pair, direction, reason, conn } => {
                reason.code().hash(&mut self.hasher);
                if self.sites[site].up.remove(&(pair.clone(), direction, conn)).is_none() {
                    self.break_law(format!("site {site} tells that {pair:?} is down on {conn:?}, and it was not up"));
                }
                // Whoever ends a stream by an error drops what is still under way on it (decision D-20). A peer that has
                // ended it says nothing more.
                if direction == Direction::Inbound
                    && !matches!(reason, Reason::Idle | Reason::PeerStreamError)
                    && let Some((wire, end)) = self.sites[site].wire(conn)
                {
                    self.ledger.note_loss(wire, 1 - end);
                }
            }
            Event::Refused { reason, .. } => reason.code().hash(&mut self.hasher),
            Event::Uncertain { pair, conn, stanzas } => {
                stanzas.hash(&mut self.hasher);
                let wire = self.sites[site].wire(conn);
                let Some((wire, 0)) = wire.filter(|_| stanzas > 0 && self.serves(site, &pair.local)) else {
                    return self.break_law(format!("site {site} is uncertain about {stanzas} of {pair:?} on {conn:?}"));
                };
                let result = self.ledger.note_uncertain(wire, 0, stanzas);
                self.check(result);
            }
            Event::TurnedAway { bound, times, .. } => (bound.as_str(), times).hash(&mut self.hasher),
            event => self.break_law(format!("the simulator does not know {event:?}")),
        }
    }

    fn serves(&self, site: usize, domain: &Domain) -> bool {
        self.sites[site].domains.iter().any(|own| self.names[*own] == *domain)
    }

    /// The site of a domain.
    fn home(&self, domain: &Domain) -> Option<usize> {
        self.names.iter().position(|name| name == domain).map(|number| self.homes[number])
    }

    /// A stanza comes back: to whom it is from, for a reason that is one.
    fn observe_return(&mut self, site: usize, pair: &Pair, stanza: &Stanza, reason: Reason) {
        let Some(number) = number_of(stanza) else {
            return self.break_law(format!("site {site} gives back what nobody sent: {stanza:?}"));
        };
        (number, reason.code()).hash(&mut self.hasher);
        if *pair != stanza.outbound_pair() || !self.serves(site, &pair.local) {
            self.break_law(format!("site {site} gives back {stanza:?} for {pair:?}"));
        }
        let result = self.ledger.note_bounced(number, reason);
        self.check(result);
        let Some(other) = self.home(&pair.remote) else {
            return self.break_law(format!("site {site} gives back {number}, which is for nobody"));
        };
        let length = stanza.bytes().len();
        match reason {
            Reason::DomainDenied if !self.sites[site].denies(other) => {
                self.break_law(format!("site {site} gives back {number}: {reason}, and {pair:?} is not denied"));
            }
            Reason::StanzaTooBig if length <= self.sites[other].orders.stanza_bytes => {
                self.break_law(format!("site {site} gives back {number}: {reason}, and it has {length} bytes"));
            }
            _ => {}
        }
    }

    fn observe_up(&mut self, site: usize, pair: &Pair, by: Method, link: &LinkInfo) {
        let impostor = self.sites.last().filter(|last| last.impostor).map(|last| (last.addr, last.life.site));
        if impostor.is_some_and(|(addr, impostor)| link.addr.ip() == addr || site == impostor) {
            self.break_law(format!("site {site} believes the impostor: {pair:?} over {link:?}"));
        }
        if !self.serves(site, &pair.local) || self.serves(site, &pair.remote) {
            self.break_law(format!("site {site} tells that {pair:?} is up"));
        }
        let shown = Shown { by, tls: link.tls.map(|(version, _)| version) };
        if let Err(why) = self.judge_up(site, pair, link.direction, shown) {
            self.break_law(format!("site {site} tells that {pair:?} is up by {by} over {link:?}: {why}"));
        }
        // While its clock is wrong, a certificate of worth may be taken for none.
        let clocks_go_wrong = self.swarm.faults.contains(&Fault::ClockStep);
        let is_strict = self.home(&pair.remote).is_some_and(|other| self.sites[site].is_strict(other));
        if by == Method::Dialback && link.direction == Direction::Inbound && is_strict && !clocks_go_wrong {
            self.break_law(format!("site {site} demands a certificate of {pair:?}, and has called back"));
        }
        if self.sites[site].up.insert((pair.clone(), link.direction, link.conn), shown).is_some() {
            self.break_law(format!("site {site} tells twice that {pair:?} is up on {:?}", link.conn));
        }
    }

    /// Whether the operator of a site agrees that a pair is up like this.
    fn judge_up(&self, site: usize, pair: &Pair, direction: Direction, shown: Shown) -> Result<(), &'static str> {
        let other = self.home(&pair.remote).ok_or("there is no such domain")?;
        self.sites[site].judge(&self.sites[other], direction, shown.by, shown.tls)
    }

    /// A site was configured anew: nobody is up any more whom that forbids, so that nothing more can arrive from there.
    pub(super) fn judge_all_up(&mut self, site: usize) {
        let wrong = self.sites[site].up.iter().find_map(|((pair, direction, conn), shown)| {
            let why = self.judge_up(site, pair, *direction, *shown).err()?;
            Some(format!("site {site} was configured anew, and {pair:?} is still up on {conn:?}, {shown:?}: {why}"))
        });
        if let Some(law) = wrong {
            self.break_law(law);
        }
    }

    /// A stanza is delivered: it is one that its sender's domain sent, to one of our domains, over a connection on which
    /// that domain proved itself, once, and after those sent before it.
    fn observe_stanza(&mut self, site: usize, pair: &Pair, stanza: &Stanza) {
        let Some(number) = number_of(stanza) else {
            return self.break_law(format!("site {site} delivers what nobody sent: {stanza:?}"));
        };
        number.hash(&mut self.hasher);
        let result = self.ledger.note_delivered(number);
        self.check(result);
        let Some(entry) = self.ledger.entries.get(number) else {
            return;
        };
        let honest = Pair::new(self.names[entry.to].clone(), self.names[entry.from].clone());
        let through = entry.written.map(|written| (pair.clone(), Direction::Inbound, written.to));
        let length = stanza.bytes().len();
        if *pair != honest || *pair != stanza.inbound_pair() || self.homes[entry.to] != site {
            self.break_law(format!("site {site} delivers {number} for {pair:?}, which was sent for {honest:?}"));
        } else if entry.digest != digest(stanza) {
            self.break_law(format!("site {site} delivers {number} with other bytes than were sent"));
        } else if through.is_none_or(|through| !self.sites[site].up.contains_key(&through)) {
            self.break_law(format!("site {site} delivers {number} for {pair:?}, which nobody proved there"));
        } else if length > self.sites[site].orders.stanza_bytes {
            self.break_law(format!("site {site} delivers {number} of {length} bytes, which are too many"));
        }
    }

    /// Looks at one site: it holds what the simulator knows of, and no more than its limits say.
    pub(super) fn weigh(&mut self, site: usize) {
        let Some(node) = &self.sites[site].node else {
            return;
        };
        let (held, bounds) = (node.measures(), Limits::default());
        let (conns, asks) = (&self.sites[site].conns, self.sites[site].asks.len());
        let accepted = conns.values().filter(|place| matches!(place, Place::Wire { end: 1, .. })).count();
        let known = (accepted, conns.len() - accepted, asks);
        if (held.inbound, held.outbound, held.dns_queries) != known {
            return self.break_law(format!("site {site} has {known:?} connections and queries, and counts {held:?}"));
        }
        let per_pair = self.swarm.queue_bytes + HELD_BEYOND_LIMIT;
        let is_bounded = held.inbound <= bounds.connections
            && held.unauthenticated <= bounds.unauthenticated.min(held.inbound)
            && held.handshakes <= bounds.handshakes.min(held.inbound)
            && held.verifications <= bounds.verifications
            && held.lookups <= held.routes + held.verifications + limits::LATE_LOOKUPS
            && held.queued_bytes <= (held.routes + held.outbound) * per_pair
            && held.backoff <= limits::BACKOFF_ENTRIES;
        if !is_bounded {
            self.break_law(format!("site {site} holds more than its limits say: {held:?}"));
        }
    }
}

fn number_of(stanza: &Stanza) -> Option<usize> {
    stanza.head().id.as_ref()?.parse().ok()
}

/// A number that tells the bytes of a stanza from others.
pub(super) fn digest(stanza: &Stanza) -> u64 {
    use std::hash::{DefaultHasher, Hasher};
    let mut hasher = DefaultHasher::new();
    stanza.bytes().hash(&mut hasher);
    hasher.finish()
}
