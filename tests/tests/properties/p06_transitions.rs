//! P6: every frame in every state leads to a legal successor, or to an error and the end; and a command that does not
//! fit the state changes nothing.
//!
//! `transitions.txt` is the whole table, to be reviewed as a text: for every state of a stream, in either role, what each
//! frame leads to. `TRANSITIONS=write cargo test -p s2s-tests --test properties p6` writes it anew.

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Write;
use std::path::Path;
use std::sync::OnceLock;

use proptest::prelude::*;
use s2s_core::addr::Pair;
use s2s_core::auth::Proof;
use s2s_core::ns;
use s2s_core::policy::{Offer, StartTls};
use s2s_core::stream::{Flow, Initiating, InitiatingEvent, KeyOutcome, Receiving, ReceivingEvent, Sink, StreamError};
use s2s_core::tls::verify::{self, Verified};
use s2s_core::xml::{Bounds, Frame, Framer};
use s2s_tests::certificates::{Authority, Kind, NOW};
use s2s_tests::fuzz_bodies;
use s2s_tests::strategies::{cases, frames};
use s2s_tests::world::domain;

const LOCAL: &str = "a.example.org";
const REMOTE: &str = "b.example.net";
const BOUNDS: Bounds = Bounds { element_bytes: 10_000, depth: 100, children: 256 };

/// Width of the table.
const COLUMNS: usize = 120;

/// The frames: a name, and what the peer writes.
const FRAMES: &[(&str, &str)] = &[
    ("header", "<stream:stream HEADER from='b.example.net' to='a.example.org' id='i' version='1.0'>"),
    ("header-without-version", "<stream:stream HEADER from='b.example.net' to='a.example.org' id='i'>"),
    ("header-of-another", "<stream:stream HEADER from='c.example.com' to='a.example.org' id='i' version='1.0'>"),
    ("header-to-another", "<stream:stream HEADER from='b.example.net' to='c.example.com' id='i' version='1.0'>"),
    ("header-of-a-client", "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"),
    ("features-none", "<stream:features/>"),
    ("features-starttls", "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>"),
    (
        "features-external",
        "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism>\
         </mechanisms></stream:features>",
    ),
    ("features-dialback", "<stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>"),
    ("starttls", "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"),
    ("proceed", "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"),
    ("tls-failure", "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"),
    ("auth", "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>"),
    ("auth-without-response", "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'/>"),
    (
        "auth-as-another",
        "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>Yy5leGFtcGxlLmNvbQ==</auth>",
    ),
    ("auth-plain", "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGEAYg==</auth>"),
    ("response", "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"),
    ("challenge", "<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"),
    ("success", "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"),
    ("sasl-failure", "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>"),
    ("abort", "<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"),
    ("key", "<db:result from='b.example.net' to='a.example.org'>k</db:result>"),
    ("key-of-another", "<db:result from='c.example.com' to='a.example.org'>k</db:result>"),
    ("key-without-from", "<db:result to='a.example.org'>k</db:result>"),
    ("key-valid", "<db:result from='b.example.net' to='a.example.org' type='valid'/>"),
    ("key-invalid", "<db:result from='b.example.net' to='a.example.org' type='invalid'/>"),
    ("key-error", "<db:result from='b.example.net' to='a.example.org' type='error'/>"),
    ("key-valid-for-another", "<db:result from='c.example.com' to='a.example.org' type='valid'/>"),
    ("verify", "<db:verify from='b.example.net' to='a.example.org' id='q'>k</db:verify>"),
    ("verify-valid", "<db:verify from='b.example.net' to='a.example.org' id='q' type='valid'/>"),
    ("verify-invalid", "<db:verify from='b.example.net' to='a.example.org' id='q' type='invalid'/>"),
    ("verify-valid-for-another", "<db:verify from='b.example.net' to='a.example.org' id='r' type='valid'/>"),
    ("message", "<message from='x@b.example.net' to='y@a.example.org'/>"),
    ("iq", "<iq from='b.example.net' to='a.example.org' type='get' id='1'/>"),
    ("presence-of-another", "<presence from='x@c.example.com' to='y@a.example.org'/>"),
    ("message-to-another", "<message from='x@b.example.net' to='y@c.example.com'/>"),
    ("message-without-to", "<message from='x@b.example.net'/>"),
    ("message-of-a-client", "<message xmlns='jabber:client' from='x@b.example.net' to='y@a.example.org'/>"),
    ("compress", "<compress xmlns='http://jabber.org/protocol/compress'><method>zlib</method></compress>"),
    ("unknown", "<x xmlns='urn:x'/>"),
    ("error", "<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"),
    ("end", "</stream:stream>"),
];

