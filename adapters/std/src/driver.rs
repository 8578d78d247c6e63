//! The loop: one thread that owns the machine, takes the reports of all others, and settles what follows from each.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use s2s_core::machine::{ConnId, Driven, Effect, Listener, Machine, Outlet, QueryId, Step};
use s2s_sockets::{ACCEPT_RETRY, COMMANDS, EVENTS, is_out_of_descriptors, stream_socket, wall_clock};

use crate::connection::{Connection, Half};
use crate::query::Question;
use crate::{Ends, Handle};

/// The stack of the thread of a socket, which only waits and copies.
const STACK_BYTES: usize = 64 << 10;

/// What the machine's thread is told by the others. Each of them has one report on its way at most.
#[derive(Debug)]
pub(crate) enum Report<C> {
    /// The application wants something.
    Command(C),
    /// The event that found the channel full was taken, or the application has gone.
    Room,
    Accepted(TcpStream, SocketAddr, Listener),
    Connected(ConnId),
    /// There are bytes, or the end of the stream.
    Readable(ConnId),
    Sent(ConnId, usize),
    /// Writing failed. What the peer said before is still read.
    Unwritable(ConnId, io::ErrorKind),
    Broken(ConnId, io::ErrorKind),
    Reply(QueryId, Option<Vec<u8>>),
}

impl<C> Report<C> {
    /// What the application had sent.
    pub(crate) fn into_command(self) -> C {
        let Self::Command(command) = self else { unreachable!("the application sends nothing else") };
        command
    }
}

/// A socket that a thread waits for. Dropping this ends the wait: a connection breaks, a dial fails, a listener ends.
pub(crate) struct Leash<S: AsFd>(pub(crate) Arc<S>);

impl<S: AsFd> Drop for Leash<S> {
    fn drop(&mut self) {
        // It fails where the socket has ended by itself.
        let _ = socket2::SockRef::from(&*self.0).shutdown(Shutdown::Both);
    }
}

/// The threads that wait for sockets.
pub(crate) struct Crew<C> {
    reports: SyncSender<Report<C>>,
    /// Each thread has a clone until it ends.
    alive: Sender<Infallible>,
}

impl<C: Send + 'static> Crew<C> {
    pub(crate) fn spawn(&self, work: impl FnOnce(&SyncSender<Report<C>>) + Send + 'static) -> io::Result<()> {
        let (reports, alive) = (self.reports.clone(), self.alive.clone());
        let work = move || drop((work(&reports), alive));
        thread::Builder::new().stack_size(STACK_BYTES).spawn(work).map(drop)
    }
}

/// A machine with its listeners, to be run.
pub struct Driver<M: Machine> {
    driven: Driven<M>,
    conns: BTreeMap<ConnId, Connection>,
    queries: BTreeMap<QueryId, Leash<TcpStream>>,
    _listeners: Vec<Leash<TcpListener>>,
    /// What failed at once. It is reported when the call that led to it is settled.
    failures: VecDeque<Report<M::Command>>,
    crew: Crew<M::Command>,
    inbox: Receiver<Report<M::Command>>,
    /// Says that the last thread has ended.
    ended: Receiver<Infallible>,
    events: SyncSender<M::Event>,
    /// To the thread that waits until there is room for an event.
    late: SyncSender<M::Event>,
    application: Weak<Ends<M::Command, M::Event>>,
    wall: Box<dyn Fn() -> Duration + Send>,
}

