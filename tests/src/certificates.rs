//! Certificates of every kind that a peer may show, and authorities that issue them.
//!
//! All keys are Ed25519 and derived from names, so that the same request gives the same bytes in every run: the
//! simulation relies on that. Nothing here is secret.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, NameConstraints,
    PKCS_ED25519, PublicKeyData, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use s2s_core::addr::Domain;
use s2s_core::tls::HostIdentity;
use s2s_core::tls::identity::NameForm;
use s2s_core::tls::verify::{Rejection, Trust, fingerprint};

pub use crate::signatures::algorithms;

/// The moment at which the kinds are what they say: the first second of 2026.
pub const NOW: Duration = Duration::from_secs(1_767_225_600);

/// When certificates that are valid at [`NOW`] expire, unless they were asked for otherwise: 2030-01-01.
pub const END: Duration = Duration::from_secs(1_893_456_000);

/// A certificate with its issuers and its key.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Certificates in DER, the peer's own first.
    pub chain: Vec<Vec<u8>>,
    /// The private key in PKCS #8.
    pub key: Vec<u8>,
}

impl Identity {
    /// The same for a provider of TLS sessions.
    #[must_use]
    pub fn host(&self, host: &Domain) -> HostIdentity {
        let chain = self.chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
        HostIdentity::new(host.clone(), chain, self.private_key())
    }

    /// The key for rustls.
    #[must_use]
    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.clone()).into()
    }

    /// SHA-256 of the public key (`SubjectPublicKeyInfo`), as `s2s_pins` and TLSA records of selector 1 have it.
    #[must_use]
    pub fn key_fingerprint(&self) -> [u8; 32] {
        let der = PrivatePkcs8KeyDer::from(self.key.clone());
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ED25519).expect("an Ed25519 key");
        fingerprint(&key.subject_public_key_info())
    }

    /// The certificate of this identity with the key of another one: what a thief of certificates has.
    #[must_use]
    pub fn with_key_of(&self, other: &Self) -> Self {
        Self { chain: self.chain.clone(), key: other.key.clone() }
    }
}

/// An entry of a subject alternative name. The texts are written as they are, right or wrong.
#[derive(Clone, Debug)]
pub enum San {
    /// `dNSName`
    Dns(String),
    /// `otherName` of type `id-on-dnsSRV`, with the service.
    Srv(String),
    /// `otherName` of type `id-on-xmppAddr`.
    XmppAddr(String),
    /// `uniformResourceIdentifier`
    Uri(String),
    /// Any bytes.
    Raw(Vec<u8>),
}

/// What a certificate is asked to hold.
#[derive(Clone, Debug)]
pub struct Request {
    /// Subject alternative names.
    pub names: Vec<San>,
    /// The common name of the subject.
    pub common_name: String,
    /// Years whose first day begins and ends the validity.
    pub years: (i32, i32),
    /// Extended key usages.
    pub purposes: Vec<ExtendedKeyUsagePurpose>,
    /// Whether basic constraints say that it is an authority.
    pub authority: bool,
    /// Further extensions.
    pub extensions: Vec<CustomExtension>,
    /// What the key is derived from.
    pub key: String,
}

impl Request {
    /// For TLS servers and clients, valid at [`NOW`], with these names.
    #[must_use]
    pub fn new(names: Vec<San>) -> Self {
        Self {
            key: format!("{names:?}"),
            names,
            common_name: "a server".to_owned(),
            years: (2025, 2030),
            purposes: vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
            authority: false,
            extensions: Vec::new(),
        }
    }

    /// The same for one DNS-ID.
    #[must_use]
    pub fn dns(name: &str) -> Self {
        Self::new(vec![San::Dns(name.to_owned())])
    }

    /// With other extended key usages.
    #[must_use]
    pub fn with_purposes(mut self, purposes: Vec<ExtendedKeyUsagePurpose>) -> Self {
        self.purposes = purposes;
        self
    }

    /// With other years.
    #[must_use]
    pub const fn with_years(mut self, from: i32, to: i32) -> Self {
        self.years = (from, to);
        self
    }

