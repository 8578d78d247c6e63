//! What passes on wires: connections that are dialled and accepted, segments that are written, arrive and are read, and
//! every way in which a connection ends.

use std::hash::Hash;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use s2s_core::limits;
use s2s_core::machine::{ConnId, Listener, Machine};

use super::agenda::Happening;
use super::federation::{Federation, LONG_STANZA_BYTES};
use super::ledger::Written;
use super::net::{End, Pipe, Segment, Wire, WireId};
use super::site::{Life, Place};
use super::zone;

/// Bytes that one read takes at most.
const READ_BYTES: usize = 16_384;

impl Federation {
    /// A connection that is dialled reaches the other side.
    pub(super) fn knock(&mut self, from: Life, conn: ConnId, addr: SocketAddr) {
        if self.place(from, conn) != Some(Place::Dialling) {
            return;
        }
        let now = self.now;
        let (low, high) = self.swarm.quality.latency;
        let back = now + self.random.span(low, high);
        let target = self.sites.iter().position(|site| site.addr == addr.ip());
        let listener = match addr.port() {
            5269 => Some(Listener::StartTls),
            5270 => Some(Listener::DirectTls),
            _ => None,
        };
        let refused = Happening::Failed { at: from, conn, error: io::ErrorKind::ConnectionRefused };
        let (Some(target), Some(listener)) = (target, listener) else {
            return match zone::is_silent(addr.ip()) {
                true => self.agenda.plan(now + Duration::from_secs(1), Happening::Syn { from, conn, addr }),
                false => self.agenda.plan(back, refused),
            };
        };
        let site = &self.sites[target];
        if self.parted_until(from.site, target) > now || site.swallows_until > now || site.silent {
            return self.agenda.plan(now + Duration::from_secs(1), Happening::Syn { from, conn, addr });
        }
        let (life, refuses) = (site.life, site.refuses_until > now);
        let caller = SocketAddr::new(self.sites[from.site].addr, 40_000);
        let accepted = match self.node(life).filter(|_| !refuses) {
            Some(node) => node.handle_accept(now, caller, listener),
            None => return self.agenda.plan(back, refused),
        };
        match accepted {
            Some(accepted) => self.connect((from, conn), (life, accepted), back),
            None => {
                self.agenda.plan(back, Happening::Failed { at: from, conn, error: io::ErrorKind::ConnectionReset });
            }
        }
        self.settle(target);
    }

    fn connect(&mut self, dialler: (Life, ConnId), acceptor: (Life, ConnId), at: Instant) {
        self.wire_count += 1;
        let id = WireId(self.wire_count);
        self.note(|| format!("{id:?}: {dialler:?} to {acceptor:?}"));
        let end = |(life, conn), connected| End { life, conn, open: true, ending: false, connected };
        let mut wire = Wire {
            ends: [end(dialler, false), end(acceptor, true)],
            pipes: [Pipe::new(self.now), Pipe::new(self.now)],
        };
        wire.pipes[1].delay(at);
        for (end, (life, conn)) in [dialler, acceptor].into_iter().enumerate() {
            self.sites[life.site].conns.insert(conn, Place::Wire { wire: id, end });
            self.sites[life.site].woken.insert(conn);
        }
        self.wires.insert(id, Box::new(wire));
        self.agenda.plan(at, Happening::Connected { at: dialler.0, conn: dialler.1 });
    }

    /// Until when nothing passes between two sites.
    pub(super) fn parted_until(&self, one: usize, other: usize) -> Instant {
        let until = self.partitions.get(&(one.min(other), one.max(other)));
        until.copied().unwrap_or(self.start)
    }

    /// Writes and reads once each, if the node wants to.
    pub(super) fn serve(&mut self, site: usize, conn: ConnId) {
        if let Some(Place::Wire { wire, end }) = self.sites[site].conns.get(&conn).copied() {
            let wrote = self.write(site, conn, wire, end);
            let read = self.read(site, conn, wire, end);
            if wrote || read {
                self.sites[site].woken.insert(conn);
            }
        }
    }

