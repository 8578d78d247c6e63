//! What was negotiated in TLS 1.2 is not negotiated anew: who tries ends the connection. Handshakes, and what follows
//! on them in TLS 1.3, are no such attempts.

use std::sync::Arc;
use std::time::Instant;

use rustls::crypto::cipher::{MessageEncrypter, OutboundChunks, OutboundPlainMessage};
use rustls::crypto::ring;
use rustls::{
    Connection, ConnectionTrafficSecrets, ContentType, ProtocolVersion, ServerConnection, SupportedCipherSuite, version,
};
use s2s_core::entropy::{Entropy, Seed};
use s2s_core::link::{self, Event, Link};
use s2s_core::policy::Offer;
use s2s_core::reason::Reason;
use s2s_core::stanza::StanzaCondition;
use s2s_core::stream::{KeyOutcome, ReceivingEvent, StreamError};
use s2s_core::tls::{Provider, RustlsProvider, TlsError, Version};
use s2s_tests::puppetry::{header, settings};

use crate::sides::{
    Ours, Side, Theirs, domain, identity, real, shake, starttls, their_client, their_server_config, their_server_of,
};

/// The messages that ask for a new handshake: that of a server, and the beginning of that of a client.
const HELLO_REQUEST: [u8; 4] = [0, 0, 0, 0];
const CLIENT_HELLO: [u8; 6] = [1, 0, 0, 2, 3, 3];

/// Who we are on a connection.
#[derive(Clone, Copy, Debug)]
enum Role {
    Client,
    Server,
}

const ROLES: [Role; 2] = [Role::Client, Role::Server];

/// Seals records in the place of a peer that is rustls, which never renegotiates by itself.
struct Seal {
    encrypter: Box<dyn MessageEncrypter>,
    number: u64,
}

impl Seal {
    fn of(Theirs(connection): Theirs) -> Self {
        let Some(SupportedCipherSuite::Tls12(suite)) = connection.negotiated_cipher_suite() else {
            panic!("no TLS 1.2")
        };
        let (number, secrets) = connection.dangerous_extract_secrets().expect("secrets").tx;
        let ConnectionTrafficSecrets::Aes256Gcm { key, iv } = secrets else { panic!("another cipher") };
        let (fixed, explicit) = iv.as_ref().split_at(4);
        Self { encrypter: suite.aead_alg.encrypter(key, fixed, explicit), number }
    }

    fn seal(&mut self, typ: ContentType, message: &[u8]) -> Vec<u8> {
        let payload = OutboundChunks::Single(message);
        let plain = OutboundPlainMessage { typ, version: ProtocolVersion::TLSv1_2, payload };
        let record = self.encrypter.encrypt(plain, self.number).expect("a record").encode();
        self.number += 1;
        record
    }

    fn data(&mut self, plain: &[u8]) -> Vec<u8> {
        self.seal(ContentType::ApplicationData, plain)
    }

    /// An attempt to renegotiate with us, who are `role`.
    fn attempt(&mut self, role: Role) -> Vec<u8> {
        let message: &[u8] = match role {
            Role::Client => &HELLO_REQUEST,
            Role::Server => &CLIENT_HELLO,
        };
        self.seal(ContentType::Handshake, message)
    }
}

/// A client that lets others seal for it.
fn open_client() -> Theirs {
    their_client(&version::TLS12, &identity("m.example"), "t.example", |config| config.enable_secret_extraction = true)
}

/// A server that does.
fn open_server() -> Theirs {
    let mut config = their_server_config(&version::TLS12, &identity("t.example"));
    config.enable_secret_extraction = true;
    their_server_of(config)
}

/// A session of ours in TLS 1.2, and its peer.
fn connected(provider: &RustlsProvider, role: Role) -> (Ours, Seal) {
    let (ours, theirs) = match role {
        Role::Client => {
            let mut ours = Ours::new(provider.client(&domain("m.example"), &domain("t.example"), false));
            let mut theirs = open_server();
            shake(&mut ours, &mut theirs);
            (ours, theirs)
        }
        Role::Server => {
            let mut ours = Ours::new(provider.server(Some(&domain("t.example"))));
            let mut theirs = open_client();
            shake(&mut theirs, &mut ours);
            (ours, theirs)
        }
    };
    assert_eq!(ours.facts().version, Version::Tls12);
    (ours, Seal::of(theirs))
}

