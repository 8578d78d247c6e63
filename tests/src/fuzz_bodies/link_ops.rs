//! One connection in either role, with the fake TLS, and all that happens to it beside bytes: its owner commands, the
//! network takes little, time passes, the peer goes. What lies behind a proof is reached here.

use std::time::Duration;

use arbitrary::Arbitrary;
use s2s_core::limits;
use s2s_core::tls::{Provider, Session};

use super::input::{Choices, Input};
use super::link::{Frame, LOCAL, RECORDS, REMOTE, domain, text_of};
use super::owned::{Command, Course, Owned, PEERS, Step, Terms, Verdict};
use crate::fake_tls::FakeProvider;
use crate::puppetry::{PROCEED, STARTTLS, header, response};

/// Operations of one input at most.
const OPERATIONS: usize = 200;

/// Bytes that the peer says at most, floods included.
const SAID_BYTES: usize = 200_000;

/// Bytes that a link hears one by one at most; more come in pieces of [`PIECE_BYTES`].
const SINGLE_BYTES: usize = 4096;

const PIECE_BYTES: usize = 50;

/// What the peer says in a handshake of the fake TLS, at most, and what stands behind it.
const FLIGHTS: usize = 4;

/// One thing that happens, as it stands in an input.
#[derive(Debug)]
enum Operation<'a> {
    /// The peer says a frame, so many times: inside of TLS, once it is there.
    Frame(Frame, usize),
    /// It says these bytes in the same way.
    Text(&'a [u8]),
    /// It writes these bytes as they are.
    Wire(&'a [u8]),
    BeginTls,
    /// The peer announces the end of what it says.
    EndTls,
    /// The network takes so many bytes.
    Take(usize),
    Pass(Duration),
    Command(Command),
    Eof,
    Break,
}

impl<'a> Arbitrary<'a> for Operation<'a> {
    fn arbitrary(input: &mut Input<'a>) -> arbitrary::Result<Self> {
        Ok(match input.below(16) {
            0..6 => Self::Frame(input.read(), 1),
            6 => {
                let length = input.below(64);
                Self::Text(input.up_to(length))
            }
            7 => {
                let length = input.below(64);
                Self::Wire(input.up_to(length))
            }
            8 => Self::Frame(input.read(), 16 * (1 + input.below(16))),
            9 => Self::BeginTls,
            10 => Self::Take(match input.byte() {
                255 => usize::MAX,
                bytes => usize::from(bytes),
            }),
            11 => Self::Pass(Duration::from_millis(100 << input.below(16))),
            12 | 13 => Self::Command(input.read()),
            14 => Self::EndTls,
            _ if input.below(2) == 0 => Self::Eof,
            _ => Self::Break,
        })
    }
}

impl<'a> Arbitrary<'a> for Command {
    fn arbitrary(input: &mut Input<'a>) -> arbitrary::Result<Self> {
        Ok(match input.below(16) {
            0 => Self::Close,
            1 => Self::ShutDown,
            2 => Self::Stall,
            3 => Self::Refuse,
            4 => Self::StartTlsAhead,
            5 => Self::ExternalAhead,
            6 => Self::VerifyAhead,
            7 => Self::ExpectLastFeatures,
            8 => Self::SendKey(input.below(PEERS.len())),
            9 => Self::SendVerify(input.below(PEERS.len())),
            10 | 11 => Self::AnswerKey(input.pick(&VERDICTS)),
            12 => Self::Revoke(input.below(PEERS.len())),
            _ => Self::Send(16 * input.below(256)),
        })
    }
}

const VERDICTS: [Verdict; 4] = [Verdict::Prove, Verdict::Hold, Verdict::Deny, Verdict::Fail];

impl<'a> Arbitrary<'a> for Terms {
    fn arbitrary(input: &mut Input<'a>) -> arbitrary::Result<Self> {
        let byte = input.byte();
        let keys = VERDICTS[usize::from(byte / 4 % 4)];
        Ok(Self { dialled: byte & 1 != 0, direct: byte & 2 != 0, keys })
    }
}

