//! Room for commands: so many may wait for the machine.
//!
//! The channel has a bound of its own, but whoever waits there is woken by every command that is taken, to send one and
//! wait again. Here all that wait go on together, when there is room for half.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use s2s_sockets::COMMANDS;

/// How many commands wait, and who waits for there to be fewer.
#[derive(Debug, Default)]
pub(crate) struct Room {
    waiting: AtomicUsize,
    /// The driver has ended: there is nothing to wait for.
    is_over: AtomicBool,
    gate: Mutex<()>,
    opened: Condvar,
}

impl Room {
    /// Takes room for one command if there is some.
    pub(crate) fn take(&self) -> bool {
        let more = |waiting| (waiting < COMMANDS).then_some(waiting + 1);
        self.is_over.load(SeqCst) || self.waiting.fetch_update(SeqCst, SeqCst, more).is_ok()
    }

    /// Takes room for one command as soon as there is some.
    pub(crate) fn wait(&self) {
        while !self.take() {
            let is_shut = |_: &mut ()| self.waiting.load(SeqCst) > COMMANDS / 2 && !self.is_over.load(SeqCst);
            let gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
            drop(self.opened.wait_while(gate, is_shut));
        }
    }

    /// A command has been taken, or was not sent after all.
    pub(crate) fn give_back(&self) {
        if self.waiting.fetch_sub(1, SeqCst) == COMMANDS / 2 + 1 {
            self.open();
        }
    }

    fn open(&self) {
        // Who has looked and does not wait yet holds the lock until it does.
        drop(self.gate.lock());
        self.opened.notify_all();
    }
}

/// The driver's side. Dropping this lets everybody go on.
pub(crate) struct Doorkeeper(pub(crate) Arc<Room>);

impl Drop for Doorkeeper {
    fn drop(&mut self) {
        self.0.is_over.store(true, SeqCst);
        self.0.open();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::Duration;

    const DEADLINE: Duration = Duration::from_secs(30);

    fn full() -> Arc<Room> {
        let room = Arc::<Room>::default();
        assert!((0..COMMANDS).all(|_| room.take()));
        assert!(!room.take(), "there was no room left");
        room
    }

    #[test]
    fn all_that_wait_for_room_go_on_when_there_is_room_for_half() {
        let room = full();
        let (gone_on, ways) = channel();
        for _ in 0..3 {
            let (room, gone_on) = (Arc::clone(&room), gone_on.clone());
            thread::spawn(move || {
                room.wait();
                gone_on.send(()).expect("the test waits");
            });
        }
        for _ in 0..COMMANDS / 2 {
            assert!(ways.try_recv().is_err() || room.waiting.load(SeqCst) <= COMMANDS / 2 + 3);
            room.give_back();
        }
        for _ in 0..3 {
            ways.recv_timeout(DEADLINE).expect("there is room");
        }
        assert_eq!(room.waiting.load(SeqCst), COMMANDS - COMMANDS / 2 + 3);
    }

    #[test]
    fn nobody_waits_for_a_driver_that_has_ended() {
        let room = full();
        let waits = thread::spawn({
            let room = Arc::clone(&room);
            move || room.wait()
        });
        drop(Doorkeeper(Arc::clone(&room)));
        waits.join().expect("it goes on");
        assert!(room.take());
    }
}
