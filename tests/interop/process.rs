//! Programs that are started for a test and end with it, whatever happens to the test.

use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::{Failure, While, fail};

/// A running program, leader of its own process group.
pub(crate) struct Process {
    child: Child,
    ended: bool,
}

impl Process {
    /// Starts `command`, its output going to `output`. The kernel kills it should the tests be killed.
    pub(crate) fn start(command: &[&str], environment: &[(&str, &str)], output: &Path) -> Result<Self, Failure> {
        let file = File::options().create(true).append(true).open(output)?;
        let child = prepare(command, environment, output).stdout(file.try_clone()?).stderr(file).spawn();
        Ok(Self { child: child.when(command[0])?, ended: false })
    }

    /// The same, and hands over what it writes to standard error.
    pub(crate) fn start_piped(command: &[&str], output: &Path) -> Result<(Self, ChildStderr), Failure> {
        let mut child = prepare(command, &[], output)
            .stdout(File::create(output)?)
            .stderr(Stdio::piped())
            .spawn()
            .when(command[0])?;
        let stderr = child.stderr.take().ok_or_else(|| std::io::Error::other("no standard error"))?;
        Ok((Self { child, ended: false }, stderr))
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().ok().flatten();
        self.ended |= status.is_some();
        status
    }

    /// Asks it to end, and returns how it did; kills it after `patience`.
    pub(crate) fn terminate(&mut self, patience: Duration) -> Result<ExitStatus, Failure> {
        self.signal("TERM", false);
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Some(status) = self.ended() {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(10));
        }
        self.kill();
        Ok(ExitStatus::from_raw(9))
    }

    /// SIGKILL to all of its group, now.
    pub(crate) fn kill(&mut self) {
        // Once the leader is reaped its number may belong to somebody else.
        if !self.ended {
            self.signal("KILL", true);
            let _ = self.child.wait();
            self.ended = true;
        }
    }

    /// SIGSTOP to all of its group. Returns when all its threads have stopped, which they do one by one.
    pub(crate) fn pause(&self) -> Result<(), Failure> {
        self.signal("STOP", true);
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.is_stopped()? {
            if Instant::now() >= deadline {
                return fail("it does not stop");
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn is_stopped(&self) -> Result<bool, Failure> {
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            // The state stands behind the name, which is in parentheses.
            let stat = fs::read_to_string(task?.path().join("stat"))?;
            if !stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('T')) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// SIGCONT to all of its group.
    pub(crate) fn resume(&self) {
        self.signal("CONT", true);
    }

    fn signal(&self, name: &str, group: bool) {
        let target = format!("{}{}", if group { "-" } else { "" }, self.child.id());
        let _ = Command::new("kill").args([&format!("-{name}"), "--", &target]).stderr(Stdio::null()).status();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn prepare(command: &[&str], environment: &[(&str, &str)], output: &Path) -> Command {
    let mut prepared = Command::new("setpriv");
    prepared.args(["--pdeathsig", "KILL"]).args(command).envs(environment.iter().copied());
    prepared.process_group(0).stdin(Stdio::null());
    // Some programs leave core dumps where they are.
    if let Some(directory) = output.parent() {
        prepared.current_dir(directory);
    }
    prepared
}

/// A file that a program appends to, from a certain place on.
pub(crate) struct Log {
    path: PathBuf,
    from: usize,
}

impl Log {
    /// What is written to `path` from now on.
    pub(crate) fn from_now(path: &Path) -> Self {
        Self { path: path.to_owned(), from: fs::read(path).map_or(0, |bytes| bytes.len()) }
    }

    /// What was written meanwhile.
    pub(crate) fn text(&self) -> String {
        let bytes = fs::read(&self.path).unwrap_or_default();
        String::from_utf8_lossy(bytes.get(self.from..).unwrap_or_default()).into_owned()
    }

    /// Waits until one of these words was written, in whatever case.
    pub(crate) fn wait_for_any(&self, words: &[&str], deadline: Instant) -> Result<(), Failure> {
        loop {
            let text = self.text().to_lowercase();
            if words.iter().any(|word| text.contains(word)) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return fail(format!("{} has none of {words:?}", self.path.display()));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The last lines of a log, for the report of a failure.
pub(crate) fn tail(path: &Path, lines: usize) -> String {
    let text =
        fs::read(path).map_or_else(|error| error.to_string(), |bytes| String::from_utf8_lossy(&bytes).into_owned());
    let all: Vec<&str> = text.lines().collect();
    format!("--- {}\n{}\n", path.display(), all[all.len().saturating_sub(lines)..].join("\n"))
}
