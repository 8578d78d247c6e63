//! One stanza between a fresh s2sd and a real server, and whether what comes of it is what must come of it.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cells::First;
use crate::component::Component;
use crate::dns::Service;
use crate::failure::{Failure, While, fail};
use crate::lab::{Lab, Place};
use crate::peers::{LOGGED, Peer, Policy, Software, name_and_version};
use crate::pki::Certificate;
use crate::process::{Log, tail};
use crate::report::{Measured, Row};
use crate::s2sd::{Daemon, Settings, text};
use crate::talk::{PATIENCE, bounce, federate, say};

/// How s2sd is set up.
#[derive(Clone, Debug)]
pub(crate) struct Ours {
    /// Its certificate.
    pub(crate) certificate: Certificate,
    /// `s2s_secure_auth`
    pub(crate) strict: bool,
    /// `s2s_require_encryption`
    pub(crate) encrypted: bool,
    /// How it is found, and where it listens.
    pub(crate) services: Vec<(Service, u16)>,
    /// `s2s_ports`
    pub(crate) starttls: Option<u16>,
    /// `s2s_direct_tls_ports`
    pub(crate) direct: u16,
    /// More at the top of its configuration. `@REMOTE@` is the peer's domain, `@PEER@` the address of its server; `@HOST@` is our
    /// own domain, `@PIN@` the pin of its key.
    pub(crate) top: String,
    /// More in the table of the host, and below it.
    pub(crate) below: String,
    /// Whether it trusts another authority than everybody else.
    pub(crate) other_authority: bool,
    /// Whether it finds its certificate in a directory, among others.
    pub(crate) finds_certificate: bool,
    /// Whether `s2s_interfaces` is another address than that of components.
    pub(crate) other_interface: bool,
}

impl Default for Ours {
    /// The defaults of the configuration, with a valid certificate.
    fn default() -> Self {
        Self {
            certificate: Certificate::Valid,
            strict: false,
            encrypted: false,
            services: vec![(Service::StartTls, 5269)],
            starttls: Some(5269),
            direct: 5270,
            top: String::new(),
            below: String::new(),
            other_authority: false,
            finds_certificate: false,
            other_interface: false,
        }
    }
}

/// What must come of it.
#[derive(Clone, Debug)]
pub(crate) enum Expected {
    /// Stanzas flow both ways, and these are s2sd's methods for what it opens and for what is opened to it.
    Federates {
        /// On the streams that it opens.
        out: &'static str,
        /// On those of the peer.
        inbound: &'static str,
        /// Whether inside TLS.
        encrypted: bool,
    },
    /// The first stanza arrives.
    Arrives {
        /// How its direction was proved, as s2sd has it.
        method: &'static str,
        /// Whether inside TLS.
        encrypted: bool,
    },
    /// The first stanza comes back.
    Bounces {
        /// One of these stands in s2sd's log for that direction.
        reasons: &'static [&'static str],
        /// If we sent it, the words that it comes back with.
        words: &'static str,
    },
}

/// A contact.
#[derive(Clone, Debug)]
pub(crate) struct Contact {
    /// What it is called.
    pub(crate) name: String,
    /// Whom s2sd meets.
    pub(crate) software: Software,
    /// How that server treats others.
    pub(crate) policy: Policy,
    /// The name of the component there.
    pub(crate) component: &'static str,
    /// How s2sd is set up.
    pub(crate) ours: Ours,
    /// Who speaks first.
    pub(crate) first: First,
}

/// A running s2sd, the server that it meets, and their components.
pub(crate) struct Scene<'a> {
    /// Our program.
    pub(crate) daemon: Daemon,
    /// The server.
    pub(crate) peer: &'a Peer,
    /// What the server logs meanwhile.
    pub(crate) log: Log,
    /// The component of our host.
    pub(crate) ours: Component,
    /// The component at the server.
    pub(crate) theirs: Component,
}

impl Contact {
    /// Holds it, and looks at whether what must come of it does.
    pub(crate) fn run(&self, lab: &mut Lab, expected: &Expected) -> Row {
        self.row(lab, |scene| scene.hold(self.first, expected).and_then(|measured| scene.end().map(|()| measured)))
    }

