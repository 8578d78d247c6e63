//! Why a component link ends. What goes to the wire and to the log is derived from it.

use std::fmt;

use crate::addr::Domain;
use crate::reason::Reason;
use crate::stanza::Improper;
use crate::stream::Condition;
use crate::xml::XmlError;

/// The rule that a component, or whoever claims to be one, broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LinkError {
    /// The host has a component already.
    Conflict,
    /// The content namespace of the stream is not the component protocol's.
    ContentNamespace,
    /// A stanza in the content namespace of another kind of stream.
    ForeignStanza,
    /// There was no handshake in time.
    HandshakeTimeout,
    /// The header has no `to`, or one that is no domain.
    HeaderTo,
    /// The domain is not a host of ours that has a component.
    HostUnknown(Domain),
    /// A stanza without a proper address.
    Improper(Improper),
    /// A stanza from a domain that is not the component's host.
    InvalidFrom(Domain),
    /// The root element is in another namespace than that of streams.
    RootNamespace,
    /// The root element of a stream is `stream`.
    RootName,
    /// A stanza before the handshake.
    StanzaBeforeHandshake,
    /// A first-level element that the component protocol does not have.
    UnknownElement,
    /// The handshake was not made of this stream's id and this host's secret.
    WrongHandshake,
    /// Not the XML of a stream.
    Xml(XmlError),
}

impl LinkError {
    const fn condition(&self) -> Condition {
        match self {
            Self::Conflict => Condition::Conflict,
            Self::ContentNamespace | Self::ForeignStanza | Self::RootNamespace => Condition::InvalidNamespace,
            Self::HandshakeTimeout => Condition::ConnectionTimeout,
            Self::HeaderTo | Self::Improper(_) => Condition::ImproperAddressing,
            Self::HostUnknown(_) => Condition::HostUnknown,
            Self::InvalidFrom(_) => Condition::InvalidFrom,
            Self::RootName => Condition::BadFormat,
            Self::StanzaBeforeHandshake | Self::WrongHandshake => Condition::NotAuthorized,
            Self::UnknownElement => Condition::UnsupportedStanzaType,
            Self::Xml(error) => error.condition(),
        }
    }

    const fn reason(&self) -> Reason {
        match self {
            Self::Conflict => Reason::Limit, // one component for one host
            Self::HandshakeTimeout => Reason::NegotiationTimeout,
            Self::HostUnknown(_) => Reason::HostUnknown,
            Self::InvalidFrom(_) => Reason::FromMismatch,
            Self::StanzaBeforeHandshake | Self::WrongHandshake => Reason::NotAuthenticated,
            Self::ContentNamespace
            | Self::ForeignStanza
            | Self::HeaderTo
            | Self::Improper(_)
            | Self::RootName
            | Self::RootNamespace
            | Self::UnknownElement => Reason::Malformed,
            Self::Xml(XmlError::TooLong) => Reason::StanzaTooBig,
            Self::Xml(error) if error.is_limit() => Reason::Limit,
            Self::Xml(_) => Reason::Malformed,
        }
    }
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Conflict => "the host has a component already",
            Self::ContentNamespace => "the content namespace is not that of components",
            Self::ForeignStanza => "a stanza in a namespace of another kind of stream",
            Self::HandshakeTimeout => "no handshake in time",
            Self::HeaderTo => "the header names no domain",
            Self::HostUnknown(domain) => return write!(f, "{domain} is not a host with a component"),
            Self::Improper(Improper::From | Improper::NoFrom) => "a stanza without a proper sender",
            Self::Improper(Improper::To | Improper::NoTo) => "a stanza without a proper recipient",
            Self::InvalidFrom(domain) => return write!(f, "a stanza from {domain}, which is not the component's host"),
            Self::RootName => "the root element is not a stream",
            Self::RootNamespace => "the root element is not in the namespace of streams",
            Self::StanzaBeforeHandshake => "a stanza before the handshake",
            Self::UnknownElement => "an element that components do not send",
            Self::WrongHandshake => "the handshake does not match",
            Self::Xml(error) => return error.fmt(f),
        })
    }
}

/// Why a link ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The other side broke a rule.
    Broken(LinkError),
    /// The host is not served here any longer.
    HostGone,
    /// The other side closed its stream.
    PeerClosed,
    /// The input ended inside the stream, or the connection broke.
    PeerEof,
    /// The other side ended its stream with an error.
    PeerError(Condition),
    /// The secret of the host was changed: `reset` asks for a new handshake, which is what is due.
    SecretChanged,
    /// We are going down.
    Shutdown,
}

impl Ending {
    /// The stream error that tells the other side. An end of its own needs none, and an error is not answered by one.
    pub(super) const fn condition(&self) -> Option<Condition> {
        match self {
            Self::Broken(error) => Some(error.condition()),
            //= RFC6120-4.9.3.5-1
            Self::HostGone => Some(Condition::HostGone),
            Self::SecretChanged => Some(Condition::Reset),
            Self::Shutdown => Some(Condition::SystemShutdown),
            Self::PeerClosed | Self::PeerEof | Self::PeerError(_) => None,
        }
    }

    /// The reason in events.
    pub(super) const fn reason(&self) -> Reason {
        match self {
            Self::Broken(error) => error.reason(),
            Self::HostGone | Self::SecretChanged => Reason::Reload,
            Self::PeerClosed | Self::Shutdown => Reason::Shutdown,
            Self::PeerEof => Reason::ConnectionReset,
            Self::PeerError(_) => Reason::PeerStreamError,
        }
    }

    /// Whether an event has to tell it of a link that was open: its end alone does not say enough.
    pub(super) const fn is_refusal(&self) -> bool {
        matches!(self, Self::Broken(_) | Self::PeerError(_))
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(error) => error.fmt(f),
            Self::HostGone => f.write_str("the host is no longer served here"),
            Self::PeerClosed => f.write_str("the component closed its stream"),
            Self::PeerEof => f.write_str("the connection ended inside the stream"),
            Self::PeerError(condition) => write!(f, "the component sent the stream error {condition}"),
            Self::SecretChanged => f.write_str("the secret of the host was changed"),
            Self::Shutdown => f.write_str("the server is going down"),
        }
    }
}

impl From<LinkError> for Ending {
    fn from(error: LinkError) -> Self {
        Self::Broken(error)
    }
}
