//! Randomness of the simulator itself: SplitMix64, so that a seed is one number and every draw a few instructions.

use std::time::Duration;

/// A generator. The same seed gives the same draws.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
    /// What is drawn first, last draw first.
    script: Vec<u16>,
}

impl Random {
    /// The generator of `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed, script: Vec::new() }
    }

    /// A generator whose first draws are these bytes, two for each, so that a fuzzer can change one of them. What follows
    /// depends on their number only.
    #[must_use]
    pub fn scripted(bytes: &[u8]) -> Self {
        let (draws, _) = bytes.as_chunks::<2>();
        Self { state: bytes.len() as u64, script: draws.iter().rev().map(|draw| u16::from_be_bytes(*draw)).collect() }
    }

    /// A generator beside this one: what is drawn from it leaves the draws of this one as they are. Behind a script it is
    /// another one for every script.
    pub(super) fn beside(&self) -> Self {
        let mix = |state: u64, draw: &u16| state.rotate_left(5).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(*draw);
        let state = self.script.iter().fold(self.state, mix);
        Self { state: state ^ 0xe703_7ed1_a0b4_28db, script: Vec::new() }
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        if let Some(draw) = self.script.pop() {
            return u64::from(draw) << 48;
        }
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.bits()) * bound as u128) >> 64) as usize
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// A number from `low` to `high`.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// A span of time from `low` to `high`, in steps of a microsecond.
    pub fn span(&mut self, low: Duration, high: Duration) -> Duration {
        let steps = usize::try_from((high - low).as_micros()).unwrap_or(usize::MAX - 1);
        low + Duration::from_micros(self.below(steps + 1) as u64)
    }

    /// One of them.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }
}
