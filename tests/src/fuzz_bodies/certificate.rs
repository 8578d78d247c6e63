//! Which domains a certificate names, beside webpki's own judgement.

use std::sync::OnceLock;

use rustls_pki_types::{CertificateDer, DnsName, ServerName};
use s2s_core::limits;
use s2s_core::tls::identity::{Name, Names, matches};
use webpki::EndEntityCert;

use super::input::{Choices, Input};
use super::link::{LOCAL, REMOTE, domain};
use crate::certificates::{Authority, Request, San};

/// The domains that are asked about.
const DOMAINS: [&str; 6] = [LOCAL, REMOTE, "x.a.example.org", "example.org", "xn--bcher-kva.example", "org"];

/// The beginning of every certificate in DER.
const SEQUENCE: u8 = 0x30;

/// A certificate, as it is or (where the input does not begin like one) made for names of which the input tells the texts.
///
/// Whatever the bytes are, the names are bounded, and what is covered is covered by one of them. Where DNS names are
/// concerned, webpki covers the same domains.
pub fn certificate_names(data: &[u8]) {
    let made;
    let der = match data.first() {
        Some(&SEQUENCE) | None => data,
        Some(_) => {
            made = certificate(&mut Input::new(data));
            &made
        }
    };
    let names = Names::of(der);
    if let Ok(names) = &names {
        assert!(names.iter().count() <= limits::CERTIFICATE_NAMES);
        assert!(names.iter().count() <= der.len(), "no more names than bytes");
    }
    for text in DOMAINS {
        let covered = names.as_ref().is_ok_and(|names| names.covering(&domain(text)).is_some());
        assert_eq!(matches(der, &domain(text)), covered, "{text}");
        let by_dns = |name: &Name| matches!(name, Name::Dns(_) | Name::Wildcard(_)) && name.covers(&domain(text));
        let ours = names.as_ref().is_ok_and(|names| names.iter().any(by_dns));
        compare(text, ours, der, names.as_ref().ok());
    }
}

fn compare(text: &str, ours: bool, der: &[u8], names: Option<&Names>) {
    let der = CertificateDer::from(der);
    let Ok(certificate) = EndEntityCert::try_from(&der) else { return };
    let name = ServerName::DnsName(DnsName::try_from(text).expect("a name"));
    let theirs = certificate.verify_is_valid_for_subject_name(&name).is_ok();
    match (ours, theirs) {
        (true, true) | (false, false) => {}
        // It reads no dates before it is asked about them; what we cannot read proves nothing.
        (false, true) if names.is_none() => {}
        (true, false) => panic!("webpki does not take {names:?} for {text}"),
        (false, true) => panic!("webpki takes for {text} what is not among {names:?}"),
    }
}

/// A certificate for names in some form: their texts are known ones, damaged or not.
fn certificate(input: &mut Input<'_>) -> Vec<u8> {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    const TEXTS: [&str; 10] = [
        LOCAL,
        "*.a.example.org",
        "*.example.org",
        "*.org",
        "A.Example.ORG",
        "a.example.org.",
        "_xmpp-server.a.example.org",
        "xn--bcher-kva.example",
        "a.*.org",
        "",
    ];
    let mut names = Vec::new();
    for _ in 0..1 + input.below(4) {
        let mut text = input.pick(&TEXTS).to_owned();
        let (form, damage) = (input.below(8), input.below(4));
        if damage == 3 {
            let (at, length) = (input.below(text.len() + 1), input.below(4));
            text.insert_str(at, &String::from_utf8_lossy(input.up_to(length)));
        }
        names.push(match form {
            0..5 => San::Dns(text),
            5 => San::Srv(text),
            6 => San::XmppAddr(text),
            _ => San::Uri(text),
        });
    }
    let request = Request { key: "any".to_owned(), ..Request::new(names) };
    AUTHORITY.get_or_init(|| Authority::root("the authority")).issue(&request).chain.swap_remove(0)
}