/// What every header declares.
const DECLARATIONS: &str =
    "xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback'";

fn frame(name: &str) -> Frame {
    let (_, text) = FRAMES.iter().find(|(known, _)| *known == name).expect("a frame of the table");
    let text = text.replace("HEADER", DECLARATIONS);
    let mut framer = Framer::new(ns::SERVER, BOUNDS);
    let header = format!("<stream:stream {DECLARATIONS}>");
    if !text.starts_with("<stream:stream") {
        assert!(matches!(framer.next(&mut header.as_bytes()), Ok(Some(Frame::Root(_)))));
    }
    framer.next(&mut text.as_bytes()).expect("XML").expect("a whole frame")
}

fn pair() -> Pair {
    Pair::new(domain(LOCAL), domain(REMOTE))
}

fn verified() -> Verified {
    static VERIFIED: OnceLock<Verified> = OnceLock::new();
    let judge = || {
        let authority = Authority::root("the authority");
        let chain = authority.issue_kind(Kind::Valid, &domain(REMOTE)).chain;
        verify::judge(&chain, &domain(REMOTE), &authority.trust(), NOW).expect("a valid certificate")
    };
    VERIFIED.get_or_init(judge).clone()
}

/// A step by which a stream goes on: the state before, how, and the state behind.
type Step = (&'static str, &'static str, &'static str);

/// A command: its name, the states that it fits, and what it is.
type Command<S> = (&'static str, &'static [&'static str], fn(&mut S, &mut Vec<u8>));

/// A stream of either role.
trait Stream: std::fmt::Debug + Sized + 'static {
    /// All steps by which it may go on. Every other frame ends it.
    const STEPS: &'static [Step];

    /// All decisions and answers of its owner.
    const COMMANDS: &'static [Command<Self>];

    type Event: std::fmt::Debug;

    fn take(&mut self, frame: Frame, sink: &mut Sink<'_, Self::Event>) -> Result<Flow, StreamError>;

    fn awaits_decision(&self) -> bool;

    /// The decision that needs nothing to be decided.
    fn accept(&mut self) {}
}

impl Stream for Initiating {
    const STEPS: &'static [Step] = &[
        ("ExpectHeader Anonymous", "Undecided", "HeaderUndecided"),
        ("ExpectHeader Anonymous", "Undecided", "Undecided"),
        ("ExpectHeader Authenticated", "Continue", "ExpectFeatures"),
        ("ExpectHeader Authenticated", "Continue", "Open"),
        ("ExpectFeatures", "Undecided", "Undecided"),
        ("ExpectFeatures", "Continue", "Open"),
        ("ExpectProceed", "StartTls", "ExpectTls"),
        ("ExpectSasl", "Continue", "ExpectSasl"),
        ("ExpectSasl", "Restart", "ExpectHeader Authenticated"),
        ("ExpectSasl", "Restart", "Open"),
        ("ExpectSasl", "Undecided", "Undecided"),
        ("Open", "Continue", "Open"),
    ];

    const COMMANDS: &'static [Command<Self>] = &[
        ("accept_header", &["HeaderUndecided"], |stream, _| stream.accept_header()),
        ("starttls", &["Undecided"], Self::starttls),
        ("external", &["Undecided"], Self::external),
        ("send_key", &["Undecided", "Open"], |stream, wire| stream.send_key(&pair(), "k".to_owned(), wire)),
        ("send_verify", &["Undecided", "Open"], |stream, wire| {
            stream.send_verify(&pair(), "q".to_owned(), "k".to_owned(), wire);
        }),
        ("starttls_ahead", &["ExpectHeader Anonymous"], Self::starttls_ahead),
        ("external_ahead", &["ExpectHeader Anonymous"], Self::external_ahead),
        ("verify_ahead", &["ExpectHeader Anonymous"], |stream, wire| {
            stream.verify_ahead(&pair(), "q".to_owned(), "k".to_owned(), wire);
        }),
    ];

    type Event = InitiatingEvent;

    fn take(&mut self, frame: Frame, sink: &mut Sink<'_, InitiatingEvent>) -> Result<Flow, StreamError> {
        self.handle(frame, sink)
    }

    fn awaits_decision(&self) -> bool {
        self.is_undecided()
    }

    fn accept(&mut self) {
        self.accept_header();
    }
}

impl Stream for Receiving {
    const STEPS: &'static [Step] = &[
        ("ExpectHeader Clear", "Undecided", "Undecided"),
        ("ExpectHeader Secured", "Undecided", "Undecided"),
        ("ExpectHeader Authenticated", "Undecided", "Undecided"),
        ("Open", "Undecided", "AskedForTls"),
        ("Open", "Continue", "Open"),
        ("Open", "Restart", "ExpectHeader Authenticated"),
    ];

    const COMMANDS: &'static [Command<Self>] = &[
        ("offer", &["Undecided"], |stream, wire| {
            let offer = Offer { starttls: None, external: None, dialback: true };
            stream.offer(domain(LOCAL), offer, 10_000, wire);
        }),
        ("proceed", &["AskedForTls"], |stream, wire| _ = stream.proceed(wire)),
        ("answer_key", &["Open"], |stream, wire| _ = stream.answer_key(&pair(), KeyOutcome::Denied, wire)),
    ];

    type Event = ReceivingEvent;

    fn take(&mut self, frame: Frame, sink: &mut Sink<'_, ReceivingEvent>) -> Result<Flow, StreamError> {
        self.handle(frame, sink)
    }

    fn awaits_decision(&self) -> bool {
        self.is_undecided()
    }
}

