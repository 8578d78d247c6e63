//! What a frame of a component link means, and how a link ends.

use std::mem;
use std::time::Instant;

use crate::addr::Address;
use crate::component::ending::{Ending, LinkError};
use crate::component::link::{State, judge_header};
use crate::component::{Event, Hub};
use crate::machine::ConnId;
use crate::ns;
use crate::stanza::{Improper, Stanza};
use crate::stream::Condition;
use crate::xml::{Element, Frame, Root, StanzaFrame};

impl Hub {
    /// Takes one frame of `conn`; an error ends the link.
    pub(super) fn handle_frame(&mut self, now: Instant, conn: ConnId, frame: Frame) -> Result<(), Ending> {
        let Some(link) = self.links.get(&conn) else { return Ok(()) };
        match (&link.state, frame) {
            (State::ExpectHeader, Frame::Root(root)) => self.handle_header(conn, &root),
            (_, Frame::End) => Err(Ending::PeerClosed),
            (_, Frame::Element(element)) if element.is(ns::STREAMS, "error") => {
                Err(Ending::PeerError(condition_of(&element)))
            }
            (State::ExpectHandshake { .. }, Frame::Element(element)) if element.is(ns::COMPONENT, "handshake") => {
                self.handle_handshake(now, conn, &element.text())
            }
            //= RFC6120-4.3.1-1
            //= RFC6120-4.3.5-4
            //= RFC6120-4.9.3.12-1
            (State::ExpectHandshake { .. }, Frame::Stanza(_)) => Err(LinkError::StanzaBeforeHandshake.into()),
            (State::Open { .. }, Frame::Stanza(frame)) => self.handle_stanza(conn, frame),
            //= RFC6120-4.8.3-2
            (_, Frame::Element(element)) if matches!(element.name.as_str(), "iq" | "message" | "presence") => {
                Err(LinkError::ForeignStanza.into())
            }
            //= RFC6120-4.8.4-2
            (_, Frame::Element(_) | Frame::Root(_) | Frame::Stanza(_)) => Err(LinkError::UnknownElement.into()),
        }
    }

    //= XEP0114-3-3
    fn handle_header(&mut self, conn: ConnId, root: &Root) -> Result<(), Ending> {
        let host = judge_header(root)?;
        if self.config.hosts.get(&host).is_none_or(|host| host.component_secret.is_none()) {
            return Err(LinkError::HostUnknown(host).into());
        }
        let id = self.entropy.hex_128();
        let conflict = self.attached.contains_key(&host);
        if let Some(link) = self.links.get_mut(&conn) {
            link.write_header(Some(&host), &id);
            link.state = State::ExpectHandshake { host, id };
        }
        self.wake(conn);
        //= RFC6120-4.9.3.3-1
        if conflict { Err(LinkError::Conflict.into()) } else { Ok(()) }
    }

    /// The host is judged again: it may have gone, or found another component, since the header.
    //= XEP0114-3-7
    //= XEP0114-3-8
    fn handle_handshake(&mut self, now: Instant, conn: ConnId, text: &str) -> Result<(), Ending> {
        let Some(link) = self.links.get_mut(&conn) else { return Ok(()) };
        let State::ExpectHandshake { host, id } = &link.state else { return Ok(()) };
        let Some(secret) = self.config.hosts.get(host).and_then(|host| host.component_secret.as_ref()) else {
            return Err(Ending::HostGone);
        };
        if !secret.verify(id, text) {
            return Err(LinkError::WrongHandshake.into());
        }
        if self.attached.contains_key(host) {
            return Err(LinkError::Conflict.into());
        }
        let (host, addr) = (host.clone(), link.addr);
        link.output.tail().extend_from_slice(b"<handshake/>");
        link.set_stanza_bytes(self.config.stanza_bytes);
        link.state = State::Open { host: host.clone() };
        self.attached.insert(host.clone(), conn);
        self.arm(now, conn, None);
        self.wake(conn);
        self.tell(Event::ComponentUp { host, conn, addr });
        Ok(())
    }

