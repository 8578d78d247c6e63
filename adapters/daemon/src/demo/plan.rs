//! What the demo shows: the hosts, how each is reached, and what must come of every pair.
//!
//! Two hosts on each side make four pairs, and these show every combination of the two ways to begin a stream with
//! the two ways to prove oneself, and a refusal. How a stream begins is decided by what the *called* host publishes;
//! how a host proves itself, by the certificate of the *calling* one.

use s2s_core::auth::Method;
use s2s_core::dns::Security;
use s2s_core::reason::Reason;

/// One of the two servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    /// The first.
    A,
    /// The second.
    B,
}

impl Side {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::A, Self::B];

    /// Its letter.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
        }
    }
}

/// Who vouches for a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Voucher {
    /// The authority that both servers trust.
    Authority,
    /// Nobody but itself.
    Itself,
}

/// One host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site {
    /// Its domain.
    pub(crate) name: &'static str,
    /// Who serves it.
    pub(crate) side: Side,
    /// The service that it publishes.
    pub(crate) entrance: Security,
    /// Who signed its certificate.
    pub(crate) voucher: Voucher,
    /// Whether it demands valid certificates: `s2s_secure_auth`.
    pub(crate) strict: bool,
}

/// All hosts.
pub(crate) const SITES: [Site; 4] = [
    Site {
        name: "alpha.example",
        side: Side::A,
        entrance: Security::StartTls,
        voucher: Voucher::Authority,
        strict: true,
    },
    Site {
        name: "self.alpha.example",
        side: Side::A,
        entrance: Security::DirectTls,
        voucher: Voucher::Itself,
        strict: false,
    },
    Site {
        name: "beta.example",
        side: Side::B,
        entrance: Security::StartTls,
        voucher: Voucher::Authority,
        strict: false,
    },
    Site {
        name: "self.beta.example",
        side: Side::B,
        entrance: Security::DirectTls,
        voucher: Voucher::Itself,
        strict: false,
    },
];

/// What must come of stanzas in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// They arrive.
    Federated {
        /// How the stream begins.
        security: Security,
        /// How the sender proves itself.
        method: Method,
    },
    /// They bounce.
    Refused {
        /// The host whose policy refuses.
        by: &'static str,
        /// Why.
        reason: Reason,
    },
}

/// One direction between two hosts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lane {
    /// The sender.
    pub(crate) from: &'static str,
    /// The recipient.
    pub(crate) to: &'static str,
    /// What must come of it.
    pub(crate) outcome: Outcome,
}

/// A pair of hosts, in both directions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    /// What it shows.
    pub(crate) title: &'static str,
    /// There and back.
    pub(crate) lanes: [Lane; 2],
}

/// All pairs.
pub(crate) const STEPS: [Step; 4] = [
    Step {
        title: "both with valid certificates: STARTTLS, then SASL EXTERNAL",
        lanes: [
            federated("alpha.example", "beta.example", Security::StartTls, Method::External),
            federated("beta.example", "alpha.example", Security::StartTls, Method::External),
        ],
    },
    Step {
        title: "both self-signed: TLS from the first byte, then dialback",
        lanes: [
            federated("self.alpha.example", "self.beta.example", Security::DirectTls, Method::Dialback),
            federated("self.beta.example", "self.alpha.example", Security::DirectTls, Method::Dialback),
        ],
    },
    Step {
        title: "one of each: direct TLS with EXTERNAL one way, STARTTLS with dialback the other",
        lanes: [
            federated("beta.example", "self.alpha.example", Security::DirectTls, Method::External),
            federated("self.alpha.example", "beta.example", Security::StartTls, Method::Dialback),
        ],
    },
    Step {
        title: "alpha.example demands valid certificates: it refuses a self-signed one, both ways",
        lanes: [refused("alpha.example", "self.beta.example"), refused("self.beta.example", "alpha.example")],
    },
];

const fn federated(from: &'static str, to: &'static str, security: Security, method: Method) -> Lane {
    Lane { from, to, outcome: Outcome::Federated { security, method } }
}

const fn refused(from: &'static str, to: &'static str) -> Lane {
    Lane { from, to, outcome: Outcome::Refused { by: "alpha.example", reason: Reason::CertSelfSigned } }
}

/// The host of that name.
pub(crate) fn site(name: &str) -> Option<&'static Site> {
    SITES.iter().find(|site| site.name == name)
}

/// The word for how a stream begins.
pub(crate) const fn entrance(security: Security) -> &'static str {
    match security {
        Security::StartTls => "starttls",
        Security::DirectTls => "direct",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lane_follows_from_the_hosts_at_its_ends() {
        for lane in STEPS.iter().flat_map(|step| step.lanes) {
            let (from, to) = (site(lane.from).expect(lane.from), site(lane.to).expect(lane.to));
            assert_ne!(from.side, to.side, "{lane:?}");
            let strict_meets_self_signed =
                (from.strict && to.voucher == Voucher::Itself) || (to.strict && from.voucher == Voucher::Itself);
            match lane.outcome {
                Outcome::Federated { security, method } => {
                    assert!(!strict_meets_self_signed, "{lane:?}");
                    assert_eq!(security, to.entrance, "{lane:?}");
                    let vouched = from.voucher == Voucher::Authority;
                    assert_eq!(method, if vouched { Method::External } else { Method::Dialback }, "{lane:?}");
                }
                Outcome::Refused { by, .. } => {
                    assert!(strict_meets_self_signed, "{lane:?}");
                    assert!(site(by).expect(by).strict, "{lane:?}");
                }
            }
        }
    }
}
