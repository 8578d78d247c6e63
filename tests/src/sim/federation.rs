//! The state of a run, and how one thing leads to another.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use s2s_core::addr::Domain;
use s2s_core::machine::{ConnId, Effect, Machine, QueryId, Transport};
use s2s_core::node::{Command, Node};
use s2s_core::stanza::Stanza;

use super::agenda::{Agenda, Happening};
use super::dns::{LIE, NameServer};
use super::ledger::{Fate, Ledger, compose};
use super::net::{Wire, WireId};
use super::observe::digest;
use super::options::VARIED_RUN_IN;
use super::random::Random;
use super::site::{Life, Place, Site};
use super::swarm::{Fault, Setup, Swarm};
use crate::certificates::NOW;

/// Lines of the trace that a failure shows.
pub(super) const TRACE_LINES: usize = 50;

/// Timers of one node that may fire at one moment: more are a busy loop.
const TIMEOUTS_AT_ONCE: u32 = 100;

/// After so many things that happen one site is looked at.
const WEIGHED_IN: u64 = 64;

/// Bytes of the longest stanza.
pub(super) const LONG_STANZA_BYTES: usize = 100_000;

/// Whom somebody claims to be who is not.
const VICTIM: usize = 0;

/// Everything.
#[derive(Debug)]
pub(super) struct Federation {
    pub(super) swarm: Swarm,
    pub(super) random: Random,
    /// For what is not drawn in every run.
    pub(super) aside: Random,
    /// Whether operators decide more than the setups of their sites.
    pub(super) varied: bool,
    pub(super) start: Instant,
    pub(super) now: Instant,
    pub(super) agenda: Agenda,
    pub(super) names: Vec<Domain>,
    /// The site of each domain.
    pub(super) homes: Vec<usize>,
    pub(super) sites: Vec<Site>,
    pub(super) wires: BTreeMap<WireId, Box<Wire>>,
    pub(super) wire_count: u64,
    pub(super) dns: NameServer,
    pub(super) ledger: Ledger,
    pub(super) partitions: BTreeMap<(usize, usize), Instant>,
    /// Whether nothing goes wrong any more.
    pub(super) calm: bool,
    pub(super) struck: BTreeMap<Fault, u64>,
    pub(super) steps: u64,
    pub(super) hasher: DefaultHasher,
    /// The law that was broken first.
    pub(super) violation: Option<String>,
    pub(super) trace: Option<VecDeque<String>>,
}

impl Federation {
    pub(super) fn new(mut random: Random, mut aside: Random, swarm: Swarm, traced: bool) -> Self {
        let start = Instant::now();
        let names: Vec<Domain> = (0..swarm.domains)
            .map(|number| Domain::parse(&format!("d{number}.example.org")).expect("a domain"))
            .collect();
        let (mut sites, homes) = found(&swarm, &mut random, start);
        let varied = aside.one_in(VARIED_RUN_IN);
        if varied {
            let count = sites.len();
            sites.iter_mut().for_each(|site| site.vary(count, &mut aside));
        }
        if swarm.faults.contains(&Fault::Impostor) {
            let setup = *random.pick(&swarm.setups);
            let mut impostor = Site::new(sites.len(), vec![VICTIM], setup, address(sites.len(), 0), start);
            impostor.impostor = true;
            impostor.wrong_certificate = Some(crate::certificates::Kind::WrongName);
            sites.push(impostor);
        }
        Self {
            swarm,
            random,
            aside,
            varied,
            start,
            now: start,
            agenda: Agenda::default(),
            names,
            homes,
            sites,
            wires: BTreeMap::new(),
            wire_count: 0,
            dns: NameServer::default(),
            ledger: Ledger::default(),
            partitions: BTreeMap::new(),
            calm: false,
            struck: BTreeMap::new(),
            steps: 0,
            hasher: DefaultHasher::new(),
            violation: None,
            trace: traced.then(VecDeque::new),
        }
    }

    /// Runs until `end`, or until a law is broken.
    pub(super) fn run_until(&mut self, end: Instant) {
        while self.violation.is_none() {
            let Some((at, happening)) = self.agenda.next_before(end) else {
                self.now = end;
                return;
            };
            self.now = at;
            self.steps += 1;
            at.duration_since(self.start).hash(&mut self.hasher);
            happening.hash(&mut self.hasher);
            self.note(|| format!("{happening:?}"));
            self.happen(happening);
            if self.steps.is_multiple_of(WEIGHED_IN) {
                self.weigh(usize::try_from(self.steps / WEIGHED_IN).unwrap_or_default() % self.sites.len());
            }
        }
    }

