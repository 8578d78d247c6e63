//! Real servers, each with its own configuration, address and log.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::component::{self, Component, SECRET};
use crate::failure::{Failure, fail};
use crate::pki::Identity;
use crate::process::{Log, Process};

pub(crate) use s2s_tests::matrix::real::Policy;
pub(crate) use s2s_tests::oracle::software::Software;

/// The version of the package that is installed.
pub(crate) fn version(software: Software) -> Result<String, Failure> {
    let query = Command::new("dpkg-query").args(["-W", "-f", "${Version}", software.name()]).output()?;
    if !query.status.success() {
        return fail(format!("{} is not installed; tests/run does it", software.name()));
    }
    let version = String::from_utf8_lossy(&query.stdout).into_owned();
    Ok(version.split('-').next().unwrap_or_default().to_owned())
}

/// The program and its version, as reports have it.
pub(crate) fn name_and_version(software: Software) -> String {
    format!("{} {}", software.name(), version(software).unwrap_or_default())
}

/// The name of the component that has only `_xmpps-server` records in DNS.
pub(crate) const DIRECT: &str = "direct";
/// The name of the component that has records for both services in DNS.
pub(crate) const BOTH: &str = "both";
/// The name of the component that is found in the usual way.
pub(crate) const ECHO: &str = "echo";
/// The name of the component whose first SRV record leads to a port where nobody listens.
pub(crate) const SPARE: &str = "spare";

/// How long logs may lag behind the stanzas; Erlang writes them with a delay.
pub(crate) const LOGGED: Duration = Duration::from_secs(30);
/// How a server's log says that the other end has refused it.
pub(crate) const NOT_AUTHORIZED: &[&str] = &["not-authorized", "not authorized"];
/// How it says that it refuses a self-signed certificate.
pub(crate) const SELF_SIGNED: &[&str] =
    &["self-signed certificate", "self signed certificate", "certificate is not trusted"];
/// The same of an expired one.
pub(crate) const EXPIRED: &[&str] = &["certificate has expired"];
/// The same of one for another domain.
pub(crate) const WRONG_NAME: &[&str] = &["certificate host name mismatch", "certificate is not valid for this name"];

/// How a server's log has a reason of its own, by our code, or an error of ours. Empty: not at all.
pub(crate) fn logged_as(what: &str) -> &'static [&'static str] {
    match what {
        "cert-self-signed" => SELF_SIGNED,
        "cert-expired" => EXPIRED,
        "cert-name-mismatch" => WRONG_NAME,
        "cert-purpose" => &["unsupported certificate purpose", "certificate is not trusted"],
        "cert-unknown-issuer" => &["unable to verify the first certificate", "certificate is not trusted"],
        "cert-not-yet-valid" => &["certificate is not yet valid", "certificate is not trusted"],
        "stream not-authorized" => NOT_AUTHORIZED,
        "stream policy-violation" => &["policy-violation", "policy violation"],
        "starttls-refused" => &["unsupported-stanza-type", "starttls_unsupported"],
        _ => &[],
    }
}

/// What a server is to be.
pub(crate) struct Plan<'a> {
    /// Prosody or ejabberd.
    pub(crate) software: Software,
    /// How it treats others.
    pub(crate) policy: Policy,
    /// Where it listens.
    pub(crate) address: Ipv4Addr,
    /// Its domain, also the name of its directory.
    pub(crate) domain: String,
    /// Its certificate.
    pub(crate) identity: &'a Identity,
    /// The certificate of the authority that it trusts.
    pub(crate) authority: &'a Path,
    /// Whom it asks for names.
    pub(crate) name_server: Ipv4Addr,
}

/// A running server.
pub(crate) struct Peer {
    process: Process,
    command: Vec<String>,
    environment: Vec<(String, String)>,
    output: PathBuf,
    /// Where it listens.
    pub(crate) address: Ipv4Addr,
    /// Prosody or ejabberd.
    pub(crate) software: Software,
    /// Its domain.
    pub(crate) domain: String,
    /// Where it logs.
    pub(crate) log: PathBuf,
}

/// How long a server may take to open its ports.
const START: Duration = Duration::from_secs(300);

impl Peer {
    /// Writes the configuration below `directory` and starts the server, not waiting for it.
    pub(crate) fn start(plan: &Plan<'_>, directory: &Path) -> Result<Self, Failure> {
        let directory = directory.join(&plan.domain);
        fs::create_dir_all(directory.join("data"))?;
        let log = directory.join("log");
        let output = directory.join("output");
        let (command, environment) = match plan.software {
            Software::Prosody => prosody(plan, &directory, &log)?,
            Software::Ejabberd => ejabberd(plan, &directory, &log)?,
        };
        let process = launch(&command, &environment, &output)?;
        let (software, address, domain) = (plan.software, plan.address, plan.domain.clone());
        Ok(Self { process, command, environment, output, address, software, domain, log })
    }

