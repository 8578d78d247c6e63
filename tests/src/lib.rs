//! How the project is proved: harnesses, properties, adversaries, real servers.

pub mod fuzz_bodies;
