//! Streams that send more than the application takes, beside others that send a little.

use std::iter;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use s2s_core::limits;
use s2s_core::machine::{ConnId, Effect, Listener, Machine as _};
use s2s_core::node::{Command, Config, Event};
use s2s_core::policy::HostOptions;
use s2s_core::reason::Reason;
use s2s_core::route::PrivateAddresses;
use s2s_tests::certificates::{Authority, Kind};
use s2s_tests::fake_tls::FakeProvider;
use s2s_tests::puppetry::{AUTH, Tls, header};
use s2s_tests::world::{Cutting, NodeIndex, Puppet, World, domain};

const A: &str = "a.example.org";
const OTHER: &str = "other.example.org";
const FLOODER: &str = "flooder.example.net";
const QUIET: &str = "quiet.example.com";

/// More than an application that takes none leaves room for.
const MANY: usize = 10 * limits::EVENTS_IN_ORDER;

fn config(authority: &Authority) -> Config {
    let hosts = [A, OTHER].map(domain);
    let chains = hosts.iter().map(|host| (host.clone(), authority.issue_kind(Kind::Valid, host).chain));
    let mut config = World::config(Arc::new(FakeProvider::new(chains.collect())), authority.trust());
    config.private_addresses = PrivateAddresses::Always;
    config.hosts = hosts.into_iter().map(|host| (host, HostOptions::default())).collect();
    config
}

/// A node, one that floods it, and one that does not, each proved by its certificate.
struct Scene {
    world: World,
    node: NodeIndex,
    authority: Authority,
    flooder: (Puppet, Tls),
    quiet: (Puppet, Tls),
}

impl Scene {
    fn new() -> Self {
        let authority = Authority::root("the authority");
        let mut world = World::new(Cutting::Whole);
        let node = world.add(IpAddr::from([192, 0, 2, 1]), config(&authority));
        let [flooder, quiet] = [FLOODER, QUIET].map(|name| proved(&mut world, node, &authority, name));
        world.take_events(node);
        world.set_room(node, 0);
        Self { world, node, authority, flooder, quiet }
    }

    /// The flooder sends [`MANY`] stanzas at once, numbered from zero.
    fn flood(&mut self) {
        let text: String = (0..MANY).map(|id| message(FLOODER, A, id)).collect();
        self.flooder.1.say(&mut self.world, &text);
    }

    /// The application takes so many events: who sent each stanza, and its number.
    fn take(&mut self, events: usize) -> Vec<(String, usize)> {
        self.world.set_room(self.node, events);
        self.world.run();
        self.world.set_room(self.node, 0);
        stanzas(&self.world.take_events(self.node))
    }
}

fn proved(world: &mut World, node: NodeIndex, authority: &Authority, name: &str) -> (Puppet, Tls) {
    let puppet = world.connect(node, Listener::DirectTls);
    let chain = authority.issue_kind(Kind::Valid, &domain(name)).chain;
    let mut tls = Tls::connect(world, puppet, &domain(name), chain, &domain(A));
    for (said, heard) in [(header(name, A).as_str(), "EXTERNAL"), (AUTH, "<success"), (&header(name, A), "features")] {
        let answer = tls.say(world, said);
        assert!(answer.contains(heard), "{answer}");
    }
    (puppet, tls)
}

fn message(from: &str, to: &str, id: usize) -> String {
    format!("<message from='x@{from}' to='y@{to}' id='{id}'><body>b</body></message>")
}

fn stanzas(events: &[Event]) -> Vec<(String, usize)> {
    let told = events.iter().filter_map(|event| match event {
        Event::Stanza { pair, stanza } => {
            Some((pair.remote.to_string(), stanza.head().id.as_deref()?.parse().expect("a number")))
        }
        _ => None,
    });
    told.collect()
}

fn numbers(told: &[(String, usize)], of: &str) -> Vec<usize> {
    told.iter().filter(|(from, _)| from == of).map(|(_, number)| *number).collect()
}

