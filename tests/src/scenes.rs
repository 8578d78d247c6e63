//! Conversations between two nodes, the same in every run: `a.example.org` sends to `b.example.net`, over fake TLS.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

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
        let addr = |last: u8| IpAddr::from([192, 0, 2, last]);
        let config = |host: &str| -> Config {
            let host = domain(host);
            let chain = authority.issue_kind(setting.kind, &host).chain;
            let provider = FakeProvider::new(vec![(host.clone(), chain)]);
            let mut config = World::config(Arc::new(provider), authority.trust());
            config.private_addresses = PrivateAddresses::Always;
            config.hosts.insert(host, setting.options.clone());
            config
        };
        let mut world = World::new(Cutting::Whole);
        world.journal = Some(Vec::new());
        let a = world.add(addr(1), config(A));
        let b = world.add(addr(2), Config { stanza_bytes: setting.stanza_bytes, ..config(B) });
        for (name, last) in [(A, 1), (B, 2)] {
            world.publish(name, addr(last), !setting.direct_tls, setting.direct_tls);
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

/// A component attaches with this secret, where `secret` is the right one, and sends a message.
#[must_use]
pub fn component(secret: &str) -> Transcript {
    let host = domain("chat.example.org");
    let known = Host { component_secret: Some(ComponentSecret::new("secret".to_owned())), contacts: Vec::new() };
    let config = HubConfig {
        hosts: BTreeMap::from([(host, known)]),
        stanza_bytes: limits::STANZA_BYTES,
        output_bytes: limits::QUEUE_BYTES_PER_PAIR,
        handshake_timeout: Duration::from_secs(30),
        close_timeout: Duration::from_secs(5),
    };
    let now = std::time::Instant::now();
    let mut hub = Hub::new(config, Seed([7; 32]), Anchor { instant: now, unix: NOW });
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
