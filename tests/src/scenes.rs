//! What the documents in `spec-notes` show, the same in every run: conversations between two nodes, where
//! `a.example.org` sends to `b.example.net` over fake TLS, and in the modules conversations with peers, lookups, tables.

pub mod delegation;
pub mod handshakes;
pub mod hosts;
pub mod lookups;
pub mod outages;
pub mod peers;
mod stage;
pub mod tables;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use s2s_core::component::{ComponentSecret, Config as HubConfig, Host, Hub};
use s2s_core::entropy::Seed;
use s2s_core::limits;
use s2s_core::machine::{Listener, Machine};
use s2s_core::node::{Config, Event};
use s2s_core::policy::HostOptions;
use s2s_core::reason::Reason;
use s2s_core::route::PrivateAddresses;
use s2s_core::time::Anchor;

use crate::certificates::{Authority, Kind, NOW};
use crate::fake_tls::FakeProvider;
use crate::transcript::{Side, Transcript};
use crate::world::{Cutting, NodeIndex, World, domain};

/// The sending domain.
pub const A: &str = "a.example.org";
/// The receiving domain.
pub const B: &str = "b.example.net";

/// Two nodes and their network, with a journal of everything that they say.
#[derive(Debug)]
pub struct Two {
    /// The network.
    pub world: World,
    /// The node of [`A`].
    pub a: NodeIndex,
    /// The node of [`B`].
    pub b: NodeIndex,
}

/// What a scene is made of.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The certificates of both.
    pub kind: Kind,
    /// What both operators decided.
    pub options: HostOptions,
    /// Whether direct TLS is published, and not STARTTLS.
    pub direct_tls: bool,
    /// Bytes of a stanza that B takes.
    pub stanza_bytes: usize,
}

impl Setting {
    /// Good certificates, which both demand, over STARTTLS.
    #[must_use]
    pub fn strict() -> Self {
        let options = HostOptions { secure_auth: true, require_encryption: true, ..HostOptions::default() };
        Self { kind: Kind::Valid, options, direct_tls: false, stanza_bytes: limits::STANZA_BYTES }
    }

    /// Self-signed certificates, where dialback will do.
    #[must_use]
    pub fn lax() -> Self {
        Self { kind: Kind::SelfSigned, options: HostOptions::default(), ..Self::strict() }
    }
}

impl Two {
    /// Two nodes that have not spoken yet.
    #[must_use]
    pub fn new(setting: &Setting) -> Self {
        let authority = Authority::root("the authority");
        let config = |host: &str| config(&authority, host, Some(setting.kind), setting.options.clone());
        let b = Config { stanza_bytes: setting.stanza_bytes, ..config(B) };
        Self::of([(A, config(A)), (B, b)], setting.direct_tls)
    }

    /// Two nodes with these hosts and configurations.
    fn of([(a_host, a), (b_host, b)]: [(&str, Config); 2], direct_tls: bool) -> Self {
        let addr = |last: u8| IpAddr::from([192, 0, 2, last]);
        let mut world = World::new(Cutting::Whole);
        world.journal = Some(Vec::new());
        let a = world.add(addr(1), a);
        let b = world.add(addr(2), b);
        for (name, last) in [(a_host, 1), (b_host, 2)] {
            world.publish(name, addr(last), !direct_tls, direct_tls);
        }
        Self { world, a, b }
    }

    /// A says this to B.
    pub fn send(&mut self, body: &str) {
        self.world.send(self.a, &message(A, B, body));
        self.world.run();
    }

    /// B says this to A.
    pub fn send_back(&mut self, body: &str) {
        self.world.send(self.b, &message(B, A, body));
        self.world.run();
    }

    /// What was said.
    #[must_use]
    pub fn transcript(&self) -> Transcript {
        Transcript::of(&self.world)
    }
}

/// The configuration of a node with one host, which has a certificate if there is a `kind`.
fn config(authority: &Authority, host: &str, kind: Option<Kind>, options: HostOptions) -> Config {
    let host = domain(host);
    let chains = kind.map(|kind| (host.clone(), authority.issue_kind(kind, &host).chain)).into_iter().collect();
    let mut config = World::config(Arc::new(FakeProvider::new(chains)), authority.trust());
    config.private_addresses = PrivateAddresses::Always;
    config.hosts.insert(host, options);
    config
}

