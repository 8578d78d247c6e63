//! Each verdict, said outright: what the options of a host mean for one domain.
//!
//! The tests beside this one compare what is foretold with what happens, and would not notice a rule that is wrong in
//! both places. Here every rule stands as a sentence of its own.

use super::{domain, list, valid};
use crate::addr::Domain;
use crate::auth::Method;
use crate::node::Direction;
use crate::policy::{
    Authentication, DomainList, DomainListError, Encryption, Explanation, HostOptions, KeyVerdict, Offer, Protection,
    Rule, StartTls, authenticate, explain, judge_again, judge_clear, judge_key, judge_ourselves_again, judge_outbound,
    offer, rule_behind,
};
use crate::reason::Reason;
use crate::tls::verify::{Rejection, Verified};

fn open() -> HostOptions {
    HostOptions::default()
}

/// Certificates are demanded of everybody.
fn strict() -> HostOptions {
    HostOptions { secure_auth: true, ..open() }
}

/// Certificates are demanded of everybody but `p.example`.
fn waived() -> HostOptions {
    HostOptions { insecure_domains: list(&["p.example"]), ..strict() }
}

fn encrypted() -> HostOptions {
    HostOptions { require_encryption: true, ..open() }
}

fn without_dialback(options: HostOptions) -> HostOptions {
    HostOptions { dialback_disabled: true, ..options }
}

fn without_external(options: HostOptions) -> HostOptions {
    HostOptions { external_disabled: true, ..options }
}

fn without_tls(options: HostOptions) -> HostOptions {
    HostOptions { tls_disabled: true, ..options }
}

fn without_s2s(options: HostOptions) -> HostOptions {
    HostOptions { s2s_disabled: true, ..options }
}

fn peer() -> Domain {
    domain("p.example")
}

const BAD: Result<Verified, Rejection> = Err(Rejection::UnknownIssuer);

#[test]
fn an_entry_with_a_star_stands_for_all_names_below_and_one_without_for_itself() {
    let entries = list(&["A.example", "*.b.example"]);
    for (text, listed) in [
        ("a.example", true),
        ("x.a.example", false),
        ("b.example", false),
        ("x.b.example", true),
        ("y.x.b.example", true),
        ("xb.example", false),
        ("example", false),
    ] {
        assert_eq!(entries.contains(&domain(text)), listed, "{text}");
    }
    assert!(!list(&["*.b.example"]).is_empty() && !list(&["a.example"]).is_empty() && list(&[]).is_empty());
}

#[test]
fn an_entry_that_is_no_domain_or_every_domain_is_refused() {
    let mut list = DomainList::default();
    assert_eq!(list.insert("*"), Err(DomainListError::Everything));
    for entry in ["", "*.", "a.*.example", "**.example", "a b", "a@p.example"] {
        assert!(matches!(list.insert(entry), Err(DomainListError::NotADomain(_))), "{entry}");
    }
    assert!(list.is_empty(), "what was refused is not kept");
}

#[test]
fn the_common_entry_of_two_lists_is_written_as_it_stands_there() {
    let entries = list(&["a.example", "*.b.example"]);
    for (other, common) in [
        (&["a.example", "c.example"][..], Some("a.example")),
        (&["*.b.example"], Some("*.b.example")),
        (&["*.a.example", "b.example"], None),
        (&[], None),
    ] {
        assert_eq!(entries.common_entry(&list(other)).as_deref(), common, "{other:?}");
    }
}

