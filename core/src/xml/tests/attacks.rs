//! What attackers send.

use super::*;

#[test]
fn an_attribute_that_is_given_through_two_prefixes_is_refused() {
    let header =
        "<s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns:a='urn:n' xmlns:b='urn:n' a:to='' b:to=''>";
    assert_eq!(frames(header).1, Err(XmlError::DuplicateAttribute));
    // In a namespace of their own they are two.
    let two = "<message xmlns:a='urn:a' xmlns:b='urn:b' a:to='x' b:to='y'/>";
    assert_eq!(rewritten(two), two);
}

#[test]
fn only_attributes_without_namespace_address() {
    let header =
        HEADER.replace(" to=", " stream:to=").replace(" from=", " db:from=").replace(" version=", " db:version=");
    let (frames, end) = frames(header);
    assert_eq!(end, Ok(()));
    assert!(matches!(&frames[..], [Frame::Root(root)]
            if root.to.is_none() && root.from.is_none() && root.version.is_none() && root.id.is_none()));
    let stanza = one_stanza("<message xmlns:x='urn:x' x:from='t.example' x:to='' x:id='' x:type=''/>");
    assert_eq!((stanza.from, stanza.to, stanza.id, stanza.stanza_type), (None, None, None, None));
    // Nor does `lang` without the prefix count as a language.
    assert_eq!(one_element("<a lang='de'/>").attribute("lang"), Some("de"));
}

#[test]
fn a_hundred_thousand_attributes_or_declarations_are_refused_before_they_are_kept() {
    for name in ["a", "xmlns:p"] {
        let mut framer = Framer::new(ns::SERVER, Bounds { element_bytes: 10_000_000, ..BOUNDS });
        let tag = (0..100_000).fold("<s".to_owned(), |tag, n| tag + &format!(" {name}{n}='u'"));
        let (frames, end) = frames_of(&mut framer, [tag.as_bytes()]);
        assert!(frames.is_empty() && end.is_err_and(XmlError::is_limit));
    }
}

#[test]
fn an_attribute_without_end_is_refused_within_the_limit() {
    let mut framer = framer();
    let bytes = format!("<s to='{}", "A".repeat(10_000_000));
    let mut left = bytes.as_bytes();
    assert!(framer.next(&mut left).is_err_and(XmlError::is_limit));
    assert!(framer.retained_bytes() < BOUNDS.element_bytes);
}

#[test]
//= RFC6120-4.9.3.1-1 test
fn a_second_header_is_refused_by_its_start_tag_and_inside_a_stanza_it_is_a_payload() {
    for second in [HEADER.to_owned(), HEADER.replace('>', "/>"), format!("{HEADER}<message/>")] {
        assert_eq!(content(second), (vec![], Err(XmlError::NestedHeader)));
    }
    let nested = rewritten(&format!("<message>{}</message>", HEADER.replace('>', "/>")));
    assert!(nested.starts_with("<message><stream:stream xmlns='jabber:server' xmlns:stream="));
}

#[test]
//= RFC6120-4.4-2 test
fn nothing_behind_the_end_is_read() {
    let (frames, end) = content("</stream:stream><message/></x>&\u{0}");
    assert_eq!((&frames[..], end), (&[Frame::End][..], Ok(())));
}

#[test]
//= RFC6120-11.1-2 test
fn entities_are_refused_where_they_are_declared() {
    let laughs = "<!DOCTYPE x [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;'>]>";
    for document in [
        format!("{laughs}{HEADER}"),
        format!("<?xml version='1.0'?>{laughs}{HEADER}"),
        format!("{HEADER}{laughs}<message>&b;</message>"),
        format!("{HEADER}<message>{laughs}&b;</message>"),
        format!("<!D{HEADER}"),
    ] {
        assert_eq!(frames(&document).1, Err(XmlError::RestrictedXml), "{document}");
    }
    assert_eq!(frames("<!D").1, Err(XmlError::RestrictedXml), "not later than at the first letter");
}

#[test]
fn predefined_references_are_resolved_exactly() {
    let element = one_element("<a b='&lt;&amp;&#10;&apos;'>&lt;&gt;&amp;&apos;&quot;&#65;&#x1F600;&#13;</a>");
    assert_eq!(element.text(), "<>&'\"A\u{1f600}\r");
    assert_eq!(element.attribute("b"), Some("<&\n'"));
    assert_eq!(
        rewritten("<message b=\"&lt;&amp;&#10;'\">&lt;&gt;&amp;'&quot;&#65;&#13;</message>"),
        "<message b='&lt;&amp;&#10;&apos;'>&lt;&gt;&amp;'\"A&#13;</message>"
    );
}

