//! A covering array: few rows in which every combination of values of any three axes stands at least once.
//!
//! Greedy, by seed, one row at a time: each row begins with a combination that no row holds yet, and is the best of
//! some that are completed axis by axis with the value that covers most of what is left.

/// Rows that are tried for each one that is taken.
const TRIES: usize = 4;

/// The rows for axes with so many values each: every row has one value index per axis.
#[must_use]
pub fn rows(sizes: &[usize], seed: u64) -> Vec<Vec<usize>> {
    let mut random = Random(seed);
    let mut missing = Missing::new(sizes);
    let mut rows = Vec::new();
    while let Some(first) = missing.any(&mut random) {
        let tries: Vec<_> = (0..TRIES).map(|_| complete(sizes, &first, &missing, &mut random)).collect();
        let best = tries.into_iter().max_by_key(|row| missing.gain(row)).expect("at least one try");
        missing.remove(&best);
        rows.push(best);
    }
    rows
}

/// A row around `first`: the other axes in random order, each with the value that covers most.
fn complete(sizes: &[usize], first: &[(usize, usize); 3], missing: &Missing, random: &mut Random) -> Vec<usize> {
    let mut row = vec![0; sizes.len()];
    let mut set = Vec::new();
    for (axis, value) in first {
        row[*axis] = *value;
        set.push(*axis);
    }
    let mut open: Vec<usize> = (0..sizes.len()).filter(|axis| !set.contains(axis)).collect();
    while !open.is_empty() {
        let axis = open.swap_remove(random.below(open.len()));
        let start = random.below(sizes[axis]);
        let mut best = (0, start);
        for value in (0..sizes[axis]).map(|value| (value + start) % sizes[axis]) {
            row[axis] = value;
            let gain = missing.gain_of(&row, &set, axis);
            if gain > best.0 {
                best = (gain, value);
            }
        }
        row[axis] = best.1;
        set.push(axis);
    }
    row
}

/// The combinations that no row holds yet.
struct Missing {
    sizes: Vec<usize>,
    /// Where the combinations of three axes begin in `flags`, the axes in ascending order.
    begins: Vec<usize>,
    flags: Vec<bool>,
    left: usize,
}

impl Missing {
    fn new(sizes: &[usize]) -> Self {
        let count = sizes.len();
        let mut begins = vec![0; count * count * count];
        let mut total = 0;
        for (a, b, c) in axes(count) {
            begins[(a * count + b) * count + c] = total;
            total += sizes[a] * sizes[b] * sizes[c];
        }
        Self { sizes: sizes.to_vec(), begins, flags: vec![true; total], left: total }
    }

    fn position(&self, row: &[usize], (a, b, c): (usize, usize, usize)) -> usize {
        let count = self.sizes.len();
        self.begins[(a * count + b) * count + c] + (row[a] * self.sizes[b] + row[b]) * self.sizes[c] + row[c]
    }

    /// How many combinations of `axis` with two of the axes in `set` the row would add.
    fn gain_of(&self, row: &[usize], set: &[usize], axis: usize) -> usize {
        let mut gain = 0;
        for (index, one) in set.iter().enumerate() {
            for two in &set[..index] {
                let mut axes = [*one, *two, axis];
                axes.sort_unstable();
                gain += usize::from(self.flags[self.position(row, (axes[0], axes[1], axes[2]))]);
            }
        }
        gain
    }

    fn gain(&self, row: &[usize]) -> usize {
        axes(row.len()).filter(|axes| self.flags[self.position(row, *axes)]).count()
    }

    fn remove(&mut self, row: &[usize]) {
        for axes in axes(row.len()) {
            let position = self.position(row, axes);
            self.left -= usize::from(std::mem::take(&mut self.flags[position]));
        }
    }

    /// One of those that are left: three axes and their values.
    fn any(&self, random: &mut Random) -> Option<[(usize, usize); 3]> {
        if self.left == 0 {
            return None;
        }
        let start = random.below(self.flags.len());
        let positions = (start..self.flags.len()).chain(0..start);
        let position = positions.into_iter().find(|position| self.flags[*position])?;
        let count = self.sizes.len();
        let (a, b, c) =
            axes(count).take_while(|(a, b, c)| self.begins[(a * count + b) * count + c] <= position).last()?;
        let rest = position - self.begins[(a * count + b) * count + c];
        let (z, rest) = (rest % self.sizes[c], rest / self.sizes[c]);
        Some([(a, rest / self.sizes[b]), (b, rest % self.sizes[b]), (c, z)])
    }
}

fn axes(count: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..count).flat_map(move |a| (a + 1..count).flat_map(move |b| (b + 1..count).map(move |c| (a, b, c))))
}

/// A small generator: the same seed gives the same numbers everywhere.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// A number below `bound`, or 0.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound.max(1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_combination_of_three_values_stands_in_a_row_and_most_rows_are_needed() {
        let sizes = [4, 3, 2, 2, 3, 2];
        let rows = rows(&sizes, 1);
        let mut held = BTreeSet::new();
        let mut all = 0;
        for (a, b, c) in axes(sizes.len()) {
            all += sizes[a] * sizes[b] * sizes[c];
            held.extend(rows.iter().map(|row| [(a, row[a]), (b, row[b]), (c, row[c])]));
        }
        assert_eq!(held.len(), all);
        assert!((4 * 3 * 3..2 * 4 * 3 * 3).contains(&rows.len()), "{} rows", rows.len());
    }
}
