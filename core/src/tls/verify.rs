//! The judgement of a certificate chain for one domain.
//!
//! [`judge`] is called after every handshake, resumed or not, with the chain as the peer showed it, the trust
//! anchors and revocation lists of that moment, and the wall clock. It looks, in this order, at
//!
//! 1. the chain: there is one, it can be read, periods of validity, use, signatures up to a trust anchor,
//!    authority of the issuers and their name constraints, revocation;
//! 2. the strength of the peer's key;
//! 3. the names: does one of them cover the domain.
//!
//! A domain with pins is judged by them alone: a key that was named for it counts as a valid chain and name, any other
//! key is refused, whoever vouches for it.
//!
//! The first thing that is wrong is reported: an expired certificate is reported as expired even if its name is
//! wrong too. Both directions are judged alike, as servers (decision D-05): a certificate for TLS servers, or
//! one without a statement of purpose, also proves the server that opens a connection; one for clients alone
//! proves nobody, nor does one "for any purpose".
//!
//! - [RFC 6120 section 13.7.2](https://www.rfc-editor.org/rfc/rfc6120#section-13.7.2)
//! - [RFC 5280 section 6.1](https://www.rfc-editor.org/rfc/rfc5280#section-6.1), [RFC 9525 section 6](https://www.rfc-editor.org/rfc/rfc9525#section-6)

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use der::asn1::{ObjectIdentifier, UintRef};
use der::{Decode, Encode, Reader, SliceReader};
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use sha2::{Digest, Sha256};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, OwnedCertRevocationList, RevocationOptions,
    RevocationOptionsBuilder, UnknownStatusPolicy, VerifiedPath,
};
use x509_cert::Certificate;
use x509_cert::certificate::Rfc5280;
use x509_cert::crl::CertificateList;
use x509_cert::spki::SubjectPublicKeyInfoOwned;

use super::constraints;
use super::identity::{Name, NameForm, Names};
use crate::addr::Domain;
use crate::limits;
use crate::reason::Reason;

/// What chains are judged against: one `Trust` for all that a node meets. What may be trusted for one domain in
/// particular are keys, by [`Trust::pin`]; there are no anchors for one domain.
pub struct Trust {
    algorithms: &'static [&'static dyn SignatureVerificationAlgorithm],
    anchors: Vec<TrustAnchor<'static>>,
    /// Since when each is, and the newest first.
    revocation_lists: Vec<(Duration, CertRevocationList<'static>)>,
    unknown_status: UnknownStatus,
    pins: BTreeMap<Domain, BTreeSet<[u8; 32]>>,
}

/// What it means that no usable revocation list speaks about a certificate,
/// [RFC 5280 section 6.3.3](https://www.rfc-editor.org/rfc/rfc5280#section-6.3.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownStatus {
    /// The certificate counts as not revoked. A list past its time is still believed in what it revokes.
    #[default]
    Accept,
    /// The certificate is refused, as is one whose list is past its time. Lists for every authority are needed.
    Refuse,
}

impl Trust {
    /// Trust in nobody yet. `algorithms` are those of the cryptography provider for signatures in certificates
    /// (in rustls: `signature_verification_algorithms.all`).
    #[must_use]
    pub const fn new(algorithms: &'static [&'static dyn SignatureVerificationAlgorithm]) -> Self {
        Self {
            algorithms,
            anchors: Vec::new(),
            revocation_lists: Vec::new(),
            unknown_status: UnknownStatus::Accept,
            pins: BTreeMap::new(),
        }
    }

    /// Trusts the authority whose certificate is `der`, within the name constraints that stand in it.
    pub fn add_anchor(&mut self, der: &[u8]) -> Result<(), TrustError> {
        let certificate = CertificateDer::from(der);
        let anchor = webpki::anchor_from_trusted_cert(&certificate).map_err(|_| TrustError::MalformedAnchor)?;
        self.anchors.push(anchor.to_owned());
        Ok(())
    }

    /// Number of authorities that are trusted.
    #[must_use]
    pub fn anchor_count(&self) -> usize {
        self.anchors.len()
    }

    /// Believes the revocation list `der`, as far as it is signed by the issuer of the certificate in question. Of several
    /// lists of one issuer the newest counts.
    pub fn add_revocation_list(&mut self, der: &[u8]) -> Result<(), TrustError> {
        let list = OwnedCertRevocationList::from_der(der).map_err(|_| TrustError::MalformedRevocationList)?;
        let read = CertificateList::<Rfc5280>::from_der(der).map_err(|_| TrustError::MalformedRevocationList)?;
        let since = read.tbs_cert_list.this_update.to_unix_duration();
        // The newest first: webpki asks the first one that bears the name of an issuer.
        let at = self.revocation_lists.partition_point(|(other, _)| *other >= since);
        self.revocation_lists.insert(at, (since, list.into()));
        Ok(())
    }

    /// What to do where no usable list speaks about a certificate. Without any list nothing is checked.
    pub fn set_unknown_status(&mut self, policy: UnknownStatus) {
        self.unknown_status = policy;
    }

    /// Accepts for `domain` only keys that were named so, and asks nothing else of their certificates: `key` is the
    /// SHA-256 of a `SubjectPublicKeyInfo` in DER.
    //= RFC6120-13.6-3
    pub fn pin(&mut self, domain: Domain, key: [u8; 32]) {
        self.pins.entry(domain).or_default().insert(key);
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("anchors", &self.anchors.len())
            .field("revocation_lists", &self.revocation_lists.len())
            .field("unknown_status", &self.unknown_status)
            .field("pinned", &self.pins.keys())
            .finish_non_exhaustive()
    }
}

