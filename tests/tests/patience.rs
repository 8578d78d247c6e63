//! What strangers and peers of odd manners can do to our patience with somebody: neither end it, nor spend it for us.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use s2s_core::limits;
use s2s_core::machine::Listener;
use s2s_core::node::{Command, Config, Event};
use s2s_core::policy::{DomainList, HostOptions};
use s2s_core::reason::Reason;
use s2s_core::route::PrivateAddresses;
use s2s_tests::certificates::{Authority, Kind};
use s2s_tests::fake_tls::FakeProvider;
use s2s_tests::puppetry::{AUTH, PROCEED, Tls, asked_id, header, response};
use s2s_tests::world::{Cutting, NodeIndex, Puppet, World, domain};

const A: &str = "a.example.org";
const OTHER: &str = "other.example.org";
const B: &str = "b.example.net";
const DIALBACK: &str = "<stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>";
const UNSUPPORTED: &str = "<stream:error><unsupported-stanza-type xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
                           </stream:error></stream:stream>";
/// Where B is found.
const SERVER: ([u8; 4], u16) = ([192, 0, 2, 9], 5269);

fn server() -> SocketAddr {
    SocketAddr::from(SERVER)
}

fn config() -> Config {
    let authority = Authority::root("the authority");
    let hosts = [A, OTHER].map(domain);
    let chains = hosts.iter().map(|host| (host.clone(), authority.issue_kind(Kind::Valid, host).chain));
    let mut config = World::config(Arc::new(FakeProvider::new(chains.collect())), authority.trust());
    config.private_addresses = PrivateAddresses::Always;
    config.hosts = hosts.into_iter().map(|host| (host, HostOptions::default())).collect();
    config
}

fn world() -> (World, NodeIndex) {
    let mut world = World::new(Cutting::Whole);
    let node = world.add(IpAddr::from([192, 0, 2, 1]), config());
    world.publish(B, server().ip(), true, false);
    (world, node)
}

/// A stranger who claims to be B comes, and makes us ask.
fn stranger(world: &mut World, node: NodeIndex) -> Puppet {
    claim(world, node, A)
}

/// Somebody comes and says that he is B, to this host of ours.
fn claim(world: &mut World, node: NodeIndex, host: &str) -> Puppet {
    let puppet = world.connect(node, Listener::StartTls);
    world.say(puppet, header(B, host) + &format!("<db:result from='{B}' to='{host}'>key</db:result>"));
    puppet
}

fn send(world: &mut World, node: NodeIndex, from: &str) {
    world.send(node, &format!("<message from='x@{from}' to='y@{B}'/>"));
}

/// B says that our key is valid, then `end`.
fn accepts(world: &mut World, puppet: Puppet, end: &str) {
    world.say(puppet, response(B, A, "id") + DIALBACK);
    world.say(puppet, format!("<db:result from='{B}' to='{A}' type='valid'/>"));
    world.say(puppet, end);
    world.hang_up(puppet);
}

fn bounces(world: &mut World, node: NodeIndex) -> Vec<Reason> {
    let events = world.take_events(node);
    let reasons = events.iter().filter_map(|event| match event {
        Event::Undeliverable { reason, .. } => Some(*reason),
        _ => None,
    });
    reasons.collect()
}

/// B takes our key and our stanzas, and says goodbye then; of questions it knows nothing. How many stanzas it got.
fn takes_stanzas_and_no_questions(world: &mut World) -> usize {
    let mut taken = 0;
    while let Some(puppet) = world.accept(server()) {
        world.say(puppet, response(B, A, "id") + DIALBACK);
        if world.hear_text(puppet).contains("<db:verify") {
            world.say(puppet, UNSUPPORTED);
        } else {
            world.say(puppet, format!("<db:result from='{B}' to='{A}' type='valid'/>"));
            taken += world.hear_text(puppet).matches("<message").count();
            world.say(puppet, "</stream:stream>");
        }
        world.hang_up(puppet);
    }
    taken
}

