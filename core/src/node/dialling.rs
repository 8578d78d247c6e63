//! Errands: what connections are opened for. A lookup, a race of the candidates, success or the reason of the failure.
//!
//! - [RFC 6120 section 3.2](https://www.rfc-editor.org/rfc/rfc6120#section-3.2)

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use crate::addr::{Domain, Pair};
use crate::dns::{Behalf, Candidate, LookupId, Progress, Security};
use crate::limits;
use crate::link::Link;
use crate::machine::{ConnId, Effect};
use crate::node::{Direction, Errand, Event, Node, Purpose};
use crate::reason::Reason;
use crate::route::{Dial, Race, State};
use crate::time::later;

impl Node {
    /// An attempt to reach the servers of `pair.remote`: it begins with a lookup, or with the race of a static route.
    //= RFC6120-3.2.3-1
    pub(super) fn begin_dial(&mut self, now: Instant, errand: &Errand, pair: &Pair) -> Dial {
        let deadline = later(now, self.config.negotiation_timeout);
        self.backoff.begin(pair, errand.behalf(), deadline);
        if let Some(route) = self.config.route(&pair.remote) {
            let candidate = Candidate { addr: route.addr, security: route.security };
            let mut dial = Dial::new(now, deadline, Race::of([].into()));
            if self.lacks_tls_for(pair, &candidate) {
                dial.note_lack_of_tls();
            } else {
                dial.race_mut().join([candidate]);
            }
            return dial;
        }
        let behalf = match errand {
            Errand::Route(_) => self.routes.get(pair).map_or(Behalf::Ours, |route| route.behalf),
            Errand::Verify(_) => Behalf::Peers,
        };
        let lookup = self.resolver.lookup(now, &pair.remote, behalf);
        self.lookups.insert(lookup, errand.clone());
        Dial::new(now, deadline, Race::awaiting(lookup))
    }

    /// DNS has told something. A lookup whose errand is done already goes on for the sake of what will be remembered
    /// ([RFC 8305 section 5](https://www.rfc-editor.org/rfc/rfc8305#section-5)).
    //= RFC6120-13.9.2-1
    //= RFC8305-3-2
    pub(super) fn handle_progress(&mut self, now: Instant, lookup: LookupId, progress: Progress) {
        let known = match progress {
            Progress::Candidates(_) => self.lookups.get(&lookup).cloned(),
            Progress::Done(_) => self.lookups.remove(&lookup),
        };
        let waiting = known.filter(|errand| self.dial(errand).is_some_and(|dial| dial.race().lookup() == Some(lookup)));
        let Some(errand) = waiting else {
            return;
        };
        match progress {
            Progress::Candidates(candidates) => {
                for candidate in candidates {
                    self.take_candidate(now, &errand, candidate);
                }
            }
            Progress::Done(answer) => {
                if let Some(dial) = self.dial_mut(&errand) {
                    dial.race_mut().complete();
                    if let Err(reason) = answer {
                        dial.note_failure(reason);
                    }
                }
            }
        }
        self.start_candidates(now, &errand);
    }

    /// A candidate joins the race, unless it may not be dialled.
    fn take_candidate(&mut self, now: Instant, errand: &Errand, candidate: Candidate) {
        let Some(pair) = self.pair_of(errand) else {
            return;
        };
        let (lacks_tls, allowed) = (self.lacks_tls_for(&pair, &candidate), self.may_dial(&candidate));
        // Whoever is connected to us lives, whatever others met at its address.
        let lives = self.admission.is_proved(&pair);
        let wait = self.backoff.address_wait(now, &pair, candidate.addr, errand.behalf()).filter(|_| !lives);
        if let Some(dial) = self.dial_mut(errand) {
            match wait {
                _ if lacks_tls => dial.note_lack_of_tls(),
                _ if !allowed => dial.note_failure(Reason::AddressNotAllowed),
                Some((until, reason)) => dial.note_wait(until, reason),
                None => dial.race_mut().join([candidate]),
            }
        }
    }

    /// XEP-0368 section 3: without TLS the targets of `_xmpps-server` are no candidates.
    fn lacks_tls_for(&self, pair: &Pair, candidate: &Candidate) -> bool {
        candidate.security == Security::DirectTls && !self.tls_enabled(&pair.local)
    }

    /// An IPv4 address is the same one when it is written as an IPv6 address.
    fn may_dial(&self, candidate: &Candidate) -> bool {
        let canonical = |addr: SocketAddr| SocketAddr::new(addr.ip().to_canonical(), addr.port());
        let wanted = canonical(candidate.addr);
        self.config.private_addresses.allow(wanted.ip())
            && !self.config.own_listeners.iter().any(|own| canonical(*own) == wanted)
    }

