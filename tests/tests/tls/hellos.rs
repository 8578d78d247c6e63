//! The first messages of TLS 1.2, which are in the clear: what ours say, and what theirs may not say.

use rustls::version;
use s2s_core::tls::{Provider, TlsError};

use crate::sides::{
    Ours, Side, domain, identity, real, their_client, their_server, their_server_config, their_server_of,
};

const EXTENDED_MASTER_SECRET: u16 = 0x0017;
const RENEGOTIATION_INFO: u16 = 0xff01;
/// The suite that is none, and says the same of a client.
const RENEGOTIATION_SIGNAL: u16 = 0x00ff;

/// Where the length of the id of a session stands: behind the heads of the record and of the message, a version, and 32
/// random bytes.
const ID: usize = 43;

fn number(hello: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([hello[at], hello[at + 1]])
}

/// What stands behind the id.
fn behind_id(hello: &[u8]) -> usize {
    ID + 1 + usize::from(hello[ID])
}

/// The suites that a client offers.
fn suites(hello: &[u8]) -> Vec<u16> {
    let at = behind_id(hello);
    let end = at + 2 + usize::from(number(hello, at));
    (at + 2..end).step_by(2).map(|at| number(hello, at)).collect()
}

/// The extensions whose list begins at `at`.
fn extensions(hello: &[u8], at: usize) -> Vec<u16> {
    let end = at + 2 + usize::from(number(hello, at));
    let (mut at, mut found) = (at + 2, Vec::new());
    while at < end {
        found.push(number(hello, at));
        at += 4 + usize::from(number(hello, at + 2));
    }
    found
}

/// The extensions of a client.
fn offered(hello: &[u8]) -> Vec<u16> {
    let suites = behind_id(hello);
    let compressions = suites + 2 + usize::from(number(hello, suites));
    extensions(hello, compressions + 1 + usize::from(hello[compressions]))
}

/// Where the list of the extensions of a server begins: behind the suite and the compression.
fn list(hello: &[u8]) -> usize {
    behind_id(hello) + 3
}

/// The flight of a server with other bytes in place of `extension`, which is one of its hello.
fn with_another(flight: &[u8], extension: &[u8], other: &[u8]) -> Vec<u8> {
    let list = list(flight);
    let found = flight[list..].windows(extension.len()).position(|window| window == extension).expect("an extension");
    let mut changed = flight.to_vec();
    changed.splice(list + found..list + found + extension.len(), other.iter().copied());
    // The lengths of the record, of the message and of the list.
    for at in [3, 7, list] {
        let length = usize::from(number(&changed, at)) + other.len() - extension.len();
        changed[at..at + 2].copy_from_slice(&u16::try_from(length).expect("short").to_be_bytes());
    }
    changed
}

/// What comes of the answer to the hello of a client of ours, in pieces of this size: the verdict, and what is said.
fn hear(ours: &mut Ours, flight: &[u8], size: usize) -> (Result<(), TlsError>, Vec<u8>) {
    ours.session.flush(&mut Vec::new());
    ours.session.send(b"a stanza", &mut Vec::new());
    let mut answer = Vec::new();
    let verdict = flight.chunks(size).try_for_each(|piece| ours.session.receive(piece, &mut ours.plain, &mut answer));
    assert!(ours.session.facts().is_none() && ours.plain.is_empty(), "{verdict:?}");
    (verdict, answer)
}

