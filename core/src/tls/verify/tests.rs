//! What is judged without a chain: keys, errors, and which certificates are looked at.

use der::asn1::{BitString, Uint};
use webpki::{
    Error, RequiredEkuNotFoundContext, UnsupportedSignatureAlgorithmContext,
    UnsupportedSignatureAlgorithmForPublicKeyContext,
};
use x509_cert::spki::AlgorithmIdentifierOwned;

use super::*;

fn key(oid: &str, bytes: &[u8]) -> SubjectPublicKeyInfoOwned {
    let algorithm = AlgorithmIdentifierOwned { oid: ObjectIdentifier::new_unwrap(oid), parameters: None };
    SubjectPublicKeyInfoOwned { algorithm, subject_public_key: BitString::from_bytes(bytes).expect("short") }
}

/// `RSAPublicKey` with a modulus that begins with `first` and has `rest` more bytes.
fn rsa(first: u8, rest: usize) -> Vec<u8> {
    let number = |bytes: &[u8]| Uint::new(bytes).expect("short").to_der().expect("short");
    let fields = [number(&[vec![first], vec![1; rest]].concat()), number(&[1, 0, 1])].concat();
    der::Any::new(der::Tag::Sequence, fields).expect("short").to_der().expect("short")
}

#[test]
//= RFC9325-4.5-1 test
fn rsa_has_2048_bits_at_least_whatever_its_padding() {
    for oid in ["1.2.840.113549.1.1.1", "1.2.840.113549.1.1.10"] {
        assert!(is_strong(&key(oid, &rsa(0x80, 255))), "2048 bits");
        assert!(is_strong(&key(oid, &rsa(0x01, 256))), "2049 bits");
        assert!(!is_strong(&key(oid, &rsa(0x7f, 255))), "2047 bits");
        assert!(!is_strong(&key(oid, &[1; 512])), "no RSA key at all");
    }
    assert_eq!(modulus_bits(&rsa(0x01, 0)), Some(1));
}

#[test]
//= RFC9325-4.5-1 test
fn a_curve_has_256_bits_at_least_and_kinds_without_sizes_are_left_alone() {
    let curve = "1.2.840.10045.2.1";
    assert!(is_strong(&key(curve, &[4; 65])), "256 bits");
    assert!(is_strong(&key(curve, &[4; 97])), "384 bits");
    assert!(!is_strong(&key(curve, &[4; 64])), "less than two coordinates of 256 bits");
    assert!(!is_strong(&key(curve, &[4; 57])), "224 bits");
    assert!(is_strong(&key("1.3.101.112", &[0; 32])), "Ed25519");
}

#[test]
fn a_fingerprint_is_the_sha_256() {
    let expected = [0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea];
    assert!(fingerprint(b"abc").starts_with(&expected));
}

