//! The cuts do not count.

use proptest::prelude::*;

use super::strategies::{cuts, document, mutated, pieces};
use super::*;
use crate::limits::TOKEN_BYTES;

/// All that can be observed: the frames, the end, and the byte at which an error was noticed.
fn outcome(bounds: Bounds, bytes: &[u8], pieces: &[&[u8]]) -> (Vec<Frame>, Result<(), XmlError>) {
    let mut framer = Framer::new(ns::SERVER, bounds);
    let outcome = frames_of(&mut framer, pieces.iter().copied());
    let limit = 6 * bounds.element_bytes + bytes.len().min(8 * bounds.element_bytes) + 1024;
    assert!(framer.retained_bytes() <= limit, "{} bytes are held", framer.retained_bytes());
    assert!(outcome.0.len() <= bytes.len(), "more frames than bytes");
    outcome
}

fn check(bounds: Bounds, bytes: &[u8], cuts: &[usize]) -> Result<(), TestCaseError> {
    let whole = outcome(bounds, bytes, &[bytes]);
    prop_assert_eq!(&whole, &outcome(bounds, bytes, &pieces(bytes, cuts)), "cut at {:?}", cuts);
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    prop_assert_eq!(&whole, &outcome(bounds, bytes, &single), "byte by byte");
    let Err(error) = whole.1 else { return Ok(()) };
    // The byte at which the error is noticed is the same too.
    let mut framer = Framer::new(ns::SERVER, bounds);
    let at = single.iter().position(|byte| frames_of(&mut framer, [*byte]).1.is_err()).unwrap_or(bytes.len());
    prop_assert_eq!(frames_of(&mut Framer::new(ns::SERVER, bounds), [&bytes[..at]]).1, Ok(()));
    prop_assert_eq!(frames_of(&mut Framer::new(ns::SERVER, bounds), [&bytes[..=at]]).1, Err(error));
    Ok(())
}

fn bounds() -> impl Strategy<Value = Bounds> {
    prop_oneof![
        Just(strategies::WIDE),
        Just(BOUNDS),
        (20usize..600, 1usize..6, 0usize..20).prop_map(|(element_bytes, depth, children)| Bounds {
            element_bytes,
            depth,
            children
        }),
    ]
}

proptest! {
    #![proptest_config(cases(1024))]

    #[test]
    //= RFC6120-11.3-2 test
    fn any_split_gives_the_same_frames(bounds in bounds(), document in document(), cuts in cuts()) {
        check(bounds, document.as_bytes(), &cuts)?;
    }

    #[test]
    fn any_split_of_a_damaged_document_gives_the_same_frames(bounds in bounds(), bytes in mutated(), cuts in cuts()) {
        check(bounds, &bytes, &cuts)?;
    }

    #[test]
    fn any_split_of_random_bytes_gives_the_same_frames(bytes in strategies::noise(), cuts in cuts()) {
        check(BOUNDS, &bytes, &cuts)?;
        check(BOUNDS, &[HEADER.as_bytes(), &bytes].concat(), &cuts)?;
    }
}

#[test]
fn tokens_around_the_size_of_the_window_and_of_a_token_are_cut_alike() {
    for size in [4095, 4096, 4097, 8192, TOKEN_BYTES - 1, TOKEN_BYTES, TOKEN_BYTES + 1, 12_288] {
        for (before, unit, after) in [
            ("<message>", "a", "</message>"),
            ("<message>", "ä", "</message>"),
            ("<message>", "€", "</message>"),
            ("<message>", "😀", "</message>"),
            ("<message>", "]", "</message>"),
            ("<message>", "\r", "</message>"),
            ("<message><![CDATA[", "]", "]]></message>"),
            ("<message a='", "é", "'/>"),
            ("<message a='", "\t", "'/>"),
            ("<message a='", "&lt;", "'/>"),
            ("<message", " ", "/>"),
            ("<", "m", "/>"),
            ("<message>", "&amp;", "</message>"),
            ("<message>", "\u{fffe}", "</message>"),
        ] {
            for odd in ["", "x"] {
                let document = format!("{HEADER}{before}{odd}{}{after}", unit.repeat(size / unit.len()));
                let bytes = document.as_bytes();
                let bounds = Bounds { element_bytes: 1 << 20, ..BOUNDS };
                let whole = outcome(bounds, bytes, &[bytes]);
                for chunk in [1, 7, 4096, 5000] {
                    let pieces: Vec<&[u8]> = bytes.chunks(chunk).collect();
                    assert!(whole == outcome(bounds, bytes, &pieces), "{before}{odd}{unit}* {size} by {chunk}");
                }
            }
        }
    }
}
