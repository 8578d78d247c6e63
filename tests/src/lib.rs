//! Under construction.

pub mod certificates;
pub mod fake_tls;
