//! Who is heard next: stanzas of peers wait in their links, and links take turns, once the application is slower than
//! they are.
//!
//! As long as few events wait, a stanza is told at once. Beyond that a link with a stanza is put at the end of the turns,
//! and is not read; each turn takes a few stanzas out of it while others wait. So what one link holds is what one read
//! gave, and however much a peer sends, the stanza of another waits for a few of it.
//!
//! To take a stanza is to frame and to check it, which is most of the work. So after some of them the adapter looks at its
//! sockets first: there is no further event, but a deadline that has come.

use crate::limits;
use crate::link;
use crate::machine::ConnId;
use crate::node::deadlines::Owner;
use crate::node::{Event, Node};
use crate::stream::ReceivingEvent;

impl Node {
    /// If the next event of a link is a stanza that has to wait for its turn, the link takes its place among those that
    /// wait: whether it waits.
    pub(super) fn take_place_in_turn(&mut self, conn: ConnId) -> bool {
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

    /// Takes stanzas of the links whose turn it is, as many as there are before the adapter looks at its sockets again.
    pub(super) fn take_turn(&mut self) {
        while self.turns_left > 0
            && let Some(conn) = self.turns.pop_front()
        {
            let most = if self.turns.is_empty() { self.turns_left } else { limits::STANZAS_A_TURN };
            let taken = (0..most).take_while(|_| self.take_stanza(conn)).count();
            self.turns_left = self.turns_left.saturating_sub(taken);
            let Some(connected) = self.links.get_mut(&conn) else {
                continue;
            };
            connected.in_turn = connected.link.has_stanza();
            if connected.in_turn {
                self.turns.push_back(conn);
            }
            // What stood between its stanzas may have been answered.
            if !connected.in_turn || !connected.link.pending().is_empty() {
                self.dirty.insert(conn);
                self.settle(self.now);
            }
        }
        let others_first = self.turns_left == 0 && !self.turns.is_empty();
        self.deadlines.set(Owner::Turns, others_first.then_some((self.now, "turns")));
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