    /// What rcgen makes of it.
    #[must_use]
    pub fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.not_before = date_time_ymd(self.years.0, 1, 1);
        params.not_after = date_time_ymd(self.years.1, 1, 1);
        params.distinguished_name = common_name(&self.common_name);
        params.serial_number = Some(serial(&self.key));
        params.extended_key_usages = self.purposes.clone();
        params.use_authority_key_identifier_extension = true;
        if self.authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        if !self.names.is_empty() {
            let entries: Vec<u8> = self.names.iter().flat_map(entry).collect();
            params.custom_extensions.push(CustomExtension::from_oid_content(&[2, 5, 29, 17], tlv(0x30, &entries)));
        }
        params.custom_extensions.extend(self.extensions.iter().cloned());
        params
    }

    /// The certificate signed by itself.
    #[must_use]
    pub fn self_signed(&self) -> Identity {
        let (key, pkcs8) = key(&self.key);
        let certificate = self.params().self_signed(&key).expect("a legal request");
        Identity { chain: vec![certificate.der().to_vec()], key: pkcs8 }
    }
}

/// What an authority may do.
#[derive(Clone, Debug)]
pub struct Powers {
    /// Whether basic constraints call it an authority at all.
    pub authority: bool,
    /// Authorities that may stand below it on one path.
    pub path_length: Option<u8>,
    /// Key usages; without any the extension is missing.
    pub usages: Vec<KeyUsagePurpose>,
    /// DNS subtrees that it may issue for; all if empty.
    pub permitted: Vec<String>,
    /// DNS subtrees that it may not issue for.
    pub excluded: Vec<String>,
}

impl Default for Powers {
    fn default() -> Self {
        Self {
            authority: true,
            path_length: None,
            usages: vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign],
            permitted: Vec::new(),
            excluded: Vec::new(),
        }
    }
}

impl Powers {
    fn params(&self, label: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2040, 1, 1);
        params.distinguished_name = common_name(label);
        params.serial_number = Some(serial(label));
        params.key_usages.clone_from(&self.usages);
        params.is_ca = match (self.authority, self.path_length) {
            (false, _) => IsCa::ExplicitNoCa,
            (true, None) => IsCa::Ca(BasicConstraints::Unconstrained),
            (true, Some(length)) => IsCa::Ca(BasicConstraints::Constrained(length)),
        };
        let subtrees = |names: &[String]| names.iter().cloned().map(GeneralSubtree::DnsName).collect();
        if !self.permitted.is_empty() || !self.excluded.is_empty() {
            params.name_constraints = Some(NameConstraints {
                permitted_subtrees: subtrees(&self.permitted),
                excluded_subtrees: subtrees(&self.excluded),
            });
        }
        params
    }
}

/// An authority that issues certificates.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate and those between it and the root, the root excluded; of a root its own.
    path: Vec<Vec<u8>>,
    is_root: bool,
}

impl Authority {
    /// A root with the name `label`.
    #[must_use]
    pub fn root(label: &str) -> Self {
        Self::root_with(label, &Powers::default())
    }

    /// A root with other powers.
    #[must_use]
    pub fn root_with(label: &str, powers: &Powers) -> Self {
        let (key, _) = key(label);
        let params = powers.params(label);
        let der = params.self_signed(&key).expect("a legal authority").der().to_vec();
        Self { issuer: Issuer::new(params, key), path: vec![der], is_root: true }
    }

    /// An authority below this one.
    #[must_use]
    pub fn subordinate(&self, label: &str, powers: &Powers) -> Self {
        let (key, _) = key(label);
        let params = powers.params(label);
        let der = params.signed_by(&key, &self.issuer).expect("a legal authority").der().to_vec();
        let path = std::iter::once(der).chain(self.between()).collect();
        Self { issuer: Issuer::new(params, key), path, is_root: false }
    }

