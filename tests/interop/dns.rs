//! A name server for `interop.test` on port 53 of a loopback address, UDP and TCP.
//!
//! It answers as a recursive resolver would, because that is what the servers are told it is.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, SOA, SRV};
use hickory_proto::rr::{Name, RData, Record};

use crate::failure::{Failure, While};

/// The zone that the server is authoritative for.
pub(crate) const ZONE: &str = "interop.test.";

/// A port where nobody listens.
const NOBODY: u16 = 5998;

/// How records are found: SRV records of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// `_xmpp-server._tcp`, port 5269: STARTTLS or clear text.
    StartTls,
    /// `_xmpps-server._tcp`, port 5270: direct TLS.
    DirectTls,
}

impl Service {
    /// The port that it has here, unless somebody says otherwise.
    pub(crate) const fn port(self) -> u16 {
        match self {
            Self::StartTls => 5269,
            Self::DirectTls => 5270,
        }
    }
}

/// The running server. Its threads end with the process.
pub(crate) struct NameServer {
    zone: Arc<Mutex<Zone>>,
    /// Where it listens.
    pub(crate) address: Ipv4Addr,
}

#[derive(Default)]
struct Zone {
    records: BTreeMap<Name, Vec<RData>>,
}

impl NameServer {
    /// Binds port 53 of that address and answers from now on.
    pub(crate) fn start(address: Ipv4Addr) -> Result<Self, Failure> {
        let server = SocketAddr::from((address, 53));
        let why = format!("cannot serve DNS on {server} (needs root)");
        let udp = UdpSocket::bind(server).when(&why)?;
        let tcp = TcpListener::bind(server).when(&why)?;
        let zone = Arc::<Mutex<Zone>>::default();
        let shared = Arc::clone(&zone);
        thread::spawn(move || serve_udp(&udp, &shared));
        let shared = Arc::clone(&zone);
        thread::spawn(move || {
            for stream in tcp.incoming().flatten() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || serve_tcp(stream, &shared));
            }
        });
        Ok(Self { zone, address })
    }

    /// Makes `domain` lead to that address, by these SRV records only.
    pub(crate) fn add(&self, domain: &str, address: Ipv4Addr, services: &[Service]) -> Result<(), Failure> {
        let services: Vec<_> = services.iter().map(|service| (*service, service.port())).collect();
        self.add_at(domain, address, &services)
    }

    /// The same with ports of one's own.
    pub(crate) fn add_at(&self, domain: &str, address: Ipv4Addr, services: &[(Service, u16)]) -> Result<(), Failure> {
        let services: Vec<_> = services.iter().map(|(service, port)| (*service, vec![*port])).collect();
        self.add_ports(domain, address, &services)
    }

    /// Two records: the first, which is preferred, leads to a port where nobody listens.
    pub(crate) fn add_behind_nothing(&self, domain: &str, address: Ipv4Addr, service: Service) -> Result<(), Failure> {
        self.add_ports(domain, address, &[(service, vec![NOBODY, service.port()])])
    }

    /// Ports in the order of their priorities.
    fn add_ports(&self, domain: &str, address: Ipv4Addr, services: &[(Service, Vec<u16>)]) -> Result<(), Failure> {
        let name = Name::from_ascii(format!("{domain}."))?;
        let mut zone = self.zone.lock().unwrap_or_else(PoisonError::into_inner);
        zone.records.insert(name.clone(), vec![RData::A(A(address))]);
        for (service, ports) in services {
            let label = match service {
                Service::StartTls => "_xmpp-server",
                Service::DirectTls => "_xmpps-server",
            };
            let owner = Name::from_ascii(format!("{label}._tcp.{domain}."))?;
            let records =
                (0..).zip(ports).map(|(priority, port)| RData::SRV(SRV::new(priority, 0, *port, name.clone())));
            zone.records.insert(owner, records.collect());
        }
        Ok(())
    }
}

impl Zone {
    fn answer(&self, request: &[u8]) -> Option<Vec<u8>> {
        let request = Message::from_vec(request).ok()?;
        let query = request.queries.first()?;
        let mut reply = Message::new(request.metadata.id, MessageType::Response, OpCode::Query);
        reply.metadata.recursion_desired = request.metadata.recursion_desired;
        reply.metadata.recursion_available = true;
        reply.metadata.authoritative = true;
        reply.add_query(query.clone());
        if request.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(1232);
            reply.set_edns(edns);
        }
        let name = query.name().to_lowercase();
        for data in self.records.get(&name).into_iter().flatten() {
            if data.record_type() == query.query_type() {
                reply.add_answer(Record::from_rdata(query.name().clone(), 60, data.clone()));
            }
        }
        // A name that only has others below it exists, without records.
        if !self.records.keys().any(|owner| name.zone_of(owner)) {
            reply.metadata.response_code = ResponseCode::NXDomain;
        }
        if reply.answers.is_empty() {
            let zone = Name::from_ascii(ZONE).ok()?;
            let soa = SOA::new(zone.clone(), zone.clone(), 1, 3600, 600, 86400, 1);
            reply.add_authority(Record::from_rdata(zone, 1, RData::SOA(soa)));
        }
        reply.to_vec().ok()
    }
}

fn serve_udp(socket: &UdpSocket, zone: &Mutex<Zone>) {
    let mut buffer = [0; 4096];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        let reply = zone.lock().unwrap_or_else(PoisonError::into_inner).answer(&buffer[..length]);
        if let Some(reply) = reply {
            // A client that is gone asks no more.
            let _ = socket.send_to(&reply, from);
        }
    }
}

fn serve_tcp(mut stream: TcpStream, zone: &Mutex<Zone>) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let mut length = [0; 2];
    while stream.read_exact(&mut length).is_ok() {
        let mut request = vec![0; usize::from(u16::from_be_bytes(length))];
        if stream.read_exact(&mut request).is_err() {
            return;
        }
        let reply = zone.lock().unwrap_or_else(PoisonError::into_inner).answer(&request);
        let Some(reply) = reply else { return };
        let Ok(length) = u16::try_from(reply.len()) else { return };
        if stream.write_all(&[&length.to_be_bytes()[..], &reply].concat()).is_err() {
            return;
        }
    }
}
