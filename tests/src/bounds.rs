//! How much may be held at most, as a function of the limits (P8): what is compared with the `retained_bytes` of framers,
//! links and nodes.

use s2s_core::limits;
use s2s_core::node::Node;

/// Bytes of one name of a domain, as it stands in a certificate or in DNS.
const DOMAIN_BYTES: usize = 253;

/// Bytes that were written, or were read, and are not moved away yet.
const CONSUMED_BYTES: usize = 4096;

/// Bytes of a message of TLS, in which a peer shows its certificates: the fake takes no longer one.
const CERTIFICATE_BYTES: usize = 262_144;

/// Bytes that wait to be written to one peer before nothing more is read from it, and the answers to what was read
/// already.
const OUTPUT_BYTES: usize = limits::OUTPUT_HIGH_WATER_BYTES + limits::UNAUTHENTICATED_TOTAL_BYTES;

/// Pairs of one inbound stream, proved or about to be.
const PAIRS: usize = limits::PAIRS_PER_STREAM + limits::PENDING_VERIFICATIONS_PER_STREAM;

/// What a framer may hold, where an element has at most so many bytes: the element, as much again for what has to be
/// repeated in it, six times that for escapes, and the header.
#[must_use]
pub const fn framer(element_bytes: usize) -> usize {
    16 * element_bytes + 1024
}

/// What a link may hold of which events and output were taken, if its peer has proved nothing: its framer, what is
/// searched for the end of the peer behind ours, certificates, and the names of pairs.
#[must_use]
pub const fn link() -> usize {
    let pairs = PAIRS * 2 * DOMAIN_BYTES;
    framer(limits::UNAUTHENTICATED_ELEMENT_BYTES) + 2 * CONSUMED_BYTES + CERTIFICATE_BYTES + pairs
}

/// The same as [`link`] of a peer that has said no more than so many bytes: what it says is held a few times at most.
#[must_use]
pub const fn link_after(said: usize) -> usize {
    let held = framer(said) + 4 * CONSUMED_BYTES;
    if held < link() { held } else { link() }
}

/// What a node may hold of which events and effects were taken, with these limits for all that waits, and for a stanza of
/// a peer that has proved itself.
///
/// A stanza that waits is counted in its queue. One that was handed to a link may stand in its output beside that, and as
/// much before it that was not moved away.
#[must_use]
pub fn node(node: &Node, queue_bytes: usize, stanza_bytes: usize) -> usize {
    let held = node.measures();
    let known = held.inbound - held.unauthenticated;
    let keys = held.verifications * (limits::DIALBACK_KEY_BYTES + limits::STREAM_ID_BYTES);
    let output = 2 * OUTPUT_BYTES + CONSUMED_BYTES;
    3 * queue_bytes + node.connections() * (link() + output) + known * framer(stanza_bytes) + keys
}

/// Compares what a node holds with what it [may](node), and with what it counts as waiting.
///
/// # Panics
///
/// If it holds more, or less than it counts.
pub fn check(watched: &Node, queue_bytes: usize, stanza_bytes: usize) {
    let (held, most) = (watched.retained_bytes(), node(watched, queue_bytes, stanza_bytes));
    let waiting = watched.measures().queued_bytes;
    assert!(held <= most, "{held} bytes are held, more than {most}");
    assert!(held >= waiting, "{held} bytes are held, and {waiting} counted as waiting");
}
