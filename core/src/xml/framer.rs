//! Bytes to frames.
//!
//! The law of this module is that the cuts do not count: any split of the same bytes gives the same frames and the
//! same error. rxml keeps it for its events; here it is kept by counting what rxml has consumed (the lengths on its
//! events miss some bytes) and by never offering it more than the element in progress may still have: `progress`.
//!
//! White space between first-level elements never reaches rxml, which would hold it back until the next `<`.

use std::mem;

use rxml::error::EndOrError;
use rxml::{Options, Parse, RawEvent, RawParser, WithOptions};

use crate::limits;
use crate::ns;
use crate::xml::progress::{Progress, SectionMark};
use crate::xml::rewrite::StanzaWriter;
use crate::xml::scope::Scope;
use crate::xml::tag::Tag;
use crate::xml::tree::TreeBuilder;
use crate::xml::{Element, XmlError};

/// A first-level unit of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The start tag of the document: the stream header.
    Root(Root),
    /// A first-level element that is no stanza.
    Element(Element),
    /// A stanza, never a tree.
    Stanza(StanzaFrame),
    /// The end tag of the document.
    End,
}

/// The start tag of the document, not yet judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Root {
    /// Its namespace; empty for none.
    pub namespace: String,
    /// Its prefix, if it has one.
    pub prefix: Option<String>,
    /// Its local name.
    pub name: String,
    /// The default namespace that it declares, if it does.
    pub default_namespace: Option<String>,
    /// Whether a prefix is bound to `jabber:server:dialback`, the traditional sign of support
    /// ([XEP-0220 section 2.4.1](https://xmpp.org/extensions/xep-0220.html#advertisement)).
    pub declares_dialback: bool,
    /// `to`, as it was written.
    pub to: Option<String>,
    /// `from`, as it was written.
    pub from: Option<String>,
    /// `id`, as it was written.
    pub id: Option<String>,
    /// `version`, as it was written.
    pub version: Option<String>,
    /// `xml:lang`, as it was written.
    pub lang: Option<String>,
}

/// Which of the three stanzas.
//= RFC6120-8-1
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StanzaKind {
    /// `iq`
    Iq,
    /// `message`
    Message,
    /// `presence`
    Presence,
}

impl StanzaKind {
    /// The local name of the element.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Iq => "iq",
            Self::Message => "message",
            Self::Presence => "presence",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Iq, Self::Message, Self::Presence].into_iter().find(|kind| kind.as_str() == name)
    }
}

/// A stanza as it was read: attributes not yet judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StanzaFrame {
    /// Which of the three.
    pub kind: StanzaKind,
    /// `to`, with its domain prepared if it is an address
    /// ([RFC 7622 section 3.2](https://www.rfc-editor.org/rfc/rfc7622#section-3.2)); else as it was written.
    pub to: Option<String>,
    /// `from`, prepared in the same way.
    pub from: Option<String>,
    /// `id`, as it was written.
    pub id: Option<String>,
    /// `type`, as it was written.
    pub stanza_type: Option<String>,
    /// The whole element, written anew in the neutral content namespace.
    pub bytes: Vec<u8>,
}

/// The bounds of one framer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of one first-level element, from `<` to `>`, and of everything up to the end of the stream header.
    ///
    /// As many again may be added by names of namespaces that were declared further out and have to be repeated, so
    /// that what is kept is at most twice this, and the escapes.
    pub element_bytes: usize,
    /// Elements open at once below the root.
    pub depth: usize,
    /// Child elements (at any depth) of one first-level element.
    pub children: usize,
}

/// Cuts the bytes of one stream into frames.
#[derive(Debug)]
pub struct Framer {
    content: &'static str,
    bounds: Bounds,
    parser: RawParser,
    scope: Scope,
    /// `xml:lang` of the stream header.
    lang: Option<String>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nothing has come but this much white space.
    Start {
        space: usize,
    },
    /// The XML declaration or the stream header has begun.
    Header {
        progress: Progress,
        after_space: bool,
        section: SectionMark,
    },
    /// The stream header was reported. It may be an empty element, which needs no further byte to be known.
    HeaderRead,
    /// No element has begun.
    Between,
    /// Text has begun where there may be none: its first character, as far as it has come.
    Text(Vec<u8>),
    /// A first-level element, or the end tag of the document, has begun.
    Element {
        progress: Progress,
        open: usize,
        children: usize,
        sink: Sink,
    },
    /// The end tag of the document was reported.
    Ended,
    Failed(XmlError),
}

