//! One TCP connection: bytes in while the machine reads, bytes out while something is pending.

use std::cell::Cell;
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::rc::Rc;
use std::task::{Context, Poll};

use async_io::Async;
use s2s_core::machine::{ConnId, Machine};

use crate::run::Shared;
use crate::signal::Signal;

/// Reads and writes of one connection before the others get their turn.
const TURNS: u32 = 16;

/// What the machine's effects tell the task of a connection.
#[derive(Default)]
pub(crate) struct Line {
    /// Look at `pending` and `interest` again.
    pub(crate) wake: Signal,
    /// Shut down the writing half once nothing is pending.
    pub(crate) close_write: Cell<bool>,
    /// The machine dropped it: make no more calls.
    pub(crate) gone: Cell<bool>,
}

/// Where a connection comes from.
pub(crate) enum Origin {
    Accepted(Async<TcpStream>),
    Dialled(SocketAddr),
}

/// Serves a connection to its end, and reports that end unless the machine asked for it.
pub(crate) async fn serve<M: Machine>(shared: &Shared<M>, conn: ConnId, line: Rc<Line>, origin: Origin) {
    let served = async {
        let socket = match origin {
            Origin::Accepted(socket) => socket,
            Origin::Dialled(addr) => {
                let socket = Async::<TcpStream>::connect(addr).await?;
                socket.get_ref().set_nodelay(true)?;
                shared.report(|state, now| state.machine.handle_connected(now, conn));
                socket
            }
        };
        let mut connection =
            Connection { shared, conn, line, socket, read: Half::Blocked, write: Half::Ready, broken: None };
        poll_fn(|cx| connection.poll(cx)).await
    };
    if let Err(error) = served.await {
        shared.report(|state, now| {
            shared.release(state, conn);
            state.machine.handle_closed(now, conn, error.kind());
        });
    }
}

/// What is known of one direction of a socket.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    /// The next attempt may make progress.
    Ready,
    /// The socket has to become ready first.
    Blocked,
    /// It has ended.
    Ended,
}

struct Connection<'a, M: Machine> {
    shared: &'a Shared<M>,
    conn: ConnId,
    line: Rc<Line>,
    socket: Async<TcpStream>,
    read: Half,
    write: Half,
    /// Writing failed. What the peer said before is still read, then this is reported.
    broken: Option<io::Error>,
}

impl<M: Machine> Connection<'_, M> {
    /// Moves bytes until both halves wait. Ends when the machine has dropped the connection, or with its error.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        for _ in 0..TURNS {
            self.line.wake.clear();
            // Reading goes first: a write to a connection that was reset would lose what came before the reset.
            let was_read = !self.line.gone.get() && self.poll_read(cx)?;
            let was_written = !self.line.gone.get() && self.poll_write(cx);
            if self.line.gone.get() {
                return Poll::Ready(Ok(()));
            }
            if was_read || was_written {
                continue;
            }
            if let Some(error) = self.broken.take() {
                return Poll::Ready(Err(error));
            }
            if self.line.wake.poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// One read. Returns whether to try again.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        if self.read == Half::Ended || !self.shared.state.borrow().machine.interest(self.conn).read {
            return Ok(false);
        }
        if self.read == Half::Blocked && self.socket.poll_readable(cx)?.is_pending() {
            return Ok(false);
        }
        self.read = Half::Ready;
        let mut buffer = self.shared.buffer.borrow_mut();
        match self.socket.get_ref().read(&mut buffer) {
            Ok(0) => {
                self.read = Half::Ended;
                self.shared.report(|state, now| state.machine.handle_eof(now, self.conn));
            }
            Ok(n) => {
                // A short read has emptied the socket; readiness is level-triggered, so that what comes later is seen.
                if n < buffer.len() {
                    self.read = Half::Blocked;
                }
                self.shared.report(|state, now| state.machine.handle_bytes(now, self.conn, &buffer[..n]));
            }
            Err(error) => self.read = blocked_or(error)?,
        }
        Ok(true)
    }

    /// One write, or the end of the writing half. Returns whether to try again.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> bool {
        if self.write == Half::Ended {
            return false;
        }
        self.try_write(cx).unwrap_or_else(|error| {
            self.broken = Some(error);
            self.write = Half::Ended;
            if self.read == Half::Blocked {
                self.read = Half::Ready;
            }
            true
        })
    }

    fn try_write(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let state = self.shared.state.borrow();
        let pending = state.machine.pending(self.conn);
        if pending.is_empty() {
            if self.line.close_write.get() {
                self.write = Half::Ended;
                self.socket.get_ref().shutdown(Shutdown::Write)?;
            }
            return Ok(false);
        }
        if self.write == Half::Blocked && self.socket.poll_writable(cx)?.is_pending() {
            return Ok(false);
        }
        self.write = Half::Ready;
        match self.socket.get_ref().write(pending) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                if n < pending.len() {
                    self.write = Half::Blocked;
                }
                drop(state);
                self.shared.report(|state, now| state.machine.handle_sent(now, self.conn, n));
            }
            Err(error) => self.write = blocked_or(error)?,
        }
        Ok(true)
    }
}

/// What an attempt that failed says about its half, unless it says that the connection is broken.
fn blocked_or(error: io::Error) -> io::Result<Half> {
    match error.kind() {
        io::ErrorKind::WouldBlock => Ok(Half::Blocked),
        io::ErrorKind::Interrupted => Ok(Half::Ready),
        _ => Err(error),
    }
}
