//! Verification of signatures, which remembers. Tests judge the same few certificates over and over again, and the
//! arithmetic behind one signature takes longer than all else that a node does with it. The answers are the real ones.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm};

/// Answers that one algorithm remembers; fuzzers ask about signatures without end.
const ANSWERS: usize = 4096;

/// The signature algorithms of ring.
#[must_use]
pub fn algorithms() -> &'static [&'static dyn SignatureVerificationAlgorithm] {
    static ALGORITHMS: OnceLock<Vec<&'static dyn SignatureVerificationAlgorithm>> = OnceLock::new();
    ALGORITHMS.get_or_init(|| {
        let all = rustls::crypto::ring::default_provider().signature_verification_algorithms.all;
        let remember = |algorithm: &&'static dyn SignatureVerificationAlgorithm| {
            let remembering = Remembering { algorithm: *algorithm, known: Mutex::default() };
            &*Box::leak(Box::new(remembering)) as &dyn SignatureVerificationAlgorithm
        };
        all.iter().map(remember).collect()
    })
}

#[derive(Debug)]
struct Remembering {
    algorithm: &'static dyn SignatureVerificationAlgorithm,
    /// The answers, by key, message and signature.
    known: Mutex<HashMap<[Vec<u8>; 3], bool>>,
}

impl SignatureVerificationAlgorithm for Remembering {
    fn verify_signature(&self, public_key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let question = [public_key, message, signature].map(<[u8]>::to_vec);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= ANSWERS {
            known.clear();
        }
        let verify = || self.algorithm.verify_signature(public_key, message, signature).is_ok();
        if *known.entry(question).or_insert_with(verify) { Ok(()) } else { Err(InvalidSignature) }
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.signature_alg_id()
    }
}
