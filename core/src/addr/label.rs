//! Which characters a U-label may hold.
//!
//! UTS 46 maps names and knows the forms that every version of IDNA refuses. What IDNA2008 refuses beyond them is
//! everything that is no letter, digit or mark: symbols, emoji, punctuation. The rules are those of
//! [RFC 5892](https://www.rfc-editor.org/rfc/rfc5892) for labels that UTS 46 has mapped, so that what is not in normal form
//! has gone; the categories and scripts of characters come from the tables of ICU.

use icu_properties::CodePointMapData;
use icu_properties::props::{GeneralCategory, Script};

/// Whether `label`, which is not ASCII, is a U-label: IDNA2008 allows each of its characters where it stands.
//= RFC5891-5.4-1
//= RFC7622-3.2.1-1
pub(super) fn is_allowed(label: &str) -> bool {
    let mut before = None;
    let mut rest = label.chars();
    if rest.clone().skip(2).take(2).eq("--".chars()) {
        return false;
    }
    while let Some(character) = rest.next() {
        if !may_stand(character, before, rest.clone().next(), label) {
            return false;
        }
        before = Some(character);
    }
    true
}

/// RFC 5892: section 2.6 (exceptions), 2.9 (old Hangul), 2.4 (blocks that hold no letters), appendix A (what depends on its
/// surroundings), section 3 (all else).
fn may_stand(character: char, before: Option<char>, after: Option<char>, label: &str) -> bool {
    let is_in = |neighbour: Option<char>, script| neighbour.is_some_and(|neighbour| script_of(neighbour) == script);
    match character {
        'a'..='z' | '0'..='9' | '-' => true,
        '\u{6fd}' | '\u{6fe}' | '\u{f0b}' | '\u{3007}' => true,
        '\u{640}' | '\u{7fa}' | '\u{302e}' | '\u{302f}' | '\u{3031}'..='\u{3035}' | '\u{303b}' => false,
        '\u{1100}'..='\u{11ff}' | '\u{a960}'..='\u{a97f}' | '\u{d7b0}'..='\u{d7ff}' => false,
        '\u{20d0}'..='\u{20ff}' | '\u{1d100}'..='\u{1d24f}' => false,
        '\u{b7}' => before == Some('l') && after == Some('l'),
        '\u{375}' => is_in(after, Script::Greek),
        '\u{5f3}' | '\u{5f4}' => is_in(before, Script::Hebrew),
        '\u{30fb}' => label.chars().map(script_of).any(is_japanese),
        '\u{660}'..='\u{669}' => !label.contains(|other| matches!(other, '\u{6f0}'..='\u{6f9}')),
        '\u{6f0}'..='\u{6f9}' => !label.contains(|other| matches!(other, '\u{660}'..='\u{669}')),
        _ => is_letter_or_digit(character),
    }
}

fn script_of(character: char) -> Script {
    CodePointMapData::<Script>::new().get(character)
}

const fn is_japanese(script: Script) -> bool {
    matches!(script, Script::Hiragana | Script::Katakana | Script::Han)
}

/// RFC 5892 section 2.1. Capital letters have been mapped, but for those of Cherokee, which small ones are mapped to.
fn is_letter_or_digit(character: char) -> bool {
    matches!(
        CodePointMapData::<GeneralCategory>::new().get(character),
        GeneralCategory::LowercaseLetter
            | GeneralCategory::UppercaseLetter
            | GeneralCategory::ModifierLetter
            | GeneralCategory::OtherLetter
            | GeneralCategory::NonspacingMark
            | GeneralCategory::SpacingMark
            | GeneralCategory::DecimalNumber
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    //= RFC5891-5.4-1 test
    //= RFC7622-3.2.1-1 test
    fn letters_digits_and_marks_are_allowed_and_nothing_else_is() {
        for label in
            ["bücher", "пример", "例え", "उदाहरण", "مثال", "ทดสอบ", "한국", "ᏣᎳᎩ", "a-1", "\u{3007}一", "\u{f0b}ཀ"]
        {
            assert!(is_allowed(label), "{label}");
        }
        for label in [
            "é1--a",
            "¡a",
            "a©",
            "£",
            "a÷b",
            "×",
            "〃",
            "〒",
            "a•b",
            "♥",
            "\u{1f600}",
            "a\u{20d7}",
            "\u{1d165}a",
            "a_b",
            "ـب",
            "\u{1100}\u{1161}",
        ] {
            assert!(!is_allowed(label), "{label}");
        }
    }

    #[test]
    //= RFC5891-5.4-1 test
    fn what_depends_on_its_surroundings_is_allowed_in_them_only() {
        for (label, allowed) in [
            ("col·legi", true),
            ("a·b", false),
            ("l·", false),
            ("\u{375}α", true),
            ("a\u{375}b", false),
            ("א\u{5f3}", true),
            ("\u{5f4}א", false),
            ("a\u{5f4}b", false),
            ("ア\u{30fb}イ", true),
            ("日\u{30fb}本", true),
            ("a\u{30fb}b", false),
            ("\u{661}\u{662}", true),
            ("\u{6f1}\u{6f2}", true),
            ("\u{661}\u{6f2}", false),
        ] {
            assert_eq!(is_allowed(label), allowed, "{label}");
        }
    }
}
