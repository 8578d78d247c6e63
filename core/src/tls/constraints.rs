//! Name constraints, applied to the domain that a certificate is to prove.
//!
//! webpki applies the constraints of an authority to the names in a certificate, form by form: a limit on DNS
//! names says nothing about an SRV-ID or XmppAddr, although those name the same domain. An authority that is
//! trusted for one part of DNS must not reach out of it by the choice of a form, so the DNS subtrees apply here
//! to the domain itself, whichever name covers it. (Limits on `otherName` stay with webpki, which refuses every
//! certificate that holds such a name below an authority with such a limit.)
//!
//! - [RFC 5280 section 4.2.1.10](https://www.rfc-editor.org/rfc/rfc5280#section-4.2.1.10)
//! - [RFC 4985 section 4](https://www.rfc-editor.org/rfc/rfc4985#section-4)

use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Decode, Reader, SliceReader, Tag, TagNumber, Tagged};
use x509_cert::Certificate;

use crate::addr::Domain;

const NAME_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.30");

/// Whether `authority`, an issuer on the path, may vouch for `domain`.
//= RFC5280-4.2.1.10-1
pub(super) fn permit(authority: &Certificate, domain: &Domain) -> bool {
    let extensions = authority.tbs_certificate().extensions().map_or(&[][..], Vec::as_slice);
    extensions.iter().filter(|extension| extension.extn_id == NAME_CONSTRAINTS).all(|extension| {
        AnyRef::from_der(extension.extn_value.as_bytes())
            .is_ok_and(|value| value.tag() == Tag::Sequence && content_permits(value.value(), domain))
    })
}

/// The same for the content of a `NameConstraints`, without tag and length, as a trust anchor keeps it.
/// What cannot be read permits nothing.
pub(super) fn content_permits(content: &[u8], domain: &Domain) -> bool {
    judge(content, domain).unwrap_or(false)
}

fn judge(content: &[u8], domain: &Domain) -> der::Result<bool> {
    let mut reader = SliceReader::new(content)?;
    let mut permitted = true;
    while !reader.is_finished() {
        let subtrees = AnyRef::decode(&mut reader)?;
        let bases = dns_bases(subtrees.value())?;
        match subtrees.tag() {
            Tag::ContextSpecific { constructed: true, number: TagNumber(0) } => {
                permitted &= bases.is_empty() || bases.iter().any(|base| base.holds(domain) == Some(true));
            }
            Tag::ContextSpecific { constructed: true, number: TagNumber(1) } => {
                permitted &= bases.iter().all(|base| base.holds(domain) == Some(false));
            }
            tag => return Err(tag.value_error().into()),
        }
    }
    Ok(permitted)
}

/// The `dNSName` bases of a list of subtrees.
fn dns_bases(subtrees: &[u8]) -> der::Result<Vec<Base<'_>>> {
    let mut reader = SliceReader::new(subtrees)?;
    let mut bases = Vec::new();
    while !reader.is_finished() {
        let subtree = AnyRef::decode(&mut reader)?;
        subtree.tag().assert_eq(Tag::Sequence)?;
        let base = AnyRef::decode(&mut SliceReader::new(subtree.value())?)?;
        if base.tag() == (Tag::ContextSpecific { constructed: false, number: TagNumber(2) }) {
            bases.push(Base(base.value()));
        }
    }
    Ok(bases)
}

/// The root of a subtree of DNS: empty for all of it, with a leading dot for what lies below, else inclusive.
struct Base<'a>(&'a [u8]);

impl Base<'_> {
    /// Whether `domain` lies in the subtree; `None` if the base is no name.
    fn holds(&self, domain: &Domain) -> Option<bool> {
        let text = std::str::from_utf8(self.0).ok()?;
        if text.is_empty() {
            return Some(true);
        }
        match text.strip_prefix('.') {
            Some(parent) => Domain::parse(parent).ok().map(|parent| domain.is_below(&parent)),
            None => Domain::parse(text).ok().map(|root| *domain == root || domain.is_below(&root)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `NameConstraints` content with the given DNS bases; short enough for one-byte lengths.
    fn content(permitted: &[&str], excluded: &[&str]) -> Vec<u8> {
        let list = |tag: u8, bases: &[&str]| {
            let mut subtrees = Vec::new();
            for base in bases {
                let length = u8::try_from(base.len()).expect("short");
                subtrees.extend([0x30, length + 2, 0x82, length]);
                subtrees.extend(base.bytes());
            }
            if subtrees.is_empty() {
                return subtrees;
            }
            let mut out = vec![tag, u8::try_from(subtrees.len()).expect("short")];
            out.extend(subtrees);
            out
        };
        [list(0xa0, permitted), list(0xa1, excluded)].concat()
    }

    fn permits(permitted: &[&str], excluded: &[&str], domain: &str) -> bool {
        content_permits(&content(permitted, excluded), &Domain::parse(domain).expect(domain))
    }

    #[test]
    //= RFC5280-4.2.1.10-1 test
    fn a_subtree_holds_its_root_and_whole_labels_below() {
        assert!(permits(&["m.example"], &[], "m.example"));
        assert!(permits(&["M.Example"], &[], "a.b.m.example"));
        assert!(!permits(&["m.example"], &[], "xm.example"));
        assert!(!permits(&["m.example"], &[], "t.example"));
        assert!(permits(&[".m.example"], &[], "a.m.example"));
        assert!(!permits(&[".m.example"], &[], "m.example"));
        assert!(permits(&["m.example", "t.example"], &[], "t.example"));
        assert!(permits(&[""], &[], "t.example"));
    }

    #[test]
    fn what_is_excluded_stays_so_even_if_permitted() {
        assert!(!permits(&["m.example"], &["x.m.example"], "a.x.m.example"));
        assert!(permits(&["m.example"], &["x.m.example"], "a.m.example"));
        assert!(!permits(&[], &[""], "t.example"));
        assert!(permits(&[], &["m.example"], "t.example"));
    }

    #[test]
    fn a_base_that_is_no_name_permits_nothing() {
        assert!(!permits(&["*.m.example"], &[], "a.m.example"));
        assert!(!permits(&[], &["a b"], "t.example"));
        assert!(!content_permits(&[0xa0, 0x05, 0x30], &Domain::parse("t.example").expect("legal")));
        assert!(!content_permits(&[0x30, 0x00], &Domain::parse("t.example").expect("legal")));
    }
}
