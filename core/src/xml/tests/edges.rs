//! The sharp edges of rxml, each with the guard that we put around it.

use super::*;
use crate::limits;

fn plenty() -> Bounds {
    Bounds { element_bytes: 100_000_000, depth: 1_000_000, children: 100_000_000 }
}

fn roomy() -> Framer {
    let mut framer = Framer::new(ns::SERVER, plenty());
    frames_of(&mut framer, [HEADER.as_bytes()]).1.expect("well-formed");
    framer
}

/// Edge 1: rxml binds anything to the namespace of declarations, and its writer makes declarations of attributes in it.
#[test]
//= RFC6120-11.3-4 test
fn nothing_is_bound_to_the_namespace_of_declarations() {
    for bytes in [
        "<message xmlns:p='http://www.w3.org/2000/xmlns/' p:db='evil:ns'/>",
        "<message xmlns:p='http://www.w3.org/2000/xmlns&#x2f;'/>",
        "<message><x xmlns='http://www.w3.org/2000/xmlns/'/></message>",
        "<x xmlns='http://www.w3.org/2000/xmlns/'/>",
    ] {
        assert_eq!(content_error(bytes), (0, XmlError::ReservedNamespace), "{bytes}");
    }
    assert_eq!(frames("<a xmlns:p='http://www.w3.org/2000/xmlns/'>").1, Err(XmlError::ReservedNamespace));
}

/// Edge 2: rxml lets the last default declaration win; another parser may let the first.
#[test]
fn a_second_default_declaration_is_refused() {
    for bytes in ["<a xmlns='u' xmlns='v'/>", "<message xmlns='jabber:server' xmlns='jabber:server'/>"] {
        assert_eq!(content_error(bytes), (0, XmlError::DuplicateAttribute), "{bytes}");
    }
    assert_eq!(frames("<a xmlns='' xmlns='u'>").1, Err(XmlError::DuplicateAttribute));
}

/// Edge 3: the lengths on rxml's events miss the bytes of empty CDATA sections.
#[test]
fn empty_cdata_sections_count_towards_the_length() {
    let sections = "<![CDATA[]]>".repeat(1000);
    assert_eq!(content_error(format!("<message>{sections}")), (0, XmlError::TooLong));
    assert_eq!(content_error(&sections), (0, XmlError::TooLong));
    assert_eq!(rewritten("<message><![CDATA[]]></message>"), "<message/>");
}

/// Edge 3: rxml says nothing at all of an empty section, which may not stand outside of the root element.
#[test]
//= RFC6120-11.3-2 test
fn a_section_before_the_header_is_refused_even_if_it_is_empty() {
    const XML: &str = "<?xml version='1.0'?>";
    for before in ["<![CDATA[]]>", &format!("{XML}<![CDATA[]]>"), &format!("{XML}\r\n<![CDATA[]]>\n"), "\n<!["] {
        let document = format!("{before}{HEADER}");
        assert_eq!(frames(&document), (vec![], Err(XmlError::NotWellFormed)), "{document}");
        let single = frames_of(&mut framer(), document.as_bytes().chunks(1));
        assert_eq!(single, (vec![], Err(XmlError::NotWellFormed)), "byte by byte: {document}");
    }
    // It is noticed before anything else that is wrong behind it.
    assert_eq!(frames("<![CDATA[]]><!DOCTYPE a>").1, Err(XmlError::NotWellFormed));
    // It is the markup that counts, not its look.
    let header = HEADER.replace(" from=", " id='&lt;![CDATA[]]&gt;' from=");
    assert!(matches!(&frames(header).0[..], [Frame::Root(root)] if root.id.as_deref() == Some("<![CDATA[]]>")));
}

/// Edge 4: rxml counts neither attributes nor declarations, and collects a tag without an event.
#[test]
fn attributes_and_declarations_are_counted() {
    let names =
        |count: usize, prefix: &str| (0..count).fold(String::new(), |names, n| names + &format!(" {prefix}a{n}='u'"));
    for (prefix, limit, error) in [
        ("", limits::ATTRIBUTES, XmlError::TooManyAttributes),
        ("xmlns:", limits::DECLARATIONS, XmlError::TooManyDeclarations),
    ] {
        let tag = |count| format!("<message{}/>", names(count, prefix));
        assert_eq!(content(tag(limit)).1, Ok(()));
        assert_eq!(content(tag(limit + 1)).1, Err(error));
        assert_eq!(frames_of(&mut roomy(), [tag(100_000).as_bytes()]).1, Err(error));
        assert_eq!(frames(tag(limit + 1)).1, Err(error));
    }
    // One does not count for the other.
    let both = names(limits::DECLARATIONS, "xmlns:") + &names(limits::ATTRIBUTES, "");
    assert_eq!(content(format!("<message{both}/>")).1, Ok(()));
}

