//! Who may federate, and how each side must prove itself: pure functions from facts to verdicts.
//!
//! A remote domain is *strict* when a valid certificate is demanded of it, else *lax*. Everything here is decided
//! for one pair of domains, from what the peer showed and what the operator wrote, and each verdict names its
//! [`Reason`]. [`explain`] foretells the verdicts and names the option behind them.
//!
//! - [RFC 6120 section 13.14](https://www.rfc-editor.org/rfc/rfc6120#section-13.14), decision D-01

mod explain;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use crate::addr::{Domain, DomainError};
use crate::auth::Method;
use crate::reason::Reason;
use crate::tls::Version;
use crate::tls::verify::{Rejection, Verified};

pub use explain::{Encryption, Explanation, Rule, explain, rule_behind};

/// A list of domains: exact names, and `*.NAME` for all names below one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DomainList {
    exact: BTreeSet<Domain>,
    below: BTreeSet<Domain>,
}

impl DomainList {
    /// Adds `NAME`, or `*.NAME` for any depth below it (not the name itself).
    pub fn insert(&mut self, entry: &str) -> Result<(), DomainListError> {
        match entry.strip_prefix("*.") {
            Some(parent) => self.below.insert(Domain::parse(parent).map_err(DomainListError::NotADomain)?),
            None if entry == "*" => return Err(DomainListError::Everything),
            None => self.exact.insert(Domain::parse(entry).map_err(DomainListError::NotADomain)?),
        };
        Ok(())
    }

    /// Whether an entry stands for `domain`.
    #[must_use]
    pub fn contains(&self, domain: &Domain) -> bool {
        self.exact.contains(domain) || self.below.iter().any(|parent| domain.is_below(parent))
    }

    /// Whether the list has no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.below.is_empty()
    }

    /// An entry that stands in `other` too, as it would be written.
    #[must_use]
    pub fn common_entry(&self, other: &Self) -> Option<String> {
        let exact = self.exact.intersection(&other.exact).next().map(ToString::to_string);
        exact.or_else(|| self.below.intersection(&other.below).next().map(|parent| format!("*.{parent}")))
    }
}

/// Why an entry cannot stand in a [`DomainList`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DomainListError {
    /// `*` alone would be every domain: that is what the switches are for.
    Everything,
    /// It is not a domain.
    NotADomain(DomainError),
}

impl std::fmt::Display for DomainListError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Everything => f.write_str("'*' alone is not an entry: use the switch that this list refines"),
            Self::NotADomain(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for DomainListError {}

/// What the operator decided for one of our hosts. The names are those of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostOptions {
    /// `s2s_secure_auth`: certificates are demanded.
    pub secure_auth: bool,
    /// `s2s_require_encryption`: no stream in clear.
    pub require_encryption: bool,
    /// `s2s_secure_domains`: strict whatever `secure_auth` says.
    pub secure_domains: DomainList,
    /// Domains with `s2s_pins`: strict, since only these keys prove them.
    pub pinned_domains: DomainList,
    /// `s2s_insecure_domains`: lax although `secure_auth` is on.
    pub insecure_domains: DomainList,
    /// `s2s_allow_domains`: who may federate; empty for all.
    pub allow_domains: DomainList,
    /// `s2s_deny_domains`: who may not; wins.
    pub deny_domains: DomainList,
    /// `s2s_dialback_to_verified`: may we prove ourselves by dialback to a strict peer whose certificate is valid.
    pub dialback_to_verified: bool,
    /// `modules_disabled` has `s2s`: no federation at all.
    pub s2s_disabled: bool,
    /// `modules_disabled` has `tls`: neither STARTTLS nor direct TLS.
    pub tls_disabled: bool,
    /// `modules_disabled` has `saslauth`: no EXTERNAL.
    pub external_disabled: bool,
    /// `modules_disabled` has `dialback`: no dialback in either role.
    pub dialback_disabled: bool,
    /// `tls_min_version`: what an encrypted stream must have at least. Where a peer names the host only once TLS is there,
    /// this refuses what was negotiated before, and a reload ends what is older. That nothing older is negotiated at all is
    /// the affair of the [`Provider`](crate::tls::Provider), which must know the same.
    pub tls_min_version: Version,
    /// `anonymous`: the host's users are anonymous.
    pub anonymous: bool,
    /// `allow_anonymous_s2s`: they may send to remote domains all the same.
    pub allow_anonymous: bool,
}

