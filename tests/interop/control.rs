//! The world without s2sd: Prosody and ejabberd federate with each other. A cell that is not green here says that
//! the world is broken, not s2sd.

use crate::failure::Failure;
use crate::lab::Lab;
use crate::peers::{DIRECT, ECHO, Policy, Software};
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

const CONTROLS: [Control; 5] = [
    Control { scenario: "control: certificates", policies: [Policy::Secure; 2], name: ECHO, refused: false },
    Control { scenario: "control: dialback", policies: [Policy::Lax; 2], name: ECHO, refused: false },
    Control { scenario: "control: direct TLS", policies: [Policy::Secure; 2], name: DIRECT, refused: false },
    Control { scenario: "control: plaintext", policies: [Policy::Plain; 2], name: ECHO, refused: false },
    Control { scenario: "control: refusal", policies: [Policy::Lax, Policy::Secure], name: ECHO, refused: true },
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
        let result = one.component(self.name).and_then(|first| {
            let second = other.component(self.name)?;
            match self.refused {
                true => bounce(&first, &second).map(|(_, took)| took),
                false => federate(&first, &second),
            }
        });
        if let Err(failure) = &result {
            println!("FAILED {}: {failure}\n{}{}", self.scenario, tail(&one.log, 40), tail(&other.log, 40));
        }
        Ok(Measured { first: result?, method: "-".to_owned(), tls: "-".to_owned() })
    }
}
