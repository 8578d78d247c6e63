//! The driver's side of the contract: what every driver has to do right, and none of it is I/O.

use std::io;
use std::time::{Duration, Instant};

use super::{Effect, Machine};
use crate::time::{Anchor, later};

/// How often the wall clock is compared with the monotonic one.
pub const CLOCK_CHECK: Duration = Duration::from_secs(2);

/// When what was [postponed](Driven::postpone) is to be done again.
pub const POSTPONEMENT: Duration = Duration::from_millis(100);

/// By how much the two clocks may disagree before the machine is told.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(1);

/// A machine in the hands of its driver, who makes each call by [`report`](Self::report), does what
/// [`step`](Self::step) says until there is nothing left, and calls [`handle_time`](Self::handle_time) at the
/// [`deadline`](Self::deadline).
///
/// This keeps the order of the [contract](crate): time never goes back, effects come before events, and events only
/// while the application has room.
#[derive(Debug)]
pub struct Driven<M> {
    machine: M,
    now: Instant,
    outlet: Outlet,
    /// Both clocks at the last step, or at the first look.
    clock: Option<Anchor>,
    clock_check: Instant,
    /// Effects that failed at once.
    failed: Vec<(Effect, io::ErrorKind)>,
    /// Effects that could not be done for now.
    postponed: Vec<Effect>,
    /// From when on they are to be done again.
    again_at: Option<Instant>,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<E> {
    /// What the machine asks for.
    Effect(Effect),
    /// To be told to the application.
    Event(E),
}

/// Whether the application takes events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlet {
    /// Events are taken from the machine as they come.
    Open,
    /// There is no room for another, or one that was taken still waits for it: the others stay in the machine.
    Full,
    /// Nobody will take another.
    Closed,
}

impl<M: Machine> Driven<M> {
    /// Takes a machine. The first call of [`handle_time`](Self::handle_time) is due at once: the wall clock is watched
    /// for steps from then on.
    #[must_use]
    pub const fn new(machine: M, now: Instant) -> Self {
        Self {
            machine,
            now,
            outlet: Outlet::Open,
            clock: None,
            clock_check: now,
            failed: Vec::new(),
            postponed: Vec::new(),
            again_at: None,
        }
    }

    /// The machine, for what can be asked without a call: `pending` and `interest`.
    #[must_use]
    pub const fn machine(&self) -> &M {
        &self.machine
    }

    /// Gives the machine back.
    #[must_use]
    pub fn into_machine(self) -> M {
        self.machine
    }

    /// Makes one call, at `now` or, if that is later, at the time of the last one.
    pub fn report<R>(&mut self, now: Instant, call: impl FnOnce(&mut M, Instant) -> R) -> R {
        self.now = self.now.max(now);
        call(&mut self.machine, self.now)
    }

    /// What to do next. `None`: wait for a socket, the application, or the [`deadline`](Self::deadline).
    #[must_use]
    pub fn step(&mut self) -> Option<Step<M::Event>> {
        loop {
            if let Some(effect) = self.machine.poll_effect() {
                self.postponed.retain(|postponed| !effect.ends(postponed));
                self.failed.retain(|(failed, _)| !effect.ends(failed));
                return Some(Step::Effect(effect));
            }
            match self.failed.pop() {
                Some((Effect::Dial { conn, .. }, error)) => self.machine.handle_closed(self.now, conn, error),
                Some((Effect::Ask { query, .. }, _)) => self.machine.handle_reply(self.now, query, None),
                Some(_) => {}
                None => break,
            }
        }
        if self.again_at.is_none()
            && let Some(effect) = self.postponed.pop()
        {
            return Some(Step::Effect(effect));
        }
        if self.outlet == Outlet::Full {
            return None;
        }
        self.machine.poll_event().map(Step::Event)
    }

    /// Says whether the application takes events: [`Outlet::Open`] at first, and to be said before a [`step`](Self::step)
    /// whenever it has changed.
    pub const fn set_outlet(&mut self, outlet: Outlet) {
        self.outlet = outlet;
    }

