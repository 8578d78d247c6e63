//! The program `s2sd serve`, driven over sockets: a process with a configuration, certificates and a DNS server of the
//! test, components behind it, and the reasons in its log.
//!
//! One process serves all inputs that need the same configuration. Where an input makes it dial or ask, it reloads
//! before each run, so that it has forgotten who failed; DNS answers have no lifetime. Real time is dear: an input that
//! waits has a configuration with timeouts of seconds.

pub(crate) mod component;
pub(crate) mod configuration;
pub(crate) mod process;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use s2s_core::machine::Listener;
use tempfile::TempDir;

use self::component::Component;
use self::process::{Process, has_gone, until};
use super::cut::Cut;
use super::list::{Report, in_parallel};
use super::party::Party;
use super::run::{Digests, attack, begin, dials, run_once};
use super::setup::{DOMAINS, HOSTS, Tls, scene, server_of};
use super::target::{LineIndex, Note, Target};
use super::{Case, Input, Step};
use crate::dns_server::{DnsServer, Zone};

/// How long an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// Inputs that one process serves, so that there are some for every thread.
const INPUTS_PER_PROCESS: usize = 200;
/// The same, for inputs that wait seconds for a timeout.
const WAITING_INPUTS_PER_PROCESS: usize = 3;
/// Processes at once. They mostly wait for each other's bytes, or for time.
const PROCESSES: usize = 6;

/// An input, and the id of its case.
type Job<'a> = (&'a str, &'a Input);

/// Inputs that need the same configuration, and what of it is peculiar.
struct Batch<'a> {
    options: String,
    jobs: Vec<Job<'a>>,
}

/// Runs `cases` through the program `binary`: every input whole, and cut once.
#[must_use]
pub fn through(binary: &Path, cases: &[Case]) -> Report {
    let mut report = Report::default();
    let mut groups: BTreeMap<String, Vec<Job<'_>>> = BTreeMap::new();
    for (id, input) in cases.iter().flat_map(|case| case.inputs.iter().map(|input| (case.id.as_str(), input))) {
        match configuration::options(input) {
            Ok(options) => groups.entry(options).or_default().push((id, input)),
            Err(error) => report.failures.push(format!("{id} {}: {error}", input.name)),
        }
    }
    let mut batches = Vec::new();
    for (options, jobs) in groups {
        let size = if jobs.iter().any(waits) { WAITING_INPUTS_PER_PROCESS } else { INPUTS_PER_PROCESS };
        batches.extend(jobs.chunks(size).map(|jobs| Batch { options: options.clone(), jobs: jobs.to_vec() }));
    }
    // Those that take longest begin first.
    batches.sort_by_key(|batch| (!batch.jobs.iter().any(waits), usize::MAX - batch.jobs.len()));
    report.add(in_parallel(&batches, PROCESSES, |batch| batch.run(binary)));
    report
}

/// Whether an input is about a timeout.
fn waits((_, input): &Job<'_>) -> bool {
    input.steps.iter().any(|step| matches!(step, Step::Wait(_)))
}

impl Batch<'_> {
    fn run(&self, binary: &Path) -> Report {
        let mut report = Report { inputs: self.jobs.len(), ..Report::default() };
        let mut running = None;
        for job @ (id, input) in &self.jobs {
            let before = report.runs;
            let mut outcome = self.run_input(binary, &mut running, input, &mut report.runs);
            if outcome.is_err() && waits(job) {
                // On a machine that stands still for two seconds a timeout is over before anything was said. Once.
                running = None;
                report.runs = before;
                outcome = self.run_input(binary, &mut running, input, &mut report.runs);
            }
            if let Err(error) = outcome {
                report.failures.push(format!("{id} {} in the program: {error}", input.name));
                // Who knows what it remembers.
                running = None;
            }
        }
        if let Some((program, _)) = running
            && let Err(error) = program.process.end()
        {
            report.failures.push(format!("the end of the program: {error}"));
        }
        report
    }

    fn run_input(
        &self,
        binary: &Path,
        running: &mut Option<(Program, Party)>,
        input: &Input,
        runs: &mut usize,
    ) -> Result<(), String> {
        let scene = scene(input, Tls::Real)?;
        if running.is_none() {
            let peers = self.jobs.iter().map(|(_, input)| input.peer.as_str()).collect();
            let mut program = Program::start(binary, &self.options, &peers)?;
            let honest = begin(&mut program, &scene)?;
            program.settled = program.process.sockets();
            *running = Some((program, honest));
        }
        let (program, honest) = running.as_mut().ok_or("nothing runs")?;
        let mut digests = Digests::default();
        for cut in [Cut::Whole, Cut::At(attack(input)?.len() / 2)] {
            *runs += 1;
            if dials(input) {
                program.process.reload()?;
            }
            let digest = run_once(program, honest, input, scene.attacker.as_ref(), cut);
            digests.compare(cut, &digest.map_err(|error| format!("{cut:?}: {error}"))?)?;
            program.hang_up_all();
        }
        Ok(())
    }
}

/// The process, and everything around it.
struct Program {
    process: Process,
    dns: DnsServer,
    /// Questions that were told.
    asked: usize,
    servers: BTreeMap<&'static str, TcpListener>,
    /// In the order of [`HOSTS`].
    components: Vec<Component>,
    lines: Vec<TcpStream>,
    /// Sockets of the process while there is nothing but the honest peer.
    settled: usize,
    /// Messages from one component to the other.
    marks: usize,
    _home: TempDir,
}

