//! Runs the cells that the [oracle](crate::oracle) speaks about: two nodes, a first contact each way, and what was
//! seen of it.
//!
//! A cell has a [`World`] of its own. Certificates are issued once, by a [`Lab`]; with fake TLS they are judged for
//! real at the lab's virtual time.

pub mod cells;
pub mod cover;
pub mod puppets;
pub mod real;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rcgen::PublicKeyData;
use s2s_core::addr::Domain;
use s2s_core::limits;
use s2s_core::machine::ConnId;
use s2s_core::node::{Config, Direction, Event};
use s2s_core::policy::HostOptions;
use s2s_core::route::PrivateAddresses;

use s2s_core::tls::verify::{Trust, fingerprint};
use s2s_core::tls::{Provider, RustlsProvider, Version};

use crate::certificates::{Authority, Identity, Kind, Request, algorithms};
use crate::dns_server::Zone;
use crate::fake_tls::FakeProvider;
use crate::oracle::{
    Certificate, Expected, Federation, Method, Outcome, Pin, Policy, Refusal, Seen, Side, Transport, expect, sides,
};
use crate::world::{Cutting, NodeIndex, World, domain};

/// The domains of the two sides. Three labels, so that a wildcard has something to stand for.
const NAMES: [&str; 2] = ["xmpp.a.example", "xmpp.b.example"];

/// Longer than any deadline of a negotiation: who has neither delivered nor bounced then never will.
const PATIENCE: Duration = Duration::from_secs(400);

/// What TLS a cell runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Without cryptography on the wire.
    Fake,
    /// rustls.
    Rustls,
}

/// Two sides that have not met yet.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    /// Both sides; the first sends first.
    pub sides: [Side; 2],
    /// How bytes are cut.
    pub cutting: Cutting,
    /// What TLS is made of.
    pub tls: Tls,
}

impl Cell {
    /// Over fake TLS, uncut.
    #[must_use]
    pub const fn new(sides: [Side; 2]) -> Self {
        Self { sides, cutting: Cutting::Whole, tls: Tls::Fake }
    }

    /// What can be seen of it: errors on the wire cannot be read where TLS is real.
    fn visible(&self, mut expected: Expected) -> Expected {
        if self.tls == Tls::Rustls {
            expected.seen.initiating_sends.clear();
            expected.seen.receiving_sends.clear();
        }
        expected
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {} ({:?}, {:?})", self.sides[0], self.sides[1], self.tls, self.cutting)
    }
}

/// A cell where the oracle and the nodes disagree.
#[derive(Debug)]
pub struct Disagreement {
    /// The cell; the first of its sides is the initiator.
    pub cell: Cell,
    /// Whether it was the second contact of the world: the first went the other way.
    pub second: bool,
    /// What should have been seen, and why.
    pub expected: Expected,
    /// What was.
    pub got: Seen,
}

impl Disagreement {
    /// What kind of disagreement it is: the same for all kinds of bad certificates.
    #[must_use]
    pub fn shape(&self) -> String {
        let shape = format!("{} / {}", self.expected.seen, self.got);
        let words = shape.split_inclusive([' ', ':', ';']);
        words.map(|word| if word.starts_with("cert-") { "cert-* " } else { word }).collect()
    }
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [initiator, receiver] =
            if self.second { [1, 0] } else { [0, 1] }.map(|index: usize| &self.cell.sides[index]);
        writeln!(f, "{initiator} -> {receiver} ({:?}, {:?})", self.cell.tls, self.cell.cutting)?;
        writeln!(f, "  expected {}", self.expected.seen)?;
        writeln!(f, "  got      {}", self.got)?;
        for clause in &self.expected.clauses {
            writeln!(f, "  because  {} [{}]", clause.says, clause.source)?;
        }
        for side in [initiator, receiver] {
            writeln!(f, "  where    {}", sides::sources(side).join(" | "))?;
        }
        Ok(())
    }
}

