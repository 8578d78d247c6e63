//! What the README of this program tells operators in tables, compared with the program.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use s2s_core::reason::Reason;

use crate::config::{KEYS, Place, Status};
use crate::metrics::Metrics;

const MANUAL: &str = include_str!("../README.md");
const LOG: &str = include_str!("log.rs");

/// What stands between a heading and the next one.
fn section(heading: &str) -> &'static str {
    let (_, rest) = MANUAL.split_once(&format!("\n## {heading}\n")).expect(heading);
    rest.split("\n## ").next().unwrap_or(rest)
}

/// The first cell of each row, which is a word of the program, and the second one.
fn rows(heading: &str) -> Vec<(&'static str, &'static str)> {
    let table = section(heading).lines().filter(|line| line.starts_with('|'));
    // The first two lines are the names of the columns and a rule.
    let rows = table.skip(2).map(|row| {
        let (word, rest) = row.strip_prefix("| `").and_then(|row| row.split_once("` |")).expect(row);
        (word, rest.split('|').next().unwrap_or_default().trim())
    });
    rows.collect()
}

/// The first cell of each row.
fn words(heading: &str) -> Vec<&'static str> {
    rows(heading).into_iter().map(|(word, _)| word).collect()
}

/// The sources of the program.
fn sources() -> String {
    let mut text = String::new();
    let mut directories = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
            } else {
                text.push_str(&fs::read_to_string(path).expect("source"));
            }
        }
    }
    text
}

/// What stands between `before` and the next quotation mark, everywhere.
fn quoted<'t>(text: &'t str, before: &str) -> Vec<&'t str> {
    text.split(before).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

#[test]
fn every_key_has_one_row_with_its_place_and_no_row_is_about_anything_else() {
    let place = |place: Place| match place {
        Place::Top => Some("top"),
        Place::TopAndHost => Some("both"),
        Place::Host => Some("host"),
        Place::Route => Some("route"),
        // Tables, and what stands in one of them.
        Place::TopAndIncluded | Place::Included | Place::Limits => None,
    };
    let keys = KEYS.iter().filter(|key| key.status == Status::Works && key.name != "limits");
    let mut expected: Vec<_> = keys.filter_map(|key| Some((key.name, place(key.place)?))).collect();
    let mut told = rows("Keys");
    expected.sort_unstable();
    told.sort_unstable();
    assert_eq!(told, expected);
}

#[test]
fn the_manual_has_every_reason_in_the_order_of_the_list() {
    let reasons: Vec<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
    assert_eq!(words("Reasons"), reasons);
}

#[test]
fn the_manual_has_every_figure_in_the_order_in_which_they_are_told() {
    assert_eq!(words("Metrics"), Metrics::names());
}

#[test]
fn the_manual_has_every_event_that_the_log_shows_and_no_other() {
    let sources = sources();
    let mut shown: BTreeSet<_> = quoted(&sources, "event = \"").into_iter().collect();
    for level in ["DEBUG", "INFO", "WARN", "ERROR"] {
        shown.extend(quoted(LOG, &format!("Self::new(Level::{level}, \"")));
    }
    for event in ["peer-up", "component-refused", "configuration", "no-ipv6", "reload", "shutdown"] {
        assert!(shown.contains(event), "{event} was not found among {shown:?}");
    }
    let told = words("The log");
    assert_eq!(told.iter().copied().collect::<BTreeSet<_>>(), shown);
    assert_eq!(told.len(), shown.len(), "one row each");
}

#[test]
fn the_manual_names_every_field_of_a_line_of_the_log() {
    let fields = LOG.lines().filter_map(|line| line.trim().split_once(" = self."));
    let fields: Vec<_> = fields.map(|(name, _)| name).filter(|name| !name.contains(' ')).collect();
    assert!(["event", "node", "detail"].iter().all(|name| fields.contains(name)), "{fields:?}");
    let told = section("The log");
    for name in fields {
        assert!(told.contains(&format!("`{name}`")), "{name} is missing");
    }
}
