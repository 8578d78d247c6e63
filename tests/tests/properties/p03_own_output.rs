//! P3: what we write never trips our own framer, with the bounds that hold for strangers.

use proptest::prelude::*;
use s2s_core::limits;
use s2s_core::ns;
use s2s_core::xml::{Bounds, Frame, Framer};
use s2s_tests::negotiations::{Negotiation, course, negotiation};
use s2s_tests::strategies::cases;
use s2s_tests::world::Cutting;

/// What nobody has to prove anything for.
const STRANGERS: Bounds = Bounds {
    element_bytes: limits::UNAUTHENTICATED_ELEMENT_BYTES,
    depth: limits::ELEMENT_DEPTH,
    children: limits::UNAUTHENTICATED_CHILDREN,
};

/// The documents in what one side of a connection wrote: a header begins one.
fn documents(written: &str) -> impl Iterator<Item = String> {
    const BEGINNING: &str = "<?xml";
    written.split(BEGINNING).skip(1).map(|document| format!("{BEGINNING}{document}"))
}

fn check(negotiation: Negotiation) -> Result<(), TestCaseError> {
    for written in course(negotiation, Cutting::Whole).into_iter().flat_map(|side| side.written) {
        for document in documents(&written) {
            let mut framer = Framer::new(ns::SERVER, STRANGERS);
            let mut rest = document.as_bytes();
            let mut frames = Vec::new();
            while let Some(frame) =
                framer.next(&mut rest).map_err(|error| TestCaseError::fail(format!("{error}: {document}")))?
            {
                let end = frame == Frame::End;
                frames.push(frame);
                if end {
                    break;
                }
            }
            prop_assert!(matches!(frames.first(), Some(Frame::Root(_))), "{document}");
            prop_assert_eq!(rest, b"", "nothing stands behind the end, and nothing is left: {}", document);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn p3_what_nodes_write_is_read_by_our_own_framer(negotiation in negotiation()) {
        check(negotiation)?;
    }
}
