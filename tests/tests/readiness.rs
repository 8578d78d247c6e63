//! One thread serves everybody: whoever always has more is served a little at a time, and between two of these times it is
//! looked which sockets are ready. With `s2s-smol` whoever runs the driver can do so.

use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use s2s_core::machine::{ConnId, Effect, Interest, Listener, Machine, QueryId};
use s2s_smol::{COMMANDS, Driver};
use s2s_sockets::READ_BYTES;
use s2s_tests::sockets::listen;
use smol::future::{poll_once, yield_now};

/// Reads of one connection that there may be at a time: one, and some if another thread looks at the sockets meanwhile.
const READS: usize = 4;
/// Commands that may be taken at a time.
const AT_ONCE: usize = 16;
/// After this, what a test waits for will not come.
const DEADLINE: Duration = Duration::from_secs(120);

/// Counts what it is told.
#[derive(Clone, Default)]
struct Counter {
    accepted: Arc<AtomicUsize>,
    reads: Arc<AtomicUsize>,
    bytes: Arc<AtomicUsize>,
    commands: Arc<AtomicUsize>,
    /// A deadline that has always come, until a connection is accepted.
    due: Option<Instant>,
}

impl Machine for Counter {
    type Command = ();
    type Event = ();

    fn handle_accept(&mut self, _: Instant, _: SocketAddr, _: Listener) -> Option<ConnId> {
        self.accepted.fetch_add(1, SeqCst);
        Some(ConnId(1))
    }

    fn handle_bytes(&mut self, _: Instant, _: ConnId, bytes: &[u8]) {
        self.reads.fetch_add(1, SeqCst);
        self.bytes.fetch_add(bytes.len(), SeqCst);
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

    fn poll_event(&mut self) -> Option<()> {
        None
    }

    fn poll_effect(&mut self) -> Option<Effect> {
        None
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.due.map(|due| (due, "always"))
    }

    fn is_finished(&self) -> bool {
        self.due.is_some() && self.accepted.load(SeqCst) > 0
    }

    fn handle_connected(&mut self, _: Instant, _: ConnId) {}
    fn handle_sent(&mut self, _: Instant, _: ConnId, _: usize) {}
    fn handle_eof(&mut self, _: Instant, _: ConnId) {}
    fn handle_closed(&mut self, _: Instant, _: ConnId, _: ErrorKind) {}
    fn handle_reply(&mut self, _: Instant, _: QueryId, _: Option<&[u8]>) {}
    fn handle_timeout(&mut self, _: Instant) {}
    fn handle_clock(&mut self, _: Instant, _: Duration) {}
}

/// Lets a driver run until `count` has come to `end`: the most by which it grew at a time.
fn most_at_a_time(driver: Driver<Counter>, count: &AtomicUsize, mut end: impl FnMut() -> bool) -> usize {
    let (mut run, mut most, begin) = (pin!(driver.run()), 0, Instant::now());
    smol::block_on(async {
        while !end() {
            assert!(begin.elapsed() < DEADLINE, "it does not come");
            let before = count.load(SeqCst);
            assert!(poll_once(&mut run).await.is_none(), "it goes on");
            most = most.max(count.load(SeqCst) - before);
            yield_now().await;
        }
    });
    most
}

#[test]
fn who_has_much_to_read_is_read_once_at_a_time() {
    let (listener, addr) = listen();
    let counter = Counter::default();
    let (driver, _handle) = Driver::new(counter.clone(), vec![(Listener::StartTls, listener)]).expect("a listener");
    let mut peer = TcpStream::connect(addr).expect("it listens");
    peer.set_nonblocking(true).expect("a socket");
    // Everything is there before the first read.
    let mut written = 0;
    while let Ok(length) = peer.write(&[0; READ_BYTES]) {
        written += length;
    }
    assert!(written > 4 * READS * READ_BYTES, "{written} bytes are too few to tell");
    let most = most_at_a_time(driver, &counter.reads, || counter.bytes.load(SeqCst) >= written);
    assert_eq!(counter.accepted.load(SeqCst), 1);
    assert!(most <= READS, "{most} reads");
}

#[test]
fn who_has_many_commands_has_a_few_taken_at_a_time() {
    let counter = Counter::default();
    let (driver, handle) = Driver::new(counter.clone(), Vec::new()).expect("nothing to register");
    while handle.try_send(()).is_ok() {}
    let most = most_at_a_time(driver, &counter.commands, || counter.commands.load(SeqCst) >= COMMANDS);
    assert!(most <= AT_ONCE, "{most} commands");
}

/// Whether a driver with a machine that always has something to do accepts a connection.
fn accepts(run: impl FnOnce(Counter, TcpListener) + Send + 'static) {
    let (listener, addr) = listen();
    let counter = Counter { due: Some(Instant::now()), ..Counter::default() };
    let (done, ended) = mpsc::channel();
    // A thread that does not come back cannot be ended.
    thread::spawn(move || {
        run(counter, listener);
        done.send(()).expect("somebody waits");
    });
    let _peer = TcpStream::connect(addr).expect("it listens");
    ended.recv_timeout(DEADLINE).expect("nobody looks at the sockets");
}

#[test]
fn a_deadline_that_has_always_come_holds_up_no_socket() {
    accepts(|counter, listener| {
        let (driver, _handle) = Driver::new(counter, vec![(Listener::StartTls, listener)]).expect("a listener");
        smol::block_on(driver.run());
    });
    accepts(|counter, listener| {
        let (driver, _handle) = s2s_std::Driver::new(counter, vec![(Listener::StartTls, listener)]).expect("threads");
        let _ = driver.run();
    });
}