impl Program {
    fn start(binary: &Path, options: &str, peers: &BTreeSet<&str>) -> Result<Self, String> {
        let failed = |error: io::Error| format!("what the program needs: {error}");
        let mut servers = BTreeMap::new();
        for name in DOMAINS {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
            listener.set_nonblocking(true).map_err(failed)?;
            servers.insert(*name, listener);
        }
        let mut zone = Zone::new().transient();
        for domain in DOMAINS.iter().chain(peers).copied().collect::<BTreeSet<_>>() {
            let port = servers[server_of(domain)].local_addr().map_err(failed)?.port();
            let host = format!("host.{domain}");
            zone = zone.address(&host, Ipv4Addr::LOCALHOST);
            zone = zone.service(&format!("_xmpp-server._tcp.{domain}"), 0, 0, port, &host);
        }
        let dns = DnsServer::start(zone).map_err(failed)?;
        let home = tempfile::tempdir().map_err(failed)?;
        configuration::write(home.path(), options, dns.addr()).map_err(failed)?;
        let process = Process::start(binary, home.path())?;
        let components = HOSTS.iter().map(|host| Component::attach(process.component, host));
        let components = components.collect::<io::Result<_>>().map_err(failed)?;
        Ok(Self { process, dns, asked: 0, servers, components, lines: Vec::new(), settled: 0, marks: 0, _home: home })
    }

    fn keep(&mut self, stream: TcpStream) -> io::Result<LineIndex> {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        self.lines.push(stream);
        Ok(self.lines.len() - 1)
    }

    /// Closes everything but the connection of the honest peer, which was the first.
    fn hang_up_all(&mut self) {
        self.lines.truncate(1);
    }

    /// What was delivered until the component of the first host had a stanza with `text`.
    fn delivered(&mut self, text: &str) -> io::Result<Vec<String>> {
        let [first, second] = self.components.as_mut_slice() else {
            return Err(io::Error::other("there are two hosts"));
        };
        first.read_until(text)?;
        // What was delivered to the other one before stands before this in its stream.
        self.marks += 1;
        let mark = format!("mark {}", self.marks);
        let (from, to) = (HOSTS[0], HOSTS[1]);
        first.send(&format!("<message from='u@{from}' to='u@{to}' id='{mark}'/>"))?;
        second.read_until(&mark)?;
        let mut stanzas = first.take();
        stanzas.extend(second.take().into_iter().filter(|stanza| !stanza.contains(&mark)));
        Ok(stanzas)
    }
}

impl Target for Program {
    fn connect(&mut self, on: Listener) -> LineIndex {
        let addr = if on == Listener::DirectTls { self.process.direct } else { self.process.starttls };
        let stream = TcpStream::connect(addr).expect("the program listens");
        self.keep(stream).expect("options of a socket")
    }

    fn accept(&mut self, domain: &str) -> Option<LineIndex> {
        let listener = self.servers.get(domain)?;
        let (stream, _) = until(|| listener.accept().ok())?;
        self.keep(stream).ok()
    }

    /// A peer that has gone does not read: that is no failure of the case.
    fn send(&mut self, line: LineIndex, bytes: &[u8]) {
        let _ = self.lines[line].write_all(bytes);
    }

    fn hang_up(&mut self, line: LineIndex) {
        let _ = self.lines[line].shutdown(Shutdown::Write);
    }

    fn receive(&mut self, line: LineIndex) -> (Vec<u8>, bool) {
        let mut bytes = vec![0; 16_384];
        match self.lines[line].read(&mut bytes) {
            Ok(0) => (Vec::new(), true),
            Ok(n) => {
                bytes.truncate(n);
                (bytes, false)
            }
            Err(error) => (Vec::new(), has_gone(&error)),
        }
    }

    fn is_silent(&mut self, line: LineIndex) -> bool {
        let stream = &self.lines[line];
        let looked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0]));
        let restored = stream.set_nonblocking(false);
        restored.is_ok() && looked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    fn takes_time(&self) -> bool {
        true
    }

    fn wait(&mut self, seconds: u64) {
        std::thread::sleep(configuration::shortened(seconds));
    }

    fn route(&mut self, stanza: &str) {
        // If it is gone, the case fails for want of an answer.
        let _ = self.components[0].send(stanza);
    }

    /// What the log has, then what the components have. Who sent a message of ours that came back gets one bounce.
    fn notes_until(&mut self, text: &str) -> Vec<Note> {
        let stanzas = match self.delivered(text) {
            Ok(stanzas) => stanzas,
            Err(error) => vec![format!("nothing more to a component: {error}")],
        };
        let mut notes = self.process.notes();
        let mut owed = notes.iter().filter(|note| matches!(note, Note::Returned(_))).count();
        for stanza in stanzas {
            if owed > 0 && stanza.contains("id='waiting'") && stanza.contains("type='error'") {
                owed -= 1;
            } else {
                notes.push(Note::Delivered(stanza));
            }
        }
        if owed > 0 {
            notes.push(Note::Delivered(format!("{owed} bounces are missing")));
        }
        notes
    }

    fn take_dialled(&mut self) -> Vec<String> {
        let mut dialled = Vec::new();
        for (domain, listener) in &self.servers {
            while listener.accept().is_ok() {
                dialled.push((*domain).to_owned());
            }
        }
        dialled
    }

    fn take_asked(&mut self) -> Vec<String> {
        let asked = self.dns.asked();
        let new = asked.iter().skip(self.asked).map(|(name, _)| name.trim_end_matches('.').to_owned()).collect();
        self.asked = asked.len();
        new
    }

    fn left(&mut self) -> Result<(), String> {
        let settled = until(|| (self.process.sockets() <= self.settled).then_some(()));
        settled.ok_or_else(|| format!("{} sockets are open, not {}", self.process.sockets(), self.settled))
    }
}
