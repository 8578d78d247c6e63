//! A whole adapter: one loop around `poll(2)`. Two nodes federate by it over loopback, each on a thread of its own.
//!
//! All routes are static here, so a question to a DNS server fails at once: see `Transport` for how to ask one. The
//! adapters of this project show which options connections should have.
//!
//! `cargo run -p s2s-core --example poll_loop`
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "an adapter does what the core may not")]

#[path = "parts/authority.rs"]
mod authority;
#[path = "parts/site.rs"]
mod site;

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Instant, SystemTime};

use authority::Authority;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use s2s_core::addr::{Domain, Pair};
use s2s_core::machine::{ConnId, Driven, Effect, Listener, Machine, Step};
use s2s_core::node::{Command, Event, Node};
use s2s_core::reason::Reason;
use s2s_core::stanza::Stanza;
use s2s_core::time::Anchor;
use socket2::{Socket, Type};

struct Connection {
    socket: TcpStream,
    is_open: bool,
    has_peer_ended: bool,
    close_write: bool,
}

struct Loop<A> {
    driven: Driven<Node>,
    /// Takes an event, and may command something.
    application: A,
    conns: BTreeMap<ConnId, Connection>,
    /// What the application wants, once all effects are done.
    commands: VecDeque<Command>,
}

impl<A: FnMut(Event) -> Option<Command>> Loop<A> {
    /// Runs a node until it has shut down.
    fn run(node: Node, listener: &TcpListener, first: Option<Command>, application: A) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        let (driven, commands) = (Driven::new(node, Instant::now()), first.into_iter().collect());
        let mut this = Self { driven, application, conns: BTreeMap::new(), commands };
        this.settle();
        while !this.driven.is_over() {
            let ready = this.wait(listener)?;
            let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            this.driven.handle_time(Instant::now(), unix);
            this.settle();
            if let Ok((socket, peer)) = listener.accept()
                && socket.set_nonblocking(true).is_ok()
                && let Some(conn) = this.report(|node, now| node.handle_accept(now, peer, Listener::StartTls))
            {
                this.insert(conn, socket, true);
                this.settle();
            }
            for conn in ready {
                for transfer in [Self::read, Self::write] {
                    transfer(&mut this, conn).unwrap_or_else(|error| this.fail(conn, &error));
                    this.settle();
                }
            }
        }
        Ok(())
    }

    fn report<R>(&mut self, call: impl FnOnce(&mut Node, Instant) -> R) -> R {
        self.driven.report(Instant::now(), call)
    }

    /// Waits for sockets or the timer. Gives the connections on which something can be done.
    fn wait(&self, listener: &TcpListener) -> io::Result<Vec<ConnId>> {
        let mut fds = vec![PollFd::new(listener, PollFlags::IN)];
        let mut conns = Vec::new();
        for (conn, connection) in &self.conns {
            let interest = self.driven.machine().interest(*conn);
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, connection.is_open && interest.read && !connection.has_peer_ended);
            flags.set(PollFlags::OUT, !connection.is_open || interest.write || connection.close_write);
            if !flags.is_empty() {
                fds.push(PollFd::new(&connection.socket, flags));
                conns.push(*conn);
            }
        }
        let wait = self.driven.deadline().saturating_duration_since(Instant::now());
        match poll(&mut fds, wait.try_into().ok().as_ref()) {
            Err(Errno::INTR) => return Ok(Vec::new()),
            polled => polled?,
        };
        let mut ready = fds.iter().skip(1).map(|fd| !fd.revents().is_empty());
        conns.retain(|_| ready.next() == Some(true));
        Ok(conns)
    }

    /// Does what the node asks for and what follows from that, until there is nothing left to do.
    fn settle(&mut self) {
        loop {
            match self.driven.step() {
                Some(Step::Event(event)) => self.commands.extend((self.application)(event)),
                Some(Step::Effect(effect)) => match effect {
                    Effect::Dial { conn, addr, from } => match dial(addr, from) {
                        Ok(socket) => self.insert(conn, socket, false),
                        Err(error) => self.driven.fail(effect, error.kind()),
                    },
                    Effect::CloseWrite(conn) => {
                        self.conns.entry(conn).and_modify(|connection| connection.close_write = true);
                    }
                    Effect::Drop(conn) => drop(self.conns.remove(&conn)),
                    Effect::Wake(_) | Effect::Forget(_) => {} // `wait` looks at all connections
                    Effect::Ask { .. } => self.driven.fail(effect, ErrorKind::Unsupported),
                },
                None => match self.commands.pop_front() {
                    Some(command) => self.report(|node, now| node.handle_command(now, command)),
                    None => return,
                },
            }
        }
    }

    fn insert(&mut self, conn: ConnId, socket: TcpStream, is_open: bool) {
        self.conns.insert(conn, Connection { socket, is_open, has_peer_ended: false, close_write: false });
    }

    fn fail(&mut self, conn: ConnId, error: &io::Error) {
        if error.kind() != ErrorKind::WouldBlock {
            self.conns.remove(&conn);
            self.report(|node, now| node.handle_closed(now, conn, error.kind()));
        }
    }

    fn read(&mut self, conn: ConnId) -> io::Result<()> {
        let Some(connection) = self.conns.get_mut(&conn) else { return Ok(()) };
        if !connection.is_open {
            connection.socket.take_error()?.map_or(Ok(()), Err)?;
            connection.is_open = true;
            self.report(|node, now| node.handle_connected(now, conn));
        } else if self.driven.machine().interest(conn).read && !connection.has_peer_ended {
            let mut buffer = [0; 16_384];
            let n = connection.socket.read(&mut buffer)?;
            connection.has_peer_ended = n == 0;
            self.report(|node, now| match n {
                0 => node.handle_eof(now, conn),
                n => node.handle_bytes(now, conn, &buffer[..n]),
            });
        }
        Ok(())
    }

    fn write(&mut self, conn: ConnId) -> io::Result<()> {
        let Some(connection) = self.conns.get_mut(&conn).filter(|connection| connection.is_open) else { return Ok(()) };
        let pending = self.driven.machine().pending(conn);
        if !pending.is_empty() {
            let n = connection.socket.write(pending)?;
            self.report(|node, now| node.handle_sent(now, conn, n));
        } else if std::mem::take(&mut connection.close_write) {
            connection.socket.shutdown(Shutdown::Write)?;
        }
        Ok(())
    }
}

