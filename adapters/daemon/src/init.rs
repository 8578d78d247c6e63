//! `s2sd init DOMAIN`: a configuration with the secure choices made, and what remains to be done.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use s2s_core::addr::Domain;

use crate::failure::Failure;
use crate::server::random;

/// The file that is written, in the current directory.
pub(crate) const FILE: &str = "s2sd.toml";

/// Writes [`FILE`] for `name` into `directory`, never over another, and returns what to tell the operator.
pub(crate) fn init(name: &str, directory: &Path) -> Result<String, Failure> {
    let domain = Domain::parse(name).map_err(|error| Failure::Usage(format!("'{}': {error}", name.escape_debug())))?;
    if !domain.is_qualified() {
        return Err(Failure::Usage(format!("'{domain}' has one label only: such names take no part in federation")));
    }
    let text = configuration(&domain, &hexadecimal(&random()?), &hexadecimal(&random()?));
    let path = directory.join(FILE);
    // Secrets are inside.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        let what = match error.kind() {
            io::ErrorKind::AlreadyExists => format!("{FILE} is never written over: move it away, or go elsewhere"),
            _ => format!("{FILE} cannot be written"),
        };
        Failure::Runtime(what, error)
    })?;
    Ok(next_steps(&domain))
}

/// The text of the configuration.
pub(crate) fn configuration(domain: &Domain, component_secret: &str, dialback_secret: &str) -> String {
    format!(
        r#"# The configuration of s2sd. Paths are relative to this file.

# Peers must show a valid certificate, and nothing travels in clear.
s2s_secure_auth = true
s2s_require_encryption = true

# Exceptions: these may prove themselves by dialback. "*.NAME" is all domains below NAME.
#s2s_insecure_domains = ["old.example"]

s2s_ports = [5269]
s2s_direct_tls_ports = [5270]

# {domain}.crt with {domain}.key, or {domain}/fullchain.pem with {domain}/privkey.pem.
certificates = "certs"

# The same on all servers of one domain.
dialback_secret = "{dialback_secret}"

# Where components connect (XEP-0114).
component_interfaces = ["127.0.0.1"]
component_ports = [5347]

# Keys of the server stand above this line, those of this host below it.
[host."{domain}"]
component_secret = "{component_secret}"
"#
    )
}

fn next_steps(domain: &Domain) -> String {
    format!(
        "Wrote {FILE}, readable by you only: it holds the secrets.

1. Publish in DNS, with the name of this machine for SERVER (its own A and AAAA records must exist):

   _xmpp-server._tcp.{domain}.   3600 IN SRV 5 0 5269 SERVER.
   _xmpps-server._tcp.{domain}.  3600 IN SRV 5 0 5270 SERVER.

2. Put a certificate that names {domain} where this server finds it:

   certs/{domain}.crt and certs/{domain}.key, in PEM, the chain after the certificate
   (or certs/{domain}/fullchain.pem and certs/{domain}/privkey.pem)

3. Start:

   s2sd serve --config {FILE}

4. Let your component connect to 127.0.0.1 port 5347 as {domain}, with the component_secret in {FILE}.
"
    )
}

/// Two small digits for each byte.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_written_is_a_configuration_with_the_secure_choices() {
        let home = tempfile::tempdir().expect("a directory");
        let told = init("M.example.", home.path()).expect("written");
        let path = home.path().join(FILE);
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = fs::read_to_string(&path).expect("readable");
        let settings = config::parse(&text, &path).expect(&text);
        let host = &settings.hosts[&Domain::parse("m.example").expect("a domain")];
        assert!(host.options.secure_auth && host.options.require_encryption && host.component_secret.is_some());
        assert!(settings.dialback_secret.is_some() && settings.warnings.is_empty());
        assert_eq!(settings.listen.direct.first().map(std::net::SocketAddr::port), Some(5270));
        for part in ["_xmpp-server._tcp.m.example.", "_xmpps-server._tcp.m.example.", "certs/m.example.crt", "serve"] {
            assert!(told.contains(part), "{part} is not in: {told}");
        }
    }

    #[test]
    fn nothing_is_ever_overwritten() {
        let home = tempfile::tempdir().expect("a directory");
        fs::write(home.path().join(FILE), "mine").expect("writable");
        let refused = init("m.example", home.path()).expect_err("it is there");
        assert!(matches!(refused, Failure::Runtime(..)));
        assert!(refused.to_string().starts_with("s2sd.toml is never written over: move it away"), "{refused}");
        assert_eq!(fs::read_to_string(home.path().join(FILE)).expect("readable"), "mine");
    }

    #[test]
    fn only_domains_that_can_federate_are_taken() {
        let home = tempfile::tempdir().expect("a directory");
        for name in ["", "localhost", "a b", "127.0.0.1"] {
            assert!(matches!(init(name, home.path()), Err(Failure::Usage(_))), "{name}");
        }
        assert!(!home.path().join(FILE).exists());
    }

    #[test]
    fn ops_001_names_that_would_be_configuration_or_paths_are_refused() {
        let home = tempfile::tempdir().expect("a directory");
        for name in [
            "m.example\"]\ns2s_secure_auth = false\n[host.\"n.example",
            "m.example\"",
            "[m.example]",
            "m.example}",
            "m.example\n",
            "../../etc/x",
            "m.example/../x",
            "m.example\0",
            ".",
        ] {
            assert!(matches!(init(name, home.path()), Err(Failure::Usage(_))), "{name:?}");
        }
        assert_eq!(fs::read_dir(home.path()).expect("a directory").count(), 0, "nothing is written");
    }
}
