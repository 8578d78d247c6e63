//! `anonymous` and `allow_anonymous_s2s`.

use s2s_core::auth::Method;
use s2s_core::policy::HostOptions;
use s2s_core::reason::Reason;
use s2s_core::stanza::StanzaCondition;
use s2s_tests::certificates::Kind;

use crate::federations::{IN, OURS, OUT, THEIRS, Told, Two, lax, message};

fn anonymous(allowed: bool) -> Two {
    let options = HostOptions { anonymous: true, allow_anonymous: allowed, ..lax() };
    Two::with((Some(Kind::Valid), options), (Some(Kind::Valid), lax()))
}

#[test]
fn allow_anonymous_s2s_off_sends_nothing_from_an_anonymous_host_replies_included() {
    let mut two = anonymous(false);
    let (ours, theirs) = two.there();
    assert_eq!(ours, Told { bounced: vec![Reason::AnonymousHost], ..Told::default() });
    assert_eq!(theirs, Told::default(), "nobody was dialled");
    assert_eq!(Reason::AnonymousHost.bounce(), StanzaCondition::NotAllowed);
    two.world.send(two.ours, &format!("<iq type='result' id='1' from='x@{OURS}' to='y@{THEIRS}'/>"));
    assert_eq!(two.told().0.bounced, [Reason::AnonymousHost]);
}

#[test]
fn allow_anonymous_s2s_off_does_not_block_what_comes_in() {
    let mut two = anonymous(false);
    let (ours, theirs) = two.back();
    assert_eq!(ours, Told::up(IN, Method::External).delivered("back"));
    assert_eq!(theirs, Told::up(OUT, Method::External));
}

#[test]
fn allow_anonymous_s2s_off_still_verifies_keys_of_others() {
    let options = HostOptions { anonymous: true, ..lax() };
    let mut two = Two::with((None, options), (None, lax()));
    let (ours, theirs) = two.back();
    assert_eq!(ours, Told::up(IN, Method::Dialback).delivered("back"));
    assert_eq!(theirs, Told::up(OUT, Method::Dialback));
}

#[test]
fn allow_anonymous_s2s_lets_anonymous_users_out() {
    let mut two = anonymous(true);
    assert_eq!(two.federate(), (Method::External, Method::External));
}

#[test]
fn allow_anonymous_s2s_says_nothing_about_other_hosts() {
    let options = HostOptions { anonymous: false, allow_anonymous: false, ..lax() };
    let mut two = Two::with((Some(Kind::Valid), options), (Some(Kind::Valid), lax()));
    assert_eq!(two.federate(), (Method::External, Method::External));
    two.world.send(two.ours, &message(OURS, THEIRS, "1"));
    assert_eq!(two.told().1.delivered, ["1"]);
}
