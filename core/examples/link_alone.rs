//! A program with routing of its own uses [`Link`] alone, without a node: one thread for each connection, blocking
//! sockets, and a mailbox for each domain.
//!
//! It finds no servers, queues nothing and does no dialback: certificates prove everyone. What the rules of federation
//! say about them it asks [`policy`] and [`verify`], which are pure functions. Here both ends of one stream over
//! loopback are in its hands. `cargo run -p s2s-core --example link_alone`
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "a program does what the core may not")]

#[path = "parts/authority.rs"]
mod authority;

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Instant, SystemTime};

use authority::Authority;
use s2s_core::addr::Domain;
use s2s_core::dialback::Answer;
use s2s_core::entropy::{Entropy, Seed};
use s2s_core::limits;
use s2s_core::link::{Connection, End, Event, Link, Settings};
use s2s_core::policy::{self, HostOptions, Offer, Protection};
use s2s_core::reason::Reason;
use s2s_core::stanza::{Stanza, StanzaCondition};
use s2s_core::stream::{Features, Header, InitiatingEvent, KeyOutcome, ReceivingEvent, StreamError};
use s2s_core::tls::verify::{self, Rejection, Trust, Verified};

const SETTINGS: Settings = Settings {
    negotiation_timeout: limits::NEGOTIATION,
    attempt_timeout: limits::ATTEMPT,
    close_timeout: limits::CLOSE,
    idle_timeout: limits::IDLE,
    stanza_bytes: limits::STANZA_BYTES,
};

/// The program: who may talk to it, and where stanzas for its domains go.
struct Program {
    options: HostOptions,
    trust: Arc<Trust>,
    mailboxes: BTreeMap<Domain, Sender<Stanza>>,
}

impl Program {
    /// What the peer's certificate is worth for `remote`. `None`: the stream is in clear.
    fn certificate(&self, link: &Link, remote: &Domain) -> Option<Result<Verified, Rejection>> {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        link.facts().map(|facts| verify::judge(&facts.chain, remote, &self.trust, unix))
    }

    /// A peer has opened a stream: as whom to answer, with what.
    fn judge_header(&self, link: &Link, header: &Header) -> Result<(Domain, Offer), StreamError> {
        // The stream begins anew after EXTERNAL, and there is nothing left to negotiate.
        if let Some(pair) = link.receiving_stream().and_then(|stream| stream.settled_pair()) {
            return Ok((pair.local.clone(), Offer { starttls: None, external: None, dialback: false }));
        }
        let local = header.to.as_ref().ok_or(StreamError::ImproperHeader)?;
        if !self.mailboxes.contains_key(local) {
            return Err(StreamError::HostUnknown);
        }
        let certificate = header.from.as_ref().and_then(|remote| self.certificate(link, remote));
        let protection = match (&certificate, link.facts()) {
            (Some(certificate), _) => Protection::Tls(certificate),
            (None, None) => Protection::Clear,
            (None, Some(_)) => return Err(StreamError::ImproperHeader),
        };
        let offer = policy::offer(&self.options, header.from.as_ref(), protection, true);
        offer.map(|offer| (local.clone(), offer)).map_err(StreamError::Refused)
    }

    /// On a stream that a peer opened.
    fn receive(&self, link: &mut Link, now: Instant, event: ReceivingEvent) {
        match event {
            ReceivingEvent::HeaderReceived(header) => match self.judge_header(link, &header) {
                Ok((local, offer)) => link.offer(now, local, offer),
                Err(error) => link.refuse(now, &error, None),
            },
            ReceivingEvent::StartTlsRequested => link.proceed(now),
            ReceivingEvent::Stanza { pair, stanza } => {
                // Nobody may be there any more. A program that sends could answer with `Stanza::bounce`.
                let _ = self.mailboxes.get(&pair.local).map(|mailbox| mailbox.send(stanza));
            }
            ReceivingEvent::KeyReceived { pair, .. } => {
                link.answer_key(now, &pair, KeyOutcome::Failed(StanzaCondition::NotAuthorized));
            }
            ReceivingEvent::VerifyReceived { receiving, originating, id, .. } => {
                link.answer_verify(now, receiving, originating, id, Answer::Invalid);
            }
            other => println!("{other:?}"),
        }
    }

    /// On a stream that we opened to `remote`, to bring it `stanzas`.
    fn initiate(&self, link: &mut Link, now: Instant, remote: &Domain, stanzas: &[Stanza], event: InitiatingEvent) {
        let refusal = match event {
            // Whoever is in haste may speak ahead of features here, and remember what the last ones said.
            InitiatingEvent::Secured | InitiatingEvent::Settled { .. } => Ok(()),
            InitiatingEvent::HeaderReceived => self.judge_outbound(link, remote, None).map(|_| link.accept_header(now)),
            InitiatingEvent::FeaturesReceived(features) => {
                self.judge_outbound(link, remote, Some(&features)).map(|starttls| match starttls {
                    true => link.starttls(now),
                    false => link.external(now),
                })
            }
            InitiatingEvent::Authorised { .. } => {
                for stanza in stanzas {
                    link.send_stanza(now, now, stanza.clone()).expect("the pair of each is authorised");
                }
                link.close(now, Reason::Idle);
                Ok(())
            }
            InitiatingEvent::ExternalRefused { .. } => Err(Reason::ExternalRefused),
            other => unreachable!("no dialback was begun: {other:?}"),
        };
        if let Err(reason) = refusal {
            link.refuse(now, &StreamError::Refused(reason), None);
        }
    }

