//! Lists of domains as they were written, for the checks that need more than membership.

use s2s_core::addr::Domain;
use s2s_core::policy::{DomainList, DomainListError};

use crate::config::document::Located;

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

/// A list of domains with the line of each entry.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entries {
    patterns: Vec<Located<Pattern>>,
}

impl Entries {
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

    /// The first entry that stands in `other` too.
    pub(crate) fn common(&self, other: &Self) -> Option<Located<String>> {
        let common = self.patterns.iter().find(|own| other.patterns.iter().any(|theirs| theirs.value == own.value))?;
        Some(Located { value: written(&common.value), line: common.line })
    }

    /// The entries of which `other` covers everything.
    pub(crate) fn covered_by(&self, other: &Self) -> Vec<Located<String>> {
        self.entries(|own| other.patterns.iter().any(|theirs| theirs.value.covers(own)))
    }

    /// The entries that share no domain with `other`.
    pub(crate) fn apart_from(&self, other: &Self) -> Vec<Located<String>> {
        self.entries(|own| !other.patterns.iter().any(|theirs| theirs.value.covers(own) || own.covers(&theirs.value)))
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
