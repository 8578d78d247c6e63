//! What must come of a first contact between two servers, written from the documents and not from the code.
//!
//! Nothing here calls into the core: the types are its own, reason codes are the texts that the semantics promise,
//! and every decision is a row of a table ([`tables`]) with the clause or section that it restates. [`expect`] walks
//! the tables in the order in which a contact unfolds; within a table the first row that applies decides.
//!
//! Where the documents leave a detail open the row says `silent:` and what was pinned, so that a change of it is
//! seen.
//!
//! # What the axes of a [`Side`] mean
//!
//! - *Transport* is how the side is reached and what its listener offers. [`Transport::None`] has `tls` in
//!   `modules_disabled`, in both roles. [`Transport::StartTlsRequired`] sets `s2s_require_encryption`, as that is the
//!   only way to mark STARTTLS as required for everybody; with it the policies *open* and *require_encryption* are
//!   the same configuration. [`Transport::Direct`] publishes `_xmpps-server` only, and is reached by nothing else.
//! - *Certificate* is what the side shows in both roles. [`Certificate::None`] is a host without any: it cannot
//!   accept TLS, but it can begin it.
//! - *Policy* is the side's configuration towards the other.
//!
//! A side that somebody else wrote is one with habits ([`software`]); what they are is the only thing here that no
//! document says.

/// An axis of the matrix: an enum that knows all its values.
macro_rules! axis {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// Every value of this axis.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
        }
    };
}

pub mod peers;
pub mod sides;
pub mod software;
pub mod tables;

use std::fmt;

use software::Habits;
use tables::{Clause, Contact, Purpose, Step};

axis! {
    /// How a side is reached, and what it offers there.
    Transport {
        /// Port 5269; TLS is switched off.
        None,
        /// Port 5269; STARTTLS is offered.
        StartTlsOptional,
        /// Port 5269; STARTTLS is offered and marked as required.
        StartTlsRequired,
        /// Port 5270: TLS from the first byte, and nothing else is published.
        Direct,
    }
}

axis! {
    /// What a side shows.
    Certificate {
        /// Nothing.
        None,
        /// A DNS-ID of the domain, for servers and clients.
        Valid,
        /// No longer valid.
        Expired,
        /// Not valid yet.
        NotYetValid,
        /// Signed by itself.
        SelfSigned,
        /// Of an authority that is not trusted.
        UnknownAuthority,
        /// For another domain.
        WrongName,
        /// A wildcard for the left-most label of the domain.
        Wildcard,
        /// A wildcard one label too high, and one too low.
        WildcardTooDeep,
        /// An SRV-ID for servers and nothing else.
        SrvId,
        /// An XmppAddr and nothing else.
        XmppAddr,
        /// The domain as common name and nothing else.
        CommonName,
        /// For TLS servers only.
        ServerAuth,
        /// For TLS clients only.
        ClientAuth,
        /// Without extended key usage.
        NoPurpose,
        /// On the authority's revocation list.
        Revoked,
    }
}

axis! {
    /// What a side demands of the other.
    Policy {
        /// The defaults.
        Open,
        /// `s2s_secure_auth`
        SecureAuth,
        /// `s2s_secure_auth`, and the other is in `s2s_insecure_domains`.
        ListedInsecure,
        /// The other is in `s2s_secure_domains`.
        ListedSecure,
        /// `s2s_require_encryption`
        RequireEncryption,
    }
}

axis! {
    /// What a side has in `s2s_pins` for the other.
    Pin {
        /// Nothing.
        None,
        /// The key of its certificate, if it has one.
        Match,
        /// Another key.
        Mismatch,
    }
}

axis! {
    /// Whether a side federates with the other at all.
    Federation {
        /// Yes.
        Yes,
        /// The other is in `s2s_deny_domains`.
        Denied,
        /// `s2s` is in `modules_disabled`.
        Off,
        /// It is an anonymous host.
        Anonymous,
    }
}

