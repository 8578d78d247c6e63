//! What must come of a peer that does not behave like one of ours: odd headers, odd authorization identities, odd
//! features and answers. One side only is judged, and the result is what the peer hears, in order, and the reason
//! codes that our side reports.

use super::sides::{demands_of, flaw};
use super::tables::{Clause, Row, always, find, row};
use super::{Certificate, Policy};

axis! {
    /// How a connection begins.
    Entry {
        /// In clear, and it stays so.
        Clear,
        /// In clear; STARTTLS where it is to be had.
        StartTls,
        /// With TLS.
        Direct,
    }
}

axis! {
    /// The `from` of the peer's headers.
    From {
        /// Its own domain.
        Own,
        /// None.
        Absent,
        /// A domain of ours.
        Ours,
    }
}

axis! {
    /// What the peer sends with `<auth/>`.
    Authzid {
        /// No initial response; an empty one when it is challenged.
        Absent,
        /// `=`
        Empty,
        /// Its own domain.
        Own,
        /// Another domain.
        Other,
        /// What is no base64.
        Malformed,
    }
}

axis! {
    /// What the peer answers to EXTERNAL.
    ExternalAnswer {
        /// It does not offer it.
        NotOffered,
        /// Success.
        Success,
        /// Failure.
        Failure,
    }
}

axis! {
    /// What the peer answers to a dialback key.
    KeyAnswer {
        /// Valid.
        Valid,
        /// Invalid.
        Invalid,
        /// An error.
        Error,
    }
}

/// A peer that connects to us. It takes EXTERNAL if it is offered, else or then it sends a dialback key, and then a
/// stanza. Nobody listens where its domain is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// How it connects.
    pub entry: Entry,
    /// What it shows.
    pub certificate: Certificate,
    /// What we demand of its domain.
    pub policy: Policy,
    /// What its headers say.
    pub from: From,
    /// False if its headers have no version.
    pub version: bool,
    /// How it asks for EXTERNAL.
    pub authzid: Authzid,
    /// False if we have `saslauth` in `modules_disabled`.
    pub external: bool,
    /// False if we have `dialback` in `modules_disabled`.
    pub dialback: bool,
}

/// A peer that we connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answering {
    /// What it is reached by and offers.
    pub entry: Entry,
    /// What it shows.
    pub certificate: Certificate,
    /// What we demand of its domain.
    pub policy: Policy,
    /// False if its headers have no version, and features do not follow.
    pub version: bool,
    /// Whether its features stand in the unusual order.
    pub reversed: bool,
    /// Whether dialback stands among its features; else only its header declares it.
    pub feature: bool,
    /// What it does about EXTERNAL.
    pub external_answer: ExternalAnswer,
    /// What it does about a key.
    pub key_answer: KeyAnswer,
    /// False if we have `saslauth` in `modules_disabled`.
    pub external: bool,
    /// False if we have `dialback` in `modules_disabled`.
    pub dialback: bool,
    /// `s2s_dialback_to_verified`
    pub dialback_to_verified: bool,
}

/// What must be seen of a peer, and why.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// What the peer hears, and how it ends.
    pub steps: Vec<String>,
    /// What our side reports, sorted.
    pub codes: Vec<String>,
    /// The rows that decided.
    pub clauses: Vec<&'static Clause>,
}

impl Script {
    fn step(&mut self, step: &str) {
        self.steps.push(step.to_owned());
    }

    fn refused(mut self, step: &str, code: &str) -> Self {
        self.step(step);
        self.codes.push(code.to_owned());
        self.codes.sort();
        self
    }
}

/// A stream of an [`Opening`].
#[derive(Clone, Copy, Debug)]
struct Opened {
    peer: Opening,
    secured: bool,
}

impl Opened {
    fn is_strict(&self) -> bool {
        demands_of(self.peer.policy).0
    }

    fn is_good(&self) -> bool {
        self.secured && flaw(self.peer.certificate).is_none()
    }

    /// Whether the domain of the header may not go in clear, or without one, whether none may.
    fn header_demands_encryption(&self) -> bool {
        match self.peer.from {
            From::Absent => matches!(self.peer.policy, Policy::SecureAuth | Policy::RequireEncryption),
            From::Own | From::Ours => demands_of(self.peer.policy).1,
        }
    }
}

