//! A small element tree, for what is negotiated and for what we answer ourselves; never for stanzas in transit.

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
}
