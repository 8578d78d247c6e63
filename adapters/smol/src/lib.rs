//! Drives a [`Machine`] over real sockets, with smol.
//!
//! A [`Driver`] accepts, dials, reads, writes, sends DNS queries and keeps one timer. It knows no protocol:
//! every byte that it moves comes from the machine or goes to it. The application sits behind a [`Handle`],
//! which takes commands and gives events. A driver and all of its sockets live on one thread; use more cores by running more
//! drivers.
//!
//! The loop has six steps:
//!
//! 1. wait for a socket, the timer or a command;
//! 2. make one call, with a time that is not before the last;
//! 3. drain the machine's effects;
//! 4. drain its events while the application has room ([`EVENTS`]): the rest waits in the machine, which then stops reading;
//! 5. look again at those connections for which the machine asked it;
//! 6. arm the timer again, if the deadline is now earlier.
//!
//! Here two nodes federate over loopback. Where each finds the other is configured; without that they ask the DNS
//! servers that stand in place of the empty list.
//!
//! ```
//! # use std::error::Error;
//! # use std::net::SocketAddr;
//! # use std::time::{Instant, SystemTime};
//! # use s2s_core::addr::Domain;
//! # use s2s_core::dialback::Secret;
//! # use s2s_core::dns::Security;
//! # use s2s_core::entropy::Seed;
//! # use s2s_core::machine::Listener;
//! # use s2s_core::node::{Command, Config, Event, Node, StaticRoute};
//! # use s2s_core::policy::HostOptions;
//! # use s2s_core::stanza::Stanza;
//! # use s2s_core::time::Anchor;
//! # use s2s_smol::{Driver, bind};
//! # mod authority { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../core/examples/parts/authority.rs")); }
//! # fn main() -> Result<(), Box<dyn Error>> {
//! # let authority = authority::Authority::new()?;
//! # let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
//! let node = |host: &Domain, peer: &Domain, addr: SocketAddr, seed: [u8; 32]| -> Result<Node, Box<dyn Error>> {
//!     let secret = Secret::new(b"what is drawn once and kept, unlike the seed")?;
//!     let mut config = Config::new(authority.provider(host)?, authority.trust(), secret, vec![]);
//!     let strict = HostOptions { secure_auth: true, require_encryption: true, ..HostOptions::default() };
//!     config.hosts.insert(host.clone(), strict);
//!     config.routes.insert(peer.clone(), StaticRoute { addr, security: Security::StartTls });
//!     Ok(Node::new(config, Seed(seed), Anchor { instant: Instant::now(), unix }))
//! };
//! let [a, b]: [Domain; 2] = ["a.example".parse()?, "b.example".parse()?];
//! let [at_a, at_b] = [bind("127.0.0.1:0".parse()?)?, bind("127.0.0.1:0".parse()?)?];
//! let nodes = [node(&a, &b, at_b.local_addr()?, [1; 32])?, node(&b, &a, at_a.local_addr()?, [2; 32])?];
//! let [node_a, node_b] = nodes;
//! let (driver_a, romeo) = Driver::new(node_a, vec![(Listener::StartTls, at_a)])?;
//! let (driver_b, juliet) = Driver::new(node_b, vec![(Listener::StartTls, at_b)])?;
//! let threads = [driver_a, driver_b].map(|driver| std::thread::spawn(move || smol::block_on(driver.run())));
//!
//! let ask = "<message from='romeo@a.example' to='juliet@b.example'><body>art thou there?</body></message>";
//! smol::block_on(romeo.send(Command::Send(Stanza::parse(ask)?)))?;
//! let letter = loop {
//!     match smol::block_on(juliet.event()).expect("the driver runs") {
//!         Event::Stanza { pair, stanza } => break (pair.remote, stanza),
//!         Event::PeerUp { .. } => {} // from now on stanzas flow
//!         other => panic!("{other:?}"),
//!     }
//! };
//! assert_eq!((letter.0, letter.1.head()), (a, Stanza::parse(ask)?.head()));
//!
//! drop((romeo, juliet)); // nobody is left: both end at once; `Command::Shutdown` says goodbye before
//! threads.map(|thread| thread.join().expect("drivers do not panic"));
//! # Ok(())
//! # }
//! ```
//!
//! A driver knows nothing of federation. A machine that greets everyone and hangs up, and a client that listens to it:
//!
//! ```
//! # use std::collections::{BTreeMap, VecDeque};
//! # use std::io::{self, Read};
//! # use std::net::{SocketAddr, TcpStream};
//! # use std::time::{Duration, Instant};
//! use s2s_core::machine::{ConnId, Effect, Interest, Listener, Machine, QueryId};
//! use s2s_smol::{Driver, bind};
//!
//! #[derive(Default)]
//! struct Greeter {
//!     greeted: u64,
//!     out: BTreeMap<ConnId, &'static [u8]>,
//!     effects: VecDeque<Effect>,
//!     events: VecDeque<SocketAddr>,
//! }
//!
//! impl Machine for Greeter {
//!     type Command = ();
//!     type Event = SocketAddr;
//!
//!     fn handle_accept(&mut self, _: Instant, peer: SocketAddr, _: Listener) -> Option<ConnId> {
//!         let conn = ConnId(self.greeted);
//!         self.greeted += 1;
//!         self.out.insert(conn, b"Hello!\n");
//!         self.events.push_back(peer);
//!         self.effects.extend([Effect::Wake(conn), Effect::CloseWrite(conn)]);
//!         Some(conn)
//!     }
//!     fn handle_sent(&mut self, _: Instant, conn: ConnId, n: usize) {
//!         if let Some(out) = self.out.get_mut(&conn) {
//!             *out = &out[n..];
//!         }
//!     }
//!     fn handle_eof(&mut self, _: Instant, conn: ConnId) {
//!         self.out.remove(&conn);
//!         self.effects.push_back(Effect::Drop(conn));
//!     }
//!     fn pending(&self, conn: ConnId) -> &[u8] {
//!         self.out.get(&conn).copied().unwrap_or_default()
//!     }
//!     fn interest(&self, conn: ConnId) -> Interest {
//!         Interest { read: true, write: !self.pending(conn).is_empty() }
//!     }
//!     fn poll_effect(&mut self) -> Option<Effect> {
//!         self.effects.pop_front()
//!     }
//!     fn poll_event(&mut self) -> Option<SocketAddr> {
//!         self.events.pop_front()
//!     }
//!     // A greeter listens to nobody, asks nobody and never waits.
//! #   fn handle_connected(&mut self, _: Instant, _: ConnId) {}
//! #   fn handle_bytes(&mut self, _: Instant, _: ConnId, _: &[u8]) {}
//! #   fn handle_closed(&mut self, _: Instant, conn: ConnId, _: io::ErrorKind) { self.out.remove(&conn); }
//! #   fn handle_reply(&mut self, _: Instant, _: QueryId, _: Option<&[u8]>) {}
//! #   fn handle_timeout(&mut self, _: Instant) {}
//! #   fn handle_clock(&mut self, _: Instant, _: Duration) {}
//! #   fn handle_command(&mut self, _: Instant, (): ()) {}
//! #   fn poll_timeout(&self) -> Option<(Instant, &'static str)> { None }
//! #   fn is_finished(&self) -> bool { false }
//! }
//!
//! # fn main() -> io::Result<()> {
//! let listener = bind("127.0.0.1:0".parse().unwrap())?;
//! let addr = listener.local_addr()?;
//! let (driver, handle) = Driver::new(Greeter::default(), vec![(Listener::StartTls, listener)])?;
//! let thread = std::thread::spawn(move || smol::block_on(driver.run()));
//!
//! let mut client = TcpStream::connect(addr)?;
//! let mut heard = String::new();
//! client.read_to_string(&mut heard)?;
//! assert_eq!(heard, "Hello!\n");
//! assert_eq!(smol::block_on(handle.event()), Some(client.local_addr()?));
//!
//! drop(handle);
//! let greeter = thread.join().unwrap();
//! assert_eq!(greeter.greeted, 1);
//! # Ok(())
//! # }
//! ```

