//! What goes wrong, and how it is mended.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use s2s_core::dns::Security;
use s2s_core::machine::Machine;
use s2s_core::node::{Command, Config, StaticRoute};

use super::agenda::Happening;
use super::federation::{Federation, address};
use super::net::{Segment, WireId};
use super::options::{Decree, any_other};
use super::site::Place;
use super::swarm::Fault;
use super::zone;
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
        let site = self.random.below(self.honest_sites());
        self.break_something(fault, site);
    }

    /// How many sites there are that are who they say: the impostor is the last one.
    pub(super) fn honest_sites(&self) -> usize {
        self.sites.iter().filter(|site| !site.impostor).count()
    }

    /// This fault strikes, if it finds something to break.
    pub(super) fn break_something(&mut self, fault: Fault, site: usize) {
        if self.calm {
            return;
        }
        let sites = self.honest_sites();
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

    fn trouble_site(&mut self, fault: Fault, site: usize, until: Instant) -> bool {
        let now = self.now;
        let life = self.sites[site].life;
        if self.sites[site].node.is_none() {
            return false;
        }
        match fault {
            Fault::Refuse => self.sites[site].refuses_until = until,
            Fault::BlackHole => self.sites[site].swallows_until = until,
            Fault::MoveZone => self.move_site(site),
            Fault::SlowApplication if self.sites[site].decree.is_none() => {
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
            Fault::Reload => {
                if self.varied && !self.sites[site].paused && self.aside.one_in(2) {
                    self.decree(site, until);
                }
                self.configure(site);
            }
            _ => return false,
        }
        true
    }

    /// The operator of a site decides something else for a while.
    fn decree(&mut self, site: usize, until: Instant) {
        let other = any_other(site, self.honest_sites(), &mut self.aside);
        let decree = *self.aside.pick(&[Decree::Deny(other), Decree::SwitchSecureAuth]);
        self.note(|| format!("site {site}: {decree:?} until {until:?}"));
        self.sites[site].decree = Some(decree);
        self.agenda.plan(until, Happening::Mend { site });
    }

    /// Breaks a connection of two nodes, or one direction of it.
    fn damage_wire(&mut self, fault: Fault, until: Instant) -> bool {
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
    fn end_life(&mut self, fault: Fault, site: usize, until: Instant) -> bool {
        if self.sites[site].node.is_none() {
            return false;
        }
        let paused = self.sites[site].paused;
        let silent = fault == Fault::Crash;
        let homes = &self.homes;
        // What it had accepted and not written is gone, and so is what waited for its application.
        self.ledger
            .forget(|entry| homes[entry.from] == site && entry.written.is_none() || paused && homes[entry.to] == site);
        if paused {
            // So is what it would have told about them.
            for (wire, end) in self.sites[site].past.values() {
                self.ledger.excuse(*wire, *end);
            }
        }
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
            let (now, unix, config) = (self.now, self.unix(), self.config_of(site));
            self.sites[site].start(config, now, unix);
            self.settle(site);
        }
    }

    /// A site has its proper certificates, configuration and time.
    pub(super) fn mend(&mut self, site: usize) {
        let (now, unix, calm) = (self.now, self.unix(), self.calm);
        let mended = &mut self.sites[site];
        let (certificate, decree) = (mended.wrong_certificate.take(), mended.decree.take());
        // Whoever has static routes learns where the others are now.
        if certificate.is_some() || decree.is_some() || calm && mended.orders.routes {
            self.configure(site);
        }
        self.tell(self.sites[site].life, |node| node.handle_clock(now, unix));
    }

    fn configure(&mut self, site: usize) {
        let now = self.now;
        let config = Box::new(self.config_of(site));
        self.tell(self.sites[site].life, |node| node.handle_command(now, Command::Reconfigure(config)));
        if !self.sites[site].paused {
            self.judge_all_up(site);
        }
    }

    /// How the node of a site is configured now.
    fn config_of(&self, site: usize) -> Config {
        let mut config = self.sites[site].config(&self.names, &self.homes, &self.swarm);
        if self.sites[site].orders.routes {
            let others = self.names.iter().zip(&self.homes).filter(|(_, home)| **home != site);
            config.routes = others.map(|(name, home)| (name.clone(), self.route_to(*home))).collect();
        }
        config
    }

    fn route_to(&self, site: usize) -> StaticRoute {
        let site = &self.sites[site];
        let (port, security) = match site.is_direct_only() {
            true => (5270, Security::DirectTls),
            false => (5269, Security::StartTls),
        };
        StaticRoute { addr: SocketAddr::new(site.addr, port), security }
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
            zone = zone::publish(zone, site, &self.names, self.calm);
        }
        self.dns.serve(zone);
    }

    /// Nothing is broken any more, and nothing will be.
    pub(super) fn heal(&mut self) {
        self.note(|| "everything is healed".to_owned());
        self.calm = true;
        self.publish();
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

    /// Whether stanzas of one domain reach another when nothing is broken.
    pub(super) fn can_send(&self, from: usize, to: usize) -> bool {
        self.sites[self.homes[from]].can_send_to(&self.sites[self.homes[to]])
    }
}
