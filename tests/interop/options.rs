//! The options of the seed document through `s2sd serve`, with real servers. Each row is named after its option.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::cells::First;
use crate::component::Component;
use crate::contact::{Contact, Expected, Ours, Scene};
use crate::dns::Service;
use crate::failure::{Failure, While, fail};
use crate::lab::Lab;
use crate::peers::{ECHO, LOGGED, Policy, SPARE, Software};
use crate::pki::Certificate;
use crate::report::{Measured, Row};
use crate::s2sd::text;
use crate::talk::{PATIENCE, bounce, federate, say, unique};

/// Runs the rows whose description `wanted` accepts.
pub(crate) fn run(lab: &mut Lab, wanted: impl Fn(&str) -> bool) -> Vec<Row> {
    let mut rows = Vec::new();
    for software in Software::ALL {
        for (contact, expected) in contacts(software) {
            if wanted(&format!("{} {}", software.name(), contact.name)) {
                rows.push(contact.run(lab, &expected));
            }
        }
        for (name, ours, act) in acts() {
            if wanted(&format!("{} {name}", software.name())) {
                rows.push(perform(lab, software, name, ours, act));
            }
        }
    }
    rows
}

const SELF_SIGNED: Expected = Expected::Bounces { reasons: &["cert-self-signed"], words: "is self-signed" };
const DENIED: Expected = Expected::Bounces { reasons: &["domain-denied"], words: "not-allowed" };
const DISABLED: Expected = Expected::Bounces { reasons: &["host-disabled"], words: "not-allowed" };
const IN_CLEAR: Expected = Expected::Federates { out: "dialback", inbound: "dialback", encrypted: false };
/// With a peer whose certificate is bad, ours being valid.
const FALLBACK: Expected = Expected::Federates { out: "external", inbound: "dialback", encrypted: true };
const DIALBACK: Expected = Expected::Federates { out: "dialback", inbound: "dialback", encrypted: true };
const EXTERNAL: Expected = Expected::Federates { out: "external", inbound: "external", encrypted: true };

/// What the rows are called, those of both servers.
pub(crate) fn names() -> impl Iterator<Item = (Software, String)> {
    Software::ALL.into_iter().flat_map(|software| {
        let contacts = contacts(software).into_iter().map(|(contact, _)| contact.name);
        let acts = acts().into_iter().map(|(name, _, _)| name.to_owned());
        contacts.chain(acts).map(move |name| (software, name))
    })
}

/// A row in both directions, from which everything may come.
struct Rows {
    software: Software,
    contacts: Vec<(Contact, Expected)>,
}

impl Rows {
    fn add(&mut self, name: &str, policy: Policy, ours: &Ours, expected: [Option<Expected>; 2]) {
        for (first, expected) in First::BOTH.into_iter().zip(expected) {
            if let Some(expected) = expected {
                let (name, software, ours) = (name.to_owned(), self.software, ours.clone());
                self.contacts.push((Contact { name, software, policy, component: ECHO, ours, first }, expected));
            }
        }
    }

    /// The same whoever speaks first. Returns both, so that they can be changed.
    fn both(&mut self, name: &str, policy: Policy, ours: &Ours, expected: &Expected) -> &mut [(Contact, Expected)] {
        let before = self.contacts.len();
        self.add(name, policy, ours, [Some(expected.clone()), Some(expected.clone())]);
        &mut self.contacts[before..]
    }
}

fn contacts(software: Software) -> Vec<(Contact, Expected)> {
    let mut rows = Rows { software, contacts: Vec::new() };
    certificates(&mut rows);
    admission(&mut rows);
    modules(&mut rows);
    encryption(&mut rows);
    places(&mut rows);
    rows.contacts
}

fn lax() -> Ours {
    Ours::default()
}

fn strict() -> Ours {
    Ours { strict: true, encrypted: true, ..Ours::default() }
}

