//! Laws that hold for whole sessions.

use proptest::prelude::*;

use super::*;
use crate::machine::QueryId;

/// Text that a component writes after its handshake: mostly legal, sometimes the end of it.
fn step() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => (sender(), written(), kind(), "[a-zé€<&'\"]{0,20}").prop_map(|(from, to, kind, text)| {
            let text = text.replace('&', "&amp;").replace('<', "&lt;");
            let (name, attributes) = kind;
            format!("<{name}{attributes} from='{from}' to='{to}'><ping xmlns='urn:xmpp:ping'>{text}</ping></{name}>")
        }),
        2 => Just("\n \t".to_owned()),
        1 => Just("</stream:stream>".to_owned()),
        1 => Just("<foo xmlns='urn:x'/>".to_owned()),
        1 => Just("<message from='b.example' to='m.example'/>".to_owned()),
        1 => Just("<message from='a.example'/>".to_owned()),
        1 => Just("<message from='b.example' to='u@'/>".to_owned()),
        1 => Just("<broken></borken>".to_owned()),
    ]
}

fn sender() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a.example", "x@a.example/é", "y@A.EXAMPLE"])
}

fn recipient() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["m.example", "u@m.example/r", "bare.example", "u@bare.example", "a.example", "b.example"])
}

/// What a component writes for a recipient: sometimes no address.
fn written() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        3 => recipient(),
        1 => prop::sample::select(vec!["bob@127.0.0.1", "x@faß.example/r", "@a.example", "u@", ""]),
    ]
}

fn kind() -> impl Strategy<Value = (&'static str, &'static str)> {
    prop::sample::select(vec![
        ("iq", " type='get' id='1'"),
        ("iq", " type='set' id='1'"),
        ("iq", " type='result' id='1'"),
        ("iq", " type='error' id='1'"),
        ("message", ""),
        ("message", " type='error'"),
        ("message", " type='result'"),
        ("presence", ""),
        ("presence", " type='error'"),
    ])
}

/// What came of a session in these pieces: what was written, the effects without wakes, the events.
fn session(pieces: &[&[u8]]) -> (Vec<u8>, Vec<Effect>, Vec<Event>) {
    let mut driver = Driver::new();
    let conn = driver.accept();
    for piece in pieces {
        driver.hub.handle_bytes(driver.now, conn, piece);
        driver.drain();
    }
    (driver.hub.pending(conn).to_vec(), driver.effects(), driver.events())
}

/// `bytes`, cut at `cuts` (taken modulo the length).
fn cut<'b>(bytes: &'b [u8], cuts: &[usize]) -> Vec<&'b [u8]> {
    let mut at: Vec<_> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

/// Header and handshake of the first component of a driver, whose id depends on the seed alone.
fn beginning() -> String {
    let mut driver = Driver::new();
    let conn = driver.accept();
    let id = driver.open(conn, "a.example");
    let handshake = ComponentSecret::new("secret-a".to_owned()).handshake(&id);
    format!("<?xml version='1.0'?>{}<handshake>{handshake}</handshake>", header("a.example"))
}