    /// Waits until its ports are open.
    pub(crate) fn ready(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + START;
        for port in [5269, component::PORT] {
            let port = SocketAddr::from((self.address, port));
            while TcpStream::connect(port).is_err() {
                if let Some(status) = self.process.ended() {
                    return fail(format!("{} ended: {status}, see {}", self.domain, self.output.display()));
                }
                if Instant::now() > deadline {
                    return fail(format!("{} has not opened {port} in {START:?}", self.domain));
                }
                thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }

    /// Asks it to end, so that it writes the rest of its log.
    pub(crate) fn stop(&mut self) {
        // Killed after a while, which is all there is to do here.
        let _ = self.process.terminate(Duration::from_secs(5));
    }

    /// Stops it where it is: its sockets stay open, and it answers nothing until [`Peer::resume`].
    pub(crate) fn pause(&self) -> Result<(), Failure> {
        self.process.pause()
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        self.process.resume();
    }

    /// Where it listens for STARTTLS, or for direct TLS.
    pub(crate) fn listener(&self, port: u16) -> SocketAddr {
        SocketAddr::from((self.address, port))
    }

    /// Kills it without warning.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again, as it was.
    pub(crate) fn restart(&mut self) -> Result<(), Failure> {
        self.process = launch(&self.command, &self.environment, &self.output)?;
        self.ready()
    }

    /// Connects a component of that name below its domain.
    pub(crate) fn component(&self, name: &str) -> Result<Component, Failure> {
        Component::connect(self.address, &format!("{name}.{}", self.domain), Instant::now() + Duration::from_secs(40))
    }

    /// What it logs from now on.
    pub(crate) fn log_from_now(&self) -> Log {
        Log::from_now(&self.log)
    }

    /// Where it logs and where its output goes.
    pub(crate) fn logs(&self) -> [&Path; 2] {
        [&self.log, &self.output]
    }
}

type Launch = (Vec<String>, Vec<(String, String)>);

fn launch(command: &[String], environment: &[(String, String)], output: &Path) -> Result<Process, Failure> {
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let environment: Vec<(&str, &str)> = environment.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    Process::start(&command, &environment, output)
}

fn prosody(plan: &Plan<'_>, directory: &Path, log: &Path) -> Result<Launch, Failure> {
    let secured = plan.policy != Policy::Plain;
    let values = [
        ("ADDRESS", plan.address.to_string()),
        ("AUTHORITY", plan.authority.display().to_string()),
        ("CERTIFICATE", plan.identity.certificate.display().to_string()),
        ("DIRECTORY", directory.display().to_string()),
        ("DOMAIN", plan.domain.clone()),
        ("KEY", plan.identity.key.display().to_string()),
        ("LOG", log.display().to_string()),
        ("NAME_SERVER", plan.name_server.to_string()),
        ("SECRET", SECRET.to_owned()),
        ("SECURED", secured.to_string()),
        ("STRICT", (plan.policy == Policy::Secure).to_string()),
    ];
    let file = directory.join("prosody.cfg.lua");
    fs::write(&file, render(include_str!("prosody.cfg.lua.in"), &values))?;
    let command = ["prosody", "--config", &file.display().to_string(), "-F"].map(str::to_owned).to_vec();
    Ok((command, Vec::new()))
}

fn ejabberd(plan: &Plan<'_>, directory: &Path, log: &Path) -> Result<Launch, Failure> {
    let dialback = if plan.policy == Policy::Secure { "" } else { "mod_s2s_dialback: {}" };
    let values = [
        ("ADDRESS", plan.address.to_string()),
        ("AUTHORITY", plan.authority.display().to_string()),
        ("CERTIFICATE", plan.identity.both.display().to_string()),
        ("DIALBACK", dialback.to_owned()),
        ("DIRECT", (plan.policy != Policy::Plain).to_string()),
        ("DOMAIN", plan.domain.clone()),
        ("SECRET", SECRET.to_owned()),
        ("STARTTLS", if plan.policy == Policy::Plain { "false" } else { "required" }.to_owned()),
    ];
    let config = directory.join("ejabberd.yml");
    fs::write(&config, render(include_str!("ejabberd.yml.in"), &values))?;
    // Erlang's resolver finds SRV records, and the order of these lines matters; addresses go by getaddrinfo.
    let inetrc = directory.join("inetrc");
    let octets = plan.name_server.octets().map(|octet| octet.to_string()).join(",");
    let lines = ["{resolv_conf,\"\"}.", "{hosts_file,\"\"}.", "{lookup,[\"dns\"]}.", "{cache_size,0}."].join("\n");
    fs::write(&inetrc, format!("{lines}\n{{nameserver,{{{octets}}}}}.\n"))?;
    let start = directory.join("start");
    let data = directory.join("data").display().to_string();
    fs::write(&start, render(include_str!("ejabberd.sh.in"), &[("DATA", data)]))?;
    fs::set_permissions(&start, fs::Permissions::from_mode(0o755))?;
    let environment = [
        ("ERL_INETRC", inetrc.display().to_string()),
        ("HOME", directory.display().to_string()),
        ("EJABBERD_CONFIG_PATH", config.display().to_string()),
        ("EJABBERD_LOG_PATH", log.display().to_string()),
        ("ERL_CRASH_DUMP", "/dev/null".to_owned()),
        ("ERL_MAX_PORTS", "4096".to_owned()),
    ];
    let command = vec![start.display().to_string()];
    Ok((command, environment.map(|(name, value)| (name.to_owned(), value)).to_vec()))
}

fn render(template: &str, values: &[(&str, String)]) -> String {
    values.iter().fold(template.to_owned(), |text, (name, value)| text.replace(&format!("@{name}@"), value))
}