fn top(ours: Ours, top: &str) -> Ours {
    Ours { top: top.to_owned(), ..ours }
}

fn below(ours: Ours, below: &str) -> Ours {
    Ours { below: below.to_owned(), ..ours }
}

/// Which certificates are demanded, and which authorities count.
fn certificates(rows: &mut Rows) {
    use Policy::{Fallback, Lax, Secure};
    rows.both("s2s_secure_auth = true", Lax, &strict(), &SELF_SIGNED);
    rows.both("s2s_secure_auth = true, valid", Secure, &strict(), &EXTERNAL);
    rows.both("s2s_secure_auth = false", Lax, &lax(), &FALLBACK);
    let insecure = |entry: &str| top(strict(), &format!("s2s_insecure_domains = [\"{entry}\"]"));
    rows.both("s2s_insecure_domains, listed", Lax, &insecure("@REMOTE@"), &FALLBACK);
    rows.both("s2s_insecure_domains, wildcard", Lax, &insecure("*.interop.test"), &FALLBACK);
    rows.both("s2s_insecure_domains, another", Lax, &insecure("*.@REMOTE@"), &SELF_SIGNED);
    let secure = |entry: &str| top(lax(), &format!("s2s_secure_domains = [\"{entry}\"]"));
    rows.both("s2s_secure_domains, listed", Lax, &secure("@REMOTE@"), &SELF_SIGNED);
    rows.both("s2s_secure_domains, wildcard", Lax, &secure("*.interop.test"), &SELF_SIGNED);
    rows.both("s2s_secure_domains, another", Lax, &secure("*.@REMOTE@"), &FALLBACK);
    rows.both("s2s_secure_auth = false for the host", Lax, &below(strict(), "s2s_secure_auth = false"), &FALLBACK);
    rows.both("s2s_secure_auth = true for the host", Lax, &below(lax(), "s2s_secure_auth = true"), &SELF_SIGNED);
    let unknown = Expected::Bounces { reasons: &["cert-unknown-issuer"], words: "is not trusted" };
    rows.both("cafile of another authority", Secure, &Ours { other_authority: true, ..strict() }, &unknown);
    let found = Ours { finds_certificate: true, ..strict() };
    rows.both("certificates = a directory with several", Secure, &found, &EXTERNAL);
    let for_servers = |ours: Ours| Ours { certificate: Certificate::ServerAuth, ..ours };
    if rows.software == Software::Ejabberd {
        // ejabberd 23.01 refuses such a certificate from who dials it, and takes it from who is dialled.
        let verified = top(for_servers(strict()), "s2s_dialback_to_verified = true");
        let proved = Expected::Federates { out: "dialback", inbound: "external", encrypted: true };
        rows.both("s2s_dialback_to_verified = true, serverAuth only", Fallback, &verified, &proved);
        let refused = Expected::Bounces { reasons: &["external-refused"], words: "refused our certificate" };
        let name = "s2s_dialback_to_verified = false, serverAuth only";
        let arrives = Expected::Arrives { method: "external", encrypted: true };
        rows.add(name, Fallback, &for_servers(strict()), [Some(refused), Some(arrives)]);
        let proved = Expected::Federates { out: "dialback", inbound: "dialback", encrypted: true };
        rows.both("TLS first, then dialback, serverAuth only", Lax, &for_servers(lax()), &proved);
    } else {
        rows.both("serverAuth only", Secure, &for_servers(strict()), &EXTERNAL);
        let ours = Ours { certificate: Certificate::SelfSigned, ..lax() };
        rows.both("TLS first, then dialback", Lax, &ours, &DIALBACK);
    }
    // We would accept our own certificate, so that EXTERNAL goes with the header, and the peer refuses it.
    let pinned = top(lax(), "s2s_pins = { \"@HOST@\" = [\"sha256:@PIN@\"] }");
    let pinned = Ours { certificate: Certificate::SelfSigned, encrypted: true, ..pinned };
    rows.both("s2s_pins of ourselves: EXTERNAL ahead is refused, then dialback", Lax, &pinned, &DIALBACK);
}

