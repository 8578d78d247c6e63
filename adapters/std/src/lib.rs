//! Drives a [`Machine`](s2s_core::machine::Machine) over blocking sockets, with the threads of the standard library.
//!
//! It does what the adapter for smol does, with the same [`Handle`], for programs that want no executor: every call of
//! the [`Handle`] blocks, and no async crate is below. It is written for Linux, where a socket that is shut down gives
//! back whoever waits for it.
//!
//! One thread, that of [`Driver::run`], owns the machine and waits for reports. Each connection has two more: one that
//! says when there is something to read, and one that says when there is room to write. Bytes stay in the socket until the
//! machine wants them.
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
//! # use s2s_std::{Driver, bind};
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
//! let threads = [driver_a, driver_b].map(|driver| std::thread::spawn(move || driver.run()));
//!
//! let ask = "<message from='romeo@a.example' to='juliet@b.example'><body>art thou there?</body></message>";
//! romeo.send(Command::Send(Stanza::parse(ask)?))?;
//! let letter = loop {
//!     match juliet.event().expect("the driver runs") {
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

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, SendError, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

mod connection;
mod driver;
mod query;

pub use driver::Driver;
pub use s2s_sockets::{COMMANDS, EVENTS, SystemSources, bind, bind_shared};

use driver::Report;

/// The application's side of a [`Driver`]: commands in, events out.
///
/// Clones share both: each event goes to one of them. The driver ends when the last is dropped.
#[derive(Debug)]
pub struct Handle<C, E> {
    ends: Arc<Ends<C, E>>,
}

/// The application's ends of both channels. A driver ends when they are gone.
#[derive(Debug)]
pub(crate) struct Ends<C, E> {
    reports: SyncSender<Report<C>>,
    events: Mutex<Receiver<E>>,
    /// Events that were sent and not taken.
    waiting: AtomicUsize,
}

impl<C, E> Handle<C, E> {
    /// Sends a command, waiting while [`COMMANDS`] wait already. Fails if the driver has ended, and gives the command back.
    pub fn send(&self, command: C) -> Result<(), SendError<C>> {
        self.ends.reports.send(Report::Command(command)).map_err(|SendError(report)| SendError(report.into_command()))
    }

    /// Sends a command if there is room for it now, and gives it back otherwise.
    pub fn try_send(&self, command: C) -> Result<(), TrySendError<C>> {
        self.ends.reports.try_send(Report::Command(command)).map_err(|error| match error {
            TrySendError::Full(report) => TrySendError::Full(report.into_command()),
            TrySendError::Disconnected(report) => TrySendError::Disconnected(report.into_command()),
        })
    }

    /// Waits for the next event. `None`: the driver has ended and every event was taken.
    pub fn event(&self) -> Option<E> {
        let events = self.ends.events.lock().unwrap_or_else(PoisonError::into_inner);
        // The driver may have more to tell than what has woken us: let it, so that it need not wake us for each.
        let event = events.try_recv().or_else(|_| events.recv().inspect(|_| thread::yield_now())).ok()?;
        // A driver that found no room goes on when there is room for half, so that it is not woken for every single event.
        if self.ends.waiting.fetch_sub(1, SeqCst) == EVENTS / 2 + 1 {
            let _ = self.ends.reports.send(Report::Room);
        }
        Some(event)
    }
}

impl<C, E> Clone for Handle<C, E> {
    fn clone(&self) -> Self {
        Self { ends: Arc::clone(&self.ends) }
    }
}

impl<C, E> Drop for Ends<C, E> {
    fn drop(&mut self) {
        // A driver that waits is to see that nobody is left; one that is busy sees it anyway.
        let _ = self.reports.try_send(Report::Room);
    }
}
