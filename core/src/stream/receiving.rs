//! The receiving side of stream negotiation.
//!
//! The peer opens the stream; the owner decides what to offer; the peer asks for TLS, proves itself by EXTERNAL or by
//! dialback keys, or asks us, as authoritative server, about a key of ours. Each step is one state; see [`State`].
//!
//! - [RFC 6120 section 4.3](https://www.rfc-editor.org/rfc/rfc6120#section-4.3), [section 6.4](https://www.rfc-editor.org/rfc/rfc6120#section-6.4)
//! - [XEP-0220 section 2.2](https://xmpp.org/extensions/xep-0220.html#inbound)

mod event;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use crate::addr::{Domain, Pair};
use crate::auth::Proof;
use crate::dialback::{Answer, Kind, Message};
use crate::limits;
use crate::ns;
use crate::policy::Offer;
use crate::sasl;
use crate::stanza::{Stanza, StanzaCondition};
use crate::starttls;
use crate::stream::features;
use crate::stream::header::{self, Header, Version};
use crate::stream::{Flow, PeerError, Sink, StreamError, unexpected};
use crate::xml::{Element, Frame, Root, StanzaKind};

pub use event::{KeyOutcome, ReceivingEvent};

/// A stream that a peer opened.
#[derive(Debug)]
pub struct Receiving {
    id: String,
    /// Whether our header stands in the present document. It outlives the state when a transition fails.
    header_sent: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The peer's header is awaited.
    ExpectHeader(Layer),
    /// The owner decides what to offer; with a fault, as whom to answer before the error.
    Undecided { layer: Layer, header: Header, fault: Option<StreamError> },
    /// The peer asked for TLS of this domain of ours, and the owner decides.
    AskedForTls(Domain),
    /// We said `proceed`, as this domain of ours: there is no XML.
    ExpectTls(Domain),
    /// Features are sent: the peer negotiates, proves pairs, and sends stanzas of proved ones.
    Open(Box<Open>),
    /// A transition failed: the stream is over.
    Poisoned,
}

/// How far the layers below the present document have come.
#[derive(Debug)]
enum Layer {
    /// The connection is in clear.
    Clear,
    /// TLS is up.
    Secured,
    /// EXTERNAL succeeded.
    Authenticated(Proof),
}

#[derive(Debug)]
struct Open {
    local: Domain,
    offer: Offer,
    secured: bool,
    sasl: Sasl,
    attempts: u8,
    pending: BTreeSet<Pair>,
    proofs: BTreeMap<Pair, Proof>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sasl {
    /// No attempt is under way.
    Idle,
    /// `auth` came without a response, and we sent an empty challenge.
    Challenged,
}

impl Receiving {
    /// A stream whose header is awaited. `id` is the one that we give it; `secured`: TLS is up already.
    #[must_use]
    pub const fn new(id: String, secured: bool) -> Self {
        let layer = if secured { Layer::Secured } else { Layer::Clear };
        Self { id, header_sent: false, state: State::ExpectHeader(layer) }
    }

    /// The id of the present stream.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether our header stands in the present document, so that an error needs none before it.
    #[must_use]
    pub const fn has_sent_header(&self) -> bool {
        self.header_sent
    }

    /// The domain of ours that the present stream is for, once its header was accepted; through the handshake of TLS
    /// too, for which it chooses the certificate.
    #[must_use]
    pub fn local(&self) -> Option<&Domain> {
        match &self.state {
            State::Open(open) => Some(&open.local),
            State::ExpectTls(local) => Some(local),
            _ => None,
        }
    }

    /// Writes our header because an error must follow it. `local` is its `from`; without, nothing is revealed.
    pub fn open_for_error(&mut self, local: Option<&Domain>, wire: &mut Vec<u8>) {
        let (remote, version) = match &self.state {
            State::Undecided { header, .. } => (header.from.as_ref(), header.version),
            _ => (None, Version::One),
        };
        wire.extend_from_slice(header::response(local, remote, &self.id, version).as_bytes());
        self.header_sent = true;
    }

