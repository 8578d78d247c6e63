//! What TLS and proofs are made of.

use std::sync::{Arc, OnceLock};

use s2s_core::addr::Domain;
use s2s_core::dialback::Secret;
use s2s_core::tls::{Provider, RustlsProvider, Session, Version};

use super::frames::pieces;
use super::input::{Choices, Input};
use super::link::{LOCAL, REMOTE, domain};
use crate::certificates::{Authority, Kind};
use crate::fake_tls::FakeProvider;

/// The lengths of the pieces in which a target cuts.
const LENGTHS: &[u8] = &[1, 5, 2, 30];

/// Single bytes that a session hears at most; longer inputs come in as many pieces.
const SINGLE_BYTES: usize = 4096;

/// A session of the fake TLS that hears these bytes. The first says which side it is.
pub fn fake_tls(data: &[u8]) {
    fake_tls_in_pieces(data, LENGTHS);
}

/// The same in pieces of these lengths, over and over again.
pub fn fake_tls_in_pieces(data: &[u8], lengths: &[u8]) {
    let provider = FakeProvider::new(vec![(domain(LOCAL), vec![b"a chain".to_vec()])]);
    session(&provider, data, lengths, true);
}

/// A session of rustls that hears these bytes. The first says which side it is.
pub fn rustls_session(data: &[u8]) {
    rustls_session_in_pieces(data, LENGTHS);
}

/// The same in pieces of these lengths, over and over again.
pub fn rustls_session_in_pieces(data: &[u8], lengths: &[u8]) {
    static PROVIDER: OnceLock<RustlsProvider> = OnceLock::new();
    let provider = PROVIDER.get_or_init(|| {
        let identity = Authority::root("the authority").issue_kind(Kind::Valid, &domain(LOCAL));
        let crypto = Arc::new(rustls::crypto::ring::default_provider());
        RustlsProvider::new(crypto, vec![identity.host(&domain(LOCAL))], Version::Tls12).expect("a provider")
    });
    session(provider, data, lengths, false);
}

/// No plaintext comes out before the handshake is over, an error is final, and what was said once is not said again.
/// However the bytes are cut, in pieces of these lengths or byte by byte, as much is understood: `exact` where the session
/// uses no randomness.
fn session(provider: &dyn Provider, data: &[u8], lengths: &[u8], exact: bool) {
    let (side, bytes) = data.split_first().map_or((0, data), |(side, bytes)| (*side, bytes));
    let make = || match side % 3 {
        0 => provider.server(Some(&domain(LOCAL))),
        1 => provider.server(None),
        _ => provider.client(&domain(LOCAL), &domain(REMOTE), side.is_multiple_of(2)),
    };
    let hear = |pieces: Vec<&[u8]>| {
        let mut session: Box<dyn Session> = make().expect("a session");
        let (mut plain, mut wire) = (Vec::new(), Vec::new());
        session.send(b"held back", &mut wire);
        let mut verdict = Ok(());
        for piece in pieces {
            verdict = session.receive(piece, &mut plain, &mut wire);
            assert!(plain.is_empty() || session.facts().is_some(), "plaintext before the handshake is over");
            if verdict.is_err() {
                let before = (plain.len(), wire.len());
                assert_eq!(session.receive(b"more", &mut plain, &mut wire), verdict, "an error is final");
                assert_eq!((plain.len(), wire.len()), before, "and says nothing more");
                break;
            }
        }
        (plain, verdict, exact.then_some(wire))
    };
    let whole = hear(vec![bytes]);
    let single = bytes.chunks(1 + bytes.len() / SINGLE_BYTES).collect();
    for cut in [hear(pieces(bytes, lengths)), hear(single)] {
        assert_eq!((&whole.0, whole.1.is_ok()), (&cut.0, cut.1.is_ok()), "cuts do not count");
        assert_eq!(whole.2, cut.2, "cuts do not count for what is said");
    }
}

/// Only the key of the same pair and the same stream is confirmed. The input is two pairs, ids and a damage.
pub fn dialback_key(data: &[u8]) {
    let secret = Secret::new(b"a secret of twenty-six bytes").expect("long enough");
    let mut input = Input::new(data);
    let names: Vec<Domain> = (0..4)
        .map(|_| {
            let length = input.below(40);
            let text = String::from_utf8_lossy(input.up_to(length)).into_owned();
            Domain::parse(&text).unwrap_or_else(|_| domain(LOCAL))
        })
        .collect();
    let length = input.below(64);
    let id = String::from_utf8_lossy(input.up_to(length)).into_owned();
    let other_id = String::from_utf8_lossy(input.up_to(length)).into_owned();
    let key = secret.key(&names[0], &names[1], &id);
    assert!(secret.verify(&names[0], &names[1], &id, &key));
    // A space separates the parts of what is hashed, and no domain holds one: an id cannot make up for another domain.
    for (receiving, originating, stream) in [(2, 1, &id), (0, 3, &id), (2, 3, &id), (1, 0, &id), (0, 1, &other_id)] {
        let equal = names[receiving] == names[0] && names[originating] == names[1] && *stream == id;
        assert_eq!(secret.verify(&names[receiving], &names[originating], stream, &key), equal, "{names:?} {stream:?}");
    }
    let mut damaged = key.into_bytes();
    let at = input.below(damaged.len());
    damaged[at] ^= 1 << input.below(7);
    let damaged = String::from_utf8(damaged).expect("still ASCII");
    assert!(!secret.verify(&names[0], &names[1], &id, &damaged), "{damaged}");
}
