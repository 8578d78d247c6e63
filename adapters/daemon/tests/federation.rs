//! Two processes federate with nothing but what stands in their files.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use s2s_core::component::ComponentSecret;

const SECRET: &str = "a secret of components";

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

struct Serving {
    child: Child,
    component: SocketAddr,
    stderr: BufReader<ChildStderr>,
}

impl Serving {
    fn start(directory: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_s2sd"))
            .args(["serve", "--config"])
            .arg(directory.join("s2sd.toml"))
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let mut serving = Self { child, component: ([0, 0, 0, 0], 0).into(), stderr };
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(serving.stderr.read_line(&mut line).expect("text"), 0, "it ended early:\n{seen}");
            seen.push_str(&line);
            if let Some((_, component)) = line.trim_end().split_once(" component=") {
                serving.component = component.parse().expect("an address");
                return serving;
            }
        }
    }

    fn end(mut self) -> String {
        let status = Command::new("kill").arg(self.child.id().to_string()).status().expect("kill runs");
        assert!(status.success());
        let mut log = String::new();
        self.stderr.read_to_string(&mut log).expect("text");
        assert_eq!(self.child.wait().expect("it ends").code(), Some(0), "{log}");
        log
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A component that reads as much as it is told to wait for.
struct Component {
    socket: TcpStream,
    seen: String,
}

impl Component {
    fn attach(addr: SocketAddr, host: &str) -> Self {
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

    fn send(&mut self, text: &str) {
        self.socket.write_all(text.as_bytes()).expect("open");
    }

    fn wait(&mut self, text: &str) {
        while !self.seen.contains(text) {
            let mut buffer = [0; 4096];
            let length = self.socket.read(&mut buffer).unwrap_or_default();
            assert_ne!(length, 0, "'{text}' did not come, but: {}", self.seen);
            self.seen.push_str(std::str::from_utf8(&buffer[..length]).expect("text"));
        }
    }
}

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority"))
    }

    fn issue(&self, name: &str, certificate: &Path, key: &Path) {
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let pair = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&pair, &self.0).expect("a certificate");
        fs::create_dir_all(certificate.parent().expect("a parent")).expect("a directory");
        fs::write(certificate, signed.pem()).expect("writable");
        fs::write(key, pair.serialize_pem()).expect("writable");
    }
}

/// A port that was free a moment ago: each side has to know the other's before either has begun.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

fn configuration(host: &str, listen: &str, peer: &str, route: &str) -> String {
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
s2s_close_timeout = 1
dialback_secret_file = "dialback"
log_format = "json"
[host."{host}"]
component_secret_file = "secret"
[route."{peer}"]
{route}
"#
    )
}

#[test]
fn two_processes_federate_with_what_stands_in_their_files() {
    let home = tempfile::tempdir().expect("a directory");
    let authority = Authority::new();
    let (left, right) = (home.path().join("left"), home.path().join("right"));
    let (starttls, direct) = (free_port(), free_port());
    authority.issue("left.example", &left.join("certs/any.crt"), &left.join("certs/any.key"));
    let nested = right.join("certs/any");
    authority.issue("right.example", &nested.join("fullchain.pem"), &nested.join("privkey.pem"));
    for (directory, text) in [
        (
            &left,
            configuration(
                "left.example",
                &format!("s2s_ports = [{starttls}]"),
                "right.example",
                &format!("address = \"127.0.0.1:{direct}\"\ntls = \"direct\""),
            ),
        ),
        (
            &right,
            configuration(
                "right.example",
                &format!("s2s_ports = []\ns2s_direct_tls_ports = [{direct}]"),
                "left.example",
                &format!("address = \"127.0.0.1:{starttls}\""),
            ),
        ),
    ] {
        fs::write(directory.join("s2sd.toml"), text).expect("writable");
        fs::write(directory.join("ca.pem"), authority.0.pem()).expect("writable");
        fs::write(directory.join("secret"), format!("{SECRET}\n")).expect("writable");
        fs::write(directory.join("dialback"), "sixteen bytes, at least\n").expect("writable");
    }
    let (left, right) = (Serving::start(&left), Serving::start(&right));
    let mut romeo = Component::attach(left.component, "left.example");
    let mut juliet = Component::attach(right.component, "right.example");
    romeo.send("<message from='romeo@left.example' to='juliet@right.example'><body>Art thou there?</body></message>");
    juliet.wait("Art thou there?</body>");
    juliet.send("<message from='juliet@right.example' to='romeo@left.example'><body>Ay.</body></message>");
    romeo.wait("Ay.</body>");
    drop((romeo, juliet));

    for (server, outbound) in [(left, "right.example"), (right, "left.example")] {
        let log = server.end();
        let lines = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect(line));
        let up: Vec<_> = lines.filter(|line| line["event"] == "peer-up").collect();
        assert_eq!(up.len(), 2, "{log}");
        for line in up {
            assert_eq!((&line["method"], &line["remote"]), (&"external".into(), &outbound.into()), "{log}");
            assert!(line["tls"].as_str().is_some_and(|tls| tls.starts_with("TLSv1.3 ")), "{log}");
        }
    }
}
