//! Two servers that federate.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use s2s_tests::sockets::ReservedPort;

use crate::world::{Authority, Component, SECRET, Serving, configuration};

/// Two servers and the components behind them.
pub(crate) struct Federation {
    home: TempDir,
    pub(crate) authority: Authority,
    pub(crate) left: Serving,
    pub(crate) right: Serving,
    pub(crate) romeo: Component,
    pub(crate) juliet: Component,
    sent: usize,
    _ports: [ReservedPort; 2],
}

impl Federation {
    /// `first` is done to the files before anything starts: left's configuration can be changed.
    pub(crate) fn start(first: impl FnOnce(&Path, &Authority, &mut String)) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let authority = Authority::new();
        let (left, right) = (home.path().join("left"), home.path().join("right"));
        let ports = [ReservedPort::new(), ReservedPort::new()];
        let [port, other] = &ports;
        authority.issue("left.example", &left.join("certs/left.crt"), &left.join("certs/left.key"));
        authority.issue("right.example", &right.join("certs/right.crt"), &right.join("certs/right.key"));
        let text = |host: &str, port: &ReservedPort, peer: &str, at: &ReservedPort| {
            configuration(host, &format!("s2s_ports = [{port}]"), peer, &format!("address = \"127.0.0.1:{at}\""))
        };
        let mut texts =
            [text("left.example", port, "right.example", other), text("right.example", other, "left.example", port)];
        for directory in [&left, &right] {
            fs::write(directory.join("ca.pem"), authority.0.pem()).expect("writable");
            fs::write(directory.join("secret"), format!("{SECRET}\n")).expect("writable");
            fs::write(directory.join("dialback"), "sixteen bytes, at least\n").expect("writable");
        }
        first(home.path(), &authority, &mut texts[0]);
        for (directory, text) in [&left, &right].into_iter().zip(&texts) {
            fs::write(directory.join("s2sd.toml"), text).expect("writable");
        }
        let (left, right) = (Serving::start(&left), Serving::start(&right));
        let romeo = Component::attach(left.component, "left.example");
        let juliet = Component::attach(right.component, "right.example");
        Self { home, authority, left, right, romeo, juliet, sent: 0, _ports: ports }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Replaces a part of left's configuration, in one step as editors do.
    pub(crate) fn edit(&mut self, from: &str, to: &str) {
        self.left.forget_reloads();
        let text = fs::read_to_string(self.file("left/s2sd.toml")).expect("readable");
        assert!(text.contains(from), "{from} is not in {text}");
        fs::write(self.file("left/new"), text.replace(from, to)).expect("writable");
        fs::rename(self.file("left/new"), self.file("left/s2sd.toml")).expect("writable");
    }

    /// Romeo says something, which nobody has said yet.
    pub(crate) fn ask(&mut self) -> String {
        self.sent += 1;
        let said = format!("line {}", self.sent);
        self.romeo.send(&format!(
            "<message id='{}' from='romeo@left.example' to='juliet@right.example'><body>{said}</body></message>",
            self.sent
        ));
        said
    }

    /// A message arrives from left at right.
    pub(crate) fn talk(&mut self) {
        let said = self.ask();
        self.juliet.wait(&format!("{said}</body>"));
    }

    /// A message from left comes back with this condition.
    pub(crate) fn fail(&mut self, condition: &str) {
        self.ask();
        self.romeo.wait("type='error'");
        self.romeo.wait(condition);
        self.romeo.forget();
    }

    /// And one from right at left.
    pub(crate) fn answer(&mut self) {
        self.juliet.send("<message from='juliet@right.example' to='romeo@left.example'><body>Ay.</body></message>");
        self.romeo.wait("Ay.</body>");
    }
}