#[test]
fn a_certificate_is_demanded_by_pins_then_by_name_then_by_the_switch_unless_waived() {
    let named = |options| HostOptions { secure_domains: list(&["p.example"]), ..options };
    let pinned = |options| HostOptions { pinned_domains: list(&["p.example"]), ..options };
    for (options, rule) in [
        (open(), None),
        (strict(), Some(Rule::SecureAuth)),
        (waived(), None),
        (named(open()), Some(Rule::SecureDomains)),
        (named(waived()), Some(Rule::SecureDomains)),
        (pinned(open()), Some(Rule::Pins)),
        (pinned(named(waived())), Some(Rule::Pins)),
    ] {
        assert_eq!(options.is_strict(&peer()), rule.is_some(), "{options:?}");
        // A certificate can only be shown on an encrypted stream.
        assert_eq!(options.demands_encryption(&peer()), rule.is_some(), "{options:?}");
        assert_eq!(rule_behind(&options, &peer(), Direction::Inbound, Reason::CertExpired), rule, "{options:?}");
        let encrypted = HostOptions { require_encryption: true, ..options };
        assert_eq!(encrypted.is_strict(&peer()), rule.is_some(), "{encrypted:?}");
        assert!(encrypted.demands_encryption(&peer()), "{encrypted:?}");
    }
    assert!(waived().is_strict(&domain("q.example")), "only those on the list are spared");
}

#[test]
fn a_stream_without_a_name_may_come_from_whoever_is_demanded_least_of() {
    for (options, lax, in_clear) in [
        (open(), true, true),
        (encrypted(), true, false),
        (strict(), false, false),
        (waived(), true, true),
        (HostOptions { require_encryption: true, ..waived() }, true, false),
        (HostOptions { insecure_domains: list(&["p.example"]), ..open() }, true, true),
    ] {
        assert_eq!((options.may_be_lax(), options.may_serve_in_clear()), (lax, in_clear), "{options:?}");
    }
}

#[test]
fn who_is_denied_or_not_on_the_list_of_those_allowed_is_refused() {
    let lists = |allow: &[&str], deny: &[&str]| HostOptions {
        allow_domains: list(allow),
        deny_domains: list(deny),
        ..HostOptions::default()
    };
    for (options, verdict) in [
        (lists(&[], &[]), Ok(())),
        (lists(&["p.example"], &[]), Ok(())),
        (lists(&["q.example"], &[]), Err(Reason::DomainDenied)),
        (lists(&[], &["q.example"]), Ok(())),
        (lists(&[], &["*.example"]), Err(Reason::DomainDenied)),
        (lists(&["p.example"], &["p.example"]), Err(Reason::DomainDenied)),
        (without_s2s(lists(&["p.example"], &[])), Err(Reason::HostDisabled)),
        (without_s2s(lists(&[], &["p.example"])), Err(Reason::HostDisabled)),
    ] {
        assert_eq!(options.admit(&peer()), verdict, "{options:?}");
        assert_eq!(options.admit_outbound(&peer()), verdict, "{options:?}");
    }
    let named = lists(&["localhost"], &[]);
    assert_eq!(named.admit(&domain("localhost")), Err(Reason::DomainDenied), "a name of one label takes no part");
}

#[test]
fn anonymous_users_may_not_send_unless_allowed_and_may_be_sent_to() {
    for (anonymous, allow_anonymous, verdict) in
        [(false, false, Ok(())), (false, true, Ok(())), (true, false, Err(Reason::AnonymousHost)), (true, true, Ok(()))]
    {
        let options = HostOptions { anonymous, allow_anonymous, ..open() };
        assert_eq!(options.admit_outbound(&peer()), verdict);
        assert_eq!(options.admit(&peer()), Ok(()));
    }
}

