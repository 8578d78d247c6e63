//! XML as streams use it: bytes to frames, elements, and text that is safe to write.
//!
//! rxml appears only here. Its sharp edges are guarded by [`Framer`], and each guard has its test.
//!
//! - Restricted XML: [RFC 6120 section 11](https://www.rfc-editor.org/rfc/rfc6120#section-11)

mod element;
mod error;
mod framer;
mod writer;

pub use element::{Attribute, Content, Element};
pub use error::XmlError;
pub use framer::{Bounds, Frame, Framer, Root, StanzaFrame, StanzaKind};
pub use writer::{escape_attribute, escape_text};
