//! What is printed in `spec-notes` is what nodes say, and what the code decides.
//!
//! `SPEC_NOTES=write cargo test -p s2s-tests --test transcripts` writes it anew.

use std::fs;
use std::sync::{Mutex, PoisonError};

use s2s_tests::scenes::{self, Setting, delegation, handshakes, hosts, lookups, outages, peers, tables};
use s2s_tests::trace::{Trace, workspace};
use s2s_tests::transcript::{Transcript, break_tags};

/// One document is written at a time.
static WRITING: Mutex<()> = Mutex::new(());

/// Compares the block behind its mark with `transcript`, or writes it.
fn check(file: &str, name: &str, transcript: &str) {
    let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let path = workspace().join("spec-notes").join(file);
    let text = fs::read_to_string(&path).expect("a document");
    let begin = format!("<!-- transcript: {name} -->\n```text\n");
    let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("{file}: no place for {name}"));
    let (block, after) = rest.split_once("```\n").unwrap_or_else(|| panic!("{file}: {name} has no end"));
    if block == transcript {
        return;
    }
    if std::env::var("SPEC_NOTES").as_deref() == Ok("write") {
        return fs::write(&path, format!("{before}{begin}{transcript}```\n{after}")).expect("it can be written");
    }
    let command = "SPEC_NOTES=write cargo test -p s2s-tests --test transcripts";
    panic!("spec-notes/{file}: {name} is out of date, nodes say now:\n{transcript}\nwrite it anew:\n    {command}");
}

#[test]
fn the_conversations_in_the_documents_are_what_nodes_say() {
    let external = scenes::greeting(&Setting::strict());
    check("rfc6120.md", "starttls-external", &external.to_string());
    check("xep-0178.md", "external", &external.since("<auth").to_string());
    let direct = scenes::greeting(&Setting { direct_tls: true, ..Setting::strict() });
    check("xep-0368.md", "direct-tls", &direct.to_string());

    let dialback = scenes::greeting(&Setting::lax());
    check("xep-0220.md", "dialback", &dialback.to_string());
    let first = dialback.lines.iter().filter(|line| line.connection == 1).cloned().collect();
    let inside = Transcript { lines: first }.since("TLS Finished");
    let mut inside = Transcript { lines: inside.lines.into_iter().skip(1).collect() };
    inside.lines.truncate(4);
    check("xep-0178.md", "external-not-offered", &inside.to_string());

    let (too_large, bounce) = scenes::too_large();
    let end = too_large.since("<limits").to_string();
    check("xep-0478.md", "limits", &format!("{end}bounce: {}", break_tags(&bounce)));

    check("xep-0114.md", "component", &scenes::component("secret").to_string());
    check("xep-0114.md", "component-refused", &scenes::component("another secret").to_string());
}

#[test]
fn the_documents_show_how_a_peer_proves_itself_and_what_it_may_not_do() {
    check("rfc4422.md", "exchange", &peers::external().to_string());
    check("rfc4422.md", "another-identity", &peers::another_identity().to_string());
    check("rfc7712.md", "further-domains", &peers::further_domains());
    check("xep-0344.md", "no-call", &peers::keys_without_a_call());
    check("xep-0344.md", "call", &peers::a_key_with_a_call());
    check("rfc7622.md", "spelling", &peers::odd_spelling().to_string());
    check("rfc7622.md", "improper", &peers::improper());
    check("rfc7590.md", "demanded", &scenes::no_starttls(true));
    check("rfc7590.md", "not-demanded", &scenes::no_starttls(false));
}

#[test]
fn the_documents_show_how_strangers_are_bounded() {
    check("xep-0205.md", "too-long", &peers::too_long());
    check("xep-0205.md", "too-much", &peers::too_much());
    check("xep-0205.md", "too-many", &peers::too_many());
}

