//! How many pairs there may be at once, and what makes room for another one.

use std::iter;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use s2s_core::dns::Security;
use s2s_core::limits;
use s2s_core::machine::{ConnId, Effect, Machine};
use s2s_core::node::{Event, Node, StaticRoute};
use s2s_core::policy::HostOptions;
use s2s_core::reason::Reason;
use s2s_core::route::PrivateAddresses;
use s2s_tests::certificates::Authority;
use s2s_tests::fake_tls::FakeProvider;
use s2s_tests::puppetry::response;
use s2s_tests::world::{Cutting, NodeIndex, World, domain};

const A: &str = "a.example.org";
const CLOSING: &str = "</stream:stream>";
/// Up to so many routes no stream of ours is closed.
const KEPT: usize = limits::ROUTES - limits::SPARE_ROUTES;
/// The same of those that carry nothing but answers.
const KEPT_ANSWERING: usize = KEPT - limits::SPARE_ROUTES;

/// Nothing in it moves by itself. Domains below `example.net` are dialled at once, others wait for DNS, which is silent.
struct Scene {
    world: World,
    node: NodeIndex,
    /// How many domains a stanza has waited for.
    silent: usize,
}

impl Scene {
    fn new() -> Self {
        let mut world = World::new(Cutting::Whole);
        let authority = Authority::root("the authority");
        let mut config = World::config(Arc::new(FakeProvider::new(Vec::new())), authority.trust());
        config.private_addresses = PrivateAddresses::Always;
        config.hosts.insert(domain(A), HostOptions::default());
        let server = StaticRoute { addr: SocketAddr::from(([192, 0, 2, 9], 5269)), security: Security::StartTls };
        config.routes_below.insert(domain("example.net"), server);
        let node = world.add(IpAddr::from([192, 0, 2, 1]), config);
        Self { world, node, silent: 0 }
    }

    fn node(&mut self) -> &mut Node {
        self.world.node(self.node)
    }

    fn pass(&mut self, span: Duration) {
        self.world.now += span;
    }

    fn send(&mut self, stanza: &str) {
        self.world.send(self.node, stanza);
    }

    /// Sends to one more domain that is silent.
    fn send_further(&mut self, stanza: fn(&str) -> String) {
        self.silent += 1;
        let name = format!("d{}.example.com", self.silent);
        self.send(&stanza(&name));
    }

    /// Sends messages to silent domains until there are so many routes.
    fn fill(&mut self, routes: usize) {
        for _ in self.routes()..routes {
            self.send_further(message);
        }
    }

    fn routes(&mut self) -> usize {
        self.node().measures().routes
    }

    fn dns_queries(&mut self) -> usize {
        self.node().measures().dns_queries
    }

    /// Sends to `name`, whose server is reached and takes it.
    fn reach(&mut self, name: &str, stanza: fn(&str) -> String) -> ConnId {
        self.send(&stanza(name));
        let now = self.world.now;
        let node = self.node();
        let dialled = iter::from_fn(|| node.poll_effect()).filter_map(|effect| match effect {
            Effect::Dial { conn, .. } => Some(conn),
            _ => None,
        });
        let conn = dialled.last().expect("it is dialled");
        let features = "<stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>";
        node.handle_connected(now, conn);
        node.handle_bytes(now, conn, (response(name, A, "id") + features).as_bytes());
        node.handle_bytes(now, conn, format!("<db:result from='{name}' to='{A}' type='valid'/>").as_bytes());
        let written = self.write(conn);
        assert!(written.contains("y@"), "{written}");
        conn
    }

    /// The system takes all that is to be written.
    fn write(&mut self, conn: ConnId) -> String {
        let now = self.world.now;
        let node = self.node();
        let written = String::from_utf8(node.pending(conn).to_vec()).expect("nodes speak UTF-8");
        node.handle_sent(now, conn, written.len());
        written
    }

