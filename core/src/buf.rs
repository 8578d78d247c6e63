//! The buffer of one connection: the core owns it, the adapter borrows what is to be written.

/// Bytes waiting to be written, or to be read. Appended at the end, consumed at the front, in any pieces.
#[derive(Debug, Default)]
pub(crate) struct Output {
    bytes: Vec<u8>,
    consumed: usize,
}

/// Consumed bytes are moved away once they are at least this many and half of the buffer.
const COMPACT_BYTES: usize = 4096;

impl Output {
    /// An empty buffer.
    #[must_use]
    pub(crate) const fn new() -> Self {
        Self { bytes: Vec::new(), consumed: 0 }
    }

    /// What is still to be written.
    #[must_use]
    pub(crate) fn pending(&self) -> &[u8] {
        self.bytes.get(self.consumed..).unwrap_or_default()
    }

    /// Whether nothing is left to be written.
    #[must_use]
    pub(crate) const fn is_empty(&self) -> bool {
        self.consumed == self.bytes.len()
    }

    /// How many bytes are still to be written.
    #[must_use]
    pub(crate) const fn len(&self) -> usize {
        self.bytes.len().saturating_sub(self.consumed)
    }

    /// Bytes held: those that are still to be written, and those before them that were not moved away yet.
    #[must_use]
    pub(crate) const fn retained_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Marks the first `n` bytes as written. More than there are counts as all.
    pub(crate) fn consume(&mut self, n: usize) {
        self.consumed = self.bytes.len().min(self.consumed.saturating_add(n));
        if self.is_empty() {
            self.bytes.clear();
            self.consumed = 0;
            if self.bytes.capacity() > COMPACT_BYTES * 16 {
                self.bytes = Vec::new();
            }
        } else if self.consumed >= COMPACT_BYTES && self.consumed >= self.len() {
            self.bytes.drain(..self.consumed);
            self.consumed = 0;
        }
    }

    /// The vector that producers append to.
    pub(crate) fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Forgets everything that was not written.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.consumed = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn consuming_in_any_pieces_gives_the_same_bytes(
            writes in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 0..12),
            pieces in prop::collection::vec(1usize..5000, 1..40),
        ) {
            let mut output = Output::new();
            let mut read = Vec::new();
            let mut pieces = pieces.into_iter().cycle();
            for write in &writes {
                output.tail().extend_from_slice(write);
                let n = pieces.next().unwrap_or(1).min(output.len());
                read.extend_from_slice(&output.pending()[..n]);
                output.consume(n);
                // What was written is kept no longer than as much is still to be written, or it is little.
                let written = output.bytes.len() - output.len();
                prop_assert!(written < COMPACT_BYTES.max(output.len()), "{written} bytes beside {}", output.len());
            }
            read.extend_from_slice(output.pending());
            prop_assert_eq!(read, writes.concat());
        }
    }
}
