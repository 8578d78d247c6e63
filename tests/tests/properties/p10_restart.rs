//! P10: nothing that was learned before TLS survives it: not the id, not `from`, not the language, not the features.

use std::sync::Arc;
use std::time::Instant;

use proptest::prelude::*;
use s2s_core::addr::Pair;
use s2s_core::entropy::{Entropy, Seed};
use s2s_core::link::{Event, Link};
use s2s_core::policy::{Offer, StartTls};
use s2s_core::stanza::StanzaCondition;
use s2s_core::stream::{InitiatingEvent, KeyOutcome, ReceivingEvent};
use s2s_core::tls::{Provider, Session};
use s2s_tests::fake_tls::FakeProvider;
use s2s_tests::puppetry::{PROCEED, STARTTLS, header, response, settings};
use s2s_tests::strategies::cases;
use s2s_tests::world::domain;

const LOCAL: &str = "a.example.org";
const REMOTE: &str = "b.example.net";

/// What a peer says inside of TLS, in every run the same.
const INSIDE: &str = "<db:result from='b.example.net' to='a.example.org'>key</db:result>\
                      <db:verify from='b.example.net' to='a.example.org' id='q'>key</db:verify>\
                      <message from='x@b.example.net' to='y@a.example.org'/>";

/// The same where the link has opened the stream.
const ANSWERS: &str = "<stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>\
                       <db:result from='b.example.net' to='a.example.org' type='valid'/>\
                       <db:result from='c.example.com' to='a.example.org' type='valid'/><x xmlns='urn:x'/>";

/// A link, what it told since TLS, and a peer that shows nothing in TLS.
struct Meeting {
    link: Link,
    now: Instant,
    told: Vec<String>,
    peer: Box<dyn Session>,
    /// The XML that the peer has read inside of TLS.
    heard: Vec<u8>,
}

impl Meeting {
    fn new(dialled: bool) -> Self {
        let now = Instant::now();
        let provider = |name: &str| Arc::new(FakeProvider::new(vec![(domain(name), vec![b"a chain".to_vec()])]));
        let (tls, entropy) = (provider(LOCAL), Entropy::new(Seed([5; 32])));
        let (local, remote) = (domain(LOCAL), domain(REMOTE));
        let (link, peer) = if dialled {
            let mut link = Link::initiating(now, local, remote.clone(), false, tls, settings(), entropy);
            link.handle_connected(now);
            (link, provider(REMOTE).server(Some(&remote)))
        } else {
            (Link::receiving(now, false, tls, settings(), entropy), provider(REMOTE).client(&remote, &local, false))
        };
        Self { link, now, told: Vec::new(), peer: peer.expect("a session"), heard: Vec::new() }
    }

    /// Takes events, decides, and takes what is written.
    fn turn(&mut self) -> Vec<u8> {
        let now = self.now;
        while let Some(event) = self.link.poll_event() {
            if self.link.facts().is_some() {
                self.told.push(format!("{event:?}"));
            }
            let link = &mut self.link;
            match event {
                Event::Initiating(InitiatingEvent::HeaderReceived) => link.accept_header(now),
                Event::Initiating(InitiatingEvent::FeaturesReceived(_)) if link.facts().is_none() => link.starttls(now),
                Event::Initiating(InitiatingEvent::FeaturesReceived(_)) => {
                    link.send_key(now, &Pair::new(domain(LOCAL), domain(REMOTE)), "key".to_owned());
                }
                Event::Receiving(ReceivingEvent::HeaderReceived(_)) => {
                    let starttls = link.facts().is_none().then_some(StartTls::Optional);
                    link.offer(now, domain(LOCAL), Offer { starttls, external: None, dialback: true });
                }
                Event::Receiving(ReceivingEvent::StartTlsRequested) => link.proceed(now),
                Event::Receiving(ReceivingEvent::KeyReceived { pair, .. }) => {
                    let timeout = KeyOutcome::Failed(StanzaCondition::RemoteServerTimeout);
                    link.answer_key(now, &pair, timeout);
                }
                _ => {}
            }
        }
        let pending = self.link.pending().to_vec();
        self.link.handle_sent(pending.len());
        pending
    }

    /// The peer says something, in clear.
    fn say(&mut self, text: &str) -> Vec<u8> {
        self.link.handle_bytes(self.now, text.as_bytes());
        self.turn()
    }

