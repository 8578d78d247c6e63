mod secrets;
mod wrong;

use std::path::Path;

use s2s_core::addr::Domain;
use s2s_core::dns::Security;

use s2s_core::limits;
use s2s_core::reason::Reason;
use s2s_core::route::PrivateAddresses;
use s2s_core::tls::Version;
use s2s_core::tls::verify::UnknownStatus;

use super::keys::{KEYS, Place, Status};
use super::{LogLevel, Settings, parse};
use crate::runtime::Runtime;

const HOST: &str = "\n[host.\"m.example\"]\n";

fn domain(text: &str) -> Domain {
    Domain::parse(text).expect(text)
}

fn good(text: &str) -> Settings {
    match parse(text, Path::new("conf/s2sd.toml")) {
        Ok(settings) => settings,
        Err(errors) => panic!("{text}\n{errors:?}"),
    }
}

fn bad(text: &str) -> Vec<String> {
    match parse(text, Path::new("s2sd.toml")) {
        Ok(_) => panic!("accepted: {text}"),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

#[test]
//= RFC6120-14.7-1 test
fn one_host_is_enough_and_the_defaults_are_those_that_are_documented() {
    let settings = good(HOST);
    let text = |addresses: &[std::net::SocketAddr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(text(&settings.listen.s2s), ["[::]:5269", "0.0.0.0:5269"]);
    assert_eq!(text(&settings.listen.direct), [""; 0]);
    assert_eq!(text(&settings.listen.component), ["127.0.0.1:5347"]);
    assert_eq!(settings.stanza_bytes, 10_485_760);
    let seconds =
        [settings.negotiation_timeout, settings.attempt_timeout, settings.close_timeout, settings.idle_timeout];
    assert_eq!(seconds.map(|duration| duration.as_secs()), [90, 10, 5, 840]);
    assert_eq!(settings.private_addresses, PrivateAddresses::Never);
    assert_eq!(settings.certificates.directory, Path::new("conf/certs"));
    assert_eq!(settings.log_level, LogLevel::Info);
    assert!(!settings.certificates.configured && settings.roots.system);
    assert!(settings.dialback_secret.is_none() && settings.warnings.is_empty());
    let host = &settings.hosts[&domain("m.example")];
    assert_eq!(host.options, s2s_core::policy::HostOptions::default());
    assert_eq!(host.tls_min_version, Version::Tls12);
}

#[test]
//= RFC6120-13.12-5 test
fn what_is_wrong_is_told_with_its_line() {
    for (text, line, expected) in wrong::ALL.concat() {
        let text = text.replace("PIN", &"0".repeat(64));
        let errors = bad(&format!("{text}\n{HOST}"));
        assert!(
            errors.iter().any(|error| error.starts_with(&format!("s2sd.toml:{line}: ")) && error.contains(expected)),
            "{text}\n{errors:#?}"
        );
    }
    assert_eq!(bad("s2s_ports = [0]"), ["s2sd.toml: there is no [host.\"NAME\"] to serve"]);
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_the_file() {
    let errors = bad("s2s_timeout = 0\nx = 1\n[host.\"m.example\"]\ny = 1\n");
    let lines: Vec<_> = errors.iter().map(|error| error.split(':').nth(1).expect("a line")).collect();
    assert_eq!(lines, ["1", "2", "4"]);
}

#[test]
fn keys_whose_function_is_missing_are_refused_and_not_ignored() {
    let later: Vec<_> = KEYS.iter().filter(|key| key.status == Status::Later).map(|key| key.name).collect();
    assert_eq!(later, ["control_socket"]);
    for key in later {
        assert_eq!(bad(&format!("{key} = \"x\"{HOST}")), [format!("s2sd.toml:1: {key} is not in this version")]);
    }
}

#[test]
fn ports_that_are_free_to_choose_and_wildcards_of_both_families_are_in_nobodys_way() {
    for text in [
        "s2s_ports = [0, 0]\ns2s_direct_tls_ports = [0]\ncomponent_ports = [0]",
        "s2s_interfaces = [\"::\", \"0.0.0.0\"]",
        "s2s_interfaces = [\"127.0.0.2\"]\ns2s_ports = [5347]",
        "s2s_ports = [5269, 5222]\ns2s_direct_tls_ports = [5270]",
    ] {
        good(&format!("{text}{HOST}"));
    }
}

/// Every key that works, but for those in whose place another one stands, `include` and those of `[limits]`.
const EVERY_KEY: &str = r#"
s2s_secure_auth = true
s2s_require_encryption = true
s2s_secure_domains = ["s.example"]
s2s_insecure_domains = ["i.example", "*.s.example"]
s2s_allow_domains = ["*.example"]
s2s_deny_domains = ["d.example"]
s2s_deny_domains_file = "/dev/null"
s2s_dialback_to_verified = true
s2s_crls = ["crl.pem", "/crls/other.der"]
s2s_crl_policy = "hard"
modules_disabled = ["s2s", "tls", "saslauth", "dialback", "s2s_bidi", "smacks"]
allow_anonymous_s2s = true
s2s_stanza_size_limit = 10_000
s2s_timeout = 30
s2s_attempt_timeout = 5
s2s_close_timeout = 2
s2s_idle_timeout = 60
s2s_ports = [0, 5269]
s2s_direct_tls_ports = [5270]
s2s_interfaces = ["::1", "127.0.0.1"]
s2s_outgoing_addresses = ["127.0.0.1", "::1"]
use_ipv4 = true
use_ipv6 = false
s2s_allow_private_addresses = ["10.0.0.0/8", "::1"]
tls_min_version = "1.3"
cafile = "ca.pem"
cadirectory = "/etc/ca"
system_roots = true
certificates = "certificates"
dialback_secret = "sixteen bytes..."
component_interfaces = ["::1"]
component_ports = [5348]
dns_servers = ["192.0.2.53", "[2001:db8::53]:5353"]
nodes = 2
runtime = "threads"
log_format = "json"
log_level = "debug"
metrics_listen = "127.0.0.1:9100"
s2s_pins = { "pinned.example" = ["sha256:PIN"] }

[host."m.example"]
anonymous = true
certificate = "m.crt"
key = "/keys/m.key"
component_secret = "secret"

[route."p.example"]
address = "192.0.2.1"
tls = "direct"
[route."q.example"]
address = "192.0.2.2:5222"
[route."*.q.example"]
address = "192.0.2.3"
"#;

fn every_key() -> Settings {
    good(&EVERY_KEY.replace("PIN", &"0a".repeat(32)))
}

#[test]
fn every_key_that_works_is_accepted_where_it_may_stand() {
    let settings = every_key();
    assert_eq!((settings.nodes, settings.runtime), (2, Runtime::Threads));
    assert_eq!(settings.log_level, LogLevel::Debug);
    let host = &settings.hosts[&domain("m.example")];
    assert!(host.options.anonymous && host.options.allow_anonymous && host.options.tls_disabled);
    assert!(host.options.is_strict(&domain("pinned.example")));
    assert_eq!(host.options.admit(&domain("x.example")), Err(Reason::HostDisabled));

    let both = KEYS.iter().filter(|key| key.place == Place::TopAndHost && key.status == Status::Works);
    assert_eq!(both.count(), 11, "each of them stands in the text above and is merged in host.rs");
}

#[test]
fn keys_and_certificates_are_those_that_are_named_and_paths_are_relative_to_the_file() {
    let settings = every_key();
    assert_eq!(settings.roots.file.as_deref(), Some(Path::new("conf/ca.pem")));
    assert_eq!(settings.roots.directory.as_deref(), Some(Path::new("/etc/ca")));
    assert_eq!(settings.pins[&domain("pinned.example")].keys, [[10; 32]]);
    let lists: Vec<_> = settings.revocation.lists.iter().map(|(path, _)| path.as_path()).collect();
    assert_eq!(lists, [Path::new("conf/crl.pem"), Path::new("/crls/other.der")]);
    assert_eq!(settings.revocation.unknown_status, UnknownStatus::Refuse);
    let host = &settings.hosts[&domain("m.example")];
    assert_eq!(host.certificate.as_ref().map(|files| files.key.as_path()), Some(Path::new("/keys/m.key")));
}

#[test]
fn addresses_and_routes_are_those_that_are_named_with_the_usual_ports() {
    let settings = every_key();
    assert_eq!(settings.listen.s2s.len(), 4);
    let servers: Vec<_> = settings.dns_servers.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["192.0.2.53:53", "[2001:db8::53]:5353"]);
    assert_eq!(settings.metrics_listen, Some(std::net::SocketAddr::from(([127, 0, 0, 1], 9100))));
    let (routes, routes_below) = (&settings.routes, &settings.routes_below);
    for (routes, name, addr, security) in [
        (routes, "p.example", "192.0.2.1:5270", Security::DirectTls),
        (routes, "q.example", "192.0.2.2:5222", Security::StartTls),
        (routes_below, "q.example", "192.0.2.3:5269", Security::StartTls),
    ] {
        let to = routes[&domain(name)].to;
        assert_eq!((to.addr.to_string().as_str(), to.security), (addr, security), "{name}");
    }
    let outgoing: Vec<_> = settings.outgoing_addresses.iter().map(|(address, _)| address.to_string()).collect();
    assert_eq!(outgoing, ["127.0.0.1", "::1"]);
}

#[test]
fn a_hosts_value_overrides_the_global_one_and_only_there() {
    let settings = good(
        r#"
s2s_secure_auth = true
s2s_deny_domains = ["d.example"]
modules_disabled = ["dialback"]
tls_min_version = "1.3"
[host."a.example"]
[host."b.example"]
s2s_secure_auth = false
s2s_deny_domains = []
modules_disabled = ["tls"]
tls_min_version = "1.2"
"#,
    );
    let (a, b) = (&settings.hosts[&domain("a.example")], &settings.hosts[&domain("b.example")]);
    assert!(a.options.secure_auth && a.options.dialback_disabled && !a.options.tls_disabled);
    assert_eq!(a.options.admit(&domain("d.example")), Err(Reason::DomainDenied));
    assert_eq!(a.tls_min_version, Version::Tls13);
    assert!(!b.options.secure_auth && !b.options.dialback_disabled && b.options.tls_disabled);
    assert_eq!(b.options.admit(&domain("d.example")), Ok(()));
    assert_eq!(b.tls_min_version, Version::Tls12);
}

#[test]
fn lists_of_one_host_are_checked_together_with_those_that_it_takes_over() {
    let errors =
        bad("s2s_secure_domains = [\"x.example\"]\n[host.\"m.example\"]\ns2s_insecure_domains = [\"x.example\"]");
    assert_eq!(errors, ["s2sd.toml:1: 'x.example' stands in both s2s_secure_domains and s2s_insecure_domains"]);
}

#[test]
fn an_entry_that_can_never_decide_is_warned_of() {
    for (text, expected) in [
        ("s2s_insecure_domains = [\"i.example\"]", "'i.example' never decides: s2s_secure_auth is off"),
        (
            "s2s_secure_auth = true\ns2s_secure_domains = [\"s.example\"]",
            "'s.example' never decides: s2s_secure_auth is on",
        ),
        (
            "s2s_secure_auth = true\ns2s_secure_domains = [\"*.s.example\"]\ns2s_insecure_domains = [\"i.s.example\"]",
            "'i.s.example' never decides: s2s_secure_domains has it",
        ),
        (
            "s2s_allow_domains = [\"*.d.example\"]\ns2s_deny_domains = [\"*.d.example\"]",
            "'*.d.example' never decides: s2s_deny_domains has it",
        ),
    ] {
        let warnings = good(&format!("{text}{HOST}")).warnings;
        assert!(warnings.len() == 1 && warnings[0].contains(expected), "{text}\n{warnings:?}");
    }
    for text in [
        "s2s_secure_domains = [\"s.example\"]",
        "s2s_secure_auth = true\ns2s_insecure_domains = [\"*.s.example\"]\ns2s_secure_domains = [\"x.s.example\"]",
        // It decides for one host, and that is enough.
        "s2s_insecure_domains = [\"i.example\"]\n[host.\"strict.example\"]\ns2s_secure_auth = true",
    ] {
        assert_eq!(good(&format!("{text}{HOST}")).warnings, [""; 0], "{text}");
    }
}

#[test]
fn an_entry_for_what_never_federates_or_is_pinned_is_warned_of() {
    let warnings = |text: &str| good(&format!("{}{HOST}", text.replace("PIN", &"0".repeat(64)))).warnings;
    let pins = "s2s_pins = {\"p.example\" = [\"sha256:PIN\"]}";
    for (text, expected) in [
        (
            "s2s_secure_domains = [\"s.example\"]\ns2s_deny_domains = [\"*.example\"]",
            "s2s_deny_domains has it and wins",
        ),
        (
            "s2s_secure_auth = true\ns2s_insecure_domains = [\"*.s.example\"]\ns2s_deny_domains = [\"*.example\"]",
            "s2s_deny_domains has it and wins",
        ),
        (
            "s2s_secure_domains = [\"s.example\"]\ns2s_allow_domains = [\"a.example\", \"*.s.example\"]",
            "s2s_allow_domains does not have it",
        ),
        (
            "s2s_secure_auth = true\ns2s_insecure_domains = [\"s.example\"]\ns2s_allow_domains = [\"a.example\"]",
            "s2s_allow_domains does not have it",
        ),
        ("s2s_secure_domains = [\"s\"]", "a name of one label never federates"),
        ("s2s_secure_auth = true\ns2s_insecure_domains = [\"s\"]", "a name of one label never federates"),
        (&format!("s2s_secure_domains = [\"p.example\"]\n{pins}"), "s2s_pins has it and demands a certificate already"),
    ] {
        let told = warnings(text);
        assert!(told.len() == 1 && told[0].ends_with(&format!("never decides: {expected}")), "{text}\n{told:?}");
    }
    for text in [
        "s2s_secure_domains = [\"s.example\"]\ns2s_deny_domains = [\"*.s.example\"]",
        "s2s_secure_domains = [\"*.s.example\"]\ns2s_allow_domains = [\"a.s.example\"]",
        "s2s_secure_domains = [\"s.example\"]\ns2s_allow_domains = [\"*.example\"]",
        "s2s_secure_domains = [\"s.example\"]\ns2s_allow_domains = []",
        &format!("s2s_secure_domains = [\"*.p.example\", \"*.example\"]\n{pins}"),
        // They decide for the other host.
        "s2s_secure_domains = [\"s.example\"]\n[host.\"o.example\"]\ns2s_deny_domains = [\"s.example\"]",
        "s2s_secure_domains = [\"s.example\"]\n[host.\"o.example\"]\ns2s_allow_domains = [\"a.example\"]",
    ] {
        assert_eq!(warnings(text), [""; 0], "{text}");
    }
}

#[test]
fn an_entry_that_a_file_denies_is_warned_of_with_the_key_of_that_file() {
    let home = tempfile::tempdir().expect("a directory");
    std::fs::write(home.path().join("denied"), "d.example").expect("writable");
    let text = format!("s2s_secure_domains = [\"d.example\"]\ns2s_deny_domains_file = \"denied\"{HOST}");
    let warnings = parse(&text, &home.path().join("s2sd.toml")).expect("legal").warnings;
    let expected = "s2sd.toml:1: the entry 'd.example' never decides: s2s_deny_domains_file has it and wins";
    assert!(warnings.len() == 1 && warnings[0].ends_with(expected), "{warnings:?}");
}

#[test]
fn a_configuration_in_which_nothing_listens_is_warned_of_with_the_list_that_is_empty_and_the_hosts() {
    let hosts = "\n[host.\"m.example\"]\ncomponent_secret = \"secret\"\n[host.\"n.example\"]";
    let (peers, component) = ("peers of m.example, n.example", "the component of m.example");
    for (text, line, whom, expected) in [
        ("s2s_direct_tls_ports = []\ns2s_ports = []", 2, peers, "'s2s_ports' is empty; give a port, usually 5269"),
        ("\ns2s_interfaces = []", 2, peers, "'s2s_interfaces' is empty; give an address of this machine"),
        ("component_ports = []", 1, component, "'component_ports' is empty; give a port, usually 5347"),
        ("component_interfaces = []", 1, component, "'component_interfaces' is empty; give an address of this machine"),
    ] {
        let warnings = good(&format!("{text}{hosts}")).warnings;
        assert_eq!(warnings, [format!("conf/s2sd.toml:{line}: with this nothing listens for {whom}: {expected}")]);
    }
    for text in [
        "s2s_ports = []\ns2s_direct_tls_ports = [5270]",
        "component_ports = []",
        "s2s_ports = []\nmodules_disabled = [\"s2s\"]",
    ] {
        // There is no component, or there are no peers.
        assert_eq!(good(&format!("{text}{HOST}")).warnings, [""; 0], "{text}");
    }
}

#[test]
fn a_list_in_a_file_has_one_entry_a_line_and_names_the_lines_that_are_none() {
    let home = tempfile::tempdir().expect("a directory");
    let list = home.path().join("denied");
    let path = home.path().join("s2sd.toml");
    std::fs::write(&list, "# enemies\n\nd.example # first\n  *.e.example\r\n").expect("writable");
    let text = "s2s_deny_domains_file = \"denied\"\ns2s_deny_domains = [\"f.example\"]\n[host.\"m.example\"]\n\
                [host.\"o.example\"]\ns2s_deny_domains_file = \"/dev/null\"";
    let settings = parse(text, &path).expect(text);
    let admit = |host: &str, remote: &str| settings.hosts[&domain(host)].options.admit(&domain(remote));
    for denied in ["d.example", "x.e.example", "f.example"] {
        assert_eq!(admit("m.example", denied), Err(Reason::DomainDenied), "{denied}");
    }
    assert_eq!(admit("m.example", "e.example"), Ok(()));
    assert_eq!(admit("o.example", "d.example"), Ok(()));
    assert_eq!(admit("o.example", "f.example"), Err(Reason::DomainDenied));

    std::fs::write(&list, "d.example\n*\n").expect("writable");
    let errors = parse(text, &path).expect_err("everything");
    assert_eq!(errors.len(), 1, "{errors:?}");
    let expected = format!("{}:2: '*' in 's2s_deny_domains_file': '*' alone is not an entry", list.display());
    assert!(errors[0].to_string().starts_with(&expected), "{}", errors[0]);
}

#[test]
fn hosts_and_routes_may_stand_in_files_of_their_own() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("s2sd.toml");
    let file = |name: &str, text: &str| std::fs::write(home.path().join("more").join(name), text).expect("writable");
    std::fs::create_dir(home.path().join("more")).expect("a directory");
    file("1.toml", "[host.\"n.example\"]\ncomponent_secret_file = \"n.secret\"\n");
    file("n.secret", "secret");
    file("2.toml", "[route.\"p.example\"]\naddress = \"192.0.2.1\"\n");
    file("2.toml~", "not TOML");
    let text = "include = \"more\"\ns2s_secure_auth = true\n";
    let settings = parse(text, &path).expect(text);
    let host = &settings.hosts[&domain("n.example")];
    assert!(host.options.secure_auth && host.component_secret.is_some());
    assert_eq!((&host.position.file, host.position.line), (&home.path().join("more/1.toml"), 1));
    assert!(settings.routes.contains_key(&domain("p.example")));

    file("2.toml", "s2s_timeout = 1\n[host.\"N.example\"]\ns2s_secure_ath = true");
    file("3.toml", "[");
    let errors: Vec<_> = parse(text, &path).expect_err("wrong").iter().map(ToString::to_string).collect();
    let at = |place: &str| home.path().join("more").join(place).display().to_string();
    for (error, (place, expected)) in errors.iter().zip([
        ("2.toml:1", "'s2s_timeout' may only stand at the top of the main file"),
        ("2.toml:2", "'N.example' has two tables"),
        ("2.toml:3", "did you mean 's2s_secure_auth'?"),
        ("3.toml:1", "not TOML"),
    ]) {
        assert!(error.starts_with(&format!("{}: ", at(place))) && error.contains(expected), "{errors:#?}");
    }
    assert_eq!(errors.len(), 4, "{errors:#?}");
}

#[test]
fn ops_002_no_name_of_a_host_leads_to_a_file() {
    let long = "l".repeat(64);
    for name in ["../../etc/x", "/etc/passwd", ".", "..", "con/x", "m.example\\u0000", "m.example\\n", &long] {
        let errors = bad(&format!("[host.\"{name}\"]\n"));
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].contains("s2sd.toml:1:"), "{errors:?}");
    }
    // Certificates are found by the names in them; what is read of a host are the paths that it is given.
    let settings = good(HOST);
    let named = |path: &std::path::PathBuf| path.to_string_lossy().contains("m.example");
    assert!(!settings.sources.iter().any(named), "{:?}", settings.sources);
    assert!(!named(&settings.certificates.directory) && settings.hosts[&domain("m.example")].certificate.is_none());
}

