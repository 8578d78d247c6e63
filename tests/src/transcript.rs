//! What two sides say to each other, line by line: the conversations in `spec-notes`, and tests of what is said.
//!
//! A line is one first-level element, a header, a message of TLS or an end, with the connection and the side that said
//! it: `C1:` is who opened the first connection, `S2:` who accepted the second. Inside TLS the plaintext is shown.

use std::collections::BTreeMap;
use std::fmt;

use crate::fake_tls::{self, Piece};
use crate::world::{NodeIndex, World, Written};

/// Columns of a line before it is broken at an attribute.
const COLUMNS: usize = 100;

/// Who speaks on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// Who opened it.
    Opening,
    /// Who accepted it.
    Accepting,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// Which connection, from 1, in the order in which they spoke.
    pub connection: usize,
    /// Who.
    pub side: Side,
    /// What.
    pub text: String,
}

/// A conversation over one connection or several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transcript {
    /// In the order in which they were said.
    pub lines: Vec<Line>,
}

impl Transcript {
    /// What was said in `world` since its [journal](World::journal) was begun.
    #[must_use]
    pub fn of(world: &World) -> Self {
        let mut transcript = Self::default();
        let mut connections: Vec<Connection> = Vec::new();
        for written in world.journal.iter().flatten() {
            let key = written.near.min(written.far);
            let index = connections.iter().position(|connection| connection.key == key).unwrap_or_else(|| {
                connections.push(Connection { key, opening: written.near.0, cutters: BTreeMap::new() });
                connections.len() - 1
            });
            transcript.add(index + 1, &mut connections[index], written);
        }
        transcript
    }

    fn add(&mut self, number: usize, connection: &mut Connection, written: &Written) {
        let side = if written.near.0 == connection.opening { Side::Opening } else { Side::Accepting };
        for text in connection.cutters.entry(side).or_default().cut(&written.bytes) {
            self.lines.push(Line { connection: number, side, text });
        }
    }

    /// Adds what one side of the only connection says.
    pub fn say(&mut self, side: Side, xml: &str) {
        for text in Cutter::default().cut(xml.as_bytes()) {
            self.lines.push(Line { connection: 1, side, text });
        }
    }

    /// The lines from the first one that has `first` in it to the last one.
    #[must_use]
    pub fn since(&self, first: &str) -> Self {
        let lines = self.lines.iter().skip_while(|line| !line.text.contains(first));
        Self { lines: lines.cloned().collect() }
    }

    /// The lines that have `part` in them.
    #[must_use]
    pub fn only(&self, part: &str) -> Self {
        let lines = self.lines.iter().filter(|line| line.text.contains(part));
        Self { lines: lines.cloned().collect() }
    }

    /// What was said on one connection.
    pub fn on(&self, connection: usize) -> impl Iterator<Item = (Side, &str)> {
        let lines = self.lines.iter().filter(move |line| line.connection == connection);
        lines.map(|line| (line.side, line.text.as_str()))
    }
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let several = self.lines.iter().any(|line| line.connection > 1);
        for line in &self.lines {
            let side = if line.side == Side::Opening { 'C' } else { 'S' };
            let label = if several { format!("{side}{}: ", line.connection) } else { format!("{side}: ") };
            writeln!(f, "{}", broken(&label, &line.text))?;
        }
        Ok(())
    }
}

/// A connection, and what is left of each side's words.
struct Connection {
    key: (NodeIndex, s2s_core::machine::ConnId),
    opening: NodeIndex,
    cutters: BTreeMap<Side, Cutter>,
}

/// Cuts one side's bytes into lines.
#[derive(Debug, Default)]
struct Cutter {
    wire: Vec<u8>,
    xml: String,
}

impl Cutter {
    fn cut(&mut self, bytes: &[u8]) -> Vec<String> {
        self.wire.extend_from_slice(bytes);
        let mut lines = Vec::new();
        for piece in fake_tls::pieces(&mut self.wire) {
            match piece {
                Piece::Xml(xml) => {
                    self.xml.push_str(&String::from_utf8_lossy(&xml));
                    while let Some(length) = first_unit(&self.xml) {
                        let rest = self.xml.split_off(length);
                        lines.push(std::mem::replace(&mut self.xml, rest));
                    }
                }
                Piece::Tls(text) => lines.push(format!("({text})")),
            }
        }
        lines
    }
}

/// The length of the first complete header, element, end tag or white space of `xml`.
fn first_unit(xml: &str) -> Option<usize> {
    if !xml.starts_with('<') {
        return if xml.is_empty() { None } else { Some(xml.find('<').unwrap_or(xml.len())) };
    }
    let (mut at, mut depth) = (0, 0_usize);
    loop {
        let tag = &xml[at..];
        let open = tag.find('<')?;
        let end = open + tag[open..].find('>')? + 1;
        let tag = &tag[open..end];
        at += end;
        match tag {
            _ if tag.starts_with("<?") => continue,
            _ if tag.starts_with("<stream:stream") && depth == 0 => return Some(at),
            _ if tag.starts_with("</") => depth = depth.saturating_sub(1),
            _ if tag.ends_with("/>") => {}
            _ => depth += 1,
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

/// `text` behind `label`, broken before attributes and elements.
fn broken(label: &str, text: &str) -> String {
    let indent = " ".repeat(label.len());
    let mut out = label.to_owned();
    let mut column = label.len();
    for word in words(text) {
        let word = if column + word.len() > COLUMNS && column > label.len() {
            out.push('\n');
            out.push_str(&indent);
            column = indent.len();
            word.trim_start()
        } else {
            word
        };
        out.push_str(word);
        column += word.len();
    }
    out
}

/// An element on several lines, one for each tag that opens, behind a label of eight columns.
#[must_use]
pub fn break_tags(element: &str) -> String {
    let mut text = String::new();
    for tag in element.split_inclusive('>') {
        if !text.is_empty() && !tag.starts_with("</") && !text.ends_with('\n') && tag.starts_with('<') {
            text.push_str("\n        ");
        }
        text.push_str(tag);
    }
    text + "\n"
}

/// Cut where a line break says nothing: before an attribute, and between two tags.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut begin = 0;
    let mut quoted = false;
    for (at, character) in text.char_indices() {
        let may_break = match character {
            ' ' => !quoted,
            '<' => text[..at].ends_with('>'),
            _ => false,
        };
        quoted ^= character == '\'';
        if may_break && at > begin {
            words.push(&text[begin..at]);
            begin = at;
        }
    }
    words.push(&text[begin..]);
    words
}