    /// A wrong sender ends the link: that is the component's own word. A recipient is often somebody else's, such as a
    /// remote user's who invites somebody to a room, and must not take the whole host away (decision D-37).
    //= XEP0114-3-9
    //= XEP0114-3-10
    //= XEP0114-3-11
    //= RFC6120-4.9.3.7-1
    //= RFC6120-4.9.3.9-1
    //= RFC6120-8.1.2.2-3
    //= RFC7622-4-4
    fn handle_stanza(&mut self, conn: ConnId, frame: StanzaFrame) -> Result<(), Ending> {
        let Some(State::Open { host }) = self.links.get(&conn).map(|link| &link.state) else { return Ok(()) };
        let host = host.clone();
        let written = frame.to.as_deref().ok_or(LinkError::Improper(Improper::NoTo))?;
        let (to, unusable) = match Address::parse(written) {
            Ok(to) => (to, None),
            Err(_) => (Address::from(host.clone()), Some(written.to_owned())),
        };
        let stanza = Stanza::addressed(frame, to).map_err(LinkError::Improper)?;
        let from = stanza.head().from.domain();
        if *from != host {
            return Err(LinkError::InvalidFrom(from.clone()).into());
        }
        match unusable {
            None => self.route(stanza),
            Some(to) => self.refuse_recipient(stanza, &to),
        }
        Ok(())
    }

    /// Ends the stream: says why if there is something to say, closes, and waits a little for the other side to do the same.
    //= XEP0114-3-5
    //= RFC6120-4.9.1.1-1
    //= RFC6120-4.9.1.1-2
    //= RFC6120-4.9.1.2-1
    pub(super) fn end(&mut self, now: Instant, conn: ConnId, ending: &Ending) {
        let no_header_yet = match self.links.get(&conn).map(|link| &link.state) {
            None | Some(State::Closing { .. }) => return,
            Some(state) => matches!(state, State::ExpectHeader),
        };
        self.forsake(conn, ending);
        let id = if no_header_yet { self.entropy.hex_128() } else { String::new() };
        if let Some(link) = self.links.get_mut(&conn) {
            if no_header_yet {
                link.write_header(None, &id);
            }
            if let Some(condition) = ending.condition() {
                link.write_error(condition, &ending.to_string());
            }
            link.output.tail().extend_from_slice(b"</stream:stream>");
        }
        self.arm(now, conn, Some(self.config.close_timeout));
        self.close_write(conn);
    }

    /// Detaches the link from its host and tells the application, once.
    pub(super) fn forsake(&mut self, conn: ConnId, ending: &Ending) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        let addr = link.addr;
        let state = mem::replace(&mut link.state, State::Closing { peer_ended: *ending == Ending::PeerEof });
        let (open, claimed) = match state {
            State::Closing { .. } => return,
            // Whoever connects and leaves without a word was not refused.
            State::ExpectHeader if *ending == Ending::PeerEof => return,
            State::ExpectHeader => (None, None),
            State::ExpectHandshake { host, .. } => (None, Some(host)),
            State::Open { host } => (Some(host.clone()), Some(host)),
        };
        if open.is_none() || ending.is_refusal() {
            let host = match ending {
                Ending::Broken(LinkError::HostUnknown(host)) => Some(host.clone()),
                _ => claimed,
            };
            let host = host.filter(|host| self.config.hosts.contains_key(host));
            self.tell(Event::Refused { host, conn, addr, reason: ending.reason(), detail: ending.to_string() });
        }
        if let Some(host) = open {
            self.attached.remove(&host);
            self.tell(Event::ComponentDown { host, conn, reason: ending.reason() });
        }
    }
}

/// The condition of a stream error that we were sent.
fn condition_of(error: &Element) -> Condition {
    let condition = error.children().find(|child| child.namespace == ns::STREAM_ERRORS && child.name != "text");
    condition.map_or(Condition::UndefinedCondition, |child| Condition::from_name(&child.name))
}
