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
