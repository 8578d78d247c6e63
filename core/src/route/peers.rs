//! What is remembered of peers, so that less has to be waited for next time.
//!
//! - Speaking ahead of the peer's answers: decision D-52

use std::collections::BTreeMap;

use crate::addr::Pair;
use crate::limits;

/// What peers did when we last spoke to them, for each pair by itself.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    known: BTreeMap<Pair, Peer>,
    /// Counts what is noted, to tell what is oldest.
    noted: u64,
}

/// What is remembered of one peer.
#[derive(Clone, Copy, Debug)]
struct Peer {
    /// Whether a stream failed on which we spoke ahead.
    hasty: bool,
    external: External,
    last_features: Option<LastFeatures>,
    /// Whether a stream ended on which stanzas did not wait for those features.
    early_stanzas_failed: bool,
    noted: u64,
}

/// What became of EXTERNAL when it was last tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum External {
    /// Not tried yet.
    Unknown,
    /// The peer accepted it.
    Accepted,
    /// The peer refused it.
    Refused,
    /// The peer refused it and ended the stream, although a key of ours was under way.
    EndedTheStream,
}

/// What the features behind authentication said, as far as it matters: what a peer offers there is voluntary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LastFeatures {
    /// Largest stanza that the peer takes, in bytes, if it says so (XEP-0478).
    pub(crate) max_bytes: Option<u32>,
}

impl Peers {
    /// Whether we may speak ahead of what the peer answers: never again once a stream failed on which we did.
    #[must_use]
    pub(crate) fn may_speak_ahead(&self, pair: &Pair) -> bool {
        self.known.get(pair).is_none_or(|peer| !peer.hasty)
    }

    /// What became of EXTERNAL.
    #[must_use]
    pub(crate) fn external(&self, pair: &Pair) -> External {
        self.known.get(pair).map_or(External::Unknown, |peer| peer.external)
    }

    /// The features behind authentication.
    #[must_use]
    pub(crate) fn last_features(&self, pair: &Pair) -> Option<LastFeatures> {
        self.known.get(pair).filter(|peer| !peer.hasty && !peer.early_stanzas_failed)?.last_features
    }

    /// A stream failed on which we spoke ahead.
    pub(crate) fn note_haste(&mut self, pair: &Pair) {
        self.note(pair, |peer| peer.hasty = true);
    }

    /// EXTERNAL was accepted or refused.
    pub(crate) fn note_external(&mut self, pair: &Pair, external: External) {
        self.note(pair, |peer| peer.external = external);
    }

    /// The features behind authentication came.
    pub(crate) fn note_last_features(&mut self, pair: &Pair, features: LastFeatures) {
        self.note(pair, |peer| peer.last_features = Some(features));
    }

    /// They did not, although stanzas had gone ahead of them: no stanza does so again.
    pub(crate) fn note_early_stanzas_failed(&mut self, pair: &Pair) {
        self.note(pair, |peer| peer.early_stanzas_failed = true);
    }

    /// Our side has changed: what peers did says nothing any more.
    pub(crate) fn forget(&mut self) {
        self.known.clear();
    }

    fn note(&mut self, pair: &Pair, change: impl FnOnce(&mut Peer)) {
        self.noted = self.noted.saturating_add(1);
        if !self.known.contains_key(pair) && self.known.len() >= limits::KNOWN_PEERS {
            let oldest = self.known.iter().min_by_key(|(_, peer)| peer.noted).map(|(pair, _)| pair.clone());
            oldest.map(|pair| self.known.remove(&pair));
        }
        let stranger = Peer {
            hasty: false,
            external: External::Unknown,
            last_features: None,
            early_stanzas_failed: false,
            noted: 0,
        };
        let peer = self.known.entry(pair.clone()).or_insert(stranger);
        change(peer);
        peer.noted = self.noted;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Domain;

    fn pair(remote: &str) -> Pair {
        let domain = |text| Domain::parse(text).expect("a domain");
        Pair::new(domain("a.example"), domain(remote))
    }

    #[test]
    fn haste_that_failed_once_is_never_tried_again_with_that_peer() {
        let (mut peers, pair) = (Peers::default(), pair("b.example"));
        assert!(peers.may_speak_ahead(&pair));
        peers.note_last_features(&pair, LastFeatures { max_bytes: Some(10_000) });
        assert_eq!(peers.last_features(&pair), Some(LastFeatures { max_bytes: Some(10_000) }));
        peers.note_haste(&pair);
        peers.note_external(&pair, External::Accepted);
        assert!(!peers.may_speak_ahead(&pair));
        assert_eq!(peers.last_features(&pair), None, "that would be haste too");
        peers.forget();
        assert!(peers.may_speak_ahead(&pair), "we have changed");
    }

    #[test]
    fn however_many_peers_there_are_the_memory_is_bounded_and_the_oldest_is_forgotten() {
        let mut peers = Peers::default();
        for n in 0..limits::KNOWN_PEERS {
            peers.note_external(&pair(&format!("d{n}.example")), External::Accepted);
        }
        peers.note_external(&pair("d0.example"), External::Refused);
        peers.note_external(&pair("new.example"), External::Accepted);
        assert_eq!(peers.known.len(), limits::KNOWN_PEERS);
        assert_eq!(peers.external(&pair("d0.example")), External::Refused);
        assert_eq!(peers.external(&pair("d1.example")), External::Unknown);
    }
}
