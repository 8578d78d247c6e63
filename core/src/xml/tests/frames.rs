//! What becomes a frame, and where it ends.

use super::*;
use crate::xml::{Root, StanzaKind};

#[test]
//= RFC6120-11.5-1 test
fn the_header_is_reported_as_soon_as_its_tag_is_complete() {
    let document = format!("<?xml version='1.0'?>\n{HEADER}");
    let (frames, end) = frames(&document);
    assert_eq!(end, Ok(()));
    let root = Root {
        namespace: ns::STREAMS.into(),
        prefix: Some("stream".into()),
        name: "stream".into(),
        default_namespace: Some(ns::SERVER.into()),
        declares_dialback: true,
        to: Some("v.example".into()),
        from: Some("m.example".into()),
        id: None,
        version: Some("1.0".into()),
        lang: None,
    };
    assert_eq!(frames, [Frame::Root(root)]);
    assert_eq!(super::frames(&document[..document.len() - 1]), (vec![], Ok(())));
}

#[test]
fn a_header_may_lack_everything() {
    let (frames, end) = frames("<a>");
    assert_eq!(end, Ok(()));
    assert_eq!(frames, [Frame::Root(Root { name: "a".into(), ..Root::default() })]);
}

#[test]
//= RFC6120-8.4-3 test
fn a_prefix_of_dialback_counts_whatever_its_text() {
    for (header, declares) in [
        ("<s xmlns:q='jabber:server:dialback'>", true),
        ("<s xmlns='jabber:server:dialback'>", false),
        ("<s xmlns:db='jabber:server'>", false),
    ] {
        let (frames, _) = frames(header);
        assert!(matches!(&frames[..], [Frame::Root(root)] if root.declares_dialback == declares), "{header}");
    }
}

#[test]
fn an_empty_document_has_a_header_and_an_end() {
    let mut framer = framer();
    let mut bytes = &b"<a/>rest"[..];
    assert!(matches!(framer.next(&mut bytes), Ok(Some(Frame::Root(_)))));
    assert_eq!(bytes, b"rest");
    let mut nothing = &b""[..];
    assert_eq!(framer.next(&mut nothing), Ok(Some(Frame::End)));
}

#[test]
//= RFC6120-4.1-2 test
//= RFC6120-8-1 test
fn only_the_three_names_in_the_content_namespace_are_stanzas() {
    for (name, kind) in [("iq", StanzaKind::Iq), ("message", StanzaKind::Message), ("presence", StanzaKind::Presence)] {
        assert_eq!(one_stanza(&format!("<{name}/>")).kind, kind);
        assert_eq!(kind.as_str(), name);
        assert!(one_element(&format!("<{name} xmlns='jabber:client'/>")).is("jabber:client", name));
        assert!(one_element(&format!("<{name} xmlns=''/>")).is("", name));
        assert!(one_element(&format!("<a><{name}/></a>")).child(ns::SERVER, name).is_some());
    }
    assert!(one_element("<Message/>").is(ns::SERVER, "Message"));
    assert!(one_element("<stream:message/>").is(ns::STREAMS, "message"));
}

#[test]
fn attributes_that_are_no_addresses_are_given_as_they_were_written() {
    let stanza = one_stanza("<iq to=' V.example/&lt;' from='m.example' id='' type='get'><q xmlns='urn:q'/></iq>");
    assert_eq!(stanza.to.as_deref(), Some(" V.example/<"));
    assert_eq!(stanza.from.as_deref(), Some("m.example"));
    assert_eq!(stanza.id.as_deref(), Some(""));
    assert_eq!(stanza.stanza_type.as_deref(), Some("get"));
    let bare = one_stanza("<presence/>");
    assert_eq!((bare.to, bare.from, bare.id, bare.stanza_type), (None, None, None, None));
}

#[test]
fn bytes_stand_behind_the_last_bracket_of_a_frame() {
    let mut framer = framer();
    for (frame, rest) in [
        (HEADER, "<next"),
        ("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", "\x16\x03\x01"),
        ("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>x</success>", "<?xml version='1.0'?>"),
        ("<message><body>a</body></message  >", "  <message>"),
        ("<presence\t/>", ">"),
        ("</stream:stream>", "garbage & <"),
    ] {
        let document = [frame, rest].concat();
        let mut bytes = document.as_bytes();
        assert!(matches!(framer.next(&mut bytes), Ok(Some(_))), "{frame}");
        assert_eq!(bytes, rest.as_bytes(), "{frame}");
    }
}

#[test]
//= RFC6120-4.8.5-7 test
fn after_a_restart_a_new_document_begins() {
    let mut framer = framer();
    let (first, _) = frames_of(&mut framer, [&b"<s xmlns:p='urn:p' xml:lang='de'><p:a>"[..]]);
    assert_eq!(first.len(), 1);
    framer.restart();
    let (second, end) = frames_of(&mut framer, ["<?xml version='1.0'?><s xmlns='jabber:server'><iq/>".as_bytes()]);
    assert_eq!(end, Ok(()));
    assert!(
        matches!(&second[..], [Frame::Root(root), Frame::Stanza(iq)] if root.lang.is_none() && iq.bytes == b"<iq/>")
    );
    assert_eq!(frames_of(&mut framer, [&b"<p:a/>"[..]]), (vec![], Err(XmlError::UndeclaredPrefix)));
}

#[test]
fn a_restart_also_undoes_an_error_and_an_end() {
    for bytes in ["x", "<a/>"] {
        let mut framer = framer();
        frames_of(&mut framer, [bytes.as_bytes()]).1.ok();
        framer.restart();
        assert!(matches!(framer.next(&mut HEADER.as_bytes()), Ok(Some(Frame::Root(_)))));
    }
}

#[test]
fn an_error_is_given_for_ever() {
    let mut framer = framer();
    assert_eq!(frames_of(&mut framer, [&b"<a></b>"[..]]).1, Err(XmlError::NotWellFormed));
    for bytes in ["", "<", HEADER, "</a>"] {
        assert_eq!(framer.next(&mut bytes.as_bytes()), Err(XmlError::NotWellFormed));
    }
    framer.set_bounds(BOUNDS);
    assert_eq!(framer.next(&mut &b"<a>"[..]), Err(XmlError::NotWellFormed));
}

#[test]
fn other_bounds_hold_for_the_next_element() {
    let mut framer = framer();
    frames_of(&mut framer, [HEADER.as_bytes(), b"<a>"]).1.expect("well-formed");
    framer.set_bounds(Bounds { element_bytes: 10, ..BOUNDS });
    let (first, end) = frames_of(&mut framer, [&b"0123456789</a>"[..]]);
    assert_eq!((first.len(), end), (1, Ok(())));
    assert_eq!(frames_of(&mut framer, [&b"<a>0123456789"[..]]).1, Err(XmlError::TooLong));
}

#[test]
fn a_framer_can_go_to_another_thread() {
    const fn is_send<T: Send>() {}
    is_send::<Framer>();
    is_send::<Frame>();
}
