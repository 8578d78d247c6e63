//! P8: what is held is bounded, whatever comes.
//!
//! By what, as a function of the limits, `tests/src/bounds.rs` says. The bodies of the targets compare it with what links and
//! nodes hold after every operation; how much a framer holds is looked at in `core/src/xml/tests/chunks.rs`, too.

use proptest::prelude::*;
use s2s_core::limits;
use s2s_core::node::Event;
use s2s_core::reason::Reason;
use s2s_tests::bounds;
use s2s_tests::fuzz_bodies;
use s2s_tests::negotiations::{NAMES, Negotiation, world};
use s2s_tests::strategies::{cases, frames, one_case_in, operations};
use s2s_tests::world::Cutting;

/// Bytes of the longest stanza here, less a body of 3000.
const FRAME: usize = 200;
const LONGEST: usize = 3000 + FRAME;

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn p8_what_links_answer_and_hold_is_bounded(kind in 0..4_u8, frames in frames()) {
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
            prop_assert!(held <= bound.max(LONGEST + limits::QUEUED_STANZA_BYTES), "{} bytes wait", held);
        }
        world.run();
        for site in 0..2 {
            bounds::check(world.node(site), bound, LONGEST);
        }
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

proptest! {
    #![proptest_config(one_case_in(8))]

    /// Nothing of what has passed stays.
    #[test]
    fn p8_what_was_delivered_is_held_no_more(sizes in prop::collection::vec(0..10_000_usize, 1..8)) {
        let mut world = world(Negotiation::OPEN, Cutting::Whole, |_| {});
        let [from, to] = NAMES;
        let mut held = Vec::new();
        for size in [0].into_iter().chain(sizes) {
            world.send(0, &format!("<message from='x@{from}' to='y@{to}'><body>{}</body></message>", "x".repeat(size)));
            world.run();
            held.push([0, 1].map(|site| world.node(site).retained_bytes()));
        }
        prop_assert!(held.iter().all(|later| *later == held[0]), "{:?}", held);
    }
}