/// One thing that happens around a hub with two hosts that have components, now and then.
#[derive(Clone, Debug)]
enum Op {
    Attach(bool),
    Break(bool),
    Close(bool),
    Write { from: bool, to: &'static str, kind: (&'static str, &'static str), length: usize },
    Deliver { to: &'static str, kind: (&'static str, &'static str), length: usize },
    Undeliverable { from: &'static str, kind: (&'static str, &'static str) },
    Send(bool, usize),
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => any::<bool>().prop_map(Op::Attach),
        1 => any::<bool>().prop_map(Op::Break),
        1 => any::<bool>().prop_map(Op::Close),
        6 => (any::<bool>(), written(), kind(), 0usize..900)
            .prop_map(|(from, to, kind, length)| Op::Write { from, to, kind, length }),
        6 => (recipient(), kind(), 0usize..900).prop_map(|(to, kind, length)| Op::Deliver { to, kind, length }),
        3 => (recipient(), kind()).prop_map(|(from, kind)| Op::Undeliverable { from, kind }),
        2 => (any::<bool>(), 0usize..3000).prop_map(|(host, n)| Op::Send(host, n)),
        1 => (0u64..40).prop_map(Op::Wait),
    ]
}

/// A driver that counts the stanzas that it puts in.
struct Schedule {
    driver: Driver,
    components: BTreeMap<&'static str, ConnId>,
    put_in: usize,
}

impl Schedule {
    fn run(ops: &[Op]) -> Self {
        let mut schedule = Self { driver: Driver::new(), components: BTreeMap::new(), put_in: 0 };
        for op in ops {
            schedule.apply(op);
            schedule.check_timeout();
        }
        schedule.end();
        schedule
    }

    const fn host(first: bool) -> &'static str {
        if first { "a.example" } else { "b.example" }
    }

    fn apply(&mut self, op: &Op) {
        let driver = &mut self.driver;
        let conn = |host: bool| self.components.get(Self::host(host)).copied();
        match op {
            Op::Attach(host) if conn(*host).is_none() => {
                let name = Self::host(*host);
                let conn = driver.accept();
                let id = driver.open(conn, name);
                driver.handshake(conn, &id, &format!("secret-{}", &name[..1]));
                self.components.insert(name, conn);
            }
            Op::Break(host) => {
                if let Some(conn) = self.components.remove(Self::host(*host)) {
                    driver.read(conn);
                    driver.broken(conn);
                }
            }
            Op::Close(host) => {
                if let Some(conn) = self.components.remove(Self::host(*host)) {
                    driver.write(conn, "</stream:stream>");
                    driver.read(conn);
                }
            }
            Op::Write { from, to, kind, length } => {
                if let Some(conn) = conn(*from) {
                    driver.write(conn, &text(Self::host(*from), to, *kind, *length));
                    self.put_in += 1;
                }
            }
            Op::Deliver { to, kind, length } => {
                driver.deliver(&text("u@m.example", to, *kind, *length));
                self.put_in += 1;
            }
            Op::Undeliverable { from, kind } => {
                let stanza = stanza(&text(from, "u@m.example", *kind, 5));
                driver.command(Command::Undeliverable(stanza, Reason::Backoff));
                self.put_in += 1;
            }
            Op::Send(host, n) => {
                if let Some(conn) = conn(*host) {
                    driver.send(conn, *n);
                }
            }
            Op::Attach(_) => {}
            Op::Wait(seconds) => driver.wait(Duration::from_secs(*seconds)),
        }
    }

    /// After its own deadlines a hub asks for later ones; before them nothing happens.
    fn check_timeout(&mut self) {
        if let Some((at, _)) = self.driver.hub.poll_timeout() {
            assert!(at > self.driver.now);
            self.driver.effects.clear();
            self.driver.hub.handle_timeout(at - Duration::from_nanos(1));
            self.driver.drain();
            assert!(self.driver.effects.is_empty() && self.driver.hub.poll_timeout().is_some());
        }
    }

    fn end(&mut self) {
        self.driver.command(Command::Shutdown);
        for conn in self.driver.accepted.clone() {
            self.driver.read(conn);
        }
        self.driver.wait(CLOSE);
        assert!(self.driver.hub.is_finished());
        assert_eq!(self.driver.accepted, self.driver.dropped);
        self.check_end();
    }

    /// Behind the end no report has an effect, and no command another one than its answer.
    fn check_end(&mut self) {
        let Driver { hub, now, accepted, .. } = &mut self.driver;
        let (now, later) = (*now, *now + 10 * HANDSHAKE);
        assert_eq!(hub.handle_accept(now, Driver::addr(), Listener::Component), None);
        for conn in accepted.iter().copied().chain([ConnId(u64::MAX)]) {
            hub.handle_connected(now, conn);
            hub.handle_bytes(now, conn, header("a.example").as_bytes());
            hub.handle_sent(now, conn, 1);
            hub.handle_eof(now, conn);
            hub.handle_closed(now, conn, io::ErrorKind::ConnectionReset);
            assert!(hub.pending(conn).is_empty());
            assert_eq!(hub.interest(conn), Interest { read: false, write: false });
        }
        hub.handle_reply(now, QueryId(0), None);
        hub.handle_timeout(later);
        hub.handle_clock(later, Duration::ZERO);
        hub.handle_command(later, Command::Reconfigure(config()));
        hub.handle_command(later, Command::Shutdown);
        assert_eq!((hub.poll_effect(), hub.poll_event(), hub.poll_timeout()), (None, None, None));
        for to in ["a.example", "bare.example", "m.example"] {
            let message = stanza(&text("u@m.example", to, ("message", ""), 1));
            hub.handle_command(later, Command::Undeliverable(message.clone(), Reason::Backoff));
            let told = Event::Dropped { stanza: message, reason: Reason::Backoff };
            assert_eq!(hub.poll_event(), Some(told), "nobody is there to be told");
        }
        hub.handle_command(later, Command::Measure);
        assert_eq!(hub.poll_event(), Some(Event::Measured(hub.measures())));
        assert_eq!((hub.poll_effect(), hub.poll_event(), hub.poll_timeout()), (None, None, None));
        assert!(hub.is_finished());
    }

    /// Stanzas that were written to components. All that we wrote is read by the framer.
    fn written(&self) -> usize {
        let is_stanza = |frame: &Frame| matches!(frame, Frame::Stanza(_));
        let count = |wire: &Vec<u8>| {
            let frames = frames(ns::COMPONENT, wire);
            assert!(matches!(frames.first(), Some(Frame::Root(_))), "{frames:?}");
            frames.iter().filter(|frame| is_stanza(frame)).count()
        };
        self.driver.wires.values().map(count).sum()
    }
}

fn text(from: &str, to: &str, (name, attributes): (&str, &str), length: usize) -> String {
    format!("<{name}{attributes} from='{from}' to='{to}'><x xmlns='urn:x'>{}</x></{name}>", "x".repeat(length))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_split_of_a_session_gives_the_same_bytes_effects_and_events(
        steps in prop::collection::vec(step(), 0..12),
        cuts in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        let text = beginning() + &steps.concat();
        let whole = session(&[text.as_bytes()]);
        prop_assert_eq!(&session(&cut(text.as_bytes(), &cuts)), &whole);
        let bytes: Vec<_> = text.as_bytes().chunks(1).collect();
        prop_assert_eq!(&session(&bytes), &whole);
        let frames = frames(ns::COMPONENT, &whole.0);
        let ended = whole.1.iter().any(|effect| matches!(effect, Effect::CloseWrite(_)));
        prop_assert_eq!(matches!(frames.last(), Some(Frame::End)), ended);
    }

    #[test]
    fn every_stanza_ends_in_exactly_one_place(ops in prop::collection::vec(op(), 0..60)) {
        let schedule = Schedule::run(&ops);
        let told = |event: &&Event| matches!(event, Event::Outbound(_) | Event::Dropped { .. });
        let told = schedule.driver.events.iter().filter(told).count();
        prop_assert_eq!(schedule.put_in, schedule.written() + told);
    }

    #[test]
    fn every_component_that_came_up_goes_down_once(ops in prop::collection::vec(op(), 0..60)) {
        let mut up = BTreeMap::new();
        for event in Schedule::run(&ops).driver.events {
            match event {
                Event::ComponentUp { host, conn, .. } => prop_assert_eq!(up.insert(host, conn), None),
                Event::ComponentDown { host, conn, .. } => prop_assert_eq!(up.remove(&host), Some(conn)),
                _ => {}
            }
        }
        prop_assert!(up.is_empty());
    }

    #[test]
    fn any_bytes_are_survived(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8)) {
        let mut driver = Driver::new();
        let (raw, attached) = (driver.accept(), driver.attach("a.example"));
        for piece in &pieces {
            for conn in [raw, attached] {
                driver.hub.handle_bytes(driver.now, conn, piece);
                driver.drain();
            }
        }
    }
}
