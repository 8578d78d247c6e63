//! The program as a process, and its log.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::Instant;

use serde_json::Value;

use super::PATIENCE;
use crate::cases::target::{Note, pair_of};

/// Characters of the longest line that any input may bring into the log.
const LINE_CHARACTERS: usize = 2000;

/// A running `s2sd serve`, whose log is a file: what was written before something else that we see can be read.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: File,
    /// A line that is not whole yet.
    unread: String,
    pub(crate) starttls: SocketAddr,
    pub(super) direct: SocketAddr,
    pub(crate) component: SocketAddr,
}

impl Process {
    /// Starts the program with the files in `home`, and waits until it is ready.
    pub(crate) fn start(binary: &Path, home: &Path) -> Result<Self, String> {
        let path = home.join("log");
        let failed = |error: io::Error| format!("{} does not start: {error}", binary.display());
        let log = File::create(&path).map_err(failed)?;
        let mut command = Command::new(binary);
        command.args(["serve", "--config"]).arg(home.join("s2sd.toml")).stderr(log);
        let child = command.spawn().map_err(failed)?;
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let log = File::open(path).map_err(failed)?;
        let mut process =
            Self { child, log, unread: String::new(), starttls: nowhere, direct: nowhere, component: nowhere };
        let ready = process.wait_for(|line| line.starts_with("s2sd ready "))?;
        let place = |key: &str| {
            let word = ready.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
            word.and_then(|addr| addr.parse().ok()).ok_or_else(|| format!("no {key} in {ready}"))
        };
        (process.starttls, process.direct, process.component) = (place("s2s")?, place("direct")?, place("component")?);
        Ok(process)
    }

    /// Forgets who failed: that is what a reload of the same configuration does.
    pub(super) fn reload(&mut self) -> Result<(), String> {
        self.signal("-HUP")?;
        self.wait_for(|line| line.contains("\"event\":\"reload\"")).map(drop)
    }

    /// Ends it in good order.
    pub(crate) fn end(mut self) -> Result<(), String> {
        self.signal("-TERM")?;
        let status = self.exited().ok_or("it does not end")?;
        if status.success() { Ok(()) } else { Err(format!("it ended with {status}")) }
    }

    fn exited(&mut self) -> Option<ExitStatus> {
        until(|| self.child.try_wait().ok().flatten())
    }

    fn signal(&self, name: &str) -> Result<(), String> {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        if status.is_ok_and(|status| status.success()) { Ok(()) } else { Err(format!("kill {name} fails")) }
    }

    /// Its number in the system.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How many sockets it has.
    pub(super) fn sockets(&self) -> usize {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", self.child.id())).into_iter().flatten().flatten();
        let links = descriptors.filter_map(|entry| fs::read_link(entry.path()).ok());
        links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
    }

    /// Whole lines that were written since the last call.
    fn lines(&mut self) -> Vec<String> {
        let mut bytes = Vec::new();
        // A file that was opened can be read.
        let _ = self.log.read_to_end(&mut bytes);
        self.unread.push_str(&String::from_utf8_lossy(&bytes));
        let whole = self.unread.rfind('\n').map_or(0, |at| at + 1);
        let rest = self.unread.split_off(whole);
        std::mem::replace(&mut self.unread, rest).lines().map(str::to_owned).collect()
    }

    /// Waits for such a line. What stands before it is of no interest.
    fn wait_for(&mut self, wanted: impl Fn(&str) -> bool) -> Result<String, String> {
        let mut seen = Vec::new();
        let found = until(|| {
            seen.extend(self.lines());
            if let Some(at) = seen.iter().position(|line| wanted(line)) {
                return Some(Ok(seen.swap_remove(at)));
            }
            let ended = self.child.try_wait().ok().flatten()?;
            Some(Err(format!("it ended with {ended}")))
        });
        let found = found.unwrap_or_else(|| Err("what it was to write does not come".to_owned()));
        found.map_err(|error| format!("{error}: {}", seen.join("\n")))
    }

    /// What the log tells since the last call.
    pub(super) fn notes(&mut self) -> Vec<Note> {
        self.lines().iter().filter_map(|line| note(line).unwrap_or_else(|error| Some(Note::Refused(error)))).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks until there is an answer, or patience ends.
pub(super) fn until<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        let answer = ask();
        if answer.is_some() || Instant::now() > end {
            return answer;
        }
        thread::yield_now();
    }
}

/// What a line of the log tells of streams: one object, escaped and bounded.
fn note(line: &str) -> Result<Option<Note>, String> {
    if line.chars().count() > LINE_CHARACTERS || line.chars().any(char::is_control) {
        return Err(format!("a line of the log that no peer may cause: {line:?}"));
    }
    let line: Value = serde_json::from_str(line).map_err(|error| format!("{error} in {line}"))?;
    let text = |key: &str| line[key].as_str().unwrap_or_default();
    if text("detail").chars().any(|c| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c)) {
        return Err(format!("what is not escaped: {line}"));
    }
    let pair = || pair_of(text("remote"), text("local"), text("direction") == "out");
    Ok(Some(match text("event") {
        "peer-up" => Note::Up(pair()),
        "peer-down" => Note::Down(pair(), text("reason").to_owned()),
        "refused" => Note::Refused(text("reason").to_owned()),
        "undeliverable" => Note::Returned(text("reason").to_owned()),
        "certificate-changed" | "component-up" | "reload" => return Ok(None),
        _ => return Err(format!("an event that no peer may cause: {line}")),
    }))
}

/// Whether an error only says that the other end has gone.
pub(super) fn has_gone(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}
