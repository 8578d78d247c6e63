//! `s2s_stanza_size_limit`.

use std::net::SocketAddr;

use s2s_core::limits::MIN_STANZA_BYTES;
use s2s_core::machine::Listener;
use s2s_core::node::Config;
use s2s_core::reason::Reason;
use s2s_core::stanza::StanzaCondition;
use s2s_tests::certificates::Kind;
use s2s_tests::puppetry::{AUTH, PROCEED, STARTTLS, Tls, header, response};
use s2s_tests::world::{Cutting, NodeIndex, Puppet, World, domain};

use crate::federations::{IN, OURS, OUT, THEIRS, Told, Two, addr, authority, config, lax, message, secure};

const LIMIT: usize = 20_000;

/// A message of that many bytes.
fn sized(from: &str, to: &str, id: &str, bytes: usize) -> String {
    let empty = format!("<message from='x@{from}' to='y@{to}' id='{id}'><body></body></message>");
    empty.replace("<body>", &format!("<body>{}", "x".repeat(bytes - empty.len())))
}

fn limited(kind: Option<Kind>) -> Config {
    let mut config = config(OURS, kind, lax());
    config.stanza_bytes = LIMIT;
    config
}

/// A puppet inside TLS, before authentication.
fn stranger(cutting: Cutting) -> (World, NodeIndex, Puppet, Tls) {
    let mut world = World::new(cutting);
    world.tap = Some(std::collections::BTreeMap::new());
    let node = world.add(addr(1), limited(Some(Kind::Valid)));
    let puppet = world.connect(node, Listener::StartTls);
    world.say(puppet, header(THEIRS, OURS));
    let clear = {
        world.say(puppet, STARTTLS);
        world.hear_text(puppet)
    };
    assert!(clear.ends_with(PROCEED) && !clear.contains("<limits "), "{clear}");
    let chain = authority().issue_kind(Kind::Valid, &domain(THEIRS)).chain;
    let tls = Tls::connect(&mut world, puppet, &domain(THEIRS), chain, &domain(OURS));
    (world, node, puppet, tls)
}

/// A puppet that has proved itself, and the features after that.
fn authenticated(cutting: Cutting) -> (World, NodeIndex, Puppet, Tls, String) {
    let (mut world, node, puppet, mut tls) = stranger(cutting);
    let features = tls.say(&mut world, &header(THEIRS, OURS));
    assert!(!features.contains("<limits "), "before authentication nothing is promised: {features}");
    assert!(tls.say(&mut world, AUTH).contains("<success "));
    let features = tls.say(&mut world, &header(THEIRS, OURS));
    world.take_events(node);
    (world, node, puppet, tls, features)
}

#[test]
//= RFC6120-13.12-4 test
//= XEP0205-4.5-1 test
//= RFC6120-13.12-6 test
fn s2s_stanza_size_limit_is_exact_to_the_byte() {
    for cutting in [Cutting::Whole, Cutting::Pieces(1000), Cutting::Random(7)] {
        let (mut world, node, puppet, mut tls, _) = authenticated(cutting);
        assert_eq!(tls.say(&mut world, &sized(THEIRS, OURS, "at the limit", LIMIT)), "");
        assert_eq!(Told::of(&world.take_events(node)).delivered, ["at the limit"], "{cutting:?}");
        let heard = tls.say(&mut world, &sized(THEIRS, OURS, "over it", LIMIT + 1));
        assert!(heard.starts_with("<stream:error><policy-violation "), "{cutting:?}: {heard}");
        assert!(heard.ends_with("</stream:stream>"), "{heard}");
        let told = Told::of(&world.take_events(node));
        assert_eq!(told.delivered, Vec::<String>::new());
        assert_eq!(told.down, [(IN, Reason::StanzaTooBig)]);
        world.hang_up(puppet);
        assert!(world.has_ended(puppet));
    }
}

#[test]
fn s2s_stanza_size_limit_does_not_wait_for_the_end_of_the_stanza() {
    let (mut world, node, _, mut tls, _) = authenticated(Cutting::Whole);
    let whole = sized(THEIRS, OURS, "endless", 10 * LIMIT);
    let heard = tls.say(&mut world, &whole[..LIMIT + 1]);
    assert!(heard.starts_with("<stream:error><policy-violation "), "{heard}");
    assert_eq!(Told::of(&world.take_events(node)).down, [(IN, Reason::StanzaTooBig)]);
}

#[test]
fn s2s_stanza_size_limit_counts_each_stanza_anew() {
    let (mut world, node, _, mut tls, _) = authenticated(Cutting::Whole);
    let many: String = (0..20).map(|n| sized(THEIRS, OURS, &n.to_string(), LIMIT - 1)).collect();
    assert_eq!(tls.say(&mut world, &many), "");
    assert_eq!(Told::of(&world.take_events(node)).delivered.len(), 20);
}

#[test]
//= XEP0478-3.1-1 test
//= XEP0478-4-3 test
fn s2s_stanza_size_limit_is_advertised_after_authentication() {
    let (_, _, _, _, features) = authenticated(Cutting::Whole);
    let limits = format!("<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>{LIMIT}</max-bytes></limits>");
    assert!(features.contains(&limits), "{features}");
}

