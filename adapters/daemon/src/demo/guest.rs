//! `s2sd demo --guest DIRECTORY`: the world of the demo stays up, and a program of somebody else may join it.
//!
//! The guest gets what any server has: a certificate of the authority that the others trust, a DNS server to ask, and a
//! place in its zone. Both servers treat it as they treat each other.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use smol::future::or;

use crate::demo::Narrator;
use crate::demo::components::{ASK, ECHO};
use crate::demo::world::World;
use crate::failure::Failure;
use crate::signals::Signals;

/// The domain that is the guest's.
const NAME: &str = "guest.example";

/// Lets the guest in, and tells what happens until a signal ends it.
pub(super) async fn receive(world: &World, narrator: &Narrator, directory: &Path) -> Result<(), Failure> {
    let signals = Signals::register().map_err(Failure::runtime("signals cannot be received"))?;
    let addr = free_address().map_err(Failure::runtime("no port is free for the guest"))?;
    world.publish(NAME, addr).map_err(Failure::runtime("the zone cannot take the guest"))?;
    let [certificate, key] = world.authority.pem(NAME)?;
    let files = [("guest.crt", certificate), ("guest.key", key), ("authority.pem", world.authority.certificate_pem())];
    for (name, text) in files {
        write(directory, name, &text).map_err(Failure::runtime(format!(
            "{} cannot be written (nothing is written over: name a directory of its own)",
            directory.join(name).display()
        )))?;
    }
    let directory = directory.display();
    narrator.say(&format!("a guest may join, whose domain is {NAME}:"));
    narrator.say(&format!("    listen on {addr}, where both servers look for it (_xmpp-server, STARTTLS)"));
    narrator.say(&format!("    ask the DNS server {}, or dial one of the addresses above in its place", world.dns));
    narrator
        .say(&format!("    its certificate is {directory}/guest.crt, with guest.key; trust {directory}/authority.pem"));
    narrator.say("    hosts with a self-signed certificate can be reached only if you do not demand valid ones");
    narrator.say(&format!(
        "    send to any address at these hosts, such as <message from='me@{NAME}' to='you@alpha.example'"
    ));
    narrator.say(&format!(
        "        id='{ASK}1'><body>hello</body></message>; the answer has the id '{ECHO}1' and a body of its own"
    ));
    narrator.say(&format!("    what has an id that does not begin with '{ASK}' is taken, and not answered"));
    narrator.say("SIGINT (Ctrl-C) or SIGTERM ends this");
    let watching = async {
        while let Ok(sighting) = world.sightings.recv().await {
            narrator.see(&sighting, &mut []);
        }
    };
    or(signals.end(), watching).await;
    Ok(())
}

/// On the loopback address, free a moment ago: nothing else asks for ports of its own here.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// Readable by its owner only, and never over another.
fn write(directory: &Path, name: &str, text: &str) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(directory.join(name));
    file?.write_all(text.as_bytes())
}
