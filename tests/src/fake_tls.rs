//! TLS without cryptography, for simulation and tests: everything is readable, nothing is random, and the seams
//! are those of TLS.
//!
//! ```text
//! client                               server
//!   hello(server name, protocols) ──▶
//!                                 ◀── hello(protocol, chain)
//!   finished(chain) ──────────────▶
//!   data ◀────────────────────────▶ data
//!   alert(close_notify) ◀─────────▶ alert(close_notify)
//! ```
//!
//! A record is a type, a length of four bytes, and the content. A field is a length of four bytes and the
//! content. What a peer says about its chain is believed: a fake peer can show any certificate.

use std::collections::BTreeMap;
use std::fmt;

use s2s_core::addr::Domain;
use s2s_core::tls::{Facts, Provider, Session, TlsError, Version};

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;

const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const FINISHED: u8 = 20;

const CLOSE_NOTIFY: u8 = 0;
const UNEXPECTED_MESSAGE: u8 = 10;
const DECODE_ERROR: u8 = 50;
const UNRECOGNIZED_NAME: u8 = 112;
const NO_APPLICATION_PROTOCOL: u8 = 120;

const HEADER_BYTES: usize = 5;
const DATA_BYTES: usize = 16_384;
const HANDSHAKE_BYTES: usize = 262_144;
const ALPN: &[u8] = b"xmpp-server";

/// Makes [`FakeSession`]s.
#[derive(Clone, Debug, Default)]
pub struct FakeProvider {
    chains: BTreeMap<Domain, Vec<Vec<u8>>>,
    first: Option<Domain>,
}

impl FakeProvider {
    /// Hosts with the chains that they show (DER, their own certificate first). The first one answers on direct
    /// TLS to who asks for none.
    #[must_use]
    pub fn new(hosts: Vec<(Domain, Vec<Vec<u8>>)>) -> Self {
        let first = hosts.first().map(|(host, _)| host.clone());
        Self { chains: hosts.into_iter().collect(), first }
    }
}

impl Provider for FakeProvider {
    fn client(&self, local: &Domain, remote: &Domain, direct: bool) -> Result<Box<dyn Session>, TlsError> {
        let protocols: &[&[u8]] = if direct { &[ALPN] } else { &[] };
        let chain = self.chains.get(local).cloned().unwrap_or_default();
        Ok(Box::new(FakeSession::client(remote.as_str(), protocols, chain)))
    }

    fn server(&self, host: Option<&Domain>) -> Result<Box<dyn Session>, TlsError> {
        let choice = match host {
            Some(host) => Choice::Fixed(self.chains.get(host).cloned().ok_or(TlsError::NoCertificate)?),
            None if self.chains.is_empty() => return Err(TlsError::NoCertificate),
            None => Choice::ByName(self.clone()),
        };
        Ok(Box::new(FakeSession::new(State::ExpectClientHello(choice))))
    }

    fn chain(&self, host: &Domain) -> Vec<Vec<u8>> {
        self.chains.get(host).cloned().unwrap_or_default()
    }

    fn has_certificate(&self, host: &Domain) -> bool {
        self.chains.contains_key(host)
    }
}

/// The XML in bytes that one side wrote: what stood in clear, and the content of all records of data.
#[must_use]
pub fn plaintext(mut wire: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    while let Some(kind) = wire.first().copied() {
        if !matches!(kind, ALERT | HANDSHAKE | DATA) {
            plain.push(kind);
            wire = &wire[1..];
            continue;
        }
        let length = wire.iter().take(HEADER_BYTES).skip(1).fold(0, |length, byte| length << 8 | usize::from(*byte));
        let end = wire.len().min(HEADER_BYTES + length);
        if kind == DATA {
            plain.extend_from_slice(&wire[HEADER_BYTES.min(end)..end]);
        }
        wire = &wire[end..];
    }
    plain
}

/// A part of what one side wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// XML: in clear, or the content of a record of data.
    Xml(Vec<u8>),
    /// What a message of the handshake or an alert says.
    Tls(String),
}

