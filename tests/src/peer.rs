//! A peer: it proves itself, then writes a stanza now and then, or floods.
//!
//! It stands for a server elsewhere, so it is a mere socket, and what it floods with is made once: it costs the machine
//! next to nothing.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use s2s_core::addr::Domain;
use s2s_core::tls::{Provider, Session};

use crate::puppetry::{AUTH, STARTTLS, header};

/// Stanzas that are written at once.
const STANZAS: usize = 256;
/// How long one of its steps may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it looks whether it may stop, where its socket takes nothing.
const LOOK: Duration = Duration::from_millis(100);

/// A peer that has proved itself. It reads nothing any longer.
#[derive(Debug)]
pub(crate) struct Peer {
    socket: TcpStream,
    session: Box<dyn Session>,
}

impl Peer {
    /// Connects to `addr` and proves itself as `own` to `host`, in the TLS of a provider that has its certificate.
    pub(crate) fn connect(
        addr: SocketAddr,
        provider: &Arc<dyn Provider>,
        own: &Domain,
        host: &Domain,
    ) -> io::Result<Self> {
        let socket = TcpStream::connect(addr)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let session = provider.client(own, host, false).map_err(|error| io::Error::other(error.to_string()))?;
        let mut peer = Self { socket, session };
        let header = header(own.as_str(), host.as_str());
        for (said, awaited) in [(header.as_str(), "</stream:features>"), (STARTTLS, "<proceed ")] {
            peer.socket.write_all(said.as_bytes())?;
            peer.hear_until(awaited, |_, heard| Ok(heard.to_vec()))?;
        }
        let mut hello = Vec::new();
        peer.session.flush(&mut hello);
        peer.socket.write_all(&hello)?;
        for (said, awaited) in [(header.as_str(), "EXTERNAL"), (AUTH, "<success "), (&header, "</stream:features>")] {
            peer.say(said)?;
            peer.hear_until(awaited, Self::open)?;
        }
        Ok(peer)
    }

    /// Writes `stanza` again and again until it is told to stop.
    pub(crate) fn flood(mut self, stanza: &str, stop: &AtomicBool) -> io::Result<()> {
        self.socket.set_write_timeout(Some(LOOK))?;
        let mut block = Vec::new();
        self.session.send(stanza.repeat(STANZAS).as_bytes(), &mut block);
        let mut rest: &[u8] = &block;
        while !stop.load(Ordering::Relaxed) {
            match self.socket.write(rest) {
                Ok(length) => rest = rest.get(length..).filter(|rest| !rest.is_empty()).unwrap_or(&block),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes `text`.
    pub(crate) fn say(&mut self, text: &str) -> io::Result<()> {
        let mut wire = Vec::new();
        self.session.send(text.as_bytes(), &mut wire);
        self.socket.write_all(&wire)
    }

    /// What a piece of the wire says inside TLS.
    fn open(&mut self, heard: &[u8]) -> io::Result<Vec<u8>> {
        let (mut plain, mut wire) = (Vec::new(), Vec::new());
        let _alert = self.session.receive(heard, &mut plain, &mut wire);
        self.socket.write_all(&wire)?;
        Ok(plain)
    }

    fn hear_until(&mut self, awaited: &str, open: impl Fn(&mut Self, &[u8]) -> io::Result<Vec<u8>>) -> io::Result<()> {
        let mut text = String::new();
        while !text.contains(awaited) {
            let mut piece = [0; 16_384];
            let length = self.socket.read(&mut piece)?;
            if length == 0 {
                return Err(io::Error::other(format!("closed before {awaited}: {text}")));
            }
            text.push_str(&String::from_utf8_lossy(&open(self, &piece[..length])?));
        }
        Ok(())
    }
}
