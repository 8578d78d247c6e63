//! The files that the program is started with.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::cases::setup::{HOSTS, authority, valid};
use crate::cases::{Input, Step};

/// The secret of both components.
pub(crate) const SECRET: &str = "a secret of components";

/// Seconds from which on a wait is about the timeout of a negotiation; before, about that of an attempt.
const NEGOTIATION_WAITS: u64 = 30;

/// Timeouts for inputs that wait: that of a negotiation is 6 s in place of 90, that of an attempt 2 s in place of 10.
const IMPATIENCE: &str = "s2s_timeout = 6\ns2s_attempt_timeout = 2\n";

/// How long a wait of so many seconds takes with these timeouts.
pub(super) fn shortened(seconds: u64) -> Duration {
    Duration::from_secs(seconds) / if seconds < NEGOTIATION_WAITS { 5 } else { 15 }
}

/// What of the configuration is peculiar to `input`.
pub(super) fn options(input: &Input) -> Result<String, String> {
    let mut text = String::new();
    if input.steps.iter().any(|step| matches!(step, Step::Wait(_))) {
        text.push_str(IMPATIENCE);
    }
    let mut modules = Vec::new();
    for (name, value) in &input.options {
        let line = match (name.as_str(), value.as_str()) {
            ("no_dialback" | "no_tls" | "no_external", "") => {
                modules.push(match name.as_str() {
                    "no_dialback" => "dialback",
                    "no_tls" => "tls",
                    _ => "saslauth",
                });
                continue;
            }
            ("secure_auth" | "require_encryption" | "dialback_to_verified", "") => format!("s2s_{name} = true"),
            ("secure_domains" | "insecure_domains" | "allow_domains" | "deny_domains", _) => {
                format!("s2s_{name} = {:?}", value.split(' ').collect::<Vec<_>>())
            }
            ("stanza_bytes", _) => format!("s2s_stanza_size_limit = {value}"),
            _ => return Err(format!("the program has no option {name} {value}")),
        };
        let _ = writeln!(text, "{line}");
    }
    if !modules.is_empty() {
        let _ = writeln!(text, "modules_disabled = {modules:?}");
    }
    Ok(text)
}

/// Writes everything that the program reads into `home`, and asks it to use that DNS server.
pub(super) fn write(home: &Path, options: &str, dns: SocketAddr) -> io::Result<()> {
    let mut text = format!(
        r#"s2s_interfaces = ["127.0.0.1"]
s2s_ports = [0]
s2s_direct_tls_ports = [0]
component_ports = [0]
cafile = "ca.pem"
s2s_allow_private_addresses = true
dns_servers = ["{dns}"]
dialback_secret = "a secret of twenty-six bytes"
log_format = "json"
{options}"#
    );
    fs::create_dir_all(home.join("certs"))?;
    for host in HOSTS {
        let _ = write!(text, "[host.\"{host}\"]\ncomponent_secret = \"{SECRET}\"\n");
        let identity = valid(host);
        let chain: String = identity.chain.iter().map(|der| pem("CERTIFICATE", der)).collect();
        fs::write(home.join(format!("certs/{host}.crt")), chain)?;
        fs::write(home.join(format!("certs/{host}.key")), pem("PRIVATE KEY", &identity.key))?;
    }
    // All attackers come from one address, one after the other, and some hundreds of them in a second.
    text.push_str("[limits]\n");
    for rate in ["connection_rate_per_address", "handshake_rate_per_address", "handshake_rate"] {
        let _ = writeln!(text, "{rate} = 10000");
    }
    fs::write(home.join("ca.pem"), pem("CERTIFICATE", authority().der()))?;
    fs::write(home.join("s2sd.toml"), text)
}

/// The textual form of [RFC 7468](https://www.rfc-editor.org/rfc/rfc7468).
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let lines = encoded.as_bytes().chunks(64).map(String::from_utf8_lossy);
    let body: String = lines.map(|line| format!("{line}\n")).collect();
    format!("-----BEGIN {label}-----\n{body}-----END {label}-----\n")
}
