//! What is foretold is what happens, for every combination of options.

mod verdicts;

use std::time::Duration;

use crate::addr::Domain;
use crate::auth::Method;
use crate::node::Direction;
use crate::policy::{
    Authentication, DomainList, Encryption, Explanation, HostOptions, KeyVerdict, Protection, Rule, StartTls,
    authenticate, explain, judge_again, judge_clear, judge_key, judge_outbound, offer, rule_behind,
};
use crate::reason::Reason;
use crate::tls::Version;
use crate::tls::verify::{Rejection, Trust, Verified, fingerprint, judge};

fn domain(text: &str) -> Domain {
    Domain::parse(text).expect(text)
}

fn list(entries: &[&str]) -> DomainList {
    let mut list = DomainList::default();
    for entry in entries {
        list.insert(entry).expect(entry);
    }
    list
}

/// The verdict on a certificate that proves `remote`.
fn valid(remote: &Domain) -> Result<Verified, Rejection> {
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = rcgen::CertificateParams::default().self_signed(&key).expect("a certificate");
    let mut trust = Trust::new(rustls::crypto::ring::default_provider().signature_verification_algorithms.all);
    trust.pin(remote.clone(), fingerprint(&rcgen::PublicKeyData::subject_public_key_info(&key)));
    judge(&[certificate.der().to_vec()], remote, &trust, Duration::ZERO)
}

/// Number of combinations that [`combination`] makes.
const COMBINATIONS: u32 = 3 << 14;

/// One combination of options, and whether our host has a certificate.
fn combination(number: u32) -> (HostOptions, bool) {
    let bit = |n: u32| number & (1 << n) != 0;
    let with = |n: u32| if bit(n) { list(&["p.example"]) } else { DomainList::default() };
    let allow_domains = match number >> 14 {
        0 => DomainList::default(),
        1 => list(&["*.example"]),
        _ => list(&["other.example"]),
    };
    let options = HostOptions {
        secure_auth: bit(0),
        require_encryption: bit(1),
        secure_domains: with(2),
        insecure_domains: with(3),
        pinned_domains: with(4),
        allow_domains,
        deny_domains: with(5),
        dialback_to_verified: bit(6),
        s2s_disabled: bit(7),
        tls_disabled: bit(8),
        external_disabled: bit(9),
        dialback_disabled: bit(10),
        tls_min_version: Version::Tls12,
        anonymous: bit(11),
        allow_anonymous: bit(12),
    };
    (options, bit(13))
}

/// What was seen to happen.
struct Seen {
    /// `None`: it did not come to that.
    encryption: Option<Encryption>,
    methods: Result<Vec<Method>, Reason>,
}

/// Every way in which a peer can prove itself, found by trying them all.
fn inbound(options: &HostOptions, remote: &Domain, certificate: bool, shown: &[Result<Verified, Rejection>]) -> Seen {
    let offered = match offer(options, Some(remote), Protection::Clear, certificate) {
        Ok(offered) => offered,
        Err(reason) => return Seen { encryption: None, methods: Err(reason) },
    };
    let encryption = match offered.starttls {
        Some(StartTls::Required) => Encryption::Required,
        Some(StartTls::Optional) => Encryption::Optional,
        None => Encryption::None,
    };
    let mut protections = vec![Protection::Clear];
    if offered.starttls.is_some() {
        protections.extend(shown.iter().map(Protection::Tls));
    }
    let mut methods = Vec::new();
    let mut refusal = None;
    for protection in protections {
        if offer(options, Some(remote), protection, certificate).is_ok_and(|offered| offered.external.is_some()) {
            methods.push((Method::External, protection));
        }
        match judge_key(options, remote, protection) {
            KeyVerdict::Proved(_) => methods.push((Method::Certificate, protection)),
            KeyVerdict::CallBack => methods.push((Method::Dialback, protection)),
            KeyVerdict::Refuse(reason) => refusal = Some(reason),
        }
    }
    for (method, protection) in &methods {
        assert_eq!(judge_again(options, remote, *method, *protection), Ok(()), "{options:?}");
    }
    let order = [Method::External, Method::Certificate, Method::Dialback];
    let found: Vec<_> = order.into_iter().filter(|method| methods.iter().any(|(found, _)| found == method)).collect();
    let methods = if found.is_empty() { Err(refusal.expect("no key was accepted")) } else { Ok(found) };
    Seen { encryption: Some(encryption), methods }
}

