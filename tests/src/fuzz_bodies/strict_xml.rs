//! An independent reader of streams, strict and slow: quick-xml finds the markup, and everything that it lets pass is
//! checked here, by rules of its own. It has no limits and needs the whole document.
//!
//! - [XML 1.0](https://www.w3.org/TR/xml/), [Namespaces in XML 1.0](https://www.w3.org/TR/xml-names/)
//! - [RFC 6120 section 11](https://www.rfc-editor.org/rfc/rfc6120#section-11)

use std::collections::BTreeMap;

use quick_xml::Reader;
use quick_xml::events::Event;

const XML: &str = "http://www.w3.org/XML/1998/namespace";
const XMLNS: &str = "http://www.w3.org/2000/xmlns/";

/// A name with its namespace, empty for none.
pub(super) type Name = (String, String);

/// An element in no particular notation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) name: Name,
    /// Whether it was written with a prefix.
    pub(super) prefixed: bool,
    pub(super) attributes: BTreeMap<Name, String>,
    /// Texts are never neighbours, and never empty.
    pub(super) content: Vec<Item>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Text(String),
    Node(Node),
}

/// What a document holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// The root's start tag.
    Root(Node),
    Element(Node),
    End,
}

/// How a document goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All was read, and nothing is begun.
    Fine,
    /// It ends within something, of which nobody can say what it will be.
    Begun,
    /// A rule is broken.
    Wrong(&'static str),
}

