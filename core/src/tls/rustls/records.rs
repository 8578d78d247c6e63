//! The records of the peer as they look from outside, for two rules of TLS 1.2 that rustls leaves to others.
//!
//! Once the handshake is complete, a record with a message of one is an attempt to renegotiate. rustls declines the
//! first and goes on; [RFC 6120 section 5.3.5](https://www.rfc-editor.org/rfc/rfc6120#section-5.3.5) has the connection
//! closed. In TLS 1.3 there is no such thing, and all records look alike from then on.
//!
//! A server that does not answer the signal of [RFC 5746](https://www.rfc-editor.org/rfc/rfc5746), which every client
//! of rustls gives, may take our handshake for the renegotiation of what somebody else has begun. rustls does not look.

use crate::limits;
use crate::tls::TlsError;

/// What stands before the body of a record: its content type, a version, and the length of the body.
const HEAD_BYTES: usize = 5;
/// The content type of messages of the handshake.
const HANDSHAKE: u8 = 22;

/// The type of the message that a server begins with.
const SERVER_HELLO: u8 = 2;
const RANDOM_BYTES: usize = 32;
/// The version of a hello in TLS 1.2, and in TLS 1.3, which says in an extension what it is.
const TLS_1_2: u16 = 0x0303;
const SUPPORTED_VERSIONS: u16 = 43;
const RENEGOTIATION_INFO: u16 = 0xff01;

/// Follows the records of one peer. What it hands on ends where the head or the body of a record ends, so that rustls
/// has made of all that stands before a record what there is to make of it, however the bytes were cut.
#[derive(Debug)]
pub(super) struct RecordWatch {
    /// What has come of the head of the record under way.
    head: Vec<u8>,
    /// Bytes of its body that have not come.
    body: usize,
    hello: Hello,
}

/// The first message of a server.
#[derive(Debug)]
enum Hello {
    /// So much of it has come.
    Awaited(Vec<u8>),
    /// It was judged, or the peer is none.
    Judged,
}

impl RecordWatch {
    /// The peer is a server.
    pub(super) const fn on_server() -> Self {
        Self { head: Vec::new(), body: 0, hello: Hello::Awaited(Vec::new()) }
    }

    /// The peer is a client.
    pub(super) const fn on_client() -> Self {
        Self { head: Vec::new(), body: 0, hello: Hello::Judged }
    }

    /// Splits off what `bytes` hold of the head or the body that is under way, for rustls. `complete`: the handshake
    /// is, now that rustls has heard all before it.
    //= RFC6120-5.3.5-2
    //= RFC6120-5.3.5-3
    pub(super) fn next<'a>(&mut self, bytes: &mut &'a [u8], complete: bool) -> Result<&'a [u8], TlsError> {
        if self.has_head() && self.body == 0 {
            self.head.clear();
        }
        let in_body = self.has_head();
        let room = if in_body { self.body } else { HEAD_BYTES.saturating_sub(self.head.len()) };
        let all = *bytes;
        let (piece, rest) = all.split_at_checked(room).unwrap_or((all, &[]));
        *bytes = rest;
        if in_body {
            self.body = self.body.saturating_sub(piece.len());
        } else {
            self.head.extend_from_slice(piece);
            if let [_, _, _, high, low] = self.head.as_slice() {
                self.body = usize::from(u16::from_be_bytes([*high, *low]));
            }
        }
        if self.head.first() == Some(&HANDSHAKE) {
            if complete {
                return Err(TlsError::Renegotiation);
            }
            if in_body {
                self.hello.hear(piece)?;
            }
        }
        Ok(piece)
    }

    fn has_head(&self) -> bool {
        self.head.len() == HEAD_BYTES
    }
}

impl Hello {
    /// Takes what a record holds of the messages of the handshake. It is judged as soon as it has come, before rustls
    /// has the rest of that record.
    //= RFC9325-3.5-1
    fn hear(&mut self, body: &[u8]) -> Result<(), TlsError> {
        let Self::Awaited(message) = self else {
            return Ok(());
        };
        message.extend_from_slice(body);
        let Some(([kind, length @ ..], content)) = message.split_first_chunk::<4>() else {
            return Ok(());
        };
        if *kind != SERVER_HELLO {
            // rustls refuses it.
            *self = Self::Judged;
            return Ok(());
        }
        let [high, middle, low] = *length;
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        if length > limits::SERVER_HELLO_BYTES {
            return Err(TlsError::Failed("the server's hello is too long".to_owned()));
        }
        let Some(hello) = content.get(..length) else {
            return Ok(());
        };
        let is_missing = lacks_renegotiation_info(hello) == Some(true);
        *self = Self::Judged;
        if is_missing { Err(TlsError::RenegotiationInfoMissing) } else { Ok(()) }
    }
}