/// A stream in some state, and what it writes and tells.
struct Subject<S: Stream> {
    stream: S,
    wire: Vec<u8>,
    events: VecDeque<S::Event>,
}

impl<S: Stream> Subject<S> {
    const fn new(stream: S) -> Self {
        Self { stream, wire: Vec::new(), events: VecDeque::new() }
    }

    fn take(&mut self, name: &str) -> Result<Flow, StreamError> {
        self.stream.take(frame(name), &mut Sink { wire: &mut self.wire, events: &mut self.events })
    }

    /// Takes a frame that leads on, and leaves what is to be decided open.
    fn up_to(mut self, name: &str) -> Self {
        self.take(name).expect("this leads on");
        self
    }

    /// Takes frames that lead on.
    fn through(mut self, names: &[&str]) -> Self {
        for name in names {
            self.take(name).expect("this leads on");
            self.stream.accept();
        }
        self
    }

    fn then(mut self, command: impl FnOnce(&mut S, &mut Vec<u8>)) -> Self {
        command(&mut self.stream, &mut self.wire);
        self
    }
}

impl Subject<Receiving> {
    fn offering(self, starttls: Option<StartTls>, external: Option<Verified>) -> Self {
        let offer = Offer { starttls, external, dialback: true };
        self.then(|stream, wire| stream.offer(domain(LOCAL), offer, 10_000, wire))
    }
}

type Opened = Subject<Initiating>;
type Heard = Subject<Receiving>;

fn opened() -> Opened {
    Subject::new(Initiating::new(domain(LOCAL), domain(REMOTE))).then(Initiating::open)
}

fn asked(features: &str) -> Opened {
    opened().through(&["header", features])
}

fn external() -> Opened {
    asked("features-external").then(Initiating::external)
}

fn granted() -> Opened {
    asked("features-starttls").then(Initiating::starttls).through(&["proceed"])
}

/// EXTERNAL was attempted, and stanzas will not wait for what follows its success.
fn hasty() -> Opened {
    external().then(|stream, _| stream.expect_last_features(None))
}

/// EXTERNAL has succeeded, and stanzas did not wait.
fn in_haste() -> Opened {
    hasty().through(&["success"])
}

/// A state in which a stream is given frames: what has happened, and how to get there.
struct Case<S: Stream> {
    title: &'static str,
    make: fn() -> Subject<S>,
}

