//! The matrix with real servers: our certificate, our policy, how the peer is set up, and who speaks first. The cells
//! are those of [`real`], and the oracle that judges them is the one of the big matrix.
//!
//! Of what the oracle says everything is compared that can be seen from outside: what became of the stanza, method,
//! encryption and reason codes in s2sd's log, the peer's error as s2sd received it, and in the peer's log what it made
//! of us: the reason for which it refuses us, or our error as it received it.

use std::thread;
use std::time::{Duration, Instant};

use s2s_core::reason::Reason;
use s2s_tests::matrix::real::{self, Cell};
use s2s_tests::oracle::{self, Expected, Method, Outcome, Refusal, Seen, expect, sides};
use serde_json::Value;

use crate::cells::First;
use crate::contact::{Contact, Ours, Scene};
use crate::failure::{Failure, While, fail};
use crate::lab::Lab;
use crate::peers::{ECHO, LOGGED, Software, logged_as, name_and_version};
use crate::report::{Measured, Row};
use crate::s2sd::text;
use crate::talk::{Became, contact};

/// What the cells have in their names.
const NAME: &str = "matrix";

/// How often the log is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Runs the cells whose description `wanted` accepts.
pub(crate) fn run(lab: &mut Lab, wanted: impl Fn(&str) -> bool) -> Vec<Row> {
    let cells = real::cells().into_iter().map(|cell| (cell, meeting(&cell)));
    let cells = cells.filter(|(cell, contact)| wanted(&format!("{} {}", cell.software.name(), contact.name)));
    cells.map(|(cell, contact)| contact.row(lab, |scene| judge(&cell, scene))).collect()
}

/// The line that says how many cells there were, and how many of them do not agree with the oracle.
pub(crate) fn summary(rows: &[Row]) -> String {
    let cells: Vec<_> = rows.iter().filter(|row| row.scenario.starts_with(NAME)).collect();
    let counts = Software::ALL.map(|software| {
        let peer = name_and_version(software);
        format!("{} cells with {peer}", cells.iter().filter(|row| row.peer == peer).count())
    });
    let disagreements = cells.iter().filter(|row| row.result.is_err()).count();
    format!("matrix (real servers): {}, disagreements {disagreements}", counts.join(", "))
}

/// The cell as a contact: the same, in the words of configurations.
fn meeting(cell: &Cell) -> Contact {
    use oracle::Policy::{ListedInsecure, ListedSecure, Open, RequireEncryption, SecureAuth};
    let list = |name: &str| format!("{name} = [\"@REMOTE@\"]");
    let top = match cell.demand {
        ListedInsecure => list("s2s_insecure_domains"),
        ListedSecure => list("s2s_secure_domains"),
        Open | SecureAuth | RequireEncryption => String::new(),
    };
    Contact {
        name: format!("{NAME}: {cell}"),
        software: cell.software,
        policy: cell.theirs,
        component: ECHO,
        ours: Ours {
            certificate: cell.certificate,
            strict: matches!(cell.demand, SecureAuth | ListedInsecure),
            encrypted: cell.demand == RequireEncryption,
            top,
            ..Ours::default()
        },
        first: if cell.we_begin { First::We } else { First::They },
    }
}

/// One side of what the oracle says, and what it calls the other one.
struct Views<'a> {
    /// What we report.
    ours: &'a [Refusal],
    /// What they write to us.
    their_errors: &'a [String],
    /// What they report.
    theirs: &'a [Refusal],
    /// What we write to them.
    our_errors: &'a [String],
}

impl<'a> Views<'a> {
    fn of(seen: &'a Seen, we_begin: bool) -> Self {
        let (one, other) = ((&seen.initiating, &seen.initiating_sends), (&seen.receiving, &seen.receiving_sends));
        let (ours, theirs) = if we_begin { (one, other) } else { (other, one) };
        Self { ours: ours.0, our_errors: ours.1, theirs: theirs.0, their_errors: theirs.1 }
    }
}

/// Lets the contact happen, and compares.
fn judge(cell: &Cell, scene: Scene<'_>) -> Result<Measured, Failure> {
    let [initiator, receiver] = cell.sides();
    let expected = expect(&initiator, &receiver);
    let (from, to) = scene.order(if cell.we_begin { First::We } else { First::They });
    let (became, took) = contact(from, to)?;
    let wanted = promised(&expected.seen, cell.we_begin);
    let observed = wait_for(&wanted, || report(&scene, &became, cell.we_begin));
    let compared = agree(&wanted, &observed)
        .and_then(|()| check_errors(&scene, &Views::of(&expected.seen, cell.we_begin)))
        .and_then(|()| check_bounce(&expected.seen, &became, cell.we_begin))
        // Nothing more may have come meanwhile.
        .and_then(|()| agree(&wanted, &report(&scene, &became, cell.we_begin)));
    compared.when(format!("{became:?}")).map_err(|failure| because(failure, &expected, [&initiator, &receiver]))?;
    scene.end()?;
    // How it was proved, or why it was refused.
    let line = if matches!(became, Became::Arrived(_)) { wanted.first() } else { wanted.last() };
    let method = line.and_then(|line| line.split(' ').next_back()).unwrap_or_default();
    Ok(Measured { first: took, method: method.to_owned(), tls: "-".to_owned() })
}

