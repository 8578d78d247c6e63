//! All options of a run, drawn from its seed: how many domains, how they are set up, what the network is like, and which
//! faults there are. Each fault is off in half of the runs, so that none hides what another one brings to light.

use std::collections::BTreeSet;
use std::time::Duration;

use super::net::Quality;
use super::random::Random;

macro_rules! faults {
    ($($(#[$doc:meta])* $variant:ident,)*) => {
        /// What can go wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Fault { $($(#[$doc])* $variant,)* }

        impl Fault {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
        }
    };
}

faults! {
    /// A connection breaks, in the middle of a segment.
    Reset,
    /// One half of a connection ends early, by some box on the way.
    HalfClose,
    /// One direction of a connection stands still for a while.
    Stall,
    /// Nothing passes between two sites for a while.
    Partition,
    /// A site refuses connections for a while.
    Refuse,
    /// A site does not answer to new connections for a while.
    BlackHole,
    /// A process ends and another one begins.
    Restart,
    /// A machine goes down without a word, and comes up later.
    Crash,
    /// A process begins with another dialback secret.
    LoseSecret,
    /// A site moves to another address.
    MoveZone,
    /// A site shows certificates that prove nothing, for a while.
    WrongCertificate,
    /// The wall clock of a site jumps.
    ClockStep,
    /// An application takes no events for a while.
    SlowApplication,
    /// A site is configured again: mostly with the same configuration, in some runs with another one for a while.
    Reload,
    /// A site reports what is over already, or comes early or late to a timer.
    Races,
    /// Somebody claims a domain of others, with its own certificate and its own secret.
    Impostor,
    /// A DNS message comes late.
    DnsDelay,
    /// It does not come.
    DnsLoss,
    /// The DNS server fails.
    DnsServfail,
    /// It denies what exists.
    DnsNxdomain,
    /// It sends half of an answer.
    DnsTruncation,
    /// Somebody guesses the id of the query, and fails.
    DnsWrongId,
    /// Somebody answers after the server.
    DnsSpoof,
    /// The message is damaged.
    DnsGarbage,
}

impl Fault {
    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|fault| format!("{fault:?}") == name)
    }

    /// Whether it strikes at moments of its own; the others come with what they concern.
    #[must_use]
    pub const fn is_planned(self) -> bool {
        matches!(
            self,
            Self::Reset
                | Self::HalfClose
                | Self::Stall
                | Self::Partition
                | Self::Refuse
                | Self::BlackHole
                | Self::Restart
                | Self::Crash
                | Self::LoseSecret
                | Self::MoveZone
                | Self::WrongCertificate
                | Self::ClockStep
                | Self::SlowApplication
                | Self::Reload
        )
    }
}

/// How a site is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Setup {
    /// A valid certificate, and demands the same.
    Strict,
    /// A valid certificate, and demands encryption.
    Certified,
    /// A certificate of its own making, and demands encryption.
    SelfSigned,
    /// No certificate.
    Bare,
    /// A valid certificate, and speaks in clear where it must.
    Open,
}

impl Setup {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Strict, Self::Certified, Self::SelfSigned, Self::Bare, Self::Open];

    /// Whether it shows a certificate that proves something.
    #[must_use]
    pub const fn has_valid_certificate(self) -> bool {
        matches!(self, Self::Strict | Self::Certified | Self::Open)
    }

    /// Whether nothing may pass in clear.
    #[must_use]
    pub const fn demands_encryption(self) -> bool {
        matches!(self, Self::Strict | Self::Certified | Self::SelfSigned)
    }

    /// Whether two sites can federate, both ways, when nothing is broken.
    #[must_use]
    pub fn can_federate(self, other: Self) -> bool {
        let strict = |one: Self, other: Self| one != Self::Strict || other.has_valid_certificate();
        let encrypted = |one: Self, other: Self| !one.demands_encryption() || other != Self::Bare;
        strict(self, other) && strict(other, self) && encrypted(self, other) && encrypted(other, self)
    }
}

/// The options of a run.
#[derive(Clone, Debug)]
pub(super) struct Swarm {
    pub(super) domains: usize,
    /// Domains of the largest site.
    pub(super) domains_per_site: usize,
    pub(super) setups: Vec<Setup>,
    pub(super) faults: BTreeSet<Fault>,
    /// When they strike, and where, if that was not left to chance.
    pub(super) pinned: Option<Vec<(Duration, Fault, usize)>>,
    pub(super) quality: Quality,
    /// From one stanza of a domain to its next, at most twice this.
    pub(super) pace: Duration,
    /// To how many other domains a domain mostly writes: few have streams that stay up, all have streams that go idle.
    pub(super) circle: usize,
    /// From one planned fault to the next, at most twice this.
    pub(super) trouble: Duration,
    pub(super) idle: Duration,
    /// Seconds that DNS records live.
    pub(super) ttl: u32,
    /// Bytes of the queue of one pair.
    pub(super) queue_bytes: usize,
    /// One stanza in this many is long.
    pub(super) long_stanza_in: usize,
    /// How long things go wrong.
    pub(super) span: Duration,
}

