//! The attempt to reach one domain: from its lookup through its candidates to a negotiated stream.

use std::collections::VecDeque;
use std::time::Instant;

use crate::dns::{Candidate, LookupId};
use crate::machine::ConnId;
use crate::reason::Reason;

/// One attempt, within one overall deadline.
#[derive(Debug)]
pub struct Dial {
    began: Instant,
    deadline: Instant,
    step: Step,
    failure: Option<Reason>,
}

/// What an attempt waits for.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The answer of DNS.
    Resolving(LookupId),
    /// One candidate; the others follow if it fails.
    Trying {
        /// The connection to it.
        conn: ConnId,
        /// Those that were not tried yet.
        rest: VecDeque<Candidate>,
    },
}

impl Dial {
    /// An attempt that began with `step`.
    #[must_use]
    pub const fn new(now: Instant, deadline: Instant, step: Step) -> Self {
        Self { began: now, deadline, step, failure: None }
    }

    /// When it began.
    #[must_use]
    pub const fn began(&self) -> Instant {
        self.began
    }

    /// When it ends whatever happens.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// What it waits for.
    #[must_use]
    pub const fn step(&self) -> &Step {
        &self.step
    }

    /// Goes on with the next step.
    pub fn proceed(&mut self, step: Step) {
        self.step = step;
    }

    /// The candidates that were not tried yet, if candidates are being tried.
    pub fn take_rest(&mut self) -> VecDeque<Candidate> {
        match &mut self.step {
            Step::Trying { rest, .. } => std::mem::take(rest),
            Step::Resolving(_) => VecDeque::new(),
        }
    }

    /// Remembers why a candidate failed. What got further tells more than what could not even be reached.
    pub fn note_failure(&mut self, reason: Reason) {
        if self.failure.is_none_or(|known| !reached_something(known) || reached_something(reason)) {
            self.failure = Some(reason);
        }
    }

    /// Why the attempt failed, if no candidate is left.
    #[must_use]
    pub fn failure(&self) -> Reason {
        self.failure.unwrap_or(Reason::NegotiationTimeout)
    }
}

/// Whether a peer was there at all.
const fn reached_something(reason: Reason) -> bool {
    !matches!(reason, Reason::ConnectRefused | Reason::ConnectTimeout | Reason::AddressNotAllowed)
}