    /// What is wrong with the header that the owner decides on. [`Link::offer`](crate::link::Link::offer) and
    /// [`Link::refuse`](crate::link::Link::refuse) end the stream with this error, behind our header.
    #[must_use]
    pub const fn fault(&self) -> Option<&StreamError> {
        match &self.state {
            State::Undecided { fault, .. } => fault.as_ref(),
            _ => None,
        }
    }

    /// Whether the owner must decide before the next frame.
    #[must_use]
    pub const fn is_undecided(&self) -> bool {
        matches!(self.state, State::Undecided { .. } | State::AskedForTls(_))
    }

    /// Whether keys wait for their answer.
    #[must_use]
    pub fn is_verifying(&self) -> bool {
        matches!(&self.state, State::Open(open) if !open.pending.is_empty())
    }

    /// Bytes of the names of all pairs that are proved or about to be.
    pub(crate) fn retained_bytes(&self) -> usize {
        let State::Open(open) = &self.state else { return 0 };
        let pairs = open.pending.iter().chain(open.proofs.keys());
        pairs.flat_map(|pair| [pair.local.as_str().len(), pair.remote.as_str().len()]).sum()
    }

    /// The pairs that were proved on this stream.
    pub fn proofs(&self) -> impl Iterator<Item = &Proof> {
        let proofs = match &self.state {
            State::Open(open) => Some(open.proofs.values()),
            _ => None,
        };
        proofs.into_iter().flatten()
    }

    /// The pair that EXTERNAL proved, whose stream is being restarted: the domains of the next header are settled.
    #[must_use]
    pub const fn settled_pair(&self) -> Option<&Pair> {
        match &self.state {
            State::Undecided { layer: Layer::Authenticated(proof), .. } => Some(proof.pair()),
            _ => None,
        }
    }

    /// Decision: answer the header as `local`, with the features of `offer`. One with a [fault](Self::fault) is
    /// answered by [`Receiving::open_for_error`] and the error instead.
    //= RFC6120-4.3.2-1
    //= RFC6120-4.3.4-1
    //= RFC6120-4.1-1
    //= RFC6120-4.3.5-1
    pub fn offer(&mut self, local: Domain, mut offer: Offer, max_bytes: usize, wire: &mut Vec<u8>) {
        let (layer, header) = match mem::replace(&mut self.state, State::Poisoned) {
            State::Undecided { layer, header, fault: None } => (layer, header),
            other => {
                self.state = other;
                return;
            }
        };
        if header.version == Version::Legacy {
            // There are no features to offer it in.
            offer = Offer { starttls: None, external: None, ..offer };
        }
        wire.extend_from_slice(
            header::response(Some(&local), header.from.as_ref(), &self.id, header.version).as_bytes(),
        );
        self.header_sent = true;
        let authenticated = matches!(layer, Layer::Authenticated(_));
        if header.version == Version::One {
            wire.extend_from_slice(features::write(&offer, authenticated.then_some(max_bytes)).as_bytes());
        }
        let secured = !matches!(layer, Layer::Clear);
        let mut proofs = BTreeMap::new();
        if let Layer::Authenticated(proof) = layer {
            proofs.insert(proof.pair().clone(), proof);
        }
        let open = Open { local, offer, secured, sasl: Sasl::Idle, attempts: 0, pending: BTreeSet::new(), proofs };
        self.state = State::Open(Box::new(open));
    }

    /// Decision: grant TLS to the peer that asked for it. Whether it had.
    //= RFC6120-5.4.2.3-1
    pub fn proceed(&mut self, wire: &mut Vec<u8>) -> bool {
        let State::AskedForTls(local) = &self.state else {
            return false;
        };
        wire.extend_from_slice(starttls::PROCEED.as_bytes());
        self.header_sent = false;
        self.state = State::ExpectTls(local.clone());
        true
    }