/// One of the two servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Side {
    /// How it is reached.
    pub transport: Transport,
    /// What it shows.
    pub certificate: Certificate,
    /// What it demands.
    pub policy: Policy,
    /// Which key it knows the other by.
    pub pin: Pin,
    /// Whether it federates with the other.
    pub federation: Federation,
    /// False if `saslauth` is in `modules_disabled`.
    pub external: bool,
    /// False if `dialback` is in `modules_disabled`.
    pub dialback: bool,
    /// `s2s_dialback_to_verified`
    pub dialback_to_verified: bool,
    /// What it does otherwise than ours, if somebody else wrote it.
    pub habits: Habits,
}

impl Side {
    /// A side of the exhaustive matrix: everything else is as by default.
    #[must_use]
    pub const fn new(transport: Transport, certificate: Certificate, policy: Policy) -> Self {
        Self {
            transport,
            certificate,
            policy,
            pin: Pin::None,
            federation: Federation::Yes,
            external: true,
            dialback: true,
            dialback_to_verified: false,
            habits: Habits::NONE,
        }
    }

    /// All sides of the exhaustive matrix: 4 x 16 x 5.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut sides = Vec::new();
        for transport in Transport::ALL {
            for certificate in Certificate::ALL {
                sides.extend(Policy::ALL.iter().map(|policy| Self::new(*transport, *certificate, *policy)));
            }
        }
        sides
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{:?}/{:?}", self.transport, self.certificate, self.policy)?;
        if self.pin != Pin::None {
            write!(f, "/pin {:?}", self.pin)?;
        }
        if self.federation != Federation::Yes {
            write!(f, "/{:?}", self.federation)?;
        }
        for (on, word) in [
            (!self.external, "external off"),
            (!self.dialback, "dialback off"),
            (self.dialback_to_verified, "dialback to verified"),
        ] {
            if on {
                write!(f, "/{word}")?;
            }
        }
        Ok(())
    }
}

axis! {
    /// How a side took the other, or was taken.
    Method {
        /// SASL EXTERNAL.
        External,
        /// Server dialback with a call-back.
        Dialback,
        /// Dialback elements that a certificate made good.
        Certificate,
    }
}

/// What became of the stanza.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It arrived.
    Delivered {
        /// How the initiating side sees itself proved.
        initiating: Method,
        /// How the receiving side proved it.
        receiving: Method,
        /// Whether the stream is encrypted.
        encrypted: bool,
    },
    /// It went back with this reason.
    Bounced(&'static str),
    /// Neither, or both, or more than once: never right.
    Lost,
}

/// A stream or an attempt that ended badly, as one side reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    /// True if that side opened the stream, or would have.
    pub outbound: bool,
    /// The reason code.
    pub code: &'static str,
}

/// Everything that is seen of a first contact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What becomes of the stanza.
    pub outcome: Outcome,
    /// What the initiating side reports, sorted; refused verification connections included.
    pub initiating: Vec<Refusal>,
    /// What the receiving side reports, likewise.
    pub receiving: Vec<Refusal>,
    /// Errors on the wire that the initiating side writes, sorted: `stream` or `dialback`, and the condition.
    pub initiating_sends: Vec<String>,
    /// Errors on the wire that the receiving side writes, likewise.
    pub receiving_sends: Vec<String>,
}

impl Seen {
    /// Nothing yet.
    #[must_use]
    pub const fn nothing() -> Self {
        Self {
            outcome: Outcome::Lost,
            initiating: Vec::new(),
            receiving: Vec::new(),
            initiating_sends: Vec::new(),
            receiving_sends: Vec::new(),
        }
    }

    /// Puts everything into its order.
    pub fn sort(&mut self) {
        self.initiating.sort_unstable();
        self.receiving.sort_unstable();
        self.initiating_sends.sort_unstable();
        self.receiving_sends.sort_unstable();
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.outcome {
            Outcome::Delivered { initiating, receiving, encrypted } => {
                let protection = if encrypted { "encrypted" } else { "in clear" };
                write!(f, "delivered by {initiating:?} as {receiving:?} {protection}")?;
            }
            Outcome::Bounced(code) => write!(f, "bounced {code}")?,
            Outcome::Lost => f.write_str("lost")?,
        }
        for (who, refusals, sends) in [
            ("initiator", &self.initiating, &self.initiating_sends),
            ("receiver", &self.receiving, &self.receiving_sends),
        ] {
            write!(f, "; {who}")?;
            for refusal in refusals {
                write!(f, " {}:{}", if refusal.outbound { "out" } else { "in" }, refusal.code)?;
            }
            write!(f, " sends {sends:?}")?;
        }
        Ok(())
    }
}