/// Edge 4: a tag that never ends is refused at the byte that is over the limit.
#[test]
fn a_tag_without_end_is_bounded() {
    let space = " ".repeat(BOUNDS.element_bytes);
    assert_eq!(content_error(format!("<message{space}")), (0, XmlError::TooLong));
    assert_eq!(content_error(format!("<message></message{space}")), (0, XmlError::TooLong));
    let just = format!("<a{}/>", " ".repeat(BOUNDS.element_bytes - 4));
    assert_eq!(content(&just).1, Ok(()));
    assert_eq!(content(just.replace("<a", "<a ")).1, Err(XmlError::TooLong));
}

/// Edge 5: rxml looks names up in linear time of the depth.
#[test]
fn a_deep_document_is_refused_and_a_name_is_found_without_a_walk() {
    let deep = |depth| "<a>".repeat(depth) + &"</a>".repeat(depth);
    assert_eq!(content(deep(BOUNDS.depth)).1, Ok(()));
    assert_eq!(content(deep(BOUNDS.depth + 1)).1, Err(XmlError::TooDeep));
    // Depth and declarations at their limits, and a hundred thousand names: a walk over 6400 bindings for each
    // would take minutes.
    let mut framer = roomy();
    let mut document = "<message>".to_owned();
    for depth in 0..limits::ELEMENT_DEPTH {
        document += "<x xmlns='urn:x'";
        for n in 0..limits::DECLARATIONS {
            document += &format!(" xmlns:p{depth}.{n}='u'");
        }
        document += ">";
    }
    document += &"<y/>".repeat(100_000);
    document += &("</x>".repeat(limits::ELEMENT_DEPTH) + "</message>");
    let (frames, end) = frames_of(&mut framer, [document.as_bytes()]);
    assert_eq!((frames.len(), end), (1, Ok(())));
}

/// Edge 6: rxml scans all that it is offered for the next delimiter, although it takes a token of it.
#[test]
fn a_large_piece_is_read_in_linear_time() {
    // Offered whole this takes a quarter of an hour in a build without optimisation.
    let document = format!("<message>{}</message>", "a".repeat(16 << 20));
    let (frames, end) = frames_of(&mut roomy(), [document.as_bytes()]);
    assert_eq!(end, Ok(()));
    assert!(matches!(&frames[..], [Frame::Stanza(stanza)] if stanza.bytes == document.as_bytes()));
}

/// Edge 7: events take up to 128 times the bytes that they were made of.
#[test]
fn what_is_kept_is_not_much_more_than_what_came() {
    for piece in ["<a b=''/>", "<a/>", "<a>x</a>", "<![CDATA[x]]>", "&amp;"] {
        let mut framer = roomy();
        let document = format!("<message>{}", piece.repeat(10_000));
        frames_of(&mut framer, [document.as_bytes()]).1.expect("well-formed");
        assert!(framer.retained_bytes() <= 2 * document.len(), "{piece}");
    }
}

/// Edge 8: rxml refuses white space before a document without declaration, which is legal.
#[test]
fn white_space_may_precede_the_header_and_is_bounded() {
    let (header, end) = frames(format!(" \t\r\n{HEADER}"));
    assert_eq!((header.len(), end), (1, Ok(())));
    let space = " ".repeat(BOUNDS.element_bytes - 1);
    assert_eq!(frames(&space).1, Ok(()));
    assert_eq!(frames(space + " ").1, Err(XmlError::TooLong));
    let space = " ".repeat(BOUNDS.element_bytes - HEADER.len());
    assert_eq!(frames(format!("{space}{HEADER}")).1, Ok(()));
    assert_eq!(frames(format!("{space} {HEADER}")).1, Err(XmlError::TooLong));
}

/// Edge 8: rxml collects a whole token of text before it says that no document begins with text.
#[test]
fn another_protocol_is_refused_at_its_first_byte() {
    for protocol in ["G", "EHLO m.example\r\n", "SSH-2.0-x\r\n", "\x16\x03\x01", "\0\x1d", "{", "\r\n\r\nPRI"] {
        assert_eq!(frames(protocol).1, Err(XmlError::NotWellFormed), "{protocol}");
    }
}

/// Edge 9: each reference makes a text of its own.
#[test]
fn text_is_joined() {
    let element = one_element("<a>a&amp;b<![CDATA[<]]>c&#x1F600;</a>");
    assert_eq!(element.content, [Content::Text("a&b<c\u{1f600}".into())]);
    let long = "ä".repeat(limits::TOKEN_BYTES / 2 + 100);
    let (frames, end) = frames_of(&mut roomy(), [format!("<a>{long}</a>").as_bytes()]);
    assert_eq!(end, Ok(()));
    assert!(matches!(&frames[..], [Frame::Element(element)] if element.content == [Content::Text(long.clone())]));
}

