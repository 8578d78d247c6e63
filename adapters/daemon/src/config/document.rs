//! A TOML file as tables whose keys are known and whose values know their lines.
//!
//! The document is read as a tree with positions, not deserialized into a structure: only so every problem can
//! name its line, and all of them are reported at once.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::error::{Error, Problem};
use crate::config::keys::{self, KEYS, Place, Status};

/// Reads one file and collects what is wrong with it.
#[derive(Debug)]
pub(crate) struct Reader<'t> {
    file: &'t Path,
    text: &'t str,
    /// What is wrong, in the order in which it was found.
    pub(crate) problems: Vec<Error>,
    /// The other files that were read, or should have been.
    pub(crate) sources: Vec<PathBuf>,
}

/// The keys of one table that may stand there.
#[derive(Debug, Default)]
pub(crate) struct Section<'t> {
    entries: BTreeMap<&'static str, &'t Spanned<DeValue<'t>>>,
}

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    /// The file.
    pub(crate) file: PathBuf,
    /// The line in it, counted from 1.
    pub(crate) line: usize,
}

/// A value and the line it stands on.
#[derive(Clone, Debug)]
pub(crate) struct Located<T> {
    /// The value.
    pub(crate) value: T,
    /// Its line, counted from 1.
    pub(crate) line: usize,
}

impl<'t> Section<'t> {
    /// The line of the value of `key`, if it is given.
    pub(crate) fn line_of(&self, reader: &Reader<'t>, key: &str) -> Option<usize> {
        self.entries.get(key).map(|value| reader.line(&value.span()))
    }

    /// Whether `key` is given, as a list of nothing.
    pub(crate) fn is_empty_list(&self, key: &str) -> bool {
        let list = self.entries.get(key).and_then(|value| value.get_ref().as_array());
        list.is_some_and(|list| list.is_empty())
    }

    /// The first line of a value.
    pub(crate) fn first_line(&self, reader: &Reader<'t>) -> Option<usize> {
        self.entries.values().map(|value| reader.line(&value.span())).min()
    }
}

impl<'t> Reader<'t> {
    /// A reader of `text`, the content of `file`.
    pub(crate) const fn new(file: &'t Path, text: &'t str) -> Self {
        Self { file, text, problems: Vec::new(), sources: Vec::new() }
    }

