//! Which files a server was made of, and whether they have changed.
//!
//! They are looked at every few seconds: that needs nothing of the system, works on every file system, and follows
//! the symbolic links that clients of ACME leave.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::Settings;

/// What is looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Watched {
    /// Files, and directories with all that is in them.
    paths: Vec<PathBuf>,
    /// The directory of certificates, of which the directories inside count too.
    certificates: Option<PathBuf>,
}

/// How they looked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshot(BTreeMap<PathBuf, Option<Stamp>>);

/// What changes whenever a file is written or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Watched {
    /// One file.
    pub(crate) fn file(path: &Path) -> Self {
        Self { paths: vec![path.to_owned()], certificates: None }
    }

    /// Everything that `settings` were made of, and what they name.
    pub(crate) fn of(settings: &Settings) -> Self {
        let mut paths = vec![settings.file.clone()];
        paths.extend(settings.sources.iter().cloned());
        paths.extend(settings.roots.file.iter().chain(&settings.roots.directory).cloned());
        paths.extend(settings.revocation.lists.iter().map(|(path, _)| path.clone()));
        let files = settings.hosts.values().filter_map(|host| host.certificate.as_ref());
        paths.extend(files.flat_map(|files| [files.certificate.clone(), files.key.clone()]));
        Self { paths, certificates: Some(settings.certificates.directory.clone()) }
    }

    /// How they look now.
    pub(crate) fn look(&self) -> Snapshot {
        let mut stamps = BTreeMap::new();
        for path in &self.paths {
            look(path, 1, &mut stamps);
        }
        if let Some(directory) = &self.certificates {
            look(directory, 2, &mut stamps);
        }
        Snapshot(stamps)
    }
}

impl Snapshot {
    /// The same, with what was seen earlier where it was: what was read in between may be the older.
    pub(crate) fn since(mut self, earlier: &Self) -> Self {
        for (path, stamp) in &mut self.0 {
            if let Some(earlier) = earlier.0.get(path) {
                *stamp = *earlier;
            }
        }
        self
    }
}

/// Takes in `path` and, if it is a directory, what is inside down to `depth`.
fn look(path: &Path, depth: usize, stamps: &mut BTreeMap<PathBuf, Option<Stamp>>) {
    let metadata = fs::metadata(path).ok();
    stamps.insert(path.to_owned(), metadata.as_ref().map(Stamp::of));
    if depth == 0 || !metadata.is_some_and(|metadata| metadata.is_dir()) {
        return;
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    for entry in entries {
        look(&entry.path(), depth - 1, stamps);
    }
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use std::os::unix::fs::symlink;

    #[test]
    fn every_kind_of_change_is_seen_in_every_file_that_counts() {
        let home = tempfile::tempdir().expect("a directory");
        let at = |name: &str| home.path().join(name);
        for directory in ["certs/nested", "cas", "included", "archive"] {
            fs::create_dir_all(at(directory)).expect("a directory");
        }
        let text = "cafile = \"ca.pem\"\ncadirectory = \"cas\"\ns2s_crls = [\"crl.pem\"]\ninclude = \"included\"\n\
                    dialback_secret_file = \"secret\"\ns2s_deny_domains_file = \"deny\"\n\
                    [host.\"m.example\"]\ncertificate = \"m.pem\"\nkey = \"m.key\"";
        fs::write(at("secret"), "sixteen bytes...").expect("writable");
        fs::write(at("deny"), "d.example").expect("writable");
        fs::write(at("included/o.toml"), "[host.\"o.example\"]").expect("writable");
        fs::write(at("archive/1.pem"), "1").expect("writable");
        fs::write(at("archive/2.pem"), "2").expect("writable");
        symlink(at("archive/1.pem"), at("certs/nested/privkey.pem")).expect("a link");
        let settings = config::parse(text, &at("s2sd.toml")).expect("valid");
        let watched = Watched::of(&settings);

        let mut before = watched.look();
        assert_eq!(watched.look(), before);
        let mut changed = |what: &str| {
            let after = watched.look();
            assert_ne!(after, before, "{what}");
            before = after;
        };
        for file in [
            "s2sd.toml",
            "ca.pem",
            "cas/one.pem",
            "crl.pem",
            "included/p.toml",
            "secret",
            "deny",
            "m.pem",
            "m.key",
            "certs/m.crt",
            "certs/nested/fullchain.pem",
        ] {
            fs::write(at(file), "something else").expect("writable");
            changed(file);
        }
        fs::remove_file(at("deny")).expect("there");
        changed("removed");
        fs::remove_file(at("certs/nested/privkey.pem")).expect("there");
        symlink(at("archive/2.pem"), at("certs/nested/privkey.pem")).expect("a link");
        changed("linked elsewhere");
        fs::rename(at("m.pem"), at("secret")).expect("there");
        changed("replaced");
        fs::write(at("README"), "does not count").expect("writable");
        assert_eq!(watched.look(), before);
    }

    #[test]
    fn what_changes_while_it_is_read_is_seen_afterwards() {
        let home = tempfile::tempdir().expect("a directory");
        let file = home.path().join("s2sd.toml");
        fs::write(&file, "old").expect("writable");
        let watched = Watched::file(&file);
        let before = watched.look();
        fs::write(&file, "changed").expect("writable");
        let seen = watched.look().since(&before);
        assert_ne!(watched.look(), seen);
    }
}