/// A rule is broken.
struct Broken(&'static str);

/// Reads a document up to its end tag or the first rule that is broken.
pub(super) fn read(document: &[u8]) -> (Vec<Unit>, Verdict) {
    let (text, broken) = match std::str::from_utf8(document) {
        Ok(text) => (text, false),
        Err(error) => {
            (std::str::from_utf8(&document[..error.valid_up_to()]).unwrap_or_default(), error.error_len().is_some())
        }
    };
    let mut reading = Reading::default();
    let trimmed = text.trim_start_matches([' ', '\t', '\r', '\n']);
    // quick-xml drops a byte order mark, which in a stream is text (decision D-14).
    if trimmed.starts_with('\u{feff}') {
        return (Vec::new(), Verdict::Wrong("text between elements"));
    }
    let verdict = match reading.read(trimmed, trimmed.len() == text.len()) {
        Ok(Verdict::Fine | Verdict::Begun) if broken && !reading.ended => Verdict::Wrong("not UTF-8"),
        Ok(Verdict::Fine) if text.len() < document.len() && !reading.ended => Verdict::Begun,
        Ok(verdict) => verdict,
        Err(Broken(rule)) => Verdict::Wrong(rule),
    };
    (reading.units, verdict)
}

#[derive(Default)]
struct Reading {
    units: Vec<Unit>,
    /// The bindings of all open elements, the root's first; the default namespace has no prefix.
    scopes: Vec<BTreeMap<String, String>>,
    /// The open elements below the root, and their names as they were written.
    open: Vec<(Node, String)>,
    root: Option<String>,
    ended: bool,
}

impl Reading {
    /// `first`: there is nothing before `text`, so that it may begin with a declaration.
    fn read(&mut self, text: &str, mut first: bool) -> Result<Verdict, Broken> {
        let mut reader = Reader::from_str(text);
        reader.config_mut().check_end_names = false;
        while !self.ended {
            let at = usize::try_from(reader.buffer_position()).expect("small");
            // It knows of no other mistakes by itself than markup that does not end.
            let Ok(event) = reader.read_event() else { return Ok(Verdict::Begun) };
            let raw = &text[at..usize::try_from(reader.buffer_position()).expect("small")];
            match event {
                Event::Eof => return Ok(if self.open.is_empty() { Verdict::Fine } else { Verdict::Begun }),
                Event::Decl(_) if first => declaration(raw)?,
                Event::Start(_) => self.start(raw.get(1..raw.len() - 1).unwrap_or_default(), false)?,
                Event::Empty(_) => self.start(raw.get(1..raw.len() - 2).unwrap_or_default(), true)?,
                Event::End(_) => self.end(raw)?,
                Event::Text(_) | Event::GeneralRef(_) => self.text(raw)?,
                Event::CData(_) => self.cdata(raw)?,
                Event::Decl(_) | Event::Comment(_) | Event::PI(_) | Event::DocType(_) => {
                    return Err(Broken("restricted"));
                }
            }
            first = false;
        }
        Ok(Verdict::Fine)
    }

    /// `tag` is what stands between `<` and `>` or `/>`.
    fn start(&mut self, tag: &str, empty: bool) -> Result<(), Broken> {
        let (name, attributes) = tokens(tag)?;
        let mut scope = BTreeMap::new();
        for (name, value) in &attributes {
            let prefix = match (name.as_str(), name.strip_prefix("xmlns:")) {
                ("xmlns", _) => "",
                (_, Some(prefix)) => prefix,
                _ => continue,
            };
            check_declaration(prefix, value)?;
            if scope.insert(prefix.to_owned(), value.clone()).is_some() {
                return Err(Broken("declared twice"));
            }
        }
        self.scopes.push(scope);
        let (prefix, _) = split(&name)?;
        let mut node = Node { name: self.resolve(&name, true)?, prefixed: prefix.is_some(), ..Node::default() };
        for (name, value) in attributes {
            if name != "xmlns" && !name.starts_with("xmlns:") {
                let name = self.resolve(&name, false)?;
                if node.attributes.insert(name, value).is_some() {
                    return Err(Broken("an attribute twice"));
                }
            }
        }
        if self.root.is_none() {
            self.units.push(Unit::Root(node));
            self.root = Some(name);
            if empty {
                self.units.push(Unit::End);
                self.ended = true;
            }
            return Ok(());
        }
        if empty {
            self.close(node);
        } else {
            self.open.push((node, name));
        }
        Ok(())
    }

    fn end(&mut self, raw: &str) -> Result<(), Broken> {
        let name = raw[2..raw.len() - 1].trim_end_matches([' ', '\t', '\r', '\n']);
        match self.open.pop() {
            Some((node, written)) if written == name => self.close(node),
            None if self.root.as_deref() == Some(name) => {
                self.units.push(Unit::End);
                self.ended = true;
            }
            _ => return Err(Broken("another element is open")),
        }
        Ok(())
    }

    fn close(&mut self, node: Node) {
        self.scopes.pop();
        match self.open.last_mut() {
            Some((parent, _)) => parent.content.push(Item::Node(node)),
            None => self.units.push(Unit::Element(node)),
        }
    }

    fn text(&mut self, raw: &str) -> Result<(), Broken> {
        if raw.contains("]]>") {
            return Err(Broken("]]> in text"));
        }
        let text = unescape(&normalised(raw))?;
        self.push(raw, &text)
    }

    fn cdata(&mut self, raw: &str) -> Result<(), Broken> {
        // White space may stand there, but no section, whatever it holds.
        if self.root.is_none() {
            return Err(Broken("a section outside of the root"));
        }
        let text = normalised(&raw["<![CDATA[".len()..raw.len() - "]]>".len()]);
        check_characters(&text)?;
        self.push(if text.is_empty() { "" } else { raw }, &text)
    }

    fn push(&mut self, raw: &str, text: &str) -> Result<(), Broken> {
        let Some((parent, _)) = self.open.last_mut() else {
            // Nothing is between the elements if the section is empty.
            let space = raw.chars().all(|c| matches!(c, ' ' | '\t' | '\r' | '\n'));
            return if space { Ok(()) } else { Err(Broken("text between elements")) };
        };
        match parent.content.last_mut() {
            _ if text.is_empty() => {}
            Some(Item::Text(last)) => last.push_str(text),
            _ => parent.content.push(Item::Text(text.to_owned())),
        }
        Ok(())
    }

    fn resolve(&self, name: &str, element: bool) -> Result<Name, Broken> {
        let (prefix, local) = split(name)?;
        let bound = |prefix: &str| self.scopes.iter().rev().find_map(|scope| scope.get(prefix));
        let namespace = match prefix {
            Some("xml") => XML.to_owned(),
            Some("xmlns") => return Err(Broken("xmlns as a prefix")),
            Some(prefix) => bound(prefix).ok_or(Broken("an undeclared prefix"))?.clone(),
            None if element => bound("").cloned().unwrap_or_default(),
            None => String::new(),
        };
        Ok((namespace, local.to_owned()))
    }
}

fn declaration(raw: &str) -> Result<(), Broken> {
    let inside = raw.strip_prefix("<?xml").and_then(|raw| raw.strip_suffix("?>")).ok_or(Broken("no declaration"))?;
    let (_, attributes) = tokens(&format!("xml{inside}"))?;
    let parts: Vec<_> = attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    match parts.as_slice() {
        [("version", "1.0")] => Ok(()),
        [("version", "1.0"), ("encoding", encoding)] if encoding.eq_ignore_ascii_case("utf-8") => Ok(()),
        [("version", "1.0"), ("encoding", encoding), ("standalone", "yes")]
            if encoding.eq_ignore_ascii_case("utf-8") =>
        {
            Ok(())
        }
        _ => Err(Broken("another declaration")),
    }
}

/// The name of a tag and its attributes, with their values as they count.
fn tokens(tag: &str) -> Result<(String, Vec<Name>), Broken> {
    const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];
    let end = tag.find(SPACE).unwrap_or(tag.len());
    let (name, mut rest) = tag.split_at(end);
    split(name)?;
    let mut attributes = Vec::new();
    loop {
        let trimmed = rest.trim_start_matches(SPACE);
        if trimmed.is_empty() {
            return Ok((name.to_owned(), attributes));
        }
        if trimmed.len() == rest.len() {
            return Err(Broken("no space before an attribute"));
        }
        let (attribute, value) = trimmed.split_once('=').ok_or(Broken("an attribute without value"))?;
        let attribute = attribute.trim_end_matches(SPACE);
        split(attribute)?;
        let value = value.trim_start_matches(SPACE);
        let quote = value.chars().next().filter(|c| matches!(c, '\'' | '"')).ok_or(Broken("no quote"))?;
        let (value, tail) = value[1..].split_once(quote).ok_or(Broken("no quote"))?;
        if value.contains('<') {
            return Err(Broken("< in an attribute"));
        }
        // White space counts as spaces, that of references as what it is.
        let spaced: String = normalised(value).chars().map(|c| if SPACE.contains(&c) { ' ' } else { c }).collect();
        attributes.push((attribute.to_owned(), unescape(&spaced)?));
        rest = tail;
    }
}

