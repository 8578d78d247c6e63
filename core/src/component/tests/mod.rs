//! A scripted component and the application around a hub, in virtual time.

mod answers;
mod closing;
mod handshake;
mod properties;
mod routing;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::addr::Domain;
use crate::component::{Command, ComponentSecret, Config, Event, Host, Hub};
use crate::entropy::Seed;
use crate::limits;
use crate::machine::{ConnId, Effect, Interest, Listener, Machine};
use crate::ns;
use crate::reason::Reason;
use crate::stanza::Stanza;
use crate::time::Anchor;
use crate::xml::{Bounds, Frame, Framer};

const HANDSHAKE: Duration = Duration::from_secs(30);
const CLOSE: Duration = Duration::from_secs(5);
const STANZA_BYTES: usize = 20_000;
const OUTPUT_BYTES: usize = 2_000;

fn domain(text: &str) -> Domain {
    Domain::parse(text).expect(text)
}

fn host(secret: Option<&str>) -> Host {
    Host { component_secret: secret.map(|text| ComponentSecret::new(text.to_owned())), contacts: Vec::new() }
}

/// `a.example` and `b.example` may have components, `bare.example` may not.
fn config() -> Config {
    let hosts = [("a.example", Some("secret-a")), ("b.example", Some("secret-b")), ("bare.example", None)];
    Config {
        hosts: hosts.into_iter().map(|(name, secret)| (domain(name), host(secret))).collect(),
        stanza_bytes: STANZA_BYTES,
        output_bytes: OUTPUT_BYTES,
        handshake_timeout: HANDSHAKE,
        close_timeout: CLOSE,
    }
}

fn header(to: &str) -> String {
    format!("<stream:stream xmlns='{}' xmlns:stream='{}' to='{to}'>", ns::COMPONENT, ns::STREAMS)
}

/// A stanza as it comes from a node.
fn stanza(text: &str) -> Stanza {
    let document = format!("<stream:stream xmlns='{}' xmlns:stream='{}'>{text}", ns::SERVER, ns::STREAMS);
    let frames = frames(ns::SERVER, document.as_bytes());
    let [Frame::Root(_), Frame::Stanza(frame)] = frames.as_slice() else { panic!("{text}: {frames:?}") };
    Stanza::from_frame(frame.clone()).expect(text)
}

/// All frames of `document`.
fn frames(content: &'static str, document: &[u8]) -> Vec<Frame> {
    let bounds = Bounds { element_bytes: limits::STANZA_BYTES, depth: 100, children: 10_000 };
    let mut framer = Framer::new(content, bounds);
    let mut rest = document;
    let mut frames = Vec::new();
    while let Some(frame) = framer.next(&mut rest).expect("our own XML") {
        frames.push(frame);
    }
    frames
}

/// The text between `before` and `after`.
fn between<'t>(text: &'t str, before: &str, after: &str) -> &'t str {
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("no {before} in {text}"));
    rest.split_once(after).unwrap_or_else(|| panic!("no {after} in {text}")).0
}

/// A stream error and the end of the stream.
fn assert_error(wire: &str, condition: &str) {
    let expected = format!("<stream:error><{condition} xmlns='{}'/>", ns::STREAM_ERRORS);
    assert!(wire.contains(&expected), "{condition} expected: {wire}");
    assert!(wire.ends_with("</stream:error></stream:stream>"), "{wire}");
}

/// A hub, and what its adapter and its application saw.
struct Driver {
    hub: Hub,
    now: Instant,
    effects: Vec<Effect>,
    events: Vec<Event>,
    accepted: BTreeSet<ConnId>,
    dropped: BTreeSet<ConnId>,
    /// Everything that was written to each connection.
    wires: BTreeMap<ConnId, Vec<u8>>,
}

impl Driver {
    fn new() -> Self {
        Self::with(config())
    }

    #[expect(clippy::disallowed_methods, reason = "virtual time has to begin somewhere")]
    fn with(config: Config) -> Self {
        let now = Instant::now();
        let hub = Hub::new(config, Seed([5; 32]), Anchor { instant: now, unix: Duration::ZERO });
        let (effects, events, wires) = (Vec::new(), Vec::new(), BTreeMap::new());
        Self { hub, now, effects, events, accepted: BTreeSet::new(), dropped: BTreeSet::new(), wires }
    }

