//! Every stanza, from whom to whom, and what became of it: what the oracles compare the nodes with.

use std::collections::BTreeSet;

use s2s_core::reason::Reason;

use super::net::WireId;

/// Records of the [fake TLS](crate::fake_tls): alerts, handshakes, data.
const RECORDS: std::ops::RangeInclusive<u8> = 21..=23;

/// The type of a record of data.
const DATA: u8 = 23;

/// How stanzas of the simulation end, after their number and before it.
const ENDINGS: [&[u8]; 2] = [b"#</body></message>", b"#</q></iq>"];

/// More than a number with what stands around it.
const LONGEST_END_BYTES: usize = 64;

/// What became of a stanza.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing yet.
    Open,
    Delivered,
    Bounced(Reason),
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The domains of sender and recipient.
    pub(super) from: usize,
    pub(super) to: usize,
    /// Whether somebody wrote it who has no right to.
    pub(super) forged: bool,
    pub(super) fate: Fate,
    /// The direction of a wire on which all of its bytes were written.
    pub(super) written: Option<(WireId, usize)>,
    /// Whether whoever had it ended, and forgot it.
    pub(super) forgotten: bool,
    /// Whether it was written to find out whether all is well.
    pub(super) probe: bool,
    /// A digest of its bytes.
    pub(super) digest: u64,
}

/// All stanzas.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) entries: Vec<Entry>,
    /// Directions of wires that lost bytes.
    losses: BTreeSet<(WireId, usize)>,
}

impl Ledger {
    /// The number of a stanza that is about to be sent.
    pub(super) fn open(&mut self, from: usize, to: usize, forged: bool, probe: bool) -> usize {
        let entry = Entry { from, to, forged, fate: Fate::Open, written: None, forgotten: false, probe, digest: 0 };
        self.entries.push(entry);
        self.entries.len() - 1
    }

    /// What one end of a wire wrote was not all received.
    pub(super) fn note_loss(&mut self, wire: WireId, end: usize) {
        self.losses.insert((wire, end));
    }

    /// All bytes of a stanza were written.
    pub(super) fn note_written(&mut self, number: usize, wire: WireId, end: usize) -> Result<(), String> {
        let entry = &mut self.entries[number];
        match (entry.written.replace((wire, end)), entry.fate) {
            (None, Fate::Open) => Ok(()),
            (None, fate) => Err(format!("stanza {number} was written, after: {fate:?}")),
            (Some(before), _) => Err(format!("stanza {number} was written on {before:?} and again on {wire:?}")),
        }
    }

    /// A node delivered a stanza.
    pub(super) fn note_delivered(&mut self, number: usize) -> Result<(), String> {
        let Some(entry) = self.entries.get_mut(number) else {
            return Err(format!("stanza {number} was delivered, and never sent"));
        };
        if entry.forged {
            return Err(format!("stanza {number} was delivered, and is forged"));
        }
        if entry.written.is_none() {
            return Err(format!("stanza {number} was delivered, and never written"));
        }
        match std::mem::replace(&mut entry.fate, Fate::Delivered) {
            Fate::Open => Ok(()),
            before => Err(format!("stanza {number} was delivered, after: {before:?}")),
        }
    }

    /// A node gave a stanza back.
    pub(super) fn note_bounced(&mut self, number: usize, reason: Reason) -> Result<(), String> {
        let Some(entry) = self.entries.get_mut(number) else {
            return Err(format!("stanza {number} came back, and was never sent"));
        };
        if let Some((wire, _)) = entry.written.filter(|_| reason != Reason::DeliveryUncertain) {
            return Err(format!("stanza {number} came back ({reason}), and was written on {wire:?}"));
        }
        match std::mem::replace(&mut entry.fate, Fate::Bounced(reason)) {
            Fate::Open => Ok(()),
            before => Err(format!("stanza {number} came back ({reason}), after: {before:?}")),
        }
    }

    /// A process ended that had, of what was sent from or to these domains, what is not decided yet.
    pub(super) fn forget(&mut self, mut has: impl FnMut(&Entry) -> bool) {
        for entry in self.entries.iter_mut().filter(|entry| entry.fate == Fate::Open) {
            entry.forgotten |= has(entry);
        }
    }

