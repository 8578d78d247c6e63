//! Secrets, which stand in the configuration or in files of their own.

use std::fs;
use std::path::{Path, PathBuf};

use s2s_core::component::ComponentSecret;
use s2s_core::dialback;
use toml::de::DeValue;

use crate::config::document::{Reader, Section};
use crate::config::error::Problem;
use crate::config::load::PATH;
use crate::config::resolve;

/// A secret as it was given.
struct Given {
    text: String,
    key: &'static str,
    line: usize,
    /// The file, where it stands in one.
    path: Option<PathBuf>,
}

impl Given {
    /// Why it is refused.
    fn problem(self, rule: &'static str) -> Problem {
        Problem::Secret { key: self.key, path: self.path, bytes: self.text.len(), rule }
    }
}

/// `component_secret` or `component_secret_file`
pub(super) fn component<'t>(reader: &mut Reader<'t>, section: &Section<'t>, file: &Path) -> Option<ComponentSecret> {
    let given = given(reader, section, file, "component_secret", "component_secret_file")?;
    if given.text.is_empty() {
        reader.problem(given.line, given.problem("must be what the component proves itself with"));
        return None;
    }
    Some(ComponentSecret::new(given.text))
}

/// `dialback_secret` or `dialback_secret_file`
pub(super) fn dialback<'t>(reader: &mut Reader<'t>, section: &Section<'t>, file: &Path) -> Option<dialback::Secret> {
    let given = given(reader, section, file, "dialback_secret", "dialback_secret_file")?;
    let secret = dialback::Secret::new(given.text.as_bytes()).ok();
    if secret.is_none() {
        reader.problem(given.line, given.problem("a dialback secret has at least 16 bytes"));
    }
    secret
}

/// A secret that stands in the configuration, or in a file of its own without the final line break.
fn given<'t>(
    reader: &mut Reader<'t>,
    section: &Section<'t>,
    file: &Path,
    key: &'static str,
    file_key: &'static str,
) -> Option<Given> {
    let inline = reader.value(section, key, "a text", DeValue::as_str);
    let separate = reader.value(section, file_key, PATH, DeValue::as_str);
    match (inline, separate) {
        (None, None) => None,
        (Some(_), Some(separate)) => {
            reader.problem(separate.line, Problem::Both(key, file_key));
            None
        }
        (Some(inline), None) => Some(Given { text: inline.value.to_owned(), key, line: inline.line, path: None }),
        (None, Some(separate)) => {
            let path = resolve(file, separate.value);
            reader.sources.push(path.clone());
            match fs::read_to_string(&path) {
                Ok(text) => {
                    let text = text.trim_end_matches(['\r', '\n']).to_owned();
                    Some(Given { text, key: file_key, line: separate.line, path: Some(path) })
                }
                Err(error) => {
                    reader.problem(separate.line, Problem::File { key: file_key, path, error: error.kind() });
                    None
                }
            }
        }
    }
}
