//! What some operators decided beside the setup of their site, and what follows from it: who may federate, how, and
//! whether stanzas of one site reach another.
//!
//! Most runs have nothing of it, so that none of it hides what they bring to light. It is drawn from a stream of its
//! own: the other draws of a seed are the same with it and without. What concerns a peer concerns all domains of a
//! site, because pairs that one domain has refused wait together.

use std::net::SocketAddr;
use std::time::Duration;

use s2s_core::addr::Domain;
use s2s_core::auth::Method;
use s2s_core::limits;
use s2s_core::node::{Config, Direction};
use s2s_core::policy::{DomainList, HostOptions};
use s2s_core::tls::Version;

use super::federation::LONG_STANZA_BYTES;
use super::random::Random;
use super::site::Site;
use super::swarm::Setup;
use super::zone::Publication;

/// One run in so many has operators who decided something.
pub(super) const VARIED_RUN_IN: usize = 4;

/// One site in so many of such a run has decided one thing.
const DECIDED_IN: usize = 5;

/// Smallest limit on stanzas, in bytes: long ones are beyond it.
const SMALL_STANZA_BYTES: usize = 60_000;

/// What an operator decided for good.
#[derive(Clone, Debug)]
pub(super) struct Orders {
    /// A site whose domains are denied.
    denied: Option<usize>,
    /// A site whose domains must show a valid certificate, whatever `secure_auth` says.
    secure: Option<usize>,
    /// A site whose domains need not.
    insecure: Option<usize>,
    allow: Allow,
    dialback_to_verified: bool,
    without: Option<Without>,
    speak_ahead: bool,
    patience: Patience,
    /// Whether addresses of these families are looked for.
    ipv4: bool,
    ipv6: bool,
    /// Whether all others have static routes.
    pub(super) routes: bool,
    own_listeners: bool,
    pub(super) stanza_bytes: usize,
    pub(super) publication: Publication,
}

/// What an operator decides for a while, and takes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decree {
    /// The domains of this site are denied.
    Deny(usize),
    /// `secure_auth` is switched on where it is off, and off where it is on.
    SwitchSecureAuth,
}

/// Who may federate. Everybody may in each case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Allow {
    Anybody,
    /// All names below one.
    Below,
    /// The names of all others.
    ByName,
}

/// What is disabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Without {
    Tls,
    External,
    Dialback,
}

impl Without {
    /// Half of the operators disable nothing.
    const CHOICES: [Option<Self>; 6] = [None, None, None, Some(Self::Tls), Some(Self::External), Some(Self::Dialback)];
}

/// How long things may take: in each case longer than they take where nothing is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    Usual,
    Short,
    Long,
}

impl Default for Orders {
    fn default() -> Self {
        Self {
            denied: None,
            secure: None,
            insecure: None,
            allow: Allow::Anybody,
            dialback_to_verified: false,
            without: None,
            speak_ahead: true,
            patience: Patience::Usual,
            ipv4: true,
            ipv6: true,
            routes: false,
            own_listeners: false,
            stanza_bytes: limits::STANZA_BYTES,
            publication: Publication::Plain,
        }
    }
}

impl Orders {
    /// Those of `site`, one of so many.
    pub(super) fn draw(site: usize, sites: usize, random: &mut Random) -> Self {
        let (ipv4, ipv6) = *random.pick(&[(true, true), (true, true), (true, true), (true, false), (false, true)]);
        Self {
            denied: another(site, sites, random),
            secure: another(site, sites, random),
            insecure: another(site, sites, random),
            allow: *random.pick(&[Allow::Anybody, Allow::Anybody, Allow::Below, Allow::ByName]),
            dialback_to_verified: random.one_in(2),
            without: *random.pick(&Without::CHOICES),
            speak_ahead: !random.one_in(DECIDED_IN),
            patience: *random.pick(&[Patience::Usual, Patience::Usual, Patience::Short, Patience::Long]),
            ipv4,
            ipv6,
            routes: random.one_in(DECIDED_IN),
            own_listeners: random.one_in(DECIDED_IN),
            stanza_bytes: *random.pick(&[limits::STANZA_BYTES, 2 * LONG_STANZA_BYTES, SMALL_STANZA_BYTES]),
            publication: *random.pick(&Publication::ALL),
        }
    }

    /// What does not depend on who the others are.
    pub(super) fn configure(&self, site: &Site, config: &mut Config) {
        config.speak_ahead = self.speak_ahead;
        config.stanza_bytes = self.stanza_bytes;
        (config.resolver.ipv4, config.resolver.ipv6) = (self.ipv4, self.ipv6);
        if self.own_listeners {
            config.own_listeners = [5269, 5270].map(|port| SocketAddr::new(site.addr, port)).to_vec();
        }
        let seconds = match self.patience {
            Patience::Usual => return,
            Patience::Short => [60, 10, 2, 60, 1],
            Patience::Long => [100, 20, 10, 90, 5],
        };
        let [negotiation, attempt, close, queue_age, query] = seconds.map(Duration::from_secs);
        config.negotiation_timeout = negotiation;
        config.attempt_timeout = attempt;
        config.close_timeout = close;
        config.limits.queue_age = queue_age;
        config.resolver.query_timeout = query;
    }
}

