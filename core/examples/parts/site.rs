//! A node that serves one domain and knows the way to one other.

use std::error::Error;
use std::net::SocketAddr;

use s2s_core::addr::Pair;
use s2s_core::dialback::Secret;
use s2s_core::dns::Security;
use s2s_core::entropy::Seed;
use s2s_core::node::{Config, Node, StaticRoute};
use s2s_core::policy::HostOptions;
use s2s_core::time::Anchor;

use crate::authority::Authority;

/// Serves `pair.local`, and insists that `pair.remote`, which listens on `addr`, shows a certificate.
pub(crate) fn node(
    pair: &Pair,
    addr: SocketAddr,
    authority: &Authority,
    anchor: Anchor,
) -> Result<Node, Box<dyn Error>> {
    let host = &pair.local;
    let secret = Secret::new(b"a secret, drawn at random and kept by a real host")?;
    let mut config = Config::new(authority.provider(host)?, authority.trust(), secret, Vec::new());
    let options = HostOptions { secure_auth: true, require_encryption: true, ..HostOptions::default() };
    config.hosts.insert(host.clone(), options);
    config.routes.insert(pair.remote.clone(), StaticRoute { addr, security: Security::StartTls });
    // A real seed comes from the operating system. Two nodes must not have the same.
    let mut seed = [0; 32];
    seed.iter_mut().zip(host.as_str().bytes()).for_each(|(to, from)| *to = from);
    Ok(Node::new(config, Seed(seed), anchor))
}
