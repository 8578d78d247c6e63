//! How many round trips pass from a component's send to the first delivery: s2sd, Prosody and ejabberd, each with each.
//!
//! Every connection between servers goes over a line with a round trip of [`ROUND_TRIP`]; components and DNS are next
//! door. The handshake of TCP counts as one. `remembered`: once more, after the stream has ended for want of use. Where a
//! goal is missed, what crossed the lines is printed.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use crate::component::Component;
use crate::dns::Service;
use crate::failure::{Failure, While, fail};
use crate::lab::Lab;
use crate::peers::{BOTH, DIRECT, ECHO, Peer, Policy, Software};
use crate::pki::Certificate;
use crate::s2sd::{Daemon, Settings, text};
use crate::talk::say;

/// There and back between two servers.
pub(crate) const ROUND_TRIP: Duration = Duration::from_millis(100);
/// How often each number is measured: medians are printed.
const RUNS: usize = 5;
/// How long one delivery may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// `s2s_idle_timeout` of s2sd, in seconds.
const IDLE: u64 = 1;
/// Messages cross at whole and half round trips: what exceeds a goal by less is the time that servers take.
const CROSSING: f64 = 0.5;

/// How the servers are found and prove themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    External,
    Direct,
    Dialback,
    /// The initiator has records for both services, so that it is asked about its key over direct TLS.
    DialbackToBoth,
}

impl Method {
    const ALL: [Self; 4] = [Self::External, Self::Direct, Self::Dialback, Self::DialbackToBoth];

    const fn name(self) -> &'static str {
        match self {
            Self::External => "STARTTLS + EXTERNAL",
            Self::Direct => "direct TLS + EXTERNAL",
            Self::Dialback => "STARTTLS + dialback",
            Self::DialbackToBoth => "STARTTLS + dialback, asked by direct TLS",
        }
    }

    /// For its real servers.
    const fn label(self) -> &'static str {
        match self {
            Self::External => "external",
            Self::Direct => "direct",
            Self::Dialback => "dialback",
            Self::DialbackToBoth => "dialback-to-both",
        }
    }

    const fn is_dialback(self) -> bool {
        matches!(self, Self::Dialback | Self::DialbackToBoth)
    }

    const fn policy(self) -> Policy {
        if self.is_dialback() { Policy::Lax } else { Policy::Secure }
    }

    /// How an end is found.
    const fn services(self, role: Role) -> &'static [Service] {
        match (self, role) {
            (Self::Direct, _) => &[Service::DirectTls],
            (Self::DialbackToBoth, Role::Initiator) => &[Service::StartTls, Service::DirectTls],
            _ => &[Service::StartTls],
        }
    }

    /// The component of a real server that is found so.
    const fn component(self, role: Role) -> &'static str {
        match self.services(role) {
            [Service::StartTls, _, ..] => BOTH,
            [Service::DirectTls, ..] => DIRECT,
            _ => ECHO,
        }
    }

    /// How many round trips a first contact of ours may take, and once more.
    const fn goals(self) -> [f64; 2] {
        match self {
            Self::External => [5.5, 4.5],
            Self::Direct => [4.5, 3.5],
            Self::Dialback | Self::DialbackToBoth => [9.5, 8.5],
        }
    }
}

/// Who of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Initiator,
    Responder,
}

impl Role {
    const BOTH: [Self; 2] = [Self::Initiator, Self::Responder];

    const fn name(self) -> &'static str {
        match self {
            Self::Initiator => "initiator",
            Self::Responder => "responder",
        }
    }
}

/// One end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    S2sd,
    Real(Software),
}

impl End {
    const ALL: [Self; 3] = [Self::S2sd, Self::Real(Software::Prosody), Self::Real(Software::Ejabberd)];

    const fn name(self) -> &'static str {
        match self {
            Self::S2sd => "s2sd",
            Self::Real(software) => software.name(),
        }
    }
}

/// One delivery: how many round trips it took, and what crossed.
struct Delivery {
    round_trips: f64,
    wire: String,
}

/// The same several times.
struct Deliveries(Vec<Delivery>);

impl Deliveries {
    fn of(mut all: Vec<Delivery>) -> Self {
        all.sort_by(|a, b| a.round_trips.total_cmp(&b.round_trips));
        Self(all)
    }

