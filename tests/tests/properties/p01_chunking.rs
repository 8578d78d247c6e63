//! P1: any split of the same bytes gives the same frames, the same events, the same end and the same plaintext.
//!
//! That holds for whole nodes too: `tests/tests/chunks.rs`; and for sessions of TLS that were completed:
//! `tests/tests/tls/seams.rs`.

use proptest::prelude::*;
use s2s_tests::fuzz_bodies;
use s2s_tests::strategies::{cases, cuts, damaged, frames, tls};

/// The input of a target whose first line says how to cut.
fn input(first: u8, cuts: &[u8], bytes: &[u8]) -> Vec<u8> {
    [&[first], cuts, b"\n", bytes].concat()
}

/// What follows the first line of an input of the corpus.
fn body(input: Vec<u8>) -> Vec<u8> {
    match input.iter().position(|byte| *byte == b'\n') {
        Some(at) => input[at + 1..].to_vec(),
        None => input,
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn p1_a_framer_reads_the_same_however_the_bytes_are_cut(bounds in 0..2_u8, cuts in cuts(), document in damaged("frames").prop_map(body)) {
        fuzz_bodies::frames(&input(bounds, &cuts, &document));
    }

    #[test]
    fn p1_links_that_hear_bytes_do_the_same_however_they_are_cut(kind in 0..4_u8, cuts in cuts(), bytes in damaged("link_bytes").prop_map(body)) {
        fuzz_bodies::link_bytes(&input(kind, &cuts, &bytes));
    }

    #[test]
    fn p1_links_that_hear_frames_do_the_same_however_they_are_cut(kind in 0..4_u8, frames in frames()) {
        fuzz_bodies::stream_frames(&[&[kind], frames.as_slice()].concat());
    }

    #[test]
    fn p1_the_fake_tls_does_the_same_however_the_bytes_are_cut(side in any::<u8>(), bytes in tls(), cuts in cuts()) {
        fuzz_bodies::fake_tls_in_pieces(&[&[side], bytes.as_slice()].concat(), &cuts);
    }

    #[test]
    fn p1_rustls_does_the_same_however_the_bytes_are_cut(input in damaged("rustls_session"), cuts in cuts()) {
        fuzz_bodies::rustls_session_in_pieces(&input, &cuts);
    }
}
