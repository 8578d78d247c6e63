//! Peers whose every byte is ours, over fake TLS: what the [oracle of peers](crate::oracle::peers) speaks about.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use s2s_core::machine::Listener;
use s2s_core::node::{Direction, Event};
use s2s_core::route::PrivateAddresses;
use s2s_core::tls::verify::Trust;
use s2s_core::tls::{Provider, Session};

use super::cover;
use super::{Lab, NAMES, find_all, first_child, options};
use crate::certificates::algorithms;
use crate::fake_tls::{FakeProvider, FakeSession};
use crate::oracle::peers::{
    Answering, Authzid, Entry, ExternalAnswer, From, KeyAnswer, Opening, Script, expect_answering, expect_opening,
};
use crate::oracle::{Certificate, Pin, Policy, Side, Transport};
use crate::world::{Cutting, Puppet, World, domain};

/// Where the puppet is published.
const PUPPET: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

/// A peer that is not one of ours.
#[derive(Clone, Copy, Debug)]
pub enum Peer {
    /// It connects.
    Opening(Opening),
    /// It is connected to.
    Answering(Answering),
}

impl Peer {
    /// What the oracle says about it.
    #[must_use]
    pub fn expect(&self) -> Script {
        match self {
            Self::Opening(opening) => expect_opening(opening),
            Self::Answering(answering) => expect_answering(answering),
        }
    }
}

/// Where the oracle and a node disagree about a peer.
#[derive(Debug)]
pub struct Surprise {
    /// The peer.
    pub peer: Peer,
    /// How bytes were cut.
    pub cutting: Cutting,
    /// What should have been seen, and why.
    pub expected: Script,
    /// What was.
    pub got: Script,
}

impl fmt::Display for Surprise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?}, {:?}", self.peer, self.cutting)?;
        writeln!(f, "  expected {:?} {:?}", self.expected.steps, self.expected.codes)?;
        writeln!(f, "  got      {:?} {:?}", self.got.steps, self.got.codes)?;
        for clause in &self.expected.clauses {
            writeln!(f, "  because  {} [{}]", clause.says, clause.source)?;
        }
        Ok(())
    }
}

/// Rows of covering arrays over both kinds of peers.
#[must_use]
pub fn covering(seed: u64) -> Vec<(Peer, Cutting)> {
    const CUTTINGS: [Cutting; 3] = [Cutting::Whole, Cutting::Pieces(1), Cutting::Random(11)];
    let opening = |row: &[usize]| {
        let peer = Opening {
            entry: Entry::ALL[row[0]],
            certificate: Certificate::ALL[row[1]],
            policy: Policy::ALL[row[2]],
            from: From::ALL[row[3]],
            version: row[4] == 0,
            authzid: Authzid::ALL[row[5]],
            external: row[6] == 0,
            dialback: row[7] == 0,
        };
        (Peer::Opening(peer), CUTTINGS[row[8]])
    };
    let answering = |row: &[usize]| {
        let peer = Answering {
            entry: Entry::ALL[row[0]],
            // A peer that accepts TLS has a certificate: the first is none.
            certificate: Certificate::ALL[1 + row[1]],
            policy: Policy::ALL[row[2]],
            version: row[3] == 0,
            reversed: row[4] == 1,
            feature: row[5] == 0,
            external_answer: ExternalAnswer::ALL[row[6]],
            key_answer: KeyAnswer::ALL[row[7]],
            external: row[8] == 0,
            dialback: row[9] == 0,
            dialback_to_verified: row[10] == 1,
        };
        (Peer::Answering(peer), CUTTINGS[row[11]])
    };
    let openings = cover::rows(&[3, Certificate::ALL.len(), 5, 3, 2, 5, 2, 2, 3], seed);
    let answerings = cover::rows(&[3, Certificate::ALL.len() - 1, 5, 2, 2, 2, 3, 3, 2, 2, 2, 3], seed);
    openings.iter().map(|row| opening(row)).chain(answerings.iter().map(|row| answering(row))).collect()
}

