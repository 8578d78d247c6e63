//! Lists of domains as they were written, for the checks that need more than membership.

use std::path::{Path, PathBuf};

use s2s_core::addr::Domain;
use s2s_core::policy::{DomainList, DomainListError};

use crate::config::document::{Located, Position};
use crate::config::error::{Error, Problem};

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    /// `NAME`
    Exact(Domain),
    /// `*.NAME`
    Below(Domain),
}

impl Pattern {
    /// Whether all domains of `other` are ours too.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(own), Self::Exact(theirs)) => own == theirs,
            (Self::Exact(_), Self::Below(_)) => false,
            (Self::Below(own), Self::Exact(theirs)) => theirs.is_below(own),
            (Self::Below(own), Self::Below(theirs)) => own == theirs || theirs.is_below(own),
        }
    }
}

/// A list of domains with the place of each entry.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entries {
    file: PathBuf,
    patterns: Vec<Located<Pattern>>,
}

impl Entries {
    /// A list that stands in `file`.
    pub(crate) fn new(file: &Path) -> Self {
        Self { file: file.to_owned(), patterns: Vec::new() }
    }

    /// Reads a file of entries, one on a line; what stands behind a `#` is for people.
    pub(crate) fn of_file(file: &Path, key: &'static str, text: &str) -> (Self, Vec<Error>) {
        let mut entries = Self::new(file);
        let mut problems = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let entry = line.split('#').next().unwrap_or_default().trim();
            if entry.is_empty() {
                continue;
            }
            let position = Position { file: file.to_owned(), line: number + 1 };
            if let Err(error) = entries.insert(entry, position.line) {
                problems.push(Error::at(&position, Problem::Entry { key, entry: entry.to_owned(), error }));
            }
        }
        (entries, problems)
    }

    /// Adds what stands at `line`.
    pub(crate) fn insert(&mut self, entry: &str, line: usize) -> Result<(), DomainListError> {
        DomainList::default().insert(entry)?;
        let name = entry.strip_prefix("*.").unwrap_or(entry);
        let domain = Domain::parse(name).map_err(DomainListError::NotADomain)?;
        let value = if name == entry { Pattern::Exact(domain) } else { Pattern::Below(domain) };
        self.patterns.push(Located { value, line });
        Ok(())
    }

    /// The list as policy uses it.
    pub(crate) fn list(&self) -> DomainList {
        let mut list = DomainList::default();
        for pattern in &self.patterns {
            // Parsed once already, so that it cannot fail.
            let _ = list.insert(&written(&pattern.value));
        }
        list
    }

    /// Where the entry stands that is for `domain`, the exact one before others.
    pub(crate) fn find(&self, domain: &Domain) -> Option<Position> {
        let exact = Pattern::Exact(domain.clone());
        let found = self.patterns.iter().find(|pattern| pattern.value == exact);
        let found = found.or_else(|| self.patterns.iter().find(|pattern| pattern.value.covers(&exact)))?;
        Some(Position { file: self.file.clone(), line: found.line })
    }

    /// Where the entry stands that is `domain` and nothing more.
    pub(crate) fn find_exact(&self, domain: &Domain) -> Option<Position> {
        let exact = Pattern::Exact(domain.clone());
        let found = self.patterns.iter().find(|pattern| pattern.value == exact)?;
        Some(Position { file: self.file.clone(), line: found.line })
    }

    /// The first entry that stands in `other` too, and where.
    pub(crate) fn common(&self, other: &Self) -> Option<(String, Position)> {
        let common = self.patterns.iter().find(|own| other.patterns.iter().any(|theirs| theirs.value == own.value))?;
        Some((written(&common.value), Position { file: self.file.clone(), line: common.line }))
    }

    /// The entries of which `other` covers everything.
    pub(crate) fn covered_by(&self, other: &Self) -> Vec<Located<String>> {
        self.entries(|own| other.patterns.iter().any(|theirs| theirs.value.covers(own)))
    }

    /// The entries that share no domain with `other`.
    pub(crate) fn apart_from(&self, other: &Self) -> Vec<Located<String>> {
        self.entries(|own| !other.patterns.iter().any(|theirs| theirs.value.covers(own) || own.covers(&theirs.value)))
    }

    /// The entries that are one domain, if it is `wanted`.
    pub(crate) fn exact(&self, wanted: impl Fn(&Domain) -> bool) -> Vec<Located<String>> {
        self.entries(|own| matches!(own, Pattern::Exact(domain) if wanted(domain)))
    }

    /// Whether there is no entry.
    pub(crate) fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// The file in which the list stands.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// These entries and those of `others`, wherever they stand.
    pub(crate) fn with(mut self, others: &Self) -> Self {
        self.patterns.extend(others.patterns.iter().cloned());
        self
    }

    /// All entries.
    pub(crate) fn all(&self) -> Vec<Located<String>> {
        self.entries(|_| true)
    }

    fn entries(&self, wanted: impl Fn(&Pattern) -> bool) -> Vec<Located<String>> {
        let wanted = self.patterns.iter().filter(|pattern| wanted(&pattern.value));
        wanted.map(|pattern| Located { value: written(&pattern.value), line: pattern.line }).collect()
    }
}

fn written(pattern: &Pattern) -> String {
    match pattern {
        Pattern::Exact(domain) => domain.to_string(),
        Pattern::Below(domain) => format!("*.{domain}"),
    }
}
