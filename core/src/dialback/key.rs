//! Dialback keys that need no memory: [XEP-0185 section 2](https://xmpp.org/extensions/xep-0185.html).

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::addr::Domain;

/// Shortest secret that is accepted, in bytes (attack DBK-007).
const MIN_SECRET_BYTES: usize = 16;

/// The secret of our keys, as the HMAC key that XEP-0185 makes of it: the hexadecimal text of its SHA-256.
///
/// All nodes of one domain share it, so that any of them can answer for a key that another made.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret {
    hmac_key: String,
}

impl Secret {
    /// From a configured text, or from random bytes.
    //= XEP0185-2-4
    //= XEP0185-2-5
    //= XEP0185-3-1
    pub fn new(secret: &[u8]) -> Result<Self, SecretTooShort> {
        if secret.len() < MIN_SECRET_BYTES {
            return Err(SecretTooShort);
        }
        Ok(Self { hmac_key: hexadecimal(&Sha256::digest(secret)) })
    }

    /// The key that `originating` sends to `receiving` on the stream that `receiving` named `id`:
    /// 64 lower-case hexadecimal digits.
    //= XEP0185-2-1
    //= XEP0185-2-2
    //= XEP0185-2-3
    //= XEP0185-2-7
    #[expect(clippy::unreachable, reason = "HMAC takes keys of any length, RFC 2104 section 2")]
    #[must_use]
    pub fn key(&self, receiving: &Domain, originating: &Domain, id: &str) -> String {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(self.hmac_key.as_bytes())
            .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
        for part in [receiving.as_str(), " ", originating.as_str(), " ", id] {
            mac.update(part.as_bytes());
        }
        hexadecimal(&mac.finalize().into_bytes())
    }

    /// Whether `key` is the one that [`Secret::key`] makes, in a time that does not depend on where they differ.
    //= XEP0220-2.2.2-2
    #[must_use]
    pub fn verify(&self, receiving: &Domain, originating: &Domain, id: &str, key: &str) -> bool {
        self.key(receiving, originating, id).as_bytes().ct_eq(key.as_bytes()).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A dialback secret below 16 bytes could be guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecretTooShort;

impl fmt::Display for SecretTooShort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a dialback secret has at least {MIN_SECRET_BYTES} bytes")
    }
}

impl std::error::Error for SecretTooShort {}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(text: &str) -> Domain {
        Domain::parse(text).expect(text)
    }

    fn secret(text: &str) -> Secret {
        Secret { hmac_key: hexadecimal(&Sha256::digest(text)) }
    }

    #[test]
    //= XEP0185-2-2 test
    //= XEP0185-2-7 test
    //= XEP0185-2-1 test
    //= XEP0185-2-4 test
    //= XEP0185-3-1 test
    fn the_published_keys_come_out() {
        // XEP-0185 section 4; XEP-0220 sections 2.1.1 and 2.1.2
        for (text, receiving, originating, id, key) in [
            (
                "s3cr3tf0rd14lb4ck",
                "xmpp.example.com",
                "example.org",
                "D60000229F",
                "37c69b1cf07a3f67c04a5ef5902fa5114f2c76fe4a2686482ba5b89323075643",
            ),
            (
                "s3cr3tf0rd14lb4ck",
                "montague.example",
                "capulet.example",
                "D60000229F",
                "b4835385f37fe2895af6c196b59097b16862406db80559900d96bf6fa7d23df3",
            ),
            (
                "d14lb4ck43v3r",
                "capulet.example",
                "montague.example",
                "417GAF25",
                "225cc5aa6a071133249d25fef42ae516fc7a86c523aa1c6980a7f73e784c972d",
            ),
        ] {
            assert_eq!(secret(text).key(&domain(receiving), &domain(originating), id), key);
        }
    }

    #[test]
    //= XEP0185-2-3 test
    //= XEP0220-2.2.2-2 test
    fn inputs_that_join_to_the_same_text_make_different_keys() {
        let secret = secret("s3cr3tf0rd14lb4ck");
        let (a, b) = (domain("a.example"), domain("bber.example"));
        assert_ne!(secret.key(&a, &b, "1"), secret.key(&a, &domain("ber.example"), "b1"));
        assert!(secret.verify(&a, &b, "1", &secret.key(&a, &b, "1")));
        for wrong in ["", "00", &secret.key(&b, &a, "1"), &secret.key(&a, &b, "1").to_uppercase()] {
            assert!(!secret.verify(&a, &b, "1", wrong), "{wrong}");
        }
    }

    #[test]
    //= XEP0185-2-5 test
    fn a_secret_that_could_be_guessed_is_refused() {
        assert_eq!(Secret::new(b"fifteen bytes..").err(), Some(SecretTooShort));
        assert!(Secret::new(b"sixteen bytes...").is_ok());
    }
}
