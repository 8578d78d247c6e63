//! What hosts without a component answer.

use super::*;
use crate::xml::Element;

const DISCO: &str = "<query xmlns='http://jabber.org/protocol/disco#info'/>";
const PING: &str = "<ping xmlns='urn:xmpp:ping'/>";

/// The only event that comes of `text`, an answer to a remote sender.
fn answer(text: &str) -> Option<String> {
    let mut driver = Driver::new();
    driver.deliver(text);
    let mut events = driver.events();
    if let [Event::Returned { host, sender, reason: Reason::ComponentAbsent }, Event::Outbound(answer)] =
        events.as_slice()
    {
        let head = answer.head();
        assert_eq!((head.from.domain(), head.to.domain(), head.stanza_type.as_deref()), (host, sender, Some("error")));
        events.remove(0);
    }
    match events.as_slice() {
        [Event::Outbound(answer)] => {
            assert_eq!(answer.head().to.as_str(), stanza(text).head().from.as_str());
            Some(String::from_utf8(answer.bytes().to_vec()).expect("UTF-8"))
        }
        [Event::Dropped { stanza: dropped, reason: Reason::ComponentAbsent }] => {
            assert_eq!(*dropped, stanza(text));
            None
        }
        other => panic!("{other:?}"),
    }
}

fn iq(iq_type: &str, to: &str, payload: &str) -> String {
    format!("<iq type='{iq_type}' id='i&amp;1' from='u@m.example/r' to='{to}'>{payload}</iq>")
}

fn condition(text: &str) -> String {
    between(text, "<error type='", " xmlns=").replace("'><", " ")
}

#[test]
//= XEP0199-4.3-1 test
//= RFC6120-8.2.3-2 test
//= RFC6120-10.5.1-1 test
fn a_ping_to_the_host_is_answered() {
    for (to, from) in [("a.example", "a.example"), ("bare.example", "bare.example"), ("BARE.example", "bare.example")] {
        let expected = format!("<iq type='result' to='u@m.example/r' from='{from}' id='i&amp;1'/>");
        assert_eq!(answer(&iq("get", to, PING)), Some(expected));
    }
}

#[test]
//= XEP0199-7-1 test
//= RFC6120-10.5.2-1 test
//= RFC6120-10.5.3.1-1 test
//= RFC6120-8.3.3.7-1 test
//= RFC6120-8.3.3.13-1 test
//= RFC6120-8.3.3.19-1 test
//= RFC6120-8.4-4 test
//= RFC6120-8.3.1-1 test
//= RFC6120-10.2-1 test
//= RFC6120-13.10.2-1 test
//= RFC6120-13.11-1 test
fn other_requests_find_no_service_whoever_they_are_for() {
    let requests = [
        iq("set", "a.example", PING),
        iq("set", "a.example", DISCO),
        iq("get", "a.example", "<query xmlns='jabber:iq:version'/>"),
        iq("get", "a.example", "<ping/>"),
        iq("get", "a.example/r", PING),
        iq("get", "u@a.example", PING),
        iq("get", "u@a.example/r", DISCO),
        iq("get", "a.example", &format!("<x xmlns='urn:x'>{}</x>", "<y/>".repeat(5_000))),
    ];
    for request in requests {
        let answer = answer(&request).expect("an answer");
        assert_eq!(condition(&answer), "cancel service-unavailable", "{request}");
        assert!(answer.contains(" id='i&amp;1'"), "{answer}");
    }
}

#[test]
//= RFC6120-8.2.3-4 test
//= RFC6120-8.3.3.1-1 test
fn a_request_without_exactly_one_child_is_bad() {
    for payload in ["", "text", &PING.repeat(2), &format!("{PING}<x xmlns='urn:x'/>")] {
        for to in ["a.example", "u@a.example"] {
            let answer = answer(&iq("get", to, payload)).expect("an answer");
            assert_eq!(condition(&answer), "modify bad-request", "{payload}");
        }
    }
}

#[test]
//= RFC6120-8.2.3-1 test
fn an_iq_of_another_type_is_bad() {
    for attributes in ["", " type=''", " type='put'", " type='GET'"] {
        let text = format!("<iq{attributes} id='1' from='u@m.example' to='a.example'>{PING}</iq>");
        assert_eq!(condition(&answer(&text).expect("an answer")), "modify bad-request", "{attributes}");
    }
}