/// The longest run in which domains may say more than a federation-hour asks for, in tiny segments, and at length.
const DENSE: Duration = Duration::from_secs(600);

/// From one stanza of a domain to its next, on average, in longer runs: 1.2 a minute.
const SPARSE_PACE: Duration = Duration::from_secs(50);

/// Bytes of the longest segment in longer runs, at least.
const SPARSE_SEGMENT: usize = 1460;

/// One stanza in so many, or more, is long in longer runs.
const SPARSE_LONG_STANZA_IN: usize = 1000;

/// How long a run goes on after the last fault that was pinned.
const PINNED_AFTERMATH: Duration = Duration::from_secs(60);

impl Swarm {
    /// The options of the run of `seed`: its remainder by 16 says how large it is.
    pub(super) fn draw(seed: u64, random: &mut Random) -> Self {
        let span = Duration::from_secs(if matches!(seed % 16, 0 | 1 | 4 | 7) { 600 } else { 3600 });
        let domains = match seed % 8 {
            0..4 => random.between(2, 6),
            4..7 => random.between(5, 12),
            _ => random.between(13, 50),
        };
        // Thirty faults an hour for five domains: some of them find nothing to break.
        let trouble = Duration::from_secs(3600) * 5 / (30 * u32::try_from(domains).unwrap_or(1));
        let mut swarm = Self::with(domains, span, trouble, random);
        // Dense traffic, tiny segments and long stanzas have nothing to show in an hour that ten minutes do not show.
        if span > DENSE {
            swarm.pace = swarm.pace.max(SPARSE_PACE);
            swarm.quality.segment = swarm.quality.segment.max(SPARSE_SEGMENT);
            swarm.long_stanza_in = swarm.long_stanza_in.max(SPARSE_LONG_STANZA_IN);
        }
        swarm
    }

    /// The options of a run that is over soon, with much trouble.
    pub(super) fn small(random: &mut Random) -> Self {
        let (domains, span) = (random.between(2, 4), random.span(Duration::from_secs(20), Duration::from_secs(120)));
        Self::with(domains, span, Duration::from_secs(10), random)
    }

    /// The options of a run in which these faults strike, and no others.
    pub(super) fn pinned(faults: &[(Duration, Fault, usize)], random: &mut Random) -> Self {
        let mut swarm = Self::small(random);
        let last = faults.iter().map(|(at, ..)| *at).max().unwrap_or_default();
        swarm.span = last + PINNED_AFTERMATH;
        swarm.faults = faults.iter().map(|(_, fault, _)| *fault).collect();
        swarm.pinned = Some(faults.to_vec());
        swarm
    }

    fn with(domains: usize, span: Duration, trouble: Duration, random: &mut Random) -> Self {
        let setups = match random.below(4) {
            0 => vec![Setup::Strict],
            1 => vec![*random.pick(&Setup::ALL)],
            _ => Setup::ALL.into_iter().filter(|_| random.one_in(2)).collect(),
        };
        let setups = if setups.is_empty() { Setup::ALL.to_vec() } else { setups };
        let faults = Fault::ALL.iter().copied().filter(|_| random.one_in(2)).collect();
        let quality = Quality {
            latency: *random.pick(&[
                (Duration::from_micros(50), Duration::from_millis(1)),
                (Duration::from_millis(5), Duration::from_millis(40)),
                (Duration::from_millis(20), Duration::from_millis(900)),
            ]),
            bytes_per_second: *random.pick(&[10_000, 1_000_000, 100_000_000]),
            segment: *random.pick(&[64, 1460, 1460, 16_384, 16_384]),
            partial: random.one_in(2),
        };
        Self {
            domains,
            domains_per_site: *random.pick(&[1, 1, 2, 4]),
            setups,
            faults,
            pinned: None,
            quality,
            pace: Duration::from_secs(*random.pick(&[5, 29, 50, 50])),
            circle: *random.pick(&[1, 3, usize::MAX]),
            trouble: trouble / *random.pick(&[1, 1, 4]),
            idle: Duration::from_secs(*random.pick(&[30, 840, 840])),
            ttl: *random.pick(&[0, 1, 30, 120]),
            queue_bytes: *random.pick(&[20_000, 1_048_576, 1_048_576]),
            long_stanza_in: *random.pick(&[20, 1000, 1000]),
            span,
        }
    }
}