/// Where the events of a first-level element go. Events are not kept: they are many times larger than their bytes.
#[derive(Debug)]
enum Sink {
    Undecided,
    Stanza(StanzaWriter),
    Tree(TreeBuilder),
}

impl Framer {
    /// A framer for a new stream whose content namespace is `content` (`jabber:server` or `jabber:component:accept`).
    #[must_use]
    pub fn new(content: &'static str, bounds: Bounds) -> Self {
        Self {
            content,
            bounds,
            parser: new_parser(),
            scope: Scope::new(),
            lang: None,
            state: State::Start { space: 0 },
        }
    }

    /// Changes the bounds, for elements that begin from now on.
    pub fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    /// Forgets the stream: the next byte begins a new document. The bounds stay.
    //= RFC6120-4.8.5-7
    pub fn restart(&mut self) {
        *self = Self::new(self.content, self.bounds);
    }

    /// The next frame at the front of `bytes`, which is moved behind what was used. `None`: all was used and more
    /// is needed. After a frame, `bytes` begins exactly behind its last `>`.
    ///
    /// An error is final: it is given again for every later call. So is [`Frame::End`]: what follows is not read.
    pub fn next(&mut self, bytes: &mut &[u8]) -> Result<Option<Frame>, XmlError> {
        let result = self.advance(bytes);
        if let Err(error) = result {
            self.state = State::Failed(error);
            *bytes = &[];
        }
        result
    }

    fn advance(&mut self, bytes: &mut &[u8]) -> Result<Option<Frame>, XmlError> {
        loop {
            let frame = match &mut self.state {
                State::Start { .. } => self.begin_document(bytes)?,
                State::Between => self.begin_element(bytes)?,
                State::Text(character) => {
                    if let Some(error) = judge_text(character, bytes) {
                        return Err(error);
                    }
                    return Ok(None);
                }
                State::HeaderRead => self.check_empty_document()?,
                State::Header { progress, section, .. } => {
                    let before = *bytes;
                    let event = progress.read(&mut self.parser, bytes);
                    let used = before.len().saturating_sub(bytes.len());
                    //= RFC6120-11.3-2
                    if section.is_in(before.get(..used).unwrap_or_default()) {
                        return Err(XmlError::NotWellFormed);
                    }
                    match event? {
                        Some(event) => self.handle_in_header(event)?,
                        None => return Ok(None),
                    }
                }
                State::Element { progress, .. } => match progress.read(&mut self.parser, bytes)? {
                    Some(event) => self.handle_in_element(event)?,
                    None => return Ok(None),
                },
                //= RFC6120-4.4-2
                State::Ended => {
                    *bytes = &[];
                    return Ok(None);
                }
                State::Failed(error) => return Err(*error),
            };
            if frame.is_some() {
                return Ok(frame);
            }
            if bytes.is_empty() && !self.may_have_more() {
                return Ok(None);
            }
        }
    }

    /// Whether only the header was read, which may be an empty element: then [`Framer::next`] tells of the end without a
    /// further byte.
    #[must_use]
    pub const fn may_have_ended(&self) -> bool {
        matches!(self.state, State::HeaderRead)
    }

    /// Whether there may be frames or errors that need no further byte.
    const fn may_have_more(&self) -> bool {
        matches!(self.state, State::Header { .. } | State::HeaderRead | State::Element { .. })
    }

    /// rxml takes white space before a document for an error, which it is not, and anything else for text that it
    /// collects for a long time.
    fn begin_document(&mut self, bytes: &mut &[u8]) -> Result<Option<Frame>, XmlError> {
        let State::Start { space } = &mut self.state else { return Ok(None) };
        *space = space.saturating_add(skip_space(bytes));
        if *space >= self.bounds.element_bytes {
            return Err(XmlError::TooLong);
        }
        match bytes.first() {
            None => Ok(None),
            Some(b'<') => {
                let progress = Progress::new(self.bounds, *space);
                let section = SectionMark::default();
                self.state = State::Header { progress, after_space: *space > 0, section };
                Ok(None)
            }
            // Neither begins any character of UTF-8; both begin the byte order mark of UTF-16.
            Some(0xfe | 0xff) => Err(XmlError::UnsupportedEncoding),
            // The byte order mark of UTF-8 is text like any other (decision D-14).
            //= RFC6120-11.6-4
            Some(_) => Err(XmlError::NotWellFormed),
        }
    }

