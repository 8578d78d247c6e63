//! Domains, pairs of domains, and addresses.
//!
//! Everything that compares, routes, proves or looks up a domain does it on one canonical form: the
//! lower-case A-label text without a final dot. [`Domain`] can hold nothing else, so two spellings of
//! one name can never be two identities, nor two names one.
//!
//! - Address format: [RFC 7622 section 3](https://www.rfc-editor.org/rfc/rfc7622#section-3)
//! - Comparison as A-labels: [RFC 5891 section 5.5](https://www.rfc-editor.org/rfc/rfc5891#section-5.5)

mod label;

use std::borrow::{Borrow, Cow};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

use crate::limits;

/// A domain name in canonical form: A-labels, lower case, no final dot, within the limits of DNS.
///
/// It remembers in which form an internationalised name was written, because others compare texts: what we write is
/// spelled as it was spelled to us. That is no part of what it is: two spellings of one name are equal.
///
/// Cloning is cheap. Never an IP literal: those take no part in federation.
#[derive(Clone)]
pub struct Domain {
    canonical: Arc<str>,
    written_in: Form,
}

/// The two forms of the labels of an internationalised name.
#[derive(Clone, Copy, Debug)]
enum Form {
    ALabels,
    ULabels,
}

impl Domain {
    /// Brings `text` to canonical form, or says which rule it breaks.
    ///
    /// Upper case, full-width letters and ideographic dots are mapped; one final dot is dropped
    /// ([RFC 7622 section 3.2](https://www.rfc-editor.org/rfc/rfc7622#section-3.2)). A name that IDNA2003
    /// and IDNA2008 map to different domains is refused (decision D-13).
    //= RFC7622-3.2-4
    //= RFC7622-3.2.3-1
    //= RFC5891-5.5-1
    //= RFC7622-3.2-5
    //= RFC5891-5.3-1
    //= RFC7622-4-2
    //= RFC7622-3.2-6
    //= RFC7622-3.2.2-1
    //= RFC7622-3.2.1-3
    //= RFC5890-2.3.2.1-1
    //= RFC7622-5-1
    //= RFC7622-5-2
    pub fn parse(text: &str) -> Result<Self, DomainError> {
        if text.is_empty() {
            return Err(DomainError::Empty);
        }
        if text.len() > limits::ADDRESS_PART_BYTES {
            return Err(DomainError::TooLong);
        }
        //= RFC7622-3.2-3
        if text.starts_with('[') || text.contains(':') {
            return Err(DomainError::IpLiteral);
        }
        if text.contains(['ß', 'ẞ', 'ς', '\u{200c}', '\u{200d}']) {
            return Err(DomainError::AmbiguousMapping);
        }
        let dotless = text.strip_suffix(['.', '\u{3002}', '\u{ff0e}', '\u{ff61}']).unwrap_or(text);
        let ascii = Uts46::new()
            .to_ascii(dotless.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast, DnsLength::Verify)
            .map_err(|_| DomainError::NotADomainName)?;
        let last = ascii.rsplit('.').next().unwrap_or_default();
        if last.bytes().all(|b| b.is_ascii_digit()) || is_hexadecimal_number(last) {
            return Err(DomainError::IpLiteral);
        }
        if ascii.split('.').any(has_ambiguous_a_label) {
            return Err(DomainError::AmbiguousMapping);
        }
        let written_in = if text.is_ascii() { Form::ALabels } else { Form::ULabels };
        Ok(Self { canonical: ascii.into(), written_in })
    }

