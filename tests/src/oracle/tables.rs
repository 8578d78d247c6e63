//! The tables. Each row restates one rule and says where it stands: clauses by their ids, decisions as `D-..`. `SEMANTICS`
//! with a section is the contract that the program was ordered by, and `seed` the meaning that Prosody gives to the options
//! that both have; neither is part of this repository, and what they say stands in the manual of s2sd and in the decisions.

use super::sides::{demands, flaw, means, verdict};
use super::software::{Habit, Habits, JUDGED, Judged};
use super::{Certificate, Federation, Method, Side};

/// Where a rule stands and what it says.
#[derive(Debug, PartialEq, Eq)]
pub struct Clause {
    /// The documents.
    pub source: &'static str,
    /// The rule in our words.
    pub says: &'static str,
}

/// A row: if it applies, this follows.
pub(super) struct Row<C: 'static, T: 'static> {
    pub(super) clause: Clause,
    applies: fn(&C) -> bool,
    then: T,
}

pub(super) const fn row<C, T>(source: &'static str, says: &'static str, applies: fn(&C) -> bool, then: T) -> Row<C, T> {
    Row { clause: Clause { source, says }, applies, then }
}

/// What the first row that applies says; its clause is noted.
pub(super) fn find<C, T: Copy>(table: &'static [Row<C, T>], context: &C, clauses: &mut Vec<&'static Clause>) -> T {
    let row = table.iter().find(|row| (row.applies)(context)).expect("the last row of a table applies always");
    clauses.push(&row.clause);
    row.then
}

/// Why a stream is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To send stanzas.
    Pair,
    /// To ask about a dialback key.
    Verify,
}

/// One stream that one side opens, or tries to open, to the other.
#[derive(Clone, Copy, Debug)]
pub struct Contact {
    pub(super) initiator: Side,
    pub(super) receiver: Side,
    purpose: Purpose,
    /// As far as it is known: whether the stream is inside TLS.
    encrypted: bool,
    /// The same: whether the receiver has refused EXTERNAL.
    pub(super) external_refused: bool,
    /// Whether both headers were accepted.
    accepted: bool,
}

/// What a table decides.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// A connection to the STARTTLS port.
    Connected,
    /// The stream goes on inside TLS.
    Secured,
    /// The stream goes on in clear.
    InClear,
    /// Both headers are accepted.
    Accepted,
    /// The receiver refuses EXTERNAL, and the stream goes on.
    ExternalRefused,
    /// The initiator sends a dialback key.
    Key,
    /// The pair is proved.
    Proved { method: Method, encrypted: bool },
    /// The receiver asks the authoritative server.
    CallBack { encrypted: bool },
    /// The authoritative server answers.
    Answered,
    /// It ends here.
    Fails(Failure),
}

/// How a contact fails.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failure {
    /// What the initiating side reports.
    pub(super) initiator: Code,
    /// False if the stanza is refused at once: there is no attempt that could fail.
    pub(super) attempted: bool,
    /// What the receiving side reports, if it hears of it at all.
    pub(super) receiver: Option<Code>,
    /// The error that the initiating side writes.
    pub(super) initiator_sends: Option<&'static str>,
    /// The error that the receiving side writes.
    pub(super) receiver_sends: Option<&'static str>,
}

/// A reason code, or where it comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Code {
    /// This one.
    Is(&'static str),
    /// What is wrong with the initiator's certificate.
    OfInitiatorsCertificate,
    /// What is wrong with the receiver's certificate.
    OfReceiversCertificate,
}

use Code::{Is, OfInitiatorsCertificate, OfReceiversCertificate};

const fn fails(initiator: Code, receiver: Option<Code>) -> Failure {
    Failure { initiator, attempted: true, receiver, initiator_sends: None, receiver_sends: None }
}

impl Failure {
    const fn without_attempt(mut self) -> Self {
        self.attempted = false;
        self
    }

    const fn initiator_sends(mut self, error: &'static str) -> Self {
        self.initiator_sends = Some(error);
        self
    }

    const fn receiver_sends(mut self, error: &'static str) -> Self {
        self.receiver_sends = Some(error);
        self
    }
}

impl Contact {
    pub(super) const fn new(initiator: Side, receiver: Side, purpose: Purpose) -> Self {
        Self { initiator, receiver, purpose, encrypted: false, external_refused: false, accepted: false }
    }

