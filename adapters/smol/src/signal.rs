//! A flag that one task of this thread waits for.

use std::cell::Cell;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

/// Set from anywhere on the thread, awaited by one task. Setting it before the wait is not lost.
#[derive(Default)]
pub(crate) struct Signal {
    raised: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl Signal {
    /// Raises the flag and wakes the task that waits, if one does.
    pub(crate) fn set(&self) {
        self.raised.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Lowers the flag. From here to the next wait, raising it wakes nobody: the task is running already.
    pub(crate) fn clear(&self) {
        self.raised.set(false);
        self.waker.take();
    }

    /// Ready, and lowered, if the flag is raised.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        if self.raised.replace(false) {
            return Poll::Ready(());
        }
        self.waker.set(Some(cx.waker().clone()));
        Poll::Pending
    }

    /// Waits for the flag and lowers it.
    pub(crate) async fn wait(&self) {
        poll_fn(|cx| self.poll(cx)).await;
    }
}