    /// Which of them are being closed.
    fn closing<const N: usize>(&mut self, conns: [ConnId; N]) -> [bool; N] {
        conns.map(|conn| self.node().pending(conn).ends_with(CLOSING.as_bytes()))
    }

    /// The peer closes the stream too.
    fn close(&mut self, conn: ConnId) {
        self.end(conn, CLOSING);
    }

    /// The peer ends the stream in this way.
    fn end(&mut self, conn: ConnId, last_words: &str) {
        let now = self.world.now;
        self.write(conn);
        self.node().handle_bytes(now, conn, last_words.as_bytes());
        self.write(conn);
        self.node().handle_eof(now, conn);
    }

    fn events(&mut self) -> Vec<Event> {
        let node = self.node();
        iter::from_fn(|| node.poll_event()).collect()
    }

    fn bounces(&mut self) -> Vec<Reason> {
        let reasons = self.events().into_iter().filter_map(|event| match event {
            Event::Undeliverable { reason, .. } => Some(reason),
            _ => None,
        });
        reasons.collect()
    }
}

fn message(to: &str) -> String {
    format!("<message from='x@{A}' to='y@{to}'/>")
}

/// What a request of a peer is answered with.
fn answer(to: &str) -> String {
    format!("<iq from='x@{A}' to='y@{to}' id='1' type='result'/>")
}

#[test]
fn streams_that_were_unused_for_longest_make_room_for_other_pairs() {
    let mut scene = Scene::new();
    let [first, second, third] = ["p1.example.net", "p2.example.net", "p3.example.net"].map(|name| {
        scene.pass(limits::STEADY_STREAM);
        scene.reach(name, message)
    });
    scene.pass(limits::STEADY_STREAM);
    scene.send(&message("p1.example.net"));
    scene.write(first);
    scene.fill(KEPT + 1);
    assert_eq!(scene.closing([first, second, third]), [false; 3], "there is room");
    scene.events();
    scene.send_further(message);
    assert_eq!(scene.closing([first, second, third]), [false, true, false]);
    scene.close(second);
    let events = scene.events();
    let ended = |event: &Event| match event {
        Event::PeerDown { pair, reason, .. } => Some((pair.remote.to_string(), *reason)),
        _ => None,
    };
    let ends: Vec<_> = events.iter().filter_map(ended).collect();
    assert_eq!(ends, [("p2.example.net".to_owned(), Reason::Idle)]);
    let is_loss = |event: &Event| matches!(event, Event::Uncertain { .. } | Event::Undeliverable { .. });
    assert!(!events.iter().any(is_loss), "it ends in good order: {events:?}");
    assert_eq!(scene.routes(), KEPT + 1);

    let again = scene.reach("p2.example.net", message);
    assert_eq!(scene.closing([third, first, again]), [false; 3], "not for each of many");
    scene.pass(limits::SWEEP_INTERVAL);
    scene.send_further(message);
    assert_eq!(scene.closing([third, first, again]), [true, false, false], "the first one was used a moment ago");
    scene.pass(limits::STEADY_STREAM);
    scene.send_further(message);
    assert_eq!(scene.closing([third, first, again]), [true; 3], "there are many too many");
}

#[test]
fn where_no_stream_is_unused_a_further_pair_is_refused_until_one_is() {
    let mut scene = Scene::new();
    let busy = scene.reach("p1.example.net", message);
    scene.send(&message("p1.example.net"));
    scene.fill(limits::ROUTES);
    assert_eq!(scene.bounces(), []);
    scene.send_further(message);
    assert_eq!(scene.bounces(), [Reason::Limit]);
    assert_eq!(scene.closing([busy]), [false], "something waits to be written there");
    scene.write(busy);
    scene.pass(limits::SWEEP_INTERVAL);
    scene.send_further(message);
    assert_eq!(scene.bounces(), [Reason::Limit], "the stream has yet to end");
    assert_eq!(scene.closing([busy]), [true]);
    scene.close(busy);
    scene.send_further(message);
    assert_eq!(scene.bounces(), []);
    assert_eq!(scene.routes(), limits::ROUTES);
}

