//! Text that is safe inside XML.

use std::borrow::Cow;

/// `text` escaped for use between tags.
///
/// Characters that XML cannot carry become U+FFFD.
#[must_use]
pub fn escape_text(text: &str) -> Cow<'_, str> {
    escape(text, Place::Text)
}

/// `value` escaped for use inside single or double quotes.
///
/// Tabs and line ends survive: unescaped, a reader makes spaces of them. Characters that XML cannot carry
/// become U+FFFD.
#[must_use]
pub fn escape_attribute(value: &str) -> Cow<'_, str> {
    escape(value, Place::Attribute)
}

/// Appends [`escape_text`] of `text`.
pub(super) fn write_text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(escape_text(text).as_bytes());
}

/// Appends an attribute or a declaration with a space before it, quoted and escaped.
pub(super) fn write_attribute(prefix: Option<&str>, name: &str, value: &str, out: &mut Vec<u8>) {
    out.push(b' ');
    write_name(prefix, name, out);
    out.extend_from_slice(b"='");
    out.extend_from_slice(escape_attribute(value).as_bytes());
    out.push(b'\'');
}

/// Appends a name.
pub(super) fn write_name(prefix: Option<&str>, name: &str, out: &mut Vec<u8>) {
    if let Some(prefix) = prefix {
        out.extend_from_slice(prefix.as_bytes());
        out.push(b':');
    }
    out.extend_from_slice(name.as_bytes());
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Attribute,
    Text,
}

impl Place {
    /// What stands for `character`, if it cannot stand for itself.
    fn replacement(self, character: char) -> Option<&'static str> {
        match (character, self) {
            ('&', _) => Some("&amp;"),
            ('<', _) => Some("&lt;"),
            ('>', _) => Some("&gt;"),
            ('\r', _) => Some("&#13;"),
            ('\'', Self::Attribute) => Some("&apos;"),
            ('"', Self::Attribute) => Some("&quot;"),
            ('\t', Self::Attribute) => Some("&#9;"),
            ('\n', Self::Attribute) => Some("&#10;"),
            ('\t' | '\n', Self::Text) => None,
            ('\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}', _) => Some("\u{fffd}"),
            _ => None,
        }
    }
}

fn escape(text: &str, place: Place) -> Cow<'_, str> {
    let mut escaped = String::new();
    let mut copied = 0;
    for (at, character) in text.char_indices() {
        let Some(replacement) = place.replacement(character) else { continue };
        escaped.push_str(text.get(copied..at).unwrap_or_default());
        escaped.push_str(replacement);
        copied = at.saturating_add(character.len_utf8());
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    escaped.push_str(text.get(copied..).unwrap_or_default());
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_needs_no_escape_is_borrowed() {
        assert!(matches!(escape_text("a 'b' \"c\"\t\n\u{85}ä\u{1f600}"), Cow::Borrowed(_)));
        assert!(matches!(escape_attribute("a b ä"), Cow::Borrowed(_)));
        assert!(matches!(escape_text(""), Cow::Borrowed("")));
    }

    #[test]
    fn markup_is_escaped() {
        assert_eq!(escape_text("]]><&>\r"), "]]&gt;&lt;&amp;&gt;&#13;");
        assert_eq!(escape_attribute("<'\"&>\t\n\r"), "&lt;&apos;&quot;&amp;&gt;&#9;&#10;&#13;");
    }

    #[test]
    fn characters_that_xml_cannot_carry_are_replaced() {
        for character in ["\0", "\u{1}", "\u{b}", "\u{1f}", "\u{fffe}", "\u{ffff}"] {
            assert_eq!(escape_text(character), "\u{fffd}");
            assert_eq!(escape_attribute(character), "\u{fffd}");
        }
        assert_eq!(escape_text("\u{7f}\u{fffd}"), "\u{7f}\u{fffd}");
    }

    proptest! {
        #[test]
        fn what_is_escaped_is_read_back(text in any::<String>()) {
            let legal = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..);
            let expected: String = text.chars().map(|c| if legal(c) { c } else { '\u{fffd}' }).collect();
            let document = format!("<a b='{}'>{}</a>", escape_attribute(&text), escape_text(&text));
            let (attribute, content) = crate::xml::tests::attribute_and_text(document.as_bytes());
            prop_assert_eq!(attribute, expected.clone());
            prop_assert_eq!(content, expected);
        }
    }
}
