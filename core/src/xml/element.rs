//! A small element tree, for what is negotiated and for what we answer ourselves; never for stanzas in transit.

use crate::ns;
use crate::xml::writer::{write_attribute, write_name, write_text};

/// An element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// Its namespace; empty for none.
    pub namespace: String,
    /// Its local name.
    pub name: String,
    /// Its attributes, in the order of the document.
    pub attributes: Vec<Attribute>,
    /// What is inside, in the order of the document; no two texts are neighbours.
    pub content: Vec<Content>,
}

/// An attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Its namespace; empty for none, which is the rule.
    pub namespace: String,
    /// Its local name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// What an element holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A child element.
    Element(Element),
    /// Text, unescaped.
    Text(String),
}

impl Element {
    /// An empty element. An empty `namespace` is none.
    ///
    /// `name` must be a name of XML without colon: it is written as it is.
    #[must_use]
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into(), attributes: Vec::new(), content: Vec::new() }
    }

    /// The element with an attribute without namespace behind the others, or in the place of that of the same name.
    #[must_use]
    pub fn with_attribute(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.with_attribute_in("", name, value)
    }

    /// The element with an attribute in a namespace, for example `xml:lang` in [`ns::XML`].
    #[must_use]
    pub fn with_attribute_in(
        mut self,
        namespace: impl Into<String>,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> Self {
        let new = Attribute { namespace: namespace.into(), name: name.into(), value: value.into() };
        let same = |old: &&mut Attribute| old.namespace == new.namespace && old.name == new.name;
        match self.attributes.iter_mut().find(same) {
            Some(old) => *old = new,
            None => self.attributes.push(new),
        }
        self
    }

    /// The element with a child behind what it holds.
    #[must_use]
    pub fn with_child(mut self, child: Self) -> Self {
        self.content.push(Content::Element(child));
        self
    }

    /// The element with text behind what it holds.
    #[must_use]
    pub fn with_text(mut self, text: &str) -> Self {
        self.push_text(text);
        self
    }

    /// Whether the element has this namespace and local name.
    #[must_use]
    pub fn is(&self, namespace: &str, name: &str) -> bool {
        self.namespace == namespace && self.name == name
    }

    /// The value of an attribute without namespace.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|a| a.namespace.is_empty() && a.name == name).map(|a| a.value.as_str())
    }

    /// The child elements.
    pub fn children(&self) -> impl Iterator<Item = &Self> {
        self.content.iter().filter_map(|content| match content {
            Content::Element(element) => Some(element),
            Content::Text(_) => None,
        })
    }

    /// The first child element of this namespace and local name.
    #[must_use]
    pub fn child(&self, namespace: &str, name: &str) -> Option<&Self> {
        self.children().find(|child| child.is(namespace, name))
    }

    /// The text directly inside, joined.
    #[must_use]
    pub fn text(&self) -> String {
        self.content
            .iter()
            .filter_map(|content| match content {
                Content::Text(text) => Some(text.as_str()),
                Content::Element(_) => None,
            })
            .collect()
    }

    /// Appends the element, for a stream whose default namespace is `content` and whose header binds the prefix
    /// `stream` to the namespace of streams.
    ///
    /// Elements of that namespace get that prefix, those of dialback get `db`, which is declared anew each time and
    /// which some servers demand; all others are without prefix.
    //= RFC6120-4.8.5-4
    //= RFC6120-11.3-1
    //= RFC6120-11.3-3
    pub fn write(&self, content: &str, out: &mut Vec<u8>) {
        self.write_within(content, out);
    }

    /// The tree is as deep as we built it or as the framer allowed, so that this may recurse.
    fn write_within(&self, default: &str, out: &mut Vec<u8>) {
        let prefix = match self.namespace.as_str() {
            ns::STREAMS => Some("stream"),
            ns::DIALBACK => Some("db"),
            _ => None,
        };
        out.push(b'<');
        write_name(prefix, &self.name, out);
        let default = match prefix {
            None if self.namespace != default => {
                write_attribute(None, "xmlns", &self.namespace, out);
                &self.namespace
            }
            Some("db") => {
                write_attribute(Some("xmlns"), "db", ns::DIALBACK, out);
                default
            }
            _ => default,
        };
        self.write_attributes(out);
        if self.content.is_empty() {
            out.extend_from_slice(b"/>");
            return;
        }
        out.push(b'>');
        for content in &self.content {
            match content {
                Content::Element(child) => child.write_within(default, out),
                Content::Text(text) => write_text(text, out),
            }
        }
        out.extend_from_slice(b"</");
        write_name(prefix, &self.name, out);
        out.push(b'>');
    }

    /// A namespace gets a prefix at the first attribute that needs it.
    fn write_attributes(&self, out: &mut Vec<u8>) {
        for (index, attribute) in self.attributes.iter().enumerate() {
            let Attribute { namespace, name, value } = attribute;
            match namespace.as_str() {
                "" => write_attribute(None, name, value, out),
                ns::XML => write_attribute(Some("xml"), name, value, out),
                _ => {
                    let first = self.attributes.iter().position(|a| a.namespace == *namespace).unwrap_or(index);
                    let prefix = format!("ns{first}");
                    if first == index {
                        write_attribute(Some("xmlns"), &prefix, namespace, out);
                    }
                    write_attribute(Some(&prefix), name, value, out);
                }
            }
        }
    }

    /// Adds text, to the last text if that is the last content. Empty text is nothing.
    pub(super) fn push_text(&mut self, text: &str) {
        match self.content.last_mut() {
            Some(Content::Text(last)) => last.push_str(text),
            _ if text.is_empty() => {}
            _ => self.content.push(Content::Text(text.to_owned())),
        }
    }

    /// Bytes held, roughly.
    pub(super) fn retained_bytes(&self) -> usize {
        let attributes = self.attributes.iter().flat_map(|a| [a.namespace.len(), a.name.len(), a.value.len()]);
        let content = self.content.iter().map(|content| match content {
            Content::Element(element) => element.retained_bytes(),
            Content::Text(text) => text.len(),
        });
        [self.namespace.len(), self.name.len()].into_iter().chain(attributes).chain(content).sum()
    }
}
