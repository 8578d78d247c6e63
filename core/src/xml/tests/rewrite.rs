//! Stanzas: written anew so that they can stand in any stream of their content namespace.

use proptest::prelude::*;

use super::*;
use crate::addr::Address;
use crate::stanza::Stanza;

/// A header that binds nothing but what a stanza may take for granted.
const BARE: &str = "<s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns='jabber:server'>";

#[test]
//= RFC6120-4.8.3-4 test
//= RFC6120-4.8.5-4 test
//= RFC6120-4.8.3-3 test
fn the_chain_of_content_elements_loses_prefixes_and_declarations() {
    for (bytes, expected) in [
        ("<message xmlns='jabber:server'><body>x</body></message>", "<message><body>x</body></message>"),
        ("<message><body xmlns='jabber:server'>x</body></message>", "<message><body>x</body></message>"),
        ("<iq><j:a xmlns:j='jabber:server'/></iq>", "<iq><a xmlns:j='jabber:server'/></iq>"),
        (
            "<iq><j:a xmlns:j='jabber:server' xmlns='urn:x'><b/><j:c/></j:a></iq>",
            "<iq><a xmlns:j='jabber:server'><b xmlns='urn:x'/><c/></a></iq>",
        ),
        (
            "<iq><j:a xmlns:j='jabber:server' xmlns=''><b/></j:a></iq>",
            "<iq><a xmlns:j='jabber:server'><b xmlns=''/></a></iq>",
        ),
    ] {
        assert_eq!(rewritten(bytes), expected);
    }
}

#[test]
//= RFC6120-4.8.3-5 test
fn below_a_foreign_element_the_content_namespace_is_explicit() {
    for (bytes, expected) in [
        (
            "<iq><f xmlns='urn:f'><message xmlns='jabber:server'/></f></iq>",
            "<iq><f xmlns='urn:f'><message xmlns='jabber:server'/></f></iq>",
        ),
        (
            "<iq><f:f xmlns:f='urn:f'><message><body/></message></f:f></iq>",
            "<iq><f:f xmlns:f='urn:f'><message xmlns='jabber:server'><body/></message></f:f></iq>",
        ),
        (
            "<iq><f:f xmlns:f='urn:f' xmlns='jabber:server'><message/></f:f></iq>",
            "<iq><f:f xmlns='jabber:server' xmlns:f='urn:f'><message/></f:f></iq>",
        ),
        (
            "<iq><f xmlns='urn:f'><j:a xmlns:j='jabber:server'/></f></iq>",
            "<iq><f xmlns='urn:f'><j:a xmlns:j='jabber:server'/></f></iq>",
        ),
    ] {
        assert_eq!(rewritten(bytes), expected);
    }
}

#[test]
//= RFC6120-4.8.5-10 test
//= RFC6120-8.4-1 test
fn what_only_the_header_binds_is_declared_where_it_is_used() {
    let header = BARE.replace('>', " xmlns:e='urn:e'>");
    for (bytes, expected) in [
        ("<iq><e:a/></iq>", "<iq><e:a xmlns:e='urn:e'/></iq>"),
        ("<iq><e:a><e:b/></e:a><e:c/></iq>", "<iq><e:a xmlns:e='urn:e'><e:b/></e:a><e:c xmlns:e='urn:e'/></iq>"),
        ("<iq e:a='' e:b=''><e:c/></iq>", "<iq xmlns:e='urn:e' e:a='' e:b=''><e:c/></iq>"),
        (
            "<iq><e:a><e:b xmlns:e='urn:o'><e:c/></e:b></e:a></iq>",
            "<iq><e:a xmlns:e='urn:e'><e:b xmlns:e='urn:o'><e:c/></e:b></e:a></iq>",
        ),
        ("<iq><a xmlns:e='urn:o'/><e:b/></iq>", "<iq><a xmlns:e='urn:o'/><e:b xmlns:e='urn:e'/></iq>"),
    ] {
        assert_eq!(text_of(&stanza_under(&header, bytes)), expected);
    }
}