#[test]
//= RFC9325-3.5-1 test
//= RFC9325-3.5-2 test
fn both_sides_know_secure_renegotiation_and_the_extended_master_secret_in_tls_1_2() {
    let provider = real(&["m.example", "t.example"]);
    for direct in [false, true] {
        let mut client = Ours::new(provider.client(&domain("m.example"), &domain("t.example"), direct));
        let (mut hello, mut flight) = (Vec::new(), Vec::new());
        client.session.flush(&mut hello);
        assert!(suites(&hello).contains(&RENEGOTIATION_SIGNAL), "{:x?}", suites(&hello));
        assert!(offered(&hello).contains(&EXTENDED_MASTER_SECRET), "{:x?}", offered(&hello));
        // A server takes it up, and all goes well.
        let mut theirs = their_server(&version::TLS12, &identity("t.example"));
        theirs.turn(&hello, &mut flight).expect("legal");
        assert!(extensions(&flight, list(&flight)).contains(&EXTENDED_MASTER_SECRET));
        assert_eq!(client.turn(&flight, &mut Vec::new()), Ok(()));

        let mut client = their_client(&version::TLS12, &identity("m.example"), "t.example", |_| {});
        let (mut hello, mut flight) = (Vec::new(), Vec::new());
        client.turn(b"", &mut hello).expect("a hello");
        let host = domain("t.example");
        let mut server = Ours::new(provider.server(Some(&host).filter(|_| !direct)));
        assert_eq!(server.turn(&hello, &mut flight), Ok(()));
        let answered = extensions(&flight, list(&flight));
        assert!(answered.contains(&EXTENDED_MASTER_SECRET), "{answered:x?}");
        assert!(answered.contains(&RENEGOTIATION_INFO), "{answered:x?}");
        assert_eq!(client.turn(&flight, &mut Vec::new()), Ok(()));
    }
}

#[test]
//= RFC9325-3.5-1 test
fn a_server_of_tls_1_2_without_secure_renegotiation_is_refused_however_its_bytes_are_cut() {
    let provider = real(&["m.example"]);
    let client = |direct| Ours::new(provider.client(&domain("m.example"), &domain("t.example"), direct));
    for direct in [false, true] {
        let (mut hello, mut flight) = (Vec::new(), Vec::new());
        client(direct).session.flush(&mut hello);
        let mut theirs = their_server(&version::TLS12, &identity("t.example"));
        theirs.turn(&hello, &mut flight).expect("legal");
        // Left out, and with what was said in a handshake that we know nothing of.
        let nothing: &[u8] = &[];
        for other in [nothing, &[0xff, 1, 0, 3, 2, 7, 7]] {
            let flight = with_another(&flight, &[0xff, 1, 0, 1, 0], other);
            for size in [flight.len(), 7, 1] {
                let mut ours = client(direct);
                let (verdict, answer) = hear(&mut ours, &flight, size);
                assert_eq!(verdict, Err(TlsError::RenegotiationInfoMissing), "{other:?} in pieces of {size}");
                assert_eq!(answer, [21, 3, 3, 0, 2, 2, 40], "handshake_failure");
                let mut more = Vec::new();
                assert_eq!(ours.session.receive(&flight, &mut ours.plain, &mut more), verdict, "it stays");
                assert!(more.is_empty());
            }
        }
    }
}

#[test]
//= RFC7301-3.1-1 test
fn a_protocol_that_was_not_offered_ends_the_handshake() {
    let provider = real(&["m.example"]);
    let mut config = their_server_config(&version::TLS12, &identity("t.example"));
    config.alpn_protocols = vec![b"xmpp-server".to_vec()];
    let mut theirs = their_server_of(config);
    let client = || Ours::new(provider.client(&domain("m.example"), &domain("t.example"), true));
    let (mut hello, mut flight) = (Vec::new(), Vec::new());
    client().session.flush(&mut hello);
    theirs.turn(&hello, &mut flight).expect("legal");
    let at = flight.windows(11).position(|window| window == b"xmpp-server").expect("the protocol, in the clear");
    flight[at + 10] = b'x';
    for size in [flight.len(), 1] {
        let (verdict, answer) = hear(&mut client(), &flight, size);
        let expected = TlsError::Failed("peer misbehaved: SelectedUnofferedApplicationProtocol".to_owned());
        assert_eq!(verdict, Err(expected), "in pieces of {size}");
        assert_eq!(answer, [21, 3, 3, 0, 2, 2, 47], "illegal_parameter");
    }
}
