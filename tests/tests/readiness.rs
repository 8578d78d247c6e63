//! With `s2s-smol` one thread serves everybody: whoever always has more is served in turns with who has something now.

use std::collections::VecDeque;
use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use s2s_core::machine::{ConnId, Effect, Interest, Listener, Machine, QueryId};
use s2s_tests::adapter::Adapter;
use s2s_tests::sockets::listen;
use smol::future::poll_once;

/// Reads of the one who has more that may come before that of the other, whose byte was there at the first of them.
const READS: usize = 4;
/// Bytes that wait at that moment: enough for thirty reads.
const WAITING_BYTES: usize = 500_000;
/// Commands that may be taken before whoever runs the driver can look at the sockets.
const AT_ONCE: usize = 16;

/// The connection that has something now; the one before it always has more.
const MODEST: ConnId = ConnId(2);

/// Counts what it is told between the moment when the modest one sends a byte, at the first call for the other, and the
/// moment when it hears of that byte.
#[derive(Default)]
struct Counter {
    accepted: u64,
    modest: Option<(TcpStream, Receiver<()>)>,
    has_sent: bool,
    between: usize,
    commands: Arc<AtomicUsize>,
    events: VecDeque<usize>,
}

impl Machine for Counter {
    type Command = ();
    type Event = usize;

    fn handle_accept(&mut self, _: Instant, _: SocketAddr, _: Listener) -> Option<ConnId> {
        self.accepted += 1;
        Some(ConnId(self.accepted))
    }

    fn handle_bytes(&mut self, _: Instant, conn: ConnId, _: &[u8]) {
        if conn == MODEST {
            self.events.push_back(self.between);
        } else if self.has_sent {
            self.between += 1;
        } else if let Some((modest, enough)) = self.modest.as_mut().filter(|_| self.accepted == 2) {
            enough.recv().expect("enough waits");
            modest.write_all(b"x").expect("it has room");
            self.has_sent = true;
        }
    }

    fn handle_command(&mut self, _: Instant, (): ()) {
        self.commands.fetch_add(1, SeqCst);
    }

    fn interest(&self, _: ConnId) -> Interest {
        Interest { read: true, write: false }
    }

    fn pending(&self, _: ConnId) -> &[u8] {
        &[]
    }

    fn poll_event(&mut self) -> Option<usize> {
        self.events.pop_front()
    }

    fn poll_effect(&mut self) -> Option<Effect> {
        None
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        None
    }

    fn is_finished(&self) -> bool {
        false
    }

    fn handle_connected(&mut self, _: Instant, _: ConnId) {}
    fn handle_sent(&mut self, _: Instant, _: ConnId, _: usize) {}
    fn handle_eof(&mut self, _: Instant, _: ConnId) {}
    fn handle_closed(&mut self, _: Instant, _: ConnId, _: ErrorKind) {}
    fn handle_reply(&mut self, _: Instant, _: QueryId, _: Option<&[u8]>) {}
    fn handle_timeout(&mut self, _: Instant) {}
    fn handle_clock(&mut self, _: Instant, _: Duration) {}
}

#[test]
fn a_peer_that_always_has_more_to_read_leaves_the_others_heard() {
    let (listener, addr) = listen();
    // In this order, since they are accepted in this order.
    let mut greedy = TcpStream::connect(addr).expect("it listens");
    let modest = TcpStream::connect(addr).expect("it listens");
    let (enough, waits) = mpsc::channel();
    let counter = Counter { modest: Some((modest, waits)), ..Counter::default() };
    let (handle, thread) = Adapter::Smol.run(counter, vec![(Listener::StartTls, listener)]);
    let presses = thread::spawn(move || {
        let mut written = 0;
        while let Ok(length) = greedy.write(&[0; 65_536]) {
            written += length;
            if written > WAITING_BYTES {
                let _nobody_waits_any_longer = enough.send(());
            }
        }
    });
    let between = handle.event().expect("the byte is heard");
    assert!(between <= READS, "{between} reads");
    drop(handle);
    thread.join().expect("it does not panic");
    presses.join().expect("it ends with the connection");
}

#[test]
fn an_application_that_always_has_more_commands_leaves_room_to_look_at_the_sockets() {
    let counter = Counter::default();
    let count = Arc::clone(&counter.commands);
    let (driver, handle) = s2s_smol::Driver::new(counter, Vec::new()).expect("nothing to register");
    while handle.try_send(()).is_ok() {}
    let mut run = pin!(driver.run());
    smol::block_on(async {
        while count.load(SeqCst) < s2s_smol::COMMANDS {
            let before = count.load(SeqCst);
            assert!(poll_once(&mut run).await.is_none(), "it goes on");
            let taken = count.load(SeqCst) - before;
            assert!(taken <= AT_ONCE, "{taken} commands");
        }
    });
}