/// One of the other sites, now and then.
fn another(site: usize, sites: usize, random: &mut Random) -> Option<usize> {
    random.one_in(DECIDED_IN).then(|| any_other(site, sites, random))
}

/// One of the other sites.
pub(super) fn any_other(site: usize, sites: usize, random: &mut Random) -> usize {
    (site + 1 + random.below(sites - 1)) % sites
}

/// What the operator of a site wants, worked out here once more: the nodes are compared with it.
impl Site {
    /// Its operator decides, as one of so many.
    pub(super) fn vary(&mut self, sites: usize, random: &mut Random) {
        self.orders = Orders::draw(self.life.site, sites, random);
        if self.is_without(Without::Tls) {
            // Nobody is invited to begin with it.
            (self.starttls, self.direct_tls) = (true, false);
        }
    }

    /// What its hosts are told. `names` are those of all domains, `homes` their sites.
    pub(super) fn options(&self, names: &[Domain], homes: &[usize]) -> HostOptions {
        let list = |wanted: &dyn Fn(usize) -> bool| {
            let mut list = DomainList::default();
            for (name, _) in names.iter().zip(homes).filter(|(_, home)| wanted(**home)) {
                list.insert(name.as_str()).expect("a domain");
            }
            list
        };
        let own = self.life.site;
        HostOptions {
            secure_auth: self.is_secure(),
            require_encryption: self.setup.demands_encryption(),
            secure_domains: list(&|site| self.orders.secure == Some(site)),
            insecure_domains: list(&|site| self.orders.insecure == Some(site)),
            allow_domains: match self.orders.allow {
                Allow::Anybody => DomainList::default(),
                Allow::Below => {
                    let mut below = DomainList::default();
                    below.insert("*.example.org").expect("a domain");
                    below
                }
                Allow::ByName => list(&|site| site != own),
            },
            deny_domains: list(&|site| self.denies(site)),
            dialback_to_verified: self.orders.dialback_to_verified,
            tls_disabled: self.is_without(Without::Tls),
            external_disabled: self.is_without(Without::External),
            dialback_disabled: self.is_without(Without::Dialback),
            ..HostOptions::default()
        }
    }

    fn is_without(&self, what: Without) -> bool {
        self.orders.without == Some(what)
    }

    /// `secure_auth`
    fn is_secure(&self) -> bool {
        (self.setup == Setup::Strict) != (self.decree == Some(Decree::SwitchSecureAuth))
    }

    /// Whether the domains of `other` may not federate.
    pub(super) fn denies(&self, other: usize) -> bool {
        self.orders.denied == Some(other) || self.decree == Some(Decree::Deny(other))
    }

    /// Whether they must show a valid certificate.
    pub(super) fn is_strict(&self, other: usize) -> bool {
        self.orders.secure == Some(other) || self.is_secure() && self.orders.insecure != Some(other)
    }

    fn demands_encryption(&self, other: usize) -> bool {
        self.setup.demands_encryption() || self.is_strict(other)
    }

    /// Whether a stream with `other` may be as it is.
    fn bears(&self, other: &Self, encrypted: bool) -> bool {
        match encrypted {
            true => !self.is_strict(other.life.site) || other.setup.has_valid_certificate(),
            false => !self.demands_encryption(other.life.site),
        }
    }

    /// Whether there will be TLS on a stream that it opens to `other`.
    fn encrypts(&self, other: &Self) -> bool {
        other.setup != Setup::Bare && !other.is_without(Without::Tls) && !self.is_without(Without::Tls)
    }

    /// Whether its streams begin with TLS, or not at all.
    pub(super) const fn is_direct_only(&self) -> bool {
        self.direct_tls && !self.starttls
    }

    /// Whether it finds an address of `other` where it can begin a stream.
    fn finds(&self, other: &Self) -> bool {
        let family = if other.addr.is_ipv4() { self.orders.ipv4 } else { self.orders.ipv6 };
        (family || self.orders.routes) && !(other.is_direct_only() && self.is_without(Without::Tls))
    }

    /// Whether there is a stream to `other` that both bear.
    fn reaches(&self, other: &Self) -> bool {
        let encrypted = self.encrypts(other);
        self.finds(other) && self.bears(other, encrypted) && other.bears(self, encrypted)
    }

