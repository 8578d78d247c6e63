//! The initiating side of stream negotiation.
//!
//! We open the stream, wait for features, ask for TLS, start over inside it, then prove who we are by EXTERNAL or by
//! a dialback key, or ask an authoritative server about somebody else's key. Each step is one state; see [`State`].
//!
//! The owner may speak [`Ahead`] of features that have not come: the request travels with our header, and the features are
//! judged all the same when they come, before the answer.
//!
//! - Opening: [RFC 6120 section 4.2](https://www.rfc-editor.org/rfc/rfc6120#section-4.2)
//! - STARTTLS: [section 5](https://www.rfc-editor.org/rfc/rfc6120#section-5)
//! - EXTERNAL: [XEP-0178](https://xmpp.org/extensions/xep-0178.html)
//! - Dialback: [XEP-0220 section 2.1](https://xmpp.org/extensions/xep-0220.html#outbound)

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use crate::addr::{Domain, Pair};
use crate::auth::Method;
use crate::dialback::{Answer, Confirmed, Kind, Message};
use crate::ns;
use crate::sasl;
use crate::starttls;
use crate::stream::features::Features;
use crate::stream::header::{self, Header, Version};
use crate::stream::{Flow, PeerError, Sink, StreamError, unexpected};
use crate::xml::{Element, Frame, Root};

/// What happened on a stream that we opened.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InitiatingEvent {
    /// TLS is up and our header is on its way: the owner may speak ahead of the features.
    Secured,
    /// The response header arrived, and the owner decides whether the stream may go on: inside TLS by the certificate.
    /// In clear there is nothing to judge yet, because only the features say whether there will be TLS.
    HeaderReceived,
    /// Features arrived, and the owner decides how to go on. Whether TLS is up, it knows from the tunnel
    /// ([`Link::facts`](crate::link::Link::facts)).
    FeaturesReceived(Features),
    /// The peer refused EXTERNAL; the owner decides how to go on.
    ExternalRefused {
        /// Why.
        failure: sasl::Failure,
        /// Whether it was attempted ahead of the features.
        uninvited: bool,
    },
    /// The peer accepts stanzas of this pair from now on.
    Authorised {
        /// The pair.
        pair: Pair,
        /// How we proved it.
        by: Method,
    },
    /// The features behind authentication arrived: the negotiation is complete.
    Settled {
        /// Largest stanza that the peer takes, in bytes, if it says so (XEP-0478).
        max_bytes: Option<u32>,
    },
    /// The peer did not accept our key for this pair.
    KeyRefused {
        /// The pair.
        pair: Pair,
        /// Its answer: never [`Answer::Valid`].
        answer: Answer,
    },
    /// The authoritative server confirmed the key that we asked about.
    Confirmed(Confirmed),
    /// It did not.
    NotConfirmed {
        /// The pair that we asked about.
        pair: Pair,
        /// Its answer: never [`Answer::Valid`].
        answer: Answer,
    },
}

/// A stream that we opened.
#[derive(Debug)]
pub struct Initiating {
    local: Domain,
    remote: Domain,
    /// Whether our header stands in the present document. It outlives the state when a transition fails.
    header_sent: bool,
    /// Whether the peer's header has come in the present document. It outlives the state, too.
    header_heard: bool,
    /// What waits for its answer although it was not invited. It outlives the state when a transition fails.
    ahead: Ahead,
    /// The features that are expected behind authentication.
    expected: Option<Expected>,
    state: State,
}

/// What was said ahead of the features that would have invited it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ahead {
    /// Nothing, or it was answered.
    Nothing,
    /// The request for TLS.
    StartTls,
    /// `auth`.
    External,
    /// A question about a key.
    Verify,
}

/// What the features behind authentication are expected to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Expected {
    max_bytes: Option<u32>,
}

/// How far the layers below the present document have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layer {
    /// Nothing, or TLS, is proved about us.
    Anonymous,
    /// EXTERNAL succeeded.
    Authenticated,
}

#[derive(Debug)]
enum State {
    /// Our header is not sent yet.
    Unopened,
    /// The response header is awaited.
    ExpectHeader(Layer),
    /// The response header came, and the owner decides whether the stream may go on.
    HeaderUndecided { id: String, declares_dialback: bool },
    /// Features are awaited.
    ExpectFeatures { layer: Layer, id: String, declares_dialback: bool },
    /// The owner decides.
    Undecided { id: String, features: Features },
    /// We asked for TLS.
    ExpectProceed,
    /// TLS is being set up: there is no XML.
    ExpectTls,
    /// We sent `auth`.
    ExpectSasl { id: String, features: Features, challenged: bool },
    /// Negotiated: dialback and, for authorised pairs, stanzas.
    Open(Open),
    /// A transition failed: the stream is over.
    Poisoned,
}

