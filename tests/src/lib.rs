//! Under construction.

pub mod certificates;
pub mod dns_server;
pub mod fake_tls;
