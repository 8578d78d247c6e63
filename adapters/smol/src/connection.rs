//! One TCP connection: bytes in while the machine reads, bytes out while something is pending.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::rc::Rc;

use async_io::Async;
use s2s_core::machine::{ConnId, Interest, Machine};
use s2s_sockets::{acknowledge, begin_to_connect, tune};
use smol::future::{try_zip, yield_now};

use crate::bell::Bell;
use crate::run::{Shared, out_of_resources};

/// What the machine's effects tell the task of a connection.
#[derive(Default)]
pub(crate) struct Line {
    /// Look at `pending` and `interest` again.
    pub(crate) bell: Bell,
    /// Shut down the writing half once nothing is pending.
    pub(crate) close_write: Cell<bool>,
}

/// Where a connection comes from.
pub(crate) enum Origin {
    Accepted(Async<TcpStream>),
    Dialled { addr: SocketAddr, from: Option<IpAddr> },
}

/// Serves a connection to its end, and reports that end unless the machine asked for it.
pub(crate) async fn serve<M: Machine + 'static>(shared: Rc<Shared<M>>, conn: ConnId, line: Rc<Line>, origin: Origin) {
    let served = async {
        let socket = match origin {
            Origin::Accepted(socket) => socket,
            Origin::Dialled { addr, from } => {
                let socket = dial(addr, from).await?;
                tune(socket.get_ref())?;
                shared.report(|machine, now| machine.handle_connected(now, conn));
                yield_now().await;
                socket
            }
        };
        let connection = Connection { shared: &shared, conn, line, socket, broken: Cell::new(None) };
        // Reading goes first: what a peer said before it went is to be heard.
        try_zip(connection.read(), connection.write_until_broken()).await?;
        connection.broken.take().map_or(Ok(()), |kind| Err(io::Error::from(kind)))
    };
    if let Err(error) = served.await {
        shared.close(conn, error.kind());
    }
}

/// Opens a connection. That we have no descriptor for it is no fault of the other end: then it is tried again, as long as
/// the machine has patience.
async fn dial(addr: SocketAddr, from: Option<IpAddr>) -> io::Result<Async<TcpStream>> {
    loop {
        match begin_to_connect(addr, from) {
            Err(error) if out_of_resources(&error).await => {}
            socket => {
                let socket = Async::new_nonblocking(socket?)?;
                // Writable when it is open, and when it has failed.
                socket.writable().await?;
                return socket.get_ref().take_error()?.map_or(Ok(socket), Err);
            }
        }
    }
}

struct Connection<'a, M: Machine> {
    shared: &'a Rc<Shared<M>>,
    conn: ConnId,
    line: Rc<Line>,
    socket: Async<TcpStream>,
    /// Writing failed. What the peer said before is still read, then this is reported.
    broken: Cell<Option<io::ErrorKind>>,
}

impl<M: Machine + 'static> Connection<'_, M> {
    fn interest(&self) -> Interest {
        self.shared.machine(|machine| machine.interest(self.conn))
    }

    /// Reads to the end of the stream. A task that the machine has ended is gone after the next wait.
    async fn read(&self) -> io::Result<()> {
        loop {
            self.line.bell.until(|| self.interest().read || self.broken.get().is_some()).await;
            match self.socket.read_with(|socket| self.try_read(socket)).await? {
                // Whoever has sent more waits until the system was asked who else has.
                Some(n) if n > 0 => self.socket.readable().await?,
                None if self.broken.get().is_none() => {}
                _ => return Ok(()),
            }
        }
    }

    /// One read, if the machine still wants it.
    fn try_read(&self, mut socket: &TcpStream) -> io::Result<Option<usize>> {
        if !self.interest().read {
            return Ok(None);
        }
        let mut buffer = self.shared.buffer.borrow_mut();
        let n = socket.read(&mut buffer)?;
        acknowledge(socket, self.shared.machine(|machine| machine.is_negotiating(self.conn)));
        match buffer.get(..n) {
            Some([]) | None if self.broken.get().is_some() => {}
            Some([]) | None => self.shared.report(|machine, now| machine.handle_eof(now, self.conn)),
            Some(bytes) => self.shared.report(|machine, now| machine.handle_bytes(now, self.conn, bytes)),
        }
        Ok(Some(n))
    }

    async fn write_until_broken(&self) -> io::Result<()> {
        if let Err(error) = self.write().await {
            self.broken.set(Some(error.kind()));
            // Reading ends after what is there.
            let _ = self.socket.get_ref().shutdown(Shutdown::Both);
            self.line.bell.ring();
        }
        Ok(())
    }

    /// Writes what is pending until the writing half is to be closed.
    async fn write(&self) -> io::Result<()> {
        loop {
            self.line.bell.until(|| self.interest().write || self.line.close_write.get()).await;
            if !self.interest().write {
                return self.socket.get_ref().shutdown(Shutdown::Write);
            }
            self.socket.write_with(|socket| self.try_write(socket)).await?;
            yield_now().await;
        }
    }

    /// One write of what is pending by now.
    fn try_write(&self, mut socket: &TcpStream) -> io::Result<()> {
        let n = self.shared.machine(|machine| socket.write(machine.pending(self.conn)))?;
        self.shared.report(|machine, now| machine.handle_sent(now, self.conn, n));
        Ok(())
    }
}
