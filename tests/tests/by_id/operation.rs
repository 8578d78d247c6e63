//! OPS and LOG: clocks, and what is never printed.

use std::sync::Arc;
use std::time::Duration;

use s2s_core::component::ComponentSecret;
use s2s_core::dialback::Secret;
use s2s_core::tls::verify::{Rejection, judge};
use s2s_core::tls::{RustlsProvider, Version};
use s2s_tests::certificates::{Authority, NOW, Request};
use s2s_tests::world::domain;

use crate::config;

#[test]
fn ops_007_a_clock_that_is_wrong_proves_nobody_and_says_why() {
    let authority = Authority::root("the authority");
    let chain = authority.issue(&Request::dns("m.example")).chain;
    let at = |unix| judge(&chain, &domain("m.example"), &authority.trust(), unix).map(drop);
    assert_eq!(at(NOW), Ok(()));
    assert_eq!(at(Duration::ZERO), Err(Rejection::NotYetValid), "1970");
    assert_eq!(at(Duration::from_secs(4_102_444_800)), Err(Rejection::Expired), "2100");
    assert_eq!(at(Duration::MAX), Err(Rejection::Expired));
}

#[test]
fn log_005_secrets_are_not_printed_not_even_for_debugging() {
    const SECRET: &[u8] = b"sixteen bytes, or more";
    let authority = Authority::root("the authority");
    let secret = Secret::new(SECRET).expect("long enough");
    let component = ComponentSecret::new("known to two".to_owned());
    let identity = authority.issue(&Request::dns("v.example"));
    let host = identity.host(&domain("v.example"));
    let mut config = config(&authority, "v.example");
    config.dialback_secret = secret.clone();
    let provider = RustlsProvider::new(
        Arc::new(rustls::crypto::ring::default_provider()),
        vec![identity.host(&domain("v.example"))],
        Version::Tls12,
    );
    let provider = provider.expect("usable");
    let key = secret.key(&domain("m.example"), &domain("v.example"), "an id");
    for printed in [
        format!("{secret:?}"),
        format!("{component:?}"),
        format!("{host:?}"),
        format!("{config:#?}"),
        format!("{provider:#?}"),
    ] {
        // As text, and as the numbers or digits of their bytes.
        for bytes in [SECRET, b"known to two", &identity.key[identity.key.len() - 8..]] {
            let decimal: Vec<_> = bytes.iter().take(6).map(u8::to_string).collect();
            let hexadecimal: String = bytes.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
            for form in [String::from_utf8_lossy(bytes).into_owned(), decimal.join(", "), hexadecimal] {
                assert!(!printed.contains(&form), "{form} in {printed}");
            }
        }
        assert!(!printed.contains(&key));
    }
}