/// A verdict on a header or on a key.
#[derive(Clone, Copy, Debug)]
enum Verdict {
    Good,
    /// The condition that the peer hears and the code that we report.
    Bad(&'static str, &'static str),
    /// The same, for what is wrong with the certificate.
    BadCertificate(&'static str),
}

const HEADER: &[Row<Opened, Verdict>] = &[
    row(
        "SEMANTICS 4 from-mismatch: invalid-from; seed: attempt to connect from a host we serve",
        "nobody else speaks for our domains",
        |opened| opened.peer.from == From::Ours,
        Verdict::Bad("invalid-from", "from-mismatch"),
    ),
    row(
        "SEMANTICS 2.2, SEMANTICS 4 cert-*: not-authorized",
        "a strict from with a bad certificate is refused",
        |opened| opened.secured && opened.peer.from == From::Own && opened.is_strict() && !opened.is_good(),
        Verdict::BadCertificate("not-authorized"),
    ),
    row(
        "D-03",
        "without version there is no TLS: refused where it is required (silent: the code)",
        |opened| !opened.secured && !opened.peer.version && opened.header_demands_encryption(),
        Verdict::Bad("unsupported-version", "encryption-required"),
    ),
    row("SEMANTICS 2.2, D-02", "else the stream stays open, without from with nothing proved", always, Verdict::Good),
];

const STARTTLS: &[Row<Opened, &str>] = &[
    row("RFC6120-5.4.3.3-5", "not inside TLS", |opened| opened.secured, "none"),
    row(
        "SEMANTICS 2.1, RFC6120-5.4.1-2",
        "required where the domain, or every domain, may not go in clear",
        Opened::header_demands_encryption,
        "required",
    ),
    row("RFC6120-5.4.1-1", "else optional", always, "optional"),
];

const EXTERNAL: &[Row<Opened, bool>] = &[
    row(
        "SEMANTICS 2.1, RFC6120-6.3.4-2, XEP0178-3-2",
        "offered iff the certificate is good for the header's from",
        |opened| opened.is_good() && opened.peer.from == From::Own && opened.peer.external,
        true,
    ),
    row("SEMANTICS 2.1, RFC6120-6.3.4-1", "else not", always, false),
];

/// An error of EXTERNAL, if it is one.
const AUTHZID: &[Row<Opening, Option<&str>>] = &[
    row(
        "D-06, RFC6120-6.3.8-4",
        "a foreign identity may not be assumed",
        |peer| peer.authzid == Authzid::Other,
        Some("invalid-authzid"),
    ),
    row(
        "RFC6120-6.5.5-1, RFC6120-13.9.1-1",
        "what is no base64 is refused",
        |peer| peer.authzid == Authzid::Malformed,
        Some("incorrect-encoding"),
    ),
    row(
        "D-07",
        "without initial response an empty challenge asks for it",
        |peer| peer.authzid == Authzid::Absent,
        None,
    ),
    row("D-06, RFC6120-6.6-1, XEP0178-3-5", "=, and exactly the from, are right", always, None),
];

const KEY: &[Row<Opened, Verdict>] = &[
    row(
        "SEMANTICS 1 modules_disabled dialback, XEP0220-2.5-10",
        "without dialback a key is refused",
        |opened| !opened.peer.dialback,
        Verdict::Bad("not-authorized", "dialback-denied-by-policy"),
    ),
    row(
        "SEMANTICS 2.3, XEP0220-2.5-9",
        "no dialback in clear where encryption is demanded of that domain, whatever was advertised",
        |opened| !opened.secured && demands_of(opened.peer.policy).1,
        Verdict::Bad("policy-violation", "encryption-required"),
    ),
    row(
        "SEMANTICS 2.3, XEP0344-2.4-1, XEP0344-2.4-2",
        "the certificate proves the key's own domain, whatever the header said",
        Opened::is_good,
        Verdict::Good,
    ),
    row(
        "SEMANTICS 2.3, XEP0220-2.5-10",
        "of a strict domain the certificate must prove it: no call-back is made",
        Opened::is_strict,
        Verdict::BadCertificate("not-authorized"),
    ),
    row(
        "XEP0220-2.5-6, SEMANTICS 4",
        "nobody listens where the authoritative server should be",
        always,
        Verdict::Bad("remote-connection-failed", "authoritative-unreachable"),
    ),
];

/// What a peer that connects to us must hear.
#[must_use]
pub fn expect_opening(peer: &Opening) -> Script {
    let mut script = Script::default();
    let mut opened = Opened { peer: *peer, secured: peer.entry == Entry::Direct };
    loop {
        if let Some((condition, code)) = verdict(HEADER, &opened, &mut script) {
            return script.refused(&format!("stream {condition}"), code);
        }
        if !peer.version {
            break;
        }
        let starttls = find(STARTTLS, &opened, &mut script.clauses);
        let external = find(EXTERNAL, &opened, &mut script.clauses);
        script.step(&format!("features starttls {starttls}, external {external}"));
        if external {
            let Some(error) = find(AUTHZID, peer, &mut script.clauses) else {
                script.step("sasl success");
                script.step("delivered by external");
                return script;
            };
            script = script.refused(&format!("sasl {error}"), "external-refused");
        }
        if opened.secured || peer.entry == Entry::Clear {
            break;
        }
        opened.secured = true;
    }
    match verdict(KEY, &opened, &mut script) {
        Some((condition, code)) => script.refused(&format!("key {condition}"), code),
        None => {
            script.step("key valid");
            script.step("delivered by certificate");
            script
        }
    }
}

fn verdict(
    table: &'static [Row<Opened, Verdict>],
    opened: &Opened,
    script: &mut Script,
) -> Option<(&'static str, &'static str)> {
    match find(table, opened, &mut script.clauses) {
        Verdict::Good => None,
        Verdict::Bad(condition, code) => Some((condition, code)),
        Verdict::BadCertificate(condition) => Some((condition, flaw(opened.peer.certificate).expect("a flaw"))),
    }
}

/// A stream of an [`Answering`].
#[derive(Clone, Copy, Debug)]
struct Answered {
    peer: Answering,
    secured: bool,
    refused: bool,
}

/// How we go on.
#[derive(Clone, Copy, Debug)]
enum Next {
    StartTls,
    External,
    Key,
    /// Bounced with this code; the peer hears this stream error.
    GiveUp(&'static str, Option<&'static str>),
    /// Bounced with what is wrong with the certificate.
    RefuseCertificate,
}

const NEXT: &[Row<Answered, Next>] = &[
    row(
        "RFC6120-5.2-3, RFC6120-5.3.4-1",
        "STARTTLS first",
        |answered| !answered.secured && answered.peer.version && answered.peer.entry == Entry::StartTls,
        Next::StartTls,
    ),
    row(
        "SEMANTICS 4 starttls-not-offered, D-03",
        "in clear we leave where we demand encryption; without version there is none",
        |answered| !answered.secured && demands_of(answered.peer.policy).1,
        Next::GiveUp("starttls-not-offered", Some("stream policy-violation")),
    ),
    row(
        "SEMANTICS 2.6, RFC6120-13.9.5-2",
        "a strict remote's certificate must be valid before anything is sent to it",
        |answered| answered.secured && demands_of(answered.peer.policy).0 && flaw(answered.peer.certificate).is_some(),
        Next::RefuseCertificate,
    ),
    row(
        "SEMANTICS 2.6, RFC6120-6.3.3-1, RFC6120-6.3.4-5",
        "EXTERNAL if offered, whatever the order",
        |answered| {
            let offered = answered.peer.version && answered.peer.external_answer != ExternalAnswer::NotOffered;
            answered.secured && offered && answered.peer.external && !answered.refused
        },
        Next::External,
    ),
    row(
        "SEMANTICS 2.6, SEMANTICS 1 s2s_dialback_to_verified, XEP0178-3-7; XEP0220-2.4.1-1: declared is enough",
        "dialback to a lax remote, to a strict one only if allowed",
        |answered| {
            answered.peer.dialback && (!demands_of(answered.peer.policy).0 || answered.peer.dialback_to_verified)
        },
        Next::Key,
    ),
    row(
        "SEMANTICS 4 external-refused, RFC6120-6.4.5-4",
        "nothing is left after a refusal (silent: no error)",
        |answered| answered.refused,
        Next::GiveUp("external-refused", None),
    ),
    row(
        "SEMANTICS 4 external-not-offered, RFC6120-6.4.5-4",
        "nothing is left (silent: the error)",
        always,
        Next::GiveUp("external-not-offered", Some("stream not-authorized")),
    ),
];

/// What a peer that we connect to must hear.
#[must_use]
pub fn expect_answering(peer: &Answering) -> Script {
    let mut script = Script::default();
    let mut answered = Answered { peer: *peer, secured: peer.entry == Entry::Direct, refused: false };
    loop {
        match find(NEXT, &answered, &mut script.clauses) {
            Next::StartTls => {
                script.step("starttls");
                answered.secured = true;
            }
            Next::External => {
                script.step("auth");
                if peer.external_answer == ExternalAnswer::Success {
                    script.step("delivered by external");
                    return script;
                }
                script.codes.push("external-refused".to_owned());
                answered.refused = true;
            }
            Next::Key => {
                script.step("key");
                let code = match peer.key_answer {
                    KeyAnswer::Valid => {
                        script.step("delivered by dialback");
                        return script;
                    }
                    KeyAnswer::Invalid => "dialback-invalid",
                    KeyAnswer::Error => "dialback-error",
                };
                return script.refused(&format!("bounced {code}"), code);
            }
            Next::GiveUp(code, error) => {
                script.steps.extend(error.map(str::to_owned));
                if answered.refused {
                    script.step(&format!("bounced {code}"));
                    return script;
                }
                return script.refused(&format!("bounced {code}"), code);
            }
            Next::RefuseCertificate => {
                let code = flaw(peer.certificate).expect("a flaw");
                script.step("stream not-authorized");
                return script.refused(&format!("bounced {code}"), code);
            }
        }
    }
}

/// The clauses of all rows.
pub fn clauses() -> impl Iterator<Item = &'static Clause> {
    let verdicts = [HEADER, KEY].into_iter().flatten().map(|row| &row.clause);
    let starttls = STARTTLS.iter().map(|row| &row.clause);
    let external = EXTERNAL.iter().map(|row| &row.clause);
    let authzid = AUTHZID.iter().map(|row| &row.clause);
    verdicts.chain(starttls).chain(external).chain(authzid).chain(NEXT.iter().map(|row| &row.clause))
}
