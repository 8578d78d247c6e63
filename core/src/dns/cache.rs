//! What DNS has said lately.
//!
//! Answers are kept by question for as long as their records allow, at most [`limits::DNS_LIFETIME`]; absence as long as
//! the SOA record beside it allows, at most [`limits::DNS_ABSENCE`]; failures for [`limits::DNS_FAILURE`]. What has no
//! lifetime is not kept. Only what answered the very question is kept, nothing that a server added to it.
//!
//! The number of entries and their size are bounded; what was used least lately goes first. Nothing has to be done
//! when a lifetime ends: the entry is not found any more, and goes when its turn comes.
//!
//! - Absence: [RFC 2308 section 5](https://www.rfc-editor.org/rfc/rfc2308#section-5)
//! - Failures: [RFC 2308 section 7](https://www.rfc-editor.org/rfc/rfc2308#section-7)

use std::collections::BTreeMap;
use std::mem::size_of;
use std::time::{Duration, Instant};

use super::message::{Answer, End, Finding, Name, Question, ServiceRecord};
#[cfg(doc)]
use crate::limits;
use crate::reason::Reason;
use crate::time::later;

/// The cache.
#[derive(Debug)]
pub(super) struct Cache {
    entries: BTreeMap<Question, Entry>,
    /// The questions by when they were last used, the least lately used first.
    uses: BTreeMap<u64, Question>,
    next_use: u64,
    bytes: usize,
    max_entries: usize,
    max_bytes: usize,
}

#[derive(Debug)]
struct Entry {
    result: Result<Answer, Reason>,
    /// From then on it says nothing.
    until: Instant,
    /// Its place in the order of uses.
    used: u64,
    bytes: usize,
}

impl Cache {
    /// An empty cache.
    pub(super) const fn new(max_entries: usize, max_bytes: usize) -> Self {
        Self { entries: BTreeMap::new(), uses: BTreeMap::new(), next_use: 0, bytes: 0, max_entries, max_bytes }
    }

    /// What is remembered about `question`.
    pub(super) fn find(&mut self, now: Instant, question: &Question) -> Option<Result<Answer, Reason>> {
        let entry = self.entries.get_mut(question)?;
        if entry.until <= now {
            self.remove(question);
            return None;
        }
        if let Some(key) = self.uses.remove(&entry.used) {
            entry.used = self.next_use;
            self.next_use = self.next_use.saturating_add(1);
            self.uses.insert(entry.used, key);
        }
        Some(entry.result.clone())
    }

    /// Remembers `result` for `lifetime`.
    pub(super) fn insert(
        &mut self,
        now: Instant,
        question: Question,
        result: Result<Answer, Reason>,
        lifetime: Duration,
    ) {
        self.remove(&question);
        let bytes = size(&question, &result);
        if lifetime.is_zero() || bytes > self.max_bytes {
            return;
        }
        while self.entries.len() >= self.max_entries || self.bytes.saturating_add(bytes) > self.max_bytes {
            let Some((_, oldest)) = self.uses.pop_first() else { break };
            self.remove(&oldest);
        }
        let used = self.next_use;
        self.next_use = self.next_use.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
        self.uses.insert(used, question.clone());
        self.entries.insert(question, Entry { result, until: later(now, lifetime), used, bytes });
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.uses.clear();
        self.bytes = 0;
    }

    fn remove(&mut self, question: &Question) {
        if let Some(entry) = self.entries.remove(question) {
            self.uses.remove(&entry.used);
            self.bytes = self.bytes.saturating_sub(entry.bytes);
        }
    }

    /// Entries and bytes.
    #[cfg(test)]
    pub(super) fn extent(&self) -> (usize, usize) {
        assert_eq!(self.entries.len(), self.uses.len());
        assert_eq!(self.entries.values().map(|entry| entry.bytes).sum::<usize>(), self.bytes);
        (self.entries.len(), self.bytes)
    }
}

/// About what an entry weighs. Names count in full, although short ones need no room of their own.
fn size(question: &Question, result: &Result<Answer, Reason>) -> usize {
    // The question stands in both maps.
    let key = size_of::<Question>().saturating_add(question.name.len());
    let found = match result.as_ref().map(|answer| &answer.end) {
        Ok(End::Elsewhere(name)) => name.len(),
        Ok(End::Finding(Finding::Addresses(addresses))) => size_of_val(addresses.as_slice()),
        Ok(End::Finding(Finding::Services(records))) => {
            let target = |record: &ServiceRecord| record.target.as_ref().map_or(0, Name::len);
            records.iter().map(|record| size_of::<ServiceRecord>().saturating_add(target(record))).sum()
        }
        Ok(End::Finding(Finding::NoData | Finding::NxDomain)) | Err(_) => 0,
    };
    [key, key, size_of::<Entry>(), size_of::<u64>(), found].into_iter().sum()
}