#[test]
fn an_overlong_bracket_is_never_a_bracket() {
    for bytes in [&b"<message>\xc0\xbcbody/>"[..], b"<message a='\xc0\xa7 b='/>", b"<message>\xe0\x80\xbc/message>"] {
        let bytes = [bytes, b"<message/>"].concat();
        assert_eq!(content_error(bytes), (0, XmlError::InvalidUtf8));
    }
}

#[test]
fn names_are_pairs_and_not_joined_text() {
    for separator in ["&#10;", " ", "}", ":", "|", "&#9;"] {
        let bytes = format!("<x xmlns='jabber:server{separator}message'/><message xmlns='jabber:server{separator}'/>");
        let (frames, end) = content(&bytes);
        assert_eq!(end, Ok(()));
        assert!(matches!(&frames[..], [Frame::Element(_), Frame::Element(_)]), "{bytes}");
    }
    for illegal in ["&#1;", "\u{1}", "\u{c}"] {
        assert_eq!(content_error(format!("<x xmlns='u{illegal}'/>")).1, XmlError::NotWellFormed);
    }
}

#[test]
//= RFC6120-8-2 test
fn a_wrong_end_tag_ends_the_stream_without_a_stanza() {
    for bytes in ["<message><body></message></body>", "<message></iq>", "<message></message2>", "<message></MESSAGE>"] {
        assert_eq!(content_error(format!("{bytes}<message/>")), (0, XmlError::NotWellFormed), "{bytes}");
    }
}

#[test]
//= RFC6120-4.1-2 test
fn what_is_inside_stays_inside() {
    let forwarded = "<message><forwarded xmlns='urn:xmpp:forward:0'>\
                     <message xmlns='jabber:server' from='t.example'/></forwarded></message>";
    assert_eq!(rewritten(forwarded), forwarded);
    let stanza = one_stanza(forwarded);
    assert_eq!(stanza.from, None);
    for inside in ["<stream:error/>", "<stream:features/>", "&lt;/stream:stream>", "<![CDATA[</stream:stream>]]>"] {
        let (frames, end) = content(format!("<message>{inside}</message>"));
        assert_eq!(end, Ok(()));
        assert!(matches!(&frames[..], [Frame::Stanza(_)]), "{inside}");
    }
}

#[test]
fn prefixes_that_are_bound_anew_mean_what_they_are_bound_to() {
    for stanza in [
        "<message><x xmlns='urn:a' xmlns:stream='urn:x'><stream:error/></x></message>",
        "<message xmlns:db='urn:x'><db:result type='valid'/></message>",
        "<message><q:result xmlns:q='jabber:server:dialback'/></message>",
    ] {
        assert_eq!(rewritten(stanza), stanza);
    }
    assert!(one_element("<stream:error xmlns:stream='urn:x'/>").is("urn:x", "error"));
    assert!(one_element("<q:result xmlns:q='jabber:server:dialback'/>").is(ns::DIALBACK, "result"));
    // It ends with the element.
    let (frames, _) = content("<a xmlns:stream='urn:x'/><stream:error/>");
    assert!(matches!(&frames[..], [_, Frame::Element(error)] if error.is(ns::STREAMS, "error")));
}

#[test]
//= RFC6120-4.9.3.14-1 test
fn a_depth_bomb_is_refused_at_the_limit() {
    for element in ["<a>", "<message>"] {
        let (frames, end) = content(element.repeat(100_000));
        assert_eq!((frames.len(), end), (0, Err(XmlError::TooDeep)));
    }
}

#[test]
//= RFC6120-4.9.3.14-1 test
fn text_without_end_is_refused_when_the_limit_is_crossed() {
    let mut framer = framer();
    frames_of(&mut framer, [HEADER.as_bytes(), b"<message><body>"]).1.expect("well-formed");
    let left = BOUNDS.element_bytes - "<message><body>".len();
    assert_eq!(frames_of(&mut framer, ["x".repeat(left - 1).as_bytes()]).1, Ok(()));
    assert_eq!(frames_of(&mut framer, [&b"x"[..]]).1, Err(XmlError::TooLong));
}

#[test]
fn a_long_token_in_single_bytes_is_read_once() {
    let document = format!("{HEADER}<message a='{}'>{}</message>", "a".repeat(1000), "b".repeat(8000));
    let (frames, end) = frames_of(&mut framer(), document.as_bytes().chunks(1));
    assert_eq!((frames.len(), end), (2, Ok(())));
}

#[test]
fn too_many_children_are_refused() {
    for element in ["message", "a"] {
        let with = |children: usize| format!("<{element}><b>{}</b></{element}>", "<c/>".repeat(children - 1));
        assert_eq!(content(with(BOUNDS.children)).1, Ok(()));
        assert_eq!(content(with(BOUNDS.children + 1)).1, Err(XmlError::TooManyChildren));
    }
    // Each first-level element counts for itself.
    assert_eq!(content("<a/>".repeat(BOUNDS.children * 3)).1, Ok(()));
}

