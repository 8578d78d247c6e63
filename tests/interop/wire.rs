//! What crossed between servers, and when: read off the lines of the forwarder.
//!
//! In clear it names the elements, inside TLS it can only count bytes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What departs within so much of a round trip departs together.
const TOGETHER: f64 = 0.2;

/// Records of all connections of a world.
#[derive(Clone, Default)]
pub(crate) struct Wire(Arc<Mutex<Vec<Crossing>>>);

/// Something that went over a line.
struct Crossing {
    /// Over which connection.
    connection: usize,
    /// Who listens at its end, and at which port.
    server: (Ipv4Addr, u16),
    departs: Instant,
    what: What,
}

enum What {
    /// The first packet of a connection.
    Opened,
    ByClient(Vec<u8>),
    ByServer(Vec<u8>),
}

/// One connection, for who records what goes over it.
#[derive(Clone)]
pub(crate) struct Line {
    wire: Wire,
    connection: usize,
    server: (Ipv4Addr, u16),
}

impl Wire {
    /// A connection to `server` is opened.
    pub(crate) fn opened(&self, server: (Ipv4Addr, u16), departs: Instant) -> Line {
        let mut crossings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = crossings.iter().map(|crossing| crossing.connection).max().map_or(0, |last| last + 1);
        crossings.push(Crossing { connection, server, departs, what: What::Opened });
        Line { wire: self.clone(), connection, server }
    }

    /// Forgets what was recorded.
    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// What has crossed since `begin`, one line for each flight: when it departed and arrived in round trips, who sent it and
    /// what it was. `responder` is where the second of the two `names` listens.
    pub(crate) fn describe(&self, begin: Instant, trip: Duration, names: [&str; 2], responder: Ipv4Addr) -> String {
        let crossings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut flights: Vec<Flight> = Vec::new();
        for crossing in crossings.iter() {
            let departs = crossing.departs.saturating_duration_since(begin).as_secs_f64() / trip.as_secs_f64();
            let at_responder = crossing.server.0 == responder;
            let (by_client, bytes) = match &crossing.what {
                What::Opened => (true, None),
                What::ByClient(bytes) => (true, Some(bytes)),
                What::ByServer(bytes) => (false, Some(bytes)),
            };
            let speaker = usize::from(by_client != at_responder);
            let same = flights.iter_mut().rev().find(|flight| {
                (flight.connection, flight.speaker) == (crossing.connection, speaker)
                    && flight.opens == bytes.is_none()
                    && departs - flight.departs < TOGETHER
            });
            match (same, bytes) {
                (Some(flight), Some(bytes)) => flight.bytes.extend_from_slice(bytes),
                _ => flights.push(Flight {
                    connection: crossing.connection,
                    port: crossing.server.1,
                    speaker,
                    departs,
                    opens: bytes.is_none(),
                    bytes: bytes.cloned().unwrap_or_default(),
                }),
            }
        }
        flights.sort_by(|a, b| a.departs.total_cmp(&b.departs));
        let mut numbers = BTreeMap::new();
        let mut text = String::new();
        for flight in flights {
            let next = numbers.len() + 1;
            let number = numbers.entry(flight.connection).or_insert(next);
            let speaker = names[flight.speaker];
            let (takes, what) = match flight.opens {
                true => (1.0, format!("opens connection {number} to port {}", flight.port)),
                false => (0.5, contents(&flight.bytes)),
            };
            let (departs, arrives) = (flight.departs, flight.departs + takes);
            let _ = writeln!(text, "  {departs:5.1} {arrives:5.1}  {number}  {speaker:9} {what}");
        }
        text
    }
}

impl Line {
    /// The client has sent something.
    pub(crate) fn client_sends(&self, departs: Instant, bytes: &[u8]) {
        self.note(departs, What::ByClient(bytes.to_vec()));
    }

    /// The server has.
    pub(crate) fn server_sends(&self, departs: Instant, bytes: &[u8]) {
        self.note(departs, What::ByServer(bytes.to_vec()));
    }

    fn note(&self, departs: Instant, what: What) {
        let (connection, server) = (self.connection, self.server);
        let mut crossings = self.wire.0.lock().unwrap_or_else(PoisonError::into_inner);
        crossings.push(Crossing { connection, server, departs, what });
    }
}

/// What one end sent at once.
struct Flight {
    connection: usize,
    port: u16,
    speaker: usize,
    departs: f64,
    opens: bool,
    bytes: Vec<u8>,
}

/// The elements of XML, or the records of TLS.
fn contents(bytes: &[u8]) -> String {
    let xml = bytes.iter().position(|byte| matches!(byte, 20..=23)).unwrap_or(bytes.len());
    let (xml, mut records) = bytes.split_at(xml);
    let mut parts = elements(&String::from_utf8_lossy(xml));
    let mut sealed = 0;
    while let [kind, _, _, high, low, rest @ ..] = records {
        let (body, after) = rest.split_at(rest.len().min(usize::from(u16::from_be_bytes([*high, *low]))));
        match (kind, body.first()) {
            (22, Some(1)) => parts.push("ClientHello".to_owned()),
            (22, Some(2)) => parts.push("ServerHello".to_owned()),
            (20, _) => {}
            _ => sealed += body.len(),
        }
        records = after;
    }
    if sealed > 0 {
        parts.push(format!("{sealed} bytes in TLS"));
    }
    parts.join(" ")
}

/// The names of the header and of what stands directly below it.
fn elements(xml: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut depth = 0_u32;
    for tag in xml.split('<').skip(1) {
        let tag = tag.split_once('>').map_or(tag, |(tag, _)| tag);
        let name = tag.split([' ', '/']).next().unwrap_or_default();
        match tag.as_bytes() {
            [b'?', ..] => {}
            [b'/', ..] => depth = depth.saturating_sub(1),
            _ => {
                if depth == 0 {
                    names.push(format!("<{name}>"));
                }
                depth += u32::from(name != "stream:stream" && !tag.ends_with('/'));
            }
        }
    }
    names
}
