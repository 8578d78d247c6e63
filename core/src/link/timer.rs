//! What a link waits for.

/// The deadlines of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// When to give up on a candidate that has shown no features we may act on.
    Attempt,
    /// When to end a connection that the peer does not.
    Close,
    /// The stream has ended at a moment that nobody told us: from when on [`Timer::Close`] runs.
    End,
    /// When to close a stream on which nothing happens.
    Idle,
    /// When to give up on a peer that proves nothing.
    Negotiation,
}

impl Timer {
    /// Its name in the log.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Attempt => "attempt",
            Self::Close => "close",
            Self::End => "end",
            Self::Idle => "idle",
            Self::Negotiation => "negotiation",
        }
    }
}
