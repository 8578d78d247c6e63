//! Evidence that a peer may speak for a domain. Nothing outside this module can make it.

use std::fmt;

use crate::addr::{Domain, Pair};
use crate::dialback::Confirmed;
use crate::tls::verify::Verified;

/// How the entity that opens a stream was proved to the one that accepts it, for one pair of domains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// SASL EXTERNAL: the certificate names the domain, [XEP-0178](https://xmpp.org/extensions/xep-0178.html).
    External,
    /// Server dialback: the authoritative server confirmed the key, [XEP-0220](https://xmpp.org/extensions/xep-0220.html).
    Dialback,
    /// Dialback elements over a stream whose certificate names the domain: no call-back was needed,
    /// [XEP-0344 section 2.4](https://xmpp.org/extensions/xep-0344.html).
    Certificate,
}

impl Method {
    /// The word for it in logs, events and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::External => "external",
            Self::Dialback => "dialback",
            Self::Certificate => "certificate",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The peer may speak for `pair.remote` to `pair.local`. A stanza is delivered only against such a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    pair: Pair,
    by: Method,
}

impl Proof {
    /// From a certificate that was judged valid for the pair's remote domain, after SASL EXTERNAL.
    pub(crate) fn by_external(local: Domain, verified: &Verified) -> Self {
        Self { pair: Pair::new(local, verified.domain().clone()), by: Method::External }
    }

    /// From a certificate that was judged valid for the pair's remote domain, when a dialback key arrived on the stream on
    /// which it was shown.
    #[must_use]
    pub fn by_certificate(local: Domain, verified: &Verified) -> Self {
        Self { pair: Pair::new(local, verified.domain().clone()), by: Method::Certificate }
    }

    /// From the answer of the authoritative server.
    #[must_use]
    pub fn by_dialback(confirmed: Confirmed) -> Self {
        Self { pair: confirmed.into_pair(), by: Method::Dialback }
    }

    /// What was proved.
    #[must_use]
    pub const fn pair(&self) -> &Pair {
        &self.pair
    }

    /// How.
    #[must_use]
    pub const fn by(&self) -> Method {
        self.by
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_is_shown_by_its_word() {
        for (method, word) in
            [(Method::External, "external"), (Method::Dialback, "dialback"), (Method::Certificate, "certificate")]
        {
            assert_eq!((method.as_str(), method.to_string().as_str()), (word, word));
        }
    }

    #[test]
    fn a_confirmed_key_proves_the_pair_that_it_was_sent_for() {
        let domain = |text: &str| Domain::parse(text).expect(text);
        let pair = Pair::new(domain("m.example"), domain("t.example"));
        let proof = Proof::by_dialback(Confirmed::new(pair.clone()));
        assert_eq!((proof.pair(), proof.by()), (&pair, Method::Dialback));
    }
}
