//! How many connections there may be: in all, from one place, and of strangers; and how many of them may do the
//! expensive part of TLS at once.
//!
//! Who is turned away costs an entry in a sum, and is told together with others: a flood of connections is no flood of
//! events.
//!
//! - [RFC 6120 section 13.12](https://www.rfc-editor.org/rfc/rfc6120#section-13.12), [XEP-0205 section 4](https://xmpp.org/extensions/xep-0205.html)

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use crate::limits;
use crate::node::Limits;
use crate::rate::TokenBucket;
use crate::route::place;
use crate::time::later;

/// The limit that turned somebody away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Bound {
    /// [`Limits::connections`]
    Connections,
    /// [`Limits::connections_per_address`]
    ConnectionsPerAddress,
    /// [`Limits::handshake_rate`]
    HandshakeRate,
    /// [`Limits::handshake_rate_per_address`]
    HandshakeRatePerAddress,
    /// [`Limits::handshakes`]
    Handshakes,
    /// [`Limits::handshakes_per_address`]
    HandshakesPerAddress,
    /// [`Limits::unauthenticated`]
    Unauthenticated,
}

impl Bound {
    /// Its name among the limits, for logs and figures.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::ConnectionsPerAddress => "connections_per_address",
            Self::HandshakeRate => "handshake_rate",
            Self::HandshakeRatePerAddress => "handshake_rate_per_address",
            Self::Handshakes => "handshakes",
            Self::HandshakesPerAddress => "handshakes_per_address",
            Self::Unauthenticated => "unauthenticated",
        }
    }
}

/// The inbound connections and their TLS handshakes, counted.
#[derive(Debug, Default)]
pub(super) struct Admission {
    total: usize,
    strangers: usize,
    handshakes: usize,
    places: BTreeMap<IpAddr, Place>,
    rate: Option<TokenBucket>,
    rates: BTreeMap<IpAddr, TokenBucket>,
}

/// What comes from one place.
#[derive(Debug, Default)]
struct Place {
    connections: usize,
    handshakes: usize,
}

impl Admission {
    /// Counts a connection from `addr`, unless one of the limits is reached.
    //= RFC6120-13.12-2
    //= XEP0205-4.1-1
    pub(super) fn admit(&mut self, addr: IpAddr, limits: &Limits) -> Result<(), Bound> {
        if self.total >= limits.connections {
            return Err(Bound::Connections);
        }
        if self.strangers >= limits.unauthenticated {
            return Err(Bound::Unauthenticated);
        }
        let here = self.places.get(&place(addr)).map_or(0, |here| here.connections);
        if here >= limits.connections_per_address {
            return Err(Bound::ConnectionsPerAddress);
        }
        let at = self.places.entry(place(addr)).or_default();
        at.connections = at.connections.saturating_add(1);
        self.total = self.total.saturating_add(1);
        self.strangers = self.strangers.saturating_add(1);
        Ok(())
    }

    /// Counts a handshake on a connection from `addr` that was admitted, unless one of the limits is reached.
    pub(super) fn begin_handshake(&mut self, now: Instant, addr: IpAddr, limits: &Limits) -> Result<(), Bound> {
        let place = place(addr);
        let here = self.places.get(&place).map_or(0, |here| here.handshakes);
        if self.handshakes >= limits.handshakes {
            return Err(Bound::Handshakes);
        }
        if here >= limits.handshakes_per_address {
            return Err(Bound::HandshakesPerAddress);
        }
        // The place pays first, so that one that is too fast does not use up what all share.
        if !self.take_from(now, place, limits) {
            return Err(Bound::HandshakeRatePerAddress);
        }
        let rate = self.rate.get_or_insert_with(|| TokenBucket::new(now, limits.handshake_rate));
        if !rate.take(now, 1) {
            return Err(Bound::HandshakeRate);
        }
        self.handshakes = self.handshakes.saturating_add(1);
        let at = self.places.entry(place).or_default();
        at.handshakes = at.handshakes.saturating_add(1);
        Ok(())
    }

    fn take_from(&mut self, now: Instant, place: IpAddr, limits: &Limits) -> bool {
        if !self.rates.contains_key(&place) && self.rates.len() >= limits::RATED_PLACES {
            self.rates.retain(|_, rate| !rate.is_full(now));
            if self.rates.len() >= limits::RATED_PLACES {
                return false;
            }
        }
        let rate = self.rates.entry(place).or_insert_with(|| TokenBucket::new(now, limits.handshake_rate_per_address));
        rate.take(now, 1)
    }

    /// A handshake on a connection from `addr` is over, one way or the other.
    pub(super) fn end_handshake(&mut self, addr: IpAddr) {
        self.handshakes = self.handshakes.saturating_sub(1);
        if let Some(here) = self.places.get_mut(&place(addr)) {
            here.handshakes = here.handshakes.saturating_sub(1);
        }
    }

    /// A stranger has proved itself.
    pub(super) const fn introduce(&mut self) {
        self.strangers = self.strangers.saturating_sub(1);
    }

    /// A connection from `addr` is gone, its handshake being over.
    pub(super) fn leave(&mut self, addr: IpAddr, was_stranger: bool) {
        self.total = self.total.saturating_sub(1);
        if was_stranger {
            self.introduce();
        }
        if let Some(here) = self.places.get_mut(&place(addr)) {
            here.connections = here.connections.saturating_sub(1);
            if here.connections == 0 {
                self.places.remove(&place(addr));
            }
        }
    }

    /// Other limits count. Rates begin anew.
    pub(super) fn reconfigure(&mut self) {
        self.rate = None;
        self.rates.clear();
    }

    /// Inbound connections, those of them that have proved nothing, and TLS handshakes under way.
    pub(super) const fn counts(&self) -> (usize, usize, usize) {
        (self.total, self.strangers, self.handshakes)
    }
}

/// Who was turned away, and what of it was not told yet.
#[derive(Debug, Default)]
pub(super) struct TurnedAway {
    sums: BTreeMap<Bound, Sum>,
}

/// Those that one limit turned away.
#[derive(Debug)]
struct Sum {
    times: u64,
    last: SocketAddr,
    told: Option<Instant>,
}

impl TurnedAway {
    /// `bound` turned `addr` away.
    pub(super) fn note(&mut self, bound: Bound, addr: SocketAddr) {
        let sum = self.sums.entry(bound).or_insert(Sum { times: 0, last: addr, told: None });
        sum.times = sum.times.saturating_add(1);
        sum.last = addr;
    }

    /// When there is something to tell.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let waiting = self.sums.values().filter(|sum| sum.times > 0);
        waiting.map(|sum| sum.told.map_or(now, |told| later(told, limits::TURNED_AWAY_INTERVAL))).min()
    }

    /// What is to be told now: the limit, how many it turned away since it was last told, and the last of them.
    pub(super) fn take(&mut self, now: Instant) -> Vec<(Bound, u64, SocketAddr)> {
        let mut taken = Vec::new();
        for (bound, sum) in &mut self.sums {
            let due = sum.told.is_none_or(|told| later(told, limits::TURNED_AWAY_INTERVAL) <= now);
            if sum.times > 0 && due {
                taken.push((*bound, std::mem::take(&mut sum.times), sum.last));
                sum.told = Some(now);
            }
        }
        taken
    }
}
