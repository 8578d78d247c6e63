//! A node in a network without sockets.

use std::net::{IpAddr, SocketAddr};

use s2s_core::machine::{Listener, Machine as _};
use s2s_core::node::Config;

use super::setup::{DOMAINS, server_of};
use super::target::{LineIndex, Note, Target};
use crate::world::{Cutting, NodeIndex, Puppet, World};

/// A node, and the puppets around it.
#[derive(Debug)]
pub struct CoreTarget {
    world: World,
    site: NodeIndex,
    lines: Vec<Puppet>,
}

impl CoreTarget {
    /// A node with this configuration; `peer` is found where `m.example` is.
    #[must_use]
    pub fn new(config: Config, peer: &str) -> Self {
        let mut world = World::new(Cutting::Whole);
        let site = world.add(IpAddr::from([192, 0, 2, 1]), config);
        for domain in DOMAINS.iter().copied().chain([peer]) {
            world.publish(domain, addr(server_of(domain)).ip(), true, false);
            world.listen(addr(server_of(domain)));
        }
        Self { world, site, lines: Vec::new() }
    }
}

/// Where the servers of `domain` are: those of the attacker and the honest one.
fn addr(domain: &str) -> SocketAddr {
    let last = if domain == "t.example" { 77 } else { 66 };
    SocketAddr::from(([192, 0, 2, last], 5269))
}

impl Target for CoreTarget {
    fn connect(&mut self, on: Listener) -> LineIndex {
        self.lines.push(self.world.connect(self.site, on));
        self.lines.len() - 1
    }

    fn accept(&mut self, domain: &str) -> Option<LineIndex> {
        self.lines.push(self.world.accept(addr(domain))?);
        Some(self.lines.len() - 1)
    }

    fn send(&mut self, line: LineIndex, bytes: &[u8]) {
        self.world.say(self.lines[line], bytes);
    }

    fn hang_up(&mut self, line: LineIndex) {
        self.world.hang_up(self.lines[line]);
    }

    fn receive(&mut self, line: LineIndex) -> (Vec<u8>, bool) {
        (self.world.hear(self.lines[line]), self.world.has_ended(self.lines[line]))
    }

    fn is_silent(&mut self, line: LineIndex) -> bool {
        self.world.hear(self.lines[line]).is_empty()
    }

    fn takes_time(&self) -> bool {
        false
    }

    fn wait(&mut self, seconds: u64) {
        self.world.run_for(std::time::Duration::from_secs(seconds));
    }

    fn route(&mut self, stanza: &str) {
        self.world.send(self.site, stanza);
        self.world.run();
    }

    fn notes_until(&mut self, _text: &str) -> Vec<Note> {
        self.world.run();
        self.world.take_events(self.site).iter().filter_map(Note::of).collect()
    }

    fn take_dialled(&mut self) -> Vec<String> {
        let dialled = self.world.take_dialled();
        let name = |dialled: &SocketAddr| DOMAINS.iter().find(|domain| addr(domain) == *dialled);
        dialled
            .iter()
            .map(|dialled| name(dialled).map_or_else(|| dialled.to_string(), |name| (*name).to_owned()))
            .collect()
    }

    fn take_asked(&mut self) -> Vec<String> {
        self.world.take_asked()
    }

    fn left(&mut self) -> Result<(), String> {
        let node = self.world.node(self.site);
        match (node.connections(), node.poll_timeout().map(|(_, why)| why)) {
            (1, Some("idle")) => Ok(()),
            (connections, deadline) => {
                Err(format!("{connections} connections are left, with the deadline {deadline:?}"))
            }
        }
    }
}
