//! Domains that cannot be reached: what is asked and dialled, and what the sender gets back, and when.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use s2s_core::limits;
use s2s_core::node::{Command, Event};
use s2s_core::reason::Reason;
use s2s_core::stanza::Stanza;

use super::lookups::{DIRECT, PLAIN, TYPE_A, TYPE_AAAA, TYPE_SRV, ms, name_and_type, seeker, timeline};
use super::stage::{Stage, outcome};
use super::tables::{row, table};
use super::{A, B, Setting, Two, config, message};
use crate::certificates::Authority;
use crate::dns_server::Zone;
use crate::puppetry::response;

/// The web server of B. Nobody speaks XMPP there.
const WEB: [u8; 4] = [192, 0, 2, 80];

/// The server of B.
const SERVER: [u8; 4] = [192, 0, 2, 2];

fn server() -> SocketAddr {
    SocketAddr::from((SERVER, 5269))
}

/// B publishes its servers over HTTPS alone: in DNS it has nothing but the address of its web server.
#[must_use]
pub fn only_a_web_server() -> String {
    let delays = [(PLAIN, TYPE_SRV, 10), (DIRECT, TYPE_SRV, 10), (B, TYPE_AAAA, 10), (B, TYPE_A, 10)];
    let (mut stage, start) = seeker(Zone::new().address(B, WEB), &delays, true);
    stage.world.listen(SocketAddr::from((WEB, 443)));
    stage.world.run_for(ms(1000));
    timeline(&stage.world, start) + &outcome(&stage.world.take_events(stage.node))
}

/// What DNS may say about a domain that cannot be found by it, what is asked and dialled, and what the sender gets.
#[must_use]
pub fn absences() -> String {
    let mut rows = vec![row(["DNS says", "asked", "dialled", "told", "the sender gets"])];
    for (what, zone) in [
        ("no such name", Zone::new()),
        ("a name without SRV and address", Zone::new().address(&format!("www.{B}"), WEB)),
        ("an address, no SRV", Zone::new().address(B, WEB)),
        ("SRV, the target is \".\"", Zone::new().service(PLAIN, 0, 0, 0, ".")),
        ("SRV, the target has no address", Zone::new().service(PLAIN, 0, 0, 5269, &format!("x.{B}"))),
        ("nothing: its servers fail", Zone::new().failing(PLAIN).failing(DIRECT)),
    ] {
        let (mut stage, start) = seeker(zone, &[], true);
        let bounce = first_bounce(&mut stage, start);
        let questions = stage.world.questions.iter().flatten().map(|asked| name_and_type(&asked.message));
        let types: Vec<String> =
            questions.map(|question| question.split(' ').next().unwrap_or_default().to_owned()).collect();
        let dialled: Vec<String> = stage.world.take_dialled().iter().map(ToString::to_string).collect();
        let dialled = if dialled.is_empty() { "nobody".to_owned() } else { dialled.join(", ") };
        rows.push(row([what, &types.join(" "), &dialled, bounce.reason.code(), &bounce.error]));
    }
    table(&rows)
}

/// What a sender gets back.
struct Bounce {
    /// Milliseconds after it has sent.
    after: u128,
    reason: Reason,
    /// Type and condition.
    error: String,
}

/// What comes back first of what the node has sent since `start`.
///
/// # Panics
///
/// If nothing does.
fn first_bounce(stage: &mut Stage, start: Instant) -> Bounce {
    loop {
        stage.world.run();
        for event in stage.world.take_events(stage.node) {
            if let Event::Undeliverable { stanza, reason, .. } = event {
                let after = (stage.world.now - start).as_millis();
                return Bounce { after, reason, error: error(&stanza, reason) };
            }
        }
        assert!(stage.world.advance(start + limits::NEGOTIATION), "something comes back");
    }
}

/// `cancel, remote-server-not-found`
fn error(stanza: &Stanza, reason: Reason) -> String {
    let bounce = stanza.bounce(reason).expect("a message may be answered by an error");
    let xml = String::from_utf8_lossy(bounce.bytes()).into_owned();
    let error_type = xml.split("<error type='").nth(1).and_then(|rest| rest.split('\'').next()).expect("a type");
    format!("{error_type}, {}", reason.bounce().as_str())
}

/// What happens in an outage.
#[derive(Clone, Copy)]
enum Step {
    Writes,
    GoesDown,
    ComesBack,
}

