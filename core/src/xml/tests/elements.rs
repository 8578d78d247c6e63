//! Elements: read, built, written.

use proptest::prelude::*;

use super::*;

fn written(element: &Element, content: &str) -> String {
    let mut out = b"before".to_vec();
    element.write(content, &mut out);
    String::from_utf8(out).expect("UTF-8").strip_prefix("before").expect("appended").to_owned()
}

#[test]
fn an_element_gives_what_it_holds() {
    let element = one_element("<a xmlns='urn:a' b='1' xml:lang='de'>x<c/>y<c xmlns='urn:c' d='2'>z</c></a>");
    assert!(element.is("urn:a", "a") && !element.is("urn:a", "b") && !element.is("urn:b", "a"));
    assert_eq!((element.attribute("b"), element.attribute("lang"), element.attribute("c")), (Some("1"), None, None));
    assert_eq!(element.text(), "xy");
    assert_eq!(element.children().count(), 2);
    assert_eq!(element.child("urn:c", "c").and_then(|c| c.attribute("d")), Some("2"));
    assert_eq!(element.child("urn:a", "c"), Some(&Element::new("urn:a", "c")));
    assert_eq!(element.child("urn:x", "c"), None);
}

#[test]
fn an_element_is_built_as_it_is_read() {
    let built = Element::new("urn:a", "a")
        .with_attribute("b", "0")
        .with_attribute("b", "1")
        .with_attribute_in(ns::XML, "lang", "de")
        .with_text("x")
        .with_text("")
        .with_text("&")
        .with_child(Element::new("urn:c", "c").with_text(""));
    assert_eq!(one_element("<a xmlns='urn:a' b='1' xml:lang='de'>x&amp;<c xmlns='urn:c'/></a>"), built);
}

#[test]
//= RFC6120-4.8.5-4 test
fn namespaces_are_declared_where_they_change() {
    let tree = Element::new(ns::SERVER, "iq").with_child(
        Element::new("urn:x", "x").with_child(Element::new("urn:x", "y")).with_child(Element::new(ns::SERVER, "iq")),
    );
    assert_eq!(written(&tree, ns::SERVER), "<iq><x xmlns='urn:x'><y/><iq xmlns='jabber:server'/></x></iq>");
    let declared = written(&tree, ns::COMPONENT);
    assert_eq!(declared, "<iq xmlns='jabber:server'><x xmlns='urn:x'><y/><iq xmlns='jabber:server'/></x></iq>");
    assert_eq!(written(&Element::new("", "a"), ns::SERVER), "<a xmlns=''/>");
}

#[test]
fn streams_and_dialback_have_their_customary_prefixes() {
    let features = Element::new(ns::STREAMS, "features").with_child(Element::new(ns::TLS, "starttls"));
    assert_eq!(
        written(&features, ns::SERVER),
        "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>"
    );
    let result = Element::new(ns::DIALBACK, "result").with_attribute("to", "v.example").with_text("key");
    assert_eq!(
        written(&result, ns::SERVER),
        "<db:result xmlns:db='jabber:server:dialback' to='v.example'>key</db:result>"
    );
}

#[test]
fn attributes_in_namespaces_get_prefixes_of_their_own() {
    let element = Element::new("urn:a", "a")
        .with_attribute_in("urn:b", "b", "1")
        .with_attribute_in("urn:c", "b", "2")
        .with_attribute_in("urn:b", "c", "4")
        .with_attribute_in(ns::XML, "lang", "de")
        .with_attribute("b", "3");
    let text = written(&element, "urn:a");
    assert_eq!(text, "<a xmlns:ns0='urn:b' ns0:b='1' xmlns:ns1='urn:c' ns1:b='2' ns0:c='4' xml:lang='de' b='3'/>");
    assert_eq!(one_element(&text.replace("<a", "<a xmlns='urn:a'")), element);
}

proptest! {
    #[test]
    //= RFC6120-11.3-1 test
    //= RFC6120-11.3-3 test
    fn what_is_written_is_read_back(element in strategies::element()) {
        let text = written(&element, ns::SERVER);
        let (frames, end) = content(&text);
        prop_assert_eq!(end, Ok(()));
        prop_assert_eq!(&frames, &[Frame::Element(element.clone())]);
        prop_assert_eq!(reference_stanza(HEADER, text.as_bytes()), sorted(element));
    }
}
