//! Events to an [`Element`], for what is no stanza.

use std::sync::Arc;

use crate::xml::tag::Tag;
use crate::xml::{Attribute, Content, Element};

/// The elements that are open, outermost first.
#[derive(Debug, Default)]
pub(super) struct TreeBuilder {
    open: Vec<Element>,
}

impl TreeBuilder {
    /// Opens an element. Returns how many bytes it holds beyond those that its tag took: the names of the
    /// namespaces that were declared further out.
    pub(super) fn open(&mut self, tag: Tag, namespace: Option<&Arc<str>>) -> usize {
        let further = tag.declarations.iter().map(|(_, namespace)| namespace.len()).sum::<usize>();
        let declared = tag.default.as_ref().map_or(0, String::len).saturating_add(further);
        let mut element = Element::new(namespace.map_or("", |namespace| namespace), tag.name.as_str());
        let mut copied = element.namespace.len();
        for attribute in tag.attributes {
            let namespace = attribute.namespace.as_deref().unwrap_or_default();
            copied = copied.saturating_add(namespace.len());
            element.attributes.push(Attribute {
                namespace: namespace.to_owned(),
                name: attribute.name.as_str().to_owned(),
                value: attribute.value,
            });
        }
        self.open.push(element);
        copied.saturating_sub(declared)
    }

    pub(super) fn text(&mut self, text: &str) {
        if let Some(element) = self.open.last_mut() {
            element.push_text(text);
        }
    }

    /// Closes the innermost element.
    pub(super) fn close(&mut self) {
        let Some(element) = self.open.pop() else { return };
        match self.open.last_mut() {
            Some(parent) => parent.content.push(Content::Element(element)),
            None => self.open.push(element),
        }
    }

    /// Closes the outermost element, which is the whole tree.
    pub(super) fn finish(mut self) -> Element {
        self.open.pop().unwrap_or_else(|| Element::new("", ""))
    }

    /// Bytes held, roughly.
    pub(super) fn retained_bytes(&self) -> usize {
        self.open.iter().map(Element::retained_bytes).sum()
    }
}