#[derive(Debug)]
struct Open {
    id: String,
    max_bytes: Option<u32>,
    keys: BTreeSet<Pair>,
    questions: BTreeSet<(Pair, String)>,
    authorised: BTreeMap<Pair, Method>,
    restart: Restart,
}

/// What is still to come of the restart behind EXTERNAL, where stanzas do not wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Restart {
    Header,
    Features,
    Complete,
}

impl Initiating {
    /// A stream from `local` to `remote`, not opened yet.
    #[must_use]
    pub const fn new(local: Domain, remote: Domain) -> Self {
        Self {
            local,
            remote,
            header_sent: false,
            header_heard: false,
            ahead: Ahead::Nothing,
            expected: None,
            state: State::Unopened,
        }
    }

    /// Sends our header: at the start, and again when TLS is up.
    //= RFC6120-5.4.3.3-3
    //= RFC6120-4.2-1
    pub fn open(&mut self, wire: &mut Vec<u8>) {
        wire.extend_from_slice(header::initial(&self.local, &self.remote).as_bytes());
        self.header_sent = true;
        self.header_heard = false;
        self.ahead = Ahead::Nothing;
        self.state = State::ExpectHeader(Layer::Anonymous);
    }

    /// What was said ahead and is not answered yet.
    #[must_use]
    pub const fn ahead(&self) -> &Ahead {
        &self.ahead
    }

    /// Ahead of the features: asks for TLS.
    pub fn starttls_ahead(&mut self, wire: &mut Vec<u8>) {
        if self.has_only_opened() {
            wire.extend_from_slice(starttls::REQUEST.as_bytes());
            self.ahead = Ahead::StartTls;
        }
    }

    /// Ahead of the features: attempts EXTERNAL.
    pub fn external_ahead(&mut self, wire: &mut Vec<u8>) {
        if self.has_only_opened() {
            wire.extend_from_slice(sasl::auth(&self.local).as_bytes());
            self.ahead = Ahead::External;
        }
    }

    /// Ahead of the features: asks about a key, as [`Initiating::send_verify`] does.
    pub fn verify_ahead(&mut self, pair: &Pair, id: String, key: String, wire: &mut Vec<u8>) {
        if self.has_only_opened() {
            wire.extend_from_slice(verify_request(pair, id, key).as_bytes());
            self.ahead = Ahead::Verify;
        }
    }

    fn has_only_opened(&self) -> bool {
        self.ahead == Ahead::Nothing && matches!(self.state, State::ExpectHeader(Layer::Anonymous))
    }

    /// Stanzas need not wait for the features behind authentication: they are expected to be what they were last time.
    pub const fn expect_last_features(&mut self, max_bytes: Option<u32>) {
        self.expected = Some(Expected { max_bytes });
    }

    /// Whether stanzas may be under way to a peer that has not answered the header behind authentication.
    #[must_use]
    pub const fn awaits_header_behind_stanzas(&self) -> bool {
        matches!(&self.state, State::Open(Open { restart: Restart::Header, .. }))
    }

    /// Whether stanzas may be under way although the features behind authentication have not come.
    #[must_use]
    pub const fn is_settling(&self) -> bool {
        matches!(&self.state, State::Open(Open { restart: Restart::Header | Restart::Features, .. }))
    }

    /// Whether the peer has answered our present header.
    #[must_use]
    pub const fn has_heard_header(&self) -> bool {
        self.header_heard
    }

    /// Whether our header stands in the present document, so that an error needs none before it.
    #[must_use]
    pub const fn has_sent_header(&self) -> bool {
        self.header_sent
    }

