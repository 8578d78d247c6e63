//! One question of one lookup: followed through aliases, from answer to answer, to its finding.

use super::LookupId;
use super::desk::{AskingId, Cx, Desk, Standing};
use super::message::{Answer, End, Finding, Kind, Question};
use crate::limits;
use crate::reason::Reason;

/// A question that is followed through aliases until it is answered.
#[derive(Debug)]
pub(super) enum Inquiry {
    /// It depends on what is being asked.
    Waiting(Trail),
    /// It has come to an end.
    Done(Result<Found, Reason>),
}

/// How far an inquiry has come.
#[derive(Debug)]
pub(super) struct Trail {
    /// The question that it waits for.
    on: AskingId,
    kind: Kind,
    /// Aliases that were followed so far.
    hops: usize,
    /// Whether every answer so far had its AD bit set.
    secure: bool,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) finding: Finding,
    /// Whether every answer that led here had its AD bit set, see [`Answer::secure`]. Kept for each set of records by
    /// itself; decides nothing so far.
    pub(super) secure: bool,
}

impl Inquiry {
    /// Asks `question`.
    pub(super) fn new(question: Question, cx: &mut Cx<'_>) -> Self {
        Self::ask(question, 0, true, cx)
    }

    /// An inquiry about what is known without asking.
    pub(super) const fn known(finding: Finding) -> Self {
        Self::Done(Ok(Found { finding, secure: false }))
    }

    /// The outcome, once there is one.
    pub(super) fn outcome(&self) -> Option<Result<&Finding, Reason>> {
        match self {
            Self::Waiting(_) => None,
            Self::Done(outcome) => Some(outcome.as_ref().map(|found| &found.finding).map_err(|reason| *reason)),
        }
    }

    /// The question `id` has come to an end: goes on if it waited for that.
    pub(super) fn hear(&mut self, id: AskingId, result: &Result<Answer, Reason>, cx: &mut Cx<'_>) {
        let Self::Waiting(trail) = self else { return };
        if trail.on == id {
            *self = match take(trail.kind, trail.hops, trail.secure, result.clone()) {
                Next::Done(outcome) => Self::Done(outcome),
                Next::Ask { question, hops, secure } => Self::ask(question, hops, secure, cx),
            };
        }
    }

    /// What it waits for is wanted on behalf of `cx` from now on.
    pub(super) fn promote(&self, cx: &mut Cx<'_>) {
        if let Self::Waiting(trail) = self {
            cx.desk.promote(cx.now, trail.on, cx.behalf);
        }
    }

    /// Gives up what is still open.
    pub(super) fn abandon(&mut self, lookup: LookupId, desk: &mut Desk) {
        if let Self::Waiting(trail) = self {
            desk.leave(trail.on, lookup);
            *self = Self::Done(Err(Reason::DnsTimeout));
        }
    }

    fn ask(mut question: Question, mut hops: usize, mut secure: bool, cx: &mut Cx<'_>) -> Self {
        loop {
            let kind = question.kind;
            let result = match cx.desk.ask(cx.now, (cx.lookup, cx.behalf), &question) {
                Standing::Asked(on) => return Self::Waiting(Trail { on, kind, hops, secure }),
                Standing::Known(result) => result,
            };
            // Ends: every such question has followed more aliases than the one before.
            (question, hops, secure) = match take(kind, hops, secure, result) {
                Next::Done(outcome) => return Self::Done(outcome),
                Next::Ask { question, hops, secure } => (question, hops, secure),
            };
        }
    }
}

/// What an answer leads to.
enum Next {
    Done(Result<Found, Reason>),
    Ask { question: Question, hops: usize, secure: bool },
}

/// Takes an answer that was reached after `hops` aliases.
//= RFC2782-p5-1
fn take(kind: Kind, hops: usize, secure: bool, result: Result<Answer, Reason>) -> Next {
    let answer = match result {
        Ok(answer) => answer,
        Err(reason) => return Next::Done(Err(reason)),
    };
    let hops = hops.saturating_add(answer.hops);
    if hops > limits::CNAME_HOPS {
        return Next::Done(Err(Reason::DnsFailure));
    }
    let secure = secure && answer.secure;
    match answer.end {
        End::Finding(finding) => Next::Done(Ok(Found { finding, secure })),
        End::Elsewhere(name) => Next::Ask { question: Question { name, kind }, hops, secure },
    }
}
