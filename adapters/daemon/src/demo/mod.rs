//! `s2sd demo`: two complete servers federate in one process, over real sockets on the loopback address.
//!
//! Nothing is simulated but the authority of the certificates and the zone of DNS: both servers are what `serve`
//! runs, each in a thread of its own, and the components behind their hosts speak XEP-0114 to them. What is seen is
//! compared with what had to be seen, so that the demo is a test as well.

mod authority;
mod components;
mod dns;
mod guest;
mod outcome;
mod plan;
mod table;
mod world;

use std::io::Write;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use s2s_core::stanza::Stanza;
use smol::future::or;
use smol::{LocalExecutor, Timer};

use crate::failure::Failure;
use crate::log::Record;
use crate::runtime::Runtime;
use outcome::{ASKS, Sight};
use plan::{SITES, STEPS, Side, Step, Voucher, entrance, site};
use table::Row;
use world::World;

/// For everything together. A run takes well below a second, if the machine has nothing better to do.
const DEADLINE: Duration = Duration::from_secs(60);

/// What somebody in this world saw.
pub(crate) enum Sighting {
    /// A server wrote a line of its log.
    Record {
        /// Which.
        side: Side,
        /// The line.
        record: Box<Record>,
    },
    /// A component received a stanza.
    Stanza {
        /// Its host.
        host: &'static str,
        /// When.
        at: Instant,
        /// The stanza.
        stanza: Box<Stanza>,
    },
}

/// Runs the demo. `json`: one object on stdout, in place of the table; what happens goes to stderr. `guest`: no pair is
/// shown, and a program of somebody else may join, with what is written to that directory.
pub(crate) fn run(json: bool, runtime: Runtime, nodes: usize, guest: Option<&Path>) -> Result<(), Failure> {
    let executor = Rc::new(LocalExecutor::new());
    let narrator = Narrator { start: Instant::now(), json };
    smol::block_on(executor.run(show(&executor, &narrator, (runtime, nodes), guest)))
}

async fn show(
    executor: &Rc<LocalExecutor<'static>>,
    narrator: &Narrator,
    (runtime, nodes): (Runtime, usize),
    guest: Option<&Path>,
) -> Result<(), Failure> {
    let deadline = narrator.start + DEADLINE;
    let starting = async { World::start(executor, runtime, nodes).await.map(Some) };
    let late = async {
        Timer::at(deadline).await;
        Ok(None)
    };
    let Some(world) = or(starting, late).await? else {
        return Err(Failure::Unexpected(vec!["the servers and components did not come up in time".to_owned()]));
    };
    narrator.introduce(&world);
    while let Ok(sighting) = world.sightings.try_recv() {
        narrator.see(&sighting, &mut []);
    }
    if let Some(directory) = guest {
        guest::receive(&world, narrator, directory).await?;
        narrator.say("shutting down");
        world.stop().await;
        return Ok(());
    }

    let mut sights = Vec::new();
    for (number, step) in STEPS.iter().enumerate() {
        narrator.say(&format!("--- {}. {}", number + 1, step.title));
        sights.extend(walk(step, &world, narrator, deadline).await);
    }
    let direct_port = |name: &str| {
        let bound = site(name).and_then(|site| world.bound.get(&site.side));
        bound.and_then(|bound| bound.direct.first()).map_or(0, std::net::SocketAddr::port)
    };
    let pairs = STEPS.iter().flat_map(|step| step.lanes.map(|_| [step.lanes[0].from, step.lanes[0].to]));
    let rows: Vec<_> =
        sights.iter().zip(pairs).map(|(sight, pair)| Row { sight, pair, direct: direct_port(sight.lane.to) }).collect();
    let mut differences: Vec<_> = rows.iter().flat_map(|row| row.sight.differences(row.direct)).collect();

    let elapsed = narrator.start.elapsed();
    narrator.say("shutting down");
    let late = world.stop().await;
    differences.extend(late.into_iter().map(|side| format!("server {side} did not close all streams in time")));
    narrator.conclude(&rows, elapsed, &differences);
    if differences.is_empty() { Ok(()) } else { Err(Failure::Unexpected(differences)) }
}

/// Lets both hosts of a pair write to each other, and watches until both lanes are done or time is up.
async fn walk(step: &Step, world: &World, narrator: &Narrator, deadline: Instant) -> [Sight; 2] {
    let mut sights = step.lanes.map(Sight::new);
    for sight in &mut sights {
        let Some(component) = world.components.get(sight.lane.from) else { continue };
        sight.start(Instant::now());
        (1..=ASKS).for_each(|number| component.ask(sight.lane.to, number));
    }
    while !sights.iter().all(Sight::is_complete) {
        let late = async {
            Timer::at(deadline).await;
            None
        };
        let next = async { world.sightings.recv().await.ok() };
        let Some(sighting) = or(next, late).await else {
            narrator.say("time is up");
            break;
        };
        narrator.see(&sighting, &mut sights);
    }
    sights
}

/// Tells what happens, as it happens.
struct Narrator {
    start: Instant,
    json: bool,
}

impl Narrator {
    fn say(&self, text: &str) {
        let line = format!("{:6.0} ms  {text}\n", self.start.elapsed().as_secs_f64() * 1000.0);
        self.write(&line, self.json);
    }

    /// A reader that has gone ends the telling, not the demo.
    fn write(&self, text: &str, aside: bool) {
        let _ = if aside {
            std::io::stderr().write_all(text.as_bytes())
        } else {
            std::io::stdout().write_all(text.as_bytes())
        };
    }

    fn introduce(&self, world: &World) {
        for (side, bound) in &world.bound {
            self.say(&format!("server {} is ready: {bound}", side.as_str()));
            for site in SITES.iter().filter(|site| site.side == *side) {
                let voucher = match site.voucher {
                    Voucher::Authority => "a valid certificate",
                    Voucher::Itself => "a self-signed certificate",
                };
                let strict = if site.strict { ", demands valid ones" } else { "" };
                let service = entrance(site.entrance);
                self.say(&format!("    {} publishes {service}, has {voucher}{strict}, an echo component", site.name));
            }
        }
    }

    fn see(&self, sighting: &Sighting, sights: &mut [Sight]) {
        match sighting {
            Sighting::Record { side, record } => {
                sights.iter_mut().for_each(|sight| sight.record(*side, record));
                self.say(&format!("{}: {record}", side.as_str()));
            }
            Sighting::Stanza { host, at, stanza } => {
                for sight in sights {
                    let told_before = sight.bounce.is_some();
                    if sight.stanza(host, *at, stanza) {
                        let first = sight.first.unwrap_or_default().as_secs_f64() * 1000.0;
                        self.say(&format!("{host} has the first stanza from {} after {first:.1} ms", sight.lane.from));
                    }
                    if let Some(bounce) = sight.bounce.as_ref().filter(|_| !told_before) {
                        let condition = bounce.condition.map_or("an error", s2s_core::stanza::StanzaCondition::as_str);
                        self.say(&format!("{host} is told {condition}: {}", bounce.text));
                    }
                }
            }
        }
    }

    fn conclude(&self, rows: &[Row<'_>], elapsed: Duration, differences: &[String]) {
        if self.json {
            self.write(&format!("{}\n", table::json(rows, elapsed, differences)), false);
            return;
        }
        let verdict = if differences.is_empty() { "as it should be" } else { "NOT as it should be" };
        let seconds = elapsed.as_secs_f64();
        self.write(&format!("\n{}\nAll of this in {seconds:.2} s, {verdict}.\n", table::human(rows)), false);
    }
}
