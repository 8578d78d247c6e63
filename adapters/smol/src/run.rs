//! The loop: every call into the machine, what follows from it, and the tasks that wait for the next.
//!
//! Each socket and the application's commands have a task of their own on one executor of this thread. A task waits,
//! calls the machine through [`Shared::report`], which settles what follows, and waits again. No borrow of the machine
//! lives across an `await`.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use async_io::{Async, Timer};
use s2s_core::machine::{ConnId, Driven, Effect, Listener, Machine, Outlet, QueryId, Step};
use s2s_sockets::{ACCEPT_RETRY, READ_BYTES, is_out_of_resources, tune};
use smol::channel::{Receiver, Sender, TrySendError};
use smol::future::{or, yield_now};
use smol::{LocalExecutor, Task};

use crate::bell::Bell;
use crate::connection::{self, Line, Origin};
use crate::query::{self, Question};

/// Waits a while where descriptors or threads have run out, then says so. No other error is worth another attempt.
pub(crate) async fn out_of_resources(error: &io::Error) -> bool {
    let out = is_out_of_resources(error);
    if out {
        Timer::after(ACCEPT_RETRY).await;
    }
    out
}

/// What the tasks of one driver share.
pub(crate) struct Shared<M: Machine> {
    /// Gone when the driver ends: its tasks are dropped first, and all sockets with them.
    executor: Weak<LocalExecutor<'static>>,
    state: RefCell<State<M>>,
    pub(crate) buffer: RefCell<Box<[u8]>>,
    events: Sender<M::Event>,
    /// Rings when the deadline has moved before `armed`, and at the end.
    main: Bell,
    armed: Cell<Option<Instant>>,
}

/// The machine, and the tasks that it has names for. Dropping a task closes its socket.
struct State<M: Machine> {
    driven: Driven<M>,
    conns: BTreeMap<ConnId, (Rc<Line>, Task<()>)>,
    queries: BTreeMap<QueryId, Task<()>>,
}

