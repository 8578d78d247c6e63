//! The loop: one thread that owns the machine, takes the reports of all others, and settles what follows from each.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use s2s_core::machine::{ConnId, Driven, Effect, Listener, Machine, Outlet, QueryId, Step};
use s2s_sockets::{ACCEPT_RETRY, COMMANDS, EVENTS, is_out_of_resources, stream_socket, wall_clock};

use crate::connection::{Connection, News};
use crate::query::ask;
use crate::{Ends, Handle};

/// The stack of the thread of a socket, which only waits and copies.
const STACK_BYTES: usize = 64 << 10;

/// Reports that are taken before what they led to is written, if they have come together: one write for all is cheaper.
const TOGETHER: usize = 32;

/// What the machine's thread is told by the others. Each of them has one report on its way at most.
#[derive(Debug)]
pub(crate) enum Report<C> {
    /// The application wants something.
    Command(C),
    /// There is room for events again, or the application has gone.
    Room,
    Accepted(TcpStream, SocketAddr, Listener),
    Socket(ConnId, News),
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
    /// Connections to be looked at again.
    woken: BTreeSet<ConnId>,
    queries: BTreeMap<QueryId, Leash<TcpStream>>,
    _listeners: Vec<Leash<TcpListener>>,
    crew: Crew<M::Command>,
    inbox: Receiver<Report<M::Command>>,
    /// Says that the last thread has ended.
    ended: Receiver<Infallible>,
    events: Sender<M::Event>,
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
        let (events, event_receiver) = channel();
        let (alive, ended) = channel();
        let ends = Ends { reports: reports.clone(), events: Mutex::new(event_receiver), waiting: AtomicUsize::new(0) };
        let (ends, crew) = (Arc::new(ends), Crew { reports, alive });
        let listeners = listeners.into_iter().map(|(on, listener)| listen(&crew, on, listener));
        let driver = Self {
            driven: Driven::new(machine, Instant::now()),
            conns: BTreeMap::new(),
            woken: BTreeSet::new(),
            queries: BTreeMap::new(),
            _listeners: listeners.collect::<io::Result<_>>()?,
            crew,
            inbox,
            ended,
            events,
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
            self.look();
            let now = Instant::now();
            let wait = self.driven.deadline().saturating_duration_since(now);
            let mut first = None;
            if wait.is_zero() {
                self.driven.handle_time(now, (self.wall)());
                self.settle();
            } else if let Ok(report) = self.inbox.recv_timeout(wait) {
                // Who has woken us may have more to report: a system that lets us run first would wake us for each.
                thread::yield_now();
                first = Some(report);
            }
            for _ in 0..TOGETHER {
                // One after the other: what is taken makes room for another command.
                let Some(report) = first.take().or_else(|| self.inbox.try_recv().ok()) else { break };
                self.take(report);
                self.settle();
            }
        }
        (self.driven, self.ended)
    }

    /// Makes the call that a report is for, unless the machine has dropped what it is about.
    fn take(&mut self, report: Report<M::Command>) {
        let now = Instant::now();
        match report {
            Report::Command(command) => self.driven.report(now, |machine, now| machine.handle_command(now, command)),
            Report::Room => self.driven.set_outlet(Outlet::Open),
            Report::Accepted(socket, peer, on) => {
                if let Some(conn) = self.driven.report(now, |machine, now| machine.handle_accept(now, peer, on)) {
                    let opened = self.open(conn, socket, None).map_err(|error| error.kind());
                    self.go_on(conn, opened);
                }
            }
            Report::Socket(conn, news) => {
                if let Some(connection) = self.conns.get_mut(&conn) {
                    let heard = connection.hear(news, &mut self.driven);
                    self.go_on(conn, heard);
                }
            }
            Report::Reply(query, message) if self.queries.contains_key(&query) => {
                if message.is_none() {
                    self.queries.remove(&query);
                }
                self.driven.report(now, |machine, now| machine.handle_reply(now, query, message.as_deref()));
            }
            Report::Reply(..) => {}
        }
    }

    /// Drains effects, and events while there is room.
    fn settle(&mut self) {
        while let Some(step) = self.driven.step() {
            match step {
                Step::Effect(effect) => match self.perform(&effect) {
                    Ok(()) => {}
                    Err(error) if is_out_of_resources(&error) => self.driven.postpone(effect),
                    Err(error) => self.driven.fail(effect, error.kind()),
                },
                Step::Event(event) => {
                    if self.application.upgrade().is_some_and(|ends| ends.waiting.fetch_add(1, SeqCst) + 1 >= EVENTS) {
                        self.driven.set_outlet(Outlet::Full);
                    }
                    // It fails when the application has gone, which ends everything.
                    let _ = self.events.send(event);
                }
            }
        }
    }

    fn perform(&mut self, effect: &Effect) -> io::Result<()> {
        match *effect {
            Effect::Dial { conn, addr, from } => self.open(conn, stream_socket(addr, from)?.into(), Some(addr))?,
            Effect::Wake(conn) => drop(self.woken.insert(conn)),
            Effect::CloseWrite(conn) => {
                self.conns.entry(conn).and_modify(|connection| connection.close_write = true);
                self.woken.insert(conn);
            }
            Effect::Drop(conn) => drop(self.conns.remove(&conn)),
            Effect::Ask { query, server, transport, ref message } => {
                let leash = ask(&self.crew, query, server, transport, message)?;
                self.queries.insert(query, leash);
            }
            Effect::Forget(query) => drop(self.queries.remove(&query)),
        }
        Ok(())
    }

    /// `dial`: where to, if it is not open yet.
    fn open(&mut self, conn: ConnId, socket: TcpStream, dial: Option<SocketAddr>) -> io::Result<()> {
        self.conns.insert(conn, Connection::start(conn, socket, dial, &self.crew)?);
        Ok(())
    }

    /// Has a connection looked at again, or reports that it has ended by itself.
    fn go_on(&mut self, conn: ConnId, outcome: Result<(), io::ErrorKind>) {
        self.woken.insert(conn);
        if let Err(kind) = outcome {
            self.conns.remove(&conn);
            self.driven.report(Instant::now(), |machine, now| machine.handle_closed(now, conn, kind));
        }
    }

    /// Looks at all connections that were woken. What they write at once may wake others.
    fn look(&mut self) {
        while let Some(conn) = self.woken.pop_first() {
            let Some(connection) = self.conns.get_mut(&conn) else { continue };
            let wrote = connection.look(&mut self.driven);
            if wrote != Ok(false) {
                self.go_on(conn, wrote.map(drop));
                self.settle();
            }
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
