//! Two nodes federate in memory: no sockets, no threads, and a clock that jumps to the next deadline.
//!
//! This is how a test of an embedder looks. A stanza goes from `a.example` to `b.example`, whose node finds the sender
//! proved by its certificate; then both shut down. It ends with a panic if anything else happens.
//!
//! `cargo run -p s2s-core --example in_memory`

#[path = "parts/authority.rs"]
mod authority;
#[path = "parts/site.rs"]
mod site;

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use authority::Authority;
use s2s_core::addr::{Domain, Pair};
use s2s_core::auth::Method;
use s2s_core::machine::{ConnId, Driven, Effect, Listener, Machine, Step};
use s2s_core::node::{Command, Direction, Event, Node};
use s2s_core::stanza::Stanza;
use s2s_core::time::Anchor;

/// The wall-clock time at the start, since 1970: the first second of 2026.
const UNIX: Duration = Duration::from_secs(1_767_225_600);

/// Federation takes no time here; nothing that goes right needs a minute.
const PATIENCE: Duration = Duration::from_secs(60);

/// One end of a connection, seen from its node.
#[derive(Default)]
struct Wire {
    /// The name of the other end; a connection that is being dialled has none yet.
    far: Option<ConnId>,
    /// Whether our half is to end once everything is written.
    close_write: bool,
    /// Where it was dialled to.
    to: Option<SocketAddr>,
}

struct Network {
    addrs: [SocketAddr; 2],
    nodes: [Driven<Node>; 2],
    wires: BTreeMap<(usize, ConnId), Wire>,
    events: Vec<(usize, Event)>,
    start: Instant,
    now: Instant,
}

impl Network {
    fn command(&mut self, own: usize, command: Command) {
        self.nodes[own].report(self.now, |node, now| node.handle_command(now, command));
    }

    /// Runs until `done`, by moves of which each makes one call at most.
    fn run_until(&mut self, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            if self.perform() || self.carry() {
                continue;
            }
            // Nothing moves: time passes.
            self.now = self.nodes.iter().map(Driven::deadline).min().expect("there are two").max(self.now);
            assert!(self.now < self.start + PATIENCE, "nothing but {:?}", self.events);
            for node in &mut self.nodes {
                node.handle_time(self.now, UNIX + (self.now - self.start));
            }
        }
    }

    /// Does one thing that a node asks for, or takes one event. False: there is none.
    fn perform(&mut self) -> bool {
        let Some((own, step)) = [0, 1].into_iter().find_map(|own| Some((own, self.nodes[own].step()?))) else {
            return false;
        };
        match step {
            Step::Event(event) => self.events.push((own, event)),
            Step::Effect(Effect::Dial { conn, addr, .. }) => {
                self.wires.insert((own, conn), Wire { to: Some(addr), ..Wire::default() });
            }
            Step::Effect(Effect::Wake(_)) => {} // all connections are looked at each time
            Step::Effect(Effect::CloseWrite(conn)) => {
                self.wires.entry((own, conn)).and_modify(|wire| wire.close_write = true);
            }
            Step::Effect(Effect::Drop(conn)) => {
                let far = self.wires.remove(&(own, conn)).and_then(|wire| wire.far);
                if let Some(far) = far.filter(|far| self.wires.remove(&(1 - own, *far)).is_some()) {
                    self.nodes[1 - own].report(self.now, |node, now| node.handle_eof(now, far));
                }
            }
            Step::Effect(effect @ (Effect::Ask { .. } | Effect::Forget(_))) => {
                unreachable!("all routes are static: {effect:?}")
            }
        }
        true
    }

    /// Opens one connection, or carries the bytes that wait in one, or its end. False: there is nothing to carry.
    fn carry(&mut self) -> bool {
        let ends: Vec<_> = self.wires.keys().copied().collect();
        ends.into_iter().any(|(own, conn)| self.carry_from(own, conn))
    }

    fn carry_from(&mut self, own: usize, conn: ConnId) -> bool {
        let (peer, now) = (1 - own, self.now);
        let wire = self.wires.get_mut(&(own, conn)).expect("it was just seen");
        let Some(far) = wire.far else {
            assert_eq!(wire.to, Some(self.addrs[peer]), "it dials the other one");
            let from = self.addrs[own];
            let accepted = self.nodes[peer].report(now, |node, now| node.handle_accept(now, from, Listener::StartTls));
            wire.far = Some(accepted.expect("there is room for one more"));
            self.wires.extend(accepted.map(|far| ((peer, far), Wire { far: Some(conn), ..Wire::default() })));
            self.nodes[own].report(now, |node, now| node.handle_connected(now, conn));
            return true;
        };
        let bytes = self.nodes[own].machine().pending(conn).to_vec();
        if bytes.is_empty() {
            let ends = std::mem::take(&mut wire.close_write);
            if ends {
                self.nodes[peer].report(now, |node, now| node.handle_eof(now, far));
            }
            return ends;
        }
        // A node that does not want to read leaves the bytes where they are.
        let wanted = self.nodes[peer].machine().interest(far).read;
        if wanted {
            self.nodes[own].report(now, |node, now| node.handle_sent(now, conn, bytes.len()));
            self.nodes[peer].report(now, |node, now| node.handle_bytes(now, far, &bytes));
        }
        wanted
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    #[expect(clippy::disallowed_methods, reason = "time has to begin somewhere; it passes as we say")]
    let start = Instant::now();
    let [a, b]: [Domain; 2] = ["a.example".parse()?, "b.example".parse()?];
    let addrs: [SocketAddr; 2] = ["192.0.2.1:5269".parse()?, "192.0.2.2:5269".parse()?];
    let authority = Authority::new()?;
    let anchor = Anchor { instant: start, unix: UNIX };
    let nodes = [
        site::node(&Pair::new(a.clone(), b.clone()), addrs[1], &authority, anchor)?,
        site::node(&Pair::new(b, a.clone()), addrs[0], &authority, anchor)?,
    ];
    let nodes = nodes.map(|node| Driven::new(node, start));
    let mut network = Network { addrs, nodes, wires: BTreeMap::new(), events: Vec::new(), start, now: start };

    let message = "<message from='romeo@a.example' to='juliet@b.example'><body>art thou there?</body></message>";
    network.command(0, Command::Send(Stanza::parse(message)?));
    let arrived = |network: &Network| network.events.iter().any(|(_, event)| matches!(event, Event::Stanza { .. }));
    network.run_until(arrived);

    for (own, event) in &network.events {
        match event {
            Event::PeerUp { pair, by, link } => {
                println!("{}: {} is up, {}, by {by}", pair.local, pair.remote, link.direction.as_str());
                assert_eq!((*by, link.direction == Direction::Inbound), (Method::External, *own == 1));
            }
            Event::Stanza { pair, stanza } => {
                println!("{}: {}", pair.local, String::from_utf8_lossy(stanza.bytes()));
                assert_eq!((*own, &pair.remote), (1, &a), "the proved sender");
                assert!(String::from_utf8_lossy(stanza.bytes()).contains("<body>art thou there?</body>"));
            }
            other => panic!("{other:?}"),
        }
    }

    for own in [0, 1] {
        network.command(own, Command::Shutdown);
    }
    network.run_until(|network| network.nodes.iter().all(Driven::is_over));
    assert!(network.wires.is_empty(), "no connection is left");
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn two_nodes_federate_in_memory() {
        super::main().unwrap();
    }
}
