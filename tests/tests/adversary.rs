//! What must never be delivered, in memory and once each over real sockets.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use s2s_core::entropy::Seed;
use s2s_core::limits;
use s2s_core::machine::Listener;
use s2s_core::node::{Config, Event, Node};
use s2s_core::policy::HostOptions;
use s2s_core::reason::Reason;
use s2s_core::route::PrivateAddresses;
use s2s_core::time::Anchor;
use s2s_smol::{Driver, Handle};
use s2s_tests::certificates::{Authority, Kind, NOW};
use s2s_tests::fake_tls::FakeProvider;
use s2s_tests::puppetry::{AUTH, PROCEED, STARTTLS, Tls, header, response};
use s2s_tests::world::{Cutting, Puppet, World, domain};

const OURS: &str = "v.example.org";
const PEER: &str = "m.example.net";
const OTHER: &str = "t.example.net";

fn addr(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn config(authority: &Authority) -> Config {
    let host = domain(OURS);
    let chain = authority.issue_kind(Kind::Valid, &host).chain;
    let mut config = World::config(Arc::new(FakeProvider::new(vec![(host.clone(), chain)])), authority.trust());
    config.private_addresses = PrivateAddresses::Always;
    config.hosts.insert(host, HostOptions::default());
    config
}

fn stanza(from: &str) -> String {
    format!("<message from='a@{from}' to='u@{OURS}'><body>x</body></message>")
}

/// What a node told that matters here: stanzas that it delivered, and why it refused.
fn judged(events: &[Event]) -> (usize, Vec<Reason>) {
    let stanzas = events.iter().filter(|event| matches!(event, Event::Stanza { .. })).count();
    let reasons = events.iter().filter_map(|event| match event {
        Event::Refused { reason, .. } => Some(*reason),
        _ => None,
    });
    (stanzas, reasons.collect())
}

#[test]
//= RFC6120-4.3.5-4 test
//= RFC6120-4.3.1-1 test
//= RFC6120-4.3.5-3 test
//= RFC6120-13.12-1 test
//= XEP0205-4.3-1 test
fn a_stanza_before_authentication_ends_the_stream_and_is_not_delivered() {
    let authority = Authority::root("the authority");
    let mut world = World::new(Cutting::Whole);
    let node = world.add(addr(1), config(&authority));
    let puppet = world.connect(node, Listener::StartTls);
    world.say(puppet, header(PEER, OURS) + &stanza(PEER));
    let heard = world.hear_text(puppet);
    assert!(heard.contains("<stream:features>"), "the header is answered first: {heard}");
    let error =
        "<stream:error><not-authorized xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>";
    assert!(heard.ends_with(error), "{heard}");
    assert_eq!(judged(&world.take_events(node)), (0, vec![Reason::NotAuthenticated]));
}

#[test]
//= RFC6120-8.1.2.2-3 test
//= RFC6120-4.9.3.9-1 test
//= RFC6120-4.7.1-3 test
//= RFC7622-7.3.1-1 test
fn a_stanza_of_a_domain_that_was_not_proved_ends_the_stream_and_is_not_delivered() {
    let authority = Authority::root("the authority");
    let mut world = World::new(Cutting::Whole);
    let node = world.add(addr(1), config(&authority));
    let puppet = world.connect(node, Listener::StartTls);
    world.say(puppet, header(PEER, OURS));
    world.say(puppet, STARTTLS);
    assert!(world.hear_text(puppet).ends_with(PROCEED));
    let chain = authority.issue_kind(Kind::Valid, &domain(PEER)).chain;
    let mut tls = Tls::connect(&mut world, puppet, &domain(PEER), chain, &domain(OURS));
    assert!(tls.say(&mut world, &header(PEER, OURS)).contains("<mechanism>EXTERNAL</mechanism>"));
    assert!(tls.say(&mut world, AUTH).contains("<success "));
    assert!(tls.say(&mut world, &header(PEER, OURS)).contains("<stream:features>"));
    assert_eq!(tls.say(&mut world, &stanza(PEER)), "");
    let heard = tls.say(&mut world, &stanza(OTHER));
    assert!(heard.starts_with("<stream:error><invalid-from "), "{heard}");
    assert!(heard.ends_with("</stream:stream>"), "{heard}");
    assert_eq!(judged(&world.take_events(node)), (1, vec![Reason::FromMismatch]), "the honest one only");
}

#[test]
fn a_stream_that_brings_one_key_after_the_other_that_its_certificate_does_not_prove_is_ended() {
    let authority = Authority::root("the authority");
    let mut world = World::new(Cutting::Whole);
    let mut config = config(&authority);
    config.hosts.insert(domain(OURS), HostOptions { secure_auth: true, ..HostOptions::default() });
    let node = world.add(addr(1), config);
    let puppet = world.connect(node, Listener::DirectTls);
    let chain = authority.issue_kind(Kind::Valid, &domain(PEER)).chain;
    let mut tls = Tls::connect(&mut world, puppet, &domain(PEER), chain, &domain(OURS));
    tls.say(&mut world, &header(PEER, OURS));
    let key = |to: &str| format!("<db:result from='{OTHER}' to='{to}'>key</db:result>");
    // For a host that is not ours the certificate is not looked at.
    let most = limits::REFUSED_KEYS_PER_STREAM;
    let heard = tls.say(&mut world, &key("nobody.example").repeat(2 * most));
    assert_eq!(heard.matches("<item-not-found ").count(), 2 * most, "{heard}");
    let heard = tls.say(&mut world, &key(OURS).repeat(most - 1));
    assert_eq!(heard.matches("<not-authorized ").count(), most - 1, "{heard}");
    // What was a while ago does not count any more.
    world.run_for(limits::REFUSED_KEYS_INTERVAL + Duration::from_secs(1));
    let heard = tls.say(&mut world, &key(OURS).repeat(most - 1));
    assert!(!heard.contains("<stream:error>"), "{heard}");
    world.take_events(node);
    let heard = tls.say(&mut world, &key(OURS).repeat(3));
    assert_eq!(heard.matches("<not-authorized ").count(), 1, "{heard}");
    assert!(heard.contains("<stream:error><policy-violation ") && heard.ends_with("</stream:stream>"), "{heard}");
    let (_, reasons) = judged(&world.take_events(node));
    assert_eq!(reasons, [Reason::CertNameMismatch, Reason::Limit]);
}

/// A stranger inside TLS whose stream was ended by an error, and who has not answered it yet.
fn refused_inside_tls(world: &mut World) -> (Puppet, Tls) {
    let authority = Authority::root("the authority");
    let node = world.add(addr(1), config(&authority));
    let puppet = world.connect(node, Listener::DirectTls);
    let chain = authority.issue_kind(Kind::Valid, &domain(PEER)).chain;
    let mut tls = Tls::connect(world, puppet, &domain(PEER), chain, &domain(OURS));
    let heard = tls.say(world, &(header(PEER, OURS) + &stanza(PEER)));
    assert!(heard.contains("<not-authorized ") && heard.ends_with("</stream:stream>"), "{heard}");
    assert!(!world.has_ended(puppet), "our half is open until the peer ends its own");
    (puppet, tls)
}

#[test]
//= RFC6120-4.4-1 test
fn behind_an_error_our_half_ends_when_the_peer_announces_the_end_of_its_own() {
    let mut world = World::new(Cutting::Whole);
    let (puppet, mut tls) = refused_inside_tls(&mut world);
    tls.say(&mut world, "<message/>");
    assert!(!world.has_ended(puppet), "what it says on the way is dropped");
    tls.announce_end(&mut world);
    assert!(world.has_ended(puppet), "nobody waits for a closing tag that cannot come");
}

#[test]
//= RFC6120-4.4-1 test
fn behind_an_error_our_half_ends_when_what_the_peer_says_is_no_tls() {
    let mut world = World::new(Cutting::Whole);
    let (puppet, _) = refused_inside_tls(&mut world);
    world.say(puppet, "</stream:stream>");
    assert!(world.has_ended(puppet), "nobody waits for a closing tag that cannot come");
}

#[test]
fn a_key_that_was_given_in_clear_is_not_taken_into_tls() {
    let authority = Authority::root("the authority");
    let mut world = World::new(Cutting::Whole);
    let node = world.add(addr(1), config(&authority));
    world.publish(PEER, addr(9), true, false);
    world.listen(SocketAddr::new(addr(9), 5269));
    let puppet = world.connect(node, Listener::StartTls);
    world.say(puppet, header(PEER, OURS));
    world.say(puppet, format!("<db:result from='{PEER}' to='{OURS}'>key</db:result>"));
    world.hear(puppet);
    assert!(world.accept(SocketAddr::new(addr(9), 5269)).is_some(), "the key is being verified");
    world.say(puppet, STARTTLS);
    let heard = world.hear_text(puppet);
    assert!(heard.starts_with("<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"), "{heard}");
}

#[test]
fn external_does_not_begin_a_stream_anew_on_which_keys_were_given() {
    let authority = Authority::root("the authority");
    let mut world = World::new(Cutting::Whole);
    let node = world.add(addr(1), config(&authority));
    world.publish(OTHER, addr(9), true, false);
    world.listen(SocketAddr::new(addr(9), 5269));
    let puppet = world.connect(node, Listener::DirectTls);
    let chain = authority.issue_kind(Kind::Valid, &domain(PEER)).chain;
    let mut tls = Tls::connect(&mut world, puppet, &domain(PEER), chain, &domain(OURS));
    tls.say(&mut world, &header(PEER, OURS));
    tls.say(&mut world, &format!("<db:result from='{OTHER}' to='{OURS}'>key</db:result>"));
    let heard = tls.say(&mut world, AUTH);
    assert!(heard.contains("<not-authorized/>"), "{heard}");
    // It may prove its own domain in the same way as the other.
    let key = format!("<db:result from='{PEER}' to='{OURS}'>key</db:result>");
    assert!(tls.say(&mut world, &key).contains("type='valid'"));
}

#[test]
//= RFC6120-4.7.5-7 test
fn who_comes_with_no_version_was_offered_no_external_and_may_not_attempt_it() {
    let authority = Authority::root("the authority");
    for (version, expected) in [(" version='1.0'", "<success"), ("", "<not-authorized/>")] {
        let mut world = World::new(Cutting::Whole);
        let node = world.add(addr(1), config(&authority));
        let puppet = world.connect(node, Listener::DirectTls);
        let chain = authority.issue_kind(Kind::Valid, &domain(PEER)).chain;
        let mut tls = Tls::connect(&mut world, puppet, &domain(PEER), chain, &domain(OURS));
        tls.say(&mut world, &header(PEER, OURS).replace(" version='1.0' ", &format!("{version} ")));
        let heard = tls.say(&mut world, AUTH);
        assert!(heard.contains(expected), "{version}: {heard}");
    }
}

#[test]
//= RFC6120-5.4.2.3-1 test
//= RFC6120-5.4.3.2-2 test
fn plaintext_behind_starttls_is_never_xml() {
    let authority = Authority::root("the authority");
    let mut world = World::new(Cutting::Whole);
    let node = world.add(addr(1), config(&authority));
    let puppet = world.connect(node, Listener::StartTls);
    world.say(puppet, header(PEER, OURS));
    world.hear(puppet);
    world.say(puppet, STARTTLS.to_owned() + &header(PEER, OURS) + &stanza(PEER));
    let heard = world.hear(puppet);
    let behind = heard.strip_prefix(PROCEED.as_bytes()).expect("the request was legal");
    assert!(!behind.contains(&b'<'), "nothing but an alert of TLS: {behind:?}");
    assert!(world.has_ended(puppet));
    assert_eq!(judged(&world.take_events(node)), (0, vec![Reason::TlsFailed]));
}

#[test]
//= RFC6120-5.4.2.3-2 test
fn plaintext_behind_proceed_is_never_xml() {
    let authority = Authority::root("the authority");
    let mut world = World::new(Cutting::Whole);
    let node = world.add(addr(1), config(&authority));
    world.publish(PEER, addr(9), true, false);
    let server = SocketAddr::new(addr(9), 5269);
    world.listen(server);
    world.send(node, &format!("<message from='u@{OURS}' to='a@{PEER}' id='1'><body>x</body></message>"));
    let puppet = world.accept(server).expect("the node dials");
    let features = format!("<stream:features>{STARTTLS}</stream:features>");
    world.say(puppet, response(PEER, OURS, "1") + &features);
    let heard = world.hear_text(puppet);
    assert!(heard.ends_with(STARTTLS), "{heard}");
    let glued = response(PEER, OURS, "2")
        + "<stream:features/>"
        + &format!("<success xmlns='{}'/>", "urn:ietf:params:xml:ns:xmpp-sasl");
    world.say(puppet, PROCEED.to_owned() + &glued);
    assert!(!world.hear(puppet).contains(&b'<'), "nothing but TLS");
    let events = world.take_events(node);
    assert_eq!(judged(&events), (0, vec![Reason::TlsFailed]));
    let bounced = events.iter().any(|event| matches!(event, Event::Undeliverable { reason: Reason::TlsFailed, .. }));
    assert!(bounced, "the stanza goes back: {events:?}");
}

/// A node on real sockets, and where it listens.
fn on_sockets(authority: &Authority) -> (SocketAddr, Handle<s2s_core::node::Command, Event>) {
    let listener = s2s_smol::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
    let at = listener.local_addr().expect("bound");
    let node = Node::new(config(authority), Seed([5; 32]), Anchor { instant: Instant::now(), unix: NOW });
    let (driver, handle) = Driver::new(node, vec![(Listener::StartTls, listener)]).expect("a driver");
    std::thread::spawn(move || smol::block_on(driver.run()));
    (at, handle)
}

/// Writes, ends its half, and reads until the node has gone.
fn converse(at: SocketAddr, said: &str) -> Vec<u8> {
    let mut socket = TcpStream::connect(at).expect("the node listens");
    socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    socket.write_all(said.as_bytes()).expect("the node reads");
    socket.shutdown(std::net::Shutdown::Write).expect("a half-close");
    let mut heard = Vec::new();
    socket.read_to_end(&mut heard).expect("the node closes inside its deadline");
    heard
}

#[test]
fn over_a_socket_neither_a_stanza_before_authentication_nor_glued_plaintext_gets_through() {
    let authority = Authority::root("the authority");
    let (at, handle) = on_sockets(&authority);
    let heard = converse(at, &(header(PEER, OURS) + &stanza(PEER)));
    let heard = String::from_utf8(heard).expect("XML");
    assert!(heard.contains("<stream:error><not-authorized ") && heard.ends_with("</stream:stream>"), "{heard}");
    let first = smol::block_on(handle.event()).expect("an event");
    assert!(matches!(first, Event::Refused { reason: Reason::NotAuthenticated, .. }), "{first:?}");

    let heard = converse(at, &(header(PEER, OURS) + STARTTLS + &stanza(PEER)));
    let text = String::from_utf8_lossy(&heard);
    assert!(text.contains(PROCEED) && !text.contains("<stream:error>"), "{text}");
    let second = smol::block_on(handle.event()).expect("an event");
    assert!(matches!(second, Event::Refused { reason: Reason::TlsFailed, .. }), "{second:?}");
}

#[test]
fn over_a_socket_a_foreign_sender_does_not_get_through() {
    let authority = Authority::root("the authority");
    let (at, handle) = on_sockets(&authority);
    let chain = authority.issue_kind(Kind::Valid, &domain(PEER)).chain;
    let mut peer = SocketPeer::connect(at, chain);
    peer.say(&header(PEER, OURS), "<mechanism>EXTERNAL</mechanism>");
    peer.say(AUTH, "<success ");
    peer.say(&header(PEER, OURS), "</stream:features>");
    peer.say(&(stanza(PEER) + &stanza(OTHER)), "<stream:error><invalid-from ");
    let events: Vec<_> = (0..4).filter_map(|_| smol::block_on(handle.event())).collect();
    assert!(matches!(events[0], Event::PeerUp { .. }), "{events:?}");
    assert!(matches!(&events[1], Event::Stanza { pair, .. } if pair.remote == domain(PEER)), "{events:?}");
    assert!(matches!(events[2], Event::PeerDown { reason: Reason::FromMismatch, .. }), "{events:?}");
    assert!(matches!(events[3], Event::Refused { reason: Reason::FromMismatch, .. }), "{events:?}");
}

/// A peer inside fake TLS over a socket.
struct SocketPeer {
    socket: TcpStream,
    session: Box<dyn s2s_core::tls::Session>,
}

impl SocketPeer {
    fn connect(at: SocketAddr, chain: Vec<Vec<u8>>) -> Self {
        use s2s_core::tls::Provider as _;
        let mut socket = TcpStream::connect(at).expect("the node listens");
        socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        socket.write_all((header(PEER, OURS) + STARTTLS).as_bytes()).expect("the node reads");
        let mut heard = Vec::new();
        while !heard.ends_with(PROCEED.as_bytes()) {
            let mut byte = [0];
            socket.read_exact(&mut byte).expect("the node answers");
            heard.push(byte[0]);
        }
        let local = domain(PEER);
        let provider = FakeProvider::new(vec![(local.clone(), chain)]);
        let mut session = provider.client(&local, &domain(OURS), false).expect("a fake client");
        let mut wire = Vec::new();
        session.flush(&mut wire);
        socket.write_all(&wire).expect("the node reads");
        Self { socket, session }
    }

    /// Says something and reads until the answer holds `expected`.
    fn say(&mut self, text: &str, expected: &str) {
        let (mut plain, mut wire) = (Vec::new(), Vec::new());
        self.session.send(text.as_bytes(), &mut wire);
        self.socket.write_all(&wire).expect("the node reads");
        while !String::from_utf8_lossy(&plain).contains(expected) {
            let mut heard = [0; 4096];
            let n = self.socket.read(&mut heard).expect("an answer in time");
            assert!(n > 0, "the node went without {expected}: {}", String::from_utf8_lossy(&plain));
            let mut wire = Vec::new();
            self.session.receive(&heard[..n], &mut plain, &mut wire).expect("no alert");
            self.socket.write_all(&wire).expect("the node reads");
        }
    }
}
