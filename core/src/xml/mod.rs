//! XML as streams use it: bytes to frames, elements, and text that is safe to write.
//!
//! [`Framer`] cuts the bytes of one stream into [`Frame`]s. Nothing else in the project reads XML, so what was
//! judged is what is forwarded: a stanza leaves as the bytes that `rewrite` made of the events that were judged, and
//! with its own addresses as `address` has prepared them.
//!
//! ```text
//! bytes -> Framer -> rxml::RawParser -> Tag -> Scope -> StanzaWriter -> StanzaFrame
//!          bounds    well-formedness          namespaces TreeBuilder  -> Element
//! ```
//!
//! rxml appears only here, and its raw parser only: it sees tags and their nesting, characters and encoding.
//! Namespaces are resolved by `scope`, so that prefixes survive and nothing that the specification
//! forbids passes. What rxml does not bound is bounded by the framer.
//!
//! rxml 0.14 takes the characters from U+FDF0 to U+FFFD for no part of a name, although XML allows them there. No protocol
//! has such names; a peer that sends one is told that its XML is not well-formed.
//!
//! - Streams and stanzas: [RFC 6120 section 4.1](https://www.rfc-editor.org/rfc/rfc6120#section-4.1)
//! - Namespaces of streams: [RFC 6120 section 4.8](https://www.rfc-editor.org/rfc/rfc6120#section-4.8)
//! - Restricted XML: [RFC 6120 section 11](https://www.rfc-editor.org/rfc/rfc6120#section-11)
//! - [Namespaces in XML 1.0](https://www.w3.org/TR/xml-names/)

mod address;
mod element;
mod error;
mod framer;
mod progress;
mod rewrite;
mod scope;
mod tag;
#[cfg(test)]
mod tests;
mod tree;
mod writer;

pub use element::{Attribute, Content, Element};
pub use error::XmlError;
pub use framer::{Bounds, Frame, Framer, Root, StanzaFrame, StanzaKind};
pub use writer::{escape_attribute, escape_text};
