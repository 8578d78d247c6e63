//! Every stanza, from whom to whom, and what became of it: what the oracles compare the nodes with.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use s2s_core::limits::UNCERTAIN_AGE;
use s2s_core::machine::ConnId;
use s2s_core::reason::Reason;

use super::net::WireId;

/// Records of the [fake TLS](crate::fake_tls): alerts, handshakes, data.
const RECORDS: std::ops::RangeInclusive<u8> = 21..=23;

/// The type of a record of data.
const DATA: u8 = 23;

/// How stanzas of the simulation end, after their number and before it.
const ENDINGS: [&[u8]; 2] = [b"#</body></message>", b"#</q></iq>"];

/// How a stream ends.
const CLOSING: &[u8] = b"</stream:stream>";

/// What stands before that if it ends with an error.
const ERROR: &[u8] = b"error>";

/// More than a number with what stands around it.
const LONGEST_END_BYTES: usize = 64;

/// Nodes count what they have written by the second.
const COUNTED_BY: Duration = Duration::from_secs(1);

/// What became of a stanza.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing yet.
    Open,
    Delivered,
    Bounced(Reason),
}

/// One direction of a wire, by the end that writes.
pub(super) type Way = (WireId, usize);

/// When and where all bytes of a stanza were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) way: Way,
    pub(super) at: Instant,
    /// The connection at the other end, by the name that its node gave it.
    pub(super) to: ConnId,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The domains of sender and recipient.
    pub(super) from: usize,
    pub(super) to: usize,
    /// Whether somebody wrote it who has no right to.
    pub(super) forged: bool,
    pub(super) fate: Fate,
    pub(super) written: Option<Written>,
    /// Whether whoever had it ended, and forgot it.
    pub(super) forgotten: bool,
    /// Whether it was written to find out whether all is well.
    pub(super) probe: bool,
    /// A digest of its bytes.
    pub(super) digest: u64,
}

/// What is known of one direction of a wire.
#[derive(Debug, Default)]
struct Stream {
    /// Whether it lost bytes.
    lossy: bool,
    /// Stanzas that were wholly written.
    stanzas: u64,
    /// Of these, those that the writer's node has told to be uncertain.
    uncertain: u64,
    /// Of each pair of domains, the last stanza that was wholly written, and the last that was delivered.
    written: BTreeMap<(usize, usize), usize>,
    delivered: BTreeMap<(usize, usize), usize>,
    /// When the writer's node let it go by itself.
    dropped: Option<Instant>,
    /// Whether its writer need not tell what was lost: it has read the reader's closing tag, which says that all of it
    /// was read, or the process of the writer has ended with what it had to tell.
    excused: bool,
}

/// All stanzas.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) entries: Vec<Entry>,
    streams: BTreeMap<Way, Stream>,
}

impl Ledger {
    /// The number of a stanza that is about to be sent.
    pub(super) fn open(&mut self, from: usize, to: usize, forged: bool, probe: bool) -> usize {
        let entry = Entry { from, to, forged, fate: Fate::Open, written: None, forgotten: false, probe, digest: 0 };
        self.entries.push(entry);
        self.entries.len() - 1
    }

    fn stream(&mut self, way: Way) -> &mut Stream {
        self.streams.entry(way).or_default()
    }

    /// What one end of a wire wrote was not all received.
    pub(super) fn note_loss(&mut self, wire: WireId, end: usize) {
        self.stream((wire, end)).lossy = true;
    }

    /// One end of a wire was let go by its node.
    pub(super) fn note_dropped(&mut self, wire: WireId, end: usize, now: Instant) {
        self.stream((wire, end)).dropped = Some(now);
    }

    /// Whatever was lost of what this end of a wire wrote, nobody is told.
    pub(super) fn excuse(&mut self, wire: WireId, end: usize) {
        self.stream((wire, end)).excused = true;
    }

    /// All bytes of a stanza were written, after those of its pair that were sent before it.
    pub(super) fn note_written(&mut self, number: usize, written: Written) -> Result<(), String> {
        let entry = &mut self.entries[number];
        let (wire, _) = written.way;
        match (entry.written.replace(written), entry.fate) {
            (None, Fate::Open) => {}
            (None, fate) => return Err(format!("stanza {number} was written, after: {fate:?}")),
            (Some(before), _) => {
                return Err(format!("stanza {number} was written on {:?} and again on {wire:?}", before.way.0));
            }
        }
        let pair = (entry.from, entry.to);
        let stream = self.stream(written.way);
        stream.stanzas += 1;
        match stream.written.insert(pair, number) {
            Some(last) if last > number => Err(format!("stanza {number} was written on {wire:?} after {last}")),
            _ => Ok(()),
        }
    }

