//! One connection of the attacker or of the honest peer: bytes, in TLS or not, and what is heard.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use s2s_core::addr::Domain;
use s2s_core::dialback::Secret;
use s2s_core::tls::{Provider, Session};

use super::parse::attributes;
use super::target::{LineIndex, Target};

/// The first byte of a handshake record, which is in no XML.
pub(super) const HANDSHAKE: u8 = 22;

pub(super) struct Party {
    pub(super) line: LineIndex,
    session: Option<Box<dyn Session>>,
    /// What was heard and not taken yet, without TLS.
    pub(super) heard: Vec<u8>,
    pub(super) ended: bool,
    /// What is to be written in one piece, if anything is held back.
    held: Option<Vec<u8>>,
}

impl Party {
    pub(super) const fn new(line: LineIndex) -> Self {
        Self { line, session: None, heard: Vec::new(), ended: false, held: None }
    }

    pub(super) fn say(&mut self, target: &mut impl Target, bytes: &[u8]) {
        match &mut self.session {
            None => self.write(target, bytes),
            Some(session) => {
                let mut wire = Vec::new();
                session.send(bytes, &mut wire);
                self.write(target, &wire);
            }
        }
    }

    /// Writes beside TLS.
    pub(super) fn write(&mut self, target: &mut impl Target, bytes: &[u8]) {
        match &mut self.held {
            None => target.send(self.line, bytes),
            Some(held) => held.extend_from_slice(bytes),
        }
    }

    /// Holds back what is written from now on.
    pub(super) fn hold(&mut self) {
        self.held.get_or_insert_default();
    }

    /// Writes what was held back.
    pub(super) fn release(&mut self, target: &mut impl Target) {
        if let Some(held) = self.held.take().filter(|held| !held.is_empty()) {
            target.send(self.line, &held);
        }
    }

    /// Listens until `enough`, or the end, or nothing more comes.
    pub(super) fn listen(&mut self, target: &mut impl Target, enough: impl Fn(&[u8]) -> bool) {
        while !self.ended && !enough(&self.heard) {
            if !self.take(target) {
                break;
            }
        }
    }

    /// Takes what has come. False: nothing more will.
    fn take(&mut self, target: &mut impl Target) -> bool {
        let (bytes, ended) = target.receive(self.line);
        self.ended |= ended;
        let nothing = bytes.is_empty();
        self.feed(target, &bytes);
        !nothing
    }

    fn feed(&mut self, target: &mut impl Target, bytes: &[u8]) {
        match &mut self.session {
            None => self.heard.extend_from_slice(bytes),
            Some(session) => {
                let mut wire = Vec::new();
                // A failure is seen by what does not come any more.
                let _ = session.receive(bytes, &mut self.heard, &mut wire);
                if !wire.is_empty() {
                    target.send(self.line, &wire);
                }
            }
        }
    }

    /// Begins TLS, or goes on with what has come of it, until it is up. False: it does not come up.
    pub(super) fn begin_tls(&mut self, target: &mut impl Target, session: Box<dyn Session>) -> bool {
        let first = self.heard.iter().position(|byte| *byte == HANDSHAKE).unwrap_or(self.heard.len());
        let records = self.heard.split_off(first);
        let mut wire = Vec::new();
        let session = self.session.insert(session);
        session.flush(&mut wire);
        if !wire.is_empty() {
            target.send(self.line, &wire);
        }
        self.feed(target, &records);
        while !self.is_secured() {
            if self.ended || !self.take(target) {
                break;
            }
        }
        self.is_secured()
    }

