//! TLS and DOS: handshakes and streams that are made to cost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use s2s_core::tls::{Provider, RustlsProvider, Version};
use s2s_tests::certificates::{Authority, NOW, Request};
use s2s_tests::world::domain;

#[test]
fn tls_014_a_hello_in_many_fragments_is_bounded_work() {
    let authority = Authority::root("the authority");
    let provider = |host: &str| {
        let identity = authority.issue(&Request::dns(host)).host(&domain(host));
        let crypto = Arc::new(rustls::crypto::ring::default_provider());
        let provider = RustlsProvider::new(crypto, vec![identity], Version::Tls12).expect("usable");
        provider.set_time(NOW);
        provider
    };
    let client = provider("m.example").client(&domain("m.example"), &domain("v.example"), true);
    let mut hello = Vec::new();
    client.expect("a client").flush(&mut hello);
    let fragments: Vec<u8> = hello[5..].iter().flat_map(|byte| [22, 3, 1, 0, 1, *byte]).collect();
    // A length of three bytes that announces far more than will ever come.
    let endless: Vec<u8> = std::iter::once([22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff].to_vec())
        .chain(std::iter::repeat_n([&[22, 3, 1, 0x40, 0][..], &[0; 0x4000]].concat(), 8))
        .flatten()
        .collect();
    let server = provider("v.example");
    let began = Instant::now();
    for host in [None, Some(&domain("v.example"))] {
        for bytes in [&fragments, &endless] {
            for size in [1, 7, bytes.len()] {
                let mut session = server.server(host).expect("a server");
                let (mut plain, mut wire) = (Vec::new(), Vec::new());
                // An answer or an end: no panic, no silence that hoards.
                let end = bytes.chunks(size).try_for_each(|chunk| session.receive(chunk, &mut plain, &mut wire));
                assert!(plain.is_empty() && session.facts().is_none());
                assert!(!wire.is_empty() || end.is_err(), "{} bytes in pieces of {size}", bytes.len());
            }
        }
    }
    assert!(began.elapsed() < Duration::from_secs(20));
}
