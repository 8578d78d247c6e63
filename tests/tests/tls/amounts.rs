//! How much one key protects.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::{CipherSuiteCommon, SupportedCipherSuite, Tls13CipherSuite};
use s2s_core::tls::{RustlsProvider, Version};

use crate::sides::{Side, domain, identity, starttls};

/// Cryptography whose keys may protect so many records.
fn worn_after(records: u64) -> CryptoProvider {
    let SupportedCipherSuite::Tls13(suite) = ring::cipher_suite::TLS13_AES_128_GCM_SHA256 else {
        panic!("it is a suite of TLS 1.3");
    };
    let common = CipherSuiteCommon { confidentiality_limit: records, ..suite.common };
    let worn = Tls13CipherSuite { common, hkdf_provider: suite.hkdf_provider, aead_alg: suite.aead_alg, quic: None };
    let cipher_suites = vec![SupportedCipherSuite::Tls13(Box::leak(Box::new(worn)))];
    CryptoProvider { cipher_suites, ..ring::default_provider() }
}

/// How many records of TLS these bytes are.
fn records(mut wire: &[u8]) -> usize {
    let mut count = 0;
    while let [_, _, _, high, low, rest @ ..] = wire {
        wire = &rest[usize::from(u16::from_be_bytes([*high, *low]))..];
        count += 1;
    }
    count
}

#[test]
//= RFC9325-4.4-1 test
fn a_key_is_replaced_before_it_has_protected_more_than_its_suite_allows() {
    const LETTERS: usize = 1000;
    let (a, b) = ("a.example.org", "b.example.net");
    let sent = |limit| {
        let hosts = [a, b].map(|host| identity(host).host(&domain(host))).into();
        let provider = RustlsProvider::new(Arc::new(worn_after(limit)), hosts, Version::Tls13).expect("usable");
        let (mut client, mut server) = starttls(&provider, a, b);
        let mut count = 0;
        for letter in 0..LETTERS {
            let mut wire = Vec::new();
            client.session.send(b"x", &mut wire);
            count += records(&wire);
            let mut answer = Vec::new();
            assert_eq!(server.turn(&wire, &mut answer), Ok(()), "letter {letter}");
            assert_eq!(client.turn(&answer, &mut Vec::new()), Ok(()), "letter {letter}");
        }
        assert_eq!(server.plain.len(), LETTERS, "everything arrives");
        count
    };
    assert_eq!(sent(1 << 20), LETTERS, "there is nothing to replace");
    assert!(sent(20) >= LETTERS + LETTERS / 20, "each twenty records at the latest a new key is announced");
}