    fn tls_enabled(&self, local: &Domain) -> bool {
        self.config.hosts.get(local).is_some_and(|options| !options.tls_disabled)
    }

    /// Dials the candidates whose moment has come, and arms the next moment; ends the errand if nobody is left.
    pub(super) fn start_candidates(&mut self, now: Instant, errand: &Errand) {
        while let Some(candidate) = self.next_candidate(now, errand) {
            let conn = self.dial_candidate(now, errand, candidate);
            if let Some(dial) = self.dial_mut(errand) {
                dial.race_mut().started(now, conn, candidate);
            }
        }
        if self.dial(errand).is_some_and(|dial| dial.race().is_over()) {
            return self.run_out(now, errand);
        }
        match errand {
            Errand::Route(pair) => self.arm_route(pair),
            Errand::Verify(id) => self.arm_verification(*id),
        }
    }

    fn next_candidate(&mut self, now: Instant, errand: &Errand) -> Option<Candidate> {
        let is_crowded = self.opening >= limits::DIALS;
        self.dial_mut(errand)?.race_mut().start_next(now, is_crowded)
    }

    /// No candidate is left. If there was none to dial, nothing has told so yet.
    fn run_out(&mut self, now: Instant, errand: &Errand) {
        let Some(dial) = self.dial(errand) else {
            return;
        };
        let (failure, dialled, our_fault) = (dial.failure(), dial.race().has_begun(), dial.is_our_fault());
        // Questions on behalf of peers wait for each other: that this one was not answered in time tells of them.
        let answers_only = matches!(errand, Errand::Route(pair) if self.routes.get(pair).is_some_and(|route| route.behalf == Behalf::Peers));
        let our_fault = our_fault || (answers_only && failure == Reason::DnsTimeout);
        // A verification that fails is told by the stream that waits for it.
        if !dialled && let Errand::Route(pair) = errand {
            self.raise_unreached(pair.clone(), failure);
        }
        if our_fault {
            self.end_errand(now, errand, failure);
        } else {
            self.fail_errand(now, errand, failure);
        }
    }

    //= RFC9525-6.1.1-2
    //= RFC7673-4.1-1
    //= RFC8305-10-1
    fn dial_candidate(&mut self, now: Instant, errand: &Errand, candidate: Candidate) -> ConnId {
        self.config.tls.set_time(self.anchor.unix_at(now));
        let id = self.next_id();
        let conn = ConnId(id);
        self.totals.dialled = self.totals.dialled.saturating_add(1);
        if let Some(pair) = self.pair_of(errand) {
            let entropy = self.entropy.fork("link", id);
            let direct_tls = candidate.security == Security::DirectTls;
            let (settings, tls) = (self.link_settings(), self.config.tls.clone());
            let link = Link::initiating(now, pair.local, pair.remote, direct_tls, tls, settings, entropy);
            self.insert(conn, now, link, candidate.addr, Purpose::Errand(errand.clone()));
            let deadline = later(now, self.config.attempt_timeout);
            self.backoff.begin_address(candidate.addr, errand.behalf(), deadline);
            let from = self.outgoing_address(candidate.addr);
            self.effects.push_back(Effect::Dial { conn, addr: candidate.addr, from });
        }
        conn
    }

    /// The address of ours to dial `addr` from: one of its family, by the number of all dials so far; `None` leaves the choice
    /// to the system.
    fn outgoing_address(&self, addr: SocketAddr) -> Option<IpAddr> {
        let usable: Vec<_> =
            self.config.outgoing_addresses.iter().filter(|from| from.is_ipv4() == addr.is_ipv4()).collect();
        let turn = usize::try_from(self.totals.dialled).unwrap_or_default();
        usable.get(turn.checked_rem(usable.len())?).map(|from| **from)
    }

    /// A connection is open: if it is the first of its race it may speak, and the others are dropped.
    pub(super) fn race_connected(&mut self, conn: ConnId) -> bool {
        let Some(errand) = self.errand_of(conn) else {
            return false;
        };
        if let Some(connected) = self.links.get(&conn) {
            self.backoff.note_connected(connected.addr);
        }
        let mut losers = Vec::new();
        let won = self.dial_mut(&errand).is_some_and(|dial| dial.race_mut().connected(conn, &mut losers));
        for loser in losers {
            self.with_link(loser, Link::cancel);
        }
        if !won {
            self.with_link(conn, Link::cancel);
        }
        won
    }

