//! Stream features: what a peer offers, and what we offer.
//!
//! - [RFC 6120 section 4.3.2](https://www.rfc-editor.org/rfc/rfc6120#section-4.3.2), [XEP-0220 section 2.4](https://xmpp.org/extensions/xep-0220.html#advertisement)

use crate::limits;
use crate::ns;
use crate::policy::{Offer, StartTls};
use crate::sasl;
use crate::xml::Element;

/// [`limits::MIN_STANZA_BYTES`] in the type of the advertisement.
const MIN_STANZA_BYTES: u32 = limits::MIN_STANZA_BYTES as u32;

/// What a peer offers. The order of features has no meaning.
//= RFC6120-4.3.2-3
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// STARTTLS.
    pub starttls: Option<StartTls>,
    /// SASL EXTERNAL.
    pub external: bool,
    /// Dialback, by feature or by the declaration of its namespace.
    pub dialback: bool,
    /// Largest first-level element that the peer takes, in bytes (XEP-0478): at least [`limits::MIN_STANZA_BYTES`].
    pub max_bytes: Option<u32>,
}

impl Features {
    /// Reads `<stream:features/>`; `None` if `element` is something else.
    #[must_use]
    pub fn read(element: &Element, header_declares_dialback: bool) -> Option<Self> {
        if !element.is(ns::STREAMS, "features") {
            return None;
        }
        let starttls = element.child(ns::TLS, "starttls").map(|starttls| {
            // RFC 6120 section 5.3.1: the only feature is mandatory even without the mark.
            //= RFC6120-5.3.1-1
            let only = element.children().count() == 1;
            if only || starttls.child(ns::TLS, "required").is_some() { StartTls::Required } else { StartTls::Optional }
        });
        let mechanisms = element.child(ns::SASL, "mechanisms");
        //= RFC6120-6.3.3-1
        //= RFC6120-6.3.5-3
        let external = mechanisms.is_some_and(|mechanisms| {
            mechanisms
                .children()
                .any(|mechanism| mechanism.is(ns::SASL, "mechanism") && mechanism.text() == sasl::EXTERNAL)
        });
        let dialback = element.child(ns::DIALBACK_FEATURE, "dialback");
        let max_bytes = element
            .child(ns::STREAM_LIMITS, "limits")
            .and_then(|offered| offered.child(ns::STREAM_LIMITS, "max-bytes"))
            .and_then(|bytes| bytes.text().trim_matches([' ', '\t', '\r', '\n']).parse::<u32>().ok())
            // No server may have a lower limit (RFC 6120 section 13.12): such a number says nothing.
            .map(|bytes| bytes.max(MIN_STANZA_BYTES));
        Some(Self { starttls, external, dialback: dialback.is_some() || header_declares_dialback, max_bytes })
    }

    /// What a peer without features (before version 1.0) can do.
    #[must_use]
    pub fn legacy(header_declares_dialback: bool) -> Self {
        Self { dialback: header_declares_dialback, ..Self::default() }
    }
}

/// Writes the features of `offer`; `max_bytes` once the peer is authenticated.
//= RFC6120-5.4.1-1
//= RFC6120-5.4.1-2
//= RFC6120-5.3.1-2
//= RFC6120-6.4.1-3
//= XEP0220-2.4.2-1
//= RFC6120-4.3.2-2
//= RFC6120-6.3.4-4
//= XEP0478-3.1-1
//= XEP0478-4-3
#[must_use]
pub(super) fn write(offer: &Offer, max_bytes: Option<usize>) -> String {
    let mut text = String::from("<stream:features>");
    match offer.starttls {
        Some(StartTls::Required) => text.push_str(&format!("<starttls xmlns='{}'><required/></starttls>", ns::TLS)),
        Some(StartTls::Optional) => text.push_str(&format!("<starttls xmlns='{}'/>", ns::TLS)),
        None => {}
    }
    if offer.external.is_some() {
        text.push_str(&format!(
            "<mechanisms xmlns='{}'><mechanism>{}</mechanism></mechanisms>",
            ns::SASL,
            sasl::EXTERNAL
        ));
    }
    if offer.dialback {
        text.push_str(&format!("<dialback xmlns='{}'><errors/></dialback>", ns::DIALBACK_FEATURE));
    }
    if let Some(max_bytes) = max_bytes {
        text.push_str(&format!("<limits xmlns='{}'><max-bytes>{max_bytes}</max-bytes></limits>", ns::STREAM_LIMITS));
    }
    text.push_str("</stream:features>");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(children: &[Element]) -> Features {
        let element =
            children.iter().fold(Element::new(ns::STREAMS, "features"), |all, child| all.with_child(child.clone()));
        Features::read(&element, false).expect("features")
    }

    #[test]
    fn a_peer_before_version_1_0_can_do_dialback_if_its_header_declares_it_and_nothing_else() {
        for declared in [true, false] {
            let expected = Features { starttls: None, external: false, dialback: declared, max_bytes: None };
            assert_eq!(Features::legacy(declared), expected);
        }
    }

    #[test]
    //= RFC6120-5.3.1-1 test
    fn starttls_is_required_if_it_says_so_or_stands_alone() {
        let starttls = Element::new(ns::TLS, "starttls");
        let dialback = Element::new(ns::DIALBACK_FEATURE, "dialback");
        let required = starttls.clone().with_child(Element::new(ns::TLS, "required"));
        assert_eq!(features(std::slice::from_ref(&starttls)).starttls, Some(StartTls::Required));
        assert_eq!(features(&[starttls, dialback.clone()]).starttls, Some(StartTls::Optional));
        assert_eq!(features(&[dialback.clone(), required]).starttls, Some(StartTls::Required));
        assert_eq!(features(&[dialback]).starttls, None);
    }

    #[test]
    //= XEP0478-4-1 test
    fn a_limit_may_stand_between_white_space() {
        for text in ["20000", "\n 20000\t\r\n"] {
            let bytes = Element::new(ns::STREAM_LIMITS, "max-bytes").with_text(text);
            let limits = Element::new(ns::STREAM_LIMITS, "limits").with_child(bytes);
            assert_eq!(features(&[limits]).max_bytes, Some(20_000), "{text:?}");
        }
    }

    #[test]
    //= RFC6120-6.3.3-1 test
    //= RFC6120-6.3.5-3 test
    fn external_is_found_among_other_mechanisms_and_other_things() {
        let mechanism = |name: &str| Element::new(ns::SASL, "mechanism").with_text(name);
        let mechanisms = |children: &[Element]| {
            let all = Element::new(ns::SASL, "mechanisms");
            children.iter().fold(all, |all, child| all.with_child(child.clone()))
        };
        let other = Element::new("urn:example:other", "mechanism").with_text(sasl::EXTERNAL);
        let both = features(&[mechanisms(&[other.clone(), mechanism("PLAIN"), mechanism("EXTERNAL")])]);
        assert!(both.external);
        let none = features(&[mechanisms(&[mechanism("PLAIN"), mechanism("EXTERNALLY"), other])]);
        assert!(!none.external);
    }
}
