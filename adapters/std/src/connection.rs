//! One TCP connection: a thread that says when there is something to read, and one that says when there is room to write.
//!
//! The first peeks and leaves the bytes in the socket; the machine's thread reads them when it wants them, and does not
//! block, because they are there. That thread also writes as much as the socket takes at once. What does not fit waits for
//! the second thread, which writes one byte of it: where the connection is dropped meanwhile, nobody would know how much of
//! a longer piece the system had taken, and stanzas would be sent twice.

use std::io::{self, ErrorKind, Read, Write};
use std::iter;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Instant;

use s2s_core::machine::{ConnId, Driven, Machine};
use s2s_sockets::{READ_BYTES, acknowledge, tune};
use socket2::SockRef;

use crate::driver::{Crew, Leash, Report};

/// `MSG_DONTWAIT` and `MSG_NOSIGNAL` of Linux: what does not fit fails, and so does what nobody will read.
const AT_ONCE: i32 = 0x40 | 0x4000;

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
    /// There are bytes, or the end of the stream.
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
    byte: SyncSender<u8>,
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
        let (byte, waiting) = sync_channel(1);
        // It fails when the driver has ended, and the connection with it.
        let tell = move |reports: &SyncSender<Report<C>>, news| drop(reports.send(Report::Socket(conn, news)));
        // First, because nothing is to have begun where a second thread cannot be had.
        let socket = Arc::clone(&leash.0);
        crew.spawn(move |reports| {
            for byte in waiting {
                tell(reports, News::Wrote((&*socket).write(&[byte]).map_err(|error| error.kind())));
            }
        })?;
        let socket = Arc::clone(&leash.0);
        crew.spawn(move |reports| {
            if let Some(addr) = dial {
                let opened = SockRef::from(&*socket).connect(&addr.into());
                tell(reports, opened.map_or_else(|error| News::Broken(error.kind()), |()| News::Connected));
            }
            for () in watched {
                // A signal is no news: the machine's thread would wait for bytes that are not there.
                let mut failures = iter::repeat_with(|| socket.peek(&mut [0]).err().map(|error| error.kind()));
                let failure = failures.find(|failure| *failure != Some(ErrorKind::Interrupted)).flatten();
                tell(reports, failure.map_or(News::Readable, News::Broken));
            }
        })?;
        let half = if dial.is_some() { Half::Busy } else { Half::Idle };
        Ok(Self { conn, socket: leash, reading: half, writing: half, watch, byte, close_write: false, broken: None })
    }

    /// Takes what one of the threads tells. Fails if the connection has broken.
    pub(crate) fn hear<M: Machine>(&mut self, news: News, driven: &mut Driven<M>) -> Result<(), ErrorKind> {
        match news {
            News::Connected => {
                (self.reading, self.writing) = (Half::Idle, Half::Idle);
                driven.report(Instant::now(), |machine, now| machine.handle_connected(now, self.conn));
                Ok(())
            }
            News::Readable => self.read(driven),
            News::Wrote(sent) => self.wrote(sent, driven),
            News::Broken(kind) => Err(kind),
        }
    }

    /// Something was written, or writing failed: then the connection has broken unless there is something to wait for, the
    /// rest of what the peer said.
    fn wrote<M: Machine>(&mut self, sent: Result<usize, ErrorKind>, driven: &mut Driven<M>) -> Result<(), ErrorKind> {
        let sent = sent.or_else(|kind| if kind == ErrorKind::Interrupted { Ok(0) } else { Err(kind) });
        self.writing = if sent.is_ok() { Half::Idle } else { Half::Ended };
        self.broken = sent.err();
        match sent {
            Ok(n) => driven.report(Instant::now(), |machine, now| machine.handle_sent(now, self.conn, n)),
            // Reading ends after what is there.
            Err(_) => drop(self.socket.0.shutdown(Shutdown::Both)),
        }
        if self.reading == Half::Busy { Ok(()) } else { sent.map(drop) }
    }

    /// Writes what can be written at once, and gives both threads what there is to wait for. Returns whether something was
    /// written, after which there may be more. Fails if the connection has broken.
    pub(crate) fn look<M: Machine>(&mut self, driven: &mut Driven<M>) -> Result<bool, ErrorKind> {
        let interest = driven.machine().interest(self.conn);
        if self.reading == Half::Idle && interest.read {
            self.reading = Half::Busy;
            // An idle thread has room. It has ended only if it could not report, because the driver has.
            let _ = self.watch.try_send(());
        }
        if self.writing == Half::Idle && interest.write {
            let pending = driven.machine().pending(self.conn);
            match SockRef::from(&*self.socket.0).send_with_flags(pending, AT_ONCE).map_err(|error| error.kind()) {
                Err(ErrorKind::WouldBlock) => {
                    self.writing = Half::Busy;
                    let _ = pending.first().map(|first| self.byte.try_send(*first));
                }
                sent => return self.wrote(sent, driven).map(|()| true),
            }
        } else if self.writing == Half::Idle && self.close_write {
            self.writing = Half::Ended;
            // It fails where the connection has broken, which reading tells.
            let _ = self.socket.0.shutdown(Shutdown::Write);
        }
        Ok(false)
    }

    /// Reads once, now that there is something, if the machine still wants it.
    fn read<M: Machine>(&mut self, driven: &mut Driven<M>) -> Result<(), ErrorKind> {
        let conn = self.conn;
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