#[test]
fn every_limit_has_its_default_and_its_key() {
    let settings = good(HOST);
    let default = s2s_core::node::Limits::default();
    assert_eq!(settings.limits.node, default);
    assert_eq!(settings.limits.dns_queries, limits::DNS_QUERIES);
    assert_eq!(settings.limits.component_bytes, limits::STANZA_BYTES + limits::OUTPUT_HIGH_WATER_BYTES);
    assert_eq!((default.rate_per_connection, default.rate_per_domain), (None, None), "no limit");

    let keys: Vec<_> = KEYS.iter().filter(|key| key.place == Place::Limits).map(|key| key.name).collect();
    // No two values are alike, so that each key is seen to set its own.
    let values: Vec<_> = (0..keys.len() as u64).map(|at| 40_000 - at).collect();
    let lines = keys.iter().zip(&values).map(|(key, value)| format!("{key} = {value}\n"));
    let text: String = lines.filter(|line| !line.starts_with("queue_bytes =")).collect();
    let settings = good(&format!("s2s_stanza_size_limit = 10000\n[limits]\nqueue_bytes = 50000\n{text}{HOST}"));
    let value = |key: &str| values[keys.iter().position(|name| *name == key).expect(key)];
    let node = &settings.limits.node;
    for (key, is) in [
        ("connections", node.connections as u64),
        ("connections_per_address", node.connections_per_address as u64),
        ("connection_rate_per_address", node.connection_rate_per_address),
        ("unauthenticated", node.unauthenticated as u64),
        ("streams_per_pair", node.streams_per_pair as u64),
        ("handshakes", node.handshakes as u64),
        ("handshakes_per_address", node.handshakes_per_address as u64),
        ("handshake_rate", node.handshake_rate),
        ("handshake_rate_per_address", node.handshake_rate_per_address),
        ("queue_bytes_per_pair", node.queue_bytes_per_pair as u64),
        ("queue_bytes_per_component", settings.limits.component_bytes as u64),
        ("queue_seconds", node.queue_age.as_secs()),
        ("verifications", node.verifications as u64),
        ("dns_queries", settings.limits.dns_queries as u64),
        ("rate_per_connection", node.rate_per_connection.expect("set")),
        ("rate_per_domain", node.rate_per_domain.expect("set")),
    ] {
        assert_eq!(is, value(key), "{key}");
    }
    assert_eq!((keys.len(), node.queue_bytes), (17, 50_000), "each of them is looked at here");
}

