//! Who is heard next: stanzas of peers wait in their links, and links take turns, once the application is slower than
//! they are.
//!
//! As long as few events wait, a stanza is told at once. Beyond that a link with a stanza is put at the end of the turns,
//! and is not read; each turn takes one stanza out of it while others wait. So what one link holds is what one read
//! gave, and however much a peer sends, the stanza of another waits for one of it.

use crate::limits;
use crate::link;
use crate::machine::ConnId;
use crate::node::{Event, Node};
use crate::stream::ReceivingEvent;

impl Node {
    /// Whether the next event of a link is a stanza that waits for its turn.
    pub(super) fn waits_for_turn(&mut self, conn: ConnId) -> bool {
        let Some(connected) = self.links.get_mut(&conn) else {
            return false;
        };
        if !connected.link.has_stanza() {
            return false;
        }
        // Who comes while others wait, waits behind them.
        if !connected.in_turn && (!self.turns.is_empty() || self.events.len() >= limits::EVENTS_IN_ORDER) {
            connected.in_turn = true;
            self.turns.push_back(conn);
        }
        connected.in_turn
    }

    /// Takes one stanza of the link whose turn it is; as many as may be told in order, if nobody else waits.
    pub(super) fn take_turn(&mut self) {
        while self.events.is_empty()
            && let Some(conn) = self.turns.pop_front()
        {
            let most = if self.turns.is_empty() { limits::EVENTS_IN_ORDER } else { 1 };
            while self.events.len() < most && self.take_stanza(conn) {}
            let Some(connected) = self.links.get_mut(&conn) else {
                continue;
            };
            if connected.link.has_stanza() {
                self.turns.push_back(conn);
            } else {
                connected.in_turn = false;
                self.dirty.insert(conn);
                self.settle(self.now);
            }
        }
    }

    /// Takes all stanzas of a link out of turn, because something else of it is to be told after them.
    pub(super) fn take_stanzas(&mut self, conn: ConnId) {
        while self.take_stanza(conn) {}
    }

    fn take_stanza(&mut self, conn: ConnId) -> bool {
        let Some(connected) = self.links.get_mut(&conn) else {
            return false;
        };
        if !connected.link.has_stanza() {
            return false;
        }
        if let Some(link::Event::Receiving(ReceivingEvent::Stanza { pair, stanza })) = connected.link.poll_event() {
            self.events.push_back(Event::Stanza { pair, stanza });
        }
        true
    }
}
