//! What properties draw for the bodies of the fuzz targets, and how many cases they try.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use s2s_core::ns;
use s2s_core::xml::Element;

use crate::fuzz_bodies::{corpus, damage};
use crate::sim::Random;

/// Cases of every property where `PROPTEST_CASES` does not say otherwise.
const CASES: u32 = 1024;

/// 1,024 cases, or as many as `PROPTEST_CASES` says.
#[must_use]
pub fn cases() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    ProptestConfig { cases: asked.unwrap_or(CASES), failure_persistence: None, ..ProptestConfig::default() }
}

/// A part of those [`cases`] for what is dear: one in so many, and no fewer than 64.
#[must_use]
pub fn one_case_in(many: u32) -> ProptestConfig {
    let all = cases();
    ProptestConfig { cases: (all.cases / many).max(64), ..all }
}

/// An input of the committed corpus of a target, with some damage.
pub fn damaged(target: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
    let inputs: Vec<Vec<u8>> = corpus(target).into_values().collect();
    any::<u64>().prop_map(move |seed| damage(&inputs, &mut Random::new(seed)))
}

/// Lengths of pieces for the first line of an input: none is a line end.
pub fn cuts() -> impl Strategy<Value = Vec<u8>> {
    vec((1..=255_u8).prop_filter("a line end", |length| *length != b'\n'), 0..6)
}

/// Frames for the target `stream_frames`: most begin as streams do, and are between the two domains.
pub fn frames() -> impl Strategy<Value = Vec<u8>> {
    const OPENINGS: &[&[u8]] = &[
        b"",
        &[0, 0, 0],
        &[0, 0, 1],
        &[0, 0, 1, 0, 0, 3],
        &[0, 0, 1, 0, 0, 3, 0, 0, 11],
        &[0, 0, 1, 0, 0, 2, 0, 0, 7],
        &[0, 0, 0, 0, 0, 10],
    ];
    let frame = (prop_oneof![4 => 0..3_u8, 1 => Just(3)], any::<[u8; 2]>(), 0..4_u8, 0..20_u8).prop_map(
        |(way, names, answer, kind)| match way {
            3 => vec![way, names[0], names[1], answer, kind],
            _ => vec![way, answer, kind],
        },
    );
    (select(OPENINGS), vec(frame, 0..8)).prop_map(|(opening, frames)| [opening, &frames.concat()].concat())
}

/// Records of the fake TLS, and other bytes.
pub fn tls() -> impl Strategy<Value = Vec<u8>> {
    let content = prop_oneof![
        Just(vec![1, 0, 0, 0, 0, 0, 0, 0, 0]),
        Just(vec![2, 0, 0, 0, 0, 0, 0, 0, 0]),
        Just(vec![20, 0, 0, 0, 0]),
        Just(vec![1, 0]),
        vec(any::<u8>(), 0..20),
    ];
    let record = (21..24_u8, content).prop_map(|(kind, content)| {
        let length = u32::try_from(content.len()).expect("short").to_be_bytes();
        [&[kind], length.as_slice(), &content].concat()
    });
    vec(prop_oneof![9 => record, 1 => vec(any::<u8>(), 0..8)], 0..6).prop_map(|records| records.concat())
}

/// Operations for the target `node_ops`.
pub fn operations() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![2 => damaged("node_ops"), 1 => vec(any::<u8>(), 0..300)]
}

/// An element as we might build it ourselves; never one of the stanzas, which are no trees.
pub fn element() -> impl Strategy<Value = Element> {
    let leaf = (bare_element(), text()).prop_map(|(element, text)| element.with_text(&text));
    leaf.prop_recursive(4, 16, 4, |inner| {
        (bare_element(), vec((text(), inner), 0..4)).prop_map(|(element, content)| {
            content.into_iter().fold(element, |element, (text, child)| element.with_text(&text).with_child(child))
        })
    })
}

fn bare_element() -> impl Strategy<Value = Element> {
    let namespaces = &["", "urn:x", "urn:y<'", ns::SERVER, ns::STREAMS, ns::DIALBACK][..];
    let tag = (select(namespaces), select(&["x", "body", "é"][..]));
    let attribute = (select(&["", "", "urn:x", ns::XML][..]), select(&["to", "lang"][..]), text());
    (tag, vec(attribute, 0..3)).prop_map(|((namespace, name), attributes)| {
        attributes.into_iter().fold(Element::new(namespace, name), |element, (namespace, name, value)| {
            element.with_attribute_in(namespace, name, value)
        })
    })
}

fn text() -> impl Strategy<Value = String> {
    "[ -~\t\n\r\u{85}\u{a0}é€😀\u{fffd}]{0,8}"
}