    /// A candidate failed before it could serve: the next one is tried, or the errand fails.
    //= RFC6120-3.2.1-4
    //= RFC8305-9.2-1
    //= RFC6120-5.4.3.2-3
    //= RFC9325-3.1.3-1
    pub(super) fn candidate_failed(&mut self, now: Instant, errand: &Errand, conn: ConnId, reason: Reason) {
        if !self.is_trying(errand, conn) {
            return;
        }
        if matches!(reason, Reason::ConnectRefused | Reason::ConnectTimeout)
            && let Some(connected) = self.links.get(&conn)
        {
            self.backoff.note_address(now, connected.addr, reason);
        }
        let shutting_down = self.shutting_down;
        let Some(dial) = self.dial_mut(errand) else {
            return;
        };
        dial.note_failure(reason);
        dial.race_mut().failed(now, conn);
        let failure = dial.failure();
        if shutting_down {
            self.fail_errand(now, errand, failure);
        } else {
            self.start_candidates(now, errand);
        }
    }

    /// Whether `conn` is one of the candidates that `errand` tries.
    pub(super) fn is_trying(&self, errand: &Errand, conn: ConnId) -> bool {
        self.dial(errand).is_some_and(|dial| dial.race().is_trying(conn))
    }

    pub(super) fn dial(&self, errand: &Errand) -> Option<&Dial> {
        match errand {
            Errand::Route(pair) => match &self.routes.get(pair)?.state {
                State::Reaching(dial) => Some(dial),
                State::Idle | State::Up(_) | State::Leaving(..) => None,
            },
            Errand::Verify(id) => self.verifications.get(id).map(|verification| &verification.dial),
        }
    }

    pub(super) fn dial_mut(&mut self, errand: &Errand) -> Option<&mut Dial> {
        match errand {
            Errand::Route(pair) => match &mut self.routes.get_mut(pair)?.state {
                State::Reaching(dial) => Some(dial),
                State::Idle | State::Up(_) | State::Leaving(..) => None,
            },
            Errand::Verify(id) => self.verifications.get_mut(id).map(|verification| &mut verification.dial),
        }
    }

    pub(super) fn errand_began(&self, errand: &Errand) -> Option<Instant> {
        self.dial(errand).map(Dial::began)
    }

    /// There is nobody to dial: reported like any other attempt that fails.
    pub(super) fn raise_unreached(&mut self, pair: Pair, reason: Reason) {
        self.events.push_back(Event::Refused {
            local: Some(pair.local),
            remote: Some(pair.remote),
            link: None,
            direction: Direction::Outbound,
            reason,
            detail: String::new(),
        });
    }

    /// The errand has failed for good, which is remembered.
    pub(super) fn fail_errand(&mut self, now: Instant, errand: &Errand, reason: Reason) {
        // What ends because we go down says nothing about the peer.
        if let Some(pair) = self.pair_of(errand).filter(|_| !self.shutting_down) {
            match self.dial(errand).and_then(Dial::waits_until) {
                Some(until) => self.backoff.note_waiting(now, &pair, until, reason),
                None => self.backoff.note_failure(now, &pair, errand.behalf(), reason),
            }
        }
        self.end_errand(now, errand, reason);
    }

    fn end_errand(&mut self, now: Instant, errand: &Errand, reason: Reason) {
        if let Some(pair) = self.pair_of(errand) {
            self.backoff.end(&pair, errand.behalf());
        }
        match errand {
            Errand::Route(pair) => self.fail_route(now, pair, reason),
            Errand::Verify(id) => self.fail_verification(now, *id, reason),
        }
    }

    /// An attempt has succeeded. Its lookup goes on unless there are many: nobody waits for it any more.
    //= RFC8305-5-4
    pub(super) fn dial_succeeded(&mut self, dial: &Dial) {
        if self.lookups.len() > limits::LATE_LOOKUPS
            && let Some(lookup) = dial.race().lookup()
        {
            self.resolver.cancel(lookup);
            self.lookups.remove(&lookup);
        }
    }

    /// Abandons what an attempt has under way: its lookup, or its connections.
    pub(super) fn abandon_dial(&mut self, now: Instant, dial: &Dial) {
        if let Some(lookup) = dial.race().lookup() {
            self.resolver.cancel(lookup);
            self.lookups.remove(&lookup);
        }
        for conn in dial.race().conns() {
            self.close(now, conn, Reason::NegotiationTimeout);
        }
    }
}
