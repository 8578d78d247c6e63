//! One connection without a node: a link that its owner has closed while the peer still had something to say, and what
//! comes at the wrong moment.

use std::sync::Arc;
use std::time::{Duration, Instant};

use s2s_core::addr::Pair;
use s2s_core::entropy::{Entropy, Seed};
use s2s_core::link::{Connection, End, Event, Link};
use s2s_core::policy::{Offer, StartTls};
use s2s_core::reason::Reason;
use s2s_core::stream::{InitiatingEvent, ReceivingEvent, StreamError};
use s2s_core::tls::{Provider, Session};
use s2s_tests::fake_tls::FakeProvider;
use s2s_tests::puppetry::{PROCEED, STARTTLS, header, response, settings};
use s2s_tests::world::{domain, read_stanza};

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

#[test]
fn a_command_that_does_not_fit_moves_no_timer() {
    let now = Instant::now();
    let (local, remote, entropy) = (domain(LOCAL), domain(REMOTE), || Entropy::new(Seed([5; 32])));
    let pair = Pair::new(local.clone(), remote.clone());
    let mut dialled = Link::initiating(now, local, remote, false, provider(), settings(), entropy());
    dialled.handle_connected(now);
    let accepted = Link::receiving(now, false, provider(), settings(), entropy());
    let later = now + Duration::from_secs(1);
    for (mut link, waits_for) in [(dialled, "attempt"), (accepted, "negotiation")] {
        let before = link.poll_timeout();
        assert!(before.is_some_and(|(_, why)| why == waits_for), "{before:?}");
        link.external(later);
        assert_eq!(link.poll_timeout(), before, "there are no features yet");
        link.send_key(later, &pair, "a key".to_owned());
        assert_eq!(link.poll_timeout(), before, "so that no key goes out");
        link.send_verify(later, &pair, "id".to_owned(), "a key".to_owned());
        assert_eq!(link.poll_timeout(), before, "and no question about one");
        assert_eq!((link.poll_event(), link.connection()), (None, Connection::Keep));
    }
}

#[test]
fn a_connection_that_is_over_is_not_opened_and_does_not_break() {
    let now = Instant::now();
    let entropy = Entropy::new(Seed([5; 32]));
    let mut link = Link::initiating(now, domain(LOCAL), domain(REMOTE), true, provider(), settings(), entropy);
    link.cancel();
    link.handle_connected(now);
    assert_eq!(written(&mut link), "", "no hello of TLS");

    let mut link = answered(now);
    link.handle_bytes(now, CLOSING.as_bytes());
    assert!(matches!(link.poll_event(), Some(Event::Ended(_))));
    assert!(written(&mut link).ends_with(CLOSING));
    link.handle_eof(now);
    assert_eq!((link.connection(), link.ended_in_good_order()), (Connection::Drop, true));
    link.handle_closed(now, "a reset of what is not there");
    assert!(link.ended_in_good_order(), "everything was said before");
}

/// A stream that a peer has opened, and which we have answered; the answer is yet to be written.
fn answered(now: Instant) -> Link {
    let mut link = Link::receiving(now, false, provider(), settings(), Entropy::new(Seed([5; 32])));
    link.handle_bytes(now, header(REMOTE, LOCAL).as_bytes());
    assert!(matches!(link.poll_event(), Some(Event::Receiving(ReceivingEvent::HeaderReceived(_)))));
    link.offer(now, domain(LOCAL), Offer { starttls: None, external: None, dialback: true });
    link
}

#[test]
//= RFC6120-4.4-2 test
fn a_connection_that_breaks_has_ended_in_good_order_only_if_everything_was_said_before() {
    let now = Instant::now();
    let mut link = answered(now);
    link.handle_bytes(now, CLOSING.as_bytes());
    assert!(link.ended_in_good_order() && link.connection() == Connection::CloseWrite, "it has said goodbye");
    link.handle_closed(now, "a reset before our goodbye was written");
    assert!(!link.ended_in_good_order(), "who knows what it has seen");

    let mut link = answered(now);
    link.cancel();
    link.handle_closed(now, "a reset of what nobody wants");
    assert!(!link.ended_in_good_order(), "it never said goodbye");
}

#[test]
//= RFC6120-4.4-3 test
fn behind_an_error_that_the_peer_does_not_answer_our_half_ends_first_and_the_connection_when_all_is_written() {
    let now = Instant::now();
    let mut link = answered(now);
    link.refuse(now, &StreamError::HostUnknown, None);
    assert!(matches!(link.poll_event(), Some(Event::Ended(End { reason: Reason::HostUnknown, .. }))));
    assert_eq!(link.connection(), Connection::Keep, "the peer has its time to answer");
    while link.connection() == Connection::Keep {
        let (at, _) = link.poll_timeout().expect("that ends");
        link.handle_timeout(at);
    }
    assert_eq!(link.connection(), Connection::CloseWrite, "the error is yet to be written");
    assert!(written(&mut link).ends_with(CLOSING));
    assert_eq!(link.connection(), Connection::Drop);
}

