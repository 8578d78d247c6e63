//! What lies between the wire and the XML: nothing, then perhaps TLS. The splice of STARTTLS is here.
//!
//! Behind `<starttls/>` and `<proceed/>` every byte is TLS, never XML, but for a few characters of white space that
//! some senders put there.

use crate::buf::Output;
use crate::limits;
use crate::tls::{Facts, Session, TlsError};

/// The way from the wire to the XML.
#[derive(Debug)]
pub(super) enum Tunnel {
    /// Bytes are XML.
    Clear,
    /// Bytes are TLS, whose handshake is not complete. The count is of white space that was skipped before the
    /// first record; `None` once a record has begun.
    Handshaking { session: Box<dyn Session>, skipped: Option<usize> },
    /// Bytes are TLS, with XML inside.
    Protected { session: Box<dyn Session>, facts: Facts },
}

/// What became of bytes from the wire. Plaintext may have been appended in any case: what stands before a bad record
/// is good.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Received {
    /// Whether the handshake became complete.
    pub(super) secured: bool,
    /// Why no more bytes can be taken.
    pub(super) failure: Option<TlsError>,
}

impl Tunnel {
    /// A tunnel whose first byte is TLS, or white space that is left over from a splice.
    pub(super) fn handshaking(mut session: Box<dyn Session>, output: &mut Output, spliced: bool) -> Self {
        session.flush(output.tail());
        Self::Handshaking { session, skipped: spliced.then_some(0) }
    }

    /// Whether TLS protects what is read and written.
    pub(super) const fn facts(&self) -> Option<&Facts> {
        match self {
            Self::Protected { facts, .. } => Some(facts),
            Self::Clear | Self::Handshaking { .. } => None,
        }
    }

    /// Bytes of what the peer has shown.
    pub(super) fn retained_bytes(&self) -> usize {
        self.facts().map_or(0, |facts| facts.chain.iter().map(Vec::len).sum())
    }

    /// Whether XML can be written at all.
    //= RFC6120-5.4.3.1-1
    pub(super) const fn carries_xml(&self) -> bool {
        !matches!(self, Self::Handshaking { .. })
    }

    /// Takes bytes from the wire and appends XML to `plain`.
    pub(super) fn receive(&mut self, mut bytes: &[u8], plain: &mut Vec<u8>, output: &mut Output) -> Received {
        let (failure, facts) = match self {
            Self::Clear => {
                plain.extend_from_slice(bytes);
                return Received::default();
            }
            Self::Protected { session, .. } => {
                let failure = session.receive(bytes, plain, output.tail()).err();
                return Received { secured: false, failure };
            }
            Self::Handshaking { session, skipped } => {
                bytes = skip_white_space(skipped, bytes);
                if bytes.is_empty() {
                    return Received::default();
                }
                *skipped = None;
                (session.receive(bytes, plain, output.tail()).err(), session.facts().cloned())
            }
        };
        let Some(facts) = facts else {
            return Received { secured: false, failure };
        };
        if let Self::Handshaking { session, .. } = std::mem::replace(self, Self::Clear) {
            *self = Self::Protected { session, facts };
        }
        Received { secured: true, failure }
    }

    /// Appends `plain` to what is to be written, protected if there is TLS.
    //= RFC6120-5.4.3.1-8
    pub(super) fn send(&mut self, plain: &[u8], output: &mut Output) {
        match self {
            Self::Clear => output.tail().extend_from_slice(plain),
            Self::Handshaking { session, .. } | Self::Protected { session, .. } => session.send(plain, output.tail()),
        }
    }

    /// Ends the protection, if there is any, as its last message.
    //= RFC6120-4.4-4
    pub(super) fn close(&mut self, output: &mut Output) {
        if let Self::Protected { session, .. } = self {
            session.close(output.tail());
        }
    }

    /// Whether the end of the bytes is one that the peer announced.
    pub(super) fn is_closed_by_peer(&self) -> bool {
        match self {
            Self::Clear => true,
            Self::Handshaking { .. } => false,
            Self::Protected { session, .. } => session.is_closed_by_peer(),
        }
    }
}

/// Drops white space at the splice, up to its bound. What follows must be TLS, and if not, TLS will say so.
fn skip_white_space<'a>(skipped: &mut Option<usize>, bytes: &'a [u8]) -> &'a [u8] {
    let Some(count) = skipped else {
        return bytes;
    };
    let room = limits::STARTTLS_WHITE_SPACE_BYTES.saturating_sub(*count);
    let spaces = bytes.iter().take(room).take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).count();
    *count = count.saturating_add(spaces);
    bytes.get(spaces..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_at_the_splice_is_skipped_up_to_its_bound_however_it_is_cut() {
        let bytes = [b" \n".repeat(20), b"x".to_vec()].concat();
        for cut in 0..bytes.len() {
            let mut skipped = Some(0);
            let (head, tail) = bytes.split_at(cut);
            let left = skip_white_space(&mut skipped, head);
            let total =
                if left.is_empty() { skip_white_space(&mut skipped, tail).len() } else { left.len() + tail.len() };
            assert_eq!(total, bytes.len() - limits::STARTTLS_WHITE_SPACE_BYTES, "cut at {cut}");
        }
    }
}
