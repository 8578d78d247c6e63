//! What the dialler is to do, written down without any of its structures: one loop over what happens next.

use std::net::SocketAddr;
use std::time::Duration;

use crate::scene::{Fate, Host, Place, Scene};

/// RFC 8305 section 8: between two attempts.
const STAGGER: Duration = Duration::from_millis(250);
/// RFC 8305 section 3: addresses of one family wait for the other.
const RESOLUTION: Duration = Duration::from_millis(50);
/// A query is put twice, and each time waited for so long.
const QUERY: Duration = Duration::from_secs(3);
/// The most candidates of one attempt.
const MOST: usize = 16;

/// What an attempt comes to, in time since its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    /// Whom it dials, and when.
    pub(crate) dials: Vec<(Duration, SocketAddr)>,
    /// When it is over.
    pub(crate) at: Duration,
    pub(crate) end: End,
}

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    /// There was nobody to dial.
    Nowhere,
    /// Nobody could be connected to.
    Unconnected,
    /// DNS failed, or somebody was connected to and did not do, or the time was up.
    Failed,
    /// The peer is reached.
    Reached,
}

/// What DNS tells: candidates with the moment at which they may be tried, and when it has told all.
struct Told<'s> {
    candidates: Vec<(Duration, SocketAddr, &'s Place)>,
    over: Duration,
    /// What it comes to where there is no candidate.
    nobody: End,
}

/// When DNS answers, and what; `None`: that it failed.
fn answer<T>(asked: Duration, takes: Duration, fails: bool, found: T) -> (Duration, Option<T>) {
    match takes >= QUERY {
        true => (asked + 2 * QUERY, None),
        false => (asked + takes, (!fails).then_some(found)),
    }
}

