//! Runs a case: every input, in every cut, and after each run the rules that hold in every case.
//!
//! 1. Nothing reaches the application but what the case says, and nobody else is answered: the honest peer hears nothing.
//! 2. No pair is proved but what the case says. What was proved goes down once, and for the reason of the case or of the
//!    refusal that ends the stream; else it lives until the attacker closes that. The stream of the honest peer still carries messages.
//! 3. Nobody is dialled, and DNS is not asked, but where the case says so.
//! 4. What we write is XML for an independent reader, with a header first and nothing behind the closing tag; an error
//!    stands directly before it. Five seconds after the end there is no connection left, and no deadline but that of the
//!    honest stream: in the program no socket.
//! 5. Every refusal of the case is told, with its reason, and no other: in the program by one line of the log each, in
//!    which nothing of the peer stands as it is. There are no counters yet.
//! 6. What we answer is bounded by what was sent, see `ANSWER_FACTOR`. A panic ends the test or the program. Bounds of
//!    memory and time are tests of their own, named after the bounds.
//! 7. Events and bytes are the same however the attacker's bytes were cut, but for random ids; with the same seed these
//!    are the same, too.

use std::fmt::Write as _;

use s2s_core::machine::Listener;
use s2s_core::tls::Provider;

use super::core_target::CoreTarget;
use super::cut::{Cut, cuts};
use super::list::Report;
use super::party::{HANDSHAKE, Party, client, contains, expand, server};
use super::reach::{Stage, reach, serve};
use super::setup::{Scene, Tls, scene, server_of};
use super::target::{Note, Target};
use super::verdict::{count_elements, judge_hearing, judge_notes, same};
use super::{Case, Ending, Hearing, Input, State, Step};

/// Bytes that we may answer to one byte, in the mean.
const ANSWER_FACTOR: usize = 8;
/// Bytes that we may answer beside: headers, features, an error.
const ANSWER_BYTES: usize = 4096;

/// Seconds from an end to the end of the connection, decision D-20.
const CLOSE: u64 = 5;

/// Runs a case in the core, in all cuts, and whole once more to see that it is the same again.
#[must_use]
pub fn in_core(case: &Case) -> Report {
    let mut report = Report::default();
    for input in &case.inputs {
        report.inputs += 1;
        let outcome = scene(input, Tls::Fake).and_then(|scene| {
            let new_target = || CoreTarget::new(scene.config.clone(), &input.peer);
            replay(new_target, input, &scene)?;
            run(new_target, input, &scene, &cuts(&attack(input)?), &mut report.runs)
        });
        if let Err(error) = outcome {
            report.failures.push(format!("{} {}: {error}", case.id, input.name));
        }
    }
    report
}

/// All that the attacker sends, for the choice of cuts.
pub(super) fn attack(input: &Input) -> Result<Vec<u8>, String> {
    let sends = input.steps.iter().filter_map(|step| if let Step::Send(pieces) = step { Some(pieces) } else { None });
    let pieces: Result<Vec<_>, _> = sends.map(|pieces| bytes(pieces, &input.peer, &"0".repeat(32))).collect();
    Ok(pieces?.concat())
}

fn bytes(pieces: &[(String, usize)], peer: &str, id: &str) -> Result<Vec<u8>, String> {
    let pieces: Result<Vec<_>, String> =
        pieces.iter().map(|(text, times)| Ok(expand(text, peer, id)?.repeat(*times))).collect();
    Ok(pieces?.concat())
}

/// Whether we dial or ask DNS: who failed is remembered for a while.
pub(super) fn dials(input: &Input) -> bool {
    let learned = &input.learned;
    matches!(input.state, State::O1 | State::O2 | State::O3 | State::V1 | State::V2)
        || [&learned.dialled, &learned.asked, &learned.possible].iter().any(|domains| !domains.is_empty())
}

/// The same seed and the same bytes give the same, random ids included.
fn replay(new_target: impl Fn() -> CoreTarget, input: &Input, scene: &Scene) -> Result<(), String> {
    let once = || {
        let mut target = new_target();
        let mut honest = begin(&mut target, scene)?;
        run_once(&mut target, &mut honest, input, scene.attacker.as_ref(), Cut::Whole)
    };
    let (first, second) = (once()?, once()?);
    if first == second { Ok(()) } else { Err(format!("a replay gives\n{second}\nafter\n{first}")) }
}

