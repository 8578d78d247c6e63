//! Conversations of a node with peers that the scene plays: what is refused, and what goes on all the same.

use std::net::SocketAddr;

use s2s_core::limits;
use s2s_core::machine::Listener;
use s2s_core::policy::HostOptions;

use super::stage::Stage;
use super::{A, B, Setting, message};
use crate::puppetry::{STARTTLS, header, response};
use crate::transcript::Transcript;

/// A second domain of the peer.
const SECOND: &str = "second.example.org";
/// A domain that the peer has no certificate for.
const OTHER: &str = "other.example.com";
/// Where the authoritative server of [`OTHER`] is, and the peer that a node dials.
const SERVER: ([u8; 4], u16) = ([192, 0, 2, 3], 5269);

const SASL: &str = "xmlns='urn:ietf:params:xml:ns:xmpp-sasl'";

fn server() -> SocketAddr {
    SocketAddr::from(SERVER)
}

/// `<db:result/>` with a key that is none.
fn key(from: &str) -> String {
    format!("<db:result from='{from}' to='{B}'>no key at all</db:result>")
}

/// A asks for compression, then for TLS.
#[must_use]
pub fn compression() -> Transcript {
    let mut stage = Stage::new(B, HostOptions::default());
    let puppet = stage.connect();
    stage.say(puppet, &header(A, B));
    stage.say(puppet, "<compress xmlns='http://jabber.org/protocol/compress'><method>zlib</method></compress>");
    stage.say(puppet, STARTTLS);
    stage.transcript.since("<stream:features>")
}

/// A tries another mechanism, begins EXTERNAL and gives it up, and succeeds at last without naming an identity.
#[must_use]
pub fn external() -> Transcript {
    let mut stage = Stage::new(B, Setting::strict().options);
    let mut tls = stage.connect_by_tls(A, &[A]);
    stage.say_inside(&mut tls, &header(A, B));
    for said in [
        format!("<auth {SASL} mechanism='PLAIN'>AGEAYg==</auth>"),
        format!("<auth {SASL} mechanism='EXTERNAL'/>"),
        format!("<abort {SASL}/>"),
        format!("<auth {SASL} mechanism='EXTERNAL'/>"),
        format!("<response {SASL}/>"),
    ] {
        stage.say_inside(&mut tls, &said);
    }
    stage.transcript.since("<stream:features>")
}

/// A shows its own certificate and wants to act as another domain, three times.
#[must_use]
pub fn another_identity() -> Transcript {
    let mut stage = Stage::new(B, Setting::strict().options);
    let mut tls = stage.connect_by_tls(A, &[A]);
    stage.say_inside(&mut tls, &header(A, B));
    for _ in 0..limits::SASL_ATTEMPTS {
        let auth = format!("<auth {SASL} mechanism='EXTERNAL'>b3RoZXIuZXhhbXBsZS5jb20=</auth>");
        stage.say_inside(&mut tls, &auth);
    }
    stage.transcript.since("<auth ")
}

/// A wants its stanzas acknowledged.
#[must_use]
pub fn stream_management() -> Transcript {
    let mut stage = Stage::new(B, Setting::strict().options);
    let mut tls = stage.connect_by_tls(A, &[A]);
    stage.authenticate(&mut tls, A);
    stage.say_inside(&mut tls, "<enable xmlns='urn:xmpp:sm:3'/>");
    stage.transcript.since("<limits ")
}

/// The peer that A has dialled offers bidirectional streams, and answers the first message on the same one.
#[must_use]
pub fn both_ways() -> Transcript {
    let mut stage = Stage::new(A, HostOptions::default());
    stage.listen(B, server());
    stage.world.send(stage.node, &message(A, B, "Hello"));
    let puppet = stage.world.accept(server()).expect("it dials");
    stage.hear(puppet);
    let features = "<stream:features><bidi xmlns='urn:xmpp:features:bidi'/>\
                    <dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback></stream:features>";
    stage.answer(puppet, &(response(B, A, "1") + features));
    stage.answer(puppet, &format!("<db:result from='{B}' to='{A}' type='valid'/>"));
    stage.answer(puppet, &message(B, A, "Hello to you"));
    stage.transcript.since("<stream:features>")
}

