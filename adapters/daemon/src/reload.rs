//! Another configuration while the server runs: at SIGHUP, and whenever a file of the last one has changed.
//!
//! What cannot be used changes nothing: why is told in the words that the same mistake has at the start, and the next
//! change is another try. A file is taken when it has stayed the same for a while, so that one that is being written
//! is not.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use s2s_core::addr::Domain;
use smol::Timer;
use smol::future::or;

use crate::certificates;
use crate::config::Settings;
use crate::failure::Failure;
use crate::loaded::Loaded;
use crate::log::Record;
use crate::server::Running;
use crate::signals::Signals;
use crate::watch::{Snapshot, Watched};

/// How often the files are looked at; a change is taken when it is seen for the second time.
const LOOK: Duration = Duration::from_secs(1);

/// The settings that count at present, for what is written about refusals.
#[derive(Clone, Debug)]
pub(crate) struct Policies(Arc<Mutex<Arc<Settings>>>);

impl Policies {
    /// Those of the start.
    pub(crate) fn new(settings: Settings) -> Self {
        Self(Arc::new(Mutex::new(Arc::new(settings))))
    }

    /// A record with the option behind it.
    pub(crate) fn explain(&self, record: Record) -> Record {
        let settings = Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner));
        record.explained(&settings)
    }

    fn replace(&self, settings: Settings) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }
}

/// Reloads a running server.
pub(crate) struct Reloader {
    /// The configuration file.
    pub(crate) file: PathBuf,
    /// The server.
    pub(crate) running: Running,
    /// What is told of the present settings.
    pub(crate) policies: Policies,
    /// The files that were last named.
    pub(crate) watched: Watched,
    /// How they looked when they were last read, for better or worse.
    pub(crate) seen: Snapshot,
    /// The hosts that have a certificate.
    pub(crate) certified: BTreeSet<Domain>,
}

impl Reloader {
    /// Reloads for ever.
    pub(crate) async fn run(mut self, signals: &Signals) {
        let mut changing: Option<Snapshot> = None;
        loop {
            let asked = async {
                signals.reload().await;
                true
            };
            let look = async {
                Timer::after(LOOK).await;
                false
            };
            let asked = or(asked, look).await;
            let watched = self.watched.clone();
            let now = smol::unblock(move || watched.look()).await;
            if asked {
                changing = None;
                self.reload("signal", now).await;
            } else if now == self.seen {
                changing = None;
            } else if changing.as_ref() == Some(&now) {
                changing = None;
                self.reload("files", now).await;
            } else {
                changing = Some(now);
            }
        }
    }

    /// One reload, and what the log has of it.
    async fn reload(&mut self, trigger: &'static str, now: Snapshot) {
        match self.try_reload(now).await {
            Ok(kept) => {
                for warning in kept {
                    tracing::warn!(event = "reload", trigger, outcome = "kept", "{warning}");
                }
                tracing::info!(event = "reload", trigger, outcome = "done", "another configuration counts");
            }
            Err(failure) => {
                for reason in failure.to_string().lines() {
                    tracing::error!(event = "reload", trigger, outcome = "refused", reason, "nothing is changed");
                }
            }
        }
    }

    async fn try_reload(&mut self, now: Snapshot) -> Result<Vec<String>, Failure> {
        let file = self.file.clone();
        // The same files would fail in the same way.
        self.seen = now.clone();
        let loaded = smol::unblock(move || Loaded::read_since(&file, &now)).await;
        // What is missing is waited for, and what the last configuration was made of is not what the next one will be.
        let watched = match &loaded {
            Ok(loaded) => Some((loaded.watched.clone(), loaded.seen.clone())),
            Err(not_loaded) => not_loaded.watched.clone(),
        };
        if let Some((watched, seen)) = watched {
            (self.watched, self.seen) = (watched, seen);
        }
        let loaded = loaded?;
        certificates::check_kept(&loaded.settings, &self.certified, &loaded.identities)?;
        let warnings: Vec<_> = loaded.warnings().cloned().collect();
        let Loaded { settings, identities, authorities, .. } = loaded;
        let prepared = self.running.prepare(&settings, identities.identities, &authorities)?;
        for warning in warnings {
            tracing::warn!(event = "configuration", "{warning}");
        }
        // First, so that what is now refused is told by what now counts.
        self.policies.replace(settings);
        self.certified = identities.hosts;
        Ok(self.running.apply(prepared).await)
    }
}
