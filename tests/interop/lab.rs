//! A closed world on the loopback: names, certificates and six real servers.
//!
//! Everything is in 127.0.2.0/24 and `interop.test`; nothing is written outside of a temporary directory, which is
//! removed unless something failed.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::dns::{NameServer, Service};
use crate::failure::{Failure, While, fail};
use crate::forwarder;
use crate::peers::{BOTH, DIRECT, ECHO, Peer, Plan, Policy, SPARE, Software};
use crate::pki::{Authority, Certificate, Identity};
use crate::s2sd::Engine;
use crate::wire::Wire;

const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 2, 53);
/// The last octet of the first server's address.
const FIRST_PEER: u8 = 1;
/// The same of servers that are started where there is room, less one.
const FIRST_SERVER: u8 = 29;
/// The same of the programs under test, one address each.
const FIRST_DAEMON: u8 = 100;
/// How many addresses there are for them.
const DAEMONS: u16 = 150;

/// Where a program under test is to be.
pub(crate) struct Place {
    /// Its domain.
    pub(crate) host: String,
    /// Where components connect.
    pub(crate) address: Ipv4Addr,
    /// Where other servers connect.
    pub(crate) interface: Ipv4Addr,
    /// Its certificate.
    pub(crate) identity: Identity,
}

/// The world.
pub(crate) struct Lab {
    /// What drives the programs that are started from now on.
    pub(crate) engine: Engine,
    // Before the directory, so that the servers end before it goes.
    peers: BTreeMap<(Software, Policy), Peer>,
    authority: Authority,
    names: NameServer,
    daemons: u16,
    servers: u8,
    /// How long everything takes from one server to another.
    latency: Option<Duration>,
    /// What goes over lines that have a latency.
    pub(crate) wire: Wire,
    directory: TempDir,
}

impl Lab {
    /// Builds the world and starts the servers.
    pub(crate) fn new() -> Result<Self, Failure> {
        let mut lab = Self::without_servers(None)?;
        let mut octet = FIRST_PEER;
        for software in Software::ALL {
            for policy in [Policy::Secure, Policy::Lax, Policy::Plain] {
                let peer = lab.start(software, policy, policy.name(), octet)?;
                lab.peers.insert((software, policy), peer);
                octet += 1;
            }
        }
        for peer in lab.peers.values_mut() {
            if let Err(failure) = peer.ready() {
                let logs: String = peer.logs().iter().map(|log| crate::process::tail(log, 40)).collect();
                let kept = lab.directory.keep();
                return fail(format!("{failure}\n{logs}everything is in {}", kept.display()));
            }
        }
        Ok(lab)
    }

    /// A world without servers. With a latency they are reached over lines that are that long.
    pub(crate) fn without_servers(latency: Option<Duration>) -> Result<Self, Failure> {
        let directory = tempfile::Builder::new().prefix("s2s-interop-").tempdir()?;
        let authority = Authority::new(&directory.path().join("pki"))?;
        let names = NameServer::start(NAME_SERVER)?;
        let (engine, peers, wire) = (Engine::DEFAULT, BTreeMap::new(), Wire::default());
        Ok(Self { engine, peers, authority, names, daemons: 0, servers: 0, latency, wire, directory })
    }

    /// Where others find who listens at `address`.
    fn reached_at(&self, address: Ipv4Addr) -> Result<Ipv4Addr, Failure> {
        let Some(latency) = self.latency else {
            return Ok(address);
        };
        let [_, _, _, octet] = address.octets();
        let near = Ipv4Addr::new(127, 0, 4, octet);
        for port in [Service::StartTls.port(), Service::DirectTls.port()] {
            forwarder::start(near, address, port, latency, &self.wire)?;
        }
        Ok(near)
    }