    /// The file that is read.
    pub(crate) const fn file(&self) -> &'t Path {
        self.file
    }

    /// Notes that something is wrong at a line.
    pub(crate) fn problem(&mut self, line: usize, problem: Problem) {
        self.problems.push(Error::at(&self.position(line), problem));
    }

    /// A line of this file.
    pub(crate) fn position(&self, line: usize) -> Position {
        Position { file: self.file.to_owned(), line }
    }

    /// Where the keys of `section` have their values.
    pub(crate) fn positions(&self, section: &Section<'t>) -> BTreeMap<&'static str, Position> {
        let keys = section.entries.iter();
        keys.map(|(key, value)| (*key, self.position(self.line(&value.span())))).collect()
    }

    /// The line of a position.
    pub(crate) fn line(&self, span: &Range<usize>) -> usize {
        1 + self.text.bytes().take(span.start).filter(|byte| *byte == b'\n').count()
    }

    /// The keys of `table`, which stands at `place`.
    pub(crate) fn section(&mut self, table: &'t DeTable<'t>, place: Place) -> Section<'t> {
        let mut section = Section::default();
        for (name, value) in table {
            let line = self.line(&name.span());
            let Some(key) = KEYS.iter().find(|key| key.name == name.get_ref()) else {
                let allowed = keys::allowed(place);
                self.problem(line, Problem::UnknownKey { key: name.get_ref().to_string(), allowed });
                continue;
            };
            if key.status == Status::Later {
                self.problem(line, Problem::NotInThisVersion(key.name.to_owned()));
            } else if key.place.allows(place) {
                section.entries.insert(key.name, value);
            } else {
                self.problem(line, Problem::Misplaced { key: key.name, place: key.place.as_str() });
            }
        }
        section
    }

    /// The value of `key`, if it is given and is what `convert` accepts; `allowed` says in words what that is.
    pub(crate) fn value<T>(
        &mut self,
        section: &Section<'t>,
        key: &'static str,
        allowed: &'static str,
        convert: impl FnOnce(&'t DeValue<'t>) -> Option<T>,
    ) -> Option<Located<T>> {
        let entry = section.entries.get(key)?;
        self.convert(key, entry, allowed, convert)
    }

    /// The list at `key`, each element of it being what `convert` accepts.
    pub(crate) fn list<T>(
        &mut self,
        section: &Section<'t>,
        key: &'static str,
        allowed: &'static str,
        convert: impl Fn(&'t DeValue<'t>) -> Option<T>,
    ) -> Option<Vec<Located<T>>> {
        let entry = section.entries.get(key)?;
        let elements = self.convert(key, entry, allowed, DeValue::as_array)?;
        Some(elements.value.iter().filter_map(|element| self.convert(key, element, allowed, &convert)).collect())
    }

    /// The tables below `key`, by name, each with its line.
    pub(crate) fn tables(
        &mut self,
        section: &Section<'t>,
        key: &'static str,
        allowed: &'static str,
    ) -> Vec<(&'t str, usize, &'t DeTable<'t>)> {
        let Some(tables) = self.value(section, key, allowed, DeValue::as_table) else { return Vec::new() };
        let mut named: Vec<_> = tables
            .value
            .iter()
            .filter_map(|(name, table)| {
                let line = self.line(&name.span());
                let table = self.convert(key, table, allowed, DeValue::as_table)?;
                Some((name.get_ref().as_ref(), line, table.value))
            })
            .collect();
        named.sort_by_key(|(_, line, _)| *line);
        named
    }

    /// The lists below `key`, by name, each with its line; each element being what `convert` accepts.
    pub(crate) fn lists<T>(
        &mut self,
        section: &Section<'t>,
        key: &'static str,
        allowed: &'static str,
        convert: impl Fn(&'t DeValue<'t>) -> Option<T>,
    ) -> Vec<(&'t str, usize, Vec<T>)> {
        let Some(lists) = self.value(section, key, allowed, DeValue::as_table) else { return Vec::new() };
        let mut named = Vec::new();
        for (name, list) in lists.value {
            let line = self.line(&name.span());
            let elements = self.convert(key, list, allowed, |value| value.as_array().filter(|list| !list.is_empty()));
            let elements = elements.into_iter().flat_map(|elements| elements.value);
            let elements = elements.filter_map(|element| self.convert(key, element, allowed, &convert));
            named.push((name.get_ref().as_ref(), line, elements.map(|element| element.value).collect()));
        }
        named.sort_by_key(|(_, line, _)| *line);
        named
    }

    fn convert<T>(
        &mut self,
        key: &'static str,
        entry: &'t Spanned<DeValue<'t>>,
        allowed: &'static str,
        convert: impl FnOnce(&'t DeValue<'t>) -> Option<T>,
    ) -> Option<Located<T>> {
        let line = self.line(&entry.span());
        match convert(entry.get_ref()) {
            Some(value) => Some(Located { value, line }),
            None => {
                let found = describe(key, entry.get_ref());
                self.problem(line, Problem::Value { key: key.to_owned(), found, allowed });
                None
            }
        }
    }
}

/// A value as it is named in a message. Secrets are not repeated.
fn describe(key: &str, value: &DeValue<'_>) -> String {
    if key.contains("secret") {
        return format!("of the type {}", value.type_str());
    }
    match value {
        DeValue::String(text) => format!("\"{}\"", text.chars().take(100).collect::<String>().escape_debug()),
        DeValue::Integer(number) => integer(value).map_or_else(|| number.to_string(), |number| number.to_string()),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// The value as a number, if it is one and fits.
pub(crate) fn integer(value: &DeValue<'_>) -> Option<i64> {
    let number = value.as_integer()?;
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}
