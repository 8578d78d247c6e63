//! The framer beside a strict reader that shares nothing with it.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| s2s_tests::fuzz_bodies::frames_strict(data));
