//! Configurations, certificates and TLS for a case.

use std::sync::{Arc, OnceLock};

use rcgen::ExtendedKeyUsagePurpose;
use rustls::crypto::ring;
use s2s_core::addr::Domain;
use s2s_core::node::Config;
use s2s_core::policy::{DomainList, HostOptions};
use s2s_core::route::PrivateAddresses;
use s2s_core::tls::{Provider, RustlsProvider, Version};

use super::Input;
use crate::certificates::{Authority, Identity, NOW, Request, San};
use crate::fake_tls::FakeProvider;
use crate::world::World;

/// The domains that have servers: the attacker's and the honest one's.
pub(super) const DOMAINS: &[&str] = &["m.example", "t.example"];

/// Whose server serves `domain`: what the attacker calls itself is found where `m.example` is.
pub(super) fn server_of(domain: &str) -> &'static str {
    DOMAINS.iter().find(|name| **name == domain).copied().unwrap_or("m.example")
}

/// The domains that we serve.
pub(super) const HOSTS: &[&str] = &["v.example", "chat.v.example"];

/// When certificates that are valid begin and end to be so.
const YEARS: (i32, i32) = (2025, 2040);

/// Which TLS is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tls {
    /// The one without cryptography.
    Fake,
    /// rustls.
    Real,
}

/// What a case needs beside a target.
#[derive(Debug)]
pub(super) struct Scene {
    /// Of the node.
    pub(super) config: Config,
    /// TLS of the attacker.
    pub(super) attacker: Arc<dyn Provider>,
    /// TLS of the honest peer.
    pub(super) honest: Arc<dyn Provider>,
}

/// What `input` asks for.
pub(super) fn scene(input: &Input, tls: Tls) -> Result<Scene, String> {
    let hosts = HOSTS.iter().map(|host| (domain(host), valid(host))).collect();
    let mut config = World::config(provider(tls, hosts), authority().trust());
    config.private_addresses = PrivateAddresses::Always;
    let mut options = HostOptions::default();
    for (name, value) in &input.options {
        set_option(&mut options, &mut config, name, value)?;
    }
    for host in HOSTS {
        config.hosts.insert(domain(host), options.clone());
    }
    let peer = Domain::parse(&input.peer).map_err(|error| format!("{}: {error}", input.peer))?;
    let identity = certificate(&input.certificate)?;
    let attacker = provider(tls, identity.into_iter().map(|identity| (peer.clone(), identity)).collect());
    let honest = provider(tls, vec![(domain("t.example"), valid("t.example"))]);
    Ok(Scene { config, attacker, honest })
}

/// One deviation from the default configuration, by the name of its key.
fn set_option(options: &mut HostOptions, config: &mut Config, name: &str, value: &str) -> Result<(), String> {
    let list = |list: &mut DomainList| {
        value.split(' ').try_for_each(|entry| list.insert(entry)).map_err(|error| format!("{value}: {error}"))
    };
    match (name, value) {
        ("secure_auth", "") => options.secure_auth = true,
        ("require_encryption", "") => options.require_encryption = true,
        ("dialback_to_verified", "") => options.dialback_to_verified = true,
        ("no_dialback", "") => options.dialback_disabled = true,
        ("no_tls", "") => options.tls_disabled = true,
        ("no_external", "") => options.external_disabled = true,
        ("secure_domains", _) => list(&mut options.secure_domains)?,
        ("insecure_domains", _) => list(&mut options.insecure_domains)?,
        ("allow_domains", _) => list(&mut options.allow_domains)?,
        ("deny_domains", _) => list(&mut options.deny_domains)?,
        ("stanza_bytes", _) => config.stanza_bytes = value.parse().map_err(|_| format!("no number: {value}"))?,
        _ => return Err(format!("no option {name} {value}")),
    }
    Ok(())
}

pub(super) fn authority() -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    AUTHORITY.get_or_init(|| Authority::root("the authority"))
}

/// A certificate for `name`, valid as long as the authority is: the program lives by the clock of the machine.
pub(super) fn valid(name: &str) -> Identity {
    authority().issue(&Request::dns(name).with_years(YEARS.0, YEARS.1))
}

/// The certificate that a case asks for.
fn certificate(words: &[String]) -> Result<Option<Identity>, String> {
    let (kind, names) = words.split_first().ok_or("which certificate?")?;
    let mut request = Request::new(Vec::new()).with_years(YEARS.0, YEARS.1);
    for name in names {
        match name.split_once(':') {
            None => request.names.push(San::Dns(name.clone())),
            Some(("srv", name)) => request.names.push(San::Srv(name.to_owned())),
            Some(("xmpp", name)) => request.names.push(San::XmppAddr(name.to_owned())),
            Some(("uri", name)) => request.names.push(San::Uri(name.to_owned())),
            Some(("cn", name)) => request.common_name = name.to_owned(),
            Some((form, _)) => return Err(format!("no form of names: {form}")),
        }
    }
    request.key = words.join(" ");
    Ok(Some(match kind.as_str() {
        "none" if names.is_empty() => return Ok(None),
        "valid" => authority().issue(&request),
        "self-signed" => request.self_signed(),
        "unknown" => Authority::root("an authority that nobody knows").issue(&request),
        "expired" => authority().issue(&request.with_years(2020, 2025)),
        "server-only" => authority().issue(&request.with_purposes(vec![ExtendedKeyUsagePurpose::ServerAuth])),
        "client-only" => authority().issue(&request.with_purposes(vec![ExtendedKeyUsagePurpose::ClientAuth])),
        "authority" => authority().issue(&Request { authority: true, ..request }),
        _ => return Err(format!("no certificate is {kind}")),
    }))
}

fn provider(tls: Tls, hosts: Vec<(Domain, Identity)>) -> Arc<dyn Provider> {
    match tls {
        Tls::Fake => {
            Arc::new(FakeProvider::new(hosts.into_iter().map(|(host, identity)| (host, identity.chain)).collect()))
        }
        Tls::Real => {
            let hosts = hosts.iter().map(|(host, identity)| identity.host(host)).collect();
            let crypto = Arc::new(ring::default_provider());
            let provider = RustlsProvider::new(crypto, hosts, Version::Tls12).expect("usable identities");
            provider.set_time(NOW);
            Arc::new(provider)
        }
    }
}

fn domain(name: &str) -> Domain {
    Domain::parse(name).expect("a domain of the world")
}