/// Runs one input in all `cuts`, beside one honest peer. Where we dial, each run has a target of its own.
fn run(
    new_target: impl Fn() -> CoreTarget,
    input: &Input,
    scene: &Scene,
    cuts: &[Cut],
    runs: &mut usize,
) -> Result<(), String> {
    let mut digests = Digests::default();
    for group in cuts.chunks(if dials(input) { 1 } else { cuts.len() }) {
        let mut target = new_target();
        let mut honest = begin(&mut target, scene)?;
        for cut in group {
            *runs += 1;
            let digest = run_once(&mut target, &mut honest, input, scene.attacker.as_ref(), *cut);
            digests.compare(*cut, &digest.map_err(|error| format!("{cut:?}: {error}"))?)?;
        }
    }
    Ok(())
}

/// Whether every run of an input gave the same.
#[derive(Debug, Default)]
pub(super) struct Digests(Option<String>);

impl Digests {
    /// Compares this run with the first.
    pub(super) fn compare(&mut self, cut: Cut, digest: &str) -> Result<(), String> {
        let digest = mask(digest);
        let first = self.0.get_or_insert_with(|| digest.clone());
        if *first == digest { Ok(()) } else { Err(format!("{cut:?}: other events\n{digest}\nthan whole\n{first}")) }
    }
}

/// The honest peer has a stream.
pub(super) fn begin(target: &mut impl Target, scene: &Scene) -> Result<Party, String> {
    let mut honest = Party::new(target.connect(Listener::StartTls));
    let reached = honest.secure_stream(target, scene.honest.as_ref(), "t.example");
    let reached = reached.and_then(|()| honest.authenticate(target, "t.example"));
    reached.map_err(|error| format!("the honest peer: {error}"))?;
    synchronise(target, &mut honest, "at first")?;
    Ok(honest)
}

/// The honest peer sends a message; gives what the application was told until it arrived.
fn synchronise(target: &mut impl Target, honest: &mut Party, id: &str) -> Result<Vec<Note>, String> {
    let id = format!("honest {id}");
    honest.say(target, format!("<message from='h@t.example' to='u@v.example' id='{id}'/>").as_bytes());
    let mut notes = target.notes_until(&id);
    let at = notes.iter().position(|note| matches!(note, Note::Delivered(text) if text.contains(&id)));
    notes.remove(at.ok_or("the honest peer is not heard any more")?);
    Ok(notes)
}

/// Runs an input once, and judges it. Gives what is to be the same in every run.
pub(super) fn run_once(
    target: &mut impl Target,
    honest: &mut Party,
    input: &Input,
    tls: &dyn Provider,
    cut: Cut,
) -> Result<String, String> {
    let mut stage = reach(target, input, tls).map_err(|error| format!("{:?} was not reached: {error}", input.state))?;
    let before = synchronise(target, honest, "before")?;
    target.take_dialled();
    target.take_asked();
    perform(target, &mut stage, input, tls, cut)?;
    let mut dialled = Vec::new();
    if input.again {
        dialled = serve_again(target, &mut stage, input, tls)?;
        perform(target, &mut stage, input, tls, cut)?;
    }
    if target.takes_time() {
        // What is closed too soon is dialled no more.
        for domain in &input.learned.dialled {
            target.accept(domain).ok_or_else(|| format!("{domain} is not dialled"))?;
            dialled.push(domain.clone());
        }
    }
    let heard = finish(target, &mut stage.main, &input.expected, input.state)?;
    let asker_heard = match &mut stage.asker {
        Some(asker) => finish(target, asker, &input.asker, State::P2)?,
        None => Vec::new(),
    };
    if target.takes_time() {
        target.hang_up(stage.main.line);
        stage.asker.iter().for_each(|asker| target.hang_up(asker.line));
    } else {
        target.wait(CLOSE);
    }
    let mut notes = synchronise(target, honest, "after")?;
    forget_our_closing(input, &mut notes);
    let told = || notes.iter().map(|note| format!("{note}\n")).collect::<String>();
    let context = |error: String| format!("{error}\nheard: {}\ntold: {}", shown(&heard), told());

    dialled.extend(target.take_dialled());
    let in_stream = in_stream(input.state);
    let mut digest =
        judge_hearing(&input.expected, &heard, in_stream).map(|items| format!("{items:?}\n")).map_err(context)?;
    if stage.asker.is_some() {
        let items = judge_hearing(&input.asker, &asker_heard, true);
        let items = items.map_err(|error| context(format!("asker: {error}: {}", shown(&asker_heard))))?;
        let _ = writeln!(digest, "{items:?}");
    }
    judge_notes(&input.learned, &input.expected.ending, &before, &notes).map_err(context)?;
    let bound = ANSWER_BYTES + ANSWER_FACTOR * attack(input)?.len();
    if heard.len() + asker_heard.len() > bound {
        return Err(context(format!("{} bytes are answered, more than {bound}", heard.len() + asker_heard.len())));
    }
    if !target.is_silent(honest.line) {
        return Err(context("the honest peer is told something".to_owned()));
    }
    judge_contacts(target, input, dialled).map_err(context)?;
    target.left().map_err(context)?;
    digest.push_str(&told());
    Ok(digest)
}