const fn case<S: Stream>(title: &'static str, make: fn() -> Subject<S>) -> Case<S> {
    Case { title, make }
}

/// Every state of a stream that we opened in which it is given frames, by how it is reached.
fn initiating() -> Vec<Case<Initiating>> {
    vec![
        case("our header is not sent", || Subject::new(Initiating::new(domain(LOCAL), domain(REMOTE)))),
        case("our header is sent", opened),
        case("STARTTLS was asked for ahead", || opened().then(Initiating::starttls_ahead)),
        case("the peer's header is to be judged", || opened().up_to("header")),
        case("the peer's header was accepted", || opened().through(&["header"])),
        case("the features are to be judged", || asked("features-starttls")),
        case("STARTTLS was asked for", || asked("features-starttls").then(Initiating::starttls)),
        case("TLS is granted, and not there", granted),
        case("our header is sent, in TLS", || granted().then(Initiating::secured)),
        case("our header is sent, in direct TLS", || {
            Subject::new(Initiating::new(domain(LOCAL), domain(REMOTE))).then(Initiating::secured)
        }),
        case("EXTERNAL was attempted", external),
        case("EXTERNAL was attempted, and challenged", || external().through(&["challenge"])),
        case("EXTERNAL was attempted, in haste", hasty),
        case("EXTERNAL has succeeded", || external().through(&["success"])),
        case("EXTERNAL has succeeded, and the header came", || external().through(&["success", "header"])),
        case("EXTERNAL has succeeded, and the features came", || {
            external().through(&["success", "header", "features-none"])
        }),
        case("EXTERNAL has succeeded, in haste", in_haste),
        case("EXTERNAL has succeeded, in haste, and the header came", || in_haste().through(&["header"])),
        case("a key was sent", || {
            asked("features-dialback").then(|stream, wire| stream.send_key(&pair(), "k".to_owned(), wire))
        }),
        case("a key was accepted", || {
            let sent = asked("features-dialback").then(|stream, wire| stream.send_key(&pair(), "k".to_owned(), wire));
            sent.through(&["key-valid"])
        }),
        case("a question about a key was asked", || {
            let ask = |stream: &mut Initiating, wire: &mut Vec<u8>| {
                stream.send_verify(&pair(), "q".to_owned(), "k".to_owned(), wire);
            };
            asked("features-dialback").then(ask)
        }),
        case("an error was made", || {
            let mut over = opened();
            over.take("unknown").expect_err("nobody waits for this");
            over
        }),
    ]
}

fn heard() -> Heard {
    Subject::new(Receiving::new("i".to_owned(), false)).through(&["header"])
}

fn clear() -> Heard {
    heard().offering(Some(StartTls::Optional), None)
}

fn secured() -> Heard {
    let asked = clear().through(&["starttls"]);
    asked.then(|stream, wire| {
        assert!(stream.proceed(wire));
        stream.secured("j".to_owned());
    })
}

/// TLS was there before the first header.
fn direct() -> Heard {
    Subject::new(Receiving::new("i".to_owned(), false)).then(|stream, _| stream.secured("j".to_owned()))
}

fn protected() -> Heard {
    secured().through(&["header"]).offering(None, Some(verified()))
}

fn authenticated() -> Heard {
    protected().through(&["auth"]).then(|stream, _| stream.restarted("k".to_owned()))
}

fn proof() -> Proof {
    let settled = authenticated().through(&["header"]).offering(None, None);
    let proof = settled.stream.proofs().next().expect("EXTERNAL proved it");
    proof.clone()
}

/// The key that is being verified was confirmed.
fn confirmed(verifying: Heard) -> Heard {
    verifying.then(|stream, wire| {
        stream.answer_key(&pair(), KeyOutcome::Proved(proof()), wire).expect("the stream goes on");
    })
}

