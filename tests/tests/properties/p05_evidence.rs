//! P5: a stanza is delivered only for a pair that was proved on a connection that is up, and only from and to the domains
//! of that pair.

use std::collections::BTreeSet;

use proptest::prelude::*;
use s2s_core::node::{Direction, Event};
use s2s_tests::fuzz_bodies;
use s2s_tests::negotiations::{course, cutting, negotiation};
use s2s_tests::strategies::{cases, damaged};

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn p5_no_stanza_comes_without_a_proof_among_scripted_peers(input in damaged("node_ops")) {
        fuzz_bodies::node_ops(&input);
    }

    #[test]
    fn p5_no_stanza_comes_without_a_proof_whatever_two_nodes_demand_and_show(negotiation in negotiation(), cutting in cutting()) {
        for side in course(negotiation, cutting) {
            let mut up = BTreeSet::new();
            for event in side.events {
                match event {
                    Event::PeerUp { pair, link, .. } => _ = up.insert((pair, link.direction, link.conn)),
                    Event::PeerDown { pair, direction, conn, .. } => {
                        prop_assert!(up.remove(&(pair, direction, conn)), "down, and was not up");
                    }
                    Event::Stanza { pair, stanza } => {
                        let proves = |(proved, direction, _): &(_, Direction, _)| (proved, *direction) == (&pair, Direction::Inbound);
                        prop_assert!(up.iter().any(proves), "{:?} was not proved", pair);
                        prop_assert_eq!(stanza.inbound_pair(), pair);
                    }
                    _ => {}
                }
            }
        }
    }
}
