//! Which prefix means which namespace at this point of the document.
//!
//! rxml's own resolver walks up all open elements for each name and forgets prefixes; this one finds a prefix in
//! the logarithm of the number of prefixes in scope, whatever the depth.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ns;
use crate::xml::XmlError;

/// The bindings in scope. One level is opened per start tag and closed per end tag.
#[derive(Debug)]
pub(super) struct Scope {
    defaults: Vec<Option<Arc<str>>>,
    prefixes: BTreeMap<Box<str>, Vec<Binding>>,
    /// What the open levels have bound, in order; `None` for the default namespace.
    bound: Vec<Option<Box<str>>>,
    /// The length of `bound` at the beginning of each open level.
    levels: Vec<usize>,
    xml: Arc<str>,
}

#[derive(Debug)]
struct Binding {
    namespace: Arc<str>,
    /// Whether the binding is outside of first-level elements, that is, in the stream header.
    in_header: bool,
}

impl Scope {
    pub(super) fn new() -> Self {
        Self {
            defaults: Vec::new(),
            prefixes: BTreeMap::new(),
            bound: Vec::new(),
            levels: Vec::new(),
            xml: ns::XML.into(),
        }
    }

    pub(super) fn open(&mut self) {
        self.levels.push(self.bound.len());
    }

    pub(super) fn close(&mut self) {
        let Some(level) = self.levels.pop() else { return };
        for prefix in self.bound.drain(level..) {
            let Some(prefix) = prefix else {
                self.defaults.pop();
                continue;
            };
            if let Some(bindings) = self.prefixes.get_mut(&prefix) {
                bindings.pop();
                if bindings.is_empty() {
                    self.prefixes.remove(&prefix);
                }
            }
        }
    }

    /// Binds the default namespace in the innermost level; the empty name undoes it.
    pub(super) fn bind_default(&mut self, namespace: &str) {
        self.defaults.push((!namespace.is_empty()).then(|| namespace.into()));
        self.bound.push(None);
    }

    /// Binds a prefix in the innermost level, which is the stream header if it is the only one.
    pub(super) fn bind(&mut self, prefix: &str, namespace: Arc<str>) {
        let binding = Binding { namespace, in_header: self.levels.len() == 1 };
        self.prefixes.entry(prefix.into()).or_default().push(binding);
        self.bound.push(Some(prefix.into()));
    }

    /// The namespace of an element without prefix.
    pub(super) fn default(&self) -> Option<Arc<str>> {
        self.defaults.last().cloned().flatten()
    }

    /// The namespace of a prefix.
    pub(super) fn prefix(&self, prefix: &str) -> Result<Arc<str>, XmlError> {
        match prefix {
            "xml" => Ok(self.xml.clone()),
            // Only declarations have it, and they are no names to be resolved.
            "xmlns" => Err(XmlError::ReservedNamespace),
            _ => self.innermost(prefix).map(|binding| binding.namespace.clone()).ok_or(XmlError::UndeclaredPrefix),
        }
    }

    /// Whether only the stream header binds the prefix.
    pub(super) fn is_from_header(&self, prefix: &str) -> bool {
        self.innermost(prefix).is_some_and(|binding| binding.in_header)
    }

    /// Whether some prefix is bound to `namespace`.
    pub(super) fn has_prefix_of(&self, namespace: &str) -> bool {
        self.prefixes.values().any(|bindings| bindings.last().is_some_and(|last| &*last.namespace == namespace))
    }

    fn innermost(&self, prefix: &str) -> Option<&Binding> {
        self.prefixes.get(prefix).and_then(|bindings| bindings.last())
    }

    /// Bytes held, roughly.
    pub(super) fn retained_bytes(&self) -> usize {
        let bindings = self.prefixes.iter().flat_map(|(prefix, all)| all.iter().map(move |one| (prefix, one)));
        // The prefix stands in the order of the bindings, too.
        let bindings = bindings.flat_map(|(prefix, one)| [prefix.len(), prefix.len(), one.namespace.len()]);
        let defaults = self.defaults.iter().flatten().map(|namespace| namespace.len());
        bindings.chain(defaults).sum()
    }
}