impl Default for HostOptions {
    /// The defaults of the configuration: TLS first, dialback as fallback, open to all.
    fn default() -> Self {
        Self {
            secure_auth: false,
            require_encryption: false,
            secure_domains: DomainList::default(),
            pinned_domains: DomainList::default(),
            insecure_domains: DomainList::default(),
            allow_domains: DomainList::default(),
            deny_domains: DomainList::default(),
            dialback_to_verified: false,
            s2s_disabled: false,
            tls_disabled: false,
            external_disabled: false,
            dialback_disabled: false,
            tls_min_version: Version::Tls12,
            anonymous: false,
            allow_anonymous: false,
        }
    }
}

impl HostOptions {
    /// Whether a certificate of `remote` that was rejected so ends the stream. A key that is not the pinned one
    /// always does: pins are written down because somebody wants no other.
    #[must_use]
    pub fn refuses(&self, remote: &Domain, rejection: Rejection) -> bool {
        rejection == Rejection::PinMismatch || self.is_strict(remote)
    }

    /// Whether a valid certificate is demanded of `remote`.
    #[must_use]
    pub fn is_strict(&self, remote: &Domain) -> bool {
        self.demand_for_certificate(remote).is_some()
    }

    /// Whether a stream with `remote` may carry nothing in clear.
    #[must_use]
    pub fn demands_encryption(&self, remote: &Domain) -> bool {
        self.demand_for_encryption(remote).is_some()
    }

    /// The option by which a valid certificate is demanded of `remote`.
    //= RFC7590-3.4-1
    fn demand_for_certificate(&self, remote: &Domain) -> Option<Rule> {
        if self.pinned_domains.contains(remote) {
            Some(Rule::Pins)
        } else if self.secure_domains.contains(remote) {
            Some(Rule::SecureDomains)
        } else {
            (self.secure_auth && !self.insecure_domains.contains(remote)).then_some(Rule::SecureAuth)
        }
    }

    /// The option by which nothing may travel in clear.
    //= RFC6120-5.2-2
    //= RFC9325-3.2-1
    fn demand_for_encryption(&self, remote: &Domain) -> Option<Rule> {
        if self.require_encryption { Some(Rule::RequireEncryption) } else { self.demand_for_certificate(remote) }
    }

    /// Whether we may prove ourselves to `remote` by dialback.
    fn may_send_key(&self, remote: &Domain) -> bool {
        !self.dialback_disabled && (!self.is_strict(remote) || self.dialback_to_verified)
    }

    /// Whether some domain might be served in clear.
    #[must_use]
    pub fn may_serve_in_clear(&self) -> bool {
        !self.require_encryption && (!self.secure_auth || !self.insecure_domains.is_empty())
    }

    /// Whether some domain might prove itself by dialback without a valid certificate.
    #[must_use]
    pub fn may_be_lax(&self) -> bool {
        !self.secure_auth || !self.insecure_domains.is_empty()
    }

    /// Whether federation with `remote` is allowed at all.
    pub fn admit(&self, remote: &Domain) -> Result<(), Reason> {
        self.admission(remote).map_err(|(reason, _)| reason)
    }

    /// Whether a stanza of ours may go to `remote`.
    pub fn admit_outbound(&self, remote: &Domain) -> Result<(), Reason> {
        self.outbound_admission(remote).map_err(|(reason, _)| reason)
    }

    /// As [`admit`](Self::admit), with the option that decided.
    fn admission(&self, remote: &Domain) -> Result<(), (Reason, Rule)> {
        if self.s2s_disabled {
            return Err((Reason::HostDisabled, Rule::ModulesDisabled));
        }
        let denied_by = if !remote.is_qualified() {
            Some(Rule::BuiltIn)
        } else if self.deny_domains.contains(remote) {
            Some(Rule::DenyDomains)
        } else {
            let allowed = self.allow_domains.is_empty() || self.allow_domains.contains(remote);
            (!allowed).then_some(Rule::AllowDomains)
        };
        denied_by.map_or(Ok(()), |rule| Err((Reason::DomainDenied, rule)))
    }

    /// As [`admit_outbound`](Self::admit_outbound), with the option that decided.
    fn outbound_admission(&self, remote: &Domain) -> Result<(), (Reason, Rule)> {
        self.admission(remote)?;
        if self.anonymous && !self.allow_anonymous {
            return Err((Reason::AnonymousHost, Rule::Anonymous));
        }
        Ok(())
    }
}

/// What a stream shows of its peer for one domain.
#[derive(Clone, Copy, Debug)]
pub enum Protection<'a> {
    /// The stream is in clear.
    Clear,
    /// TLS, and what the certificate is worth for the domain.
    Tls(&'a Result<Verified, Rejection>),
}

