//! The configuration of s2sd, which is a program: its modules are taken as they are.

#![no_main]
#![allow(dead_code, unused_imports)]

use libfuzzer_sys::fuzz_target;

#[path = "../../adapters/daemon/src/config/mod.rs"]
mod config;
#[path = "../../adapters/daemon/src/runtime.rs"]
mod runtime;

fuzz_target!(|data: &[u8]| config::fuzz::configuration(data));
