//! The framer: bytes to frames, and back.

use s2s_core::ns;
use s2s_core::xml::{Bounds, Element, Frame, Framer, XmlError};

/// Bounds that only long inputs reach.
pub(super) const WIDE: Bounds = Bounds { element_bytes: 1 << 20, depth: 100, children: 10_000 };

/// Bounds that short inputs reach.
const TIGHT: Bounds = Bounds { element_bytes: 200, depth: 3, children: 5 };

/// A header that binds nothing but the prefix that every header of ours binds.
pub(super) const HEADER: &str = "<stream:stream xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:server'>";

/// The framer, fed with the same bytes in one piece, in single bytes and in pieces.
///
/// The first line of `data` says how: if its first byte is odd, the bounds are tight; the others are the lengths of
/// the pieces, over and over again. The rest of `data` is the document.
///
/// - The cuts do not count: the frames and the end are the same.
/// - There are no more frames than bytes.
/// - A stanza written anew is read as the same stanza, an element as the same element.
pub fn frames(data: &[u8]) {
    let (line, document) = match data.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (&[][..], data),
    };
    let bounds = if line.first().is_some_and(|byte| byte % 2 == 1) { TIGHT } else { WIDE };
    let whole = frames_of(bounds, [document]);
    assert_eq!(whole, frames_of(bounds, document.chunks(1)), "byte by byte");
    assert_eq!(whole, frames_of(bounds, pieces(document, line.get(1..).unwrap_or_default())), "in pieces");
    assert!(whole.0.len() <= document.len(), "more frames than bytes");
    whole.0.iter().for_each(check_round_trip);
}

fn check_round_trip(frame: &Frame) {
    let mut bytes = HEADER.as_bytes().to_vec();
    match frame {
        Frame::Stanza(stanza) => bytes.extend_from_slice(&stanza.bytes),
        Frame::Element(element) => element.write(ns::SERVER, &mut bytes),
        Frame::Root(_) | Frame::End => return,
    }
    let (again, end) = frames_of(WIDE, [&bytes[..]]);
    match (end, frame) {
        (Ok(()), _) => assert_eq!(again.last(), Some(frame), "{}", String::from_utf8_lossy(&bytes)),
        // Each namespace of an attribute is declared on its own element, which can be too many.
        (Err(XmlError::TooManyDeclarations), Frame::Element(element)) if has_many_attributes(element) => {}
        (Err(error), _) => panic!("{error} in {}", String::from_utf8_lossy(&bytes)),
    }
}

fn has_many_attributes(element: &Element) -> bool {
    let in_namespaces = element.attributes.iter().filter(|attribute| !attribute.namespace.is_empty());
    in_namespaces.count() > s2s_core::limits::DECLARATIONS || element.children().any(has_many_attributes)
}

/// All frames, and how it ended.
pub(super) fn frames_of<'a>(
    bounds: Bounds,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Frame>, Result<(), XmlError>) {
    let mut framer = Framer::new(ns::SERVER, bounds);
    let mut frames = Vec::new();
    for mut piece in pieces {
        // Byte by byte it is the same, and dear to look at.
        let looks = cfg!(fuzzing) || piece.len() > 1;
        loop {
            let before = piece.len();
            match framer.next(&mut piece) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => {
                    assert!(piece.is_empty(), "not all was used");
                    break;
                }
                Err(error) => {
                    assert_eq!(framer.next(&mut HEADER.as_bytes()), Err(error), "an error is final");
                    return (frames, Err(error));
                }
            }
            assert!(piece.len() <= before);
        }
        assert!(!looks || framer.retained_bytes() <= crate::bounds::framer(bounds.element_bytes));
    }
    (frames, Ok(()))
}

/// One first-level element: what the framer makes of it, written out and read again, is the same; and what was written
/// once is written so for ever.
pub fn element_round_trip(data: &[u8]) {
    let document = [HEADER.as_bytes(), data].concat();
    for frame in frames_of(WIDE, [&document[..]]).0 {
        check_round_trip(&frame);
        if let Frame::Element(element) = frame {
            let written = |element: &Element| {
                let mut bytes = Vec::new();
                element.write(ns::SERVER, &mut bytes);
                bytes
            };
            let first = written(&element);
            let (again, _) = frames_of(WIDE, [&[HEADER.as_bytes(), &first].concat()[..]]);
            if let Some(Frame::Element(again)) = again.last() {
                assert_eq!(String::from_utf8_lossy(&written(again)), String::from_utf8_lossy(&first), "a fixed point");
            }
        }
    }
}

/// `bytes` in pieces of these lengths, over and over again; without any length, in one piece.
pub(super) fn pieces<'a>(mut bytes: &'a [u8], lengths: &[u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for length in lengths.iter().cycle() {
        if bytes.is_empty() {
            return pieces;
        }
        let (piece, rest) = bytes.split_at(bytes.len().min(usize::from(*length).max(1)));
        pieces.push(piece);
        bytes = rest;
    }
    pieces.push(bytes);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_the_whole() {
        assert_eq!(pieces(b"abcdefg", b"\x01\x00\x03"), [&b"a"[..], b"b", b"cde", b"f", b"g"]);
        assert_eq!(pieces(b"abc", b""), [b"abc"]);
        assert_eq!(pieces(b"", b"\x01"), [b""; 0]);
    }
}