/// What our side must show of it, one line each.
fn promised(seen: &Seen, we_begin: bool) -> Vec<String> {
    let outcome = match seen.outcome {
        Outcome::Delivered { initiating, receiving, encrypted } => {
            delivered(word(if we_begin { initiating } else { receiving }), encrypted)
        }
        Outcome::Bounced(code) => bounced(we_begin.then_some(code)),
        Outcome::Lost => unreachable!("no document promises that"),
    };
    let refusals = Views::of(seen, we_begin).ours.iter();
    let mut lines: Vec<_> =
        refusals.map(|refusal| refused(if refusal.outbound { "out" } else { "in" }, refusal.code)).collect();
    lines.sort_unstable();
    lines.insert(0, outcome);
    lines
}

/// What our side has shown of it so far.
fn report(scene: &Scene<'_>, became: &Became, we_begin: bool) -> Vec<String> {
    let direction = if we_begin { "out" } else { "in" };
    let events = about_them(scene);
    let event = |name: &str| {
        let mut named = events.iter().filter(|event| text(event, "event") == name);
        named.find(|event| text(event, "direction") == direction)
    };
    let outcome = match became {
        Became::Arrived(_) => {
            event("peer-up").map(|event| delivered(text(event, "method"), text(event, "tls").starts_with("TLSv1.")))
        }
        Became::CameBack(_) if we_begin => event("undeliverable").map(|event| bounced(Some(text(event, "reason")))),
        Became::CameBack(_) => Some(bounced(None)),
    };
    let refusals = events.iter().filter(|event| text(event, "event") == "refused");
    let mut lines: Vec<_> = refusals.map(|event| refused(text(event, "direction"), text(event, "reason"))).collect();
    lines.sort_unstable();
    lines.insert(0, outcome.unwrap_or_else(|| "nothing in our log".to_owned()));
    lines
}

fn delivered(method: &str, encrypted: bool) -> String {
    format!("delivered {} by {method}", if encrypted { "encrypted" } else { "in clear" })
}

fn bounced(code: Option<&str>) -> String {
    format!("bounced by {}", code.unwrap_or("them"))
}

fn refused(direction: &str, code: &str) -> String {
    format!("refused {direction} for {code}")
}

/// The word that s2sd has for it.
const fn word(method: Method) -> &'static str {
    match method {
        Method::External => "external",
        Method::Dialback => "dialback",
        Method::Certificate => "certificate",
    }
}

/// Our events about them, those of streams that have not named them included.
fn about_them(scene: &Scene<'_>) -> Vec<Value> {
    let mut events = scene.daemon.events();
    events.retain(|event| ["", scene.theirs.domain.as_str()].contains(&text(event, "remote")));
    events
}

/// Looks until it is as wanted, or has had the time to become so.
fn wait_for<T: PartialEq>(wanted: &T, look: impl Fn() -> T) -> T {
    let deadline = Instant::now() + LOGGED;
    loop {
        let seen = look();
        if seen == *wanted || Instant::now() >= deadline {
            return seen;
        }
        thread::sleep(POLL);
    }
}

fn agree(wanted: &[String], observed: &[String]) -> Result<(), Failure> {
    if observed == wanted { Ok(()) } else { fail(format!("expected {wanted:?}, got {observed:?}")) }
}

/// What our sender reads is what the reason says to senders.
fn check_bounce(seen: &Seen, became: &Became, we_begin: bool) -> Result<(), Failure> {
    let (true, Outcome::Bounced(code), Became::CameBack(error)) = (we_begin, seen.outcome, became) else {
        return Ok(());
    };
    let Some(reason) = Reason::ALL.iter().find(|reason| reason.code() == code) else {
        return fail(format!("{code} is no reason"));
    };
    let wanted = format!("{}: {}", reason.bounce().as_str(), reason.bounce_text());
    if *error == wanted { Ok(()) } else { fail(format!("our sender must read \"{wanted}\"")) }
}

/// Errors on the wire, as each side tells of the other's, and for what they refuse us.
fn check_errors(scene: &Scene<'_>, views: &Views<'_>) -> Result<(), Failure> {
    for error in views.their_errors {
        let condition = error.split(' ').next_back().unwrap_or_default();
        if !about_them(scene).iter().any(|event| text(event, "detail").starts_with(condition)) {
            return fail(format!("their error \"{error}\" stands in no detail of our log"));
        }
    }
    let codes = views.theirs.iter().map(|refusal| refusal.code);
    // Real servers without TLS end a stream on which they are asked for it, and do not read our error any more.
    let has_ended = codes.clone().any(|code| code == "starttls-refused");
    let ours = views.our_errors.iter().filter(|_| !has_ended).map(String::as_str);
    for what in ours.chain(codes) {
        let words = logged_as(what);
        if !words.is_empty() {
            scene.log.wait_for_any(words, Instant::now() + LOGGED).when(format!("they must log {what}"))?;
        }
    }
    Ok(())
}

/// The failure, with the rows of the oracle behind what was expected.
fn because(failure: Failure, expected: &Expected, between: [&oracle::Side; 2]) -> Failure {
    let clauses = expected.clauses.iter().map(|clause| format!("\n  because {} [{}]", clause.says, clause.source));
    let places = between.map(|side| format!("\n  where   {side}: {}", sides::sources(side).join(" | ")));
    failure.and(&format!("{}{}", clauses.collect::<String>(), places.concat()))
}