    fn is_secured(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.facts().is_some())
    }

    pub(super) fn take_heard(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.heard)
    }

    pub(super) fn has_heard(&self, text: &str) -> bool {
        contains(&self.heard, text)
    }

    /// Negotiates as the initiating side, as far as one can without a proof.
    pub(super) fn secure_stream(
        &mut self,
        target: &mut impl Target,
        tls: &dyn Provider,
        peer: &str,
    ) -> Result<(), String> {
        self.open_stream(target, peer)?;
        self.start_tls(target, tls, peer)?;
        self.open_stream(target, peer)
    }

    pub(super) fn open_stream(&mut self, target: &mut impl Target, peer: &str) -> Result<(), String> {
        self.say(target, header(peer, "").unwrap_or_default().as_bytes());
        self.expect(target, "stream:features>")
    }

    pub(super) fn start_tls(&mut self, target: &mut impl Target, tls: &dyn Provider, peer: &str) -> Result<(), String> {
        self.say(target, b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
        self.expect(target, "<proceed")?;
        let session = client(tls, peer)?;
        if self.begin_tls(target, session) { Ok(()) } else { Err("TLS does not come up".to_owned()) }
    }

    pub(super) fn authenticate(&mut self, target: &mut impl Target, peer: &str) -> Result<(), String> {
        self.say(target, b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>");
        self.expect(target, "<success")?;
        self.open_stream(target, peer)
    }

    /// Listens for a header, and forgets it and what came before. What v.example says ahead of our answer stays.
    pub(super) fn expect_header(&mut self, target: &mut impl Target) -> Result<(), String> {
        self.listen(target, |heard| end_of_header(heard).is_some());
        match end_of_header(&self.heard) {
            Some(end) => {
                self.heard.drain(..end);
                Ok(())
            }
            None => Err(format!("no header in {}", String::from_utf8_lossy(&self.heard))),
        }
    }

    /// Listens for `text`, and forgets what was heard.
    pub(super) fn expect(&mut self, target: &mut impl Target, text: &str) -> Result<(), String> {
        self.listen(target, |heard| contains(heard, text));
        let heard = self.take_heard();
        match contains(&heard, text) {
            true => Ok(()),
            false => Err(format!("no {text} in {}", String::from_utf8_lossy(&heard))),
        }
    }
}

pub(super) fn client(tls: &dyn Provider, peer: &str) -> Result<Box<dyn Session>, String> {
    tls.client(&domain(peer)?, &domain("v.example")?, false).map_err(|error| error.to_string())
}

pub(super) fn server(tls: &dyn Provider, peer: &str) -> Result<Box<dyn Session>, String> {
    tls.server(Some(&domain(peer)?)).map_err(|error| error.to_string())
}

fn domain(text: &str) -> Result<Domain, String> {
    Domain::parse(text).map_err(|error| format!("{text}: {error}"))
}

fn end_of_header(heard: &[u8]) -> Option<usize> {
    let begin = heard.windows(14).position(|window| window == b"<stream:stream")?;
    let end = heard.get(begin..)?.iter().position(|byte| *byte == b'>')?;
    Some(begin + end + 1)
}

pub(super) fn contains(heard: &[u8], text: &str) -> bool {
    heard.windows(text.len()).any(|window| window == text.as_bytes())
}

/// The header of `peer` to v.example, with changes.
pub(super) fn header(peer: &str, changes: &str) -> Result<String, String> {
    let plain = [
        ("xmlns", "jabber:server"),
        ("xmlns:db", "jabber:server:dialback"),
        ("xmlns:stream", "http://etherx.jabber.org/streams"),
        ("from", peer),
        ("to", "v.example"),
        ("version", "1.0"),
        ("xml:lang", "en"),
    ];
    let mut list: Vec<_> = plain.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    for (name, value) in attributes(changes)? {
        let position = list.iter().position(|(known, _)| *known == name);
        match (value, position) {
            (Some(value), Some(position)) => list[position].1 = value,
            (Some(value), None) => list.push((name, value)),
            (None, Some(position)) => drop(list.remove(position)),
            (None, None) => return Err(format!("the header has no {name}")),
        }
    }
    let mut text = "<?xml version='1.0'?><stream:stream".to_owned();
    for (name, value) in list {
        let _ = write!(text, " {name}='{value}'");
    }
    Ok(text + ">")
}

/// The bytes of a TEXT.
pub(super) fn expand(text: &str, peer: &str, id: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '{']) {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let is_macro = rest[at..].starts_with('{');
        rest = &rest[at + 1..];
        if is_macro {
            let (inside, after) = rest.split_once('}').ok_or("no end of a macro")?;
            out.extend(expand_macro(inside, peer, id)?);
            rest = after;
        } else {
            let escaped = rest.chars().next().ok_or("an escape of nothing")?;
            rest = &rest[escaped.len_utf8()..];
            match escaped {
                'n' => out.push(b'\n'),
                'r' => out.push(b'\r'),
                't' => out.push(b'\t'),
                's' => out.push(b' '),
                '\\' | '{' => out.push(escaped as u8),
                'x' => {
                    let digits = rest.get(..2).ok_or("two digits are needed")?;
                    out.push(u8::from_str_radix(digits, 16).map_err(|_| format!("no byte: {digits}"))?);
                    rest = &rest[2..];
                }
                _ => return Err(format!("no escape: {escaped}")),
            }
        }
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(out)
}

fn expand_macro(inside: &str, peer: &str, id: &str) -> Result<Vec<u8>, String> {
    let (word, rest) = inside.split_once(' ').unwrap_or((inside, ""));
    Ok(match word {
        "H" => header(peer, rest)?.into_bytes(),
        "features" => format!("<stream:features>{rest}</stream:features>").into_bytes(),
        "id" if rest.is_empty() => id.as_bytes().to_vec(),
        "key" => {
            let (to, from) = rest.split_once(' ').ok_or("whose key, and for whom?")?;
            let secret = Secret::new(b"a secret of twenty-six bytes").map_err(|error| error.to_string())?;
            secret.key(&domain(to)?, &domain(from)?, "1").into_bytes()
        }
        "base64" => STANDARD.encode(expand(rest, peer, id)?).into_bytes(),
        _ => return Err(format!("no macro: {word}")),
    })
}