    /// TLS is up: everything that was learned is gone, and `id` names the stream inside.
    //= RFC6120-5.4.3.3-2
    //= RFC6120-5.4.3.3-4
    //= RFC6120-4.3.6-4
    //= RFC6120-4.7-1
    //= RFC6120-6.4.1-1
    pub fn secured(&mut self, id: String) {
        self.restarted(id);
        self.state = State::ExpectHeader(Layer::Secured);
    }

    /// EXTERNAL succeeded and the peer starts over: `id` names the new stream.
    //= RFC6120-4.3.3-5
    //= RFC6120-6.4.6-4
    pub fn restarted(&mut self, id: String) {
        self.header_sent = false;
        self.id = id;
    }

    /// Answers a key. Returns an error if the answer ends the stream.
    //= XEP0220-2.2.1-4
    //= XEP0220-2.2.1-6
    //= XEP0220-2.2.1-7
    //= XEP0220-2.1.2-8
    //= XEP0220-2.2.1-5
    //= XEP0220-2.5-11
    //= XEP0220-2.5-1
    pub fn answer_key(&mut self, pair: &Pair, outcome: KeyOutcome, wire: &mut Vec<u8>) -> Result<(), StreamError> {
        let State::Open(open) = &mut self.state else {
            return Ok(());
        };
        open.pending.remove(pair);
        let (answer, verdict) = match outcome {
            KeyOutcome::Proved(proof) => {
                open.proofs.insert(proof.pair().clone(), proof);
                (Answer::Valid, Ok(()))
            }
            // Decision D-08: other pairs on the stream survive somebody's bad key.
            KeyOutcome::Denied if !open.proofs.is_empty() => (Answer::Error(Some(StanzaCondition::Forbidden)), Ok(())),
            KeyOutcome::Denied => (Answer::Invalid, Err(StreamError::DialbackInvalid)),
            //= XEP0220-2.5-14
            KeyOutcome::Failed(condition) => (Answer::Error(Some(condition)), Ok(())),
        };
        let message = Message { from: pair.local.clone(), to: pair.remote.clone(), kind: Kind::Result(answer) };
        wire.extend_from_slice(message.write().as_bytes());
        verdict
    }

    /// Answers the question whether a key is ours.
    //= XEP0220-2.2.2-3
    //= RFC6120-4.5-4
    pub fn answer_verify(
        &mut self,
        receiving: Domain,
        originating: Domain,
        id: String,
        answer: Answer,
        wire: &mut Vec<u8>,
    ) {
        let message = Message { from: originating, to: receiving, kind: Kind::VerifyAnswer { id, answer } };
        wire.extend_from_slice(message.write().as_bytes());
    }

    /// Takes a proof away: policy has changed. True if it was there.
    pub fn revoke(&mut self, pair: &Pair) -> bool {
        match &mut self.state {
            State::Open(open) => open.proofs.remove(pair).is_some(),
            _ => false,
        }
    }

    /// Takes the next frame.
    pub fn handle(&mut self, frame: Frame, sink: &mut Sink<'_, ReceivingEvent>) -> Result<Flow, StreamError> {
        match frame {
            Frame::Root(root) => match self.judge(&root) {
                Ok(header) => self.handle_header(header, sink),
                Err(error) => self.handle_faulty_header(&root, error, sink),
            },
            Frame::End => Ok(Flow::Closed),
            Frame::Stanza(stanza) => match &self.state {
                //= RFC6120-4.3.5-4
                //= RFC6120-4.3.5-3
                //= RFC6120-13.12-1
                //= XEP0205-4.3-1
                State::Open(open) if !open.proofs.is_empty() && open.sasl == Sasl::Idle => {
                    let stanza = Stanza::from_frame(stanza).map_err(StreamError::ImproperStanza)?;
                    let pair = open.admit(&stanza)?;
                    sink.events.push_back(ReceivingEvent::Stanza { pair, stanza });
                    Ok(Flow::Continue)
                }
                _ => Err(StreamError::NotAuthenticated),
            },
            Frame::Element(element) => match PeerError::read(&element) {
                Some(error) => Ok(Flow::Failed(error)),
                None => self.handle_element(&element, sink),
            },
        }
    }