impl<'a> Protection<'a> {
    /// That of a stream whose certificate was judged, if there is TLS on it.
    #[must_use]
    pub fn of(certificate: &'a Option<Result<Verified, Rejection>>) -> Self {
        certificate.as_ref().map_or(Self::Clear, Self::Tls)
    }
}

/// What to answer to the header of an inbound stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// STARTTLS, and whether it is required.
    pub starttls: Option<StartTls>,
    /// EXTERNAL, with the evidence that it will succeed on.
    pub external: Option<Verified>,
    /// Dialback.
    pub dialback: bool,
}

/// How STARTTLS is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartTls {
    /// The peer may go on without.
    Optional,
    /// It may not.
    Required,
}

/// The features for an inbound stream to a host with `options`, or why the stream is refused.
///
/// `from` is the domain that the header names. `tls_available`: the host has a certificate.
//= RFC6120-6.3.4-2
//= RFC6120-5.3.1-2
pub fn offer(
    options: &HostOptions,
    from: Option<&Domain>,
    protection: Protection<'_>,
    tls_available: bool,
) -> Result<Offer, Reason> {
    if let Some(remote) = from {
        options.admit(remote)?;
    } else if options.s2s_disabled {
        return Err(Reason::HostDisabled);
    }
    match protection {
        Protection::Clear => offer_in_clear(options, from, tls_available && !options.tls_disabled),
        // Only direct TLS comes here: the host is not served inside of it.
        Protection::Tls(_) if options.tls_disabled => Err(Reason::HostDisabled),
        Protection::Tls(certificate) => offer_protected(options, from, certificate),
    }
}

//= RFC6120-4.3.2-6
//= RFC6120-6.3.4-1
fn offer_in_clear(options: &HostOptions, from: Option<&Domain>, tls_available: bool) -> Result<Offer, Reason> {
    let clear_is_allowed = match from {
        Some(remote) => !options.demands_encryption(remote),
        None => options.may_serve_in_clear(),
    };
    if !tls_available && !clear_is_allowed {
        return Err(Reason::EncryptionRequired);
    }
    let starttls = match (tls_available, clear_is_allowed) {
        (false, _) => None,
        (true, true) => Some(StartTls::Optional),
        (true, false) => Some(StartTls::Required),
    };
    Ok(Offer { starttls, external: None, dialback: clear_is_allowed && !options.dialback_disabled })
}

//= RFC6120-5.4.3.3-5
//= RFC6120-5.4.3.3-6
//= RFC6120-6.4.1-2
//= RFC6120-6.4.6-1
//= RFC6120-13.7.2-5
//= RFC7712-4.3-1
//= XEP0178-3-1
//= XEP0178-3-2
//= XEP0178-3-3
//= XEP0368-3-6
fn offer_protected(
    options: &HostOptions,
    from: Option<&Domain>,
    certificate: &Result<Verified, Rejection>,
) -> Result<Offer, Reason> {
    let Some(remote) = from else {
        let dialback = !options.dialback_disabled && options.may_be_lax();
        return Ok(Offer { starttls: None, external: None, dialback });
    };
    match certificate {
        Err(rejection) if options.refuses(remote, *rejection) => Err(rejection.reason()),
        certificate => Ok(Offer {
            starttls: None,
            external: certificate.as_ref().ok().filter(|_| !options.external_disabled).cloned(),
            dialback: !options.dialback_disabled,
        }),
    }
}

/// What to do about a dialback key that a peer sent for one pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyVerdict {
    /// The certificate of the stream proves the domain: no call-back is needed.
    Proved(Verified),
    /// Ask the authoritative server.
    CallBack,
    /// Answer with an error; no lookup, no connection.
    Refuse(Reason),
}

/// Why a dialback key for `remote` is refused whatever the stream shows of its peer.
#[must_use]
pub fn refusal_of_keys(options: &HostOptions, remote: &Domain) -> Option<Reason> {
    let disabled = options.dialback_disabled.then_some(Reason::DialbackDeniedByPolicy);
    options.admit(remote).err().or(disabled)
}

