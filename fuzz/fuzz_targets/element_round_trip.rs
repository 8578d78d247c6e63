//! Elements: written and read again they are the same.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| s2s_tests::fuzz_bodies::element_round_trip(data));
