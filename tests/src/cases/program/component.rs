//! The components behind the program: what is delivered to them, and what they send.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use s2s_core::component::ComponentSecret;

use super::PATIENCE;
use super::configuration::SECRET;
use crate::cases::reader::split_elements;

/// An attached component.
#[derive(Debug)]
pub(crate) struct Component {
    socket: TcpStream,
    /// What was read and not understood yet.
    unread: Vec<u8>,
    /// Stanzas that nobody has taken yet.
    stanzas: Vec<String>,
}

impl Component {
    /// Attaches the component of `host`.
    pub(crate) fn attach(addr: SocketAddr, host: &str) -> io::Result<Self> {
        let socket = TcpStream::connect(addr)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_nodelay(true)?;
        let mut component = Self { socket, unread: Vec::new(), stanzas: Vec::new() };
        component.send(&format!(
            "<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' to='{host}'>"
        ))?;
        let header = component.read_to(">", 2)?;
        let id = header.split_once(" id=").and_then(|(_, rest)| rest.split(['\'', '"']).nth(1));
        let id = id.ok_or_else(|| io::Error::other(format!("no id: {header}")))?;
        let handshake = ComponentSecret::new(SECRET.to_owned()).handshake(id);
        component.send(&format!("<handshake>{handshake}</handshake>"))?;
        component.read_to("/>", 1)?;
        Ok(component)
    }

    /// What is said from now on is for somebody else to read.
    pub(crate) fn into_socket(self) -> TcpStream {
        self.socket
    }

    pub(super) fn send(&mut self, text: &str) -> io::Result<()> {
        self.socket.write_all(text.as_bytes())
    }

    /// Reads on until a stanza with `text` in it has come.
    pub(super) fn read_until(&mut self, text: &str) -> io::Result<()> {
        while !self.stanzas.iter().any(|stanza| stanza.contains(text)) {
            self.read()?;
            let valid = match std::str::from_utf8(&self.unread) {
                Ok(text) => text.len(),
                Err(error) => error.valid_up_to(),
            };
            let readable = std::str::from_utf8(&self.unread[..valid]).unwrap_or_default();
            let (elements, rest) = split_elements(readable);
            let taken = readable.len() - rest.len();
            self.stanzas.extend(elements.into_iter().map(str::to_owned));
            self.unread.drain(..taken);
        }
        Ok(())
    }

    /// What was delivered since the last call.
    pub(super) fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.stanzas)
    }

    /// Reads on to the `count`th end of `text`, and gives everything to there.
    fn read_to(&mut self, text: &str, count: usize) -> io::Result<String> {
        loop {
            let seen = String::from_utf8_lossy(&self.unread).into_owned();
            if let Some((at, found)) = seen.match_indices(text).nth(count - 1) {
                self.unread.drain(..at + found.len());
                return Ok(seen);
            }
            self.read()?;
        }
    }

    fn read(&mut self) -> io::Result<()> {
        let mut bytes = [0; 16_384];
        let length = self.socket.read(&mut bytes)?;
        self.unread.extend_from_slice(&bytes[..length]);
        if length > 0 { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
    }
}