    /// A line for the trace.
    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            if trace.len() >= TRACE_LINES {
                trace.pop_front();
            }
            let at = self.now.duration_since(self.start).as_secs_f64();
            let line: String = line().chars().take(400).collect();
            trace.push_back(format!("{at:>12.6} {line}"));
        }
    }

    pub(super) fn break_law(&mut self, law: impl Into<String>) {
        let law = law.into();
        self.note(|| format!("VIOLATION: {law}"));
        self.violation.get_or_insert(law);
    }

    pub(super) fn check(&mut self, result: Result<(), String>) {
        if let Err(law) = result {
            self.break_law(law);
        }
    }

    /// Whether this fault exists in this run, and now.
    pub(super) fn may(&self, fault: Fault) -> bool {
        !self.calm && self.swarm.faults.contains(&fault)
    }

    pub(super) fn strike(&mut self, fault: Fault) {
        *self.struck.entry(fault).or_default() += 1;
    }

    pub(super) fn unix(&self) -> Duration {
        NOW + self.now.duration_since(self.start)
    }

    /// The node of that life, if it lives.
    pub(super) fn node(&mut self, life: Life) -> Option<&mut Node> {
        let site = &mut self.sites[life.site];
        if site.life == life { site.node.as_mut() } else { None }
    }

    fn happen(&mut self, happening: Happening) {
        let now = self.now;
        match happening {
            Happening::Timer(life) => self.fire(life),
            Happening::Syn { from, conn, addr } => self.knock(from, conn, addr),
            Happening::Connected { at, conn } => {
                if let Some(Place::Wire { wire, end }) = self.place(at, conn)
                    && let Some(wire) = self.wires.get_mut(&wire)
                {
                    wire.ends[end].connected = true;
                    self.sites[at.site].woken.insert(conn);
                    self.tell(at, |node| node.handle_connected(now, conn));
                }
            }
            Happening::Failed { at, conn, error } => {
                if self.place(at, conn) == Some(Place::Dialling) {
                    self.tell(at, |node| node.handle_closed(now, conn, error));
                }
            }
            Happening::Arrival { wire, to } => self.arrive(wire, to),
            Happening::Room { wire, end } => {
                if let Some(wire) = self.wires.get(&wire).filter(|wire| wire.ends[end].open) {
                    let (life, conn) = (wire.ends[end].life, wire.ends[end].conn);
                    self.sites[life.site].woken.insert(conn);
                    self.settle(life.site);
                }
            }
            Happening::Reply { at, query, message } => {
                let late = self.may(Fault::Races);
                if self.sites[at.site].life == at && (late || self.sites[at.site].asks.contains(&query)) {
                    self.tell(at, |node| node.handle_reply(now, query, message.as_deref()));
                }
            }
            Happening::Write { domain } => self.write_something(domain),
            Happening::Fault => self.go_wrong(),
            Happening::Pinned { fault, site } => self.break_something(fault, site),
            Happening::Rise { site } => self.rise(site),
            Happening::Mend { site } => self.mend(site),
            Happening::Resume { site } => {
                self.sites[site].paused = false;
                self.settle(site);
            }
        }
    }

    pub(super) fn place(&self, life: Life, conn: ConnId) -> Option<Place> {
        let site = &self.sites[life.site];
        site.conns.get(&conn).copied().filter(|_| site.life == life)
    }

    /// Tells a node something, and does what follows from it.
    pub(super) fn tell(&mut self, life: Life, report: impl FnOnce(&mut Node)) {
        if let Some(node) = self.node(life) {
            report(node);
            self.settle(life.site);
        }
    }

    /// Does what a node asks for until it asks for nothing.
    pub(super) fn settle(&mut self, site: usize) {
        while self.violation.is_none() {
            let Site { node: Some(node), paused, .. } = &mut self.sites[site] else {
                return;
            };
            if let Some(effect) = node.poll_effect() {
                self.obey(site, effect);
            } else if let Some(event) = if *paused { None } else { node.poll_event() } {
                self.observe(site, event);
            } else if let Some(conn) = self.sites[site].woken.pop_first() {
                self.serve(site, conn);
            } else {
                return self.arm(site);
            }
        }
    }

    fn arm(&mut self, site: usize) {
        let next = self.sites[site].node.as_ref().and_then(Machine::poll_timeout);
        let Some((deadline, _)) = next else {
            self.sites[site].armed = None;
            return;
        };
        if self.sites[site].armed.is_some_and(|(armed, _)| armed == deadline) {
            return;
        }
        let late = self.may(Fault::Races) && self.random.one_in(8);
        let lateness = if late { self.random.span(Duration::ZERO, Duration::from_millis(50)) } else { Duration::ZERO };
        let at = deadline.max(self.now) + lateness;
        self.sites[site].armed = Some((deadline, at));
        self.agenda.plan(at, Happening::Timer(self.sites[site].life));
    }

    fn fire(&mut self, life: Life) {
        let now = self.now;
        let site = &mut self.sites[life.site];
        if site.life != life || site.armed.is_none_or(|(_, at)| at != now) {
            return;
        }
        site.armed = None;
        site.timeouts = if site.timeouts.0 == now { (now, site.timeouts.1 + 1) } else { (now, 1) };
        if site.timeouts.1 > TIMEOUTS_AT_ONCE {
            let why = site.node.as_ref().and_then(Machine::poll_timeout);
            return self.break_law(format!("site {} is in a busy loop: {why:?}", life.site));
        }
        self.tell(life, |node| node.handle_timeout(now));
    }

    fn obey(&mut self, site: usize, effect: Effect) {
        match effect {
            Effect::Dial { conn, addr, from: _ } => self.dial(site, conn, addr),
            Effect::Wake(conn) => match self.sites[site].conns.contains_key(&conn) {
                true => _ = self.sites[site].woken.insert(conn),
                false => self.break_law(format!("site {site} names {conn:?} after its end: Wake")),
            },
            Effect::CloseWrite(conn) => match self.sites[site].conns.get(&conn).copied() {
                Some(Place::Wire { wire, end }) => {
                    if let Some(wire) = self.wires.get_mut(&wire) {
                        wire.ends[end].ending = true;
                    }
                    self.sites[site].woken.insert(conn);
                }
                Some(Place::Dialling) => {}
                None => self.break_law(format!("site {site} names {conn:?} after its end: CloseWrite")),
            },
            Effect::Drop(conn) => match self.sites[site].conns.remove(&conn) {
                Some(Place::Wire { wire, end }) => {
                    self.sites[site].past.insert(conn, (wire, end));
                    if end == 0 {
                        self.ledger.note_dropped(wire, end, self.now);
                    }
                    self.close_end(wire, end);
                }
                Some(Place::Dialling) => {}
                None => self.break_law(format!("site {site} names {conn:?} after its end: Drop")),
            },
            Effect::Ask { query, transport, message, .. } => self.ask(site, query, transport, &message),
            Effect::Forget(query) => {
                if !self.sites[site].asks.remove(&query) {
                    self.break_law(format!("site {site} names {query:?} after its end: Forget"));
                }
            }
        }
    }

    fn dial(&mut self, site: usize, conn: ConnId, addr: SocketAddr) {
        self.note(|| format!("site {site} dials {addr}: {conn:?}"));
        let life = self.sites[site].life;
        if self.sites[site].last_dial.replace(conn).is_some_and(|last| last >= conn) {
            self.break_law(format!("site {site} gives {conn:?} a second time"));
        }
        if addr.ip() == IpAddr::from(LIE) {
            self.break_law(format!("site {site} believed a liar about DNS"));
        }
        self.sites[site].conns.insert(conn, Place::Dialling);
        let (low, high) = self.swarm.quality.latency;
        let at = self.now + self.random.span(low, high);
        self.agenda.plan(at, Happening::Syn { from: life, conn, addr });
    }

    fn ask(&mut self, site: usize, query: QueryId, transport: Transport, message: &[u8]) {
        if self.sites[site].last_ask.replace(query).is_some_and(|last| last >= query) {
            self.break_law(format!("site {site} gives {query:?} a second time"));
        }
        self.sites[site].asks.insert(query);
        let none = std::collections::BTreeSet::new();
        let faults = if self.calm { &none } else { &self.swarm.faults };
        let (answers, struck) = self.dns.answers(message, transport, faults, &mut self.random);
        for fault in struck {
            self.strike(fault);
        }
        let at = self.sites[site].life;
        for answer in answers {
            self.agenda.plan(self.now + answer.after, Happening::Reply { at, query, message: answer.message });
        }
    }

    /// A user of `domain` writes to somebody elsewhere.
    fn write_something(&mut self, domain: usize) {
        if self.calm {
            return;
        }
        let next = self.now + self.random.span(Duration::ZERO, 2 * self.swarm.pace);
        self.agenda.plan(next, Happening::Write { domain });
        let home = self.homes[domain];
        let elsewhere: Vec<usize> = (0..self.names.len()).filter(|to| self.homes[*to] != home).collect();
        let reach = if self.random.one_in(8) { elsewhere.len() } else { self.swarm.circle.min(elsewhere.len()) };
        let to = elsewhere[(domain + self.random.below(reach)) % elsewhere.len()];
        let long = self.random.one_in(self.swarm.long_stanza_in);
        let filling = self.random.below(if long { LONG_STANZA_BYTES } else { 400 });
        self.send(home, domain, to, filling, false);
        if self.may(Fault::Impostor) && self.homes[to] != self.homes[VICTIM] && self.random.one_in(8) {
            self.strike(Fault::Impostor);
            let impostor = self.sites.len() - 1;
            self.send(impostor, VICTIM, to, 0, false);
        }
        if self.may(Fault::Races) && self.random.one_in(4) {
            self.strike(Fault::Races);
            self.tease(home);
        }
    }

    /// Sends a stanza through the node of `site`. Its number, if the node is there.
    pub(super) fn send(&mut self, site: usize, from: usize, to: usize, filling: usize, probe: bool) -> Option<usize> {
        let now = self.now;
        self.sites[site].node.as_ref()?;
        let number = self.ledger.open(from, to, self.sites[site].impostor, probe);
        let text = compose(number, self.names[from].as_str(), self.names[to].as_str(), filling);
        let stanza = Stanza::parse(&text).expect("the simulator writes stanzas");
        self.ledger.entries[number].digest = digest(&stanza);
        self.note(|| format!("stanza {number} from d{from} to d{to}"));
        self.tell(self.sites[site].life, |node| node.handle_command(now, Command::Send(stanza)));
        let is_open = self.ledger.entries[number].fate == Fate::Open;
        if is_open && !self.sites[site].paused && self.sites[site].denies(self.homes[to]) {
            self.break_law(format!("site {site} keeps {number} for d{to}, which is denied"));
        }
        Some(number)
    }

    /// Reports what changes nothing: a timeout that is early, and news of what is over.
    fn tease(&mut self, site: usize) {
        let now = self.now;
        let life = self.sites[site].life;
        let Some(node) = self.node(life) else {
            return;
        };
        let before = node.poll_timeout();
        if before.is_none_or(|(at, _)| at > now) {
            node.handle_timeout(now);
        }
        node.handle_closed(now, ConnId(u64::MAX), io::ErrorKind::BrokenPipe);
        node.handle_bytes(now, ConnId(u64::MAX), b"<late/>");
        node.handle_eof(now, ConnId(u64::MAX));
        node.handle_sent(now, ConnId(u64::MAX), 1);
        node.handle_reply(now, QueryId(u64::MAX), Some(b"late"));
        if before.is_none_or(|(at, _)| at > now) && (node.poll_timeout(), node.poll_effect()) != (before, None) {
            self.break_law(format!("site {site} is moved by what is over, or not yet due"));
        }
    }
}

