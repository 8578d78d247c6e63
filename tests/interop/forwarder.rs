//! A line of a given length between two servers: what is written at one end arrives at the other half a round trip later.
//!
//! The handshake of TCP is over for a client as soon as it is accepted here, so what it writes first waits for the round
//! trip that the handshake would have taken.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::failure::{Failure, While};
use crate::wire::{Line, Wire};

/// Forwards connections to `near` at `port` to the same port of `far`, both ways that long, and records what goes over them
/// on `wire`. Ends with the process.
pub(crate) fn start(near: Ipv4Addr, far: Ipv4Addr, port: u16, latency: Duration, wire: &Wire) -> Result<(), Failure> {
    let listener = TcpListener::bind(SocketAddr::from((near, port))).when("forwarder")?;
    let wire = wire.clone();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let begin = Instant::now();
            let line = wire.opened((far, port), begin);
            thread::spawn(move || {
                // Nobody listens: the client sees its connection end, which is all that there is to see.
                if let Ok(server) = TcpStream::connect(SocketAddr::from((far, port))) {
                    let _ = join(client, server, begin, latency, &line);
                }
            });
        }
    });
    Ok(())
}

fn join(client: TcpStream, server: TcpStream, begin: Instant, latency: Duration, line: &Line) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_server) = (client.try_clone()?, server.try_clone()?);
    let (open, upward) = (begin + latency * 2, line.clone());
    thread::spawn(move || carry(from_client, to_server, latency, open, |at, bytes| upward.client_sends(at, bytes)));
    carry(server, client, latency, begin, |at, bytes| line.server_sends(at, bytes));
    Ok(())
}

/// Carries bytes until the sender ends; nothing is on its way before `open`.
fn carry(mut from: TcpStream, mut to: TcpStream, latency: Duration, open: Instant, note: impl Fn(Instant, &[u8])) {
    let (sender, pieces) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        for (due, piece) in pieces {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&piece).is_err() {
                return;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
    let mut buffer = [0; 65536];
    loop {
        // What Nagle holds back waits for an acknowledgement, and this end is no slower than a line.
        let _ = SockRef::from(&from).set_tcp_quickack(true);
        match from.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(length) => {
                let departs = Instant::now().max(open);
                note(departs, &buffer[..length]);
                if sender.send((departs + latency, buffer[..length].to_vec())).is_err() {
                    return;
                }
            }
        }
    }
}
