//! One TCP connection: a thread that says when there is something to read, and one that writes.
//!
//! The machine's thread reads what is there and writes what fits, both without blocking. The others have to wait: the
//! first for something to read, which it leaves in the socket, the second with one chunk at a time of what does not fit.

use std::io::{self, ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use s2s_core::machine::{ConnId, Driven, Machine};
use s2s_sockets::{READ_BYTES, acknowledge, tune};
use socket2::SockRef;

use crate::driver::{Crew, Leash, Report};

/// Bytes that are handed to the writing thread at once.
const WRITE_BYTES: usize = 65_536;

/// What the thread of one direction does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    /// It waits to be told.
    Idle,
    /// It waits for the socket.
    Busy,
    /// The direction has ended.
    Ended,
}

/// What the threads of a connection have to tell. Each tells one thing at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum News {
    Connected,
    /// There may be bytes, or the end of the stream.
    Readable,
    /// How much was written, or why nothing can be.
    Wrote(Result<usize, ErrorKind>),
    Broken(ErrorKind),
}

/// A connection as the machine's thread sees it. Dropping it ends both threads.
pub(crate) struct Connection {
    conn: ConnId,
    socket: Leash<TcpStream>,
    reading: Half,
    writing: Half,
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
        let (chunks, waiting) = sync_channel::<Vec<u8>>(1);
        // It fails when the driver has ended, and the connection with it.
        let tell = move |reports: &SyncSender<Report<C>>, news| drop(reports.send(Report::Socket(conn, news)));
        let socket = Arc::clone(&leash.0);
        crew.spawn(move |reports| {
            if let Some(addr) = dial {
                let opened = SockRef::from(&*socket).connect(&addr.into());
                tell(reports, opened.map_or_else(|error| News::Broken(error.kind()), |()| News::Connected));
            }
            for () in watched {
                tell(
                    reports,
                    match socket.peek(&mut [0]) {
                        Err(error) if error.kind() != ErrorKind::Interrupted => News::Broken(error.kind()),
                        _ => News::Readable,
                    },
                );
            }
        })?;
        let socket = Arc::clone(&leash.0);
        crew.spawn(move |reports| {
            for chunk in waiting {
                tell(reports, News::Wrote((&*socket).write(&chunk).map_err(|error| error.kind())));
            }
        })?;
        let half = if dial.is_some() { Half::Busy } else { Half::Idle };
        Ok(Self { conn, socket: leash, reading: half, writing: half, watch, chunks, close_write: false, broken: None })
    }

    /// Takes what one of the threads tells. Fails if the connection has broken.
    pub(crate) fn hear<M: Machine>(&mut self, news: News, driven: &mut Driven<M>) -> Result<(), ErrorKind> {
        match news {
            News::Connected => {
                (self.reading, self.writing) = (Half::Idle, Half::Idle);
                driven.report(Instant::now(), |machine, now| machine.handle_connected(now, self.conn));
                Ok(())
            }
            News::Readable => {
                self.reading = Half::Idle;
                self.read(driven)
            }
            News::Wrote(sent) => self.wrote(sent, driven),
            News::Broken(kind) => Err(kind),
        }
    }

    /// Something was written, or writing failed: then the connection has broken, once what the peer said before is read, if
    /// the machine wants to read.
    fn wrote<M: Machine>(&mut self, sent: Result<usize, ErrorKind>, driven: &mut Driven<M>) -> Result<(), ErrorKind> {
        let sent = sent.or_else(|kind| if kind == ErrorKind::Interrupted { Ok(0) } else { Err(kind) });
        self.writing = if sent.is_ok() { Half::Idle } else { Half::Ended };
        self.broken = sent.err();
        match sent {
            Ok(n) => driven.report(Instant::now(), |machine, now| machine.handle_sent(now, self.conn, n)),
            // Reading ends after what is there.
            Err(_) => drop(self.socket.0.shutdown(Shutdown::Both)),
        }
        if self.reading == Half::Busy || self.is_to_read(driven) { Ok(()) } else { sent.map(drop) }
    }

    /// Whether the machine wants to read and nobody waits for it: there may be something.
    pub(crate) fn is_to_read<M: Machine>(&self, driven: &Driven<M>) -> bool {
        self.reading == Half::Idle && driven.machine().interest(self.conn).read
    }

    /// Writes what can be written at once, and has its thread wait with the rest. Returns whether something was written,
    /// after which there may be more. Fails if the connection has broken.
    pub(crate) fn write<M: Machine>(&mut self, driven: &mut Driven<M>) -> Result<bool, ErrorKind> {
        let interest = driven.machine().interest(self.conn);
        if self.writing == Half::Idle && interest.write {
            let pending = driven.machine().pending(self.conn);
            match send(&*self.socket.0, pending, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Err(Errno::AGAIN) => {
                    self.writing = Half::Busy;
                    let _ = self.chunks.try_send(pending.get(..WRITE_BYTES).unwrap_or(pending).to_vec());
                }
                sent => return self.wrote(sent.map_err(Errno::kind), driven).map(|()| true),
            }
        } else if self.writing == Half::Idle && self.close_write {
            self.writing = Half::Ended;
            // It fails where the connection has broken, which reading tells.
            let _ = self.socket.0.shutdown(Shutdown::Write);
        }
        Ok(false)
    }

    /// Reads once what is there, if the machine wants it, or has its thread wait for something. Fails if the connection has
    /// broken.
    pub(crate) fn read<M: Machine>(&mut self, driven: &mut Driven<M>) -> Result<(), ErrorKind> {
        let conn = self.conn;
        if self.reading != Half::Idle {
            return Ok(());
        }
        if !driven.machine().interest(conn).read {
            return self.broken.map_or(Ok(()), Err);
        }
        let mut buffer = [0; READ_BYTES];
        let read = recv(&*self.socket.0, &mut buffer, RecvFlags::DONTWAIT);
        if read.is_ok() {
            acknowledge(&*self.socket.0, driven.machine().is_negotiating(conn));
        }
        match read.map(|(n, _)| buffer.get(..n).unwrap_or(&buffer)) {
            Err(Errno::AGAIN | Errno::INTR) => {
                self.reading = Half::Busy;
                // An idle thread has room. It has ended only if it could not report, because the driver has.
                let _ = self.watch.try_send(());
                return Ok(());
            }
            Err(error) => return Err(self.broken.unwrap_or_else(|| error.kind())),
            Ok([]) => {
                self.reading = Half::Ended;
                if let Some(kind) = self.broken {
                    return Err(kind);
                }
                driven.report(Instant::now(), |machine, now| machine.handle_eof(now, conn));
            }
            Ok(bytes) => driven.report(Instant::now(), |machine, now| machine.handle_bytes(now, conn, bytes)),
        }
        Ok(())
    }
}
