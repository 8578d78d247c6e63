//! Runs the bodies of the fuzz targets over the committed corpora.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use s2s_tests::fuzz_bodies;

/// Inputs of one target at least. Federations take seconds each.
fn least(target: &str) -> usize {
    if target == "federation" { 3 } else { 10 }
}

fn replay(target: &str) {
    let target = fuzz_bodies::ALL.iter().find(|known| known.name == target).expect("a target");
    let inputs = fuzz_bodies::corpus(target.name);
    assert!(inputs.len() >= least(target.name), "the corpus of {} is there", target.name);
    for (path, data) in inputs {
        println!("{}", path.display());
        (target.body)(&data);
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The names in a directory below `fuzz`, without what stands behind a dot.
fn names(directory: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(root().join("fuzz").join(directory)).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect()
}

#[test]
fn every_shim_and_every_corpus_is_of_a_target_that_is_built_and_replayed() {
    let here = fuzz_bodies::ALL.iter().map(|target| target.name);
    let elsewhere = fuzz_bodies::ELSEWHERE.iter().map(|(name, _)| *name);
    let all: BTreeSet<String> = here.chain(elsewhere).map(str::to_owned).collect();
    assert_eq!(names("fuzz_targets"), all);
    assert_eq!(names("corpus"), all);
    let manifest = fs::read_to_string(root().join("fuzz/Cargo.toml")).expect("a manifest");
    for name in &all {
        let built = format!("name = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"");
        assert!(manifest.contains(&built), "{name} is not built");
    }
    for (name, file) in fuzz_bodies::ELSEWHERE {
        let text = fs::read_to_string(root().join(file)).expect("its file");
        assert!(text.contains(&format!("corpus(\"{name}\")")), "{file} does not replay {name}");
    }
}

macro_rules! corpora {
    ($($test:ident => $target:literal,)*) => {
        $(#[test]
        fn $test() {
            replay($target);
        })*

        #[test]
        fn every_target_has_a_corpus_and_a_shim() {
            let replayed = [$($target),*];
            for target in fuzz_bodies::ALL.iter().map(|target| target.name) {
                assert!(replayed.contains(&target), "{target} is not replayed here");
                let shim = format!("../fuzz/fuzz_targets/{target}.rs");
                assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(shim).exists(), "{target} has no shim");
            }
        }
    };
}

corpora! {
    no_input_of_the_corpus_breaks_the_framer => "frames",
    a_strict_reader_sees_what_the_framer_sees => "frames_strict",
    the_parser_of_rxml_sees_what_the_framer_sees => "frames_rxml",
    elements_are_the_same_after_a_round_trip => "element_round_trip",
    legal_frames_in_any_order_break_no_stream => "stream_frames",
    cuts_do_not_count_for_a_link => "link_bytes",
    no_operation_on_a_link_breaks_its_laws => "link_ops",
    errors_of_the_fake_tls_are_final => "fake_tls",
    errors_of_rustls_are_final => "rustls_session",
    no_answer_of_a_dns_server_breaks_the_resolver => "dns_reply",
    a_lookup_comes_to_what_plain_recursion_comes_to => "resolver",
    only_the_right_dialback_key_is_confirmed => "dialback_key",
    names_of_certificates_are_bounded => "certificate_names",
    scripted_peers_do_not_break_a_node => "node_ops",
    everybody_sees_what_the_model_says => "model",
    the_laws_hold_for_small_federations => "federation",
}
