//! One connection, in either role, with the fake TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use arbitrary::Arbitrary;
use s2s_core::addr::{Domain, Pair};
use s2s_core::dialback::Answer;
use s2s_core::entropy::{Entropy, Seed};
use s2s_core::limits;
use s2s_core::link::{Connection, Event, Link, Settings};
use s2s_core::policy::{Offer, StartTls};
use s2s_core::reason::Reason;
use s2s_core::stanza::{Stanza, StanzaCondition};
use s2s_core::stream::{InitiatingEvent, KeyOutcome, ReceivingEvent, StreamError};

use super::frames::pieces;
use super::input::{Choices, Input};
use crate::bounds;
use crate::fake_tls::{FakeProvider, plaintext};
use crate::puppetry::{AUTH, PROCEED, STARTTLS, header, response, settings};

pub(super) const LOCAL: &str = "a.example.org";
pub(super) const REMOTE: &str = "b.example.net";

/// Bytes of the longest answer of a link to what one piece of input can ask.
pub(super) const ANSWER_BYTES: usize = 65_536;

/// The types of the records of the fake TLS.
pub(super) const RECORDS: std::ops::RangeInclusive<u8> = 21..=23;

/// What a link did: its events, what it wrote inside and outside of TLS, and what is to be done with the connection.
#[derive(Debug, PartialEq, Eq)]
struct Course {
    events: Vec<String>,
    written: String,
    /// None behind XML that cannot be read: how much of a piece the parser has seen by then is its own affair, and so is
    /// whether it swallowed a closing tag.
    connection: Option<Connection>,
}

pub(super) fn domain(text: &str) -> Domain {
    Domain::parse(text).expect("a domain")
}

/// A link that is told how the connection goes on, and whose owner grants all that it may without a certificate.
struct Driven {
    link: Link,
    now: Instant,
    wire: Vec<u8>,
    events: Vec<String>,
    ended: bool,
    /// Whether everything was tried behind the end.
    checked: bool,
    /// Bytes that the peer has said.
    said: usize,
    /// Bytes that the network takes at once.
    bite: usize,
}

impl Driven {
    fn new(kind: u8, bite: usize) -> Self {
        let now = Instant::now();
        let settings = Settings { stanza_bytes: limits::MIN_STANZA_BYTES, ..settings() };
        let tls = Arc::new(FakeProvider::new(vec![(domain(LOCAL), vec![b"a chain".to_vec()])]));
        let (entropy, direct) = (Entropy::new(Seed([5; 32])), kind & 2 != 0);
        let mut link = match kind & 1 {
            0 => Link::receiving(now, direct, tls, settings, entropy),
            _ => Link::initiating(now, domain(LOCAL), domain(REMOTE), direct, tls, settings, entropy),
        };
        if kind & 1 == 1 {
            link.handle_connected(now);
        }
        let (wire, events) = (Vec::new(), Vec::new());
        let mut driven = Self { link, now, wire, events, ended: false, checked: false, said: 0, bite };
        driven.drain();
        driven
    }

    fn receive(&mut self, bytes: &[u8]) {
        let before = (self.wire.len(), self.events.len());
        let was_over = self.checked;
        self.tease();
        self.said += bytes.len();
        self.link.handle_bytes(self.now, bytes);
        self.drain();
        self.check_end();
        assert!(!was_over || (self.wire.len(), self.events.len()) == before, "nothing follows the end");
        assert!(self.wire.len() - before.0 <= ANSWER_BYTES + 64 * bytes.len(), "answers are bounded");
        assert!(self.events.len() - before.1 <= 2 + bytes.len(), "no more events than bytes");
        // Byte by byte it is the same, and dear to look at.
        if bytes.len() > 1 {
            let held = self.link.retained_bytes();
            assert!(held <= bounds::link_after(self.said), "{held} bytes are held of {}", self.said);
        }
    }

    /// A timer that comes early moves nothing.
    fn tease(&mut self) {
        let before = self.link.poll_timeout();
        if before.is_none_or(|(at, _)| at > self.now) {
            self.link.handle_timeout(self.now);
            assert_eq!((self.link.poll_timeout(), self.link.poll_event()), (before, None), "moved by an early timer");
        }
    }

