//! The judgement of a certificate chain for one domain.

use std::time::Duration;

use crate::addr::Domain;
use crate::reason::Reason;

/// What chains are judged against.
#[derive(Debug)]
pub struct Trust {}

/// A chain was judged valid for this domain. Only [`judge`] can make it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    domain: Domain,
}

impl Verified {
    /// The domain that the certificate proves.
    #[must_use]
    pub const fn domain(&self) -> &Domain {
        &self.domain
    }
}

/// What is wrong with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejection {
    /// There is none.
    Missing,
}

impl Rejection {
    /// The reason code.
    #[must_use]
    pub const fn reason(self) -> Reason {
        match self {
            Self::Missing => Reason::CertMissing,
        }
    }
}

/// Judges `chain` (DER, the peer's own certificate first) for `domain` at wall-clock time `unix`.
pub fn judge(_chain: &[Vec<u8>], _domain: &Domain, _trust: &Trust, _unix: Duration) -> Result<Verified, Rejection> {
    unimplemented!()
}