    /// The canonical text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.canonical
    }

    /// The text for the wire: the canonical one, with U-labels
    /// ([RFC 7622 section 3.2.1](https://www.rfc-editor.org/rfc/rfc7622#section-3.2.1)) unless it was written with A-labels.
    /// Dialback keys of others depend on it, and the names that they know themselves by. DNS and certificates have the
    /// canonical one.
    #[must_use]
    pub fn spelled(&self) -> Cow<'_, str> {
        match self.written_in {
            Form::ALabels => Cow::Borrowed(self.as_str()),
            Form::ULabels => Uts46::new().to_unicode(self.canonical.as_bytes(), AsciiDenyList::STD3, Hyphens::Allow).0,
        }
    }

    /// Whether the name has more than one label. Others (`localhost`, `com`) never take part in
    /// federation, [RFC 7622 section 3.2](https://www.rfc-editor.org/rfc/rfc7622#section-3.2).
    #[must_use]
    pub fn is_qualified(&self) -> bool {
        self.canonical.contains('.')
    }

    /// Whether this name lies below `parent`, at any depth; false for `parent` itself.
    #[must_use]
    pub fn is_below(&self, parent: &Self) -> bool {
        self.canonical.strip_suffix(&*parent.canonical).is_some_and(|rest| rest.ends_with('.'))
    }
}

/// `0x7f` as a last label: some resolvers read such names as numbers.
fn is_hexadecimal_number(label: &str) -> bool {
    label.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// An A-label whose U-label IDNA2003 would have written differently, or IDNA2008 does not know.
fn has_ambiguous_a_label(label: &str) -> bool {
    if !label.starts_with("xn--") {
        return false;
    }
    let (unicode, _) = Uts46::new().to_unicode(label.as_bytes(), AsciiDenyList::STD3, Hyphens::Allow);
    unicode.contains(['ß', 'ς', '\u{200c}', '\u{200d}']) || !label::is_allowed(&unicode)
}

impl PartialEq for Domain {
    fn eq(&self, other: &Self) -> bool {
        self.canonical == other.canonical
    }
}

impl Eq for Domain {}

impl PartialOrd for Domain {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Domain {
    fn cmp(&self, other: &Self) -> Ordering {
        self.canonical.cmp(&other.canonical)
    }
}

impl Hash for Domain {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.canonical.hash(state);
    }
}

impl Borrow<str> for Domain {
    fn borrow(&self) -> &str {
        &self.canonical
    }
}

impl FromStr for Domain {
    type Err = DomainError;

    fn from_str(text: &str) -> Result<Self, DomainError> {
        Self::parse(text)
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.canonical)
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.canonical)
    }
}

/// Why a text is not a [`Domain`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DomainError {
    /// IDNA2003 and IDNA2008 read the name as two different domains, or one of them as none (decision D-13).
    AmbiguousMapping,
    /// There is no text.
    Empty,
    /// An IPv4 or IPv6 address, or a number that a resolver might take for one.
    IpLiteral,
    /// A label or the whole breaks the rules of host names or of IDNA2008.
    NotADomainName,
    /// More than 1023 bytes, [RFC 7622 section 3.1](https://www.rfc-editor.org/rfc/rfc7622#section-3.1).
    TooLong,
}

impl fmt::Display for DomainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AmbiguousMapping => "IDNA2008 does not know this name, or not as IDNA2003 does",
            Self::Empty => "the name is empty",
            Self::IpLiteral => "an address is not a domain name",
            Self::NotADomainName => "this is not a domain name",
            Self::TooLong => "the name is longer than 1023 bytes",
        })
    }
}

impl std::error::Error for DomainError {}

/// One of our domains and one remote domain: what is proved, routed and judged is always such a pair.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pair {
    /// The domain on our side.
    pub local: Domain,
    /// The domain on the other side.
    pub remote: Domain,
}

impl Pair {
    /// The pair of `local` and `remote`.
    #[must_use]
    pub const fn new(local: Domain, remote: Domain) -> Self {
        Self { local, remote }
    }
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}<->{}", self.local, self.remote)
    }
}

/// An XMPP address whose domainpart is canonical; the other parts stay as they were written.
///
/// Localparts and resourceparts belong to the servers at the ends: they are bounded and checked for
/// characters that no profile allows, not mapped.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    text: Arc<str>,
    domain: Domain,
}

