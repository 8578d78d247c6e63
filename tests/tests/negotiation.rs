//! What nodes say while they negotiate, word by word, and what they make of odd words.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use s2s_core::addr::Domain;
use s2s_core::auth::Method;
use s2s_core::dns::Security;
use s2s_core::entropy::Seed;
use s2s_core::machine::{Effect, Listener, Machine};
use s2s_core::node::{Command, Event, Node, StaticRoute};
use s2s_core::policy::HostOptions;
use s2s_core::reason::Reason;
use s2s_core::route::PrivateAddresses;
use s2s_core::time::Anchor;
use s2s_core::tls::{Provider, Session, TlsError};
use s2s_tests::certificates::{Authority, Kind, NOW};
use s2s_tests::fake_tls::FakeProvider;
use s2s_tests::puppetry;
use s2s_tests::scenes::{A, B, Setting, Two, message};
use s2s_tests::transcript::{Side, Transcript};
use s2s_tests::world::{Cutting, World, domain, read_stanza};

const OPENING: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:server' \
                       xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback'";
const DIALBACK: &str = "<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>";

fn initial(from: &str, to: &str) -> String {
    format!("C {OPENING} from='{from}' to='{to}' version='1.0' xml:lang='en'>")
}

fn response(from: &str, to: &str) -> String {
    format!("S {OPENING} from='{from}' to='{to}' id='ID' version='1.0' xml:lang='en'>")
}

/// The lines of a connection, with `ID` and `KEY` for what is drawn.
fn lines(transcript: &Transcript, connection: usize) -> Vec<String> {
    let name = |side| if side == Side::Opening { 'C' } else { 'S' };
    transcript.on(connection).map(|(side, text)| format!("{} {}", name(side), veiled(text))).collect()
}

/// `text` with `ID` and `KEY` in place of long words of hexadecimal digits.
fn veiled(text: &str) -> String {
    let mut veiled = String::new();
    let mut rest = text;
    while let Some(begin) = rest.find(|c: char| c.is_ascii_hexdigit()) {
        let word = rest[begin..].split(|c: char| !c.is_ascii_hexdigit()).next().unwrap_or_default();
        veiled.push_str(&rest[..begin]);
        veiled.push_str(match word.len() {
            32 => "ID",
            64 => "KEY",
            _ => word,
        });
        rest = &rest[begin + word.len()..];
    }
    veiled + rest
}

/// The ids of the response headers of a connection.
fn ids(transcript: &Transcript, connection: usize) -> Vec<String> {
    let headers = transcript.on(connection).filter(|(_, text)| text.contains("<stream:stream"));
    headers.filter_map(|(_, text)| Some(text.split(" id='").nth(1)?.split('\'').next()?.to_owned())).collect()
}

/// Inside TLS: what is asked for travels with the header (decision D-52).
fn protected() -> Vec<String> {
    vec![
        initial(A, B),
        "C <auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>YS5leGFtcGxlLm9yZw==</auth>".to_owned(),
        response(B, A),
        format!(
            "S <stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism>\
             </mechanisms>{DIALBACK}</stream:features>"
        ),
        "S <success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>".to_owned(),
        initial(A, B),
        response(B, A),
        format!(
            "S <stream:features>{DIALBACK}<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>10485760</max-bytes>\
             </limits></stream:features>"
        ),
        format!("C {}", message(A, B, "Hello")),
    ]
}