/// Who may federate at all.
fn admission(rows: &mut Rows) {
    use Policy::{Lax, Secure};
    let deny = |entry: &str| top(lax(), &format!("s2s_deny_domains = [\"{entry}\"]"));
    rows.both("s2s_deny_domains, listed", Secure, &deny("@REMOTE@"), &DENIED);
    rows.both("s2s_deny_domains, wildcard", Lax, &deny("*.interop.test"), &DENIED);
    rows.both("s2s_deny_domains, another", Secure, &deny("*.@REMOTE@"), &EXTERNAL);
    let allow = |entry: &str| top(lax(), &format!("s2s_allow_domains = [\"{entry}\"]"));
    rows.both("s2s_allow_domains, listed", Secure, &allow("@REMOTE@"), &EXTERNAL);
    rows.both("s2s_allow_domains, another", Secure, &allow("elsewhere.test"), &DENIED);
    let both = top(lax(), "s2s_allow_domains = [\"*.interop.test\"]\ns2s_deny_domains = [\"@REMOTE@\"]");
    rows.both("s2s_allow_domains and s2s_deny_domains", Secure, &both, &DENIED);
    let anonymous = below(lax(), "anonymous = true");
    let refused = Expected::Bounces { reasons: &["anonymous-host"], words: "not-allowed: Anonymous" };
    let arrives = Expected::Arrives { method: "external", encrypted: true };
    rows.add("allow_anonymous_s2s = false", Secure, &anonymous, [Some(refused), Some(arrives)]);
    let allowed = below(lax(), "anonymous = true\nallow_anonymous_s2s = true");
    rows.both("allow_anonymous_s2s = true", Secure, &allowed, &EXTERNAL);
}

/// What is switched off.
fn modules(rows: &mut Rows) {
    use Policy::{Lax, Plain, Secure};
    let without = |module: &str| top(lax(), &format!("modules_disabled = [\"{module}\"]"));
    rows.both("modules_disabled = {\"s2s\"}", Secure, &without("s2s"), &DISABLED);
    let for_host = below(lax(), "modules_disabled = [\"s2s\"]");
    rows.both("modules_disabled = {\"s2s\"} for the host", Lax, &for_host, &DISABLED);
    rows.both("modules_disabled = {\"dialback\"}", Secure, &without("dialback"), &EXTERNAL);
    let arrives = Expected::Arrives { method: "external", encrypted: true };
    let refused = Expected::Bounces { reasons: &["dialback-denied-by-policy", "peer-stream-error"], words: "" };
    let name = "modules_disabled = {\"dialback\"}, their certificate is bad";
    rows.add(name, Lax, &without("dialback"), [Some(arrives), Some(refused)]);
    rows.both("modules_disabled = {\"saslauth\"}", Lax, &without("saslauth"), &DIALBACK);
    if rows.software == Software::Prosody {
        let proved = Expected::Federates { out: "dialback", inbound: "certificate", encrypted: true };
        rows.both("modules_disabled = {\"saslauth\"}, valid", Secure, &without("saslauth"), &proved);
    }
    rows.both("modules_disabled = {\"tls\"}", Plain, &without("tls"), &IN_CLEAR);
    let refused = Expected::Bounces { reasons: &["encryption-required"], words: "Encryption is required" };
    rows.add("modules_disabled = {\"tls\"}, they demand it", Secure, &without("tls"), [Some(refused), None]);
}