/// The sites of a run, and the site of each domain.
fn found(swarm: &Swarm, random: &mut Random, start: Instant) -> (Vec<Site>, Vec<usize>) {
    let (mut sites, mut homes) = (Vec::new(), Vec::new());
    while homes.len() < swarm.domains {
        let site = sites.len();
        // Nobody federates with itself: there are two sites at least.
        let most = swarm.domains_per_site.min(swarm.domains - homes.len()).min(swarm.domains - 1);
        let domains: Vec<usize> = (homes.len()..homes.len() + random.between(1, most)).collect();
        homes.extend(domains.iter().map(|_| site));
        let setup = *random.pick(&swarm.setups);
        let mut new = Site::new(site, domains, setup, address(site, 0), start);
        new.direct_tls = setup != Setup::Bare && random.one_in(2);
        new.starttls = !new.direct_tls || random.one_in(2);
        if new.starttls && !new.direct_tls && random.one_in(4) {
            new.starttls = false; // no SRV records at all
        }
        sites.push(new);
    }
    (sites, homes)
}

/// Where the site `site` is after it has moved so often.
pub(super) fn address(site: usize, moves: u8) -> IpAddr {
    let [high, low] = u16::try_from(site).expect("few sites").to_be_bytes();
    match site % 3 {
        0 => IpAddr::from([0xfd00, 0, 0, u16::from(moves), 0, 0, 0, u16::from(low) + 1]),
        _ => IpAddr::from([10, moves, high, low + 1]),
    }
}