/// The same for a stream that the peer opened.
fn receiving() -> Vec<Case<Receiving>> {
    vec![
        case("the header is awaited, in clear", || Subject::new(Receiving::new("i".to_owned(), false))),
        case("the header is to be judged, in clear", heard),
        case("STARTTLS and dialback are offered", clear),
        case("STARTTLS is required", || heard().offering(Some(StartTls::Required), None)),
        case("dialback is offered, in clear", || heard().offering(None, None)),
        case("a key is being verified, in clear", || clear().through(&["key"])),
        case("a key was confirmed, in clear", || confirmed(clear().through(&["key"]))),
        case("TLS was asked for", || clear().through(&["starttls"])),
        case("TLS is granted, and not there", || {
            clear().through(&["starttls"]).then(|stream, wire| _ = stream.proceed(wire))
        }),
        case("the header is awaited, in TLS", secured),
        case("the header is awaited, in direct TLS", direct),
        case("the header is to be judged, in TLS", || secured().through(&["header"])),
        case("EXTERNAL and dialback are offered", protected),
        case("dialback is offered, in direct TLS", || direct().through(&["header"]).offering(None, None)),
        case("a key is being verified, in TLS", || protected().through(&["key"])),
        case("a key was confirmed, in TLS", || confirmed(protected().through(&["key"]))),
        case("EXTERNAL is challenged", || protected().through(&["auth-without-response"])),
        case("EXTERNAL was refused", || protected().through(&["auth-as-another"])),
        case("EXTERNAL has succeeded", authenticated),
        case("EXTERNAL has succeeded, and the header is to be judged", || authenticated().through(&["header"])),
        case("EXTERNAL has succeeded, and the stream is open", || {
            authenticated().through(&["header"]).offering(None, None)
        }),
        case("an error was made", || {
            let mut over = clear();
            over.take("unknown").expect_err("nobody waits for this");
            over
        }),
    ]
}

/// The state of a stream, as its own words for debugging name it.
fn state(stream: &impl std::fmt::Debug) -> String {
    let text = format!("{stream:?}");
    let state = text.split_once("state: ").map_or("", |(_, state)| state);
    let name: String = state.chars().take_while(|c| c.is_alphanumeric()).collect();
    let layers = ["Anonymous", "Clear", "Secured", "Authenticated"];
    let layer = state.split(|c: char| !c.is_alphanumeric()).nth(1).filter(|word| layers.contains(word));
    layer.map_or_else(|| name.clone(), |layer| format!("{name} {layer}"))
}

/// What a frame led to, in one line.
fn outcome<E: std::fmt::Debug>(result: &Result<Flow, StreamError>, after: &str, events: &VecDeque<E>) -> String {
    let mut line = match result {
        Err(error) => return format!("error {}: {error:?}", error.condition()),
        Ok(Flow::Continue) => after.to_owned(),
        Ok(flow @ (Flow::Closed | Flow::StartTlsRefused | Flow::Failed(_))) => {
            format!("over: {}", format!("{flow:?}").split('(').next().unwrap_or_default())
        }
        Ok(flow) => format!("{after}, {flow:?}"),
    };
    for event in events {
        let event = format!("{event:?}");
        let name: String = event.chars().take_while(|c| c.is_alphanumeric()).collect();
        write!(line, "; {name}").expect("a text");
    }
    line
}

/// What every frame leads to in one state, the frames grouped by that.
fn section<S: Stream>(Case { title, make }: Case<S>) -> String {
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    for (name, _) in FRAMES {
        let mut subject = make();
        subject.events.clear();
        let before = state(&subject.stream);
        let result = subject.take(name);
        let after = state(&subject.stream);
        let step = step(&result, &before, &after);
        let is_legal = step.as_ref().is_none_or(|step| S::STEPS.iter().any(|legal| is_same(step, legal)));
        assert!(is_legal, "{title}: {name}: {step:?}");
        let waits = matches!(result, Ok(Flow::Undecided));
        assert_eq!(subject.stream.awaits_decision() && step.is_some(), waits, "{title}: {name}: {step:?}");
        let outcome = outcome(&result, &after, &subject.events);
        match groups.iter_mut().find(|(known, _)| *known == outcome) {
            Some((_, frames)) => frames.push(name),
            None => groups.push((outcome, vec![name])),
        }
    }
    let mut text = format!("\n{title} ({})\n", state(&make().stream));
    for (outcome, frames) in groups {
        write!(text, "    {outcome}\n       ").expect("a text");
        let mut column = 7;
        for frame in frames {
            if column + 1 + frame.len() > COLUMNS {
                text.push_str("\n       ");
                column = 7;
            }
            write!(text, " {frame}").expect("a text");
            column += 1 + frame.len();
        }
        text.push('\n');
    }
    text
}