/// What may be in clear, and which TLS it is.
fn encryption(rows: &mut Rows) {
    use Policy::{Plain, Secure};
    let encrypted = Ours { encrypted: true, ..lax() };
    let refused = Expected::Bounces { reasons: &["starttls-not-offered"], words: "does not offer encryption" };
    let refused_in =
        Expected::Bounces { reasons: &["encryption-required", "connection-reset", "peer-stream-error"], words: "" };
    rows.add("s2s_require_encryption = true", Plain, &encrypted, [Some(refused), Some(refused_in)]);
    rows.both("s2s_require_encryption = false", Plain, &lax(), &IN_CLEAR);
    let waived = Ours { strict: true, ..top(lax(), "s2s_insecure_domains = [\"@REMOTE@\"]") };
    rows.both("s2s_insecure_domains, in clear", Plain, &waived, &IN_CLEAR);
    rows.both("tls_min_version = 1.3", Secure, &top(strict(), "tls_min_version = \"1.3\""), &EXTERNAL);
}

/// Records, ports and routes.
fn places(rows: &mut Rows) {
    use Policy::Secure;
    let arrives = || Some(Expected::Arrives { method: "external", encrypted: true });
    let elsewhere = Ours { services: vec![(Service::StartTls, 7269)], starttls: Some(7269), ..strict() };
    rows.both("s2s_ports = { 7269 }, by SRV record", Secure, &elsewhere, &EXTERNAL);
    let bare = Ours { services: Vec::new(), ..strict() };
    rows.add("s2s_ports = { 5269 }, without SRV records", Secure, &bare, [None, arrives()]);
    let direct = Ours { services: vec![(Service::DirectTls, 7270)], starttls: None, direct: 7270, ..strict() };
    rows.add("s2s_direct_tls_ports = { 7270 }, by SRV record", Secure, &direct, [None, arrives()]);
    // Both of theirs are for STARTTLS; at the first one nobody listens.
    for (contact, _) in rows.both("SRV records, the first target is dead", Secure, &strict(), &EXTERNAL) {
        contact.component = SPARE;
    }
    // Their component has records for STARTTLS only.
    let route = below(strict(), "[route.\"@REMOTE@\"]\naddress = \"@PEER@:5270\"\ntls = \"direct\"");
    rows.add("route, direct TLS", Secure, &route, [arrives(), None]);
    // Without the route it would be found by DNS, with STARTTLS: only direct TLS at that port proves it.
    let wildcard = "[route.\"*.interop.test\"]\naddress = \"@PEER@:5270\"\ntls = \"direct\"";
    rows.add("route *.NAME, direct TLS", Secure, &below(strict(), wildcard), [arrives(), None]);
}

type Act = fn(Scene<'_>) -> Result<Measured, Failure>;

/// Rows that need more than one stanza.
fn acts() -> Vec<(&'static str, Ours, Act)> {
    vec![
        ("s2s_stanza_size_limit = 20000", top(strict(), "s2s_stanza_size_limit = 20000"), |scene| {
            end(our_size_limit, scene)
        }),
        ("s2s_stanza_size_limit of theirs", strict(), |scene| end(their_size_limit, scene)),
        ("s2s_interfaces = another address", Ours { other_interface: true, ..strict() }, |scene| {
            end(other_interface, scene)
        }),
        ("s2s_outgoing_addresses = one of each family", top(strict(), &outgoing()), |scene| {
            end(outgoing_address, scene)
        }),
        ("s2s_idle_timeout = 2", top(strict(), "s2s_idle_timeout = 2"), |scene| end(idle, scene)),
        ("s2s_timeout = 5", top(strict(), "s2s_timeout = 5\ns2s_attempt_timeout = 60"), |scene| end(silence, scene)),
        ("s2s_close_timeout = 1", top(strict(), "s2s_close_timeout = 1"), no_goodbye),
    ]
}

fn end(act: fn(&Scene<'_>) -> Result<Measured, Failure>, scene: Scene<'_>) -> Result<Measured, Failure> {
    let measured = act(&scene)?;
    scene.end().map(|()| measured)
}

fn perform(lab: &mut Lab, software: Software, name: &str, ours: Ours, act: Act) -> Row {
    let (name, policy, first) = (name.to_owned(), Policy::Secure, First::We);
    let contact = Contact { name, software, policy, component: ECHO, ours, first };
    Row { first: "-".to_owned(), ..contact.row(lab, act) }
}

/// What they send passes up to our limit; beyond it the stream ends, and the next one is as good as the first.
fn our_size_limit(scene: &Scene<'_>) -> Result<Measured, Failure> {
    let begin = Instant::now();
    let (id, body) = (unique("below"), "x".repeat(19_000));
    scene.theirs.message(&scene.ours.address(), &id, &body)?;
    let arrived = scene.ours.receive(&id, begin + PATIENCE).when("below the limit")?;
    if arrived.body() != body {
        return fail("below the limit: another body");
    }
    let took = begin.elapsed();
    let id = unique("beyond");
    scene.theirs.message(&scene.ours.address(), &id, &"x".repeat(21_000))?;
    scene.reason("in", "stanza-too-big")?;
    scene.log.wait_for_any(&["policy-violation", "policy violation"], Instant::now() + LOGGED)?;
    say(&scene.theirs, &scene.ours, Instant::now() + PATIENCE).when("after it")?;
    match scene.ours.receive(&id, Instant::now()) {
        Ok(_) => fail("it arrived although it is too big"),
        Err(_) => Ok(Scene::measured(took, "stanza-too-big")),
    }
}

/// Says something until it gets through.
fn again(from: &Component, to: &Component) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match say(from, to, Instant::now() + Duration::from_secs(2)) {
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => {}
            Ok(()) => return Ok(()),
        }
    }
}

