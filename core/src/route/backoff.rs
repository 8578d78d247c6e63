//! Who failed a short time ago, and until when nobody tries again.
//!
//! Waits grow exponentially, with jitter and a cap. What could not be reached at all is remembered for the domain,
//! and for the address where one failed: all pairs and all verifications share it. What a reachable peer refused is
//! remembered for the pair, because another one may be welcome; but pairs that one domain has refused wait together, so
//! that however many of them there are it hears from us no more often than it would from one. A peer that accepts us
//! and breaks the stream at once, again and again, is waited for too. That a reachable peer does not answer questions
//! about keys counts for questions only: whoever makes us ask does not decide whether we may send. Where it is our own
//! host that may not ask, it counts for the questions of that host, and those of many hosts wait together. And that a peer
//! refuses us does not count for questions: two servers that had each refused the other would do so for ever.
//!
//! Attempts that fail while there is a wait began before it: they are the same failure. When a wait is over one attempt
//! begins, and until it has come to something nobody else tries; but one to send something and one to verify a key may
//! go on together, because two servers that dial each other wait for each other's verification.
//!
//! - [RFC 6120 section 3.3](https://www.rfc-editor.org/rfc/rfc6120#section-3.3)

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::addr::{Domain, Pair};
use crate::dns::Behalf;
use crate::entropy::Entropy;
use crate::limits;
use crate::reason::Reason;
use crate::time::later;

/// Everybody who failed.
#[derive(Debug)]
pub(crate) struct Backoff {
    failed: BTreeMap<Failed, Entry>,
    entropy: Entropy,
}

/// Who failed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Failed {
    /// Nobody answers there.
    Address(SocketAddr),
    /// It could not be reached.
    Domain(Domain),
    /// It was refused.
    Pair(Pair),
    /// It refuses pairs, one or many.
    Refuser(Domain),
    /// Its streams are broken as soon as they are there.
    Stream(Pair),
    /// It does not answer questions about keys.
    Questions(Domain),
    /// One of our hosts may not ask it: its policy forbids what it met there.
    Question(Pair),
    /// Hosts of ours may not ask it, one or many.
    Unasked(Domain),
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    times: u32,
    until: Instant,
    reason: Reason,
    /// When a sign of life of the peer last ended the wait.
    ended: Option<Instant>,
    /// When there was one last, whether or not anybody waited.
    alive: Option<Instant>,
    /// The wait is over and somebody tries.
    probes: Probes,
}

/// Until when attempts may take that are under way, at the latest.
#[derive(Clone, Copy, Debug, Default)]
struct Probes {
    /// To send something.
    ours: Option<Instant>,
    /// To verify a key that a peer has sent.
    peers: Option<Instant>,
}

impl Probes {
    const NONE: Self = Self { ours: None, peers: None };

    const fn of(&self, behalf: Behalf) -> Option<Instant> {
        match behalf {
            Behalf::Ours => self.ours,
            Behalf::Peers => self.peers,
        }
    }

    const fn set(&mut self, behalf: Behalf, until: Option<Instant>) {
        match behalf {
            Behalf::Ours => self.ours = until,
            Behalf::Peers => self.peers = until,
        }
    }
}

impl Backoff {
    /// Nobody has failed yet.
    #[must_use]
    pub(crate) const fn new(entropy: Entropy) -> Self {
        Self { failed: BTreeMap::new(), entropy }
    }

    /// Why `pair` is not tried now, if it is not.
    #[must_use]
    pub(crate) fn reason(&self, now: Instant, pair: &Pair, behalf: Behalf) -> Option<Reason> {
        self.reason_where(now, pair, behalf, |entry| entry.is_waiting(now, behalf))
    }

    /// Whether the verification of a key of `pair` waits for nothing but what another one comes to.
    #[must_use]
    pub(crate) fn awaits_another_question(&self, now: Instant, pair: &Pair) -> bool {
        self.reason(now, pair, Behalf::Peers).is_some()
            && self.reason_where(now, pair, Behalf::Peers, |entry| entry.until > now).is_none()
    }