#[test]
fn a_stranger_whose_keys_cannot_be_verified_does_not_keep_us_from_sending_to_the_domain_that_it_claims() {
    let (mut world, node) = world();
    world.listen(server());
    let (mut sent, mut taken) = (0, 0);
    for second in 0..600 {
        let puppet = stranger(&mut world, node);
        taken += takes_stanzas_and_no_questions(&mut world);
        if second % 30 == 29 {
            send(&mut world, node, A);
            sent += 1;
        }
        world.run_for(Duration::from_secs(1));
        taken += takes_stanzas_and_no_questions(&mut world);
        world.break_off(puppet);
    }
    assert_eq!((taken, bounces(&mut world, node)), (sent, vec![]));
}

#[test]
fn that_questions_are_not_answered_keeps_no_host_of_ours_from_sending() {
    let (mut world, node) = world();
    world.listen(server());
    stranger(&mut world, node);
    let asked = world.accept(server()).expect("dialled");
    world.say(asked, response(B, A, "id") + DIALBACK);
    assert!(world.hear_text(asked).contains("<db:verify"));
    world.run_for(limits::ATTEMPT);
    send(&mut world, node, OTHER);
    world.run();
    assert_eq!(bounces(&mut world, node), []);
}

#[test]
fn strangers_that_go_before_their_keys_are_verified_do_not_make_us_dial_again_and_again() {
    let (mut world, node) = world();
    world.swallow(server());
    for minute in 0..3 {
        for _ in 0..600 {
            let puppet = stranger(&mut world, node);
            world.run_for(Duration::from_millis(100));
            world.break_off(puppet);
        }
        let dials = world.take_dials().iter().filter(|(_, to)| *to == server()).count();
        // In the first one nobody knows yet that there is no answer.
        assert!(minute == 0 || dials <= 9, "{dials} in minute {minute}");
    }
}

#[test]
fn who_accepts_us_and_then_breaks_the_rules_at_once_is_waited_for() {
    let (mut world, node) = world();
    world.listen(server());
    for minute in 0..5 {
        for _ in 0..60 {
            (0..5).for_each(|_| send(&mut world, node, A));
            world.run_for(Duration::from_secs(1));
            while let Some(puppet) = world.accept(server()) {
                accepts(&mut world, puppet, &format!("<message from='{B}' to='{A}'/>"));
            }
        }
        let dials = world.take_dials().len();
        assert!(dials <= 9, "{dials} in minute {minute}");
    }
}

#[test]
fn one_stanza_for_who_accepts_us_and_says_goodbye_without_taking_it_is_a_few_attempts_and_no_more() {
    let (mut world, node) = world();
    world.listen(server());
    send(&mut world, node, A);
    let mut dials = 0;
    while let Some(puppet) = world.accept(server()) {
        dials += 1;
        assert!(dials <= 9, "at one instant");
        world.say(puppet, response(B, A, "id") + DIALBACK);
        let goodbye = format!("<db:result from='{B}' to='{A}' type='valid'/></stream:stream>");
        world.break_while(puppet, goodbye, 0);
    }
}

#[test]
fn a_reload_changes_how_often_one_address_may_connect() {
    let (mut world, node) = world();
    let come = |world: &mut World, rate| {
        let mut limited = config();
        limited.limits.connection_rate_per_address = rate;
        world.command(node, Command::Reconfigure(Box::new(limited)));
        let from = |port| SocketAddr::from(([198, 51, 100, 7], port));
        (0..50).filter(|n| world.connect_from(node, Listener::StartTls, from(1000 + n)).is_some()).count()
    };
    assert_eq!(come(&mut world, 1), 2);
    assert_eq!(come(&mut world, 100), 50);
}

#[test]
fn who_leaves_a_key_unanswered_is_tried_for_another_host() {
    let (mut world, node) = world();
    world.listen(server());
    send(&mut world, node, A);
    let silent = world.accept(server()).expect("dialled");
    world.say(silent, response(B, A, "id") + DIALBACK);
    assert!(world.hear_text(silent).contains("<db:result"));
    world.run_for(limits::NEGOTIATION);
    let events = world.take_events(node);
    let reasons = events.iter().filter_map(|event| match event {
        Event::Undeliverable { reason, .. } => Some(("comes back", *reason)),
        Event::Refused { reason, .. } => Some(("is reported", *reason)),
        _ => None,
    });
    let expected = [("is reported", Reason::DialbackTimeout), ("comes back", Reason::DialbackTimeout)];
    assert_eq!(reasons.collect::<Vec<_>>(), expected);
    send(&mut world, node, A);
    world.run();
    assert_eq!(bounces(&mut world, node), [Reason::DialbackTimeout], "this one waits");
    send(&mut world, node, OTHER);
    assert!(world.accept(server()).is_some(), "the peer lives");
}

