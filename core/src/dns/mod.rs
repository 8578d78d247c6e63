//! A stub resolver without I/O: from a domain to the addresses where its servers may be reached.
//!
//! hickory-proto appears only here.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::addr::Domain;
use crate::entropy::Entropy;
use crate::machine::{Effect, QueryId};
use crate::reason::Reason;

/// One lookup of a domain's servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LookupId(pub u64);

/// How a stream begins at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Security {
    /// TLS from the first byte: a `_xmpps-server` record.
    DirectTls,
    /// In clear, then STARTTLS: a `_xmpp-server` record or the fallback.
    StartTls,
}

/// One way to reach a domain, in the order in which to try them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Address and port.
    pub addr: SocketAddr,
    /// How the stream begins there.
    pub security: Security,
}

/// What the resolver needs to know.
#[derive(Clone, Debug)]
pub struct ResolverConfig {
    /// Recursive servers, asked in this order.
    pub servers: Vec<SocketAddr>,
    /// One query over one transport to one server.
    pub query_timeout: Duration,
    /// Whether to look for IPv4 addresses.
    pub ipv4: bool,
    /// Whether to look for IPv6 addresses.
    pub ipv6: bool,
}

/// The resolver.
#[derive(Debug)]
pub struct Resolver {}

impl Resolver {
    /// A resolver without lookups.
    #[must_use]
    pub fn new(_config: ResolverConfig, _entropy: Entropy) -> Self {
        unimplemented!()
    }

    /// Changes the configuration, for queries that are made from now on.
    pub fn reconfigure(&mut self, _config: ResolverConfig) {
        unimplemented!()
    }

    /// Begins to look for the servers of `domain`. The answer comes from [`Resolver::poll_answer`], never earlier.
    pub fn lookup(&mut self, _now: Instant, _domain: &Domain) -> LookupId {
        unimplemented!()
    }

    /// Ends a lookup. Its answer will not come.
    pub fn cancel(&mut self, _lookup: LookupId) {
        unimplemented!()
    }

    /// A message for `query` arrived; `None`: the query failed.
    pub fn handle_reply(&mut self, _now: Instant, _query: QueryId, _message: Option<&[u8]>) {
        unimplemented!()
    }

    /// The moment of [`Resolver::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, _now: Instant) {
        unimplemented!()
    }

    /// When to call [`Resolver::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        unimplemented!()
    }

    /// The next [`Effect::Ask`] or [`Effect::Forget`].
    #[must_use]
    pub fn poll_effect(&mut self) -> Option<Effect> {
        unimplemented!()
    }

    /// The next finished lookup: candidates in the order in which to try them (never empty), or why there are none.
    #[must_use]
    pub fn poll_answer(&mut self) -> Option<(LookupId, Result<Vec<Candidate>, Reason>)> {
        unimplemented!()
    }
}