    /// The id that the peer gave to the present stream, once there are features.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        match &self.state {
            State::Undecided { id, .. } | State::ExpectSasl { id, .. } => Some(id),
            State::Open(open) => Some(&open.id),
            _ => None,
        }
    }

    /// The features that the owner decides on; `None` where nothing is to be decided.
    #[must_use]
    pub const fn features(&self) -> Option<&Features> {
        match &self.state {
            State::Undecided { features, .. } => Some(features),
            _ => None,
        }
    }

    /// Whether the owner must decide before the next frame.
    #[must_use]
    pub const fn is_undecided(&self) -> bool {
        matches!(self.state, State::Undecided { .. } | State::HeaderUndecided { .. })
    }

    /// Whether stanzas of `pair` may be sent.
    #[must_use]
    pub fn is_authorised(&self, pair: &Pair) -> bool {
        matches!(&self.state, State::Open(open) if open.authorised.contains_key(pair))
    }

    /// Whether a key of `pair` was sent that the peer has not answered.
    #[must_use]
    pub fn awaits_answer_to_key(&self, pair: &Pair) -> bool {
        matches!(&self.state, State::Open(open) if open.keys.contains(pair))
    }

    /// Whether stanzas of any pair may be sent.
    #[must_use]
    pub fn has_authorised(&self) -> bool {
        matches!(&self.state, State::Open(open) if !open.authorised.is_empty())
    }

    /// Largest stanza that the peer takes, in bytes, if it says so (XEP-0478).
    #[must_use]
    pub const fn peer_max_bytes(&self) -> Option<u32> {
        match &self.state {
            State::Open(open) => open.max_bytes,
            _ => None,
        }
    }

    /// Decision: the peer may go on behind its header.
    pub fn accept_header(&mut self) {
        if let State::HeaderUndecided { id, declares_dialback } = &mut self.state {
            let (layer, id, declares_dialback) = (Layer::Anonymous, mem::take(id), *declares_dialback);
            self.state = State::ExpectFeatures { layer, id, declares_dialback };
        }
    }

    /// Decision: ask for TLS.
    pub fn starttls(&mut self, wire: &mut Vec<u8>) {
        if matches!(self.state, State::Undecided { .. }) {
            if self.ahead != Ahead::StartTls {
                wire.extend_from_slice(starttls::REQUEST.as_bytes());
            }
            self.state = State::ExpectProceed;
        }
    }

    /// Decision: attempt EXTERNAL.
    pub fn external(&mut self, wire: &mut Vec<u8>) {
        match mem::replace(&mut self.state, State::Poisoned) {
            State::Undecided { id, features } => {
                if self.ahead != Ahead::External {
                    wire.extend_from_slice(sasl::auth(&self.local).as_bytes());
                }
                self.state = State::ExpectSasl { id, features, challenged: false };
            }
            other => self.state = other,
        }
    }

    /// Whether a key, or a question about one, may be said now.
    pub(crate) const fn takes_dialback(&self) -> bool {
        matches!(self.state, State::Undecided { .. } | State::Open(_))
    }

    /// Decision: prove `pair` by a dialback key.
    //= XEP0220-2.1.1-1
    pub fn send_key(&mut self, pair: &Pair, key: String, wire: &mut Vec<u8>) {
        if let Some(open) = self.negotiated() {
            open.keys.insert(pair.clone());
            let message = Message { from: pair.local.clone(), to: pair.remote.clone(), kind: Kind::Key(key) };
            wire.extend_from_slice(message.write().as_bytes());
        }
    }

    /// Decision: ask whether `key` is the one that `pair.remote` sent us for `pair` on our stream `id`.
    //= XEP0220-2.1.2-1
    pub fn send_verify(&mut self, pair: &Pair, id: String, key: String, wire: &mut Vec<u8>) {
        let asked = self.ahead == Ahead::Verify;
        if let Some(open) = self.negotiated() {
            open.questions.insert((pair.clone(), id.clone()));
            if !asked {
                wire.extend_from_slice(verify_request(pair, id, key).as_bytes());
            }
        }
    }

    /// Moves from the decision to the negotiated state, if it is not there yet.
    fn negotiated(&mut self) -> Option<&mut Open> {
        if let State::Undecided { id, features } = &mut self.state {
            self.state = State::Open(Open::new(mem::take(id), features.max_bytes, Restart::Complete));
        }
        match &mut self.state {
            State::Open(open) => Some(open),
            _ => None,
        }
    }

    /// TLS is up: everything that was learned is gone, and our header goes out anew.
    //= RFC6120-5.4.3.3-1
    pub fn secured(&mut self, wire: &mut Vec<u8>) {
        self.open(wire);
    }

    /// Takes the next frame.
    pub fn handle(&mut self, frame: Frame, sink: &mut Sink<'_, InitiatingEvent>) -> Result<Flow, StreamError> {
        match frame {
            Frame::Root(root) => {
                let header = self.judge_header(&root)?;
                self.handle_header(&header, sink)
            }
            Frame::End => Ok(Flow::Closed),
            // Without XEP-0288 stanzas flow from the initiating to the receiving side only.
            //= RFC6120-4.5-1
            Frame::Stanza(_) => Err(StreamError::NotAuthenticated),
            Frame::Element(element) => match PeerError::read(&element) {
                Some(error) => Ok(Flow::Failed(error)),
                None => self.handle_element(&element, sink),
            },
        }
    }

    /// Judges the peer's header. A version or an id that is wrong answers nothing of what we have said ahead: it would
    /// be wrong in any case.
    fn judge_header(&mut self, root: &Root) -> Result<Header, StreamError> {
        Header::judge_response(root).inspect_err(|error| {
            if matches!(error, StreamError::MalformedVersion | StreamError::ImproperHeader) {
                self.ahead = Ahead::Nothing;
            }
        })
    }

    fn handle_header(&mut self, header: &Header, sink: &mut Sink<'_, InitiatingEvent>) -> Result<Flow, StreamError> {
        self.header_heard = true;
        if let State::Open(open) = &mut self.state
            && open.restart == Restart::Header
        {
            open.id = header.id.clone().unwrap_or_default();
            open.restart = match header.version {
                Version::One => Restart::Features,
                // There are no features: the negotiation is complete.
                Version::Legacy => {
                    sink.events.push_back(InitiatingEvent::Settled { max_bytes: None });
                    Restart::Complete
                }
            };
            return Ok(Flow::Continue);
        }
        let State::ExpectHeader(layer) = mem::replace(&mut self.state, State::Poisoned) else {
            return Err(StreamError::NestedHeader);
        };
        // A response header has no authority over who the peer is: the certificate is judged for the domain that
        // we asked for, whatever `from` says here.
        let id = header.id.clone().unwrap_or_default();
        match header.version {
            Version::One if layer == Layer::Anonymous => {
                sink.events.push_back(InitiatingEvent::HeaderReceived);
                self.state = State::HeaderUndecided { id, declares_dialback: header.declares_dialback };
                Ok(Flow::Undecided)
            }
            Version::One => {
                self.state = State::ExpectFeatures { layer, id, declares_dialback: header.declares_dialback };
                Ok(Flow::Continue)
            }
            Version::Legacy => Ok(self.decide(layer, id, Features::legacy(header.declares_dialback), sink)),
        }
    }

    fn handle_element(&mut self, element: &Element, sink: &mut Sink<'_, InitiatingEvent>) -> Result<Flow, StreamError> {
        match mem::replace(&mut self.state, State::Poisoned) {
            State::ExpectFeatures { layer, id, declares_dialback } => {
                let features = Features::read(element, declares_dialback).ok_or(StreamError::UnexpectedElement)?;
                Ok(self.decide(layer, id, features, sink))
            }
            State::ExpectProceed => match starttls::Message::of(element) {
                Some(starttls::Message::Proceed) => {
                    self.header_sent = false;
                    self.ahead = Ahead::Nothing;
                    self.state = State::ExpectTls;
                    Ok(Flow::StartTls)
                }
                Some(starttls::Message::Failure) => Ok(Flow::StartTlsRefused),
                _ => Err(StreamError::UnexpectedElement),
            },
            State::ExpectSasl { id, features, challenged } => self.handle_sasl(id, features, challenged, element, sink),
            State::Open(mut open) => {
                let asked = open.questions.len();
                let flow = open.handle(element, sink)?;
                if open.questions.len() < asked {
                    self.ahead = Ahead::Nothing;
                }
                self.state = State::Open(open);
                Ok(flow)
            }
            _ => Err(StreamError::UnexpectedElement),
        }
    }

    /// Features are there: after EXTERNAL the stream is negotiated, else the owner decides.
    //= RFC6120-4.3.2-7
    fn decide(&mut self, layer: Layer, id: String, features: Features, sink: &mut Sink<'_, InitiatingEvent>) -> Flow {
        match layer {
            Layer::Anonymous => {
                sink.events.push_back(InitiatingEvent::FeaturesReceived(features.clone()));
                self.state = State::Undecided { id, features };
                Flow::Undecided
            }
            Layer::Authenticated => {
                self.authorised(Open::new(id, features.max_bytes, Restart::Complete), sink);
                sink.events.push_back(InitiatingEvent::Settled { max_bytes: features.max_bytes });
                Flow::Continue
            }
        }
    }

    /// EXTERNAL has succeeded: stanzas may flow.
    fn authorised(&mut self, mut open: Open, sink: &mut Sink<'_, InitiatingEvent>) {
        let pair = Pair::new(self.local.clone(), self.remote.clone());
        open.authorised.insert(pair.clone(), Method::External);
        self.state = State::Open(open);
        sink.events.push_back(InitiatingEvent::Authorised { pair, by: Method::External });
    }

    fn handle_sasl(
        &mut self,
        id: String,
        features: Features,
        challenged: bool,
        element: &Element,
        sink: &mut Sink<'_, InitiatingEvent>,
    ) -> Result<Flow, StreamError> {
        let message = sasl::Message::of(element);
        // Anything else is no answer to what was said ahead.
        let uninvited = message.is_some() && mem::replace(&mut self.ahead, Ahead::Nothing) == Ahead::External;
        match message {
            //= RFC6120-6.4.6-3
            //= RFC6120-4.3.3-4
            Some(sasl::Message::Success) => {
                sink.write(&header::initial(&self.local, &self.remote));
                match self.expected.take() {
                    Some(Expected { max_bytes }) => {
                        self.authorised(Open::new(String::new(), max_bytes, Restart::Header), sink);
                    }
                    None => self.state = State::ExpectHeader(Layer::Authenticated),
                }
                Ok(Flow::Restart)
            }
            //= RFC6120-6.3.10-1
            Some(sasl::Message::Challenge) if !challenged => {
                sink.write(&sasl::response(&self.local));
                self.state = State::ExpectSasl { id, features, challenged: true };
                Ok(Flow::Continue)
            }
            Some(sasl::Message::Failure(failure)) => {
                self.state = State::Undecided { id, features };
                sink.events.push_back(InitiatingEvent::ExternalRefused { failure, uninvited });
                Ok(Flow::Undecided)
            }
            _ => Err(StreamError::UnexpectedElement),
        }
    }
}

