//! An echo component: a small client of XEP-0114 over a real socket.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use s2s_core::component::ComponentSecret;
use s2s_core::limits;
use s2s_core::ns;
use s2s_core::stanza::Stanza;
use s2s_core::xml::{Bounds, Frame, Framer, StanzaKind, escape_attribute, escape_text};
use smol::channel::{Receiver, Sender};
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::TcpStream;
use smol::{LocalExecutor, Timer};

use crate::demo::Sighting;

/// Ids of messages that are to be echoed begin so; echoes begin otherwise, so that none is echoed again.
pub(crate) const ASK: &str = "ask-";
/// Ids of echoes.
pub(crate) const ECHO: &str = "echo-";

/// How long the server may take to accept us.
const HANDSHAKE: Duration = Duration::from_secs(30);

/// A component that is attached to its host.
#[derive(Clone, Debug)]
pub(crate) struct Component {
    host: &'static str,
    outgoing: Sender<String>,
}

/// A connection to a server, and what came over it.
struct Link {
    socket: TcpStream,
    framer: Framer,
    /// What was read and not framed yet.
    bytes: Vec<u8>,
}

impl Component {
    /// Connects to `addr` as the component of `host` and serves from then on as a task of `executor`.
    pub(crate) async fn attach(
        executor: &Rc<LocalExecutor<'static>>,
        addr: SocketAddr,
        host: &'static str,
        secret: &str,
        sightings: Sender<Sighting>,
    ) -> io::Result<Self> {
        let late = async {
            Timer::after(HANDSHAKE).await;
            Err(io::ErrorKind::TimedOut.into())
        };
        let link = smol::future::or(Link::open(addr, host, secret), late).await?;
        let (outgoing, messages) = smol::channel::unbounded();
        executor.spawn(write(link.socket.clone(), messages)).detach();
        executor.spawn(listen(link, host, outgoing.clone(), sightings)).detach();
        Ok(Self { host, outgoing })
    }

    /// Sends a message that the component of `to` is to echo.
    pub(crate) fn ask(&self, to: &str, number: usize) {
        let text = format!("Hello from {}, number {number}", self.host);
        let message = message(&format!("echo@{}", self.host), &format!("echo@{to}"), &format!("{ASK}{number}"), &text);
        // It fails if the connection broke, which the missing echo shows.
        let _ = self.outgoing.try_send(message);
    }
}

impl Link {
    async fn open(addr: SocketAddr, host: &str, secret: &str) -> io::Result<Self> {
        let bounds = Bounds {
            element_bytes: limits::STANZA_BYTES,
            depth: limits::ELEMENT_DEPTH,
            children: limits::UNAUTHENTICATED_CHILDREN,
        };
        let socket = TcpStream::connect(addr).await?;
        let mut link = Self { socket, framer: Framer::new(ns::COMPONENT, bounds), bytes: Vec::new() };
        let header = format!(
            "<stream:stream xmlns='{}' xmlns:stream='{}' to='{}'>",
            ns::COMPONENT,
            ns::STREAMS,
            escape_attribute(host)
        );
        link.socket.write_all(header.as_bytes()).await?;
        let Frame::Root(root) = link.next().await? else { return Err(unexpected("no stream header")) };
        let id = root.id.ok_or_else(|| unexpected("no stream id"))?;
        let handshake = ComponentSecret::new(secret.to_owned()).handshake(&id);
        link.socket.write_all(format!("<handshake>{handshake}</handshake>").as_bytes()).await?;
        match link.next().await? {
            Frame::Element(element) if element.name == "handshake" => Ok(link),
            _ => Err(unexpected("the handshake was refused")),
        }
    }

    async fn next(&mut self) -> io::Result<Frame> {
        loop {
            let mut rest = self.bytes.as_slice();
            let frame = self.framer.next(&mut rest).map_err(io::Error::other)?;
            let used = self.bytes.len() - rest.len();
            self.bytes.drain(..used);
            if let Some(frame) = frame {
                return Ok(frame);
            }
            let mut buffer = [0; 4096];
            let length = self.socket.read(&mut buffer).await?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.bytes.extend_from_slice(buffer.get(..length).unwrap_or_default());
        }
    }
}

/// Reports every stanza and echoes those that ask for it, until the stream ends; then ends it from this side too.
async fn listen(mut link: Link, host: &'static str, outgoing: Sender<String>, sightings: Sender<Sighting>) {
    while let Ok(frame) = link.next().await {
        let Frame::Stanza(frame) = frame else { break };
        let Ok(stanza) = Stanza::from_frame(frame) else { continue };
        if let Some(echo) = echo(&stanza) {
            let _ = outgoing.try_send(echo);
        }
        let seen = Sighting::Stanza { host, at: Instant::now(), stanza: Box::new(stanza) };
        if sightings.send(seen).await.is_err() {
            break;
        }
    }
    let _ = outgoing.try_send("</stream:stream>".to_owned());
    outgoing.close();
}

/// Writes what is sent until nothing more will be, then closes the writing half.
async fn write(mut socket: TcpStream, messages: Receiver<String>) {
    while let Ok(message) = messages.recv().await {
        if socket.write_all(message.as_bytes()).await.is_err() {
            break;
        }
    }
    // The server may have closed the connection already.
    let _ = socket.shutdown(Shutdown::Write);
}

/// The answer to a message that asks for one.
fn echo(stanza: &Stanza) -> Option<String> {
    let head = stanza.head();
    let number = head.id.as_deref()?.strip_prefix(ASK)?;
    if head.kind != StanzaKind::Message || head.stanza_type.as_deref() == Some("error") {
        return None;
    }
    let text = format!("Echo to {}", head.from.domain());
    Some(message(head.to.as_str(), head.from.as_str(), &format!("{ECHO}{number}"), &text))
}

fn message(from: &str, to: &str, id: &str, text: &str) -> String {
    format!(
        "<message from='{}' to='{}' id='{}' type='chat'><body>{}</body></message>",
        escape_attribute(from),
        escape_attribute(to),
        escape_attribute(id),
        escape_text(text)
    )
}

fn unexpected(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