    //= RFC6120-11.7-1
    fn begin_element(&mut self, bytes: &mut &[u8]) -> Result<Option<Frame>, XmlError> {
        skip_space(bytes);
        match bytes.first() {
            None => {
                // An idle stream needs no buffers.
                self.parser.release_temporaries();
                Ok(None)
            }
            Some(b'<') => {
                let progress = Progress::new(self.bounds, 0);
                self.state = State::Element { progress, open: 0, children: 0, sink: Sink::Undecided };
                Ok(None)
            }
            Some(0x00..=0x1f) => Err(XmlError::NotWellFormed),
            Some(_) => {
                self.state = State::Text(Vec::new());
                Ok(None)
            }
        }
    }

    fn check_empty_document(&mut self) -> Result<Option<Frame>, XmlError> {
        match self.parser.parse(&mut &[][..], false) {
            Err(EndOrError::NeedMoreData) => {
                self.state = State::Between;
                Ok(None)
            }
            Err(EndOrError::Error(error)) => Err(XmlError::of(error)),
            Ok(_) => {
                self.state = State::Ended;
                Ok(Some(Frame::End))
            }
        }
    }

    fn handle_in_header(&mut self, event: RawEvent) -> Result<Option<Frame>, XmlError> {
        let State::Header { progress, after_space, .. } = &mut self.state else { return Ok(None) };
        match event {
            // Behind anything else it is a processing instruction.
            //= RFC6120-11.5-1
            RawEvent::XmlDeclaration(..) if *after_space => Err(XmlError::RestrictedXml),
            RawEvent::XmlDeclaration(..) => Ok(None),
            RawEvent::ElementHeadOpen(_, name) => {
                progress.tag = Some(Tag::new(name));
                Ok(None)
            }
            RawEvent::Attribute(_, name, value) => progress.add(name, value),
            RawEvent::ElementHeadClose(_) => {
                let Some(tag) = progress.tag.take() else { return Err(XmlError::NotWellFormed) };
                let root = self.root(tag)?;
                self.state = State::HeaderRead;
                Ok(Some(Frame::Root(root)))
            }
            RawEvent::ElementFoot(_) | RawEvent::Text(..) => Err(XmlError::NotWellFormed),
        }
    }

    fn root(&mut self, mut tag: Tag) -> Result<Root, XmlError> {
        let namespace = tag.resolve(&mut self.scope)?;
        let attribute = |name| tag.attribute(name).map(str::to_owned);
        self.lang = tag.lang().map(str::to_owned);
        Ok(Root {
            namespace: namespace.as_deref().unwrap_or_default().to_owned(),
            to: attribute("to"),
            from: attribute("from"),
            id: attribute("id"),
            version: attribute("version"),
            lang: self.lang.clone(),
            declares_dialback: self.scope.has_prefix_of(ns::DIALBACK),
            prefix: tag.prefix.map(String::from),
            name: tag.name.into(),
            default_namespace: tag.default,
        })
    }

    fn handle_in_element(&mut self, event: RawEvent) -> Result<Option<Frame>, XmlError> {
        let State::Element { progress, open, children, sink } = &mut self.state else { return Ok(None) };
        match event {
            RawEvent::ElementHeadOpen(_, name) => {
                if *open >= progress.bounds.depth {
                    return Err(XmlError::TooDeep);
                }
                if *open > 0 {
                    *children = children.saturating_add(1);
                }
                if *children > progress.bounds.children {
                    return Err(XmlError::TooManyChildren);
                }
                progress.tag = Some(Tag::new(name));
                Ok(None)
            }
            RawEvent::Attribute(_, name, value) => progress.add(name, value),
            RawEvent::ElementHeadClose(_) => self.open_element(),
            //= RFC6120-4.9.3.1-1
            RawEvent::Text(..) if *open == 0 => Err(XmlError::TextBetweenElements),
            RawEvent::Text(_, text) => {
                sink.text(&text);
                Ok(None)
            }
            RawEvent::ElementFoot(_) => Ok(self.close_element()),
            RawEvent::XmlDeclaration(..) => Err(XmlError::RestrictedXml),
        }
    }