/// A file that trust was to be built from is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrustError {
    /// The certificate of an authority cannot be read.
    MalformedAnchor,
    /// A revocation list cannot be read, or is of a kind that is not understood.
    MalformedRevocationList,
}

impl fmt::Display for TrustError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MalformedAnchor => "the certificate of the authority cannot be read",
            Self::MalformedRevocationList => "the revocation list cannot be read",
        })
    }
}

impl std::error::Error for TrustError {}

/// A chain was judged valid for this domain. Only [`judge`] can make it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    domain: Domain,
    form: Option<NameForm>,
    not_after: Duration,
}

impl Verified {
    /// The domain that the certificate proves.
    //= RFC9525-6.6-1
    #[must_use]
    pub const fn domain(&self) -> &Domain {
        &self.domain
    }

    /// The form of the name that proves it; `None` if a pinned key does.
    #[must_use]
    pub const fn form(&self) -> Option<NameForm> {
        self.form
    }

    /// When the first certificate on the path to the trust anchor expires, since 1970-01-01 00:00 UTC. Of a pinned key
    /// the end of its certificate, which may have passed.
    #[must_use]
    pub const fn not_after(&self) -> Duration {
        self.not_after
    }
}

macro_rules! rejections {
    ($($(#[$doc:meta])* $variant:ident = $reason:ident, $text:literal;)*) => {
        /// What is wrong with a certificate.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Rejection { $($(#[$doc])* $variant,)* }

        impl Rejection {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The reason code.
            #[must_use]
            pub const fn reason(self) -> Reason {
                match self { $(Self::$variant => Reason::$reason,)* }
            }
        }

        impl fmt::Display for Rejection {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $text,)* })
            }
        }
    };
}

rejections! {
    /// There is none.
    Missing = CertMissing, "no certificate was shown";
    /// It, or one of its issuers, has expired.
    Expired = CertExpired, "the certificate, or one of its issuers, has expired";
    /// It, or one of its issuers, is not valid yet.
    NotYetValid = CertNotYetValid, "the certificate, or one of its issuers, is not valid yet";
    /// It was issued by itself.
    SelfSigned = CertSelfSigned, "the certificate is self-signed";
    /// No path leads to a trust anchor.
    UnknownIssuer = CertUnknownIssuer, "no trusted authority issued the certificate";
    /// A signature on the path to a trust anchor is wrong.
    BadSignature = CertUnknownIssuer, "a signature in the chain is wrong";
    /// The search for a path was given up.
    TooComplex = CertUnknownIssuer, "the chain is too complex";
    /// It is not for TLS servers, or is the certificate of an authority.
    Purpose = CertPurpose, "the certificate is not for servers";
    /// An issuer on the path may not issue certificates, or not so many in a row.
    NotAnAuthority = CertPurpose, "an issuer in the chain is no authority";
    /// An issuer on the path states no key usage.
    NoKeyUsage = CertPurpose, "an issuer in the chain states no key usage";
    /// An issuer on the path may not issue certificates for this name.
    NameConstraints = CertPurpose, "an issuer in the chain may not issue for this name";
    /// A signature in the chain uses an algorithm that is not trusted, such as SHA-1.
    WeakSignature = CertPurpose, "a signature in the chain is of a kind that is not accepted";
    /// The key is too short.
    WeakKey = CertPurpose, "the key is too short";
    /// It has a critical extension that is not understood, or is not of X.509 version 3.
    Unsupported = CertPurpose, "the certificate makes demands that are not understood";
    /// It cannot be read.
    Malformed = CertPurpose, "the certificate is malformed";
    /// It, or one of its issuers, was revoked.
    Revoked = CertRevoked, "the certificate, or one of its issuers, was revoked";
    /// Whether it was revoked cannot be told, and policy wants to know.
    RevocationUnknown = CertRevoked, "whether the certificate was revoked cannot be told";
    /// It is for other names.
    NameMismatch = CertNameMismatch, "the certificate is for other names";
    /// Its key is not one of those configured for the domain.
    PinMismatch = CertPinMismatch, "the key is not the one configured for this domain";
}

