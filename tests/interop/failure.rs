//! What went wrong in a cell, in words: nothing is decided on it, it is printed.

use std::fmt;

/// A cell is not green, and why.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    /// The same, with more behind it.
    pub(crate) fn and(self, more: &str) -> Self {
        Self(self.0 + more)
    }
}

/// Ends a cell with these words.
pub(crate) fn fail<T>(what: impl Into<String>) -> Result<T, Failure> {
    Err(Failure(what.into()))
}

/// Says what was being done when it failed.
pub(crate) trait While<T> {
    /// Puts `what` in front of the words.
    fn when(self, what: impl fmt::Display) -> Result<T, Failure>;
}

impl<T, E: Into<Failure>> While<T> for Result<T, E> {
    fn when(self, what: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| Failure(format!("{what}: {}", error.into().0)))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! from_errors {
    ($($error:ty),*) => { $(impl From<$error> for Failure {
        fn from(error: $error) -> Self {
            Self(error.to_string())
        }
    })* };
}
from_errors!(
    std::io::Error,
    std::str::Utf8Error,
    rcgen::Error,
    hickory_proto::ProtoError,
    std::sync::mpsc::RecvTimeoutError
);