/// A writes to B again and again, while B goes down for maintenance and comes back. Then what A has asked DNS about.
#[must_use]
pub fn maintenance() -> String {
    let mut two = Two::new(&Setting::strict());
    let start = two.world.now;
    let mut text = String::new();
    for (at, step) in [
        (0, Step::Writes),
        (10_000, Step::GoesDown),
        (12_000, Step::Writes),
        (12_500, Step::Writes),
        (30_000, Step::Writes),
        (60_000, Step::ComesBack),
        (61_000, Step::Writes),
    ] {
        let due = start + ms(at);
        two.world.run_for(due - two.world.now);
        let mut lines = vec![take(&mut two, step).to_owned()];
        two.world.run();
        lines.extend(heard(&mut two));
        for line in lines {
            text.push_str(&format!("{:>4}.{} s  {line}\n", at / 1000, at % 1000 / 100));
        }
    }
    let asked: BTreeSet<String> = two.world.take_asked().into_iter().collect();
    let asked: Vec<String> = asked.into_iter().collect();
    text + "asked about: " + &asked.join("\n             ") + "\n"
}

/// Takes a step, and says which.
fn take(two: &mut Two, step: Step) -> &'static str {
    match step {
        Step::Writes => {
            two.world.send(two.a, &message(A, B, "Hello"));
            "A writes to B"
        }
        Step::GoesDown => {
            two.world.command(two.b, Command::Shutdown);
            two.world.run();
            two.world.kill(IpAddr::from(SERVER));
            "B goes down"
        }
        Step::ComesBack => {
            let setting = Setting::strict();
            let authority = Authority::root("the authority");
            two.world.revive(two.b, config(&authority, B, Some(setting.kind), setting.options));
            "B is up again"
        }
    }
}

/// Whom A has dialled, what it was told, and whether B has got something.
fn heard(two: &mut Two) -> Vec<String> {
    let mut lines: Vec<String> = two.world.take_dialled().iter().map(|addr| format!("  dials {addr}")).collect();
    for event in two.world.take_events(two.a) {
        match event {
            Event::PeerDown { reason, .. } => lines.push(format!("  told: {}", reason.code())),
            Event::Uncertain { stanzas, .. } => {
                lines.push(format!("  told: {}, {stanzas} stanza", Reason::DeliveryUncertain.code()));
            }
            Event::Undeliverable { stanza, reason, .. } => {
                lines.push(format!("  bounce: {}: {}", error(&stanza, reason), reason.bounce_text()));
            }
            _ => {}
        }
    }
    if two.world.take_events(two.b).iter().any(|event| matches!(event, Event::Stanza { .. })) {
        lines.push("  B has it".to_owned());
    }
    lines
}

/// What may be wrong with B, and what its sender gets, and after how long.
#[must_use]
pub fn faults() -> String {
    type Fault = fn(&mut Stage);
    let faults: [(&str, Fault); 5] = [
        ("nobody listens", |_| {}),
        ("the machine is off", |stage| stage.world.swallow(server())),
        ("its DNS servers fail", |stage| stage.world.zone = Zone::new().failing(PLAIN).failing(DIRECT)),
        ("the server says nothing", |stage| stage.world.listen(server())),
        ("the server is leaving", leave),
    ];
    let mut rows = vec![row(["what is wrong", "after", "error", "text"])];
    for (what, happen) in faults {
        let host = format!("host.{B}");
        let zone = Zone::new().service(PLAIN, 0, 0, 5269, &host).address(&host, SERVER);
        let (mut stage, start) = seeker(zone, &[], true);
        happen(&mut stage);
        let bounce = first_bounce(&mut stage, start);
        let after = format!("{}.{} s", bounce.after / 1000, bounce.after % 1000 / 100);
        rows.push(row([what, &after, &bounce.error, bounce.reason.bounce_text()]));
    }
    table(&rows)
}

/// The server answers the header, and says that it goes down.
fn leave(stage: &mut Stage) {
    stage.world.listen(server());
    stage.world.run_for(ms(100));
    let puppet = stage.world.accept(server()).expect("it is dialled");
    let error = "<stream:error><system-shutdown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>\
                 </stream:stream>";
    stage.world.say(puppet, response(B, A, "1") + error);
    stage.world.hang_up(puppet);
}
