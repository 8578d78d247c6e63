//! One DNS query: a socket of its own until the machine forgets it.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};

use async_io::Async;
use s2s_core::machine::{Machine, QueryId, Transport};
use smol::future::yield_now;
use smol::io::{AsyncReadExt, AsyncWriteExt};

use crate::run::Shared;

/// A query that is to be sent.
pub(crate) struct Question {
    pub(crate) query: QueryId,
    pub(crate) server: SocketAddr,
    pub(crate) transport: Transport,
    pub(crate) message: Vec<u8>,
}

/// Hands over every reply until the machine forgets the query, which ends this task, or the socket fails.
pub(crate) async fn ask<M: Machine>(shared: &Shared<M>, question: Question) {
    let query = question.query;
    let asked = match question.transport {
        Transport::Udp => ask_udp(shared, question).await,
        Transport::Tcp => ask_tcp(shared, question).await,
    };
    // The machine learns that it failed, not why: it asks another server for any reason.
    if asked.is_err() {
        shared.report(|state, now| {
            shared.forget(state, query);
            state.machine.handle_reply(now, query, None);
        });
    }
}

async fn ask_udp<M: Machine>(shared: &Shared<M>, question: Question) -> io::Result<()> {
    let unspecified: SocketAddr = match question.server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = Async::<UdpSocket>::bind(unspecified)?;
    socket.get_ref().connect(question.server)?;
    socket.send(&question.message).await?;
    while shared.is_asked(question.query) {
        let received = {
            let mut buffer = shared.buffer.borrow_mut();
            let received = socket.get_ref().recv(&mut buffer);
            if let Ok(n) = received {
                shared.report(|state, now| state.machine.handle_reply(now, question.query, Some(&buffer[..n])));
            }
            received
        };
        match received {
            Ok(_) => yield_now().await,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => socket.readable().await?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn ask_tcp<M: Machine>(shared: &Shared<M>, question: Question) -> io::Result<()> {
    let length = u16::try_from(question.message.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut socket = Async::<TcpStream>::connect(question.server).await?;
    socket.get_ref().set_nodelay(true)?;
    // One write, so that servers which read once see the whole query.
    socket.write_all(&[&length.to_be_bytes(), question.message.as_slice()].concat()).await?;
    while shared.is_asked(question.query) {
        let mut length = [0; 2];
        socket.read_exact(&mut length).await?;
        let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
        socket.read_exact(&mut message).await?;
        shared.report(|state, now| state.machine.handle_reply(now, question.query, Some(&message)));
        yield_now().await;
    }
    Ok(())
}