    /// The code, looked up if it depends on a certificate.
    pub(super) fn code(&self, code: Code) -> &'static str {
        let of = match code {
            Is(code) => Some(code),
            OfInitiatorsCertificate => self.initiators_flaw(),
            OfReceiversCertificate => self.receivers_flaw(),
        };
        of.expect("only bad certificates are refused")
    }

    /// The stages in their order.
    pub(super) fn walk(&mut self, clauses: &mut Vec<&'static Clause>) -> Step {
        let mut step = find(REACH, self, clauses);
        if matches!(step, Step::Connected) {
            step = find(BEFORE_TLS, self, clauses);
        }
        if matches!(step, Step::Secured) {
            self.encrypted = true;
            step = find(HEADERS, self, clauses);
        } else if matches!(step, Step::InClear) {
            step = Step::Accepted;
        }
        if matches!(step, Step::Accepted) {
            self.accepted = true;
            step = find(if self.purpose == Purpose::Verify { VERIFY } else { PROVE }, self, clauses);
        }
        if matches!(step, Step::ExternalRefused) {
            self.external_refused = true;
            step = find(AFTER_REFUSAL, self, clauses);
        }
        if matches!(step, Step::Key) {
            step = find(KEY, self, clauses);
        }
        match step {
            Step::Proved { method, .. } => Step::Proved { method, encrypted: self.encrypted },
            Step::CallBack { .. } => Step::CallBack { encrypted: self.encrypted },
            step => step,
        }
    }

    fn initiator_has_tls(&self) -> bool {
        means(&self.initiator).tls
    }

    /// TLS is switched on, and there is a certificate to show.
    fn receiver_accepts_tls(&self) -> bool {
        means(&self.receiver).tls && self.receiver.certificate != Certificate::None
    }

    fn receiver_is_direct(&self) -> bool {
        means(&self.receiver).direct
    }

    /// The only way there is direct TLS, and who would go it has no TLS.
    pub(super) fn has_nobody_to_dial(&self) -> bool {
        self.receiver_is_direct() && !self.initiator_has_tls()
    }

    fn initiator_demands_encryption(&self) -> bool {
        means(&self.initiator).demands || demands(&self.initiator).encryption
    }

    fn receiver_demands_encryption(&self) -> bool {
        means(&self.receiver).demands || demands(&self.receiver).encryption
    }

    /// The initiator may not go on with the certificate that the receiver shows.
    fn initiator_refuses(&self) -> bool {
        let bad = self.receivers_flaw();
        bad.is_some() && (demands(&self.initiator).strict || bad == Some("cert-pin-mismatch"))
    }

    /// The receiver may not go on with the certificate that the initiator shows, and says so at the header.
    fn receiver_refuses(&self) -> bool {
        let bad = self.initiators_flaw();
        let refuses = bad.is_some() && (demands(&self.receiver).strict || bad == Some("cert-pin-mismatch"));
        refuses && !self.receiver.habits.has(Habit::RefusesAtExternal)
    }

    /// What the receiver holds against the certificate of the initiator.
    fn initiators_flaw(&self) -> Option<&'static str> {
        let shown = |judged: &&Judged| judged.certificate == self.initiator.certificate;
        let otherwise = JUDGED.iter().filter(shown).find(|judged| self.receiver.habits.has(judged.by));
        otherwise.map_or_else(|| verdict(&self.initiator, &self.receiver), |judged| judged.flaw)
    }

    /// What the initiator holds against the certificate of the receiver.
    fn receivers_flaw(&self) -> Option<&'static str> {
        let shown = |judged: &&Judged| judged.in_both_roles && judged.certificate == self.receiver.certificate;
        let otherwise = JUDGED.iter().filter(shown).find(|judged| self.initiator.habits.has(judged.by));
        otherwise.map_or_else(|| verdict(&self.receiver, &self.initiator), |judged| judged.flaw)
    }

    /// EXTERNAL is attempted with the header, and not offered.
    fn attempts_external_unasked(&self) -> bool {
        let ours = [&self.initiator, &self.receiver].into_iter().all(|side| side.habits == Habits::NONE);
        let attempts = self.initiator.external && flaw(self.initiator.certificate).is_none();
        ours && self.accepted && self.purpose == Purpose::Pair && self.encrypted && attempts && !self.receiver.external
    }

    fn initiators_certificate_is_good(&self) -> bool {
        self.encrypted && self.initiators_flaw().is_none()
    }
}