fn table() -> String {
    let mut text = "What every frame leads to in every state of a stream: the state that follows, and what is told.\n\
                    Where a decision is awaited (Undecided) no frame is taken before it.\n"
        .to_owned();
    text.push_str("\n==== a stream that we opened ====\n");
    text.extend(initiating().into_iter().map(section));
    text.push_str("\n==== a stream that the peer opened ====\n");
    text.extend(receiving().into_iter().map(section));
    text
}

/// By which step the stream has gone on; none, if it is over.
fn step(result: &Result<Flow, StreamError>, before: &str, after: &str) -> Option<[String; 3]> {
    match result {
        Ok(flow @ (Flow::Continue | Flow::Restart | Flow::StartTls | Flow::Undecided)) => {
            Some([before.to_owned(), format!("{flow:?}"), after.to_owned()])
        }
        Ok(Flow::Closed | Flow::Failed(_) | Flow::StartTlsRefused) | Err(_) => None,
    }
}

fn is_same(step: &[String; 3], (before, by, after): &Step) -> bool {
    step.each_ref().map(String::as_str) == [*before, *by, *after]
}

/// All steps that some frame of the table takes in some state.
fn taken<S: Stream>(cases: Vec<Case<S>>) -> BTreeSet<[String; 3]> {
    let outcomes = cases.into_iter().flat_map(|case| FRAMES.iter().map(move |(name, _)| ((case.make)(), name)));
    outcomes
        .filter_map(|(mut subject, name)| {
            let before = state(&subject.stream);
            let result = subject.take(name);
            step(&result, &before, &state(&subject.stream))
        })
        .collect()
}

/// Gives every command to a stream in every state that it does not fit.
fn command_amiss<S: Stream>(cases: Vec<Case<S>>) {
    for Case { title, make } in cases {
        for (name, fits, command) in S::COMMANDS {
            let mut subject = make();
            if fits.contains(&state(&subject.stream).as_str()) {
                continue;
            }
            let before = (format!("{:?}", subject.stream), subject.wire.clone());
            command(&mut subject.stream, &mut subject.wire);
            assert_eq!((format!("{:?}", subject.stream), subject.wire), before, "{title}: {name}");
        }
    }
}

#[test]
fn p6_every_frame_in_every_state_leads_where_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/properties/transitions.txt");
    let table = table();
    if std::env::var_os("TRANSITIONS").is_some() {
        std::fs::write(&path, &table).expect("the table is written");
    }
    let reviewed = std::fs::read_to_string(&path).expect("the reviewed table");
    for (line, (now, before)) in table.lines().zip(reviewed.lines()).enumerate() {
        assert_eq!(now, before, "transitions.txt:{}; TRANSITIONS=write writes it anew", line + 1);
    }
    assert_eq!(table.lines().count(), reviewed.lines().count(), "lines of transitions.txt");
    println!("{} states, {} frames", initiating().len() + receiving().len(), FRAMES.len());
}

#[test]
fn p6_each_step_by_which_a_stream_may_go_on_is_taken_in_the_table() {
    let lacks = |taken: &BTreeSet<[String; 3]>, step: &Step| !taken.iter().any(|taken| is_same(taken, step));
    let (opened, heard) = (taken(initiating()), taken(receiving()));
    let never: Vec<_> = Initiating::STEPS.iter().filter(|step| lacks(&opened, step)).collect();
    assert!(never.is_empty(), "{never:?}");
    let never: Vec<_> = Receiving::STEPS.iter().filter(|step| lacks(&heard, step)).collect();
    assert!(never.is_empty(), "{never:?}");
}

#[test]
fn p6_a_command_that_does_not_fit_the_state_changes_nothing() {
    command_amiss(initiating());
    command_amiss(receiving());
}

proptest! {
    #![proptest_config(cases())]

    /// The target counts the errors of a link, and looks at what follows them.
    #[test]
    fn p6_frames_in_any_order_end_with_one_error_at_most(kind in 0..4_u8, frames in frames()) {
        fuzz_bodies::stream_frames(&[&[kind], frames.as_slice()].concat());
    }
}
