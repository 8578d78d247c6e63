//! Stream errors.

use std::fmt;

macro_rules! conditions {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// The conditions of stream errors, [RFC 6120 section 4.9.3](https://www.rfc-editor.org/rfc/rfc6120#section-4.9.3).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Condition { $($(#[$doc])* $variant,)* }

        impl Condition {
            /// The name of the element.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The condition of that name; one that is not known counts as `undefined-condition`.
            //= RFC6120-4.9.2-2
            #[must_use]
            pub fn from_name(name: &str) -> Self {
                match name {
                    $($name => Self::$variant,)*
                    "xml-not-well-formed" => Self::NotWellFormed, // the name of RFC 3920
                    _ => Self::UndefinedCondition,
                }
            }
        }
    };
}

conditions! {
    /// XML that cannot be processed.
    BadFormat = "bad-format",
    /// A namespace prefix is missing or not supported.
    BadNamespacePrefix = "bad-namespace-prefix",
    /// Another stream takes the place of this one.
    Conflict = "conflict",
    /// The peer did not answer.
    ConnectionTimeout = "connection-timeout",
    /// The domain is no longer served here.
    HostGone = "host-gone",
    /// The domain is not served here.
    HostUnknown = "host-unknown",
    /// An address is missing or malformed.
    ImproperAddressing = "improper-addressing",
    /// A fault of the sender of this error.
    InternalServerError = "internal-server-error",
    /// A sender that was not proved.
    InvalidFrom = "invalid-from",
    /// A namespace that streams do not have.
    InvalidNamespace = "invalid-namespace",
    /// XML that breaks a schema.
    InvalidXml = "invalid-xml",
    /// Something that only an authenticated peer may do.
    NotAuthorized = "not-authorized",
    /// Bytes that are not XML.
    NotWellFormed = "not-well-formed",
    /// A rule of local policy was broken.
    PolicyViolation = "policy-violation",
    /// A server that was needed could not be reached.
    RemoteConnectionFailed = "remote-connection-failed",
    /// Negotiate everything anew.
    Reset = "reset",
    /// There is too much of something.
    ResourceConstraint = "resource-constraint",
    /// A comment, a processing instruction, a DTD or an entity.
    RestrictedXml = "restricted-xml",
    /// Another host should be asked.
    SeeOtherHost = "see-other-host",
    /// The server is going down.
    SystemShutdown = "system-shutdown",
    /// Something that has no condition of its own.
    UndefinedCondition = "undefined-condition",
    /// Another encoding than UTF-8.
    UnsupportedEncoding = "unsupported-encoding",
    /// The only way to go on is not supported.
    UnsupportedFeature = "unsupported-feature",
    /// A first-level element that is not known.
    UnsupportedStanzaType = "unsupported-stanza-type",
    /// A version that is not spoken.
    UnsupportedVersion = "unsupported-version",
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
