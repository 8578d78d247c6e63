//! One DNS query: a socket and a thread of its own until the machine forgets it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use s2s_core::machine::{QueryId, Transport};
use s2s_sockets::{READ_BYTES, framed, query_socket, stream_socket};

use crate::driver::{Crew, Leash, Report};

/// Sends a query, and hands over every reply until the leash is dropped or the socket fails.
///
/// A socket of datagrams is in the hands of a `TcpStream` too: it sends and receives as well, and without raising a
/// signal.
pub(crate) fn ask<C: Send + 'static>(
    crew: &Crew<C>,
    query: QueryId,
    server: SocketAddr,
    transport: Transport,
    message: &[u8],
) -> io::Result<Leash<TcpStream>> {
    let (socket, message) = match transport {
        Transport::Udp => (query_socket(server)?, message.to_vec()),
        Transport::Tcp => (stream_socket(server, None)?, framed(message)?),
    };
    let socket = Arc::new(TcpStream::from(socket));
    let leash = Leash(Arc::clone(&socket));
    crew.spawn(move |reports| {
        // It fails when the driver has ended, and the leash with it.
        let tell = |reply| drop(reports.send(Report::Reply(query, reply)));
        let converse = || -> io::Result<()> {
            if transport == Transport::Tcp {
                socket2::SockRef::from(&*socket).connect(&server.into())?;
            }
            (&*socket).write_all(&message)?;
            // The leash has the other reference. What is received when it is gone is the end of the wait.
            while Arc::strong_count(&socket) > 1 {
                let mut length = [0; 2];
                let mut reply = vec![0; READ_BYTES];
                if transport == Transport::Tcp {
                    (&*socket).read_exact(&mut length)?;
                    reply.resize(u16::from_be_bytes(length).into(), 0);
                    (&*socket).read_exact(&mut reply)?;
                } else {
                    let n = (&*socket).read(&mut reply)?;
                    reply.truncate(n);
                }
                tell(Some(reply));
            }
            Ok(())
        };
        // The machine learns that it failed, not why: it asks another server for any reason.
        if converse().is_err() {
            tell(None);
        }
    })?;
    Ok(leash)
}