/// A link, and the peer that an input drives.
struct Conversation {
    terms: Terms,
    owned: Owned,
    /// The peer's side of TLS, once that has begun for it, and how much it has read of what the network took.
    session: Option<Box<dyn Session>>,
    read: usize,
    /// Whether the peer has said that it says no more.
    gone: bool,
    said: usize,
    /// All that has happened, but for what the network took.
    steps: Vec<Step>,
    /// Whether bytes were written past TLS.
    raw: bool,
    /// The step with which STARTTLS was settled, if there was nothing before it but what the peer said.
    spliced: Option<usize>,
}

/// A link, its owner and its peer, and any operations.
///
/// - What happened is played again, but for the bytes, which come one by one, and the network, which takes all at once:
///   the events are the same, and so is what was written (P1, P9), or the beginning of it if the connection breaks.
/// - Nothing has an effect behind the end (P4).
/// - A pair is told to be authenticated or authorised, and a stanza is delivered, only where its proof was granted or
///   was asked for (P5).
/// - What waits is bounded, and the link asks for no more to read than it has room for (P8); each stanza that it
///   accepted is written or comes back, in order.
/// - Timers: as everywhere (P7).
/// - What was said before STARTTLS makes no difference to what comes behind it (P10).
pub fn link_ops(data: &[u8]) {
    let Conversation { terms, owned, said, steps, raw, spliced, .. } = drive(data);
    let length = if said <= SINGLE_BYTES { 1 } else { PIECE_BYTES };
    let breaks = steps.iter().any(|step| matches!(step, Step::Eof | Step::Break));
    let again = replay(terms, &steps, length);
    compare(&owned.part(), &again, !raw && !breaks);
    if let Some(at) = spliced.filter(|_| said < limits::UNAUTHENTICATED_TOTAL_BYTES / 2) {
        let plain = Step::Bytes(opening(terms).into_bytes());
        let plain = replay(terms, std::iter::once(&plain).chain(&steps[at..]), length);
        let inside = |course: &Course| {
            let begin = course.wire.iter().position(|byte| RECORDS.contains(byte)).unwrap_or(course.wire.len());
            text_of(&course.wire[begin..])
        };
        assert_eq!(
            (&again.inside, inside(&again), &again.stream),
            (&plain.inside, inside(&plain), &plain.stream),
            "something was left of what was said in clear"
        );
    }
}

fn drive(data: &[u8]) -> Conversation {
    let mut input = Input::new(data);
    let mut conversation = Conversation::new(input.read());
    for _ in 0..OPERATIONS {
        if input.is_empty() || conversation.owned.is_over() {
            break;
        }
        conversation.operate(input.read());
    }
    conversation
}

/// What a plain peer says in clear before the last word about STARTTLS.
fn opening(terms: Terms) -> String {
    match terms.dialled {
        true => format!("{}<stream:features>{STARTTLS}</stream:features>", response(REMOTE, LOCAL, "elsewhere")),
        false => header(REMOTE, LOCAL),
    }
}

/// The same steps with bytes in pieces of this length, and a network that takes everything at once.
fn replay<'a>(terms: Terms, steps: impl IntoIterator<Item = &'a Step>, length: usize) -> Course {
    let mut owned = Owned::new(terms);
    owned.take(usize::MAX);
    for step in steps {
        if owned.is_over() {
            break;
        }
        if let Step::Bytes(bytes) = step {
            for piece in bytes.chunks(length) {
                owned.receive(piece);
                owned.take(usize::MAX);
            }
        } else {
            owned.apply(step);
            owned.take(usize::MAX);
        }
    }
    owned.part()
}

fn compare(one: &Course, other: &Course, equal: bool) {
    assert_eq!(one.events, other.events, "neither cuts count nor how much the network takes");
    let (one, other) = (&one.written, &other.written);
    let (short, long) = if one.len() < other.len() { (one, other) } else { (other, one) };
    assert!(long.starts_with(short.as_str()), "{short:?} is not the beginning of {long:?}");
    assert!(!equal || short == long, "{short:?} is not {long:?}");
}