    /// Judges a header. Who goes on behind `success` as if nothing had to begin anew sends a stanza in its place.
    fn judge(&self, root: &Root) -> Result<Header, StreamError> {
        Header::judge(root).map_err(|error| match self.state {
            State::ExpectHeader(Layer::Authenticated(_)) if StanzaKind::from_name(&root.name).is_some() => {
                StreamError::NotAuthenticated
            }
            _ => error,
        })
    }

    //= RFC6120-4.3.6-1
    //= RFC6120-4.7.3-4
    fn handle_header(&mut self, header: Header, sink: &mut Sink<'_, ReceivingEvent>) -> Result<Flow, StreamError> {
        let State::ExpectHeader(layer) = mem::replace(&mut self.state, State::Poisoned) else {
            return Err(StreamError::NestedHeader);
        };
        // Decision D-04: after authentication both domains are settled.
        if let Layer::Authenticated(proof) = &layer {
            let settled = proof.pair();
            if header.from.as_ref().is_some_and(|from| *from != settled.remote) {
                return Err(StreamError::AuthenticatedHeaderChanged);
            }
            if header.to.as_ref().is_some_and(|to| *to != settled.local) {
                return Err(StreamError::ToMismatch);
            }
        }
        Ok(self.decide(layer, header, None, sink))
    }

    /// A header ends the stream. Our own says all the same whom the peer has reached, if that can be told: the owner is
    /// asked.
    //= RFC6120-4.7.1-2
    fn handle_faulty_header(
        &mut self,
        root: &Root,
        fault: StreamError,
        sink: &mut Sink<'_, ReceivingEvent>,
    ) -> Result<Flow, StreamError> {
        // The header of another kind of stream names nobody.
        let is_ours = matches!(fault, StreamError::ImproperHeader | StreamError::MalformedVersion);
        let mut header = Header::salvage(root);
        match mem::replace(&mut self.state, State::Poisoned) {
            State::ExpectHeader(layer @ Layer::Authenticated(_)) if is_ours => {
                // Both are settled, whatever it says now.
                (header.to, header.from) = (None, None);
                Ok(self.decide(layer, header, Some(fault), sink))
            }
            State::ExpectHeader(layer) if is_ours && header.to.is_some() => {
                Ok(self.decide(layer, header, Some(fault), sink))
            }
            other => {
                self.state = other;
                Err(fault)
            }
        }
    }

    /// A header is there: the owner decides.
    fn decide(
        &mut self,
        layer: Layer,
        header: Header,
        fault: Option<StreamError>,
        sink: &mut Sink<'_, ReceivingEvent>,
    ) -> Flow {
        sink.events.push_back(ReceivingEvent::HeaderReceived(header.clone()));
        self.state = State::Undecided { layer, header, fault };
        Flow::Undecided
    }

    fn handle_element(&mut self, element: &Element, sink: &mut Sink<'_, ReceivingEvent>) -> Result<Flow, StreamError> {
        let State::Open(mut open) = mem::replace(&mut self.state, State::Poisoned) else {
            return Err(StreamError::UnexpectedElement);
        };
        if let Some(message) = starttls::Message::of(element) {
            return self.handle_starttls(&open, message, sink);
        }
        if let Some(message) = sasl::Message::of(element) {
            return match open.handle_sasl(message, sink)? {
                Some(proof) => {
                    sink.events.push_back(ReceivingEvent::Authenticated(proof.pair().clone()));
                    self.state = State::ExpectHeader(Layer::Authenticated(proof));
                    //= RFC6120-6.3.2-1
                    Ok(Flow::Restart)
                }
                None => {
                    self.state = State::Open(open);
                    Ok(Flow::Continue)
                }
            };
        }
        match element.namespace.as_str() {
            _ if open.sasl == Sasl::Challenged => return Err(StreamError::NotAuthenticated),
            ns::DIALBACK => open.handle_dialback(element, sink)?,
            //= XEP0138-2-1
            //= XEP0138-2-2
            ns::COMPRESS if element.name == "compress" => {
                sink.write("<failure xmlns='http://jabber.org/protocol/compress'><unsupported-method/></failure>");
            }
            _ => return Err(unexpected(element)),
        }
        self.state = State::Open(open);
        Ok(Flow::Continue)
    }