/// Both servers end the stream at a stanza over half a megabyte. It must not be sent again and again.
fn their_size_limit(scene: &Scene<'_>) -> Result<Measured, Failure> {
    let begin = Instant::now();
    say(&scene.ours, &scene.theirs, begin + PATIENCE)?;
    let took = begin.elapsed();
    let id = unique("big");
    scene.ours.message(&scene.theirs.address(), &id, &"x".repeat(4_000_000))?;
    let down = |event: &serde_json::Value| text(event, "event") == "peer-down";
    let Some(event) = scene.event("out", down) else { return fail("they have not ended the stream") };
    // However it ends, the next stanza must get through, and soon.
    again(&scene.ours, &scene.theirs).when("after it")?;
    let ups = scene.daemon.events().iter().filter(|event| text(event, "event") == "peer-up").count();
    if ups > 5 {
        return fail(format!("{ups} streams for one stanza that is too big"));
    }
    Ok(Scene::measured(took, text(&event, "reason")))
}

/// Other servers find us at the address of `s2s_interfaces`, and nobody listens for them at any other.
fn other_interface(scene: &Scene<'_>) -> Result<Measured, Failure> {
    let took = federate(&scene.theirs, &scene.ours)?;
    for port in [5269, 5270] {
        let address = SocketAddr::from((scene.daemon.address, port));
        match TcpStream::connect(address) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            other => return fail(format!("{address} is no interface of s2s_interfaces: {other:?}")),
        }
    }
    Ok(Scene::measured(took, "external"))
}

/// An address of the loopback on which nothing of this world listens.
const OUTGOING: Ipv4Addr = Ipv4Addr::new(127, 0, 5, 7);

fn outgoing() -> String {
    format!("s2s_outgoing_addresses = [\"{OUTGOING}\", \"::1\"]")
}

/// The system has a connection from the address of `s2s_outgoing_addresses` to the server, and none from the address that
/// s2sd listens on. (The real servers dial each other from 127.0.0.1.)
fn outgoing_address(scene: &Scene<'_>) -> Result<Measured, Failure> {
    let took = federate(&scene.ours, &scene.theirs)?;
    let server = scene.peer.listener(5269);
    let text = fs::read_to_string("/proc/net/tcp")?;
    let from = |address: Ipv4Addr| established(&text, address, server);
    if from(OUTGOING) != 1 || from(scene.daemon.address) != 0 {
        return fail(format!("{server} is not dialled from {OUTGOING}:\n{text}"));
    }
    Ok(Scene::measured(took, &OUTGOING.to_string()))
}

