//! What two components say to each other to show that their servers federate, or do not.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::component::Component;
use crate::failure::{Failure, While, fail};
use crate::xml::Element;

/// How long a cell may take from its first stanza to its last.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A message and a ping each way, `first` speaking first. Returns how long the first stanza took.
pub(crate) fn federate(first: &Component, second: &Component) -> Result<Duration, Failure> {
    let begin = Instant::now();
    let deadline = begin + PATIENCE;
    say(first, second, deadline).when("first message")?;
    let took = begin.elapsed();
    say(second, first, deadline).when("message back")?;
    ping(first, second, deadline).when("ping")?;
    ping(second, first, deadline).when("ping back")?;
    Ok(took)
}

/// What became of a stanza.
#[derive(Debug)]
pub(crate) enum Became {
    /// It arrived.
    Arrived(Element),
    /// It came back, and this is what the error says.
    CameBack(String),
}

/// A message from `first` to `second`, what became of it, and how long that took.
pub(crate) fn contact(first: &Component, second: &Component) -> Result<(Became, Duration), Failure> {
    let begin = Instant::now();
    let id = unique("contact");
    first.message(&second.address(), &id, "a first contact")?;
    let became = await_either(first, second, &id, begin + PATIENCE)?;
    // Neither twice nor both.
    let again = [first, second].map(|component| component.receive(&id, Instant::now()));
    match again.into_iter().flatten().next() {
        Some(stanza) => fail(format!("{became:?}, and then: {stanza:?}")),
        None => Ok((became, begin.elapsed())),
    }
}

/// A message from `first` to `second` must come back as an error. Returns what it said and how long it took.
pub(crate) fn bounce(first: &Component, second: &Component) -> Result<(String, Duration), Failure> {
    match contact(first, second)? {
        (Became::CameBack(error), took) => Ok((error, took)),
        (Became::Arrived(_), _) => fail("it arrived, and must not"),
    }
}

/// A message from one to the other must arrive as it was sent.
pub(crate) fn say(from: &Component, to: &Component, deadline: Instant) -> Result<(), Failure> {
    let id = unique("message");
    let body = format!("<{id}> & \"it's\" grün ]]> \u{1F980}");
    from.message(&to.address(), &id, &body)?;
    let stanza = receive(from, to, &id, deadline)?;
    let expected = ("message", body.as_str(), from.address(), to.address());
    let arrived =
        (stanza.name.as_str(), stanza.body(), stanza.attribute("from").to_owned(), stanza.attribute("to").to_owned());
    if arrived == expected { Ok(()) } else { fail(format!("{arrived:?} arrived instead of {expected:?}")) }
}

fn ping(from: &Component, to: &Component, deadline: Instant) -> Result<(), Failure> {
    let id = unique("ping");
    from.ping(&to.address(), &id)?;
    let request = receive(from, to, &id, deadline)?;
    if request.name != "iq" || request.attribute("type") != "get" || request.child("ping").is_none() {
        return fail(format!("{request:?} is no ping"));
    }
    to.pong(&request)?;
    let reply = from.receive(&id, deadline)?;
    if reply.attribute("type") == "result" { Ok(()) } else { fail(format!("{:?}", reply.error())) }
}

/// What arrived with that id; if it does not, what came back to the sender says why.
fn receive(from: &Component, to: &Component, id: &str, deadline: Instant) -> Result<Element, Failure> {
    match await_either(from, to, id, deadline)? {
        Became::Arrived(stanza) => Ok(stanza),
        Became::CameBack(error) => fail(format!("it came back: {error}")),
    }
}

/// Waits until the stanza with that id has arrived or come back.
fn await_either(from: &Component, to: &Component, id: &str, deadline: Instant) -> Result<Became, Failure> {
    loop {
        let step = deadline.min(Instant::now() + Duration::from_millis(20));
        match to.receive(id, step) {
            Ok(stanza) => return Ok(Became::Arrived(stanza)),
            Err(error) => match from.receive(id, Instant::now()) {
                Ok(reply) => match reply.error() {
                    Some(error) => return Ok(Became::CameBack(error)),
                    None => return fail(format!("no error but {reply:?}")),
                },
                Err(_) if Instant::now() >= deadline => return Err(error),
                Err(_) => {}
            },
        }
    }
}

/// An id that no other stanza of this run has.
pub(crate) fn unique(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{what}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}