    /// Once it is over, it stays so.
    fn check_end(&mut self) {
        if self.ended && self.link.connection() == Connection::Drop && !self.checked {
            self.checked = true;
            assert_over(&mut self.link, self.now);
        }
    }

    /// Nobody says anything any more: the timers end the link, none of them twice at one moment. How long the answer to a
    /// key or to EXTERNAL may take is the owner's to know: it closes the stream.
    fn leave_alone(&mut self) {
        self.let_timers_fire();
        if !self.ended && self.link.initiating_stream().is_some_and(|stream| !stream.has_authorised()) {
            self.link.close(self.now, Reason::NegotiationTimeout);
            self.drain();
            self.let_timers_fire();
        }
        assert!(self.ended, "nothing will ever end it: {:?}", self.link);
        self.link.handle_closed(self.now, "at last");
        self.check_end();
    }

    /// What is armed meanwhile is later. But a stream that ends with an event which was taken gets its time from the next
    /// call on, so that one is due at once.
    fn let_timers_fire(&mut self) {
        while let Some((at, why)) = self.link.poll_timeout() {
            self.now = self.now.max(at);
            self.link.handle_timeout(self.now);
            let next = self.link.poll_timeout();
            assert!(next.is_none_or(|(at, _)| at > self.now), "{why} has fired, and {next:?} is due");
            let told = self.events.len();
            self.drain();
            let due = self.link.poll_timeout().filter(|(at, _)| *at <= self.now);
            assert!(due.is_none_or(|(_, why)| why == "end" && self.events.len() > told), "{due:?} is due at once");
        }
    }

    /// Takes events, decides, and takes what is written.
    fn drain(&mut self) {
        while let Some(event) = self.link.poll_event() {
            assert!(!self.ended, "nothing follows the end, but: {event:?}");
            self.events.push(format!("{event:?}"));
            self.decide(event);
        }
        while !self.link.pending().is_empty() {
            let taken = self.link.pending().len().min(self.bite);
            self.wire.extend_from_slice(&self.link.pending()[..taken]);
            self.link.handle_sent(taken);
        }
    }

    fn decide(&mut self, event: Event) {
        let (now, link) = (self.now, &mut self.link);
        match event {
            Event::Ended(_) => self.ended = true,
            Event::Initiating(InitiatingEvent::HeaderReceived) => link.accept_header(now),
            Event::Initiating(InitiatingEvent::FeaturesReceived(features)) => {
                if features.starttls.is_some() && link.facts().is_none() {
                    link.starttls(now);
                } else if features.external {
                    link.external(now);
                } else {
                    link.send_key(now, &Pair::new(domain(LOCAL), domain(REMOTE)), "a key".to_owned());
                }
            }
            Event::Initiating(InitiatingEvent::ExternalRefused { .. }) => {
                link.send_key(now, &Pair::new(domain(LOCAL), domain(REMOTE)), "a key".to_owned());
            }
            Event::Receiving(ReceivingEvent::HeaderReceived(_)) => {
                let starttls = link.facts().is_none().then_some(StartTls::Optional);
                link.offer(now, domain(LOCAL), Offer { starttls, external: None, dialback: true });
            }
            Event::Receiving(ReceivingEvent::StartTlsRequested) => link.proceed(now),
            Event::Receiving(ReceivingEvent::KeyReceived { pair, key }) => {
                let timeout = KeyOutcome::Failed(StanzaCondition::RemoteServerTimeout);
                link.answer_key(now, &pair, if key.len().is_multiple_of(2) { KeyOutcome::Denied } else { timeout });
            }
            Event::Receiving(ReceivingEvent::VerifyReceived { receiving, originating, id, .. }) => {
                link.answer_verify(now, receiving, originating, id, Answer::Invalid);
            }
            Event::Receiving(ReceivingEvent::Stanza { pair, .. }) => {
                panic!("a stanza for {pair:?}, and nothing is proved")
            }
            Event::Receiving(ReceivingEvent::Authenticated(pair)) => {
                panic!("{pair:?} by EXTERNAL, which was not offered")
            }
            _ => {}
        }
    }

