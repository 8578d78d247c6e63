//! Federations on virtual time, with everything failing: fixed seeds, fresh ones, and those that once found a bug.

use std::time::SystemTime;

use s2s_tests::sim::{Origin, Random, Summary, run};

fn must_hold(seed: u64) -> Summary {
    run(&Origin::Seed(seed)).unwrap_or_else(|failure| panic!("{failure}"))
}

/// The number in `text`, in decimal or after `0x` in hexadecimal.
fn number(text: &str) -> u64 {
    let parsed = text.strip_prefix("0x").map_or_else(|| text.parse(), |digits| u64::from_str_radix(digits, 16));
    parsed.unwrap_or_else(|_| panic!("{text} is not a seed"))
}

#[test]
fn seeds_that_found_a_bug_find_none_any_more() {
    let seeds = include_str!("../seeds/simulation.txt").lines().map(str::trim);
    for line in seeds.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        must_hold(number(line.split_whitespace().next().unwrap_or_default()));
    }
}

#[test]
fn the_laws_hold_for_fixed_seeds() {
    for seed in [1, 2, 3, 4, 5, 6, 8, 17, 33, 49] {
        must_hold(seed);
    }
}

#[test]
fn the_laws_hold_for_fresh_seeds() {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970");
    let mut seeds = Random::new(now.as_nanos() as u64);
    for _ in 0..4 {
        must_hold(seeds.bits() & !0xb); // of the small ones, so that it takes seconds
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in (0..20).map(|number| 16 * number) {
        assert_eq!(must_hold(seed), must_hold(seed), "seed {seed:#x}");
    }
}

/// Runs the seed of `SIM_SEED`: the command that a failure prints. Without one, the first.
#[test]
fn replay() {
    let seed = std::env::var("SIM_SEED").map_or(0, |text| number(&text));
    println!("{:#?}", must_hold(seed));
}
