//! The short form of the soak; the long one is a program of its own.

#[test]
fn over_twenty_seconds_of_resets_and_stalls_every_stanza_is_accounted_for() {
    let report = s2s_tests::soak::run(20, 7);
    println!("{report}");
    assert_eq!(report.problems(), [""; 0], "{report}");
    assert!(report.resets() > 0, "nothing was proved");
}
