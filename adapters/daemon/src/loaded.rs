//! All that a server is made of, read from files: at the start and again at each reload, in the same way.

use std::path::Path;

use crate::certificates::{self, Identities};
use crate::config::{self, Error, Settings};
use crate::trust::{self, Authorities};
use crate::watch::{Snapshot, Watched};

/// What was read.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The configuration.
    pub(crate) settings: Settings,
    /// What our hosts show.
    pub(crate) identities: Identities,
    /// What peers are judged by.
    pub(crate) authorities: Authorities,
    /// Which files that were.
    pub(crate) watched: Watched,
    /// How they looked before they were read.
    pub(crate) seen: Snapshot,
}

impl Loaded {
    /// Reads the configuration in `file` and all that it names.
    pub(crate) fn read(file: &Path) -> Result<Self, Vec<Error>> {
        Self::read_since(file, &Watched::file(file).look())
    }

    /// The same, where some of the files were looked at `earlier`.
    pub(crate) fn read_since(file: &Path, earlier: &Snapshot) -> Result<Self, Vec<Error>> {
        let settings = config::load(file)?;
        let watched = Watched::of(&settings);
        let seen = watched.look().since(earlier);
        let identities = certificates::load(&settings)?;
        let authorities = trust::load(&settings)?;
        Ok(Self { settings, identities, authorities, watched, seen })
    }

    /// What the operator should know.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = &String> {
        self.settings.warnings.iter().chain(&self.identities.warnings).chain(&self.authorities.warnings)
    }
}