#[test]
//= RFC6120-5.3.1-2 test
//= RFC6120-4.3.2-6 test
fn in_clear_tls_is_required_where_clear_is_forbidden_and_dialback_offered_where_it_is_not() {
    let offered = |starttls, dialback| Ok(Offer { starttls, external: None, dialback });
    let (optional, required) = (Some(StartTls::Optional), Some(StartTls::Required));
    let unencrypted = Err(Reason::EncryptionRequired);
    // With a name, without one; with a certificate of our own, without.
    for (options, name, with, without) in [
        (open(), true, offered(optional, true), offered(None, true)),
        (open(), false, offered(optional, true), offered(None, true)),
        (strict(), true, offered(required, false), unencrypted.clone()),
        (strict(), false, offered(required, false), unencrypted.clone()),
        (encrypted(), true, offered(required, false), unencrypted.clone()),
        (encrypted(), false, offered(required, false), unencrypted.clone()),
        (waived(), true, offered(optional, true), offered(None, true)),
        (waived(), false, offered(optional, true), offered(None, true)),
        (without_dialback(open()), true, offered(optional, false), offered(None, false)),
        (without_tls(open()), true, offered(None, true), offered(None, true)),
        (without_tls(encrypted()), false, unencrypted.clone(), unencrypted),
    ] {
        let peer = name.then(peer);
        for (certificate, verdict) in [(true, with), (false, without)] {
            let found = offer(&options, peer.as_ref(), Protection::Clear, certificate);
            assert_eq!(found, verdict, "{options:?} {peer:?} {certificate}");
        }
    }
}

#[test]
//= RFC6120-6.3.4-2 test
//= XEP0178-3-2 test
fn external_is_offered_only_to_who_will_succeed() {
    let good = valid(&peer());
    let offered = |external: bool, dialback| {
        Ok(Offer { starttls: None, external: good.clone().ok().filter(|_| external), dialback })
    };
    let refused = Err(Reason::CertUnknownIssuer);
    for (options, with_good, with_bad) in [
        (open(), offered(true, true), offered(false, true)),
        (strict(), offered(true, true), refused.clone()),
        (waived(), offered(true, true), offered(false, true)),
        (without_external(open()), offered(false, true), offered(false, true)),
        (without_external(strict()), offered(false, true), refused.clone()),
        (without_dialback(open()), offered(true, false), offered(false, false)),
        (without_dialback(strict()), offered(true, false), refused),
    ] {
        assert_eq!(offer(&options, Some(&peer()), Protection::Tls(&good), true), with_good, "{options:?}");
        assert_eq!(offer(&options, Some(&peer()), Protection::Tls(&BAD), true), with_bad, "{options:?}");
    }
}

#[test]
fn who_does_not_say_its_name_is_offered_no_more_than_dialback() {
    let good = valid(&peer());
    for (options, dialback) in [(open(), true), (waived(), true), (strict(), false), (without_dialback(open()), false)]
    {
        let offered = Ok(Offer { starttls: None, external: None, dialback });
        assert_eq!(offer(&options, None, Protection::Tls(&good), true), offered, "{options:?}");
    }
    for protection in [Protection::Clear, Protection::Tls(&good)] {
        assert_eq!(offer(&without_s2s(open()), None, protection, true), Err(Reason::HostDisabled));
    }
    let denied = HostOptions { deny_domains: list(&["p.example"]), ..open() };
    assert_eq!(offer(&denied, Some(&peer()), Protection::Clear, true), Err(Reason::DomainDenied));
    assert!(offer(&denied, None, Protection::Clear, true).is_ok(), "whom it is for shows later");
}

#[test]
fn a_host_without_tls_is_not_served_inside_direct_tls_whoever_comes_with_whatever_certificate() {
    let good = valid(&peer());
    for options in [without_tls(open()), without_tls(strict()), without_tls(waived()), without_tls(encrypted())] {
        for from in [Some(&peer()), None] {
            for certificate in [&good, &BAD] {
                let found = offer(&options, from, Protection::Tls(certificate), true);
                assert_eq!(found, Err(Reason::HostDisabled), "{options:?} {from:?} {certificate:?}");
            }
        }
    }
}

