//! Bytes to frames.

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StanzaKind {
    /// `iq`
    Iq,
    /// `message`
    Message,
    /// `presence`
    Presence,
}

/// A stanza as it was read: attributes not yet judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StanzaFrame {
    /// Which of the three.
    pub kind: StanzaKind,
    /// `to`, as it was written.
    pub to: Option<String>,
    /// `from`, as it was written.
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
    /// Bytes of one stream header or first-level element, from `<` to `>`, and of text between them.
    pub element_bytes: usize,
    /// Elements open at once below the root.
    pub depth: usize,
    /// Child elements (at any depth) of one first-level element.
    pub children: usize,
}

/// Cuts the bytes of one stream into frames.
#[derive(Debug)]
pub struct Framer {}

impl Framer {
    /// A framer for a new stream whose content namespace is `content` (`jabber:server` or `jabber:component:accept`).
    #[must_use]
    pub fn new(_content: &'static str, _bounds: Bounds) -> Self {
        unimplemented!()
    }

    /// Changes the bounds, for elements that begin from now on.
    pub fn set_bounds(&mut self, _bounds: Bounds) {
        unimplemented!()
    }

    /// Forgets the stream: the next byte begins a new document. The bounds stay.
    pub fn restart(&mut self) {
        unimplemented!()
    }

    /// The next frame at the front of `bytes`, which is moved behind what was used. `None`: all was used and more
    /// is needed. After a frame, `bytes` begins exactly behind its last `>`.
    pub fn next(&mut self, _bytes: &mut &[u8]) -> Result<Option<Frame>, XmlError> {
        unimplemented!()
    }
}