impl Scene {
    fn told(&self) -> Told<'_> {
        let [direct, plain] = [0, 1].map(|n| answer(Duration::ZERO, self.services[n], self.failing[n], ()));
        let known = direct.0.max(plain.0);
        let offered = |host: &&(usize, &Host)| if host.1.direct { direct.1.is_some() } else { plain.1.is_some() };
        let all: Vec<(usize, &Host)> = self.hosts.iter().enumerate().collect();
        let hosts: Vec<(usize, &Host)> = all.iter().filter(offered).copied().collect();
        if hosts.is_empty() {
            return Told { candidates: Vec::new(), over: known, nobody: End::Failed };
        }
        let families: Vec<_> = hosts
            .iter()
            .map(|(at, host)| {
                let family = |ipv6, wanted, takes| match wanted {
                    true => answer(known, takes, host.fails, host.addrs(*at, ipv6)),
                    false => (known, Some(Vec::new())),
                };
                [family(true, self.ipv6, host.aaaa), family(false, self.ipv4, host.a)]
            })
            .collect();
        let patience = |[one, other]: &[(Duration, Option<Vec<_>>); 2]| {
            let [first, second] = if one.0 <= other.0 { [one, other] } else { [other, one] };
            let some = first.1.as_ref().is_some_and(|found| !found.is_empty());
            (some && first.0 < second.0).then(|| first.0 + RESOLUTION)
        };
        let mut moments: Vec<Duration> = families.iter().flatten().map(|(at, _)| *at).collect();
        let over = moments.iter().copied().max().unwrap_or(known);
        moments.extend(families.iter().filter_map(patience).filter(|at| *at <= over));
        moments.sort_unstable();
        let mut candidates: Vec<(Duration, SocketAddr, &Place)> = Vec::new();
        for now in moments {
            for families in &families {
                let known = |family: &(Duration, Option<Vec<(SocketAddr, &'_ Place)>>)| family.0 <= now;
                let [v6, v4] = families;
                let complete = known(v6) && known(v4);
                let waited = patience(families).is_some_and(|until| until <= now);
                let all = complete || waited;
                let found = |family: &(Duration, Option<Vec<_>>)| {
                    if known(family) { family.1.clone().unwrap_or_default() } else { Vec::new() }
                };
                let (mut v6_found, v4_found) = (found(v6), found(v4));
                // RFC 6724 section 6: IPv6 comes first, then IPv4, and unique local addresses last.
                let is_local = |(_, place): &(SocketAddr, &Place)| place.fate == Fate::Private;
                v6_found.sort_by_key(is_local);
                let one = known(v6) && !v6_found.is_empty();
                let turns = match v6_found.first().is_none_or(is_local) {
                    true => [&v4_found, &v6_found],
                    false => [&v6_found, &v4_found],
                };
                let in_turn: Vec<_> = (0..MOST).flat_map(|n| turns.map(|family| family.get(n))).flatten().collect();
                let count = if all { in_turn.len() } else { usize::from(one) };
                let room = if complete { MOST } else { MOST / 2 };
                for (addr, place) in in_turn.into_iter().take(count) {
                    if candidates.len() < room && !candidates.iter().any(|(_, told, _)| told == addr) {
                        candidates.push((now, *addr, *place));
                    }
                }
                if !all {
                    break;
                }
            }
        }
        let failed = families.iter().flatten().any(|(_, found)| found.is_none());
        Told { candidates, over, nobody: if failed { End::Failed } else { End::Nowhere } }
    }

    /// The attempt. Everything that is not told here takes no time.
    pub(crate) fn expected(&self) -> Expected {
        let Told { candidates, over, nobody } = self.told();
        let mut end = if candidates.is_empty() { nobody } else { End::Nowhere };
        let mut dials = Vec::new();
        let mut coming = candidates.iter();
        let mut next_told = coming.next();
        let mut waiting: Vec<(SocketAddr, &Place)> = Vec::new();
        // Who is being connected to, since when.
        let mut connecting: Vec<(SocketAddr, &Place, Duration)> = Vec::new();
        // Until when the one that is connected keeps the others waiting.
        let mut silent: Option<Duration> = None;
        // Before that nobody is dialled while somebody is being connected to.
        let mut gate = Duration::ZERO;
        let mut now = Duration::ZERO;
        loop {
            if now >= self.timeout {
                let nobody_answers = silent.is_none() && !dials.is_empty();
                let last = if nobody_answers { End::Unconnected } else { End::Failed };
                return Expected { dials, at: self.timeout, end: end.max(last) };
            }
            while let Some((at, addr, place)) = next_told.filter(|told| told.0 <= now) {
                debug_assert!(*at <= now);
                if !matches!(place.fate, Fate::Private | Fate::OurListener) {
                    waiting.push((*addr, *place));
                }
                next_told = coming.next();
            }
            if silent.is_some_and(|until| until <= now) {
                (silent, end) = (None, end.max(End::Failed));
            }
            // Whoever was dialled and has an answer by now, the earliest first.
            while let Some(first) = connecting.iter().position(|dialled| self.heard(dialled).0 <= now) {
                let (addr, place, since) = connecting.remove(first);
                let was_last = dials.last() == Some(&(since, addr));
                match self.heard(&(addr, place, since)).1 {
                    false => {
                        end = end.max(End::Unconnected);
                        gate = if was_last { now } else { gate };
                    }
                    true => {
                        let losers = connecting.drain(..).map(|(addr, place, _)| (addr, place));
                        waiting = losers.chain(waiting).collect();
                        match place.fate {
                            Fate::Serves => return Expected { dials, at: now, end: End::Reached },
                            Fate::Silent => silent = Some(since + self.attempt),
                            _ => end = end.max(End::Failed),
                        }
                    }
                }
            }
            if silent.is_none() && !waiting.is_empty() && (connecting.is_empty() || gate <= now) {
                let (addr, place) = waiting.remove(0);
                dials.push((now, addr));
                connecting.push((addr, place, now));
                gate = now + STAGGER;
                continue;
            }
            if now >= over && next_told.is_none() && silent.is_none() && waiting.is_empty() && connecting.is_empty() {
                return Expected { dials, at: now, end };
            }
            let gate = (!waiting.is_empty() && silent.is_none()).then_some(gate);
            let answers = connecting.iter().map(|dialled| self.heard(dialled).0);
            let told = next_told.map(|(at, ..)| *at);
            let others = [gate, silent, told, Some(over).filter(|over| *over > now), Some(self.timeout)];
            now = answers.chain(others.into_iter().flatten()).min().expect("the end of its time").max(now);
        }
    }

    /// When it is known what comes of dialling, and whether that is a connection.
    fn heard(&self, (_, place, since): &(SocketAddr, &Place, Duration)) -> (Duration, bool) {
        match place.fate {
            Fate::BlackHole => (*since + self.attempt, false),
            _ if place.delay >= self.attempt => (*since + self.attempt, false),
            fate => (*since + place.delay, fate != Fate::Refuses),
        }
    }
}