pub(super) const fn always<C>(_: &C) -> bool {
    true
}

/// Before there is a stream.
const REACH: &[Row<Contact, Step>] = &[
    row(
        "seed modules_disabled s2s; SEMANTICS 4 host-disabled",
        "a host that does not federate sends nothing (silent: the bounce says so, and no event)",
        |contact| contact.initiator.federation == Federation::Off,
        Step::Fails(fails(Is("host-disabled"), None).without_attempt()),
    ),
    row(
        "SEMANTICS 1 anonymous",
        "an anonymous host sends nothing to remote domains",
        |contact| contact.initiator.federation == Federation::Anonymous && contact.purpose == Purpose::Pair,
        Step::Fails(fails(Is("anonymous-host"), None).without_attempt()),
    ),
    row(
        "SEMANTICS 1 s2s_deny_domains, both directions; SEMANTICS 2.3 policy before any connection",
        "nothing is sent to a domain that is denied",
        |contact| contact.initiator.federation == Federation::Denied,
        Step::Fails(fails(Is("domain-denied"), None).without_attempt()),
    ),
    row(
        "XEP0368-3-3, RFC6120-3.2.1-5; seed: _xmpps-server only with TLS",
        "without TLS the targets of _xmpps-server are no candidates, and there are no others",
        Contact::has_nobody_to_dial,
        Step::Fails(fails(Is("no-address"), None)),
    ),
    row(
        "SEMANTICS 2 TLS: unrecognized_name; RFC6120-5.4.3.2-1",
        "direct TLS to a host without a certificate fails in the handshake, and both sides say so",
        |contact| contact.receiver_is_direct() && !contact.receiver_accepts_tls(),
        Step::Fails(fails(Is("tls-failed"), Some(Is("tls-failed")))),
    ),
    row("XEP0368-3-3", "_xmpps-server is reached by TLS", Contact::receiver_is_direct, Step::Secured),
    row("XEP0368-3-4, RFC6120-3.2.1-1", "_xmpp-server is reached in clear first", always, Step::Connected),
];