#[test]
fn s2s_stanza_size_limit_is_ten_thousand_bytes_before_authentication() {
    let (mut world, node, _, mut tls) = stranger(Cutting::Whole);
    tls.say(&mut world, &header(THEIRS, OURS));
    let key = |bytes: usize| {
        let empty = format!("<db:result from='{THEIRS}' to='{OURS}'></db:result>");
        empty.replace("></", &format!(">{}</", "x".repeat(bytes - empty.len())))
    };
    let heard = tls.say(&mut world, &key(10_001));
    assert!(heard.starts_with("<stream:error><policy-violation "), "{heard}");
    assert_eq!(Told::of(&world.take_events(node)).refused, [(IN, Reason::StanzaTooBig)]);
}

#[test]
//= XEP0478-4-1 test
//= XEP0478-4-2 test
fn the_size_limit_of_the_peer_is_honoured_and_the_stream_stays() {
    let mut theirs = config(THEIRS, Some(Kind::Valid), secure());
    theirs.stanza_bytes = LIMIT;
    let mut two = Two::new(config(OURS, Some(Kind::Valid), secure()), theirs);
    for (id, bytes) in [("before", LIMIT), ("too big", LIMIT + 1), ("after", LIMIT)] {
        two.world.send(two.ours, &sized(OURS, THEIRS, id, bytes));
    }
    let (ours, theirs) = two.told();
    assert_eq!(ours.bounced, [Reason::StanzaTooBig]);
    assert_eq!(theirs.delivered, ["before", "after"]);
    // The same on a stream that is up already.
    two.world.send(two.ours, &sized(OURS, THEIRS, "too big", LIMIT + 1));
    two.world.send(two.ours, &message(OURS, THEIRS, "small"));
    let (ours, theirs) = two.told();
    assert_eq!(ours, Told { bounced: vec![Reason::StanzaTooBig], ..Told::default() });
    assert_eq!(theirs, Told { delivered: vec!["small".to_owned()], ..Told::default() });
    assert_eq!(Reason::StanzaTooBig.bounce(), StanzaCondition::PolicyViolation);
}

#[test]
//= RFC6120-13.12-5 test
fn a_limit_below_the_smallest_that_may_be_deployed_counts_as_that_one() {
    let mut theirs = config(THEIRS, Some(Kind::Valid), secure());
    theirs.stanza_bytes = 0;
    let mut two = Two::new(config(OURS, Some(Kind::Valid), secure()), theirs);
    for (id, bytes) in [("at the limit", MIN_STANZA_BYTES), ("over it", MIN_STANZA_BYTES + 1)] {
        two.world.send(two.ours, &sized(OURS, THEIRS, id, bytes));
    }
    let (ours, theirs) = two.told();
    assert_eq!(ours.bounced, [Reason::StanzaTooBig]);
    assert_eq!(theirs.delivered, ["at the limit"]);
}

/// The next stream that the node opens to the puppet at `server`, proved by dialback.
fn accepted(world: &mut World, server: SocketAddr) -> Puppet {
    let puppet = world.accept(server).expect("the node dials");
    let features = "<stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>";
    world.say(puppet, response(THEIRS, OURS, "1") + features);
    assert!(world.hear_text(puppet).contains("<db:result "));
    puppet
}

#[test]
fn a_stanza_that_ends_every_stream_in_its_middle_goes_back_and_lets_the_others_through() {
    let mut world = World::new(Cutting::Whole);
    world.tap = Some(std::collections::BTreeMap::new());
    let node = world.add(addr(1), config(OURS, None, lax()));
    let server = SocketAddr::new(addr(9), 5269);
    world.publish(THEIRS, addr(9), true, false);
    world.listen(server);
    world.send(node, &sized(OURS, THEIRS, "poison", 2 * LIMIT));
    world.send(node, &message(OURS, THEIRS, "behind"));
    for round in 0..2 {
        let puppet = accepted(&mut world, server);
        assert_eq!(Told::of(&world.take_events(node)).bounced, [], "round {round}");
        world.break_while(puppet, format!("<db:result from='{THEIRS}' to='{OURS}' type='valid'/>"), LIMIT);
    }
    assert_eq!(Told::of(&world.take_events(node)).bounced, [Reason::ConnectionReset]);
    let puppet = accepted(&mut world, server);
    world.say(puppet, format!("<db:result from='{THEIRS}' to='{OURS}' type='valid'/>"));
    let heard = world.hear_text(puppet);
    assert!(heard.starts_with("<message ") && heard.contains("id='behind'") && !heard.contains("poison"), "{heard}");
}

#[test]
fn a_stanza_over_a_limit_that_the_peer_did_not_tell_ends_the_stream_and_not_the_federation() {
    // Limits stand in the features after EXTERNAL; after dialback there are none.
    let mut theirs = config(THEIRS, None, lax());
    theirs.stanza_bytes = LIMIT;
    let mut two = Two::new(config(OURS, None, lax()), theirs);
    two.federate();
    two.world.send(two.ours, &sized(OURS, THEIRS, "too big", LIMIT + 1));
    let (ours, theirs) = two.told();
    assert_eq!(ours.down, [(OUT, Reason::PeerStreamError)], "{ours:?}");
    assert_eq!(ours.uncertain, 2, "nobody says that the first has arrived, or that this one has not: {ours:?}");
    assert_eq!(theirs.down, [(IN, Reason::StanzaTooBig)], "{theirs:?}");
    let (_, theirs) = two.there();
    assert_eq!(theirs.delivered, ["there"]);
}