    /// What `effect` asks for has failed at once: a dial or a query. The machine is told by a later [`step`](Self::step), when
    /// the call that led to it is settled, unless it has lost interest before.
    pub fn fail(&mut self, effect: Effect, error: io::ErrorKind) {
        self.failed.push((effect, error));
    }

    /// What `effect` asks for cannot be done for now, through no fault of the other end: there is no descriptor for a socket,
    /// or no thread, and nothing has begun. It is a step again within [`POSTPONEMENT`], unless the machine has lost patience before. So sockets are made where the
    /// step is taken, and not in a task that waits for the connection: there the effect is no longer at hand.
    pub fn postpone(&mut self, effect: Effect) {
        self.postponed.push(effect);
        self.again_at.get_or_insert_with(|| later(self.now, POSTPONEMENT));
    }

    /// When to call [`handle_time`](Self::handle_time) at the latest.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        let due = self.machine.poll_timeout().map(|(due, _)| due);
        due.into_iter().chain(self.again_at).fold(self.clock_check, Instant::min)
    }

    /// A deadline may have come: makes the one call that is due, if one is. `unix` is the wall-clock time.
    pub fn handle_time(&mut self, now: Instant, unix: Duration) {
        self.now = self.now.max(now);
        self.again_at = self.again_at.filter(|at| *at > now);
        if now >= self.clock_check {
            self.clock_check = later(now, CLOCK_CHECK);
            let clock = *self.clock.get_or_insert(Anchor { instant: now, unix });
            if unix.abs_diff(clock.unix_at(now)) > CLOCK_TOLERANCE {
                self.clock = Some(Anchor { instant: now, unix });
                self.report(now, |machine, now| machine.handle_clock(now, unix));
            }
        } else if self.deadline() <= now {
            self.report(now, M::handle_timeout);
        }
    }

    /// Whether the driver may end, to be asked when there is no [`step`](Self::step) left: the machine has finished; or,
    /// finished or not, nobody is there to take its events ([`Outlet::Closed`]).
    #[must_use]
    pub fn is_over(&self) -> bool {
        match self.outlet {
            Outlet::Open => self.machine.is_finished(),
            Outlet::Full => false,
            Outlet::Closed => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::machine::{ConnId, Interest, Listener, QueryId, Transport};

    /// Notes its calls, and says what it is told to say.
    #[derive(Default)]
    struct Notebook {
        calls: Vec<(&'static str, Instant)>,
        clock: Option<Duration>,
        due: Option<Instant>,
        effects: Vec<Effect>,
        events: Vec<u8>,
        finished: bool,
    }

    impl Machine for Notebook {
        type Command = ();
        type Event = u8;

        fn handle_accept(&mut self, _: Instant, _: SocketAddr, _: Listener) -> Option<ConnId> {
            None
        }
        fn handle_connected(&mut self, _: Instant, _: ConnId) {}
        fn handle_bytes(&mut self, _: Instant, _: ConnId, _: &[u8]) {}
        fn handle_eof(&mut self, _: Instant, _: ConnId) {}
        fn handle_sent(&mut self, _: Instant, _: ConnId, _: usize) {}
        fn handle_closed(&mut self, now: Instant, _: ConnId, _: io::ErrorKind) {
            self.calls.push(("closed", now));
        }
        fn handle_reply(&mut self, now: Instant, _: QueryId, _: Option<&[u8]>) {
            self.calls.push(("reply", now));
        }
        fn handle_timeout(&mut self, now: Instant) {
            self.calls.push(("timeout", now));
            self.due = None;
        }
        fn handle_clock(&mut self, now: Instant, unix: Duration) {
            self.calls.push(("clock", now));
            self.clock = Some(unix);
        }
        fn handle_command(&mut self, now: Instant, (): ()) {
            self.calls.push(("command", now));
        }
        fn poll_effect(&mut self) -> Option<Effect> {
            self.effects.pop()
        }
        fn poll_event(&mut self) -> Option<u8> {
            let event = self.events.pop()?;
            // What is taken may raise effects.
            self.effects.push(Effect::Wake(ConnId(u64::from(event))));
            Some(event)
        }
        fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
            self.due.map(|due| (due, "due"))
        }
        fn pending(&self, _: ConnId) -> &[u8] {
            &[]
        }
        fn interest(&self, _: ConnId) -> Interest {
            Interest { read: false, write: false }
        }
        fn is_finished(&self) -> bool {
            self.finished
        }
    }

    const UNIX: Duration = Duration::from_secs(1_000_000);

    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn driven() -> (Driven<Notebook>, Instant) {
        let start = Instant::now();
        let mut driven = Driven::new(Notebook::default(), start);
        assert_eq!(driven.deadline(), start, "the clock is looked at first");
        driven.handle_time(start, UNIX);
        (driven, start)
    }

    #[test]
    fn time_never_goes_back() {
        let (mut driven, start) = driven();
        let later = start + Duration::from_secs(1);
        for now in [later, start] {
            driven.report(now, |machine, now| machine.handle_command(now, ()));
        }
        assert_eq!(driven.machine().calls, [("command", later), ("command", later)]);
    }

    #[test]
    fn what_an_event_raises_is_done_before_the_next_event() {
        let (mut driven, _) = driven();
        driven.machine.events = vec![2, 1];
        let wake = |conn| Some(Step::Effect(Effect::Wake(ConnId(conn))));
        assert_eq!(driven.step(), Some(Step::Event(1)));
        assert_eq!(driven.step(), wake(1));
        assert_eq!(driven.step(), Some(Step::Event(2)));
        assert_eq!(driven.step(), wake(2));
        assert_eq!(driven.step(), None);
    }

    #[test]
    fn effects_are_done_while_events_wait_for_room() {
        let (mut driven, _) = driven();
        driven.set_outlet(Outlet::Full);
        driven.machine.events = vec![1];
        driven.machine.effects = vec![Effect::Drop(ConnId(7))];
        driven.machine.finished = true;
        assert_eq!(driven.step(), Some(Step::Effect(Effect::Drop(ConnId(7)))));
        assert_eq!(driven.step(), None);
        assert!(!driven.is_over(), "an event waits");
        driven.set_outlet(Outlet::Open);
        assert_eq!(driven.step(), Some(Step::Event(1)));
        assert!(driven.is_over());
    }

    #[test]
    fn a_driver_without_an_application_is_over_whatever_its_machine_does() {
        let (mut driven, _) = driven();
        assert!(!driven.is_over());
        driven.set_outlet(Outlet::Closed);
        assert!(driven.is_over());
    }

    #[test]
    fn a_timeout_is_reported_when_it_is_due_and_not_before() {
        let (mut driven, start) = driven();
        let due = start + CLOCK_CHECK / 2;
        driven.machine.due = Some(due);
        assert_eq!(driven.deadline(), due);
        driven.handle_time(due - Duration::from_nanos(1), UNIX);
        assert_eq!(driven.machine().calls, []);
        driven.handle_time(due, UNIX);
        assert_eq!(driven.machine().calls, [("timeout", due)]);
        assert_eq!(driven.deadline(), start + CLOCK_CHECK);
    }

    #[test]
    fn a_step_of_the_wall_clock_either_way_is_told_once() {
        for forward in [true, false] {
            let (mut driven, start) = driven();
            let beyond = CLOCK_TOLERANCE + Duration::from_millis(1);
            let first = start + CLOCK_CHECK;
            let honest = UNIX + CLOCK_CHECK;
            let stepped = if forward { honest + beyond } else { honest - beyond };
            driven.handle_time(first, stepped);
            assert_eq!(driven.machine().calls, [("clock", first)]);
            assert_eq!(driven.machine().clock, Some(stepped));
            driven.handle_time(first + CLOCK_CHECK, stepped + CLOCK_CHECK);
            assert_eq!(driven.machine().calls.len(), 1);
        }
    }

    #[test]
    fn what_was_postponed_comes_again_after_a_while_unless_it_is_unwanted_by_then() {
        let (mut driven, start) = driven();
        let dial =
            |conn| Effect::Dial { conn: ConnId(conn), addr: SocketAddr::from(([192, 0, 2, 1], 5269)), from: None };
        driven.machine.effects = vec![dial(1), dial(2), dial(3)];
        while let Some(Step::Effect(effect)) = driven.step() {
            driven.postpone(effect);
        }
        assert_eq!(driven.deadline(), start + POSTPONEMENT);
        driven.handle_time(start + POSTPONEMENT / 2, UNIX);
        driven.machine.effects = vec![Effect::Drop(ConnId(2))];
        assert_eq!(driven.step(), Some(Step::Effect(Effect::Drop(ConnId(2)))));
        assert_eq!(driven.step(), None, "not yet");
        driven.handle_time(start + POSTPONEMENT, UNIX);
        assert_eq!(driven.step(), Some(Step::Effect(dial(1))));
        assert_eq!(driven.step(), Some(Step::Effect(dial(3))));
        assert_eq!((driven.step(), driven.deadline()), (None, start + CLOCK_CHECK));
        driven.postpone(dial(3));
        assert_eq!(driven.deadline(), start + 2 * POSTPONEMENT, "a while from then, though nothing was reported");
    }

    #[test]
    fn of_a_query_that_is_forgotten_nothing_comes_again_and_nothing_is_told() {
        let (mut driven, start) = driven();
        let server = SocketAddr::from(([192, 0, 2, 53], 53));
        let ask = |query| Effect::Ask { query: QueryId(query), server, transport: Transport::Udp, message: Vec::new() };
        driven.postpone(ask(1));
        driven.postpone(ask(2));
        driven.fail(ask(3), io::ErrorKind::NetworkUnreachable);
        driven.machine.effects = vec![Effect::Forget(QueryId(3)), Effect::Forget(QueryId(1))];
        assert_eq!(driven.step(), Some(Step::Effect(Effect::Forget(QueryId(1)))));
        assert_eq!(driven.step(), Some(Step::Effect(Effect::Forget(QueryId(3)))));
        driven.handle_time(start + POSTPONEMENT, UNIX);
        assert_eq!((driven.step(), driven.step()), (Some(Step::Effect(ask(2))), None));
        assert_eq!(driven.machine().calls, []);
    }

    #[test]
    fn what_failed_at_once_is_told_after_all_effects_unless_it_is_unwanted_by_then() {
        let (mut driven, start) = driven();
        let dial =
            |conn| Effect::Dial { conn: ConnId(conn), addr: SocketAddr::from(([192, 0, 2, 1], 5269)), from: None };
        let server = SocketAddr::from(([192, 0, 2, 53], 53));
        let ask = Effect::Ask { query: QueryId(1), server, transport: Transport::Udp, message: Vec::new() };
        driven.machine.effects = vec![Effect::Drop(ConnId(2)), ask, dial(2), dial(1)];
        while let Some(Step::Effect(effect)) = driven.step() {
            if !matches!(effect, Effect::Drop(_)) {
                driven.fail(effect, io::ErrorKind::NetworkUnreachable);
            }
            assert!(driven.machine.effects.is_empty() || driven.machine().calls.is_empty(), "one call at a time");
        }
        assert_eq!(driven.machine().calls, [("reply", start), ("closed", start)], "one dial was dropped");
        assert_eq!(driven.step(), None);
        assert_eq!(driven.machine().calls.len(), 2, "each is told once");
    }

    #[test]
    fn clocks_that_agree_within_a_second_are_left_alone() {
        let (mut driven, start) = driven();
        let honest = UNIX + CLOCK_CHECK;
        driven.handle_time(start + CLOCK_CHECK, honest + CLOCK_TOLERANCE);
        driven.handle_time(start + CLOCK_CHECK * 2, honest + CLOCK_CHECK - CLOCK_TOLERANCE);
        assert_eq!(driven.machine().calls, []);
    }

    #[test]
    fn a_timeout_that_is_due_together_with_a_look_at_the_clock_is_not_forgotten() {
        let (mut driven, start) = driven();
        driven.machine.due = Some(start + CLOCK_CHECK);
        driven.handle_time(driven.deadline(), UNIX + CLOCK_CHECK);
        assert_eq!(driven.deadline(), start + CLOCK_CHECK, "it is still due");
        driven.handle_time(driven.deadline(), UNIX + CLOCK_CHECK);
        assert_eq!(driven.machine().calls, [("timeout", start + CLOCK_CHECK)]);
    }
}