#[test]
fn the_default_namespace_of_a_header_is_declared_where_it_is_used() {
    let header = "<s xmlns='urn:d' xmlns:j='jabber:server' xmlns:f='urn:f'>";
    let stanza = stanza_under(header, "<iq xmlns='jabber:server'><f:f xmlns=''><a/></f:f><b xmlns='urn:d'/></iq>");
    assert_eq!(text_of(&stanza), "<iq><f:f xmlns='' xmlns:f='urn:f'><a/></f:f><b xmlns='urn:d'/></iq>");
}

#[test]
fn declarations_that_names_in_text_may_need_are_kept() {
    let bytes = "<iq xmlns:q='urn:q'><a xmlns='urn:a' xmlns:r='urn:r' t='r:b'>q:c</a></iq>";
    assert_eq!(rewritten(bytes), bytes);
    // The prefix `xml` needs none.
    assert_eq!(
        rewritten("<iq xmlns:xml='http://www.w3.org/XML/1998/namespace' xml:lang='de'/>"),
        "<iq xml:lang='de'/>"
    );
}

#[test]
//= RFC6120-4.7.4-4 test
//= RFC6120-4.7.4-5 test
//= RFC6120-8.1.5-1 test
//= RFC6120-8.1.5-2 test
//= RFC6120-4.7.4-1 test
fn a_stanza_without_language_gets_that_of_the_stream() {
    let header = BARE.replace('>', " xml:lang='de-AT'>");
    for (bytes, expected) in [
        ("<message id='1'><body/></message>", "<message id='1' xml:lang='de-AT'><body/></message>"),
        ("<message xml:lang='en'/>", "<message xml:lang='en'/>"),
        ("<message xml:lang=''/>", "<message xml:lang=''/>"),
        ("<message lang='x'/>", "<message lang='x' xml:lang='de-AT'/>"),
    ] {
        assert_eq!(text_of(&stanza_under(&header, bytes)), expected);
    }
    for lang in [String::new(), "x".repeat(65), "de AT".to_owned(), "dé".to_owned(), "&lt;".to_owned()] {
        let header = BARE.replace('>', &format!(" xml:lang='{lang}'>"));
        assert_eq!(stanza_under(&header, "<iq/>").bytes, b"<iq/>", "nothing useful");
    }
}

#[test]
fn white_space_quotes_and_sections_have_one_form() {
    assert_eq!(
        rewritten("<message\n to=\"a'b\"\t><body  ></body ><x><![CDATA[<&>]]></x>\r\n</message>"),
        "<message to='a&apos;b'><body/><x>&lt;&amp;&gt;</x>\n</message>"
    );
}

#[test]
fn on_a_component_stream_its_own_namespace_is_neutral() {
    let mut framer = Framer::new(ns::COMPONENT, BOUNDS);
    let document = "<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams'>\
                    <message><body/><message xmlns='jabber:server'><body/></message></message>";
    let (frames, end) = frames_of(&mut framer, [document.as_bytes()]);
    assert_eq!(end, Ok(()));
    let expected = "<message><body/><message xmlns='jabber:server'><body/></message></message>";
    assert!(matches!(&frames[..], [_, Frame::Stanza(stanza)] if text_of(stanza) == expected));
}

#[test]
//= RFC7622-3.2-4 test
//= RFC7622-3.2.2-1 test
//= RFC7622-4-2 test
fn a_stanza_leaves_with_its_own_addresses_prepared() {
    for (written, prepared) in [
        ("troll@m.example.", "troll@m.example"),
        ("troll@M.ＥXAMPLE", "troll@m.example"),
        ("Troll@M.EXAMPLE/Ｒ.", "Troll@m.example/Ｒ."),
        ("M.Example", "m.example"),
        ("a@BÜCHER.example", "a@bücher.example"),
        ("a@XN--BCHER-KVA.example.", "a@xn--bcher-kva.example"),
    ] {
        let frame = one_stanza(&format!("<message from='{written}' to='v.example' id='M.'/>"));
        assert_eq!(text_of(&frame), format!("<message from='{prepared}' to='v.example' id='M.'/>"));
        let stanza = Stanza::from_frame(frame).expect("both are addresses");
        assert_eq!(stanza.head().from.as_str(), prepared, "what is judged is what is written");
        let outbound = Stanza::parse(&format!("<iq to='{written}' from='v.example'/>")).expect("a stanza");
        assert_eq!(outbound.bytes(), format!("<iq to='{prepared}' from='v.example'/>").as_bytes());
        assert_eq!(outbound.head().to.as_str(), prepared);
    }
}

