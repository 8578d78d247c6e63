//! Stream headers: judged when read, and written.
//!
//! - [RFC 6120 section 4.7](https://www.rfc-editor.org/rfc/rfc6120#section-4.7), [section 4.8](https://www.rfc-editor.org/rfc/rfc6120#section-4.8)

use crate::addr::Domain;
use crate::limits;
use crate::ns;
use crate::stream::StreamError;
use crate::xml::{Root, escape_attribute};

/// The header of a peer, with its addresses in canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whom the stream is for; none of a response header.
    pub to: Option<Domain>,
    /// Who opened it; none of a response header.
    pub from: Option<Domain>,
    /// The id that the peer gave to the stream; none of an initial header.
    pub id: Option<String>,
    /// The version.
    pub version: Version,
    /// Whether the dialback namespace is declared: the traditional sign of support.
    pub declares_dialback: bool,
}

/// The version of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// No version, or 0.9: no features, so no TLS and no SASL.
    Legacy,
    /// 1.0, or a later one of which we speak the 1.0 part.
    One,
}

impl Header {
    /// Judges the start tag of a stream that the peer opens. Its id means nothing, and is not looked at.
    //= RFC6120-4.7.3-4
    //= RFC6120-4.7.5-7
    //= RFC7622-4-3
    pub fn judge(root: &Root) -> Result<Self, StreamError> {
        Self::judge_namespaces(root)?;
        let domain = |text: &Option<String>| match text {
            Some(text) => Domain::parse(text).map(Some).map_err(|_| StreamError::ImproperHeader),
            None => Ok(None),
        };
        let (to, from) = (domain(&root.to)?, domain(&root.from)?);
        let version = Version::judge(root.version.as_deref())?;
        Ok(Self { to, from, id: None, version, declares_dialback: root.declares_dialback })
    }

    /// Reads from a start tag that [`Header::judge`] refuses what can be read: a domain that is malformed is left out, and
    /// a malformed version counts as 1.0, so that our answer carries one.
    pub(super) fn salvage(root: &Root) -> Self {
        let domain = |text: &Option<String>| Domain::parse(text.as_deref()?).ok();
        let version = Version::judge(root.version.as_deref()).unwrap_or(Version::One);
        Self {
            to: domain(&root.to),
            from: domain(&root.from),
            id: None,
            version,
            declares_dialback: root.declares_dialback,
        }
    }

    /// Judges the start tag with which the peer answers ours. Its domains mean nothing, and are not looked at (decision
    /// D-34): where an error says that a host is unknown, `from` is empty (decision D-17).
    //= RFC6120-4.7.5-7
    pub fn judge_response(root: &Root) -> Result<Self, StreamError> {
        Self::judge_namespaces(root)?;
        if root.id.as_ref().is_some_and(|id| id.len() > limits::STREAM_ID_BYTES) {
            return Err(StreamError::ImproperHeader);
        }
        let version = Version::judge(root.version.as_deref())?;
        Ok(Self { to: None, from: None, id: root.id.clone(), version, declares_dialback: root.declares_dialback })
    }

    //= RFC6120-4.8.1-2
    //= RFC6120-4.8.3-1
    fn judge_namespaces(root: &Root) -> Result<(), StreamError> {
        if root.namespace != ns::STREAMS || root.name != "stream" {
            return Err(StreamError::InvalidNamespace);
        }
        match root.default_namespace.as_deref() {
            None | Some(ns::SERVER) => {}
            //= RFC6120-4.8.2-3
            Some(ns::STREAMS) if root.prefix.is_none() => {}
            Some(_) => return Err(StreamError::InvalidNamespace),
        }
        Ok(())
    }
}

impl Version {
    /// Reads `major.minor`, two integers: 1.10 is above 1.9, and leading zeros say nothing.
    //= RFC6120-4.7.5-1
    //= RFC6120-4.7.5-2
    //= RFC6120-4.7.5-3
    fn judge(text: Option<&str>) -> Result<Self, StreamError> {
        let Some(text) = text else {
            return Ok(Self::Legacy);
        };
        let (major, minor) = text.split_once('.').ok_or(StreamError::MalformedVersion)?;
        let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(major) || !is_number(minor) {
            return Err(StreamError::MalformedVersion);
        }
        Ok(if major.trim_start_matches('0').is_empty() { Self::Legacy } else { Self::One })
    }
}

