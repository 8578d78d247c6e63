//! P9: bytes leave in the order of the commands, in whatever pieces the network takes them.
//!
//! That of the buffer itself is tried beside it, in `core/src/buf.rs`.

use proptest::prelude::*;
use s2s_core::node::Event;
use s2s_tests::fuzz_bodies;
use s2s_tests::negotiations::{NAMES, Negotiation, cutting, world};
use s2s_tests::strategies::{cases, cuts, frames};

proptest! {
    #![proptest_config(cases())]

    /// The target takes what a link writes at once, by 7 and by 300 bytes, and compares.
    #[test]
    fn p9_links_write_in_the_order_of_the_commands(kind in 0..4_u8, cuts in cuts(), frames in frames()) {
        fuzz_bodies::stream_frames(&[&[kind], frames.as_slice()].concat());
        let header = "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' \
                      from='b.example.net' to='a.example.org' version='1.0'>";
        fuzz_bodies::link_bytes(&[&[kind & 1], cuts.as_slice(), b"\n", header.as_bytes()].concat());
    }

    #[test]
    fn p9_stanzas_of_a_pair_arrive_in_the_order_of_the_commands(
        rounds in prop::collection::vec(1..8_usize, 1..5), cutting in cutting(),
    ) {
        let mut world = world(Negotiation::OPEN, cutting, |_| {});
        let [from, to] = NAMES;
        let mut sent = 0;
        for stanzas in rounds {
            for _ in 0..stanzas {
                world.send(0, &format!("<message from='x@{from}' to='y@{to}' id='{sent}'><body>é</body></message>"));
                sent += 1;
            }
            world.run();
        }
        let events = world.take_events(1).into_iter();
        let arrived: Vec<String> = events
            .filter_map(|event| match event {
                Event::Stanza { stanza, .. } => stanza.head().id.clone(),
                _ => None,
            })
            .collect();
        prop_assert_eq!(arrived, (0..sent).map(|id: usize| id.to_string()).collect::<Vec<_>>());
    }
}
