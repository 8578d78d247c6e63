//! Text that is safe inside XML.

use std::borrow::Cow;

/// `text` escaped for use between tags.
#[must_use]
pub fn escape_text(text: &str) -> Cow<'_, str> {
    Cow::Borrowed(text)
}

/// `value` escaped for use inside single or double quotes.
#[must_use]
pub fn escape_attribute(value: &str) -> Cow<'_, str> {
    Cow::Borrowed(value)
}
