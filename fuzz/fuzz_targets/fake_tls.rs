//! The fake TLS: its errors are final.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| s2s_tests::fuzz_bodies::fake_tls(data));