    /// A stanza of which nobody knows what became of it, although nothing was lost that held it.
    pub(super) fn vanished(&self) -> Option<usize> {
        self.entries.iter().position(|entry| {
            let lost = entry.written.is_some_and(|written| self.losses.contains(&written));
            entry.fate == Fate::Open && !entry.forgotten && !lost
        })
    }
}

/// Reads what one end of a wire writes, for the ends of stanzas.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    /// What is left of a record, and whether it is data.
    record: Option<(usize, bool)>,
    /// The bytes of its length so far.
    header: Vec<u8>,
    text: Vec<u8>,
}

impl Scanner {
    /// The numbers of the stanzas that end in these bytes.
    pub(super) fn scan(&mut self, mut bytes: &[u8]) -> Vec<usize> {
        let mut ended = Vec::new();
        while let Some(first) = bytes.first().copied() {
            let taken = match &mut self.record {
                Some((left, data)) => {
                    let (data, taken) = (*data, bytes.len().min(*left));
                    *left -= taken;
                    if *left == 0 {
                        self.record = None;
                    }
                    if data {
                        self.read(&bytes[..taken], &mut ended);
                    }
                    taken
                }
                None if !self.header.is_empty() || RECORDS.contains(&first) => {
                    self.header.push(first);
                    if let [kind, length @ ..] = self.header.as_slice()
                        && length.len() == 4
                    {
                        let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
                        self.record = (length > 0).then_some((length, *kind == DATA));
                        self.header.clear();
                    }
                    1
                }
                None => {
                    let clear = bytes.iter().position(|byte| RECORDS.contains(byte)).unwrap_or(bytes.len());
                    self.read(&bytes[..clear], &mut ended);
                    clear
                }
            };
            bytes = &bytes[taken..];
        }
        ended
    }

    fn read(&mut self, bytes: &[u8], ended: &mut Vec<usize>) {
        for piece in bytes.split_inclusive(|byte| *byte == b'>') {
            self.text.extend_from_slice(piece);
            if piece.ends_with(b">") {
                ended.extend(number_before_the_end(&self.text));
            }
            let surplus = self.text.len().saturating_sub(LONGEST_END_BYTES);
            self.text.drain(..surplus);
        }
    }
}

/// The number of the stanza that ends here.
fn number_before_the_end(text: &[u8]) -> Option<usize> {
    let before = ENDINGS.iter().find_map(|ending| text.strip_suffix(*ending))?;
    let start = before.iter().rposition(|byte| *byte == b'#')?;
    std::str::from_utf8(&before[start + 1..]).ok()?.parse().ok()
}

/// The stanza of this number. It says its language, so that nobody adds that of a stream.
pub(super) fn compose(number: usize, from: &str, to: &str, filling: usize) -> String {
    let filling = "filling ".repeat(filling.div_ceil(8));
    if number.is_multiple_of(4) {
        let head = format!("<iq type='set' id='{number}' from='x@{from}/r' to='y@{to}/r' xml:lang='en'>");
        format!("{head}<q xmlns='urn:q'>{filling}#{number}#</q></iq>")
    } else {
        let head = format!("<message id='{number}' from='x@{from}/r' to='y@{to}' xml:lang='en'>");
        format!("{head}<body>{filling}#{number}#</body></message>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scanner_finds_the_ends_of_stanzas_in_clear_and_in_records() {
        let (first, second) = (compose(17, "a.example", "b.example", 300), compose(20, "a.example", "b.example", 0));
        let record = |kind: u8, content: &[u8]| {
            [&[kind, 0, 0, 0, u8::try_from(content.len()).expect("short")], content].concat()
        };
        let (start, end) = second.as_bytes().split_at(90);
        let wire = [first.as_bytes(), &record(22, b"#9#</q></iq>"), &record(DATA, start), &record(DATA, end)].concat();
        for size in 1..wire.len() {
            let mut scanner = Scanner::default();
            let found: Vec<_> = wire.chunks(size).flat_map(|piece| scanner.scan(piece)).collect();
            assert_eq!(found, [17, 20], "in pieces of {size}");
        }
    }
}
