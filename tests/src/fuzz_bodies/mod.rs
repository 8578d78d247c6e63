//! What the fuzz targets run. It lives here so that it is compiled, linted and run over the committed corpora by
//! every `cargo test`; the targets themselves are shims.
//!
//! A body panics when a law is broken and returns nothing.

mod dns;
mod frames;
mod input;
mod link;
mod node;
mod tls;

use crate::sim;

pub use dns::dns_reply;
pub use frames::{element_round_trip, frames};
pub use link::{link_bytes, stream_frames};
pub use node::node_ops;
pub use tls::{certificate_names, dialback_key, fake_tls, rustls_session};

/// A fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    /// What it does with an input.
    pub body: fn(&[u8]),
}

/// All targets.
pub const ALL: &[Target] = &[
    Target { name: "frames", body: frames },
    Target { name: "element_round_trip", body: element_round_trip },
    Target { name: "stream_frames", body: stream_frames },
    Target { name: "link_bytes", body: link_bytes },
    Target { name: "fake_tls", body: fake_tls },
    Target { name: "rustls_session", body: rustls_session },
    Target { name: "dns_reply", body: dns_reply },
    Target { name: "dialback_key", body: dialback_key },
    Target { name: "certificate_names", body: certificate_names },
    Target { name: "node_ops", body: node_ops },
    Target { name: "federation", body: federation },
];

/// A small federation for ten minutes: the input is its seed, as eight bytes. All [laws](sim) hold.
pub fn federation(data: &[u8]) {
    let mut seed = [0; 8];
    for (byte, given) in seed.iter_mut().zip(data) {
        *byte = *given;
    }
    let small = u64::from_be_bytes(seed) & !0xc;
    if let Err(failure) = sim::run(small) {
        panic!("{failure}");
    }
}