#[test]
fn what_one_host_may_not_ask_another_may() {
    let (mut world, node) = world();
    world.listen(server());
    let mut config = config();
    config.hosts.insert(domain(A), HostOptions { tls_disabled: true, ..HostOptions::default() });
    world.command(node, Command::Reconfigure(Box::new(config)));
    let demands = "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>\
                   </stream:features>";
    stranger(&mut world, node);
    let asked = world.accept(server()).expect("dialled");
    world.say(asked, response(B, A, "id") + demands);
    let refusals = |events: Vec<Event>| {
        let reasons = events.into_iter().filter_map(|event| match event {
            Event::Refused { reason, .. } => Some(reason),
            _ => None,
        });
        reasons.collect::<Vec<_>>()
    };
    assert_eq!(refusals(world.take_events(node))[0], Reason::EncryptionRequired);
    // The same host does not ask again, another one does.
    stranger(&mut world, node);
    assert!(world.accept(server()).is_none());
    claim(&mut world, node, OTHER);
    assert!(world.accept(server()).is_some());
}

#[test]
fn where_tls_fails_for_one_host_another_may_ask_all_the_same() {
    let (mut world, node) = world();
    world.listen(server());
    stranger(&mut world, node);
    let asked = world.accept(server()).expect("dialled");
    let offers = "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>";
    world.say(asked, response(B, A, "id") + offers);
    assert!(world.hear_text(asked).contains("<starttls "));
    world.say(asked, PROCEED);
    world.say(asked, "this is no TLS, as a version is none that one host does not want");
    stranger(&mut world, node);
    assert!(world.accept(server()).is_none(), "the same host does not ask again");
    claim(&mut world, node, OTHER);
    assert!(world.accept(server()).is_some(), "another one may want less");
}

#[test]
//= XEP0220-2.5-7 test
fn a_domain_that_its_own_server_does_not_serve_is_not_found() {
    for (condition, answer) in [
        ("host-unknown", "remote-server-not-found"),
        ("host-gone", "remote-server-not-found"),
        ("undefined-condition", "remote-server-timeout"),
    ] {
        let (mut world, node) = world();
        world.listen(server());
        let puppet = stranger(&mut world, node);
        let asked = world.accept(server()).expect("dialled");
        let error = format!("<stream:error><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>");
        world.say(asked, response(B, A, "id") + &error + "</stream:stream>");
        let heard = world.hear_text(puppet);
        assert!(heard.contains(&format!("<{answer} ")), "{condition}: {heard}");
    }
}

#[test]
//= RFC6120-13.12-1 test
fn what_a_server_says_on_a_stream_of_ours_stays_bounded_since_it_has_proved_nothing() {
    let (mut world, node) = world();
    world.listen(server());
    send(&mut world, node, A);
    let puppet = world.accept(server()).expect("dialled");
    world.say(puppet, response(B, A, "id") + DIALBACK);
    world.say(puppet, format!("<db:result from='{B}' to='{A}' type='valid'/>"));
    assert!(world.hear_text(puppet).contains("<message "));
    world.say(puppet, format!("<message><body>{}", "x".repeat(limits::UNAUTHENTICATED_ELEMENT_BYTES)));
    assert!(world.hear_text(puppet).contains("<stream:error><policy-violation "), "it never ends");
}

/// The server of B lets us begin TLS, and offers EXTERNAL and dialback inside of it; what it gets then.
fn offer_both(world: &mut World, puppet: Puppet) -> (Tls, String) {
    let starttls = "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>";
    world.say(puppet, response(B, A, "id") + starttls);
    assert!(world.hear_text(puppet).contains("<starttls "));
    world.say(puppet, PROCEED);
    let chain = Authority::root("the authority").issue_kind(Kind::Valid, &domain(B)).chain;
    let mut tls = Tls::accept(world, puppet, &domain(B), chain);
    let features = "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\
                    <mechanism>EXTERNAL</mechanism></mechanisms>\
                    <dialback xmlns='urn:xmpp:features:dialback'/></stream:features>";
    let heard = tls.hear(world) + &tls.say(world, &(response(B, A, "inside") + features));
    (tls, heard)
}

