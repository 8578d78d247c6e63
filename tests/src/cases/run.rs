//! Runs a case: every input, in every cut, and after each run the rules that hold in every case.
//!
//! - What the application learns is what the case says, and nothing else: no stanza, no proof, no refusal more.
//! - Whatever was up is down at the end; an honest stream beside the attacker's still carries messages.
//! - Nobody was dialled, and DNS was not asked, but where the case says so.
//! - What we wrote is XML for an independent reader, with a header first and nothing behind the closing tag; an
//!   error stands directly before it.
//! - Five seconds after the end there is no connection left, and no deadline but that of the honest stream.
//! - Events and bytes are the same however the attacker's bytes were cut, but for random ids.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use s2s_core::machine::Listener;
use s2s_core::tls::Provider;

use super::core_target::CoreTarget;
use super::party::{HANDSHAKE, Party, client, contains, expand, header, server};
use super::setup::{DOMAINS, Scene, Tls, scene};
use super::socket_target::SocketTarget;
use super::target::{Note, Target};
use super::verdict::{count_elements, judge_hearing, judge_notes, same};
use super::{Case, Ending, Hearing, Input, State, Step};

/// Inputs up to this size are cut at every byte.
const SMALL: usize = 4096;
/// How often larger ones are cut.
const CUTS: usize = 64;
/// Seconds from an end to the end of the connection, decision D-20.
const CLOSE: u64 = 5;

/// How the bytes of an input are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Whole,
    At(usize),
    Bytes,
}

/// What became of a case.
#[derive(Debug, Default)]
pub struct Report {
    /// Runs in all.
    pub runs: usize,
    /// What went wrong.
    pub failures: Vec<String>,
}

/// Runs a case in the core, in all cuts.
#[must_use]
pub fn in_core(case: &Case) -> Report {
    let mut report = Report::default();
    for input in &case.inputs {
        let outcome = scene(input, Tls::Fake).and_then(|scene| {
            let bytes = attack(input)?;
            let new_target = || Ok(CoreTarget::new(scene.config.clone(), &input.peer));
            run(new_target, input, &scene, &cuts(&bytes), &mut report.runs)
        });
        if let Err(error) = outcome {
            report.failures.push(format!("{} {}: {error}", case.id, input.name));
        }
    }
    report
}

/// Runs a case over sockets: whole, and cut once. Inputs that need virtual time or DNS are left out.
#[must_use]
pub fn over_sockets(case: &Case) -> Report {
    let mut report = Report::default();
    let waits = |input: &Input| input.steps.iter().any(|step| matches!(step, Step::Wait(_)));
    for input in case.inputs.iter().filter(|input| !waits(input) && input.learned.asked.is_empty()) {
        let outcome = scene(input, Tls::Real).and_then(|scene| {
            let bytes = attack(input)?;
            let new_target = || SocketTarget::new(&scene.config, &input.peer).map_err(|error| error.to_string());
            run(new_target, input, &scene, &[Cut::Whole, Cut::At(bytes.len() / 2)], &mut report.runs)
        });
        if let Err(error) = outcome {
            report.failures.push(format!("{} {} over sockets: {error}", case.id, input.name));
        }
    }
    report
}

/// All that the attacker sends, for the choice of cuts.
fn attack(input: &Input) -> Result<Vec<u8>, String> {
    let sends = input.steps.iter().filter_map(|step| if let Step::Send(pieces) = step { Some(pieces) } else { None });
    let pieces: Result<Vec<_>, _> = sends.map(|pieces| bytes(pieces, &input.peer, &"0".repeat(32))).collect();
    Ok(pieces?.concat())
}

fn bytes(pieces: &[(String, usize)], peer: &str, id: &str) -> Result<Vec<u8>, String> {
    let pieces: Result<Vec<_>, String> =
        pieces.iter().map(|(text, times)| Ok(expand(text, peer, id)?.repeat(*times))).collect();
    Ok(pieces?.concat())
}

fn cuts(bytes: &[u8]) -> Vec<Cut> {
    let mut cuts = vec![Cut::Whole];
    if bytes.len() <= SMALL {
        cuts.extend((1..bytes.len()).map(Cut::At));
        return cuts;
    }
    cuts.push(Cut::Bytes);
    let near_limit = |at: &usize| [4096, 8192, 10_000, 65_536, 131_072].iter().any(|limit| at.abs_diff(*limit) < 2);
    let is_seam = |at: &usize| bytes[*at] == b'<' || bytes[*at - 1] == b'>' || bytes[*at] >= 0x80;
    let (mut points, seams): (BTreeSet<usize>, Vec<usize>) =
        ((1..bytes.len()).filter(near_limit).collect(), (1..bytes.len()).filter(is_seam).collect());
    points.extend(spread(&seams, CUTS - points.len().min(CUTS / 2)));
    let all: Vec<usize> = (1..bytes.len()).collect();
    points.extend(spread(&all, CUTS.saturating_sub(points.len())));
    cuts.extend(points.into_iter().map(Cut::At));
    cuts
}

/// So many of `points`, evenly.
fn spread(points: &[usize], count: usize) -> Vec<usize> {
    if points.len() <= count {
        return points.to_vec();
    }
    (0..count).filter_map(|n| points.get(n * points.len() / count).copied()).collect()
}

