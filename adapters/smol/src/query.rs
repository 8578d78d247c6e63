//! One DNS query: a socket of its own until the machine forgets it, which ends the task.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::rc::Rc;

use async_io::Async;
use s2s_core::machine::{Machine, QueryId, Transport};
use s2s_sockets::{framed, query_socket};
use smol::future::yield_now;
use smol::io::{AsyncReadExt, AsyncWriteExt};

use crate::run::{Shared, out_of_resources};

/// A query that is to be sent.
pub(crate) struct Question {
    pub(crate) query: QueryId,
    pub(crate) server: SocketAddr,
    pub(crate) transport: Transport,
    pub(crate) message: Vec<u8>,
}

/// Hands over every reply until the machine forgets the query, or the socket fails.
pub(crate) async fn ask<M: Machine + 'static>(shared: Rc<Shared<M>>, question: Question) {
    loop {
        let Err(error) = match question.transport {
            Transport::Udp => ask_udp(&shared, &question).await,
            Transport::Tcp => ask_tcp(&shared, &question).await,
        };
        // No fault of the server: tried again, as long as the machine has patience.
        if !out_of_resources(&error).await {
            break;
        }
    }
    // The machine learns that it failed, not why: it asks another server for any reason.
    shared.reply(question.query, None);
}

async fn ask_udp<M: Machine + 'static>(shared: &Rc<Shared<M>>, question: &Question) -> io::Result<Infallible> {
    let socket = Async::<UdpSocket>::new(query_socket(question.server)?.into())?;
    socket.send(&question.message).await?;
    loop {
        let received = socket.read_with(|socket| {
            let mut buffer = shared.buffer.borrow_mut();
            let n = socket.recv(&mut buffer)?;
            shared.reply(question.query, Some(&buffer[..n]));
            Ok(())
        });
        received.await?;
        yield_now().await;
    }
}

async fn ask_tcp<M: Machine + 'static>(shared: &Rc<Shared<M>>, question: &Question) -> io::Result<Infallible> {
    let query = framed(&question.message)?;
    let mut socket = Async::<TcpStream>::connect(question.server).await?;
    socket.write_all(&query).await?;
    loop {
        let mut length = [0; 2];
        socket.read_exact(&mut length).await?;
        let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
        socket.read_exact(&mut message).await?;
        shared.reply(question.query, Some(&message));
        yield_now().await;
    }
}
