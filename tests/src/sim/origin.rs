//! What a run is drawn from, how it fails, and how a failure is run once more.

use std::fmt;
use std::time::Duration;

use super::swarm::Fault;

/// What a run is drawn from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A seed.
    Seed(u64),
    /// An input of the fuzz target `federation`: the first draws of a small federation.
    Script(Vec<u8>),
    /// A small federation of a seed in which these faults strike and no others: when, which, and at which site, by its
    /// number modulo their count. Faults without moments of their own strike all the time, wherever there is something.
    Pinned {
        /// The seed.
        seed: u64,
        /// The faults.
        faults: Vec<(Duration, Fault, usize)>,
    },
}

/// A law was broken.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What was run.
    pub origin: Origin,
    /// How many things had happened.
    pub step: u64,
    /// Since the beginning, in virtual time.
    pub at: Duration,
    /// Which law.
    pub law: String,
    /// What happened last.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, step, at, law, trace } = self;
        for line in trace {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "step {step}, {:.6} s: {law}", at.as_secs_f64())?;
        for (variable, value) in origin.variables() {
            write!(f, "{variable}={value} ")?;
        }
        write!(f, "cargo test -p s2s-tests --test simulation -- replay --nocapture")
    }
}

/// The variables that name a run for the test `replay`.
const SEED: &str = "SIM_SEED";
const SCRIPT: &str = "SIM_SCRIPT";
const FAULTS: &str = "SIM_FAULTS";

impl Origin {
    /// What to set, and to which value, so that [`Origin::named_by`] names the same run.
    fn variables(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Seed(seed) => vec![(SEED, format!("{seed:#x}"))],
            Self::Script(script) => vec![(SCRIPT, script.iter().map(|byte| format!("{byte:02x}")).collect())],
            Self::Pinned { seed, faults } => {
                let faults: Vec<_> =
                    faults.iter().map(|(at, fault, site)| format!("{}:{fault:?}:{site}", at.as_millis())).collect();
                vec![(SEED, format!("{seed:#x}")), (FAULTS, faults.join(","))]
            }
        }
    }

    /// The run that these variables name: `SIM_SCRIPT` in hexadecimal, or `SIM_SEED`, with or without `SIM_FAULTS`. Of
    /// these each is `MILLISECONDS:FAULT:SITE`, with commas between them. Without any variable the seed is 0.
    ///
    /// # Errors
    ///
    /// What cannot be read.
    pub fn named_by(variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        if let Some(script) = variable(SCRIPT) {
            let digits: Vec<u32> = script.chars().map_while(|digit| digit.to_digit(16)).collect();
            let (pairs, rest) = digits.as_chunks::<2>();
            if digits.len() != script.len() || !rest.is_empty() {
                return Err(format!("{script} is no script"));
            }
            return Ok(Self::Script(pairs.iter().map(|[high, low]| (high << 4 | low) as u8).collect()));
        }
        let seed = variable(SEED).map_or(Ok(0), |text| seed_named(&text))?;
        match variable(FAULTS) {
            None => Ok(Self::Seed(seed)),
            Some(text) => {
                let faults = text.split(',').filter(|fault| !fault.is_empty()).map(|fault| {
                    pinned_named(fault).ok_or_else(|| format!("{fault} is no fault: MILLISECONDS:FAULT:SITE"))
                });
                Ok(Self::Pinned { seed, faults: faults.collect::<Result<_, _>>()? })
            }
        }
    }
}

/// The seed in `text`, in decimal or after `0x` in hexadecimal.
///
/// # Errors
///
/// It is not one.
pub fn seed_named(text: &str) -> Result<u64, String> {
    let parsed = text.strip_prefix("0x").map_or_else(|| text.parse(), |digits| u64::from_str_radix(digits, 16));
    parsed.map_err(|_| format!("{text} is no seed"))
}

fn pinned_named(text: &str) -> Option<(Duration, Fault, usize)> {
    let mut parts = text.split(':');
    let (at, fault, site) = (parts.next()?, parts.next()?, parts.next()?);
    let rest = parts.next();
    rest.is_none().then_some(())?;
    Some((Duration::from_millis(at.parse().ok()?), Fault::named(fault)?, site.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_failure_prints_names_the_run_that_failed() {
        let pinned = |faults: &[Fault]| Origin::Pinned {
            seed: 7,
            faults: faults.iter().map(|fault| (Duration::from_millis(2500), *fault, 3)).collect(),
        };
        let origins = [
            Origin::Seed(0x1f3a),
            Origin::Seed(u64::MAX),
            Origin::Script(Vec::new()),
            Origin::Script(vec![0, 0x0a, 0xff]),
            pinned(&[]),
            pinned(&[Fault::Reset]),
            pinned(Fault::ALL),
        ];
        for origin in origins {
            let failure =
                Failure { origin: origin.clone(), step: 1, at: Duration::ZERO, law: String::new(), trace: Vec::new() };
            let printed = failure.to_string();
            let command = printed.lines().last().expect("there is a command");
            let set: Vec<_> = command.split(' ').filter_map(|word| word.split_once('=')).collect();
            let named = Origin::named_by(|name| {
                set.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
            });
            assert_eq!(named, Ok(origin), "{command}");
        }
    }

    #[test]
    fn what_names_no_run_is_refused() {
        for (variable, value, why) in [
            (SEED, "1f3a", "1f3a is no seed"),
            (SCRIPT, "0", "0 is no script"),
            (SCRIPT, "0g", "0g is no script"),
            (FAULTS, "10:Reset", "10:Reset is no fault: MILLISECONDS:FAULT:SITE"),
            (FAULTS, "10:Rest:0", "10:Rest:0 is no fault: MILLISECONDS:FAULT:SITE"),
        ] {
            let named = Origin::named_by(|name| (name == variable).then(|| value.to_owned()));
            assert_eq!(named, Err(why.to_owned()));
        }
    }
}