/// Runs one input in all `cuts`, beside one honest peer. Where we dial, each run has a target of its own: who failed is
/// remembered for a while.
fn run<T: Target>(
    new_target: impl Fn() -> Result<T, String>,
    input: &Input,
    scene: &Scene,
    cuts: &[Cut],
    runs: &mut usize,
) -> Result<(), String> {
    let learned = &input.learned;
    let dials = matches!(input.state, State::O1 | State::O2 | State::O3 | State::V1 | State::V2)
        || [&learned.dialled, &learned.asked, &learned.possible].iter().any(|domains| !domains.is_empty());
    let mut first: Option<String> = None;
    for group in cuts.chunks(if dials { 1 } else { cuts.len() }) {
        let mut target = new_target()?;
        let mut honest = begin(&mut target, scene)?;
        for cut in group {
            *runs += 1;
            let digest = run_once(&mut target, &mut honest, input, scene.attacker.as_ref(), *cut);
            let digest = digest.map_err(|error| format!("{cut:?}: {error}"))?;
            match &first {
                None => first = Some(digest),
                Some(first) if *first == digest => {}
                Some(first) => return Err(format!("{cut:?}: other events\n{digest}\nthan whole\n{first}")),
            }
        }
    }
    Ok(())
}

/// The honest peer has a stream.
fn begin(target: &mut impl Target, scene: &Scene) -> Result<Party, String> {
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

/// The streams of one run.
struct Stage {
    main: Party,
    asker: Option<Party>,
    /// The id of the stream with the key.
    id: String,
}

fn run_once(
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
    judge_notes(&input.learned, &before, &notes).map_err(context)?;
    judge_contacts(target, input, dialled).map_err(context)?;
    if let Some((connections, deadline)) = target.left()
        && (connections, deadline) != (1, Some("idle"))
    {
        return Err(context(format!("{connections} connections are left, with the deadline {deadline:?}")));
    }
    digest.push_str(&told());
    Ok(mask(&digest))
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
    let Some(asked) = target.take_asked() else {
        return Ok(());
    };
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

/// Brings the attacker to where the input begins.
fn reach(target: &mut impl Target, input: &Input, tls: &dyn Provider) -> Result<Stage, String> {
    let peer = input.peer.as_str();
    match input.state {
        State::O1 | State::O2 | State::O3 => {
            target.route(&format!("<message from='u@v.example' to='w@{peer}' id='waiting'/>"));
            let mut main = accept(target, peer)?;
            if input.state != State::O1 {
                serve_tls(target, &mut main, tls, peer)?;
            }
            if input.state == State::O3 {
                serve_external(target, &mut main, peer)?;
            }
            Ok(Stage { main, asker: None, id: String::new() })
        }
        State::V1 | State::V2 => {
            let mut asker = Party::new(target.connect(Listener::StartTls));
            asker.open_stream(target, peer)?;
            asker.start_tls(target, tls, peer)?;
            asker.say(target, header(peer, "")?.as_bytes());
            asker.listen(target, |heard| contains(heard, "stream:features>"));
            let id = stream_id(&asker.take_heard()).ok_or("no stream id")?;
            asker.say(target, format!("<db:result from='{peer}' to='v.example'>a key</db:result>").as_bytes());
            let mut main = accept(target, peer)?;
            if input.state == State::V2 {
                serve_tls(target, &mut main, tls, peer)?;
            }
            Ok(Stage { main, asker: Some(asker), id })
        }
        state => {
            let on = if state == State::D0 { Listener::DirectTls } else { Listener::StartTls };
            let mut main = Party::new(target.connect(on));
            match state {
                State::P1 => main.open_stream(target, peer)?,
                State::T => {
                    main.open_stream(target, peer)?;
                    main.start_tls(target, tls, peer)?;
                }
                State::P2 => main.secure_stream(target, tls, peer)?,
                State::P3 => {
                    main.secure_stream(target, tls, peer)?;
                    main.authenticate(target, peer)?;
                }
                _ => {}
            }
            Ok(Stage { main, asker: None, id: String::new() })
        }
    }
}

/// Our connection to `peer`, with our header.
fn accept(target: &mut impl Target, peer: &str) -> Result<Party, String> {
    let domain = if DOMAINS.contains(&peer) { peer } else { "m.example" };
    let mut party = Party::new(target.accept(domain).ok_or("nobody dials")?);
    party.expect(target, "<stream:stream")?;
    Ok(party)
}

/// The header of the attacker in answer to ours.
fn response(peer: &str) -> Result<String, String> {
    header(peer, "to='v.example' id='of-the-attacker'")
}

fn serve_tls(target: &mut impl Target, main: &mut Party, tls: &dyn Provider, peer: &str) -> Result<(), String> {
    let starttls = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>";
    main.say(target, format!("{}<stream:features>{starttls}</stream:features>", response(peer)?).as_bytes());
    main.expect(target, "<starttls")?;
    main.say(target, b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    let session = server(tls, peer)?;
    if !main.begin_tls(target, session) {
        return Err("TLS does not come up".to_owned());
    }
    main.expect(target, "<stream:stream")
}

fn serve_external(target: &mut impl Target, main: &mut Party, peer: &str) -> Result<(), String> {
    let sasl = "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms>";
    main.say(target, format!("{}<stream:features>{sasl}</stream:features>", response(peer)?).as_bytes());
    main.expect(target, "<auth")?;
    main.say(target, b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
    main.expect(target, "<stream:stream")?;
    main.say(target, format!("{}<stream:features/>", response(peer)?).as_bytes());
    main.expect(target, "<message")
}

fn stream_id(heard: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(heard);
    let (_, rest) = text.split_once(" id='")?;
    Some(rest.split_once('\'')?.0.to_owned())
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
