//! `s2sd explain DOMAIN`: how streams with a domain are treated, and which line of which file decides that.

use std::fmt::Write;
use std::path::Path;

use s2s_core::addr::Domain;
use s2s_core::auth::Method;
use s2s_core::dns::Security;
use s2s_core::node::{Direction, nearest_above};
use s2s_core::policy::{self, Explanation, Rule};
use s2s_core::reason::Reason;
use serde_json::{Value, json};

use crate::certificates;
use crate::config::{self, Decider, Position, Settings};
use crate::failure::Failure;

/// What is said of one pair in one direction.
struct Entry<'s> {
    local: &'s Domain,
    direction: Direction,
    explanation: Explanation,
    decider: Decider,
}

/// The explanation for `name` by the configuration in `file`.
pub(crate) fn explain(file: &Path, name: &str, json: bool) -> Result<String, Failure> {
    let remote = Domain::parse(name).map_err(|error| Failure::Usage(format!("'{}': {error}", name.escape_debug())))?;
    let settings = config::load(file)?;
    if settings.hosts.contains_key(&remote) {
        let text = format!("{remote} is served here: what our hosts send to each other never leaves");
        return Err(Failure::Usage(text));
    }
    let certified = certificates::load(&settings)?.hosts;
    let entries = settings.hosts.iter().flat_map(|(local, host)| {
        let remote = &remote;
        let certificate = certified.contains(local);
        [Direction::Inbound, Direction::Outbound].map(|direction| {
            let explanation = policy::explain(&host.options, remote, direction, certificate);
            let decider = host.shared.decider(explanation.decided_by, remote);
            Entry { local, direction, explanation, decider }
        })
    });
    let entries: Vec<_> = entries.collect();
    Ok(if json { format!("{}\n", object(&settings, &remote, &entries)) } else { text(&settings, &remote, &entries) })
}

fn object(settings: &Settings, remote: &Domain, entries: &[Entry<'_>]) -> Value {
    let mut hosts = Vec::<Value>::new();
    for entry in entries {
        let value = entry.object();
        let key = entry.direction.as_str();
        match hosts.last_mut().filter(|host| host["local"] == entry.local.as_str()) {
            Some(host) => host[key] = value,
            None => hosts.push(json!({ "local": entry.local.as_str(), key: value })),
        }
    }
    let route = route(settings, remote).map(|(address, tls, at)| {
        json!({ "address": address, "tls": tls, "file": at.file.display().to_string(), "line": at.line })
    });
    json!({ "domain": remote.as_str(), "hosts": hosts, "route": route })
}

fn text(settings: &Settings, remote: &Domain, entries: &[Entry<'_>]) -> String {
    let mut text = String::new();
    for entry in entries {
        let (from, to) = match entry.direction {
            Direction::Inbound => (remote, entry.local),
            Direction::Outbound => (entry.local, remote),
        };
        // Writing to a text cannot fail.
        let _ = writeln!(text, "{from} -> {to}\n    {}\n    because of {}", entry.verdict(), entry.cause());
    }
    if let Some((address, tls, at)) = route(settings, remote) {
        let _ = writeln!(text, "{remote} is reached at {address} ({tls}), {}:{}", at.file.display(), at.line);
    }
    text
}

/// The static route of `remote`: address, how streams begin there, and where it stands.
fn route<'s>(settings: &'s Settings, remote: &Domain) -> Option<(String, &'static str, &'s Position)> {
    let route = settings.routes.get(remote).or_else(|| nearest_above(&settings.routes_below, remote))?;
    let tls = match route.to.security {
        Security::StartTls => "starttls",
        Security::DirectTls => "direct",
    };
    Some((route.to.addr.to_string(), tls, &route.position))
}

impl Entry<'_> {
    fn object(&self) -> Value {
        let Explanation { admitted, encryption, certificate_demanded, methods, .. } = &self.explanation;
        let position = self.decider.position.as_ref();
        json!({
            "admitted": admitted.is_ok(),
            "reason": admitted.err().map(Reason::code),
            "encryption": encryption.as_str(),
            "certificate": if *certificate_demanded { "required" } else { "optional" },
            "methods": methods.iter().map(|method| method.as_str()).collect::<Vec<_>>(),
            "decided_by": self.decider.option,
            "file": position.map_or_else(|| "default".into(), |at| Value::from(at.file.display().to_string())),
            "line": position.map_or_else(|| "default".into(), |at| Value::from(at.line)),
        })
    }

    fn verdict(&self) -> String {
        let Explanation { admitted, encryption, certificate_demanded, methods, .. } = &self.explanation;
        if let Err(reason) = admitted {
            return format!("refused: {reason}");
        }
        let methods: Vec<_> = methods.iter().copied().map(Method::as_str).collect();
        let certificate = if *certificate_demanded { "required" } else { "optional" };
        let encryption = encryption.as_str();
        format!("encryption {encryption}, valid certificate {certificate}, proved by {}", methods.join(", then "))
    }

    fn cause(&self) -> String {
        match &self.decider.position {
            Some(at) => format!("{}, {}:{}", self.decider.option, at.file.display(), at.line),
            None if self.decider.option == Rule::Default.option() => "the defaults".to_owned(),
            None if self.decider.option == Rule::BuiltIn.option() => "a rule that no option changes".to_owned(),
            None => format!("{}, by default", self.decider.option),
        }
    }
}