impl<M: Machine + 'static> Shared<M> {
    pub(crate) fn new(
        executor: &Rc<LocalExecutor<'static>>,
        driven: Driven<M>,
        listeners: Vec<(Listener, Async<TcpListener>)>,
        commands: Receiver<M::Command>,
        events: Sender<M::Event>,
    ) -> Rc<Self> {
        let shared = Rc::new(Self {
            executor: Rc::downgrade(executor),
            state: RefCell::new(State { driven, conns: BTreeMap::new(), queries: BTreeMap::new() }),
            buffer: RefCell::new(vec![0; READ_BYTES].into_boxed_slice()),
            events,
            main: Bell::default(),
            armed: Cell::new(None),
        });
        for (on, listener) in listeners {
            executor.spawn(Rc::clone(&shared).accept(on, listener)).detach();
        }
        executor.spawn(Rc::clone(&shared).obey(commands)).detach();
        shared
    }

    pub(crate) fn into_machine(self) -> M {
        self.state.into_inner().driven.into_machine()
    }

    /// Keeps time until the machine has finished or the application has gone.
    pub(crate) async fn run(self: &Rc<Self>, wall: impl Fn() -> Duration) {
        // The machine may have had something to say before the first report.
        self.turn(|_| ());
        while !self.state.borrow().driven.is_over() {
            let due = self.state.borrow().driven.deadline();
            if due <= Instant::now() {
                self.turn(|state| state.driven.handle_time(Instant::now(), wall()));
                yield_now().await;
                continue;
            }
            // A deadline that moves away is not armed anew: this one fires, and the loop finds the later one.
            self.armed.set(Some(due));
            let moved = self.main.until(|| self.is_to_look());
            or(moved, async { _ = Timer::at(due).await }).await;
        }
    }

    fn is_to_look(&self) -> bool {
        let driven = &self.state.borrow().driven;
        driven.is_over() || self.armed.get().is_some_and(|armed| driven.deadline() < armed)
    }

    /// What the machine answers without being called.
    pub(crate) fn machine<R>(&self, ask: impl FnOnce(&M) -> R) -> R {
        ask(self.state.borrow().driven.machine())
    }

    /// Makes one call, and settles what follows from it.
    pub(crate) fn report<R>(self: &Rc<Self>, call: impl FnOnce(&mut M, Instant) -> R) -> R {
        self.turn(|state| state.driven.report(Instant::now(), call))
    }

    /// Drains effects, and events while there is room, after what `begin` does.
    fn turn<R>(self: &Rc<Self>, begin: impl FnOnce(&mut State<M>) -> R) -> R {
        let mut state = self.state.borrow_mut();
        let result = begin(&mut state);
        while let Some(step) = state.driven.step() {
            match step {
                Step::Effect(effect) => self.perform(&mut state, effect),
                Step::Event(event) => match self.events.try_send(event) {
                    Ok(()) => {}
                    Err(TrySendError::Full(event)) => {
                        state.driven.set_outlet(Outlet::Full);
                        self.spawn(Rc::clone(self).deliver(event)).detach();
                    }
                    Err(TrySendError::Closed(_)) => state.driven.set_outlet(Outlet::Closed),
                },
            }
        }
        drop(state);
        if self.is_to_look() {
            self.main.ring();
        }
        result
    }

    fn perform(self: &Rc<Self>, state: &mut State<M>, effect: Effect) {
        match effect {
            Effect::Dial { conn, addr, from } => self.open(state, conn, Origin::Dialled { addr, from }),
            Effect::Wake(conn) => {
                if let Some((line, _)) = state.conns.get(&conn) {
                    line.bell.ring();
                }
            }
            Effect::CloseWrite(conn) => {
                if let Some((line, _)) = state.conns.get(&conn) {
                    line.close_write.set(true);
                    line.bell.ring();
                }
            }
            Effect::Drop(conn) => drop(state.conns.remove(&conn)),
            Effect::Ask { query, server, transport, message } => {
                let question = Question { query, server, transport, message };
                state.queries.insert(query, self.spawn(query::ask(Rc::clone(self), question)));
            }
            Effect::Forget(query) => drop(state.queries.remove(&query)),
        }
    }

    fn open(self: &Rc<Self>, state: &mut State<M>, conn: ConnId, origin: Origin) {
        let line = Rc::<Line>::default();
        let task = self.spawn(connection::serve(Rc::clone(self), conn, Rc::clone(&line), origin));
        state.conns.insert(conn, (line, task));
    }

    fn spawn(&self, future: impl Future<Output = ()> + 'static) -> Task<()> {
        self.executor.upgrade().expect("tasks run on the executor").spawn(future)
    }

    /// A connection has ended by itself.
    pub(crate) fn close(self: &Rc<Self>, conn: ConnId, error: io::ErrorKind) {
        let ended = self.state.borrow_mut().conns.remove(&conn);
        if ended.is_some() {
            self.report(|machine, now| machine.handle_closed(now, conn, error));
        }
    }

    /// A query was answered, or failed, which ends it.
    pub(crate) fn reply(self: &Rc<Self>, query: QueryId, message: Option<&[u8]>) {
        if message.is_none() {
            self.state.borrow_mut().queries.remove(&query);
        }
        self.report(|machine, now| machine.handle_reply(now, query, message));
    }

    async fn accept(self: Rc<Self>, on: Listener, listener: Async<TcpListener>) {
        loop {
            match listener.accept().await {
                Ok((socket, peer)) => self.admit(socket, peer, on),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_) => drop(Timer::after(ACCEPT_RETRY).await),
            }
            yield_now().await;
        }
    }

    fn admit(self: &Rc<Self>, socket: Async<TcpStream>, peer: SocketAddr, on: Listener) {
        // It fails where the peer has gone already, which the first read reports.
        let _ = tune(socket.get_ref());
        self.turn(|state| {
            let conn = state.driven.report(Instant::now(), |machine, now| machine.handle_accept(now, peer, on));
            if let Some(conn) = conn {
                self.open(state, conn, Origin::Accepted(socket));
            }
        });
    }

    /// Hands the application's commands over, and ends the driver when it has gone.
    async fn obey(self: Rc<Self>, commands: Receiver<M::Command>) {
        while let Ok(command) = commands.recv().await {
            self.report(|machine, now| machine.handle_command(now, command));
            yield_now().await;
        }
        self.turn(|state| state.driven.set_outlet(Outlet::Closed));
    }

    /// Delivers the event that found the channel full, then lets the others follow.
    async fn deliver(self: Rc<Self>, event: M::Event) {
        let sent = self.events.send(event).await;
        let outlet = if sent.is_ok() { Outlet::Open } else { Outlet::Closed };
        self.turn(|state| state.driven.set_outlet(outlet));
    }
}
