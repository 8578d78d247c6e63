//! A small reader for component streams. Deliberately not the core's: an error that both ends share would not show.
//!
//! It trusts the servers to send well-formed XML, keeps prefixes out of names and leaves `xmlns` among the attributes.

use std::collections::BTreeMap;

use crate::failure::{Failure, fail};

/// An element, read to its end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Element {
    /// The local name.
    pub(crate) name: String,
    /// Attributes under their qualified names.
    pub(crate) attributes: BTreeMap<String, String>,
    /// Child elements in order.
    pub(crate) children: Vec<Self>,
    /// The character data directly inside, joined.
    pub(crate) text: String,
}

impl Element {
    /// The attribute's value, empty if it is not there.
    pub(crate) fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }

    /// The first child of that name.
    pub(crate) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The body of a message.
    pub(crate) fn body(&self) -> &str {
        self.child("body").map_or("", |body| &body.text)
    }

    /// Condition and text of an error stanza, `None` for any other.
    pub(crate) fn error(&self) -> Option<String> {
        if self.attribute("type") != "error" {
            return None;
        }
        let parts = self.child("error").map_or(&[][..], |error| &error.children);
        let words = parts.iter().map(|part| if part.name == "text" { part.text.clone() } else { part.name.clone() });
        Some(words.collect::<Vec<_>>().join(": "))
    }
}

/// What the reader found.
pub(crate) enum Event {
    /// The stream header.
    Header(Element),
    /// A first-level element.
    Element(Element),
    /// The end of the stream.
    End,
}

/// Bytes to elements.
#[derive(Default)]
pub(crate) struct Reader {
    buffer: Vec<u8>,
    at: usize,
    open: Vec<Element>,
}

impl Reader {
    /// Takes what was received.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.at);
        self.at = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete event, `None` until more bytes come.
    pub(crate) fn next(&mut self) -> Result<Option<Event>, Failure> {
        while let Some(tag) = self.find(0, b"<") {
            let rest = &self.buffer[self.at + tag..];
            let (skip, end) = match rest {
                [b'<', b'?', ..] => (2, &b"?>"[..]),
                [b'<', b'!', b'[', ..] => (9, &b"]]>"[..]),
                _ => (1, &b">"[..]),
            };
            let Some(length) = (if end == b">" { tag_length(rest) } else { position(rest, end) }) else {
                return Ok(None);
            };
            let text = decode(self.slice(0, tag)?)?;
            let inside = self.slice(tag + skip.min(length), tag + length)?.to_owned();
            self.at += tag + length + end.len();
            self.add_text(&text);
            match skip {
                2 => continue,
                9 => self.add_text(&inside),
                _ => {
                    if let Some(event) = self.tag(&inside)? {
                        return Ok(Some(event));
                    }
                }
            }
        }
        Ok(None)
    }

    fn tag(&mut self, tag: &str) -> Result<Option<Event>, Failure> {
        if tag.starts_with('/') {
            return self.close();
        }
        let element = start_tag(tag.strip_suffix('/').unwrap_or(tag))?;
        self.open.push(element.clone());
        if self.open.len() == 1 {
            return Ok(Some(Event::Header(element)));
        }
        if tag.ends_with('/') { self.close() } else { Ok(None) }
    }

    fn close(&mut self) -> Result<Option<Event>, Failure> {
        let Some(element) = self.open.pop() else { return fail("an end tag without a start tag") };
        match self.open.as_mut_slice() {
            [] => Ok(Some(Event::End)),
            [_stream] => Ok(Some(Event::Element(element))),
            [.., parent] => {
                parent.children.push(element);
                Ok(None)
            }
        }
    }

    fn add_text(&mut self, text: &str) {
        if self.open.len() > 1
            && let Some(element) = self.open.last_mut()
        {
            element.text.push_str(text);
        }
    }

    fn find(&self, from: usize, what: &[u8]) -> Option<usize> {
        position(&self.buffer[self.at + from..], what)
    }

    fn slice(&self, from: usize, to: usize) -> Result<&str, Failure> {
        Ok(std::str::from_utf8(&self.buffer[self.at + from..self.at + to])?)
    }
}

/// Text for between tags and inside of attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            c => out.push(c),
        }
    }
    out
}

fn position(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Where the tag's `>` stands, outside of quotes.
fn tag_length(tag: &[u8]) -> Option<usize> {
    let mut quote = None;
    tag.iter().position(|&byte| {
        match quote {
            Some(open) if byte == open => quote = None,
            None if byte == b'"' || byte == b'\'' => quote = Some(byte),
            None => return byte == b'>',
            Some(_) => {}
        }
        false
    })
}

fn start_tag(tag: &str) -> Result<Element, Failure> {
    let (name, mut rest) = tag.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((tag, ""));
    let local = name.rsplit(':').next().unwrap_or(name);
    let mut element = Element { name: local.to_owned(), ..Element::default() };
    while let Some((name, after)) = rest.split_once('=') {
        let after = after.trim_start();
        let Some(quote) = after.chars().next() else { return fail(format!("attribute without value in <{tag}>")) };
        let Some((value, after)) = after[1..].split_once(quote) else { return fail(format!("open quote in <{tag}>")) };
        element.attributes.insert(name.trim().to_owned(), decode(value)?);
        rest = after;
    }
    Ok(element)
}

fn decode(text: &str) -> Result<String, Failure> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        let Some((entity, after)) = after.split_once(';') else { return fail("an entity without end") };
        out.push_str(before);
        out.push(match entity {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            _ => character(entity)?,
        });
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn character(entity: &str) -> Result<char, Failure> {
    let code = match entity.strip_prefix("#x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => entity.strip_prefix('#').and_then(|decimal| decimal.parse().ok()),
    };
    code.and_then(char::from_u32).map_or_else(|| fail(format!("unknown entity &{entity};")), Ok)
}