#[test]
fn escapes_grow_by_a_constant_factor() {
    for (input, factor) in [("'", 6), ("&#9;", 1), ("\t", 1), (">", 4)] {
        let stanza = one_stanza(&format!("<message a=\"{}\"/>", input.repeat(1000)));
        assert!(stanza.bytes.len() <= factor * input.len() * 1000 + 100);
    }
}

#[test]
fn a_long_namespace_that_has_to_be_repeated_counts_each_time() {
    let namespace = "u".repeat(1000);
    let header = HEADER.replace("xmlns:db=", &format!("xmlns:p='{namespace}' xmlns:db="));
    for (before, child, after) in [
        ("<message>", "<p:a/>", "</message>"),
        ("<a>", "<p:a/>", "</a>"),
        ("<a xmlns:p='urn:p'>", "<stream:a p:b=''/>", "</a>"),
    ] {
        let document = format!("{header}{before}{}{after}", child.repeat(20));
        let (_, end) = frames(&document);
        assert_eq!(end, if child.contains("<p:") { Err(XmlError::TooLong) } else { Ok(()) }, "{before}");
    }
    let inherited = format!("<x xmlns='{namespace}'>{}</x>", "<a/>".repeat(20));
    assert_eq!(content_error(&inherited), (0, XmlError::TooLong));
    // Written out, it needs no repetition and counts once.
    assert_eq!(content(format!("<message>{inherited}</message>")).1, Ok(()));
}

#[test]
fn repeated_namespaces_may_come_to_as_many_bytes_as_the_limit_and_to_no_more() {
    let namespace = "u".repeat(BOUNDS.element_bytes / 10);
    let inherited_by = |children: usize| format!("<x xmlns='{namespace}'>{}</x>", "<a/>".repeat(children));
    assert_eq!(content(inherited_by(10)).1, Ok(()));
    assert_eq!(content_error(inherited_by(11)), (0, XmlError::TooLong));
}

#[test]
//= RFC6120-11.7-1 test
fn white_space_between_elements_may_go_on_for_ever() {
    let mut framer = framer();
    frames_of(&mut framer, [HEADER.as_bytes()]).1.expect("well-formed");
    let space = " \t\r\n".repeat(BOUNDS.element_bytes);
    let before = framer.retained_bytes();
    for _ in 0..10 {
        assert_eq!(frames_of(&mut framer, [space.as_bytes()]), (vec![], Ok(())));
    }
    assert_eq!(framer.retained_bytes(), before);
    let just = format!("<a>{}</a>", "x".repeat(BOUNDS.element_bytes - 7));
    let (frames, end) = frames_of(&mut framer, [just.as_bytes(), space.as_bytes(), just.as_bytes()]);
    assert_eq!((frames.len(), end), (2, Ok(())));
}

#[test]
fn line_ends_and_attributes_are_normalised_as_xml_says() {
    let element = one_element("<a b=' x\ty\nz\r\n&#9;&#13;'>1\r\n2\r3\n&#13;</a>");
    assert_eq!(element.attribute("b"), Some(" x y z \t\r"));
    assert_eq!(element.text(), "1\n2\n3\n\r");
    assert_eq!(one_stanza("<iq to='m.example&#10;'/>").to.as_deref(), Some("m.example\n"));
}

#[test]
//= RFC6120-4.8.5-5 test
//= RFC6120-4.8.5-6 test
fn a_stanza_with_a_prefix_is_refused() {
    for name in ["message", "presence", "iq"] {
        let bytes = format!("<j:{name} xmlns:j='jabber:server'/>");
        assert_eq!(content_error(&bytes), (0, XmlError::PrefixedStanza));
    }
    let header = "<stream xmlns='http://etherx.jabber.org/streams' xmlns:j='jabber:server'>";
    assert_eq!(frames(format!("{header}<j:message/>")).1, Err(XmlError::PrefixedStanza));
    // Declared on the stanza itself it is one, whatever the header declares.
    assert_eq!(stanza_under(header, "<message xmlns='jabber:server'/>").bytes, b"<message/>");
}

#[test]
fn a_header_with_other_defaults_makes_no_stanzas() {
    for default in ["", "jabber:client", "urn:x"] {
        let header = HEADER.replace("'jabber:server'", &format!("'{default}'"));
        let (frames, end) = frames(format!("{header}<message/>"));
        assert_eq!(end, Ok(()));
        assert!(matches!(&frames[..], [Frame::Root(_), Frame::Element(element)] if element.namespace == default));
    }
}
