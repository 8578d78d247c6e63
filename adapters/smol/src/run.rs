//! The loop: every call into the machine, what follows from it, and the tasks that wait for the next.
//!
//! Each socket, the timer and the application's commands have a task of their own on one executor of this
//! thread. A task waits, calls the machine through [`Shared::report`], which settles what follows, and waits
//! again. No borrow of the machine lives across an `await`.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::mem;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use async_io::{Async, Timer};
use s2s_core::machine::{ConnId, Effect, Listener, Machine, QueryId};
use smol::channel::{Receiver, Sender, TrySendError};
use smol::future::{or, yield_now};
use smol::{LocalExecutor, Task};

use crate::clock::{CLOCK_CHECK, Clock, unix_now};
use crate::connection::{self, Line, Origin};
use crate::query::{self, Question};
use crate::signal::Signal;

/// Bytes of one read; one buffer serves all sockets of a driver.
const READ_BYTES: usize = 16_384;

/// When to accept again after it failed, if no connection closes before: most likely descriptors ran out.
const ACCEPT_RETRY: Duration = Duration::from_millis(500);

/// What the tasks of one driver share.
pub(crate) struct Shared<M: Machine> {
    pub(crate) state: RefCell<State<M>>,
    pub(crate) buffer: RefCell<Box<[u8]>>,
    commands: Receiver<M::Command>,
    events: Sender<M::Event>,
    /// There is a task to start, or the driver has ended.
    main: Signal,
    /// The machine's deadline is now before `armed`.
    rearm: Signal,
    armed: Cell<Option<Instant>>,
    /// An event found the channel full.
    full: Signal,
    /// A descriptor became free; one signal for each listener.
    room: Vec<Signal>,
}

/// The machine, and the sockets that it has names for.
pub(crate) struct State<M: Machine> {
    pub(crate) machine: M,
    conns: BTreeMap<ConnId, Conn>,
    queries: BTreeMap<QueryId, Option<Task<()>>>,
    starts: VecDeque<Start>,
    outlet: Outlet<M::Event>,
    finished: bool,
    now: Instant,
}

/// A connection that the machine can name. Without its entry here, it names nothing.
struct Conn {
    line: Rc<Line>,
    /// `None` until it is started. Dropping it closes the socket.
    task: Option<Task<()>>,
}

/// A task that is to be started: only the main task holds the executor.
enum Start {
    Connection(ConnId, Origin),
    Query(Question),
}

/// The way of events to the application.
enum Outlet<E> {
    /// Events are taken from the machine as they come.
    Open,
    /// The channel was full. This event waits for room, the others stay in the machine.
    Full(E),
    /// The task [`Shared::deliver`] waits for room, with the event in hand.
    Waiting,
    /// The application has gone.
    Closed,
}

impl<M: Machine> Shared<M> {
    pub(crate) fn new(machine: M, listeners: usize, commands: Receiver<M::Command>, events: Sender<M::Event>) -> Self {
        let state = State {
            machine,
            conns: BTreeMap::new(),
            queries: BTreeMap::new(),
            starts: VecDeque::new(),
            outlet: Outlet::Open,
            finished: false,
            now: Instant::now(),
        };
        Self {
            state: RefCell::new(state),
            buffer: RefCell::new(vec![0; READ_BYTES].into_boxed_slice()),
            commands,
            events,
            main: Signal::default(),
            rearm: Signal::default(),
            armed: Cell::new(None),
            full: Signal::default(),
            room: (0..listeners).map(|_| Signal::default()).collect(),
        }
    }

    pub(crate) fn into_machine(self) -> M {
        self.state.into_inner().machine
    }