impl Address {
    /// Splits and checks `text` as
    /// [RFC 7622 section 3.2](https://www.rfc-editor.org/rfc/rfc7622#section-3.2) says.
    //= RFC7622-3.2-1
    //= RFC7622-3.1-1
    //= RFC7622-3.1-2
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let (bare, resource) = match text.split_once('/') {
            Some((bare, resource)) => (bare, Some(resource)),
            None => (text, None),
        };
        let (local, domain) = match bare.split_once('@') {
            Some((local, domain)) => (Some(local), domain),
            None => (None, bare),
        };
        if let Some(local) = local {
            check_part(local)?;
            if local.contains(['"', '&', '\'', '/', ':', '<', '>', '@', ' ']) {
                return Err(AddressError::ForbiddenCharacter);
            }
        }
        if let Some(resource) = resource {
            check_part(resource)?;
        }
        let domain = Domain::parse(domain).map_err(AddressError::Domain)?;
        Ok(Self { text: text.into(), domain })
    }

    /// The address as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The canonical domainpart.
    #[must_use]
    pub const fn domain(&self) -> &Domain {
        &self.domain
    }

    /// Whether the address is a domain alone, without localpart and resourcepart.
    #[must_use]
    pub fn is_domain(&self) -> bool {
        !self.text.contains(['@', '/'])
    }

    /// Whether the address has a localpart.
    #[must_use]
    pub fn has_localpart(&self) -> bool {
        self.text.split('/').next().is_some_and(|bare| bare.contains('@'))
    }
}

/// The rules that localparts and resourceparts share.
fn check_part(part: &str) -> Result<(), AddressError> {
    if part.is_empty() {
        return Err(AddressError::EmptyPart);
    }
    if part.len() > limits::ADDRESS_PART_BYTES {
        return Err(AddressError::TooLong);
    }
    if part.chars().any(char::is_control) {
        return Err(AddressError::ForbiddenCharacter);
    }
    Ok(())
}

impl From<Domain> for Address {
    fn from(domain: Domain) -> Self {
        Self { text: domain.spelled().into(), domain }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

/// Why a text is not an [`Address`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressError {
    /// The domainpart is not a domain.
    Domain(DomainError),
    /// `@` without a localpart before it, or `/` without a resourcepart behind it.
    EmptyPart,
    /// A character that no localpart or resourcepart may hold.
    ForbiddenCharacter,
    /// A part of more than 1023 bytes.
    TooLong,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Domain(error) => error.fmt(f),
            Self::EmptyPart => f.write_str("a part of the address is empty"),
            Self::ForbiddenCharacter => f.write_str("the address holds a forbidden character"),
            Self::TooLong => f.write_str("a part of the address is longer than 1023 bytes"),
        }
    }
}

impl std::error::Error for AddressError {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::hash::DefaultHasher;

    use super::*;

    fn domain(text: &str) -> Domain {
        Domain::parse(text).expect(text)
    }

    #[test]
    //= RFC7622-3.2-4 test
    //= RFC7622-3.2.3-1 test
    //= RFC7622-3.2-6 test
    //= RFC7622-3.2.2-1 test
    //= RFC7622-3.2.1-3 test
    //= RFC5890-2.3.2.1-1 test
    fn spellings_of_one_name_are_one_domain() {
        for text in ["m.example", "M.EXAMPLE", "m.example.", "ｍ.example", "m\u{3002}example"] {
            assert_eq!(domain(text).as_str(), "m.example", "{text}");
        }
        assert_eq!(domain("BÜCHER.example"), domain("xn--bcher-kva.example"));
        assert_eq!(domain("\u{212a}.example").as_str(), "k.example");
        assert_eq!(domain("\u{abb3}\u{ab83}\u{ab79}.example"), domain("ᏣᎳᎩ.example"));
        assert_eq!(domain("col·legi.example"), domain("xn--collegi-xma.example"));
    }

    #[test]
    //= RFC7622-3.2.1-2 test
    fn on_the_wire_a_domain_is_spelled_as_it_was_written_and_all_spellings_are_the_same() {
        for (written, spelled) in [
            ("M.example.", "m.example"),
            ("B\u{dc}CHER.example", "b\u{fc}cher.example"),
            ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
            ("b\u{fc}cher.xn--80a.example", "b\u{fc}cher.\u{430}.example"),
        ] {
            let [once, again] = [written, spelled].map(domain);
            assert_eq!((once.spelled(), again.spelled()), (spelled.into(), spelled.into()));
            assert_eq!((&once, once.as_str()), (&again, again.as_str()));
        }
        let names = ["b\u{fc}cher.example", "xn--bcher-kva.example"].map(domain);
        assert_eq!(BTreeSet::from(names.clone()).len(), 1);
        let hashes = names.map(|name| {
            let mut hasher = DefaultHasher::new();
            name.hash(&mut hasher);
            hasher.finish()
        });
        assert_eq!(hashes[0], hashes[1]);
    }