#[test]
//= RFC6120-4.7.1-2 test
fn a_header_with_a_fault_is_answered_by_the_domain_that_it_is_for_if_the_owner_serves_that() {
    let now = Instant::now();
    let of_a_user = header("root@b.example.net", LOCAL);
    let of_no_version = header(REMOTE, LOCAL).replace(" version='1.0' xml:lang=", " version='1' xml:lang=");
    let faulty = [(of_a_user, None, "improper-addressing"), (of_no_version, Some(REMOTE), "unsupported-version")];
    for (text, from, condition) in faulty {
        for is_served in [true, false] {
            let mut link = Link::receiving(now, false, provider(), settings(), Entropy::new(Seed([5; 32])));
            link.handle_bytes(now, text.as_bytes());
            match link.poll_event() {
                Some(Event::Receiving(ReceivingEvent::HeaderReceived(heard))) => {
                    assert_eq!((heard.to, heard.from), (Some(domain(LOCAL)), from.map(domain)));
                }
                other => panic!("{other:?}"),
            }
            if is_served {
                let starttls = Some(StartTls::Optional);
                link.offer(now, domain(LOCAL), Offer { starttls, external: None, dialback: true });
            } else {
                link.refuse(now, &StreamError::HostUnknown, None);
            }
            let said = written(&mut link);
            let local = if is_served { LOCAL } else { "" };
            assert!(said.contains(&format!(" from='{local}' ")), "{said}");
            assert_eq!(said.matches(" to='").count(), usize::from(from.is_some()), "{said}");
            assert!(said.contains(&format!("<stream:error><{condition} ")) && said.ends_with(CLOSING), "{said}");
            assert!(!said.contains("<stream:features>"), "{said}");
            let ended = link.poll_event();
            assert!(matches!(ended, Some(Event::Ended(End { reason: Reason::Malformed, .. }))), "{ended:?}");
        }
    }
}

/// What the link writes reaches the peer's session, and what that answers by itself the link; the XML that was in it.
fn turn(link: &mut Link, peer: &mut dyn Session, now: Instant) -> String {
    let pending = link.pending().to_vec();
    link.handle_sent(pending.len());
    let (mut plain, mut wire) = (Vec::new(), Vec::new());
    peer.receive(&pending, &mut plain, &mut wire).expect("the link keeps to TLS");
    link.handle_bytes(now, &wire);
    String::from_utf8(plain).expect("links speak UTF-8")
}

/// A record of the peer with this XML.
fn record(peer: &mut dyn Session, text: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    peer.send(text.as_bytes(), &mut wire);
    wire
}

#[test]
fn a_stanza_for_a_session_that_has_failed_comes_back_although_its_end_is_not_told_yet() {
    let now = Instant::now();
    let pair = Pair::new(domain(LOCAL), domain(REMOTE));
    let entropy = Entropy::new(Seed([5; 32]));
    let mut link = Link::initiating(now, domain(LOCAL), domain(REMOTE), true, provider(), settings(), entropy);
    let theirs = FakeProvider::new(vec![(domain(REMOTE), vec![b"a chain".to_vec()])]);
    let mut peer = theirs.server(None).expect("it has a certificate");
    link.handle_connected(now);
    turn(&mut link, &mut *peer, now);
    assert_eq!(link.poll_event(), Some(Event::Initiating(InitiatingEvent::Secured)));
    assert!(turn(&mut link, &mut *peer, now).contains("<stream:stream "));
    let dialback = "<stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>";
    link.handle_bytes(now, &record(&mut *peer, &(response(REMOTE, LOCAL, "id") + dialback)));
    assert_eq!(link.poll_event(), Some(Event::Initiating(InitiatingEvent::HeaderReceived)));
    link.accept_header(now);
    assert!(matches!(link.poll_event(), Some(Event::Initiating(InitiatingEvent::FeaturesReceived(_)))));
    link.send_key(now, &pair, "a key".to_owned());
    assert!(turn(&mut link, &mut *peer, now).contains("<db:result "));

    // The key is valid, and what stands behind that answer is no record.
    let valid = record(&mut *peer, &format!("<db:result from='{REMOTE}' to='{LOCAL}' type='valid'/>"));
    link.handle_bytes(now, &[valid.as_slice(), b"no record"].concat());
    let up = link.poll_event();
    assert!(matches!(up, Some(Event::Initiating(InitiatingEvent::Authorised { .. }))), "{up:?}");
    assert!(!link.is_closing(), "the end is to be told next");
    let stanza = read_stanza(&format!("<message from='x@{LOCAL}' to='y@{REMOTE}'/>"));
    assert_eq!(link.send_stanza(now, now, stanza.clone()), Err(stanza), "the session writes nothing any more");
    let ended = link.poll_event();
    assert!(matches!(ended, Some(Event::Ended(End { reason: Reason::TlsFailed, .. }))), "{ended:?}");
    written(&mut link);
    assert_eq!((link.take_written(), link.take_unsent().len()), (0, 0), "nothing was handed to it");
}
