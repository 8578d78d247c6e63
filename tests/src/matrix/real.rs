//! Cells between us and servers that others wrote: which there are, and what they are to the [oracle](crate::oracle::expect).
//! The tests with real servers run them.

use std::fmt;

use crate::oracle::software::Software;
use crate::oracle::{self, Certificate, Side, Transport};

/// How a real server of the tests is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Policy {
    /// TLS and a valid certificate are demanded.
    Secure,
    /// TLS is demanded, dialback does where certificates fail. Its own certificate is self-signed.
    Lax,
    /// As lax, with a valid certificate.
    Fallback,
    /// No TLS at all, dialback.
    Plain,
}

impl Policy {
    /// The word for it in names and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Secure => "secure",
            Self::Lax => "lax",
            Self::Fallback => "fallback",
            Self::Plain => "plain",
        }
    }

    /// What a server that is set up so is to the oracle.
    #[must_use]
    pub fn side(self, software: Software) -> Side {
        use Certificate::{SelfSigned, Valid};
        use oracle::Policy::{Open, RequireEncryption, SecureAuth};
        let (transport, certificate, policy) = match self {
            Self::Secure => (Transport::StartTlsRequired, Valid, SecureAuth),
            Self::Lax => (Transport::StartTlsRequired, SelfSigned, RequireEncryption),
            Self::Fallback => (Transport::StartTlsRequired, Valid, RequireEncryption),
            Self::Plain => (Transport::None, Valid, Open),
        };
        // ejabberd demands certificates by having no dialback.
        let dialback = (software, self) != (Software::Ejabberd, Self::Secure);
        Side { dialback, habits: software.habits(), ..Side::new(transport, certificate, policy) }
    }
}

/// A first contact between us and a real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Whose server it is.
    pub software: Software,
    /// How it is set up.
    pub theirs: Policy,
    /// What we show.
    pub certificate: Certificate,
    /// What we demand of it.
    pub demand: oracle::Policy,
    /// Whether we speak first.
    pub we_begin: bool,
}

impl Cell {
    /// Us.
    #[must_use]
    pub const fn ours(&self) -> Side {
        Side::new(Transport::StartTlsOptional, self.certificate, self.demand)
    }

    /// Who speaks first, and to whom.
    #[must_use]
    pub fn sides(&self) -> [Side; 2] {
        let (ours, theirs) = (self.ours(), self.theirs.side(self.software));
        if self.we_begin { [ours, theirs] } else { [theirs, ours] }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {:?}, they {}", self.certificate, self.demand, self.theirs.name())
    }
}

/// The certificates that meet every kind of server, and in whose case we may demand one too.
const MOST: [Certificate; 5] = [
    Certificate::Valid,
    Certificate::ServerAuth,
    Certificate::SelfSigned,
    Certificate::Expired,
    Certificate::WrongName,
];

/// All combinations, but for those that would only repeat each other: lists, and a demand of encryption alone, are with a
/// valid certificate of ours, since they judge the other side; rarer certificates are where TLS is, and we demand nothing.
#[must_use]
pub fn cells() -> Vec<Cell> {
    use oracle::Policy::{Open, SecureAuth};
    let mut cells = Vec::new();
    let certificates = Certificate::ALL.iter().copied();
    // Without any we accept no TLS, and theirs look at no lists.
    let certificates = certificates.filter(|it| !matches!(it, Certificate::None | Certificate::Revoked));
    for (certificate, software) in certificates.flat_map(|it| Software::ALL.map(|software| (it, software))) {
        for demand in oracle::Policy::ALL.iter().copied() {
            for theirs in [Policy::Secure, Policy::Lax, Policy::Plain] {
                let wanted = match certificate {
                    Certificate::Valid => true,
                    _ if MOST.contains(&certificate) => matches!(demand, Open | SecureAuth),
                    _ => demand == Open && theirs != Policy::Plain,
                };
                let both = [true, false].map(|we_begin| Cell { software, theirs, certificate, demand, we_begin });
                cells.extend(both.into_iter().filter(|_| wanted));
            }
        }
    }
    cells
}