/// Every combination of what matters once EXTERNAL or dialback is reached: refusals on the way there hide it from
/// most rows of a covering array.
#[must_use]
pub fn dense() -> Vec<(Peer, Cutting)> {
    let opening = |row: &[usize]| {
        Peer::Opening(Opening {
            entry: [Entry::StartTls, Entry::Direct][row[0]],
            certificate: [Certificate::Valid, Certificate::SelfSigned, Certificate::None][row[1]],
            policy: Policy::ALL[row[2]],
            from: [From::Own, From::Absent][row[3]],
            version: true,
            authzid: Authzid::ALL[row[4]],
            external: true,
            dialback: row[5] == 0,
        })
    };
    let answering = |row: &[usize]| {
        Peer::Answering(Answering {
            entry: [Entry::StartTls, Entry::Direct][row[0]],
            certificate: [Certificate::Valid, Certificate::SelfSigned][row[1]],
            policy: Policy::ALL[row[2]],
            version: true,
            reversed: row[3] == 1,
            feature: row[3] == 0,
            external_answer: ExternalAnswer::ALL[row[4]],
            key_answer: KeyAnswer::ALL[row[5]],
            external: true,
            dialback: row[6] == 0,
            dialback_to_verified: row[7] == 1,
        })
    };
    let openings = combinations(&[2, 3, 5, 2, 5, 2]).into_iter().map(|row| opening(&row));
    let answerings = combinations(&[2, 2, 5, 2, 3, 3, 2, 2]).into_iter().map(|row| answering(&row));
    openings.chain(answerings).map(|peer| (peer, Cutting::Whole)).collect()
}

fn combinations(sizes: &[usize]) -> Vec<Vec<usize>> {
    sizes.iter().fold(vec![Vec::new()], |rows, size| {
        let longer = |row: Vec<usize>| (0..*size).map(move |value| [&row[..], &[value]].concat());
        rows.into_iter().flat_map(longer).collect()
    })
}

impl Lab {
    /// Plays a peer, and says so if it does not hear what the oracle promised.
    #[must_use]
    pub fn check_peer(&self, peer: Peer, cutting: Cutting) -> Option<Surprise> {
        let expected = peer.expect();
        let got = match &peer {
            Peer::Opening(opening) => self.play_opening(opening, cutting),
            Peer::Answering(answering) => self.play_answering(answering, cutting),
        };
        let agree = expected.steps == got.steps && expected.codes == got.codes;
        (!agree).then_some(Surprise { peer, cutting, expected, got })
    }

    /// A world with our node, which has a valid certificate, and the puppet's domain in DNS.
    fn world_for(&self, side: &Side, direct: bool, cutting: Cutting) -> World {
        let mut world = World::new(cutting);
        world.publish(NAMES[1], PUPPET, !direct, direct);
        let mut config = World::config(self.fakes[0][&Certificate::Valid].clone(), Trust::new(algorithms()));
        config.trust = self.trusts[0][&(Pin::None, Certificate::Valid)].clone();
        config.private_addresses = PrivateAddresses::Always;
        config.hosts.insert(self.names[0].clone(), options(side, NAMES[1]));
        world.add(IpAddr::from([192, 0, 2, 1]), config);
        world
    }

    fn chain(&self, certificate: Certificate) -> Vec<Vec<u8>> {
        self.identities[1].get(&certificate).map(|identity| identity.chain.clone()).unwrap_or_default()
    }

    fn play_opening(&self, peer: &Opening, cutting: Cutting) -> Script {
        let side = Side {
            external: peer.external,
            dialback: peer.dialback,
            ..Side::new(Transport::StartTlsOptional, Certificate::Valid, peer.policy)
        };
        let mut world = self.world_for(&side, false, cutting);
        let direct = peer.entry == Entry::Direct;
        let listener = if direct { Listener::DirectTls } else { Listener::StartTls };
        let puppet = world.connect(0, listener);
        let mut stage = Stage::new(world, puppet);
        let client = |protocols: &[&[u8]]| FakeSession::client(NAMES[0], protocols, self.chain(peer.certificate));
        if direct {
            stage.secure(Box::new(client(&[b"xmpp-server"])));
        }
        let mut script = Script::default();
        open_stream(&mut stage, peer, || Box::new(client(&[])), &mut script);
        finish(stage, script, Direction::Inbound)
    }

    fn play_answering(&self, peer: &Answering, cutting: Cutting) -> Script {
        let side = Side {
            external: peer.external,
            dialback: peer.dialback,
            dialback_to_verified: peer.dialback_to_verified,
            ..Side::new(Transport::StartTlsOptional, Certificate::Valid, peer.policy)
        };
        let direct = peer.entry == Entry::Direct;
        let mut world = self.world_for(&side, direct, cutting);
        let addr = SocketAddr::new(PUPPET, if direct { 5270 } else { 5269 });
        world.listen(addr);
        let [us, them] = NAMES;
        world.send(0, &format!("<message from='x@{us}' to='y@{them}' id='m'><body>b</body></message>"));
        let puppet = world.accept(addr).expect("we are dialled");
        let mut stage = Stage::new(world, puppet);
        let chain = self.chain(peer.certificate);
        let provider: Arc<dyn Provider> = Arc::new(FakeProvider::new(vec![(self.names[1].clone(), chain)]));
        if direct {
            stage.secure(provider.server(None).expect("a certificate"));
        }
        let mut script = Script::default();
        answer_stream(&mut stage, peer, &provider, &mut script);
        finish(stage, script, Direction::Outbound)
    }
}

