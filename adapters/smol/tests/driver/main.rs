//! The driver over loopback, with a machine that does what the test says.
//!
//! Nothing here sleeps: each step waits for its condition, and fails when a deadline passes.

mod backpressure;
mod connections;
mod descriptors;
mod life;
mod puppet;
mod queries;
