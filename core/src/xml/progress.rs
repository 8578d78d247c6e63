//! Bytes to events, within the bounds: how far an element, or the header, has come.

use rxml::error::EndOrError;
use rxml::{Parse, RawEvent, RawParser, RawQName};

use crate::limits;
use crate::xml::tag::Tag;
use crate::xml::{Bounds, Frame, XmlError};

/// What was used of the bounds.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) bounds: Bounds,
    /// Bytes that rxml has consumed.
    bytes: usize,
    /// Bytes that were not read but have to be kept.
    added: usize,
    /// Whether the last byte was a carriage return, so that a line feed says nothing more.
    after_return: bool,
    /// So many of the next bytes are known to be no carriage return: they need not be looked at again.
    without_return: usize,
    /// The start tag that is being read.
    pub(super) tag: Option<Tag>,
}

impl Progress {
    pub(super) const fn new(bounds: Bounds, bytes: usize) -> Self {
        Self { bounds, bytes, added: 0, after_return: false, without_return: 0, tag: None }
    }

    /// The next event, or `None` if all bytes were used and more are needed.
    pub(super) fn read(&mut self, parser: &mut RawParser, bytes: &mut &[u8]) -> Result<Option<RawEvent>, XmlError> {
        loop {
            self.skip_line_feed(bytes);
            let left = self.bounds.element_bytes.saturating_sub(self.bytes);
            // rxml looks for the next delimiter in all that it is offered, even where it takes only a part.
            let offered = bytes.len().min(limits::LEXER_WINDOW_BYTES).min(left);
            let mut window = bytes.get(..offered).unwrap_or_default();
            // It takes a carriage return for an error in attributes; XML takes it for a line feed everywhere.
            if self.without_return == 0 {
                self.without_return = position(window, b'\r').unwrap_or(offered);
            }
            let is_return = self.without_return == 0 && !window.is_empty();
            window = if is_return { b"\n" } else { window.get(..self.without_return).unwrap_or(window) };
            let offered = window.len();
            let outcome = parser.parse(&mut window, false);
            let used = offered.saturating_sub(window.len());
            if used > 0 {
                self.after_return = is_return;
                self.without_return = self.without_return.saturating_sub(used);
            }
            self.bytes = self.bytes.saturating_add(used);
            *bytes = bytes.get(used..).unwrap_or_default();
            match outcome {
                Ok(Some(event)) => return Ok(Some(event)),
                Ok(None) => return Err(XmlError::NotWellFormed),
                Err(EndOrError::Error(error)) => return Err(XmlError::of(error)),
                Err(EndOrError::NeedMoreData) if left == used => return Err(XmlError::TooLong),
                Err(EndOrError::NeedMoreData) if bytes.is_empty() => return Ok(None),
                Err(EndOrError::NeedMoreData) => {}
            }
        }
    }

    /// The line feed of a line end that was handled with its carriage return.
    fn skip_line_feed(&mut self, bytes: &mut &[u8]) {
        if let (true, Some(b'\n')) = (self.after_return, bytes.first()) {
            self.bytes = self.bytes.saturating_add(1);
            self.after_return = false;
            *bytes = bytes.get(1..).unwrap_or_default();
        }
    }

    pub(super) fn add(&mut self, name: RawQName, value: String) -> Result<Option<Frame>, XmlError> {
        match &mut self.tag {
            Some(tag) => tag.add(name, value).map(|()| None),
            None => Err(XmlError::NotWellFormed),
        }
    }

    /// Counts bytes that were not read but have to be kept: a long name can be repeated by short ones.
    pub(super) fn charge(&mut self, added: usize) -> Result<(), XmlError> {
        self.added = self.added.saturating_add(added);
        if self.added > self.bounds.element_bytes { Err(XmlError::TooLong) } else { Ok(()) }
    }
}

/// Where `byte` is first. It is nearly always nowhere, which `contains` finds out a word at a time.
fn position(bytes: &[u8], byte: u8) -> Option<usize> {
    if bytes.contains(&byte) { bytes.iter().position(|other| *other == byte) } else { None }
}

/// Looks for `<![` in the bytes of a header, which may not hold it: no section of characters stands outside of the root
/// element. rxml says nothing of one that is empty.
#[derive(Debug, Default)]
pub(super) struct SectionMark {
    /// How many bytes of it stand at the end of what was looked at.
    matched: usize,
}

impl SectionMark {
    /// Whether it is complete with these bytes, which follow the earlier ones.
    pub(super) fn is_in(&mut self, bytes: &[u8]) -> bool {
        bytes.iter().any(|byte| {
            self.matched = match (self.matched, *byte) {
                (1, b'!') => 2,
                (2, b'[') => 3,
                (_, b'<') => 1,
                _ => 0,
            };
            self.matched == 3
        })
    }
}
