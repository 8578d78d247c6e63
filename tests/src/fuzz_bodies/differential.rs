//! The framer beside two other readers of the same bytes: a strict one that shares nothing with it, and rxml's own parser,
//! whose lexer it shares and whose namespaces it does not.

use rxml::{Event, Parse, Parser};
use s2s_core::addr::Address;
use s2s_core::limits;
use s2s_core::ns;
use s2s_core::xml::{Content, Element, Frame, Root, StanzaFrame, XmlError};

use super::frames::{HEADER, WIDE, frames_of};
use super::strict_xml::{Item, Name, Node, Unit, Verdict, read};

/// What the framer accepts the strict reader accepts, and both see the same; what the strict reader refuses the framer
/// refuses.
pub fn frames_strict(data: &[u8]) {
    let (frames, end) = frames_of(WIDE, [data]);
    let (units, verdict) = read(data);
    let lang = lang_of(&units);
    let text = || String::from_utf8_lossy(data).into_owned();
    for (at, frame) in frames.iter().enumerate() {
        let unit = units.get(at).unwrap_or_else(|| panic!("only the framer sees {frame:?}: {verdict:?} in {}", text()));
        compare(frame, unit, lang.as_deref());
    }
    match (&verdict, end) {
        (_, Err(error)) if error.is_limit() => {}
        // Of a text that has not ended nothing was handed over, and it may not be judged yet: its end makes it be.
        (Verdict::Wrong(rule), Ok(())) => {
            let last = |of: &[u8]| data.windows(of.len()).rposition(|window| window == of);
            let in_section = last(b"<![CDATA[") > last(b"]]>");
            let ending: &[u8] = if in_section { b"]]><x/>" } else { b"<x/>" };
            let (_, end) = frames_of(WIDE, [data, ending]);
            assert!(end.is_err(), "the framer lets {rule} pass: {}", text());
        }
        (Verdict::Fine, Err(error)) if !is_prefixed_stanza(units.get(frames.len()), error) => {
            panic!("only the framer refuses ({error}): {}", text());
        }
        (Verdict::Fine, Ok(())) => assert_eq!(frames.len(), units.len(), "{}", text()),
        _ => {}
    }
}

/// The rule of streams that is none of XML.
fn is_prefixed_stanza(unit: Option<&Unit>, error: XmlError) -> bool {
    let stanza = |node: &Node| node.prefixed && is_stanza(node);
    error == XmlError::PrefixedStanza && matches!(unit, Some(Unit::Element(node)) if stanza(node))
}

fn is_stanza(node: &Node) -> bool {
    node.name.0 == ns::SERVER && matches!(node.name.1.as_str(), "iq" | "message" | "presence")
}

/// The language that stanzas have from their stream, if it is one.
fn lang_of(units: &[Unit]) -> Option<String> {
    let Some(Unit::Root(root)) = units.first() else {
        return None;
    };
    let lang = root.attributes.get(&(ns::XML.to_owned(), "lang".to_owned()))?;
    let is_tag = lang.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    (is_tag && (1..=limits::LANGUAGE_BYTES).contains(&lang.len())).then(|| lang.clone())
}

fn compare(frame: &Frame, unit: &Unit, lang: Option<&str>) {
    match (frame, unit) {
        (Frame::End, Unit::End) => {}
        (Frame::Root(root), Unit::Root(node)) => compare_root(root, node),
        (Frame::Element(element), Unit::Element(node)) => {
            assert!(!is_stanza(node), "a stanza as a tree: {element:?}");
            assert_eq!(tree(element), unprefixed(node));
        }
        (Frame::Stanza(stanza), Unit::Element(node)) => {
            assert!(is_stanza(node), "{node:?} as a stanza");
            let mut expected = unprefixed(node);
            prepare_addresses(&mut expected, stanza);
            if let Some(lang) = lang {
                expected.attributes.entry((ns::XML.to_owned(), "lang".to_owned())).or_insert_with(|| lang.to_owned());
            }
            let (again, _) = read(&[HEADER.as_bytes(), &stanza.bytes].concat());
            let again = match again.get(1) {
                Some(Unit::Element(again)) => unprefixed(again),
                other => panic!("{} is read as {other:?}", String::from_utf8_lossy(&stanza.bytes)),
            };
            assert_eq!(again, expected, "{}", String::from_utf8_lossy(&stanza.bytes));
            let attribute = |name: &str| expected.attributes.get(&(String::new(), name.to_owned()));
            let head = [&stanza.to, &stanza.from, &stanza.id, &stanza.stanza_type].map(Option::as_ref);
            assert_eq!(head, ["to", "from", "id", "type"].map(attribute));
        }
        other => panic!("the framer and the strict reader see different things: {other:?}"),
    }
}

/// Gives the stanza that was read the addresses of the frame, if these are the same ones as they should be spelled.
fn prepare_addresses(node: &mut Node, stanza: &StanzaFrame) {
    for (name, given) in [("to", &stanza.to), ("from", &stanza.from)] {
        let written = node.attributes.get_mut(&(String::new(), name.to_owned()));
        assert_eq!(written.is_some(), given.is_some(), "{name}");
        if let (Some(written), Some(given)) = (written, given) {
            check_address(written, given);
            given.clone_into(written);
        }
    }
}