#[test]
//= RFC6120-4.1-1 test
//= RFC6120-4.3.5-1 test
//= RFC6120-4.2-1 test
//= RFC6120-4.3.2-1 test
//= RFC6120-4.3.4-1 test
//= RFC6120-4.3.3-4 test
//= RFC6120-4.3.2-2 test
//= RFC6120-6.3.4-4 test
//= RFC6120-4.3.2-4 test
//= RFC6120-4.3.2-7 test
//= RFC6120-4.7.1-1 test
//= RFC6120-4.7.1-2 test
//= RFC6120-4.7.2-1 test
//= RFC6120-4.7.2-2 test
//= RFC6120-4.7.3-3 test
//= RFC6120-4.7.5-4 test
//= RFC6120-4.8.5-1 test
//= RFC6120-4.7.4-2 test
//= RFC6120-4.7.4-1 test
//= RFC6120-12-1 test
//= RFC6120-4.8.1-1 test
//= RFC6120-4.8.2-1 test
//= RFC6120-4.8.2-2 test
//= RFC6120-4.8.5-8 test
//= RFC6120-11.5-2 test
//= RFC6120-11.6-3 test
//= RFC6120-11.8-1 test
//= RFC6120-5.3.2-1 test
//= RFC6120-5.4.1-1 test
//= RFC6120-5.4.3.3-3 test
//= RFC6120-5.4.1-2 test
//= RFC6120-5.4.3.3-5 test
//= RFC6120-5.4.3.3-6 test
//= RFC6120-6.4.1-2 test
//= RFC6120-6.3.4-1 test
//= RFC6120-6.4.1-3 test
//= RFC6120-6.4.6-3 test
//= RFC6120-6.4.6-4 test
//= RFC4422-A.1-5 test
//= XEP0220-2.4.1-1 test
//= XEP0220-2.4.2-1 test
//= XEP0368-3-4 test
fn behind_starttls_both_sides_say_exactly_this() {
    let mut two = Two::new(&Setting::strict());
    two.send("Hello");
    let clear = [
        initial(A, B),
        "C <starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>".to_owned(),
        response(B, A),
        "S <stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>"
            .to_owned(),
        "S <proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>".to_owned(),
        format!("C (TLS ClientHello: server name {B})"),
        "S (TLS ServerHello: certificate)".to_owned(),
        "C (TLS Finished: certificate)".to_owned(),
    ];
    assert_eq!(lines(&two.transcript(), 1), [clear.to_vec(), protected()].concat());
}

#[test]
//= XEP0368-3-3 test
//= XEP0368-3-6 test
//= XEP0368-6-1 test
//= RFC7673-4.1-3 test
fn direct_tls_begins_with_tls_and_goes_on_alike() {
    let mut two = Two::new(&Setting { direct_tls: true, ..Setting::strict() });
    two.send("Hello");
    let tls = [
        format!("C (TLS ClientHello: server name {B}, ALPN xmpp-server)"),
        "S (TLS ServerHello: ALPN xmpp-server, certificate)".to_owned(),
        "C (TLS Finished: certificate)".to_owned(),
    ];
    assert_eq!(lines(&two.transcript(), 1), [tls.to_vec(), protected()].concat());
}

#[test]
//= XEP0220-2.1.1-1 test
//= XEP0220-2.1.1-4 test
//= XEP0220-2.1.2-1 test
//= XEP0220-2.1.2-2 test
//= XEP0220-2.1.2-3 test
//= XEP0288-2.2-3 test
//= XEP0220-2.1.2-7 test
//= XEP0220-2.2.1-4 test
//= XEP0220-2.1.1-10 test
fn dialback_is_said_exactly_so_on_two_connections() {
    let mut two = Two::new(&Setting::lax());
    two.send("Hello");
    let transcript = two.transcript();
    let features = format!("S <stream:features>{DIALBACK}</stream:features>");
    let key = lines(&transcript, 1).into_iter().skip_while(|line| !line.contains("Finished")).skip(1);
    let expected = [
        initial(A, B),
        response(B, A),
        features.clone(),
        format!("C <db:result from='{A}' to='{B}'>KEY</db:result>"),
        format!("S <db:result from='{B}' to='{A}' type='valid'/>"),
        format!("C {}", message(A, B, "Hello")),
    ];
    assert_eq!(key.collect::<Vec<_>>(), expected);
    let question = lines(&transcript, 2).into_iter().skip_while(|line| !line.contains("Finished")).skip(1);
    let expected = [
        initial(B, A),
        format!("C <db:verify from='{B}' to='{A}' id='ID'>KEY</db:verify>"),
        response(A, B),
        features,
        format!("S <db:verify from='{A}' to='{B}' id='ID' type='valid'/>"),
        "C </stream:stream>".to_owned(),
        "S </stream:stream>".to_owned(),
        "S (TLS close_notify)".to_owned(),
        "C (TLS close_notify)".to_owned(),
    ];
    assert_eq!(question.collect::<Vec<_>>(), expected);
    let asked = transcript.lines.iter().find(|line| line.text.starts_with("<db:verify")).expect("a question");
    let last = ids(&transcript, 1).pop().expect("an id");
    assert!(asked.text.contains(&format!("id='{last}'")), "the id of the stream that the key came on: {}", asked.text);
}

