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

/// Forwards connections to `near` at `port` to the same port of `far`, both ways that long. Ends with the process.
pub(crate) fn start(near: Ipv4Addr, far: Ipv4Addr, port: u16, latency: Duration) -> Result<(), Failure> {
    let listener = TcpListener::bind(SocketAddr::from((near, port))).when("forwarder")?;
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            thread::spawn(move || {
                let begin = Instant::now();
                // Nobody listens: the client sees its connection end, which is all that there is to see.
                if let Ok(server) = TcpStream::connect(SocketAddr::from((far, port))) {
                    let _ = join(client, server, begin, latency);
                }
            });
        }
    });
    Ok(())
}

fn join(client: TcpStream, server: TcpStream, begin: Instant, latency: Duration) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_server) = (client.try_clone()?, server.try_clone()?);
    let open = begin + latency * 2;
    thread::spawn(move || carry(from_client, to_server, latency, open));
    carry(server, client, latency, begin);
    Ok(())
}

/// Carries bytes until the sender ends; nothing is on its way before `open`.
fn carry(mut from: TcpStream, mut to: TcpStream, latency: Duration, open: Instant) {
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
                let due = Instant::now().max(open) + latency;
                if sender.send((due, buffer[..length].to_vec())).is_err() {
                    return;
                }
            }
        }
    }
}
