//! What a stream that a peer opened tells its owner, and what it is told of keys.

use crate::addr::{Domain, Pair};
use crate::auth::Proof;
use crate::sasl;
use crate::stanza::{Stanza, StanzaCondition};
use crate::stream::Header;

/// What happened on a stream that a peer opened.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReceivingEvent {
    /// A header arrived, and the owner decides what to offer. Where it has a
    /// [fault](crate::stream::Receiving::fault) the decision says only as whom we answer: the error follows in place of
    /// features.
    HeaderReceived(Header),
    /// The peer asks for TLS, which was offered; the owner grants it by
    /// [`Receiving::proceed`](crate::stream::Receiving::proceed) or ends the stream.
    StartTlsRequested,
    /// The peer proved a pair by EXTERNAL.
    Authenticated(Pair),
    /// The peer sent a dialback key; the owner answers, now or later, by
    /// [`Receiving::answer_key`](crate::stream::Receiving::answer_key).
    KeyReceived {
        /// The pair that it would prove.
        pair: Pair,
        /// The key.
        key: String,
    },
    /// The peer asks whether we made a key; the owner answers by
    /// [`Receiving::answer_verify`](crate::stream::Receiving::answer_verify).
    VerifyReceived {
        /// The domain that received the key.
        receiving: Domain,
        /// The domain of ours that is said to have made it.
        originating: Domain,
        /// The id of the stream that the key was sent on.
        id: String,
        /// The key.
        key: String,
    },
    /// An attempt of EXTERNAL failed.
    ExternalFailed(sasl::Failure),
    /// A stanza, of a pair that was proved on this stream.
    Stanza {
        /// The pair.
        pair: Pair,
        /// The stanza.
        stanza: Stanza,
    },
}

/// What became of a key that a peer sent.
#[derive(Debug, PartialEq, Eq)]
pub enum KeyOutcome {
    /// The pair is proved.
    Proved(Proof),
    /// The authoritative server denied the key.
    Denied,
    /// It could not be judged, or policy refuses.
    Failed(StanzaCondition),
}
