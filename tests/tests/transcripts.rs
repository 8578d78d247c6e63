//! The conversations in `spec-notes`: what is printed there is what nodes say.
//!
//! `SPEC_NOTES=write cargo test -p s2s-tests --test transcripts` writes them anew.

use std::fs;

use s2s_tests::scenes::{self, Setting};
use s2s_tests::trace::workspace;
use s2s_tests::transcript::Transcript;

/// Compares the block behind its mark with `transcript`, or writes it.
fn check(file: &str, name: &str, transcript: &str) {
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

/// The lines from the first one that has `first` to the last one.
fn from(transcript: &Transcript, first: &str) -> Transcript {
    let lines = transcript.lines.iter().skip_while(|line| !line.text.contains(first));
    Transcript { lines: lines.cloned().collect() }
}

#[test]
fn the_conversations_in_the_documents_are_what_nodes_say() {
    let external = scenes::greeting(&Setting::strict());
    check("rfc6120.md", "starttls-external", &external.to_string());
    check("xep-0178.md", "external", &from(&external, "<auth").to_string());
    let direct = scenes::greeting(&Setting { direct_tls: true, ..Setting::strict() });
    check("xep-0368.md", "direct-tls", &direct.to_string());

    let dialback = scenes::greeting(&Setting::lax());
    check("xep-0220.md", "dialback", &dialback.to_string());
    let first = dialback.lines.iter().filter(|line| line.connection == 1).cloned().collect();
    let inside = from(&Transcript { lines: first }, "TLS Finished");
    let mut inside = Transcript { lines: inside.lines.into_iter().skip(1).collect() };
    inside.lines.truncate(4);
    check("xep-0178.md", "external-not-offered", &inside.to_string());

    let (too_large, bounce) = scenes::too_large();
    let end = from(&too_large, "<limits").to_string();
    check("xep-0478.md", "limits", &format!("{end}bounce: {}", break_tags(&bounce)));

    check("xep-0114.md", "component", &scenes::component("secret").to_string());
    check("xep-0114.md", "component-refused", &scenes::component("another secret").to_string());
}

/// An element on several lines, one for each tag that opens.
fn break_tags(element: &str) -> String {
    let mut text = String::new();
    for tag in element.split_inclusive('>') {
        if !text.is_empty() && !tag.starts_with("</") && !text.ends_with('\n') && tag.starts_with('<') {
            text.push_str("\n        ");
        }
        text.push_str(tag);
    }
    text + "\n"
}

#[test]
fn the_same_scene_is_the_same_in_every_run() {
    for setting in [Setting::strict(), Setting::lax()] {
        assert_eq!(scenes::greeting(&setting), scenes::greeting(&setting));
    }
}
