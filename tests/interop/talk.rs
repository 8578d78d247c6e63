//! What two components say to each other to show that their servers federate, or do not.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::component::Component;
use crate::failure::{Failure, While, fail};

/// How long a cell may take from its first stanza to its last.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

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

/// A message from `first` to `second` must come back as an error. Returns what it said and how long it took.
pub(crate) fn bounce(first: &Component, second: &Component) -> Result<(String, Duration), Failure> {
    let begin = Instant::now();
    let id = unique("bounce");
    first.message(&second.address(), &id, "this must not arrive")?;
    let reply = first.receive(&id, begin + PATIENCE)?;
    let Some(error) = reply.error() else { return fail(format!("no error but {reply:?}")) };
    match second.receive(&id, Instant::now()) {
        Ok(stanza) => fail(format!("bounced with \"{error}\", and arrived nevertheless: {stanza:?}")),
        Err(_) => Ok((error, begin.elapsed())),
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
fn receive(from: &Component, to: &Component, id: &str, deadline: Instant) -> Result<crate::xml::Element, Failure> {
    loop {
        let step = deadline.min(Instant::now() + Duration::from_millis(50));
        match to.receive(id, step) {
            Ok(stanza) => return Ok(stanza),
            Err(_) if Instant::now() < deadline => {
                if let Ok(reply) = from.receive(id, Instant::now()) {
                    return fail(format!("it came back: {}", reply.error().unwrap_or_default()));
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// An id that no other stanza of this run has.
pub(crate) fn unique(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{what}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}