    /// A node delivered a stanza, after those of its pair that were written before it on the same stream.
    pub(super) fn note_delivered(&mut self, number: usize) -> Result<(), String> {
        let Some(entry) = self.entries.get_mut(number) else {
            return Err(format!("stanza {number} was delivered, and never sent"));
        };
        if entry.forged {
            return Err(format!("stanza {number} was delivered, and is forged"));
        }
        let Some(written) = entry.written else {
            return Err(format!("stanza {number} was delivered, and never written"));
        };
        match std::mem::replace(&mut entry.fate, Fate::Delivered) {
            Fate::Open => {}
            before => return Err(format!("stanza {number} was delivered, after: {before:?}")),
        }
        let pair = (entry.from, entry.to);
        match self.stream(written.way).delivered.insert(pair, number) {
            Some(last) if last > number => Err(format!("stanza {number} was delivered after {last}, of one stream")),
            _ => Ok(()),
        }
    }

    /// A node gave a stanza back.
    pub(super) fn note_bounced(&mut self, number: usize, reason: Reason) -> Result<(), String> {
        let Some(entry) = self.entries.get_mut(number) else {
            return Err(format!("stanza {number} came back, and was never sent"));
        };
        if let Some(written) = entry.written.filter(|_| reason != Reason::DeliveryUncertain) {
            return Err(format!("stanza {number} came back ({reason}), and was written on {:?}", written.way.0));
        }
        match std::mem::replace(&mut entry.fate, Fate::Bounced(reason)) {
            Fate::Open => Ok(()),
            before => Err(format!("stanza {number} came back ({reason}), after: {before:?}")),
        }
    }

    /// A node told that it does not know of so many stanzas, which one end of a wire wrote, whether they arrived.
    pub(super) fn note_uncertain(&mut self, wire: WireId, end: usize, stanzas: u64) -> Result<(), String> {
        let stream = self.stream((wire, end));
        stream.uncertain += stanzas;
        let (uncertain, written) = (stream.uncertain, stream.stanzas);
        if uncertain > written {
            return Err(format!("{uncertain} stanzas on {wire:?} are uncertain, and {written} were written"));
        }
        Ok(())
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
            let stream = entry.written.and_then(|written| self.streams.get(&written.way));
            entry.fate == Fate::Open && !entry.forgotten && stream.is_none_or(|stream| !stream.lossy)
        })
    }

    /// A wire that broke, on which more was lost than the node which had written there has told: how much, and how much
    /// it told.
    pub(super) fn uncounted(&self) -> Option<(WireId, u64, u64)> {
        let mut lost: BTreeMap<Way, u64> = BTreeMap::new();
        for entry in self.entries.iter().filter(|entry| entry.fate == Fate::Open && !entry.forgotten) {
            let Some(written) = entry.written else { continue };
            let stream = self.streams.get(&written.way).filter(|stream| !stream.excused);
            // Until then it was not over, or everything that is as old as that counts as arrived.
            let dropped = stream.and_then(|stream| stream.dropped);
            if dropped.is_some_and(|dropped| written.at + UNCERTAIN_AGE >= dropped + COUNTED_BY) {
                *lost.entry(written.way).or_default() += 1;
            }
        }
        let told = |way: &Way| self.streams.get(way).map_or(0, |stream| stream.uncertain);
        let (way, lost) = lost.into_iter().find(|(way, lost)| *lost > told(way))?;
        Some((way.0, lost, told(&way)))
    }
}

/// Reads what passes in one direction of a wire, for the ends of stanzas and of the stream.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    /// What is left of a record, and whether it is data.
    record: Option<(usize, bool)>,
    /// The bytes of its length so far.
    header: Vec<u8>,
    text: Vec<u8>,
    /// Whether there was a closing tag, and no error before it.
    closed: bool,
}

impl Scanner {
    /// Whether the stream has ended in good order.
    pub(super) const fn has_closed(&self) -> bool {
        self.closed
    }

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
                self.closed |= ends_in_good_order(&self.text);
            }
            let surplus = self.text.len().saturating_sub(LONGEST_END_BYTES);
            self.text.drain(..surplus);
        }
    }
}

/// Whether the stream ends here, and not with an error.
fn ends_in_good_order(text: &[u8]) -> bool {
    text.strip_suffix(CLOSING).is_some_and(|before| !before.ends_with(ERROR))
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
            assert!(!scanner.has_closed());
        }
    }

    #[test]
    fn the_scanner_tells_a_goodbye_from_an_error() {
        let error = "<stream:error><x/></stream:error></stream:stream>";
        for (end, expected) in [("</stream:stream>", true), (error, false)] {
            let mut scanner = Scanner::default();
            scanner.scan(format!("<stream:stream>{}{end}", compose(3, "a.example", "b.example", 0)).as_bytes());
            assert_eq!(scanner.has_closed(), expected, "{end}");
        }
    }
}
