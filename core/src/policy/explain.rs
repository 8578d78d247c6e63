//! What policy will say to a domain, before it comes: the verdicts of the parent module foretold, and the option behind
//! each. The tests prove for all combinations of options that what is foretold is what happens.

use crate::addr::Domain;
use crate::auth::Method;
use crate::node::Direction;
use crate::policy::HostOptions;
use crate::reason::Reason;

/// What decides. Named as in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Rule {
    /// `s2s_pins`
    Pins,
    /// `s2s_secure_domains`
    SecureDomains,
    /// `s2s_insecure_domains`
    InsecureDomains,
    /// `s2s_secure_auth`
    SecureAuth,
    /// `s2s_require_encryption`
    RequireEncryption,
    /// `s2s_allow_domains`
    AllowDomains,
    /// `s2s_deny_domains`, or the file beside it.
    DenyDomains,
    /// `modules_disabled`
    ModulesDisabled,
    /// `anonymous`
    Anonymous,
    /// `certificates`: there is none of ours.
    Certificates,
    /// No option: names of one label take no part in federation.
    BuiltIn,
    /// No option: nothing was configured that would matter.
    Default,
}

impl Rule {
    /// The name of the option.
    #[must_use]
    pub const fn option(self) -> &'static str {
        match self {
            Self::Pins => "s2s_pins",
            Self::SecureDomains => "s2s_secure_domains",
            Self::InsecureDomains => "s2s_insecure_domains",
            Self::SecureAuth => "s2s_secure_auth",
            Self::RequireEncryption => "s2s_require_encryption",
            Self::AllowDomains => "s2s_allow_domains",
            Self::DenyDomains => "s2s_deny_domains",
            Self::ModulesDisabled => "modules_disabled",
            Self::Anonymous => "anonymous",
            Self::Certificates => "certificates",
            Self::BuiltIn => "built-in",
            Self::Default => "default",
        }
    }
}

/// Whether streams are encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// Nothing travels in clear.
    Required,
    /// If both sides can.
    Optional,
    /// Never.
    None,
}

impl Encryption {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Optional => "optional",
            Self::None => "none",
        }
    }
}

/// What policy says about one remote domain in one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Whether anything may pass, or why nothing may.
    pub admitted: Result<(), Reason>,
    /// What is demanded of the stream.
    pub encryption: Encryption,
    /// Whether the remote domain must show a valid certificate.
    pub certificate_demanded: bool,
    /// How the domain that opens the stream may prove itself, in the order in which it is tried. Empty if nothing
    /// passes.
    pub methods: Vec<Method>,
    /// What decided. Of several that did, the first of: what refuses, what demands or waives a certificate, what takes
    /// a method or encryption away, what demands encryption.
    pub decided_by: Rule,
}

/// What becomes of streams with `remote` in `direction`. `certificate`: our host has one.
#[must_use]
pub fn explain(options: &HostOptions, remote: &Domain, direction: Direction, certificate: bool) -> Explanation {
    let tls = !options.tls_disabled && (certificate || direction == Direction::Outbound);
    let demanded = options.demands_encryption(remote);
    let methods = match direction {
        Direction::Inbound => inbound_methods(options, remote, tls),
        Direction::Outbound => outbound_methods(options, remote, tls && certificate),
    };
    let refusal = refusal(options, remote, direction, tls, &methods);
    Explanation {
        admitted: refusal.map_or(Ok(()), |(reason, _)| Err(reason)),
        encryption: match (demanded, tls) {
            (true, _) => Encryption::Required,
            (false, true) => Encryption::Optional,
            (false, false) => Encryption::None,
        },
        certificate_demanded: options.is_strict(remote),
        decided_by: refusal.map_or_else(|| decider(options, remote, certificate), |(_, rule)| rule),
        methods: if refusal.is_some() { Vec::new() } else { methods },
    }
}

/// The option behind a refusal that was given for `reason`, if our policy is what refused and still would.
#[must_use]
pub fn rule_behind(options: &HostOptions, remote: &Domain, direction: Direction, reason: Reason) -> Option<Rule> {
    match reason {
        Reason::HostDisabled => (options.s2s_disabled || options.tls_disabled).then_some(Rule::ModulesDisabled),
        Reason::DomainDenied | Reason::AnonymousHost => {
            let admission = admission(options, remote, direction);
            admission.err().filter(|(refused, _)| *refused == reason).map(|(_, rule)| rule)
        }
        Reason::EncryptionRequired | Reason::StarttlsNotOffered => options.demand_for_encryption(remote),
        _ if reason.is_about_certificate() => options.demand_for_certificate(remote),
        Reason::DialbackDeniedByPolicy => options.dialback_disabled.then_some(Rule::ModulesDisabled),
        Reason::ExternalNotOffered if options.may_send_key(remote) => None,
        Reason::ExternalNotOffered if options.external_disabled => Some(Rule::ModulesDisabled),
        Reason::ExternalNotOffered => options.demand_for_certificate(remote).or(Some(Rule::ModulesDisabled)),
        _ => None,
    }
}

fn admission(options: &HostOptions, remote: &Domain, direction: Direction) -> Result<(), (Reason, Rule)> {
    match direction {
        Direction::Inbound => options.admission(remote),
        Direction::Outbound => options.outbound_admission(remote),
    }
}

/// How a peer may prove `remote` to us.
fn inbound_methods(options: &HostOptions, remote: &Domain, tls: bool) -> Vec<Method> {
    let mut methods = Vec::new();
    if tls && !options.external_disabled {
        methods.push(Method::External);
    }
    if tls && !options.dialback_disabled {
        methods.push(Method::Certificate);
    }
    if !options.dialback_disabled && !options.is_strict(remote) {
        methods.push(Method::Dialback);
    }
    methods
}

/// How we may prove ourselves to `remote`. `external`: we can show a certificate.
fn outbound_methods(options: &HostOptions, remote: &Domain, external: bool) -> Vec<Method> {
    let mut methods = Vec::new();
    if external && !options.external_disabled {
        methods.push(Method::External);
    }
    if options.may_send_key(remote) {
        methods.push(Method::Dialback);
    }
    methods
}

/// Why nothing passes, and what decided that.
fn refusal(
    options: &HostOptions,
    remote: &Domain,
    direction: Direction,
    tls: bool,
    methods: &[Method],
) -> Option<(Reason, Rule)> {
    if let Err(refusal) = admission(options, remote, direction) {
        return Some(refusal);
    }
    if !tls && options.demands_encryption(remote) {
        let rule = if options.tls_disabled { Rule::ModulesDisabled } else { Rule::Certificates };
        return Some((Reason::EncryptionRequired, rule));
    }
    if !methods.is_empty() {
        return None;
    }
    Some(match direction {
        Direction::Inbound => (Reason::DialbackDeniedByPolicy, Rule::ModulesDisabled),
        Direction::Outbound => {
            let disabled = options.external_disabled || options.tls_disabled || !options.is_strict(remote);
            (Reason::ExternalNotOffered, if disabled { Rule::ModulesDisabled } else { Rule::Certificates })
        }
    })
}

/// What decides where something passes.
fn decider(options: &HostOptions, remote: &Domain, certificate: bool) -> Rule {
    if let Some(rule) = options.demand_for_certificate(remote) {
        rule
    } else if options.secure_auth {
        // It would demand a certificate, were that not waived.
        Rule::InsecureDomains
    } else if options.tls_disabled || options.external_disabled || options.dialback_disabled {
        Rule::ModulesDisabled
    } else if !certificate {
        Rule::Certificates
    } else if options.require_encryption {
        Rule::RequireEncryption
    } else {
        Rule::Default
    }
}