/// Checks that `given` is `written` with its domain prepared and nothing else changed, or the same if it is no address.
fn check_address(written: &str, given: &str) {
    let Ok(address) = Address::parse(written) else {
        assert_eq!(written, given, "no address");
        return;
    };
    let again = Address::parse(given).unwrap_or_else(|error| panic!("{error}: {given} for {written}"));
    assert_eq!(address.domain(), again.domain());
    let [before, domain, behind] = parts(written);
    let [given_before, given_domain, given_behind] = parts(given);
    assert_eq!((before, behind), (given_before, given_behind), "these parts are not ours: {written}");
    assert_eq!(given_domain, address.domain().spelled(), "{written}");
    let is_spelled = !given_domain.bytes().any(|byte| byte.is_ascii_uppercase()) && !given_domain.ends_with('.');
    let has_a_labels = given_domain.split('.').any(|label| label.starts_with("xn--"));
    assert!(is_spelled && (domain.is_ascii() || !has_a_labels), "{given} for {written}");
}

/// What stands before the domain of an address, the domain, and what stands behind it.
fn parts(address: &str) -> [&str; 3] {
    let end = address.find('/').unwrap_or(address.len());
    let begin = address[..end].find('@').map_or(0, |at| at + 1);
    [&address[..begin], &address[begin..end], &address[end..]]
}

fn compare_root(root: &Root, node: &Node) {
    let attribute = |name: &str| node.attributes.get(&(String::new(), name.to_owned()));
    assert_eq!((&root.namespace, &root.name), (&node.name.0, &node.name.1));
    assert_eq!(root.prefix.is_some(), node.prefixed);
    let seen = [&root.to, &root.from, &root.id, &root.version].map(Option::as_ref);
    assert_eq!(seen, ["to", "from", "id", "version"].map(attribute));
}

/// The same without the memory of prefixes.
fn unprefixed(node: &Node) -> Node {
    let content = node.content.iter().map(|item| match item {
        Item::Text(text) => Item::Text(text.clone()),
        Item::Node(node) => Item::Node(unprefixed(node)),
    });
    Node { prefixed: false, content: content.collect(), ..node.clone() }
}

fn tree(element: &Element) -> Node {
    let attributes = element.attributes.iter();
    let attributes =
        attributes.map(|attribute| ((attribute.namespace.clone(), attribute.name.clone()), attribute.value.clone()));
    let content = element.content.iter().map(|content| match content {
        Content::Element(element) => Item::Node(tree(element)),
        Content::Text(text) => Item::Text(text.clone()),
    });
    Node {
        name: (element.namespace.clone(), element.name.clone()),
        prefixed: false,
        attributes: attributes.collect(),
        content: content.collect(),
    }
}

/// What the framer accepts rxml's parser accepts, and both see the same.
pub fn frames_rxml(data: &[u8]) {
    let (frames, _) = frames_of(WIDE, [data]);
    // rxml takes white space before a document, and carriage returns in attributes, for errors, which they are not.
    let start = data.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).unwrap_or(data.len());
    let document = line_feeds(&data[start..]);
    let units = parsed(&document);
    let lang = lang_of(&units);
    for (at, frame) in frames.iter().enumerate() {
        let unit = units
            .get(at)
            .unwrap_or_else(|| panic!("only the framer sees {frame:?} in {}", String::from_utf8_lossy(&document)));
        compare_without_prefixes(frame, unit, lang.as_deref());
    }
}

/// rxml forgets prefixes.
fn compare_without_prefixes(frame: &Frame, unit: &Unit, lang: Option<&str>) {
    match frame {
        Frame::Root(root) => compare(&Frame::Root(Root { prefix: None, ..root.clone() }), unit, lang),
        frame => compare(frame, unit, lang),
    }
}

fn line_feeds(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first == b'\r' {
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
            out.push(b'\n');
        } else {
            out.push(*first);
        }
    }
    out
}

/// What rxml's parser sees.
fn parsed(mut document: &[u8]) -> Vec<Unit> {
    let options = rxml::Options { max_token_length: limits::TOKEN_BYTES, ..rxml::Options::default() };
    let mut parser = <Parser as rxml::WithOptions>::with_options(options);
    let (mut units, mut open): (Vec<Unit>, Vec<Node>) = (Vec::new(), Vec::new());
    while let Ok(Some(event)) = parser.parse(&mut document, false) {
        match event {
            Event::XmlDeclaration(..) => {}
            Event::StartElement(_, (namespace, name), attributes) => {
                let own = |namespace: &str, name: &str| -> Name { (namespace.to_owned(), name.to_owned()) };
                let attributes =
                    attributes.iter().map(|((namespace, name), value)| (own(namespace, name), value.clone()));
                let node = Node { name: own(&namespace, &name), attributes: attributes.collect(), ..Node::default() };
                if units.is_empty() { units.push(Unit::Root(node)) } else { open.push(node) }
            }
            Event::Text(_, text) => match open.last_mut().map(|node| &mut node.content) {
                Some(content) => match content.last_mut() {
                    Some(Item::Text(last)) => last.push_str(&text),
                    _ if text.is_empty() => {}
                    _ => content.push(Item::Text(text)),
                },
                None if text.trim_matches([' ', '\t', '\r', '\n']).is_empty() => {}
                None => return units,
            },
            Event::EndElement(_) => match open.pop() {
                Some(node) => match open.last_mut() {
                    Some(parent) => parent.content.push(Item::Node(node)),
                    None => units.push(Unit::Element(node)),
                },
                None => {
                    units.push(Unit::End);
                    return units;
                }
            },
        }
    }
    units
}