fn check_declaration(prefix: &str, namespace: &str) -> Result<(), Broken> {
    match (prefix, namespace) {
        ("xml", XML) => Ok(()),
        ("xml" | "xmlns", _) | (_, XML | XMLNS) => Err(Broken("a reserved name is bound")),
        ("", _) => Ok(()),
        (_, "") => Err(Broken("a prefix is bound to nothing")),
        _ if !is_name(prefix) => Err(Broken("no prefix")),
        _ => Ok(()),
    }
}

/// Prefix and local name.
fn split(name: &str) -> Result<(Option<&str>, &str), Broken> {
    match name.split_once(':') {
        None if is_name(name) => Ok((None, name)),
        Some((prefix, local)) if is_name(prefix) && is_name(local) => Ok((Some(prefix), local)),
        _ => Err(Broken("no name")),
    }
}

/// Whether this is a name without colon, section 2.3, but for the characters from U+FDF0 to U+FFFD, which rxml takes for no
/// part of a name.
fn is_name(name: &str) -> bool {
    let start = |c: char| {
        matches!(c, 'A'..='Z' | '_' | 'a'..='z' | '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{2ff}'
            | '\u{370}'..='\u{37d}' | '\u{37f}'..='\u{1fff}' | '\u{200c}'..='\u{200d}' | '\u{2070}'..='\u{218f}'
            | '\u{2c00}'..='\u{2fef}' | '\u{3001}'..='\u{d7ff}' | '\u{f900}'..='\u{fdcf}'
            | '\u{10000}'..='\u{effff}')
    };
    let other = |c: char| {
        matches!(c, '-' | '.' | '0'..='9' | '\u{b7}' | '\u{300}'..='\u{36f}' | '\u{203f}'..='\u{2040}') || start(c)
    };
    name.starts_with(start) && name.chars().all(other)
}

/// Line ends, section 2.11.
fn normalised(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

fn check_characters(text: &str) -> Result<(), Broken> {
    if text.chars().all(is_character) { Ok(()) } else { Err(Broken("no character")) }
}

/// Section 2.2.
const fn is_character(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

fn unescape(text: &str) -> Result<String, Broken> {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('&') {
        check_characters(before)?;
        plain.push_str(before);
        let (reference, tail) = behind.split_once(';').ok_or(Broken("a reference does not end"))?;
        plain.push(referred(reference)?);
        rest = tail;
    }
    check_characters(rest)?;
    plain.push_str(rest);
    Ok(plain)
}

fn referred(reference: &str) -> Result<char, Broken> {
    let number = match reference {
        "lt" => return Ok('<'),
        "gt" => return Ok('>'),
        "amp" => return Ok('&'),
        "apos" => return Ok('\''),
        "quot" => return Ok('"'),
        _ => match (reference.strip_prefix("#x"), reference.strip_prefix('#')) {
            (Some(digits), _) if digits.bytes().all(|digit| digit.is_ascii_hexdigit()) => {
                u32::from_str_radix(digits, 16)
            }
            (None, Some(digits)) if digits.bytes().all(|digit| digit.is_ascii_digit()) => digits.parse(),
            _ => return Err(Broken("another reference")),
        },
    };
    let character = number.ok().and_then(char::from_u32).filter(|c| is_character(*c));
    character.ok_or(Broken("a reference to no character"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_section_stands_outside_of_the_root_not_even_an_empty_one() {
        for before in ["<![CDATA[]]>", "<?xml version='1.0'?><![CDATA[]]>", " <![CDATA[ ]]>"] {
            let (units, verdict) = read(format!("{before}<a>").as_bytes());
            assert_eq!((units, verdict), (vec![], Verdict::Wrong("a section outside of the root")), "{before}");
        }
        let (units, verdict) = read(b"<a><![CDATA[]]><b><![CDATA[x]]></b>");
        assert_eq!((units.len(), verdict), (2, Verdict::Fine), "inside it may stand");
    }
}