impl Open {
    const fn new(id: String, max_bytes: Option<u32>, restart: Restart) -> Self {
        Self { id, max_bytes, keys: BTreeSet::new(), questions: BTreeSet::new(), authorised: BTreeMap::new(), restart }
    }

    /// Answers count only for what was asked on this very stream; anything else of dialback has no effect here.
    //= XEP0220-3.1-1
    //= XEP0220-2.1.1-9
    //= XEP0220-2.1.2-5
    fn handle(&mut self, element: &Element, sink: &mut Sink<'_, InitiatingEvent>) -> Result<Flow, StreamError> {
        if let Some(features) = Features::read(element, false) {
            self.max_bytes = features.max_bytes.or(self.max_bytes);
            if self.restart == Restart::Features {
                self.restart = Restart::Complete;
                self.max_bytes = features.max_bytes;
                sink.events.push_back(InitiatingEvent::Settled { max_bytes: features.max_bytes });
            }
            return Ok(Flow::Continue);
        }
        if element.namespace != ns::DIALBACK {
            return Err(unexpected(element));
        }
        let message = Message::read(element).map_err(StreamError::UnreadableDialback)?;
        let pair = Pair::new(message.to, message.from);
        match message.kind {
            Kind::Result(answer) if self.keys.remove(&pair) => {
                sink.events.push_back(if answer == Answer::Valid {
                    self.authorised.insert(pair.clone(), Method::Dialback);
                    InitiatingEvent::Authorised { pair, by: Method::Dialback }
                } else {
                    //= XEP0220-2.1.1-15
                    InitiatingEvent::KeyRefused { pair, answer }
                });
            }
            Kind::VerifyAnswer { id, answer } if self.questions.remove(&(pair.clone(), id.clone())) => {
                sink.events.push_back(if answer == Answer::Valid {
                    InitiatingEvent::Confirmed(Confirmed::new(pair))
                } else {
                    InitiatingEvent::NotConfirmed { pair, answer }
                });
            }
            Kind::Key(_) | Kind::VerifyRequest { .. } | Kind::VerifyAnswer { .. } | Kind::Result(_) => {}
        }
        Ok(Flow::Continue)
    }
}

fn verify_request(pair: &Pair, id: String, key: String) -> String {
    Message { from: pair.local.clone(), to: pair.remote.clone(), kind: Kind::VerifyRequest { id, key } }.write()
}
