//! Stream errors.

use std::fmt;

use crate::dialback::Malformed;
use crate::reason::Reason;
use crate::stanza::Improper;
use crate::xml::XmlError;

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

/// What ends a stream from our side: the peer broke a rule, or we refuse to go on. Always fatal to the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamError {
    /// A header after authentication names other domains than the ones that were proved.
    AuthenticatedHeaderChanged,
    /// The authoritative server denied the key of the only pair, [XEP-0220 section 2.2.1](https://xmpp.org/extensions/xep-0220.html).
    DialbackInvalid,
    /// The sender of a stanza was not proved on this stream.
    FromMismatch,
    /// The peer claims a domain that is ours.
    FromIsOurs,
    /// The stream was opened for a domain that is not ours.
    HostUnknown,
    /// The domain that the stream was opened for is no longer ours.
    HostGone,
    /// `to` or `from` of a header is not a domain, or `to` is missing.
    ImproperHeader,
    /// `to` or `from` of a stanza is missing or malformed.
    ImproperStanza(Improper),
    /// The header is not one of a server-to-server stream.
    InvalidNamespace,
    /// The version of a header is not two integers with a dot between them.
    MalformedVersion,
    /// A second header inside the stream.
    NestedHeader,
    /// A stanza came before authentication, or from a side that may not send any.
    NotAuthenticated,
    /// Policy refuses the stream.
    Refused(Reason),
    /// Too many attempts to authenticate.
    TooManyAttempts,
    /// More bytes before authentication than negotiation needs.
    TooManyBytes,
    /// More dialback keys that were refused than a stream may bring.
    TooManyRefusedKeys,
    /// More TLS handshakes than are done at once, or in one second.
    TooManyHandshakes,
    /// More pairs on one stream than are held.
    TooManyPairs,
    /// The pair is proved on as many streams as may be.
    TooManyStreams,
    /// The recipient of a stanza does not belong to this stream.
    ToMismatch,
    /// A first-level element that this state does not wait for.
    UnexpectedElement,
    /// A dialback element that is none.
    UnreadableDialback(Malformed),
    /// Streams without a version have no TLS, which is demanded here (decision D-03).
    UnsupportedVersion,
    /// The bytes are not the XML of a stream.
    Xml(XmlError),
}

impl StreamError {
    /// The condition to put on the wire, [RFC 6120 section 4.9.3](https://www.rfc-editor.org/rfc/rfc6120#section-4.9.3).
    //= RFC6120-4.9.3.25-1
    //= RFC6120-4.9.3.24-1
    //= RFC6120-4.9.3.10-1
    #[must_use]
    pub fn condition(&self) -> Condition {
        match self {
            Self::AuthenticatedHeaderChanged | Self::FromIsOurs | Self::FromMismatch => Condition::InvalidFrom,
            Self::DialbackInvalid | Self::NotAuthenticated => Condition::NotAuthorized,
            Self::TooManyStreams => Condition::Conflict,
            Self::HostGone => Condition::HostGone,
            Self::HostUnknown | Self::ToMismatch => Condition::HostUnknown,
            Self::ImproperHeader | Self::ImproperStanza(_) | Self::UnreadableDialback(Malformed::Addresses) => {
                Condition::ImproperAddressing
            }
            Self::InvalidNamespace => Condition::InvalidNamespace,
            Self::NestedHeader | Self::UnreadableDialback(_) => Condition::BadFormat,
            Self::Refused(reason) => reason.stream_condition(),
            Self::TooManyAttempts | Self::TooManyBytes | Self::TooManyRefusedKeys => Condition::PolicyViolation,
            Self::TooManyHandshakes | Self::TooManyPairs => Condition::ResourceConstraint,
            Self::UnexpectedElement => Condition::UnsupportedStanzaType,
            Self::MalformedVersion | Self::UnsupportedVersion => Condition::UnsupportedVersion,
            Self::Xml(error) => error.condition(),
        }
    }

    /// The reason code.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::AuthenticatedHeaderChanged | Self::FromIsOurs | Self::FromMismatch => Reason::FromMismatch,
            Self::DialbackInvalid => Reason::DialbackInvalid,
            Self::HostGone => Reason::Reload,
            Self::HostUnknown => Reason::HostUnknown,
            Self::NotAuthenticated => Reason::NotAuthenticated,
            Self::Refused(reason) => *reason,
            Self::TooManyAttempts
            | Self::TooManyBytes
            | Self::TooManyHandshakes
            | Self::TooManyPairs
            | Self::TooManyRefusedKeys
            | Self::TooManyStreams => Reason::Limit,
            Self::ToMismatch => Reason::ToMismatch,
            Self::UnsupportedVersion => Reason::EncryptionRequired,
            Self::Xml(XmlError::TooLong) => Reason::StanzaTooBig,
            Self::Xml(error) if error.is_limit() => Reason::Limit,
            _ => Reason::Malformed,
        }
    }

    /// What the peer is told beside the condition, where that helps. Never anything that the peer sent.
    #[must_use]
    pub const fn text(&self) -> Option<&'static str> {
        match self {
            Self::Refused(reason) => Some(refusal_text(*reason)),
            Self::TooManyStreams => Some("Your domain has enough streams to this one already"),
            Self::TooManyHandshakes => Some("Too many connections begin encryption: try again later"),
            Self::UnsupportedVersion => Some("Encryption is required, and needs version 1.0"),
            _ => None,
        }
    }
}

/// The text for a peer that policy refuses: in its words the certificate is "your certificate".
const fn refusal_text(reason: Reason) -> &'static str {
    match reason {
        Reason::CertMissing => "Your server has no certificate",
        Reason::CertExpired => "Your server's certificate has expired",
        Reason::CertNotYetValid => "Your server's certificate is not valid yet",
        Reason::CertSelfSigned => "Your server's certificate is self-signed",
        Reason::CertUnknownIssuer => "Your server's certificate is not issued by a trusted authority",
        Reason::CertNameMismatch => "Your server's certificate is not valid for this name",
        Reason::CertPurpose => "Your server's certificate is not valid for servers",
        Reason::CertRevoked => "Your server's certificate was revoked",
        Reason::CertPinMismatch => "Your server's certificate is not the expected one",
        Reason::EncryptionRequired | Reason::StarttlsNotOffered => "Encryption is required",
        Reason::TlsFailed => "This host takes later versions of TLS only",
        Reason::HostDisabled => "Server-to-server communication is disabled for this host",
        Reason::DomainDenied => "Communication with your domain is not allowed",
        Reason::ExternalNotOffered => "Your server offers no way to authenticate that we may use",
        Reason::NegotiationTimeout => "Your server did not finish negotiation in time",
        other => other.bounce_text(),
    }
}