/// The first stream of a connection to the STARTTLS port.
const BEFORE_TLS: &[Row<Contact, Step>] = &[
    row(
        "SEMANTICS 4 host-disabled: policy-violation; seed modules_disabled s2s",
        "a host that does not federate refuses at the header",
        |contact| contact.receiver.federation == Federation::Off,
        Step::Fails(
            fails(Is("peer-stream-error"), Some(Is("host-disabled"))).receiver_sends("stream policy-violation"),
        ),
    ),
    row(
        "SEMANTICS 4 domain-denied: policy-violation; SEMANTICS 1 both directions",
        "a domain that is denied is refused at the header (silent: the first one, not only the protected one)",
        |contact| contact.receiver.federation == Federation::Denied,
        Step::Fails(
            fails(Is("peer-stream-error"), Some(Is("domain-denied"))).receiver_sends("stream policy-violation"),
        ),
    ),
    row(
        "RFC6120-5.4.1-1, RFC6120-5.2-3, RFC7590-3.1-1, RFC6120-13.14-2",
        "STARTTLS is offered by who has TLS and a certificate, and taken by who has TLS",
        |contact| contact.initiator_has_tls() && contact.receiver_accepts_tls(),
        Step::Secured,
    ),
    row(
        "SEMANTICS 2.1, SEMANTICS 4 encryption-required: policy-violation",
        "who demands encryption and can offer no TLS can offer nothing, and refuses the header",
        |contact| contact.receiver_demands_encryption() && !contact.receiver_accepts_tls(),
        Step::Fails(
            fails(Is("peer-stream-error"), Some(Is("encryption-required"))).receiver_sends("stream policy-violation"),
        ),
    ),
    row(
        "SEMANTICS 2; seed s2s_allow_encryption=false; seed: policy-violation",
        "who demands encryption and has TLS switched off leaves (silent: only once it sees the features)",
        |contact| !contact.initiator_has_tls() && contact.initiator_demands_encryption(),
        Step::Fails(
            fails(Is("encryption-required"), Some(Is("peer-stream-error"))).initiator_sends("stream policy-violation"),
        ),
    ),
    row(
        "SEMANTICS 2; SEMANTICS 4 starttls-not-offered; seed: policy-violation; D-52",
        "who demands encryption leaves a stream that offers none, and had asked for it unseen, which is refused",
        Contact::initiator_demands_encryption,
        Step::Fails(
            fails(Is("starttls-not-offered"), Some(Is("starttls-refused"))).initiator_sends("stream policy-violation"),
        ),
    ),
    row(
        "Habit::SendsKeyRegardless; SEMANTICS 2.3, XEP0220-2.5-9",
        "a key in clear is refused where encryption is demanded of that domain, whatever was advertised",
        |contact| {
            let sends = !contact.initiator_has_tls() && contact.initiator.habits.has(Habit::SendsKeyRegardless);
            sends && contact.receiver_demands_encryption()
        },
        Step::Fails(
            fails(Is("dialback-error"), Some(Is("encryption-required"))).receiver_sends("dialback policy-violation"),
        ),
    ),
    row(
        "Habit::ForbidsStartTls; RFC6120-5.3.1-1",
        "who has no TLS cannot go on where STARTTLS is required, and may call it a feature that is not supported",
        |contact| {
            let forbids = !contact.initiator_has_tls() && contact.initiator.habits.has(Habit::ForbidsStartTls);
            forbids && contact.receiver_demands_encryption()
        },
        Step::Fails(
            fails(Is("encryption-required"), Some(Is("peer-stream-error")))
                .initiator_sends("stream unsupported-feature"),
        ),
    ),
    row(
        "RFC6120-5.3.1-1, SEMANTICS 2.1",
        "STARTTLS that is required, or the only feature, is mandatory: who has no TLS cannot go on",
        |contact| {
            contact.receiver_accepts_tls() && (contact.receiver_demands_encryption() || !contact.receiver.dialback)
        },
        Step::Fails(
            fails(Is("encryption-required"), Some(Is("peer-stream-error"))).initiator_sends("stream policy-violation"),
        ),
    ),
    row("seed: dialback over plaintext works both ways", "nobody minds", always, Step::InClear),
];

/// The headers inside TLS.
const HEADERS: &[Row<Contact, Step>] = &[
    row(
        "D-01, SEMANTICS 2.6; SEMANTICS 4 host-disabled",
        "a host that does not federate refuses at the header, and is itself refused for its certificate",
        |contact| contact.receiver.federation == Federation::Off && contact.initiator_refuses(),
        Step::Fails(fails(OfReceiversCertificate, Some(Is("host-disabled"))).receiver_sends("stream policy-violation")),
    ),
    row(
        "D-01, SEMANTICS 2.6; SEMANTICS 4 domain-denied",
        "a domain that is denied is refused at the header, and refuses a bad certificate itself",
        |contact| contact.receiver.federation == Federation::Denied && contact.initiator_refuses(),
        Step::Fails(fails(OfReceiversCertificate, Some(Is("domain-denied"))).receiver_sends("stream policy-violation")),
    ),
    row(
        "SEMANTICS 4 host-disabled: policy-violation; seed modules_disabled s2s",
        "a host that does not federate refuses at the header",
        |contact| contact.receiver.federation == Federation::Off,
        Step::Fails(
            fails(Is("peer-stream-error"), Some(Is("host-disabled"))).receiver_sends("stream policy-violation"),
        ),
    ),
    row(
        "SEMANTICS 4 domain-denied: policy-violation; SEMANTICS 1 both directions",
        "a domain that is denied is refused at the header",
        |contact| contact.receiver.federation == Federation::Denied,
        Step::Fails(
            fails(Is("peer-stream-error"), Some(Is("domain-denied"))).receiver_sends("stream policy-violation"),
        ),
    ),
    row(
        "SEMANTICS 2.2, SEMANTICS 2.6, RFC6120-13.7.2-4, D-01, D-20",
        "each side judges the other by its header: both refuse, each for its own reason (the receiver's error is the \
         first, and what the initiator writes then may be lost)",
        |contact| contact.receiver_refuses() && contact.initiator_refuses(),
        Step::Fails(
            fails(OfReceiversCertificate, Some(OfInitiatorsCertificate)).receiver_sends("stream not-authorized"),
        ),
    ),
    row(
        "SEMANTICS 2.2, SEMANTICS 4 cert-*: not-authorized, RFC6120-13.7.2-4",
        "a strict peer's header with a bad certificate is answered by an error",
        Contact::receiver_refuses,
        Step::Fails(
            fails(Is("peer-stream-error"), Some(OfInitiatorsCertificate)).receiver_sends("stream not-authorized"),
        ),
    ),
    row(
        "Habit::FallsOverXmppAddrs",
        "who falls over the certificate of whom it has dialled is gone (silent: what it calls that)",
        |contact| {
            let judges = contact.initiator.habits.has(Habit::FallsOverXmppAddrs) && demands(&contact.initiator).strict;
            judges && contact.receiver.certificate == Certificate::XmppAddr
        },
        Step::Fails(fails(Is("connection-reset"), Some(Is("connection-reset")))),
    ),
    row(
        "Habit::LeavesInSilence",
        "who does not like the certificate of whom it has dialled may just go",
        |contact| contact.initiator_refuses() && contact.initiator.habits.has(Habit::LeavesInSilence),
        Step::Fails(fails(OfReceiversCertificate, Some(Is("connection-reset")))),
    ),
    row(
        "SEMANTICS 2.6, SEMANTICS 4 cert-*: not-authorized, RFC6120-13.9.5-2",
        "nothing is sent to a strict peer whose certificate is bad",
        Contact::initiator_refuses,
        Step::Fails(
            fails(OfReceiversCertificate, Some(Is("peer-stream-error"))).initiator_sends("stream not-authorized"),
        ),
    ),
    row("SEMANTICS 2.2", "nobody refuses", always, Step::Accepted),
];

