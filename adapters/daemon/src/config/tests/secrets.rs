//! Secrets that are of no use, with the file in which they stand.

use std::path::Path;

use super::{HOST, good};
use crate::config::parse;

fn refused(home: &Path, text: &str) -> String {
    let errors = parse(text, &home.join("s2sd.toml")).expect_err(text);
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors[0].to_string()
}

#[test]
fn a_secret_in_a_file_that_is_empty_or_too_short_is_told_with_the_file_and_what_is_expected() {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("secret");
    let dialback = format!("dialback_secret_file = \"secret\"{HOST}");
    let component = "[host.\"m.example\"]\ncomponent_secret_file = \"secret\"";
    let (rule, proof) = ("a dialback secret has at least 16 bytes", "must be what the component proves itself with");
    for (content, text, expected) in [
        ("\n", dialback.as_str(), format!(":1: 'dialback_secret_file': FILE is empty, but {rule}")),
        ("fifteen bytes..\n", dialback.as_str(), format!(":1: 'dialback_secret_file': FILE has 15 bytes, but {rule}")),
        ("", component, format!(":2: 'component_secret_file': FILE is empty, but {proof}")),
    ] {
        std::fs::write(&file, content).expect("writable");
        let told = refused(home.path(), text);
        let expected = expected.replace("FILE", &file.display().to_string());
        assert!(told.ends_with(&format!("{expected}: 'openssl rand -hex 32' prints a good one")), "{told}");
        assert!(!told.contains("fifteen"), "a secret is told to nobody: {told}");
    }
    std::fs::write(&file, "sixteen bytes...\n").expect("writable");
    parse(&dialback, &home.path().join("s2sd.toml")).expect("long enough");
    assert!(good(&format!("dialback_secret = \"sixteen bytes...\"{HOST}")).dialback_secret.is_some());
}

#[test]
fn a_secret_in_a_file_that_cannot_be_read_is_told_with_why() {
    let home = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(home.path().join("directory")).expect("a directory");
    std::fs::write(home.path().join("bytes"), b"\xff\xfe").expect("writable");
    for (name, expected) in [
        ("absent", "absent: cannot be read: it does not exist"),
        ("directory", "directory: cannot be read: it is a directory, but must be a file"),
        ("bytes", "bytes: cannot be read: it is not text in UTF-8"),
    ] {
        let told = refused(home.path(), &format!("\ndialback_secret_file = \"{name}\"{HOST}"));
        assert!(told.contains(":2: 'dialback_secret_file': ") && told.ends_with(expected), "{told}");
    }
    let denied = crate::config::cause(std::io::ErrorKind::PermissionDenied);
    assert_eq!(denied, "permission denied: let the user that s2sd runs as read it");
}