    /// Its own certificate in DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        self.path.first().expect("an authority has a certificate")
    }

    /// Trust in this authority alone.
    #[must_use]
    pub fn trust(&self) -> Trust {
        let mut trust = Trust::new(algorithms());
        trust.add_anchor(self.der()).expect("a certificate");
        trust
    }

    /// Issues what was asked for.
    #[must_use]
    pub fn issue(&self, request: &Request) -> Identity {
        let (key, pkcs8) = key(&request.key);
        let certificate = request.params().signed_by(&key, &self.issuer).expect("a legal request");
        Identity { chain: std::iter::once(certificate.der().to_vec()).chain(self.between()).collect(), key: pkcs8 }
    }

    /// Issues a certificate for a key whose private half nobody has.
    #[must_use]
    pub fn issue_for_key(&self, request: &Request, key: &impl PublicKeyData) -> Vec<Vec<u8>> {
        let certificate = request.params().signed_by(key, &self.issuer).expect("a legal request");
        std::iter::once(certificate.der().to_vec()).chain(self.between()).collect()
    }

    /// Issues a certificate of `kind` for `domain`.
    #[must_use]
    pub fn issue_kind(&self, kind: Kind, domain: &Domain) -> Identity {
        let mut request = kind.request(domain);
        request.key = format!("{kind:?} {domain}");
        match kind {
            Kind::SelfSigned | Kind::SelfSignedAuthority => request.self_signed(),
            Kind::UnknownAuthority => Self::root("an authority that nobody knows").issue(&request),
            Kind::Intermediate => self.subordinate("an intermediate authority", &Powers::default()).issue(&request),
            _ => self.issue(&request),
        }
    }

    /// A revocation list that names the certificates of these requests, valid through `years`.
    #[must_use]
    pub fn revoke(&self, requests: &[&Request], years: (i32, i32)) -> Vec<u8> {
        let revoked_certs = requests.iter().map(|request| RevokedCertParams {
            serial_number: serial(&request.key),
            revocation_time: date_time_ymd(years.0, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(years.0, 1, 1),
            next_update: date_time_ymd(years.1, 1, 1),
            crl_number: SerialNumber::from_slice(&[1]),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).expect("a legal list").der().to_vec()
    }

    fn between(&self) -> Vec<Vec<u8>> {
        if self.is_root { Vec::new() } else { self.path.clone() }
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident => $verdict:expr,)*) => {
        /// The kinds of certificates that a peer may show for a domain of three labels or more.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind { $($(#[$doc])* $variant,)* }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// How it is judged at [`NOW`] by who trusts the authority: the form of the name that proves the
            /// domain, or what is wrong.
            pub const fn verdict(self) -> Result<NameForm, Rejection> {
                match self { $(Self::$variant => $verdict,)* }
            }
        }
    };
}

kinds! {
    /// A DNS-ID, for TLS servers and clients.
    Valid => Ok(NameForm::DnsId),
    /// No longer valid.
    Expired => Err(Rejection::Expired),
    /// Neither valid any longer nor for this domain.
    ExpiredWrongName => Err(Rejection::Expired),
    /// Not valid yet.
    NotYetValid => Err(Rejection::NotYetValid),
    /// Issued by itself.
    SelfSigned => Err(Rejection::SelfSigned),
    /// Issued by itself and called an authority, as by `openssl req -x509`.
    SelfSignedAuthority => Err(Rejection::SelfSigned),
    /// Issued by an authority that is not trusted.
    UnknownAuthority => Err(Rejection::UnknownIssuer),
    /// For another domain.
    WrongName => Err(Rejection::NameMismatch),
    /// `*` for the left-most label of the domain.
    Wildcard => Ok(NameForm::DnsId),
    /// `*` one label too high, and one too low.
    WildcardTooDeep => Err(Rejection::NameMismatch),
    /// An SRV-ID and nothing else.
    SrvId => Ok(NameForm::SrvId),
    /// An SRV-ID for clients, and one of another domain for servers.
    SrvIdElsewhere => Err(Rejection::NameMismatch),
    /// An XmppAddr and nothing else.
    XmppAddr => Ok(NameForm::XmppAddr),
    /// The domain as common name, without alternative names.
    CommonName => Err(Rejection::NameMismatch),
    /// For TLS servers only, as public authorities issue them.
    ServerAuth => Ok(NameForm::DnsId),
    /// For TLS clients only.
    ClientAuth => Err(Rejection::Purpose),
    /// For any purpose, said so: not enough.
    AnyPurpose => Err(Rejection::Purpose),
    /// Without a statement of purpose.
    NoPurpose => Ok(NameForm::DnsId),
    /// Issued by a trusted authority, but itself an authority.
    AuthorityAsPeer => Err(Rejection::Purpose),
    /// Issued by an authority below the trusted one.
    Intermediate => Ok(NameForm::DnsId),
    /// With a critical extension that nobody knows.
    UnknownCritical => Err(Rejection::Unsupported),
}

