//! What the fuzz targets run. It lives here so that it is compiled, linted and run over the committed corpora by
//! every `cargo test`; the targets themselves are shims.
//!
//! A body panics when a law is broken and returns nothing.

mod certificate;
mod corpus;
mod differential;
mod dns;
mod frames;
mod input;
mod link;
mod link_ops;
mod model;
mod node;
mod owned;
mod resolver;
mod strict_xml;
mod tls;

use crate::sim;

pub use certificate::certificate_names;
pub use corpus::{corpus, damage};
pub use differential::{frames_rxml, frames_strict};
pub use dns::dns_reply;
pub use frames::{element_round_trip, frames};
pub use link::{link_bytes, stream_frames};
pub use link_ops::link_ops;
pub use model::model;
pub use node::node_ops;
pub use resolver::resolver;
pub use tls::{dialback_key, fake_tls, fake_tls_in_pieces, rustls_session, rustls_session_in_pieces};

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
    Target { name: "frames_strict", body: frames_strict },
    Target { name: "frames_rxml", body: frames_rxml },
    Target { name: "element_round_trip", body: element_round_trip },
    Target { name: "stream_frames", body: stream_frames },
    Target { name: "link_bytes", body: link_bytes },
    Target { name: "link_ops", body: link_ops },
    Target { name: "fake_tls", body: fake_tls },
    Target { name: "rustls_session", body: rustls_session },
    Target { name: "dns_reply", body: dns_reply },
    Target { name: "resolver", body: resolver },
    Target { name: "dialback_key", body: dialback_key },
    Target { name: "certificate_names", body: certificate_names },
    Target { name: "node_ops", body: node_ops },
    Target { name: "model", body: model },
    Target { name: "federation", body: federation },
];

/// Targets whose bodies are modules of a program, so that they are not among [`ALL`], and the files that replay their
/// corpora in every `cargo test`.
pub const ELSEWHERE: &[(&str, &str)] = &[("configuration", "adapters/daemon/src/config/fuzz.rs")];

/// A small federation for a minute or two, and its recovery: the input is what the simulator draws first. All [laws](sim)
/// hold.
pub fn federation(data: &[u8]) {
    if let Err(failure) = sim::run(&sim::Origin::Script(data.to_vec())) {
        panic!("{failure}");
    }
}
