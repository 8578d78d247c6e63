//! What a stream of ours makes of the answers to keys.

use std::collections::VecDeque;

use super::*;
use crate::dialback::{Answer, Message};
use crate::ns;
use crate::stanza::StanzaCondition;
use crate::xml::Root;

#[test]
//= XEP0220-2.1.1-15 test
//= XEP0220-2.5-14 test
fn an_error_for_a_key_ends_nothing_and_another_key_may_be_sent() {
    let domain = |text: &str| Domain::parse(text).expect(text);
    let pair = Pair::new(domain("v.example"), domain("m.example"));
    let mut stream = Initiating::new(pair.local.clone(), pair.remote.clone());
    let (mut wire, mut events) = (Vec::new(), VecDeque::new());
    stream.open(&mut wire);
    let mut hear = |stream: &mut Initiating, frame| {
        let mut ignored = Vec::new();
        let flow = stream.handle(frame, &mut Sink { wire: &mut ignored, events: &mut events });
        (flow, events.drain(..).collect::<Vec<_>>())
    };
    let root = Root {
        namespace: ns::STREAMS.to_owned(),
        name: "stream".to_owned(),
        default_namespace: Some(ns::SERVER.to_owned()),
        id: Some("7".to_owned()),
        version: Some("1.0".to_owned()),
        ..Root::default()
    };
    assert_eq!(hear(&mut stream, Frame::Root(root)).0, Ok(Flow::Undecided));
    stream.accept_header();
    let dialback = Element::new("urn:xmpp:features:dialback", "dialback");
    let features = Element::new(ns::STREAMS, "features").with_child(dialback);
    assert_eq!(hear(&mut stream, Frame::Element(features)).0, Ok(Flow::Undecided));

    let result = || {
        let result = Element::new(ns::DIALBACK, "result").with_attribute("from", "m.example");
        result.with_attribute("to", "v.example")
    };
    stream.send_key(&pair, "key".to_owned(), &mut wire);
    let condition = Element::new(ns::STANZA_ERRORS, "remote-server-timeout");
    let error = Element::new(ns::SERVER, "error").with_child(condition);
    let refused = result().with_attribute("type", "error").with_child(error);
    let answer = Answer::Error(Some(StanzaCondition::RemoteServerTimeout));
    let told = vec![InitiatingEvent::KeyRefused { pair: pair.clone(), answer }];
    assert_eq!(hear(&mut stream, Frame::Element(refused)), (Ok(Flow::Continue), told));

    wire.clear();
    stream.send_key(&pair, "key".to_owned(), &mut wire);
    let key = Message { from: pair.local.clone(), to: pair.remote.clone(), kind: Kind::Key("key".to_owned()) };
    assert_eq!(String::from_utf8_lossy(&wire), key.write());
    let valid = result().with_attribute("type", "valid");
    let told = vec![InitiatingEvent::Authorised { pair, by: Method::Dialback }];
    assert_eq!(hear(&mut stream, Frame::Element(valid)), (Ok(Flow::Continue), told));
}
