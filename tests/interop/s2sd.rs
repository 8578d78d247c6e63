//! Our program, as an operator would run it.

use std::env;
use std::fmt::{self, Display, Formatter};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, Command};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use s2s_tests::adapter::Adapter;
use serde_json::Value;

use crate::component::{Component, SECRET};
use crate::failure::{Failure, While, fail};
use crate::lab::{Lab, Place};
use crate::pki::Identity;
use crate::process::{Process, tail};

/// How long it may take to say that it is ready.
const START: Duration = Duration::from_secs(40);
/// How long it may take to end when it is asked to: `s2s_close_timeout` and one second, and the machine is busy.
const END: Duration = Duration::from_secs(20);

/// What drives the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Engine {
    /// `runtime`
    pub(crate) runtime: Adapter,
    /// `nodes`
    pub(crate) nodes: u16,
}

impl Engine {
    /// The defaults of the configuration.
    pub(crate) const DEFAULT: Self = Self { runtime: Adapter::Smol, nodes: 1 };

    /// Several nodes, in the hands of either runtime.
    pub(crate) const SEVERAL_NODES: [Self; 2] =
        [Self { runtime: Adapter::Smol, nodes: 2 }, Self { runtime: Adapter::Threads, nodes: 2 }];
}

impl Display for Engine {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { runtime, nodes } = self;
        write!(f, "{}, {nodes} {}", runtime.as_str(), if *nodes == 1 { "node" } else { "nodes" })
    }
}

/// How the program is to be set up.
pub(crate) struct Settings<'a> {
    /// What drives it.
    pub(crate) engine: Engine,
    /// The only host.
    pub(crate) host: String,
    /// Where everything listens, but for `s2s_interfaces`.
    pub(crate) address: Ipv4Addr,
    /// `s2s_interfaces`.
    pub(crate) interface: Ipv4Addr,
    /// The host's certificate.
    pub(crate) identity: &'a Identity,
    /// `certificates`: a directory in which it is found by its name. Else the host says where it is.
    pub(crate) certificates: Option<PathBuf>,
    /// The certificate of the authority that it trusts.
    pub(crate) authority: &'a Path,
    /// Whom it asks for names.
    pub(crate) name_server: Ipv4Addr,
    /// `s2s_secure_auth`.
    pub(crate) strict: bool,
    /// `s2s_require_encryption`.
    pub(crate) encrypted: bool,
    /// `s2s_ports`, if any.
    pub(crate) starttls: Option<u16>,
    /// `s2s_direct_tls_ports`.
    pub(crate) direct: u16,
    /// More lines at the top of the configuration.
    pub(crate) top: String,
    /// More lines below those of the host; they may end in tables of their own.
    pub(crate) below: String,
}

impl<'a> Settings<'a> {
    /// What everybody begins with: a strict host at `place`, in the world of `lab`.
    pub(crate) fn strict(place: &'a Place, lab: &'a Lab) -> Self {
        Self {
            engine: lab.engine,
            host: place.host.clone(),
            address: place.address,
            interface: place.interface,
            identity: &place.identity,
            certificates: None,
            authority: lab.authority(),
            name_server: lab.name_server(),
            strict: true,
            encrypted: true,
            starttls: Some(5269),
            direct: 5270,
            top: String::new(),
            below: String::new(),
        }
    }
}

/// The running program.
pub(crate) struct Daemon {
    process: Process,
    log: PathBuf,
    /// Its configuration.
    pub(crate) config: PathBuf,
    /// Where components connect.
    pub(crate) address: Ipv4Addr,
    host: String,
}

/// Where the program is: `$S2SD`, or the release build in the target directory of this test.
pub(crate) fn program() -> Result<PathBuf, Failure> {
    let built = || Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("release").join("s2sd");
    let program = env::var_os("S2SD").map_or_else(built, PathBuf::from);
    match program.is_file() {
        // It is started in another directory.
        true => Ok(fs::canonicalize(program)?),
        false => fail(format!("{} is not there: cargo build --release -p s2sd", program.display())),
    }
}

