//! A node, and peers whose every word a scene writes, with all that both sides say.

use std::net::{IpAddr, SocketAddr};

use s2s_core::machine::Listener;
use s2s_core::node::{Config, Event};
use s2s_core::policy::HostOptions;

use super::config;
use crate::certificates::{Authority, Kind, Request, San};
use crate::puppetry::{AUTH, Tls, header};
use crate::transcript::{Line, Side, Transcript, break_tags};
use crate::world::{Cutting, NodeIndex, Puppet, World, domain};

/// Where the node is.
const NODE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

/// One node, its peers, and what was said.
pub(super) struct Stage {
    pub(super) world: World,
    pub(super) node: NodeIndex,
    pub(super) transcript: Transcript,
    host: String,
    authority: Authority,
}

impl Stage {
    /// A node that serves `host` and has a good certificate for it.
    pub(super) fn new(host: &str, options: HostOptions) -> Self {
        Self::with(host, options, |_| {})
    }

    /// The same, with something else in its configuration.
    pub(super) fn with(host: &str, options: HostOptions, change: impl FnOnce(&mut Config)) -> Self {
        let authority = Authority::root("the authority");
        let mut config = config(&authority, host, Some(Kind::Valid), options);
        change(&mut config);
        let mut world = World::new(Cutting::Whole);
        let node = world.add(NODE, config);
        Self { world, node, transcript: Transcript::default(), host: host.to_owned(), authority }
    }

    /// A peer connects in clear.
    pub(super) fn connect(&mut self) -> Puppet {
        self.world.connect(self.node, Listener::StartTls)
    }

    /// A peer connects by direct TLS as `from`, and shows a good certificate for `names`.
    pub(super) fn connect_by_tls(&mut self, from: &str, names: &[&str]) -> Tls {
        let puppet = self.world.connect(self.node, Listener::DirectTls);
        let request = Request::new(names.iter().map(|name| San::Dns((*name).to_owned())).collect());
        let chain = self.authority.issue(&request).chain;
        Tls::connect(&mut self.world, puppet, &domain(from), chain, &domain(&self.host))
    }

    /// A peer waits at `addr` for who looks for `host`.
    pub(super) fn listen(&mut self, host: &str, addr: SocketAddr) {
        self.world.publish(host, addr.ip(), true, false);
        self.world.listen(addr);
    }

    /// The peer that opened the connection says this in clear, and the node answers.
    pub(super) fn say(&mut self, puppet: Puppet, xml: &str) {
        self.transcript.say(Side::Opening, xml);
        self.murmur(puppet, xml);
    }

    /// The same where it is too long to be shown: `description` stands for it.
    pub(super) fn say_at_length(&mut self, puppet: Puppet, xml: &str, description: &str) {
        let text = format!("({description})");
        self.transcript.lines.push(Line { connection: 1, side: Side::Opening, text });
        self.murmur(puppet, xml);
    }

    fn murmur(&mut self, puppet: Puppet, xml: &str) {
        self.world.say(puppet, xml);
        let heard = self.world.hear_text(puppet);
        self.transcript.say(Side::Accepting, &heard);
    }

    /// The peer that opened the connection says this inside TLS, and the node answers.
    pub(super) fn say_inside(&mut self, tls: &mut Tls, xml: &str) {
        self.transcript.say(Side::Opening, xml);
        let heard = tls.say(&mut self.world, xml);
        self.transcript.say(Side::Accepting, &heard);
    }

    /// The peer proves itself by EXTERNAL.
    pub(super) fn authenticate(&mut self, tls: &mut Tls, from: &str) {
        let header = header(from, &self.host);
        for said in [&header, AUTH, &header] {
            self.say_inside(tls, said);
        }
    }

    /// The node, which opened the connection, has said something.
    pub(super) fn hear(&mut self, puppet: Puppet) {
        let heard = self.world.hear_text(puppet);
        self.transcript.say(Side::Opening, &heard);
    }

    /// The peer that accepted the connection says this in clear, and the node goes on.
    pub(super) fn answer(&mut self, puppet: Puppet, xml: &str) {
        self.transcript.say(Side::Accepting, xml);
        self.world.say(puppet, xml);
        self.hear(puppet);
    }

    /// What the node has told of pairs, and of connections that it turned away: a line for each.
    pub(super) fn told(&mut self) -> String {
        let events = self.world.take_events(self.node);
        events.iter().filter_map(line).map(|line| format!("told: {line}\n")).collect()
    }
}

/// What the operator of a node is told of streams that came to nothing, and what goes back to who wanted to send.
pub(super) fn outcome(events: &[Event]) -> String {
    let lines = events.iter().filter_map(|event| match event {
        Event::Refused { reason, .. } => Some(format!("told: {}\n", reason.code())),
        Event::Undeliverable { stanza, reason, .. } => {
            let bounce = stanza.bounce(*reason)?;
            Some(format!("bounce: {}", break_tags(&String::from_utf8_lossy(bounce.bytes()))))
        }
        _ => None,
    });
    lines.collect()
}

fn line(event: &Event) -> Option<String> {
    match event {
        Event::PeerUp { pair, by, .. } => Some(format!("{} is proved by {by}", pair.remote)),
        Event::Stanza { pair, .. } => Some(format!("a stanza of {}", pair.remote)),
        Event::Refused { remote, reason, .. } => {
            let whom = remote.as_ref().map_or_else(|| "somebody".to_owned(), ToString::to_string);
            Some(format!("{whom} is refused: {}", reason.code()))
        }
        Event::TurnedAway { bound, addr, .. } => Some(format!("{addr} is turned away: {}", bound.as_str())),
        _ => None,
    }
}
