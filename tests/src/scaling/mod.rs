//! The benchmark of several nodes: what two carry in memory, and what they cost over sockets, each beside one.
//!
//! It prints medians of rounds in which both take turns, and judges nothing.

pub mod memory;
pub mod sockets;

/// What is in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