use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::time::{Duration, Instant};

use async_io::Async;
use s2s_core::machine::{Driven, Listener, Machine};
use smol::LocalExecutor;
use smol::channel::{self, Receiver, SendError, Sender, TrySendError};
use smol::future::{or, yield_now};

mod bell;
mod connection;
mod query;
mod run;

pub use s2s_sockets::{COMMANDS, EVENTS, SystemSources, bind, bind_shared};

use run::Shared;

/// Tasks that run before it is asked again which sockets are ready.
const TASKS_IN_ORDER: usize = 16;

/// A machine with its listeners, to be run.
pub struct Driver<M: Machine> {
    machine: M,
    listeners: Vec<(Listener, Async<TcpListener>)>,
    commands: Receiver<M::Command>,
    events: Sender<M::Event>,
    wall: Box<dyn Fn() -> Duration + Send>,
}

impl<M: Machine> Driver<M> {
    /// Takes a machine, anchored just before, and what it listens on. Fails if a listener cannot be registered for I/O.
    #[expect(clippy::type_complexity, reason = "an alias would hide what is returned")]
    pub fn new(
        machine: M,
        listeners: Vec<(Listener, TcpListener)>,
    ) -> io::Result<(Self, Handle<M::Command, M::Event>)> {
        let listeners = listeners
            .into_iter()
            .map(|(on, listener)| Ok((on, Async::new(listener)?)))
            .collect::<io::Result<Vec<_>>>()?;
        let (command_sender, commands) = channel::bounded(COMMANDS);
        let (events, event_receiver) = channel::bounded(EVENTS);
        let driver = Self { machine, listeners, commands, events, wall: Box::new(s2s_sockets::wall_clock) };
        Ok((driver, Handle { commands: command_sender, events: event_receiver }))
    }