#[test]
//= RFC7712-4.4.1-1 test
//= XEP0344-2.4-2 test
fn a_key_is_proved_by_a_certificate_or_called_back_or_refused() {
    let good = valid(&peer());
    let proved = || KeyVerdict::Proved(good.clone().expect("valid"));
    let refuse = KeyVerdict::Refuse;
    let unencrypted = || refuse(Reason::EncryptionRequired);
    let untrusted = || refuse(Reason::CertUnknownIssuer);
    let disabled = || refuse(Reason::DialbackDeniedByPolicy);
    let denied = HostOptions { deny_domains: list(&["p.example"]), ..without_dialback(open()) };
    for (options, in_clear, with_good, with_bad) in [
        (open(), KeyVerdict::CallBack, proved(), KeyVerdict::CallBack),
        (waived(), KeyVerdict::CallBack, proved(), KeyVerdict::CallBack),
        (encrypted(), unencrypted(), proved(), KeyVerdict::CallBack),
        (strict(), unencrypted(), proved(), untrusted()),
        (without_dialback(strict()), disabled(), disabled(), disabled()),
        (denied, refuse(Reason::DomainDenied), refuse(Reason::DomainDenied), refuse(Reason::DomainDenied)),
    ] {
        assert_eq!(judge_key(&options, &peer(), Protection::Clear), in_clear, "{options:?}");
        assert_eq!(judge_key(&options, &peer(), Protection::Tls(&good)), with_good, "{options:?}");
        assert_eq!(judge_key(&options, &peer(), Protection::Tls(&BAD)), with_bad, "{options:?}");
    }
}

#[test]
//= RFC6120-5.2-3 test
//= RFC6120-5.3.4-1 test
//= RFC6120-13.9.4-1 test
fn tls_is_asked_for_whenever_it_is_offered_and_we_have_it() {
    let unencrypted = Err(Reason::EncryptionRequired);
    for (options, when_offered, when_not) in [
        (open(), Ok(true), Ok(false)),
        (waived(), Ok(true), Ok(false)),
        (encrypted(), Ok(true), Err(Reason::StarttlsNotOffered)),
        (strict(), Ok(true), Err(Reason::StarttlsNotOffered)),
        (without_tls(open()), Ok(false), Ok(false)),
        (without_tls(encrypted()), unencrypted, unencrypted),
    ] {
        assert_eq!(judge_clear(&options, &peer(), true), when_offered, "{options:?}");
        assert_eq!(judge_clear(&options, &peer(), false), when_not, "{options:?}");
    }
}

#[test]
//= RFC6120-13.9.5-2 test
fn nothing_goes_out_in_clear_or_to_a_bad_certificate_where_that_is_forbidden() {
    let good = valid(&peer());
    let (unencrypted, untrusted) = (Err(Reason::EncryptionRequired), Err(Reason::CertUnknownIssuer));
    for (options, in_clear, with_bad) in [
        (open(), Ok(()), Ok(())),
        (waived(), Ok(()), Ok(())),
        (encrypted(), unencrypted, Ok(())),
        (strict(), unencrypted, untrusted),
    ] {
        assert_eq!(judge_outbound(&options, &peer(), Protection::Clear), in_clear, "{options:?}");
        assert_eq!(judge_outbound(&options, &peer(), Protection::Tls(&BAD)), with_bad, "{options:?}");
        assert_eq!(judge_outbound(&options, &peer(), Protection::Tls(&good)), Ok(()), "{options:?}");
    }
}

#[test]
//= RFC6120-6.3.4-5 test
//= RFC6120-6.3.1-1 test
//= RFC6120-13.6-1 test
fn we_prove_ourselves_by_external_if_we_can_and_by_dialback_if_we_may() {
    let good = valid(&peer());
    let tls = Protection::Tls(&good);
    let external = |then_dialback| Ok(Authentication::External { then_dialback });
    let dialback = Ok(Authentication::Dialback);
    let none = Err(Reason::ExternalNotOffered);
    let permitted = HostOptions { dialback_to_verified: true, ..strict() };
    // What is offered: EXTERNAL, dialback.
    for (options, both, external_alone, dialback_alone) in [
        (open(), external(true), external(false), dialback),
        (waived(), external(true), external(false), dialback),
        (strict(), external(false), external(false), none),
        (permitted.clone(), external(true), external(false), dialback),
        (without_external(open()), dialback, none, dialback),
        (without_external(strict()), none, none, none),
        (without_dialback(open()), external(false), external(false), none),
        (without_dialback(permitted), external(false), external(false), none),
    ] {
        let found = |external, dialback| authenticate(&options, &peer(), tls, external, dialback);
        assert_eq!(found(true, true), both, "{options:?}");
        assert_eq!(found(true, false), external_alone, "{options:?}");
        assert_eq!(found(false, true), dialback_alone, "{options:?}");
        assert_eq!(found(false, false), none, "{options:?}");
    }
    assert_eq!(authenticate(&open(), &peer(), Protection::Clear, true, true), dialback, "EXTERNAL needs TLS");
    assert_eq!(authenticate(&open(), &peer(), Protection::Clear, true, false), none);
}

