//! One server of several nodes: what one of them says and another is asked about, and what one learns for another.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use s2s_core::auth::Method;
use s2s_core::node::{Command, Config, Direction, Event};
use s2s_core::policy::HostOptions;
use s2s_core::reason::Reason;
use s2s_core::route::PrivateAddresses;
use s2s_tests::certificates::Authority;
use s2s_tests::fake_tls::FakeProvider;
use s2s_tests::world::{Cutting, NodeIndex, World, domain};

const OURS: &str = "a.example.org";
const PEER: &str = "b.example.net";

/// The nodes of one server, at addresses of their own so that a test knows who is asked: what goes out takes the first,
/// and DNS knows the second.
struct Server {
    world: World,
    outward: NodeIndex,
    inward: NodeIndex,
    peer: NodeIndex,
    authority: Authority,
}

fn addr(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

impl Server {
    fn new() -> Self {
        let authority = Authority::root("the authority");
        let mut world = World::new(Cutting::Whole);
        let ours = config(&authority, OURS);
        let outward = world.add(addr(1), ours.clone());
        let inward = world.add(addr(2), ours);
        let peer = world.add(addr(3), config(&authority, PEER));
        world.publish(OURS, addr(2), true, false);
        world.publish(PEER, addr(3), true, false);
        Self { world, outward, inward, peer, authority }
    }

    /// A message of ours, by the node that has the route of its pair.
    fn say(&mut self) -> Vec<Event> {
        self.world.send(self.outward, &message(OURS, PEER));
        self.world.run();
        self.world.take_events(self.outward)
    }
}

/// Hosts without certificates: everything is proved by dialback.
fn config(authority: &Authority, host: &str) -> Config {
    let mut config = World::config(Arc::new(FakeProvider::new(Vec::new())), authority.trust());
    config.private_addresses = PrivateAddresses::Always;
    config.hosts.insert(domain(host), HostOptions::default());
    config
}

fn message(from: &str, to: &str) -> String {
    format!("<message from='x@{from}' to='y@{to}'><body>b</body></message>")
}

fn arrived(events: &[Event]) -> usize {
    events.iter().filter(|event| matches!(event, Event::Stanza { .. })).count()
}

fn bounced(events: &[Event]) -> Vec<Reason> {
    let reasons = events.iter().filter_map(|event| match event {
        Event::Undeliverable { reason, .. } => Some(*reason),
        _ => None,
    });
    reasons.collect()
}

#[test]
fn a_key_of_one_node_is_confirmed_by_another() {
    let mut server = Server::new();
    let told = server.say();
    assert_eq!(arrived(&server.world.take_events(server.peer)), 1, "{told:?}");
    let up = told.iter().any(|event| {
        matches!(event, Event::PeerUp { by: Method::Dialback, link, .. } if link.direction == Direction::Outbound)
    });
    assert!(up, "{told:?}");
    let asked = server.world.take_dialled();
    let at = |last| SocketAddr::new(addr(last), 5269);
    assert_eq!(asked, [at(3), at(2)], "the peer asks the node that did not make the key");
}

#[test]
fn what_arrives_at_one_node_is_answered_by_another() {
    let mut server = Server::new();
    server.world.send(server.peer, &message(PEER, OURS));
    server.world.run();
    assert_eq!(arrived(&server.world.take_events(server.inward)), 1);
    assert_eq!(server.say().iter().filter(|event| matches!(event, Event::PeerUp { .. })).count(), 1);
    assert_eq!(arrived(&server.world.take_events(server.peer)), 1);
}

#[test]
fn a_peer_that_speaks_to_one_node_is_tried_again_by_the_others_when_they_are_told() {
    let mut server = Server::new();
    server.world.kill(addr(3));
    // Each failure makes the wait longer, until it is longer than what the rest of this takes.
    for _ in 0..8 {
        assert_eq!(bounced(&server.say()), [Reason::ConnectRefused]);
        server.world.run_for(Duration::from_secs(20));
    }
    let config = config(&server.authority, PEER);
    server.world.revive(server.peer, config);
    server.world.take_dialled();
    server.world.send(server.peer, &message(PEER, OURS));
    server.world.run();
    let heard = server.world.take_events(server.inward);
    let up = heard.iter().find_map(|event| match event {
        Event::PeerUp { pair, link, .. } => Some((pair.clone(), link.addr.ip())),
        _ => None,
    });
    assert_eq!(arrived(&heard), 1, "{heard:?}");
    assert_eq!(bounced(&server.say()), [Reason::ConnectRefused], "it has not been told");
    let (pair, from) = up.expect("the peer is up");
    server.world.command(server.outward, Command::SignOfLife { pair, from });
    assert_eq!(bounced(&server.say()), []);
    assert_eq!(arrived(&server.world.take_events(server.peer)), 1);
}
