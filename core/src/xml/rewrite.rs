//! Events to the bytes of a stanza that can stand in any stream of its content namespace.
//!
//! The stream header that the stanza came under is not the one that it leaves under, so whatever a name needs is
//! declared inside. The content namespace itself is *neutral*: the stanza and what is reached from it through
//! content-namespace elements only (the chain) have neither prefix nor declaration, and mean the content namespace
//! of the stream that they stand in. Below another element nothing is neutral any more.
//!
//! - Scope of namespaces: [RFC 6120 section 4.8](https://www.rfc-editor.org/rfc/rfc6120#section-4.8)
//! - Language: [RFC 6120 section 4.7.4](https://www.rfc-editor.org/rfc/rfc6120#section-4.7.4)

use std::sync::Arc;

use crate::limits;
use crate::xml::address;
use crate::xml::scope::Scope;
use crate::xml::tag::Tag;
use crate::xml::writer::{write_attribute, write_name, write_text};
use crate::xml::{StanzaFrame, StanzaKind, XmlError};

/// Writes one stanza while it is read.
#[derive(Debug)]
pub(super) struct StanzaWriter {
    frame: StanzaFrame,
    open: Vec<Open>,
    /// Whether the last start tag still lacks its `>`, because the element may turn out to be empty.
    tag_is_open: bool,
}

/// An element whose end tag has not come.
#[derive(Debug)]
struct Open {
    /// Where its name was written.
    name: (usize, usize),
    in_chain: bool,
    default: DefaultNamespace,
}

/// The default namespace of what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
enum DefaultNamespace {
    /// The content namespace of whatever stream the stanza stands in.
    Neutral,
    Declared(Option<Arc<str>>),
}

impl StanzaWriter {
    /// Begins the stanza of this start tag, and prepares its addresses. The bytes are added by [`Self::open`].
    pub(super) fn new(kind: StanzaKind, tag: &mut Tag) -> Self {
        address::prepare(tag);
        let attribute = |name| tag.attribute(name).map(str::to_owned);
        let frame = StanzaFrame {
            kind,
            to: attribute("to"),
            from: attribute("from"),
            id: attribute("id"),
            stanza_type: attribute("type"),
            bytes: Vec::new(),
        };
        Self { frame, open: Vec::new(), tag_is_open: false }
    }

    /// Writes a start tag. Returns how many bytes of declarations had to be added, or fails if these are more than
    /// a tag may have: what we write must be what we would read.
    //= RFC6120-4.8.5-6
    //= RFC6120-4.8.5-10
    //= RFC6120-8.4-1
    //= RFC6120-8.4-2
    //= RFC6120-4.8.3-3
    //= RFC6120-11.1-1
    pub(super) fn open(
        &mut self,
        tag: &Tag,
        namespace: Option<&Arc<str>>,
        content: &str,
        scope: &mut Scope,
    ) -> Result<usize, XmlError> {
        self.finish_tag();
        let (parent_in_chain, inherited) = self
            .open
            .last()
            .map_or((true, DefaultNamespace::Neutral), |parent| (parent.in_chain, parent.default.clone()));
        //= RFC6120-4.8.3-4
        //= RFC6120-4.8.3-5
        let in_chain = parent_in_chain && namespace.is_some_and(|namespace| &**namespace == content);
        let prefix = tag.prefix.as_deref().filter(|_| !in_chain).map(|prefix| &**prefix);
        let out = &mut self.frame.bytes;
        out.push(b'<');
        let start = out.len();
        write_name(prefix, &tag.name, out);
        let name = (start, out.len());

        let mut added = 0_usize;
        let default = if in_chain {
            DefaultNamespace::Neutral
        } else if let Some(declared) = &tag.default {
            write_attribute(None, "xmlns", declared, out);
            DefaultNamespace::Declared(if declared.is_empty() { None } else { scope.default() })
        } else if prefix.is_none() && inherited != DefaultNamespace::Declared(namespace.cloned()) {
            let before = out.len();
            write_attribute(None, "xmlns", namespace.map_or("", |namespace| namespace), out);
            added = added.saturating_add(out.len().saturating_sub(before));
            DefaultNamespace::Declared(namespace.cloned())
        } else {
            inherited
        };
        for (prefix, namespace) in &tag.declarations {
            write_attribute(Some("xmlns"), prefix, namespace, out);
        }
        added = added.saturating_add(self.declare_missing(prefix.zip(namespace), tag, scope)?);
        for attribute in &tag.attributes {
            let prefix = attribute.prefix.as_deref().map(|prefix| &**prefix);
            write_attribute(prefix, &attribute.name, &attribute.value, &mut self.frame.bytes);
        }
        self.open.push(Open { name, in_chain, default });
        self.tag_is_open = true;
        Ok(added)
    }

    /// Declares the prefixes that the tag uses and that only the stream header declares.
    fn declare_missing(
        &mut self,
        element: Option<(&str, &Arc<str>)>,
        tag: &Tag,
        scope: &mut Scope,
    ) -> Result<usize, XmlError> {
        let before = self.frame.bytes.len();
        let mut declarations = tag.declarations.len();
        let attributes = tag.attributes.iter().filter_map(|a| Some((&***a.prefix.as_ref()?, a.namespace.as_ref()?)));
        for (prefix, namespace) in element.into_iter().chain(attributes) {
            if !scope.is_from_header(prefix) {
                continue;
            }
            if declarations >= limits::DECLARATIONS {
                return Err(XmlError::TooManyDeclarations);
            }
            declarations = declarations.saturating_add(1);
            write_attribute(Some("xmlns"), prefix, namespace, &mut self.frame.bytes);
            scope.bind(prefix, namespace.clone());
        }
        Ok(self.frame.bytes.len().saturating_sub(before))
    }

    /// Gives the stanza the language of its stream, if it has none, that is one and there is room for it; to be called
    /// behind the start tag.
    //= RFC6120-4.7.4-4
    //= RFC6120-4.7.4-5
    //= RFC6120-8.1.5-2
    //= RFC6120-4.7.4-1
    //= RFC6120-8.1.5-1
    pub(super) fn add_lang(&mut self, tag: &Tag, lang: &str) {
        let is_language = lang.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let useful = !lang.is_empty() && is_language && lang.len() <= limits::LANGUAGE_BYTES;
        if useful && tag.lang().is_none() && tag.attributes.len() < limits::ATTRIBUTES {
            write_attribute(Some("xml"), "lang", lang, &mut self.frame.bytes);
        }
    }

    pub(super) fn text(&mut self, text: &str) {
        self.finish_tag();
        write_text(text, &mut self.frame.bytes);
    }

    /// Writes the end of the innermost element.
    pub(super) fn close(&mut self) {
        let Some(element) = self.open.pop() else { return };
        let out = &mut self.frame.bytes;
        if self.tag_is_open {
            out.extend_from_slice(b"/>");
        } else {
            out.extend_from_slice(b"</");
            // Within what was written: nothing is ever taken from `out`.
            out.extend_from_within(element.name.0..element.name.1);
            out.push(b'>');
        }
        self.tag_is_open = false;
    }

    /// Writes the end of the stanza.
    pub(super) fn finish(mut self) -> StanzaFrame {
        self.close();
        self.frame
    }

    fn finish_tag(&mut self) {
        if self.tag_is_open {
            self.frame.bytes.push(b'>');
            self.tag_is_open = false;
        }
    }

    /// Bytes held, roughly.
    pub(super) fn retained_bytes(&self) -> usize {
        self.frame.bytes.len().saturating_add(self.open.len().saturating_mul(size_of::<Open>()))
    }
}
