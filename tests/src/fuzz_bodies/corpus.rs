//! The committed inputs of the targets, and inputs like them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::sim::Random;

/// The committed inputs of a target, by their files.
///
/// # Panics
///
/// If there is no such target, or it cannot be read.
#[must_use]
pub fn corpus(target: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.map(|path| (path.clone(), fs::read(path).expect("an input"))).collect()
}

/// An input of the corpus in which a few things are other than they were.
#[must_use]
pub fn damage(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut data = random.pick(corpus).clone();
    for _ in 0..random.between(1, 6) {
        let at = random.below(data.len() + 1);
        let end = at + random.below(data.len() - at + 1).min(64);
        match random.below(6) {
            0 if at < data.len() => data[at] ^= 1 << random.below(8),
            1 if at < data.len() => data[at] = random.bits() as u8,
            2 => data.insert(at, random.bits() as u8),
            3 => drop(data.drain(at..end)),
            4 => {
                let piece = data[at..end].to_vec();
                let to = random.below(data.len() + 1);
                data.splice(to..to, piece);
            }
            _ => {
                let other = random.pick(corpus);
                let from = random.below(other.len() + 1);
                let piece = other[from..].iter().copied().take(random.between(0, 200));
                data.splice(at..end, piece);
            }
        }
    }
    data
}