    /// Why `pair` is not tried, where those wait of whom `is_waiting` says so.
    fn reason_where(
        &self,
        now: Instant,
        pair: &Pair,
        behalf: Behalf,
        is_waiting: impl Fn(&Entry) -> bool,
    ) -> Option<Reason> {
        let waiting = |failed| self.failed.get(&failed).filter(|entry| is_waiting(entry)).map(|entry| entry.reason);
        // A pair that never failed may be welcome. One that did waits with the others, and is told why it did, as long as
        // that is remembered.
        let together = |own: Failed, others: Failed| {
            let own = self.failed.get(&own)?;
            let others = waiting(others)?;
            Some(if own.is_remembered(now) { own.reason } else { others })
        };
        waiting(Failed::Domain(pair.remote.clone())).or_else(|| match behalf {
            // That it refuses us is no reason not to ask it: two servers would refuse each other for ever.
            Behalf::Peers => waiting(Failed::Questions(pair.remote.clone()))
                .or_else(|| waiting(Failed::Question(pair.clone())))
                .or_else(|| together(Failed::Question(pair.clone()), Failed::Unasked(pair.remote.clone()))),
            Behalf::Ours => waiting(Failed::Pair(pair.clone()))
                .or_else(|| waiting(Failed::Stream(pair.clone())))
                .or_else(|| together(Failed::Pair(pair.clone()), Failed::Refuser(pair.remote.clone()))),
        })
    }

    /// Why and until when `addr` is not dialled for `pair`, if it is not; if somebody else tries it at present, until that
    /// has come to something: now, as far as anybody knows. What others met there does not count for a domain that has
    /// shown to be alive since.
    #[must_use]
    pub(crate) fn address_wait(
        &self,
        now: Instant,
        pair: &Pair,
        addr: SocketAddr,
        behalf: Behalf,
    ) -> Option<(Instant, Reason)> {
        let lives = [Failed::Domain(pair.remote.clone()), Failed::Pair(pair.clone())]
            .iter()
            .any(|failed| self.failed.get(failed).is_some_and(Entry::is_alive));
        let entry = self.waiting(now, &Failed::Address(addr), behalf).filter(|_| !lives)?;
        Some((entry.until.max(now), entry.reason))
    }

    fn waiting(&self, now: Instant, failed: &Failed, behalf: Behalf) -> Option<&Entry> {
        self.failed.get(failed).filter(|entry| entry.is_waiting(now, behalf))
    }

    /// An attempt for `pair` begins, which is over at `deadline`. Everybody else waits for what it comes to, if it is not the
    /// first one.
    pub(crate) fn begin(&mut self, pair: &Pair, behalf: Behalf, deadline: Instant) {
        self.probe(pair, behalf, Some(deadline));
    }

    /// An attempt for `pair` is over. Whatever it came to is noted by itself.
    pub(crate) fn end(&mut self, pair: &Pair, behalf: Behalf) {
        self.probe(pair, behalf, None);
    }

    fn probe(&mut self, pair: &Pair, behalf: Behalf, until: Option<Instant>) {
        for failed in every(pair) {
            if let Some(entry) = self.failed.get_mut(&failed) {
                entry.probes.set(behalf, until);
            }
        }
    }

    /// A connection to `addr` is being opened, which is given up at `deadline`.
    pub(crate) fn begin_address(&mut self, addr: SocketAddr, behalf: Behalf, deadline: Instant) {
        if let Some(entry) = self.failed.get_mut(&Failed::Address(addr)) {
            entry.probes.set(behalf, Some(deadline));
        }
    }

    /// A connection to `addr` is open.
    pub(crate) fn note_connected(&mut self, addr: SocketAddr) {
        self.failed.remove(&Failed::Address(addr));
    }

    /// The servers of `pair.remote` have answered a question about it.
    pub(crate) fn note_answer(&mut self, pair: &Pair) {
        self.failed.remove(&Failed::Domain(pair.remote.clone()));
        self.failed.remove(&Failed::Questions(pair.remote.clone()));
        self.failed.remove(&Failed::Question(pair.clone()));
        self.failed.remove(&Failed::Unasked(pair.remote.clone()));
    }

