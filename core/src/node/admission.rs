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

use crate::addr::Pair;
use crate::limits;
use crate::node::Limits;
use crate::rate::TokenBucket;
use crate::route::{Place, places};
use crate::time::later;

/// The limit that turned somebody away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Bound {
    /// [`Limits::connections`]
    Connections,
    /// [`Limits::connection_rate_per_address`]
    ConnectionRatePerAddress,
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
    /// [`Limits::streams_per_pair`]
    StreamsPerPair,
    /// [`Limits::unauthenticated`]
    Unauthenticated,
}

impl Bound {
    /// Its name among the limits, for logs and figures.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::ConnectionRatePerAddress => "connection_rate_per_address",
            Self::ConnectionsPerAddress => "connections_per_address",
            Self::HandshakeRate => "handshake_rate",
            Self::HandshakeRatePerAddress => "handshake_rate_per_address",
            Self::Handshakes => "handshakes",
            Self::HandshakesPerAddress => "handshakes_per_address",
            Self::StreamsPerPair => "streams_per_pair",
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
    places: BTreeMap<Place, Guests>,
    rate: Option<TokenBucket>,
    handshake_rates: Rates,
    connection_rates: Rates,
    /// On how many streams each pair is proved.
    streams: BTreeMap<Pair, usize>,
}

/// How much each place has done lately of something that is bounded by a rate.
#[derive(Debug, Default)]
struct Rates(BTreeMap<Place, TokenBucket>);

impl Rates {
    /// Whether `addr` may do it once more, where `rate` is the share of one address in a second.
    fn take(&mut self, now: Instant, addr: IpAddr, rate: u64) -> bool {
        places(addr).all(|(place, shares)| self.take_from(now, place, rate.saturating_mul(shares as u64)))
    }

    fn take_from(&mut self, now: Instant, place: Place, rate: u64) -> bool {
        if !self.0.contains_key(&place) && self.0.len() >= limits::RATED_PLACES {
            self.0.retain(|_, rate| !rate.is_full(now));
            if self.0.len() >= limits::RATED_PLACES {
                return false;
            }
        }
        self.0.entry(place).or_insert_with(|| TokenBucket::new(now, rate)).take(now, 1)
    }
}

/// Who comes from one place.
#[derive(Debug, Default)]
struct Guests {
    connections: usize,
    handshakes: usize,
}

impl Admission {
    /// Counts a connection from `addr`, unless one of the limits is reached.
    //= RFC6120-13.12-2
    //= RFC6120-13.12-3
    //= XEP0205-4.1-1
    //= XEP0205-4.2-1
    pub(super) fn admit(&mut self, now: Instant, addr: IpAddr, limits: &Limits) -> Result<(), Bound> {
        if self.total >= limits.connections {
            return Err(Bound::Connections);
        }
        if self.strangers >= limits.unauthenticated {
            return Err(Bound::Unauthenticated);
        }
        if self.is_full(addr, limits.connections_per_address, |guests| guests.connections) {
            return Err(Bound::ConnectionsPerAddress);
        }
        if !self.connection_rates.take(now, addr, limits.connection_rate_per_address) {
            return Err(Bound::ConnectionRatePerAddress);
        }
        for (place, _) in places(addr) {
            let guests = self.places.entry(place).or_default();
            guests.connections = guests.connections.saturating_add(1);
        }
        self.total = self.total.saturating_add(1);
        self.strangers = self.strangers.saturating_add(1);
        Ok(())
    }

    /// Counts a handshake on a connection from `addr` that was admitted, unless one of the limits is reached.
    pub(super) fn begin_handshake(&mut self, now: Instant, addr: IpAddr, limits: &Limits) -> Result<(), Bound> {
        if self.handshakes >= limits.handshakes {
            return Err(Bound::Handshakes);
        }
        if self.is_full(addr, limits.handshakes_per_address, |guests| guests.handshakes) {
            return Err(Bound::HandshakesPerAddress);
        }
        // The place pays first, so that one that is too fast does not use up what all share.
        if !self.handshake_rates.take(now, addr, limits.handshake_rate_per_address) {
            return Err(Bound::HandshakeRatePerAddress);
        }
        let rate = self.rate.get_or_insert_with(|| TokenBucket::new(now, limits.handshake_rate));
        if !rate.take(now, 1) {
            return Err(Bound::HandshakeRate);
        }
        self.handshakes = self.handshakes.saturating_add(1);
        for (place, _) in places(addr) {
            let guests = self.places.entry(place).or_default();
            guests.handshakes = guests.handshakes.saturating_add(1);
        }
        Ok(())
    }

    /// Whether one of the places of `addr` has what it may have, where `limit` is the share of one address.
    fn is_full(&self, addr: IpAddr, limit: usize, count: impl Fn(&Guests) -> usize) -> bool {
        places(addr).any(|(place, shares)| self.places.get(&place).map_or(0, &count) >= limit.saturating_mul(shares))
    }

    /// A handshake on a connection from `addr` is over, one way or the other.
    pub(super) fn end_handshake(&mut self, addr: IpAddr) {
        self.handshakes = self.handshakes.saturating_sub(1);
        for (place, _) in places(addr) {
            if let Some(guests) = self.places.get_mut(&place) {
                guests.handshakes = guests.handshakes.saturating_sub(1);
            }
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
        for (place, _) in places(addr) {
            if let Some(guests) = self.places.get_mut(&place) {
                guests.connections = guests.connections.saturating_sub(1);
                if guests.connections == 0 {
                    self.places.remove(&place);
                }
            }
        }
    }

    /// Whether another stream may prove `pair`.
    pub(super) fn has_room_for(&self, pair: &Pair, limits: &Limits) -> bool {
        self.streams.get(pair).is_none_or(|streams| *streams < limits.streams_per_pair)
    }

    /// Whether a stream has proved `pair` and is still there.
    pub(super) fn is_proved(&self, pair: &Pair) -> bool {
        self.streams.contains_key(pair)
    }

    /// A stream has proved `pair`.
    pub(super) fn join(&mut self, pair: &Pair) {
        let streams = self.streams.entry(pair.clone()).or_default();
        *streams = streams.saturating_add(1);
    }

    /// A stream that had proved `pair` is over, or the pair is.
    pub(super) fn part(&mut self, pair: &Pair) {
        if let Some(streams) = self.streams.get_mut(pair) {
            *streams = streams.saturating_sub(1);
            if *streams == 0 {
                self.streams.remove(pair);
            }
        }
    }

    /// Other limits count. Rates begin anew.
    pub(super) fn reconfigure(&mut self) {
        self.rate = None;
        self.handshake_rates.0.clear();
        self.connection_rates.0.clear();
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

    /// The same before its time, because nothing will be told later.
    pub(super) fn take_all(&mut self) -> Vec<(Bound, u64, SocketAddr)> {
        let untold = std::mem::take(&mut self.sums).into_iter().filter(|(_, sum)| sum.times > 0);
        untold.map(|(bound, sum)| (bound, sum.times, sum.last)).collect()
    }
}