impl std::error::Error for Rejection {}

/// Judges `chain` (DER, the peer's own certificate first) for `domain` at wall-clock time `unix`.
//= RFC6120-13.7.2-1
//= RFC6120-13.7.2-2
//= RFC6120-13.7.2.1-1
//= RFC6120-13.7.2.1-2
//= RFC9525-6.1.1-1
//= XEP0368-3-5
//= RFC7712-5.1-3
pub fn judge(chain: &[Vec<u8>], domain: &Domain, trust: &Trust, unix: Duration) -> Result<Verified, Rejection> {
    let (own, issuers) = chain.split_first().ok_or(Rejection::Missing)?;
    let own = CertificateDer::from(own.as_slice());
    let peer = EndEntityCert::try_from(&own).map_err(|error| rejection(&error))?;
    let certificate = Certificate::from_der(&own).map_err(|_| Rejection::Malformed)?;
    //= RFC6120-13.6-4
    if let Some(pins) = trust.pins.get(domain) {
        return judge_pinned(&certificate, domain, pins);
    }
    let names = Names::of_certificate(&certificate);
    let form = names.as_ref().ok().and_then(|names| names.covering(domain)).map(Name::form);

    let issuers = candidates(issuers);
    let time = UnixTime::since_unix_epoch(unix);
    // The constraints on this domain matter on the path only if the certificate names it at all: else the name
    // is what is wrong.
    let check = |path: &VerifiedPath<'_>| check_path(path, form.map(|_| domain));
    let self_issued = peer.issuer() == peer.subject();
    let path = find_path(&peer, &issuers, trust, time, &check).map_err(|error| match rejection(&error) {
        Rejection::UnknownIssuer if self_issued => Rejection::SelfSigned,
        Rejection::Purpose if self_issued && error == webpki::Error::CaUsedAsEndEntity => Rejection::SelfSigned,
        rejection => rejection,
    })?;

    if !is_strong(certificate.tbs_certificate().subject_public_key_info()) {
        return Err(Rejection::WeakKey);
    }
    names.map_err(|_| Rejection::Malformed)?;
    let form = form.ok_or(Rejection::NameMismatch)?;
    Ok(Verified { domain: domain.clone(), form: Some(form), not_after: earliest_end(&certificate, &path) })
}

/// Judges a certificate for a domain whose keys are known. The handshake has proved that the peer has the key.
fn judge_pinned(certificate: &Certificate, domain: &Domain, pins: &BTreeSet<[u8; 32]>) -> Result<Verified, Rejection> {
    let certificate = certificate.tbs_certificate();
    let key = certificate.subject_public_key_info();
    if !is_strong(key) {
        return Err(Rejection::WeakKey);
    }
    let key = key.to_der().map_err(|_| Rejection::Malformed)?;
    if !pins.contains(&fingerprint(&key)) {
        return Err(Rejection::PinMismatch);
    }
    let not_after = certificate.validity().not_after.to_unix_duration();
    Ok(Verified { domain: domain.clone(), form: None, not_after })
}

/// SHA-256 of a certificate, a key or anything else in DER, as logs show it and pins name it.
#[must_use]
pub fn fingerprint(der: &[u8]) -> [u8; 32] {
    Sha256::digest(der).into()
}

/// The certificates that may serve as issuers on the path. What cannot be read cannot serve, and of many with
/// one subject only a few are tried: the number of paths grows with their product.
fn candidates(issuers: &[Vec<u8>]) -> Vec<CertificateDer<'_>> {
    let mut seen: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    let mut candidates = Vec::new();
    for der in issuers.iter().take(limits::CHAIN_CERTIFICATES.saturating_sub(1)) {
        let der = CertificateDer::from(der.as_slice());
        let Ok(subject) = EndEntityCert::try_from(&der).map(|issuer| issuer.subject().to_vec()) else {
            continue;
        };
        let count = seen.entry(subject).or_default();
        *count = count.saturating_add(1);
        if *count <= limits::CHAIN_CERTIFICATES_PER_SUBJECT {
            candidates.push(der);
        }
    }
    candidates
}

