//! How the attacker gets to where an input begins.

use s2s_core::machine::Listener;
use s2s_core::tls::Provider;

use super::party::{Party, contains, header, server};
use super::setup::server_of;
use super::target::Target;
use super::{Input, State};

/// The streams of one run.
pub(super) struct Stage {
    pub(super) main: Party,
    pub(super) asker: Option<Party>,
    /// The id of the stream with the key.
    pub(super) id: String,
}

/// Brings the attacker to where the input begins.
pub(super) fn reach(target: &mut impl Target, input: &Input, tls: &dyn Provider) -> Result<Stage, String> {
    let peer = input.peer.as_str();
    match input.state {
        State::O1 | State::O2 | State::O3 => {
            target.route(&format!("<message from='u@v.example' to='w@{peer}' id='waiting'/>"));
            let main = serve(target, input, tls)?;
            Ok(Stage { main, asker: None, id: String::new() })
        }
        State::V1 | State::V2 => {
            let mut asker = Party::new(target.connect(Listener::StartTls));
            asker.open_stream(target, peer)?;
            asker.start_tls(target, tls, peer)?;
            asker.say(target, header(peer, "")?.as_bytes());
            asker.listen(target, |heard| contains(heard, "stream:features>"));
            let id = stream_id(&asker.take_heard()).ok_or("no stream id")?;
            asker.say(target, format!("<db:result from='{peer}' to='v.example'>a key</db:result>").as_bytes());
            let main = serve(target, input, tls)?;
            Ok(Stage { main, asker: Some(asker), id })
        }
        state => {
            let on = if state == State::D0 { Listener::DirectTls } else { Listener::StartTls };
            let mut main = Party::new(target.connect(on));
            match state {
                State::P1 => main.open_stream(target, peer)?,
                State::T => {
                    main.open_stream(target, peer)?;
                    main.start_tls(target, tls, peer)?;
                }
                State::P2 => main.secure_stream(target, tls, peer)?,
                State::P3 => {
                    main.secure_stream(target, tls, peer)?;
                    main.authenticate(target, peer)?;
                }
                _ => {}
            }
            Ok(Stage { main, asker: None, id: String::new() })
        }
    }
}

/// The next connection of ours to the attacker, brought to where the input begins.
pub(super) fn serve(target: &mut impl Target, input: &Input, tls: &dyn Provider) -> Result<Party, String> {
    let peer = input.peer.as_str();
    let mut main = accept(target, peer)?;
    if !matches!(input.state, State::O1 | State::V1) {
        serve_tls(target, &mut main, tls, peer)?;
    }
    if input.state == State::O3 {
        serve_external(target, &mut main, peer)?;
    }
    Ok(main)
}

/// Our connection to `peer`, with our header.
fn accept(target: &mut impl Target, peer: &str) -> Result<Party, String> {
    let mut party = Party::new(target.accept(server_of(peer)).ok_or("nobody dials")?);
    party.expect_header(target)?;
    Ok(party)
}

/// The header of the attacker in answer to ours.
fn response(peer: &str) -> Result<String, String> {
    header(peer, "to='v.example' id='of-the-attacker'")
}

fn serve_tls(target: &mut impl Target, main: &mut Party, tls: &dyn Provider, peer: &str) -> Result<(), String> {
    let starttls = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>";
    main.say(target, format!("{}<stream:features>{starttls}</stream:features>", response(peer)?).as_bytes());
    main.expect(target, "<starttls")?;
    main.say(target, b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    let session = server(tls, peer)?;
    if !main.begin_tls(target, session) {
        return Err("TLS does not come up".to_owned());
    }
    main.expect_header(target)
}

fn serve_external(target: &mut impl Target, main: &mut Party, peer: &str) -> Result<(), String> {
    let sasl = "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms>";
    main.say(target, format!("{}<stream:features>{sasl}</stream:features>", response(peer)?).as_bytes());
    main.expect(target, "<auth")?;
    main.say(target, b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
    main.expect(target, "<stream:stream")?;
    main.say(target, format!("{}<stream:features/>", response(peer)?).as_bytes());
    main.expect(target, "<message")
}

fn stream_id(heard: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(heard);
    let (_, rest) = text.split_once(" id='")?;
    Some(rest.split_once('\'')?.0.to_owned())
}