    /// An attempt for `pair` failed for good.
    //= RFC6120-3.3-2
    pub(crate) fn note_failure(&mut self, now: Instant, pair: &Pair, behalf: Behalf, reason: Reason) {
        match reason {
            Reason::DnsNxdomain
            | Reason::DnsFailure
            | Reason::DnsTimeout
            | Reason::SrvDot
            | Reason::NoAddress
            | Reason::AddressNotAllowed
            | Reason::ConnectRefused
            | Reason::ConnectTimeout => self.note(now, Failed::Domain(pair.remote.clone()), reason),
            // Nothing failed: we did not want it, or not any more.
            Reason::Reload
            | Reason::HostUnknown
            | Reason::HostDisabled
            | Reason::DomainDenied
            | Reason::AnonymousHost => {}
            _ if behalf == Behalf::Peers && is_verdict_of_ours(reason) => {
                self.note(now, Failed::Question(pair.clone()), reason);
                self.note_beyond(now, Failed::Unasked(pair.remote.clone()), reason, limits::REFUSALS);
            }
            _ if behalf == Behalf::Peers => self.note(now, Failed::Questions(pair.remote.clone()), reason),
            Reason::NegotiationTimeout => self.note(now, Failed::Domain(pair.remote.clone()), reason),
            _ => {
                self.note(now, Failed::Pair(pair.clone()), reason);
                self.note_beyond(now, Failed::Refuser(pair.remote.clone()), reason, limits::REFUSALS);
            }
        }
    }

    /// A connection to `addr` could not be opened.
    pub(crate) fn note_address(&mut self, now: Instant, addr: SocketAddr, reason: Reason) {
        self.note(now, Failed::Address(addr), reason);
    }

    /// Nobody was dialled for `pair`, because all its addresses wait, the first of them until then: nothing new has failed.
    pub(crate) fn note_waiting(&mut self, now: Instant, pair: &Pair, until: Instant, reason: Reason) {
        let failed = Failed::Domain(pair.remote.clone());
        let known = self.failed.get(&failed).filter(|entry| entry.is_remembered(now));
        let (times, ended) = known.map_or((0, None), |entry| (entry.times, entry.ended));
        self.insert(failed, Entry { times, until, reason, ended, alive: None, probes: Probes::NONE });
    }

    /// A stream of ours for `pair` that was up has ended, `age` after it was dialled. `reason` is `None` if we closed it in
    /// good order, whatever for: then the peer has broken nothing. `served` tells whether the peer has taken a stanza: one
    /// that says goodbye behind it has broken nothing either.
    //= RFC6120-3.3-2
    pub(crate) fn note_end(&mut self, now: Instant, pair: &Pair, age: Duration, served: bool, reason: Option<Reason>) {
        let failed = Failed::Stream(pair.clone());
        let broken = reason.filter(|reason| match reason {
            Reason::Idle => !served,
            // We did not want it any more.
            Reason::Reload
            | Reason::HostUnknown
            | Reason::HostDisabled
            | Reason::DomainDenied
            | Reason::AnonymousHost => false,
            _ => true,
        });
        if age >= limits::STEADY_STREAM {
            self.failed.remove(&failed);
        } else if let Some(reason) = broken {
            self.note_beyond(now, failed, reason, limits::BROKEN_STREAMS.saturating_sub(1));
        }
    }

    /// We are configured in another way: what failed may work now, and somebody is probably waiting to see.
    pub(crate) fn forget(&mut self) {
        self.failed.clear();
    }

    /// A stream of ours for `pair` is up.
    pub(crate) fn note_success(&mut self, pair: &Pair) {
        let asked = |failed: &Failed| matches!(failed, Failed::Questions(_) | Failed::Question(_) | Failed::Unasked(_));
        for failed in every(pair).iter().filter(|failed| !asked(failed) && !matches!(failed, Failed::Stream(_))) {
            self.failed.remove(failed);
        }
    }

