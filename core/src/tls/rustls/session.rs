//! One rustls connection as a [`Session`].

use std::fmt;
use std::io::{BufRead, Write};
use std::sync::Arc;

use rustls::server::Acceptor;
use rustls::{CipherSuite, ClientConnection, Connection, HandshakeKind, ProtocolVersion, ServerConnection};

use super::records::RecordWatch;
use super::{DirectHosts, failed};
use crate::tls::{Facts, Session, TlsError, Version};

/// Alerts that we write ourselves, [RFC 8446 section 6](https://www.rfc-editor.org/rfc/rfc8446#section-6).
const WARNING: u8 = 1;
const FATAL: u8 = 2;
const CLOSE_NOTIFY: u8 = 0;
const HANDSHAKE_FAILURE: u8 = 40;
const UNRECOGNIZED_NAME: u8 = 112;

/// A session of a [`RustlsProvider`](super::RustlsProvider).
pub(super) struct RustlsSession {
    state: State,
    records: RecordWatch,
    facts: Option<Facts>,
    closed_by_peer: bool,
}

enum State {
    /// Direct TLS: the client's hello, which says what host it wants, is not complete yet.
    Choosing(Box<Choosing>),
    /// The handshake, and what follows.
    Open(Box<Connection>),
    /// We sent `close_notify`, and listen for the peer's.
    Closing(Box<Connection>),
    /// Closed before there was anybody to close for.
    Closed,
    Failed(TlsError),
}

struct Choosing {
    acceptor: Acceptor,
    hosts: Arc<DirectHosts>,
    /// Plaintext that waits for the handshake.
    held: Vec<u8>,
}

impl RustlsSession {
    pub(super) fn client(connection: ClientConnection) -> Self {
        Self::open(Connection::Client(connection), RecordWatch::on_server())
    }

    pub(super) fn server(connection: ServerConnection) -> Self {
        Self::open(Connection::Server(connection), RecordWatch::on_client())
    }

    fn open(connection: Connection, records: RecordWatch) -> Self {
        Self { state: State::Open(Box::new(unlimited(connection))), records, facts: None, closed_by_peer: false }
    }

    pub(super) fn choosing(hosts: Arc<DirectHosts>) -> Self {
        let choosing = Choosing { acceptor: Acceptor::default(), hosts, held: Vec::new() };
        let records = RecordWatch::on_client();
        Self { state: State::Choosing(Box::new(choosing)), records, facts: None, closed_by_peer: false }
    }

    /// Everything that one connection can make of `bytes`, the rest of what was read included.
    fn advance(
        &mut self,
        connection: &mut Connection,
        mut bytes: &[u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> Result<(), TlsError> {
        // Once even without bytes: the choice of a host leaves some unprocessed.
        self.process(connection, plain, wire)?;
        // Behind the peer's close_notify there is nothing to read.
        while !bytes.is_empty() && !self.closed_by_peer {
            let mut piece = self.next_piece(&mut bytes, wire)?;
            while !piece.is_empty() {
                let taken = connection.read_tls(&mut piece).map_err(|error| TlsError::Failed(error.to_string()))?;
                if taken == 0 {
                    return Ok(());
                }
                self.process(connection, plain, wire)?;
            }
        }
        Ok(())
    }

    /// Splits off what the connection is to read at once.
    fn next_piece<'a>(&mut self, bytes: &mut &'a [u8], wire: &mut Vec<u8>) -> Result<&'a [u8], TlsError> {
        let version = self.facts.as_ref().map(|facts| facts.version);
        if version == Some(Version::Tls13) {
            return Ok(std::mem::take(bytes));
        }
        let piece = self.records.next(bytes, version.is_some());
        // Who renegotiates is told nothing.
        if piece.as_ref().is_err_and(|error| *error != TlsError::Renegotiation) {
            wire.extend(alert(FATAL, HANDSHAKE_FAILURE));
        }
        piece
    }

    /// What the connection makes of what it has read.
    fn process(
        &mut self,
        connection: &mut Connection,
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> Result<(), TlsError> {
        let result = connection.process_new_packets();
        // What was decrypted before an error belongs to the peer's stream, however the bytes were cut.
        drain_plain(connection, plain);
        drain_wire(connection, wire);
        let state = result.map_err(|error| failed(&error))?;
        self.closed_by_peer |= state.peer_has_closed();
        if self.facts.is_none() {
            self.facts = facts(connection);
        }
        Ok(())
    }
}

impl Session for RustlsSession {
    fn receive(&mut self, bytes: &[u8], plain: &mut Vec<u8>, wire: &mut Vec<u8>) -> Result<(), TlsError> {
        let mut bytes = bytes;
        let state = std::mem::replace(&mut self.state, State::Closed);
        let result = match state {
            State::Choosing(choosing) => match choosing.receive(&mut self.records, &mut bytes, wire) {
                Ok(State::Open(mut connection)) => {
                    self.advance(&mut connection, bytes, plain, wire).map(|()| State::Open(connection))
                }
                other => other,
            },
            State::Open(mut connection) => {
                self.advance(&mut connection, bytes, plain, wire).map(|()| State::Open(connection))
            }
            State::Closing(mut connection) => {
                // Nothing follows our close_notify, not even an alert or an answer to a key update.
                self.advance(&mut connection, bytes, plain, &mut Vec::new()).map(|()| State::Closing(connection))
            }
            State::Closed => Ok(State::Closed),
            State::Failed(error) => Err(error),
        };
        match result {
            Ok(state) => {
                self.state = state;
                Ok(())
            }
            Err(error) => {
                self.state = State::Failed(error.clone());
                Err(error)
            }
        }
    }

    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) {
        match &mut self.state {
            State::Choosing(choosing) => choosing.held.extend_from_slice(plain),
            State::Open(connection) => {
                write_plain(connection, plain);
                drain_wire(connection, wire);
            }
            State::Closing(_) | State::Closed | State::Failed(_) => {}
        }
    }

