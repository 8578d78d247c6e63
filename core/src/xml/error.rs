//! How XML can be wrong, and the stream error that says so.

use crate::stream::Condition;

/// The peer's bytes are not the XML of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum XmlError {
    /// stub
    NotWellFormed,
    /// stub
    TooLong,
}

impl XmlError {
    /// The condition to put on the wire.
    #[must_use]
    pub fn condition(self) -> Condition {
        unimplemented!()
    }
}
impl XmlError {
    /// stub
    pub fn is_limit(self) -> bool {
        false
    }
}