/// Takes the complete pieces from the front of what one side wrote.
pub fn pieces(wire: &mut Vec<u8>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    while let Some(kind) = wire.first().copied() {
        if !matches!(kind, ALERT | HANDSHAKE | DATA) {
            let end = wire.iter().position(|byte| matches!(*byte, ALERT | HANDSHAKE | DATA)).unwrap_or(wire.len());
            pieces.push(Piece::Xml(wire.drain(..end).collect()));
            continue;
        }
        let length = wire.iter().take(HEADER_BYTES).skip(1).fold(0, |length, byte| length << 8 | usize::from(*byte));
        if wire.len() < HEADER_BYTES + length {
            break;
        }
        let record: Vec<u8> = wire.drain(..HEADER_BYTES + length).collect();
        let content = &record[HEADER_BYTES..];
        pieces.push(match kind {
            DATA => Piece::Xml(content.to_vec()),
            ALERT => Piece::Tls(if content == [1, CLOSE_NOTIFY] { "TLS close_notify" } else { "TLS alert" }.to_owned()),
            _ => Piece::Tls(describe(content).unwrap_or_else(|_| "TLS".to_owned())),
        });
    }
    pieces
}

/// What a message of the handshake says.
fn describe(message: &[u8]) -> Result<String, Alert> {
    let (kind, content) = message.split_first().ok_or(Alert(DECODE_ERROR, "an empty message"))?;
    let mut fields = Fields(content);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(match *kind {
        CLIENT_HELLO => {
            let name = text(fields.bytes()?);
            let protocols: Vec<_> = fields.list()?.iter().map(|protocol| text(protocol)).collect();
            let alpn = if protocols.is_empty() { String::new() } else { format!(", ALPN {}", protocols.join(" ")) };
            format!("TLS ClientHello: server name {name}{alpn}")
        }
        SERVER_HELLO => {
            let protocol = text(fields.bytes()?);
            let alpn = if protocol.is_empty() { String::new() } else { format!("ALPN {protocol}, ") };
            format!("TLS ServerHello: {alpn}{}", certificates(&fields.list()?))
        }
        _ => format!("TLS Finished: {}", certificates(&fields.list()?)),
    })
}

fn certificates(chain: &[Vec<u8>]) -> &'static str {
    if chain.is_empty() { "no certificate" } else { "certificate" }
}

/// A session of a [`FakeProvider`].
pub struct FakeSession {
    state: State,
    /// A part of a record.
    input: Vec<u8>,
    /// What wants to be sent by itself.
    output: Vec<u8>,
    /// Plaintext that waits for the handshake.
    held: Vec<u8>,
    facts: Option<Facts>,
    sent_close: bool,
    closed_by_peer: bool,
}

enum State {
    ExpectServerHello { protocols: Vec<Vec<u8>>, chain: Vec<Vec<u8>> },
    ExpectClientHello(Choice),
    ExpectFinished { alpn: Option<Vec<u8>>, server_name: Option<String> },
    Open,
    Failed(TlsError),
}

/// How a server comes to its certificate.
enum Choice {
    Fixed(Vec<Vec<u8>>),
    ByName(FakeProvider),
}

/// The chain that a server shows and the protocol that it speaks.
struct Chosen {
    chain: Vec<Vec<u8>>,
    alpn: Option<Vec<u8>>,
}

