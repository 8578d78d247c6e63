//! An XML reader that shares nothing with the one under test: what we write must be what it reads.

use std::collections::BTreeMap;

/// An element with resolved names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tree {
    pub(super) namespace: String,
    pub(super) name: String,
    /// By name as it was written; those with a prefix have their namespace before it in braces.
    pub(super) attributes: BTreeMap<String, String>,
    pub(super) children: Vec<Self>,
    pub(super) text: String,
}

/// What stands at the first level of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Header(Tree),
    Element(Tree),
    Closing,
}

pub(super) const STREAMS: &str = "http://etherx.jabber.org/streams";

impl Tree {
    /// Whether all that `pattern` names is here.
    pub(super) fn matches(&self, pattern: &Self) -> bool {
        let mut children = self.children.iter();
        self.namespace == pattern.namespace
            && self.name == pattern.name
            && pattern.attributes.iter().all(|(name, value)| self.attributes.get(name) == Some(value))
            && pattern.children.iter().all(|wanted| children.any(|child| child.matches(wanted)))
            && (pattern.text.trim().is_empty() || pattern.text.trim() == self.text.trim())
    }

    /// Reads one element, with the prefixes that patterns may use.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let mut reader = Reader::new(text);
        reader.scopes.push(
            [
                ("", "jabber:server"),
                ("db", "jabber:server:dialback"),
                ("stream", STREAMS),
                ("tls", "urn:ietf:params:xml:ns:xmpp-tls"),
                ("sasl", "urn:ietf:params:xml:ns:xmpp-sasl"),
                ("se", "urn:ietf:params:xml:ns:xmpp-stanzas"),
            ]
            .map(|(prefix, namespace)| (prefix.to_owned(), namespace.to_owned()))
            .into(),
        );
        let tree = reader.element()?;
        if reader.rest.is_empty() { Ok(tree) } else { Err(format!("something follows: {}", reader.rest)) }
    }
}

/// Reads streams one after the other, as restarts make them. Gives what could not be read, too.
pub(super) fn read_streams(text: &str, in_stream: bool) -> (Vec<Item>, Result<(), String>, &str) {
    let mut items = Vec::new();
    let mut reader = Reader::new(text);
    if in_stream {
        reader.scopes.push(Reader::stream_scope());
    }
    loop {
        if reader.rest.is_empty() {
            return (items, Ok(()), "");
        }
        let before = reader.rest;
        match reader.item() {
            Ok(item) => items.push(item),
            Err(error) => return (items, Err(error), before),
        }
    }
}

/// The elements that stand at the beginning of `text`, as they are written, and what follows them.
pub(super) fn split_elements(text: &str) -> (Vec<&str>, &str) {
    let mut elements = Vec::new();
    let mut reader = Reader::new(text);
    reader.scopes.push(Reader::stream_scope());
    loop {
        let before = reader.rest;
        if reader.element().is_err() {
            return (elements, before);
        }
        elements.push(&before[..before.len() - reader.rest.len()]);
        reader.scopes.truncate(1);
    }
}

struct Reader<'a> {
    rest: &'a str,
    scopes: Vec<BTreeMap<String, String>>,
}

/// A start tag: the element, and whether it is empty.
struct Start(Tree, String, bool);

impl<'a> Reader<'a> {
    const fn new(rest: &'a str) -> Self {
        Self { rest, scopes: Vec::new() }
    }

    fn stream_scope() -> BTreeMap<String, String> {
        [("", "jabber:server"), ("db", "jabber:server:dialback"), ("stream", STREAMS)]
            .map(|(prefix, namespace)| (prefix.to_owned(), namespace.to_owned()))
            .into()
    }

    fn item(&mut self) -> Result<Item, String> {
        if let Some(rest) = self.rest.strip_prefix("<?xml version='1.0'?>") {
            self.rest = rest;
            self.scopes.clear();
            let Start(tree, _, empty) = self.start()?;
            if empty || tree.namespace != STREAMS || tree.name != "stream" {
                return Err("this is no header".to_owned());
            }
            return Ok(Item::Header(tree));
        }
        if let Some(rest) = self.rest.strip_prefix("</stream:stream>") {
            self.rest = rest;
            return if self.scopes.pop().is_some() { Ok(Item::Closing) } else { Err("nothing is open".to_owned()) };
        }
        if self.scopes.len() != 1 {
            return Err("an element outside of a stream".to_owned());
        }
        Ok(Item::Element(self.element()?))
    }