#[test]
fn a_pair_that_is_up_stays_so_only_while_its_proof_would_count() {
    let good = valid(&peer());
    let (clear, tls, bad) = (Protection::Clear, Protection::Tls(&good), Protection::Tls(&BAD));
    let denied = HostOptions { deny_domains: list(&["p.example"]), ..open() };
    let no_dialback = Err(Reason::DialbackDeniedByPolicy);
    let untrusted = Err(Reason::CertUnknownIssuer);
    for (options, by, protection, verdict) in [
        (open(), Method::External, tls, Ok(())),
        (open(), Method::Certificate, tls, Ok(())),
        (open(), Method::Dialback, tls, Ok(())),
        (open(), Method::Dialback, bad, Ok(())),
        (open(), Method::Dialback, clear, Ok(())),
        (open(), Method::External, bad, untrusted),
        (open(), Method::Certificate, bad, untrusted),
        (strict(), Method::Dialback, bad, untrusted),
        (strict(), Method::Dialback, clear, Err(Reason::EncryptionRequired)),
        (encrypted(), Method::Dialback, clear, Err(Reason::EncryptionRequired)),
        (encrypted(), Method::Dialback, bad, Ok(())),
        (without_external(open()), Method::External, tls, Err(Reason::Reload)),
        (without_external(open()), Method::Certificate, tls, Ok(())),
        (without_external(open()), Method::Dialback, clear, Ok(())),
        (without_dialback(open()), Method::External, tls, Ok(())),
        (without_dialback(open()), Method::Certificate, tls, no_dialback),
        (without_dialback(open()), Method::Dialback, clear, no_dialback),
        (without_tls(open()), Method::Dialback, tls, Err(Reason::Reload)),
        (without_tls(open()), Method::Dialback, clear, Ok(())),
        (denied, Method::External, tls, Err(Reason::DomainDenied)),
        (without_s2s(open()), Method::External, tls, Err(Reason::HostDisabled)),
    ] {
        assert_eq!(judge_again(&options, &peer(), by, protection), verdict, "{by} {protection:?} {options:?}");
    }
}

#[test]
fn a_pair_in_which_we_proved_ourselves_stays_up_only_while_we_might_do_that_again() {
    let good = valid(&peer());
    let (clear, tls, bad) = (Protection::Clear, Protection::Tls(&good), Protection::Tls(&BAD));
    let (dialback, external) = (Method::Dialback, Method::External);
    let no_dialback = Err(Reason::DialbackDeniedByPolicy);
    let anonymous = HostOptions { anonymous: true, ..open() };
    for (options, by, protection, verdict) in [
        (open(), external, tls, Ok(())),
        (open(), external, bad, Ok(())),
        (open(), dialback, clear, Ok(())),
        (encrypted(), dialback, clear, Err(Reason::EncryptionRequired)),
        (strict(), external, tls, Ok(())),
        (strict(), external, bad, Err(Reason::CertUnknownIssuer)),
        (strict(), dialback, tls, no_dialback),
        (HostOptions { dialback_to_verified: true, ..strict() }, dialback, tls, Ok(())),
        (without_dialback(open()), dialback, tls, no_dialback),
        (without_dialback(open()), external, tls, Ok(())),
        (without_external(open()), external, tls, Err(Reason::Reload)),
        (without_external(open()), dialback, tls, Ok(())),
        (without_tls(open()), dialback, tls, Err(Reason::Reload)),
        (without_tls(open()), dialback, clear, Ok(())),
        (anonymous, external, tls, Err(Reason::AnonymousHost)),
    ] {
        let seen = judge_ourselves_again(&options, &peer(), by, protection);
        assert_eq!(seen, verdict, "{by} {protection:?} {options:?}");
    }
}

