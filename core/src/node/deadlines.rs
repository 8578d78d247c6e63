//! All deadlines of a node in one ordered set, so that no poll looks at all links.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::addr::Pair;
use crate::machine::ConnId;
use crate::node::VerificationId;

/// Whose deadline it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    Link(ConnId),
    Resolver,
    Route(Pair),
    TurnedAway,
    Turns,
    Verification(VerificationId),
}

/// The deadlines.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    ordered: BTreeSet<(Instant, Owner)>,
    armed: BTreeMap<Owner, (Instant, &'static str)>,
}

impl Deadlines {
    /// Arms, moves or disarms the deadline of `owner`.
    pub(super) fn set(&mut self, owner: Owner, deadline: Option<(Instant, &'static str)>) {
        if self.armed.get(&owner).copied() == deadline {
            return;
        }
        if let Some((at, _)) = self.armed.remove(&owner) {
            self.ordered.remove(&(at, owner.clone()));
        }
        if let Some((at, why)) = deadline {
            self.ordered.insert((at, owner.clone()));
            self.armed.insert(owner, (at, why));
        }
    }

    /// The earliest deadline, and what it is for.
    pub(super) fn next(&self) -> Option<(Instant, &'static str)> {
        let (_, owner) = self.ordered.first()?;
        self.armed.get(owner).copied()
    }

    /// Takes out one deadline that `now` has reached.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Owner> {
        if self.ordered.first()?.0 > now {
            return None;
        }
        let (_, owner) = self.ordered.pop_first()?;
        self.armed.remove(&owner);
        Some(owner)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::addr::Domain;

    /// What is done with the table; times are seconds.
    #[derive(Clone, Debug)]
    enum Step {
        Set(Owner, Option<(u64, &'static str)>),
        Expire(u64),
    }

    /// One owner of each kind, and a second link.
    fn owners() -> Vec<Owner> {
        let domain = |text: &str| Domain::parse(text).expect(text);
        vec![
            Owner::Link(ConnId(1)),
            Owner::Link(ConnId(2)),
            Owner::Resolver,
            Owner::Route(Pair::new(domain("m.example"), domain("t.example"))),
            Owner::TurnedAway,
            Owner::Turns,
            Owner::Verification(VerificationId(1)),
        ]
    }

    fn step() -> impl Strategy<Value = Step> {
        let deadline = prop::option::weighted(0.8, (0..6_u64, prop::sample::select(&["one", "two"][..])));
        prop_oneof![
            3 => (prop::sample::select(owners()), deadline).prop_map(|(owner, deadline)| Step::Set(owner, deadline)),
            1 => (0..6_u64).prop_map(Step::Expire),
        ]
    }

    proptest! {
        #[test]
        fn the_table_is_a_sorted_list_with_one_deadline_for_each_owner(steps in prop::collection::vec(step(), 0..60)) {
            let start = Instant::now();
            let at = |seconds: u64| start + Duration::from_secs(seconds);
            let mut table = Deadlines::default();
            let mut list: Vec<(Instant, Owner, &'static str)> = Vec::new();
            for step in steps {
                match step {
                    Step::Set(owner, deadline) => {
                        let deadline = deadline.map(|(seconds, why)| (at(seconds), why));
                        list.retain(|(_, armed, _)| *armed != owner);
                        list.extend(deadline.map(|(at, why)| (at, owner.clone(), why)));
                        list.sort();
                        table.set(owner, deadline);
                    }
                    Step::Expire(seconds) => {
                        let now = at(seconds);
                        let due = list.first().is_some_and(|(at, ..)| *at <= now);
                        prop_assert_eq!(table.expire(now), due.then(|| list.remove(0).1));
                    }
                }
                prop_assert_eq!(table.next(), list.first().map(|(at, _, why)| (*at, *why)));
            }
            // Those that are left come out in their order, each once.
            for (_, owner, _) in list {
                prop_assert_eq!(table.expire(at(6)), Some(owner));
            }
            prop_assert_eq!((table.expire(at(6)), table.next()), (None, None));
        }
    }
}