/// What cells share: names, certificates, trust and zones.
#[derive(Debug)]
pub struct Lab {
    names: [Domain; 2],
    identities: [BTreeMap<Certificate, Identity>; 2],
    fakes: [BTreeMap<Certificate, Arc<dyn Provider>>; 2],
    /// What each side trusts, by what it has pinned.
    trusts: [BTreeMap<(Pin, Certificate), Arc<Trust>>; 2],
    zones: BTreeMap<[bool; 2], Zone>,
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Lab {
    /// Issues every certificate.
    #[must_use]
    pub fn new() -> Self {
        let authority = Authority::root("the authority of the matrix");
        let names = NAMES.map(domain);
        let requests = NAMES.map(|name| Request { key: format!("revoked {name}"), ..Request::dns(name) });
        let list = authority.revoke(&[&requests[0], &requests[1]], (2025, 2030));
        let identities = [0, 1].map(|index| identities(&authority, &names[index], &requests[index]));
        let fakes = [0, 1].map(|index| {
            let fake = |certificate: &Certificate| -> Arc<dyn Provider> {
                let chain = identities[index].get(certificate).map(|identity| identity.chain.clone());
                Arc::new(FakeProvider::new(chain.map(|chain| (names[index].clone(), chain)).into_iter().collect()))
            };
            Certificate::ALL.iter().map(|certificate| (*certificate, fake(certificate))).collect()
        });
        let trusts = [0, 1].map(|index: usize| {
            let remote = (&names[1 - index], &identities[1 - index]);
            trusts(&authority, &list, remote.0, remote.1)
        });
        let zones = [[false, false], [false, true], [true, false], [true, true]].map(|direct| (direct, zone(direct)));
        Self { names, identities, fakes, trusts, zones: zones.into_iter().collect() }
    }

    /// Runs a cell, and gives what does not agree with the oracle.
    #[must_use]
    pub fn check(&self, cell: &Cell) -> Vec<Disagreement> {
        let [first, second] = self.run(cell);
        let [a, b] = &cell.sides;
        [(expect(a, b), first, false), (expect(b, a), second, true)]
            .into_iter()
            .map(|(expected, got, second)| (cell.visible(expected), got, second))
            .filter(|(expected, got, _)| expected.seen != *got)
            .map(|(expected, got, second)| Disagreement { cell: *cell, second, expected, got })
            .collect()
    }

    /// Runs a cell: the first side sends, then the second.
    #[must_use]
    pub fn run(&self, cell: &Cell) -> [Seen; 2] {
        let mut world = World::new(cell.cutting);
        let direct = cell.sides.map(|side| side.transport == Transport::Direct);
        world.zone = self.zones[&direct].clone();
        for index in [0, 1] {
            world.add(addr(index), self.config(index, cell));
        }
        [(0, 1), (1, 0)].map(|(from, to)| contact(&mut world, from, to, cell.tls))
    }

    fn config(&self, index: usize, cell: &Cell) -> Config {
        let (side, other) = (&cell.sides[index], &cell.sides[1 - index]);
        let tls = match cell.tls {
            Tls::Fake => self.fakes[index][&side.certificate].clone(),
            Tls::Rustls => self.rustls(index, side.certificate),
        };
        let mut config = World::config(tls, Trust::new(algorithms()));
        config.trust = self.trusts[index][&(side.pin, other.certificate)].clone();
        config.private_addresses = PrivateAddresses::Always;
        config.hosts.insert(self.names[index].clone(), options(side, NAMES[1 - index]));
        config
    }

    /// A provider of its own for each cell: what one cell did is not remembered in the next.
    fn rustls(&self, index: usize, certificate: Certificate) -> Arc<dyn Provider> {
        let identity = self.identities[index].get(&certificate);
        let hosts = identity.map(|identity| identity.host(&self.names[index])).into_iter().collect();
        let crypto = Arc::new(rustls::crypto::ring::default_provider());
        Arc::new(RustlsProvider::new(crypto, hosts, Version::Tls12).expect("legal identities"))
    }
}

fn addr(index: usize) -> IpAddr {
    IpAddr::from([192, 0, 2, if index == 0 { 1 } else { 2 }])
}

/// What such a certificate is made of. Revoked is a valid one that stands on a list.
#[must_use]
pub const fn kind(certificate: Certificate) -> Option<Kind> {
    Some(match certificate {
        Certificate::None => return None,
        Certificate::Valid | Certificate::Revoked => Kind::Valid,
        Certificate::Expired => Kind::Expired,
        Certificate::NotYetValid => Kind::NotYetValid,
        Certificate::SelfSigned => Kind::SelfSigned,
        Certificate::UnknownAuthority => Kind::UnknownAuthority,
        Certificate::WrongName => Kind::WrongName,
        Certificate::Wildcard => Kind::Wildcard,
        Certificate::WildcardTooDeep => Kind::WildcardTooDeep,
        Certificate::SrvId => Kind::SrvId,
        Certificate::XmppAddr => Kind::XmppAddr,
        Certificate::CommonName => Kind::CommonName,
        Certificate::ServerAuth => Kind::ServerAuth,
        Certificate::ClientAuth => Kind::ClientAuth,
        Certificate::NoPurpose => Kind::NoPurpose,
    })
}

fn identities(authority: &Authority, host: &Domain, revoked: &Request) -> BTreeMap<Certificate, Identity> {
    let issue = |certificate: &Certificate| {
        let identity = match kind(*certificate)? {
            Kind::Valid if *certificate == Certificate::Revoked => authority.issue(revoked),
            kind => authority.issue_kind(kind, host),
        };
        Some((*certificate, identity))
    };
    Certificate::ALL.iter().filter_map(issue).collect()
}

fn trusts(
    authority: &Authority,
    list: &[u8],
    remote: &Domain,
    identities: &BTreeMap<Certificate, Identity>,
) -> BTreeMap<(Pin, Certificate), Arc<Trust>> {
    let trust = |pin: Option<[u8; 32]>| {
        let mut trust = authority.trust();
        trust.add_revocation_list(list).expect("a list");
        if let Some(pin) = pin {
            trust.pin(remote.clone(), pin);
        }
        Arc::new(trust)
    };
    let (plain, other) = (trust(None), trust(Some([7; 32])));
    let mut trusts = BTreeMap::new();
    for certificate in Certificate::ALL {
        trusts.insert((Pin::None, *certificate), plain.clone());
        trusts.insert((Pin::Mismatch, *certificate), other.clone());
        let own = identities.get(certificate).map(|identity| trust(Some(public_key(identity))));
        trusts.insert((Pin::Match, *certificate), own.unwrap_or_else(|| other.clone()));
    }
    trusts
}

/// The name that pins give to the key of an identity.
fn public_key(identity: &Identity) -> [u8; 32] {
    let der = identity.private_key();
    let key = rcgen::KeyPair::try_from(&der).expect("a key of ours");
    fingerprint(&key.subject_public_key_info())
}

fn zone(direct: [bool; 2]) -> Zone {
    let mut world = World::new(Cutting::Whole);
    for (index, direct) in direct.into_iter().enumerate() {
        world.publish(NAMES[index], addr(index), !direct, direct);
    }
    world.zone
}

/// The configuration of `side` towards `remote`, as the operator would write it.
fn options(side: &Side, remote: &str) -> HostOptions {
    let mut options = HostOptions {
        tls_disabled: side.transport == Transport::None,
        require_encryption: side.transport == Transport::StartTlsRequired || side.policy == Policy::RequireEncryption,
        secure_auth: matches!(side.policy, Policy::SecureAuth | Policy::ListedInsecure),
        external_disabled: !side.external,
        dialback_disabled: !side.dialback,
        dialback_to_verified: side.dialback_to_verified,
        s2s_disabled: side.federation == Federation::Off,
        anonymous: side.federation == Federation::Anonymous,
        ..HostOptions::default()
    };
    let list = match (side.policy, side.federation) {
        (Policy::ListedInsecure, _) => Some(&mut options.insecure_domains),
        (Policy::ListedSecure, _) => Some(&mut options.secure_domains),
        _ => None,
    };
    list.map_or(Ok(()), |list| list.insert(remote)).expect("a domain");
    if side.federation == Federation::Denied {
        options.deny_domains.insert(remote).expect("a domain");
    }
    options
}

/// One side sends a stanza to the other, and everything that follows is looked at.
fn contact(world: &mut World, from: NodeIndex, to: NodeIndex, tls: Tls) -> Seen {
    world.tap = (tls == Tls::Fake).then(BTreeMap::new);
    let (sender, recipient) = (NAMES[from], NAMES[to]);
    world.send(from, &format!("<message from='x@{sender}' to='y@{recipient}' id='m'><body>b</body></message>"));
    world.run();
    let mut initiating = world.take_events(from);
    let mut receiving = world.take_events(to);
    if !is_settled(&initiating, &receiving) {
        world.run_for(PATIENCE);
        initiating.extend(world.take_events(from));
        receiving.extend(world.take_events(to));
    }
    let mut seen = Seen::nothing();
    seen.outcome = outcome(&initiating, &receiving);
    seen.initiating = refusals(&initiating);
    seen.receiving = refusals(&receiving);
    let tap = world.tap.take();
    seen.initiating_sends = errors(tap.as_ref(), from);
    seen.receiving_sends = errors(tap.as_ref(), to);
    // After an error the connection is dropped: whether the initiator's own error still leaves is a race.
    if seen.receiving_sends.iter().any(|error| error.starts_with("stream")) {
        seen.initiating_sends.retain(|error| !error.starts_with("stream"));
    }
    seen.sort();
    // What failed here is remembered for a moment, and the other direction is to be judged on its own.
    world.run_for(limits::BACKOFF_BASE);
    world.take_events(from);
    world.take_events(to);
    seen
}

fn is_settled(initiating: &[Event], receiving: &[Event]) -> bool {
    initiating.iter().any(|event| matches!(event, Event::Undeliverable { .. }))
        || receiving.iter().any(|event| matches!(event, Event::Stanza { .. }))
}

/// Exactly one of both must have happened, and stanzas flow only on streams that both sides call open.
fn outcome(initiating: &[Event], receiving: &[Event]) -> Outcome {
    let bounces: Vec<_> = initiating
        .iter()
        .filter_map(|event| match event {
            Event::Undeliverable { reason, .. } => Some(reason.code()),
            _ => None,
        })
        .collect();
    let arrived = receiving.iter().filter(|event| matches!(event, Event::Stanza { .. })).count();
    let up = |events: &[Event], way| -> Vec<(Method, bool)> {
        let up = events.iter().filter_map(|event| match event {
            Event::PeerUp { by, link, .. } if link.direction == way => Some((method(*by), link.tls.is_some())),
            _ => None,
        });
        up.collect()
    };
    let (ours, theirs) = (up(initiating, Direction::Outbound), up(receiving, Direction::Inbound));
    match (arrived, bounces.as_slice(), ours.as_slice(), theirs.as_slice()) {
        (1, [], [(initiating, encrypted)], [(receiving, encrypted_there)]) if encrypted == encrypted_there => {
            Outcome::Delivered { initiating: *initiating, receiving: *receiving, encrypted: *encrypted }
        }
        (0, [code], [], []) => Outcome::Bounced(code),
        _ => Outcome::Lost,
    }
}

fn method(by: s2s_core::auth::Method) -> Method {
    match by {
        s2s_core::auth::Method::External => Method::External,
        s2s_core::auth::Method::Dialback => Method::Dialback,
        s2s_core::auth::Method::Certificate => Method::Certificate,
    }
}

fn refusals(events: &[Event]) -> Vec<Refusal> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Refused { direction, reason, .. } => {
                Some(Refusal { outbound: *direction == Direction::Outbound, code: reason.code() })
            }
            _ => None,
        })
        .collect()
}

