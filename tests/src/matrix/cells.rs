//! Which cells there are: the exhaustive set, the rows of covering arrays, and a draw for real TLS.

use super::cover::{self, Random};
use super::{Cell, Tls};
use crate::oracle::{Certificate, Federation, Pin, Policy, Side, Transport};
use crate::world::Cutting;

/// Every pair of sides: 320 x 320 = 102,400 cells. Each side stands on either end.
pub fn exhaustive() -> impl Iterator<Item = Cell> {
    let sides = Side::all();
    let second = sides.clone();
    sides.into_iter().flat_map(move |a| second.clone().into_iter().map(move |b| Cell::new([a, b])))
}

/// `count` cells of the exhaustive set, by seed, over rustls.
#[must_use]
pub fn over_rustls(count: usize, seed: u64) -> Vec<Cell> {
    let sides = Side::all();
    let mut random = Random(seed);
    let mut draw = || sides[random.below(sides.len())];
    (0..count).map(|_| Cell { tls: Tls::Rustls, ..Cell::new([draw(), draw()]) }).collect()
}

/// How bytes are cut, as an axis.
const CUTTINGS: [Cutting; 4] = [Cutting::Whole, Cutting::Pieces(1), Cutting::Pieces(13), Cutting::Random(7)];

/// Rows in which pins, switched off modules, `s2s_dialback_to_verified` and cuts meet the axes of the exhaustive set.
#[must_use]
pub fn options(seed: u64) -> Vec<Cell> {
    let side = [
        Transport::ALL.len(),
        Certificate::ALL.len(),
        Policy::ALL.len(),
        Pin::ALL.len(),
        2, // EXTERNAL
        2, // dialback
        2, // dialback to verified
    ];
    let sizes = [&side[..], &side[..], &[CUTTINGS.len()]].concat();
    let read = |row: &[usize]| {
        let side = |row: &[usize]| Side {
            pin: Pin::ALL[row[3]],
            external: row[4] == 0,
            dialback: row[5] == 0,
            dialback_to_verified: row[6] == 1,
            ..Side::new(Transport::ALL[row[0]], Certificate::ALL[row[1]], Policy::ALL[row[2]])
        };
        Cell { sides: [side(&row[..7]), side(&row[7..14])], cutting: CUTTINGS[row[14]], tls: Tls::Fake }
    };
    cover::rows(&sizes, seed).iter().map(|row| read(row)).collect()
}

/// One side that does not federate, or not wholly, against every kind of other: a full product of representatives,
/// since such a side hides everything else in most rows of a covering array.
#[must_use]
pub fn federations() -> Vec<Cell> {
    const CERTIFICATES: [Certificate; 3] = [Certificate::None, Certificate::Valid, Certificate::SelfSigned];
    const POLICIES: [Policy; 3] = [Policy::Open, Policy::SecureAuth, Policy::RequireEncryption];
    let all: Vec<_> = Side::all()
        .into_iter()
        .filter(|side| CERTIFICATES.contains(&side.certificate) && POLICIES.contains(&side.policy))
        .collect();
    let mut cells = Vec::new();
    for federation in [Federation::Denied, Federation::Off, Federation::Anonymous] {
        for a in &all {
            cells.extend(all.iter().map(|b| Cell::new([Side { federation, ..*a }, *b])));
        }
    }
    cells
}
