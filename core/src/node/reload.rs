//! Another configuration: every pair that is up is judged again by it, and every pair that is proved later on a stream
//! that began before.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use crate::addr::Pair;
use crate::auth::Method;
use crate::machine::ConnId;
use crate::node::rates::DomainRates;
use crate::node::{Config, Direction, Event, Limits, Node};
use crate::policy::{self, Protection};
use crate::rate::TokenBucket;
use crate::reason::Reason;
use crate::stream::{Receiving, StreamError};

/// What a reload means for one pair.
enum Verdict {
    /// It may stay.
    Keep,
    /// Its host is served no more.
    HostGone,
    /// Policy forbids it now.
    Forbidden(Reason),
}

impl Node {
    /// Takes another configuration. Pairs that it forbids are closed, and what waits for them goes back. Who failed under
    /// the last one is tried again at once.
    ///
    /// A stream on which every pair is forbidden is closed with `policy-violation`, or with `host-gone` where its
    /// host was removed; where others stay, only the pair is dropped.
    //= RFC6120-4.9.3.5-1
    pub fn reconfigure(&mut self, now: Instant, config: Config) {
        self.resolver.reconfigure(config.resolver());
        self.resize(now, &config.limits);
        self.config = config;
        self.backoff.forget();
        self.peers.forget();
        self.config.tls.set_time(self.anchor.unix_at(now));
        // TLS is offered by what is configured now, so that it has to be begun with that, unless it was offered before.
        for connected in self.links.values_mut() {
            let local = connected.link.receiving_stream().and_then(Receiving::local);
            if local.is_none_or(|local| self.config.tls.has_certificate(local)) {
                connected.link.set_provider(Arc::clone(&self.config.tls));
            }
        }
        let conns: Vec<_> = self.links.keys().copied().collect();
        for conn in conns {
            self.judge_link_again(now, conn);
        }
        let waiting: Vec<_> = self.routes.keys().cloned().collect();
        for pair in waiting {
            match self.refusal_to_send(&pair) {
                None => self.arm_route(&pair), // the patience of what waits may be another
                Some(reason) => self.fail_route(now, &pair, reason),
            }
        }
        self.release_all_held_keys(now);
        self.settle(now);
    }

    /// Rates that were changed begin anew; everything else is looked at when it is reached.
    fn resize(&mut self, now: Instant, limits: &Limits) {
        let old = &self.config.limits;
        let rates = |limits: &Limits| {
            (limits.handshake_rate, limits.handshake_rate_per_address, limits.connection_rate_per_address)
        };
        if rates(limits) != rates(old) {
            self.admission.reconfigure();
        }
        let (per_connection, per_domain) = (limits.rate_per_connection, limits.rate_per_domain);
        if (per_connection, per_domain) == (old.rate_per_connection, old.rate_per_domain) {
            return;
        }
        self.rates = DomainRates::default();
        for (conn, connected) in &mut self.links {
            connected.rate = per_connection.map(|rate| TokenBucket::new(now, rate));
            connected.paused_until = None;
            self.dirty.insert(*conn);
        }
    }

    fn judge_link_again(&mut self, now: Instant, conn: ConnId) {
        let Some(connected) = self.links.get_mut(&conn) else {
            return;
        };
        connected.reloaded = true;
        let direction = connected.purpose.direction();
        let up: Vec<_> = connected.up.iter().map(|(pair, by)| (pair.clone(), *by)).collect();
        let count = up.len();
        let mut forbidden = BTreeSet::new();
        let mut host_gone = false;
        for (pair, by) in up {
            match self.judge_pair_again(now, conn, &pair, by, direction) {
                Verdict::Keep => continue,
                Verdict::HostGone => host_gone = true,
                Verdict::Forbidden(reason) => self.raise_refused_pair(now, conn, &pair, reason, "reload".to_owned()),
            }
            forbidden.insert(pair);
        }
        if forbidden.is_empty() {
            return;
        }
        self.take_stanzas(conn); // of a pair that is down, none is told
        if forbidden.len() == count {
            let error = if host_gone { StreamError::HostGone } else { StreamError::Refused(Reason::Reload) };
            return self.with_link(conn, |link| link.refuse(now, &error, None));
        }
        // Others are left: the stream is a peer's, since one of ours carries a single pair.
        for pair in forbidden {
            if let Some(connected) = self.touch(conn) {
                connected.link.revoke(&pair);
                connected.up.remove(&pair);
            }
            self.admission.part(&pair);
            self.events.push_back(Event::PeerDown {
                pair,
                direction: Direction::Inbound,
                reason: Reason::Reload,
                conn,
            });
        }
    }

    /// Whether a pair that was just proved may come up, although it was invited to prove itself before a reload.
    pub(super) fn judge_after_reload(
        &self,
        now: Instant,
        conn: ConnId,
        pair: &Pair,
        by: Method,
    ) -> Result<(), StreamError> {
        let Some(connected) = self.links.get(&conn).filter(|connected| connected.reloaded) else {
            return Ok(());
        };
        match self.judge_pair_again(now, conn, pair, by, connected.purpose.direction()) {
            Verdict::Keep => Ok(()),
            Verdict::HostGone => Err(StreamError::HostGone),
            Verdict::Forbidden(reason) => Err(StreamError::Refused(reason)),
        }
    }

    fn judge_pair_again(&self, now: Instant, conn: ConnId, pair: &Pair, by: Method, direction: Direction) -> Verdict {
        let Some(options) = self.config.hosts.get(&pair.local) else {
            return Verdict::HostGone;
        };
        // A domain that has become one of ours is nobody else's any more.
        if self.config.hosts.contains_key(&pair.remote) {
            return Verdict::Forbidden(match direction {
                Direction::Inbound => Reason::FromMismatch,
                Direction::Outbound => Reason::HostUnknown,
            });
        }
        if !self.is_protected_enough(conn, options) {
            return Verdict::Forbidden(Reason::TlsFailed);
        }
        let certificate = self.certificate(now, conn, &pair.remote);
        let protection = Protection::of(&certificate);
        let judge = match direction {
            Direction::Inbound => policy::judge_again,
            Direction::Outbound => policy::judge_ourselves_again,
        };
        judge(options, &pair.remote, by, protection).map_or_else(Verdict::Forbidden, |()| Verdict::Keep)
    }
}