#[test]
//= XEP0178-3-7 test
fn who_ends_the_stream_over_external_is_dialled_once_more_and_gets_a_key() {
    const FAILURE: &str = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>";
    for pieces in [vec![format!("{FAILURE}</stream:stream>")], vec![FAILURE.to_owned(), "</stream:stream>".to_owned()]]
    {
        let (mut world, node) = world();
        world.listen(server());
        send(&mut world, node, A);
        let first = world.accept(server()).expect("dialled");
        let (mut tls, heard) = offer_both(&mut world, first);
        assert!(heard.contains("<auth "), "{heard}");
        for piece in &pieces {
            tls.say(&mut world, piece);
        }
        tls.close(&mut world);
        let second = world.accept(server()).expect("dialled once more");
        let (mut tls, heard) = offer_both(&mut world, second);
        assert!(heard.contains("<db:result ") && !heard.contains("<auth "), "{heard}");
        let heard = tls.say(&mut world, &format!("<db:result from='{B}' to='{A}' type='valid'/>"));
        assert!(heard.contains("<message "), "{heard}");
        assert_eq!(bounces(&mut world, node), []);
    }
}

#[test]
fn who_ends_the_stream_over_a_key_too_is_not_dialled_a_third_time() {
    let (mut world, node) = world();
    world.listen(server());
    send(&mut world, node, A);
    for _ in 0..2 {
        let puppet = world.accept(server()).expect("dialled");
        let (mut tls, _) = offer_both(&mut world, puppet);
        tls.say(
            &mut world,
            "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure></stream:stream>",
        );
        tls.close(&mut world);
    }
    assert!(world.accept(server()).is_none());
    assert_eq!(bounces(&mut world, node).len(), 1);
}

#[test]
fn who_says_why_it_ends_the_stream_behind_our_key_is_not_dialled_once_more() {
    let (mut world, node) = world();
    world.listen(server());
    send(&mut world, node, A);
    let puppet = world.accept(server()).expect("dialled");
    let (mut tls, _) = offer_both(&mut world, puppet);
    let failure = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>";
    let heard = tls.say(&mut world, failure);
    assert!(heard.starts_with("<db:result "), "{heard}");
    let condition = "<policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>";
    tls.say(&mut world, &format!("<stream:error>{condition}</stream:error></stream:stream>"));
    tls.close(&mut world);
    assert!(world.accept(server()).is_none(), "it has looked at the key, and says what it makes of us");
    assert_eq!(bounces(&mut world, node), [Reason::PeerStreamError]);
}

#[test]
fn whoever_is_connected_to_us_is_dialled_although_another_was_not_reached_at_its_address() {
    for connected in [false, true] {
        let (mut world, node) = world();
        world.publish("c.example.net", server().ip(), true, false);
        world.send(node, &format!("<message from='x@{A}' to='y@c.example.net'/>"));
        world.run();
        assert_eq!(bounces(&mut world, node), [Reason::ConnectRefused]);
        world.listen(server());
        if connected {
            let puppet = world.connect(node, Listener::DirectTls);
            let chain = Authority::root("the authority").issue_kind(Kind::Valid, &domain(B)).chain;
            let mut tls = Tls::connect(&mut world, puppet, &domain(B), chain, &domain(A));
            tls.say(&mut world, &header(B, A));
            assert!(tls.say(&mut world, AUTH).contains("<success"));
        }
        send(&mut world, node, A);
        assert_eq!(world.accept(server()).is_some(), connected);
    }
}

/// B was not reached a while ago, a key of its for [`A`] is being asked about, and one for [`OTHER`] waits for that.
fn one_asked_and_one_held(world: &mut World, node: NodeIndex) -> (Puppet, [Puppet; 2]) {
    let nobody = stranger(world, node);
    world.run_for(limits::BACKOFF_BASE);
    assert!(world.hear_text(nobody).contains("type='error'"), "its server was not reached");
    world.break_off(nobody);
    world.listen(server());
    let peers = [A, OTHER].map(|host| claim(world, node, host));
    let asked = world.accept(server()).expect("the first is asked about");
    assert!(world.accept(server()).is_none(), "and no other");
    for peer in peers {
        assert!(!world.hear_text(peer).contains("type='error'"), "neither is refused");
    }
    (asked, peers)
}

