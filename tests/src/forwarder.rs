//! A TCP forwarder that resets and stalls connections at random, for a bounded time, between two nodes.

use std::cell::Cell;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use smol::future::{or, zip};
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::{Async, LocalExecutor, Timer};

/// The longest that a connection lives without a fault.
const QUIET: Duration = Duration::from_millis(4000);
/// The longest stall.
const STALL: Duration = Duration::from_millis(2000);
/// Of so many faults one is a reset.
const RESETS: u64 = 4;

/// A forwarder.
#[derive(Debug)]
pub struct Forwarder {
    /// Where it listens.
    pub addr: SocketAddr,
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    faulty: AtomicBool,
    ended: AtomicBool,
    resets: AtomicU64,
    stalls: AtomicU64,
}

impl Forwarder {
    /// Forwards to `target`, with faults drawn from `seed`.
    #[must_use]
    pub fn start(target: SocketAddr, seed: u64) -> Self {
        let (listener, addr) = crate::sockets::listen();
        let shared = Arc::new(Shared { faulty: AtomicBool::new(true), ..Shared::default() });
        let own = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            let listener = Async::new(listener).expect("it can be watched");
            let executor = LocalExecutor::new();
            let accept = async {
                let mut random = Random(seed);
                while let Ok((socket, _)) = listener.accept().await {
                    let (random, shared) = (Random(random.number()), &*own);
                    executor.spawn(async move { forward(socket, target, random, shared).await }).detach();
                }
            };
            let ended = async {
                while !own.ended.load(Ordering::Relaxed) {
                    Timer::after(Duration::from_millis(50)).await;
                }
            };
            smol::block_on(executor.run(or(accept, ended)));
        });
        Self { addr, shared, thread }
    }

    /// Forwards without faults from now on.
    pub fn behave(&self) {
        self.shared.faulty.store(false, Ordering::Relaxed);
    }

    /// Ends it, and tells how many resets and stalls there were.
    #[must_use]
    pub fn end(self) -> (u64, u64) {
        self.shared.ended.store(true, Ordering::Relaxed);
        self.thread.join().expect("it does not panic");
        (self.shared.resets.load(Ordering::Relaxed), self.shared.stalls.load(Ordering::Relaxed))
    }
}

/// Both ways of one connection, until both have ended or fate strikes.
async fn forward(near: Async<TcpStream>, target: SocketAddr, mut random: Random, shared: &Shared) {
    let Ok(far) = Async::<TcpStream>::connect(target).await else { return };
    let stalled = Cell::new(Instant::now());
    let moving = async {
        let ways = zip(copy(&near, &far, &stalled), copy(&far, &near, &stalled)).await;
        drop(ways);
    };
    let fate = async {
        loop {
            Timer::after(random.below(QUIET)).await;
            if !shared.faulty.load(Ordering::Relaxed) {
                continue;
            }
            if random.number().is_multiple_of(RESETS) {
                shared.resets.fetch_add(1, Ordering::Relaxed);
                for socket in [&near, &far] {
                    // With nothing to linger for, closing it is a reset.
                    let _ = socket2::SockRef::from(socket.get_ref()).set_linger(Some(Duration::ZERO));
                }
                return;
            }
            shared.stalls.fetch_add(1, Ordering::Relaxed);
            stalled.set(Instant::now() + random.below(STALL));
        }
    };
    or(moving, fate).await;
}

async fn copy(from: &Async<TcpStream>, to: &Async<TcpStream>, stalled: &Cell<Instant>) -> io::Result<()> {
    let (mut from, mut to) = (from, to);
    let mut buffer = vec![0; 16_384];
    loop {
        let length = from.read(&mut buffer).await?;
        while stalled.get() > Instant::now() {
            Timer::at(stalled.get()).await;
        }
        if length == 0 {
            return to.get_ref().shutdown(Shutdown::Write);
        }
        to.write_all(&buffer[..length]).await?;
    }
}

/// Numbers that look random, the same for the same seed.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number (SplitMix64).
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A time below `bound`.
    pub fn below(&mut self, bound: Duration) -> Duration {
        Duration::from_micros(self.number() % u64::try_from(bound.as_micros()).unwrap_or(u64::MAX).max(1))
    }
}
