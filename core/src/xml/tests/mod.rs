//! Tests of the whole module.

mod attacks;
mod chunks;
mod edges;
mod elements;
mod errors;
mod frames;
mod rewrite;
mod strategies;
mod tags;

use proptest::test_runner::Config;
use rxml::{Event, Parse, Parser};

use crate::ns;
use crate::xml::{Attribute, Bounds, Content, Element, Frame, Framer, StanzaFrame, XmlError};

/// Small enough that tests reach them, large enough that they do so only where they want to.
const BOUNDS: Bounds = Bounds { element_bytes: 10_000, depth: 20, children: 50 };

/// The usual header.
const HEADER: &str = "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' \
                      xmlns:db='jabber:server:dialback' from='m.example' to='v.example' version='1.0'>";

/// As many cases as the variable `PROPTEST_CASES` asks for, or else `normally`.
fn cases(normally: u32) -> Config {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => Config::default(),
        None => Config::with_cases(normally),
    }
}

fn framer() -> Framer {
    Framer::new(ns::SERVER, BOUNDS)
}

/// Everything that `framer` makes of the pieces, and how it ends.
fn frames_of<'a>(
    framer: &mut Framer,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Frame>, Result<(), XmlError>) {
    let mut frames = Vec::new();
    for mut piece in pieces {
        loop {
            match framer.next(&mut piece) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => {
                    assert!(piece.is_empty(), "not all was used");
                    break;
                }
                Err(error) => return (frames, Err(error)),
            }
        }
    }
    (frames, Ok(()))
}

fn frames(document: impl AsRef<[u8]>) -> (Vec<Frame>, Result<(), XmlError>) {
    frames_of(&mut framer(), [document.as_ref()])
}

/// The frames behind the usual header.
fn content(bytes: impl AsRef<[u8]>) -> (Vec<Frame>, Result<(), XmlError>) {
    let (mut frames, end) = frames([HEADER.as_bytes(), bytes.as_ref()].concat());
    assert!(matches!(frames.remove(0), Frame::Root(_)));
    (frames, end)
}

/// The error behind the usual header, and how many frames came before it.
fn content_error(bytes: impl AsRef<[u8]>) -> (usize, XmlError) {
    let (frames, end) = content(bytes);
    (frames.len(), end.expect_err("an error"))
}

fn one_element(bytes: &str) -> Element {
    match content(bytes) {
        (frames, Ok(())) => match <[Frame; 1]>::try_from(frames) {
            Ok([Frame::Element(element)]) => element,
            other => panic!("{bytes}: {other:?}"),
        },
        other => panic!("{bytes}: {other:?}"),
    }
}

fn one_stanza(bytes: &str) -> StanzaFrame {
    stanza_under(HEADER, bytes)
}

fn stanza_under(header: &str, bytes: &str) -> StanzaFrame {
    match frames([header, bytes].concat()) {
        (frames, Ok(())) => match <[Frame; 2]>::try_from(frames) {
            Ok([Frame::Root(_), Frame::Stanza(stanza)]) => stanza,
            other => panic!("{bytes}: {other:?}"),
        },
        other => panic!("{bytes}: {other:?}"),
    }
}

/// The bytes of the stanza as text.
fn rewritten(bytes: &str) -> String {
    text_of(&one_stanza(bytes))
}

fn text_of(stanza: &StanzaFrame) -> String {
    String::from_utf8(stanza.bytes.clone()).expect("UTF-8")
}

/// What rxml's own parser, with its own resolver, makes of a document: another judge than ours.
fn reference_tree(document: &[u8]) -> Result<Element, rxml::error::EndOrError> {
    let mut document = document.trim_ascii_start();
    let mut parser = Parser::new();
    let mut open = vec![Element::new("", "")];
    while let Some(event) = parser.parse(&mut document, true)? {
        match event {
            Event::StartElement(_, (namespace, name), attributes) => {
                let mut element = Element::new(namespace.as_str(), name.as_str());
                for ((namespace, name), value) in attributes.iter() {
                    element.attributes.push(Attribute {
                        namespace: namespace.as_str().to_owned(),
                        name: name.as_str().to_owned(),
                        value: value.clone(),
                    });
                }
                open.push(element);
            }
            Event::Text(_, text) => open.last_mut().expect("open").push_text(&text),
            Event::EndElement(_) => {
                let element = open.pop().expect("open");
                open.last_mut().expect("open").content.push(Content::Element(element));
            }
            Event::XmlDeclaration(..) => {}
        }
    }
    Ok(open.pop().expect("open").children().next().expect("a root").clone())
}

/// The first child of the root of what rxml makes of `stanza` under `header`.
fn reference_stanza(header: &str, stanza: &[u8]) -> Element {
    let root = header.trim_start_matches('<').split(' ').next().expect("a name");
    let document = [header.as_bytes(), stanza, b"</", root.as_bytes(), b">"].concat();
    let tree =
        reference_tree(&document).unwrap_or_else(|error| panic!("{error:?} in {}", String::from_utf8_lossy(&document)));
    let stanza = tree.children().next().expect("a child").clone();
    sorted(stanza)
}

/// The tree with its attributes in an order of their own: rxml does not keep that of the document.
fn sorted(mut element: Element) -> Element {
    element.attributes.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    for content in &mut element.content {
        if let Content::Element(child) = content {
            *child = sorted(std::mem::replace(child, Element::new("", "")));
        }
    }
    element
}

/// The attribute and the text of a document of one element, as rxml reads them.
pub(in crate::xml) fn attribute_and_text(document: &[u8]) -> (String, String) {
    let tree = reference_tree(document).expect("well-formed");
    (tree.attributes.iter().map(|attribute| attribute.value.as_str()).collect(), tree.text())
}
