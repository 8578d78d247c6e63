//! Every way to be wrong that we know: the error, and what goes on the wire.
//!
//! Part of the classification rests on texts inside rxml that its author does not promise: this table notices
//! when they change.

use std::collections::BTreeMap;

use super::*;
use crate::stream::Condition;

const XML: &str = "<?xml version='1.0'?>";

/// Whole documents.
const DOCUMENTS: &[(&str, XmlError, Condition)] = &[
    // What is not XML at all.
    ("GET / HTTP/1.1\r\n", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("x", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("&amp;", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("\u{feff}<a>", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("<>", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("< a>", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("<1a>", XmlError::NotWellFormed, Condition::NotWellFormed),
    // XML allows these two, rxml does not.
    ("<a\u{fdf0}>", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("<a\u{fffd}>", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("</a>", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("<a<", XmlError::NotWellFormed, Condition::NotWellFormed),
    // The declaration.
    ("<?xml version='1.1'?><a>", XmlError::RestrictedXml, Condition::RestrictedXml),
    ("<?xml version='1.0' encoding='utf-16'?><a>", XmlError::UnsupportedEncoding, Condition::UnsupportedEncoding),
    ("<?xml version='1.0' encoding='ISO-8859-1'?><a>", XmlError::UnsupportedEncoding, Condition::UnsupportedEncoding),
    ("<?xml version='1.0' encoding='utf-8' standalone='no'?><a>", XmlError::RestrictedXml, Condition::RestrictedXml),
    ("<?xml encoding='utf-8'?><a>", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("<?xml version='1.0'><a>", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("<?xml version='1.0'?>x", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("<?xml version='1.0'?><?xml version='1.0'?>", XmlError::RestrictedXml, Condition::RestrictedXml),
    (" <?xml version='1.0'?>", XmlError::RestrictedXml, Condition::RestrictedXml),
    // Refused as a declaration that goes wrong, only here at the very front.
    ("<?xml-stylesheet href=''?>", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("<?php ?>", XmlError::RestrictedXml, Condition::RestrictedXml),
    ("<!DOCTYPE a>", XmlError::RestrictedXml, Condition::RestrictedXml),
    ("<!-- -->", XmlError::RestrictedXml, Condition::RestrictedXml),
    ("<![CDATA[x]]><a>", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("<![CDATA[]]><a>", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("<?xml version='1.0'?> <![CDATA[]]> <a>", XmlError::NotWellFormed, Condition::NotWellFormed),
    // Namespaces of the header.
    ("<p:a>", XmlError::UndeclaredPrefix, Condition::NotWellFormed),
    ("<a p:b=''>", XmlError::UndeclaredPrefix, Condition::NotWellFormed),
    ("<a xmlns:p=''>", XmlError::EmptyNamespace, Condition::NotWellFormed),
    ("<a b='' b=''>", XmlError::DuplicateAttribute, Condition::NotWellFormed),
];

/// What may stand inside an element.
const CONTENT: &[(&str, XmlError, Condition)] = &[
    // What streams forbid.
    ("<!-- -->", XmlError::RestrictedXml, Condition::RestrictedXml),
    ("<!--", XmlError::RestrictedXml, Condition::RestrictedXml),
    ("<?a?>", XmlError::RestrictedXml, Condition::RestrictedXml),
    ("<?xml version='1.0'?>", XmlError::RestrictedXml, Condition::RestrictedXml),
    ("<?xml-stylesheet href=''?>", XmlError::RestrictedXml, Condition::RestrictedXml),
    ("<!DOCTYPE a>", XmlError::RestrictedXml, Condition::RestrictedXml),
    ("<!ENTITY a 'b'>", XmlError::RestrictedXml, Condition::RestrictedXml),
    ("<a>&foo;</a>", XmlError::UndeclaredEntity, Condition::RestrictedXml),
    ("<a b='&foo;'/>", XmlError::UndeclaredEntity, Condition::RestrictedXml),
    ("<a>&#000000065;</a>", XmlError::UndeclaredEntity, Condition::RestrictedXml),
    ("<a>&muchtoolonganame;</a>", XmlError::UndeclaredEntity, Condition::RestrictedXml),
    // Nesting and tags.
    ("<a></b>", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("<a><b></a></b>", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("<p:a xmlns:p='u' xmlns:q='u'></q:a>", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("<a b/>", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("<a b=c/>", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("<a b='<'/>", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("<a b='<!-- -->'/>", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("<a b=''c=''/>", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("<a =''/>", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("<a / >", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("<a></a b=''>", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("<a></ a>", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("<a></a/>", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("<a ?>", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("<-a/>", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("<![CDATB[", XmlError::NotWellFormed, Condition::NotWellFormed),
    // Names.
    ("<a:b:c/>", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("<:a/>", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("<a:/>", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("<stream:1/>", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("<a :b=''/>", XmlError::NotWellFormed, Condition::NotWellFormed),
    // Characters.
    ("<a>\u{1}</a>", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("<a>\u{ffff}</a>", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("<a b='\u{fffe}'/>", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("<a b='\0'/>", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("<a>&#0;</a>", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("<a>&#xd800;</a>", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("<a>&#xffff;</a>", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("<a>&#x110000;</a>", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("<a>&;</a>", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("<a>&#;</a>", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("<a>&amp </a>", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("<a>]]></a>", XmlError::NotWellFormed, Condition::NotWellFormed),
    // Namespaces.
    ("<p:a/>", XmlError::UndeclaredPrefix, Condition::NotWellFormed),
    ("<a p:b=''/>", XmlError::UndeclaredPrefix, Condition::NotWellFormed),
    ("<a xmlns:p='u'/><p:b/>", XmlError::UndeclaredPrefix, Condition::NotWellFormed),
    ("<a xmlns:p=''/>", XmlError::EmptyNamespace, Condition::NotWellFormed),
    ("<a xmlns='u' xmlns='u'/>", XmlError::DuplicateAttribute, Condition::NotWellFormed),
    ("<a xmlns:p='u' xmlns:p='u'/>", XmlError::DuplicateAttribute, Condition::NotWellFormed),
    ("<a b='' c='' b=''/>", XmlError::DuplicateAttribute, Condition::NotWellFormed),
    ("<a xmlns:p='u' xmlns:q='u' p:b='' q:b=''/>", XmlError::DuplicateAttribute, Condition::NotWellFormed),
    ("<a xml:lang='' xml:lang=''/>", XmlError::DuplicateAttribute, Condition::NotWellFormed),
    ("<xmlns:a/>", XmlError::ReservedNamespace, Condition::NotWellFormed),
    ("<a xmlns:xmlns='u'/>", XmlError::ReservedNamespace, Condition::NotWellFormed),
    ("<a xmlns:xml='u'/>", XmlError::ReservedNamespace, Condition::NotWellFormed),
    ("<a xmlns='http://www.w3.org/2000/xmlns/'/>", XmlError::ReservedNamespace, Condition::NotWellFormed),
    ("<a xmlns:p='http://www.w3.org/2000/xmlns/'/>", XmlError::ReservedNamespace, Condition::NotWellFormed),
    ("<a xmlns='http://www.w3.org/XML/1998/namespace'/>", XmlError::ReservedNamespace, Condition::NotWellFormed),
    ("<a xmlns:p='http://www.w3.org/XML/1998/namespace'/>", XmlError::ReservedNamespace, Condition::NotWellFormed),
];

/// What may stand between first-level elements only, or counts there only.
const BETWEEN: &[(&str, XmlError, Condition)] = &[
    ("x", XmlError::TextBetweenElements, Condition::BadFormat),
    (" \n&lt;", XmlError::TextBetweenElements, Condition::BadFormat),
    ("\u{feff}", XmlError::TextBetweenElements, Condition::BadFormat),
    ("<![CDATA[ ]]><a/>", XmlError::TextBetweenElements, Condition::BadFormat),
    ("\0", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("</stream>", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("</s:stream>", XmlError::NotWellFormed, Condition::NotWellFormed),
    ("<stream:message/><j:iq xmlns:j='jabber:server'/>", XmlError::PrefixedStanza, Condition::BadNamespacePrefix),
];

#[test]
//= RFC6120-11.1-2 test
//= RFC6120-11.3-2 test
//= RFC6120-11.3-4 test
//= RFC6120-11.5-3 test
//= RFC6120-11.6-2 test
//= RFC6120-4.9.3.1-1 test
//= RFC6120-4.9.3.2-1 test
//= RFC6120-4.9.3.13-1 test
//= RFC6120-4.9.3.18-1 test
//= RFC6120-4.9.3.22-1 test
fn each_error_has_its_name_and_its_condition() {
    for (input, error, condition) in DOCUMENTS {
        assert_eq!(frames(input).1, Err(*error), "{input}");
        assert_eq!(error.condition(), *condition, "{input}");
    }
    for (input, error, condition) in CONTENT {
        for (before, after) in [("", ""), ("<message>", "</message>"), ("<x xmlns='urn:x'>t<y>", "</y></x>")] {
            let input = [before, input, after].concat();
            assert_eq!(content(&input).1, Err(*error), "{input}");
        }
        assert_eq!(error.condition(), *condition, "{input}");
    }
    for (input, error, condition) in BETWEEN {
        assert_eq!(content(input).1, Err(*error), "{input}");
        assert_eq!(error.condition(), *condition, "{input}");
    }
}

#[test]
//= RFC6120-11.6-2 test
//= RFC6120-4.9.3.22-1 test
//= RFC6120-11.6-1 test
fn what_is_not_utf_8_is_an_unsupported_encoding() {
    let sequences: [&[u8]; 15] = [
        b"\xc0\x80",
        b"\xc0\xbc",
        b"\xc1\x81",
        b"\xe0\x80\x80",
        b"\xe0\x80\xbc",
        b"\xed\xa0\x80",
        b"\xed\xbf\xbf",
        b"\xf0\x80\x80\xbc",
        b"\xf4\x90\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\x80",
        b"\xbf",
        b"\xe2\x82",
        b"\xfe",
        b"\xff",
    ];
    for sequence in sequences {
        for (before, after) in [
            ("<message>", "</message>"),
            ("<message a='", "'/>"),
            ("<message a='x", "x'/>"),
            ("<mess", "age/>"),
            ("<message a", "='x'/>"),
            ("<message><![CDATA[", "]]></message>"),
            ("<a>x", "&amp;</a>"),
        ] {
            let bytes = [before.as_bytes(), sequence, after.as_bytes()].concat();
            let (_, end) = content(&bytes);
            assert_eq!(end, Err(XmlError::InvalidUtf8), "{:?}", String::from_utf8_lossy(&bytes));
            let document = [HEADER.as_bytes(), &bytes].concat();
            let single = frames_of(&mut framer(), document.chunks(1)).1;
            assert_eq!(single, Err(XmlError::InvalidUtf8));
        }
    }
    for between in [&b"\x80"[..], b"\xc0\x80", b"\xff"] {
        assert_eq!(content(between).1, Err(XmlError::InvalidUtf8));
    }
    assert_eq!(XmlError::InvalidUtf8.condition(), Condition::UnsupportedEncoding);
}

#[test]
//= RFC6120-11.6-2 test
//= RFC6120-11.6-4 test
fn byte_order_marks_are_told_apart_at_the_first_byte() {
    for start in [&b"\xff"[..], b"\xfe", b"\xff\xfe<\0", b"  \xfe\xff"] {
        assert_eq!(frames(start).1, Err(XmlError::UnsupportedEncoding));
    }
    for start in [&b"\xef"[..], b"\xef\xbb\xbf<?xml version='1.0'?>", b"<\0a\0", b"\0<\0a", b"\x16\x03\x01"] {
        assert_eq!(frames(start).1, Err(XmlError::NotWellFormed));
    }
}

#[test]
fn a_declaration_may_name_utf_8_in_any_case() {
    for encoding in ["utf-8", "UTF-8", "Utf-8"] {
        let document = format!("<?xml version='1.0' encoding='{encoding}' standalone='yes' ?> {HEADER}");
        let (frames, end) = frames(document);
        assert_eq!((frames.len(), end), (1, Ok(())));
    }
    let (frames, end) = frames([XML, HEADER].concat());
    assert_eq!((frames.len(), end), (1, Ok(())));
}

/// The bounds of ours that XML can reach.
const LIMITS: [XmlError; 6] = [
    XmlError::TokenTooLong,
    XmlError::TooDeep,
    XmlError::TooLong,
    XmlError::TooManyAttributes,
    XmlError::TooManyChildren,
    XmlError::TooManyDeclarations,
];

#[test]
fn limits_are_policy_violations_and_nothing_else_is() {
    for error in LIMITS {
        assert!(error.is_limit());
        assert_eq!(error.condition(), Condition::PolicyViolation);
    }
    for (_, error, condition) in DOCUMENTS.iter().chain(CONTENT).chain(BETWEEN) {
        assert!(!error.is_limit());
        assert_ne!(*condition, Condition::PolicyViolation);
    }
}

/// A component is told them, and so is whoever gives a stanza to be parsed.
#[test]
fn each_error_says_in_words_of_its_own_what_is_wrong() {
    let of_tables = DOCUMENTS.iter().chain(CONTENT).chain(BETWEEN).map(|(_, error, _)| *error);
    let mut words = BTreeMap::new();
    for error in of_tables.chain(LIMITS).chain([XmlError::InvalidUtf8, XmlError::NestedHeader]) {
        let text = error.to_string();
        assert!(text.starts_with(|c: char| c.is_ascii_lowercase()) && !text.ends_with('.'), "{text}");
        let other = words.insert(text, error);
        assert!(other.is_none_or(|other| other == error), "{other:?} and {error:?} say the same");
    }
    for (document, text) in [
        ("<a b='' b=''>", "an attribute stands twice in one tag"),
        ("<a xmlns:p=''>", "a prefix is bound to no namespace"),
        ("<!-- -->", "comments, processing instructions and document types are not allowed"),
        ("<?xml version='1.0' encoding='utf-16'?><a>", "the encoding is not UTF-8"),
        ("<p:a>", "a prefix is not declared"),
    ] {
        assert_eq!(frames(document).1.map_err(|error| error.to_string()), Err(text.to_owned()), "{document}");
    }
}