    fn write(&mut self, site: usize, conn: ConnId, id: WireId, end: usize) -> bool {
        let (Some(wire), Some(node)) = (self.wires.get_mut(&id), &mut self.sites[site].node) else {
            return false;
        };
        let pipe = &mut wire.pipes[end];
        if !wire.ends[end].connected || pipe.ended {
            return false;
        }
        let pending = node.pending(conn);
        let room = pending.len().min(pipe.room());
        if pending.is_empty() && wire.ends[end].ending {
            self.put(id, end, Segment::End);
            return false;
        }
        let bound = limits::OUTPUT_HIGH_WATER_BYTES + 2 * LONG_STANZA_BYTES;
        if pending.len() > bound {
            let law = format!("site {site} has {} bytes to write to {conn:?}", pending.len());
            self.break_law(law);
            return false;
        }
        if room == 0 {
            return false;
        }
        let partial = self.swarm.quality.partial && !self.calm;
        let taken = if partial { self.random.between(1, room) } else { room };
        let bytes = pending[..taken].to_vec();
        node.handle_sent(self.now, conn, taken);
        let written = Written { way: (id, end), at: self.now, to: wire.ends[1 - end].conn };
        for number in pipe.scanner.scan(&bytes) {
            let result = self.ledger.note_written(number, written);
            self.check(result);
        }
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let size = self.random.between(1, self.swarm.quality.segment).min(rest.len());
            let (piece, tail) = rest.split_at(size);
            rest = tail;
            self.put(id, end, Segment::Bytes(piece.to_vec()));
        }
        true
    }

    /// Puts a segment on its way.
    pub(super) fn put(&mut self, id: WireId, end: usize, segment: Segment) {
        if let Some(wire) = self.wires.get_mut(&id) {
            segment.hash(&mut self.hasher);
            let at = wire.pipes[end].put(self.now, segment, self.swarm.quality, &mut self.random);
            self.agenda.plan(at, Happening::Arrival { wire: id, to: 1 - end });
        }
    }

    fn read(&mut self, site: usize, conn: ConnId, id: WireId, end: usize) -> bool {
        let now = self.now;
        let (Some(wire), Some(node)) = (self.wires.get_mut(&id), &mut self.sites[site].node) else {
            return false;
        };
        if !wire.ends[end].connected || wire.pipes[1 - end].unread.is_empty() || !node.interest(conn).read {
            return false;
        }
        let was_full = wire.pipes[1 - end].room() == 0;
        match wire.pipes[1 - end].read(READ_BYTES) {
            Some(Segment::Bytes(bytes)) => {
                if wire.ends[end].ending {
                    self.ledger.note_loss(id, 1 - end);
                }
                if was_full {
                    self.agenda.plan(now, Happening::Room { wire: id, end: 1 - end });
                }
                let heard = &mut wire.pipes[1 - end].heard;
                heard.scan(&bytes);
                // Who is about to end listens no more.
                if heard.has_closed() && !wire.ends[end].ending {
                    self.ledger.excuse(id, end);
                }
                node.handle_bytes(now, conn, &bytes);
            }
            Some(Segment::End) => node.handle_eof(now, conn),
            Some(Segment::Reset) | None => return false,
        }
        true
    }

    /// The first segment on its way to one end arrives.
    pub(super) fn arrive(&mut self, id: WireId, to: usize) {
        let Some(wire) = self.wires.get(&id) else {
            return;
        };
        let (life, conn, open) = (wire.ends[to].life, wire.ends[to].conn, wire.ends[to].open);
        let other = wire.ends[1 - to].life.site;
        let mut until = wire.pipes[1 - to].stalled_until.max(self.parted_until(life.site, other));
        if self.sites[life.site].silent {
            until = until.max(self.now + Duration::from_secs(1));
        }
        if until > self.now {
            return self.agenda.plan(until, Happening::Arrival { wire: id, to });
        }
        let Some(segment) = self.wires.get_mut(&id).and_then(|wire| wire.pipes[1 - to].land()) else {
            return;
        };
        if !open || self.sites[life.site].life != life {
            return self.bounce_off(id, to, &segment);
        }
        if segment == Segment::Reset {
            return self.break_end(id, to);
        }
        if let Some(wire) = self.wires.get_mut(&id) {
            wire.pipes[1 - to].hold(segment);
        }
        self.sites[life.site].woken.insert(conn);
        self.settle(life.site);
    }

    /// A segment arrives where nobody is any more.
    fn bounce_off(&mut self, id: WireId, to: usize, segment: &Segment) {
        if segment.len() > 0 {
            self.ledger.note_loss(id, 1 - to);
            if self.wires.get(&id).is_some_and(|wire| wire.ends[1 - to].open) {
                self.put(id, to, Segment::Reset);
            }
        }
        self.clean_up(id);
    }

    /// The connection is broken for one end.
    pub(super) fn break_end(&mut self, id: WireId, end: usize) {
        let now = self.now;
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        let (life, conn) = (wire.ends[end].life, wire.ends[end].conn);
        if wire.pipes[1 - end].lose() {
            self.ledger.note_loss(id, 1 - end);
        }
        wire.pipes[end].ended = true;
        self.tell(life, |node| node.handle_closed(now, conn, io::ErrorKind::ConnectionReset));
    }

    /// One end lets its connection go.
    pub(super) fn close_end(&mut self, id: WireId, end: usize) {
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        wire.ends[end].open = false;
        let incoming = &mut wire.pipes[1 - end];
        let unread = incoming.unread.iter().any(|segment| segment.len() > 0);
        incoming.unread.clear();
        if unread {
            self.ledger.note_loss(id, 1 - end);
        }
        if wire.ends[1 - end].open {
            if unread {
                self.put(id, end, Segment::Reset);
            } else if !wire.pipes[end].ended {
                self.put(id, end, Segment::End);
            }
        }
        self.clean_up(id);
    }

    /// Forgets a wire that nobody holds any more.
    pub(super) fn clean_up(&mut self, id: WireId) {
        if self.wires.get(&id).is_none_or(|wire| wire.ends[0].open || wire.ends[1].open) {
            return;
        }
        if let Some(mut wire) = self.wires.remove(&id) {
            for end in [0, 1] {
                if wire.pipes[end].lose() {
                    self.ledger.note_loss(id, end);
                }
            }
        }
    }
}
