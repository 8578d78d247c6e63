//! Three nodes, step by step beside [`s2s_tests::model`].

use proptest::collection::vec;
use proptest::prelude::*;
use s2s_tests::fuzz_bodies;
use s2s_tests::strategies::cases;

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn everybody_sees_what_the_model_says(
        beginning in any::<[u8; 6]>(), operations in vec(any::<[u8; 4]>(), 0..12),
    ) {
        fuzz_bodies::model(&[&beginning[..], &operations.concat()].concat());
    }
}
