//! What goes wrong, and how it is mended.

use std::time::Duration;

use s2s_core::machine::Machine;
use s2s_core::node::Command;

use super::agenda::Happening;
use super::federation::{Federation, address};
use super::net::{Segment, WireId};
use super::site::Place;
use super::swarm::{Fault, Setup};
use crate::certificates::Kind;
use crate::dns_server::Zone;

/// The longest time that something stays broken by itself.
const TROUBLE: Duration = Duration::from_secs(120);

/// Certificates that prove nothing.
const WRONG: [Kind; 4] = [Kind::Expired, Kind::WrongName, Kind::SelfSigned, Kind::NotYetValid];

impl Federation {
    /// One of the planned faults strikes, if it finds something to break.
    pub(super) fn go_wrong(&mut self) {
        if self.calm {
            return;
        }
        let next = self.now + self.random.span(Duration::ZERO, 2 * self.swarm.trouble);
        self.agenda.plan(next, Happening::Fault);
        let planned: Vec<Fault> = self.swarm.faults.iter().copied().filter(|fault| fault.is_planned()).collect();
        if planned.is_empty() {
            return;
        }
        let fault = *self.random.pick(&planned);
        let sites = self.sites.iter().filter(|site| !site.impostor).count();
        let site = self.random.below(sites);
        let until = self.now + self.random.span(Duration::from_millis(100), TROUBLE);
        self.note(|| format!("{fault:?} at site {site} until {until:?}"));
        let struck = match fault {
            Fault::Reset | Fault::HalfClose | Fault::Stall => self.damage_wire(fault, until),
            Fault::Partition => {
                let other = (site + 1 + self.random.below(sites - 1)) % sites;
                self.partitions.insert((site.min(other), site.max(other)), until);
                true
            }
            Fault::Restart | Fault::Crash | Fault::LoseSecret => self.end_life(fault, site, until),
            _ => self.trouble_site(fault, site, until),
        };
        if struck {
            self.strike(fault);
        }
    }

    fn trouble_site(&mut self, fault: Fault, site: usize, until: std::time::Instant) -> bool {
        let now = self.now;
        let life = self.sites[site].life;
        if self.sites[site].node.is_none() {
            return false;
        }
        match fault {
            Fault::Refuse => self.sites[site].refuses_until = until,
            Fault::BlackHole => self.sites[site].swallows_until = until,
            Fault::MoveZone => self.move_site(site),
            Fault::SlowApplication => {
                self.sites[site].paused = true;
                self.agenda.plan(until, Happening::Resume { site });
            }
            Fault::ClockStep => {
                let years = u32::try_from(self.random.below(20)).unwrap_or(0);
                let step = Duration::from_secs(3600 * 24 * 365) * years;
                let unix = self.unix();
                let unix = if self.random.one_in(2) { unix + step } else { unix.saturating_sub(step) };
                self.tell(life, |node| node.handle_clock(now, unix));
                self.agenda.plan(until, Happening::Mend { site });
            }
            Fault::WrongCertificate if self.sites[site].setup.has_valid_certificate() => {
                self.sites[site].wrong_certificate = Some(*self.random.pick(&WRONG));
                self.configure(site);
                self.agenda.plan(until, Happening::Mend { site });
            }
            Fault::Reload => self.configure(site),
            _ => return false,
        }
        true
    }

    /// Breaks a connection of two nodes, or one direction of it.
    fn damage_wire(&mut self, fault: Fault, until: std::time::Instant) -> bool {
        let ids: Vec<WireId> = self.wires.keys().copied().collect();
        if ids.is_empty() {
            return false;
        }
        let id = *self.random.pick(&ids);
        let end = self.random.below(2);
        let Some(wire) = self.wires.get_mut(&id) else {
            return false;
        };
        match fault {
            Fault::Stall => wire.pipes[end].stalled_until = until,
            Fault::HalfClose => {
                if wire.pipes[end].lose() {
                    self.ledger.note_loss(id, end);
                }
                if wire.ends[1 - end].open && !wire.pipes[end].ended {
                    // Who goes on writing into it hears of nothing.
                    self.ledger.note_loss(id, end);
                    self.put(id, end, Segment::End);
                }
            }
            _ => {
                for end in [0, 1] {
                    self.cut(id, end);
                }
                for end in [0, 1] {
                    self.break_end(id, end);
                }
            }
        }
        true
    }