    fn course(mut self) -> Course {
        let connection = self.link.connection();
        self.leave_alone();
        let written = String::from_utf8(plaintext(&self.wire)).expect("we write UTF-8");
        assert!(written.matches("<stream:error>").count() <= 1, "one stream error at most: {written}");
        let after = written.split_once("</stream:error>").map(|(_, after)| after);
        assert!(after.is_none_or(|after| after == "</stream:stream>"), "and then the end: {written}");
        let unread = ["Malformed", "StanzaTooBig", "Limit"].map(|reason| format!("End {{ reason: {reason},"));
        let unread = self.events.iter().any(|event| unread.iter().any(|reason| event.contains(reason)));
        let connection = (!unread).then_some(connection);
        Course { events: self.events, written, connection }
    }
}

/// Behind the end nothing that is reported or commanded has an effect, and the end stays what it was. Its reason was told
/// once.
pub(super) fn assert_over(link: &mut Link, now: Instant) {
    let known = |link: &Link| (link.peer_condition(), link.ended_in_good_order(), link.is_closing());
    let before = known(link);
    command_everything(link, now);
    let reports: [fn(&mut Link, Instant); 5] = [
        Link::handle_connected,
        |link, now| link.handle_bytes(now, b"<more/>"),
        Link::handle_eof,
        |link, now| link.handle_closed(now, "again"),
        |link, now| link.handle_timeout(now + limits::IDLE),
    ];
    for report in reports {
        assert!(link.pending().is_empty(), "written behind the end: {:?}", link.pending());
        let rest = (link.poll_event(), link.poll_timeout(), link.connection());
        assert_eq!(rest, (None, None, Connection::Drop), "told, armed and done behind the end");
        report(link, now);
    }
    assert!(link.pending().is_empty(), "written behind the end: {:?}", link.pending());
    assert_eq!((link.poll_event(), link.poll_timeout(), link.connection()), (None, None, Connection::Drop));
    assert_eq!(known(link), before, "the peer's condition, and whether the end was in good order");
}

/// Every command that an owner may give.
fn command_everything(link: &mut Link, now: Instant) {
    let (local, remote) = (domain(LOCAL), domain(REMOTE));
    let pair = Pair::new(local.clone(), remote.clone());
    let text = format!("<message from='x@{LOCAL}' to='y@{REMOTE}'/>");
    let (id, key) = (|| "id".to_owned(), || "a key".to_owned());
    link.accept_header(now);
    link.starttls_ahead(now);
    link.external_ahead(now);
    link.verify_ahead(now, &pair, id(), key());
    link.expect_last_features(now, None);
    link.starttls(now);
    link.external(now);
    link.send_key(now, &pair, key());
    link.send_verify(now, &pair, id(), key());
    let stanza = Stanza::parse(&text).expect("a stanza");
    assert!(link.send_stanza(now, now, stanza).is_err(), "a stanza does not come back");
    link.offer(now, local.clone(), Offer { starttls: Some(StartTls::Optional), external: None, dialback: true });
    link.proceed(now);
    link.answer_key(now, &pair, KeyOutcome::Denied);
    link.answer_verify(now, remote, local, id(), Answer::Valid);
    link.refuse(now, &StreamError::HostGone, None);
    link.close(now, Reason::Idle);
    link.shut_down(now);
    link.stalled();
    link.handle_sent(1);
}

fn course<'a>(kind: u8, bite: usize, pieces: impl IntoIterator<Item = &'a [u8]>) -> Course {
    let mut driven = Driven::new(kind, bite);
    for piece in pieces {
        driven.receive(piece);
    }
    driven.course()
}

/// A link that hears these bytes: whole, in single bytes and in pieces it does and says the same (P1), in whatever pieces
/// that is taken (P9). The first byte says which link (1: we dialled, 2: direct TLS), the rest of the first line how to cut.
///
/// Nothing is proved, nothing follows the end (P4), there is one stream error at most, answers and what is held are bounded
/// (P8), timers that come early move nothing, what has fired is not due again, and left alone every link comes to its end
/// (P7).
pub fn link_bytes(data: &[u8]) {
    let (line, bytes) = match data.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (&[][..], data),
    };
    judge(line.first().copied().unwrap_or(0), line.get(1..).unwrap_or_default(), bytes);
}

fn judge(kind: u8, lengths: &[u8], bytes: &[u8]) {
    let whole = course(kind, usize::MAX, [bytes]);
    compare(&whole, &course(kind, 7, bytes.chunks(1)), bytes);
    compare(&whole, &course(kind, 300, pieces(bytes, lengths)), bytes);
}