    /// Reads wall-clock time, as time since 1970, from `wall` in place of the system.
    #[must_use]
    pub fn with_wall_clock(self, wall: impl Fn() -> Duration + Send + 'static) -> Self {
        Self { wall: Box::new(wall), ..self }
    }
}

impl<M: Machine + 'static> Driver<M> {
    /// Runs until the machine has finished and its events are taken, or every [`Handle`] is dropped.
    ///
    /// Then all sockets are closed and the machine is given back. The future stays on the thread that first
    /// polls it: run it with `smol::block_on` or on a `LocalExecutor`. Dropping it closes everything at once.
    pub async fn run(self) -> M {
        let Self { machine, listeners, commands, events, wall } = self;
        let executor = Rc::new(LocalExecutor::new());
        let shared = Shared::new(&executor, Driven::new(machine, Instant::now()), listeners, commands, events);
        or(shared.run(wall), run_tasks(&executor)).await;
        // The tasks share the machine and end with it.
        drop(executor);
        Rc::into_inner(shared).expect("no task is left").into_machine()
    }
}

/// Runs the tasks, and lets whoever runs us look at the sockets again after a few of them: `LocalExecutor::run` lets two
/// hundred pass, in which one peer or the application could keep the others waiting.
async fn run_tasks<T>(executor: &LocalExecutor<'_>) -> T {
    loop {
        for _ in 0..TASKS_IN_ORDER {
            executor.tick().await;
        }
        yield_now().await;
    }
}

/// The application's side of a [`Driver`]: commands in, events out.
///
/// Clones share both: each event goes to one of them. The driver ends when the last is dropped.
#[derive(Debug)]
pub struct Handle<C, E> {
    commands: Sender<C>,
    events: Receiver<E>,
}

impl<C, E> Handle<C, E> {
    /// Sends a command, waiting while [`COMMANDS`] wait already. Fails if the driver has ended, and gives the command back.
    pub async fn send(&self, command: C) -> Result<(), SendError<C>> {
        self.commands.send(command).await
    }

    /// Sends a command if there is room for it now, and gives it back otherwise.
    pub fn try_send(&self, command: C) -> Result<(), TrySendError<C>> {
        self.commands.try_send(command)
    }

    /// Waits for the next event. `None`: the driver has ended and every event was taken.
    ///
    /// Dropping the future loses no event.
    pub async fn event(&self) -> Option<E> {
        self.events.recv().await.ok()
    }
}

impl<C, E> Clone for Handle<C, E> {
    fn clone(&self) -> Self {
        Self { commands: self.commands.clone(), events: self.events.clone() }
    }
}