fn admitted(encryption: Encryption, certificate_demanded: bool, methods: &[Method], decided_by: Rule) -> Explanation {
    Explanation { admitted: Ok(()), encryption, certificate_demanded, methods: methods.to_vec(), decided_by }
}

fn refused(encryption: Encryption, certificate_demanded: bool, reason: Reason, decided_by: Rule) -> Explanation {
    Explanation { admitted: Err(reason), encryption, certificate_demanded, methods: Vec::new(), decided_by }
}

#[test]
fn what_is_demanded_of_a_peer_is_explained_with_the_option_that_decides() {
    use Encryption::{None, Optional, Required};
    use Method::{Certificate, Dialback, External};
    let all = [External, Certificate, Dialback];
    let denied = HostOptions { deny_domains: list(&["p.example"]), ..open() };
    for (options, certificate, explanation) in [
        (open(), true, admitted(Optional, false, &all, Rule::Default)),
        (open(), false, admitted(None, false, &[Dialback], Rule::Certificates)),
        (encrypted(), true, admitted(Required, false, &all, Rule::RequireEncryption)),
        (encrypted(), false, refused(Required, false, Reason::EncryptionRequired, Rule::Certificates)),
        (strict(), true, admitted(Required, true, &[External, Certificate], Rule::SecureAuth)),
        (waived(), true, admitted(Optional, false, &all, Rule::InsecureDomains)),
        (without_tls(open()), true, admitted(None, false, &[Dialback], Rule::ModulesDisabled)),
        (without_tls(encrypted()), true, refused(Required, false, Reason::EncryptionRequired, Rule::ModulesDisabled)),
        (without_external(open()), true, admitted(Optional, false, &[Certificate, Dialback], Rule::ModulesDisabled)),
        (without_dialback(open()), true, admitted(Optional, false, &[External], Rule::ModulesDisabled)),
        (without_dialback(open()), false, refused(None, false, Reason::DialbackDeniedByPolicy, Rule::ModulesDisabled)),
        (
            without_dialback(without_external(strict())),
            true,
            refused(Required, true, Reason::DialbackDeniedByPolicy, Rule::ModulesDisabled),
        ),
        (denied, true, refused(Optional, false, Reason::DomainDenied, Rule::DenyDomains)),
    ] {
        let found = explain(&options, &peer(), Direction::Inbound, certificate);
        assert_eq!(found, explanation, "{options:?} {certificate}");
    }
}

