//! P7: what has fired is not due again, a timer that comes early moves nothing, and left alone everything comes to its end.
//!
//! The bodies of the targets ask for that before every operation and after the last one. When a moment has come and was told,
//! the next one is later. Only what an event brings that is taken then may be due at once: the turn of those who wait to be
//! heard, and the time of a peer whose stream has ended.

use proptest::prelude::*;
use s2s_tests::fuzz_bodies;
use s2s_tests::strategies::{cases, damaged, frames, operations};

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn p7_the_timers_of_links_move_on(kind in 0..4_u8, frames in frames()) {
        fuzz_bodies::stream_frames(&[&[kind], frames.as_slice()].concat());
    }

    #[test]
    fn p7_the_timers_of_nodes_move_on(operations in operations()) {
        fuzz_bodies::node_ops(&operations);
    }

    #[test]
    fn p7_the_timers_of_the_resolver_move_on(input in damaged("dns_reply")) {
        fuzz_bodies::dns_reply(&input);
    }
}
