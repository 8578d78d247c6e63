//! What nodes tell, held against what the simulator knows.

use std::hash::Hash;

use s2s_core::addr::Pair;
use s2s_core::machine::ConnId;
use s2s_core::node::{Direction, Event, LinkInfo};
use s2s_core::reason::Reason;
use s2s_core::stanza::Stanza;

use super::federation::Federation;
use super::site::Place;

impl Federation {
    /// A node tells its application something.
    pub(super) fn observe(&mut self, site: usize, event: Event) {
        self.note(|| format!("site {site} tells {event:?}"));
        match event {
            Event::Stanza { pair, stanza } => self.observe_stanza(site, &pair, &stanza),
            Event::Undeliverable { pair, stanza, reason } => {
                let Some(number) = number_of(&stanza) else {
                    return self.break_law(format!("site {site} gives back what nobody sent: {stanza:?}"));
                };
                (number, reason.code()).hash(&mut self.hasher);
                if pair != stanza.outbound_pair() || !self.serves(site, &pair.local) {
                    self.break_law(format!("site {site} gives back {stanza:?} for {pair:?}"));
                }
                let result = self.ledger.note_bounced(number, reason);
                self.check(result);
            }
            Event::PeerUp { pair, link, .. } => self.observe_up(site, &pair, &link),
            Event::CertificateChanged { pair, link, before } => {
                before.hash(&mut self.hasher);
                let is_up = self.sites[site].up.contains(&(pair.clone(), link.direction, link.conn));
                if !is_up || link.certificate.is_none_or(|certificate| certificate == before) {
                    self.break_law(format!("site {site} tells that {pair:?} has another certificate: {link:?}"));
                }
            }
            Event::PeerDown { pair, direction, reason, conn } => {
                reason.code().hash(&mut self.hasher);
                if !self.sites[site].up.remove(&(pair.clone(), direction, conn)) {
                    self.break_law(format!("site {site} tells that {pair:?} is down on {conn:?}, and it was not up"));
                }
                // Whoever ends a stream by an error drops what is still under way on it (decision D-20). A peer that has
                // ended it says nothing more.
                if direction == Direction::Inbound
                    && !matches!(reason, Reason::Idle | Reason::PeerStreamError)
                    && let Some(Place::Wire { wire, end }) = self.sites[site].conns.get(&conn)
                {
                    self.ledger.note_loss(*wire, 1 - end);
                }
            }
            Event::Refused { reason, .. } => reason.code().hash(&mut self.hasher),
            Event::Uncertain { pair, stanzas, .. } => {
                stanzas.hash(&mut self.hasher);
                if stanzas == 0 || !self.serves(site, &pair.local) {
                    self.break_law(format!("site {site} is uncertain about {stanzas} stanzas of {pair:?}"));
                }
            }
            Event::TurnedAway { bound, times, .. } => (bound.as_str(), times).hash(&mut self.hasher),
            event => self.break_law(format!("the simulator does not know {event:?}")),
        }
    }

    fn serves(&self, site: usize, domain: &s2s_core::addr::Domain) -> bool {
        self.sites[site].domains.iter().any(|own| self.names[*own] == *domain)
    }

    fn observe_up(&mut self, site: usize, pair: &Pair, link: &LinkInfo) {
        let impostor = self.sites.last().filter(|last| last.impostor).map(|last| (last.addr, last.life.site));
        if impostor.is_some_and(|(addr, impostor)| link.addr.ip() == addr || site == impostor) {
            self.break_law(format!("site {site} believes the impostor: {pair:?} over {link:?}"));
        }
        if !self.serves(site, &pair.local) || self.serves(site, &pair.remote) {
            self.break_law(format!("site {site} tells that {pair:?} is up"));
        }
        if !self.sites[site].up.insert((pair.clone(), link.direction, link.conn)) {
            self.break_law(format!("site {site} tells twice that {pair:?} is up on {:?}", link.conn));
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
        if *pair != honest || *pair != stanza.inbound_pair() || self.homes[entry.to] != site {
            self.break_law(format!("site {site} delivers {number} for {pair:?}, which was sent for {honest:?}"));
        } else if entry.digest != digest(stanza) {
            self.break_law(format!("site {site} delivers {number} with other bytes than were sent"));
        }
        let all = [ConnId(0), ConnId(u64::MAX)].map(|conn| (pair.clone(), Direction::Inbound, conn));
        let proved: Vec<ConnId> = self.sites[site].up.range(&all[0]..=&all[1]).map(|(_, _, conn)| *conn).collect();
        match proved.as_slice() {
            [] => self.break_law(format!("site {site} delivers {number} for {pair:?}, which nobody proved")),
            [conn] => {
                let last = self.sites[site].order.insert((pair.clone(), *conn), number);
                if last.is_some_and(|last| last > number) {
                    self.break_law(format!("site {site} delivers {number} after {last:?}"));
                }
            }
            // Over which of them it came, nobody tells.
            _ => {}
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
