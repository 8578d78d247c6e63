//! One TCP connection: a thread that says when there is something to read, and one that writes.
//!
//! The first peeks and leaves the bytes in the socket; the machine's thread reads them when it wants them, and does not
//! block, because they are there. The second gets one chunk at a time.

use std::io::{self, ErrorKind, Read, Write};
use std::iter;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Instant;

use s2s_core::machine::{ConnId, Driven, Machine};
use s2s_sockets::{READ_BYTES, acknowledge, tune};
use socket2::SockRef;

use crate::driver::{Crew, Leash, Report};

/// Bytes that are handed to the writing thread at once.
const WRITE_BYTES: usize = 65_536;

/// What the thread of one direction does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Half {
    /// It waits to be told.
    Idle,
    /// It waits for the socket.
    Busy,
    /// The direction has ended.
    Ended,
}

/// A connection as the machine's thread sees it. Dropping it ends both threads.
pub(crate) struct Connection {
    socket: Leash<TcpStream>,
    pub(crate) reading: Half,
    pub(crate) writing: Half,
    watch: SyncSender<()>,
    chunks: SyncSender<Vec<u8>>,
    /// Shut down the writing half once nothing is pending.
    pub(crate) close_write: bool,
    /// Writing failed. What the peer said before is still read, then this is reported.
    broken: Option<ErrorKind>,
}

impl Connection {
    /// Starts the threads of an accepted connection, or of one that is to be opened first.
    pub(crate) fn start<C: Send + 'static>(
        conn: ConnId,
        socket: TcpStream,
        dial: Option<SocketAddr>,
        crew: &Crew<C>,
    ) -> io::Result<Self> {
        // It fails where the peer has gone already, which the first read reports.
        let _ = tune(&socket);
        let leash = Leash(Arc::new(socket));
        let (watch, watched) = sync_channel(1);
        let (chunks, waiting) = sync_channel(1);
        let socket = Arc::clone(&leash.0);
        crew.spawn(move |reports| {
            if let Some(addr) = dial {
                // It fails when the driver has ended, and the connection with it.
                let _ = reports.send(match SockRef::from(&*socket).connect(&addr.into()) {
                    Ok(()) => Report::Connected(conn),
                    Err(error) => Report::Broken(conn, error.kind()),
                });
            }
            report_readable(&socket, conn, &watched, reports);
        })?;
        let socket = Arc::clone(&leash.0);
        crew.spawn(move |reports| write(&socket, conn, &waiting, reports))?;
        let half = if dial.is_some() { Half::Busy } else { Half::Idle };
        Ok(Self { socket: leash, reading: half, writing: half, watch, chunks, close_write: false, broken: None })
    }

    /// Writing failed. Returns whether there is something to wait for: the rest of what the peer said.
    pub(crate) fn goes_on_without_writing(&mut self, kind: ErrorKind) -> bool {
        self.writing = Half::Ended;
        self.broken = Some(kind);
        // Reading ends after what is there.
        let _ = self.socket.0.shutdown(Shutdown::Both);
        self.reading == Half::Busy
    }

    /// Gives both threads what there is to do.
    pub(crate) fn look<M: Machine>(&mut self, conn: ConnId, machine: &M) {
        let interest = machine.interest(conn);
        if self.reading == Half::Idle && interest.read {
            self.reading = Half::Busy;
            // An idle thread has room. It has ended only if it could not report, because the driver has.
            let _ = self.watch.try_send(());
        }
        if self.writing == Half::Idle && interest.write {
            self.writing = Half::Busy;
            let pending = machine.pending(conn);
            let _ = self.chunks.try_send(pending.get(..WRITE_BYTES).unwrap_or(pending).to_vec());
        } else if self.writing == Half::Idle && self.close_write {
            self.writing = Half::Ended;
            // It fails where the connection has broken, which reading tells.
            let _ = self.socket.0.shutdown(Shutdown::Write);
        }
    }

    /// Reads once, now that there is something, if the machine still wants it. Fails if the connection has broken.
    pub(crate) fn read<M: Machine>(&mut self, conn: ConnId, driven: &mut Driven<M>) -> Result<(), ErrorKind> {
        self.reading = Half::Idle;
        if !driven.machine().interest(conn).read {
            return self.broken.map_or(Ok(()), Err);
        }
        let mut buffer = [0; READ_BYTES];
        let read = (&*self.socket.0).read(&mut buffer);
        let n = read.map_err(|error| self.broken.unwrap_or_else(|| error.kind()))?;
        acknowledge(&*self.socket.0, driven.machine().is_negotiating(conn));
        match (buffer.get(..n), self.broken) {
            (Some([]) | None, Some(kind)) => return Err(kind),
            (Some([]) | None, None) => {
                self.reading = Half::Ended;
                driven.report(Instant::now(), |machine, now| machine.handle_eof(now, conn));
            }
            (Some(bytes), _) => driven.report(Instant::now(), |machine, now| machine.handle_bytes(now, conn, bytes)),
        }
        Ok(())
    }
}

/// Each time that it is told to, waits for bytes or the end of the stream, and reports that they are there.
fn report_readable<C>(socket: &TcpStream, conn: ConnId, watched: &Receiver<()>, reports: &SyncSender<Report<C>>) {
    while watched.recv().is_ok() {
        // A signal is no news: the machine's thread would wait for bytes that are not there.
        let mut failures = iter::repeat_with(|| socket.peek(&mut [0]).err().map(|error| error.kind()));
        let failure = failures.find(|failure| *failure != Some(ErrorKind::Interrupted)).flatten();
        let _ = reports.send(failure.map_or(Report::Readable(conn), |kind| Report::Broken(conn, kind)));
    }
}

/// Writes what it is given, and reports how much of that was written.
fn write<C>(mut socket: &TcpStream, conn: ConnId, chunks: &Receiver<Vec<u8>>, reports: &SyncSender<Report<C>>) {
    for chunk in chunks {
        let _ = reports.send(match socket.write(&chunk) {
            Ok(n) => Report::Sent(conn, n),
            Err(error) if error.kind() == ErrorKind::Interrupted => Report::Sent(conn, 0),
            Err(error) => Report::Unwritable(conn, error.kind()),
        });
    }
}
