//! Where TLS meets the bytes around it: early data, errors, the close, and cuts anywhere.

use std::io::Write;

use proptest::prelude::*;
use rustls::version;
use s2s_core::tls::verify::{Rejection, judge};
use s2s_core::tls::{Provider, Session, TlsError};
use s2s_tests::certificates::{NOW, Request, San};
use s2s_tests::fake_tls::FakeProvider;
use s2s_tests::strategies::one_case_in;

use crate::sides::{Ours, Side, domain, fake, identity, providers, real, root, run_with, say, starttls, their_client};

#[test]
fn what_is_no_tls_is_answered_with_an_alert_and_ends_the_session() {
    for provider in providers(&["m.example", "t.example"]) {
        let (local, remote) = (domain("m.example"), domain("t.example"));
        for session in [provider.client(&local, &remote, false), provider.server(Some(&remote)), provider.server(None)]
        {
            let mut ours = Ours::new(session);
            ours.session.flush(&mut Vec::new());
            let mut wire = Vec::new();
            let error = ours.turn(b"<?xml version='1.0'?>", &mut wire).expect_err("no TLS");
            assert_eq!(wire.first(), Some(&21), "{error}");
            wire.clear();
            for bytes in [&b"<"[..], b"", &[22, 3, 3, 0, 1, 1]] {
                assert_eq!(ours.turn(bytes, &mut wire), Err(error.clone()));
            }
            ours.session.send(b"x", &mut wire);
            ours.session.close(&mut wire);
            assert_eq!((wire, ours.plain), (Vec::new(), Vec::new()));
            assert!(ours.session.facts().is_none() && !ours.session.is_closed_by_peer());
        }
    }
}

#[test]
//= RFC9325-3.10-1 test
fn what_is_sent_too_early_is_kept_back() {
    for provider in providers(&["m.example", "t.example"]) {
        for direct in [false, true] {
            let (local, remote) = (domain("m.example"), domain("t.example"));
            let large = vec![b'x'; 200_000];
            // The second connection is resumed: no early data even so.
            for _ in 0..2 {
                let mut client = Ours::new(provider.client(&local, &remote, direct));
                let mut server = Ours::new(provider.server(Some(&remote).filter(|_| !direct)));
                let mut wire = Vec::new();
                client.session.send(&large, &mut wire);
                server.session.send(&large, &mut wire);
                server.session.send(b".", &mut wire);
                assert!(wire.len() < 10_000, "nothing but a hello: {}", wire.len());
                // The hello went to the wire with that call.
                assert_eq!(run_with(&mut client, &mut server, wire), (Ok(()), Ok(())));
                assert_eq!(server.plain, large);
                assert_eq!(client.plain, [&large[..], b"."].concat());
            }
        }
    }
}

#[test]
fn large_data_passes_both_ways() {
    for provider in providers(&["m.example", "t.example"]) {
        let (mut client, mut server) = starttls(provider.as_ref(), "m.example", "t.example");
        let large: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        say(&mut client, &mut server, &large);
        say(&mut server, &mut client, &large);
        assert!(client.plain == large && server.plain == large);
        say(&mut client, &mut server, b"");
        assert_eq!(server.plain.len(), large.len());
    }
}

#[test]
//= RFC6120-4.4-4 test
fn a_close_is_announced_both_ways() {
    for provider in providers(&["m.example", "t.example"]) {
        let (mut client, mut server) = starttls(provider.as_ref(), "m.example", "t.example");
        let mut wire = Vec::new();
        client.session.send(b"</stream:stream>", &mut wire);
        client.session.close(&mut wire);
        let length = wire.len();
        client.session.send(b"too late", &mut wire);
        client.session.close(&mut wire);
        assert_eq!(wire.len(), length, "nothing is sent after it");
        wire.extend(b"whatever follows is ignored");
        assert!(!server.session.is_closed_by_peer());
        assert_eq!(server.turn(&wire, &mut Vec::new()), Ok(()));
        assert_eq!(server.turn(b"and this too", &mut Vec::new()), Ok(()));
        assert!(server.session.is_closed_by_peer());
        assert_eq!(server.plain, b"</stream:stream>");

        // The other direction is still open until it is closed too.
        say(&mut server, &mut client, b"bye");
        assert!(!client.session.is_closed_by_peer());
        wire.clear();
        server.session.close(&mut wire);
        let mut answer = Vec::new();
        assert_eq!(client.turn(&wire, &mut answer), Ok(()));
        assert!(client.session.is_closed_by_peer() && answer.is_empty());
        assert_eq!(client.plain, b"bye");
    }
}