/// Begins to connect. The socket can be written to when it has succeeded or failed.
fn dial(addr: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = Socket::new(socket2::Domain::for_address(addr), Type::STREAM, None)?;
    if let Some(from) = from {
        socket.bind(&SocketAddr::new(from, 0).into())?;
    }
    socket.set_nonblocking(true)?;
    match socket.connect(&addr.into()) {
        Err(error) if Errno::from_io_error(&error) != Some(Errno::INPROGRESS) => Err(error),
        _ => Ok(socket.into()),
    }
}

/// Romeo asks, and ends when Juliet has answered; she ends when he is gone. Nothing else may happen.
fn main() -> Result<(), Box<dyn Error>> {
    let [a, b]: [Domain; 2] = ["a.example".parse()?, "b.example".parse()?];
    let listeners = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
    let (authority, unix) = (Authority::new()?, SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?);
    let anchor = Anchor { instant: Instant::now(), unix };
    let node_a = site::node(&Pair::new(a.clone(), b.clone()), listeners[1].local_addr()?, &authority, anchor)?;
    let node_b = site::node(&Pair::new(b, a), listeners[0].local_addr()?, &authority, anchor)?;

    let ask = "<message from='romeo@a.example' to='juliet@b.example'><body>art thou there?</body></message>";
    let answer = "<message from='juliet@b.example' to='romeo@a.example'><body>anon!</body></message>";
    let [ask, answer] = [Stanza::parse(ask)?, Stanza::parse(answer)?];
    let romeo = |event| match event {
        Event::Stanza { stanza, .. } => {
            assert_eq!(stanza.head(), answer.head());
            println!("Romeo reads {}", String::from_utf8_lossy(stanza.bytes()));
            Some(Command::Shutdown)
        }
        Event::PeerUp { .. } | Event::PeerDown { reason: Reason::Shutdown, .. } => None,
        other => panic!("{other:?}"),
    };
    let mut up = 0;
    let juliet = |event| match event {
        Event::Stanza { stanza, .. } => {
            assert_eq!(stanza.head(), ask.head());
            println!("Juliet reads {}", String::from_utf8_lossy(stanza.bytes()));
            Some(Command::Send(answer.clone()))
        }
        Event::PeerUp { .. } => {
            up += 1;
            None
        }
        Event::PeerDown { .. } => {
            up -= 1;
            (up == 0).then_some(Command::Shutdown)
        }
        // Romeo's node went down, and nothing but his conduct shows that it took the answer before.
        Event::Uncertain { stanzas: 1, .. } => None,
        other => panic!("{other:?}"),
    };
    thread::scope(|scope| {
        let b = scope.spawn(|| Loop::run(node_b, &listeners[1], None, juliet));
        let a = Loop::run(node_a, &listeners[0], Some(Command::Send(ask.clone())), romeo);
        let b = b.join().expect("Juliet's thread does not panic");
        a.and(b)
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn two_nodes_federate_over_loopback_by_one_loop_each() {
        super::main().unwrap();
    }
}
