//! P2: what is written is read as the same, and what was read is written the same for ever.

use proptest::prelude::*;
use s2s_core::ns;
use s2s_core::xml::{Bounds, Element, Frame, Framer};
use s2s_tests::fuzz_bodies;
use s2s_tests::strategies::{cases, damaged, element};

const HEADER: &str = "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams'>";
const BOUNDS: Bounds = Bounds { element_bytes: 1 << 20, depth: 100, children: 10_000 };

fn written(element: &Element) -> Vec<u8> {
    let mut bytes = Vec::new();
    element.write(ns::SERVER, &mut bytes);
    bytes
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn p2_an_element_that_is_written_is_read_as_the_same(element in element()) {
        let bytes = [HEADER.as_bytes(), &written(&element)].concat();
        let mut framer = Framer::new(ns::SERVER, BOUNDS);
        let mut rest = bytes.as_slice();
        prop_assert!(matches!(framer.next(&mut rest), Ok(Some(Frame::Root(_)))));
        prop_assert_eq!(framer.next(&mut rest), Ok(Some(Frame::Element(element))), "{}", String::from_utf8_lossy(&bytes));
        prop_assert_eq!(rest, b"");
    }

    #[test]
    fn p2_what_was_read_is_written_the_same_for_ever(input in damaged("element_round_trip")) {
        fuzz_bodies::element_round_trip(&input);
    }
}
