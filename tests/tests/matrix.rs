//! The matrix of policy, authentication and refusals: every cell against the oracle that restates the documents.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use s2s_tests::matrix::puppets::{self, Peer, Surprise};
use s2s_tests::matrix::{Cell, Disagreement, Lab, cells, real};
use s2s_tests::oracle::software::{FACTS, Software};
use s2s_tests::oracle::{Certificate, Outcome, Policy, Side, Transport, expect, peers, tables};
use s2s_tests::world::Cutting;

/// Cells of the exhaustive set, at least.
const EXHAUSTIVE: usize = 100_000;

/// Cells over real TLS.
const OVER_RUSTLS: usize = 480;

/// Where covering arrays and draws begin.
const SEED: u64 = 0x5eed_0001;

/// Runs cells on two threads.
fn check(lab: &Lab, cells: &[Cell]) -> Vec<Disagreement> {
    let (even, odd) = std::thread::scope(|scope| {
        let half = |parity: usize| {
            let cells = cells.iter().skip(parity).step_by(2);
            move || cells.flat_map(|cell| lab.check(cell)).collect::<Vec<_>>()
        };
        let (even, odd) = (scope.spawn(half(0)), scope.spawn(half(1)));
        (even.join(), odd.join())
    });
    let (even, odd) = (even.expect("no panic"), odd.expect("no panic"));
    even.into_iter().chain(odd).collect()
}

/// Rows of covering arrays, and everything that the rest of a row would hide there.
fn all_peers() -> Vec<(Peer, Cutting)> {
    puppets::covering(SEED).into_iter().chain(puppets::dense()).collect()
}

/// One disagreement of each shape, ten at most, with the number of its like.
fn report(disagreements: &[Disagreement]) -> String {
    let mut shapes: BTreeMap<String, (usize, &Disagreement)> = BTreeMap::new();
    for disagreement in disagreements {
        shapes.entry(disagreement.shape()).or_insert((0, disagreement)).0 += 1;
    }
    let mut shapes: Vec<_> = shapes.into_values().collect();
    shapes.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    let shown = shapes.iter().take(10).map(|(count, example)| format!("{count} like this:\n{example}"));
    format!("{} shapes of disagreement\n{}", shapes.len(), shown.collect::<Vec<_>>().join("\n"))
}

/// Checks cells, says how many there were of what sort, and that each must end as the oracle says.
fn assert_agreement(sort: &str, cells: &[Cell]) {
    let disagreements = check(&Lab::new(), cells);
    let line = format!("matrix: {} cells {sort}, disagreements {}\n", cells.len(), disagreements.len());
    // Past the capture of the test harness: the counts are wanted in every run.
    std::io::stderr().write_all(line.as_bytes()).expect("standard error");
    assert!(disagreements.is_empty(), "{line}{}", report(&disagreements));
}

#[test]
fn every_cell_of_the_exhaustive_matrix_ends_as_the_documents_say_on_both_sides() {
    let cells: Vec<_> = cells::exhaustive().collect();
    assert!(cells.len() >= EXHAUSTIVE, "{}", cells.len());
    assert_agreement("exhaustive", &cells);
}

/// Also the sample of the matrix that judges mutants: any three values of different axes meet in it.
#[test]
fn every_row_of_the_covering_array_ends_as_the_documents_say_on_both_sides() {
    assert_agreement("by covering array", &cells::options(SEED));
}

#[test]
fn every_cell_with_a_side_that_does_not_federate_ends_as_the_documents_say_on_both_sides() {
    assert_agreement("where one side does not federate", &cells::federations());
}

#[test]
fn every_cell_over_real_tls_ends_as_the_documents_say_on_both_sides() {
    let cells = cells::over_rustls(OVER_RUSTLS, SEED);
    assert!(cells.len() >= 300, "{}", cells.len());
    assert_agreement("over rustls", &cells);
}

