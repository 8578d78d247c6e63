//! TLS as the core sees it: a session that turns bytes into bytes and states facts; judgement comes later.
//!
//! A session completes the handshake with any certificate, so that the peer can be told in XMPP what is wrong.
//! [`verify`] judges the chain afterwards, at every handshake, resumed or not.
//!
//! - [RFC 6120 section 5.4.3](https://www.rfc-editor.org/rfc/rfc6120#section-5.4.3), [section 13.7.2](https://www.rfc-editor.org/rfc/rfc6120#section-13.7.2)

pub mod identity;
pub mod verify;

mod constraints;
mod rustls;

use std::fmt;
use std::time::Duration;

use crate::addr::Domain;

pub use self::rustls::{HostIdentity, IdentityError, RustlsProvider};

/// Makes sessions.
pub trait Provider: Send + Sync + fmt::Debug {
    /// A session that we initiate as `local` towards `remote`. `direct`: without STARTTLS, so with ALPN.
    fn client(&self, local: &Domain, remote: &Domain, direct: bool) -> Result<Box<dyn Session>, TlsError>;

    /// A session that we accept. After STARTTLS `host` is the domain that the stream header asked for; on direct
    /// TLS it is `None` and the server name indication chooses.
    fn server(&self, host: Option<&Domain>) -> Result<Box<dyn Session>, TlsError>;

    /// Tells the wall-clock time since 1970, which bounds the life of remembered sessions. Certificates are judged
    /// elsewhere. A [`Node`](crate::node::Node) calls it before it makes a session.
    fn set_time(&self, _unix: Duration) {}

    /// The certificates that `host` shows, in DER, its own first. Empty if it has none, or if they are not known.
    fn chain(&self, _host: &Domain) -> Vec<Vec<u8>> {
        Vec::new()
    }

    /// Whether `host` has a certificate, so that TLS can be offered for it.
    fn has_certificate(&self, host: &Domain) -> bool;

    /// `remote` wants everything negotiated anew: no session that `local` has with it is resumed. Providers that resume
    /// nothing have nothing to forget.
    fn forget_sessions(&self, _local: &Domain, _remote: &Domain) {}
}

/// One TLS connection, without the connection.
pub trait Session: Send + fmt::Debug {
    /// Takes bytes from the wire; appends decrypted bytes to `plain` and bytes for the wire to `wire`.
    /// After an error the session is dead and the error is repeated. Its alert is in `wire`, but for
    /// [`TlsError::Renegotiation`], which nothing more is said to.
    fn receive(&mut self, bytes: &[u8], plain: &mut Vec<u8>, wire: &mut Vec<u8>) -> Result<(), TlsError>;

    /// Encrypts `plain`, all of it, and appends it to `wire`. Before the handshake is complete it is kept back.
    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>);

    /// Appends bytes that the session wants to send by itself: the first flight of a client.
    fn flush(&mut self, wire: &mut Vec<u8>);

    /// Appends `close_notify` to `wire`. Nothing is sent after it, not even what was kept back; bytes can still be
    /// received, so that the peer's own `close_notify` is seen.
    //= RFC6120-4.4-4
    fn close(&mut self, wire: &mut Vec<u8>);

    /// What was negotiated, once the handshake is complete.
    fn facts(&self) -> Option<&Facts>;

    /// Whether the peer sent `close_notify`.
    fn is_closed_by_peer(&self) -> bool;
}

/// What a completed handshake established. Nothing here is a judgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Protocol version.
    pub version: Version,
    /// Name of the cipher suite, as IANA writes it.
    pub cipher: &'static str,
    /// The application protocol that was agreed on.
    pub alpn: Option<Vec<u8>>,
    /// The server name that the client indicated (server side only).
    pub server_name: Option<String>,
    /// The peer's certificates in DER, its own first. Empty if it showed none.
    pub chain: Vec<Vec<u8>>,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
}

/// The versions that are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// TLS 1.2
    Tls12,
    /// TLS 1.3
    Tls13,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls12 => "TLSv1.2",
            Self::Tls13 => "TLSv1.3",
        })
    }
}

/// TLS cannot go on. The connection ends without XML.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsError {
    /// We have no certificate for the host, or it cannot be used.
    NoCertificate,
    /// The handshake or a record failed; the text is for our log only.
    Failed(String),
    /// The peer wanted to negotiate anew what was negotiated. The connection ends at once.
    Renegotiation,
    /// The server speaks TLS 1.2 and does not say that it knows secure renegotiation
    /// ([RFC 5746](https://www.rfc-editor.org/rfc/rfc5746)): it may take our handshake for a part of what somebody else
    /// has begun.
    RenegotiationInfoMissing,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCertificate => f.write_str("no certificate for this host"),
            Self::Failed(text) => f.write_str(text),
            Self::Renegotiation => f.write_str("the peer wanted to renegotiate TLS"),
            Self::RenegotiationInfoMissing => f.write_str("the server does not know secure renegotiation"),
        }
    }
}

impl std::error::Error for TlsError {}
