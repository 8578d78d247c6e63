//! The laws of the core, P1 to P10, each under its number.
//!
//! | law | in words | file |
//! |---|---|---|
//! | P1 | any split of the same bytes gives the same frames, events, end and plaintext | `p01_chunking.rs` |
//! | P2 | what is written is read as the same, and written again the same | `p02_round_trip.rs` |
//! | P3 | what we write never trips our own framer | `p03_own_output.rs` |
//! | P4 | behind an error or the end nothing has an effect, and its reason stays | `p04_terminal.rs` |
//! | P5 | no stanza without a proof of its pair on its connection | `p05_evidence.rs` |
//! | P6 | every frame in every state leads to a legal successor or to the end | `p06_transitions.rs`, `transitions.txt` |
//! | P7 | what has fired is not due again, and early timers move nothing | `p07_time.rs` |
//! | P8 | what is held is bounded | `p08_bounds.rs` |
//! | P9 | bytes leave in the order of the commands, in whatever pieces they are taken | `p09_order.rs` |
//! | P10 | nothing that was learned before TLS survives it | `p10_restart.rs` |
//!
//! Each is tried on 1,024 cases, or on as many as `PROPTEST_CASES` says; a few that are dear, or that others try as well, on a
//! part of those:
//!
//!     PROPTEST_CASES=100000 cargo test --release -p s2s-tests --test properties
//!
//! Where a fuzz target holds the law, the property hands it what its strategy draws, so that both judge alike.

mod p01_chunking;
mod p02_round_trip;
mod p03_own_output;
mod p04_terminal;
mod p05_evidence;
mod p06_transitions;
mod p07_time;
mod p08_bounds;
mod p09_order;
mod p10_restart;
