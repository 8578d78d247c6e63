//! What servers that others wrote are known to do where the documents leave them a choice, and where they go another
//! way. Found by trying Prosody 0.12.3 and ejabberd 23.01, as Debian 12 ships them. The tables ask for a [`Habit`];
//! who has it stands here and nowhere else.

use super::Certificate;

/// Whose server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Software {
    /// Prosody, in Lua.
    Prosody,
    /// ejabberd, in Erlang.
    Ejabberd,
}

axis! {
    /// What a server does otherwise than ours.
    Habit {
        /// Offers EXTERNAL whatever certificate it saw, even none, and refuses it only then: never at the header.
        RefusesAtExternal,
        /// Wants the purpose of a TLS client in the certificate of who dials it, and no other.
        WantsClientPurpose,
        /// Takes a certificate without any other name by its common name.
        TakesCommonNames,
        /// Does not know SRV-IDs.
        PassesOverSrvIds,
        /// Does not know XmppAddrs.
        PassesOverXmppAddrs,
        /// Drops the stream when it has to judge a certificate with an XmppAddr.
        FallsOverXmppAddrs,
        /// Ends the stream at a dialback key where it has dialback switched off.
        EndsStreamAtKey,
        /// Goes without a word when it does not like the certificate of whom it has dialled.
        LeavesInSilence,
        /// Says that STARTTLS is not supported where it is required of it, having no TLS.
        ForbidsStartTls,
        /// Sends its key in clear although STARTTLS is required, having no TLS.
        SendsKeyRegardless,
        /// Ends the stream when its key was refused.
        EndsStreamAfterKey,
    }
}

/// One fact about one program.
#[derive(Clone, Copy, Debug)]
pub struct Fact {
    /// Whose.
    pub software: Software,
    /// What it does.
    pub habit: Habit,
    /// Where it was seen, in our words.
    pub says: &'static str,
}

const fn fact(software: Software, habit: Habit, says: &'static str) -> Fact {
    Fact { software, habit, says }
}

/// All that the tables need to know.
pub const FACTS: &[Fact] = &[
    fact(
        Software::Prosody,
        Habit::SendsKeyRegardless,
        "0.12.3, mod_dialback: without mod_tls it answers any features by a key, a required STARTTLS included",
    ),
    fact(
        Software::Prosody,
        Habit::EndsStreamAfterKey,
        "0.12.3, mod_dialback: any answer but valid is followed by the stream error not-authorized",
    ),
    fact(
        Software::Prosody,
        Habit::TakesCommonNames,
        "0.12.3: without subject alternative names the common name counts",
    ),
    fact(
        Software::Prosody,
        Habit::PassesOverXmppAddrs,
        "0.12.3: a certificate with nothing else 'is not valid for this name'",
    ),
    fact(
        Software::Ejabberd,
        Habit::TakesCommonNames,
        "23.01: without subject alternative names the common name counts",
    ),
    fact(
        Software::Ejabberd,
        Habit::PassesOverSrvIds,
        "23.01: a certificate with nothing else is a 'certificate host name mismatch'",
    ),
    fact(
        Software::Ejabberd,
        Habit::FallsOverXmppAddrs,
        "23.01: an internal server error, when it judges a certificate that has one",
    ),
    fact(
        Software::Ejabberd,
        Habit::RefusesAtExternal,
        "23.01: EXTERNAL is offered to everybody; a bad certificate is answered by a SASL failure with a text",
    ),
    fact(
        Software::Ejabberd,
        Habit::WantsClientPurpose,
        "23.01: serverAuth alone is an 'unsupported certificate purpose' in who dials, and clientAuth alone is good; in who \
         is dialled it is the other way round",
    ),
    fact(
        Software::Ejabberd,
        Habit::EndsStreamAtKey,
        "23.01: without mod_s2s_dialback the header declares dialback all the same, and a key is answered by the stream \
         error not-authorized",
    ),
    fact(
        Software::Ejabberd,
        Habit::ForbidsStartTls,
        "23.01, s2s_use_starttls: false: it leaves with unsupported-feature, 'STARTTLS is disabled in local \
         configuration'",
    ),
    fact(
        Software::Ejabberd,
        Habit::LeavesInSilence,
        "23.01: without mod_s2s_dialback it closes, and bounces with 'Peer certificate rejected'",
    ),
];

/// A certificate that is judged otherwise by who has the habit.
pub(super) struct Judged {
    pub(super) by: Habit,
    /// False if only that of who dials is.
    pub(super) in_both_roles: bool,
    pub(super) certificate: Certificate,
    /// What is wrong with it.
    pub(super) flaw: Option<&'static str>,
}

const fn judged(by: Habit, in_both_roles: bool, certificate: Certificate, flaw: Option<&'static str>) -> Judged {
    Judged { by, in_both_roles, certificate, flaw }
}

/// What the habits make of certificates.
pub(super) const JUDGED: &[Judged] = &[
    judged(Habit::WantsClientPurpose, false, Certificate::ServerAuth, Some("cert-purpose")),
    judged(Habit::WantsClientPurpose, false, Certificate::ClientAuth, None),
    judged(Habit::TakesCommonNames, true, Certificate::CommonName, None),
    judged(Habit::PassesOverSrvIds, true, Certificate::SrvId, Some("cert-name-mismatch")),
    judged(Habit::PassesOverXmppAddrs, true, Certificate::XmppAddr, Some("cert-name-mismatch")),
];

impl Software {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Prosody, Self::Ejabberd];

    /// The name of the program and of its package.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prosody => "prosody",
            Self::Ejabberd => "ejabberd",
        }
    }

    /// What it does otherwise.
    #[must_use]
    pub fn habits(self) -> Habits {
        FACTS.iter().filter(|fact| fact.software == self).fold(Habits::NONE, |habits, fact| habits.with(fact.habit))
    }
}

/// The habits of one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Habits([bool; Habit::ALL.len()]);

impl Habits {
    /// Ours: the documents have no exceptions.
    pub const NONE: Self = Self([false; Habit::ALL.len()]);

    /// One more.
    #[must_use]
    pub const fn with(mut self, habit: Habit) -> Self {
        self.0[habit as usize] = true;
        self
    }

    /// All but this one.
    #[must_use]
    pub const fn without(mut self, habit: Habit) -> Self {
        self.0[habit as usize] = false;
        self
    }

    /// Whether this is one of them.
    #[must_use]
    pub const fn has(self, habit: Habit) -> bool {
        self.0[habit as usize]
    }
}