    fn element(&mut self) -> Result<Tree, String> {
        let Start(mut tree, name, empty) = self.start()?;
        if empty {
            self.scopes.pop();
            return Ok(tree);
        }
        loop {
            let (text, rest) = self.rest.split_at(self.rest.find('<').ok_or("no end tag")?);
            tree.text.push_str(&unescape(text)?);
            self.rest = rest;
            if let Some(rest) = self.rest.strip_prefix("</") {
                let rest = rest.strip_prefix(name.as_str()).and_then(|rest| rest.strip_prefix('>'));
                self.rest = rest.ok_or_else(|| format!("{name} is closed by something else"))?;
                self.scopes.pop();
                return Ok(tree);
            }
            tree.children.push(self.element()?);
        }
    }

    fn start(&mut self) -> Result<Start, String> {
        let inside = self.rest.strip_prefix('<').ok_or("no tag")?;
        let end = inside.find([' ', '>', '/']).ok_or("no end of a tag")?;
        let (name, mut rest) = inside.split_at(end);
        let mut scope = self.scopes.last().cloned().unwrap_or_default();
        let mut written: Vec<(&str, String)> = Vec::new();
        let empty = loop {
            let trimmed = rest.trim_start();
            if let Some(after) = trimmed.strip_prefix("/>") {
                self.rest = after;
                break true;
            }
            if let Some(after) = trimmed.strip_prefix('>') {
                self.rest = after;
                break false;
            }
            let (attribute, after) = trimmed.split_once('=').ok_or("no attribute")?;
            let quote = after.chars().next().filter(|quote| matches!(quote, '\'' | '"')).ok_or("no quote")?;
            let (value, after) = after[1..].split_once(quote).ok_or("no end of a value")?;
            if value.contains('<') || trimmed.len() == rest.len() {
                return Err(format!("a bad attribute: {attribute}"));
            }
            match attribute.strip_prefix("xmlns") {
                Some("") => drop(scope.insert(String::new(), unescape(value)?)),
                Some(prefix) if prefix.starts_with(':') => drop(scope.insert(prefix[1..].to_owned(), unescape(value)?)),
                _ => written.push((attribute, unescape(value)?)),
            }
            rest = after;
        };
        scope.insert("xml".to_owned(), "http://www.w3.org/XML/1998/namespace".to_owned());
        let resolve = |prefix: &str| scope.get(prefix).cloned().ok_or_else(|| format!("{prefix} is not declared"));
        let mut tree = Tree::default();
        for (attribute, value) in written {
            let key = match attribute.split_once(':') {
                Some((prefix, local)) => format!("{{{}}}{local}", resolve(prefix)?),
                None => attribute.to_owned(),
            };
            if tree.attributes.insert(key, value).is_some() {
                return Err(format!("{attribute} stands twice"));
            }
        }
        (tree.namespace, tree.name) = match name.split_once(':') {
            Some((prefix, local)) => (resolve(prefix)?, local.to_owned()),
            None => (scope.get("").cloned().unwrap_or_default(), name.to_owned()),
        };
        if tree.name.is_empty() || tree.name.contains([':', '<', '&', '\'', '"', '=']) {
            return Err(format!("{name} is no name"));
        }
        self.scopes.push(scope);
        Ok(Start(tree, name.to_owned(), empty))
    }
}

fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let (name, after) = after.split_once(';').ok_or("no end of a reference")?;
        out.push(match name {
            "lt" => '<',
            "gt" => '>',
            "amp" => '&',
            "apos" => '\'',
            "quot" => '"',
            _ => {
                let number = name.strip_prefix("#x").map(|digits| u32::from_str_radix(digits, 16));
                let number = number.or_else(|| name.strip_prefix('#').map(str::parse));
                let number = number.and_then(Result::ok).and_then(char::from_u32);
                number.ok_or_else(|| format!("no reference: {name}"))?
            }
        });
        rest = after;
    }
    out.push_str(rest);
    match out.chars().find(|c| *c < ' ' && !matches!(c, '\t' | '\n' | '\r')) {
        Some(control) => Err(format!("a control character: {control:?}")),
        None => Ok(out),
    }
}
