//! What a stream that a peer opened makes of keys and of stanzas beside them.

use std::collections::VecDeque;

use super::*;
use crate::dialback::Confirmed;
use crate::policy::StartTls;
use crate::xml::Root;

fn pair(remote: &str) -> Pair {
    Pair::new(Domain::parse("v.example").expect("a domain"), Domain::parse(remote).expect("a domain"))
}

/// A stream of m.example inside TLS, on which nothing is proved.
fn open() -> Receiving {
    open_with(
        Receiving::new("1".to_owned(), true),
        Some("1.0"),
        Offer { starttls: None, external: None, dialback: true },
    )
}

/// A stream of m.example whose header has this version, answered with this offer.
fn open_with(mut stream: Receiving, version: Option<&str>, offer: Offer) -> Receiving {
    let root = Root {
        namespace: ns::STREAMS.to_owned(),
        prefix: Some("stream".to_owned()),
        name: "stream".to_owned(),
        default_namespace: Some(ns::SERVER.to_owned()),
        to: Some("v.example".to_owned()),
        from: Some("m.example".to_owned()),
        version: version.map(ToOwned::to_owned),
        ..Root::default()
    };
    let (mut wire, mut events) = (Vec::new(), VecDeque::new());
    let sink = &mut Sink { wire: &mut wire, events: &mut events };
    assert_eq!(stream.handle(Frame::Root(root), sink), Ok(Flow::Undecided));
    stream.offer(pair("m.example").local, offer, 1, &mut wire);
    stream
}

fn answer(stream: &mut Receiving, remote: &str, outcome: KeyOutcome) -> (Result<(), StreamError>, String) {
    let mut wire = Vec::new();
    let verdict = stream.answer_key(&pair(remote), outcome, &mut wire);
    (verdict, String::from_utf8(wire).expect("UTF-8"))
}

fn proved(remote: &str) -> KeyOutcome {
    KeyOutcome::Proved(Proof::by_dialback(Confirmed::new(pair(remote))))
}

#[test]
fn starttls_that_could_not_be_offered_to_a_peer_before_version_1_0_is_refused() {
    for (version, expected) in [(Some("1.0"), Flow::Undecided), (None, Flow::StartTlsRefused)] {
        let offer = Offer { starttls: Some(StartTls::Optional), external: None, dialback: true };
        let mut stream = open_with(Receiving::new("1".to_owned(), false), version, offer);
        let (mut wire, mut events) = (Vec::new(), VecDeque::new());
        let sink = &mut Sink { wire: &mut wire, events: &mut events };
        let request = Element::new(ns::TLS, "starttls");
        assert_eq!(stream.handle(Frame::Element(request), sink), Ok(expected), "{version:?}");
    }
}

#[test]
//= XEP0220-2.1.2-8 test
//= XEP0220-2.2.1-5 test
//= XEP0220-2.5-11 test
//= XEP0220-2.2.1-6 test
//= XEP0220-2.2.1-7 test
fn a_denied_key_ends_a_stream_that_has_proved_nothing_and_no_other() {
    let (verdict, said) = answer(&mut open(), "m.example", KeyOutcome::Denied);
    assert_eq!(verdict, Err(StreamError::DialbackInvalid));
    assert_eq!(said, "<db:result from='v.example' to='m.example' type='invalid'/>");

    let mut stream = open();
    let (verdict, said) = answer(&mut stream, "m.example", proved("m.example"));
    assert_eq!((verdict, said.contains("type='valid'")), (Ok(()), true));
    let (verdict, said) = answer(&mut stream, "t.example", KeyOutcome::Denied);
    assert_eq!(verdict, Ok(()));
    assert!(said.contains("to='t.example' type='error'") && said.contains("<forbidden "), "{said}");
    assert_eq!(stream.proofs().map(Proof::pair).collect::<Vec<_>>(), [&pair("m.example")]);
}

#[test]
//= XEP0220-2.2.1-2 test
fn stanzas_of_a_proved_pair_go_on_while_another_key_waits() {
    let mut stream = open();
    assert_eq!(answer(&mut stream, "m.example", proved("m.example")).0, Ok(()));
    let (mut wire, mut events) = (Vec::new(), VecDeque::new());
    let sink = &mut Sink { wire: &mut wire, events: &mut events };
    let key = Element::new(ns::DIALBACK, "result").with_attribute("from", "t.example");
    let key = key.with_attribute("to", "v.example").with_text("key");
    assert_eq!(stream.handle(Frame::Element(key), sink), Ok(Flow::Continue));
    let stanza = |from: &str| crate::xml::StanzaFrame {
        kind: StanzaKind::Message,
        to: Some("u@v.example".to_owned()),
        from: Some(from.to_owned()),
        id: None,
        stanza_type: None,
        bytes: Vec::new(),
    };
    assert_eq!(stream.handle(Frame::Stanza(stanza("a@m.example")), sink), Ok(Flow::Continue));
    assert_eq!(stream.handle(Frame::Stanza(stanza("a@t.example")), sink), Err(StreamError::FromMismatch));
    assert!(matches!(events.pop_front(), Some(ReceivingEvent::KeyReceived { .. })));
    assert!(matches!(events.pop_front(), Some(ReceivingEvent::Stanza { .. })));
    assert!(events.is_empty());
}

#[test]
//= XEP0220-2.5-14 test
fn a_key_that_could_not_be_judged_ends_nothing_and_may_be_sent_again() {
    let mut stream = open();
    let failed = KeyOutcome::Failed(StanzaCondition::RemoteServerTimeout);
    let (verdict, said) = answer(&mut stream, "m.example", failed);
    assert_eq!(verdict, Ok(()));
    assert!(said.contains("type='error'") && said.contains("<remote-server-timeout "), "{said}");
    let (verdict, said) = answer(&mut stream, "m.example", proved("m.example"));
    assert_eq!((verdict, said.as_str()), (Ok(()), "<db:result from='v.example' to='m.example' type='valid'/>"));
}
