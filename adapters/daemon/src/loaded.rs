//! All that a server is made of, read from files: at the start and again at each reload, in the same way.

use std::path::Path;

use crate::certificates::{self, Identities};
use crate::config::{self, Error, Settings};
use crate::trust::{self, Authorities};
use crate::watch::{Snapshot, Watched};

/// Why nothing could be read, and which files that concerns, as far as it could be told.
#[derive(Debug)]
pub(crate) struct NotLoaded {
    /// Why.
    pub(crate) errors: Vec<Error>,
    /// Which files were named, and how they looked.
    pub(crate) watched: Option<(Watched, Snapshot)>,
}

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
    pub(crate) fn read(file: &Path) -> Result<Self, NotLoaded> {
        Self::read_since(file, &Watched::file(file).look())
    }

    /// The same, where some of the files were looked at `earlier`.
    pub(crate) fn read_since(file: &Path, earlier: &Snapshot) -> Result<Self, NotLoaded> {
        let (named, errors) = config::read(file);
        let Some(named) = named else {
            return Err(NotLoaded { errors, watched: None });
        };
        // Which files there are, the configuration tells. They are read once more when they have been looked at: what is
        // changed after that look is seen by the next.
        let seen = Watched::of(&named).look().since(earlier);
        let (settings, errors) = config::read(file);
        let Some(settings) = settings else {
            return Err(NotLoaded { errors, watched: None });
        };
        let watched = Watched::of(&settings);
        let rest = if errors.is_empty() { Self::read_named(&settings) } else { Err(errors) };
        match rest {
            Ok((identities, authorities)) => Ok(Self { settings, identities, authorities, watched, seen }),
            Err(errors) => Err(NotLoaded { errors, watched: Some((watched, seen)) }),
        }
    }

    /// Reads the files that the settings name.
    fn read_named(settings: &Settings) -> Result<(Identities, Authorities), Vec<Error>> {
        Ok((certificates::load(settings)?, trust::load(settings)?))
    }

    /// What the operator should know.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = &String> {
        self.settings.warnings.iter().chain(&self.identities.warnings).chain(&self.authorities.warnings)
    }
}
