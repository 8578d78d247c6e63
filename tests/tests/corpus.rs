//! Runs the bodies of the fuzz targets over the committed corpora.

use std::fs;
use std::path::{Path, PathBuf};

use s2s_tests::fuzz_bodies;

/// The inputs of one target, in the order of their names.
fn inputs(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(&path).expect("an input"))).collect()
}

fn replay(target: &str, body: fn(&[u8])) {
    let inputs = inputs(target);
    assert!(inputs.len() >= 10, "the corpus of {target} is there");
    for (path, data) in inputs {
        println!("{}", path.display());
        body(&data);
    }
}

#[test]
fn no_input_of_the_corpus_breaks_the_framer() {
    replay("frames", fuzz_bodies::frames);
}
