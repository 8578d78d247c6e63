//! Why the program ends without having done what it was asked, and the exit code that says so.

use std::fmt;
use std::io;
use std::process::ExitCode;

use crate::config;

/// Exit code for failures of the world around us.
const RUNTIME: u8 = 1;
/// Exit code for what the operator wrote.
const CONFIGURATION: u8 = 2;

/// The end.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The configuration is wrong, in one way or several.
    Configuration(Vec<config::Error>),
    /// An argument is wrong.
    Usage(String),
    /// Something failed: what was tried, and why it failed.
    Runtime(String, io::Error),
    /// The demo saw something else than it should have.
    Unexpected(Vec<String>),
}

impl Failure {
    /// A failure of `what`.
    pub(crate) fn runtime(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Runtime(what.into(), error)
    }

    /// The code to exit with.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Configuration(_) | Self::Usage(_) => CONFIGURATION,
            Self::Runtime(..) | Self::Unexpected(_) => RUNTIME,
        })
    }
}

impl From<Vec<config::Error>> for Failure {
    fn from(errors: Vec<config::Error>) -> Self {
        Self::Configuration(errors)
    }
}

impl fmt::Display for Failure {
    /// One line for each problem.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = match self {
            Self::Configuration(errors) => errors.iter().map(ToString::to_string).collect(),
            Self::Usage(text) => vec![text.clone()],
            Self::Runtime(what, error) => vec![format!("{what}: {error}")],
            Self::Unexpected(differences) => differences.clone(),
        };
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Failure {}