/// What we do with a peer that offers everything and refuses EXTERNAL.
fn outbound(options: &HostOptions, remote: &Domain, certificate: bool, shown: &Result<Verified, Rejection>) -> Seen {
    if let Err(reason) = options.admit_outbound(remote) {
        return Seen { encryption: None, methods: Err(reason) };
    }
    let secured = match judge_clear(options, remote, true) {
        Ok(secured) => secured,
        Err(reason) => return Seen { encryption: Some(Encryption::Required), methods: Err(reason) },
    };
    let encryption = match (secured, judge_clear(options, remote, false)) {
        (true, Err(_)) => Encryption::Required,
        (true, Ok(_)) => Encryption::Optional,
        (false, _) => Encryption::None,
    };
    let protection = if secured { Protection::Tls(shown) } else { Protection::Clear };
    let methods = judge_outbound(options, remote, protection).and_then(|()| {
        Ok(match authenticate(options, remote, protection, certificate, true)? {
            Authentication::Dialback => vec![Method::Dialback],
            Authentication::External { then_dialback } => {
                let again = authenticate(options, remote, protection, false, true);
                assert_eq!(again.is_ok(), then_dialback, "{options:?}");
                let then = then_dialback.then_some(Method::Dialback);
                [Method::External].into_iter().chain(then).collect()
            }
        })
    });
    Seen { encryption: Some(encryption), methods }
}

fn assert_foretold(foretold: &Explanation, seen: Seen, circumstances: &str) {
    assert!(seen.encryption.is_none_or(|seen| seen == foretold.encryption), "{circumstances}\n{foretold:?}");
    match seen.methods {
        Ok(methods) => {
            assert_eq!((Ok(()), &methods), (foretold.admitted, &foretold.methods), "{circumstances}\n{foretold:?}");
        }
        Err(reason) => {
            assert_eq!(foretold.admitted, Err(reason), "{circumstances}\n{foretold:?}");
            assert!(foretold.methods.is_empty(), "{circumstances}\n{foretold:?}");
        }
    }
}

#[test]
fn what_is_explained_is_what_happens_whatever_the_options() {
    let remote = domain("p.example");
    let (good, bad) = (valid(&remote), Err(Rejection::UnknownIssuer));
    assert!(good.is_ok(), "{good:?}");
    let shown = [good.clone(), bad.clone()];
    for number in 0..COMBINATIONS {
        let (options, certificate) = combination(number);
        let circumstances = format!("{options:?} certificate: {certificate}");
        let foretold = explain(&options, &remote, Direction::Inbound, certificate);
        assert_foretold(&foretold, inbound(&options, &remote, certificate, &shown), &circumstances);

        let foretold = explain(&options, &remote, Direction::Outbound, certificate);
        assert_foretold(&foretold, outbound(&options, &remote, certificate, &good), &circumstances);
        // A bad certificate is what refuses where one is demanded, and nowhere else.
        let refused = outbound(&options, &remote, certificate, &bad).methods;
        let matters = foretold.certificate_demanded && !options.tls_disabled && options.admit_outbound(&remote).is_ok();
        assert_eq!(refused == Err(Reason::CertUnknownIssuer), matters, "{circumstances}");
    }
}

/// The same options without what `rule` stands for.
fn without(rule: Rule, options: &HostOptions) -> HostOptions {
    let mut options = options.clone();
    match rule {
        Rule::Pins => options.pinned_domains = DomainList::default(),
        Rule::SecureDomains => options.secure_domains = DomainList::default(),
        Rule::InsecureDomains => options.insecure_domains = DomainList::default(),
        Rule::SecureAuth => options.secure_auth = false,
        Rule::RequireEncryption => options.require_encryption = false,
        Rule::AllowDomains => options.allow_domains = DomainList::default(),
        Rule::DenyDomains => options.deny_domains = DomainList::default(),
        Rule::ModulesDisabled => {
            options.s2s_disabled = false;
            options.tls_disabled = false;
            options.external_disabled = false;
            options.dialback_disabled = false;
        }
        Rule::Anonymous => options.anonymous = false,
        Rule::Certificates | Rule::BuiltIn | Rule::Default => {}
    }
    options
}