/// The initial header from `local` to `remote`.
//= RFC6120-4.7.1-1
//= RFC6120-4.7.2-1
//= RFC6120-4.7.3-3
//= RFC6120-4.7.5-4
//= RFC6120-11.5-1
//= RFC6120-4.7.4-2
//= RFC6120-4.7.4-1
//= RFC6120-12-1
#[must_use]
pub(super) fn initial(local: &Domain, remote: &Domain) -> String {
    let (local, remote) = (local.spelled(), remote.spelled());
    format!("{OPENING} from='{local}' to='{remote}' version='1.0' xml:lang='en'>")
}

/// The response header. Without `local` its `from` is empty: nothing is revealed (decision D-17).
//= RFC6120-4.7.1-2
//= RFC6120-4.7.2-2
//= RFC6120-4.7.3-5
//= RFC6120-4.7.4-3
//= RFC6120-4.7.5-8
//= RFC6120-4.9.1.3-1
//= RFC6120-4.7.5-5
#[must_use]
pub(super) fn response(local: Option<&Domain>, remote: Option<&Domain>, id: &str, version: Version) -> String {
    let mut text = format!("{OPENING} from='{}'", local.map(Domain::spelled).unwrap_or_default());
    if let Some(remote) = remote {
        text.push_str(&format!(" to='{}'", remote.spelled()));
    }
    text.push_str(&format!(" id='{}'", escape_attribute(id)));
    if version == Version::One {
        text.push_str(" version='1.0'");
    }
    text.push_str(" xml:lang='en'>");
    text
}

/// ejabberd takes dialback elements only with the prefix `db` from a header that declares it.
//= RFC6120-4.8.5-1
//= XEP0220-2.4.1-1
//= RFC6120-4.8.1-1
//= RFC6120-4.8.2-1
//= RFC6120-4.8.2-2
//= RFC6120-4.8.5-8
//= RFC6120-11.5-2
//= RFC6120-11.6-3
//= RFC6120-11.8-1
const OPENING: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:server' \
     xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback'";

/// The end of every stream.
pub(crate) const CLOSING: &str = "</stream:stream>";

/// A stream error with its condition and, where it helps, a text in English.
//= RFC6120-4.9.2-1
//= RFC6120-4.9.2-3
pub(crate) fn error(error: &StreamError) -> String {
    error_element(error.condition(), error.text())
}

