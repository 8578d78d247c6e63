//! The cells of the table: what s2sd and a real server do when they meet for the first time.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::dns::Service;
use crate::failure::{Failure, While, fail};
use crate::lab::Lab;
use crate::peers::{
    DIRECT, ECHO, EXPIRED, LOGGED, NOT_AUTHORIZED, Peer, Policy, SELF_SIGNED, Software, WRONG_NAME, name_and_version,
};
use crate::pki::Certificate;
use crate::process::{Log, tail};
use crate::report::{Measured, Row};
use crate::s2sd::{Daemon, Engine, Settings, text};
use crate::talk::{bounce, federate};

/// Who speaks first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First {
    /// Our component, so that s2sd dials.
    We,
    /// Theirs, so that s2sd is dialled.
    They,
}

impl First {
    pub(crate) const BOTH: [Self; 2] = [Self::We, Self::They];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::We => "s2sd -> peer",
            Self::They => "peer -> s2sd",
        }
    }

    /// The direction in s2sd's log.
    pub(crate) const fn direction(self) -> &'static str {
        match self {
            Self::We => "out",
            Self::They => "in",
        }
    }
}

/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// Certificates are demanded on both sides.
    External,
    /// Self-signed on both sides, dialback over TLS.
    Dialback,
    /// DNS knows direct TLS only.
    DirectTls,
    /// No TLS, dialback.
    Plain,
    /// Our certificate is not for clients, as public authorities issue them.
    ServerAuthOnly,
    /// We demand certificates, theirs is self-signed.
    WeRefuse,
    /// They demand certificates, ours is bad in this way.
    TheyRefuse(Certificate),
}

impl Scenario {
    pub(crate) const ALL: [Self; 9] = [
        Self::External,
        Self::Dialback,
        Self::DirectTls,
        Self::Plain,
        Self::ServerAuthOnly,
        Self::WeRefuse,
        Self::TheyRefuse(Certificate::SelfSigned),
        Self::TheyRefuse(Certificate::Expired),
        Self::TheyRefuse(Certificate::WrongName),
    ];

    pub(crate) fn name(self) -> String {
        match self {
            Self::External => "STARTTLS + EXTERNAL".to_owned(),
            Self::Dialback => "STARTTLS + dialback".to_owned(),
            Self::DirectTls => "direct TLS + EXTERNAL".to_owned(),
            Self::Plain => "plaintext dialback".to_owned(),
            Self::ServerAuthOnly => "our certificate without clientAuth".to_owned(),
            Self::WeRefuse => "we refuse a self-signed peer".to_owned(),
            Self::TheyRefuse(Certificate::Expired) => "they refuse us, expired".to_owned(),
            Self::TheyRefuse(Certificate::WrongName) => "they refuse us, wrong name".to_owned(),
            Self::TheyRefuse(_) => "they refuse us, self-signed".to_owned(),
        }
    }

    const fn peer_policy(self, software: Software) -> Policy {
        match (self, software) {
            // ejabberd 23.01 does not take such a certificate for EXTERNAL; dialback follows on the same stream.
            (Self::ServerAuthOnly, Software::Ejabberd) | (Self::Dialback | Self::WeRefuse, _) => Policy::Lax,
            (Self::Plain, _) => Policy::Plain,
            _ => Policy::Secure,
        }
    }

    /// What s2sd must have logged as the method.
    const fn method(self, software: Software) -> &'static str {
        match (self, software) {
            (Self::Dialback | Self::Plain, _) | (Self::ServerAuthOnly, Software::Ejabberd) => "dialback",
            _ => "external",
        }
    }

    const fn our_certificate(self) -> Certificate {
        match self {
            Self::Dialback => Certificate::SelfSigned,
            Self::ServerAuthOnly => Certificate::ServerAuth,
            Self::TheyRefuse(kind) => kind,
            _ => Certificate::Valid,
        }
    }

    /// Whether s2sd demands certificates.
    const fn strict(self) -> bool {
        matches!(self, Self::External | Self::DirectTls | Self::WeRefuse)
    }
}

/// A running s2sd and the server that it meets.
struct Meeting<'a> {
    daemon: Daemon,
    peer: &'a Peer,
    /// What the server logs meanwhile.
    log: Log,
    /// The component's domain at the server.
    remote: String,
    scenario: Scenario,
    first: First,
}

/// Runs the cells whose description `wanted` accepts.
pub(crate) fn run(lab: &mut Lab, wanted: impl Fn(&str) -> bool) -> Vec<Row> {
    let mut rows = Vec::new();
    for software in Software::ALL {
        for scenario in Scenario::ALL {
            let name = match lab.engine {
                Engine::DEFAULT => scenario.name(),
                engine => format!("{} ({engine})", scenario.name()),
            };
            for first in First::BOTH {
                if wanted(&format!("{} {name}", software.name())) {
                    let (peer, scenario_name) = (name_and_version(software), name.clone());
                    let result = meet(lab, software, scenario, first);
                    rows.push(Row { peer, scenario: scenario_name, first: first.name().to_owned(), result });
                }
            }
        }
    }
    rows
}