    /// Starts everything and runs `act`, which also ends s2sd.
    pub(crate) fn row(&self, lab: &mut Lab, act: impl FnOnce(Scene<'_>) -> Result<Measured, Failure>) -> Row {
        Row {
            peer: name_and_version(self.software),
            scenario: self.name.clone(),
            first: self.first.name().to_owned(),
            result: self.stage(lab, act),
        }
    }

    /// The same, and shows the logs if something failed.
    fn stage<T>(&self, lab: &mut Lab, act: impl FnOnce(Scene<'_>) -> Result<T, Failure>) -> Result<T, Failure> {
        lab.need(self.software, self.policy)?;
        let place = lab.host_at(self.ours.certificate, &self.ours.services, self.ours.other_interface)?;
        let daemon = self.start(lab, &place)?;
        let logs = [daemon.log().to_owned(), lab.peer(self.software, self.policy)?.log.clone()];
        let result = self.scene(lab, daemon).and_then(act);
        result.map_err(|failure| {
            let tails: String = logs.iter().map(|log| tail(log, 40)).collect();
            println!("FAILED {} / {} / {}: {failure}\n{tails}", self.software.name(), self.name, self.first.name());
            failure
        })
    }

    fn start(&self, lab: &Lab, place: &Place) -> Result<Daemon, Failure> {
        let peer = lab.peer(self.software, self.policy)?;
        let fill = |text: &str| {
            let address = peer.listener(0).ip().to_string();
            let remote = format!("{}.{}", self.component, peer.domain);
            let text = text.replace("@REMOTE@", &remote).replace("@PEER@", &address);
            text.replace("@HOST@", &place.host).replace("@PIN@", &place.identity.pin)
        };
        let other = if self.ours.other_authority { Some(lab.other_authority()?) } else { None };
        let settings = Settings {
            certificates: if self.ours.finds_certificate { Some(lab.certificates(place)?) } else { None },
            authority: other.as_deref().unwrap_or_else(|| lab.authority()),
            strict: self.ours.strict,
            encrypted: self.ours.encrypted,
            starttls: self.ours.starttls,
            direct: self.ours.direct,
            top: fill(&self.ours.top),
            below: fill(&self.ours.below),
            ..Settings::strict(place, lab)
        };
        Daemon::start(&settings, lab.directory())
    }

    fn scene<'a>(&self, lab: &'a Lab, daemon: Daemon) -> Result<Scene<'a>, Failure> {
        let peer = lab.peer(self.software, self.policy)?;
        let log = peer.log_from_now();
        let ours = daemon.component()?;
        let theirs = peer.component(self.component)?;
        Ok(Scene { daemon, peer, log, ours, theirs })
    }
}

impl Scene<'_> {
    /// Who speaks first, and to whom.
    pub(crate) fn order(&self, first: First) -> (&Component, &Component) {
        match first {
            First::We => (&self.ours, &self.theirs),
            First::They => (&self.theirs, &self.ours),
        }
    }

    fn hold(&self, first: First, expected: &Expected) -> Result<Measured, Failure> {
        let (from, to) = self.order(first);
        match expected {
            Expected::Federates { out, inbound, encrypted } => {
                let took = federate(from, to)?;
                let mut tls = self.proved("out", out, *encrypted)?;
                let other = self.proved("in", inbound, *encrypted)?;
                if other != tls {
                    tls = format!("{tls}/{other}");
                }
                let method = if out == inbound { (*out).to_owned() } else { format!("{out}/{inbound}") };
                Ok(Measured { first: took, method, tls })
            }
            Expected::Arrives { method, encrypted } => {
                let begin = Instant::now();
                say(from, to, begin + PATIENCE)?;
                let took = begin.elapsed();
                let tls = self.proved(first.direction(), method, *encrypted)?;
                Ok(Measured { first: took, method: (*method).to_owned(), tls })
            }
            Expected::Bounces { reasons, words } => {
                let (error, took) = bounce(from, to)?;
                let reason = self.refused(first, reasons).when(format!("bounced with \"{error}\""))?;
                if first == First::We && !error.contains(words) {
                    return fail(format!("the bounce does not say \"{words}\": {error}"));
                }
                Ok(Measured { first: took, method: reason, tls: "-".to_owned() })
            }
        }
    }

    /// s2sd's log must say that this direction was proved so. Returns the version of TLS.
    fn proved(&self, direction: &str, method: &str, encrypted: bool) -> Result<String, Failure> {
        let Some(event) = self.event(direction, |event| !text(event, "method").is_empty()) else {
            return fail(format!("s2sd has logged no method for {direction}"));
        };
        let tls = text(&event, "tls");
        if text(&event, "method") != method || tls.starts_with("TLSv1.") != encrypted {
            return fail(format!("{direction} is not proved by {method}, encrypted {encrypted}: {event}"));
        }
        Ok(if encrypted { tls.split([' ', '_']).next().unwrap_or_default().to_owned() } else { "-".to_owned() })
    }

    /// s2sd's log must have one of these reasons.
    fn refused(&self, first: First, reasons: &[&str]) -> Result<String, Failure> {
        let named = |event: &Value| reasons.contains(&text(event, "reason"));
        match self.event(first.direction(), named) {
            Some(event) => Ok(text(&event, "reason").to_owned()),
            None => fail(format!("s2sd has logged none of {reasons:?}")),
        }
    }

    /// Ends s2sd, in good order: its component goes first.
    pub(crate) fn end(self) -> Result<(), Failure> {
        drop(self.ours);
        self.daemon.stop()
    }

    /// Waits for an event of s2sd about this server.
    pub(crate) fn event(&self, direction: &str, wanted: impl Fn(&Value) -> bool) -> Option<Value> {
        self.daemon.wait_for(&self.theirs.domain, direction, Instant::now() + LOGGED, wanted)
    }

    /// Waits for an event with that reason.
    pub(crate) fn reason(&self, direction: &str, reason: &str) -> Result<(), Failure> {
        match self.event(direction, |event| text(event, "reason") == reason) {
            Some(_) => Ok(()),
            None => fail(format!("s2sd has not logged {reason} for {direction}")),
        }
    }

    /// What a scene of its own kind measured.
    pub(crate) fn measured(first: Duration, method: &str) -> Measured {
        Measured { first, method: method.to_owned(), tls: "-".to_owned() }
    }
}