    fn addr() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 40_000))
    }

    fn drain_effects(&mut self) {
        while let Some(effect) = self.hub.poll_effect() {
            let (Effect::Wake(conn) | Effect::CloseWrite(conn) | Effect::Drop(conn)) = effect else {
                panic!("a hub asks for no {effect:?}")
            };
            assert!(self.accepted.contains(&conn) && !self.dropped.contains(&conn), "{effect:?} of a dead connection");
            if matches!(effect, Effect::Drop(_)) {
                self.dropped.insert(conn);
            }
            self.effects.push(effect);
        }
    }

    fn drain(&mut self) {
        self.drain_effects();
        while let Some(event) = self.hub.poll_event() {
            self.events.push(event);
        }
        self.drain_effects();
    }

    fn accept(&mut self) -> ConnId {
        let conn = self.hub.handle_accept(self.now, Self::addr(), Listener::Component).expect("accepted");
        assert!(self.accepted.insert(conn), "an id that was used before");
        self.drain();
        conn
    }

    fn write(&mut self, conn: ConnId, text: &str) {
        self.hub.handle_bytes(self.now, conn, text.as_bytes());
        self.drain();
    }

    fn eof(&mut self, conn: ConnId) {
        self.hub.handle_eof(self.now, conn);
        self.drain();
    }

    fn broken(&mut self, conn: ConnId) {
        self.hub.handle_closed(self.now, conn, io::ErrorKind::ConnectionReset);
        self.drain();
    }

    fn command(&mut self, command: Command) {
        self.hub.handle_command(self.now, command);
        self.drain();
    }

    fn deliver(&mut self, text: &str) {
        self.command(Command::Deliver(stanza(text)));
    }

    fn wait(&mut self, duration: Duration) {
        self.now += duration;
        self.hub.handle_timeout(self.now);
        self.drain();
    }

    /// Writes up to `n` pending bytes.
    fn send(&mut self, conn: ConnId, n: usize) -> usize {
        let pending = self.hub.pending(conn);
        let n = n.min(pending.len());
        self.wires.entry(conn).or_default().extend_from_slice(&pending[..n]);
        self.hub.handle_sent(self.now, conn, n);
        self.drain();
        n
    }

    /// Writes everything that is pending and gives it.
    fn read(&mut self, conn: ConnId) -> String {
        let text = String::from_utf8(self.hub.pending(conn).to_vec()).expect("UTF-8");
        self.send(conn, text.len());
        text
    }

    /// Opens a stream to `host` up to our header, and gives the id of the stream.
    fn open(&mut self, conn: ConnId, host: &str) -> String {
        self.write(conn, &header(host));
        between(&self.read(conn), " id='", "'").to_owned()
    }

    fn handshake(&mut self, conn: ConnId, id: &str, secret: &str) {
        let text = ComponentSecret::new(secret.to_owned()).handshake(id);
        self.write(conn, &format!("<handshake>{text}</handshake>"));
    }

    /// A component of `host` (`a.example` or `b.example`) that is attached.
    fn attach(&mut self, host: &str) -> ConnId {
        let conn = self.accept();
        let id = self.open(conn, host);
        self.handshake(conn, &id, &format!("secret-{}", &host[..1]));
        assert_eq!(self.read(conn), "<handshake/>");
        let up = Event::ComponentUp { host: domain(host), conn, addr: Self::addr() };
        assert_eq!(self.events.pop(), Some(up));
        self.effects.clear();
        conn
    }

    fn interest(&self, conn: ConnId) -> Interest {
        self.hub.interest(conn)
    }

    fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// The effects since the last call, wakes left out.
    fn effects(&mut self) -> Vec<Effect> {
        let effects = std::mem::take(&mut self.effects);
        effects.into_iter().filter(|effect| !matches!(effect, Effect::Wake(_))).collect()
    }

    /// Asserts that `conn` was refused for `reason`, and nothing else was told.
    fn assert_refused(&mut self, conn: ConnId, host: Option<&str>, reason: Reason) {
        let events = self.events();
        let [Event::Refused { host: named, conn: refused, addr, reason: why, detail }] = events.as_slice() else {
            panic!("{events:?}")
        };
        assert_eq!((named.clone(), *refused, *addr, *why), (host.map(domain), conn, Self::addr(), reason));
        assert!(!detail.is_empty());
    }

    /// Asserts that `conn`, attached to `host`, was refused for `reason` and is down.
    fn assert_thrown_out(&mut self, conn: ConnId, host: &str, reason: Reason) {
        assert_eq!(self.events.pop(), Some(Event::ComponentDown { host: domain(host), conn, reason }));
        self.assert_refused(conn, Some(host), reason);
    }

    /// Asserts that we closed our side of `conn` and wait for the other.
    fn assert_closing(&mut self, conn: ConnId) {
        assert_eq!(self.effects(), [Effect::CloseWrite(conn)]);
        self.eof(conn);
        assert_eq!(self.effects(), [Effect::Drop(conn)]);
        assert_eq!(self.interest(conn), Interest { read: false, write: false });
        assert!(self.hub.pending(conn).is_empty());
    }
}