impl Daemon {
    /// Writes the configuration below `directory`, starts the program and waits until it says that it is ready.
    pub(crate) fn start(settings: &Settings<'_>, directory: &Path) -> Result<Self, Failure> {
        let directory = directory.join(&settings.host);
        fs::create_dir_all(&directory)?;
        let config = directory.join("s2sd.toml");
        fs::write(&config, configuration(settings))?;
        let log = directory.join("log");
        let command = [&program()?.display().to_string(), "serve", "--config", &config.display().to_string()];
        let (process, stderr) = Process::start_piped(&command, &directory.join("output"))?;
        let (sender, ready) = mpsc::channel();
        let file = File::create(&log)?;
        thread::spawn(move || copy(stderr, file, &sender));
        let daemon = Self { process, log, config, address: settings.address, host: settings.host.clone() };
        match ready.recv_timeout(START) {
            Ok(()) => Ok(daemon),
            Err(_) => fail(format!("s2sd did not get ready\n{}", tail(&daemon.log, 20))),
        }
    }

    /// What `s2sd explain` says about `remote` by the configuration that this program runs with.
    pub(crate) fn explain(&self, remote: &str) -> Result<Value, Failure> {
        let mut command = Command::new(program()?);
        let output = command.args(["explain", "--json", "--config"]).arg(&self.config).arg(remote).output()?;
        if !output.status.success() {
            return fail(format!("s2sd explain: {}", String::from_utf8_lossy(&output.stderr).trim()));
        }
        serde_json::from_slice(&output.stdout).map_err(std::io::Error::from).when("s2sd explain")
    }

    /// Connects the host's component.
    pub(crate) fn component(&self) -> Result<Component, Failure> {
        Component::connect(self.address, &self.host, Instant::now() + START)
    }

    /// Where its log is.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// All events so far. Lines that are no JSON are none.
    pub(crate) fn events(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits for an event about that remote domain in that direction that `wanted` finds right.
    pub(crate) fn wait_for(
        &self,
        remote: &str,
        direction: &str,
        deadline: Instant,
        wanted: impl Fn(&Value) -> bool,
    ) -> Option<Value> {
        loop {
            let concerns = |event: &&Value| text(event, "remote") == remote && text(event, "direction") == direction;
            let found = self.events().iter().filter(concerns).find(|event| wanted(event)).cloned();
            if found.is_some() || Instant::now() >= deadline {
                return found;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks it to end; it must do so in time and with success.
    pub(crate) fn stop(mut self) -> Result<(), Failure> {
        if let Some(status) = self.process.ended() {
            return fail(format!("s2sd ended by itself: {status}"));
        }
        let status = self.process.terminate(END).when("s2sd")?;
        if status.success() { Ok(()) } else { fail(format!("s2sd did not end well on SIGTERM: {status}")) }
    }
}

/// A member of an event, empty if it is absent or null.
pub(crate) fn text<'a>(event: &'a Value, member: &str) -> &'a str {
    event.get(member).and_then(Value::as_str).unwrap_or_default()
}

fn configuration(settings: &Settings<'_>) -> String {
    let Settings { host, address, interface, authority, name_server, strict, encrypted, direct, top, below, .. } =
        settings;
    let Identity { certificate, key, .. } = settings.identity;
    let Engine { runtime, nodes } = settings.engine;
    let (directory, files) = match &settings.certificates {
        Some(directory) => (format!("certificates = \"{}\"", directory.display()), String::new()),
        None => (String::new(), format!("certificate = \"{}\"\nkey = \"{}\"", certificate.display(), key.display())),
    };
    let starttls = settings.starttls.map(|port| port.to_string()).unwrap_or_default();
    format!(
        r#"s2s_interfaces = ["{interface}"]
s2s_ports = [{starttls}]
s2s_direct_tls_ports = [{direct}]
component_interfaces = ["{address}"]
component_ports = [5347]
dns_servers = ["{name_server}:53"]
s2s_allow_private_addresses = true
s2s_secure_auth = {strict}
s2s_require_encryption = {encrypted}
dialback_secret = "a secret of the interop tests"
cafile = "{authority}"
log_format = "json"
runtime = "{runtime}"
nodes = {nodes}
{directory}
{top}

[host."{host}"]
{files}
component_secret = "{SECRET}"
{below}
"#,
        runtime = runtime.as_str(),
        authority = authority.display(),
    )
}

fn copy(stderr: ChildStderr, mut log: File, ready: &Sender<()>) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        // Nobody may be waiting any more.
        if writeln!(log, "{line}").is_err() || (line.starts_with("s2sd ready ") && ready.send(()).is_err()) {
            return;
        }
    }
}
