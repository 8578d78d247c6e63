//! What a host answers that has no component, to a peer in the other domain.

use s2s_core::component::{Command as HubCommand, Event as HubEvent, Host};
use s2s_core::machine::Machine;
use s2s_core::node::{Command, Event};

use super::{A, B, Setting, Two, hub};
use crate::transcript::Transcript;

/// Somebody at A pings the host B, and a user of it.
#[must_use]
pub fn ping() -> Transcript {
    let ping = |id: u8, to: &str| {
        format!("<iq type='get' id='{id}' from='romeo@{A}/orchard' to='{to}'><ping xmlns='urn:xmpp:ping'/></iq>")
    };
    ask(&[ping(1, B), ping(2, &format!("juliet@{B}"))], Vec::new())
}

/// Somebody at A asks what the host B is, and whom to write to.
#[must_use]
pub fn contacts() -> Transcript {
    let contact = |field: &str, uri: &str| (field.to_owned(), uri.to_owned());
    let contacts = vec![
        contact("abuse-addresses", "mailto:abuse@example.net"),
        contact("abuse-addresses", "xmpp:abuse@example.net"),
        contact("security-addresses", "mailto:security@example.net"),
    ];
    let request = format!(
        "<iq type='get' id='1' from='romeo@{A}/orchard' to='{B}'>\
         <query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
    );
    ask(&[request], contacts)
}

/// A sends these, one after the other, and the hub behind B answers: both as they are on the wire.
fn ask(requests: &[String], contacts: Vec<(String, String)>) -> Transcript {
    let mut two = Two::new(&Setting::strict());
    let (mut hub, now) = hub(B, Host { component_secret: None, contacts });
    for request in requests {
        two.world.send(two.a, request);
        two.world.run();
        for event in two.world.take_events(two.b) {
            if let Event::Stanza { stanza, .. } = event {
                hub.handle_command(now, HubCommand::Deliver(stanza));
            }
        }
        while let Some(event) = hub.poll_event() {
            if let HubEvent::Outbound(answer) = event {
                two.world.command(two.b, Command::Send(answer));
            }
        }
        two.world.run();
    }
    two.transcript().only("<iq ")
}