#[test]
fn what_is_no_address_of_the_stanza_itself_stays_as_it_was_written() {
    for stanza in [
        "<message from='@M.EXAMPLE' to='127.0.0.1.'/>",
        "<message from='M.EXAMPLE..' to=' M.EXAMPLE'/>",
        "<message from='faß.Example' to=''/>",
        "<message xmlns:x='urn:x' x:from='M.EXAMPLE' x:to='M.EXAMPLE'/>",
        "<message><x xmlns='urn:x' from='A@M.EXAMPLE' to='m.example.'/><y to='M.EXAMPLE'/></message>",
        "<message><f:f xmlns:f='urn:f'><message xmlns='jabber:server' from='M.EXAMPLE'/></f:f></message>",
    ] {
        assert_eq!(rewritten(stanza), stanza);
    }
    assert_eq!(one_element("<a from='M.EXAMPLE'/>").attribute("from"), Some("M.EXAMPLE"), "this is no stanza");
}

/// The element with the addresses that the frame has, if these are the same ones: what is no address is not changed.
fn with_addresses_of(stanza: &StanzaFrame, mut element: Element) -> Element {
    for attribute in element.attributes.iter_mut().filter(|attribute| attribute.namespace.is_empty()) {
        let given = match attribute.name.as_str() {
            "to" => &stanza.to,
            "from" => &stanza.from,
            _ => continue,
        };
        let given = given.as_deref().expect("the attribute is there");
        match (Address::parse(&attribute.value), Address::parse(given)) {
            (Ok(written), Ok(given)) => assert_eq!(written.domain(), given.domain()),
            (Err(_), _) => assert_eq!(attribute.value, given),
            (Ok(written), Err(error)) => panic!("{written} became {given}: {error}"),
        }
        given.clone_into(&mut attribute.value);
    }
    element
}

/// What a stanza has to mean: what the other parser reads, with the language of its stream.
fn expected(child: &Element, header: &Element) -> Element {
    let is_lang = |a: &&Attribute| a.namespace == ns::XML && a.name == "lang";
    let mut child = child.clone();
    if let (None, Some(lang)) = (child.attributes.iter().find(is_lang), header.attributes.iter().find(is_lang)) {
        child.attributes.push(lang.clone());
    }
    sorted(child)
}

proptest! {
    #![proptest_config(cases(1024))]

    #[test]
    //= RFC6120-11.3-3 test
    //= RFC6120-8.4-6 test
    //= RFC6120-11.1-1 test
    fn a_rewritten_stanza_means_what_was_sent(document in strategies::document()) {
        let (frames, end) = frames_of(&mut Framer::new(ns::SERVER, strategies::WIDE), [document.as_bytes()]);
        if end.is_err() {
            return Ok(());
        }
        let tree = reference_tree(document.as_bytes()).expect("we are not laxer than rxml");
        let mut children = tree.children();
        for frame in &frames {
            match frame {
                Frame::Stanza(stanza) => {
                    let child = children.next().expect("a child for each frame");
                    let expected = with_addresses_of(stanza, expected(child, &tree));
                    prop_assert_eq!(expected, reference_stanza(BARE, &stanza.bytes), "{}", text_of(stanza));
                }
                Frame::Element(element) => {
                    let child = children.next().expect("a child for each frame");
                    prop_assert_eq!(sorted(child.clone()), sorted(element.clone()));
                }
                Frame::Root(_) | Frame::End => {}
            }
        }
        prop_assert_eq!(children.next(), None);
        prop_assert_eq!(frames.last(), Some(&Frame::End));
    }

    #[test]
    fn rewriting_again_changes_nothing(document in strategies::document()) {
        let (frames, _) = frames_of(&mut Framer::new(ns::SERVER, strategies::WIDE), [document.as_bytes()]);
        for frame in &frames {
            let Frame::Stanza(stanza) = frame else { continue };
            let mut framer = Framer::new(ns::SERVER, strategies::WIDE);
            let (again, end) = frames_of(&mut framer, [BARE.as_bytes(), &stanza.bytes]);
            prop_assert_eq!(end, Ok(()));
            prop_assert_eq!(again.last(), Some(frame));
        }
    }
}
