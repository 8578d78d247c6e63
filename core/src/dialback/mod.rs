//! Server dialback: keys, and the answers that count.
//!
//! - [XEP-0220](https://xmpp.org/extensions/xep-0220.html), [XEP-0185](https://xmpp.org/extensions/xep-0185.html)

mod element;
mod key;

use crate::addr::Pair;

pub use element::{Answer, Kind, Malformed, Message};
pub use key::{Secret, SecretTooShort};

/// The authoritative server of `pair.remote` confirmed the key that the peer sent for `pair`.
///
/// Made only where an answer is matched with the request that went out on the same stream.
#[derive(Debug, PartialEq, Eq)]
pub struct Confirmed {
    pair: Pair,
}

impl Confirmed {
    pub(crate) const fn new(pair: Pair) -> Self {
        Self { pair }
    }

    pub(crate) fn into_pair(self) -> Pair {
        self.pair
    }
}