impl<M: Machine> Driver<M>
where
    M::Command: Send + 'static,
    M::Event: Send + 'static,
{
    /// Takes a machine, anchored just before, and what it listens on. Fails if no thread can be started.
    #[expect(clippy::type_complexity, reason = "an alias would hide what is returned")]
    pub fn new(
        machine: M,
        listeners: Vec<(Listener, TcpListener)>,
    ) -> io::Result<(Self, Handle<M::Command, M::Event>)> {
        let (reports, inbox) = sync_channel(COMMANDS);
        let (events, event_receiver) = sync_channel(EVENTS);
        let (alive, ended) = channel();
        let ends = Arc::new(Ends { reports: reports.clone(), events: Mutex::new(event_receiver) });
        let crew = Crew { reports, alive };
        let (late, waiting) = sync_channel(1);
        let outlet = events.clone();
        crew.spawn(move |reports| {
            for event in waiting {
                // It fails when the application has gone, which ends everything.
                let _ = outlet.send(event);
                let _ = reports.send(Report::Room);
            }
        })?;
        let listeners = listeners.into_iter().map(|(on, listener)| listen(&crew, on, listener));
        let driver = Self {
            driven: Driven::new(machine, Instant::now()),
            conns: BTreeMap::new(),
            queries: BTreeMap::new(),
            _listeners: listeners.collect::<io::Result<_>>()?,
            failures: VecDeque::new(),
            crew,
            inbox,
            ended,
            events,
            late,
            application: Arc::downgrade(&ends),
            wall: Box::new(wall_clock),
        };
        Ok((driver, Handle { ends }))
    }

    /// Reads wall-clock time, as time since 1970, from `wall` in place of the system.
    #[must_use]
    pub fn with_wall_clock(self, wall: impl Fn() -> Duration + Send + 'static) -> Self {
        Self { wall: Box::new(wall), ..self }
    }

    /// Runs until the machine has finished and its events are taken, or every [`Handle`] is dropped.
    ///
    /// Then all sockets are closed, all threads have ended, and the machine is given back.
    #[must_use]
    pub fn run(self) -> M {
        let (driven, ended) = self.take_reports();
        // With everything else gone, no thread waits for anything.
        let _ = ended.recv();
        driven.into_machine()
    }

    fn take_reports(mut self) -> (Driven<M>, Receiver<Infallible>) {
        // The machine may have had something to say before the first report.
        self.settle();
        while !self.driven.is_over() && self.application.strong_count() > 0 {
            let now = Instant::now();
            let wait = self.driven.deadline().saturating_duration_since(now);
            if wait.is_zero() {
                self.driven.handle_time(now, (self.wall)());
            } else if let Ok(report) = self.inbox.recv_timeout(wait)
                && self.is_current(&report)
            {
                self.take(report);
            }
            self.settle();
        }
        (self.driven, self.ended)
    }

    /// Whether a report is about something that the machine has not dropped since.
    fn is_current(&self, report: &Report<M::Command>) -> bool {
        match report {
            Report::Command(_) | Report::Room | Report::Accepted(..) => true,
            Report::Connected(conn) | Report::Readable(conn) | Report::Sent(conn, _) => self.conns.contains_key(conn),
            Report::Unwritable(conn, _) | Report::Broken(conn, _) => self.conns.contains_key(conn),
            Report::Reply(query, _) => self.queries.contains_key(query),
        }
    }

    /// Makes the call that a report is for, and looks at its connection again.
    fn take(&mut self, report: Report<M::Command>) {
        let now = Instant::now();
        match report {
            Report::Command(command) => self.driven.report(now, |machine, now| machine.handle_command(now, command)),
            Report::Room => self.driven.set_outlet(Outlet::Open),
            Report::Accepted(socket, peer, on) => {
                if let Some(conn) = self.driven.report(now, |machine, now| machine.handle_accept(now, peer, on)) {
                    self.open(conn, Ok(socket), None);
                    self.look(conn, |_| ());
                }
            }
            Report::Connected(conn) => {
                self.driven.report(now, |machine, now| machine.handle_connected(now, conn));
                self.look(conn, |connection| (connection.reading, connection.writing) = (Half::Idle, Half::Idle));
            }
            Report::Readable(conn) => {
                let Some(connection) = self.conns.get_mut(&conn) else { return };
                match connection.read(conn, &mut self.driven) {
                    Ok(()) => connection.look(conn, self.driven.machine()),
                    Err(kind) => self.close(conn, kind),
                }
            }
            Report::Sent(conn, n) => {
                self.driven.report(now, |machine, now| machine.handle_sent(now, conn, n));
                self.look(conn, |connection| connection.writing = Half::Idle);
            }
            Report::Unwritable(conn, kind) => {
                if self.conns.get_mut(&conn).is_some_and(|connection| !connection.goes_on_without_writing(kind)) {
                    self.close(conn, kind);
                }
            }
            Report::Broken(conn, kind) => self.close(conn, kind),
            Report::Reply(query, message) => {
                if message.is_none() {
                    self.queries.remove(&query);
                }
                self.driven.report(now, |machine, now| machine.handle_reply(now, query, message.as_deref()));
            }
        }
    }

    /// A connection has ended by itself.
    fn close(&mut self, conn: ConnId, kind: io::ErrorKind) {
        self.conns.remove(&conn);
        self.driven.report(Instant::now(), |machine, now| machine.handle_closed(now, conn, kind));
    }

    /// Drains effects, and events while there is room.
    fn settle(&mut self) {
        loop {
            while let Some(step) = self.driven.step() {
                match step {
                    Step::Effect(effect) => self.perform(effect),
                    Step::Event(event) => {
                        if let Err(TrySendError::Full(event)) = self.events.try_send(event) {
                            self.driven.set_outlet(Outlet::Full);
                            // One waits at a time, so that there is room for it.
                            let _ = self.late.try_send(event);
                        }
                    }
                }
            }
            let Some(failure) = self.failures.pop_front() else { return };
            self.take(failure);
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Dial { conn, addr, from } => self.open(conn, stream_socket(addr, from), Some((addr, effect))),
            Effect::Wake(conn) => self.look(conn, |_| ()),
            Effect::CloseWrite(conn) => self.look(conn, |connection| connection.close_write = true),
            Effect::Drop(conn) => drop(self.conns.remove(&conn)),
            Effect::Ask { query, server, transport, ref message } => {
                match (Question { query, server, transport, message: message.clone() }).ask(&self.crew) {
                    Ok(leash) => drop(self.queries.insert(query, leash)),
                    Err(error) if is_out_of_descriptors(&error) => self.driven.postpone(effect),
                    Err(_) => self.failures.push_back(Report::Reply(query, None)),
                }
            }
            Effect::Forget(query) => drop(self.queries.remove(&query)),
        }
    }

    /// `dial`: where to, and what asked for it.
    fn open(&mut self, conn: ConnId, socket: io::Result<impl Into<TcpStream>>, dial: Option<(SocketAddr, Effect)>) {
        let to = dial.as_ref().map(|(addr, _)| *addr);
        match (socket.and_then(|socket| Connection::start(conn, socket.into(), to, &self.crew)), dial) {
            (Ok(connection), _) => drop(self.conns.insert(conn, connection)),
            (Err(why), Some((_, dial))) if is_out_of_descriptors(&why) => self.driven.postpone(dial),
            (Err(why), _) => self.failures.push_back(Report::Broken(conn, why.kind())),
        }
    }

    /// Looks at a connection again, after a change.
    fn look(&mut self, conn: ConnId, change: impl FnOnce(&mut Connection)) {
        if let Some(connection) = self.conns.get_mut(&conn) {
            change(connection);
            connection.look(conn, self.driven.machine());
        }
    }
}

fn listen<C: Send + 'static>(crew: &Crew<C>, on: Listener, listener: TcpListener) -> io::Result<Leash<TcpListener>> {
    listener.set_nonblocking(false)?;
    let leash = Leash(Arc::new(listener));
    let listener = Arc::clone(&leash.0);
    crew.spawn(move |reports| {
        loop {
            match listener.accept() {
                Ok((socket, peer)) => drop(reports.send(Report::Accepted(socket, peer, on))),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                // It was shut down.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => return,
                Err(_) => thread::sleep(ACCEPT_RETRY),
            }
        }
    })?;
    Ok(leash)
}