/// The element of a stream error.
pub(crate) fn error_element(condition: super::Condition, text: Option<&str>) -> String {
    let mut element = format!("<stream:error><{condition} xmlns='{}'/>", ns::STREAM_ERRORS);
    if let Some(text) = text {
        element.push_str(&format!("<text xmlns='{}' xml:lang='en'>{text}</text>", ns::STREAM_ERRORS));
    }
    element.push_str("</stream:error>");
    element
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::Condition;

    fn root() -> Root {
        Root {
            namespace: ns::STREAMS.to_owned(),
            prefix: Some("stream".to_owned()),
            name: "stream".to_owned(),
            default_namespace: Some(ns::SERVER.to_owned()),
            to: Some("v.example".to_owned()),
            from: Some("m.example".to_owned()),
            version: Some("1.0".to_owned()),
            ..Root::default()
        }
    }

    fn refused(change: impl FnOnce(&mut Root)) -> Condition {
        let mut root = root();
        change(&mut root);
        Header::judge(&root).expect_err("refused").condition()
    }

    #[test]
    //= RFC6120-4.8.1-2 test
    //= RFC6120-4.8.3-1 test
    fn a_header_of_another_kind_of_stream_is_refused() {
        for namespace in ["jabber:client", "jabber:component:accept", "", ns::STREAMS] {
            assert_eq!(
                refused(|root| root.default_namespace = Some(namespace.to_owned())),
                Condition::InvalidNamespace
            );
        }
        assert_eq!(refused(|root| root.namespace = "urn:evil".to_owned()), Condition::InvalidNamespace);
        assert_eq!(refused(|root| root.name = "error".to_owned()), Condition::InvalidNamespace);
        let mut prefix_free = root();
        prefix_free.prefix = None;
        prefix_free.default_namespace = Some(ns::STREAMS.to_owned());
        assert!(Header::judge(&prefix_free).is_ok());
    }

    #[test]
    fn only_domains_stand_in_an_initial_header() {
        for bad in ["admin@v.example", "v.example/x", "", "127.0.0.1", "a b"] {
            assert_eq!(refused(|root| root.to = Some(bad.to_owned())), Condition::ImproperAddressing, "{bad}");
            assert_eq!(refused(|root| root.from = Some(bad.to_owned())), Condition::ImproperAddressing, "{bad}");
        }
    }

    #[test]
    fn the_domains_in_a_response_header_are_not_judged() {
        for other in ["", "127.0.0.1", "a_b.example", "admin@m.example", "a b", "t.example"] {
            let other = Some(other.to_owned());
            let header = Header::judge_response(&Root { to: other.clone(), from: other.clone(), ..root() });
            let header = header.unwrap_or_else(|error| panic!("{other:?} is none of our business: {error:?}"));
            assert_eq!((header.to, header.from, header.version), (None, None, Version::One), "{other:?}");
        }
        let of_a_client = Root { default_namespace: Some("jabber:client".to_owned()), ..root() };
        assert_eq!(Header::judge_response(&of_a_client), Err(StreamError::InvalidNamespace));
        let of_no_version = Root { version: Some("1".to_owned()), ..root() };
        assert_eq!(Header::judge_response(&of_no_version), Err(StreamError::MalformedVersion));
    }

    #[test]
    fn the_id_of_a_response_may_be_as_long_as_the_limit_says_and_no_longer() {
        let judge = |length| Header::judge_response(&Root { id: Some("i".repeat(length)), ..root() });
        let id = judge(limits::STREAM_ID_BYTES).expect("within the limit").id;
        assert_eq!(id.map(|id| id.len()), Some(limits::STREAM_ID_BYTES));
        for length in [limits::STREAM_ID_BYTES + 1, limits::STREAM_ID_BYTES * 2] {
            assert_eq!(judge(length), Err(StreamError::ImproperHeader));
        }
    }

    #[test]
    //= RFC7622-3.2.1-2 test
    fn headers_name_domains_in_the_form_that_they_were_written_in() {
        let (ours, theirs) = (Domain::parse("b\u{fc}cher.example"), Domain::parse("im.xn--80a.example"));
        let (ours, theirs) = (ours.expect("a domain"), theirs.expect("a domain"));
        assert!(initial(&ours, &theirs).contains(" from='b\u{fc}cher.example' to='im.xn--80a.example' "));
        let answer = response(Some(&ours), Some(&theirs), "7", Version::One);
        assert!(answer.contains(" from='b\u{fc}cher.example' to='im.xn--80a.example' "), "{answer}");
    }

    #[test]
    //= RFC6120-4.7.3-4 test
    fn an_id_in_an_initial_header_is_ignored_however_long_it_is() {
        for id in ["", "i", &"i".repeat(limits::STREAM_ID_BYTES + 1)] {
            let header = Header::judge(&Root { id: Some(id.to_owned()), ..root() }).expect("an id means nothing here");
            assert_eq!(header, Header::judge(&root()).expect("proper"), "{} bytes", id.len());
        }
    }

    #[test]
    //= RFC6120-4.7.5-1 test
    //= RFC6120-4.7.5-2 test
    //= RFC6120-4.7.5-3 test
    //= RFC6120-4.7.5-7 test
    fn versions_are_two_integers() {
        let judge = |text: &str| Version::judge(Some(text));
        for text in ["1.0", "1.1", "1.10", "01.0", "2.0", "11.0", "99999999999999999999.0"] {
            assert_eq!(judge(text), Ok(Version::One), "{text}");
        }
        for text in ["0.9", "00.1"] {
            assert_eq!(judge(text), Ok(Version::Legacy), "{text}");
        }
        assert_eq!(Version::judge(None), Ok(Version::Legacy));
        for text in ["1", "1.0.0", "-1.0", "1e9", " 1.0", "", ".", "1.", ".0"] {
            assert_eq!(judge(text), Err(StreamError::MalformedVersion), "{text}");
        }
    }
}
