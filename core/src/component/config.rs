//! What a hub is told: the hosts, their components' secrets, and the bounds.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::addr::Domain;

/// The configuration of a [`Hub`](crate::component::Hub).
#[derive(Clone, Debug)]
pub struct Config {
    /// The domains that we serve.
    pub hosts: BTreeMap<Domain, Host>,
    /// Bytes of a stanza from a component.
    pub stanza_bytes: usize,
    /// Bytes that may wait for a component that does not read, beyond which stanzas for it are refused.
    pub output_bytes: usize,
    /// From the accept to the handshake.
    pub handshake_timeout: Duration,
    /// From our closing tag to the end of the connection.
    pub close_timeout: Duration,
}

/// One of our hosts, as the hub sees it.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// The secret that its component must know; `None`: no component may attach.
    pub component_secret: Option<ComponentSecret>,
    /// Contact addresses (XEP-0157), as pairs of field name (`abuse-addresses`) and URI.
    pub contacts: Vec<(String, String)>,
}

/// The secret of a component. Never printed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct ComponentSecret(String);

impl ComponentSecret {
    /// The secret as it is configured on both sides.
    #[must_use]
    pub const fn new(secret: String) -> Self {
        Self(secret)
    }

    /// The handshake on the stream that we named `id`: the SHA-1 of both in lower-case hexadecimal digits,
    /// [XEP-0114 section 3](https://xmpp.org/extensions/xep-0114.html#proto).
    //= XEP0114-3-6
    #[must_use]
    pub fn handshake(&self, id: &str) -> String {
        let digest = Sha1::new().chain_update(id.as_bytes()).chain_update(self.0.as_bytes()).finalize();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether `text` is that handshake, in a time that does not depend on where they differ.
    #[must_use]
    pub fn verify(&self, id: &str, text: &str) -> bool {
        self.handshake(id).as_bytes().ct_eq(text.as_bytes()).into()
    }
}

impl fmt::Debug for ComponentSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ComponentSecret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    //= XEP0114-3-6 test
    fn the_handshake_is_the_hash_of_id_and_secret() {
        let secret = ComponentSecret::new("secret".to_owned());
        // printf 3BF96D32secret | sha1sum
        let text = "b09ea9b3b7f586be8a08d0a3dd7466f110aeb136";
        assert_eq!(secret.handshake("3BF96D32"), text);
        assert!(secret.verify("3BF96D32", text));
        for wrong in ["", &text.to_uppercase(), &text[1..], &secret.handshake("another id")] {
            assert!(!secret.verify("3BF96D32", wrong), "{wrong}");
        }
    }

    #[test]
    fn a_secret_is_not_printed() {
        let host = Host { component_secret: Some(ComponentSecret::new("hunter2".to_owned())), contacts: Vec::new() };
        assert!(!format!("{host:?}").contains("hunter2"));
    }
}
