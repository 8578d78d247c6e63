//! From a certificate to the XMPP domains that it names.
//!
//! Only the subject alternative name counts, read as ASN.1 and entry by entry: DNS-ID (`dNSName`), SRV-ID
//! (`otherName` of type `id-on-dnsSRV`) and XmppAddr (`otherName` of type `id-on-xmppAddr`). The subject's common
//! name is never a domain, and no name is ever read from printed text. An entry that breaks the rules of its form
//! is no name; an extension whose entries cannot be told apart makes the whole certificate malformed.
//!
//! - [RFC 9525 section 6](https://www.rfc-editor.org/rfc/rfc9525#section-6)
//! - [RFC 6120 section 13.7.1.2.1](https://www.rfc-editor.org/rfc/rfc6120#section-13.7.1.2.1), [section 13.7.1.4](https://www.rfc-editor.org/rfc/rfc6120#section-13.7.1.4)
//! - [RFC 4985 section 2](https://www.rfc-editor.org/rfc/rfc4985#section-2)

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Decode, Reader, SliceReader, Tag, TagNumber, Tagged};
use x509_cert::Certificate;

use crate::addr::Domain;
use crate::limits;

/// Subject alternative name, [RFC 5280 section 4.2.1.6](https://www.rfc-editor.org/rfc/rfc5280#section-4.2.1.6).
const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");

/// Type of an SRV-ID.
const ON_DNS_SRV: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.8.7");

/// Type of an XmppAddr.
const ON_XMPP_ADDR: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.8.5");

/// The only service whose SRV-IDs name a server to a server.
const SERVICE: &str = "_xmpp-server";

/// The forms in which a certificate can name an XMPP domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NameForm {
    /// A DNS name, or a wildcard.
    DnsId,
    /// A DNS name bound to the service `_xmpp-server`.
    SrvId,
    /// An XMPP address that is a domain.
    XmppAddr,
}

impl NameForm {
    /// The word for it in logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DnsId => "dns-id",
            Self::SrvId => "srv-id",
            Self::XmppAddr => "xmpp-addr",
        }
    }
}

impl fmt::Display for NameForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One name that a certificate presents.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Name {
    /// DNS-ID: exactly this domain.
    Dns(Domain),
    /// DNS-ID `*.PARENT`: the domains one label below this one.
    Wildcard(Domain),
    /// SRV-ID `_xmpp-server.DOMAIN`.
    Srv(Domain),
    /// XmppAddr `DOMAIN`.
    XmppAddr(Domain),
}

impl Name {
    /// The form that the name is written in.
    #[must_use]
    pub const fn form(&self) -> NameForm {
        match self {
            Self::Dns(_) | Self::Wildcard(_) => NameForm::DnsId,
            Self::Srv(_) => NameForm::SrvId,
            Self::XmppAddr(_) => NameForm::XmppAddr,
        }
    }

    /// Whether the name covers `domain`.
    //= RFC9525-6.3-4
    #[must_use]
    pub fn covers(&self, domain: &Domain) -> bool {
        match self {
            Self::Dns(name) | Self::Srv(name) | Self::XmppAddr(name) => name == domain,
            Self::Wildcard(parent) => {
                domain.as_str().split_once('.').is_some_and(|(_, above)| above == parent.as_str())
            }
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(domain) => write!(f, "{domain}"),
            Self::Wildcard(parent) => write!(f, "*.{parent}"),
            Self::Srv(domain) => write!(f, "{SERVICE}.{domain}"),
            Self::XmppAddr(domain) => write!(f, "xmpp:{domain}"),
        }
    }
}

/// The names of a certificate that can prove an XMPP domain, in the order in which they stand there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(Vec<Name>);

impl Names {
    /// Reads the names of the certificate `der`: at most [`limits::CERTIFICATE_NAMES`] entries are looked at.
    pub fn of(der: &[u8]) -> Result<Self, MalformedCertificate> {
        let certificate = Certificate::from_der(der).map_err(|_| MalformedCertificate)?;
        Self::of_certificate(&certificate)
    }

    /// The same for a certificate that is parsed already.
    //= RFC9525-A-1
    //= RFC6125-6.4.4-1
    pub(crate) fn of_certificate(certificate: &Certificate) -> Result<Self, MalformedCertificate> {
        let extensions = certificate.tbs_certificate().extensions().map_or(&[][..], Vec::as_slice);
        let mut found = extensions.iter().filter(|extension| extension.extn_id == SUBJECT_ALT_NAME);
        let Some(extension) = found.next() else {
            return Ok(Self::default());
        };
        if found.next().is_some() {
            return Err(MalformedCertificate);
        }
        let entries = entries(extension.extn_value.as_bytes()).map_err(|_| MalformedCertificate)?;
        Ok(Self(entries.into_iter().filter_map(name).collect()))
    }

    /// The names.
    pub fn iter(&self) -> impl Iterator<Item = &Name> {
        self.0.iter()
    }

    /// The first name that covers `domain`.
    //= RFC9525-6.2-2
    //= RFC9525-6.1.1-3
    #[must_use]
    pub fn covering(&self, domain: &Domain) -> Option<&Name> {
        self.0.iter().find(|name| name.covers(domain))
    }
}