fn meet(lab: &mut Lab, software: Software, scenario: Scenario, first: First) -> Result<Measured, Failure> {
    let direct = scenario == Scenario::DirectTls;
    let service = if direct { Service::DirectTls } else { Service::StartTls };
    let place = lab.host(scenario.our_certificate(), service)?;
    let peer = lab.peer(software, scenario.peer_policy(software))?;
    let settings = Settings {
        strict: scenario.strict(),
        encrypted: scenario != Scenario::Plain,
        starttls: (!direct).then_some(5269),
        ..Settings::strict(&place, lab)
    };
    let daemon = Daemon::start(&settings, lab.directory())?;
    let name = if direct { DIRECT } else { ECHO };
    let remote = format!("{name}.{}", peer.domain);
    let meeting = Meeting { daemon, peer, log: peer.log_from_now(), remote, scenario, first };
    let logs = [meeting.daemon.log().to_owned(), peer.log.clone()];
    let result = meeting.hold(name).and_then(|measured| meeting.daemon.stop().map(|()| measured));
    result.map_err(|failure| {
        let tails: String = logs.iter().map(|log| tail(log, 40)).collect();
        println!("FAILED {} / {} / {}: {failure}\n{tails}", software.name(), scenario.name(), first.name());
        failure
    })
}

impl Meeting<'_> {
    fn hold(&self, name: &str) -> Result<Measured, Failure> {
        let ours = self.daemon.component()?;
        let theirs = self.peer.component(name)?;
        let (first, second) = match self.first {
            First::We => (&ours, &theirs),
            First::They => (&theirs, &ours),
        };
        match self.scenario {
            Scenario::WeRefuse => {
                let (error, took) = bounce(first, second)?;
                self.we_refused(&error, took)
            }
            Scenario::TheyRefuse(kind) => {
                let (error, took) = bounce(first, second)?;
                self.they_refused(kind, &error, took)
            }
            _ => {
                let took = federate(first, second)?;
                self.proved(took)
            }
        }
    }

    /// s2sd's log must name method and TLS of the scenario, for both directions.
    fn proved(&self, first: Duration) -> Result<Measured, Failure> {
        let (method, mut tls) = (self.scenario.method(self.peer.software), String::new());
        for direction in ["out", "in"] {
            let proved = |event: &Value| !text(event, "method").is_empty();
            let Some(event) = self.event(direction, proved) else {
                return fail(format!("s2sd has logged no method for {direction}"));
            };
            if text(&event, "method") != method {
                return fail(format!("s2sd's method for {direction} is not {method}: {event}"));
            }
            let secured = text(&event, "tls").starts_with("TLSv1.");
            if secured != (self.scenario != Scenario::Plain) {
                return fail(format!("s2sd's TLS for {direction} is not that of the scenario: {event}"));
            }
            if direction == "out" && self.scenario == Scenario::DirectTls && !text(&event, "addr").ends_with(":5270") {
                return fail(format!("s2sd has not dialled the port for direct TLS: {event}"));
            }
            let version = text(&event, "tls").split([' ', '_']).next().unwrap_or_default();
            if !tls.contains(version) || tls.is_empty() {
                tls = [tls.as_str(), version].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
            }
        }
        let tls = if tls.is_empty() { "-".to_owned() } else { tls };
        Ok(Measured { first, method: method.to_owned(), tls })
    }

    fn we_refused(&self, error: &str, first: Duration) -> Result<Measured, Failure> {
        let reason = "cert-self-signed";
        let named = |event: &Value| text(event, "reason") == reason;
        if self.event(self.first.direction(), named).is_none() {
            return fail(format!("s2sd has not logged {reason}"));
        }
        // Their operator learns it by the log; our sender by the words of the bounce.
        self.theirs(NOT_AUTHORIZED)?;
        if self.first == First::We && !error.contains("self-signed") {
            return fail(format!("the bounce does not name the reason: {error}"));
        }
        Ok(Measured { first, method: reason.to_owned(), tls: "-".to_owned() })
    }

    fn they_refused(&self, kind: Certificate, error: &str, first: Duration) -> Result<Measured, Failure> {
        let words = match kind {
            Certificate::Expired => EXPIRED,
            Certificate::WrongName => WRONG_NAME,
            _ => SELF_SIGNED,
        };
        self.theirs(words).when(format!("bounced with \"{error}\""))?;
        let refused = |event: &Value| !text(event, "reason").is_empty();
        let Some(event) = self.event(self.first.direction(), refused) else {
            return fail(format!("s2sd has not logged why ({error})"));
        };
        let reason = text(&event, "reason").to_owned();
        // Dialling, s2sd is told; dialled, it may just see the peer go.
        let expected = match reason.as_str() {
            "peer-stream-error" | "external-refused" | "external-not-offered" | "dialback-denied-by-policy" => true,
            "connection-reset" | "shutdown" | "tls-failed" => self.first == First::They,
            _ => false,
        };
        if !expected {
            return fail(format!("s2sd has logged {reason}: {event}"));
        }
        Ok(Measured { first, method: reason, tls: "-".to_owned() })
    }

    fn event(&self, direction: &str, wanted: impl Fn(&Value) -> bool) -> Option<Value> {
        self.daemon.wait_for(&self.remote, direction, Instant::now() + LOGGED, wanted)
    }

    /// The peer's log must have one of these words since the cell began.
    fn theirs(&self, words: &[&str]) -> Result<(), Failure> {
        self.log.wait_for_any(words, Instant::now() + LOGGED)
    }
}