/// The stanzas that the node has to tell before it is to be told something again.
fn at_once(scene: &mut Scene) -> Vec<(String, usize)> {
    let node = scene.world.node(scene.node);
    let events: Vec<_> = iter::from_fn(|| node.poll_event()).collect();
    stanzas(&events)
}

#[test]
fn what_came_in_one_piece_is_told_bit_by_bit_between_which_other_sockets_have_their_turn() {
    let mut scene = Scene::new();
    scene.flood();
    let first = at_once(&mut scene).len();
    let bound = limits::EVENTS_IN_ORDER + limits::STANZAS_AT_ONCE + limits::STANZAS_A_TURN;
    assert!((limits::EVENTS_IN_ORDER..=bound).contains(&first), "{first} without a look at the sockets");
    assert_eq!(scene.world.node(scene.node).poll_timeout().map(|(_, what)| what), Some("turns"));
    // Whoever is read meanwhile does not wait for the deadline.
    scene.quiet.1.say(&mut scene.world, &message(QUIET, A, 0));
    let next = at_once(&mut scene);
    assert_eq!(numbers(&next, QUIET), [0], "{next:?}");
    assert!(next.len() <= bound, "{} without a look at the sockets", next.len());
    let rest = scene.take(usize::MAX);
    let last = numbers(&rest, FLOODER).last().copied();
    assert_eq!((first + next.len() - 1 + rest.len(), last), (MANY, Some(MANY - 1)));
}

#[test]
fn who_sends_little_waits_for_a_few_stanzas_of_a_flood_and_not_for_all() {
    let mut scene = Scene::new();
    scene.flood();
    assert!(!scene.world.is_read(scene.flooder.0), "as long as it has stanzas here");
    assert!(scene.world.is_read(scene.quiet.0), "it has none");
    let first = scene.take(limits::EVENTS_IN_ORDER);
    assert_eq!(numbers(&first, FLOODER), (0..limits::EVENTS_IN_ORDER).collect::<Vec<_>>());
    scene.quiet.1.say(&mut scene.world, &(message(QUIET, A, 0) + &message(QUIET, A, 1)));
    let next = scene.take(limits::STANZAS_A_TURN + 2);
    assert_eq!(numbers(&next, QUIET), [0, 1], "{next:?}");
    assert!(scene.world.is_read(scene.quiet.0), "everything of it was taken");
    let rest = scene.take(usize::MAX);
    let all: Vec<_> = [first, next, rest].iter().flat_map(|told| numbers(told, FLOODER)).collect();
    assert_eq!(all, (0..MANY).collect::<Vec<_>>());
    assert!(scene.world.is_read(scene.flooder.0));
}