/// The stream has ended, and another one is opened in its place. Gives whom else we dialled in the meantime.
fn serve_again(
    target: &mut impl Target,
    stage: &mut Stage,
    input: &Input,
    tls: &dyn Provider,
) -> Result<Vec<String>, String> {
    if input.expected.ending == Ending::Alive {
        stage.main.say(target, b"</stream:stream>");
    }
    stage.main.listen(target, |heard| contains(heard, "</stream:stream>"));
    target.hang_up(stage.main.line);
    stage.main = serve(target, input, tls).map_err(|error| format!("once more: {error}"))?;
    let mut dialled = target.take_dialled();
    if let Some(again) = dialled.iter().position(|domain| domain == server_of(&input.peer)) {
        dialled.remove(again);
    }
    Ok(dialled)
}

/// Where the attacker does nothing wrong the runner closes its streams, which is told of strangers.
fn forget_our_closing(input: &Input, notes: &mut Vec<Note>) {
    let closing = Note::Refused("connection-reset".to_owned());
    for ending in [&input.expected.ending, &input.asker.ending] {
        let refused = notes.iter().filter(|note| matches!(note, Note::Refused(_))).count();
        if *ending == Ending::Alive
            && refused > input.learned.refused.len()
            && let Some(last) = notes.iter().rposition(|note| *note == closing)
        {
            notes.remove(last);
        }
    }
}

/// Nobody else was dialled, and DNS was asked about nobody else.
fn judge_contacts(target: &mut impl Target, input: &Input, mut dialled: Vec<String>) -> Result<(), String> {
    dialled.retain(|domain| !input.learned.possible.contains(domain));
    same("dialled", &dialled, &input.learned.dialled)?;
    let asked = target.take_asked();
    let known: Vec<&String> =
        [&input.learned.dialled, &input.learned.asked, &input.learned.possible].into_iter().flatten().collect();
    let strangers: Vec<&String> =
        asked.iter().filter(|name| !known.iter().any(|known| name.ends_with(known.as_str()))).collect();
    let forgotten = input.learned.asked.iter().find(|domain| !asked.iter().any(|name| name.ends_with(domain.as_str())));
    match (strangers.as_slice(), forgotten) {
        ([], None) => Ok(()),
        ([], Some(domain)) => Err(format!("{domain} was not looked up")),
        _ => Err(format!("looked up: {strangers:?}")),
    }
}