/// How the initiator proves itself.
const PROVE: &[Row<Contact, Step>] = &[
    row(
        "Habit::FallsOverXmppAddrs",
        "who falls over the certificate that is shown with EXTERNAL is gone (silent: what it calls that)",
        |contact| {
            let judges = contact.receiver.habits.has(Habit::FallsOverXmppAddrs) && contact.initiator.external;
            judges && contact.encrypted && contact.initiator.certificate == Certificate::XmppAddr
        },
        Step::Fails(fails(Is("connection-reset"), Some(Is("connection-reset")))),
    ),
    row(
        "SEMANTICS 2.1, RFC6120-6.3.4-2, RFC6120-6.3.4-5, XEP0178-3-2, XEP0178-3-5",
        "EXTERNAL is offered for a certificate that names the header's from, and tried first",
        |contact| contact.initiators_certificate_is_good() && contact.receiver.external && contact.initiator.external,
        Step::Proved { method: Method::External, encrypted: true },
    ),
    row(
        "Habit::RefusesAtExternal; RFC6120-6.4.5-4",
        "EXTERNAL that is offered to everybody is tried with a bad certificate too, and refused",
        |contact| {
            let offered = contact.encrypted && contact.receiver.habits.has(Habit::RefusesAtExternal);
            let tried = contact.initiator.external && contact.initiator.certificate != Certificate::None;
            offered && contact.receiver.external && tried
        },
        Step::ExternalRefused,
    ),
    row(
        "SEMANTICS 2.6, SEMANTICS 1 s2s_dialback_to_verified, RFC6120-6.4.5-5",
        "to a strict peer there is no dialback, unless it is allowed (silent: the error)",
        |contact| demands(&contact.initiator).strict && !contact.initiator.dialback_to_verified,
        Step::Fails(
            fails(Is("external-not-offered"), Some(Is("peer-stream-error"))).initiator_sends("stream not-authorized"),
        ),
    ),
    row(
        "SEMANTICS 1 modules_disabled dialback, RFC6120-6.4.5-5",
        "without dialback nothing is left (silent: the error)",
        |contact| !contact.initiator.dialback,
        Step::Fails(
            fails(Is("external-not-offered"), Some(Is("peer-stream-error"))).initiator_sends("stream not-authorized"),
        ),
    ),
    row("SEMANTICS 2.6, RFC6120-6.4.5-6, XEP0220-2.1.1-1", "dialback is what is left", always, Step::Key),
];

