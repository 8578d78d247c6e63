//! Servers as processes, their components, and the authority that vouches for them.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose, SerialNumber};
use s2s_core::component::ComponentSecret;
use serde_json::Value;

pub(crate) const SECRET: &str = "a secret of components";

/// No two certificates have the same.
static NEXT_SERIAL: AtomicU64 = AtomicU64::new(1);

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Seconds that streams have to close in. What closes is faster; a test that has to see it end sets another.
pub(crate) const CLOSE_TIMEOUT: u64 = 1;

/// A running server, and what it writes.
pub(crate) struct Serving {
    child: Child,
    pub(crate) component: SocketAddr,
    lines: Receiver<String>,
    /// Lines that nobody has waited for yet.
    unread: Vec<Value>,
}

impl Serving {
    /// What the system trusts is a file of the test too: `system.pem`, if there is one.
    pub(crate) fn start(directory: &Path) -> Self {
        Self::spawn(Command::new(env!("CARGO_BIN_EXE_s2sd")), directory)
    }

    /// A server that may have no more than so many descriptors.
    pub(crate) fn start_with_descriptors(directory: &Path, descriptors: usize) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"")]).arg(env!("CARGO_BIN_EXE_s2sd"));
        Self::spawn(shell, directory)
    }

    fn spawn(mut command: Command, directory: &Path) -> Self {
        let mut child = command
            .args(["serve", "--config"])
            .arg(directory.join("s2sd.toml"))
            .env("SSL_CERT_FILE", directory.join("system.pem"))
            .env_remove("SSL_CERT_DIR")
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut serving = Self { child, component: ([0, 0, 0, 0], 0).into(), lines, unread: Vec::new() };
        loop {
            let line = serving.lines.recv_timeout(PATIENCE).expect("it gets ready");
            if let Some((_, component)) = line.split_once(" component=") {
                serving.component = component.parse().expect("an address");
                return serving;
            }
            serving.unread.push(parse(&line));
        }
    }

    /// The next line in which each key has its value, or a text with the value in it.
    pub(crate) fn wait(&mut self, fields: &[(&str, &str)]) -> Value {
        let matches = |line: &Value| {
            fields.iter().all(|(key, value)| line[*key].as_str().is_some_and(|text| text.contains(value)))
        };
        if let Some(at) = self.unread.iter().position(matches) {
            return self.unread.remove(at);
        }
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else {
                panic!("{fields:?} did not come, but {:#?}", self.unread);
            };
            let line = parse(&line);
            if matches(&line) {
                return line;
            }
            self.unread.push(line);
        }
    }

    /// How many of its first `limit` descriptors are open now. It may have inherited others, of higher numbers.
    pub(crate) fn descriptors(&self, limit: usize) -> usize {
        let open = fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("it runs");
        let numbers = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        numbers.filter(|number: &usize| *number < limit).count()
    }

    /// Goes on as if nothing had been told of reloads.
    pub(crate) fn forget_reloads(&mut self) {
        let told: Vec<_> = self.lines.try_iter().map(|line| parse(&line)).collect();
        self.unread.extend(told);
        self.unread.retain(|line| line["event"] != "reload");
    }

    pub(crate) fn reload(&self) {
        self.signal("-HUP");
    }

    /// Lets it do nothing any more: it reads nothing, and its connections stay open.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().expect("kill runs");
        assert!(status.success());
    }

    /// Tells it to end, and does not wait for that.
    pub(crate) fn begin_to_end(&self) {
        self.signal("-TERM");
    }

    /// Ends it in good order, and gives the lines that nobody has waited for.
    pub(crate) fn end(self) -> Vec<Value> {
        self.begin_to_end();
        self.ended()
    }

    /// Waits until it has ended in good order, and gives the lines that nobody has waited for.
    pub(crate) fn ended(mut self) -> Vec<Value> {
        let rest: Vec<_> = self.lines.iter().map(|line| parse(&line)).collect();
        self.unread.extend(rest);
        assert_eq!(self.child.wait().expect("it ends").code(), Some(0), "{:#?}", self.unread);
        std::mem::take(&mut self.unread)
    }
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).expect(line)
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let rest: Vec<_> = self.lines.iter().collect();
            eprintln!("what nobody waited for in its log: {:#?}\n{}", self.unread, rest.join("\n"));
        }
    }
}

/// A component that reads as much as it is told to wait for.
pub(crate) struct Component {
    socket: TcpStream,
    seen: String,
}

impl Component {
    pub(crate) fn attach(addr: SocketAddr, host: &str) -> Self {
        let socket = TcpStream::connect(addr).expect("it listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut component = Self { socket, seen: String::new() };
        component.send(&format!(
            "<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' to='{host}'>"
        ));
        component.wait("id=");
        component.wait(">");
        let (_, rest) = component.seen.split_once("id=").expect("waited for");
        let id = rest.split(['\'', '"']).nth(1).expect("quoted");
        let handshake = ComponentSecret::new(SECRET.to_owned()).handshake(id);
        component.send(&format!("<handshake>{handshake}</handshake>"));
        component.wait("<handshake");
        component
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.socket.write_all(text.as_bytes()).expect("open");
    }

    /// Whether it has read that already.
    pub(crate) fn has_read(&self, text: &str) -> bool {
        self.seen.contains(text)
    }

    /// Goes on as if nothing had been read.
    pub(crate) fn forget(&mut self) {
        self.seen.clear();
    }

    pub(crate) fn wait(&mut self, text: &str) {
        while !self.seen.contains(text) {
            let mut buffer = [0; 4096];
            let length = self.socket.read(&mut buffer).unwrap_or_default();
            assert_ne!(length, 0, "'{text}' did not come, but: {}", self.seen);
            self.seen.push_str(std::str::from_utf8(&buffer[..length]).expect("text"));
        }
    }
}

pub(crate) struct Authority(pub(crate) CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority"))
    }

    pub(crate) fn issue(&self, name: &str, certificate: &Path, key: &Path) -> SerialNumber {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let serial = SerialNumber::from(NEXT_SERIAL.fetch_add(1, Ordering::Relaxed));
        params.serial_number = Some(serial.clone());
        let pair = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&pair, &self.0).expect("a certificate");
        fs::create_dir_all(certificate.parent().expect("a parent")).expect("a directory");
        fs::write(certificate, signed.pem()).expect("writable");
        fs::write(key, pair.serialize_pem()).expect("writable");
        serial
    }
}

pub(crate) fn configuration(host: &str, listen: &str, peer: &str, route: &str) -> String {
    format!(
        r#"
s2s_secure_auth = true
s2s_require_encryption = true
s2s_interfaces = ["127.0.0.1"]
{listen}
component_ports = [0]
cafile = "ca.pem"
s2s_allow_private_addresses = true
dns_servers = ["127.0.0.1:9"]
s2s_attempt_timeout = 60
s2s_close_timeout = {CLOSE_TIMEOUT}
dialback_secret_file = "dialback"
log_format = "json"
[host."{host}"]
component_secret_file = "secret"
[route."{peer}"]
{route}
"#
    )
}
