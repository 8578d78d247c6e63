//! What drives the machines: `runtime = "smol"` or `"threads"`.

use std::io;
use std::net::TcpListener;
use std::thread;

use s2s_core::machine::{Listener, Machine};
use smol::future::zip;

/// The value of `runtime`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Runtime {
    /// Each machine and its sockets on one thread.
    #[default]
    Smol,
    /// Blocking sockets, with threads for each connection.
    Threads,
}

/// A machine with its listeners, to be run.
pub(crate) enum Driver<M: Machine> {
    Smol(s2s_smol::Driver<M>),
    Threads(Box<s2s_std::Driver<M>>),
}

/// The application's side of a driver.
#[derive(Debug)]
pub(crate) enum Handle<C, E> {
    Smol(s2s_smol::Handle<C, E>),
    Threads(s2s_std::Handle<C, E>),
}

impl<M: Machine + Send + 'static> Driver<M>
where
    M::Command: Send,
    M::Event: Send,
{
    /// Takes a machine and what it listens on.
    #[expect(clippy::type_complexity, reason = "an alias would hide what is returned")]
    pub(crate) fn new(
        runtime: Runtime,
        machine: M,
        listeners: Vec<(Listener, TcpListener)>,
    ) -> io::Result<(Self, Handle<M::Command, M::Event>)> {
        match runtime {
            Runtime::Smol => {
                let (driver, handle) = s2s_smol::Driver::new(machine, listeners)?;
                Ok((Self::Smol(driver), Handle::Smol(handle)))
            }
            Runtime::Threads => {
                let (driver, handle) = s2s_std::Driver::new(machine, listeners)?;
                Ok((Self::Threads(Box::new(driver)), Handle::Threads(handle)))
            }
        }
    }

    /// Runs until the machine has finished.
    pub(crate) async fn run(self) {
        match self {
            Self::Smol(driver) => drop(driver.run().await),
            Self::Threads(driver) => drop(smol::unblock(move || driver.run()).await),
        }
    }

    /// Runs until the machine has finished, with what goes on beside it. It takes this thread until then.
    pub(crate) fn run_beside(self, bridge: impl Future<Output = ()>) {
        match self {
            Self::Smol(driver) => drop(smol::block_on(zip(driver.run(), bridge))),
            Self::Threads(driver) => thread::scope(|scope| {
                scope.spawn(move || driver.run());
                smol::block_on(bridge);
            }),
        }
    }
}

/// What waits does so on a thread of its own where the runtime is one of threads: there it blocks.
impl<C, E> Handle<C, E> {
    /// Sends a command, waiting while too many wait already. A machine that has ended gives it back.
    pub(crate) async fn send(&self, command: C) -> Result<(), C> {
        match self {
            Self::Smol(handle) => handle.send(command).await.map_err(smol::channel::SendError::into_inner),
            Self::Threads(handle) => handle.send(command).map_err(|std::sync::mpsc::SendError(command)| command),
        }
    }

    /// Sends a command if there is room for it now. Returns whether there was.
    pub(crate) fn try_send(&self, command: C) -> bool {
        match self {
            Self::Smol(handle) => handle.try_send(command).is_ok(),
            Self::Threads(handle) => handle.try_send(command).is_ok(),
        }
    }

    /// Waits for the next event. `None`: the machine has ended.
    pub(crate) async fn event(&self) -> Option<E> {
        match self {
            Self::Smol(handle) => handle.event().await,
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
