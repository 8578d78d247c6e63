//! One DNS query: a socket and a thread of its own until the machine forgets it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use s2s_core::machine::{QueryId, Transport};
use s2s_sockets::{READ_BYTES, framed, query_socket, stream_socket};

use crate::driver::{Crew, Leash, Report};

/// A query that is to be sent.
pub(crate) struct Question {
    pub(crate) query: QueryId,
    pub(crate) server: SocketAddr,
    pub(crate) transport: Transport,
    pub(crate) message: Vec<u8>,
}

impl Question {
    /// Sends it, and hands over every reply until the leash is dropped or the socket fails.
    ///
    /// A socket of datagrams is in the hands of a `TcpStream` too: it sends and receives as well, and without raising a
    /// signal.
    pub(crate) fn ask<C: Send + 'static>(self, crew: &Crew<C>) -> io::Result<Leash<TcpStream>> {
        let socket = Arc::new(TcpStream::from(match self.transport {
            Transport::Udp => query_socket(self.server)?,
            Transport::Tcp => stream_socket(self.server, None)?,
        }));
        let leash = Leash(Arc::clone(&socket));
        crew.spawn(move |reports| {
            // The machine learns that it failed, not why: it asks another server for any reason.
            if self.converse(&socket, reports).is_err() {
                let _ = reports.send(Report::Reply(self.query, None));
            }
        })?;
        Ok(leash)
    }

    fn converse<C>(&self, socket: &Arc<TcpStream>, reports: &SyncSender<Report<C>>) -> io::Result<()> {
        match self.transport {
            Transport::Udp => drop((&**socket).write(&self.message)?),
            Transport::Tcp => {
                socket2::SockRef::from(&**socket).connect(&self.server.into())?;
                (&**socket).write_all(&framed(&self.message)?)?;
            }
        }
        // The leash has the other reference. What is received when it is gone is the end of the wait.
        while Arc::strong_count(socket) > 1 {
            let mut reply = vec![0; READ_BYTES];
            match self.transport {
                Transport::Udp => {
                    let n = (&**socket).read(&mut reply)?;
                    reply.truncate(n);
                }
                Transport::Tcp => {
                    let mut length = [0; 2];
                    (&**socket).read_exact(&mut length)?;
                    reply.resize(u16::from_be_bytes(length).into(), 0);
                    (&**socket).read_exact(&mut reply)?;
                }
            }
            // It fails when the driver has ended, and the leash with it.
            let _ = reports.send(Report::Reply(self.query, Some(reply)));
        }
        Ok(())
    }
}
