//! A node behind real sockets on loopback, driven by the smol adapter.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use s2s_core::addr::Domain;
use s2s_core::dns::Security;
use s2s_core::entropy::Seed;
use s2s_core::machine::Listener;
use s2s_core::node::{Command, Config, Event, Node, StaticRoute};
use s2s_core::time::Anchor;
use s2s_smol::{Driver, Handle, bind};

use super::setup::DOMAINS;
use super::target::{LineIndex, Note, Target};
use crate::certificates::NOW;
use crate::world::read_stanza;

/// How long an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A node on a thread of its own, and the sockets around it.
pub struct SocketTarget {
    handle: Option<Handle<Command, Event>>,
    thread: Option<JoinHandle<Node>>,
    starttls: SocketAddr,
    direct_tls: SocketAddr,
    servers: BTreeMap<&'static str, TcpListener>,
    lines: Vec<TcpStream>,
}

impl SocketTarget {
    /// Starts a node with this configuration; `peer` is found where `m.example` is.
    pub fn new(config: &Config, peer: &str) -> io::Result<Self> {
        let mut config = config.clone();
        let mut servers = BTreeMap::new();
        for name in DOMAINS {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let route = StaticRoute { addr: listener.local_addr()?, security: Security::StartTls };
            let has_alias = *name == "m.example" && !DOMAINS.contains(&peer);
            let aliases = if has_alias { vec![*name, peer] } else { vec![*name] };
            for alias in aliases.into_iter().filter_map(|alias| Domain::parse(alias).ok()) {
                config.routes.entry(alias).or_insert(route);
            }
            servers.insert(*name, listener);
        }
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (starttls, direct_tls) = (bind(any)?, bind(any)?);
        let addresses = (starttls.local_addr()?, direct_tls.local_addr()?);
        let node = Node::new(config, Seed([7; 32]), Anchor { instant: Instant::now(), unix: NOW });
        let listeners = vec![(Listener::StartTls, starttls), (Listener::DirectTls, direct_tls)];
        let (driver, handle) = Driver::new(node, listeners)?;
        let thread = std::thread::spawn(move || smol::block_on(driver.run()));
        let (handle, thread) = (Some(handle), Some(thread));
        Ok(Self { handle, thread, starttls: addresses.0, direct_tls: addresses.1, servers, lines: Vec::new() })
    }

    fn keep(&mut self, stream: TcpStream) -> io::Result<LineIndex> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        self.lines.push(stream);
        Ok(self.lines.len() - 1)
    }

    fn event(&self) -> Option<Event> {
        let handle = self.handle.as_ref()?;
        let limit = async {
            smol::Timer::after(PATIENCE).await;
            None
        };
        smol::block_on(smol::future::or(handle.event(), limit))
    }
}

impl Target for SocketTarget {
    fn connect(&mut self, on: Listener) -> LineIndex {
        let addr = if on == Listener::DirectTls { self.direct_tls } else { self.starttls };
        let stream = TcpStream::connect(addr).expect("the node listens");
        self.keep(stream).expect("options of a socket")
    }

    fn accept(&mut self, domain: &str) -> Option<LineIndex> {
        let listener = self.servers.get(domain)?;
        listener.set_nonblocking(true).ok()?;
        let patience = Instant::now() + PATIENCE;
        let stream = loop {
            match listener.accept() {
                Ok((stream, _)) => break stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < patience => {
                    std::thread::yield_now();
                }
                Err(_) => return None,
            }
        };
        stream.set_nonblocking(false).ok()?;
        self.keep(stream).ok()
    }

    /// A peer that has gone does not read: that is no failure of the case.
    fn send(&mut self, line: LineIndex, bytes: &[u8]) {
        let _ = self.lines[line].write_all(bytes);
    }

    fn hang_up(&mut self, line: LineIndex) {
        let _ = self.lines[line].shutdown(Shutdown::Write);
    }

    fn receive(&mut self, line: LineIndex) -> (Vec<u8>, bool) {
        let mut bytes = vec![0; 16_384];
        match self.lines[line].read(&mut bytes) {
            Ok(0) => (Vec::new(), true),
            Ok(n) => {
                bytes.truncate(n);
                (bytes, false)
            }
            Err(error) => (Vec::new(), matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)),
        }
    }

    fn takes_time(&self) -> bool {
        true
    }

    fn wait(&mut self, seconds: u64) {
        unreachable!("nobody waits {seconds} s over sockets");
    }

    fn route(&mut self, stanza: &str) {
        let command = Command::Send(read_stanza(stanza));
        if let Some(handle) = &self.handle {
            smol::block_on(handle.send(command)).expect("the node runs");
        }
    }

    fn notes_until(&mut self, text: &str) -> Vec<Note> {
        let mut notes = Vec::new();
        while let Some(event) = self.event() {
            let note = Note::of(&event);
            let is_last = matches!(&note, Note::Delivered(stanza) if stanza.contains(text));
            notes.push(note);
            if is_last {
                break;
            }
        }
        notes
    }

    fn take_dialled(&mut self) -> Vec<String> {
        let mut dialled = Vec::new();
        for (domain, listener) in &self.servers {
            let _ = listener.set_nonblocking(true);
            while let Ok((stream, _)) = listener.accept() {
                drop(stream);
                dialled.push((*domain).to_owned());
            }
        }
        dialled
    }

    fn take_asked(&mut self) -> Option<Vec<String>> {
        None
    }

    fn left(&mut self) -> Option<(usize, Option<&'static str>)> {
        None
    }
}

impl Drop for SocketTarget {
    fn drop(&mut self) {
        self.lines.clear();
        drop(self.handle.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