#[test]
//= RFC6120-4.3.3-5 test
//= RFC6120-4.7.3-5 test
//= RFC6120-5.4.3.3-4 test
//= RFC6120-6.4.1-1 test
fn every_header_of_a_connection_has_an_id_of_its_own() {
    let mut two = Two::new(&Setting::strict());
    two.send("Hello");
    two.send_back("Hello");
    let transcript = two.transcript();
    let ids = [ids(&transcript, 1), ids(&transcript, 2)].concat();
    assert_eq!(ids.len(), 6);
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 6, "{ids:?}");
    assert!(ids.iter().all(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())), "{ids:?}");
}

#[test]
//= RFC6120-3.1-2 test
//= RFC6120-4.3.3-2 test
//= RFC6120-4.3.3-3 test
//= RFC6120-5.3.3-1 test
//= RFC6120-6.3.5-1 test
//= RFC6120-10.4.1-1 test
fn nothing_is_closed_at_a_restart_and_nothing_stands_between_the_steps() {
    for setting in [Setting::strict(), Setting::lax(), Setting { direct_tls: true, ..Setting::strict() }] {
        let mut two = Two::new(&setting);
        two.send("Hello");
        two.send("Again");
        let transcript = two.transcript();
        let texts: Vec<_> = transcript.on(1).map(|(_, text)| text).collect();
        assert!(texts.iter().all(|text| !text.contains("</stream:stream>") && !text.trim().is_empty()), "{texts:?}");
        assert_eq!(texts.iter().filter(|text| text.starts_with("<message")).count(), 2, "on one connection");
    }
}

#[test]
//= RFC6120-4.5-1 test
//= RFC6120-4.5-2 test
//= RFC6120-13.6-5 test
//= XEP0220-2.3-1 test
fn each_direction_has_a_connection_and_a_proof_of_its_own() {
    for (setting, by) in [(Setting::strict(), Method::External), (Setting::lax(), Method::Dialback)] {
        let mut two = Two::new(&setting);
        two.send("there");
        two.send_back("back");
        let transcript = two.transcript();
        let stanzas = transcript.lines.iter().filter(|line| line.text.starts_with("<message"));
        let ways: Vec<_> = stanzas.map(|line| (line.connection, line.side)).collect();
        assert_eq!(ways.len(), 2);
        assert_ne!(ways[0].0, ways[1].0, "not on one connection");
        assert!(ways.iter().all(|(_, side)| *side == Side::Opening), "only who opened it sends: {ways:?}");
        for site in [two.a, two.b] {
            let events = two.world.take_events(site);
            let ups = events.iter().filter_map(|event| match event {
                Event::PeerUp { by, link, .. } => Some((link.direction, *by)),
                _ => None,
            });
            let directions: BTreeSet<_> = ups.clone().map(|(direction, _)| format!("{direction:?}")).collect();
            assert_eq!(directions.len(), 2, "proved in and out");
            assert!(ups.clone().all(|(_, proof)| proof == by), "{:?}", ups.collect::<Vec<_>>());
        }
    }
}

#[test]
//= RFC6120-4.4-1 test
fn a_stream_that_is_closed_is_closed_by_both_then_tls_then_tcp() {
    let mut two = Two::new(&Setting::strict());
    two.send("Hello");
    two.world.journal = Some(Vec::new());
    two.world.run_for(Duration::from_secs(3600));
    let transcript = two.transcript();
    let said: Vec<_> = transcript.on(1).map(|(_, text)| text).collect();
    assert_eq!(said, ["</stream:stream>", "</stream:stream>", "(TLS close_notify)", "(TLS close_notify)"]);
    assert_eq!((two.world.node(two.a).connections(), two.world.node(two.b).connections()), (0, 0));
}

#[test]
//= RFC6120-4.9.3.20-1 test
fn who_goes_down_says_so_on_every_stream() {
    let mut two = Two::new(&Setting::strict());
    two.send("Hello");
    two.send_back("Hello");
    two.world.journal = Some(Vec::new());
    two.world.command(two.a, Command::Shutdown);
    two.world.run();
    let transcript = two.transcript();
    let error = "<stream:error><system-shutdown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>";
    let errors: BTreeSet<_> = transcript.lines.iter().filter(|line| line.text.starts_with(error)).collect();
    assert_eq!(errors.iter().map(|line| line.connection).collect::<BTreeSet<_>>().len(), 2, "{transcript}");
    assert_eq!(errors.len(), 2, "and only who goes down says it: {transcript}");
}

