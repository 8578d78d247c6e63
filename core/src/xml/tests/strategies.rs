//! Documents for properties: mostly legal, and rich in what is rare.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;

/// Bounds that no generated document reaches.
pub(super) const WIDE: Bounds = Bounds { element_bytes: 1 << 20, depth: 100, children: 100_000 };

const NAMESPACES: &[&str] = &[
    "jabber:server",
    "jabber:server",
    "urn:x",
    "urn:y",
    "",
    "http://etherx.jabber.org/streams",
    "jabber:client",
    "u&amp;&apos;&lt;&#10;ü",
];
const NAMES: &[&str] = &["x", "message", "body", "iq", "é", "a.b-c_d", "error"];
const PREFIXES: &[&str] = &["", "", "", "", "", "a", "b", "j", "stream", "db", "h"];
/// The last leaves most prefixes unbound.
const HEADERS: &[&str] = &[
    "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' xmlns:a='urn:x' \
     xmlns:b='urn:b' xmlns:j='jabber:server' xmlns:db='jabber:server:dialback' xmlns:h='urn:h'>",
    "<?xml version='1.0'?> <stream:stream xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:server' \
     xmlns:db='jabber:server:dialback' xmlns:a='urn:a' xmlns:b='urn:a' xmlns:j='urn:y' xmlns:h='urn:h' xml:lang='de'>",
    " <stream xmlns='http://etherx.jabber.org/streams' xmlns:stream='urn:x' xmlns:h='jabber:server' xmlns:db='urn:db' \
     xmlns:a='urn:y' xmlns:b='jabber:client' xmlns:j='jabber:server'>",
    "<stream:stream xmlns:stream='http://etherx.jabber.org/streams' xmlns:h='urn:x' xmlns:db='urn:y'>",
];

fn text() -> impl Strategy<Value = String> {
    let rare = select(
        &[
            "&lt;",
            "&amp;",
            "&#13;",
            "&#x1F600;",
            "<![CDATA[x&<]]>",
            "<![CDATA[]]>",
            "\r\n",
            "\r",
            "]]",
            "]",
            "ü€😀",
            " ",
        ][..],
    );
    prop_oneof![3 => rare.prop_map(str::to_owned), 1 => "[ a-zé\\]']{0,12}"]
}

fn value() -> impl Strategy<Value = String> {
    const RARE: &[&str] = &["&lt;", "&#10;", "&apos;", "&quot;", "\t", "\r\n", " ", "😀", "&amp;", ">"];
    // An address now and then, in one spelling or another.
    const ADDRESSES: &[&str] = &["a", "ü", "A", "Ü", ".", "@", "a", "Ｂ", "b", "/"];
    vec(prop_oneof![select(RARE), select(ADDRESSES)], 0..5).prop_map(|parts| parts.concat())
}

fn declaration() -> impl Strategy<Value = String> {
    (select(&["", "a", "b", "j", "h"][..]), select(NAMESPACES)).prop_map(|(prefix, namespace)| match prefix {
        "" => format!(" xmlns='{namespace}'"),
        _ => format!(" xmlns:{prefix}=\"{}\"", if namespace.is_empty() { "urn:e" } else { namespace }),
    })
}

fn attribute() -> impl Strategy<Value = String> {
    let name = (select(&["", "", "a:", "b:", "h:", "xml:"][..]), select(&["to", "from", "id", "lang", "é"][..]));
    (name, value()).prop_map(|((prefix, name), value)| format!("\n {prefix}{name} = '{value}'"))
}

fn tag() -> impl Strategy<Value = (String, String)> {
    let name = (select(PREFIXES), select(NAMES)).prop_map(|(prefix, name)| match prefix {
        "" => name.to_owned(),
        _ => format!("{prefix}:{name}"),
    });
    let attributes = (vec(declaration(), 0..3), vec(attribute(), 0..3));
    (name, attributes).prop_map(|(name, (declarations, attributes))| {
        (format!("<{name}{}{}", declarations.concat(), attributes.concat()), name)
    })
}

fn node() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![text(), tag().prop_map(|(start, _)| start + "/>")];
    leaf.prop_recursive(4, 24, 4, |inner| {
        (tag(), vec(inner, 0..4))
            .prop_map(|((start, name), content)| format!("{start}>{}</{name}\t>", content.concat()))
    })
}