/// How many connections the system has from `address` to `server`, by its table (proc(5)): the bytes of addresses stand the
/// other way round, and 01 is an open connection.
fn established(table: &str, address: Ipv4Addr, server: SocketAddr) -> usize {
    let number = |ip: Ipv4Addr| format!("{:08X}", u32::from(ip).swap_bytes());
    let IpAddr::V4(server_ip) = server.ip() else { return 0 };
    let (near, far) = (format!("{}:", number(address)), format!("{}:{:04X}", number(server_ip), server.port()));
    let open = |line: &&str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        matches!(fields[..], [_, local, remote, "01", ..] if local.starts_with(&near) && remote == far)
    };
    table.lines().filter(open).count()
}

/// A stream that nobody uses is closed; the next stanza opens another one.
fn idle(scene: &Scene<'_>) -> Result<Measured, Failure> {
    let begin = Instant::now();
    say(&scene.ours, &scene.theirs, begin + PATIENCE)?;
    let took = begin.elapsed();
    say(&scene.theirs, &scene.ours, Instant::now() + PATIENCE)?;
    for direction in ["out", "in"] {
        let idle = |event: &serde_json::Value| text(event, "event") == "peer-down" && text(event, "reason") == "idle";
        if scene.event(direction, idle).is_none() {
            return fail(format!("s2sd has not closed an idle stream ({direction})"));
        }
    }
    say(&scene.ours, &scene.theirs, Instant::now() + PATIENCE).when("after it")?;
    // What they write before they have seen that we closed is lost, and theirs to lose: they may have to say it again.
    again(&scene.theirs, &scene.ours).when("back after it")?;
    Ok(Scene::measured(took, "idle"))
}

/// A server that takes connections and says nothing costs our sender `s2s_timeout`, and no more.
fn silence(scene: &Scene<'_>) -> Result<Measured, Failure> {
    // Their component is served by the same process: it hears the stanza when the process goes on, or never.
    let result = scene.peer.pause().and_then(|()| bounce(&scene.ours, &scene.theirs));
    scene.peer.resume();
    let (error, took) = result?;
    // The default is 90 s, and one candidate alone may take 60 s here.
    if took < Duration::from_millis(4900) || took > Duration::from_secs(50) {
        return fail(format!("s2s_timeout is 5 s, and it took {took:?}"));
    }
    if !error.contains("remote-server-timeout") && !error.contains("remote-server-not-found") {
        return fail(format!("bounced with {error}"));
    }
    scene.reason("out", "negotiation-timeout")?;
    // A peer that failed is not tried again for a while; that it speaks itself ends the wait.
    say(&scene.theirs, &scene.ours, Instant::now() + PATIENCE).when("from them, after it")?;
    say(&scene.ours, &scene.theirs, Instant::now() + PATIENCE).when("after it")?;
    Ok(Scene::measured(took, "negotiation-timeout"))
}

/// A peer that does not close its side holds up our end for `s2s_close_timeout`, and no more.
fn no_goodbye(scene: Scene<'_>) -> Result<Measured, Failure> {
    let begin = Instant::now();
    say(&scene.ours, &scene.theirs, begin + PATIENCE)?;
    let took = begin.elapsed();
    let peer = scene.peer;
    let paused = peer.pause();
    let begin = Instant::now();
    let result = paused.and_then(|()| scene.end());
    peer.resume();
    result?;
    let ended = begin.elapsed();
    // The default is 5 s.
    if ended > Duration::from_millis(4500) {
        return fail(format!("s2s_close_timeout is 1 s, and it took {ended:?}"));
    }
    Ok(Scene::measured(took, &format!("{:.1} s", ended.as_secs_f64())))
}