    /// Starts tasks as they are asked for, until the machine has finished or the application has gone.
    pub(crate) async fn run<'a>(
        &'a self,
        executor: &LocalExecutor<'a>,
        listeners: Vec<(Listener, Async<TcpListener>)>,
        clock: Clock,
    ) {
        for ((on, listener), room) in listeners.into_iter().zip(&self.room) {
            executor.spawn(self.accept(on, listener, room)).detach();
        }
        executor.spawn(self.obey()).detach();
        executor.spawn(self.deliver()).detach();
        executor.spawn(self.keep_time()).detach();
        executor.spawn(self.watch_clock(clock)).detach();
        // The machine may have had something to say before the first report.
        self.settle(&mut self.state.borrow_mut());
        loop {
            self.start_tasks(executor);
            if self.state.borrow().finished {
                return;
            }
            self.main.wait().await;
        }
    }

    fn start_tasks<'a>(&'a self, executor: &LocalExecutor<'a>) {
        let mut state = self.state.borrow_mut();
        while let Some(start) = state.starts.pop_front() {
            match start {
                // What was dropped since it was asked for has no entry any more.
                Start::Connection(id, origin) => {
                    if let Some(conn) = state.conns.get_mut(&id) {
                        let line = Rc::clone(&conn.line);
                        conn.task = Some(executor.spawn(connection::serve(self, id, line, origin)));
                    }
                }
                Start::Query(question) => {
                    if let Some(task) = state.queries.get_mut(&question.query) {
                        *task = Some(executor.spawn(query::ask(self, question)));
                    }
                }
            }
        }
    }

    /// Makes one call, at a time that never goes back, and settles what follows from it.
    pub(crate) fn report<R>(&self, call: impl FnOnce(&mut State<M>, Instant) -> R) -> R {
        let mut state = self.state.borrow_mut();
        state.now = state.now.max(Instant::now());
        let now = state.now;
        let result = call(&mut state, now);
        self.settle(&mut state);
        result
    }

    /// Drains effects, and events while there is room; sees to the timer and the end.
    fn settle(&self, state: &mut State<M>) {
        loop {
            while let Some(effect) = state.machine.poll_effect() {
                self.perform(state, effect);
            }
            if !matches!(state.outlet, Outlet::Open) {
                break;
            }
            let Some(event) = state.machine.poll_event() else { break };
            match self.events.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Full(event)) => {
                    state.outlet = Outlet::Full(event);
                    self.full.set();
                }
                Err(TrySendError::Closed(_)) => state.outlet = Outlet::Closed,
            }
        }
        let due = state.machine.poll_timeout().map(|(at, _)| at);
        if due.is_some_and(|due| self.armed.get().is_none_or(|armed| due < armed)) {
            self.rearm.set();
        }
        let is_finished = match state.outlet {
            Outlet::Open => state.machine.is_finished(),
            Outlet::Full(_) | Outlet::Waiting => false,
            Outlet::Closed => true,
        };
        if is_finished {
            self.finish(state);
        }
    }

    fn finish(&self, state: &mut State<M>) {
        state.finished = true;
        self.main.set();
    }

    fn perform(&self, state: &mut State<M>, effect: Effect) {
        match effect {
            Effect::Dial { conn, addr } => self.open(state, conn, Origin::Dialled(addr)),
            Effect::Wake(conn) => {
                if let Some(conn) = state.conns.get(&conn) {
                    conn.line.wake.set();
                }
            }
            Effect::CloseWrite(conn) => {
                if let Some(conn) = state.conns.get(&conn) {
                    conn.line.close_write.set(true);
                    conn.line.wake.set();
                }
            }
            Effect::Drop(conn) => self.release(state, conn),
            Effect::Ask { query, server, transport, message } => {
                state.queries.insert(query, None);
                state.starts.push_back(Start::Query(Question { query, server, transport, message }));
                self.main.set();
            }
            Effect::Forget(query) => self.forget(state, query),
        }
    }

    fn open(&self, state: &mut State<M>, conn: ConnId, origin: Origin) {
        state.conns.insert(conn, Conn { line: Rc::default(), task: None });
        state.starts.push_back(Start::Connection(conn, origin));
        self.main.set();
    }

    /// Closes a connection, if it is not closed yet, and makes no more calls about it.
    pub(crate) fn release(&self, state: &mut State<M>, conn: ConnId) {
        if let Some(Conn { line, task }) = state.conns.remove(&conn) {
            line.gone.set(true);
            drop(task);
            self.room.iter().for_each(Signal::set);
        }
    }

    /// Closes the socket of a query, if it is not closed yet, and makes no more calls about it.
    pub(crate) fn forget(&self, state: &mut State<M>, query: QueryId) {
        if state.queries.remove(&query).is_some() {
            self.room.iter().for_each(Signal::set);
        }
    }

    /// Whether the machine still waits for replies to this query.
    pub(crate) fn is_asked(&self, query: QueryId) -> bool {
        self.state.borrow().queries.contains_key(&query)
    }

    async fn accept(&self, on: Listener, listener: Async<TcpListener>, room: &Signal) {
        loop {
            match listener.accept().await {
                Ok((socket, peer)) => self.admit(socket, peer, on),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_) => {
                    let retry = async {
                        Timer::after(ACCEPT_RETRY).await;
                    };
                    or(room.wait(), retry).await;
                }
            }
            yield_now().await;
        }
    }

    fn admit(&self, socket: Async<TcpStream>, peer: SocketAddr, on: Listener) {
        // It fails where the peer has gone already, which the first read reports.
        let _ = socket.get_ref().set_nodelay(true);
        self.report(|state, now| {
            if let Some(conn) = state.machine.handle_accept(now, peer, on) {
                self.open(state, conn, Origin::Accepted(socket));
            }
        });
    }

    /// Hands the application's commands over, and ends the driver when it has gone.
    async fn obey(&self) {
        while let Ok(command) = self.commands.recv().await {
            self.report(|state, now| state.machine.handle_command(now, command));
            yield_now().await;
        }
        self.finish(&mut self.state.borrow_mut());
    }

    /// Delivers the event that found the channel full, then lets the others follow.
    async fn deliver(&self) {
        loop {
            self.full.wait().await;
            let outlet = mem::replace(&mut self.state.borrow_mut().outlet, Outlet::Waiting);
            let Outlet::Full(event) = outlet else { unreachable!("the signal says that it is full") };
            let sent = self.events.send(event).await;
            let mut state = self.state.borrow_mut();
            state.outlet = if sent.is_ok() { Outlet::Open } else { Outlet::Closed };
            self.settle(&mut state);
        }
    }

    /// Tells the machine when its deadline has come.
    async fn keep_time(&self) {
        loop {
            let due = self.state.borrow().machine.poll_timeout().map(|(at, _)| at);
            if due.is_some_and(|due| due <= Instant::now()) {
                self.report(|state, now| state.machine.handle_timeout(now));
                yield_now().await;
                continue;
            }
            // A deadline that moves away is not armed anew: this one fires, and the loop finds the later one.
            self.armed.set(due);
            let timer = async {
                due.map_or_else(Timer::never, Timer::at).await;
            };
            or(self.rearm.wait(), timer).await;
        }
    }

    async fn watch_clock(&self, mut clock: Clock) {
        loop {
            Timer::after(CLOCK_CHECK).await;
            if let Some(unix) = clock.step(Instant::now(), unix_now()) {
                self.report(|state, now| state.machine.handle_clock(now, unix));
            }
        }
    }
}