impl Kind {
    /// What is asked for, for `domain`.
    #[must_use]
    pub fn request(self, domain: &Domain) -> Request {
        let request = Request::dns(domain.as_str());
        let parent = domain.as_str().split_once('.').map_or("", |(_, parent)| parent);
        match self {
            Self::Expired => request.with_years(2020, 2025),
            Self::ExpiredWrongName => Request::dns("elsewhere.example").with_years(2020, 2025),
            Self::NotYetValid => request.with_years(2027, 2030),
            Self::SelfSignedAuthority | Self::AuthorityAsPeer => Request { authority: true, ..request },
            Self::WrongName => Request::dns("elsewhere.example"),
            Self::Wildcard => Request::dns(&format!("*.{parent}")),
            Self::WildcardTooDeep => {
                let above = parent.split_once('.').map_or("", |(_, above)| above);
                Request::new(vec![San::Dns(format!("*.{above}")), San::Dns(format!("*.{domain}"))])
            }
            Self::SrvId => Request::new(vec![San::Srv(format!("_xmpp-server.{domain}"))]),
            Self::SrvIdElsewhere => Request::new(vec![
                San::Srv(format!("_xmpp-client.{domain}")),
                San::Srv("_xmpp-server.elsewhere.example".to_owned()),
            ]),
            Self::XmppAddr => Request::new(vec![San::XmppAddr(domain.to_string())]),
            Self::CommonName => Request { common_name: domain.to_string(), ..Request::new(Vec::new()) },
            Self::ServerAuth => request.with_purposes(vec![ExtendedKeyUsagePurpose::ServerAuth]),
            Self::ClientAuth => request.with_purposes(vec![ExtendedKeyUsagePurpose::ClientAuth]),
            Self::AnyPurpose => request.with_purposes(vec![ExtendedKeyUsagePurpose::Any]),
            Self::NoPurpose => request.with_purposes(Vec::new()),
            Self::UnknownCritical => {
                let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 32473, 1], vec![5, 0]);
                extension.set_criticality(true);
                Request { extensions: vec![extension], ..request }
            }
            Self::Valid | Self::SelfSigned | Self::UnknownAuthority | Self::Intermediate => request,
        }
    }
}

fn common_name(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text);
    name
}

/// A key derived from `label`, and its PKCS #8.
fn key(label: &str) -> (KeyPair, Vec<u8>) {
    let seed = fingerprint(label.as_bytes());
    let mut pkcs8 = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    pkcs8.extend(seed);
    let der = PrivatePkcs8KeyDer::from(pkcs8.clone());
    (KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ED25519).expect("an Ed25519 key"), pkcs8)
}

fn serial(label: &str) -> SerialNumber {
    let mut bytes = fingerprint(label.as_bytes())[..16].to_vec();
    bytes[0] = bytes[0] & 0x7f | 1;
    SerialNumber::from_slice(&bytes)
}

/// `GeneralName`
fn entry(san: &San) -> Vec<u8> {
    let other = |form: u8, tag: u8, text: &str| {
        let form = [6, 8, 0x2b, 6, 1, 5, 5, 7, 8, form];
        let value = tlv(0xa0, &tlv(tag, text.as_bytes()));
        tlv(0xa0, &[&form[..], &value].concat())
    };
    match san {
        San::Dns(text) => tlv(0x82, text.as_bytes()),
        San::Srv(text) => other(7, 0x16, text),
        San::XmppAddr(text) => other(5, 0x0c, text),
        San::Uri(text) => tlv(0x86, text.as_bytes()),
        San::Raw(bytes) => bytes.clone(),
    }
}

/// A value in DER.
#[must_use]
pub fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut out = vec![tag];
    match length {
        0..=0x7f => out.push(length as u8),
        0x80..=0xff => out.extend([0x81, length as u8]),
        _ => out.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    out.extend(content);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_request_gives_the_same_bytes() {
        let domain = Domain::parse("a.m.example").expect("legal");
        for kind in Kind::ALL {
            let issue = || Authority::root("an authority").issue_kind(*kind, &domain).chain;
            assert_eq!(issue(), issue(), "{kind:?}");
        }
    }
}
