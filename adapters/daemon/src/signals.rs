//! Signals as bytes in a pipe that a task can wait on.

use std::io;
use std::os::unix::net::UnixStream;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;
use smol::Async;

/// What the operator may ask of a running process.
#[derive(Debug)]
pub(crate) struct Signals {
    end: Async<UnixStream>,
    reload: Async<UnixStream>,
}

impl Signals {
    /// Takes over SIGTERM, SIGINT and SIGHUP.
    pub(crate) fn register() -> io::Result<Self> {
        Ok(Self { end: waiting_for(&[SIGTERM, SIGINT])?, reload: waiting_for(&[SIGHUP])? })
    }

    /// Waits for SIGTERM or SIGINT.
    pub(crate) async fn end(&self) {
        next(&self.end).await;
    }

    /// Waits for SIGHUP.
    pub(crate) async fn reload(&self) {
        next(&self.reload).await;
    }
}

fn waiting_for(signals: &[i32]) -> io::Result<Async<UnixStream>> {
    let (read, write) = UnixStream::pair()?;
    for signal in signals {
        pipe::register(*signal, write.try_clone()?)?;
    }
    Async::new(read)
}

/// Waits until there is at least one byte, and takes all: signals of one kind that come together are one.
async fn next(pipe: &Async<UnixStream>) {
    let mut bytes = [0; 64];
    // The writing end lives as long as the process, so that reading can neither end nor fail.
    let _ = pipe.read_with(|mut pipe| io::Read::read(&mut pipe, &mut bytes)).await;
}
