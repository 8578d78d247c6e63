//! How s2s is proved: harnesses, properties, adversaries, and real servers.

pub mod adapter;
pub mod bounds;
pub mod cases;
pub mod certificates;
pub mod conformance;
pub mod dns_server;
pub mod fairness;
pub mod fake_tls;
pub mod forwarder;
pub mod fuzz_bodies;
pub mod matrix;
pub mod model;
pub mod negotiations;
pub mod oracle;
mod peer;
pub mod puppetry;
pub mod scaling;
pub mod scenes;
mod signatures;
pub mod sim;
pub mod soak;
pub mod sockets;
pub mod strategies;
pub mod trace;
pub mod transcript;
pub mod world;
