//! The world without s2sd: Prosody and ejabberd federate with each other. A cell that is not green here says that
//! the world is broken, not s2sd.

use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::lab::Lab;
use crate::peers::{DIRECT, ECHO, LOGGED, Peer, Policy, SELF_SIGNED, Software};
use crate::process::tail;
use crate::report::{Measured, Row};
use crate::talk::{bounce, federate};

/// One meeting of the two: who speaks first, what the policies of both are, and how they find each other.
struct Control {
    scenario: &'static str,
    policies: [Policy; 2],
    name: &'static str,
    refused: bool,
}

/// How the log of a refused caller says so. ejabberd may run into the closed connection before it reads the error.
const TOLD: &[&str] = &["not-authorized", "failed to establish outbound s2s connection"];

const CONTROLS: [Control; 6] = [
    Control { scenario: "control: certificates", policies: [Policy::Secure; 2], name: ECHO, refused: false },
    Control { scenario: "control: dialback", policies: [Policy::Lax; 2], name: ECHO, refused: false },
    Control { scenario: "control: direct TLS", policies: [Policy::Secure; 2], name: DIRECT, refused: false },
    Control { scenario: "control: plaintext", policies: [Policy::Plain; 2], name: ECHO, refused: false },
    Control {
        scenario: "control: refusal of a caller",
        policies: [Policy::Lax, Policy::Secure],
        name: ECHO,
        refused: true,
    },
    Control {
        scenario: "control: refusal by a caller",
        policies: [Policy::Secure, Policy::Lax],
        name: ECHO,
        refused: true,
    },
];

/// Runs all control cells whose description `wanted` accepts.
pub(crate) fn run(lab: &Lab, wanted: impl Fn(&str) -> bool) -> Vec<Row> {
    let mut rows = Vec::new();
    for control in &CONTROLS {
        for [one, other] in [[Software::Prosody, Software::Ejabberd], [Software::Ejabberd, Software::Prosody]] {
            if !wanted(control.scenario) {
                continue;
            }
            let result = control.meet(lab, one, other);
            rows.push(Row {
                peer: "prosody, ejabberd".to_owned(),
                scenario: control.scenario.to_owned(),
                first: format!("{} -> {}", one.name(), other.name()),
                result,
            });
        }
    }
    rows
}

impl Control {
    fn meet(&self, lab: &Lab, one: Software, other: Software) -> Result<Measured, Failure> {
        let (one, other) = (lab.peer(one, self.policies[0])?, lab.peer(other, self.policies[1])?);
        let result = self.meeting(one, other);
        if let Err(failure) = &result {
            println!("FAILED {}: {failure}\n{}{}", self.scenario, tail(&one.log, 40), tail(&other.log, 40));
        }
        Ok(Measured { first: result?, method: "-".to_owned(), tls: "-".to_owned() })
    }
    fn meeting(&self, one: &Peer, other: &Peer) -> Result<Duration, Failure> {
        let logs = [one.log_from_now(), other.log_from_now()];
        let (first, second) = (one.component(self.name)?, other.component(self.name)?);
        if !self.refused {
            return federate(&first, &second);
        }
        let (_, took) = bounce(&first, &second)?;
        for (log, policy) in logs.iter().zip(self.policies) {
            // A server that is called learns no more than that the caller goes away.
            match policy {
                Policy::Secure => log.wait_for_any(SELF_SIGNED, Instant::now() + LOGGED)?,
                _ if self.policies[0] == policy => log.wait_for_any(TOLD, Instant::now() + LOGGED)?,
                _ => {}
            }
        }
        Ok(took)
    }
}
