//! The short form of the soak; the long one is a program of its own.

use s2s_tests::adapter::Adapter;

fn soak(adapter: Adapter) {
    let report = s2s_tests::soak::run(adapter, 20, 7);
    println!("{report}");
    assert_eq!(report.problems(), [""; 0], "{report}");
    assert!(report.resets() > 0, "nothing was proved");
}

#[test]
fn over_twenty_seconds_of_resets_and_stalls_every_stanza_is_accounted_for() {
    soak(Adapter::Smol);
    soak(Adapter::Threads);
}