    fn median(&self) -> Option<&Delivery> {
        self.0.get(self.0.len() / 2)
    }

    /// What is in the middle, and the least: a busy machine only ever adds.
    fn describe(&self, goal: Option<f64>) -> String {
        let count = |delivery: Option<&Delivery>| delivery.map_or(f64::NAN, |delivery| delivery.round_trips);
        let verdict = match goal {
            Some(goal) if self.misses(goal) => format!("goal {goal} MISSED"),
            Some(goal) => format!("goal {goal} met"),
            None => String::new(),
        };
        format!("{:5.1} ({:4.1}) {verdict:15}", count(self.median()), count(self.0.first()))
    }

    fn misses(&self, goal: f64) -> bool {
        self.median().is_none_or(|delivery| delivery.round_trips >= goal + CROSSING)
    }
}

/// What was measured for one pair of ends.
struct Row {
    method: Method,
    ends: [End; 2],
    result: Result<Measured, Failure>,
}

/// First contact and, where it was measured, once more.
struct Measured {
    first: Deliveries,
    again: Option<Deliveries>,
}

/// Measures everything and prints the table; true if every pair came through.
pub(crate) fn run(lab: &mut Lab, wanted: impl Fn(&str) -> bool) -> Result<bool, Failure> {
    let mut rows = Vec::new();
    for method in Method::ALL {
        let pairs = End::ALL.into_iter().flat_map(|initiator| End::ALL.map(|responder| [initiator, responder]));
        let ends: Vec<_> = pairs.filter(|ends| wanted(&describe(method, *ends))).collect();
        let mut servers = Vec::new();
        for software in Software::ALL {
            // Two of each, so that everybody can meet one of its own kind.
            for (position, role) in Role::BOTH.into_iter().enumerate() {
                if ends.iter().any(|pair| pair[position] == End::Real(software)) {
                    servers.push((role, start(lab, software, method, role)?));
                }
            }
        }
        for ends in ends {
            let result = measure(lab, &mut servers, method, ends);
            let row = Row { method, ends, result };
            println!("{}", line(&row));
            rows.push(row);
        }
        servers.iter_mut().for_each(|(_, server)| server.stop());
    }
    println!("\nround trips of {ROUND_TRIP:?} from send to delivery, the median of {RUNS} runs and (the least)");
    for row in &rows {
        println!("{}", line(row));
    }
    for row in &rows {
        print!("{}", reasons(row));
    }
    Ok(rows.iter().all(|row| row.result.is_ok()))
}

/// One real server, ready before the next one starts.
fn start(lab: &mut Lab, software: Software, method: Method, role: Role) -> Result<Peer, Failure> {
    let label = format!("{}-{}", role.name(), method.label());
    let mut server = lab.start_anywhere(software, method.policy(), &label)?;
    server.ready()?;
    Ok(server)
}

fn describe(method: Method, ends: [End; 2]) -> String {
    let [initiator, responder] = ends.map(End::name);
    format!("{:40} {initiator:8} -> {responder:8}", method.name())
}

fn line(row: &Row) -> String {
    let [goal, goal_again] = goals(row);
    let result = match &row.result {
        Ok(Measured { first, again: None }) => format!("first {}", first.describe(goal)),
        Ok(Measured { first, again: Some(again) }) => {
            format!("first {} remembered {}", first.describe(goal), again.describe(goal_again))
        }
        Err(failure) => format!("FAILED: {failure}"),
    };
    format!("{} {}", describe(row.method, row.ends), result.trim_end())
}

/// What is to be reached where s2sd initiates.
fn goals(row: &Row) -> [Option<f64>; 2] {
    row.method.goals().map(|goal| (row.ends[0] == End::S2sd).then_some(goal))
}