    /// Starts one more server under a label of its own, not waiting for it.
    pub(crate) fn start(&self, software: Software, policy: Policy, label: &str, octet: u8) -> Result<Peer, Failure> {
        let domain = format!("{}-{label}.interop.test", software.name());
        let kind = if policy == Policy::Lax { Certificate::SelfSigned } else { Certificate::Valid };
        let identity = self.authority.issue(&domain, kind)?;
        let address = Ipv4Addr::new(127, 0, 2, octet);
        let reached_at = self.reached_at(address)?;
        self.names.add(&domain, reached_at, &[Service::StartTls])?;
        self.names.add(&format!("{ECHO}.{domain}"), reached_at, &[Service::StartTls])?;
        self.names.add_behind_nothing(&format!("{SPARE}.{domain}"), reached_at, Service::StartTls)?;
        if policy != Policy::Plain {
            self.names.add(&format!("{DIRECT}.{domain}"), reached_at, &[Service::DirectTls])?;
            let both = [Service::StartTls, Service::DirectTls];
            self.names.add(&format!("{BOTH}.{domain}"), reached_at, &both)?;
        }
        let (authority, name_server) = (self.authority(), self.name_server());
        let plan = Plan { software, policy, address, domain, identity: &identity, authority, name_server };
        Peer::start(&plan, self.directory()).when(software.name())
    }

    /// The same at an address that no other server of this world has.
    pub(crate) fn start_anywhere(&mut self, software: Software, policy: Policy, label: &str) -> Result<Peer, Failure> {
        self.servers += 1;
        self.start(software, policy, label, FIRST_SERVER + self.servers)
    }

    /// Starts the server of that policy, if it does not run yet.
    pub(crate) fn need(&mut self, software: Software, policy: Policy) -> Result<(), Failure> {
        if !self.peers.contains_key(&(software, policy)) {
            let octet = FIRST_PEER + u8::try_from(self.peers.len()).unwrap_or_default();
            let mut peer = self.start(software, policy, policy.name(), octet)?;
            peer.ready()?;
            self.peers.insert((software, policy), peer);
        }
        Ok(())
    }

    /// One of the servers.
    pub(crate) fn peer(&self, software: Software, policy: Policy) -> Result<&Peer, Failure> {
        self.peers.get(&(software, policy)).map_or_else(|| fail("no such server"), Ok)
    }

    /// A domain that nobody knows yet, with these records in DNS.
    pub(crate) fn host(&mut self, kind: Certificate, service: Service) -> Result<Place, Failure> {
        self.host_at(kind, &[(service, service.port())], false)
    }

    /// The same with these services and ports; `elsewhere`: they are at another address.
    pub(crate) fn host_at(
        &mut self,
        kind: Certificate,
        services: &[(Service, u16)],
        elsewhere: bool,
    ) -> Result<Place, Failure> {
        let host = format!("s{}.interop.test", self.daemons);
        // Names are new each time; addresses come round again when their programs have long ended.
        let octet = FIRST_DAEMON + u8::try_from(self.daemons % DAEMONS).unwrap_or_default();
        self.daemons += 1;
        let address = Ipv4Addr::new(127, 0, 2, octet);
        let interface = if elsewhere { Ipv4Addr::new(127, 0, 3, octet) } else { address };
        self.names.add_at(&host, self.reached_at(interface)?, services)?;
        let identity = self.authority.issue(&host, kind)?;
        Ok(Place { host, address, interface, identity })
    }

    /// A directory with the host's certificate, under a name that says nothing, and one of somebody else.
    pub(crate) fn certificates(&self, place: &Place) -> Result<PathBuf, Failure> {
        let directory = self.directory().join(format!("certificates of {}", place.host));
        std::fs::create_dir_all(&directory)?;
        let other = self.authority.issue("a.interop.test", Certificate::Valid)?;
        for (identity, name) in [(&other, "a"), (&place.identity, "b")] {
            std::fs::copy(&identity.certificate, directory.join(format!("{name}.crt")))?;
            std::fs::copy(&identity.key, directory.join(format!("{name}.key")))?;
        }
        Ok(directory)
    }

    /// The certificate of the authority, PEM.
    pub(crate) fn authority(&self) -> &Path {
        &self.authority.file
    }

    /// The same of an authority that nobody else trusts.
    pub(crate) fn other_authority(&self) -> Result<PathBuf, Failure> {
        Ok(Authority::new(&self.directory().join("other-pki"))?.file)
    }

    /// Whom to ask for names.
    pub(crate) fn name_server(&self) -> Ipv4Addr {
        self.names.address
    }

    /// Where everything is.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Ends the servers and leaves the directory with their logs.
    pub(crate) fn keep(mut self) -> PathBuf {
        self.peers.values_mut().for_each(Peer::stop);
        self.directory.keep()
    }
}
