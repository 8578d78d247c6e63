//! Every option of the seed document, and each that this program adds to where connections go, has a test named after it in the core, and a row named after it with a real
//! server: that is looked up, not claimed.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::failure::{Failure, fail};
use crate::options;
use crate::report::{Measured, Row};

/// What the row is called.
pub(crate) const NAME: &str = "options: each has a core test and a row";

/// Where the tests of the core are.
const CORE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/options");

/// An option of the document, how the names of its tests begin, and how those of its rows do.
struct Seed {
    option: &'static str,
    test: &'static str,
    row: &'static str,
}

const fn seed(option: &'static str, test: &'static str, row: &'static str) -> Seed {
    Seed { option, test, row }
}

/// An option whose tests and rows begin with its own name.
const fn same(option: &'static str) -> Seed {
    seed(option, option, option)
}

const SEEDS: [Seed; 24] = [
    same("s2s_secure_auth"),
    same("s2s_secure_domains"),
    same("s2s_insecure_domains"),
    same("s2s_require_encryption"),
    same("s2s_stanza_size_limit"),
    seed("modules_disabled s2s", "modules_disabled_s2s", "modules_disabled = {\"s2s\"}"),
    seed("modules_disabled tls", "modules_disabled_tls", "modules_disabled = {\"tls\"}"),
    seed("modules_disabled saslauth", "modules_disabled_saslauth", "modules_disabled = {\"saslauth\"}"),
    seed("modules_disabled dialback", "modules_disabled_dialback", "modules_disabled = {\"dialback\"}"),
    same("allow_anonymous_s2s"),
    same("s2s_timeout"),
    same("s2s_close_timeout"),
    same("s2s_idle_timeout"),
    same("s2s_ports"),
    same("s2s_direct_tls_ports"),
    same("s2s_interfaces"),
    same("s2s_outgoing_addresses"),
    seed("route *.NAME", "route_of_a_wildcard", "route *.NAME"),
    seed("SRV records", "srv_records", "SRV records"),
    same("certificates"),
    same("cafile"),
    same("tls_min_version"),
    seed("TLS first, then dialback", "tls_comes_first_and_dialback_follows", "TLS first, then dialback"),
    seed("serverAuth-only certificate of ours", "s2s_dialback_to_verified", "s2s_dialback_to_verified"),
];

/// Prints the table, and fails if an option lacks either.
pub(crate) fn check() -> Row {
    Row { peer: "-".to_owned(), scenario: NAME.to_owned(), first: "-".to_owned(), result: table() }
}

fn table() -> Result<Measured, Failure> {
    let tests = core_tests(Path::new(CORE))?;
    let mut missing = Vec::new();
    println!("\noption -> tests of the core -> rows with real servers");
    for seed in &SEEDS {
        let tests: Vec<_> = tests.iter().filter(|name| begins(name, seed.test)).map(String::as_str).collect();
        let rows = options::names().filter(|(_, name)| begins(name, seed.row));
        let mut rows: Vec<_> = rows.map(|(software, name)| format!("{}: {name}", software.name())).collect();
        rows.dedup();
        println!("{}\n    {}\n    {}", seed.option, tests.join("\n    "), rows.join("\n    "));
        if tests.is_empty() || rows.is_empty() {
            missing.push(seed.option);
        }
    }
    if !missing.is_empty() {
        return fail(format!("without a test of the core or a row: {}", missing.join(", ")));
    }
    Ok(Measured { first: Duration::ZERO, method: format!("{} options", SEEDS.len()), tls: "-".to_owned() })
}

/// Whether it begins so, and not only with a longer word of that beginning.
fn begins(name: &str, with: &str) -> bool {
    let rest = name.strip_prefix(with);
    rest.is_some_and(|rest| {
        with.ends_with(|end: char| !end.is_alphanumeric()) || !rest.starts_with(char::is_alphanumeric)
    })
}

/// The names of all tests in the files there.
fn core_tests(directory: &Path) -> Result<Vec<String>, Failure> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let text = fs::read_to_string(entry?.path())?;
        let tests = text.split("#[test]\n").skip(1).filter_map(|test| test.split_once("fn ")?.1.split_once("()"));
        names.extend(tests.map(|(name, _)| name.to_owned()));
    }
    names.sort_unstable();
    Ok(names)
}
