//! What is refused, with the line that is to be named and words that are to be said, by kind of key. `PIN` stands for
//! the digits of a pin.

/// All of them.
pub(super) const ALL: [&[(&str, usize, &str)]; 6] = [VALUES, ADDRESSES, DOMAINS, FILES, TABLES, MODULES];

/// Names of keys, and values of one word.
const VALUES: &[(&str, usize, &str)] = &[
    ("s2s_secure_ath = true", 1, "unknown key 's2s_secure_ath'; did you mean 's2s_secure_auth'?"),
    ("\n\nfrobnicate = 1", 3, "unknown key 'frobnicate'; allowed here: s2s_secure_auth, "),
    ("s2s_secure_auth = \"yes\"", 1, "'s2s_secure_auth' is \"yes\", but must be true or false"),
    ("anonymous = true", 1, "'anonymous' may only stand in [host.\"NAME\"]"),
    ("s2s_stanza_size_limit = 9999", 1, "is 9999, but must be a whole number of bytes, at least 10000"),
    ("s2s_timeout = 0", 1, "'s2s_timeout' is 0, but must be a whole number of seconds from 1 to 86400"),
    ("s2s_timeout = 1.5", 1, "'s2s_timeout' is 1.5"),
    ("tls_min_version = \"1.1\"", 1, "'tls_min_version' is \"1.1\", but must be \"1.2\" or \"1.3\""),
    ("log_format = \"xml\"", 1, "must be \"human\" or \"json\""),
    ("log_level = \"trace\"", 1, "'log_level' is \"trace\", but must be \"warn\", \"info\" or \"debug\""),
    ("runtime = \"tokio\"", 1, "'runtime' is \"tokio\", but must be \"smol\" or \"threads\""),
    ("nodes = 0", 1, "'nodes' is 0, but must be a whole number from 1 to 256"),
    ("s2s_secure_auth = ", 1, "not TOML"),
];

/// Where to listen, from where to dial, and which addresses are used.
const ADDRESSES: &[(&str, usize, &str)] = &[
    ("s2s_ports = 5269", 1, "'s2s_ports' is 5269, but must be a list of port numbers"),
    ("s2s_ports = [5269,\n 65536]", 2, "'s2s_ports' is 65536"),
    ("s2s_ports = [5269,\n 5269]", 2, "'s2s_ports' asks for a listener on [::]:5269 beside one on [::]:5269"),
    ("s2s_ports = [5270]\ns2s_direct_tls_ports = [5270]", 2, "'s2s_direct_tls_ports' asks for a listener on [::]:5270"),
    ("s2s_ports = [5347]", 1, "'s2s_ports' asks for a listener on 127.0.0.1:5347 beside one on 0.0.0.0:5347"),
    ("\ncomponent_ports = [5269]", 2, "'component_ports' asks for a listener on 127.0.0.1:5269"),
    ("s2s_interfaces = [\"::1\",\n\"::1\"]", 2, "'s2s_interfaces' asks for a listener on [::1]:5269 beside one on"),
    ("s2s_interfaces = [\"0.0.0.0\",\n\"127.0.0.1\"]", 2, "but must leave each address and port to one listener"),
    ("s2s_outgoing_addresses = [\"h.example\"]", 1, "is \"h.example\", but must be a list of IP addresses of this"),
    ("s2s_outgoing_addresses = [\"0.0.0.0\"]", 1, "is \"0.0.0.0\", but must be a list of IP addresses of this"),
    ("s2s_interfaces = [\"localhost\"]", 1, "'s2s_interfaces' is \"localhost\", but must be a list of IP"),
    ("s2s_allow_private_addresses = [\"10.0.0.0/33\"]", 1, "must be true, false or a list of networks"),
    ("dns_servers = [\"resolver.example\"]", 1, "'dns_servers' is \"resolver.example\""),
    ("metrics_listen = \"127.0.0.1\"", 1, "'metrics_listen' is \"127.0.0.1\", but must be \"IP:PORT\""),
    ("metrics_listen = \"127.0.0.1:0\"", 1, "but must be \"IP:PORT\""),
    ("metrics_listen = 9", 1, "'metrics_listen' is 9, but must be"),
    ("use_ipv4 = false\nuse_ipv6 = false", 2, "'use_ipv4' and 'use_ipv6' are both false, so that nobody is reached"),
];

