//! One component link: its state, its framer, its output. What a frame means for the table of hosts is the hub's.

use std::net::SocketAddr;
use std::time::Instant;

use crate::addr::Domain;
use crate::buf::Output;
use crate::component::ending::{Ending, LinkError};
use crate::limits;
use crate::ns;
use crate::stream::Condition;
use crate::xml::{Bounds, Frame, Framer, Root, XmlError, escape_attribute, escape_text};

/// Where a link is in its life.
#[derive(Debug)]
pub(super) enum State {
    /// Nothing was heard yet, nothing said.
    ExpectHeader,
    /// Our header is out.
    ExpectHandshake {
        /// The host that was asked for.
        host: Domain,
        /// The id that we gave to the stream.
        id: String,
    },
    /// Stanzas flow.
    Open {
        /// The host that this component serves.
        host: Domain,
    },
    /// Our closing tag is out; what comes in is thrown away.
    Closing {
        /// Whether the other side will send no more.
        peer_ended: bool,
    },
}

/// One connection to the component listener.
#[derive(Debug)]
pub(super) struct Link {
    /// The other end.
    pub(super) addr: SocketAddr,
    /// Where it is in its life.
    pub(super) state: State,
    /// When it ends if nothing happens.
    pub(super) deadline: Option<Instant>,
    /// Whether the adapter has been asked to look at it, and was not told yet.
    pub(super) wake_queued: bool,
    /// What is to be written.
    pub(super) output: Output,
    framer: Framer,
}

impl Link {
    /// A connection that was just accepted.
    pub(super) fn new(addr: SocketAddr) -> Self {
        let bounds = Bounds {
            element_bytes: limits::UNAUTHENTICATED_ELEMENT_BYTES,
            depth: limits::ELEMENT_DEPTH,
            children: limits::UNAUTHENTICATED_CHILDREN,
        };
        Self {
            addr,
            state: State::ExpectHeader,
            deadline: None,
            wake_queued: false,
            output: Output::new(),
            framer: Framer::new(ns::COMPONENT, bounds),
        }
    }

    /// The next frame at the front of `bytes`. After our closing tag nothing is read any more.
    pub(super) fn next_frame(&mut self, bytes: &mut &[u8]) -> Result<Option<Frame>, XmlError> {
        match self.state {
            State::Closing { .. } => Ok(None),
            _ => self.framer.next(bytes),
        }
    }

    /// Allows stanzas of `stanza_bytes`.
    pub(super) fn set_stanza_bytes(&mut self, stanza_bytes: usize) {
        let (depth, children) = (limits::ELEMENT_DEPTH, limits::STANZA_CHILDREN);
        self.framer.set_bounds(Bounds { element_bytes: stanza_bytes, depth, children });
    }

    /// Whether `bytes` more may wait, `bound` in all. A single stanza may always: the bound of stanzas is another one.
    pub(super) const fn has_room(&self, bytes: usize, bound: usize) -> bool {
        self.output.is_empty() || self.output.len().saturating_add(bytes) <= bound
    }

    /// Our stream header. It has no `xml:lang`, which stanzas without a language would inherit from it, and no
    /// `version`, because the component protocol has none. `from` is empty where no host of ours was named.
    //= XEP0114-3-2
    //= RFC6120-4.9.1.3-1
    pub(super) fn write_header(&mut self, from: Option<&Domain>, id: &str) {
        let header = format!(
            "<?xml version='1.0'?><stream:stream xmlns='{}' xmlns:stream='{}' from='{}' id='{}'>",
            ns::COMPONENT,
            ns::STREAMS,
            escape_attribute(&from.map(Domain::spelled).unwrap_or_default()),
            escape_attribute(id)
        );
        self.output.tail().extend_from_slice(header.as_bytes());
    }

    /// A stream error.
    //= RFC6120-4.9.2-1
    //= RFC6120-4.9.2-3
    pub(super) fn write_error(&mut self, condition: Condition, text: &str) {
        let error = format!(
            "<stream:error><{condition} xmlns='{namespace}'/>\
             <text xmlns='{namespace}' xml:lang='en'>{}</text></stream:error>",
            escape_text(text),
            namespace = ns::STREAM_ERRORS,
        );
        self.output.tail().extend_from_slice(error.as_bytes());
    }
}

/// Judges the namespaces of the header, and gives the domain that it is addressed to.
//= XEP0114-3-1
//= XEP0114-3-4
//= RFC6120-4.8.1-2
pub(super) fn judge_header(root: &Root) -> Result<Domain, Ending> {
    if root.namespace != ns::STREAMS {
        return Err(LinkError::RootNamespace.into());
    }
    if root.name != "stream" {
        return Err(LinkError::RootName.into());
    }
    if root.default_namespace.as_deref() != Some(ns::COMPONENT) {
        return Err(LinkError::ContentNamespace.into());
    }
    let to = root.to.as_deref().ok_or(LinkError::HeaderTo)?;
    Domain::parse(to).map_err(|_| LinkError::HeaderTo.into())
}
