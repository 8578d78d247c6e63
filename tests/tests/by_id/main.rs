//! Adversarial cases that bytes alone do not make: keys, configuration, certificates, DNS, the application. Each test is
//! named by the number of its case.

mod dialback;
mod dns;
mod operation;
mod stanzas;
mod streams;

use std::net::IpAddr;
use std::sync::Arc;

use s2s_core::node::{Config, Event};
use s2s_core::policy::HostOptions;
use s2s_core::reason::Reason;
use s2s_core::route::PrivateAddresses;
use s2s_tests::certificates::{Authority, Request};
use s2s_tests::fake_tls::FakeProvider;
use s2s_tests::world::{Cutting, NodeIndex, World, domain};

/// The header of m.example.
pub(crate) const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:server' \
     xmlns:db='jabber:server:dialback' xmlns:stream='http://etherx.jabber.org/streams' from='m.example' to='v.example' \
     version='1.0'>";

pub(crate) fn addr(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

pub(crate) fn config(authority: &Authority, host: &str) -> Config {
    let chain = authority.issue(&Request::dns(host)).chain;
    let mut config = World::config(Arc::new(FakeProvider::new(vec![(domain(host), chain)])), authority.trust());
    config.private_addresses = PrivateAddresses::Always;
    config.hosts.insert(domain(host), HostOptions::default());
    config
}

/// A node that serves v.example.
pub(crate) fn node(change: impl FnOnce(&mut Config)) -> (World, NodeIndex) {
    let mut world = World::new(Cutting::Whole);
    let mut config = config(&Authority::root("the authority"), "v.example");
    change(&mut config);
    let site = world.add(addr(1), config);
    (world, site)
}

pub(crate) fn returned(events: &[Event]) -> Vec<Reason> {
    let reason = |event: &Event| if let Event::Undeliverable { reason, .. } = event { Some(*reason) } else { None };
    events.iter().filter_map(reason).collect()
}

pub(crate) fn refused(events: &[Event]) -> Vec<Reason> {
    let reason = |event: &Event| if let Event::Refused { reason, .. } = event { Some(*reason) } else { None };
    events.iter().filter_map(reason).collect()
}