/// What comes of these pieces: the verdict, and what is said.
fn hear<'p>(ours: &mut Ours, pieces: impl IntoIterator<Item = &'p [u8]>) -> (Result<(), TlsError>, Vec<u8>) {
    let mut answer = Vec::new();
    let mut pieces = pieces.into_iter();
    let verdict = pieces.try_for_each(|piece| ours.session.receive(piece, &mut ours.plain, &mut answer));
    (verdict, answer)
}

/// Takes in every byte by itself.
struct Trickle<'a>(&'a mut dyn Side);

impl Side for Trickle<'_> {
    fn turn(&mut self, bytes: &[u8], wire: &mut Vec<u8>) -> Result<(), String> {
        if bytes.is_empty() {
            return self.0.turn(bytes, wire);
        }
        bytes.chunks(1).try_for_each(|byte| self.0.turn(byte, wire))
    }
}

#[test]
//= RFC6120-5.3.5-2 test
//= RFC6120-5.3.5-3 test
fn an_attempt_to_renegotiate_ends_the_session_without_a_word_and_what_came_before_it_counts() {
    let provider = real(&["m.example", "t.example"]);
    for role in ROLES {
        // The whole, then in two pieces, then every byte by itself.
        let (mut cut, mut length) = (0, usize::MAX);
        while cut <= length {
            let (mut ours, mut seal) = connected(&provider, role);
            let before = [seal.data(b"before "), seal.data(b"it")].concat();
            let wire = [&before[..], &seal.attempt(role), &seal.data(b" and behind")].concat();
            length = wire.len();
            let (head, tail) = wire.split_at(cut);
            let (verdict, answer) = match cut {
                0 => hear(&mut ours, [&wire[..]]),
                cut if cut == length => hear(&mut ours, wire.chunks(1)),
                _ => hear(&mut ours, [head, tail]),
            };
            assert_eq!(verdict, Err(TlsError::Renegotiation), "{role:?}, cut at {cut}");
            assert_eq!(ours.plain, b"before it", "{role:?}, cut at {cut}");
            assert_eq!(answer, b"", "{role:?}, cut at {cut}");
            cut += 1;
        }
    }
}

#[test]
//= RFC6120-5.3.5-2 test
fn a_session_that_was_ended_by_an_attempt_to_renegotiate_says_and_hears_nothing_more() {
    let provider = real(&["m.example", "t.example"]);
    for role in ROLES {
        for sealed in [false, true] {
            let (mut ours, mut seal) = connected(&provider, role);
            // What is not sealed is no better.
            let attempt = if sealed { seal.attempt(role) } else { [&[22, 3, 3, 0, 4][..], &HELLO_REQUEST].concat() };
            // The type of the record says all.
            let (verdict, mut answer) = hear(&mut ours, [&attempt[..1]]);
            assert_eq!(verdict, Err(TlsError::Renegotiation), "{role:?}");
            for more in [&attempt[1..], &seal.data(b"more"), b""] {
                assert_eq!(ours.session.receive(more, &mut ours.plain, &mut answer), verdict);
            }
            ours.session.send(b"a stanza", &mut answer);
            ours.session.flush(&mut answer);
            ours.session.close(&mut answer);
            assert_eq!((answer, ours.plain), (Vec::new(), Vec::new()));
            assert!(!ours.session.is_closed_by_peer());
        }
    }
}

#[test]
fn behind_a_close_an_attempt_to_renegotiate_is_not_answered_either() {
    let provider = real(&["m.example", "t.example"]);
    for role in ROLES {
        // Of the peer: what follows is not read.
        let (mut ours, mut seal) = connected(&provider, role);
        let wire = [seal.data(b"bye"), seal.seal(ContentType::Alert, &[1, 0]), seal.attempt(role)].concat();
        assert_eq!(hear(&mut ours, wire.chunks(1)), (Ok(()), Vec::new()));
        assert!(ours.session.is_closed_by_peer());
        assert_eq!(ours.plain, b"bye");
        // Of ours: the peer may still speak, but not so.
        let (mut ours, mut seal) = connected(&provider, role);
        ours.session.close(&mut Vec::new());
        let wire = [seal.data(b"and then"), seal.attempt(role)].concat();
        assert_eq!(hear(&mut ours, [&wire[..]]), (Err(TlsError::Renegotiation), Vec::new()));
        assert_eq!(ours.plain, b"and then");
    }
}