fn compare(one: &Course, other: &Course, bytes: &[u8]) {
    assert_eq!((&one.events, &one.connection), (&other.events, &other.connection), "cuts do not count");
    let (short, long) = if one.written.len() < other.written.len() { (one, other) } else { (other, one) };
    // Where a record is broken, TLS is dead before the XML in front of it, in the same piece, is answered.
    let equal = !bytes.iter().any(|byte| RECORDS.contains(byte));
    assert!(long.written.starts_with(&short.written), "{:?} is not the beginning of {:?}", short.written, long.written);
    assert!(!equal || short.written == long.written, "{:?} is not {:?}", short.written, long.written);
}

/// A link that hears legal frames in any order: see [`link_bytes`]. After the byte that says which link, each byte is one
/// frame.
pub fn stream_frames(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.byte();
    let mut bytes = Vec::new();
    while !input.is_empty() && bytes.len() < 20_000 {
        bytes.extend_from_slice(input.read::<Frame>().0.as_bytes());
    }
    judge(kind, &[7, 1, 100, 3], &bytes);
}

/// A frame that may stand in a stream between the two domains.
#[derive(Debug)]
pub(super) struct Frame(pub(super) String);

impl<'a> Arbitrary<'a> for Frame {
    fn arbitrary(input: &mut Input<'a>) -> arbitrary::Result<Self> {
        Ok(Self(frame(input)))
    }
}

fn frame(input: &mut Input<'_>) -> String {
    const FEATURES: &str = "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>\
        <mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms></stream:features>";
    const DIALBACK: &str = "<stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>";
    const FAILURE: &str = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>";
    const ERROR: &str = "<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>";
    let name = |input: &mut Input<'_>| input.pick(&[LOCAL, REMOTE, "c.example.com", "B.example.net.", "x@y/z"]);
    let (from, to) = match input.below(4) {
        0 | 1 => (REMOTE, LOCAL),
        2 => (LOCAL, REMOTE),
        _ => (name(input), name(input)),
    };
    let valid = input.pick(&["valid", "invalid", "error", "wrong"]);
    match input.below(20) {
        0 => header(from, to),
        1 => response(from, to, "id"),
        2 => FEATURES.to_owned(),
        3 => DIALBACK.to_owned(),
        4 => STARTTLS.to_owned(),
        5 => PROCEED.to_owned(),
        6 => AUTH.to_owned(),
        7 => FAILURE.to_owned(),
        8 => "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>".to_owned(),
        9 => "<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>".to_owned(),
        10 => format!("<db:result from='{from}' to='{to}'>key</db:result>"),
        11 => format!("<db:result from='{from}' to='{to}' type='{valid}'/>"),
        12 => format!("<db:verify from='{from}' to='{to}' id='id'>key</db:verify>"),
        13 => format!("<db:verify from='{from}' to='{to}' id='id' type='{valid}'/>"),
        14 => format!("<message from='x@{from}' to='y@{to}' id='1'><body>hello</body></message>"),
        15 => format!("<iq from='{from}' to='{to}' type='get' id='2'><ping xmlns='urn:xmpp:ping'/></iq>"),
        16 => "</stream:stream>".to_owned(),
        17 => ERROR.to_owned(),
        18 => " \n".to_owned(),
        _ => "<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>".to_owned(),
    }
}

/// The XML in what was taken of a connection; the last character may be cut.
pub(super) fn text_of(wire: &[u8]) -> String {
    let mut plain = plaintext(wire);
    if let Err(error) = std::str::from_utf8(&plain) {
        assert_eq!(error.error_len(), None, "we write UTF-8");
        plain.truncate(error.valid_up_to());
    }
    String::from_utf8(plain).expect("as far as it goes")
}

/// The ids of the messages that stand wholly in what was written: numbers, where we were told to send them.
pub(super) fn whole_messages(text: &str) -> Vec<u64> {
    let whole = text.split_inclusive("</message>").filter(|message| message.ends_with("</message>"));
    whole.filter_map(|message| message.split(" id='").last()?.split('\'').next()?.parse().ok()).collect()
}

/// Where scripted peers are.
pub(super) fn peer(last: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], 5269))
}