impl Conversation {
    fn new(terms: Terms) -> Self {
        Self {
            terms,
            owned: Owned::new(terms),
            session: None,
            read: 0,
            gone: false,
            said: 0,
            steps: Vec::new(),
            raw: false,
            spliced: None,
        }
    }

    fn operate(&mut self, operation: Operation<'_>) {
        match operation {
            Operation::Frame(Frame(text), times) => {
                for _ in 0..times {
                    if !self.say(text.as_bytes()) {
                        break;
                    }
                }
            }
            Operation::Text(text) => _ = self.say(text),
            Operation::Wire(bytes) => self.raw |= self.write(bytes.to_vec()),
            Operation::BeginTls => self.begin_tls(),
            Operation::EndTls => {
                let mut wire = Vec::new();
                if let Some(session) = &mut self.session {
                    session.close(&mut wire);
                }
                self.write(wire);
            }
            Operation::Take(bytes) => self.owned.take(bytes),
            Operation::Pass(span) => self.step(Step::Pass(span)),
            Operation::Command(command) => {
                if !command.needs_room() || self.owned.link.has_room() {
                    self.step(Step::Command(command));
                }
            }
            Operation::Eof if self.gone => {}
            Operation::Eof => {
                self.gone = true;
                self.step(Step::Eof);
            }
            Operation::Break => self.step(Step::Break),
        }
    }

    /// The peer says something, inside of TLS if it has begun that, and not before it is up. Whether it could.
    fn say(&mut self, text: &[u8]) -> bool {
        let mut wire = Vec::new();
        match &mut self.session {
            Some(session) if session.facts().is_none() => {}
            Some(session) => session.send(text, &mut wire),
            None => wire.extend_from_slice(text),
        }
        self.write(wire)
    }

    /// The peer writes, unless it may not or the link does not want to read. Whether it did.
    fn write(&mut self, wire: Vec<u8>) -> bool {
        let heard = !wire.is_empty() && !self.gone && self.said < SAID_BYTES && self.owned.link.wants_read();
        if heard {
            self.said += wire.len();
            self.step(Step::Bytes(wire));
        }
        heard
    }

    /// The peer takes its side in a handshake, and reads what there is for it.
    fn begin_tls(&mut self) {
        if self.session.is_some() {
            return;
        }
        let hosts = FakeProvider::new(vec![(domain(REMOTE), vec![b"their chain".to_vec()])]);
        let session = match self.terms.dialled {
            true => hosts.server(Some(&domain(REMOTE))),
            false => hosts.client(&domain(REMOTE), &domain(LOCAL), self.terms.direct),
        };
        let mut session = session.expect("a session");
        self.owned.take(usize::MAX);
        // What stands before the first record is XML.
        self.read = self.owned.wire.iter().position(|byte| RECORDS.contains(byte)).unwrap_or(self.owned.wire.len());
        for _ in 0..FLIGHTS {
            let (mut plain, mut wire) = (Vec::new(), Vec::new());
            let _alert = session.receive(&self.owned.wire[self.read..], &mut plain, &mut wire);
            self.read = self.owned.wire.len();
            if !self.write(wire) {
                break;
            }
            self.owned.take(usize::MAX);
        }
        self.session = Some(session);
    }

