//! P5: a stanza is delivered only for a pair that was proved on its own connection, and only from and to the domains of
//! that pair.
//!
//! A node does not tell over which connection a stanza came, so that it is links that are looked at: what was proved on
//! one of them counts for nothing on another one of the same pair. Of a node it is known which pairs are up.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use proptest::prelude::*;
use s2s_core::addr::Pair;
use s2s_core::auth::Proof;
use s2s_core::entropy::{Entropy, Seed};
use s2s_core::link::{self, Link};
use s2s_core::node::{Direction, Event};
use s2s_core::policy::Offer;
use s2s_core::reason::Reason;
use s2s_core::stanza::StanzaCondition;
use s2s_core::stream::{KeyOutcome, ReceivingEvent};
use s2s_core::tls::verify::{Verified, judge};
use s2s_tests::certificates::{Authority, Kind, NOW};
use s2s_tests::fake_tls::FakeProvider;
use s2s_tests::fuzz_bodies;
use s2s_tests::negotiations::{course, cutting, negotiation};
use s2s_tests::puppetry::{header, settings};
use s2s_tests::strategies::{cases, damaged};
use s2s_tests::world::domain;

const LOCALS: [&str; 2] = ["a.example.org", "d.example.org"];
const REMOTES: [&str; 2] = ["b.example.net", "c.example.com"];

/// What happens on one of two connections, about one of the pairs.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The peer sends a key, and is answered, now or later.
    Key(Answer),
    /// A key that waits is answered.
    Answer(Answer),
    /// The peer sends a stanza.
    Stanza,
    /// The owner takes the proof back.
    Revoke,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Proved,
    Denied,
    Failed,
    Later,
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        4 => Just(Answer::Proved),
        1 => Just(Answer::Denied),
        1 => Just(Answer::Failed),
        1 => Just(Answer::Later),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => answer().prop_map(Step::Key),
        1 => answer().prop_map(Step::Answer),
        4 => Just(Step::Stanza),
        1 => Just(Step::Revoke),
    ]
}

/// The peer may speak for the pair.
fn proof(pair: &Pair) -> Proof {
    static VERIFIED: OnceLock<Vec<Verified>> = OnceLock::new();
    let verified = VERIFIED.get_or_init(|| {
        let authority = Authority::root("the authority");
        let verified = |name: &&str| {
            let chain = authority.issue_kind(Kind::Valid, &domain(name)).chain;
            judge(&chain, &domain(name), &authority.trust(), NOW).expect("a valid certificate")
        };
        REMOTES.iter().map(verified).collect()
    });
    let verified = verified.iter().find(|verified| *verified.domain() == pair.remote).expect("one of the remotes");
    Proof::by_certificate(pair.local.clone(), verified)
}

/// A connection on which dialback is offered, and what its owner knows.
struct Connection {
    link: Link,
    now: Instant,
    proved: BTreeSet<Pair>,
    asked: BTreeSet<Pair>,
    over: bool,
}

impl Connection {
    fn new() -> Self {
        let now = Instant::now();
        let tls = Arc::new(FakeProvider::new(Vec::new()));
        let link = Link::receiving(now, false, tls, settings(), Entropy::new(Seed([5; 32])));
        let mut new = Self { link, now, proved: BTreeSet::new(), asked: BTreeSet::new(), over: false };
        let events = new.hear(&header(REMOTES[0], LOCALS[0]));
        assert!(matches!(events.as_slice(), [link::Event::Receiving(ReceivingEvent::HeaderReceived(_))]), "{events:?}");
        new.link.offer(now, domain(LOCALS[0]), Offer { starttls: None, external: None, dialback: true });
        new
    }

    /// The peer writes; what is told comes back.
    fn hear(&mut self, text: &str) -> Vec<link::Event> {
        self.link.handle_bytes(self.now, text.as_bytes());
        self.told()
    }

    fn told(&mut self) -> Vec<link::Event> {
        let events = std::iter::from_fn(|| self.link.poll_event()).collect();
        let written = self.link.pending().len();
        self.link.handle_sent(written);
        events
    }

    fn take(&mut self, step: Step, pair: &Pair) -> Result<(), TestCaseError> {
        match step {
            Step::Key(answer) => {
                let is_news = !self.over && !self.proved.contains(pair) && self.asked.insert(pair.clone());
                let key = format!("<db:result from='{}' to='{}'>key</db:result>", pair.remote, pair.local);
                let events = self.hear(&key);
                prop_assert_eq!(events.len(), usize::from(is_news), "{:?}", events);
                if is_news {
                    self.answer(answer, pair)?;
                }
            }
            Step::Answer(answer) if !self.over && self.asked.contains(pair) => self.answer(answer, pair)?,
            Step::Revoke if !self.over => prop_assert_eq!(self.link.revoke(pair), self.proved.remove(pair)),
            Step::Answer(_) | Step::Revoke => {}
            Step::Stanza => self.take_stanza(pair)?,
        }
        Ok(())
    }

    /// A key that is denied where nothing is proved ends the stream.
    fn answer(&mut self, answer: Answer, pair: &Pair) -> Result<(), TestCaseError> {
        let outcome = match answer {
            Answer::Proved => KeyOutcome::Proved(proof(pair)),
            Answer::Denied => KeyOutcome::Denied,
            Answer::Failed => KeyOutcome::Failed(StanzaCondition::RemoteServerTimeout),
            Answer::Later => return Ok(()),
        };
        self.asked.remove(pair);
        self.link.answer_key(self.now, pair, outcome);
        if answer == Answer::Proved {
            self.proved.insert(pair.clone());
        }
        self.over = answer == Answer::Denied && self.proved.is_empty();
        let events = self.told();
        prop_assert_eq!(events.len(), usize::from(self.over), "{:?}", events);
        Ok(())
    }

    /// It comes through if its pair is proved here, and ends the stream if not.
    fn take_stanza(&mut self, pair: &Pair) -> Result<(), TestCaseError> {
        let events = self.hear(&format!("<message from='x@{}' to='y@{}'/>", pair.remote, pair.local));
        match events.as_slice() {
            [] => prop_assert!(self.over, "nothing came of a stanza for {:?}", pair),
            [link::Event::Receiving(ReceivingEvent::Stanza { pair: told, stanza })] => {
                prop_assert!(!self.over && self.proved.contains(pair), "{:?} was not proved on this connection", pair);
                let written = stanza.inbound_pair();
                prop_assert_eq!((told, &written), (pair, pair));
            }
            [link::Event::Ended(end)] => {
                prop_assert!(!self.over && !self.proved.contains(pair), "{:?} was proved, and: {:?}", pair, end);
                let reasons = [Reason::NotAuthenticated, Reason::FromMismatch, Reason::ToMismatch];
                prop_assert!(reasons.contains(&end.reason), "{:?}", end);
                self.over = true;
            }
            _ => return Err(TestCaseError::fail(format!("{events:?}"))),
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn p5_a_stanza_comes_through_where_its_own_connection_has_proved_its_pair_and_nowhere_else(
        steps in prop::collection::vec((0..2_usize, 0..2_usize, 0..2_usize, step()), 0..24),
    ) {
        let mut connections = [Connection::new(), Connection::new()];
        for (connection, local, remote, step) in steps {
            let pair = Pair::new(domain(LOCALS[local]), domain(REMOTES[remote]));
            connections[connection].take(step, &pair)?;
        }
    }

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