/// Does what the attacker does, as long as somebody listens.
fn perform(
    target: &mut impl Target,
    stage: &mut Stage,
    input: &Input,
    tls: &dyn Provider,
    cut: Cut,
) -> Result<(), String> {
    let mut offset = 0;
    for step in &input.steps {
        match step {
            Step::Send(_) | Step::Raw(_) if cut == Cut::Whole => stage.main.hold(),
            _ => stage.main.release(target),
        }
        if stage.main.ended {
            return Ok(());
        }
        match step {
            Step::Send(pieces) => {
                let bytes = bytes(pieces, &input.peer, &stage.id)?;
                say_cut(target, &mut stage.main, &bytes, offset, cut);
                offset += bytes.len();
            }
            Step::Raw(text) => {
                let bytes = expand(text, &input.peer, &stage.id)?;
                stage.main.write(target, &bytes);
            }
            Step::Tls => {
                if !begin_tls(target, &mut stage.main, input, tls)? {
                    return Ok(());
                }
            }
            Step::Eof => target.hang_up(stage.main.line),
            Step::Wait(seconds) => target.wait(*seconds),
        }
    }
    stage.main.release(target);
    Ok(())
}

/// The attacker begins TLS, if we let it.
fn begin_tls(target: &mut impl Target, main: &mut Party, input: &Input, tls: &dyn Provider) -> Result<bool, String> {
    let serves = matches!(input.state, State::O1 | State::V1);
    if serves {
        main.listen(target, |heard| heard.contains(&HANDSHAKE));
    }
    if !serves && input.state != State::D0 {
        main.listen(target, |heard| contains(heard, "<proceed"));
        if !main.has_heard("<proceed") {
            return Ok(false);
        }
    }
    let session = if serves { server(tls, &input.peer)? } else { client(tls, &input.peer)? };
    Ok(main.begin_tls(target, session))
}

fn say_cut(target: &mut impl Target, main: &mut Party, bytes: &[u8], offset: usize, cut: Cut) {
    match cut {
        Cut::At(at) if at > offset && at < offset + bytes.len() => {
            let (head, tail) = bytes.split_at(at - offset);
            main.say(target, head);
            main.say(target, tail);
        }
        Cut::Bytes => {
            for (number, byte) in bytes.iter().enumerate() {
                main.say(target, &[*byte]);
                if number % 1024 == 0 {
                    main.listen(target, |_| false);
                    if main.ended {
                        return;
                    }
                }
            }
        }
        Cut::At(_) | Cut::Whole => main.say(target, bytes),
    }
}

/// Whether our header was heard before the attack.
const fn in_stream(state: State) -> bool {
    !matches!(state, State::P0 | State::D0 | State::T)
}

/// Brings a stream to its end, and gives all that was heard.
fn finish(target: &mut impl Target, party: &mut Party, expected: &Hearing, state: State) -> Result<Vec<u8>, String> {
    match expected.ending {
        Ending::Error(_) | Ending::Cut => {}
        // Where we close without an error, what the peer still sends is read until it closes as well.
        Ending::Closed => party.listen(target, |heard| contains(heard, "</stream:stream>")),
        Ending::Alive => {
            party.listen(target, |heard| count_elements(heard, in_stream(state)) >= expected.answers.len());
        }
    }
    if matches!(expected.ending, Ending::Alive | Ending::Closed) && !party.ended {
        party.say(target, b"</stream:stream>");
    }
    // After an error our half stays open until the peer ends its own, or the close deadline.
    if matches!(expected.ending, Ending::Error(_)) && !party.ended {
        party.listen(target, |heard| contains(heard, "</stream:stream>"));
        if target.takes_time() { target.hang_up(party.line) } else { target.wait(CLOSE) }
    }
    party.listen(target, |_| false);
    let heard = party.take_heard();
    if party.ended { Ok(heard) } else { Err(format!("the stream did not end: {}", shown(&heard))) }
}

/// Text for a failure.
fn shown(heard: &[u8]) -> String {
    let text = String::from_utf8_lossy(heard);
    text.chars().take(2000).flat_map(char::escape_debug).collect()
}

/// Without what is random: runs of 32 and more hexadecimal digits.
fn mask(text: &str) -> String {
    let mut out = String::new();
    let mut run = String::new();
    for c in text.chars().chain(['\n']) {
        if c.is_ascii_hexdigit() {
            run.push(c);
            continue;
        }
        out.push_str(if run.len() >= 32 { "#" } else { &run });
        run.clear();
        out.push(c);
    }
    out
}
