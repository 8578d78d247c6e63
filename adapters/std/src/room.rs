//! Room for commands: so many may wait for the machine.
//!
//! The channel has a bound of its own, but whoever waits there is woken by every command that is taken, to send one and
//! wait again. Here all that wait go on together, when half of the room is free.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use s2s_sockets::COMMANDS;

/// As many may wait when those go on who found no room.
const HALF: usize = COMMANDS / 2;

/// How many commands wait, and who waits for there to be fewer.
#[derive(Debug, Default)]
pub(crate) struct Room {
    waiting: AtomicUsize,
    /// The driver has ended: there is nothing to wait for.
    is_over: AtomicBool,
    /// Who waits for room. Nobody goes past them.
    sleepers: AtomicUsize,
    /// How often they were let go on.
    turns: Mutex<u64>,
    opened: Condvar,
}

impl Room {
    /// Takes room for one command if there is some.
    pub(crate) fn take(&self) -> bool {
        let more = |waiting| (waiting < COMMANDS).then_some(waiting + 1);
        self.is_over() || self.waiting.fetch_update(SeqCst, SeqCst, more).is_ok()
    }

    /// Takes room for one command as soon as there is some.
    pub(crate) fn wait(&self) {
        let mut goes_on = self.sleepers.load(SeqCst) == 0 && self.take();
        while !goes_on {
            let turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            self.sleepers.fetch_add(1, SeqCst);
            let since = *turns;
            let is_shut = |turns: &mut u64| *turns == since && self.waiting.load(SeqCst) > HALF && !self.is_over();
            drop(self.opened.wait_while(turns, is_shut));
            self.sleepers.fetch_sub(1, SeqCst);
            goes_on = self.take();
        }
    }

    /// A command has been taken, or was not sent after all.
    pub(crate) fn give_back(&self) {
        if self.waiting.fetch_sub(1, SeqCst) == HALF + 1 {
            self.open();
        }
    }

    fn is_over(&self) -> bool {
        self.is_over.load(SeqCst)
    }

    fn open(&self) {
        *self.turns.lock().unwrap_or_else(PoisonError::into_inner) += 1;
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
    use std::sync::mpsc::{Receiver, channel};
    use std::thread;
    use std::time::{Duration, Instant};

    const DEADLINE: Duration = Duration::from_secs(30);

    fn full() -> Arc<Room> {
        let room = Arc::<Room>::default();
        assert!((0..COMMANDS).all(|_| room.take()));
        assert!(!room.take(), "there was no room left");
        room
    }

    /// So many threads that wait for room, besides others, and a channel on which each says that it goes on.
    fn sleepers(room: &Arc<Room>, count: usize) -> Receiver<()> {
        let others = room.sleepers.load(SeqCst);
        let (gone_on, ways) = channel();
        for _ in 0..count {
            let (room, gone_on) = (Arc::clone(room), gone_on.clone());
            thread::spawn(move || {
                room.wait();
                gone_on.send(()).expect("the test waits");
            });
        }
        let begin = Instant::now();
        while room.sleepers.load(SeqCst) < others + count {
            assert!(begin.elapsed() < DEADLINE, "they wait for room");
            thread::yield_now();
        }
        ways
    }

    #[test]
    fn all_that_wait_for_room_go_on_together_when_half_is_free() {
        let room = full();
        let ways = sleepers(&room, 3);
        for _ in HALF + 1..COMMANDS {
            room.give_back();
        }
        assert_eq!((room.sleepers.load(SeqCst), ways.try_recv().is_err()), (3, true), "one less, and they go");
        room.give_back();
        for _ in 0..3 {
            ways.recv_timeout(DEADLINE).expect("there is room");
        }
        assert_eq!(room.waiting.load(SeqCst), HALF + 3);
    }

    #[test]
    fn nobody_goes_past_those_who_wait() {
        let room = full();
        let ways = sleepers(&room, 1);
        room.give_back();
        let more = sleepers(&room, 1);
        for _ in 0..HALF {
            room.give_back();
        }
        ways.recv_timeout(DEADLINE).expect("there is room");
        more.recv_timeout(DEADLINE).expect("there is room");
    }

    #[test]
    fn nobody_waits_for_a_driver_that_has_ended() {
        let room = full();
        let ways = sleepers(&room, 2);
        drop(Doorkeeper(Arc::clone(&room)));
        for _ in 0..2 {
            ways.recv_timeout(DEADLINE).expect("nobody is there to make room");
        }
        assert!(room.take());
    }
}
