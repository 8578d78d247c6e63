//! One connection without a node: a link that its owner has closed while the peer still had something to say.

use std::sync::Arc;
use std::time::Instant;

use s2s_core::entropy::{Entropy, Seed};
use s2s_core::link::{Connection, End, Event, Link};
use s2s_core::policy::{Offer, StartTls};
use s2s_core::reason::Reason;
use s2s_core::stream::{InitiatingEvent, ReceivingEvent};
use s2s_tests::fake_tls::FakeProvider;
use s2s_tests::puppetry::{PROCEED, STARTTLS, header, response, settings};
use s2s_tests::world::domain;

const LOCAL: &str = "a.example.org";
const REMOTE: &str = "b.example.net";
const CLOSING: &str = "</stream:stream>";

fn provider() -> Arc<FakeProvider> {
    Arc::new(FakeProvider::new(vec![(domain(LOCAL), vec![b"a chain".to_vec()])]))
}

/// What the link has to write, as the socket takes it.
fn written(link: &mut Link) -> String {
    let pending = link.pending().to_vec();
    link.handle_sent(pending.len());
    String::from_utf8_lossy(&pending).into_owned()
}

#[test]
//= RFC6120-4.4-2 test
fn tls_that_is_granted_after_our_closing_tag_is_not_begun() {
    let now = Instant::now();
    let (local, remote, entropy) = (domain(LOCAL), domain(REMOTE), Entropy::new(Seed([5; 32])));
    let mut link = Link::initiating(now, local, remote, false, provider(), settings(), entropy);
    link.handle_connected(now);
    let offer = response(REMOTE, LOCAL, "id") + &format!("<stream:features>{STARTTLS}</stream:features>");
    link.handle_bytes(now, offer.as_bytes());
    while let Some(event) = link.poll_event() {
        match event {
            Event::Initiating(InitiatingEvent::HeaderReceived) => link.accept_header(now),
            Event::Initiating(InitiatingEvent::FeaturesReceived(_)) => link.starttls(now),
            other => panic!("{other:?}"),
        }
    }
    assert!(written(&mut link).ends_with(STARTTLS));
    link.close(now, Reason::Idle);
    assert_eq!(written(&mut link), CLOSING);
    link.handle_bytes(now, PROCEED.as_bytes());
    assert_eq!(written(&mut link), "", "nothing stands behind the closing tag, and no hello of TLS");
    assert!(!link.is_handshaking(), "there is nothing to be said inside of TLS");
    let ended = link.poll_event();
    assert!(matches!(ended, Some(Event::Ended(End { reason: Reason::Idle, .. }))), "{ended:?}");
    assert_eq!(link.connection(), Connection::CloseWrite, "nothing that we could read can follow");
    link.handle_eof(now);
    assert_eq!(link.connection(), Connection::Drop);
}

#[test]
//= RFC6120-4.4-2 test
fn tls_that_was_asked_for_before_our_closing_tag_is_not_granted_after_it() {
    let now = Instant::now();
    let mut link = Link::receiving(now, false, provider(), settings(), Entropy::new(Seed([5; 32])));
    link.handle_bytes(now, header(REMOTE, LOCAL).as_bytes());
    assert!(matches!(link.poll_event(), Some(Event::Receiving(ReceivingEvent::HeaderReceived(_)))));
    link.offer(now, domain(LOCAL), Offer { starttls: Some(StartTls::Optional), external: None, dialback: true });
    assert!(written(&mut link).ends_with("</stream:features>"));
    link.handle_bytes(now, STARTTLS.as_bytes());
    link.close(now, Reason::Idle);
    assert_eq!(written(&mut link), CLOSING);
    assert_eq!(link.poll_event(), Some(Event::Receiving(ReceivingEvent::StartTlsRequested)));
    link.proceed(now);
    assert_eq!(written(&mut link), "", "nothing stands behind the closing tag");
    assert!(!link.is_handshaking(), "the peer was not told to begin TLS, so that what it says is XML");
    link.handle_bytes(now, CLOSING.as_bytes());
    let ended = link.poll_event();
    assert!(matches!(ended, Some(Event::Ended(End { reason: Reason::Idle, .. }))), "{ended:?}");
    assert!(link.ended_in_good_order(), "its closing tag was heard");
}