/// What is wrong, as an alert says it.
struct Alert(u8, &'static str);

impl FakeSession {
    /// A client that asks for `server_name` and offers `protocols`, and shows `chain`.
    #[must_use]
    pub fn client(server_name: &str, protocols: &[&[u8]], chain: Vec<Vec<u8>>) -> Self {
        let protocols: Vec<Vec<u8>> = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let mut hello = vec![CLIENT_HELLO];
        field(&mut hello, server_name.as_bytes());
        list(&mut hello, &protocols);
        let mut session = Self::new(State::ExpectServerHello { protocols, chain });
        record(&mut session.output, HANDSHAKE, &hello);
        session
    }

    const fn new(state: State) -> Self {
        Self {
            state,
            input: Vec::new(),
            output: Vec::new(),
            held: Vec::new(),
            facts: None,
            sent_close: false,
            closed_by_peer: false,
        }
    }

    /// Handles all complete records.
    fn advance(&mut self, plain: &mut Vec<u8>, wire: &mut Vec<u8>) -> Result<(), Alert> {
        let input = std::mem::take(&mut self.input);
        let mut rest = input.as_slice();
        while !self.closed_by_peer {
            let Some(kind) = rest.first().copied() else { break };
            let limit = match kind {
                ALERT => 2,
                HANDSHAKE => HANDSHAKE_BYTES,
                DATA => DATA_BYTES,
                _ => return Err(Alert(UNEXPECTED_MESSAGE, "this is no record")),
            };
            let Some(header) = rest.get(1..HEADER_BYTES) else { break };
            let length = header.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            if length > limit {
                return Err(Alert(DECODE_ERROR, "the record is too long"));
            }
            let Some((record, behind)) = rest.split_at_checked(HEADER_BYTES + length) else { break };
            self.handle(kind, &record[HEADER_BYTES..], plain, wire)?;
            rest = behind;
        }
        if !self.closed_by_peer {
            self.input = rest.to_vec();
        }
        Ok(())
    }

    fn handle(&mut self, kind: u8, content: &[u8], plain: &mut Vec<u8>, wire: &mut Vec<u8>) -> Result<(), Alert> {
        match (kind, &self.state) {
            (DATA, State::Open) => plain.extend_from_slice(content),
            (ALERT, State::Open) if content == [1, CLOSE_NOTIFY] => self.closed_by_peer = true,
            (ALERT, _) => return Err(Alert(CLOSE_NOTIFY, "the peer sent an alert")),
            (HANDSHAKE, _) => {
                let (message, content) = content.split_first().ok_or(Alert(DECODE_ERROR, "an empty message"))?;
                self.handshake(*message, Fields(content), wire)?;
            }
            _ => return Err(Alert(UNEXPECTED_MESSAGE, "data before the handshake")),
        }
        Ok(())
    }

    fn handshake(&mut self, message: u8, mut fields: Fields<'_>, wire: &mut Vec<u8>) -> Result<(), Alert> {
        match (message, &self.state) {
            (CLIENT_HELLO, State::ExpectClientHello(choice)) => {
                let server_name = fields.text()?;
                let protocols = fields.list()?;
                let server_name = (!server_name.is_empty()).then_some(server_name);
                let Chosen { chain, alpn } = choice.choose(server_name.as_deref(), &protocols)?;
                let mut hello = vec![SERVER_HELLO];
                field(&mut hello, alpn.as_deref().unwrap_or_default());
                list(&mut hello, &chain);
                record(wire, HANDSHAKE, &hello);
                self.state = State::ExpectFinished { alpn, server_name };
            }
            (SERVER_HELLO, State::ExpectServerHello { protocols, chain }) => {
                let alpn = Some(fields.bytes()?.to_vec()).filter(|alpn| !alpn.is_empty());
                if alpn.as_ref().is_some_and(|alpn| !protocols.contains(alpn)) {
                    return Err(Alert(NO_APPLICATION_PROTOCOL, "a protocol that was not offered"));
                }
                let mut finished = vec![FINISHED];
                list(&mut finished, chain);
                record(wire, HANDSHAKE, &finished);
                self.open(alpn, None, fields.list()?, wire);
            }
            (FINISHED, State::ExpectFinished { alpn, server_name }) => {
                let (alpn, server_name) = (alpn.clone(), server_name.clone());
                self.open(alpn, server_name, fields.list()?, wire);
            }
            _ => return Err(Alert(UNEXPECTED_MESSAGE, "a message out of order")),
        }
        fields.end()
    }

    fn open(&mut self, alpn: Option<Vec<u8>>, server_name: Option<String>, chain: Vec<Vec<u8>>, wire: &mut Vec<u8>) {
        self.state = State::Open;
        self.facts = Some(Facts { version: Version::Tls13, cipher: "FAKE", alpn, server_name, chain, resumed: false });
        let held = std::mem::take(&mut self.held);
        if !self.sent_close {
            data(wire, &held);
        }
    }
}

impl Session for FakeSession {
    fn receive(&mut self, bytes: &[u8], plain: &mut Vec<u8>, wire: &mut Vec<u8>) -> Result<(), TlsError> {
        if let State::Failed(error) = &self.state {
            return Err(error.clone());
        }
        self.flush(wire);
        self.input.extend_from_slice(bytes);
        let mut output = Vec::new();
        let result = self.advance(plain, &mut output);
        if !self.sent_close {
            wire.append(&mut output);
        }
        result.map_err(|Alert(code, text)| {
            if code != CLOSE_NOTIFY && !self.sent_close {
                record(wire, ALERT, &[2, code]);
            }
            let error = TlsError::Failed(text.to_owned());
            self.state = State::Failed(error.clone());
            error
        })
    }

    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) {
        self.flush(wire);
        match &self.state {
            State::Failed(_) => {}
            _ if self.sent_close => {}
            State::Open => data(wire, plain),
            _ => self.held.extend_from_slice(plain),
        }
    }

    fn flush(&mut self, wire: &mut Vec<u8>) {
        wire.append(&mut self.output);
    }

    fn close(&mut self, wire: &mut Vec<u8>) {
        self.flush(wire);
        if !self.sent_close && !matches!(self.state, State::Failed(_)) {
            record(wire, ALERT, &[1, CLOSE_NOTIFY]);
            self.sent_close = true;
        }
    }

    fn facts(&self) -> Option<&Facts> {
        self.facts.as_ref()
    }

    fn is_closed_by_peer(&self) -> bool {
        self.closed_by_peer
    }
}

