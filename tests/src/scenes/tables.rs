//! Tables that the code itself fills in: names and certificates with their verdicts, domains and their spellings, keys.

use rcgen::KeyUsagePurpose;
use s2s_core::addr::{Address, Domain};
use s2s_core::dialback::Secret;
use s2s_core::tls::verify::{Rejection, Trust, Verified, fingerprint, judge};

use super::{A, B, Setting, greeting};
use crate::certificates::{Authority, Kind, NOW, Powers, Request, San};
use crate::world::domain;

/// Rows in columns, the first of them the heading.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| columns_of(&row[column])).max().unwrap_or_default();
    let widths: Vec<_> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| cell.clone() + &" ".repeat(width - columns_of(cell)));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// How wide `text` is where it is read: marks that combine with a letter take no room.
fn columns_of(text: &str) -> usize {
    text.chars().filter(|character| !matches!(character, '\u{300}'..='\u{36f}')).count()
}

pub(super) fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

/// How a certificate with these names, and nothing wrong otherwise, is judged for each of these domains.
fn names(cases: &[(Vec<San>, &str)]) -> String {
    let mut rows = vec![row(["names in the certificate", "domain", "verdict"])];
    for (names, text) in cases {
        let shown: Vec<_> = names.iter().map(name).collect();
        rows.push(vec![shown.join(", "), (*text).to_owned(), verdict(&Request::new(names.clone()), text)]);
    }
    table(&rows)
}

fn name(san: &San) -> String {
    match san {
        San::Dns(text) => format!("DNS {text}"),
        San::Srv(text) => format!("SRV {text}"),
        San::XmppAddr(text) => format!("XmppAddr {text}"),
        San::Uri(text) => format!("URI {text}"),
        San::Raw(_) => "something else".to_owned(),
    }
}

fn verdict(request: &Request, text: &str) -> String {
    let authority = Authority::root("the authority");
    words(judge(&authority.issue(request).chain, &domain(text), &authority.trust(), NOW))
}

fn words(judgement: Result<Verified, Rejection>) -> String {
    match judgement.map(|verified| verified.form()) {
        Ok(Some(form)) => format!("proved ({form})"),
        Ok(None) => "proved (pin)".to_owned(),
        Err(rejection) => rejection.to_string(),
    }
}

fn dns(text: &str) -> San {
    San::Dns(text.to_owned())
}

fn srv(text: &str) -> San {
    San::Srv(text.to_owned())
}

/// Names of every form, and wildcards.
#[must_use]
pub fn identities() -> String {
    let xmpp = |text: &str| San::XmppAddr(text.to_owned());
    names(&[
        (vec![dns("M.example")], "m.example"),
        (vec![dns("host.m.example")], "m.example"),
        (vec![dns("*.m.example")], "chat.m.example"),
        (vec![dns("*.m.example")], "m.example"),
        (vec![dns("*.m.example")], "a.chat.m.example"),
        (vec![dns("c*.m.example")], "chat.m.example"),
        (vec![dns("*.example")], "m.example"),
        (vec![dns("xn--bcher-kva.example")], "b\u{fc}cher.example"),
        (vec![dns("b\u{fc}cher.example")], "b\u{fc}cher.example"),
        (vec![xmpp("b\u{fc}cher.example")], "b\u{fc}cher.example"),
        (vec![xmpp("juliet@m.example")], "m.example"),
        (vec![San::Uri("xmpp:m.example".to_owned())], "m.example"),
        (vec![dns("other.example"), srv("_xmpp-server.m.example")], "m.example"),
    ])
}

/// Names that are bound to a service.
#[must_use]
pub fn services() -> String {
    names(&[
        (vec![srv("_xmpp-server.m.example")], "m.example"),
        (vec![srv("_XMPP-Server.M.example")], "m.example"),
        (vec![srv("_xmpp-client.m.example")], "m.example"),
        (vec![srv("_xmpp-server._tcp.m.example")], "m.example"),
        (vec![srv("_xmpp-server.*.example")], "m.example"),
        (vec![srv("_xmpp-server.xn--bcher-kva.example")], "b\u{fc}cher.example"),
        (vec![srv("_imap.m.example"), srv("_xmpp-server.other.example")], "m.example"),
        (vec![srv("_imap.m.example"), dns("m.example")], "m.example"),
    ])
}

/// The common name, which names nothing.
#[must_use]
pub fn common_names() -> String {
    let mut rows = vec![row(["common name", "names in the certificate", "verdict for m.example"])];
    for (common_name, names) in [
        ("m.example", Vec::new()),
        ("m.example", vec![dns("other.example")]),
        ("other.example", vec![dns("m.example")]),
    ] {
        let shown = names.iter().map(name).next().unwrap_or_else(|| "none".to_owned());
        let request = Request { common_name: common_name.to_owned(), ..Request::new(names) };
        rows.push(vec![common_name.to_owned(), shown, verdict(&request, "m.example")]);
    }
    table(&rows)
}