    fn flush(&mut self, wire: &mut Vec<u8>) {
        if let State::Open(connection) = &mut self.state {
            drain_wire(connection, wire);
        }
    }

    fn close(&mut self, wire: &mut Vec<u8>) {
        self.state = match std::mem::replace(&mut self.state, State::Closed) {
            State::Choosing(_) => {
                wire.extend(alert(WARNING, CLOSE_NOTIFY));
                State::Closed
            }
            State::Open(mut connection) => {
                connection.send_close_notify();
                drain_wire(&mut connection, wire);
                State::Closing(connection)
            }
            state => state,
        };
    }

    fn facts(&self) -> Option<&Facts> {
        self.facts.as_ref()
    }

    fn is_closed_by_peer(&self) -> bool {
        self.closed_by_peer
    }
}

impl fmt::Debug for RustlsSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Choosing(_) => "Choosing",
            State::Open(_) => "Open",
            State::Closing(_) => "Closing",
            State::Closed => "Closed",
            State::Failed(_) => "Failed",
        };
        f.debug_struct("RustlsSession").field("state", &state).field("facts", &self.facts).finish_non_exhaustive()
    }
}

impl Choosing {
    /// Reads the client's hello and chooses the host. The unread rest of `bytes` is for the connection.
    fn receive(
        mut self: Box<Self>,
        records: &mut RecordWatch,
        bytes: &mut &[u8],
        wire: &mut Vec<u8>,
    ) -> Result<State, TlsError> {
        let mut piece: &[u8] = &[];
        while !bytes.is_empty() || !piece.is_empty() {
            if piece.is_empty() {
                piece = records.next(bytes, false)?;
            }
            self.acceptor.read_tls(&mut piece).map_err(|error| TlsError::Failed(error.to_string()))?;
            // It is complete where a record is, so that nothing is left of the piece then.
            let accepted = match self.acceptor.accept() {
                Ok(Some(accepted)) => accepted,
                Ok(None) => continue,
                Err((error, mut alert)) => {
                    // Writing to a vector cannot fail.
                    let _ = alert.write_all(wire);
                    return Err(failed(&error));
                }
            };
            let hello = accepted.client_hello();
            let Some(config) = self.hosts.choose(hello.server_name()) else {
                wire.extend(alert(FATAL, UNRECOGNIZED_NAME));
                return Err(TlsError::Failed("the peer asked for a host that is not ours".to_owned()));
            };
            let config = Arc::clone(config);
            let connection = accepted.into_connection(config).map_err(|(error, mut alert)| {
                let _ = alert.write_all(wire);
                failed(&error)
            })?;
            let mut connection = unlimited(Connection::Server(connection));
            write_plain(&mut connection, &self.held);
            return Ok(State::Open(Box::new(connection)));
        }
        Ok(State::Choosing(self))
    }
}

/// rustls keeps 64 KiB at most unless told otherwise, and silently leaves the rest to the caller. Here the
/// owner of the session bounds what it hands over.
fn unlimited(mut connection: Connection) -> Connection {
    connection.set_buffer_limit(None);
    connection
}

fn write_plain(connection: &mut Connection, plain: &[u8]) {
    // Fails only on a connection that failed before, whose error `receive` has reported.
    let _ = connection.writer().write_all(plain);
}

fn drain_plain(connection: &mut Connection, plain: &mut Vec<u8>) {
    let mut reader = connection.reader();
    while let Ok(chunk) = reader.fill_buf() {
        let length = chunk.len();
        if length == 0 {
            return;
        }
        plain.extend_from_slice(chunk);
        reader.consume(length);
    }
}

fn drain_wire(connection: &mut Connection, wire: &mut Vec<u8>) {
    while connection.wants_write() {
        if !connection.write_tls(wire).is_ok_and(|written| written > 0) {
            return;
        }
    }
}

/// An alert in the clear, as it is sent before there are keys.
const fn alert(level: u8, description: u8) -> [u8; 7] {
    [21, 3, 3, 0, 2, level, description]
}

fn facts(connection: &Connection) -> Option<Facts> {
    if connection.is_handshaking() {
        return None;
    }
    let version = match connection.protocol_version()? {
        ProtocolVersion::TLSv1_3 => Version::Tls13,
        _ => Version::Tls12,
    };
    let server_name = match connection {
        Connection::Client(_) => None,
        Connection::Server(connection) => connection.server_name().map(str::to_owned),
    };
    Some(Facts {
        version,
        cipher: cipher_name(connection.negotiated_cipher_suite()?.suite()),
        alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
        server_name,
        chain: connection.peer_certificates().unwrap_or_default().iter().map(|der| der.to_vec()).collect(),
        resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
    })
}

/// The name in the registry of IANA. rustls has its own for the suites of TLS 1.3.
fn cipher_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS13_AES_128_CCM_SHA256 => "TLS_AES_128_CCM_SHA256",
        CipherSuite::TLS13_AES_128_CCM_8_SHA256 => "TLS_AES_128_CCM_8_SHA256",
        suite => suite.as_str().unwrap_or("unknown"),
    }
}
