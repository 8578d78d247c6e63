//! Drives a [`Machine`](s2s_core::machine::Machine) over blocking sockets, with the threads of the standard library.
//!
//! It does what the adapter for smol does, with the same [`Handle`], for programs that want no executor: every call of
//! the [`Handle`] blocks, and no async crate is below. It is written for Linux, where a socket that is shut down gives
//! back whoever waits for it.
//!
//! One thread, that of [`Driver::run`], owns the machine and waits for reports. Each connection has two more: one that
//! says when there is something to read, and one that writes. Bytes stay in the socket until the machine wants them.
//!
//! A machine that greets everyone and hangs up, and a client that listens to it:
//!
//! ```
//! # use std::collections::{BTreeMap, VecDeque};
//! # use std::io::{self, Read};
//! # use std::net::{SocketAddr, TcpStream};
//! # use std::time::{Duration, Instant};
//! # use s2s_core::machine::{ConnId, Effect, Interest, Listener, Machine, QueryId};
//! use s2s_std::{Driver, bind};
//! # #[derive(Default)]
//! # struct Greeter {
//! #     greeted: u64,
//! #     out: BTreeMap<ConnId, &'static [u8]>,
//! #     effects: VecDeque<Effect>,
//! #     events: VecDeque<SocketAddr>,
//! # }
//! # impl Machine for Greeter {
//! #     type Command = ();
//! #     type Event = SocketAddr;
//! #     fn handle_accept(&mut self, _: Instant, peer: SocketAddr, _: Listener) -> Option<ConnId> {
//! #         let conn = ConnId(self.greeted);
//! #         self.greeted += 1;
//! #         self.out.insert(conn, b"Hello!\n");
//! #         self.events.push_back(peer);
//! #         self.effects.extend([Effect::Wake(conn), Effect::CloseWrite(conn)]);
//! #         Some(conn)
//! #     }
//! #     fn handle_sent(&mut self, _: Instant, conn: ConnId, n: usize) {
//! #         if let Some(out) = self.out.get_mut(&conn) {
//! #             *out = &out[n..];
//! #         }
//! #     }
//! #     fn handle_eof(&mut self, _: Instant, conn: ConnId) {
//! #         self.out.remove(&conn);
//! #         self.effects.push_back(Effect::Drop(conn));
//! #     }
//! #     fn pending(&self, conn: ConnId) -> &[u8] {
//! #         self.out.get(&conn).copied().unwrap_or_default()
//! #     }
//! #     fn interest(&self, conn: ConnId) -> Interest {
//! #         Interest { read: true, write: !self.pending(conn).is_empty() }
//! #     }
//! #     fn poll_effect(&mut self) -> Option<Effect> {
//! #         self.effects.pop_front()
//! #     }
//! #     fn poll_event(&mut self) -> Option<SocketAddr> {
//! #         self.events.pop_front()
//! #     }
//! #     fn handle_connected(&mut self, _: Instant, _: ConnId) {}
//! #     fn handle_bytes(&mut self, _: Instant, _: ConnId, _: &[u8]) {}
//! #     fn handle_closed(&mut self, _: Instant, conn: ConnId, _: io::ErrorKind) { self.out.remove(&conn); }
//! #     fn handle_reply(&mut self, _: Instant, _: QueryId, _: Option<&[u8]>) {}
//! #     fn handle_timeout(&mut self, _: Instant) {}
//! #     fn handle_clock(&mut self, _: Instant, _: Duration) {}
//! #     fn handle_command(&mut self, _: Instant, (): ()) {}
//! #     fn poll_timeout(&self) -> Option<(Instant, &'static str)> { None }
//! #     fn is_finished(&self) -> bool { false }
//! # }
//!
//! # fn main() -> io::Result<()> {
//! let listener = bind("127.0.0.1:0".parse().unwrap())?;
//! let addr = listener.local_addr()?;
//! let (driver, handle) = Driver::new(Greeter::default(), vec![(Listener::StartTls, listener)])?;
//! let thread = std::thread::spawn(move || driver.run());
//!
//! let mut client = TcpStream::connect(addr)?;
//! let mut heard = String::new();
//! client.read_to_string(&mut heard)?;
//! assert_eq!(heard, "Hello!\n");
//! assert_eq!(handle.event(), Some(client.local_addr()?));
//!
//! drop(handle);
//! let greeter = thread.join().unwrap();
//! assert_eq!(greeter.greeted, 1);
//! # Ok(())
//! # }
//! ```

use std::sync::mpsc::{Receiver, SendError, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};

mod connection;
mod driver;
mod query;

pub use driver::Driver;
pub use s2s_sockets::{COMMANDS, EVENTS, bind, bind_shared};

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
        self.ends.events.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
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