#[test]
fn every_row_of_the_tables_decides_some_cell() {
    let mut used = BTreeSet::new();
    for cell in cells::exhaustive().chain(cells::options(SEED)).chain(cells::federations()) {
        let [a, b] = &cell.sides;
        let clauses = [expect(a, b).clauses, expect(b, a).clauses].concat();
        used.extend(clauses.iter().map(|clause| clause.says));
    }
    for [initiator, receiver] in real::cells().iter().map(real::Cell::sides) {
        used.extend(expect(&initiator, &receiver).clauses.iter().map(|clause| clause.says));
    }
    for (peer, _) in all_peers() {
        used.extend(peer.expect().clauses.iter().map(|clause| clause.says));
    }
    let idle: Vec<_> = tables::clauses().chain(peers::clauses()).filter(|clause| !used.contains(clause.says)).collect();
    assert!(idle.is_empty(), "{idle:?}");
}

/// The cells themselves need the real servers: `tests/interop`.
#[test]
fn every_fact_about_a_real_server_decides_some_cell_with_it() {
    let cells = real::cells();
    for software in Software::ALL {
        assert!(cells.iter().filter(|cell| cell.software == software).count() >= 24, "{software:?}");
    }
    for fact in FACTS {
        let decides = cells.iter().filter(|cell| cell.software == fact.software).any(|cell| {
            let sides = cell.sides();
            let [initiator, receiver] = sides.map(|side| Side { habits: side.habits.without(fact.habit), ..side });
            expect(&sides[0], &sides[1]).seen != expect(&initiator, &receiver).seen
        });
        assert!(decides, "{fact:?}");
    }
}

/// What the tables must add up to, whatever their rows.
#[test]
fn the_oracle_lets_nothing_through_that_a_side_has_forbidden() {
    let demands_certificate = |side: &Side| matches!(side.policy, Policy::SecureAuth | Policy::ListedSecure);
    let demands_encryption = |side: &Side| {
        demands_certificate(side)
            || side.policy == Policy::RequireEncryption
            || side.transport == Transport::StartTlsRequired
    };
    let good = |side: &Side| {
        use Certificate::{NoPurpose, ServerAuth, SrvId, Valid, Wildcard, XmppAddr};
        matches!(side.certificate, Valid | Wildcard | SrvId | XmppAddr | ServerAuth | NoPurpose)
    };
    let mut delivered = 0;
    for cell in cells::exhaustive() {
        let [a, b] = &cell.sides;
        if let Outcome::Delivered { encrypted, .. } = expect(a, b).seen.outcome {
            delivered += 1;
            assert!(encrypted || !(demands_encryption(a) || demands_encryption(b)), "{cell}");
            assert!(good(b) || !demands_certificate(a), "{cell}");
            assert!(good(a) || !demands_certificate(b), "{cell}");
        }
    }
    assert!((20_000..80_000).contains(&delivered), "{delivered}");
}

#[test]
//= RFC6120-4.3.2-3 test
fn peers_with_odd_headers_identities_features_and_answers_hear_what_the_documents_say() {
    let lab = Lab::new();
    let played = all_peers();
    let surprises: Vec<Surprise> =
        played.iter().filter_map(|(peer, cutting)| lab.check_peer(*peer, *cutting)).collect();
    let line = format!("matrix: {} odd peers, disagreements {}\n", played.len(), surprises.len());
    std::io::stderr().write_all(line.as_bytes()).expect("standard error");
    let mut shapes: BTreeMap<_, (usize, &Surprise)> = BTreeMap::new();
    for surprise in &surprises {
        let (expected, got) = (&surprise.expected, &surprise.got);
        let shape = (&expected.steps, &expected.codes, &got.steps, &got.codes);
        shapes.entry(shape).or_insert((0, surprise)).0 += 1;
    }
    let report: Vec<_> = shapes.values().take(10).map(|(count, one)| format!("{count} like this:\n{one}")).collect();
    assert!(surprises.is_empty(), "{line}{}", report.join("\n"));
}