/// The server of B says that the key for `host` is valid.
fn confirm(world: &mut World, asked: Puppet, host: &str) {
    world.say(asked, response(B, host, "id") + DIALBACK);
    let question = world.hear_text(asked);
    let answer = format!("<db:verify from='{B}' to='{host}' id='{}' type='valid'/>", asked_id(&question));
    world.say(asked, answer);
}

#[test]
fn a_key_that_comes_while_another_of_its_domain_is_asked_about_waits_for_that() {
    let (mut world, node) = world();
    let (asked, [first, second]) = one_asked_and_one_held(&mut world, node);
    confirm(&mut world, asked, A);
    assert!(world.hear_text(first).contains("type='valid'"));
    let asked = world.accept(server()).expect("about the other");
    confirm(&mut world, asked, OTHER);
    assert!(world.hear_text(second).contains("type='valid'"));
}

#[test]
fn a_key_that_is_held_is_refused_with_the_one_that_was_asked_about() {
    let (mut world, node) = world();
    let (_silent, peers) = one_asked_and_one_held(&mut world, node);
    world.run_for(limits::NEGOTIATION);
    assert!(world.accept(server()).is_none(), "nobody is asked about the other");
    for peer in peers {
        assert!(world.hear_text(peer).contains("type='error'"));
    }
}

#[test]
fn a_key_that_is_held_is_asked_about_when_its_domain_shows_that_it_lives() {
    let (mut world, node) = world();
    let (_asked, _peers) = one_asked_and_one_held(&mut world, node);
    let puppet = world.connect(node, Listener::DirectTls);
    let chain = Authority::root("the authority").issue_kind(Kind::Valid, &domain(B)).chain;
    let mut tls = Tls::connect(&mut world, puppet, &domain(B), chain, &domain(A));
    tls.say(&mut world, &header(B, A));
    assert!(tls.say(&mut world, AUTH).contains("<success"));
    assert!(world.accept(server()).is_some());
}

#[test]
fn a_key_that_is_held_is_forgotten_with_its_stream() {
    let (mut world, node) = world();
    let (asked, [_, held]) = one_asked_and_one_held(&mut world, node);
    world.say(held, "</stream:stream>");
    confirm(&mut world, asked, A);
    assert!(world.accept(server()).is_none(), "nobody waits for an answer");
    assert_eq!(world.node(node).measures().verifications, 0);
}

#[test]
fn a_key_that_is_held_is_asked_about_at_a_reload_unless_that_denies_it() {
    for denied in [false, true] {
        let (mut world, node) = world();
        let (asked, _peers) = one_asked_and_one_held(&mut world, node);
        let mut config = config();
        if denied {
            let mut deny_domains = DomainList::default();
            deny_domains.insert(B).expect("a domain");
            config.hosts.insert(domain(OTHER), HostOptions { deny_domains, ..HostOptions::default() });
        }
        world.command(node, Command::Reconfigure(Box::new(config)));
        assert_eq!(world.accept(server()).is_some(), !denied);
        confirm(&mut world, asked, A);
        assert!(world.accept(server()).is_none(), "denied: {denied}");
    }
}

#[test]
//= XEP0220-2.1.2-7 test
fn who_waits_for_what_we_ask_is_told_that_it_could_not_be_asked_and_not_that_it_was_silent_itself() {
    let mut world = World::new(Cutting::Whole);
    let time = Duration::from_secs(5);
    let node = world.add(IpAddr::from([192, 0, 2, 1]), Config { negotiation_timeout: time, ..config() });
    world.publish(B, server().ip(), true, false);
    world.listen(server());
    let puppet = stranger(&mut world, node);
    assert!(world.accept(server()).is_some(), "its server is asked, and says nothing");
    world.run_for(time);
    let heard = world.hear_text(puppet);
    assert!(heard.contains("type='error'") && heard.contains("<remote-server-timeout"), "{heard}");
    assert!(!heard.contains("<stream:error>"), "{heard}");
    world.run_for(time);
    assert!(world.hear_text(puppet).contains("<connection-timeout"), "its own time is over in the end");
}