#[test]
fn every_problem_that_is_found_on_the_path_has_its_rejection() {
    let time = UnixTime::since_unix_epoch(Duration::ZERO);
    let algorithm = || UnsupportedSignatureAlgorithmContext {
        signature_algorithm_id: Vec::new(),
        supported_algorithms: Vec::new(),
    };
    let algorithm_for_key = || UnsupportedSignatureAlgorithmForPublicKeyContext {
        signature_algorithm_id: Vec::new(),
        public_key_algorithm_id: Vec::new(),
    };
    let purpose = RequiredEkuNotFoundContext { required: KeyUsage::server_auth(), present: Vec::new() };
    for (error, expected) in [
        (Error::CertExpired { time, not_after: time }, Rejection::Expired),
        (Error::CertNotValidYet { time, not_before: time }, Rejection::NotYetValid),
        (Error::CertRevoked, Rejection::Revoked),
        (Error::CertDistrusted, Rejection::Revoked),
        (Error::UnknownIssuer, Rejection::UnknownIssuer),
        (Error::InvalidSignatureForPublicKey, Rejection::BadSignature),
        (Error::UnsupportedSignatureAlgorithmContext(algorithm()), Rejection::WeakSignature),
        (Error::UnsupportedSignatureAlgorithmForPublicKeyContext(algorithm_for_key()), Rejection::WeakSignature),
        (Error::CaUsedAsEndEntity, Rejection::Purpose),
        (Error::EmptyEkuExtension, Rejection::Purpose),
        (Error::RequiredEkuNotFoundContext(purpose), Rejection::Purpose),
        (Error::EndEntityUsedAsCa, Rejection::NotAnAuthority),
        (Error::PathLenConstraintViolated, Rejection::NotAnAuthority),
        (Error::UnsupportedNameType, Rejection::NoKeyUsage),
        (Error::NameConstraintViolation, Rejection::NameConstraints),
        (Error::InvalidNetworkMaskConstraint, Rejection::NameConstraints),
        (Error::MalformedNameConstraint, Rejection::NameConstraints),
        (Error::UnsupportedCertVersion, Rejection::Unsupported),
        (Error::UnsupportedCriticalExtension, Rejection::Unsupported),
        (Error::MaximumNameConstraintComparisonsExceeded, Rejection::TooComplex),
        (Error::MaximumPathBuildCallsExceeded, Rejection::TooComplex),
        (Error::MaximumPathDepthExceeded, Rejection::TooComplex),
        (Error::MaximumSignatureChecksExceeded, Rejection::TooComplex),
        (Error::BadDer, Rejection::Malformed),
        (Error::InvalidSerialNumber, Rejection::Malformed),
        (Error::SignatureAlgorithmMismatch, Rejection::Malformed),
    ] {
        assert!(!is_about_list(&error), "{error:?}");
        assert_eq!(rejection(&error), expected, "{error:?}");
    }
    for error in [
        Error::CrlExpired { time, next_update: time },
        Error::InvalidCrlNumber,
        Error::InvalidCrlSignatureForPublicKey,
        Error::IssuerNotCrlSigner,
        Error::UnknownRevocationStatus,
        Error::UnsupportedCrlIssuingDistributionPoint,
        Error::UnsupportedCrlSignatureAlgorithmContext(algorithm()),
        Error::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(algorithm_for_key()),
        Error::UnsupportedCrlVersion,
        Error::UnsupportedDeltaCrl,
        Error::UnsupportedIndirectCrl,
        Error::UnsupportedRevocationReason,
        Error::UnsupportedRevocationReasonsPartitioning,
    ] {
        assert!(is_about_list(&error), "{error:?}");
        assert_eq!(rejection(&error), Rejection::RevocationUnknown, "{error:?}");
    }
}

fn certificate(name: &str) -> Vec<u8> {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.self_signed(&key).expect("a certificate").der().to_vec()
}

#[test]
fn authorities_are_counted() {
    let mut trust = Trust::new(rustls::crypto::ring::default_provider().signature_verification_algorithms.all);
    assert_eq!(trust.anchor_count(), 0);
    for count in 1..3 {
        trust.add_anchor(&certificate("an authority")).expect("a certificate");
        assert_eq!(trust.anchor_count(), count);
    }
}

#[test]
fn of_many_issuers_with_one_name_only_the_first_few_are_tried() {
    let mut shown: Vec<Vec<u8>> =
        (0..=limits::CHAIN_CERTIFICATES_PER_SUBJECT).map(|_| certificate("an issuer")).collect();
    shown.insert(1, b"nonsense".to_vec());
    shown.push(certificate("another"));
    let tried: Vec<Vec<u8>> = candidates(&shown).iter().map(|der| der.to_vec()).collect();
    let last = limits::CHAIN_CERTIFICATES_PER_SUBJECT;
    assert_eq!(tried[0], shown[0]);
    assert_eq!(tried[1..last], shown[2..=last]);
    assert_eq!(tried[last..], shown[last + 2..]);
}

#[test]
fn issuers_beyond_the_longest_chain_are_not_looked_at() {
    let shown: Vec<Vec<u8>> = (0..limits::CHAIN_CERTIFICATES).map(|n| certificate(&format!("issuer {n}"))).collect();
    assert_eq!(candidates(&shown).len(), limits::CHAIN_CERTIFICATES - 1, "the peer's own certificate counts too");
}
