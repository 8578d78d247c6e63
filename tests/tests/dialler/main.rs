//! The dialler in generated scenes: it does what a naive model does, to the moment, and keeps its laws.
//!
//! `PROPTEST_CASES=100000 cargo test --release -p s2s-tests --test dialler` tries that many scenes.

mod model;
mod scene;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use model::End;
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use s2s_core::limits;
use s2s_core::machine::ConnId;
use s2s_core::node::Event;
use s2s_core::reason::Reason;
use s2s_tests::fake_tls;
use s2s_tests::world::{NodeIndex, Trace, Traced, World};
use scene::{Fate, OURS, Scene, THEIRS, act, scenes};

/// Stanzas that wait for one attempt.
const STANZAS: usize = 2;

/// As many cases as the variable `PROPTEST_CASES` asks for, or else `normally`.
fn cases(normally: u32) -> ProptestConfig {
    let asked = ProptestConfig::default();
    ProptestConfig {
        cases: if std::env::var_os("PROPTEST_CASES").is_some() { asked.cases } else { normally },
        failure_persistence: None,
        ..asked
    }
}

fn stanza(id: usize) -> String {
    format!("<message from='x@{OURS}' to='y@{THEIRS}' id='{id}'/>")
}

/// A scene that goes on.
struct Stage<'s> {
    scene: &'s Scene,
    world: World,
    node: NodeIndex,
}

/// What came of the stanzas of one attempt.
#[derive(Debug)]
struct Attempt {
    dials: Vec<(Duration, SocketAddr)>,
    /// When each stanza had its end, and which.
    ends: Vec<(Duration, Result<(), Reason>)>,
    /// What one more stanza comes to in the moment in which the attempt has failed.
    after: Vec<Result<(), Reason>>,
    trace: Vec<Traced>,
}

impl Stage<'_> {
    fn send(&mut self) {
        for n in 0..STANZAS {
            self.world.send(self.node, &stanza(n));
        }
    }

    /// What became of stanzas since the last call.
    fn ends(&mut self) -> Vec<Result<(), Reason>> {
        let mut ends = Vec::new();
        for node in 0..self.scene.nodes() {
            for event in self.world.take_events(node) {
                match event {
                    Event::Stanza { .. } => ends.push(Ok(())),
                    Event::Undeliverable { reason, .. } => ends.push(Err(reason)),
                    _ => {}
                }
            }
        }
        ends
    }

    /// Sends, and runs until everything that follows is over.
    fn attempt(&mut self) -> Attempt {
        let began = self.world.now;
        self.world.trace = Some(Vec::new());
        self.send();
        let end = began + self.scene.timeout + limits::DNS_LOOKUP + limits::CLOSE * 3;
        let puppets: Vec<_> = self.scene.places().into_iter().map(|(addr, place)| (addr, place.fate)).collect();
        let (mut ends, mut after) = (Vec::new(), Vec::new());
        loop {
            self.world.run();
            // What one of them does may have the next one dialled.
            while let Some((puppet, fate)) =
                puppets.iter().find_map(|(addr, fate)| Some((self.world.accept(*addr)?, *fate)))
            {
                act(&mut self.world, puppet, fate);
            }
            let now = self.world.now - began;
            let ended = self.ends();
            let failed = ended.iter().any(Result::is_err);
            ends.extend(ended.into_iter().map(|end| (now, end)));
            if failed {
                self.world.send(self.node, &stanza(STANZAS));
                self.world.run();
                after.extend(self.ends());
            }
            if !self.world.advance(end) {
                break;
            }
        }
        self.world.now = end;
        let trace = self.world.trace.take().unwrap_or_default();
        let trace: Vec<_> = trace.into_iter().filter(|traced| traced.near.0 == self.node).collect();
        let dials = trace.iter().filter_map(|traced| match traced.what {
            Trace::Dialled(addr) => Some((traced.at - began, addr)),
            _ => None,
        });
        Attempt { dials: dials.collect(), ends, after, trace }
    }
}

/// How far the attempt came, by the reason that stanzas come back with.
fn end_of(end: Result<(), Reason>) -> End {
    match end {
        Ok(()) => End::Reached,
        Err(Reason::AddressNotAllowed | Reason::NoAddress) => End::Nowhere,
        Err(Reason::ConnectRefused | Reason::ConnectTimeout) => End::Unconnected,
        Err(_) => End::Failed,
    }
}