/// Edge 10: rxml's writer can fail and leave half of its output. Ours cannot: what XML cannot carry is replaced.
#[test]
fn writing_never_fails() {
    let mut out = Vec::new();
    Element::new("urn:x", "a").with_attribute("b", "\0'").with_text("\u{ffff}").write("urn:x", &mut out);
    assert_eq!(String::from_utf8(out).expect("UTF-8"), "<a b='\u{fffd}&apos;'>\u{fffd}</a>");
}

/// Edge 11: rxml's parser forgets prefixes.
#[test]
//= RFC6120-8.4-2 test
fn prefixes_survive() {
    let stanza = "<message><p:x xmlns:p='urn:p' xmlns:q='urn:q' p:a='1' q:b='2'><q:y/>q:z</p:x></message>";
    assert_eq!(rewritten(stanza), stanza);
}

/// Edge 12: rxml takes a buffer of the size of the longest token for each reference.
#[test]
fn a_token_has_a_length() {
    let bounds = Bounds { element_bytes: 100_000, ..BOUNDS };
    let end = |bytes: String| {
        let mut framer = Framer::new(ns::SERVER, bounds);
        frames_of(&mut framer, [HEADER.as_bytes(), bytes.as_bytes()]).1
    };
    for (before, after) in [("<message a='", "'/>"), ("<", "/>"), ("<message ", "=''/>"), ("<a xmlns:p='", "'/>")] {
        let long = "a".repeat(limits::TOKEN_BYTES);
        assert_eq!(end(format!("{before}{long}{after}")), Ok(()), "{before}");
        assert_eq!(end(format!("{before}{long}a{after}")), Err(XmlError::TokenTooLong), "{before}");
    }
    // Text has none: it is taken in pieces.
    assert_eq!(end(format!("<message>{}</message>", "a".repeat(50_000))), Ok(()));
}

/// Edge 12: the bound of tokens does not make the smallest limit of stanzas smaller.
#[test]
//= RFC6120-13.12-5 test
fn the_smallest_stanza_limit_may_be_filled_by_one_attribute() {
    let (before, after) = ("<message id='", "'/>");
    let id = "a".repeat(limits::MIN_STANZA_BYTES - before.len() - after.len());
    let stanza = format!("{before}{id}{after}");
    let mut framer = Framer::new(ns::SERVER, Bounds { element_bytes: limits::MIN_STANZA_BYTES, ..BOUNDS });
    let (frames, end) = frames_of(&mut framer, [HEADER.as_bytes(), stanza.as_bytes()]);
    assert_eq!(end, Ok(()), "no stanza of this size is too large");
    let Some(Frame::Stanza(frame)) = frames.last() else { panic!("{frames:?}") };
    assert_eq!((text_of(frame), frame.id.as_deref()), (stanza, Some(id.as_str())));
}

/// Edge 13, found here: rxml drops a carriage return at the end of an attribute or before other white space, and
/// refuses it before anything else. It never sees one.
#[test]
fn a_carriage_return_is_a_line_end_everywhere() {
    assert_eq!(one_element("<a b='x\r'/>").attribute("b"), Some("x "));
    assert_eq!(one_element("<a b='x\r\t'/>").attribute("b"), Some("x  "));
    assert_eq!(one_element("<a b='x\r\r\n'/>").attribute("b"), Some("x  "));
    assert_eq!(one_element("<a b='x\ry'/>").attribute("b"), Some("x y"));
    assert_eq!(one_element("<a\rb\r\n=\r'\r\n'>x\ry\r\n<![CDATA[\r\n]]>\r</a\r\n>").text(), "x\ny\n\n\n");
}

/// What we write must be what we would read.
#[test]
fn declarations_that_have_to_be_added_count_with_the_others() {
    let header = HEADER.replace('>', " xmlns:p='urn:p' xml:lang='de'>");
    let declarations = |count: usize| (0..count).fold(String::new(), |all, n| all + &format!(" xmlns:p{n}='urn:{n}'"));
    for tag in ["<iq", "<iq><p:x"] {
        let end = |count| {
            let attribute = if tag == "<iq" { "p:a='' p:b=''" } else { "" };
            frames(format!("{header}{tag}{} {attribute}/>", declarations(count))).1
        };
        assert_eq!(end(limits::DECLARATIONS - 1), Ok(()));
        assert_eq!(end(limits::DECLARATIONS), Err(XmlError::TooManyDeclarations));
    }
    let attributes = (0..limits::ATTRIBUTES).fold(String::new(), |all, n| all + &format!(" a{n}=''"));
    let full = format!("<iq{attributes}/>");
    assert_eq!(text_of(&stanza_under(&header, &full)), full);
}
