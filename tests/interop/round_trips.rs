//! How many round trips pass from a component's send to the first delivery: s2sd, Prosody and ejabberd, each with each.
//!
//! Every connection between servers goes over a line with a round trip of [`ROUND_TRIP`]; components and DNS are next
//! door. The handshake of TCP counts as one. `remembered`: once more, after the stream has ended for want of use.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use crate::component::Component;
use crate::dns::Service;
use crate::failure::{Failure, While, fail};
use crate::lab::Lab;
use crate::peers::{DIRECT, ECHO, Peer, Policy, Software};
use crate::pki::Certificate;
use crate::s2sd::{Daemon, Settings, text};
use crate::talk::say;

/// There and back between two servers.
pub(crate) const ROUND_TRIP: Duration = Duration::from_millis(100);
/// How often each number is measured: medians are printed.
const RUNS: usize = 3;
/// How long one delivery may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// `s2s_idle_timeout` of s2sd, in seconds.
const IDLE: u64 = 3;

/// How the servers are found and prove themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    External,
    Direct,
    Dialback,
}

impl Method {
    const ALL: [Self; 3] = [Self::External, Self::Direct, Self::Dialback];

    const fn name(self) -> &'static str {
        match self {
            Self::External => "STARTTLS + EXTERNAL",
            Self::Direct => "direct TLS + EXTERNAL",
            Self::Dialback => "STARTTLS + dialback",
        }
    }

    const fn policy(self) -> Policy {
        if matches!(self, Self::Dialback) { Policy::Lax } else { Policy::Secure }
    }

    const fn service(self) -> Service {
        if matches!(self, Self::Direct) { Service::DirectTls } else { Service::StartTls }
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

/// How many round trips it took: what is in the middle, and the least. A busy machine only ever adds.
struct Times {
    median: f64,
    least: f64,
}

impl Times {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let count = |time: Option<&Duration>| time.map_or(0.0, Duration::as_secs_f64) / ROUND_TRIP.as_secs_f64();
        Self { median: count(times.get(times.len() / 2)), least: count(times.first()) }
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:5.1} ({:4.1})", self.median, self.least)
    }
}

/// What was measured for one pair of ends: first contact and, where it was measured, once more.
struct Row {
    method: Method,
    ends: [End; 2],
    result: Result<(Times, Option<Times>), Failure>,
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
            for (twin, label) in ["responder", "initiator"].into_iter().enumerate() {
                if ends.iter().any(|pair| pair[1 - twin] == End::Real(software)) {
                    servers.push((twin, start(lab, software, method, label)?));
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
    Ok(rows.iter().all(|row| row.result.is_ok()))
}

/// One real server, ready before the next one starts.
fn start(lab: &mut Lab, software: Software, method: Method, label: &str) -> Result<Peer, Failure> {
    let label = format!("{label}-{}", format!("{method:?}").to_lowercase());
    let mut server = lab.start_anywhere(software, method.policy(), &label)?;
    server.ready()?;
    Ok(server)
}

fn describe(method: Method, ends: [End; 2]) -> String {
    let [initiator, responder] = ends.map(End::name);
    format!("{:22} {initiator:9} -> {responder:9}", method.name())
}

fn line(row: &Row) -> String {
    let result = match &row.result {
        Ok((first, None)) => format!("first {first}"),
        Ok((first, Some(again))) => format!("first {first}  remembered {again}"),
        Err(failure) => format!("FAILED: {failure}"),
    };
    format!("{} {result}", describe(row.method, row.ends))
}

fn measure(
    lab: &mut Lab,
    servers: &mut [(usize, Peer)],
    method: Method,
    ends: [End; 2],
) -> Result<(Times, Option<Times>), Failure> {
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let (once, more) = meet(lab, servers, method, ends)?;
        first.push(once);
        again.extend(more);
    }
    Ok((Times::of(first), (!again.is_empty()).then(|| Times::of(again))))
}

/// One first contact, and the second if s2sd initiates: a real server remembers nothing.
fn meet(
    lab: &mut Lab,
    servers: &mut [(usize, Peer)],
    method: Method,
    ends: [End; 2],
) -> Result<(Duration, Option<Duration>), Failure> {
    let component = if method == Method::Direct { DIRECT } else { ECHO };
    let mut daemons = Vec::new();
    let mut components = Vec::new();
    for (end, twin) in ends.into_iter().zip([1, 0]) {
        match end {
            End::S2sd => {
                let daemon = daemon(lab, method)?;
                components.push(daemon.component()?);
                daemons.push(daemon);
            }
            End::Real(software) => {
                let mut servers = servers.iter_mut();
                let found = servers.find(|(role, server)| *role == twin && server.software == software);
                let Some((_, server)) = found else { return fail("no such server") };
                // Only its end makes a real server end its streams.
                if twin == 1 && ends[1] != End::S2sd {
                    server.kill();
                    server.restart()?;
                }
                components.push(server.component(component)?);
            }
        }
    }
    let [from, to] = components.as_slice() else { return fail("two components") };
    let first = timed(from, to)?;
    let again = match ends[0] {
        End::S2sd => Some(after_silence(&daemons[0], from, to)?),
        End::Real(_) => None,
    };
    daemons.into_iter().try_for_each(Daemon::stop)?;
    Ok((first, again))
}

fn timed(from: &Component, to: &Component) -> Result<Duration, Failure> {
    let begin = Instant::now();
    say(from, to, begin + PATIENCE)?;
    Ok(begin.elapsed())
}

fn after_silence(daemon: &Daemon, from: &Component, to: &Component) -> Result<Duration, Failure> {
    let idle = |event: &serde_json::Value| text(event, "reason") == "idle";
    let deadline = Instant::now() + PATIENCE;
    daemon.wait_for(&to.domain, "out", deadline, idle).map_or_else(|| fail("the stream does not end"), Ok)?;
    // The closing tags are exchanged. The connection ends a round trip later, of which no log tells.
    thread::sleep(ROUND_TRIP * 10);
    timed(from, to).when("remembered")
}

fn daemon(lab: &mut Lab, method: Method) -> Result<Daemon, Failure> {
    let kind = if method == Method::Dialback { Certificate::SelfSigned } else { Certificate::Valid };
    let place = lab.host(kind, method.service())?;
    let top = format!("s2s_idle_timeout = {IDLE}");
    let settings = Settings { strict: method != Method::Dialback, top, ..Settings::strict(&place, lab) };
    Daemon::start(&settings, lab.directory())
}