/// A first-level element, most often a stanza.
fn first_level() -> impl Strategy<Value = String> {
    let stanza = (
        select(&["message", "iq", "presence"][..]),
        select(&["", "", " xmlns='jabber:server'"][..]),
        vec(attribute(), 0..3),
        vec(node(), 0..4),
    )
        .prop_map(|(name, default, attributes, content)| {
            format!("<{name}{default}{}>{}</{name}>", attributes.concat(), content.concat())
        });
    let other = (tag(), vec(node(), 0..3))
        .prop_map(|((start, name), content)| format!("{start}>{}</{name}>", content.concat()));
    prop_oneof![4 => stanza, 1 => other]
}

/// A whole stream. Most are well-formed; prefixes may be undeclared and attributes repeated.
pub(super) fn document() -> impl Strategy<Value = String> {
    let space = select(&["", "", " ", "\n\t", "\r\n"][..]);
    (select(HEADERS), vec((space, first_level()), 0..5)).prop_map(|(header, elements)| {
        let content: String = elements.into_iter().flat_map(|(space, element)| [space.to_owned(), element]).collect();
        let name = if header.contains("<stream:stream") { "stream:stream" } else { "stream" };
        format!("{header}{content}</{name}>")
    })
}

const DAMAGE: &[&[u8]] = &[
    b"<!--",
    b"<?x ?>",
    b"<!DOCTYPE x>",
    b"&foo;",
    b"&#0;",
    b"\xff",
    b"\xc0\xbc",
    b"\xe2\x82",
    b"<",
    b">",
    b"/",
    b"'",
    b"&",
    b"]]>",
    b"<![CDATA[",
    b"<![CDATA[]]>",
    b" xmlns='u'",
    b" a=''",
    b"\0",
    b"\r",
    b"</message>",
    b"<?xml version='1.0'?>",
];

/// A document with some damage.
pub(super) fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let edit = (
        any::<Index>(),
        0usize..4,
        prop_oneof![3 => select(DAMAGE).prop_map(<[u8]>::to_vec), 1 => vec(any::<u8>(), 0..3)],
    );
    (document(), vec(edit, 1..4)).prop_map(|(document, edits)| {
        let mut bytes = document.into_bytes();
        for (at, drop, insert) in edits {
            let at = at.index(bytes.len() + 1);
            let end = bytes.len().min(at + drop);
            bytes.splice(at..end, insert);
        }
        bytes
    })
}

/// Bytes of which many mean something to XML.
pub(super) fn noise() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![4 => select(&b"<>/='\" &;#x![]?-:aml\r\n\tC"[..]), 1 => any::<u8>()];
    prop_oneof![vec(byte, 0..60), vec(any::<u8>(), 0..60)]
}

pub(super) fn cuts() -> impl Strategy<Value = Vec<usize>> {
    vec(any::<Index>(), 0..6).prop_map(|cuts| cuts.into_iter().map(|cut| cut.index(4096)).collect())
}

/// `bytes`, cut at the positions (modulo the length); some pieces may be empty.
pub(super) fn pieces<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.sort_unstable();
    let ends = cuts.iter().copied().chain([bytes.len()]);
    let starts = [0].into_iter().chain(cuts.iter().copied());
    starts.zip(ends).map(|(start, end)| &bytes[start..end]).collect()
}

/// An element as we might build it ourselves; never one of the stanzas, which are no trees.
pub(super) fn element() -> impl Strategy<Value = Element> {
    let leaf = (bare_element(), legal_text()).prop_map(|(element, text)| element.with_text(&text));
    leaf.prop_recursive(4, 16, 4, |inner| {
        (bare_element(), vec((legal_text(), inner), 0..4)).prop_map(|(element, content)| {
            content.into_iter().fold(element, |element, (text, child)| element.with_text(&text).with_child(child))
        })
    })
}

fn bare_element() -> impl Strategy<Value = Element> {
    let namespaces = &["", "urn:x", "urn:y<'", ns::SERVER, ns::STREAMS, ns::DIALBACK][..];
    let tag = (select(namespaces), select(&["x", "body", "é"][..]));
    let attribute = (select(&["", "", "urn:x", ns::XML][..]), select(&["to", "lang"][..]), legal_text());
    (tag, vec(attribute, 0..3)).prop_map(|((namespace, name), attributes)| {
        attributes.into_iter().fold(Element::new(namespace, name), |element, (namespace, name, value)| {
            element.with_attribute_in(namespace, name, value)
        })
    })
}

fn legal_text() -> impl Strategy<Value = String> {
    "[ -~\t\n\r\u{85}\u{a0}é€😀\u{fffd}]{0,8}"
}
