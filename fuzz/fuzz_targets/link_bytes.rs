//! A link that hears any bytes, however they are cut.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| s2s_tests::fuzz_bodies::link_bytes(data));