    fn step(&mut self, step: Step) {
        let words = [STARTTLS, PROCEED].map(str::as_bytes);
        let settles = matches!(&step, Step::Bytes(bytes) if words.contains(&bytes.as_slice()));
        let begins = settles && !self.owned.link.is_handshaking();
        self.owned.apply(&step);
        let only_bytes = self.steps.iter().all(|step| matches!(step, Step::Bytes(_)));
        if begins && only_bytes && self.owned.link.is_handshaking() {
            self.spliced = Some(self.steps.len());
        }
        self.steps.push(step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of frames from the remote domain to ours.
    const HEADER: u8 = 0;
    const RESPONSE: u8 = 1;
    const FEATURES: u8 = 2;
    const DIALBACK: u8 = 3;
    const ASK_FOR_TLS: u8 = 4;
    const GRANT_TLS: u8 = 5;
    const AUTH: u8 = 6;
    const SUCCESS: u8 = 8;
    const KEY: u8 = 10;
    const MESSAGE: u8 = 14;

    const BEGIN_TLS: [u8; 1] = [9];
    const TAKE_ALL: [u8; 2] = [10, 255];
    const BREAK: [u8; 2] = [15, 1];

    /// An operation that says a frame, once or in a flood of 256.
    fn say(frame: u8) -> Vec<u8> {
        vec![0, 0, 0, frame]
    }

    fn flood(frame: u8) -> Vec<u8> {
        vec![8, 0, 0, frame, 15]
    }

    fn command(number: u8, argument: u8) -> Vec<u8> {
        vec![12, number, argument]
    }

    fn count(events: &[String], what: &str) -> usize {
        events.iter().filter(|event| event.starts_with(what)).count()
    }

    #[test]
    fn stanzas_come_through_behind_a_key_that_was_granted_and_not_before() {
        for (keys, delivered) in [(0, 1), (1, 0), (2, 0), (3, 0)] {
            let data = [vec![4 * keys], say(HEADER), say(KEY), say(MESSAGE)].concat();
            link_ops(&data);
            let events = drive(&data).owned.events;
            assert_eq!(count(&events, "Receiving(KeyReceived"), 1, "{events:?}");
            assert_eq!(count(&events, "Receiving(Stanza"), delivered, "{events:?}");
        }
        let answered = command(10, 0);
        let data = [vec![4], say(HEADER), say(KEY), answered, say(MESSAGE)].concat();
        link_ops(&data);
        assert_eq!(count(&drive(&data).owned.events, "Receiving(Stanza"), 1, "the key was granted later");
    }

    #[test]
    fn what_lies_behind_external_is_reached_in_both_roles_and_clear_text_leaves_nothing() {
        let theirs = [say(HEADER), say(ASK_FOR_TLS), BEGIN_TLS.to_vec(), say(HEADER), say(AUTH), say(HEADER)].concat();
        let theirs = [vec![0], theirs, say(MESSAGE)].concat();
        let conversation = drive(&theirs);
        let events = &conversation.owned.events;
        assert_eq!(conversation.spliced, Some(1));
        assert_eq!((count(events, "Receiving(Authenticated"), count(events, "Receiving(Stanza")), (1, 1), "{events:?}");
        link_ops(&theirs);

        let clear = [say(RESPONSE), say(FEATURES), say(GRANT_TLS), BEGIN_TLS.to_vec()].concat();
        let inside = [say(RESPONSE), say(FEATURES), say(SUCCESS), say(RESPONSE), say(DIALBACK)].concat();
        let sends = [TAKE_ALL.to_vec(), command(13, 4), command(13, 255), vec![10, 100], BREAK.to_vec()].concat();
        let ours = [vec![1], clear, inside, sends].concat();
        let conversation = drive(&ours);
        let events = &conversation.owned.events;
        assert_eq!(conversation.spliced, Some(2));
        assert_eq!(count(events, "Initiating(Authorised"), 1, "{events:?}");
        let written = conversation.owned.part().written;
        assert!(written.contains("<message ") && !written.contains("</message>"), "the first is cut: {written}");
        link_ops(&ours);
    }

    #[test]
    fn who_does_not_take_the_answers_is_not_read_from_until_he_does() {
        let floods = flood(KEY).repeat(7);
        let data = [vec![4], say(HEADER), say(KEY), floods].concat();
        let Conversation { owned, said, .. } = drive(&data);
        assert!(!owned.link.wants_read(), "{} bytes wait", owned.link.pending().len());
        let data = [data, TAKE_ALL.to_vec(), say(KEY)].concat();
        let again = drive(&data);
        assert!(again.owned.link.wants_read() && again.said > said, "{} bytes were said", again.said);
        link_ops(&data);
    }
}