/// What must be seen of a first contact, and why.
#[derive(Clone, Debug)]
pub struct Expected {
    /// What must be seen.
    pub seen: Seen,
    /// The rows that decided, in order.
    pub clauses: Vec<&'static Clause>,
}

/// What must come of it when `initiator` sends the first stanza to `receiver`.
#[must_use]
pub fn expect(initiator: &Side, receiver: &Side) -> Expected {
    let mut contact = Contact::new(*initiator, *receiver, Purpose::Pair);
    let mut clauses = Vec::new();
    let mut seen = Seen::nothing();
    seen.outcome = match contact.walk(&mut clauses) {
        Step::Proved { method, encrypted } => {
            let initiating = if method == Method::External { method } else { Method::Dialback };
            Outcome::Delivered { initiating, receiving: method, encrypted }
        }
        Step::CallBack { encrypted } => call_back(&contact, encrypted, &mut seen, &mut clauses),
        Step::Fails(failure) => {
            let code = contact.code(failure.initiator);
            seen.initiating.extend(failure.attempted.then_some(Refusal { outbound: true, code }));
            seen.receiving.extend(failure.receiver.map(|code| Refusal { outbound: false, code: contact.code(code) }));
            seen.initiating_sends.extend(failure.initiator_sends.map(str::to_owned));
            seen.receiving_sends.extend(failure.receiver_sends.map(str::to_owned));
            Outcome::Bounced(code)
        }
        step => unreachable!("a contact ends in {step:?}"),
    };
    if contact.external_refused {
        let code = contact.code(tables::Code::OfInitiatorsCertificate);
        seen.initiating.push(Refusal { outbound: true, code: "external-refused" });
        seen.receiving.push(Refusal { outbound: false, code });
    }
    if let Some(code) = tables::find(tables::UNASKED, &contact, &mut clauses) {
        seen.receiving.push(Refusal { outbound: false, code });
    }
    if seen.receiving_sends.iter().any(|error| error.starts_with("dialback"))
        && let Some(error) = tables::find(tables::KEY_REFUSED, &contact, &mut clauses)
    {
        seen.initiating_sends.push(error.to_owned());
        seen.receiving.push(Refusal { outbound: false, code: "peer-stream-error" });
    }
    seen.sort();
    Expected { seen, clauses }
}

/// The receiver asks the initiator's authoritative server: a contact of its own, the other way.
fn call_back(contact: &Contact, encrypted: bool, seen: &mut Seen, clauses: &mut Vec<&'static Clause>) -> Outcome {
    let mut back = Contact::new(contact.receiver, contact.initiator, Purpose::Verify);
    match back.walk(clauses) {
        Step::Answered => Outcome::Delivered { initiating: Method::Dialback, receiving: Method::Dialback, encrypted },
        Step::Fails(failure) => {
            let answer = tables::find(tables::CALL_BACK_FAILED, &back, clauses);
            let cause = back.code(failure.initiator);
            if back.has_nobody_to_dial() {
                seen.receiving.push(Refusal { outbound: false, code: cause });
            } else {
                seen.receiving.extend(failure.attempted.then_some(Refusal { outbound: true, code: cause }));
                seen.receiving.push(Refusal { outbound: false, code: "authoritative-unreachable" });
            }
            seen.initiating.extend(failure.receiver.map(|code| Refusal { outbound: false, code: back.code(code) }));
            seen.initiating.push(Refusal { outbound: true, code: "dialback-error" });
            seen.receiving_sends.extend(failure.initiator_sends.map(str::to_owned));
            seen.initiating_sends.extend(failure.receiver_sends.map(str::to_owned));
            seen.receiving_sends.push(answer.to_owned());
            Outcome::Bounced("dialback-error")
        }
        step => unreachable!("a call-back ends in {step:?}"),
    }
}