#[test]
//= RFC6120-5.3.5-2 test
fn an_attempt_to_renegotiate_right_behind_the_handshake_is_one() {
    let provider = real(&["m.example"]);
    for trickle in [false, true] {
        let mut ours = Ours::new(provider.client(&domain("m.example"), &domain("t.example"), false));
        let mut theirs = open_server();
        let mut wire = Vec::new();
        for _ in 0..2 {
            let mut to_server = Vec::new();
            ours.turn(&std::mem::take(&mut wire), &mut to_server).expect("legal");
            theirs.turn(&to_server, &mut wire).expect("legal");
        }
        assert!(ours.session.facts().is_none(), "the end of the handshake is still on its way");
        let mut seal = Seal::of(theirs);
        wire.extend([seal.data(b"before"), seal.attempt(Role::Client)].concat());
        let size = if trickle { 1 } else { wire.len() };
        assert_eq!(hear(&mut ours, wire.chunks(size)), (Err(TlsError::Renegotiation), Vec::new()));
        assert_eq!(ours.facts().version, Version::Tls12);
        assert_eq!(ours.plain, b"before");
    }
}

#[test]
fn a_handshake_of_tls_1_2_is_no_attempt_to_renegotiate_whether_it_resumes_or_not() {
    // A server of somebody else names sessions by ids, or gives tickets, which are one message more.
    for tickets in [false, true] {
        let provider = real(&["m.example"]);
        let mut config = their_server_config(&version::TLS12, &identity("t.example"));
        if tickets {
            config.ticketer = ring::Ticketer::new().expect("a ticketer");
        }
        let config = Arc::new(config);
        for resumed in [false, true] {
            let mut ours = Ours::new(provider.client(&domain("m.example"), &domain("t.example"), false));
            let theirs = ServerConnection::new(Arc::clone(&config)).expect("a server");
            let mut theirs = Theirs(Connection::Server(theirs));
            shake(&mut Trickle(&mut ours), &mut theirs);
            assert_eq!((ours.facts().version, ours.facts().resumed), (Version::Tls12, resumed), "tickets: {tickets}");
        }
    }
    // And one of ours.
    let provider = real(&["t.example"]);
    let mut config = None;
    their_client(&version::TLS12, &identity("m.example"), "t.example", |made| config = Some(made.clone()));
    let config = config.expect("a configuration");
    for resumed in [false, true] {
        let mut ours = Ours::new(provider.server(None));
        let mut theirs =
            their_client(&version::TLS12, &identity("m.example"), "t.example", |made| *made = config.clone());
        shake(&mut theirs, &mut Trickle(&mut ours));
        assert_eq!((ours.facts().version, ours.facts().resumed), (Version::Tls12, resumed));
    }
}

#[test]
fn in_tls_1_3_tickets_and_new_keys_are_no_attempts_to_renegotiate() {
    let provider = real(&["m.example", "t.example"]);
    for resumed in [false, true] {
        let (mut client, mut server) = starttls(&provider, "m.example", "t.example");
        assert_eq!((client.facts().version, client.facts().resumed), (Version::Tls13, resumed), "by a ticket");
        let mut wire = Vec::new();
        server.session.send(b"goes on", &mut wire);
        assert_eq!(hear(&mut client, wire.chunks(1)), (Ok(()), Vec::new()));
        assert_eq!(client.plain, b"goes on");
        // What is not sealed is an error of rustls, which has its alert.
        let (verdict, answer) = hear(&mut server, [&[22, 3, 3, 0, 4][..], &HELLO_REQUEST]);
        assert!(matches!(verdict, Err(TlsError::Failed(_))), "{verdict:?}");
        assert!(!answer.is_empty());
    }

    let mut theirs = their_client(&version::TLS13, &identity("m.example"), "t.example", |_| {});
    let mut ours = Ours::new(provider.server(Some(&domain("t.example"))));
    shake(&mut theirs, &mut ours);
    theirs.0.refresh_traffic_keys().expect("new keys");
    let mut wire = Vec::new();
    theirs.turn(b"", &mut wire).expect("legal");
    assert!(!wire.is_empty(), "an update");
    let (verdict, mut answer) = hear(&mut ours, wire.chunks(1));
    assert_eq!(verdict, Ok(()));
    ours.session.send(b"goes on", &mut answer);
    assert_eq!(theirs.turn(&answer, &mut Vec::new()), Ok(()), "ours are new too");
}