    /// Whether its stanzas reach `other` when nothing is broken.
    pub(super) fn can_send_to(&self, other: &Self) -> bool {
        if self.denies(other.life.site) || other.denies(self.life.site) || !self.reaches(other) {
            return false;
        }
        let proved = self.encrypts(other) && self.setup.has_valid_certificate();
        if proved && !self.is_without(Without::External) && !other.is_without(Without::External) {
            return true;
        }
        let may_send_key = !self.is_strict(other.life.site) || self.orders.dialback_to_verified;
        let dialback = may_send_key && !self.is_without(Without::Dialback) && !other.is_without(Without::Dialback);
        // Where no certificate proves who it is, the other one calls back.
        dialback && (proved || other.reaches(self))
    }

    /// Whether it may tell that a pair with `other` is up, where the side that opened the stream was proved `by` this.
    pub(super) fn judge(
        &self,
        other: &Self,
        direction: Direction,
        by: Method,
        tls: Option<Version>,
    ) -> Result<(), &'static str> {
        let strict = self.is_strict(other.life.site);
        let opener = if direction == Direction::Inbound { other } else { self };
        let by_key = by != Method::External;
        match tls {
            _ if self.denies(other.life.site) => Err("the domain is denied"),
            None if self.demands_encryption(other.life.site) => Err("the stream is in clear"),
            Some(_) if self.is_without(Without::Tls) => Err("TLS is disabled"),
            _ if strict && !other.setup.has_valid_certificate() => Err("the domain has no valid certificate"),
            None if by == Method::External => Err("EXTERNAL without TLS"),
            None if by == Method::Certificate => Err("a certificate without TLS"),
            _ if by != Method::Dialback && !opener.setup.has_valid_certificate() => Err("a certificate of no worth"),
            _ if !by_key && self.is_without(Without::External) => Err("EXTERNAL is disabled"),
            _ if by_key && self.is_without(Without::Dialback) => Err("dialback is disabled"),
            _ if by_key && direction == Direction::Outbound && strict && !self.orders.dialback_to_verified => {
                Err("a key for who must show a certificate")
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;
    use std::time::Instant;

    fn site(number: usize, setup: Setup, offers: (bool, bool)) -> Site {
        let mut site = Site::new(number, vec![number], setup, IpAddr::from([10, 0, 0, 1]), Instant::now());
        (site.starttls, site.direct_tls) = offers;
        site
    }

    fn without(number: usize, setup: Setup, what: Without) -> Site {
        let mut site = site(number, setup, (true, false));
        site.orders.without = Some(what);
        site
    }

    #[test]
    fn where_nothing_was_decided_the_setups_say_who_federates() {
        for one in Setup::ALL {
            for other in Setup::ALL {
                for offers in [(true, false), (true, true), (false, true), (false, false)] {
                    let [from, to] = [site(0, one, (true, false)), site(1, other, offers)];
                    let expected = one.can_federate(other);
                    assert_eq!(from.can_send_to(&to), expected, "{one:?} to {other:?}, {offers:?}");
                    assert_eq!(to.can_send_to(&from), expected, "{other:?}, {offers:?}, to {one:?}");
                }
            }
        }
    }

    #[test]
    fn a_way_of_proof_that_is_disabled_leaves_the_other_one() {
        let plain = |setup| site(1, setup, (true, false));
        for (setup, what, to, expected, why) in [
            (Setup::Certified, Without::External, Setup::Certified, true, "its certificate proves it behind a key"),
            (Setup::Certified, Without::Dialback, Setup::Strict, true, "EXTERNAL is enough"),
            (Setup::SelfSigned, Without::Dialback, Setup::Certified, false, "its certificate proves nothing"),
            (Setup::Open, Without::Tls, Setup::Certified, false, "the other one demands encryption"),
            (Setup::Open, Without::Tls, Setup::Open, true, "both speak in clear"),
            (Setup::Strict, Without::External, Setup::Certified, false, "it sends no key to whom it is strict with"),
        ] {
            assert_eq!(without(0, setup, what).can_send_to(&plain(to)), expected, "{setup:?} to {to:?}: {why}");
        }
    }

    #[test]
    fn nobody_is_called_back_who_is_not_found() {
        let [bare, mut open] = [site(0, Setup::Bare, (true, false)), site(1, Setup::Open, (true, false))];
        assert!(bare.can_send_to(&open));
        open.orders.ipv4 = false;
        assert!(!bare.can_send_to(&open), "the key cannot be verified");
        assert!(site(0, Setup::Certified, (true, false)).can_send_to(&open), "there is no key to verify");
        assert!(!open.can_send_to(&bare), "it is not found");
        open.orders.routes = true;
        assert!(bare.can_send_to(&open) && open.can_send_to(&bare), "static routes need no lookup");
    }
}