/// Certificates for B with something wrong about them or about who issued them.
#[must_use]
pub fn paths() -> String {
    let mut rows = vec![row(["certificate", "verdict"])];
    let authority = Authority::root("the authority");
    let trust = authority.trust();
    let host = domain(B);
    let mut add = |what: &str, chain: &[Vec<u8>], trust: &Trust| {
        rows.push(vec![what.to_owned(), words(judge(chain, &host, trust, NOW))]);
    };
    for (what, kind) in [
        ("issued by a trusted authority", Kind::Valid),
        ("by an authority below it", Kind::Intermediate),
        ("by an authority that is not trusted", Kind::UnknownAuthority),
        ("by itself", Kind::SelfSigned),
    ] {
        add(what, &authority.issue_kind(kind, &host).chain, &trust);
    }
    let request = Request::dns(B);
    let no_authority = Powers { authority: false, ..Powers::default() };
    let no_signing = Powers { usages: vec![KeyUsagePurpose::CrlSign], ..Powers::default() };
    let silent = Powers { usages: Vec::new(), ..Powers::default() };
    let elsewhere = Powers { permitted: vec!["example.com".to_owned()], ..Powers::default() };
    let alone = Powers { path_length: Some(0), ..Powers::default() };
    for (what, powers) in [
        ("by a server that a trusted authority certified", no_authority),
        ("by an authority whose key may not sign certificates", no_signing),
        ("by an authority that does not say what its key may do", silent),
        ("by an authority for names below example.com", elsewhere),
    ] {
        add(what, &authority.subordinate(what, &powers).issue(&request).chain, &trust);
    }
    let second = authority.subordinate("the last", &alone).subordinate("one too many", &Powers::default());
    add("by an authority below one that may have none below it", &second.issue(&request).chain, &trust);
    for (what, kind) in [
        ("that has expired", Kind::Expired),
        ("that has expired and is for another domain", Kind::ExpiredWrongName),
        ("that is not valid yet", Kind::NotYetValid),
        ("for clients only", Kind::ClientAuth),
        ("of an authority", Kind::AuthorityAsPeer),
        ("with a critical extension that nobody knows", Kind::UnknownCritical),
        ("for another domain", Kind::WrongName),
    ] {
        add(what, &authority.issue_kind(kind, &host).chain, &trust);
    }
    let mut informed = authority.trust();
    informed.add_revocation_list(&authority.revoke(&[&request], (2025, 2027))).expect("a list");
    add("that was revoked", &authority.issue(&request).chain, &informed);
    table(&rows)
}

/// Addresses, and the domain that each of them leads to.
#[must_use]
pub fn addresses() -> String {
    let mut rows = vec![row(["written", "domain"])];
    for text in [
        "juliet@im.example.org/balcony",
        "juliet@IM.Example.ORG.",
        "im.example.org/a@b/c",
        "juliet@b\u{fc}cher.example",
        "a@b@im.example.org",
        "@im.example.org",
        "juliet@im.example.org/",
        "ju liet@im.example.org",
        "juliet@im..example.org",
        "juliet@192.0.2.1",
        "juliet@[2001:db8::1]",
    ] {
        let domain = Address::parse(text).map(|address| address.domain().to_string());
        rows.push(vec![text.to_owned(), domain.unwrap_or_else(|error| format!("refused: {error}"))]);
    }
    table(&rows)
}

/// Spellings of domains, and their canonical form.
#[must_use]
pub fn labels() -> String {
    let mut rows = vec![row(["written", "canonical form"])];
    for text in [
        "b\u{fc}cher.example",
        "B\u{dc}CHER.example",
        "bu\u{308}cher.example",
        "XN--BCHER-KVA.example",
        "xn--a.example",
        "fa\u{df}.example",
        "xn--fa-hia.example",
        "i\u{2665}.example",
        "a_b.example",
        "-a.example",
    ] {
        let form = Domain::parse(text).map(|domain| domain.to_string());
        rows.push(vec![text.to_owned(), form.unwrap_or_else(|error| format!("refused: {error}"))]);
    }
    table(&rows)
}

/// The key of the conversation that [`greeting`] between lax nodes gives, made once more from what stands there.
///
/// # Panics
///
/// If the conversation has another key.
#[must_use]
pub fn key() -> String {
    let conversation = greeting(&Setting::lax());
    let question = conversation.only("<db:verify").lines.swap_remove(0).text;
    let id = question.split(" id='").nth(1).and_then(|rest| rest.split('\'').next()).expect("an id");
    let sent = question.split(['<', '>']).nth(2).expect("a key");
    let text = "a secret of twenty-six bytes";
    let secret = Secret::new(text.as_bytes()).expect("long enough");
    let made = secret.key(&domain(B), &domain(A), id);
    assert_eq!(made, sent, "the world has another secret");
    let hash: String = fingerprint(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    table(&[
        row(["secret", text]),
        row(["SHA256(secret)", &hash]),
        row(["HMAC-SHA256 over", &format!("{B} {A} {id}")]),
        row(["key", &made]),
        row(["with the domains exchanged", &secret.key(&domain(A), &domain(B), id)]),
    ])
}