/// What crossed where a goal was missed.
fn reasons(row: &Row) -> String {
    let mut text = String::new();
    let Ok(Measured { first, again }) = &row.result else { return text };
    let contacts = [("first", Some(first)), ("remembered", again.as_ref())];
    for ((which, deliveries), goal) in contacts.into_iter().zip(goals(row)) {
        if let (Some(deliveries), Some(goal)) = (deliveries, goal)
            && deliveries.misses(goal)
            && let Some(median) = deliveries.median()
        {
            let (row, trips) = (describe(row.method, row.ends), median.round_trips);
            let _ = writeln!(text, "\n{}, {which}: {trips:.1} round trips, not {goal}", row.trim_end());
            let _ = writeln!(text, "departs, arrives, connection, sender, what\n{}", median.wire);
        }
    }
    text
}

fn measure(lab: &mut Lab, servers: &mut [(Role, Peer)], method: Method, ends: [End; 2]) -> Result<Measured, Failure> {
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let (once, more) = meet(lab, servers, method, ends)?;
        first.push(once);
        again.extend(more);
    }
    Ok(Measured { first: Deliveries::of(first), again: (!again.is_empty()).then(|| Deliveries::of(again)) })
}

/// Who sends to whom, and where the latter is.
struct Meeting {
    from: Component,
    to: Component,
    names: [&'static str; 2],
    responder: Ipv4Addr,
}

/// One first contact, and the second if s2sd initiates: a real server remembers nothing.
fn meet(
    lab: &mut Lab,
    servers: &mut [(Role, Peer)],
    method: Method,
    ends: [End; 2],
) -> Result<(Delivery, Option<Delivery>), Failure> {
    let mut daemons = Vec::new();
    let mut components = Vec::new();
    for (end, role) in ends.into_iter().zip(Role::BOTH) {
        match end {
            End::S2sd => {
                let daemon = daemon(lab, method, role)?;
                components.push((daemon.component()?, daemon.address));
                daemons.push(daemon);
            }
            End::Real(software) => {
                let mut servers = servers.iter_mut();
                let found = servers.find(|(has, server)| *has == role && server.software == software);
                let Some((_, server)) = found else { return fail("no such server") };
                // Only its end makes a real server end its streams.
                if role == Role::Initiator && ends[1] != End::S2sd {
                    server.kill();
                    server.restart()?;
                }
                components.push((server.component(method.component(role))?, server.address));
            }
        }
    }
    let [(from, _), (to, responder)] = <[_; 2]>::try_from(components).map_err(|_| std::io::Error::other("two ends"))?;
    let meeting = Meeting { from, to, names: ends.map(End::name), responder };
    let first = meeting.deliver(lab)?;
    let again = match ends[0] {
        End::S2sd => {
            meeting.fall_silent(&daemons[0])?;
            Some(meeting.deliver(lab).when("remembered")?)
        }
        End::Real(_) => None,
    };
    daemons.into_iter().try_for_each(Daemon::stop)?;
    Ok((first, again))
}

impl Meeting {
    fn deliver(&self, lab: &Lab) -> Result<Delivery, Failure> {
        lab.wire.clear();
        let begin = Instant::now();
        say(&self.from, &self.to, begin + PATIENCE)?;
        let round_trips = begin.elapsed().as_secs_f64() / ROUND_TRIP.as_secs_f64();
        Ok(Delivery { round_trips, wire: lab.wire.describe(begin, ROUND_TRIP, self.names, self.responder) })
    }

    fn fall_silent(&self, daemon: &Daemon) -> Result<(), Failure> {
        let idle = |event: &serde_json::Value| text(event, "reason") == "idle";
        let ended = daemon.wait_for(&self.to.domain, "out", Instant::now() + PATIENCE, idle);
        ended.map_or_else(|| fail("the stream does not end"), Ok)?;
        // The closing tags are exchanged. The connection ends a round trip later, of which no log tells.
        thread::sleep(ROUND_TRIP * 10);
        Ok(())
    }
}

fn daemon(lab: &mut Lab, method: Method, role: Role) -> Result<Daemon, Failure> {
    let kind = if method.is_dialback() { Certificate::SelfSigned } else { Certificate::Valid };
    let services: Vec<_> = method.services(role).iter().map(|service| (*service, service.port())).collect();
    let place = lab.host_at(kind, &services, false)?;
    let top = format!("s2s_idle_timeout = {IDLE}");
    let settings = Settings { strict: !method.is_dialback(), top, ..Settings::strict(&place, lab) };
    Daemon::start(&settings, lab.directory())
}