/// What happens to the stream, and what is told of its end.
struct Ending(&'static str, fn(&mut Scene), Reason);

#[test]
fn what_a_peer_said_before_its_stream_ended_is_heard_before_the_end_however_that_came() {
    let endings = [
        Ending("it broke", |scene| scene.world.break_off(scene.flooder.0), Reason::ConnectionReset),
        Ending("the peer went", |scene| scene.world.hang_up(scene.flooder.0), Reason::ConnectionReset),
        Ending("the peer broke TLS", |scene| scene.world.say(scene.flooder.0, "no record"), Reason::TlsFailed),
        Ending("nothing came any more", |scene| scene.world.run_for(2 * limits::IDLE), Reason::Idle),
    ];
    for Ending(name, end, why) in endings {
        let mut scene = Scene::new();
        scene.flood();
        end(&mut scene);
        let is_there = |scene: &mut Scene| scene.world.node(scene.node).measures().inbound > 0;
        assert!(is_there(&mut scene), "{name}: it still has something to say");
        scene.world.set_room(scene.node, usize::MAX);
        scene.world.hang_up(scene.flooder.0);
        scene.world.run_for(2 * limits::CLOSE);
        let events = scene.world.take_events(scene.node);
        assert_eq!(numbers(&stanzas(&events), FLOODER), (0..MANY).collect::<Vec<_>>(), "{name}");
        let down = events.iter().position(|event| {
            matches!(event, Event::PeerDown { pair, reason, .. } if *reason == why && pair.remote == domain(FLOODER))
        });
        let (_, after) = events.split_at(down.unwrap_or_else(|| panic!("{name}: {events:?}")));
        assert_eq!(stanzas(after), [], "{name}");
    }
}

#[test]
fn who_broke_the_protocol_behind_many_stanzas_has_its_time_from_when_that_was_told() {
    let mut scene = Scene::new();
    let text: String = (0..MANY).map(|id| message(FLOODER, A, id)).collect();
    scene.flooder.1.say(&mut scene.world, &(text + "<message &/>"));
    // Longer than a stream may take to close.
    scene.world.run_for(2 * limits::CLOSE);
    assert_eq!(scene.take(usize::MAX).len(), MANY);
    let said = scene.flooder.1.hear(&mut scene.world);
    assert!(said.contains("<not-well-formed "), "{said}");
    assert!(!scene.world.has_ended(scene.flooder.0), "it has had no time to read that");
    scene.world.run_for(3 * limits::CLOSE);
    assert!(scene.world.has_ended(scene.flooder.0));
}

#[test]
fn what_is_answered_between_stanzas_is_written_when_these_have_had_their_turn() {
    let mut scene = Scene::new();
    let proved = format!("<db:result from='{FLOODER}' to='{A}'>key</db:result>");
    let text: String = (0..MANY).map(|id| message(FLOODER, A, id) + &proved).collect();
    scene.flooder.1.say(&mut scene.world, &text);
    at_once(&mut scene);
    let node = scene.world.node(scene.node);
    let effects: Vec<_> = iter::from_fn(|| node.poll_effect()).collect();
    assert!(matches!(effects.as_slice(), [Effect::Wake(_), ..]), "nobody is to write: {effects:?}");
}

#[test]
fn one_address_makes_us_ask_about_so_many_keys_at_once_and_leaves_the_other_questions_to_others() {
    let authority = Authority::root("the authority");
    let mut world = World::new(Cutting::Whole);
    let node = world.add(IpAddr::from([192, 0, 2, 1]), config(&authority));
    let silent = SocketAddr::from(([192, 0, 2, 9], 5269));
    world.swallow(silent);
    let mut give_key = |number: usize, from: [u8; 4]| {
        let name = format!("d{number}.example.net");
        world.publish(&name, silent.ip(), true, false);
        let port = u16::try_from(number).expect("few");
        let puppet = world.connect_from(node, Listener::StartTls, SocketAddr::from((from, port))).expect("accepted");
        world.say(puppet, header(&name, A) + &format!("<db:result from='{name}' to='{A}'>key</db:result>"));
        let refused = world.hear_text(puppet).contains("<resource-constraint ");
        // One place opens no more than so many connections in a moment.
        world.now += Duration::from_millis(100);
        refused
    };
    let enough = limits::PENDING_VERIFICATIONS_PER_ADDRESS;
    let refused: Vec<_> = (0..enough + 2).map(|number| give_key(number, [198, 51, 100, 1])).collect();
    assert_eq!(refused, [vec![false; enough], vec![true; 2]].concat());
    assert!(!give_key(enough + 2, [198, 51, 100, 2]), "another address");
    assert_eq!(world.node(node).measures().verifications, enough + 1);
}

#[test]
fn two_floods_have_the_same_share_whoever_else_is_read() {
    let mut scene = Scene::new();
    scene.flood();
    let text: String = (0..MANY).map(|id| message(QUIET, A, id)).collect();
    scene.quiet.1.say(&mut scene.world, &text);
    at_once(&mut scene);
    let mut told = Vec::new();
    for _ in 0..MANY / 8 {
        let node = scene.world.node(scene.node);
        let (now, _) = node.poll_timeout().expect("more is to be told");
        node.handle_bytes(now, ConnId(u64::MAX), b" ");
        told.extend(at_once(&mut scene));
    }
    let [one, other] = [FLOODER, QUIET].map(|name| numbers(&told, name).len());
    assert!(one.abs_diff(other) <= 2 * limits::STANZAS_A_TURN, "{one} and {other}");
}

#[test]
fn of_a_pair_that_a_reload_forbids_nothing_is_told_after_its_end() {
    let mut scene = Scene::new();
    scene.flooder.1.say(&mut scene.world, &format!("<db:result from='{FLOODER}' to='{OTHER}'>key</db:result>"));
    scene.flood();
    scene.flooder.1.say(&mut scene.world, &message(FLOODER, OTHER, MANY));
    let mut config = config(&scene.authority);
    config.hosts.insert(domain(OTHER), HostOptions { s2s_disabled: true, ..HostOptions::default() });
    scene.world.command(scene.node, Command::Reconfigure(Box::new(config)));
    scene.world.set_room(scene.node, usize::MAX);
    scene.world.run();
    let events = scene.world.take_events(scene.node);
    let down =
        events.iter().position(|event| matches!(event, Event::PeerDown { pair, .. } if pair.local == domain(OTHER)));
    let (before, after) = events.split_at(down.expect("it is forbidden"));
    assert_eq!(numbers(&stanzas(before), FLOODER), (0..=MANY).collect::<Vec<_>>());
    assert_eq!(stanzas(after), []);
    assert!(scene.world.is_read(scene.flooder.0), "the other pair stays");
}

#[test]
fn a_shutdown_ends_when_the_application_has_taken_what_was_said_before() {
    let mut scene = Scene::new();
    scene.flood();
    scene.world.command(scene.node, Command::Shutdown);
    for puppet in [scene.flooder.0, scene.quiet.0] {
        scene.world.hang_up(puppet);
    }
    assert_eq!(numbers(&scene.take(usize::MAX), FLOODER).len(), MANY);
    scene.world.set_room(scene.node, usize::MAX);
    scene.world.run_for(2 * limits::CLOSE);
    assert_eq!(scene.world.node(scene.node).connections(), 0);
}

/// Whether a node comes back from what it does: a thread that does not cannot be ended.
fn comes_back(work: impl FnOnce() + Send + 'static) {
    let (done, finished) = mpsc::channel();
    let thread = thread::spawn(move || {
        work();
        done.send(()).expect("somebody waits");
    });
    match finished.recv_timeout(Duration::from_secs(300)) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("it does not come back"),
        Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => thread.join().expect("it does what it should"),
    }
}