/// A message with a body.
#[must_use]
pub fn message(from: &str, to: &str, body: &str) -> String {
    format!("<message from='romeo@{from}' to='juliet@{to}'><body>{body}</body></message>")
}

/// A sends a message to B.
#[must_use]
pub fn greeting(setting: &Setting) -> Transcript {
    let mut two = Two::new(setting);
    two.send("Hello");
    two.transcript()
}

/// A sends a message that is too large for B, and one that is not; the error that the first sender gets is the last line.
#[must_use]
pub fn too_large() -> (Transcript, String) {
    let mut two = Two::new(&Setting { stanza_bytes: 20_000, ..Setting::strict() });
    two.send(&"x".repeat(30_000));
    two.send("Hello");
    let events = two.world.take_events(two.a);
    let bounce = events.iter().find_map(|event| match event {
        Event::Undeliverable { stanza, reason: Reason::StanzaTooBig, .. } => stanza.bounce(Reason::StanzaTooBig),
        _ => None,
    });
    let bounce = bounce.map(|bounce| String::from_utf8_lossy(bounce.bytes()).into_owned());
    (two.transcript(), bounce.unwrap_or_default())
}

/// A sends a message to B, which has no certificate and so cannot offer STARTTLS. A demands encryption, or does not.
/// What both say, and then why A gave up, if it did, and what the sender is told.
#[must_use]
pub fn no_starttls(demanded: bool) -> String {
    let authority = Authority::root("the authority");
    let options = HostOptions { require_encryption: demanded, ..HostOptions::default() };
    let a = config(&authority, A, Some(Kind::Valid), options);
    let b = config(&authority, B, None, HostOptions::default());
    let mut two = Two::of([(A, a), (B, b)], false);
    two.send("Hello");
    let mut transcript = two.transcript();
    transcript.lines.retain(|line| line.connection == 1);
    let mut text = transcript.to_string();
    for event in two.world.take_events(two.a) {
        match event {
            Event::Refused { reason, .. } => text.push_str(&format!("told: {}\n", reason.code())),
            Event::Undeliverable { reason, .. } => text.push_str(&format!("bounce: {}\n", reason.bounce_text())),
            _ => {}
        }
    }
    text
}

/// A hub that serves `host`, and the moment at which that begins.
fn hub(host: &str, known: Host) -> (Hub, Instant) {
    let config = HubConfig {
        hosts: BTreeMap::from([(domain(host), known)]),
        stanza_bytes: limits::STANZA_BYTES,
        output_bytes: limits::QUEUE_BYTES_PER_PAIR,
        handshake_timeout: Duration::from_secs(30),
        close_timeout: Duration::from_secs(5),
    };
    let now = Instant::now();
    (Hub::new(config, Seed([7; 32]), Anchor { instant: now, unix: NOW }), now)
}

/// A component attaches with this secret, where `secret` is the right one, and sends a message.
#[must_use]
pub fn component(secret: &str) -> Transcript {
    let known = Host { component_secret: Some(ComponentSecret::new("secret".to_owned())), contacts: Vec::new() };
    let (mut hub, now) = hub("chat.example.org", known);
    let conn = hub.handle_accept(now, SocketAddr::from(([127, 0, 0, 1], 40_000)), Listener::Component);
    let conn = conn.expect("components are welcome");
    let mut transcript = Transcript::default();
    let mut say = |hub: &mut Hub, xml: &str| {
        transcript.say(Side::Opening, xml);
        hub.handle_bytes(now, conn, xml.as_bytes());
        let answer = String::from_utf8_lossy(hub.pending(conn)).into_owned();
        hub.handle_sent(now, conn, answer.len());
        transcript.say(Side::Accepting, &answer);
        answer
    };
    let header = "<stream:stream xmlns='jabber:component:accept' \
                  xmlns:stream='http://etherx.jabber.org/streams' to='chat.example.org'>";
    let answer = say(&mut hub, header);
    let id = answer.split(" id='").nth(1).and_then(|rest| rest.split('\'').next()).expect("an id");
    let hash = ComponentSecret::new(secret.to_owned()).handshake(id);
    let answer = say(&mut hub, &format!("<handshake>{hash}</handshake>"));
    if answer == "<handshake/>" {
        say(&mut hub, &message("chat.example.org", B, "Hello"));
    }
    transcript
}