/// Lists of domains, and their keys.
const DOMAINS: &[(&str, usize, &str)] = &[
    ("s2s_secure_domains = [\"*\"]", 1, "'*' in 's2s_secure_domains': '*' alone is not an entry"),
    ("s2s_deny_domains = [\n\"a..b\"]", 2, "'a..b' in 's2s_deny_domains': this is not a domain name"),
    (
        "s2s_secure_domains = [\"A.example\"]\ns2s_insecure_domains = [\"a.example\"]",
        1,
        "'a.example' stands in both s2s_secure_domains and s2s_insecure_domains",
    ),
    ("s2s_pins = [\"p.example\"]", 1, "'s2s_pins' is a list, but must be a table of lists of \"sha256:\" and 64"),
    ("[s2s_pins]\n\"p.example\" = []", 2, "'s2s_pins' is a list, but must be a table of lists"),
    ("[s2s_pins]\n\"p.example\" = [\"sha256:00\"]", 2, "'s2s_pins' is \"sha256:00\", but must be"),
    ("[s2s_pins]\n\"*.p.example\" = [\"sha256:PIN\"]", 2, "'*.p.example' is not a domain"),
    ("[s2s_pins]\n\"P.example\" = [\"sha256:PIN\"]\n\"p.example\" = [\"sha256:PIN\"]", 3, "has two tables"),
    (
        "s2s_insecure_domains = [\"p.example\"]\ns2s_pins = {\"p.example\" = [\"sha256:PIN\"]}",
        1,
        "'p.example' stands in both s2s_pins and s2s_insecure_domains",
    ),
    ("s2s_deny_domains_file = \"no/such/list\"", 1, "'s2s_deny_domains_file': no/such/list: cannot be read"),
];

/// Secrets, and what stands in files.
const FILES: &[(&str, usize, &str)] = &[
    ("dialback_secret = \"fifteen bytes..\"", 1, "'dialback_secret' has 15 bytes, but a dialback secret has at"),
    ("dialback_secret = 7", 1, "'dialback_secret' is of the type integer, but must be a text"),
    ("dialback_secret_file = \"no/such/file\"", 1, "'dialback_secret_file': no/such/file: cannot be read"),
    ("dialback_secret = \"sixteen bytes...\"\ndialback_secret_file = \"x\"", 2, "exclude each other"),
    ("[host.\"o.example\"]\ncertificate = \"o.pem\"", 2, "'certificate' needs 'key' beside it"),
    ("[host.\"o.example\"]\ncomponent_secret = \"\"", 2, "'component_secret' is empty"),
    ("s2s_crl_policy = \"maybe\"", 1, "must be \"soft\" or \"hard\""),
    ("s2s_crl_policy = \"hard\"", 1, "'s2s_crl_policy' needs 's2s_crls' beside it"),
    ("s2s_crls = \"crl.pem\"", 1, "'s2s_crls' is \"crl.pem\", but must be a list of paths"),
    ("include = \"no/such/directory\"", 1, "'include': no/such/directory: cannot be read"),
];

/// Hosts and routes.
const TABLES: &[(&str, usize, &str)] = &[
    ("[route.\"p.example\"]\ntls = \"direct\"", 1, "the route of 'p.example' has no 'address'"),
    ("[route.\"p.example\"]\naddress = \"h.example:5269\"", 2, "'address' is \"h.example:5269\""),
    ("[route.\"p.example\"]\naddress = \"192.0.2.1\"\ntls = \"maybe\"", 3, "\"starttls\" or \"direct\""),
    ("[route.\"p.example\"]\nport = 5269", 2, "unknown key 'port'; allowed here: address, tls"),
    ("[route.\"*.b..d\"]\naddress = \"192.0.2.1\"", 1, "'*.b..d' is not a domain"),
    (
        "[route.\"*.p.example\"]\naddress = \"192.0.2.1\"\n[route.\"*.P.example\"]\naddress = \"192.0.2.1\"",
        3,
        "has two tables",
    ),
    ("[host.\"b..d\"]", 1, "'b..d' is not a domain"),
    ("[host.\"localhost\"]", 1, "'localhost' has one label only"),
    ("[host.\"M.example\"]", 3, "'m.example' has two tables"),
    ("[host.\"o.example\"]\ns2s_ports = [1]", 2, "'s2s_ports' may only stand at the top of the main file"),
];

/// What is switched off and demanded.
const MODULES: &[(&str, usize, &str)] = &[
    ("modules_disabled = [\"tsl\"]", 1, "'modules_disabled' is \"tsl\", but must be a list of \"s2s\", \"tls\""),
    (
        "modules_disabled = [\"dialback\", \"saslauth\"]",
        1,
        "host 'm.example' has no way to authenticate anybody: saslauth needs tls, and dialback is disabled too",
    ),
    ("\nmodules_disabled = [\"dialback\", \"tls\"]", 2, "host 'm.example' has no way to authenticate anybody"),
    (
        "s2s_secure_auth = true\nmodules_disabled = [\"tls\"]",
        2,
        "host 'm.example' has tls disabled, but s2s_secure_auth demands it",
    ),
    (
        "s2s_require_encryption = true\nmodules_disabled = [\"tls\"]",
        2,
        "host 'm.example' has tls disabled, but s2s_require_encryption demands it",
    ),
    (
        "s2s_secure_domains = [\"p.example\"]\n[host.\"o.example\"]\nmodules_disabled = [\"tls\"]",
        3,
        "host 'o.example' has tls disabled, but s2s_secure_domains demands it",
    ),
    (
        "s2s_pins = {\"p.example\" = [\"sha256:PIN\"]}\nmodules_disabled = [\"tls\"]",
        2,
        "host 'm.example' has tls disabled, but s2s_pins demands it",
    ),
];