#[test]
fn a_truncated_connection_is_not_a_closed_one() {
    for provider in providers(&["m.example", "t.example"]) {
        let (mut client, mut server) = starttls(provider.as_ref(), "m.example", "t.example");
        let mut wire = Vec::new();
        client.session.send(b"half a stan", &mut wire);
        client.session.close(&mut wire);
        wire.pop();
        assert_eq!(server.turn(&wire, &mut Vec::new()), Ok(()));
        assert_eq!(server.plain, b"half a stan");
        assert!(!server.session.is_closed_by_peer());
    }
}

#[test]
fn after_our_close_a_broken_peer_gets_no_answer_and_does_no_harm() {
    for provider in providers(&["m.example", "t.example"]) {
        let (mut client, _) = starttls(provider.as_ref(), "m.example", "t.example");
        let mut wire = Vec::new();
        client.session.close(&mut wire);
        wire.clear();
        let error = client.turn(&[23, 3, 3, 0, 30].into_iter().chain([7; 30]).collect::<Vec<_>>(), &mut wire);
        assert!(error.is_err());
        assert_eq!(client.turn(b"", &mut wire), error);
        assert!(wire.is_empty());
    }
}

#[test]
fn a_changed_record_is_an_error_after_what_came_before_it() {
    let (mut client, mut server) = starttls(&real(&["m.example", "t.example"]), "m.example", "t.example");
    let (mut wire, mut answer) = (Vec::new(), Vec::new());
    client.session.send(b"genuine", &mut wire);
    let length = wire.len();
    client.session.send(b"forged", &mut wire);
    wire[length + 7] ^= 1;
    assert_eq!(server.turn(&wire, &mut answer), Err("cannot decrypt peer's message".to_owned()));
    assert_eq!(server.plain, b"genuine");
    assert_eq!(client.turn(&answer, &mut Vec::new()), Err("received fatal alert: BadRecordMac".to_owned()));
}

#[test]
//= RFC9325-3.1.1-1 test
//= RFC6120-13.9.5-1 test
fn older_versions_are_refused() {
    let provider = real(&["t.example"]);
    for server in [provider.server(Some(&domain("t.example"))), provider.server(None)] {
        let (mut hello, mut answer) = (Vec::new(), Vec::new());
        let mut client = their_client(&version::TLS12, &identity("m.example"), "t.example", |_| {});
        client.turn(b"", &mut hello).expect("a hello");
        // TLS 1.1 instead of 1.2, in the old place and in the extension.
        let extension = [0, 43, 0, 3, 2, 3, 3];
        let at = hello.windows(extension.len()).position(|window| window == extension).expect("an extension");
        hello[at + 6] = 2;
        hello[10] = 2;
        assert!(Ours::new(server).turn(&hello, &mut answer).is_err());
        assert_eq!(answer, [21, 3, 3, 0, 2, 2, 70]);
    }
}

/// Gives `bytes` to a session in pieces; without cuts byte by byte.
fn feed(
    session: &mut dyn Session,
    bytes: &[u8],
    cuts: Option<&[prop::sample::Index]>,
    plain: &mut Vec<u8>,
    wire: &mut Vec<u8>,
) -> Result<(), TlsError> {
    let mut at: Vec<usize> = match cuts {
        Some(cuts) => cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([0, bytes.len()]).collect(),
        None => (0..=bytes.len()).collect(),
    };
    at.sort_unstable();
    at.windows(2).try_for_each(|range| session.receive(&bytes[range[0]..range[1]], plain, wire))
}