#[test]
fn a_limit_out_of_range_is_refused_with_its_line_and_what_is_allowed() {
    for (text, line, expected) in [
        ("limits = 1", 1, "'limits' is 1, but must be a table"),
        ("[limits]\nconnection = 1", 2, "unknown key 'connection'; did you mean 'connections'?"),
        ("connections = 1", 1, "'connections' may only stand in [limits]"),
        ("[limits]\nconnections = 0", 2, "'connections' is 0, but must be a whole number from 1 to 1000000"),
        ("[limits]\nunauthenticated = -1", 2, "'unauthenticated' is -1, but must be a whole number from 1"),
        ("[limits]\nhandshakes = \"many\"", 2, "'handshakes' is \"many\", but must be a whole number from 1"),
        ("[limits]\nhandshake_rate = 0", 2, "must be a whole number of handshakes a second from 1 to 1000000"),
        ("[limits]\nqueue_bytes_per_pair = 9999", 2, "must be a whole number of bytes from 10000 to 1099511627776"),
        ("[limits]\nqueue_bytes_per_component = 1", 2, "must be a whole number of bytes from 10000 to"),
        ("[limits]\nqueue_seconds = 90.5", 2, "'queue_seconds' is 90.5, but must be a whole number of seconds from 1"),
        ("[limits]\ndns_queries = 65537", 2, "'dns_queries' is 65537, but must be a whole number from 1 to 65536"),
        ("[limits]\nrate_per_domain = 999", 2, "must be a whole number of bytes a second from 1000 to"),
        ("[limits]\n\nqueue_bytes = 1000000", 3, "'queue_bytes' is 1000000, but must be at least room for one stanza"),
        (
            "s2s_stanza_size_limit = 10000\n[limits]\nqueue_bytes = 20000\nqueue_bytes_per_pair = 30000",
            3,
            "'queue_bytes' is 20000, but must be at least as much as queue_bytes_per_pair, 30000",
        ),
        (
            "[limits]\nconnections = 10\nunauthenticated = 11",
            2,
            "'connections' is 10, but must be at least as much as unauthenticated, 11",
        ),
        (
            "[limits]\nhandshakes_per_address = 1001",
            2,
            "'handshakes' is 1000, but must be at least as much as handshakes_per_address, 1001",
        ),
    ] {
        let errors = bad(&format!("{text}\n{HOST}"));
        assert!(
            errors.iter().any(|error| error.starts_with(&format!("s2sd.toml:{line}: ")) && error.contains(expected)),
            "{text}\n{errors:#?}"
        );
    }
    assert_eq!(good(&format!("[limits]\nconnections = 10{HOST}")).limits.node.connections, 10, "defaults do no harm");
}
