//! How many round trips pass from a send to the delivery, in virtual time, and what is risked for having few of them.
//!
//! The TCP handshake counts as one, DNS as none. What travels before the peer has invited it is decision D-52.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use s2s_core::auth::Method;
use s2s_core::node::{Config, Event};
use s2s_core::policy::HostOptions;
use s2s_core::reason::Reason;
use s2s_core::route::PrivateAddresses;
use s2s_tests::certificates::{Authority, Kind};
use s2s_tests::fake_tls::FakeProvider;
use s2s_tests::puppetry::{PROCEED, STARTTLS, Tls};
use s2s_tests::world::{Cutting, NodeIndex, Puppet, World, domain};

const A: &str = "a.example.org";
const B: &str = "b.example.net";

/// There and back.
const ROUND_TRIP: Duration = Duration::from_millis(100);
/// Features with EXTERNAL, and nothing else.
const OFFERS_EXTERNAL: &str = "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\
                               <mechanism>EXTERNAL</mechanism></mechanisms></stream:features>";

const HEADER: &str = "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' \
                      xmlns:db='jabber:server:dialback' from='b.example.net' to='a.example.org' id='puppet' version='1.0'>";

fn addr(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn config(authority: &Authority, host: &str, kind: Kind, secure_auth: bool) -> Config {
    let host = domain(host);
    let chain = authority.issue_kind(kind, &host).chain;
    let mut config = World::config(Arc::new(FakeProvider::new(vec![(host.clone(), chain)])), authority.trust());
    config.private_addresses = PrivateAddresses::Always;
    config.speak_ahead = true;
    config.hosts.insert(host, HostOptions { secure_auth, require_encryption: true, ..HostOptions::default() });
    config
}

/// Two nodes, one round trip apart, that are found by STARTTLS or by direct TLS.
fn world(kind: Kind, secure_auth: bool, direct_tls: bool) -> (World, NodeIndex, NodeIndex) {
    let authority = Authority::root("the authority");
    let mut world = World::new(Cutting::Whole);
    world.latency = ROUND_TRIP / 2;
    let a = world.add(addr(1), config(&authority, A, kind, secure_auth));
    let b = world.add(addr(2), config(&authority, B, kind, secure_auth));
    world.publish(A, addr(1), !direct_tls, direct_tls);
    world.publish(B, addr(2), !direct_tls, direct_tls);
    (world, a, b)
}

fn message(id: &str) -> String {
    format!("<message from='x@{A}' to='y@{B}' id='{id}'><body>x</body></message>")
}

/// Sends from a to b and counts the round trips, in tenths, until the stanza is there.
fn round_trips(world: &mut World, a: NodeIndex, b: NodeIndex) -> u32 {
    world.take_events(b);
    world.send(a, &message("1"));
    for tenths in 0..300 {
        if world.take_events(b).iter().any(|event| matches!(event, Event::Stanza { .. })) {
            return tenths;
        }
        world.run_for(ROUND_TRIP / 10);
    }
    panic!("not delivered: {:?}", world.take_events(a));
}

/// Lets all streams go for want of use.
fn fall_silent(world: &mut World, a: NodeIndex) {
    world.run_for(s2s_core::limits::IDLE + Duration::from_secs(30));
    assert_eq!(world.node(a).connections(), 0, "idle streams have ended");
}

#[test]
fn external_over_starttls_takes_five_and_a_half_and_one_less_next_time() {
    let (mut world, a, b) = world(Kind::Valid, true, false);
    assert_eq!(round_trips(&mut world, a, b), 55);
    fall_silent(&mut world, a);
    assert_eq!(round_trips(&mut world, a, b), 45);
}

#[test]
fn external_over_direct_tls_takes_four_and_a_half_and_one_less_next_time() {
    let (mut world, a, b) = world(Kind::Valid, true, true);
    assert_eq!(round_trips(&mut world, a, b), 45);
    fall_silent(&mut world, a);
    assert_eq!(round_trips(&mut world, a, b), 35);
}

#[test]
fn dialback_over_starttls_takes_nine_and_a_half() {
    let (mut world, a, b) = world(Kind::SelfSigned, false, false);
    assert_eq!(round_trips(&mut world, a, b), 95);
}

#[test]
fn dialback_over_direct_tls_takes_seven_and_a_half() {
    let (mut world, a, b) = world(Kind::SelfSigned, false, true);
    assert_eq!(round_trips(&mut world, a, b), 75);
}

#[test]
fn in_clear_nothing_travels_ahead_but_the_request_for_tls() {
    let (mut world, a, b) = world(Kind::Valid, true, false);
    world.tap = Some([].into());
    round_trips(&mut world, a, b);
    let written: Vec<u8> =
        world.tap.iter().flatten().filter(|((from, _), _)| *from == a).flat_map(|(_, b)| b).copied().collect();
    let clear = written.split(|byte| *byte == 0x16).next().unwrap_or_default();
    let clear = String::from_utf8_lossy(clear);
    assert!(clear.starts_with("<?xml") && clear.ends_with(STARTTLS), "{clear}");
    assert_eq!(clear.matches('<').count(), 3, "declaration, header, request: {clear}");
}

#[test]
fn a_strict_host_sends_nothing_behind_its_header_to_a_peer_whose_certificate_is_bad() {
    let authority = Authority::root("the authority");
    let mut world = World::new(Cutting::Whole);
    let a = world.add(addr(1), config(&authority, A, Kind::Valid, true));
    world.add(addr(2), config(&authority, B, Kind::SelfSigned, false));
    world.publish(B, addr(2), true, false);
    world.tap = Some([].into());
    world.send(a, &message("1"));
    world.run();
    let text = world.plaintext(a).concat();
    assert!(!text.contains("<auth"), "{text}");
    assert!(text.contains("not-authorized"), "the peer is told why: {text}");
}

#[test]
fn whoever_has_no_certificate_that_a_stranger_would_accept_does_not_offer_it_unasked() {
    let authority = Authority::root("the authority");
    let mut world = World::new(Cutting::Whole);
    let a = world.add(addr(1), config(&authority, A, Kind::SelfSigned, false));
    let b = world.add(addr(2), config(&authority, B, Kind::Valid, false));
    world.publish(A, addr(1), true, false);
    world.publish(B, addr(2), true, false);
    world.tap = Some([].into());
    round_trips(&mut world, a, b);
    let text = world.plaintext(a).concat();
    assert!(!text.contains("<auth"), "{text}");
}

#[test]
fn a_peer_that_does_not_offer_external_refuses_it_and_gets_a_key_on_the_same_stream() {
    let authority = Authority::root("the authority");
    let mut world = World::new(Cutting::Whole);
    let a = world.add(addr(1), config(&authority, A, Kind::Valid, false));
    let mut without = config(&authority, B, Kind::Valid, false);
    without.hosts.values_mut().for_each(|options| options.external_disabled = true);
    let b = world.add(addr(2), without);
    world.publish(A, addr(1), true, false);
    world.publish(B, addr(2), true, false);
    world.send(a, &message("1"));
    world.run();
    let events = world.take_events(a);
    let methods: Vec<_> =
        events.iter().filter_map(|event| if let Event::PeerUp { by, .. } = event { Some(*by) } else { None }).collect();
    assert_eq!(methods, [Method::Dialback]);
    let refused = events.iter().find(|event| matches!(event, Event::Refused { .. }));
    assert_eq!(refused, None, "nobody offered it, so nobody has refused it");
    assert!(world.take_events(b).iter().any(|event| matches!(event, Event::Stanza { .. })));
    let dialled = world.take_dialled().iter().filter(|place| place.ip() == addr(2)).count();
    assert_eq!(dialled, 1);
    world.tap = Some([].into());
    fall_silent(&mut world, a);
    world.send(a, &message("2"));
    world.run();
    assert!(!world.plaintext(a).concat().contains("<auth"), "remembered");
}

/// A node that dials a puppet.
fn dialled_puppet(world: &mut World) -> (NodeIndex, SocketAddr) {
    let authority = Authority::root("the authority");
    let a = world.add(addr(1), config(&authority, A, Kind::Valid, true));
    let place = SocketAddr::new(addr(7), 5269);
    world.listen(place);
    world.publish(B, addr(7), true, false);
    (a, place)
}

fn hears(world: &mut World, puppet: Puppet) -> String {
    world.hear_text(puppet)
}

#[test]
fn a_peer_that_cannot_bear_a_request_behind_the_header_is_dialled_once_more_and_never_hurried_again() {
    let mut world = World::new(Cutting::Whole);
    let (a, place) = dialled_puppet(&mut world);
    world.send(a, &message("1"));
    let first = world.accept(place).expect("dialled");
    assert!(hears(&mut world, first).ends_with(STARTTLS), "the request travels with the header");
    world.say(
        first,
        format!(
            "{HEADER}<stream:error><unsupported-stanza-type xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>\
             </stream:stream>"
        ),
    );
    let second = world.accept(place).expect("dialled once more");
    let heard = hears(&mut world, second);
    assert!(!heard.contains("<starttls"), "{heard}");
    world.say(second, format!("{HEADER}<stream:features>{STARTTLS}</stream:features>"));
    assert_eq!(hears(&mut world, second), STARTTLS, "asked for when it was offered");
    world.say(second, "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>");
    world.hang_up(second);
    world.run_for(Duration::from_secs(6));
    let reasons: Vec<_> = world
        .take_events(a)
        .into_iter()
        .filter_map(|event| if let Event::Undeliverable { reason, .. } = event { Some(reason) } else { None })
        .collect();
    assert_eq!(reasons, [Reason::StarttlsRefused], "one stanza, one bounce, with the reason of the second");
    world.run_for(Duration::from_secs(600));
    world.send(a, &message("2"));
    let third = world.accept(place).expect("dialled after the wait");
    assert!(!hears(&mut world, third).contains("<starttls"), "remembered");
}

/// What a peer does to a request that it did not expect.
enum Manner {
    /// Its header, then this.
    Says(&'static str),
    /// It goes without a word.
    Goes,
    /// Its header, then it never says a word.
    Waits,
}

const UNSUPPORTED: &str = "<stream:error><unsupported-stanza-type xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
                           </stream:error></stream:stream>";
const FAILURE: &str = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>";
const OFFERED_AND_REFUSED: &str = "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>\
                                   <failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>";

const MANNERS: [Manner; 6] = [
    Manner::Says(UNSUPPORTED),
    Manner::Says(FAILURE),
    Manner::Says(OFFERED_AND_REFUSED),
    Manner::Says("</stream:stream>"),
    Manner::Goes,
    Manner::Waits,
];

#[test]
fn however_a_peer_falls_over_a_request_that_is_ahead_it_is_dialled_once_more_at_once_and_federates() {
    for (number, manner) in MANNERS.into_iter().enumerate() {
        let authority = Authority::root("the authority");
        let mut world = World::new(Cutting::Whole);
        let a = world.add(addr(1), config(&authority, A, Kind::Valid, true));
        let b = world.add(addr(2), config(&authority, B, Kind::Valid, true));
        world.publish(B, addr(2), true, false);
        let place = SocketAddr::new(addr(2), 5269);
        world.listen(place);
        world.send(a, &message("1"));
        let first = world.accept(place).expect("dialled");
        assert!(hears(&mut world, first).ends_with(STARTTLS), "the request travels with the header");
        world.leave(place);
        match manner {
            Manner::Says(text) => world.say(first, format!("{HEADER}{text}")),
            Manner::Goes => world.hang_up(first),
            Manner::Waits => {
                world.say(first, HEADER);
                world.run_for(Duration::from_secs(11));
            }
        }
        world.run();
        let delivered = |world: &mut World| {
            world.take_events(b).iter().filter(|event| matches!(event, Event::Stanza { .. })).count()
        };
        assert_eq!(delivered(&mut world), 1, "manner {number}: {:?}", world.take_events(a));
        let told = world.take_events(a);
        let up = told.iter().filter(|event| matches!(event, Event::PeerUp { .. })).count();
        assert_eq!((up, told.len()), (1, 1), "manner {number}, nothing else is told: {told:?}");
        world.take_dialled();
        fall_silent(&mut world, a);
        world.tap = Some([].into());
        world.send(a, &message("2"));
        world.run();
        assert_eq!((delivered(&mut world), world.take_dialled().len()), (1, 1), "manner {number}");
        let text = world.plaintext(a).concat();
        let request = text.find(STARTTLS).expect("asked for");
        assert!(text[..request].matches("<stream:stream").count() == 1, "manner {number}: {text}");
    }
}

#[test]
fn a_peer_that_has_not_said_a_word_makes_way_for_others_and_is_not_hurried_next_time() {
    let mut world = World::new(Cutting::Whole);
    let (a, place) = dialled_puppet(&mut world);
    world.send(a, &message("1"));
    let first = world.accept(place).expect("dialled");
    assert!(hears(&mut world, first).ends_with(STARTTLS));
    world.run_for(Duration::from_secs(11));
    assert!(world.accept(place).is_none(), "there was time enough");
    assert!(world.take_events(a).iter().any(|event| matches!(event, Event::Undeliverable { .. })));
    world.run_for(Duration::from_secs(600));
    world.send(a, &message("2"));
    let second = world.accept(place).expect("dialled after the wait");
    let heard = hears(&mut world, second);
    assert!(heard.contains("<stream:stream") && !heard.contains("<starttls"), "{heard}");
}

/// A puppet that has been dialled, inside TLS, and what the node has said there.
fn secured(world: &mut World, authority: &Authority, puppet: Puppet) -> (Tls, String) {
    let host = domain(B);
    assert!(hears(world, puppet).ends_with(STARTTLS));
    world.say(puppet, format!("{HEADER}<stream:features>{STARTTLS}</stream:features>{PROCEED}"));
    let mut tls = Tls::accept(world, puppet, &host, authority.issue_kind(Kind::Valid, &host).chain);
    let heard = tls.hear(world);
    (tls, heard)
}

#[test]
fn a_peer_that_refuses_external_because_it_came_too_early_gets_it_again_on_the_same_stream() {
    let mut world = World::new(Cutting::Whole);
    let (a, place) = dialled_puppet(&mut world);
    world.send(a, &message("1"));
    let puppet = world.accept(place).expect("dialled");
    let authority = Authority::root("the authority");
    let (mut tls, heard) = secured(&mut world, &authority, puppet);
    assert!(heard.contains("<auth"), "{heard}");
    let failure = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><invalid-mechanism/></failure>";
    let heard = tls.say(&mut world, &format!("{HEADER}{OFFERS_EXTERNAL}{failure}"));
    assert!(heard.starts_with("<auth"), "now it is offered: {heard}");
    let heard = tls.say(&mut world, "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
    assert!(heard.contains("<stream:stream"), "{heard}");
    let heard = tls.say(&mut world, &format!("{HEADER}<stream:features/>"));
    assert!(heard.starts_with("<message"), "{heard}");
    fall_silent(&mut world, a);
    world.send(a, &message("2"));
    let puppet = world.accept(place).expect("dialled again");
    assert!(!hears(&mut world, puppet).contains("<starttls"), "it waits for features now");
}

#[test]
fn a_peer_that_does_not_answer_what_it_has_not_offered_is_dialled_once_more_after_two_seconds() {
    let mut world = World::new(Cutting::Whole);
    let (a, place) = dialled_puppet(&mut world);
    world.send(a, &message("1"));
    let puppet = world.accept(place).expect("dialled");
    let authority = Authority::root("the authority");
    let (mut tls, _) = secured(&mut world, &authority, puppet);
    tls.say(
        &mut world,
        &format!("{HEADER}<stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>"),
    );
    world.run_for(s2s_core::limits::UNASKED_ANSWER - Duration::from_millis(1));
    assert!(world.accept(place).is_none(), "the answer may still come");
    world.run_for(Duration::from_millis(2));
    let again = world.accept(place).expect("dialled once more");
    assert!(!hears(&mut world, again).contains("<starttls"), "in turns");
}

#[test]
fn a_peer_that_refuses_our_certificate_is_not_asked_again() {
    let mut world = World::new(Cutting::Whole);
    let (a, place) = dialled_puppet(&mut world);
    world.send(a, &message("1"));
    let puppet = world.accept(place).expect("dialled");
    let authority = Authority::root("the authority");
    let (mut tls, _) = secured(&mut world, &authority, puppet);
    let failure = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>";
    let heard = tls.say(&mut world, &format!("{HEADER}{OFFERS_EXTERNAL}{failure}"));
    assert!(!heard.contains("<auth"), "{heard}");
    let reasons: Vec<_> = world
        .take_events(a)
        .into_iter()
        .filter_map(|event| if let Event::Undeliverable { reason, .. } = event { Some(reason) } else { None })
        .collect();
    assert_eq!(reasons, [Reason::ExternalRefused]);
}

#[test]
fn what_a_peer_says_about_us_is_no_reason_to_dial_it_once_more() {
    let mut world = World::new(Cutting::Whole);
    let (a, place) = dialled_puppet(&mut world);
    world.send(a, &message("1"));
    let first = world.accept(place).expect("dialled");
    world.say(
        first,
        format!(
            "{HEADER}<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>"
        ),
    );
    world.hang_up(first);
    assert!(world.accept(place).is_none());
    assert!(world.take_events(a).iter().any(|event| matches!(event, Event::Undeliverable { .. })));
}

#[test]
//= RFC6120-4.9.1.3-1 test
fn an_error_behind_a_header_that_names_no_domain_is_heard_and_is_no_reason_to_dial_once_more() {
    for domains in ["from=''", "from='127.0.0.1' to='a_b.example'", "from='t.example' to=''"] {
        let mut world = World::new(Cutting::Whole);
        let (a, place) = dialled_puppet(&mut world);
        world.send(a, &message("1"));
        let puppet = world.accept(place).expect("dialled");
        assert!(hears(&mut world, puppet).ends_with(STARTTLS), "the request travels with the header");
        let header = HEADER.replace("from='b.example.net' to='a.example.org'", domains);
        let error = "<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>";
        world.say(puppet, format!("{header}{error}</stream:stream>"));
        assert_eq!(hears(&mut world, puppet), "</stream:stream>", "no error of ours: {domains}");
        world.hang_up(puppet);
        assert!(world.accept(place).is_none(), "one dial: {domains}");
        let events = world.take_events(a);
        let reasons = events.iter().filter_map(|event| match event {
            Event::Undeliverable { reason, .. } => Some(*reason),
            _ => None,
        });
        assert_eq!(reasons.collect::<Vec<_>>(), [Reason::PeerStreamError], "{domains}");
    }
}

#[test]
fn both_ends_report_external_although_it_was_attempted_before_it_was_offered() {
    let (mut world, a, b) = world(Kind::Valid, true, false);
    world.send(a, &message("1"));
    world.run_for(ROUND_TRIP * 8);
    for site in [a, b] {
        let methods: Vec<_> = world
            .take_events(site)
            .into_iter()
            .filter_map(|event| if let Event::PeerUp { by, .. } = event { Some(by) } else { None })
            .collect();
        assert_eq!(methods, [Method::External]);
    }
}

/// What becomes of a connection with a stanza behind a header that the peer has not answered.
enum Fate {
    /// Nothing is heard on it any more.
    Silence,
    Broken,
    /// Its end without an end of TLS, which anybody on the way can make.
    Cut,
    /// The peer says what is no header.
    Babble,
    /// The same, and its closing tag a moment later.
    BabbleInPieces,
    /// The peer ends its side.
    Closed,
}

/// A node sends, and the peer that it dials for that proves itself and takes its certificate.
fn authenticated(world: &mut World, peer: &Peer, id: &str) -> (Puppet, Tls, String) {
    world.send(peer.node, &message(id));
    authenticated_again(world, peer)
}

/// The same, with nothing new to send.
fn authenticated_again(world: &mut World, peer: &Peer) -> (Puppet, Tls, String) {
    let puppet = world.accept(peer.place).expect("dialled");
    let (mut tls, heard) = secured(world, &peer.authority, puppet);
    assert!(heard.contains("<auth"), "{heard}");
    tls.say(world, &format!("{HEADER}{OFFERS_EXTERNAL}"));
    let heard = tls.say(world, "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
    (puppet, tls, heard)
}

/// A peer at `place` whose features `node` knows.
struct Peer {
    node: NodeIndex,
    place: SocketAddr,
    authority: Authority,
}

impl Peer {
    fn met(world: &mut World) -> Self {
        let (node, place) = dialled_puppet(world);
        let peer = Self { node, place, authority: Authority::root("the authority") };
        let (_, mut tls, _) = authenticated(world, &peer, "1");
        assert!(tls.say(world, &format!("{HEADER}<stream:features/>")).starts_with("<message"));
        fall_silent(world, node);
        world.take_events(node);
        peer
    }
}

/// A stanza that went with the header behind `<success/>`, as its peer's features were known, and what came of it.
fn stanza_ahead_of_its_header(fate: &Fate) -> (Vec<Event>, Option<String>) {
    let mut world = World::new(Cutting::Whole);
    let peer = Peer::met(&mut world);
    let (puppet, mut tls, heard) = authenticated(&mut world, &peer, "2");
    assert!(heard.contains("<stream:stream") && heard.contains("<message"), "with the header: {heard}");
    match fate {
        Fate::Silence => world.run_for(s2s_core::limits::IDLE + Duration::from_secs(30)),
        Fate::Broken => world.break_off(puppet),
        Fate::Cut => world.hang_up(puppet),
        Fate::Babble => drop(tls.say(&mut world, UNSUPPORTED)),
        Fate::BabbleInPieces => {
            let (error, goodbye) = UNSUPPORTED.split_at(UNSUPPORTED.len() - "</stream:stream>".len());
            tls.say(&mut world, error);
            tls.say(&mut world, goodbye);
        }
        Fate::Closed => tls.close(&mut world),
    }
    world.run_for(Duration::from_secs(6));
    let again = world.accept(peer.place).map(|puppet| hears(&mut world, puppet));
    (world.take_events(peer.node), again)
}

#[test]
fn behind_a_connection_that_broke_before_its_features_a_stanza_waits_for_those_of_the_next() {
    let mut world = World::new(Cutting::Whole);
    let peer = Peer::met(&mut world);
    let (puppet, ..) = authenticated(&mut world, &peer, "2");
    world.break_off(puppet);
    // What those were is no reason to expect them again.
    for id in ["3", "4"] {
        let (_, mut tls, heard) = authenticated(&mut world, &peer, id);
        assert!(heard.contains("<stream:stream") && !heard.contains("<message"), "{heard}");
        assert!(tls.say(&mut world, &format!("{HEADER}<stream:features/>")).starts_with("<message"));
        fall_silent(&mut world, peer.node);
    }
}

#[test]
fn what_stands_behind_a_header_that_is_never_answered_is_bounded_and_waited_for_as_any_answer_is() {
    let mut world = World::new(Cutting::Whole);
    let peer = Peer::met(&mut world);
    let (_, mut tls, first) = authenticated(&mut world, &peer, "2");
    let stanza = message("3").replace("<body>x", &format!("<body>{}", "x".repeat(1000)));
    for _ in 0..1000 {
        world.send(peer.node, &stanza);
    }
    let sent = first.matches("<message").count() + tls.hear(&mut world).matches("<message").count();
    let most = s2s_core::limits::OUTPUT_LOW_WATER_BYTES / 1000;
    assert!(sent > 1 && sent <= most, "{sent} were sent, of {most}");
    world.run_for(s2s_core::limits::ATTEMPT);
    let events = world.take_events(peer.node);
    let down = |event: &Event| matches!(event, Event::PeerDown { reason: Reason::NegotiationTimeout, .. });
    assert!(events.iter().any(down), "{events:?}");
}

#[test]
fn what_waits_behind_early_stanzas_goes_on_when_a_header_comes_that_promises_no_features() {
    let mut world = World::new(Cutting::Whole);
    let peer = Peer::met(&mut world);
    let (_, mut tls, _) = authenticated(&mut world, &peer, "2");
    for id in 3..200 {
        world.send(peer.node, &format!("<message from='x@{A}' to='y@{B}' id='{id}'>{}</message>", "x".repeat(1000)));
    }
    assert!(!tls.hear(&mut world).contains("id='199'"), "not so many without an answer");
    assert!(tls.say(&mut world, &HEADER.replace(" version='1.0'", "")).contains("id='199'"));
}

#[test]
fn a_stanza_that_was_whole_when_a_later_one_was_interrupted_does_not_come_back() {
    let mut world = World::new(Cutting::Whole);
    let peer = Peer::met(&mut world);
    let (puppet, mut tls, _) = authenticated(&mut world, &peer, "2");
    tls.say(&mut world, &format!("{HEADER}<stream:features/>"));
    world.deafen(puppet);
    world.send(peer.node, &message("3"));
    world.take_bytes(puppet, 1);
    world.break_off(puppet);
    let (puppet, mut tls, heard) = authenticated_again(&mut world, &peer);
    assert!(heard.contains("id='3'"), "behind its header: {heard}");
    world.deafen(puppet);
    world.send(peer.node, &message("4"));
    world.take_bytes(puppet, 1);
    tls.close(&mut world);
    let events = world.take_events(peer.node);
    let came_back = |event: &Event| matches!(event, Event::Undeliverable { .. });
    assert!(!events.iter().any(came_back), "each was interrupted once: {events:?}");
    let (_, mut tls, _) = authenticated_again(&mut world, &peer);
    let heard = tls.say(&mut world, &format!("{HEADER}<stream:features/>"));
    assert!(heard.contains("id='3'") && heard.contains("id='4'"), "{heard}");
}

#[test]
fn a_stanza_ahead_of_a_header_that_was_perhaps_answered_is_uncertain_and_not_sent_again() {
    for fate in [Fate::Silence, Fate::Broken, Fate::Cut, Fate::Babble, Fate::BabbleInPieces] {
        let (told, again) = stanza_ahead_of_its_header(&fate);
        let uncertain: Vec<_> = told
            .iter()
            .filter_map(|event| if let Event::Uncertain { stanzas, .. } = event { Some(*stanzas) } else { None })
            .collect();
        assert_eq!((uncertain, again), (vec![1], None), "{told:?}");
        assert!(!told.iter().any(|event| matches!(event, Event::Undeliverable { .. })), "{told:?}");
    }
}

#[test]
fn a_stanza_ahead_of_a_header_that_the_peer_did_not_answer_is_sent_again() {
    let (told, again) = stanza_ahead_of_its_header(&Fate::Closed);
    assert!(again.is_some(), "dialled once more: {told:?}");
    let lost = |event: &Event| matches!(event, Event::Uncertain { .. } | Event::Undeliverable { .. });
    assert!(!told.iter().any(lost), "{told:?}");
}