#[test]
fn without_the_option_that_is_named_something_else_decides() {
    let remote = domain("p.example");
    for number in 0..COMBINATIONS {
        let (options, certificate) = combination(number);
        for direction in [Direction::Inbound, Direction::Outbound] {
            let foretold = explain(&options, &remote, direction, certificate);
            match foretold.decided_by {
                Rule::Certificates => assert!(!certificate, "{options:?}"),
                Rule::BuiltIn => panic!("the name has two labels: {options:?}"),
                Rule::Default => {
                    let defaults = HostOptions::default();
                    assert_eq!(foretold, explain(&defaults, &remote, direction, certificate), "{options:?}");
                }
                rule => {
                    let other = explain(&without(rule, &options), &remote, direction, certificate);
                    assert_ne!(other.decided_by, rule, "{options:?}");
                }
            }
        }
    }
}

#[test]
fn a_refusal_names_the_option_behind_it_and_only_while_that_would_refuse() {
    let remote = domain("p.example");
    let strict = HostOptions { secure_auth: true, ..HostOptions::default() };
    let encrypted = HostOptions { require_encryption: true, ..HostOptions::default() };
    let pinned = HostOptions { pinned_domains: list(&["p.example"]), ..strict.clone() };
    let denied = HostOptions { deny_domains: list(&["p.example"]), anonymous: true, ..strict.clone() };
    let anonymous = HostOptions { anonymous: true, ..HostOptions::default() };
    let bare = HostOptions { dialback_disabled: true, ..HostOptions::default() };
    let off = HostOptions { s2s_disabled: true, ..HostOptions::default() };
    let clear = HostOptions { tls_disabled: true, ..HostOptions::default() };
    let open = HostOptions::default();
    let (inbound, outbound) = (Direction::Inbound, Direction::Outbound);
    for (options, direction, reason, rule) in [
        (&strict, inbound, Reason::CertExpired, Some(Rule::SecureAuth)),
        (&strict, outbound, Reason::StarttlsNotOffered, Some(Rule::SecureAuth)),
        (&strict, outbound, Reason::ExternalNotOffered, Some(Rule::SecureAuth)),
        (&encrypted, inbound, Reason::EncryptionRequired, Some(Rule::RequireEncryption)),
        (&encrypted, inbound, Reason::CertExpired, None),
        (&pinned, outbound, Reason::CertPinMismatch, Some(Rule::Pins)),
        (&denied, outbound, Reason::DomainDenied, Some(Rule::DenyDomains)),
        (&denied, outbound, Reason::AnonymousHost, None),
        (&anonymous, outbound, Reason::AnonymousHost, Some(Rule::Anonymous)),
        (&anonymous, inbound, Reason::AnonymousHost, None),
        (&bare, inbound, Reason::DialbackDeniedByPolicy, Some(Rule::ModulesDisabled)),
        (&bare, outbound, Reason::ExternalNotOffered, Some(Rule::ModulesDisabled)),
        (&off, inbound, Reason::HostDisabled, Some(Rule::ModulesDisabled)),
        // Inside direct TLS.
        (&clear, inbound, Reason::HostDisabled, Some(Rule::ModulesDisabled)),
        (&open, inbound, Reason::HostDisabled, None),
        (&open, inbound, Reason::CertExpired, None),
        (&open, inbound, Reason::DomainDenied, None),
        (&open, outbound, Reason::ExternalNotOffered, None),
        (&strict, outbound, Reason::ConnectRefused, None),
    ] {
        assert_eq!(rule_behind(options, &remote, direction, reason), rule, "{reason} {options:?}");
    }
    let one_label = domain("localhost");
    assert_eq!(rule_behind(&open, &one_label, inbound, Reason::DomainDenied), Some(Rule::BuiltIn));
}