    //= RFC6120-5.4.2.1-1
    //= RFC6120-5.4.2.2-1
    fn handle_starttls(
        &mut self,
        open: &Open,
        message: starttls::Message,
        sink: &mut Sink<'_, ReceivingEvent>,
    ) -> Result<Flow, StreamError> {
        match message {
            // Decision D-33: what was said in clear does not count after TLS, so nothing may be under way.
            starttls::Message::Request if open.offer.starttls.is_some() && open.is_untouched() => {
                sink.events.push_back(ReceivingEvent::StartTlsRequested);
                self.state = State::AskedForTls(open.local.clone());
                Ok(Flow::Undecided)
            }
            starttls::Message::Request => {
                sink.write(starttls::FAILURE);
                Ok(Flow::StartTlsRefused)
            }
            starttls::Message::Proceed | starttls::Message::Failure => Err(StreamError::UnexpectedElement),
        }
    }
}

impl Open {
    /// Whether no pair has proved itself here, and none is about to.
    fn is_untouched(&self) -> bool {
        self.proofs.is_empty() && self.pending.is_empty()
    }

    /// Whether a stanza belongs to a pair that was proved here.
    //= RFC6120-8.1.1.2-3
    //= RFC6120-8.1.2.2-3
    //= RFC6120-4.7.1-3
    //= RFC6120-4.7.2-3
    //= RFC7622-7.3.1-1
    //= XEP0220-2.2.1-1
    fn admit(&self, stanza: &Stanza) -> Result<Pair, StreamError> {
        let pair = stanza.inbound_pair();
        match self.proofs.get(&pair) {
            Some(proof) => Ok(proof.pair().clone()),
            None if self.proofs.keys().any(|proved| proved.remote == pair.remote) => Err(StreamError::ToMismatch),
            None => Err(StreamError::FromMismatch),
        }
    }

    /// One step of EXTERNAL. A proof means success, already written.
    fn handle_sasl(
        &mut self,
        message: sasl::Message,
        sink: &mut Sink<'_, ReceivingEvent>,
    ) -> Result<Option<Proof>, StreamError> {
        let challenged = mem::replace(&mut self.sasl, Sasl::Idle) == Sasl::Challenged;
        let verdict = match message {
            // An attempt that another one takes the place of has failed, too.
            //= RFC6120-13.9.4-2
            sasl::Message::Auth { .. } if challenged && self.count_attempt() => {
                return Err(StreamError::TooManyAttempts);
            }
            //= RFC6120-6.4.2-2
            sasl::Message::Auth { mechanism, response } => match self.judge_attempt(&mechanism) {
                Err(failure) => Err(failure),
                Ok(()) => match response {
                    Some(response) => self.judge_response(&response),
                    //= RFC4422-A.1-1
                    None => {
                        sink.write(sasl::EMPTY_CHALLENGE);
                        self.sasl = Sasl::Challenged;
                        return Ok(None);
                    }
                },
            },
            sasl::Message::Response(response) if challenged => self.judge_response(&response),
            //= RFC6120-6.4.4-1
            //= RFC6120-6.5.1-1
            sasl::Message::Abort => Err(sasl::Failure::Aborted),
            sasl::Message::Response(_) => Err(sasl::Failure::MalformedRequest),
            sasl::Message::Challenge | sasl::Message::Failure(_) | sasl::Message::Success => {
                return Err(StreamError::UnexpectedElement);
            }
        };
        match verdict {
            Ok(proof) => {
                sink.write(sasl::SUCCESS);
                Ok(Some(proof))
            }
            //= RFC6120-6.4.5-1
            //= RFC6120-6.4.5-3
            Err(failure) => {
                sink.write(&sasl::failure(failure));
                sink.events.push_back(ReceivingEvent::ExternalFailed(failure));
                if self.count_attempt() { Err(StreamError::TooManyAttempts) } else { Ok(None) }
            }
        }
    }