/// A puppet, and its end of TLS.
struct Stage {
    world: World,
    puppet: Puppet,
    session: Option<Box<dyn Session>>,
    /// All that it has heard.
    heard: String,
}

impl Stage {
    const fn new(world: World, puppet: Puppet) -> Self {
        Self { world, puppet, session: None, heard: String::new() }
    }

    fn secure(&mut self, session: Box<dyn Session>) {
        self.session = Some(session);
    }

    /// Writes, and gives everything that the node says to it.
    fn say(&mut self, text: &str) -> String {
        match &mut self.session {
            Some(session) => {
                let mut wire = Vec::new();
                session.send(text.as_bytes(), &mut wire);
                self.world.say(self.puppet, wire);
            }
            None => self.world.say(self.puppet, text),
        }
        self.hear()
    }

    /// What the node has said.
    fn hear(&mut self) -> String {
        let mut plain = Vec::new();
        loop {
            let bytes = self.world.hear(self.puppet);
            if bytes.is_empty() {
                let text = String::from_utf8(plain).expect("nodes speak UTF-8");
                self.heard.push_str(&text);
                return text;
            }
            match &mut self.session {
                Some(session) => {
                    let mut wire = Vec::new();
                    session.receive(&bytes, &mut plain, &mut wire).expect("nodes speak TLS");
                    if !wire.is_empty() {
                        self.world.say(self.puppet, wire);
                    }
                }
                None => plain.extend(bytes),
            }
        }
    }
}

fn header(from: Option<&str>, to: &str, version: bool, id: bool) -> String {
    let from = from.map_or(String::new(), |from| format!(" from='{from}'"));
    let version = if version { " version='1.0'" } else { "" };
    let id = if id { " id='the-id-of-the-puppet'" } else { "" };
    format!(
        "<stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback' \
         xmlns:stream='http://etherx.jabber.org/streams'{from} to='{to}'{version}{id}>"
    )
}

/// Notes a stream error. True if there was one.
fn note_error(heard: &str, script: &mut Script) -> bool {
    let bytes = heard.as_bytes();
    let error = find_all(bytes, b"<stream:error").first().and_then(|(at, _)| first_child(&bytes[*at..]));
    script.steps.extend(error.map(|condition| format!("stream {condition}")));
    error.is_some()
}

/// The puppet's part as [`Opening`] says.
fn open_stream(stage: &mut Stage, peer: &Opening, client: impl Fn() -> Box<dyn Session>, script: &mut Script) {
    let [us, them] = NAMES;
    let from = match peer.from {
        From::Own => Some(them),
        From::Absent => None,
        From::Ours => Some(us),
    };
    let header = header(from, us, peer.version, false);
    loop {
        let heard = stage.say(&header);
        if note_error(&heard, script) {
            return;
        }
        if peer.version {
            let starttls = match (heard.contains("<starttls"), heard.contains("<required")) {
                (false, _) => "none",
                (true, false) => "optional",
                (true, true) => "required",
            };
            let external = heard.contains(">EXTERNAL<");
            script.steps.push(format!("features starttls {starttls}, external {external}"));
            if external && authenticate(stage, peer.authzid, script) {
                stage.say(&header);
                break;
            }
            if peer.entry == Entry::StartTls && starttls != "none" {
                assert!(stage.say("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").contains("<proceed"));
                stage.secure(client());
                continue;
            }
        }
        let heard = stage.say(&format!("<db:result from='{them}' to='{us}'>the-key-of-the-puppet</db:result>"));
        let Some((at, tag)) = find_all(heard.as_bytes(), b"<db:result").into_iter().next() else {
            note_error(&heard, script);
            return;
        };
        if tag.windows(12).any(|part| part == b"type='valid'") {
            script.steps.push("key valid".to_owned());
            break;
        }
        let rest = &heard.as_bytes()[at..];
        let error = find_all(rest, b"<error").first().and_then(|(at, _)| first_child(&rest[*at..]));
        script.steps.push(format!("key {}", error.unwrap_or("invalid")));
        return;
    }
    stage.say(&format!("<message from='x@{them}' to='y@{us}' id='m'><body>b</body></message>"));
}

