//! P4: behind an error or the end, no report and no command has an event, a byte or a timer, and the reason stays.
//!
//! The bodies of the targets ask for that after every end that they see. That of the hub of components is asked for beside
//! it, in `core/src/component/tests/properties.rs`.

use proptest::prelude::*;
use s2s_tests::fuzz_bodies;
use s2s_tests::strategies::{cases, cuts, damaged, frames, one_case_in, operations};

/// What no state waits for: every link ends with it at the latest.
const NONSENSE: &[u8] = b"<?no?>";

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn p4_a_framer_that_has_failed_says_so_for_ever(document in damaged("frames"), nonsense in 0..2_usize) {
        fuzz_bodies::frames(&[&document, &NONSENSE[..nonsense * NONSENSE.len()]].concat());
    }

    #[test]
    fn p4_links_that_have_ended_do_nothing_more(kind in 0..4_u8, cuts in cuts(), frames in frames(), bytes in damaged("link_bytes")) {
        fuzz_bodies::stream_frames(&[&[kind], frames.as_slice()].concat());
        fuzz_bodies::link_bytes(&[&[kind], cuts.as_slice(), b"\n", &bytes, NONSENSE, &bytes].concat());
    }

    #[test]
    fn p4_sessions_that_have_failed_say_so_for_ever(fake in damaged("fake_tls"), rustls in damaged("rustls_session")) {
        fuzz_bodies::fake_tls(&fake);
        fuzz_bodies::rustls_session(&rustls);
    }
}

// P5, P7 and P8 hand operations to a node as well, which ends them all in the same way.
proptest! {
    #![proptest_config(one_case_in(4))]

    #[test]
    fn p4_a_node_that_has_finished_does_nothing_more(operations in operations()) {
        fuzz_bodies::node_ops(&operations);
    }
}
