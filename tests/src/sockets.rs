//! Nodes over real sockets, each on a thread of its own.

use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;
use std::time::Instant;

use s2s_core::entropy::Seed;
use s2s_core::machine::Listener;
use s2s_core::node::{Command, Config, Event, Node};
use s2s_core::time::Anchor;

use crate::adapter::{Adapter, Handle};
use crate::certificates::NOW;

/// A node that serves, and the application's side of it.
#[derive(Debug)]
pub struct Side {
    /// What the application holds.
    pub handle: Handle<Command, Event>,
    thread: JoinHandle<Node>,
}

impl Side {
    /// Serves `config` on `listener`.
    #[must_use]
    pub fn start(adapter: Adapter, listener: TcpListener, config: Config, seed: u8) -> Self {
        let anchor = Anchor { instant: Instant::now(), unix: NOW };
        let node = Node::new(config, Seed([seed; 32]), anchor);
        let (handle, thread) = adapter.run(node, vec![(Listener::StartTls, listener)]);
        Self { handle, thread }
    }

    /// Waits until the node has finished.
    pub fn join(self) {
        drop(self.handle);
        self.thread.join().expect("it does not panic");
    }
}

/// A listener on the loopback address, and where it is.
#[must_use]
pub fn listen() -> (TcpListener, SocketAddr) {
    let listener = s2s_sockets::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    let addr = listener.local_addr().expect("it is bound");
    (listener, addr)
}

/// Bytes of memory that this process has, and its descriptors. Linux only; elsewhere zero.
#[must_use]
pub fn footprint() -> (u64, usize) {
    /// Bytes of a page on every machine that this is run on.
    const PAGE: u64 = 4096;
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let resident = pages.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or_default();
    let descriptors = std::fs::read_dir("/proc/self/fd").map(Iterator::count).unwrap_or_default();
    (resident * PAGE, descriptors)
}
