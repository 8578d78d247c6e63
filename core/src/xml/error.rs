//! How XML can be wrong, and the stream error that says so.

use std::fmt;

use crate::stream::Condition;

/// The peer's bytes are not the XML of a stream. Always fatal to the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum XmlError {
    /// Two attributes of one tag have the same name after prefixes are resolved, or two declarations bind the
    /// same prefix.
    DuplicateAttribute,
    /// A prefix was bound to no namespace.
    EmptyNamespace,
    /// Bytes that are not UTF-8.
    InvalidUtf8,
    /// A stream header inside of the stream that a header began.
    NestedHeader,
    /// Anything else that the grammar of XML forbids.
    NotWellFormed,
    /// A stanza's name has a prefix.
    PrefixedStanza,
    /// A prefix or a namespace that XML keeps for itself was bound or used.
    ReservedNamespace,
    /// A comment, a processing instruction, a document type, or a declaration that streams may not have.
    RestrictedXml,
    /// Text that is not white space between first-level elements.
    TextBetweenElements,
    /// Too many elements are open at once.
    TooDeep,
    /// A stream header, a first-level element or the space before the header is over the limit.
    TooLong,
    /// A tag has too many attributes.
    TooManyAttributes,
    /// A first-level element holds too many elements.
    TooManyChildren,
    /// A tag has too many namespace declarations.
    TooManyDeclarations,
    /// A name or an attribute value is over the limit.
    TokenTooLong,
    /// A reference to an entity that is not one of the five of XML.
    UndeclaredEntity,
    /// A prefix is used that nothing binds.
    UndeclaredPrefix,
    /// An encoding other than UTF-8 was declared or marked.
    UnsupportedEncoding,
}

impl XmlError {
    /// The condition to put on the wire, [RFC 6120 section 4.9.3](https://www.rfc-editor.org/rfc/rfc6120#section-4.9.3).
    //= RFC6120-4.9.3.1-1
    //= RFC6120-4.9.3.13-1
    //= RFC6120-4.9.3.14-1
    //= RFC6120-4.9.3.18-1
    //= RFC6120-4.9.3.22-1
    //= RFC6120-4.9.3.2-1
    //= RFC6120-11.3-2
    //= RFC6120-13.12-6
    #[must_use]
    pub const fn condition(self) -> Condition {
        match self {
            Self::DuplicateAttribute
            | Self::EmptyNamespace
            | Self::NotWellFormed
            | Self::ReservedNamespace
            | Self::UndeclaredPrefix => Condition::NotWellFormed,
            Self::InvalidUtf8 | Self::UnsupportedEncoding => Condition::UnsupportedEncoding,
            Self::PrefixedStanza => Condition::BadNamespacePrefix,
            Self::RestrictedXml | Self::UndeclaredEntity => Condition::RestrictedXml,
            Self::NestedHeader | Self::TextBetweenElements => Condition::BadFormat,
            Self::TooDeep
            | Self::TooLong
            | Self::TooManyAttributes
            | Self::TooManyChildren
            | Self::TooManyDeclarations
            | Self::TokenTooLong => Condition::PolicyViolation,
        }
    }

    /// Whether the XML may be fine and only a bound of ours was reached.
    #[must_use]
    pub const fn is_limit(self) -> bool {
        matches!(
            self,
            Self::TooDeep
                | Self::TooLong
                | Self::TooManyAttributes
                | Self::TooManyChildren
                | Self::TooManyDeclarations
                | Self::TokenTooLong
        )
    }
}

impl XmlError {
    /// What rxml has found. The texts that are matched are no part of rxml's interface: its version is pinned, and a table test
    /// holds them in place. Attributes that stand twice and prefixes that nothing binds its raw parser does not look for.
    //= RFC6120-11.1-2
    //= RFC6120-11.5-3
    //= RFC6120-11.6-2
    pub(super) fn of(error: rxml::Error) -> Self {
        match error {
            rxml::Error::RestrictedXml("only utf-8 encoding is allowed") => Self::UnsupportedEncoding,
            rxml::Error::RestrictedXml("long name or reference") => Self::TokenTooLong,
            rxml::Error::RestrictedXml(_) => Self::RestrictedXml,
            // `<!` that begins neither a comment nor a CDATA section begins a document type.
            rxml::Error::InvalidSyntax("malformed cdata or comment section start") => Self::RestrictedXml,
            rxml::Error::UndeclaredEntity => Self::UndeclaredEntity,
            rxml::Error::InvalidUtf8Byte(_) => Self::InvalidUtf8,
            rxml::Error::EmptyNamespaceUri => Self::EmptyNamespace,
            rxml::Error::ReservedNamespaceName | rxml::Error::ReservedNamespacePrefix => Self::ReservedNamespace,
            _ => Self::NotWellFormed,
        }
    }
}

impl fmt::Display for XmlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DuplicateAttribute => "an attribute stands twice in one tag",
            Self::EmptyNamespace => "a prefix is bound to no namespace",
            Self::InvalidUtf8 => "the bytes are not UTF-8",
            Self::NestedHeader => "there is a stream header inside of the stream",
            Self::NotWellFormed => "the XML is not well-formed",
            Self::PrefixedStanza => "a stanza has a prefix",
            Self::ReservedNamespace => "a reserved prefix or namespace is misused",
            Self::RestrictedXml => "comments, processing instructions and document types are not allowed",
            Self::TextBetweenElements => "there is text between first-level elements",
            Self::TooDeep => "elements are nested too deeply",
            Self::TooLong => "an element is too long",
            Self::TooManyAttributes => "a tag has too many attributes",
            Self::TooManyChildren => "an element has too many descendants",
            Self::TooManyDeclarations => "a tag has too many namespace declarations",
            Self::TokenTooLong => "a name or an attribute value is too long",
            Self::UndeclaredEntity => "an entity is not declared",
            Self::UndeclaredPrefix => "a prefix is not declared",
            Self::UnsupportedEncoding => "the encoding is not UTF-8",
        })
    }
}

impl std::error::Error for XmlError {}