proptest! {
    #![proptest_config(one_case_in(16))]

    /// However the bytes are cut, the same plaintext comes out, up to the same end.
    #[test]
    fn cuts_change_nothing(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20_000), 0..4),
        cuts in prop::option::weighted(0.9, prop::collection::vec(any::<prop::sample::Index>(), 0..20)),
        handshake_cuts in prop::option::weighted(0.8, prop::collection::vec(any::<prop::sample::Index>(), 0..20)),
        close in any::<bool>(),
        direct in any::<bool>(),
        damage in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let (cuts, handshake_cuts) = (cuts.as_deref(), handshake_cuts.as_deref());
        for provider in providers(&["m.example", "t.example"]) {
            let (local, remote) = (domain("m.example"), domain("t.example"));
            let mut client = provider.client(&local, &remote, direct).expect("a client");
            let mut server = provider.server(Some(&remote).filter(|_| !direct)).expect("a server");
            // The handshake in pieces, the server's side first.
            let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
            client.flush(&mut to_server);
            while !(to_server.is_empty() && to_client.is_empty()) {
                let (mut server_plain, mut client_plain) = (Vec::new(), Vec::new());
                let bytes = std::mem::take(&mut to_server);
                feed(server.as_mut(), &bytes, handshake_cuts, &mut server_plain, &mut to_client).expect("a handshake");
                let bytes = std::mem::take(&mut to_client);
                feed(client.as_mut(), &bytes, handshake_cuts, &mut client_plain, &mut to_server).expect("a handshake");
                prop_assert!(server_plain.is_empty() && client_plain.is_empty());
            }
            prop_assert!(client.facts().is_some() && server.facts().is_some());

            let mut wire = Vec::new();
            for piece in &pieces {
                client.send(piece, &mut wire);
            }
            if close {
                client.close(&mut wire);
            }
            let sent = pieces.concat();
            if let (Some(at), false) = (damage, wire.is_empty()) {
                let at = at.index(wire.len());
                wire[at] ^= 1;
            }
            let mut plain = Vec::new();
            let result = feed(server.as_mut(), &wire, cuts, &mut plain, &mut Vec::new());
            if damage.is_none() {
                prop_assert_eq!(result, Ok(()));
                prop_assert!(plain == sent);
                prop_assert_eq!(server.is_closed_by_peer(), close);
            }
        }
    }

    /// The fake is deterministic, so that damaged bytes can be compared whole and in pieces.
    #[test]
    fn cuts_change_nothing_in_damaged_bytes_either(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..4),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let provider = fake(&["m.example", "t.example"]);
        let (mut client, _) = starttls(&provider, "m.example", "t.example");
        let mut wire = Vec::new();
        for piece in &pieces {
            client.session.send(piece, &mut wire);
        }
        client.session.close(&mut wire);
        for (at, byte) in damage {
            let at = at.index(wire.len());
            wire[at] = byte;
        }
        let outcome = |cuts: Option<&[prop::sample::Index]>| {
            let (_, mut server) = starttls(&provider, "m.example", "t.example");
            let mut answer = Vec::new();
            let result = feed(server.session.as_mut(), &wire, cuts, &mut server.plain, &mut answer);
            (result, answer, server.plain, server.session.is_closed_by_peer())
        };
        let whole = outcome(Some(&[]));
        prop_assert_eq!(&outcome(Some(&cuts)), &whole);
        prop_assert_eq!(&outcome(None), &whole, "byte by byte");
    }

    /// Bytes of anybody never panic and never become plaintext; an error stays.
    #[test]
    fn noise_is_an_error_that_stays(bytes in prop::collection::vec(any::<u8>(), 0..300), record in any::<bool>()) {
        let bytes = if record { [&[22, 3, 1, 1, 0][..], &bytes].concat() } else { bytes };
        for provider in providers(&["m.example", "t.example"]) {
            let (local, remote) = (domain("m.example"), domain("t.example"));
            for session in [provider.client(&local, &remote, true), provider.server(Some(&remote)), provider.server(None)] {
                let mut session = session.expect("a session");
                let mut plain = Vec::new();
                let result = session.receive(&bytes, &mut plain, &mut Vec::new());
                prop_assert!(plain.is_empty() && session.facts().is_none());
                if result.is_err() {
                    prop_assert_eq!(session.receive(b"more", &mut plain, &mut Vec::new()), result);
                }
            }
        }
    }
}

#[test]
fn the_fake_says_the_same_bytes_in_every_run() {
    let transcript = || {
        let provider = fake(&["m.example", "t.example"]);
        let mut client = Ours::new(provider.client(&domain("m.example"), &domain("t.example"), true));
        let mut server = Ours::new(provider.server(None));
        let mut wire = Vec::new();
        client.session.flush(&mut wire);
        let mut transcript = wire.clone();
        for _ in 0..2 {
            let mut answer = Vec::new();
            server.turn(&std::mem::take(&mut wire), &mut answer).expect("legal");
            client.turn(&answer, &mut wire).expect("legal");
            transcript.write_all(&answer).and_then(|()| transcript.write_all(&wire)).expect("a vector takes all");
        }
        assert!(client.session.facts().is_some() && server.session.facts().is_some());
        transcript
    };
    assert_eq!(transcript(), transcript());
}

#[test]
fn the_fake_shows_whatever_chain_it_is_given() {
    let shown = root().issue(&Request::new(vec![San::XmppAddr("m.example".to_owned())])).chain;
    let provider = FakeProvider::new(vec![
        (domain("m.example"), shown.clone()),
        (domain("t.example"), vec![b"no certificate".to_vec()]),
    ]);
    let (client, server) = starttls(&provider, "m.example", "t.example");
    assert_eq!(server.facts().chain, shown);
    let verdict = judge(&client.facts().chain, &domain("t.example"), &root().trust(), NOW);
    assert_eq!(verdict, Err(Rejection::Malformed));
}