/// Judges a dialback key for `remote`, whatever was advertised.
//= RFC7712-4.4.1-1
//= XEP0344-2.4-2
//= RFC7590-3.4-2
//= XEP0220-3-1
#[must_use]
pub fn judge_key(options: &HostOptions, remote: &Domain, protection: Protection<'_>) -> KeyVerdict {
    if let Some(reason) = refusal_of_keys(options, remote) {
        return KeyVerdict::Refuse(reason);
    }
    match protection {
        Protection::Clear if options.demands_encryption(remote) => KeyVerdict::Refuse(Reason::EncryptionRequired),
        Protection::Clear => KeyVerdict::CallBack,
        //= RFC7712-4.4.1-2
        //= XEP0344-2.4-1
        //= XEP0344-3.3-2
        Protection::Tls(Ok(verified)) => KeyVerdict::Proved(verified.clone()),
        Protection::Tls(Err(rejection)) if options.refuses(remote, *rejection) => {
            KeyVerdict::Refuse(rejection.reason())
        }
        Protection::Tls(Err(_)) => KeyVerdict::CallBack,
    }
}

/// How an outbound stream goes on after features, as far as we are allowed to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// Try EXTERNAL; the flag says whether dialback may follow a refusal.
    External {
        /// Whether dialback may be tried on the same stream if EXTERNAL is refused.
        then_dialback: bool,
    },
    /// Send a dialback key.
    Dialback,
}

/// Whether TLS is asked for on an outbound stream in clear. An error: the stream cannot go on.
//= RFC6120-5.2-3
//= RFC6120-5.3.4-1
//= RFC6120-13.9.4-1
//= RFC6120-13.14-2
pub fn judge_clear(options: &HostOptions, remote: &Domain, starttls_offered: bool) -> Result<bool, Reason> {
    match (options.tls_disabled, starttls_offered) {
        (false, true) => Ok(true),
        _ if !options.demands_encryption(remote) => Ok(false),
        (true, _) => Err(Reason::EncryptionRequired),
        (false, false) => Err(Reason::StarttlsNotOffered),
    }
}

/// Judges an outbound stream in its present state of protection: may anything be sent to this peer?
//= RFC6120-13.9.5-2
pub fn judge_outbound(options: &HostOptions, remote: &Domain, protection: Protection<'_>) -> Result<(), Reason> {
    match protection {
        Protection::Clear if options.demands_encryption(remote) => Err(Reason::EncryptionRequired),
        Protection::Tls(Err(rejection)) if options.refuses(remote, *rejection) => Err(rejection.reason()),
        Protection::Clear | Protection::Tls(_) => Ok(()),
    }
}

/// Chooses how we prove ourselves on an outbound stream that [`judge_outbound`] let pass.
//= RFC6120-6.3.4-5
//= RFC6120-6.3.1-1
//= RFC6120-13.6-1
//= RFC6120-6.4.5-5
pub fn authenticate(
    options: &HostOptions,
    remote: &Domain,
    protection: Protection<'_>,
    external_offered: bool,
    dialback_offered: bool,
) -> Result<Authentication, Reason> {
    let dialback = dialback_offered && options.may_send_key(remote);
    let encrypted = matches!(protection, Protection::Tls(_));
    if external_offered && encrypted && !options.external_disabled {
        return Ok(Authentication::External { then_dialback: dialback });
    }
    if dialback { Ok(Authentication::Dialback) } else { Err(Reason::ExternalNotOffered) }
}

/// Judges a pair that is up once more, because what policy says or what certificates are worth has changed.
#[must_use = "a pair that is forbidden now must be closed"]
pub fn judge_again(
    options: &HostOptions,
    remote: &Domain,
    by: Method,
    protection: Protection<'_>,
) -> Result<(), Reason> {
    options.admit(remote)?;
    judge_outbound(options, remote, protection)?;
    match (by, protection) {
        (_, Protection::Tls(_)) if options.tls_disabled => Err(Reason::Reload),
        (Method::External, _) if options.external_disabled => Err(Reason::Reload),
        (Method::Dialback | Method::Certificate, _) if options.dialback_disabled => Err(Reason::DialbackDeniedByPolicy),
        (Method::External | Method::Certificate, Protection::Tls(Err(rejection))) => Err(rejection.reason()),
        _ => Ok(()),
    }
}

/// The same for a pair in which we proved ourselves: may we still do what we did?
#[must_use = "a pair that is forbidden now must be closed"]
pub fn judge_ourselves_again(
    options: &HostOptions,
    remote: &Domain,
    by: Method,
    protection: Protection<'_>,
) -> Result<(), Reason> {
    options.admit_outbound(remote)?;
    judge_outbound(options, remote, protection)?;
    match (by, protection) {
        (_, Protection::Tls(_)) if options.tls_disabled => Err(Reason::Reload),
        (Method::External, _) if options.external_disabled => Err(Reason::Reload),
        (Method::Dialback | Method::Certificate, _) if !options.may_send_key(remote) => {
            Err(Reason::DialbackDeniedByPolicy)
        }
        _ => Ok(()),
    }
}
