//! P8: what is held is bounded, whatever comes.
//!
//! That of the framer is measured where its insides can be seen: `core/src/xml/tests/chunks.rs`.

use proptest::prelude::*;
use s2s_core::limits;
use s2s_core::node::Event;
use s2s_core::reason::Reason;
use s2s_tests::fuzz_bodies;
use s2s_tests::negotiations::{NAMES, Negotiation, world};
use s2s_tests::strategies::{cases, frames, operations};
use s2s_tests::world::Cutting;

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn p8_what_links_answer_is_bounded(kind in 0..4_u8, frames in frames()) {
        fuzz_bodies::stream_frames(&[&[kind], frames.as_slice()].concat());
    }

    #[test]
    fn p8_what_nodes_hold_is_bounded(operations in operations()) {
        fuzz_bodies::node_ops(&operations);
    }

    /// What does not fit comes back at once, and says why; all else waits, and is counted.
    #[test]
    fn p8_the_queue_of_a_pair_is_bounded(sizes in prop::collection::vec(0..3000_usize, 1..40), bound in 3000..20_000_usize) {
        let mut world = world(Negotiation::OPEN, Cutting::Whole, |config| config.limits.queue_bytes_per_pair = bound);
        let [from, to] = NAMES;
        for (id, size) in sizes.iter().enumerate() {
            let body = "x".repeat(*size);
            world.send(0, &format!("<message from='x@{from}' to='y@{to}' id='{id}'><body>{body}</body></message>"));
            let held = world.node(0).measures().queued_bytes;
            prop_assert!(held <= bound.max(3000 + 200 + limits::QUEUED_STANZA_BYTES), "{} bytes wait", held);
        }
        world.run();
        let (mut back, mut there) = (0, 0);
        for event in world.take_events(0) {
            if let Event::Undeliverable { reason, .. } = event {
                prop_assert_eq!(reason, Reason::QueueFull);
                back += 1;
            }
        }
        for event in world.take_events(1) {
            there += usize::from(matches!(event, Event::Stanza { .. }));
        }
        prop_assert_eq!(back + there, sizes.len());
        prop_assert_eq!(world.node(0).measures().queued_bytes, 0);
    }
}
