//! Where the bytes of an input are cut.

use std::collections::BTreeSet;

/// Inputs up to this size are cut at every byte.
const SMALL: usize = 4096;
/// How often larger ones are cut.
const CUTS: usize = 64;

/// How the bytes of an input are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    Whole,
    At(usize),
    Bytes,
}

/// The cuts of these bytes: all, or of a large input those that are likely to matter.
pub(super) fn cuts(bytes: &[u8]) -> Vec<Cut> {
    let mut cuts = vec![Cut::Whole];
    if bytes.len() <= SMALL {
        cuts.extend((1..bytes.len()).map(Cut::At));
        return cuts;
    }
    cuts.push(Cut::Bytes);
    let near_limit = |at: &usize| [4096, 10_000, 65_536, 131_072].iter().any(|limit| at.abs_diff(*limit) < 2);
    let is_seam = |at: &usize| bytes[*at] == b'<' || bytes[*at - 1] == b'>' || bytes[*at] >= 0x80;
    let (mut points, seams): (BTreeSet<usize>, Vec<usize>) =
        ((1..bytes.len()).filter(near_limit).collect(), (1..bytes.len()).filter(is_seam).collect());
    points.extend(spread(&seams, CUTS - points.len().min(CUTS / 2)));
    let all: Vec<usize> = (1..bytes.len()).collect();
    points.extend(spread(&all, CUTS.saturating_sub(points.len())));
    cuts.extend(points.into_iter().map(Cut::At));
    cuts
}

/// So many of `points`, evenly.
fn spread(points: &[usize], count: usize) -> Vec<usize> {
    if points.len() <= count {
        return points.to_vec();
    }
    (0..count).filter_map(|n| points.get(n * points.len() / count).copied()).collect()
}