    fn open_element(&mut self) -> Result<Option<Frame>, XmlError> {
        let State::Element { progress, open, sink, .. } = &mut self.state else { return Ok(None) };
        let Some(mut tag) = progress.tag.take() else { return Err(XmlError::NotWellFormed) };
        let namespace = tag.resolve(&mut self.scope)?;
        if *open == 0 {
            //= RFC6120-4.9.3.1-1
            if namespace.as_deref() == Some(ns::STREAMS) && &*tag.name == "stream" {
                return Err(XmlError::NestedHeader);
            }
            *sink = Sink::new(&mut tag, namespace.as_deref() == Some(self.content))?;
        }
        let added = match sink {
            Sink::Undecided => 0,
            Sink::Stanza(writer) => {
                let added = writer.open(&tag, namespace.as_ref(), self.content, &mut self.scope)?;
                if let (0, Some(lang)) = (*open, &self.lang) {
                    writer.add_lang(&tag, lang);
                }
                added
            }
            Sink::Tree(tree) => tree.open(tag, namespace.as_ref()),
        };
        *open = open.saturating_add(1);
        progress.charge(added)?;
        Ok(None)
    }

    //= RFC6120-8-2
    fn close_element(&mut self) -> Option<Frame> {
        let State::Element { open, sink, .. } = &mut self.state else { return None };
        self.scope.close();
        if *open > 1 {
            *open = open.saturating_sub(1);
            sink.close();
            return None;
        }
        match mem::replace(sink, Sink::Undecided) {
            // No first-level element was open: this is the end tag of the document.
            Sink::Undecided => {
                self.state = State::Ended;
                Some(Frame::End)
            }
            Sink::Stanza(writer) => {
                self.state = State::Between;
                Some(Frame::Stanza(writer.finish()))
            }
            Sink::Tree(tree) => {
                self.state = State::Between;
                Some(Frame::Element(tree.finish()))
            }
        }
    }

    /// Bytes held for the element in progress and for the header, roughly: tests compare them with the bounds.
    #[doc(hidden)]
    #[must_use]
    pub fn retained_bytes(&self) -> usize {
        let in_progress = match &self.state {
            State::Header { progress, .. } => progress.tag.as_ref().map_or(0, Tag::retained_bytes),
            State::Element { progress, sink, .. } => {
                progress.tag.as_ref().map_or(0, Tag::retained_bytes).saturating_add(sink.retained_bytes())
            }
            _ => 0,
        };
        let lang = self.lang.as_ref().map_or(0, String::len);
        in_progress.saturating_add(self.scope.retained_bytes()).saturating_add(lang)
    }
}

impl Sink {
    //= RFC6120-4.1-2
    //= RFC6120-4.8.5-5
    fn new(tag: &mut Tag, in_content_namespace: bool) -> Result<Self, XmlError> {
        match StanzaKind::from_name(&tag.name) {
            Some(_) if in_content_namespace && tag.prefix.is_some() => Err(XmlError::PrefixedStanza),
            Some(kind) if in_content_namespace => Ok(Self::Stanza(StanzaWriter::new(kind, tag))),
            _ => Ok(Self::Tree(TreeBuilder::default())),
        }
    }

    fn text(&mut self, text: &str) {
        match self {
            Self::Undecided => {}
            Self::Stanza(writer) => writer.text(text),
            Self::Tree(tree) => tree.text(text),
        }
    }

    fn close(&mut self) {
        match self {
            Self::Undecided => {}
            Self::Stanza(writer) => writer.close(),
            Self::Tree(tree) => tree.close(),
        }
    }

    fn retained_bytes(&self) -> usize {
        match self {
            Self::Undecided => 0,
            Self::Stanza(writer) => writer.retained_bytes(),
            Self::Tree(tree) => tree.retained_bytes(),
        }
    }
}

/// What is wrong with text between elements: itself, or already its first character. `None` as long as that is not
/// complete.
//= RFC6120-11.6-2
//= RFC6120-11.6-1
fn judge_text(character: &mut Vec<u8>, bytes: &mut &[u8]) -> Option<XmlError> {
    while let Some((first, rest)) = bytes.split_first() {
        character.push(*first);
        *bytes = rest;
        match std::str::from_utf8(character) {
            Ok(_) => return Some(XmlError::TextBetweenElements),
            Err(error) if error.error_len().is_some() => return Some(XmlError::InvalidUtf8),
            Err(_) => {}
        }
    }
    None
}

fn new_parser() -> RawParser {
    RawParser::with_options(Options { max_token_length: limits::TOKEN_BYTES, ..Options::default() })
}

/// Moves `bytes` behind the white space at its front and tells how much that was.
fn skip_space(bytes: &mut &[u8]) -> usize {
    let space = bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
    *bytes = bytes.get(space..).unwrap_or_default();
    space
}