impl fmt::Debug for FakeSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeSession").field("facts", &self.facts).finish_non_exhaustive()
    }
}

impl Choice {
    fn choose(&self, name: Option<&str>, protocols: &[Vec<u8>]) -> Result<Chosen, Alert> {
        let provider = match self {
            Self::Fixed(chain) => return Ok(Chosen { chain: chain.clone(), alpn: None }),
            Self::ByName(provider) => provider,
        };
        let host = match name {
            Some(name) => Domain::parse(name).ok(),
            None => provider.first.clone(),
        };
        let chain = host.and_then(|host| provider.chains.get(&host));
        let chain = chain.ok_or(Alert(UNRECOGNIZED_NAME, "a host that is not ours"))?.clone();
        if protocols.is_empty() {
            return Ok(Chosen { chain, alpn: None });
        }
        let alpn = protocols.iter().find(|protocol| *protocol == ALPN).cloned();
        let alpn = alpn.ok_or(Alert(NO_APPLICATION_PROTOCOL, "no protocol in common"))?;
        Ok(Chosen { chain, alpn: Some(alpn) })
    }
}

fn record(wire: &mut Vec<u8>, kind: u8, content: &[u8]) {
    wire.push(kind);
    field(wire, content);
}

fn data(wire: &mut Vec<u8>, plain: &[u8]) {
    for chunk in plain.chunks(DATA_BYTES) {
        record(wire, DATA, chunk);
    }
}

fn field(out: &mut Vec<u8>, content: &[u8]) {
    out.extend((content.len() as u32).to_be_bytes());
    out.extend_from_slice(content);
}

fn list(out: &mut Vec<u8>, items: &[Vec<u8>]) {
    let mut content = Vec::new();
    for item in items {
        field(&mut content, item);
    }
    field(out, &content);
}

/// The fields of a message.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self) -> Result<&'a [u8], Alert> {
        const SHORT: Alert = Alert(DECODE_ERROR, "the message is too short");
        let (length, rest) = self.0.split_first_chunk::<4>().ok_or(SHORT)?;
        let (content, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize).ok_or(SHORT)?;
        self.0 = rest;
        Ok(content)
    }

    fn text(&mut self) -> Result<String, Alert> {
        let bytes = self.bytes()?.to_vec();
        String::from_utf8(bytes).map_err(|_| Alert(DECODE_ERROR, "this is no text"))
    }

    fn list(&mut self) -> Result<Vec<Vec<u8>>, Alert> {
        let mut items = Fields(self.bytes()?);
        let mut list = Vec::new();
        while !items.0.is_empty() {
            list.push(items.bytes()?.to_vec());
        }
        Ok(list)
    }

    fn end(&self) -> Result<(), Alert> {
        if self.0.is_empty() { Ok(()) } else { Err(Alert(DECODE_ERROR, "the message is too long")) }
    }
}