#[test]
//= RFC6120-3.1-1 test
fn nothing_is_said_before_the_connection_is_open() {
    let authority = Authority::root("the authority");
    let mut config = World::config(Arc::new(FakeProvider::new(Vec::new())), authority.trust());
    let addr = SocketAddr::from(([192, 0, 2, 2], 5269));
    config.hosts.insert(domain(A), HostOptions::default());
    config.routes.insert(domain(B), StaticRoute { addr, security: Security::StartTls });
    let now = Instant::now();
    let mut node = Node::new(config, Seed([1; 32]), Anchor { instant: now, unix: NOW });
    node.handle_command(now, Command::Send(read_stanza(&message(A, B, "Hello"))));
    let dial = std::iter::from_fn(|| node.poll_effect()).find_map(|effect| match effect {
        Effect::Dial { conn, addr, .. } => Some((conn, addr)),
        _ => None,
    });
    let (conn, dialled) = dial.expect("it dials");
    assert_eq!((dialled, node.pending(conn)), (addr, &[][..]));
    node.handle_connected(now, conn);
    assert!(node.pending(conn).starts_with(OPENING.as_bytes()));
}

#[test]
//= RFC6120-4.7.3-4 test
fn an_id_in_an_initial_header_is_ignored() {
    let mut two = Two::new(&Setting::lax());
    let puppet = two.world.connect(two.a, Listener::StartTls);
    two.world.say(puppet, puppetry::response("m.example", A, "the-id-of-the-peer"));
    let heard = two.world.hear_text(puppet);
    assert!(heard.contains("<stream:features>") && !heard.contains("the-id-of-the-peer"), "{heard}");
}

#[test]
//= RFC6120-4.7.4-3 test
fn a_header_in_another_language_is_answered_in_ours() {
    let mut two = Two::new(&Setting::lax());
    let puppet = two.world.connect(two.a, Listener::StartTls);
    two.world.say(puppet, puppetry::header("m.example", A).replace(" xml:lang='en'", " xml:lang='de-CH'"));
    let heard = two.world.hear_text(puppet);
    let header = heard.split('>').find(|tag| tag.contains("<stream:stream ")).expect("a header");
    assert!(header.ends_with(" xml:lang='en'") && !heard.contains("de-CH"), "{heard}");
}

#[test]
//= RFC6120-4.9.2-5 test
fn the_text_of_a_stream_error_is_told_to_people_and_decides_nothing() {
    let mut two = Two::new(&Setting::lax());
    let puppet = two.world.connect(two.a, Listener::StartTls);
    two.world.say(puppet, puppetry::header("m.example", A));
    let error = "<stream:error><reset xmlns='NS'/><text xmlns='NS'>system-shutdown</text></stream:error>";
    two.world.say(puppet, error.replace("NS", "urn:ietf:params:xml:ns:xmpp-streams"));
    let refused = two.world.take_events(two.a).into_iter().find_map(|event| match event {
        Event::Refused { reason, detail, .. } => Some((reason, detail)),
        _ => None,
    });
    assert_eq!(refused, Some((Reason::PeerStreamError, "reset: system-shutdown".to_owned())));
}

#[test]
//= RFC9525-6.1.1-2 test
//= RFC7673-4.1-1 test
//= RFC8305-10-1 test
fn a_certificate_for_the_target_of_an_srv_record_proves_nothing() {
    let authority = Authority::root("the authority");
    let config = |host: &str, named: &str| {
        let chain = authority.issue_kind(Kind::Valid, &domain(named)).chain;
        let mut config = World::config(Arc::new(FakeProvider::new(vec![(domain(host), chain)])), authority.trust());
        config.private_addresses = PrivateAddresses::Always;
        config.hosts.insert(domain(host), Setting::strict().options);
        config
    };
    let mut world = World::new(Cutting::Whole);
    let a = world.add(IpAddr::from([192, 0, 2, 1]), config(A, A));
    world.add(IpAddr::from([192, 0, 2, 2]), config(B, &format!("host.{B}")));
    world.publish(B, IpAddr::from([192, 0, 2, 2]), true, false);
    world.send(a, &message(A, B, "Hello"));
    world.run();
    let bounced = world.take_events(a).into_iter().find_map(|event| match event {
        Event::Undeliverable { reason, .. } => Some(reason),
        _ => None,
    });
    assert_eq!(bounced, Some(Reason::CertNameMismatch));
}