#[test]
//= RFC6120-10.4.3-4 test
//= RFC6120-8.4-5 test
fn messages_find_no_service() {
    for attributes in ["", " type='chat'", " type='groupchat'", " type='no-such-type'"] {
        let text = format!("<message{attributes} from='u@m.example' to='x@a.example'><body>hi</body></message>");
        let answer = answer(&text).expect("an answer");
        assert_eq!(condition(&answer), "cancel service-unavailable");
        assert!(!answer.contains("<body"), "{answer}");
    }
}

#[test]
//= RFC6120-8.3.1-1 test
fn a_message_of_type_result_finds_no_service_since_results_are_of_iq_alone() {
    let answer = answer("<message type='result' id='7' from='u@m.example' to='x@a.example'><body>hi</body></message>");
    let answer = answer.expect("an answer");
    assert_eq!(condition(&answer), "cancel service-unavailable");
    assert!(answer.starts_with("<message type='error' ") && answer.contains(" id='7'"), "{answer}");
}

#[test]
//= RFC6120-8.3.1-7 test
//= RFC6120-8.2.3-3 test
//= RFC6120-10.5.3.1-1 test
fn presence_errors_and_results_get_no_answer() {
    for start in [
        "presence",
        "presence type='probe'",
        "presence type='subscribe'",
        "presence type='error'",
        "message type='error'",
        "iq type='result' id='1'",
        "iq type='error' id='1'",
    ] {
        for to in ["a.example", "u@a.example"] {
            assert_eq!(answer(&format!("<{start} from='u@m.example' to='{to}'/>")), None, "{start}");
        }
    }
}

#[test]
//= XEP0199-5-1 test
fn discovery_tells_what_we_are() {
    assert_eq!(
        answer(&iq("get", "a.example", DISCO)).expect("an answer"),
        "<iq type='result' to='u@m.example/r' from='a.example' id='i&amp;1'>\
         <query xmlns='http://jabber.org/protocol/disco#info'><identity category='server' type='im' name='s2s'/>\
         <feature var='http://jabber.org/protocol/disco#info'/><feature var='urn:xmpp:ping'/></query></iq>"
    );
    let node = DISCO.replace("/>", " node='urn:x'/>");
    let refused = answer(&iq("get", "a.example", &node)).expect("an answer");
    assert_eq!(condition(&refused), "cancel item-not-found");
    let empty = DISCO.replace("/>", " node=''/>");
    assert!(answer(&iq("get", "a.example", &empty)).expect("an answer").contains("<identity "));
}

#[test]
//= XEP0157-3-1 test
fn discovery_gives_the_contact_addresses() {
    let mut config = config();
    let contact = |name: &str, uri: &str| (name.to_owned(), uri.to_owned());
    config.hosts.get_mut(&domain("a.example")).expect("a host").contacts = vec![
        contact("abuse-addresses", "mailto:abuse@a.example"),
        contact("security-addresses", "https://a.example/?a=1&b=<2>"),
        contact("abuse-addresses", "xmpp:abuse@a.example"),
    ];
    let mut driver = Driver::with(config);
    driver.deliver(&iq("get", "a.example", DISCO));
    let events = driver.events();
    let [Event::Outbound(answer)] = events.as_slice() else { panic!("{events:?}") };
    let query = answer.payload().expect("one child");
    let form = query.child("jabber:x:data", "x").expect("a form");
    assert_eq!(form.attribute("type"), Some("result"));
    let fields: Vec<(_, _, Vec<_>)> = form
        .children()
        .map(|field| {
            let values = field.children().map(Element::text).collect();
            (field.attribute("var").expect("a name"), field.attribute("type").expect("a type"), values)
        })
        .collect();
    let expected = [
        ("FORM_TYPE", "hidden", vec!["http://jabber.org/network/serverinfo".to_owned()]),
        ("abuse-addresses", "list-multi", vec!["mailto:abuse@a.example".to_owned(), "xmpp:abuse@a.example".to_owned()]),
        ("security-addresses", "list-multi", vec!["https://a.example/?a=1&b=<2>".to_owned()]),
    ];
    assert_eq!(fields, expected);
}

#[test]
fn the_host_answers_again_when_its_component_has_gone() {
    let mut driver = Driver::new();
    let conn = driver.attach("a.example");
    driver.deliver(&iq("get", "a.example", PING));
    assert!(driver.read(conn).contains("<ping ") && driver.events().is_empty());
    driver.broken(conn);
    driver.events();
    driver.deliver(&iq("get", "a.example", PING));
    assert!(matches!(driver.events().as_slice(), [Event::Outbound(_)]));
}
