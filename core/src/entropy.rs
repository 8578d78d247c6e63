//! Randomness as an input: one seed, forked by label, never the operating system.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// 256 bits from the operating system's generator, drawn by whoever owns the core.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Seed(pub [u8; 32]);

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed(..)")
    }
}

/// A deterministic generator: HMAC-SHA256 under its seed over a counter.
///
/// Without the seed its output cannot be told from random bits, and one fork says nothing about another.
#[derive(Debug)]
pub struct Entropy {
    seed: Seed,
    counter: u64,
}

impl Entropy {
    /// The generator of `seed`.
    #[must_use]
    pub const fn new(seed: Seed) -> Self {
        Self { seed, counter: 0 }
    }

    /// An independent generator for the purpose `label`, the `index`th of its kind.
    #[must_use]
    pub fn fork(&self, label: &str, index: u64) -> Self {
        Self::new(Seed(self.derive(&[b"fork", &[0], label.as_bytes(), &[0], &index.to_be_bytes()])))
    }

    /// The next 256 bits.
    pub fn next_block(&mut self) -> [u8; 32] {
        let counter = self.counter;
        self.counter = counter.wrapping_add(1);
        self.derive(&[b"draw", &[0], &counter.to_be_bytes()])
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.next_block().iter().take(8).fold(0, |value, byte| (value << 8) | u64::from(*byte))
    }

    /// The next 16 bits.
    pub fn next_u16(&mut self) -> u16 {
        (self.next_u64() >> 48) as u16
    }

    /// A number below `bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // 64 random bits reduced to the small ranges that we draw from: the bias is below 2^-32.
        (u128::from(self.next_u64()).saturating_mul(u128::from(bound)) >> 64) as u64
    }

    /// 128 random bits as lower-case hexadecimal text: a stream id.
    //= RFC6120-4.7.3-2
    pub fn hex_128(&mut self) -> String {
        self.next_block().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }

    #[expect(clippy::unreachable, reason = "HMAC takes keys of any length, RFC 2104 section 2")]
    fn derive(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.seed.0)
            .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_forks_differ() {
        let draw = |fork: Option<(&str, u64)>| {
            let root = Entropy::new(Seed([7; 32]));
            let mut entropy = match fork {
                Some((label, index)) => root.fork(label, index),
                None => root,
            };
            (entropy.next_u64(), entropy.hex_128())
        };
        assert_eq!(draw(None), draw(None));
        let all: BTreeSet<_> = [None, Some(("a", 0)), Some(("a", 1)), Some(("b", 0))].map(draw).into();
        assert_eq!(all.len(), 4);
    }

    #[test]
    //= RFC6120-4.7.3-2 test
    fn stream_ids_have_128_bits_and_do_not_repeat() {
        let mut entropy = Entropy::new(Seed([1; 32]));
        let ids: BTreeSet<_> = (0..10_000).map(|_| entropy.hex_128()).collect();
        assert_eq!(ids.len(), 10_000);
        assert!(ids.iter().all(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())));
    }

    #[test]
    fn below_stays_below_and_reaches_everything() {
        let mut entropy = Entropy::new(Seed([2; 32]));
        let seen: BTreeSet<_> = (0..1000).map(|_| entropy.below(5)).collect();
        assert_eq!(seen, (0..5).collect());
        assert_eq!(entropy.below(0), 0);
    }
}