    /// Counts an attempt that failed, and tells whether there were too many.
    //= RFC6120-13.9.4-2
    const fn count_attempt(&mut self) -> bool {
        self.attempts = self.attempts.saturating_add(1);
        self.attempts >= limits::SASL_ATTEMPTS
    }

    //= RFC6120-6.5.4-1
    //= RFC6120-13.3-1
    //= RFC4422-A.3-1
    //= RFC6120-6.5.7-1
    //= RFC6120-6.5.10-1
    //= RFC4422-A.1-4
    //= XEP0178-3-7
    fn judge_attempt(&self, mechanism: &str) -> Result<(), sasl::Failure> {
        if mechanism != sasl::EXTERNAL {
            return Err(sasl::Failure::InvalidMechanism);
        }
        if !self.secured {
            return Err(sasl::Failure::EncryptionRequired);
        }
        // Decision D-04: EXTERNAL begins the stream anew, and what keys have proved on it would be lost.
        if self.offer.external.is_none() || !self.is_untouched() {
            return Err(sasl::Failure::NotAuthorized);
        }
        Ok(())
    }

    //= RFC6120-4.3.6-2
    //= RFC4422-3.4-1
    //= XEP0178-3-5
    //= XEP0178-3-6
    fn judge_response(&self, response: &str) -> Result<Proof, sasl::Failure> {
        let verified = self.offer.external.as_ref().ok_or(sasl::Failure::NotAuthorized)?;
        sasl::judge_identity(response, verified.domain())?;
        Ok(Proof::by_external(self.local.clone(), verified))
    }

    fn handle_dialback(&mut self, element: &Element, sink: &mut Sink<'_, ReceivingEvent>) -> Result<(), StreamError> {
        let message = Message::read(element).map_err(StreamError::UnreadableDialback)?;
        match message.kind {
            Kind::Key(key) => self.handle_key(Pair::new(message.to, message.from), key, sink),
            Kind::VerifyRequest { id, key } => sink.events.push_back(ReceivingEvent::VerifyReceived {
                receiving: message.from,
                originating: message.to,
                id,
                key,
            }),
            // Answers on a stream that we did not open: nobody asked here.
            //= XEP0220-3.1-1
            //= XEP0220-2.2-1
            Kind::Result(_) | Kind::VerifyAnswer { .. } => {}
        }
        Ok(())
    }

    /// A pair that is proved stays proved; one that is being verified is not verified twice.
    //= XEP0220-2.2.1-2
    fn handle_key(&mut self, pair: Pair, key: String, sink: &mut Sink<'_, ReceivingEvent>) {
        let answer = if self.proofs.contains_key(&pair) {
            Answer::Valid
        } else if self.pending.contains(&pair)
            || self.pending.len() >= limits::PENDING_VERIFICATIONS_PER_STREAM
            || self.proofs.len() >= limits::PAIRS_PER_STREAM
        {
            Answer::Error(Some(StanzaCondition::ResourceConstraint))
        } else {
            self.pending.insert(pair.clone());
            sink.events.push_back(ReceivingEvent::KeyReceived { pair, key });
            return;
        };
        let message = Message { from: pair.local, to: pair.remote, kind: Kind::Result(answer) };
        sink.write(&message.write());
    }
}