/// What holds whatever the model says.
fn check_laws(scene: &Scene, attempt: &Attempt) -> Result<(), TestCaseError> {
    let Attempt { dials, ends, after, trace } = attempt;
    prop_assert_eq!(ends.len(), STANZAS, "every stanza has one end: {:?}", ends);
    prop_assert!(ends.iter().all(|(at, _)| *at <= scene.timeout), "after the deadline: {:?}", ends);
    prop_assert!(dials.iter().all(|(at, _)| *at < scene.timeout), "dialled after the deadline: {:?}", dials);
    prop_assert!(dials.is_sorted_by_key(|(at, _)| *at));
    let allowed: BTreeSet<_> = scene
        .places()
        .into_iter()
        .filter(|(_, place)| !matches!(place.fate, Fate::Private | Fate::OurListener))
        .map(|(addr, _)| addr)
        .collect();
    prop_assert!(dials.iter().all(|(_, addr)| allowed.contains(addr)), "dialled what is not to be dialled");
    let reached = ends.iter().any(|(_, end)| end.is_ok());
    let failures: Vec<_> = ends.iter().map(|(_, end)| *end).filter(Result::is_err).take(1).collect();
    prop_assert_eq!(after, &failures, "what comes then goes back at once, with the reason that is remembered");
    check_connections(trace, reached)
}

/// Every dial ends; the connection that opens first is the only one that speaks; nobody else says who we are.
fn check_connections(trace: &[Traced], reached: bool) -> Result<(), TestCaseError> {
    let mut open: BTreeMap<ConnId, Instant> = BTreeMap::new();
    let mut dialled = BTreeSet::new();
    let mut speaker = None;
    let mut who_proved_us = BTreeSet::new();
    let mut wires: BTreeMap<ConnId, Vec<u8>> = BTreeMap::new();
    for Traced { at, near: (_, conn), what } in trace {
        match what {
            Trace::Dialled(_) => {
                prop_assert!(dialled.insert(*conn));
            }
            Trace::Opened => {
                open.insert(*conn, *at);
            }
            Trace::Wrote(bytes) => {
                prop_assert!(open.contains_key(conn), "{:?} speaks before it is open", conn);
                let wire = wires.entry(*conn).or_default();
                if wire.is_empty() {
                    // Its header: nobody else has the word, unless to say goodbye.
                    speaker = Some(*conn);
                }
                wire.extend_from_slice(bytes);
                let said = fake_tls::plaintext(wire);
                let said = String::from_utf8_lossy(&said);
                if ["<auth ", "<db:result ", "<message "].iter().any(|word| said.contains(word)) {
                    who_proved_us.insert(*conn);
                    prop_assert_eq!(speaker, Some(*conn), "it says who we are while another one has the word");
                }
            }
            Trace::Dropped => {
                prop_assert!(dialled.remove(conn), "{:?} is dropped twice", conn);
                open.remove(conn);
            }
        }
    }
    prop_assert_eq!(dialled.len(), usize::from(reached), "every dial ends, but for the one that serves");
    prop_assert!(who_proved_us.len() <= 1, "more than one says who we are: {:?}", who_proved_us);
    prop_assert!(!reached || who_proved_us.iter().all(|conn| dialled.contains(conn)));
    Ok(())
}

#[derive(Default)]
struct Tally {
    scenes: usize,
    attempts: usize,
    dials: usize,
    most: usize,
    ends: BTreeMap<String, usize>,
}

impl Tally {
    fn note(&mut self, attempt: &Attempt, end: End) {
        self.attempts += 1;
        self.dials += attempt.dials.len();
        self.most = self.most.max(attempt.dials.len());
        *self.ends.entry(format!("{end:?}")).or_default() += 1;
    }
}

#[test]
//= RFC6120-3.2.1-4 test
//= RFC6120-3.3-2 test
//= RFC8305-3-2 test
//= RFC8305-3-3 test
//= RFC8305-4-2 test
//= RFC8305-5-1 test
//= RFC8305-5-2 test
//= RFC8305-5-3 test
//= RFC8305-9.2-1 test
fn every_attempt_is_what_the_model_says_ends_in_time_and_says_once_who_we_are() {
    let tally = RefCell::new(Tally::default());
    let mut runner = TestRunner::new(cases(1024));
    let result = runner.run(&scenes(), |scene| {
        let expected = scene.expected();
        let (world, node) = scene.stage();
        let mut stage = Stage { scene: &scene, world, node };
        let first = stage.attempt();
        check_laws(&scene, &first)?;
        prop_assert_eq!(&first.dials, &expected.dials);
        for (at, end) in &first.ends {
            prop_assert_eq!((*at, end_of(*end)), (expected.at, expected.end));
        }
        tally.borrow_mut().scenes += 1;
        tally.borrow_mut().note(&first, expected.end);
        if expected.end != End::Reached {
            // All waits are over, and so is what DNS remembers: it begins anew.
            let second = stage.attempt();
            check_laws(&scene, &second)?;
            prop_assert_eq!((&second.dials, &second.ends), (&first.dials, &first.ends));
            tally.borrow_mut().note(&second, expected.end);
        }
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}\n{runner}"));
    let Tally { scenes, attempts, dials, most, ends } = tally.into_inner();
    let line = format!(
        "dialler = model: {scenes} scenes, {attempts} attempts, {dials} dials, {most} of one attempt at most, {ends:?}\n"
    );
    // Past the capture of the test harness: the counts are wanted in every run.
    std::io::stderr().write_all(line.as_bytes()).expect("standard error");
}