/// How m.example proves itself to A by dialback in clear, when the authoritative server confirms its key; it may have
/// hung up before.
fn proofs_by_dialback(hung_up: bool) -> Vec<Method> {
    let mut two = Two::new(&Setting::lax());
    let authoritative = SocketAddr::from(([192, 0, 2, 3], 5269));
    two.world.publish("m.example", authoritative.ip(), true, false);
    two.world.listen(authoritative);
    let peer = two.world.connect(two.a, Listener::StartTls);
    two.world.say(peer, puppetry::header("m.example", A));
    two.world.say(peer, format!("<db:result from='m.example' to='{A}'>key</db:result>"));
    let asked = two.world.accept(authoritative).expect("a question");
    two.world.say(asked, puppetry::response("m.example", A, "1"));
    two.world.say(asked, format!("<stream:features>{DIALBACK}</stream:features>"));
    let question = two.world.hear_text(asked);
    let id = puppetry::asked_id(&question);
    if hung_up {
        two.world.hang_up(peer);
        assert!(two.world.hear_text(asked).contains("</stream:stream>"), "nobody waits for the answer any more");
    }
    two.world.say(asked, format!("<db:verify from='m.example' to='{A}' id='{id}' type='valid'/>"));
    let events = two.world.take_events(two.a);
    let ups = events.iter().filter_map(|event| match event {
        Event::PeerUp { by, .. } => Some(*by),
        _ => None,
    });
    ups.collect()
}

#[test]
//= XEP0220-2.1.2-6 test
fn an_answer_about_the_key_of_a_stream_that_is_gone_proves_nothing() {
    assert_eq!(proofs_by_dialback(false), [Method::Dialback]);
    assert_eq!(proofs_by_dialback(true), []);
}

/// A provider that notes whose sessions it is told to forget.
#[derive(Debug)]
struct Noting(FakeProvider, Mutex<Vec<(Domain, Domain)>>);

impl Provider for Noting {
    fn set_time(&self, unix: Duration) {
        self.0.set_time(unix);
    }

    fn client(&self, local: &Domain, remote: &Domain, direct: bool) -> Result<Box<dyn Session>, TlsError> {
        self.0.client(local, remote, direct)
    }

    fn server(&self, host: Option<&Domain>) -> Result<Box<dyn Session>, TlsError> {
        self.0.server(host)
    }

    fn has_certificate(&self, host: &Domain) -> bool {
        self.0.has_certificate(host)
    }

    fn forget_sessions(&self, local: &Domain, remote: &Domain) {
        self.1.lock().expect("nobody panics").push((local.clone(), remote.clone()));
    }
}

#[test]
//= RFC6120-4.9.3.16-1 test
fn a_reset_forgets_the_sessions_with_that_peer_and_other_errors_do_not() {
    for (condition, forgotten) in [("policy-violation", vec![]), ("reset", vec![(domain(A), domain(B))])] {
        let authority = Authority::root("the authority");
        let provider = Arc::new(Noting(FakeProvider::new(Vec::new()), Mutex::new(Vec::new())));
        let mut config = World::config(provider.clone(), authority.trust());
        let addr = SocketAddr::from(([192, 0, 2, 2], 5269));
        config.hosts.insert(domain(A), HostOptions::default());
        config.routes.insert(domain(B), StaticRoute { addr, security: Security::StartTls });
        let mut world = World::new(Cutting::Whole);
        let a = world.add(IpAddr::from([192, 0, 2, 1]), config);
        world.listen(addr);
        world.send(a, &message(A, B, "Hello"));
        let puppet = world.accept(addr).expect("it dials");
        world.say(puppet, puppetry::response(B, A, "1"));
        let error = format!("<stream:error><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>");
        world.say(puppet, error);
        assert_eq!(*provider.1.lock().expect("nobody panics"), forgotten, "{condition}");
    }
}