    /// The peer says something inside of TLS; both go on until nobody has anything to say.
    fn protect(&mut self, text: &str) {
        let mut wire = Vec::new();
        self.peer.flush(&mut wire);
        self.peer.send(text.as_bytes(), &mut wire);
        loop {
            self.link.handle_bytes(self.now, &wire);
            let answer = self.turn();
            wire.clear();
            let _alert = self.peer.receive(&answer, &mut self.heard, &mut wire);
            if wire.is_empty() {
                return;
            }
        }
    }

    /// All that can be told of the link from outside.
    fn outcome(self) -> (Vec<String>, String, String) {
        let stream = format!("{:?} {:?}", self.link.receiving_stream(), self.link.initiating_stream());
        (self.told, String::from_utf8(self.heard).expect("we write UTF-8"), stream)
    }
}

/// A link that was dialled to, whose peer begins with these words.
fn received(opening: &str) -> (Vec<String>, String, String) {
    let mut meeting = Meeting::new(false);
    meeting.say(opening);
    assert!(meeting.say(STARTTLS).ends_with(PROCEED.as_bytes()), "{opening}");
    meeting.protect("");
    meeting.protect(&header(REMOTE, LOCAL));
    meeting.protect(INSIDE);
    meeting.outcome()
}

/// A link that dialled, whose peer begins with these words.
fn dialled(opening: &str) -> (Vec<String>, String, String) {
    let mut meeting = Meeting::new(true);
    assert!(meeting.say(opening).ends_with(STARTTLS.as_bytes()), "{opening}");
    meeting.say(PROCEED);
    meeting.protect("");
    meeting.protect(&response(REMOTE, LOCAL, "inside"));
    meeting.protect(ANSWERS);
    meeting.outcome()
}

/// A header with any domains, id and language.
fn opening() -> impl Strategy<Value = String> {
    let domains = || prop::sample::select(&["a.example.org", "b.example.net", "c.example.com"][..]);
    let declared = prop::sample::select(&["", " xmlns:db='jabber:server:dialback'"][..]);
    (prop::option::of(domains()), domains(), "[a-z0-9]{0,8}", "[a-z]{0,3}", declared).prop_map(
        |(from, to, id, lang, declared)| {
            let from = from.map_or_else(String::new, |from| format!(" from='{from}'"));
            format!(
                "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams'{declared}{from} \
                 to='{to}' id='{id}' xml:lang='{lang}' version='1.0'>"
            )
        },
    )
}

/// What a peer may say between its header and its request for TLS.
fn small_talk() -> impl Strategy<Value = String> {
    let words = prop::sample::select(
        &[
            " ",
            "<db:verify xmlns:db='jabber:server:dialback' from='c.example.com' to='a.example.org' id='p'>k</db:verify>",
            "<db:result xmlns:db='jabber:server:dialback' from='c.example.com' to='a.example.org'>k</db:result>",
            "<db:result xmlns:db='jabber:server:dialback' from='b.example.net' to='a.example.org' type='valid'/>",
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>",
            "<compress xmlns='http://jabber.org/protocol/compress'><method>zlib</method></compress>",
        ][..],
    );
    prop::collection::vec(words, 0..3).prop_map(|words| words.concat())
}

/// Features of which one is STARTTLS.
fn features() -> impl Strategy<Value = String> {
    let others = prop::sample::select(
        &[
            "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms>",
            "<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>",
            "<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>20000</max-bytes></limits>",
            "<x xmlns='urn:x'/>",
        ][..],
    );
    prop::collection::vec(others, 0..4).prop_map(|others| {
        let starttls = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
        format!("<stream:features>{starttls}{}</stream:features>", others.concat())
    })
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn p10_nothing_from_before_tls_is_left_in_a_stream_that_the_peer_opened(opening in opening(), talk in small_talk()) {
        prop_assert_eq!(received(&format!("{opening}{talk}")), received(&header(REMOTE, LOCAL)));
    }

    #[test]
    fn p10_nothing_from_before_tls_is_left_in_a_stream_that_we_opened(opening in opening(), features in features()) {
        let plain = "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>";
        let expected = dialled(&format!("{}{plain}", response(REMOTE, LOCAL, "outside")));
        prop_assert_eq!(dialled(&format!("{opening}{features}")), expected);
    }
}
