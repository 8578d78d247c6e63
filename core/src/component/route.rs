//! Where a stanza goes.

use crate::addr::Domain;
use crate::component::answer::answer;
use crate::component::{Event, Hub};
use crate::machine::ConnId;
use crate::reason::Reason;
use crate::stanza::Stanza;

impl Hub {
    /// A stanza of one of our components. Between our hosts nothing ever leaves this server.
    //= RFC6120-10.4-1
    //= RFC6120-10.5-1
    pub(super) fn route(&mut self, stanza: Stanza) {
        if self.config.hosts.contains_key(stanza.head().to.domain()) {
            self.deliver(stanza);
        } else {
            self.tell(Event::Outbound(stanza));
        }
    }

    /// A stanza of one of our components for `to`, which is no address: the component is told.
    //= RFC6120-10.4.3-1
    //= RFC6120-8.3.1-1
    pub(super) fn refuse_recipient(&mut self, stanza: Stanza, to: &str) {
        match stanza.jid_malformed(to) {
            Some(error) => {
                self.tell_returned(&stanza, Reason::Malformed);
                self.reply(error);
            }
            None => self.tell(Event::Dropped { stanza, reason: Reason::Malformed }),
        }
    }

    /// A stanza for one of our hosts: to its component, else the host answers.
    //= RFC6120-10.4-2
    //= RFC6120-8.4-6
    pub(super) fn deliver(&mut self, stanza: Stanza) {
        let Some(host) = self.config.hosts.get(stanza.head().to.domain()) else {
            // Nothing may be sent in the name of a domain that is not ours, not even an error.
            return self.tell(Event::Dropped { stanza, reason: Reason::HostUnknown });
        };
        match self.component_of(stanza.head().to.domain()) {
            Some(conn) => {
                if !self.hand_over(conn, &stanza) {
                    //= RFC6120-8.3.3.18-1
                    match stanza.bounce(Reason::QueueFull) {
                        Some(bounce) => {
                            self.tell_returned(&stanza, Reason::QueueFull);
                            self.reply(bounce);
                        }
                        None => self.tell(Event::Dropped { stanza, reason: Reason::QueueFull }),
                    }
                }
            }
            None => match answer(host, &stanza) {
                Some(reply) => {
                    if reply.head().stanza_type.as_deref() == Some("error") {
                        self.tell_returned(&stanza, Reason::ComponentAbsent);
                    }
                    self.reply(reply);
                }
                None => self.tell(Event::Dropped { stanza, reason: Reason::ComponentAbsent }),
            },
        }
    }

    fn tell_returned(&mut self, stanza: &Stanza, reason: Reason) {
        let head = stanza.head();
        let (host, sender) = (head.to.domain().clone(), head.from.domain().clone());
        self.tell(Event::Returned { host, sender, reason });
    }

    /// A result or an error of ours: to the sender of what it answers, wherever that is. It is never answered itself.
    fn reply(&mut self, reply: Stanza) {
        let to = reply.head().to.domain();
        if !self.config.hosts.contains_key(to) {
            return self.tell(Event::Outbound(reply));
        }
        match self.component_of(to) {
            Some(conn) if self.hand_over(conn, &reply) => {}
            Some(_) => self.tell(Event::Dropped { stanza: reply, reason: Reason::QueueFull }),
            None => self.tell(Event::Dropped { stanza: reply, reason: Reason::ComponentAbsent }),
        }
    }

    /// A stanza of one of our hosts that did not get to its recipient. Only a local sender is ever told.
    //= RFC6120-10.4.3-1
    pub(super) fn return_to_sender(&mut self, stanza: Stanza, reason: Reason) {
        let returned = match (stanza.bounce(reason), self.component_of(stanza.head().from.domain())) {
            (Some(bounce), Some(conn)) => self.hand_over(conn, &bounce),
            _ => false,
        };
        if !returned {
            self.tell(Event::Dropped { stanza, reason });
        }
    }

    fn component_of(&self, host: &Domain) -> Option<ConnId> {
        self.attached.get(host).copied()
    }

    /// Writes `stanza` to a component, unless too much waits for it.
    fn hand_over(&mut self, conn: ConnId, stanza: &Stanza) -> bool {
        let bound = self.config.output_bytes;
        let Some(link) = self.links.get_mut(&conn) else { return false };
        if !link.has_room(stanza.bytes().len(), bound) {
            return false;
        }
        link.output.tail().extend_from_slice(stanza.bytes());
        self.wake(conn);
        true
    }
}
