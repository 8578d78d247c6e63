//! What the axes of a side are worth: one row for each value, with the document that says so.

use super::{Certificate, Pin, Policy, Side, Transport};

/// The verdict on a certificate kind: a reason code if it proves nothing.
struct Kind {
    kind: Certificate,
    bad: Option<&'static str>,
    source: &'static str,
}

const fn kind(kind: Certificate, bad: Option<&'static str>, source: &'static str) -> Kind {
    Kind { kind, bad, source }
}

/// SEMANTICS 2, "Certificates": server usage in both directions, DNS-ID with a wildcard as whole left-most label,
/// SRV-ID for servers, XmppAddr; never the common name.
const CERTIFICATES: &[Kind] = &[
    kind(Certificate::None, Some("cert-missing"), "SEMANTICS 4"),
    kind(Certificate::Valid, None, "RFC6120-13.7.1.2.1-1"),
    kind(Certificate::Expired, Some("cert-expired"), "RFC6120-13.7.2-1"),
    kind(Certificate::NotYetValid, Some("cert-not-yet-valid"), "RFC6120-13.7.2-1"),
    kind(Certificate::SelfSigned, Some("cert-self-signed"), "RFC6120-13.7.2-1"),
    kind(Certificate::UnknownAuthority, Some("cert-unknown-issuer"), "RFC6120-13.7.2-1"),
    kind(Certificate::WrongName, Some("cert-name-mismatch"), "RFC6120-13.7.2.1-1, RFC6120-13.7.2.1-2"),
    kind(Certificate::Wildcard, None, "RFC6120-13.7.1.2.1-4, RFC9525-6.3-3"),
    kind(Certificate::WildcardTooDeep, Some("cert-name-mismatch"), "RFC9525-6.3-4"),
    kind(Certificate::SrvId, None, "RFC6120-13.7.1.2.1-2, RFC9525-6.5-1"),
    kind(Certificate::XmppAddr, None, "RFC6120-13.7.1.2.1-3, RFC6120-13.7.2.1-3"),
    kind(Certificate::CommonName, Some("cert-name-mismatch"), "RFC9525-A-1"),
    kind(Certificate::ServerAuth, None, "RFC5280-4.2.1.12-1, D-05"),
    kind(Certificate::ClientAuth, Some("cert-purpose"), "RFC5280-4.2.1.12-1, D-05"),
    kind(Certificate::NoPurpose, None, "RFC5280-4.2.1.12-1, D-05"),
    kind(Certificate::Revoked, Some("cert-revoked"), "RFC6120-13.7.2-3"),
];

/// What a policy makes of the other side.
pub(super) struct Demand {
    policy: Policy,
    pub(super) strict: bool,
    pub(super) encryption: bool,
    source: &'static str,
}

const fn demand(policy: Policy, strict: bool, encryption: bool, source: &'static str) -> Demand {
    Demand { policy, strict, encryption, source }
}

/// SEMANTICS 2, its first sentence and rule 1.
const DEMANDS: &[Demand] = &[
    demand(Policy::Open, false, false, "SEMANTICS 1 defaults"),
    demand(Policy::SecureAuth, true, true, "SEMANTICS 2 strict; seed: secure_auth implies encryption"),
    demand(Policy::ListedInsecure, false, false, "SEMANTICS 2 lax; seed: an insecure domain may stay in clear"),
    demand(Policy::ListedSecure, true, true, "SEMANTICS 2 strict; SEMANTICS 2.1"),
    demand(Policy::RequireEncryption, false, true, "SEMANTICS 1 s2s_require_encryption, RFC6120-5.2-2"),
];

/// What a transport can do.
pub(super) struct Means {
    transport: Transport,
    pub(super) tls: bool,
    pub(super) demands: bool,
    pub(super) direct: bool,
}

const MEANS: &[Means] = &[
    Means { transport: Transport::None, tls: false, demands: false, direct: false },
    Means { transport: Transport::StartTlsOptional, tls: true, demands: false, direct: false },
    Means { transport: Transport::StartTlsRequired, tls: true, demands: true, direct: false },
    Means { transport: Transport::Direct, tls: true, demands: false, direct: true },
];

pub(super) fn means(side: &Side) -> &'static Means {
    MEANS.iter().find(|means| means.transport == side.transport).expect("every transport has a row")
}

pub(super) fn demands(side: &Side) -> &'static Demand {
    DEMANDS.iter().find(|demand| demand.policy == side.policy).expect("every policy has a row")
}

/// What `judge` holds against the certificate of `shown`.
pub(super) fn verdict(shown: &Side, judge: &Side) -> Option<&'static str> {
    let row = CERTIFICATES.iter().find(|row| row.kind == shown.certificate).expect("every certificate has a row");
    match judge.pin {
        _ if shown.certificate == Certificate::None => row.bad,
        Pin::None => row.bad,
        Pin::Match => None,
        Pin::Mismatch => Some("cert-pin-mismatch"),
    }
}

/// Whether the policy demands a valid certificate of the other side, and whether it demands encryption.
pub(super) fn demands_of(policy: Policy) -> (bool, bool) {
    let row = DEMANDS.iter().find(|demand| demand.policy == policy).expect("every policy has a row");
    (row.strict, row.encryption)
}

/// What is wrong with a certificate.
pub(super) fn flaw(certificate: Certificate) -> Option<&'static str> {
    CERTIFICATES.iter().find(|row| row.kind == certificate).expect("every certificate has a row").bad
}

/// Where the meaning of this side's axes stands, for reports.
#[must_use]
pub fn sources(side: &Side) -> [&'static str; 2] {
    let kind = CERTIFICATES.iter().find(|row| row.kind == side.certificate).expect("every certificate has a row");
    [kind.source, demands(side).source]
}
