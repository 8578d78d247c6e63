//! A link, its owner and its peer, and any operations.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| s2s_tests::fuzz_bodies::link_ops(data));
