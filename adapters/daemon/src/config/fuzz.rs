//! What any text comes to: the body of the fuzz target `configuration`, and its corpus.

use std::path::Path;

use s2s_core::addr::Domain;
use s2s_core::node::Direction;
use s2s_core::policy;

use super::{Error, Problem, Settings, parse};

/// There is nothing beside it, so that no other file is read.
const FILE: &str = "/nowhere/s2sd.toml";

/// What stands for a secret in the corpus.
const SECRET: &str = "hunter";

/// Some text as a configuration.
///
/// Nothing panics. What is refused is refused with a line that is there, unless what is wrong is that nothing is there.
/// What is accepted can be explained, by options that stand where they are said to; it never shows its secrets; and written
/// in another notation it means the same.
pub(crate) fn configuration(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    // No device of the machine is opened.
    if text.contains("\"/") || text.contains("'/") || text.contains("..") || text.contains('\\') {
        return;
    }
    match parse(&text, Path::new(FILE)) {
        Err(errors) => check_errors(&errors, &text),
        Ok(settings) => {
            check_explanations(&settings, &text);
            let table: toml::Table = text.parse().expect("it was read before");
            let shown = format!("{settings:?}");
            let said = table.iter().any(|(key, value)| says_openly(SECRET, key, value));
            assert!(said || !shown.contains(SECRET), "a secret is shown: {shown}");
            let again = parse(&table.to_string(), Path::new(FILE));
            let again = again.unwrap_or_else(|errors| panic!("refused in another notation: {errors:?}\n{table}"));
            assert_eq!(essence(&settings), essence(&again), "in another notation:\n{table}");
        }
    }
}

/// Whether `word` stands somewhere where it is no secret.
fn says_openly(word: &str, key: &str, value: &toml::Value) -> bool {
    let said = match value {
        toml::Value::String(text) => key != "component_secret" && text.contains(word),
        toml::Value::Array(values) => values.iter().any(|value| says_openly(word, key, value)),
        toml::Value::Table(table) => table.iter().any(|(key, value)| says_openly(word, key, value)),
        _ => false,
    };
    said || key.contains(word)
}

fn check_errors(errors: &[Error], text: &str) {
    assert!(!errors.is_empty(), "refused without a reason");
    for error in errors {
        assert!(!error.to_string().contains('\n'), "{error} has several lines");
        match error.line {
            Some(line) => {
                assert!((1..=text.matches('\n').count() + 1).contains(&line), "{error}: there is no such line");
            }
            None => assert!(matches!(error.problem, Problem::NoHosts), "{error} has no line"),
        }
    }
}

fn check_explanations(settings: &Settings, text: &str) {
    let lines: Vec<&str> = text.split('\n').collect();
    let remotes =
        ["peer.example", "below.peer.example", "localhost"].map(|name| Domain::parse(name).expect("a domain"));
    for host in settings.hosts.values() {
        for remote in &remotes {
            for direction in [Direction::Inbound, Direction::Outbound] {
                let explanation = policy::explain(&host.options, remote, direction, true);
                let decider = host.shared.decider(explanation.decided_by, remote);
                assert!(!decider.option.is_empty());
                if let Some(position) = decider.position {
                    assert!((1..=lines.len()).contains(&position.line), "{position:?} of {lines:?}");
                }
            }
        }
    }
}

/// What a configuration means, without where it stands.
fn essence(settings: &Settings) -> String {
    let hosts = settings.hosts.iter().map(|(name, host)| {
        (name, &host.options, host.tls_min_version, &host.certificate, host.component_secret.is_some())
    });
    let pins = settings.pins.iter().map(|(name, pins)| (name, &pins.keys));
    let timeouts =
        [settings.negotiation_timeout, settings.attempt_timeout, settings.close_timeout, settings.idle_timeout];
    let routes = [&settings.routes, &settings.routes_below];
    let routes = routes.map(|routes| routes.iter().map(|(name, route)| (name, route.to)).collect::<Vec<_>>());
    let outgoing: Vec<_> = settings.outgoing_addresses.iter().map(|(address, _)| address).collect();
    let network = (&settings.listen, routes, outgoing, &settings.private_addresses, settings.ipv4, settings.ipv6);
    let bounds = (settings.stanza_bytes, &settings.limits, timeouts, settings.nodes, settings.runtime);
    let trust = (&settings.roots, &settings.certificates, settings.dialback_secret.is_some(), &settings.dns_servers);
    format!("{:?}\n{:?}\n{network:?}\n{bounds:?}\n{trust:?}", hosts.collect::<Vec<_>>(), pins.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::KEYS;
    use s2s_tests::fuzz_bodies::{corpus, damage};
    use s2s_tests::sim::Random;
    use std::collections::BTreeSet;

    #[test]
    fn no_text_breaks_the_configuration() {
        let inputs: Vec<Vec<u8>> = corpus("configuration").into_values().collect();
        assert!(inputs.len() >= 10, "the corpus is there");
        for input in &inputs {
            configuration(input);
        }
        let asked = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
        for seed in 0..asked.unwrap_or(2000) {
            configuration(&damage(&inputs, &mut Random::new(seed)));
        }
    }

    #[test]
    fn the_dictionary_of_the_fuzzer_has_every_key_and_no_other() {
        let dictionary = include_str!("../../../../fuzz/configuration.dict");
        let words = dictionary.lines().filter_map(|line| line.strip_suffix(" = \"")?.split_once('"'));
        let words: BTreeSet<&str> = words.map(|(_, word)| word).collect();
        assert_eq!(words, KEYS.iter().map(|key| key.name).collect::<BTreeSet<_>>());
    }

    #[test]
    fn a_text_that_means_something_else_has_another_essence() {
        let read = |text: &str| essence(&parse(text, Path::new(FILE)).expect(text));
        let host = "[host.\"m.example\"]\n";
        assert_eq!(read(host), read("host = { 'm.example' = {} }"));
        assert_ne!(read(host), read(&format!("s2s_secure_auth = true\n{host}")));
        assert_ne!(read(host), read(&format!("s2s_ports = [1]\n{host}")));
        assert_ne!(read(host), read(&format!("{host}component_secret = 'x'\n")));
    }
}
