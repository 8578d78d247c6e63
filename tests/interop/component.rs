//! A component ([XEP-0114](https://xmpp.org/extensions/xep-0114.html)) that the tests speak through.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use sha1::{Digest, Sha1};

use crate::failure::{Failure, While, fail};
use crate::xml::{Element, Event, Reader, escape};

/// What every component's secret is here.
pub(crate) const SECRET: &str = "secret";
/// Where servers wait for components.
pub(crate) const PORT: u16 = 5347;

/// A component that has shaken hands. Its connection ends with it.
pub(crate) struct Component {
    /// The domain that it is.
    pub(crate) domain: String,
    socket: TcpStream,
    incoming: Receiver<Element>,
}

impl Component {
    /// Connects, and tries again until `deadline`: servers open their ports one after the other.
    pub(crate) fn connect(address: Ipv4Addr, domain: &str, deadline: Instant) -> Result<Self, Failure> {
        loop {
            match Self::try_connect(address, domain) {
                Err(error) if Instant::now() >= deadline => return Err(error).when(format!("component {domain}")),
                Err(_) => thread::sleep(Duration::from_millis(20)),
                Ok(component) => return Ok(component),
            }
        }
    }

    fn try_connect(address: Ipv4Addr, domain: &str) -> Result<Self, Failure> {
        let mut socket =
            TcpStream::connect_timeout(&SocketAddr::from((address, PORT)), Duration::from_secs(2)).when("connect")?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        socket.set_nodelay(true)?;
        write!(
            socket,
            "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' \
             xmlns:stream='http://etherx.jabber.org/streams' to='{domain}'>"
        )?;
        let mut reader = Reader::default();
        let Event::Header(header) = read(&mut socket, &mut reader).when("header")? else {
            return fail("no stream header");
        };
        let digest = Sha1::digest(format!("{}{SECRET}", header.attribute("id")));
        let digest = digest.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        write!(socket, "<handshake>{digest}</handshake>")?;
        match read(&mut socket, &mut reader).when("handshake")? {
            Event::Element(element) if element.name == "handshake" => {}
            Event::Element(element) => return fail(format!("handshake refused: {element:?}")),
            _ => return fail("handshake refused"),
        }
        socket.set_read_timeout(None)?;
        let (sender, incoming) = mpsc::channel();
        let mut receiving = socket.try_clone()?;
        thread::spawn(move || {
            while let Ok(Event::Element(element)) = read(&mut receiving, &mut reader) {
                if sender.send(element).is_err() {
                    return;
                }
            }
        });
        Ok(Self { domain: domain.to_owned(), socket, incoming })
    }

    /// The address that stanzas of the tests come from and go to.
    pub(crate) fn address(&self) -> String {
        format!("tester@{}", self.domain)
    }

    /// Sends as it is.
    pub(crate) fn send(&self, xml: &str) -> Result<(), Failure> {
        (&self.socket).write_all(xml.as_bytes()).when(format!("{} sends", self.domain))
    }

    /// Sends a message.
    pub(crate) fn message(&self, to: &str, id: &str, body: &str) -> Result<(), Failure> {
        let (from, to, body) = (self.address(), escape(to), escape(body));
        self.send(&format!("<message from='{from}' to='{to}' id='{id}' type='normal'><body>{body}</body></message>"))
    }

    /// Sends a ping ([XEP-0199](https://xmpp.org/extensions/xep-0199.html)).
    pub(crate) fn ping(&self, to: &str, id: &str) -> Result<(), Failure> {
        let from = self.address();
        self.send(&format!("<iq from='{from}' to='{to}' id='{id}' type='get'><ping xmlns='urn:xmpp:ping'/></iq>"))
    }

    /// Answers a ping.
    pub(crate) fn pong(&self, ping: &Element) -> Result<(), Failure> {
        let (from, to, id) = (ping.attribute("to"), ping.attribute("from"), ping.attribute("id"));
        self.send(&format!("<iq from='{}' to='{}' id='{}' type='result'/>", escape(from), escape(to), escape(id)))
    }

    /// The stanza with that id. Others are passed over.
    pub(crate) fn receive(&self, id: &str, deadline: Instant) -> Result<Element, Failure> {
        loop {
            match self.next(deadline) {
                Ok(Some(element)) if element.attribute("id") == id => return Ok(element),
                Ok(Some(_)) => {}
                Ok(None) => return fail(format!("{}: its server closed the connection", self.domain)),
                Err(_) => return fail(format!("{}: stanza {id} did not come in time", self.domain)),
            }
        }
    }

    /// The next stanza, `None` when the connection has ended.
    pub(crate) fn next(&self, deadline: Instant) -> Result<Option<Element>, Failure> {
        match self.incoming.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(element) => Ok(Some(element)),
            Err(mpsc::RecvTimeoutError::Disconnected) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Component {
    fn drop(&mut self) {
        // Ends the reading thread too; a connection that is gone already is as good.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

fn read(socket: &mut TcpStream, reader: &mut Reader) -> Result<Event, Failure> {
    let mut buffer = [0; 65536];
    loop {
        if let Some(event) = reader.next()? {
            return Ok(event);
        }
        match socket.read(&mut buffer)? {
            0 => return fail("connection closed"),
            length => reader.feed(&buffer[..length]),
        }
    }
}