/// Whether a hello chooses TLS 1.2 and does not say that the server knows secure renegotiation. `None`: it cannot be
/// read, and rustls refuses it, as it does what says anything twice. A request to retry is of TLS 1.3 and stands for the
/// hello behind it, which is not judged.
fn lacks_renegotiation_info(mut hello: &[u8]) -> Option<bool> {
    let version = number(&mut hello)?;
    take(&mut hello, RANDOM_BYTES)?;
    let id_bytes = take(&mut hello, 1)?.first()?;
    take(&mut hello, usize::from(*id_bytes))?;
    // The suite, and that nothing is compressed.
    take(&mut hello, 3)?;
    let mut extensions = if hello.is_empty() { hello } else { vector(&mut hello)? };
    let (mut is_newer, mut is_informed) = (false, false);
    while !extensions.is_empty() {
        let kind = number(&mut extensions)?;
        let content = vector(&mut extensions)?;
        is_newer |= kind == SUPPORTED_VERSIONS;
        // Nothing was negotiated before: it repeats nothing.
        is_informed |= kind == RENEGOTIATION_INFO && content == [0];
    }
    Some(version == TLS_1_2 && !is_newer && !is_informed)
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let all = *rest;
    let (taken, left) = all.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}

fn number(rest: &mut &[u8]) -> Option<u16> {
    let bytes = take(rest, 2)?;
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

/// What stands behind its length.
fn vector<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = number(rest)?;
    take(rest, usize::from(length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    const ALERT: u8 = 21;
    const DATA: u8 = 23;

    type Extension = (u16, &'static [u8]);
    const EXTENDED_MASTER_SECRET: Extension = (23, &[]);
    const INFORMED: Extension = (RENEGOTIATION_INFO, &[0]);
    const INFORMED_OF_ANOTHER: Extension = (RENEGOTIATION_INFO, &[2, 7, 7]);
    const NEWER: Extension = (SUPPORTED_VERSIONS, &[3, 4]);
    const MISSING: Result<(), TlsError> = Err(TlsError::RenegotiationInfoMissing);

    fn record(content_type: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).expect("short").to_be_bytes();
        [&[content_type, 3, 3][..], &length, body].concat()
    }

    fn message(kind: u8, content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).expect("short").to_be_bytes();
        [&[kind][..], &length[1..], content].concat()
    }

    /// The content of a server's hello. Without `extensions` not even their length stands there.
    fn hello(version: u16, extensions: Option<&[Extension]>) -> Vec<u8> {
        let mut content = [&version.to_be_bytes()[..], &[7; RANDOM_BYTES], &[4], b"name", &[0xc0, 0x2c, 0]].concat();
        if let Some(extensions) = extensions {
            let mut list = Vec::new();
            for (kind, data) in extensions {
                list.extend(kind.to_be_bytes());
                list.extend(u16::try_from(data.len()).expect("short").to_be_bytes());
                list.extend_from_slice(data);
            }
            content.extend(u16::try_from(list.len()).expect("short").to_be_bytes());
            content.extend(list);
        }
        content
    }

    /// What is handed on of `bytes`, which come in pieces, and how that ends.
    fn hear(watch: &mut RecordWatch, bytes: &[u8], cuts: &[Index], complete: bool) -> (Vec<u8>, Result<(), TlsError>) {
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        let mut handed_on = Vec::new();
        for range in at.windows(2) {
            let mut piece = &bytes[range[0]..range[1]];
            while !piece.is_empty() {
                match watch.next(&mut piece, complete) {
                    Ok(part) => handed_on.extend_from_slice(part),
                    Err(error) => return (handed_on, Err(error)),
                }
            }
        }
        (handed_on, Ok(()))
    }

    /// What becomes of a server whose handshake begins so.
    fn judge(messages: &[u8]) -> Result<(), TlsError> {
        hear(&mut RecordWatch::on_server(), &record(HANDSHAKE, messages), &[], false).1
    }

    #[test]
    //= RFC9325-3.5-1 test
    fn a_server_of_tls_1_2_has_to_say_that_it_knows_secure_renegotiation() {
        for (version, extensions, expected) in [
            (TLS_1_2, Some(&[EXTENDED_MASTER_SECRET, INFORMED][..]), Ok(())),
            (TLS_1_2, Some(&[INFORMED, EXTENDED_MASTER_SECRET][..]), Ok(())),
            (TLS_1_2, Some(&[EXTENDED_MASTER_SECRET][..]), MISSING),
            (TLS_1_2, Some(&[INFORMED_OF_ANOTHER][..]), MISSING),
            (TLS_1_2, Some(&[] as &[Extension]), MISSING),
            (TLS_1_2, None, MISSING),
            // In TLS 1.3 there is nothing to say.
            (TLS_1_2, Some(&[EXTENDED_MASTER_SECRET, NEWER][..]), Ok(())),
            // And no older version is spoken.
            (0x0302, None, Ok(())),
        ] {
            let found = judge(&message(SERVER_HELLO, &hello(version, extensions)));
            assert_eq!(found, expected, "{version:x} {extensions:?}");
        }
    }

    #[test]
    fn only_the_first_message_of_a_server_is_judged() {
        let missing = message(SERVER_HELLO, &hello(TLS_1_2, None));
        let informed = message(SERVER_HELLO, &hello(TLS_1_2, Some(&[INFORMED])));
        assert_eq!(judge(&[&informed[..], &missing].concat()), Ok(()));
        assert_eq!(judge(&[&missing[..], &informed].concat()), MISSING);
        assert_eq!(judge(&[&message(0, &[])[..], &missing].concat()), Ok(()), "rustls refuses what is no hello");
        for content_type in [ALERT, DATA] {
            let mut watch = RecordWatch::on_server();
            assert_eq!(hear(&mut watch, &record(content_type, &missing), &[], false).1, Ok(()));
            assert_eq!(hear(&mut watch, &record(HANDSHAKE, &missing), &[], false).1, MISSING);
        }
        assert_eq!(hear(&mut RecordWatch::on_client(), &record(HANDSHAKE, &missing), &[], false).1, Ok(()));
    }

    #[test]
    fn a_hello_that_cannot_be_read_is_left_to_rustls_and_one_that_is_too_long_is_not_waited_for() {
        let whole = hello(TLS_1_2, Some(&[EXTENDED_MASTER_SECRET]));
        let bare = hello(TLS_1_2, None).len();
        for length in 0..=whole.len() {
            let readable = length == bare || length == whole.len();
            let expected = if readable { MISSING } else { Ok(()) };
            assert_eq!(judge(&message(SERVER_HELLO, &whole[..length])), expected, "{length} bytes");
        }
        assert_eq!(judge(&[SERVER_HELLO, 0, 0x40, 0]), Ok(()));
        let too_long = TlsError::Failed("the server's hello is too long".to_owned());
        for length in [[0, 0x40, 1], [1, 0, 0]] {
            assert_eq!(judge(&[&[SERVER_HELLO][..], &length].concat()), Err(too_long.clone()));
        }
    }

    proptest! {
        /// All that stands before the first record of a handshake is handed on, and nothing of that.
        #[test]
        //= RFC6120-5.3.5-2 test
        fn a_handshake_behind_the_first_is_stopped_at_its_head_however_it_is_cut(
            records in prop::collection::vec(
                (
                    prop_oneof![1 => Just(ALERT), 1 => Just(HANDSHAKE), 6 => Just(DATA)],
                    prop::collection::vec(any::<u8>(), 0..40),
                ),
                0..8,
            ),
            cuts in prop::collection::vec(any::<Index>(), 0..20),
        ) {
            let write = |records: &[(u8, Vec<u8>)]| -> Vec<u8> {
                records.iter().flat_map(|(content_type, body)| record(*content_type, body)).collect()
            };
            let first = records.iter().position(|(content_type, _)| *content_type == HANDSHAKE);
            let (before, end) = match first {
                Some(first) => (write(&records[..first]), Err(TlsError::Renegotiation)),
                None => (write(&records), Ok(())),
            };
            let bytes = write(&records);
            let found = hear(&mut RecordWatch::on_client(), &bytes, &cuts, true);
            prop_assert_eq!(found, (before, end));
            let found = hear(&mut RecordWatch::on_client(), &bytes, &cuts, false);
            prop_assert_eq!(found, (bytes, Ok(())), "before the handshake is complete everything is handed on");
        }

        /// One hello in many records, in many pieces.
        #[test]
        fn a_hello_is_judged_alike_however_it_is_spread_and_cut(
            informed in any::<bool>(),
            sizes in prop::collection::vec(1_usize..30, 1..8),
            cuts in prop::collection::vec(any::<Index>(), 0..20),
        ) {
            let extensions: &[Extension] = if informed { &[INFORMED] } else { &[EXTENDED_MASTER_SECRET] };
            let hello = message(SERVER_HELLO, &hello(TLS_1_2, Some(extensions)));
            let (mut rest, mut bytes) = (hello.as_slice(), Vec::new());
            for size in sizes.iter().cycle() {
                let (fragment, left) = rest.split_at((*size).min(rest.len()));
                bytes.extend(record(HANDSHAKE, fragment));
                rest = left;
                if rest.is_empty() {
                    break;
                }
            }
            let found = hear(&mut RecordWatch::on_server(), &bytes, &cuts, false).1;
            prop_assert_eq!(found, if informed { Ok(()) } else { MISSING });
        }
    }
}
