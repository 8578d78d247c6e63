//! The addresses of a stanza, as whoever gets it will compare them.
//!
//! A domain is proved, judged and routed in its canonical form, but others compare the text: an application that bans
//! `m.example` must not be handed `M.EXAMPLE.` instead. So the domain is written as it counts: without a final dot,
//! and mapped, in the form of labels that it was written in ([`Domain::spelled`](crate::addr::Domain::spelled)). Localparts
//! and resourceparts belong to the servers at the ends and stay as they are, and so does what is no address: that is for
//! others to refuse.
//!
//! - [RFC 7622 section 3.2](https://www.rfc-editor.org/rfc/rfc7622#section-3.2), decision D-13

use crate::addr::Address;
use crate::xml::tag::Tag;

/// Prepares the addresses in the start tag of a stanza.
//= RFC7622-3.2-4
//= RFC7622-3.2.2-1
//= RFC7622-4-2
pub(super) fn prepare(tag: &mut Tag) {
    for attribute in &mut tag.attributes {
        let is_address = attribute.prefix.is_none() && (attribute.name == "to" || attribute.name == "from");
        if is_address && let Some(prepared) = prepared(&attribute.value) {
            attribute.value = prepared;
        }
    }
}

/// `text` with its domain prepared, or `None` if there is nothing to change.
fn prepared(text: &str) -> Option<String> {
    let bare = text.split('/').next().unwrap_or_default();
    let domain = bare.split_once('@').map_or(bare, |(_, domain)| domain);
    if is_prepared(domain) {
        return None;
    }
    let address = Address::parse(text).ok()?;
    let spelling = address.domain().spelled();
    if *spelling == *domain {
        return None;
    }
    let before = text.get(..bare.len().saturating_sub(domain.len()))?;
    let behind = text.get(bare.len()..)?;
    Some(format!("{before}{spelling}{behind}"))
}

/// Whether this can be told at a glance, as of nearly all domains: lower-case ASCII without a final dot is a canonical
/// domain, or none.
fn is_prepared(domain: &str) -> bool {
    domain.is_ascii() && !domain.bytes().any(|byte| byte.is_ascii_uppercase()) && !domain.ends_with('.')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_domain_is_prepared_and_keeps_its_form() {
        for (written, expected) in [
            ("m.example.", "m.example"),
            ("troll@M.ＥXAMPLE", "troll@m.example"),
            ("Troll@M.Example/Ｒ.@M.EXAMPLE./x", "Troll@m.example/Ｒ.@M.EXAMPLE./x"),
            ("Ａ@m\u{3002}example", "Ａ@m.example"),
            ("m.example\u{ff61}/r", "m.example/r"),
            ("a@BÜCHER.Example.", "a@bücher.example"),
            ("a@bu\u{308}cher.example", "a@bücher.example"),
            ("a@XN--BCHER-KVA.example", "a@xn--bcher-kva.example"),
            ("\u{212a}.xn--bcher-kva.example", "k.bücher.example"),
        ] {
            assert_eq!(prepared(written).as_deref(), Some(expected), "{written}");
            assert_eq!(prepared(expected), None, "once is enough: {expected}");
            let domains = [written, expected].map(|text| Address::parse(text).expect(text).domain().clone());
            assert_eq!(domains[0], domains[1], "it is the same domain: {written}");
        }
    }

    #[test]
    fn what_is_prepared_or_no_address_is_not_touched() {
        for text in [
            "a@m.example/R.",
            "a@bücher.example",
            "a@xn--bcher-kva.example",
            "a@xn--a.example",
            "",
            "M.EXAMPLE..",
            " M.EXAMPLE",
            "@M.EXAMPLE",
            "M.EXAMPLE/",
            "a b@M.EXAMPLE",
            "127.0.0.1.",
            "faß.Example",
            "A_B.example",
        ] {
            assert_eq!(prepared(text), None, "{text}");
        }
    }

    /// Names in lower-case ASCII, and addresses in all kinds of letters; many are none.
    const NAMES: &str = "((xn--)?[a-z0-9-]{0,8}[.]){0,3}(xn--)?[a-z0-9-]{0,8}";
    const ADDRESSES: &str = "([A-Za-zü]@)?([A-Zaｂ。.üÜ-]{1,4}[.]){0,2}[A-ZaüßＥ.]{1,4}(/[A-Z.ü]{0,3})?";

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]

        #[test]
        fn a_domain_that_is_prepared_at_a_glance_is_canonical_or_none(name in NAMES) {
            if is_prepared(&name) && let Ok(address) = Address::parse(&name) {
                prop_assert_eq!(address.domain().spelled(), name);
            }
        }

        #[test]
        fn what_is_prepared_is_the_same_address_and_stays_as_it_is(text in ADDRESSES) {
            if let Some(once) = prepared(&text) {
                let domain = |text: &str| Address::parse(text).map(|address| address.domain().clone());
                prop_assert_eq!(domain(&text), domain(&once));
                prop_assert_eq!(prepared(&once), None);
            }
        }
    }
}
