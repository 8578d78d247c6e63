//! How one task of this thread is made to look at its condition again.

use std::cell::Cell;
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// One task waits, others ring.
#[derive(Default)]
pub(crate) struct Bell(Cell<Option<Waker>>);

impl Bell {
    /// Wakes the task that waits, if one does.
    pub(crate) fn ring(&self) {
        if let Some(waker) = self.0.take() {
            waker.wake();
        }
    }

    /// Waits until the condition holds. Whoever makes it true has to ring.
    pub(crate) async fn until(&self, condition: impl Fn() -> bool) {
        let look = poll_fn(|cx| {
            if condition() {
                return Poll::Ready(());
            }
            self.0.set(Some(cx.waker().clone()));
            Poll::Pending
        });
        look.await;
    }
}
