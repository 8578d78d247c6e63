//! How s2s is proved: harnesses, properties, adversaries, and real servers.

pub mod certificates;
pub mod dns_server;
pub mod fake_tls;
pub mod matrix;
pub mod oracle;
pub mod world;
