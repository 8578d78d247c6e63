//! A burst towards a server that is killed in the middle of it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::component::Component;
use crate::dns::Service;
use crate::failure::{Failure, While, fail};
use crate::lab::Lab;
use crate::peers::{ECHO, Peer, Policy, Software, name_and_version};
use crate::pki::Certificate;
use crate::process::tail;
use crate::report::{Measured, Row};
use crate::s2sd::{Daemon, Settings};
use crate::talk::unique;

/// What the cell is called.
pub(crate) const NAME: &str = "kill -9 of the peer in a burst";
/// How many messages the burst has.
const BURST: usize = 2000;
/// After how many the sender waits for the kill, so that it happens in the middle whatever the speed.
const HALF: usize = BURST / 2;
/// How many must have arrived before the kill.
const ARRIVED: usize = 200;
/// How long the accounts may take to be settled.
const SETTLED: Duration = Duration::from_secs(60);
/// How long a message may be refused after the server is back.
const BACK: Duration = Duration::from_secs(90);
/// Bytes in a body: with it the first half is more than the sockets' buffers hold.
const BODY: usize = 4096;
/// The last octet of the server's address.
const OCTET: u8 = 20;

/// What became of the burst.
#[derive(Debug)]
struct Accounts {
    arrived: BTreeSet<usize>,
    bounced: BTreeSet<usize>,
    /// Never accepted: the queue was full at that moment, because the sender was faster than the server.
    refused: BTreeSet<usize>,
}

/// Runs the cell.
pub(crate) fn run(lab: &mut Lab) -> Row {
    Row {
        peer: name_and_version(Software::Prosody),
        scenario: NAME.to_owned(),
        first: "s2sd -> peer".to_owned(),
        result: survive(lab),
    }
}

fn survive(lab: &mut Lab) -> Result<Measured, Failure> {
    let place = lab.host(Certificate::Valid, Service::StartTls)?;
    let settings = Settings::strict(&place, lab);
    let daemon = Daemon::start(&settings, lab.directory())?;
    let mut peer = lab.start(Software::Prosody, Policy::Secure, "victim", OCTET)?;
    peer.ready()?;
    let result = kill_in_the_middle(&daemon, &mut peer);
    if let Err(failure) = &result {
        println!("FAILED {NAME}: {failure}\n{}{}", tail(daemon.log(), 40), tail(&peer.log, 40));
    }
    let measured = result?;
    daemon.stop()?;
    Ok(measured)
}

fn kill_in_the_middle(daemon: &Daemon, peer: &mut Peer) -> Result<Measured, Failure> {
    let ours = daemon.component()?;
    let theirs = peer.component(ECHO)?;
    let to = theirs.address();
    let begin = Instant::now();
    let mut accounts = Accounts { arrived: BTreeSet::new(), bounced: BTreeSet::new(), refused: BTreeSet::new() };
    send(&ours, &to, 0..HALF)?;
    while accounts.arrived.len() < ARRIVED {
        let next = theirs.next(begin + SETTLED).when("before the kill")?;
        let Some(stanza) = next else { return fail("the server closed the component before the kill") };
        accounts.arrived.extend(number(stanza.attribute("id")));
    }
    let first = begin.elapsed();
    peer.kill();
    send(&ours, &to, HALF..BURST)?;
    accounts.settle(&ours, &theirs)?;
    accounts.check()?;
    drop(theirs);
    peer.restart()?;
    let again = comes_through(&ours, &peer.component(ECHO)?)?;
    println!("{NAME}: {}; a new message came through {again:.1?} after the restart", accounts.summary());
    Ok(Measured { first, method: accounts.summary(), tls: "-".to_owned() })
}

fn send(ours: &Component, to: &str, numbers: std::ops::Range<usize>) -> Result<(), Failure> {
    let body = "x".repeat(BODY);
    numbers.into_iter().try_for_each(|number| ours.message(to, &format!("burst-{number}"), &body))
}

fn number(id: &str) -> Option<usize> {
    id.strip_prefix("burst-")?.parse().ok()
}

impl Accounts {
    /// Reads what had arrived before the kill, and bounces until the last message has come back.
    fn settle(&mut self, ours: &Component, theirs: &Component) -> Result<(), Failure> {
        let deadline = Instant::now() + SETTLED;
        while let Some(stanza) = theirs.next(deadline).when("the killed server's component")? {
            self.arrived.extend(number(stanza.attribute("id")));
        }
        while !self.bounced.contains(&(BURST - 1)) && !self.refused.contains(&(BURST - 1)) {
            let Some(stanza) = ours.next(deadline).when("the last message did not come back")? else {
                return fail("s2sd closed our component");
            };
            if let Some(number) = number(stanza.attribute("id")) {
                let Some(error) = stanza.error() else {
                    return fail(format!("{number} came back without error"));
                };
                let queue_full = error.starts_with("resource-constraint");
                let first_time = if queue_full { self.refused.insert(number) } else { self.bounced.insert(number) };
                if !first_time || (self.bounced.contains(&number) && self.refused.contains(&number)) {
                    return fail(format!("{number} came back twice"));
                }
            }
        }
        Ok(())
    }

    /// Of what was accepted, what was on its way at the kill stands, in order, between what arrived and what came back.
    fn check(&self) -> Result<(), Failure> {
        let accepted: Vec<_> = (0..BURST).filter(|number| !self.refused.contains(number)).collect();
        let prefix = self.arrived.iter().eq(accepted.iter().take(self.arrived.len()));
        let suffix = self.bounced.iter().eq(accepted.iter().skip(accepted.len().saturating_sub(self.bounced.len())));
        if !prefix || !suffix {
            return fail(format!("lost or reordered: {self:?}"));
        }
        // What was written to the connection that broke may or may not have arrived; of what was sent after the
        // kill at most a little can have been, before s2sd noticed.
        if self.uncertain() > HALF {
            return fail(format!("messages after the kill vanished: {}", self.summary()));
        }
        Ok(())
    }

    fn uncertain(&self) -> usize {
        BURST.saturating_sub(self.arrived.len() + self.bounced.len() + self.refused.len())
    }

    fn summary(&self) -> String {
        let (arrived, uncertain) = (self.arrived.len(), self.uncertain());
        let (bounced, refused) = (self.bounced.len(), self.refused.len());
        format!("{arrived} arrived, {uncertain} uncertain, {bounced} bounced, {refused} refused by a full queue")
    }
}

/// Sends messages until one arrives: the first may still be refused because the server failed just before.
fn comes_through(ours: &Component, theirs: &Component) -> Result<Duration, Failure> {
    let begin = Instant::now();
    while begin.elapsed() < BACK {
        let id = unique("again");
        ours.message(&theirs.address(), &id, "are you back?")?;
        let step = Instant::now() + Duration::from_secs(1);
        if theirs.receive(&id, step).is_ok() {
            return Ok(begin.elapsed());
        }
    }
    fail(format!("no message came through in {BACK:?} after the restart"))
}
