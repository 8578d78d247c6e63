//! What an adapter sees of the core: a machine that takes reports and asks for effects.
//!
//! [`Node`](crate::node::Node) and [`Hub`](crate::component::Hub) are such machines, so one adapter drives
//! both and knows neither. The contract stands in the [crate's guide](crate); [`Driven`] keeps the part of it that is
//! the same for every driver.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

mod driven;

pub use driven::{CLOCK_CHECK, CLOCK_TOLERANCE, Driven, Outlet, POSTPONEMENT, Step};

/// One connection. Never reused within a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// One DNS query over one transport. Never reused within a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryId(pub u64);

/// What kind of listener accepted a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Listener {
    /// Server-to-server streams that begin in clear: port 5269.
    StartTls,
    /// Server-to-server streams inside TLS, [XEP-0368](https://xmpp.org/extensions/xep-0368.html).
    DirectTls,
    /// Component streams, [XEP-0114](https://xmpp.org/extensions/xep-0114.html).
    Component,
}

/// How a DNS query travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// One datagram from a socket of its own, connected to the server, so that source port and sender are checked. Answers
    /// have at most [`DNS_DATAGRAM_BYTES`](crate::limits::DNS_DATAGRAM_BYTES).
    Udp,
    /// One message each way over a TCP connection of its own, with the two bytes of length
    /// ([RFC 1035 section 4.2.2](https://www.rfc-editor.org/rfc/rfc1035#section-4.2.2)) added and removed by the adapter.
    Tcp,
}

/// Something that the adapter is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Open a TCP connection; report [`Machine::handle_connected`] or [`Machine::handle_closed`].
    Dial {
        /// Its name from now on.
        conn: ConnId,
        /// Where to.
        addr: SocketAddr,
        /// From which address of ours, of the same family; `None`: the system chooses.
        from: Option<IpAddr>,
    },
    /// Look at [`Machine::pending`] and [`Machine::interest`] of this connection again.
    Wake(ConnId),
    /// Write what is pending, then shut down the writing half.
    CloseWrite(ConnId),
    /// End the connection, or the attempt to open it, at once. It is never named again.
    Drop(ConnId),
    /// Send a DNS query, from any address of the server's family. Every datagram that comes back is handed to
    /// [`Machine::handle_reply`] until [`Effect::Forget`]; over TCP one message is read, then the connection may be closed.
    /// After a `None` was reported nothing more has to be read. [`Effect::Forget`] follows in every case,
    /// unless the machine finishes before.
    Ask {
        /// Its name from now on.
        query: QueryId,
        /// Whom to ask.
        server: SocketAddr,
        /// How.
        transport: Transport,
        /// The message.
        message: Vec<u8>,
    },
    /// Close the socket of this query. It is never named again.
    Forget(QueryId),
}

impl Effect {
    /// Whether nobody wants `other` any more once this is done.
    const fn ends(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Drop(conn), Self::Dial { conn: of, .. }) => conn.0 == of.0,
            (Self::Forget(query), Self::Ask { query: of, .. }) => query.0 == of.0,
            _ => false,
        }
    }
}

/// Which kinds of progress a connection can make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Whether to read. False asks the adapter to leave bytes in the socket: backpressure.
    pub read: bool,
    /// Whether there is something to write.
    pub write: bool,
}

/// A machine without I/O: reports go in, effects and events come out.
///
/// Reports never fail. Those about a connection or query that the machine has dropped are ignored, because
/// such races are normal.
pub trait Machine {
    /// What the application asks for.
    type Command;
    /// What the application is told.
    type Event;

    /// A connection was accepted. `None`: refuse it, that is close it at once.
    fn handle_accept(&mut self, now: Instant, peer: SocketAddr, on: Listener) -> Option<ConnId>;
    /// A dialled connection is open.
    fn handle_connected(&mut self, now: Instant, conn: ConnId);
    /// Bytes arrived. An empty slice is no report; the end of the stream is [`Machine::handle_eof`].
    fn handle_bytes(&mut self, now: Instant, conn: ConnId, bytes: &[u8]);
    /// The peer will send no more.
    fn handle_eof(&mut self, now: Instant, conn: ConnId);
    /// The first `n` bytes of [`Machine::pending`] were written.
    fn handle_sent(&mut self, now: Instant, conn: ConnId, n: usize);
    /// The connection broke, or could not be opened.
    fn handle_closed(&mut self, now: Instant, conn: ConnId, error: io::ErrorKind);
    /// A DNS message arrived; `None`: the query failed (socket error, connection closed).
    fn handle_reply(&mut self, now: Instant, query: QueryId, message: Option<&[u8]>);
    /// The moment of [`Machine::poll_timeout`] has come. Early calls change nothing.
    fn handle_timeout(&mut self, now: Instant);
    /// Wall-clock time was stepped, or the machine was suspended.
    fn handle_clock(&mut self, now: Instant, unix: Duration);
    /// The application wants something.
    fn handle_command(&mut self, now: Instant, command: Self::Command);

    /// The next effect. Drain after every report and command.
    #[must_use]
    fn poll_effect(&mut self) -> Option<Effect>;
    /// The next event. Drain while the application has room; a machine whose events wait stops reading. There may be
    /// more after the moment of [`Machine::poll_timeout`], if that has come.
    #[must_use]
    fn poll_event(&mut self) -> Option<Self::Event>;
    /// When to call [`Machine::handle_timeout`], and what for.
    #[must_use]
    fn poll_timeout(&self) -> Option<(Instant, &'static str)>;
    /// What is to be written to this connection. Empty for connections that were dropped.
    #[must_use]
    fn pending(&self, conn: ConnId) -> &[u8];
    /// What this connection waits for.
    #[must_use]
    fn interest(&self, conn: ConnId) -> Interest;
    /// Whether this connection is still being negotiated: what was read is best acknowledged at once, because the peer's
    /// system may hold back what comes next until then (Prosody leaves Nagle's algorithm on).
    #[must_use]
    fn is_negotiating(&self, _conn: ConnId) -> bool {
        false
    }
    /// Whether a shutdown has been asked for and everything is closed: the adapter's task may end.
    #[must_use]
    fn is_finished(&self) -> bool;
}
