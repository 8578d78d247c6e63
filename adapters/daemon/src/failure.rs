//! Why the program ends without having done what it was asked, and the exit code that says so.

use std::fmt;
use std::io;
use std::panic;
use std::process::{self, ExitCode};

use crate::config;
use crate::loaded::NotLoaded;

/// Exit code for failures of the world around us.
const RUNTIME: u8 = 1;
/// Exit code for what the operator wrote.
const CONFIGURATION: u8 = 2;

/// Makes a panic of any thread the end of the process, with the code for failures. A server of which one machine is gone
/// looks alive and is not: whoever watches over it starts another one.
pub(crate) fn end_with_panics() {
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        tell(panic);
        process::exit(RUNTIME.into());
    }));
}

/// The end.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The configuration is wrong, in one way or several.
    Configuration(Vec<config::Error>),
    /// An argument is wrong.
    Usage(String),
    /// Nothing can be listened on where it is to be.
    Listener(Box<config::Error>),
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
            Self::Listener(_) | Self::Runtime(..) | Self::Unexpected(_) => RUNTIME,
        })
    }
}

impl From<Vec<config::Error>> for Failure {
    fn from(errors: Vec<config::Error>) -> Self {
        Self::Configuration(errors)
    }
}

impl From<NotLoaded> for Failure {
    fn from(not_loaded: NotLoaded) -> Self {
        Self::Configuration(not_loaded.errors)
    }
}

impl fmt::Display for Failure {
    /// One line for each problem.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = match self {
            Self::Configuration(errors) => errors.iter().map(ToString::to_string).collect(),
            Self::Usage(text) => vec![text.clone()],
            Self::Listener(error) => vec![error.to_string()],
            Self::Runtime(what, error) => vec![format!("{what}: {error}")],
            Self::Unexpected(differences) => differences.clone(),
        };
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::env;
    use std::process::{Command, Stdio};
    use std::thread;

    const CHILD: &str = "S2SD_TEST_PANICS";

    #[test]
    fn a_thread_that_panics_ends_the_process_with_the_code_for_failures() {
        if env::var_os(CHILD).is_some() {
            end_with_panics();
            let _ = thread::spawn(|| panic!("a machine has a bug")).join();
            unreachable!("the process has ended");
        }
        let myself = env::current_exe().expect("a test program");
        let mut child = Command::new(myself);
        child.args(["--exact", "failure::tests::a_thread_that_panics_ends_the_process_with_the_code_for_failures"]);
        let status = child.env(CHILD, "1").stdout(Stdio::null()).stderr(Stdio::null()).status().expect("it starts");
        assert_eq!(status.code(), Some(RUNTIME.into()));
    }
}