/// What makes a node write to the flooder, who does not read it.
fn question() -> String {
    format!("<db:verify from='{FLOODER}' to='{A}' id='s'>key</db:verify>")
}

#[test]
fn who_does_not_read_is_ended_although_its_stanzas_wait_for_their_turn() {
    comes_back(|| {
        let mut scene = Scene::new();
        scene.world.deafen(scene.flooder.0);
        scene.flooder.1.say(&mut scene.world, &question());
        scene.flood();
        scene.world.run_for(2 * limits::WRITE_STALL);
        scene.world.set_room(scene.node, usize::MAX);
        scene.world.run();
        let events = scene.world.take_events(scene.node);
        assert_eq!(numbers(&stanzas(&events), FLOODER), (0..MANY).collect::<Vec<_>>());
        assert_eq!(scene.world.node(scene.node).measures().inbound, 1, "the quiet one");
    });
}

#[test]
fn who_does_not_read_is_ended_while_an_application_is_slower_than_what_it_sends() {
    comes_back(|| {
        let mut scene = Scene::new();
        scene.world.deafen(scene.flooder.0);
        scene.flooder.1.say(&mut scene.world, &question());
        for _ in 0..2 * limits::WRITE_STALL.as_secs() {
            if scene.world.is_read(scene.flooder.0) {
                scene.flood();
            }
            scene.take(limits::EVENTS_IN_ORDER + 4);
            scene.world.run_for(Duration::from_secs(1));
        }
        assert_eq!(scene.world.node(scene.node).measures().inbound, 1, "the quiet one");
    });
}