#[test]
fn answers_to_ever_more_domains_leave_room_and_streams_and_turns_to_what_we_say_ourselves() {
    let mut scene = Scene::new();
    let ours = scene.reach("p1.example.net", message);
    let shared = scene.reach("p2.example.net", answer);
    scene.send(&message("p2.example.net"));
    scene.write(shared);
    scene.pass(Duration::from_secs(2));
    let theirs = scene.reach("p3.example.net", answer);
    for _ in 0..limits::ROUTES {
        scene.send_further(answer);
    }
    assert_eq!(scene.routes(), KEPT + 2, "answers are counted by themselves");
    assert_eq!(scene.bounces(), [Reason::Limit; limits::SPARE_ROUTES + 1], "one more was there before");
    assert_eq!(scene.dns_queries(), limits::DNS_QUERIES / limits::DNS_QUERIES_PER_PEERS);
    assert_eq!(scene.closing([ours, shared, theirs]), [false, false, true], "only answers went over the last one");
    for _ in 0..limits::SPARE_ROUTES - 2 {
        scene.send_further(message);
    }
    assert_eq!(scene.bounces(), []);
    assert_eq!((scene.routes(), scene.dns_queries()), (limits::ROUTES, limits::DNS_QUERIES));
    scene.pass(limits::SWEEP_INTERVAL);
    scene.send_further(answer);
    assert_eq!(scene.bounces(), [Reason::Limit]);
}

#[test]
fn of_the_streams_that_carry_answers_no_more_are_closed_than_there_are_too_many() {
    for (filler, routes) in [(message as fn(&str) -> String, KEPT + 1), (answer, KEPT_ANSWERING + 1)] {
        let mut scene = Scene::new();
        let conns = ["p1.example.net", "p2.example.net"].map(|name| scene.reach(name, answer));
        for _ in scene.routes()..routes {
            scene.send_further(filler);
        }
        assert_eq!(scene.closing(conns), [false; 2], "there is room");
        scene.send_further(filler);
        assert_eq!(scene.closing(conns), [true, false], "there was one too many of {routes}");
    }
}

#[test]
fn a_stream_that_was_closed_to_make_room_is_dialled_again_at_once_whatever_its_peer_has_made_of_that() {
    const ERROR: &str = "<stream:error><undefined-condition xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
                         </stream:error>";
    let mut scene = Scene::new();
    scene.fill(KEPT);
    for _ in 0..limits::BROKEN_STREAMS {
        let conn = scene.reach("p1.example.net", answer);
        scene.pass(limits::SWEEP_INTERVAL);
        scene.send_further(message);
        assert_eq!(scene.closing([conn]), [true], "there are too many");
        scene.end(conn, &format!("{ERROR}{CLOSING}"));
        let events = scene.events();
        let is_end = |event: &Event| matches!(event, Event::PeerDown { reason: Reason::PeerStreamError, .. });
        assert!(events.iter().any(is_end), "the peer took it amiss: {events:?}");
    }
    scene.reach("p1.example.net", answer);
    assert_eq!(scene.bounces(), [], "it has broken nothing");
}

#[test]
fn that_an_answer_was_not_looked_up_in_time_keeps_nothing_of_ours_from_being_sent() {
    for (first, expected) in [(answer as fn(&str) -> String, vec![]), (message, vec![Reason::DnsTimeout])] {
        let mut scene = Scene::new();
        scene.send_further(first);
        scene.pass(limits::DNS_LOOKUP);
        let now = scene.world.now;
        scene.node().handle_timeout(now);
        assert_eq!(scene.routes(), 0, "it was given up");
        scene.events();
        scene.send(&message("d1.example.com"));
        assert_eq!(scene.bounces(), expected);
    }
}
