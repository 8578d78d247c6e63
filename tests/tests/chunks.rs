//! Rule 2 of the architecture: the same bytes give the same events and the same plaintext, however they are cut.
//! Here for whole nodes; for their parts see P1 (`properties/p01_chunking.rs`).

use proptest::prelude::*;
use s2s_core::node::Event;
use s2s_tests::certificates::Kind;
use s2s_tests::negotiations::{Negotiation, course, cutting, negotiation};
use s2s_tests::world::Cutting;

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    //= RFC6120-10.1-3 test
    fn any_split_of_whole_negotiations_gives_the_same_events_and_plaintext(negotiation in negotiation(), cutting in cutting()) {
        prop_assert_eq!(course(negotiation, cutting), course(negotiation, Cutting::Whole));
    }
}

#[test]
fn byte_at_a_time_is_a_split_too() {
    for certificates in [[Some(Kind::Valid); 2], [Some(Kind::SelfSigned); 2], [None; 2]] {
        let negotiation = Negotiation { certificates, ..Negotiation::OPEN };
        let whole = course(negotiation, Cutting::Whole);
        let delivered = |event: &Event| matches!(event, Event::Stanza { .. });
        assert!(whole.iter().all(|side| side.events.iter().any(delivered)), "{whole:?}");
        assert_eq!(course(negotiation, Cutting::Pieces(1)), whole);
    }
}
