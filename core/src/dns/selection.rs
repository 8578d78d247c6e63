//! Which address of a host to try first: [RFC 6724 section 6](https://www.rfc-editor.org/rfc/rfc6724#section-6).
//!
//! Of its rules the first that tells two addresses apart decides. Each compares one figure of either, so the figures of
//! an address, in the order of the rules, are its [`Rank`]:
//!
//! | rule | comes first | decided |
//! |---|---|---|
//! | 1 | what there is a route to | where sources are known |
//! | 2 | whose source has the same scope | where sources are known |
//! | 3, 4, 7 | whose source is not deprecated, or a home address; what no tunnel leads to | never: it cannot be seen |
//! | 5 | whose source has the same label | where sources are known |
//! | 6 | the higher precedence | always |
//! | 8 | the smaller scope | always |
//! | 9 | what has more bits in common with its source | for IPv6, where sources are known |
//! | 10 | what came first | always |
//!
//! A source is the address from which the system would send: [`SourceAddresses`]. Rule 9 is left out for IPv4, as the
//! RFC allows: there a prefix tells nothing of distance, and the order of the answer is how servers spread their load.
//!
//! - Scopes: [RFC 6724 section 3](https://www.rfc-editor.org/rfc/rfc6724#section-3)
//! - Precedence and labels: [RFC 6724 section 2.1](https://www.rfc-editor.org/rfc/rfc6724#section-2.1)

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::{IpAddr, Ipv6Addr};

/// How many bits of an IPv6 address name a network; those behind them name an interface in it.
const NETWORK_BITS: u32 = 64;

/// Knows from which address the system would send.
///
/// Adapters implement it, for [`ResolverConfig::sources`](super::ResolverConfig::sources). A lookup asks at most once about
/// an address, and about no more than [`limits::CANDIDATES`](crate::limits::CANDIDATES) of each family of a host. Answers
/// are an input of the machine like any other: the same ones give the same order.
pub trait SourceAddresses: Debug + Send + Sync {
    /// The address from which the system would send to `destination`; `None` if it has no route there.
    ///
    /// It must not block: the machine waits for it.
    fn source(&self, destination: IpAddr) -> Option<IpAddr>;
}

/// What is known of the address from which one destination is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Nothing: there is nobody to ask.
    Unknown,
    /// There is no route.
    Unroutable,
    /// It is this one.
    Known(IpAddr),
}

/// The place of a destination among others: the least comes first. One field for each rule, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    is_unroutable: bool,
    has_other_scope: bool,
    has_other_label: bool,
    precedence: Reverse<u8>,
    scope: Scope,
    /// Bits that it has in common with its source, none for IPv4. Families are not compared by it: their precedences
    /// differ.
    prefix: Reverse<u32>,
}

/// How far an address reaches, the smallest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    LinkLocal,
    SiteLocal,
    Global,
}

/// What the default policy table says of an address.
struct Policy {
    precedence: u8,
    label: u8,
}

/// The ranks of destinations, each found once.
#[derive(Debug, Default)]
pub(super) struct Ranks(BTreeMap<IpAddr, Rank>);

impl Ranks {
    /// Finds the rank of a destination that has none yet.
    pub(super) fn note(&mut self, destination: IpAddr, sources: Option<&dyn SourceAddresses>) {
        self.0.entry(destination).or_insert_with(|| Rank::new(destination, Source::of(destination, sources)));
    }

    /// Sorts destinations whose ranks were found. Equals stay in their order.
    //= RFC8305-4-1
    pub(super) fn sort(&self, destinations: &mut [IpAddr]) {
        destinations.sort_by_key(|destination| self.0.get(destination));
    }

    /// Whether there is no route to a destination, or only from an address that does not belong with it: what is
    /// answered later may well come before it.
    pub(super) fn is_poor(&self, destination: IpAddr) -> bool {
        let rank = self.0.get(&destination);
        rank.is_some_and(|rank| rank.is_unroutable || rank.has_other_scope || rank.has_other_label)
    }
}

impl Source {
    fn of(destination: IpAddr, sources: Option<&dyn SourceAddresses>) -> Self {
        match sources {
            None => Self::Unknown,
            Some(sources) => sources.source(destination).map_or(Self::Unroutable, Self::Known),
        }
    }
}

impl Rank {
    pub(super) fn new(destination: IpAddr, source: Source) -> Self {
        let to = mapped(destination);
        let from = match source {
            Source::Known(source) => Some(mapped(source)),
            Source::Unknown | Source::Unroutable => None,
        };
        let (policy, scope) = (Policy::of(to), Scope::of(to));
        let in_common = |from: Ipv6Addr| (from.to_bits() ^ to.to_bits()).leading_zeros().min(NETWORK_BITS);
        let is_ipv6 = to.to_ipv4_mapped().is_none();
        Self {
            is_unroutable: source == Source::Unroutable,
            has_other_scope: from.is_some_and(|from| Scope::of(from) != scope),
            has_other_label: from.is_some_and(|from| Policy::of(from).label != policy.label),
            precedence: Reverse(policy.precedence),
            scope,
            prefix: Reverse(from.filter(|_| is_ipv6).map_or(0, in_common)),
        }
    }
}

impl Scope {
    const fn of(address: Ipv6Addr) -> Self {
        match address.segments() {
            [0, 0, 0, 0, 0, 0, 0, 1] | [0xfe80..=0xfebf, ..] => Self::LinkLocal,
            // 127.0.0.0/8 and 169.254.0.0/16
            [0, 0, 0, 0, 0, 0xffff, 0x7f00..=0x7fff | 0xa9fe, _] => Self::LinkLocal,
            [0xfec0..=0xfeff, ..] => Self::SiteLocal,
            _ => Self::Global,
        }
    }
}

impl Policy {
    const fn of(address: Ipv6Addr) -> Self {
        // Loopback; IPv4-mapped; IPv4-compatible; Teredo; 6to4; 6bone; site-local; unique local; the rest.
        // Longer prefixes stand before those that contain them.
        let (precedence, label) = match address.segments() {
            [0, 0, 0, 0, 0, 0, 0, 1] => (50, 0),
            [0, 0, 0, 0, 0, 0xffff, ..] => (35, 4),
            [0, 0, 0, 0, 0, 0, ..] => (1, 3),
            [0x2001, 0, ..] => (5, 5),
            [0x2002, ..] => (30, 2),
            [0x3ffe, ..] => (1, 12),
            [0xfec0..=0xfeff, ..] => (1, 11),
            [0xfc00..=0xfdff, ..] => (3, 13),
            _ => (40, 1),
        };
        Self { precedence, label }
    }
}

/// An address as IPv6, so that one table does for both families.
const fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}