/// What the link has to write, as the socket takes it.
fn written(link: &mut Link) -> Vec<u8> {
    let pending = link.pending().to_vec();
    link.handle_sent(pending.len());
    pending
}

/// A link of t.example with direct TLS 1.2 on which m.example has opened a stream and got features.
fn open_stream(now: Instant) -> (Link, Seal) {
    let tls = Arc::new(real(&["t.example"]));
    let mut link = Link::receiving(now, true, tls, settings(), Entropy::new(Seed([5; 32])));
    let mut client = open_client();
    loop {
        let mut to_link = Vec::new();
        client.turn(&written(&mut link), &mut to_link).expect("legal");
        if to_link.is_empty() {
            break;
        }
        link.handle_bytes(now, &to_link);
    }
    let mut seal = Seal::of(client);
    link.handle_bytes(now, &seal.data(header("m.example", "t.example").as_bytes()));
    let event = link.poll_event();
    assert!(matches!(event, Some(Event::Receiving(ReceivingEvent::HeaderReceived(_)))), "{event:?}");
    link.offer(now, domain("t.example"), Offer { starttls: None, external: None, dialback: true });
    assert!(!written(&mut link).is_empty(), "features");
    (link, seal)
}

#[test]
//= RFC6120-5.3.5-2 test
//= RFC6120-5.3.5-3 test
fn an_attempt_to_renegotiate_ends_the_connection_at_once_without_a_stream_error_or_a_closing_tag() {
    let now = Instant::now();
    let failed = (Reason::TlsFailed, "the peer wanted to renegotiate TLS");
    for trickle in [false, true] {
        for (answer, expected) in [
            (None, failed),
            (Some(KeyOutcome::Failed(StanzaCondition::NotAuthorized)), failed),
            // This ends the stream by itself, but there is no way left to say so.
            (Some(KeyOutcome::Denied), (Reason::DialbackInvalid, "not-authorized")),
        ] {
            let (mut link, mut seal) = open_stream(now);
            let key = seal.data(b"<db:result from='m.example' to='t.example'>key</db:result>");
            let wire = [key, seal.attempt(Role::Server)].concat();
            for piece in wire.chunks(if trickle { 1 } else { wire.len() }) {
                link.handle_bytes(now, piece);
            }
            // What came before counts.
            let pair = match link.poll_event() {
                Some(Event::Receiving(ReceivingEvent::KeyReceived { pair, .. })) => pair,
                event => panic!("{event:?}"),
            };
            if let Some(answer) = answer {
                link.answer_key(now, &pair, answer);
            }
            let end = match link.poll_event() {
                Some(Event::Ended(end)) => end,
                event => panic!("{event:?}"),
            };
            assert_eq!((end.reason, end.detail.as_str()), expected);
            assert_eq!(link.connection(), link::Connection::Drop, "at once");
            assert_eq!(written(&mut link), b"", "nothing is said");
            assert_eq!((link.poll_event(), link.poll_timeout()), (None, None));
        }
    }
}

#[test]
//= RFC6120-5.3.5-2 test
fn a_peer_that_renegotiates_behind_an_error_of_ours_is_not_waited_for() {
    let now = Instant::now();
    let (mut link, mut seal) = open_stream(now);
    link.refuse(now, &StreamError::Refused(Reason::DomainDenied), None);
    assert!(!written(&mut link).is_empty(), "the error");
    assert_eq!(link.connection(), link::Connection::Keep, "the peer may read it first");
    link.handle_bytes(now, &seal.attempt(Role::Server));
    assert_eq!(link.connection(), link::Connection::Drop);
    assert_eq!(written(&mut link), b"");
}