#[test]
fn what_is_done_towards_a_peer_is_explained_with_the_option_that_decides() {
    use Encryption::{None, Optional, Required};
    use Method::{Dialback, External};
    let both = [External, Dialback];
    let no_way = Reason::ExternalNotOffered;
    let allowed = HostOptions { allow_domains: list(&["q.example"]), ..open() };
    let anonymous = HostOptions { anonymous: true, ..open() };
    let permitted = HostOptions { dialback_to_verified: true, ..strict() };
    for (options, certificate, explanation) in [
        (open(), true, admitted(Optional, false, &both, Rule::Default)),
        (open(), false, admitted(Optional, false, &[Dialback], Rule::Certificates)),
        (encrypted(), false, admitted(Required, false, &[Dialback], Rule::Certificates)),
        (strict(), true, admitted(Required, true, &[External], Rule::SecureAuth)),
        (permitted, true, admitted(Required, true, &both, Rule::SecureAuth)),
        (strict(), false, refused(Required, true, no_way, Rule::Certificates)),
        (without_external(strict()), true, refused(Required, true, no_way, Rule::ModulesDisabled)),
        (without_dialback(open()), true, admitted(Optional, false, &[External], Rule::ModulesDisabled)),
        (without_dialback(open()), false, refused(Optional, false, no_way, Rule::ModulesDisabled)),
        (without_tls(open()), true, admitted(None, false, &[Dialback], Rule::ModulesDisabled)),
        (without_dialback(without_tls(open())), true, refused(None, false, no_way, Rule::ModulesDisabled)),
        (without_tls(strict()), true, refused(Required, true, Reason::EncryptionRequired, Rule::ModulesDisabled)),
        (allowed, true, refused(Optional, false, Reason::DomainDenied, Rule::AllowDomains)),
        (anonymous, true, refused(Optional, false, Reason::AnonymousHost, Rule::Anonymous)),
        (without_s2s(open()), true, refused(Optional, false, Reason::HostDisabled, Rule::ModulesDisabled)),
    ] {
        let found = explain(&options, &peer(), Direction::Outbound, certificate);
        assert_eq!(found, explanation, "{options:?} {certificate}");
    }
}

#[test]
fn options_and_encryption_are_shown_by_their_words() {
    for (rule, name) in [
        (Rule::Pins, "s2s_pins"),
        (Rule::SecureDomains, "s2s_secure_domains"),
        (Rule::InsecureDomains, "s2s_insecure_domains"),
        (Rule::SecureAuth, "s2s_secure_auth"),
        (Rule::RequireEncryption, "s2s_require_encryption"),
        (Rule::AllowDomains, "s2s_allow_domains"),
        (Rule::DenyDomains, "s2s_deny_domains"),
        (Rule::ModulesDisabled, "modules_disabled"),
        (Rule::Anonymous, "anonymous"),
        (Rule::Certificates, "certificates"),
        (Rule::BuiltIn, "built-in"),
        (Rule::Default, "default"),
    ] {
        assert_eq!(rule.option(), name);
    }
    for (encryption, word) in
        [(Encryption::Required, "required"), (Encryption::Optional, "optional"), (Encryption::None, "none")]
    {
        assert_eq!(encryption.as_str(), word);
    }
}

#[test]
fn that_no_way_to_prove_ourselves_is_left_comes_from_what_took_the_ways_away() {
    let permitted = HostOptions { dialback_to_verified: true, ..strict() };
    for (options, rule) in [
        (open(), None),
        (permitted.clone(), None),
        (without_external(open()), None),
        (strict(), Some(Rule::SecureAuth)),
        (without_external(strict()), Some(Rule::ModulesDisabled)),
        (without_dialback(open()), Some(Rule::ModulesDisabled)),
        (without_dialback(permitted), Some(Rule::SecureAuth)),
        (without_dialback(without_external(open())), Some(Rule::ModulesDisabled)),
    ] {
        let found = rule_behind(&options, &peer(), Direction::Outbound, Reason::ExternalNotOffered);
        assert_eq!(found, rule, "{options:?}");
    }
}

#[test]
fn a_key_that_is_not_the_pinned_one_ends_the_stream_although_no_certificate_is_demanded() {
    let other: Result<Verified, Rejection> = Err(Rejection::PinMismatch);
    let tls = Protection::Tls(&other);
    for options in [open(), waived()] {
        assert!(!options.is_strict(&peer()));
        assert_eq!(offer(&options, Some(&peer()), tls, true), Err(Reason::CertPinMismatch));
        assert_eq!(judge_key(&options, &peer(), tls), KeyVerdict::Refuse(Reason::CertPinMismatch));
        assert_eq!(judge_outbound(&options, &peer(), tls), Err(Reason::CertPinMismatch));
        assert_eq!(judge_again(&options, &peer(), Method::Dialback, tls), Err(Reason::CertPinMismatch));
    }
}