/// After a refusal of EXTERNAL. The refusal is the attempt that failed.
const AFTER_REFUSAL: &[Row<Contact, Step>] = &[
    row(
        "SEMANTICS 2.6, SEMANTICS 1 s2s_dialback_to_verified; SEMANTICS 4 external-refused",
        "to a strict peer no dialback follows, unless it is allowed",
        |contact| demands(&contact.initiator).strict && !contact.initiator.dialback_to_verified,
        Step::Fails(fails(Is("external-refused"), None).without_attempt()),
    ),
    row("SEMANTICS 2.6, XEP0178-3-7, RFC6120-6.4.5-6", "dialback follows on the same stream", always, Step::Key),
];

/// What the receiver reports of EXTERNAL that it has not offered.
pub(super) const UNASKED: &[Row<Contact, Option<&str>>] = &[
    row(
        "D-52, RFC6120-6.4.5-4",
        "EXTERNAL goes with the header of who would accept its own certificate, and is refused by who does not offer it",
        Contact::attempts_external_unasked,
        Some("external-refused"),
    ),
    row("SEMANTICS 2.6", "EXTERNAL is attempted where it is offered", always, None),
];

/// What the receiver makes of a dialback key.
const KEY: &[Row<Contact, Step>] = &[
    row(
        "Habit::EndsStreamAtKey",
        "a key may end the stream where dialback is switched off",
        |contact| !contact.receiver.dialback && contact.receiver.habits.has(Habit::EndsStreamAtKey),
        Step::Fails(
            fails(Is("peer-stream-error"), Some(Is("dialback-denied-by-policy")))
                .receiver_sends("stream not-authorized"),
        ),
    ),
    row(
        "SEMANTICS 1 modules_disabled dialback, SEMANTICS 4, XEP0220-2.5-10",
        "without dialback a key is refused",
        |contact| !contact.receiver.dialback,
        Step::Fails(
            fails(Is("dialback-error"), Some(Is("dialback-denied-by-policy")))
                .receiver_sends("dialback not-authorized"),
        ),
    ),
    row(
        "SEMANTICS 2.3, XEP0344-2.4-1, XEP0344-2.4-2",
        "a certificate that is good for the sender's domain spares the call-back",
        Contact::initiators_certificate_is_good,
        Step::Proved { method: Method::Certificate, encrypted: true },
    ),
    row(
        "XEP0220-2.2.1-1, XEP0220-2.1.2-1",
        "else the authoritative server is asked",
        always,
        Step::CallBack { encrypted: false },
    ),
];

/// The error with which the initiator ends the stream after its key was refused, if it does.
pub(super) const KEY_REFUSED: &[Row<Contact, Option<&str>>] = &[
    row(
        "Habit::EndsStreamAfterKey",
        "a refused key may be the end of the stream",
        |contact| contact.initiator.habits.has(Habit::EndsStreamAfterKey),
        Some("stream not-authorized"),
    ),
    row("XEP0220-2.5-14", "a refused key is no reason to end the stream with an error", always, None),
];

/// A stream that asks about a key, once both headers are accepted.
const VERIFY: &[Row<Contact, Step>] = &[row(
    "SEMANTICS 2.4, SEMANTICS 2.5, XEP0220-2.2.2-3",
    "requests are answered before authentication",
    always,
    Step::Answered,
)];

/// The error for the initiator when the authoritative server could not be asked.
pub(super) const CALL_BACK_FAILED: &[Row<Contact, &'static str>] = &[
    row(
        "XEP0220-2.5-6",
        "no connection to the authoritative server",
        Contact::has_nobody_to_dial,
        "dialback remote-connection-failed",
    ),
    row(
        "XEP0220-2.5-8",
        "trouble on the connection to it, a failed handshake included",
        always,
        "dialback remote-server-timeout",
    ),
];

/// The clauses of all rows.
pub fn clauses() -> impl Iterator<Item = &'static Clause> {
    let steps =
        [REACH, BEFORE_TLS, HEADERS, PROVE, AFTER_REFUSAL, KEY, VERIFY].into_iter().flatten().map(|row| &row.clause);
    let answers = CALL_BACK_FAILED.iter().map(|row| &row.clause);
    steps.chain(KEY_REFUSED.iter().map(|row| &row.clause)).chain(answers)
}
