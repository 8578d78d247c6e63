//! What a case is run against.

use std::fmt;

use s2s_core::addr::Pair;
use s2s_core::machine::Listener;
use s2s_core::node::{Direction, Event};

/// One connection of the attacker or of the honest peer, by its number in the target.
pub type LineIndex = usize;

/// Something that serves `v.example` and `chat.v.example`.
pub trait Target {
    /// Connects to it.
    fn connect(&mut self, on: Listener) -> LineIndex;
    /// The next connection that it has opened to the servers of `domain`.
    fn accept(&mut self, domain: &str) -> Option<LineIndex>;
    /// Writes, as one piece.
    fn send(&mut self, line: LineIndex, bytes: &[u8]);
    /// Ends the half of the attacker.
    fn hang_up(&mut self, line: LineIndex);
    /// What has come, and whether the other half was ended. Waits for something if it takes real time.
    fn receive(&mut self, line: LineIndex) -> (Vec<u8>, bool);
    /// Whether nothing has come that was not received.
    fn is_silent(&mut self, line: LineIndex) -> bool;
    /// Whether more may come if one waits longer.
    fn takes_time(&self) -> bool;
    /// Lets time pass: virtual seconds, or fewer real ones where timeouts are as much shorter.
    fn wait(&mut self, seconds: u64);
    /// The application sends a stanza.
    fn route(&mut self, stanza: &str);
    /// What the application was told, up to the stanza that has this text in it.
    fn notes_until(&mut self, text: &str) -> Vec<Note>;
    /// Whom it dialled since the last call.
    fn take_dialled(&mut self) -> Vec<String>;
    /// The names that it asked DNS for since the last call.
    fn take_asked(&mut self) -> Vec<String>;
    /// Fails if there is something left beside the connections of the honest peer and of the application.
    fn left(&mut self) -> Result<(), String>;
}

/// What the application was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A stanza, in the neutral namespace.
    Delivered(String),
    /// A pair, as `remote local`, with `out` behind it for our own streams.
    Up(String),
    /// The same, and why.
    Down(String, String),
    /// Why.
    Refused(String),
    /// Why.
    Returned(String),
}

impl Note {
    /// Nothing, if it is news of what came before this case.
    pub(super) fn of(event: &Event) -> Option<Self> {
        let pair = |pair: &Pair, direction: Direction| {
            pair_of(pair.remote.as_str(), pair.local.as_str(), direction == Direction::Outbound)
        };
        Some(match event {
            Event::Stanza { stanza, .. } => Self::Delivered(String::from_utf8_lossy(stanza.bytes()).into_owned()),
            Event::PeerUp { pair: of, link, .. } => Self::Up(pair(of, link.direction)),
            Event::PeerDown { pair: of, direction, reason, .. } => Self::Down(pair(of, *direction), reason.to_string()),
            Event::Refused { reason, .. } => Self::Refused(reason.to_string()),
            Event::Undeliverable { reason, .. } => Self::Returned(reason.to_string()),
            Event::CertificateChanged { .. } => return None,
            other => unreachable!("an event of a new kind: {other:?}"),
        })
    }
}

/// A pair as notes name it.
pub(super) fn pair_of(remote: &str, local: &str, is_outbound: bool) -> String {
    format!("{remote} {local}{}", if is_outbound { " out" } else { "" })
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delivered(text) => write!(f, "delivered {text}"),
            Self::Up(pair) => write!(f, "up {pair}"),
            Self::Down(pair, reason) => write!(f, "down {pair}: {reason}"),
            Self::Refused(reason) => write!(f, "refused: {reason}"),
            Self::Returned(reason) => write!(f, "returned: {reason}"),
        }
    }
}