/// A, inside TLS, sends a key for its own domain and one for a domain that its certificate does not name; B demands
/// certificates. Then what B tells its operator, and whom it has dialled.
#[must_use]
pub fn keys_without_a_call() -> String {
    let mut stage = Stage::new(B, Setting::strict().options);
    let text = keys(&mut stage, &[A, OTHER]);
    text + &dialled(&mut stage)
}

/// The second of these keys once more, where B does not demand certificates.
#[must_use]
pub fn a_key_with_a_call() -> String {
    let mut stage = Stage::new(B, HostOptions::default());
    let text = keys(&mut stage, &[OTHER]);
    text + &dialled(&mut stage)
}

/// A peer with a certificate for A sends keys for these domains.
fn keys(stage: &mut Stage, domains: &[&str]) -> String {
    stage.listen(OTHER, server());
    let mut tls = stage.connect_by_tls(A, &[A]);
    stage.say_inside(&mut tls, &header(A, B));
    for domain in domains {
        stage.say_inside(&mut tls, &key(domain));
    }
    stage.transcript.since("<db:result").to_string() + &stage.told()
}

fn dialled(stage: &mut Stage) -> String {
    match stage.world.take_dialled().as_slice() {
        [] => "dialled: nobody\n".to_owned(),
        dialled => dialled.iter().map(|addr| format!("dialled: {addr}\n")).collect(),
    }
}

/// A proves itself by EXTERNAL, then two further domains by keys on the same stream: one that its certificate names,
/// and one that it does not. Then what B tells its operator.
#[must_use]
pub fn further_domains() -> String {
    let mut stage = Stage::new(B, Setting::strict().options);
    let mut tls = stage.connect_by_tls(A, &[A, SECOND]);
    stage.authenticate(&mut tls, A);
    stage.say_inside(&mut tls, &key(SECOND));
    stage.say_inside(&mut tls, &message(SECOND, B, "Hello"));
    stage.say_inside(&mut tls, &key(OTHER));
    stage.transcript.since("<db:result").to_string() + &stage.told()
}

/// A stranger sends an element that is longer than strangers may send.
#[must_use]
pub fn too_long() -> String {
    let long = format!("<x xmlns='urn:example:x'>{}</x>", "x".repeat(limits::UNAUTHENTICATED_ELEMENT_BYTES));
    stranger(&long, &format!("an element of {} bytes", long.len()))
}

/// A stranger sends nothing, but much of it.
#[must_use]
pub fn too_much() -> String {
    let much = " ".repeat(limits::UNAUTHENTICATED_TOTAL_BYTES);
    stranger(&much, &format!("{} bytes of white space", much.len()))
}

fn stranger(words: &str, description: &str) -> String {
    let mut stage = Stage::new(B, HostOptions::default());
    let puppet = stage.connect();
    stage.say(puppet, &header(A, B));
    stage.transcript = Transcript::default();
    stage.say_at_length(puppet, words, description);
    stage.transcript.to_string() + &stage.told()
}

/// Three connections from one address, where two are allowed.
#[must_use]
pub fn too_many() -> String {
    let mut stage = Stage::with(B, HostOptions::default(), |config| config.limits.connections_per_address = 2);
    let mut text = String::new();
    for port in 40_001..=40_003 {
        let from = SocketAddr::from(([198, 51, 100, 7], port));
        let accepted = stage.world.connect_from(stage.node, Listener::StartTls, from).is_some();
        text.push_str(&format!("{from} connects: {}\n", if accepted { "accepted" } else { "closed at once" }));
    }
    text + &stage.told()
}

/// A writes both domains in an odd way.
#[must_use]
pub fn odd_spelling() -> Transcript {
    let mut stage = Stage::new(B, HostOptions::default());
    let puppet = stage.connect();
    stage.say(puppet, &header("A.Example.ORG.", "\u{ff42}.example\u{3002}net"));
    stage.transcript
}

/// A opens a stream to a user, and later sends a stanza to an address that is none.
#[must_use]
pub fn improper() -> String {
    let mut stage = Stage::new(B, Setting::strict().options);
    let puppet = stage.connect();
    stage.say(puppet, &header(A, &format!("juliet@{B}")));
    let of_header = std::mem::take(&mut stage.transcript);
    let mut tls = stage.connect_by_tls(A, &[A]);
    stage.authenticate(&mut tls, A);
    stage.transcript = Transcript::default();
    stage.say_inside(&mut tls, &format!("<message from='romeo@{A}' to='@{B}'/>"));
    format!("{of_header}\n{}", stage.transcript)
}