/// The errors that a node has written: stream errors, and dialback results of type error or invalid.
fn errors(tap: Option<&BTreeMap<(NodeIndex, ConnId), Vec<u8>>>, site: NodeIndex) -> Vec<String> {
    let mut errors = Vec::new();
    for bytes in tap.into_iter().flatten().filter(|((writer, _), _)| *writer == site).map(|(_, bytes)| bytes) {
        for (at, _) in find_all(bytes, b"<stream:error") {
            errors.extend(first_child(&bytes[at..]).map(|condition| format!("stream {condition}")));
        }
        for (at, tag) in find_all(bytes, b"<db:result") {
            if contains(tag, b"type='invalid'") {
                errors.push("dialback invalid".to_owned());
            } else if contains(tag, b"type='error'") {
                let rest = &bytes[at..];
                let error = find_all(rest, b"<error").first().map_or(0, |(at, _)| *at);
                errors.extend(first_child(&rest[error..]).map(|condition| format!("dialback {condition}")));
            }
        }
    }
    errors
}

/// Where tags begin so, and their text up to `>`.
fn find_all<'a>(bytes: &'a [u8], start: &[u8]) -> Vec<(usize, &'a [u8])> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| *byte == b'<').map(|at| from + at) {
        if bytes[at..].starts_with(start) {
            let tag = bytes[at..].split(|byte| *byte == b'>').next().unwrap_or_default();
            found.push((at, tag));
        }
        from = at + 1;
    }
    found
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// The name of the first element inside the one that begins here.
fn first_child(bytes: &[u8]) -> Option<&str> {
    let inner = &bytes[bytes.iter().position(|byte| *byte == b'>')? + 1..];
    let name = inner.strip_prefix(b"<")?.split(|byte| matches!(byte, b' ' | b'/' | b'>')).next()?;
    std::str::from_utf8(name).ok()
}