/// SASL EXTERNAL, with or without success.
fn authenticate(stage: &mut Stage, authzid: Authzid, script: &mut Script) -> bool {
    const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
    let content = match authzid {
        Authzid::Absent => "",
        Authzid::Empty => "=",
        // xmpp.b.example, and other.example
        Authzid::Own => "eG1wcC5iLmV4YW1wbGU=",
        Authzid::Other => "b3RoZXIuZXhhbXBsZQ==",
        Authzid::Malformed => "e?==",
    };
    let mut heard = stage.say(&format!("<auth xmlns='{SASL}' mechanism='EXTERNAL'>{content}</auth>"));
    if authzid == Authzid::Absent && heard.contains("<challenge") {
        heard = stage.say(&format!("<response xmlns='{SASL}'>=</response>"));
    }
    if heard.contains("<success") {
        script.steps.push("sasl success".to_owned());
        return true;
    }
    let bytes = heard.as_bytes();
    let failure = find_all(bytes, b"<failure").first().and_then(|(at, _)| first_child(&bytes[*at..]));
    script.steps.push(format!("sasl {}", failure.unwrap_or("silence")));
    false
}

/// The puppet's part as [`Answering`] says: each thing that it hears has one answer.
fn answer_stream(stage: &mut Stage, peer: &Answering, provider: &Arc<dyn Provider>, script: &mut Script) {
    let [us, them] = NAMES;
    let (mut authenticated, mut offered) = (false, false);
    let mut heard = stage.hear();
    while !note_error(&heard, script)
        && let Some((request, rest)) = next_request(&heard)
    {
        let answer = match request {
            "<starttls" => {
                script.steps.push("starttls".to_owned());
                stage.world.say(stage.puppet, "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
                stage.secure(provider.server(Some(&domain(them))).expect("a certificate"));
                heard = stage.hear();
                continue;
            }
            // Uninvited (decision D-52), so it is nothing that the documents have a word on.
            "<auth" if !offered => {
                "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><invalid-mechanism/></failure>".to_owned()
            }
            "<auth" => {
                script.steps.push("auth".to_owned());
                authenticated = peer.external_answer == ExternalAnswer::Success;
                let answer = if authenticated {
                    "<success xmlns='SASL'/>"
                } else {
                    "<failure xmlns='SASL'><not-authorized/></failure>"
                };
                answer.replace("SASL", "urn:ietf:params:xml:ns:xmpp-sasl")
            }
            "<db:result" => {
                script.steps.push("key".to_owned());
                let addresses = format!("from='{them}' to='{us}'");
                match peer.key_answer {
                    KeyAnswer::Valid => format!("<db:result {addresses} type='valid'/>"),
                    KeyAnswer::Invalid => format!("<db:result {addresses} type='invalid'/>"),
                    KeyAnswer::Error => format!(
                        "<db:result {addresses} type='error'><error type='cancel'><item-not-found \
                         xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></db:result>"
                    ),
                }
            }
            "<stream:stream" => {
                let features = features(peer, stage.session.is_some(), authenticated);
                offered = features.contains(">EXTERNAL<");
                header(Some(them), us, peer.version, true) + &features
            }
            end => format!("{end}>"),
        };
        heard = rest.to_owned() + &stage.say(&answer);
    }
}

/// The first request in what was heard, and what follows it.
fn next_request(heard: &str) -> Option<(&'static str, &str)> {
    let requests = ["<stream:stream", "<starttls", "<auth", "<db:result", "</stream:stream"];
    let (at, request) = requests.iter().filter_map(|request| Some((heard.find(request)?, *request))).min()?;
    let (_, rest) = heard[at..].split_once('>')?;
    Some((request, rest))
}

fn features(peer: &Answering, secured: bool, authenticated: bool) -> String {
    if !peer.version {
        return String::new();
    }
    let mut features = Vec::new();
    if !secured && peer.entry == Entry::StartTls {
        features.push("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    }
    if secured && !authenticated && peer.external_answer != ExternalAnswer::NotOffered {
        features
            .push("<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms>");
    }
    if peer.feature {
        features.push("<dialback xmlns='urn:xmpp:features:dialback'/>");
    }
    if peer.reversed {
        features.reverse();
    }
    format!("<stream:features>{}</stream:features>", features.concat())
}

/// Adds what the node reported.
fn finish(mut stage: Stage, mut script: Script, way: Direction) -> Script {
    stage.hear();
    let events = stage.world.take_events(0);
    for event in &events {
        match event {
            Event::Refused { direction, reason, .. } if *direction == way => script.codes.push(reason.to_string()),
            Event::Undeliverable { reason, .. } => script.steps.push(format!("bounced {reason}")),
            Event::PeerUp { by, .. } => script.steps.push(format!("delivered by {by}")),
            _ => {}
        }
    }
    let arrived = match way {
        Direction::Inbound => events.iter().any(|event| matches!(event, Event::Stanza { .. })),
        Direction::Outbound => stage.heard.contains("<message"),
    };
    if !arrived && events.iter().any(|event| matches!(event, Event::PeerUp { .. })) {
        script.steps.push("but nothing arrived".to_owned());
    }
    script.codes.sort();
    script
}
