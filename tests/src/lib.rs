//! Under construction.

pub mod dns_server;
