//! A link that hears legal frames in any order.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| s2s_tests::fuzz_bodies::stream_frames(data));
