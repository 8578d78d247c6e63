//! The demo compares what it sees with what had to be seen: this holds it to its word.

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant, SystemTime};

use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use s2s_core::addr::Domain;
use s2s_core::dialback::Secret;
use s2s_core::entropy::Seed;
use s2s_core::machine::Listener;
use s2s_core::node::{self, Node};
use s2s_core::policy::HostOptions;
use s2s_core::route::PrivateAddresses;
use s2s_core::stanza::Stanza;
use s2s_core::time::Anchor;
use s2s_core::tls::verify::Trust;
use s2s_core::tls::{HostIdentity, RustlsProvider, Version};

/// How long the demo may take for what it does within a second.
const PATIENCE: Duration = Duration::from_secs(60);

fn demo(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_s2sd")).args(arguments).output().expect("the program runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn every_way_to_federate_is_seen_and_one_refusal() {
    see(&["demo", "--json"]);
}

#[test]
fn threads_and_several_nodes_federate_in_the_same_ways() {
    for further in [&["--runtime", "threads"][..], &["--nodes", "2"], &["--runtime", "threads", "--nodes", "3"]] {
        see(&[&["demo", "--json"], further].concat());
    }
}

fn see(arguments: &[&str]) {
    let (code, stdout, stderr) = demo(arguments);
    assert_eq!(code, Some(0), "{stdout}\n{stderr}");
    let result: serde_json::Value = serde_json::from_str(&stdout).expect(&stdout);
    assert_eq!(result["ok"], true);
    let mut seen: Vec<_> = result["lanes"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|lane| {
            let text = |key: &str| lane[key].as_str().unwrap_or("-").to_owned();
            format!("{} {} {} {} {}", text("from"), text("to"), text("stream"), text("method"), text("refused"))
        })
        .collect();
    seen.sort();
    assert_eq!(
        seen,
        [
            "alpha.example beta.example starttls external -",
            "alpha.example self.beta.example - - cert-self-signed",
            "beta.example alpha.example starttls external -",
            "beta.example self.alpha.example direct external -",
            "self.alpha.example beta.example starttls dialback -",
            "self.alpha.example self.beta.example direct dialback -",
            "self.beta.example alpha.example - - cert-self-signed",
            "self.beta.example self.alpha.example direct dialback -",
        ]
    );
    for lane in result["lanes"].as_array().expect("a list").iter().filter(|lane| lane["refused"].is_null()) {
        assert_eq!((lane["tls"].as_str(), lane["stanzas"].as_u64()), (Some("TLSv1.3"), Some(10)), "{lane}");
        assert!(lane["first_stanza_ms"].as_f64().is_some_and(|time| time > 0.0), "{lane}");
    }
}

#[test]
fn without_arguments_the_demo_runs_and_closes_with_a_table() {
    let (code, stdout, stderr) = demo(&[]);
    assert_eq!(code, Some(0), "{stdout}\n{stderr}");
    assert!(stdout.contains("first stanza"), "{stdout}");
    assert!(stdout.contains("refused by alpha.example: cert-self-signed"), "{stdout}");
}

/// A server of somebody else meets the demo with what stands in the directory, and nothing else.
#[test]
fn a_guest_federates_with_the_demo_by_what_it_is_given() {
    // The port is free when the demo says so. Some other test may have it by now, but not every time.
    let (_home, demo, node, listener) = (0..5).find_map(|_| invited()).expect("a port that stays free");
    let (driver, handle) = s2s_smol::Driver::new(node, vec![(Listener::StartTls, listener)]).expect("a driver");
    let thread = std::thread::spawn(move || smol::block_on(driver.run()));
    let ask =
        "<message from='me@guest.example' to='echo@alpha.example' id='ask-1'><body>art thou there?</body></message>";
    let conversation = async {
        handle.send(node::Command::Send(Stanza::parse(ask).expect("a stanza"))).await.expect("it runs");
        loop {
            match handle.event().await.expect("it runs") {
                node::Event::Stanza { pair, stanza } => break (pair.remote, stanza.head().id.clone()),
                node::Event::PeerUp { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    };
    let late = async {
        smol::Timer::after(PATIENCE).await;
        panic!("no echo in time")
    };
    let (remote, id) = smol::block_on(smol::future::or(conversation, late));
    assert_eq!((remote.as_str(), id.as_deref()), ("alpha.example", Some("echo-1")));
    drop(handle);
    drop(thread.join().expect("it does not panic"));
    assert_eq!(demo.end(), Some(0));
}

/// A demo, the guest that it waits for, and the guest's listener, if its port is still free.
fn invited() -> Option<(tempfile::TempDir, Demo, Node, TcpListener)> {
    let home = tempfile::tempdir().expect("a directory");
    let directory = home.path().join("guest");
    let demo = Demo::start(&directory);
    let listen: SocketAddr = demo.word_after("listen on ").parse().expect("an address");
    let dns: SocketAddr = demo.word_after("ask the DNS server ").parse().expect("an address");
    demo.word_after("SIGINT (Ctrl-C) ");
    let node = guest(&directory, dns).expect("what was written is usable");
    Some((home, demo, node, s2s_smol::bind(listen).ok()?))
}

#[test]
fn files_of_a_guest_are_written_over_none_and_readable_by_their_owner_only() {
    let home = tempfile::tempdir().expect("a directory");
    let first = Demo::start(home.path());
    first.word_after("SIGINT (Ctrl-C) ");
    let mode = fs::metadata(home.path().join("guest.key")).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let before = fs::read(home.path().join("guest.key")).expect("readable");
    let (code, _, stderr) = demo(&["demo", "--guest", home.path().to_str().expect("a path of ASCII")]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("guest.crt cannot be written (nothing is written over"), "{stderr}");
    assert_eq!(fs::read(home.path().join("guest.key")).expect("readable"), before);
}

/// A node for `guest.example`, as its owner would make it.
fn guest(directory: &Path, dns: SocketAddr) -> Result<Node, Box<dyn Error>> {
    let host: Domain = "guest.example".parse()?;
    let crypto = rustls::crypto::aws_lc_rs::default_provider();
    let mut trust = Trust::new(crypto.signature_verification_algorithms.all);
    trust.add_anchor(&CertificateDer::from_pem_file(directory.join("authority.pem"))?)?;
    let chain = CertificateDer::pem_file_iter(directory.join("guest.crt"))?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(directory.join("guest.key"))?;
    let identity = HostIdentity::new(host.clone(), chain, key);
    let tls = Arc::new(RustlsProvider::new(Arc::new(crypto), vec![identity], Version::Tls12)?);
    let mut config = node::Config::new(tls, Arc::new(trust), Secret::new(&[7; 32])?, vec![dns]);
    let strict = HostOptions { secure_auth: true, require_encryption: true, ..HostOptions::default() };
    config.hosts.insert(host, strict);
    config.private_addresses = PrivateAddresses::Always;
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(Node::new(config, Seed([7; 32]), Anchor { instant: Instant::now(), unix }))
}

/// The demo while it waits for a guest. It is killed when this is dropped.
struct Demo {
    child: Child,
    told: mpsc::Receiver<String>,
}

impl Demo {
    fn start(directory: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_s2sd"));
        command.args(["demo", "--guest"]).arg(directory).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the program runs");
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let (sender, told) = mpsc::channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, told }
    }

    /// The word behind `words` in the line that has them, which it waits for.
    fn word_after(&self, words: &str) -> String {
        loop {
            let line = self.told.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("no line with {words}: {error}"));
            if let Some((_, rest)) = line.split_once(words) {
                return rest.split([' ', ',']).next().unwrap_or_default().to_owned();
            }
        }
    }

    /// Ends it as an operator would. Returns its exit code.
    fn end(mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().expect("it runs").success());
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