    /// Whether a stream that we opened may go on, and whether it needs STARTTLS first.
    fn judge_outbound(&self, link: &Link, remote: &Domain, features: Option<&Features>) -> Result<bool, Reason> {
        let certificate = self.certificate(link, remote);
        let protection = Protection::of(&certificate);
        let Some(features) = features else {
            // In clear, it is too early to judge.
            let judge = |_| policy::judge_outbound(&self.options, remote, protection);
            return certificate.as_ref().map_or(Ok(()), judge).map(|()| false);
        };
        if certificate.is_none() && policy::judge_clear(&self.options, remote, features.starttls.is_some())? {
            return Ok(true);
        }
        policy::judge_outbound(&self.options, remote, protection)?;
        policy::authenticate(&self.options, remote, protection, features.external, false).map(|_| false)
    }
}

/// Drives one link over a blocking socket, until it is to be dropped. What is asked of it is decided by `decide`.
fn drive(
    mut link: Link,
    mut socket: &TcpStream,
    mut decide: impl FnMut(&mut Link, Instant, Event),
) -> io::Result<Link> {
    socket.set_write_timeout(Some(limits::WRITE_STALL))?;
    let mut buffer = [0; 16_384];
    loop {
        while let Some(event) = link.poll_event() {
            decide(&mut link, Instant::now(), event);
        }
        while !link.pending().is_empty() && link.connection() != Connection::Drop {
            match socket.write(link.pending()) {
                Ok(n) => drop(link.handle_sent(n)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => link.stalled(),
                Err(error) => link.handle_closed(Instant::now(), &error.to_string()),
            }
        }
        match link.connection() {
            Connection::Keep => {}
            Connection::CloseWrite => drop(socket.shutdown(Shutdown::Write)),
            Connection::Drop => return Ok(link),
        }
        let now = Instant::now();
        let wait = link.poll_timeout().map(|(due, _)| due.saturating_duration_since(now));
        if wait.is_some_and(|wait| wait.is_zero()) {
            link.handle_timeout(now);
            continue;
        }
        socket.set_read_timeout(wait)?;
        let read = socket.read(&mut buffer);
        let now = Instant::now();
        match read {
            Ok(0) => link.handle_eof(now),
            Ok(n) => link.handle_bytes(now, &buffer[..n]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {} // the timer
            Err(error) => link.handle_closed(now, &error.to_string()),
        }
    }
}

/// What the threads of both ends do with the end of a stream.
fn expect_good_order(End { reason, detail }: &End) {
    assert_eq!(*reason, Reason::Idle, "{detail}");
}

fn main() -> Result<(), Box<dyn Error>> {
    let [romeo, juliet]: [Domain; 2] = ["a.example".parse()?, "b.example".parse()?];
    let (authority, entropy) = (Authority::new()?, Entropy::new(Seed([7; 32]))); // from the operating system, in a program
    let (mailbox, letters) = channel();
    let options =
        HostOptions { secure_auth: true, require_encryption: true, dialback_disabled: true, ..HostOptions::default() };
    let mailboxes = BTreeMap::from([(juliet.clone(), mailbox)]);
    let program = Program { options, trust: authority.trust(), mailboxes };
    let tls = [authority.provider(&romeo)?, authority.provider(&juliet)?];
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let addr = listener.local_addr()?;
    let ask = "<message from='romeo@a.example' to='juliet@b.example'><body>art thou there?</body></message>";
    let stanzas = [Stanza::parse(ask)?];

    let [inbound, outbound] = thread::scope(|scope| {
        let [tls_of_romeo, tls_of_juliet] = tls;
        let [entropy_in, entropy_out] = [0, 1].map(|index| entropy.fork("link", index));
        let inbound = scope.spawn(|| {
            let (socket, _) = listener.accept()?;
            let link = Link::receiving(Instant::now(), false, tls_of_juliet, SETTINGS, entropy_in);
            drive(link, &socket, |link, now, event| match event {
                Event::Receiving(event) => program.receive(link, now, event),
                Event::Ended(end) => expect_good_order(&end),
                Event::Initiating(_) => unreachable!("the peer opened it"),
            })
        });
        let outbound = scope.spawn(|| {
            let socket = TcpStream::connect(addr)?;
            let (now, local) = (Instant::now(), romeo.clone());
            let mut link = Link::initiating(now, local, juliet.clone(), false, tls_of_romeo, SETTINGS, entropy_out);
            link.handle_connected(now);
            drive(link, &socket, |link, now, event| match event {
                Event::Initiating(event) => program.initiate(link, now, &juliet, &stanzas, event),
                Event::Ended(end) => expect_good_order(&end),
                Event::Receiving(_) => unreachable!("we opened it"),
            })
        });
        [inbound, outbound].map(|thread| thread.join().expect("what comes is expected"))
    });
    inbound?;
    let mut outbound = outbound?;
    assert!(outbound.ended_in_good_order(), "the peer has processed all that was sent");
    assert!(outbound.take_unsent().is_empty(), "and nothing was kept back");
    let letter = letters.try_recv()?;
    println!("{} has a letter: {}", letter.head().to, String::from_utf8_lossy(letter.bytes()));
    assert_eq!(letter.head(), stanzas[0].head());
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn links_carry_a_stanza_into_the_routing_of_a_program_without_a_node() {
        super::main().unwrap();
    }
}
