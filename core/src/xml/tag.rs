//! One start tag: collected attribute by attribute, then resolved as a whole.

use std::sync::Arc;

use rxml::{NcName, RawQName};

use crate::limits;
use crate::ns;
use crate::xml::XmlError;
use crate::xml::scope::Scope;

/// A start tag as it was written, bounded.
#[derive(Debug)]
pub(super) struct Tag {
    pub(super) prefix: Option<NcName>,
    pub(super) name: NcName,
    /// What `xmlns` was set to, if it was.
    pub(super) default: Option<String>,
    /// The declared prefixes with their namespaces, in the order of the document, without `xml`.
    pub(super) declarations: Vec<(NcName, Arc<str>)>,
    /// The attributes in the order of the document.
    pub(super) attributes: Vec<TagAttribute>,
}

/// An attribute that is no declaration.
#[derive(Debug)]
pub(super) struct TagAttribute {
    pub(super) prefix: Option<NcName>,
    pub(super) name: NcName,
    pub(super) value: String,
    /// The namespace of the prefix, once it is resolved.
    pub(super) namespace: Option<Arc<str>>,
}

impl Tag {
    pub(super) fn new((prefix, name): RawQName) -> Self {
        Self { prefix, name, default: None, declarations: Vec::new(), attributes: Vec::new() }
    }

    /// Adds an attribute or a declaration.
    pub(super) fn add(&mut self, (prefix, name): RawQName, value: String) -> Result<(), XmlError> {
        match prefix {
            None if name == "xmlns" => self.declare_default(value),
            Some(prefix) if prefix == "xmlns" => self.declare(name, &value),
            _ if self.attributes.len() >= limits::ATTRIBUTES => Err(XmlError::TooManyAttributes),
            prefix => {
                self.attributes.push(TagAttribute { prefix, name, value, namespace: None });
                Ok(())
            }
        }
    }

    /// rxml lets a second default declaration override the first: other parsers may choose otherwise.
    fn declare_default(&mut self, namespace: String) -> Result<(), XmlError> {
        check_bindable(&namespace)?;
        if namespace == ns::XML {
            return Err(XmlError::ReservedNamespace);
        }
        if self.default.replace(namespace).is_some() {
            return Err(XmlError::DuplicateAttribute);
        }
        Ok(())
    }

    fn declare(&mut self, prefix: NcName, namespace: &str) -> Result<(), XmlError> {
        check_bindable(namespace)?;
        if namespace.is_empty() {
            return Err(XmlError::EmptyNamespace);
        }
        if prefix == "xmlns" || (prefix == "xml") != (namespace == ns::XML) {
            return Err(XmlError::ReservedNamespace);
        }
        if self.declarations.len() >= limits::DECLARATIONS {
            return Err(XmlError::TooManyDeclarations);
        }
        // At most 64 are compared.
        if self.declarations.iter().any(|(earlier, _)| *earlier == prefix) {
            return Err(XmlError::DuplicateAttribute);
        }
        self.declarations.push((prefix, namespace.into()));
        Ok(())
    }

    /// Opens a level of `scope`, binds in it what the tag declares, resolves the names of the attributes and gives
    /// the namespace of the element.
    //= RFC6120-11.3-4
    //= RFC6120-8.4-3
    pub(super) fn resolve(&mut self, scope: &mut Scope) -> Result<Option<Arc<str>>, XmlError> {
        scope.open();
        if let Some(namespace) = &self.default {
            scope.bind_default(namespace);
        }
        // The prefix `xml` is bound by definition, so that a declaration of it says nothing.
        self.declarations.retain(|(prefix, _)| prefix != "xml");
        for (prefix, namespace) in &self.declarations {
            scope.bind(prefix, namespace.clone());
        }
        for attribute in &mut self.attributes {
            if let Some(prefix) = &attribute.prefix {
                attribute.namespace = Some(scope.prefix(prefix)?);
            }
        }
        self.check_unique()?;
        match &self.prefix {
            Some(prefix) => scope.prefix(prefix).map(Some),
            None => Ok(scope.default()),
        }
    }

    /// Sorted, so that the work is not quadratic in the number of attributes.
    fn check_unique(&self) -> Result<(), XmlError> {
        if self.attributes.len() < 2 {
            return Ok(());
        }
        let mut names: Vec<(Option<&str>, &str)> =
            self.attributes.iter().map(|attribute| (attribute.namespace.as_deref(), &**attribute.name)).collect();
        names.sort_unstable();
        let mut pairs = names.iter().zip(names.iter().skip(1));
        if pairs.any(|(one, next)| one == next) { Err(XmlError::DuplicateAttribute) } else { Ok(()) }
    }

    /// The value of an attribute without namespace. Attributes of that name in a namespace do not count.
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|a| a.prefix.is_none() && a.name == name).map(|a| a.value.as_str())
    }

    /// The value of `xml:lang`.
    pub(super) fn lang(&self) -> Option<&str> {
        self.attributes
            .iter()
            .find(|a| a.name == "lang" && a.namespace.as_deref() == Some(ns::XML))
            .map(|a| a.value.as_str())
    }

    /// Bytes held, roughly.
    pub(super) fn retained_bytes(&self) -> usize {
        let declarations = self.declarations.iter().flat_map(|(prefix, namespace)| [prefix.len(), namespace.len()]);
        let attributes = self.attributes.iter().flat_map(|attribute| [attribute.name.len(), attribute.value.len()]);
        let names = [self.name.len(), self.default.as_ref().map_or(0, String::len)];
        names.into_iter().chain(declarations).chain(attributes).sum()
    }
}

/// rxml lets everything be bound to the namespace of declarations, and its writer then makes declarations of
/// the attributes in it.
fn check_bindable(namespace: &str) -> Result<(), XmlError> {
    if namespace == ns::XMLNS { Err(XmlError::ReservedNamespace) } else { Ok(()) }
}
