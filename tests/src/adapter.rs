//! The adapters, seen from whoever drives a machine with either: all the same but for how one waits.

use std::net::TcpListener;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use s2s_core::machine::{Listener, Machine};

/// What drives a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Adapter {
    /// `s2s-smol`.
    Smol,
    /// `s2s-std`.
    Threads,
}

impl Adapter {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Smol, Self::Threads];

    /// As the configuration of `s2sd` names it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Smol => "smol",
            Self::Threads => "threads",
        }
    }

    /// The one that [`as_str`](Self::as_str) names so.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|adapter| adapter.as_str() == name)
    }

    /// Runs a machine on a thread of its own.
    pub fn run<M: Machine + Send + 'static>(
        self,
        machine: M,
        listeners: Vec<(Listener, TcpListener)>,
    ) -> (Handle<M::Command, M::Event>, JoinHandle<M>)
    where
        M::Command: Send,
        M::Event: Send,
    {
        self.run_with(machine, listeners, s2s_sockets::wall_clock)
    }

    /// Runs a machine on a thread of its own, with another wall clock.
    pub fn run_with<M: Machine + Send + 'static>(
        self,
        machine: M,
        listeners: Vec<(Listener, TcpListener)>,
        wall: impl Fn() -> Duration + Send + 'static,
    ) -> (Handle<M::Command, M::Event>, JoinHandle<M>)
    where
        M::Command: Send,
        M::Event: Send,
    {
        match self {
            Self::Smol => {
                let (driver, handle) = s2s_smol::Driver::new(machine, listeners).expect("listeners can be watched");
                let driver = driver.with_wall_clock(wall);
                (Handle::Smol(handle), thread::spawn(move || smol::block_on(driver.run())))
            }
            Self::Threads => {
                let (driver, handle) = s2s_std::Driver::new(machine, listeners).expect("listeners can block");
                let driver = driver.with_wall_clock(wall);
                (Handle::Threads(handle), thread::spawn(move || driver.run()))
            }
        }
    }
}

/// The application's side of a driver. Whoever waits too long is found by the suite.
#[derive(Debug)]
pub enum Handle<C, E> {
    /// Of `s2s-smol`.
    Smol(s2s_smol::Handle<C, E>),
    /// Of `s2s-std`.
    Threads(s2s_std::Handle<C, E>),
}

impl<C, E> Handle<C, E> {
    /// Sends a command, or gives it back.
    pub fn send(&self, command: C) -> Result<(), C> {
        match self {
            Self::Smol(handle) => {
                smol::future::block_on(handle.send(command)).map_err(smol::channel::SendError::into_inner)
            }
            Self::Threads(handle) => handle.send(command).map_err(|error| error.0),
        }
    }

    /// Sends a command if there is room, or gives it back and says whether there was none.
    pub fn try_send(&self, command: C) -> Result<(), (C, bool)> {
        match self {
            Self::Smol(handle) => handle.try_send(command).map_err(|error| {
                let is_full = error.is_full();
                (error.into_inner(), is_full)
            }),
            Self::Threads(handle) => handle.try_send(command).map_err(|error| match error {
                std::sync::mpsc::TrySendError::Full(command) => (command, true),
                std::sync::mpsc::TrySendError::Disconnected(command) => (command, false),
            }),
        }
    }

    /// The next event, or `None` at the end.
    pub fn event(&self) -> Option<E> {
        match self {
            Self::Smol(handle) => smol::future::block_on(handle.event()),
            Self::Threads(handle) => handle.event(),
        }
    }
}

impl<C, E> Clone for Handle<C, E> {
    fn clone(&self) -> Self {
        match self {
            Self::Smol(handle) => Self::Smol(handle.clone()),
            Self::Threads(handle) => Self::Threads(handle.clone()),
        }
    }
}

/// The arguments `[smol | threads] [NUMBER..]` of this program, with at most so many numbers. `None`: these are others.
#[must_use]
pub fn arguments(most: usize) -> Option<(Option<Adapter>, Vec<u64>)> {
    let mut arguments: Vec<_> = std::env::args().skip(1).collect();
    let named = arguments.first().and_then(|first| Adapter::named(first));
    if named.is_some() {
        arguments.remove(0);
    }
    let numbers: Vec<_> = arguments.iter().map(|text| text.parse().ok()).collect::<Option<_>>()?;
    (numbers.len() <= most).then_some((named, numbers))
}
