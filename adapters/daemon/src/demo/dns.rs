//! An authoritative DNS server with one zone in memory, over UDP and TCP on the loopback address.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use smol::LocalExecutor;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::{TcpListener, TcpStream, UdpSocket};

/// How often to look for a port that is free for both transports.
const PORT_ATTEMPTS: usize = 16;

/// Seconds that an answer may be kept.
const TTL: u32 = 60;

/// Bytes of the largest query.
const QUERY_BYTES: usize = 4096;

/// The records, by owner in lower case.
#[derive(Debug, Default)]
pub(crate) struct Zone {
    records: BTreeMap<String, Vec<RData>>,
}

impl Zone {
    /// Publishes a service at `target` and `port`.
    pub(crate) fn service(&mut self, owner: &str, target: &str, port: u16) -> io::Result<()> {
        let target = Name::from_ascii(format!("{target}.")).map_err(io::Error::other)?;
        self.add(owner, RData::SRV(SRV::new(0, 0, port, target)));
        Ok(())
    }

    /// Publishes an address.
    pub(crate) fn address(&mut self, owner: &str, address: Ipv4Addr) {
        self.add(owner, RData::A(A(address)));
    }

    fn add(&mut self, owner: &str, data: RData) {
        self.records.entry(format!("{}.", owner.to_ascii_lowercase())).or_default().push(data);
    }

    /// The answer to a query; none to what is no query.
    fn answer(&self, query: &[u8]) -> Option<Vec<u8>> {
        let query = Message::from_vec(query).ok()?;
        let question = query.queries.first()?.clone();
        let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
        answer.metadata.recursion_desired = query.metadata.recursion_desired;
        answer.metadata.recursion_available = true;
        answer.metadata.authoritative = true;
        match self.records.get(&question.name().to_ascii().to_ascii_lowercase()) {
            None => answer.metadata.response_code = ResponseCode::NXDomain,
            Some(records) => {
                let asked = |data: &&RData| matches_type(data, question.query_type());
                let found = records.iter().filter(asked).cloned();
                answer.answers = found.map(|data| Record::from_rdata(question.name().clone(), TTL, data)).collect();
            }
        }
        answer.add_query(question);
        answer.to_vec().ok()
    }
}

fn matches_type(data: &RData, asked: RecordType) -> bool {
    data.record_type() == asked
}

/// The server.
pub(crate) struct DnsServer {
    udp: UdpSocket,
    tcp: TcpListener,
    zone: Rc<RefCell<Zone>>,
}

impl DnsServer {
    /// Binds one free port for both transports. The zone may be filled later.
    pub(crate) async fn bind(zone: Rc<RefCell<Zone>>) -> io::Result<Self> {
        let mut last = None;
        for _ in 0..PORT_ATTEMPTS {
            let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            match TcpListener::bind(udp.local_addr()?).await {
                Ok(tcp) => return Ok(Self { udp, tcp, zone }),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
    }

    /// Its address.
    pub(crate) fn addr(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }

    /// Answers from now on, as tasks of `executor`.
    pub(crate) fn start(self, executor: &LocalExecutor<'_>) {
        let Self { udp, tcp, zone } = self;
        executor.spawn(answer_datagrams(udp, Rc::clone(&zone))).detach();
        executor
            .spawn(async move {
                while let Ok((stream, _)) = tcp.accept().await {
                    // One connection at a time will do: there are two servers in this world.
                    let _ = answer_stream(stream, &zone).await;
                }
            })
            .detach();
    }
}

async fn answer_datagrams(socket: UdpSocket, zone: Rc<RefCell<Zone>>) {
    let mut buffer = [0; QUERY_BYTES];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let answer = zone.borrow().answer(buffer.get(..length).unwrap_or_default());
        if let Some(answer) = answer {
            // Whoever asked and is gone does not need it.
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

/// One query and one answer, each behind its length.
async fn answer_stream(mut stream: TcpStream, zone: &RefCell<Zone>) -> io::Result<()> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).await?;
    let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut query).await?;
    let answer = zone.borrow().answer(&query).unwrap_or_default();
    let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(&answer).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::{MessageType, OpCode, Query};

    fn ask(zone: &Zone, name: &str, kind: RecordType) -> Message {
        let mut query = Message::new(7, MessageType::Query, OpCode::Query);
        query.add_query(Query::query(Name::from_ascii(name).expect(name), kind));
        let answer = zone.answer(&query.to_vec().expect("encodable")).expect("an answer");
        Message::from_vec(&answer).expect("decodable")
    }

    #[test]
    fn a_published_service_is_found_whatever_the_case_and_others_do_not_exist() {
        let mut zone = Zone::default();
        zone.service("_xmpp-server._tcp.m.example", "host.example", 5269).expect("a name");
        zone.address("host.example", Ipv4Addr::LOCALHOST);

        let found = ask(&zone, "_XMPP-server._tcp.M.example.", RecordType::SRV);
        assert_eq!(found.metadata.id, 7);
        assert!(matches!(&found.answers[0].data, RData::SRV(srv) if srv.port == 5269));
        let other_type = ask(&zone, "host.example.", RecordType::AAAA);
        assert_eq!((other_type.metadata.response_code, other_type.answers.len()), (ResponseCode::NoError, 0));
        let absent = ask(&zone, "_xmpps-server._tcp.m.example.", RecordType::SRV);
        assert_eq!(absent.metadata.response_code, ResponseCode::NXDomain);
        assert!(zone.answer(b"nonsense").is_none());
    }
}