/// A path to a trust anchor on which everything but the names is right.
//= RFC5280-6.1-1
//= RFC5280-4.1.2.5-1
//= RFC5280-4.2.1.9-1
//= RFC5280-4.2-1
//= RFC5280-4.2.1.12-1
//= RFC9325-4.5-1
fn find_path<'p>(
    peer: &'p EndEntityCert<'p>,
    issuers: &'p [CertificateDer<'p>],
    trust: &'p Trust,
    time: UnixTime,
    check: &dyn Fn(&VerifiedPath<'_>) -> Result<(), webpki::Error>,
) -> Result<VerifiedPath<'p>, webpki::Error> {
    let search = |lists: &[&CertRevocationList<'_>]| {
        peer.verify_for_usage(
            trust.algorithms,
            &trust.anchors,
            issuers,
            time,
            KeyUsage::server_auth(),
            revocation(lists, trust.unknown_status),
            Some(check),
        )
    };
    let lists: Vec<&CertRevocationList<'_>> = trust.revocation_lists.iter().map(|(_, list)| list).collect();
    match search(&lists) {
        // The list that should speak cannot be used: as if it were not there. The others are, each on its own, because
        // webpki asks only the first of those that bear the name of an issuer.
        Err(error) if trust.unknown_status == UnknownStatus::Accept && is_about_list(&error) => {
            let revoked = |list| matches!(search(&[list]), Err(webpki::Error::CertRevoked));
            if lists.iter().any(|list| revoked(*list)) { Err(webpki::Error::CertRevoked) } else { search(&[]) }
        }
        result => result,
    }
}

/// What `lists` are asked about, and what it means if they are silent; nothing if there are none.
//= RFC6120-13.7.2-3
//= RFC5280-5.2-1
//= RFC5280-6.3.3-1
fn revocation<'l>(
    lists: &'l [&'l CertRevocationList<'l>],
    unknown_status: UnknownStatus,
) -> Option<RevocationOptions<'l>> {
    let options = RevocationOptionsBuilder::new(lists).ok()?;
    let options = match unknown_status {
        UnknownStatus::Accept => {
            options.with_status_policy(UnknownStatusPolicy::Allow).with_expiration_policy(ExpirationPolicy::Ignore)
        }
        UnknownStatus::Refuse => {
            options.with_status_policy(UnknownStatusPolicy::Deny).with_expiration_policy(ExpirationPolicy::Enforce)
        }
    };
    Some(options.build())
}

/// What webpki leaves open: whether issuers state that they sign certificates, and name constraints on names that are
/// not DNS-IDs.
///
/// [RFC 5280 section 6.1.4](https://www.rfc-editor.org/rfc/rfc5280#section-6.1.4) looks at a key usage only where there
/// is one; [RFC 6120 section 13.7.1.1](https://www.rfc-editor.org/rfc/rfc6120#section-13.7.1.1) wants it of every
/// issuer, so one without it is refused (decision D-61). A trust anchor, which we chose ourselves, is not asked for it.
//= RFC5280-4.2.1.3-1
//= RFC6120-13.7.1.1-3
fn check_path(path: &VerifiedPath<'_>, domain: Option<&Domain>) -> Result<(), webpki::Error> {
    let permitted = |content: &[u8]| domain.is_none_or(|domain| constraints::content_permits(content, domain));
    if !path.anchor().name_constraints.as_ref().is_none_or(|content| permitted(content)) {
        return Err(webpki::Error::NameConstraintViolation);
    }
    for issuer in path.intermediate_certificates() {
        let issuer = Certificate::from_der(&issuer.der()).map_err(|_| webpki::Error::BadDer)?;
        let usage = issuer.tbs_certificate().get_extension::<x509_cert::ext::pkix::KeyUsage>();
        match usage.map_err(|_| webpki::Error::BadDer)? {
            Some((_, usage)) if usage.key_cert_sign() => {}
            Some(_) => return Err(webpki::Error::EndEntityUsedAsCa),
            // webpki has no word for it, and says this one only of names, which it is not asked about.
            None => return Err(webpki::Error::UnsupportedNameType),
        }
        if domain.is_some_and(|domain| !constraints::permit(&issuer, domain)) {
            return Err(webpki::Error::NameConstraintViolation);
        }
    }
    Ok(())
}