    /// Of what is on its way from `end`, a part of the first segment arrives, and nothing else.
    fn cut(&mut self, id: WireId, end: usize) {
        let now = self.now;
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        let other = &wire.ends[1 - end];
        let (life, conn, readable) = (other.life, other.conn, other.open && other.connected && !other.ending);
        let Some(Segment::Bytes(mut bytes)) = wire.pipes[end].land() else {
            return;
        };
        // What had arrived before it would be read first.
        if readable && wire.pipes[end].unread.is_empty() {
            bytes.truncate(self.random.below(bytes.len()));
            if !bytes.is_empty() {
                self.tell(life, |node| node.handle_bytes(now, conn, &bytes));
            }
        }
        self.ledger.note_loss(id, end);
    }

    /// A process ends. Another one follows it at once, or when its machine is up again.
    fn end_life(&mut self, fault: Fault, site: usize, until: std::time::Instant) -> bool {
        if self.sites[site].node.is_none() {
            return false;
        }
        let paused = self.sites[site].paused;
        let silent = fault == Fault::Crash;
        let homes = &self.homes;
        // What it had accepted and not written is gone, and so is what waited for its application.
        self.ledger
            .forget(|entry| homes[entry.from] == site && entry.written.is_none() || paused && homes[entry.to] == site);
        for place in self.sites[site].stop().into_values() {
            if let Place::Wire { wire: id, end } = place
                && let Some(wire) = self.wires.get_mut(&id)
            {
                wire.ends[end].open = false;
                let unread = wire.pipes[1 - end].unread.iter().any(|segment| segment.len() > 0);
                wire.pipes[1 - end].unread.clear();
                if unread {
                    self.ledger.note_loss(id, 1 - end);
                }
                if !silent && wire.ends[1 - end].open {
                    self.put(id, end, if unread { Segment::Reset } else { Segment::End });
                }
                self.clean_up(id);
            }
        }
        self.sites[site].silent = silent;
        if fault == Fault::LoseSecret {
            self.sites[site].secret = self.random.bits();
        }
        let at = if silent { until } else { self.now + self.random.span(Duration::ZERO, Duration::from_secs(5)) };
        self.agenda.plan(at, Happening::Rise { site });
        true
    }

    pub(super) fn rise(&mut self, site: usize) {
        if self.sites[site].node.is_none() {
            let (now, unix) = (self.now, self.unix());
            self.sites[site].start(&self.names, &self.swarm, now, unix);
            self.settle(site);
        }
    }

    /// A site has its proper certificates and the right time.
    pub(super) fn mend(&mut self, site: usize) {
        let (now, unix) = (self.now, self.unix());
        if self.sites[site].wrong_certificate.take().is_some() {
            self.configure(site);
        }
        self.tell(self.sites[site].life, |node| node.handle_clock(now, unix));
    }

    fn configure(&mut self, site: usize) {
        let now = self.now;
        let config = Box::new(self.sites[site].config(&self.names, &self.swarm));
        self.tell(self.sites[site].life, |node| node.handle_command(now, Command::Reconfigure(config)));
    }

    fn move_site(&mut self, site: usize) {
        let moves = u8::try_from(self.random.between(1, 255)).unwrap_or(1);
        self.sites[site].addr = address(site, moves);
        self.publish();
    }

    /// Tells the DNS server where everybody is.
    pub(super) fn publish(&mut self) {
        let mut zone = Zone::new().lasting(self.swarm.ttl);
        for site in self.sites.iter().filter(|site| !site.impostor) {
            let host = format!("host{}.example.net", site.life.site);
            zone = zone.address(&host, site.addr);
            for domain in &site.domains {
                let name = &self.names[*domain];
                if site.starttls {
                    zone = zone.service(&format!("_xmpp-server._tcp.{name}"), 1, 0, 5269, &host);
                }
                if site.direct_tls {
                    zone = zone.service(&format!("_xmpps-server._tcp.{name}"), 0, 0, 5270, &host);
                }
                if !site.starttls && !site.direct_tls {
                    zone = zone.address(name.as_str(), site.addr);
                }
            }
        }
        self.dns.serve(zone);
    }

    /// Nothing is broken any more, and nothing will be.
    pub(super) fn heal(&mut self) {
        self.note(|| "everything is healed".to_owned());
        self.calm = true;
        self.partitions.clear();
        for wire in self.wires.values_mut() {
            for pipe in &mut wire.pipes {
                pipe.stalled_until = self.start;
            }
        }
        for site in 0..self.sites.len() {
            self.sites[site].refuses_until = self.start;
            self.sites[site].swallows_until = self.start;
            self.sites[site].paused = false;
            self.rise(site);
            if !self.sites[site].impostor {
                self.mend(site);
            }
            self.settle(site);
        }
    }

    /// Whether the sites of two domains can federate.
    pub(super) fn can_federate(&self, from: usize, to: usize) -> bool {
        let setup = |domain: usize| -> Setup { self.sites[self.homes[domain]].setup };
        setup(from).can_federate(setup(to))
    }
}