/// Whether the certificate `der` names `domain`. False for what is no certificate.
#[must_use]
pub fn matches(der: &[u8], domain: &Domain) -> bool {
    Names::of(der).is_ok_and(|names| names.covering(domain).is_some())
}

/// From when to when the certificate `der` is valid, in wall-clock time since 1970. `None` for what is no certificate.
///
/// It says nothing about those above it.
#[must_use]
pub fn validity(der: &[u8]) -> Option<RangeInclusive<Duration>> {
    let certificate = Certificate::from_der(der).ok()?;
    let validity = certificate.tbs_certificate().validity();
    Some(RangeInclusive::new(validity.not_before.to_unix_duration(), validity.not_after.to_unix_duration()))
}

/// The bytes are no certificate, or its names cannot be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedCertificate;

impl fmt::Display for MalformedCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the certificate is malformed")
    }
}

impl std::error::Error for MalformedCertificate {}

/// The entries of a `GeneralNames`. All of them are read, so that a broken one is noticed; few are kept.
fn entries(extension: &[u8]) -> der::Result<Vec<AnyRef<'_>>> {
    let names = AnyRef::from_der(extension)?;
    names.tag().assert_eq(Tag::Sequence)?;
    let mut reader = SliceReader::new(names.value())?;
    let mut entries = Vec::new();
    while !reader.is_finished() {
        let entry = AnyRef::decode(&mut reader)?;
        if entries.len() < limits::CERTIFICATE_NAMES {
            entries.push(entry);
        }
    }
    Ok(entries)
}

/// One entry, if it is of a form that can name an XMPP domain and well-formed.
fn name(entry: AnyRef<'_>) -> Option<Name> {
    match entry.tag() {
        Tag::ContextSpecific { constructed: true, number: TagNumber(0) } => other_name(entry.value()),
        Tag::ContextSpecific { constructed: false, number: TagNumber(2) } => dns_name(entry.value()),
        _ => None,
    }
}

/// `OtherName`: a type and, behind an explicit tag, a value of that type.
//= RFC6120-13.7.1.4-1
//= RFC6120-13.7.1.2.1-3
//= RFC6120-13.7.2.1-3
fn other_name(content: &[u8]) -> Option<Name> {
    let mut reader = SliceReader::new(content).ok()?;
    let form = ObjectIdentifier::decode(&mut reader).ok()?;
    let tagged = AnyRef::decode(&mut reader).ok()?;
    reader.finish().ok()?;
    tagged.tag().assert_eq(Tag::ContextSpecific { constructed: true, number: TagNumber(0) }).ok()?;
    let value = AnyRef::from_der(tagged.value()).ok()?;
    let text = std::str::from_utf8(value.value()).ok()?;
    match (form, value.tag()) {
        (ON_DNS_SRV, Tag::Ia5String) => srv_name(text),
        //= RFC5280-7.2-1
        //= RFC9525-6.3-2
        (ON_XMPP_ADDR, Tag::Utf8String) => Domain::parse(text).ok().map(Name::XmppAddr),
        _ => None,
    }
}

/// `_Service.Name`. Service and domain are taken from the same identifier; a wildcard is no part of this form.
//= RFC4985-2-1
//= RFC4985-2-2
//= RFC6120-13.7.1.2.1-2
//= RFC9525-6.5-1
//= RFC9525-6.2-1
fn srv_name(text: &str) -> Option<Name> {
    let (service, domain) = text.split_once('.')?;
    if !service.eq_ignore_ascii_case(SERVICE) {
        return None;
    }
    ascii_domain(domain).map(Name::Srv)
}

/// A `dNSName`. `*` may stand only for the whole left-most label, and two labels at least must follow: what
/// lies below a top-level domain belongs to many.
//= RFC6120-13.7.1.2.1-1
//= RFC6120-13.7.1.2.1-4
//= RFC9525-6.3-3
//= XEP0178-3-8
fn dns_name(content: &[u8]) -> Option<Name> {
    let text = std::str::from_utf8(content).ok()?;
    match text.strip_prefix("*.") {
        Some(parent) => ascii_domain(parent).filter(Domain::is_qualified).map(Name::Wildcard),
        None => ascii_domain(text).map(Name::Dns),
    }
}

/// A domain in the only spelling that certificates may use for it: A-labels without a final dot, in any case.
//= RFC5280-4.2.1.6-1
//= RFC4985-3-1
//= RFC9525-6.3-1
fn ascii_domain(text: &str) -> Option<Domain> {
    if !text.is_ascii() || text.ends_with('.') {
        return None;
    }
    Domain::parse(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_a_name_is_shown_by_its_word() {
        for (form, word) in
            [(NameForm::DnsId, "dns-id"), (NameForm::SrvId, "srv-id"), (NameForm::XmppAddr, "xmpp-addr")]
        {
            assert_eq!((form.as_str(), form.to_string().as_str()), (word, word));
        }
    }

    #[test]
    fn a_certificate_says_from_when_to_when_it_is_valid_and_what_is_none_says_nothing() {
        let mut params = rcgen::CertificateParams::new(vec!["m.example".to_owned()]).expect("a name");
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2051, 6, 30);
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let expected = Duration::from_secs(1_577_836_800)..=Duration::from_secs(2_571_696_000);
        assert_eq!(validity(certificate.der()), Some(expected));
        assert_eq!(validity(b"no certificate"), None);
    }
}
