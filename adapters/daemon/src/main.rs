//! wip
mod config;
fn main() {}