/// When the first certificate below the trust anchor expires.
fn earliest_end(own: &Certificate, path: &VerifiedPath<'_>) -> Duration {
    let end = |certificate: &Certificate| certificate.tbs_certificate().validity().not_after.to_unix_duration();
    path.intermediate_certificates()
        .filter_map(|issuer| Certificate::from_der(&issuer.der()).ok())
        .map(|issuer| end(&issuer))
        .fold(end(own), Duration::min)
}

/// Whether a key has at least the strength of RSA with 2048 bits or of a curve with 256 bits. Keys of kinds not
/// known here are left to the handshake, which must verify a signature with them.
//= RFC9325-4.5-1
fn is_strong(key: &SubjectPublicKeyInfoOwned) -> bool {
    const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
    const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
    const ELLIPTIC_CURVE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
    let bytes = key.subject_public_key.raw_bytes();
    match key.algorithm.oid {
        RSA | RSA_PSS => modulus_bits(bytes).is_some_and(|bits| bits >= 2048),
        // An uncompressed point: a tag and two coordinates.
        ELLIPTIC_CURVE => bytes.len() > 2 * 256 / 8,
        _ => true,
    }
}

/// Length of the modulus of an `RSAPublicKey`.
fn modulus_bits(key: &[u8]) -> Option<usize> {
    let mut reader = SliceReader::new(key).ok()?;
    reader
        .sequence(|fields| {
            let modulus = UintRef::decode(fields)?;
            UintRef::decode(fields)?;
            let zeros = modulus.as_bytes().first().map_or(0, |byte| byte.leading_zeros() as usize);
            Ok::<_, der::Error>(modulus.as_bytes().len().saturating_mul(8).saturating_sub(zeros))
        })
        .ok()
}

/// Whether the error says that a revocation list is unusable, not that something is wrong with a certificate.
fn is_about_list(error: &webpki::Error) -> bool {
    use webpki::Error;
    matches!(
        error,
        Error::CrlExpired { .. }
            | Error::InvalidCrlNumber
            | Error::InvalidCrlSignatureForPublicKey
            | Error::IssuerNotCrlSigner
            | Error::UnknownRevocationStatus
            | Error::UnsupportedCrlIssuingDistributionPoint
            | Error::UnsupportedCrlSignatureAlgorithmContext(_)
            | Error::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_)
            | Error::UnsupportedCrlVersion
            | Error::UnsupportedDeltaCrl
            | Error::UnsupportedIndirectCrl
            | Error::UnsupportedRevocationReason
            | Error::UnsupportedRevocationReasonsPartitioning
    )
}

/// The rejection that an error of webpki means.
fn rejection(error: &webpki::Error) -> Rejection {
    use webpki::Error;
    match error {
        Error::CertExpired { .. } => Rejection::Expired,
        Error::CertNotValidYet { .. } => Rejection::NotYetValid,
        Error::CertRevoked | Error::CertDistrusted => Rejection::Revoked,
        Error::UnknownIssuer => Rejection::UnknownIssuer,
        Error::InvalidSignatureForPublicKey => Rejection::BadSignature,
        Error::UnsupportedSignatureAlgorithmContext(_) | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            Rejection::WeakSignature
        }
        Error::CaUsedAsEndEntity | Error::EmptyEkuExtension | Error::RequiredEkuNotFoundContext(_) => {
            Rejection::Purpose
        }
        Error::EndEntityUsedAsCa | Error::PathLenConstraintViolated => Rejection::NotAnAuthority,
        // As `check_path` means it.
        Error::UnsupportedNameType => Rejection::NoKeyUsage,
        Error::NameConstraintViolation | Error::InvalidNetworkMaskConstraint | Error::MalformedNameConstraint => {
            Rejection::NameConstraints
        }
        Error::UnsupportedCertVersion | Error::UnsupportedCriticalExtension => Rejection::Unsupported,
        Error::MaximumNameConstraintComparisonsExceeded
        | Error::MaximumPathBuildCallsExceeded
        | Error::MaximumPathDepthExceeded
        | Error::MaximumSignatureChecksExceeded => Rejection::TooComplex,
        error if is_about_list(error) => Rejection::RevocationUnknown,
        _ => Rejection::Malformed,
    }
}
