//! The certificates that peers showed on streams that came up, to tell when one changes.
//!
//! - What administrators see of a stream: [RFC 7590 section 3.6](https://www.rfc-editor.org/rfc/rfc7590#section-3.6)

use std::collections::{BTreeMap, VecDeque};

use crate::addr::Domain;
use crate::limits;

/// SHA-256 of the certificates that each domain showed where a pair with it came up.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    known: BTreeMap<Domain, Shown>,
    /// Counts what is noted, to tell what is oldest.
    noted: u64,
}

/// What one domain showed, the last one last: its servers may have several, each its own.
#[derive(Debug, Default)]
struct Shown {
    last: VecDeque<[u8; 32]>,
    noted: u64,
}

impl Certificates {
    /// `domain` has shown the certificate of this SHA-256. If it showed only others until now: the last of them.
    pub(super) fn note(&mut self, domain: &Domain, certificate: [u8; 32]) -> Option<[u8; 32]> {
        self.noted = self.noted.saturating_add(1);
        if !self.known.contains_key(domain) && self.known.len() >= limits::KNOWN_PEERS {
            let oldest = self.known.iter().min_by_key(|(_, shown)| shown.noted).map(|(domain, _)| domain.clone());
            oldest.map(|domain| self.known.remove(&domain));
        }
        let shown = self.known.entry(domain.clone()).or_default();
        shown.noted = self.noted;
        let before = shown.last.back().copied();
        let is_known = shown.last.contains(&certificate);
        shown.last.retain(|other| *other != certificate);
        shown.last.push_back(certificate);
        if shown.last.len() > limits::CERTIFICATES_PER_PEER {
            shown.last.pop_front();
        }
        before.filter(|_| !is_known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(text: &str) -> Domain {
        Domain::parse(text).expect("a domain")
    }

    #[test]
    //= RFC7590-3.6-1 test
    fn only_a_certificate_that_the_domain_has_not_shown_before_is_a_change() {
        let (mut certificates, peer) = (Certificates::default(), domain("peer.example"));
        assert_eq!(certificates.note(&peer, [1; 32]), None, "the first says nothing");
        assert_eq!(certificates.note(&peer, [1; 32]), None, "the same again");
        assert_eq!(certificates.note(&domain("other.example"), [2; 32]), None, "another domain");
        assert_eq!(certificates.note(&peer, [2; 32]), Some([1; 32]));
        assert_eq!(certificates.note(&peer, [1; 32]), None, "two servers that take turns");
        assert_eq!(certificates.note(&peer, [3; 32]), Some([1; 32]), "the last one that was shown");
    }

    #[test]
    fn as_many_certificates_of_a_domain_are_known_as_the_limit_says_and_what_was_not_shown_for_longest_is_forgotten() {
        let (mut certificates, peer) = (Certificates::default(), domain("peer.example"));
        let count = u8::try_from(limits::CERTIFICATES_PER_PEER).expect("few");
        for number in 0..count {
            certificates.note(&peer, [number; 32]);
        }
        assert_eq!(certificates.note(&peer, [0; 32]), None, "all are known");
        assert!(certificates.note(&peer, [count; 32]).is_some(), "one too many");
        assert_eq!(certificates.note(&peer, [0; 32]), None, "it was shown a moment ago");
        assert!(certificates.note(&peer, [1; 32]).is_some(), "it was forgotten");
    }

    #[test]
    fn however_many_peers_there_are_the_certificates_that_are_remembered_are_bounded() {
        let mut certificates = Certificates::default();
        for number in 0..limits::KNOWN_PEERS {
            certificates.note(&domain(&format!("d{number}.example")), [1; 32]);
        }
        certificates.note(&domain("d0.example"), [1; 32]);
        certificates.note(&domain("new.example"), [1; 32]);
        assert_eq!(certificates.known.len(), limits::KNOWN_PEERS);
        assert!(certificates.note(&domain("d0.example"), [2; 32]).is_some(), "it was seen again");
        assert_eq!(certificates.note(&domain("d1.example"), [2; 32]), None, "the oldest is forgotten");
    }
}