    #[test]
    fn names_that_look_alike_stay_different() {
        assert_ne!(domain("\u{430}.example"), domain("a.example"));
    }

    #[test]
    //= RFC7622-5-1 test
    //= RFC7622-5-2 test
    fn a_name_that_two_versions_of_idna_read_differently_is_refused() {
        for text in [
            "faß.example",
            "xn--fa-hia.example",
            "βόλος.example",
            "a\u{200d}b.example",
            "i♥.example",
            "\u{1f600}.example",
            "xn--e28h.example",
            "¡a.example",
            "a×b.example",
            "a·b.example",
            "a\u{30fb}b.example",
        ] {
            assert_eq!(Domain::parse(text), Err(DomainError::AmbiguousMapping), "{text}");
        }
    }

    #[test]
    //= RFC7622-3.2-3 test
    fn addresses_and_numbers_are_not_domains() {
        for text in ["127.0.0.1", "[::1]", "::1", "192.0.2.1", "0x7f.1", "2130706433", "1", "a.0x7f"] {
            assert_eq!(Domain::parse(text), Err(DomainError::IpLiteral), "{text}");
        }
    }

    #[test]
    //= RFC7622-3.2-5 test
    //= RFC5891-5.3-1 test
    //= RFC7622-4-2 test
    fn what_is_not_a_host_name_is_refused() {
        for text in [
            "_xmpp-server._tcp.t.example",
            "*.t.example",
            "-t.example",
            "a..b",
            ".",
            "..",
            "a b.example",
            "a\u{202e}.example",
            "xn--a.example",
        ] {
            assert_eq!(Domain::parse(text), Err(DomainError::NotADomainName), "{text}");
        }
        assert_eq!(Domain::parse(""), Err(DomainError::Empty));
        assert_eq!(Domain::parse(&"a".repeat(1024)), Err(DomainError::TooLong));
        assert_eq!(Domain::parse(&format!("{}.example", "a".repeat(64))), Err(DomainError::NotADomainName));
    }

    #[test]
    fn below_means_whole_labels() {
        assert!(domain("chat.m.example").is_below(&domain("m.example")));
        assert!(domain("a.b.m.example").is_below(&domain("m.example")));
        assert!(!domain("m.example").is_below(&domain("m.example")));
        assert!(!domain("xm.example").is_below(&domain("m.example")));
    }

    #[test]
    //= RFC7622-3.2-1 test
    //= RFC7622-3.1-1 test
    //= RFC7622-3.1-2 test
    fn an_address_is_split_at_the_slash_first() {
        let address = Address::parse("a@M.example/x@y/z").expect("legal");
        assert_eq!(address.domain().as_str(), "m.example");
        assert!(address.has_localpart() && !address.is_domain());
        let resource = Address::parse("m.example/r@x").expect("legal");
        assert_eq!(resource.domain().as_str(), "m.example");
        assert!(!resource.has_localpart() && !resource.is_domain());
        for (text, error) in [
            ("@m.example", AddressError::EmptyPart),
            ("m.example/", AddressError::EmptyPart),
            ("a@b@m.example", AddressError::Domain(DomainError::NotADomainName)),
            ("a@", AddressError::Domain(DomainError::Empty)),
            ("/r", AddressError::Domain(DomainError::Empty)),
            ("a\u{ff20}m.example", AddressError::Domain(DomainError::NotADomainName)),
            ("a b@m.example", AddressError::ForbiddenCharacter),
            ("a\n@m.example", AddressError::ForbiddenCharacter),
            ("a@m.example/\u{7}", AddressError::ForbiddenCharacter),
        ] {
            assert_eq!(Address::parse(text), Err(error), "{text}");
        }
        assert_eq!(Address::parse(&format!("{}@m.example", "a".repeat(1024))), Err(AddressError::TooLong));
    }
}