    /// The domain of `pair` has proved itself to us over a connection from `from`, so both live: what waits for either waits
    /// no longer. A wait ends so at most once in [`limits::BACKOFF_END_INTERVAL`].
    pub(crate) fn note_sign_of_life(&mut self, now: Instant, pair: &Pair, from: IpAddr) {
        let at = |port| Failed::Address(SocketAddr::new(from, port));
        let address = self.failed.range(at(0)..=at(u16::MAX)).map(|(failed, _)| failed.clone());
        for failed in address.chain(every(pair)).collect::<Vec<_>>() {
            let Some(entry) = self.failed.get_mut(&failed) else { continue };
            entry.alive = Some(now);
            if [Behalf::Ours, Behalf::Peers].iter().any(|behalf| entry.is_waiting(now, *behalf))
                && entry.ended.is_none_or(|ended| later(ended, limits::BACKOFF_END_INTERVAL) <= now)
            {
                (entry.until, entry.ended, entry.probes) = (now, Some(now), Probes::NONE);
            }
        }
    }

    /// How many are remembered.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.failed.len()
    }

    fn note(&mut self, now: Instant, failed: Failed, reason: Reason) {
        self.note_beyond(now, failed, reason, 0);
    }

    /// Notes a failure. The first ones, so many, only count.
    fn note_beyond(&mut self, now: Instant, failed: Failed, reason: Reason, free: u32) {
        let known = self.failed.get(&failed).filter(|entry| entry.is_remembered(now));
        let (times, ended) = known.map_or((0, None), |entry| (entry.times, entry.ended));
        let entry = match known.filter(|entry| entry.until > now) {
            Some(waiting) => Entry { reason, ..*waiting },
            None => {
                let times = times.saturating_add(1);
                let wait =
                    times.checked_sub(free).filter(|times| *times > 0).map_or(Duration::ZERO, |times| self.wait(times));
                Entry { times, until: later(now, wait), reason, ended, alive: None, probes: Probes::NONE }
            }
        };
        self.insert(failed, entry);
    }

    fn insert(&mut self, failed: Failed, entry: Entry) {
        if !self.failed.contains_key(&failed) && self.failed.len() >= limits::BACKOFF_ENTRIES {
            self.forget_one();
        }
        self.failed.insert(failed, entry);
    }

    /// From half of the full wait to all of it.
    fn wait(&mut self, times: u32) -> Duration {
        let doublings = times.saturating_sub(1).min(16);
        let full = limits::BACKOFF_BASE.saturating_mul(1 << doublings).min(limits::BACKOFF_CAP);
        let half = u64::try_from(full.as_millis()).unwrap_or(u64::MAX) / 2;
        Duration::from_millis(half.saturating_add(self.entropy.below(half)))
    }

    /// Forgets who may be tried again first.
    fn forget_one(&mut self) {
        let first = self.failed.iter().min_by_key(|(_, entry)| entry.until).map(|(failed, _)| failed.clone());
        if let Some(failed) = first {
            self.failed.remove(&failed);
        }
    }
}

/// What may have failed of `pair`, but for addresses.
fn every(pair: &Pair) -> [Failed; 7] {
    let [domain, refuser, questions, unasked] =
        [Failed::Domain, Failed::Refuser, Failed::Questions, Failed::Unasked].map(|of| of(pair.remote.clone()));
    let [refused, stream, question] = [Failed::Pair, Failed::Stream, Failed::Question].map(|of| of(pair.clone()));
    [domain, refuser, questions, unasked, refused, stream, question]
}

/// Whether it may have been the policy of one of our hosts that ended an attempt: another host may go on where this one
/// may not. What TLS fails for is not told; it may be a version that one host wants and another does not.
const fn is_verdict_of_ours(reason: Reason) -> bool {
    matches!(reason, Reason::EncryptionRequired | Reason::StarttlsNotOffered | Reason::TlsFailed)
        || reason.is_about_certificate()
}

impl Entry {
    /// Whether nobody is to try now.
    fn is_waiting(&self, now: Instant, behalf: Behalf) -> bool {
        self.until > now || self.probes.of(behalf).is_some_and(|until| until > now)
    }

    /// Whether further failures follow on this one.
    fn is_remembered(&self, now: Instant) -> bool {
        later(self.until, limits::BACKOFF_CAP) > now
    }

    /// Whether there was a sign of life, and nothing has failed since.
    fn is_alive(&self) -> bool {
        self.alive.is_some_and(|alive| self.until <= alive)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
mod tests;
