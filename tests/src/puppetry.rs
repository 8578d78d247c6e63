//! What a peer says that tests play themselves: headers, and TLS from the peer's side.

use std::sync::Arc;

use s2s_core::addr::Domain;
use s2s_core::limits;
use s2s_core::link::Settings;
use s2s_core::tls::{Provider, Session};

use crate::fake_tls::FakeProvider;
use crate::world::{Puppet, World};

/// The initial header of an honest peer.
#[must_use]
pub fn header(from: &str, to: &str) -> String {
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback' \
         xmlns:stream='http://etherx.jabber.org/streams' from='{from}' to='{to}' version='1.0' xml:lang='en'>"
    )
}

/// The response header of an honest peer.
#[must_use]
pub fn response(from: &str, to: &str, id: &str) -> String {
    header(from, to).replace(" xml:lang=", &format!(" id='{id}' xml:lang="))
}

/// The times and sizes of a link, as they are by default.
#[must_use]
pub const fn settings() -> Settings {
    Settings {
        negotiation_timeout: limits::NEGOTIATION,
        attempt_timeout: limits::ATTEMPT,
        close_timeout: limits::CLOSE,
        idle_timeout: limits::IDLE,
        stanza_bytes: limits::STANZA_BYTES,
    }
}

/// The id in the first `<db:verify/>` of what a node has said: the stream that its question is about.
///
/// # Panics
///
/// If it asks nothing.
#[must_use]
pub fn asked_id(heard: &str) -> &str {
    let question = heard.split("<db:verify").nth(1).and_then(|behind| behind.split(" id='").nth(1));
    question.and_then(|behind| behind.split('\'').next()).unwrap_or_else(|| panic!("no question: {heard}"))
}

/// Asks for TLS.
pub const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
/// Grants TLS.
pub const PROCEED: &str = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
/// Attempts EXTERNAL as whoever the header names.
pub const AUTH: &str = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>";

/// A puppet inside fake TLS.
#[derive(Debug)]
pub struct Tls {
    session: Box<dyn Session>,
    puppet: Puppet,
}

impl Tls {
    /// The puppet begins TLS as `local`, showing `chain`, with a node that it asks for `remote`.
    pub fn connect(world: &mut World, puppet: Puppet, local: &Domain, chain: Vec<Vec<u8>>, remote: &Domain) -> Self {
        let hosts = if chain.is_empty() { Vec::new() } else { vec![(local.clone(), chain)] };
        let session = Arc::new(FakeProvider::new(hosts)).client(local, remote, false).expect("a fake client");
        let mut tls = Self { session, puppet };
        let mut wire = Vec::new();
        tls.session.flush(&mut wire);
        world.say(puppet, wire);
        tls.turn(world);
        tls.turn(world);
        tls
    }

    /// The puppet lets the node that has dialled it begin TLS, and shows `chain` as `local`.
    pub fn accept(world: &mut World, puppet: Puppet, local: &Domain, chain: Vec<Vec<u8>>) -> Self {
        let hosts = vec![(local.clone(), chain)];
        let session = Arc::new(FakeProvider::new(hosts)).server(Some(local)).expect("a fake server");
        let mut tls = Self { session, puppet };
        tls.turn(world);
        tls
    }

    /// What the node has said inside TLS.
    pub fn hear(&mut self, world: &mut World) -> String {
        self.turn(world)
    }

    /// The puppet writes inside TLS; what the node answers inside TLS comes back.
    pub fn say(&mut self, world: &mut World, text: &str) -> String {
        let mut wire = Vec::new();
        self.session.send(text.as_bytes(), &mut wire);
        world.say(self.puppet, wire);
        self.turn(world)
    }

    /// The puppet announces the end of what it says, and leaves its half of the connection open.
    pub fn announce_end(&mut self, world: &mut World) {
        let mut wire = Vec::new();
        self.session.close(&mut wire);
        world.say(self.puppet, wire);
    }

    /// The puppet announces the end of what it says, and ends its half of the connection.
    pub fn close(&mut self, world: &mut World) {
        self.announce_end(world);
        world.hang_up(self.puppet);
    }

    /// Takes what the node wrote, and answers what TLS itself must answer.
    fn turn(&mut self, world: &mut World) -> String {
        let heard = world.hear(self.puppet);
        let (mut plain, mut wire) = (Vec::new(), Vec::new());
        let _alert = self.session.receive(&heard, &mut plain, &mut wire);
        if !wire.is_empty() {
            world.say(self.puppet, wire);
        }
        String::from_utf8(plain).expect("nodes speak UTF-8")
    }
}
