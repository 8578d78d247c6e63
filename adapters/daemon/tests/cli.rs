//! The program as an operator meets it: exit codes, messages, and the line that says that it is ready.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use s2s_tests::sockets::ReservedPort;

fn s2sd(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_s2sd"));
    command.args(arguments).current_dir(directory).stdin(Stdio::null());
    command
}

fn run(directory: &Path, arguments: &[&str]) -> Output {
    s2sd(directory, arguments).output().expect("the program runs")
}

fn home() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A configuration that can be served without certificates, authorities or fixed ports.
const SMALL: &str = r#"
s2s_interfaces = ["127.0.0.1"]
s2s_ports = [0]
component_ports = [0]
dns_servers = ["127.0.0.1:9"]
s2s_close_timeout = 1
system_roots = false
[host."m.example"]
component_secret = "secret"
"#;

/// A running server and the line with which it said that it was ready.
struct Serving {
    child: Child,
    ready: String,
    stderr: BufReader<std::process::ChildStderr>,
}

impl Serving {
    fn start(directory: &Path, configuration: &str) -> Self {
        let mut serving = Self::starting(directory, configuration);
        serving.become_ready();
        serving
    }

    /// A server that may be far from ready.
    fn starting(directory: &Path, configuration: &str) -> Self {
        fs::write(directory.join("s2sd.toml"), configuration).expect("writable");
        let mut child = s2sd(directory, &["serve", "--config", "s2sd.toml"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        Self { child, ready: String::new(), stderr }
    }

    fn become_ready(&mut self) {
        let mut seen = String::new();
        while !self.ready.starts_with("s2sd ready ") {
            let mut line = String::new();
            assert_ne!(self.stderr.read_line(&mut line).expect("text"), 0, "it ended before it was ready:\n{seen}");
            seen.push_str(&line);
            self.ready = line.trim_end().to_owned();
        }
    }

    fn address(&self, group: &str) -> SocketAddr {
        let words = self.ready.split(' ');
        let list = words.filter_map(|word| word.strip_prefix(group)?.strip_prefix('=')).next().expect(group);
        list.split(',').next().and_then(|first| first.parse().ok()).expect("an address")
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().expect("kill runs");
        assert!(status.success());
    }

    /// The next line that has `text` in it.
    fn wait(&mut self, text: &str) -> String {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert_ne!(self.stderr.read_line(&mut line).expect("text"), 0, "'{text}' did not come");
        }
        line
    }

    /// The exit code and the rest of the log.
    fn end(mut self) -> (Option<i32>, String) {
        let mut log = String::new();
        self.stderr.read_to_string(&mut log).expect("text");
        (self.child.wait().expect("it ends").code(), log)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It has ended already, unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn usage_errors_end_with_2_and_help_with_0() {
    let home = home();
    for arguments in [
        &["frobnicate"][..],
        &["serve"],
        &["init"],
        &["init", "not a domain"],
        &["init", "localhost"],
        &["demo", "--xml"],
    ] {
        assert_eq!(run(home.path(), arguments).status.code(), Some(2), "{arguments:?}");
    }
    assert_eq!(run(home.path(), &["--help"]).status.code(), Some(0));
}

#[test]
fn a_wrong_configuration_ends_with_2_and_a_line_for_each_problem() {
    let home = home();
    fs::write(home.path().join("bad.toml"), "s2s_timeout = \"long\"\n\nunknown = 1\ncontrol_socket = \"x\"\n")
        .expect("writable");
    let output = run(home.path(), &["serve", "--config", "bad.toml"]);
    assert_eq!(output.status.code(), Some(2));
    let text = stderr(&output);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].starts_with("s2sd: bad.toml:1: 's2s_timeout' is \"long\""), "{text}");
    assert!(lines[1].starts_with("s2sd: bad.toml:3: unknown key 'unknown'"), "{text}");
    assert_eq!(lines[2], "s2sd: bad.toml:4: control_socket is not in this version");

    let absent = run(home.path(), &["serve", "--config", "absent.toml"]);
    assert_eq!(absent.status.code(), Some(2));
    assert!(stderr(&absent).contains("absent.toml: cannot be read"), "{}", stderr(&absent));
}

#[test]
fn an_outgoing_address_that_is_not_of_this_machine_ends_with_2_and_its_line() {
    let home = home();
    fs::write(home.path().join("s2sd.toml"), format!("s2s_outgoing_addresses = [\"192.0.2.1\"]\n{SMALL}"))
        .expect("writable");
    let output = run(home.path(), &["serve", "--config", "s2sd.toml"]);
    assert_eq!(output.status.code(), Some(2));
    let expected =
        "s2sd.toml:1: 's2s_outgoing_addresses' has 192.0.2.1, but must be a list of IP addresses of this machine";
    assert!(stderr(&output).contains(expected), "{}", stderr(&output));
}

#[test]
fn a_host_that_demands_encryption_and_has_no_certificate_ends_with_2() {
    let home = home();
    fs::write(home.path().join("s2sd.toml"), format!("s2s_require_encryption = true\n{SMALL}")).expect("writable");
    let output = run(home.path(), &["serve", "--config", "s2sd.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("host 'm.example' demands encryption"), "{}", stderr(&output));
}

#[test]
fn an_address_that_cannot_be_listened_on_ends_with_1_and_is_told_with_the_option_and_its_line() {
    let home = home();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port();
    let in_use = "something listens there, or another key has this port: end that, or give another port";
    let foreign = "it is no address of this machine: give one that is";
    let s2s = SMALL.replace("s2s_ports = [0]", &format!("s2s_ports = [{port}]"));
    let component = SMALL.replace("component_ports = [0]", &format!("component_ports = [{port}]"));
    let metrics = format!("metrics_listen = \"127.0.0.1:{port}\"{SMALL}");
    let elsewhere = SMALL.replace("[\"127.0.0.1\"]", "[\"192.0.2.1\"]");
    for (text, line, key, addr, remedy) in [
        (s2s, 3, "s2s_ports", format!("127.0.0.1:{port}"), in_use),
        (component, 4, "component_ports", format!("127.0.0.1:{port}"), in_use),
        (metrics, 1, "metrics_listen", format!("127.0.0.1:{port}"), in_use),
        (elsewhere, 2, "s2s_interfaces", "192.0.2.1:0".to_owned(), foreign),
    ] {
        fs::write(home.path().join("s2sd.toml"), text).expect("writable");
        let output = run(home.path(), &["serve", "--config", "s2sd.toml"]);
        assert_eq!(output.status.code(), Some(1), "{key}");
        let told = stderr(&output);
        let place = format!("s2sd: s2sd.toml:{line}: '{key}': cannot listen on {addr}: ");
        assert!(told.lines().any(|line| line.starts_with(&place) && line.ends_with(remedy)), "{told}");
    }
}

#[test]
fn a_configuration_in_which_nothing_listens_is_served_with_a_warning() {
    let home = home();
    let mut serving = Serving::starting(home.path(), &SMALL.replace("component_ports = [0]", "component_ports = []"));
    let warning = serving.wait("nothing listens");
    let expected = " WARN configuration s2sd.toml:4: with this nothing listens for the component of m.example: ";
    assert!(warning.contains(expected), "{warning}");
    serving.become_ready();
    serving.signal("-TERM");
    let (code, log) = serving.end();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn a_private_key_that_is_encrypted_ends_with_2_and_how_to_decrypt_it() {
    let home = home();
    let pair = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec!["m.example".to_owned()]).expect("a name");
    fs::write(home.path().join("m.crt"), params.self_signed(&pair).expect("a certificate").pem()).expect("writable");
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
    fs::write(home.path().join("m.key"), encrypted).expect("writable");
    let text = format!("{SMALL}certificate = \"m.crt\"\nkey = \"m.key\"\n");
    fs::write(home.path().join("s2sd.toml"), text).expect("writable");
    let output = run(home.path(), &["serve", "--config", "s2sd.toml"]);
    assert_eq!(output.status.code(), Some(2));
    let told = stderr(&output);
    assert!(told.starts_with("s2sd: s2sd.toml:11: 'key': m.key: the private key is encrypted"), "{told}");
    assert!(told.contains("openssl pkey -in m.key -out NEW decrypts it"), "{told}");
}

#[test]
fn serve_says_where_it_listens_survives_sighup_and_ends_with_0_on_sigterm() {
    // `s2s_close_timeout` and one second. A machine may stand still meanwhile, but not every time.
    let fastest = (0..3).map(|_| time_to_end()).find(|time| *time < Duration::from_secs(2));
    assert!(fastest.is_some(), "it takes longer each time");
}

/// Lets a server serve, reload and end, beside a component that never closes. Returns how long the end takes.
fn time_to_end() -> Duration {
    let home = home();
    let mut serving = Serving::start(home.path(), SMALL);
    assert!(serving.ready.contains(" direct= component="), "{}", serving.ready);
    let component = TcpStream::connect(serving.address("component")).expect("it listens for components");
    TcpStream::connect(serving.address("s2s")).expect("it listens for servers");
    serving.signal("-HUP");
    let reloaded = serving.wait("trigger=signal outcome=done");
    serving.signal("-TERM");
    let asked = Instant::now();
    let (code, log) = serving.end();
    let time = asked.elapsed();
    assert_eq!(code, Some(0), "{log}");
    assert!(reloaded.contains("INFO"), "{reloaded}");
    drop(component);
    time
}

#[test]
fn a_sighup_that_comes_before_the_server_is_ready_is_a_reload_like_any_other() {
    let home = home();
    // It has more to warn of than a pipe holds, and goes on when it has been read.
    let label = "l".repeat(60);
    let idle = (0..1500).map(|number| format!("\"{label}.{label}.{label}.n{number}.example\""));
    let idle = idle.collect::<Vec<_>>().join(", ");
    let mut serving = Serving::starting(home.path(), &format!("s2s_insecure_domains = [{idle}]\n{SMALL}"));
    serving.wait("never decides");
    serving.signal("-HUP");
    serving.become_ready();
    serving.wait("trigger=signal outcome=done");
    serving.signal("-TERM");
    let (code, log) = serving.end();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_log_that_cannot_be_written_ends_nothing() {
    let home = home();
    let port = ReservedPort::new();
    let text = SMALL.replace("component_ports = [0]", &format!("component_ports = [{port}]"));
    fs::write(home.path().join("s2sd.toml"), text).expect("writable");
    let full = fs::File::options().write(true).open("/dev/full").expect("Linux has it");
    let mut child = s2sd(home.path(), &["serve", "--config", "s2sd.toml"]).stderr(full).spawn().expect("it starts");
    let deadline = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(("127.0.0.1", port.number())).is_err() {
        assert_eq!(child.try_wait().expect("a child"), None, "it has ended");
        assert!(Instant::now() < deadline, "it does not listen");
        std::thread::yield_now();
    }
    let told = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill runs");
    assert!(told.success());
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn a_log_for_programs_has_one_object_a_line() {
    let home = home();
    let serving = Serving::start(home.path(), &format!("log_format = \"json\"\n{SMALL}"));
    serving.signal("-INT");
    let (code, log) = serving.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.is_empty());
    for line in log.lines() {
        let object: serde_json::Value = serde_json::from_str(line).expect(line);
        assert!(object["time"].is_string() && object["level"].is_string() && object["event"].is_string(), "{line}");
    }
}

#[test]
fn init_writes_once() {
    let home = home();
    let first = run(home.path(), &["init", "m.example"]);
    assert_eq!(first.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&first.stdout).contains("_xmpps-server._tcp.m.example."));
    let written = fs::read(home.path().join("s2sd.toml")).expect("there");
    let second = run(home.path(), &["init", "m.example"]);
    assert_eq!(second.status.code(), Some(1));
    assert_eq!(fs::read(home.path().join("s2sd.toml")).expect("still there"), written);
}