#[test]
fn the_documents_show_what_becomes_of_a_request_for_something_that_is_not_there() {
    check("xep-0138.md", "refused", &peers::compression().to_string());
    check("xep-0198.md", "enable", &peers::stream_management().to_string());
    check("xep-0288.md", "both-ways", &peers::both_ways().to_string());
}

#[test]
fn the_documents_show_what_a_host_without_a_component_answers() {
    check("xep-0199.md", "ping", &hosts::ping().to_string());
    check("xep-0157.md", "contacts", &hosts::contacts().to_string());
}

#[test]
fn the_documents_show_what_is_asked_and_dialled_and_when() {
    check("rfc2782.md", "lookup", &lookups::three_servers());
    check("rfc2782.md", "weights", &lookups::weights(2000));
    check("rfc8305.md", "no-ipv6", &lookups::no_ipv6());
    check("rfc8305.md", "late-ipv6", &lookups::late_ipv6());
    check("rfc5452.md", "forgeries", &lookups::forgeries());
    check("rfc5890.md", "wire", &lookups::beyond_ascii());
    check("rfc7673.md", "asked", &lookups::everything_asked());
}

#[test]
fn the_tables_in_the_documents_are_what_the_code_decides() {
    check("rfc9525.md", "names", &tables::identities());
    check("rfc4985.md", "services", &tables::services());
    check("rfc6125.md", "common-names", &tables::common_names());
    check("rfc5280.md", "paths", &tables::paths());
    check("rfc7622.md", "addresses", &tables::addresses());
    check("rfc5891.md", "labels", &tables::labels());
    check("xep-0185.md", "key", &tables::key());
}

#[test]
fn the_documents_about_what_is_not_built_show_what_nodes_do_instead() {
    check("rfc6698.md", "signed", &delegation::signed());
    check("rfc7671.md", "refused", &delegation::refused());
    check("rfc7671.md", "policies", &delegation::policies());
    check("rfc7711.md", "no-https", &delegation::no_https());
    check("rfc7711.md", "pinned", &delegation::pinned());
    check("xep-0487.md", "no-https", &outages::only_a_web_server());
    check("xep-0487.md", "absences", &outages::absences());
    check("xep-0455.md", "maintenance", &outages::maintenance());
    check("xep-0455.md", "faults", &outages::faults());
}

#[test]
fn the_documents_show_what_real_tls_agrees_on() {
    check("rfc9325.md", "versions", &handshakes::versions());
    check("rfc7301.md", "protocols", &handshakes::protocols());
}

#[test]
fn the_same_scene_is_the_same_in_every_run() {
    for setting in [Setting::strict(), Setting::lax()] {
        assert_eq!(scenes::greeting(&setting), scenes::greeting(&setting));
    }
}

#[test]
fn every_document_about_a_specification_has_a_diagram_and_shows_what_nodes_do() {
    let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    for document in Trace::read(&workspace()).documents {
        let file = document.file;
        let text = fs::read_to_string(workspace().join("spec-notes").join(&file)).expect("a text");
        let (before, _) = text.split_once("\n<!-- transcript: ").unwrap_or_else(|| panic!("{file} shows nothing"));
        assert!(before.contains("\n```text\n"), "{file}: what is shown stands behind a diagram");
    }
}

#[test]
fn every_block_that_is_marked_is_compared() {
    let source = include_str!("transcripts.rs");
    let mut marks = 0;
    for entry in fs::read_dir(workspace().join("spec-notes")).expect("the documents") {
        let path = entry.expect("a document").path();
        let file = path.file_name().expect("a name").to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).expect("a text");
        for mark in text.split("\n<!-- transcript: ").skip(1) {
            let name = mark.split(" -->").next().unwrap_or_default();
            assert!(source.contains(&format!("check(\"{file}\", \"{name}\", ")), "{file}: nobody prints {name}");
            marks += 1;
        }
    }
    assert_eq!(marks, source.matches("\n    check(\"").count(), "each is compared once");
}
