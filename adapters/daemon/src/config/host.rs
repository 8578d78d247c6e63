//! What may be set globally and per host: policy, merged so that the host's value wins.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use s2s_core::addr::Domain;
use s2s_core::policy::{DomainList, HostOptions, Rule};
use s2s_core::tls::Version;
use toml::de::DeValue;

use crate::config::document::{Located, Position, Reader, Section};
use crate::config::error::{Error, Problem};
use crate::config::lists::Entries;
use crate::config::resolve;

/// The keys of one table that both the top and a host may have, as far as they are given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shared {
    secure_auth: Option<bool>,
    require_encryption: Option<bool>,
    secure_domains: Option<Entries>,
    insecure_domains: Option<Entries>,
    allow_domains: Option<Entries>,
    deny_domains: Option<Entries>,
    deny_file: Option<Entries>,
    dialback_to_verified: Option<bool>,
    modules_disabled: Option<Vec<Module>>,
    allow_anonymous: Option<bool>,
    tls_min_version: Option<Version>,
    /// The domains of `s2s_pins`, which stand at the top only.
    pinned: BTreeMap<Domain, Position>,
    /// Where everything stands that was given, what stands at the top only included.
    positions: BTreeMap<&'static str, Position>,
}

/// An option by which something was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decider {
    /// Its name, or a word where no option decides.
    pub(crate) option: &'static str,
    /// Where it stands; `None`: nowhere, so that its default decides.
    pub(crate) position: Option<Position>,
}

/// What `modules_disabled` may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Module {
    S2s,
    Tls,
    External,
    Dialback,
    /// Known, and off in this version whether it is named or not.
    NotBuilt,
}

const SWITCH: &str = "true or false";
const DOMAINS: &str = "a list of domains, each \"NAME\" or \"*.NAME\"";
const MODULES: &str = "a list of \"s2s\", \"tls\", \"saslauth\", \"dialback\", \"s2s_bidi\", \"smacks\"";

impl Shared {
    /// Reads them from one table.
    pub(crate) fn read<'t>(reader: &mut Reader<'t>, section: &Section<'t>) -> Self {
        let modules = reader.list(section, "modules_disabled", MODULES, |value| module(value.as_str()?));
        let version = reader.value(section, "tls_min_version", "\"1.2\" or \"1.3\"", |value| match value.as_str()? {
            "1.2" => Some(Version::Tls12),
            "1.3" => Some(Version::Tls13),
            _ => None,
        });
        Self {
            secure_auth: switch(reader, section, "s2s_secure_auth"),
            require_encryption: switch(reader, section, "s2s_require_encryption"),
            secure_domains: domains(reader, section, "s2s_secure_domains"),
            insecure_domains: domains(reader, section, "s2s_insecure_domains"),
            allow_domains: domains(reader, section, "s2s_allow_domains"),
            deny_domains: domains(reader, section, "s2s_deny_domains"),
            deny_file: deny_file(reader, section),
            dialback_to_verified: switch(reader, section, "s2s_dialback_to_verified"),
            modules_disabled: modules.map(|modules| modules.into_iter().map(|module| module.value).collect()),
            allow_anonymous: switch(reader, section, "allow_anonymous_s2s"),
            tls_min_version: version.map(|version| version.value),
            pinned: BTreeMap::new(),
            positions: reader.positions(section),
        }
    }

    /// These values, and keys that are demanded of `pinned`.
    pub(crate) fn with_pinned(self, pinned: BTreeMap<Domain, Position>) -> Self {
        Self { pinned, ..self }
    }

    /// These values, and those of `global` where there are none.
    pub(crate) fn over(self, global: &Self) -> Self {
        let global = global.clone();
        let mut positions = global.positions;
        positions.extend(self.positions);
        Self {
            secure_auth: self.secure_auth.or(global.secure_auth),
            require_encryption: self.require_encryption.or(global.require_encryption),
            secure_domains: self.secure_domains.or(global.secure_domains),
            insecure_domains: self.insecure_domains.or(global.insecure_domains),
            allow_domains: self.allow_domains.or(global.allow_domains),
            deny_domains: self.deny_domains.or(global.deny_domains),
            deny_file: self.deny_file.or(global.deny_file),
            dialback_to_verified: self.dialback_to_verified.or(global.dialback_to_verified),
            modules_disabled: self.modules_disabled.or(global.modules_disabled),
            allow_anonymous: self.allow_anonymous.or(global.allow_anonymous),
            tls_min_version: self.tls_min_version.or(global.tls_min_version),
            pinned: global.pinned,
            positions,
        }
    }

    /// Refuses an entry that both demands and waives certificates.
    pub(crate) fn check(&self, reader: &mut Reader<'_>) {
        let Some(insecure) = &self.insecure_domains else { return };
        if let Some((entry, position)) = self.secure_domains.as_ref().and_then(|secure| secure.common(insecure)) {
            reader.problems.push(Error::at(&position, Problem::Contradiction(entry)));
        }
        for domain in self.pinned.keys() {
            if let Some(position) = insecure.find_exact(domain) {
                reader.problems.push(Error::at(&position, Problem::PinnedInsecure(domain.to_string())));
            }
        }
    }

    /// Refuses what leaves `host` no way to do what is demanded of it.
    pub(crate) fn check_modules(&self, host: &str, options: &HostOptions, reader: &mut Reader<'_>) {
        let Some(position) = self.positions.get("modules_disabled").filter(|_| !options.s2s_disabled) else { return };
        let host = host.to_owned();
        let demands = [
            ("s2s_require_encryption", options.require_encryption),
            ("s2s_secure_auth", options.secure_auth),
            ("s2s_secure_domains", !options.secure_domains.is_empty()),
            ("s2s_pins", !options.pinned_domains.is_empty()),
        ];
        let demand = demands.into_iter().find(|(_, demanded)| options.tls_disabled && *demanded);
        if let Some((key, _)) = demand {
            return reader.problems.push(Error::at(position, Problem::TlsDisabled { host, key }));
        }
        if options.dialback_disabled && (options.external_disabled || options.tls_disabled) {
            reader.problems.push(Error::at(position, Problem::NoMethod(host)));
        }
    }

    /// Which option it is that `rule` means for `remote`, and where it stands.
    pub(crate) fn decider(&self, rule: Rule, remote: &Domain) -> Decider {
        let find = |entries: &Option<Entries>| entries.as_ref().and_then(|entries| entries.find(remote));
        let given = |option| Decider { option, position: self.positions.get(option).cloned() };
        let option = rule.option();
        match rule {
            Rule::Pins => Decider { option, position: self.pinned.get(remote).cloned() },
            Rule::SecureDomains => Decider { option, position: find(&self.secure_domains) },
            Rule::InsecureDomains => Decider { option, position: find(&self.insecure_domains) },
            Rule::DenyDomains => match find(&self.deny_domains) {
                None => Decider { option: "s2s_deny_domains_file", position: find(&self.deny_file) },
                position => Decider { option, position },
            },
            Rule::Certificates if self.positions.contains_key("certificate") => given("certificate"),
            // What was switched off in so many words decides more than what was never said.
            Rule::Default if self.secure_auth == Some(false) => given("s2s_secure_auth"),
            Rule::Default if self.require_encryption == Some(false) => given("s2s_require_encryption"),
            _ => given(option),
        }
    }

    /// Where `key` has its value, if it was given.
    pub(crate) fn position(&self, key: &str) -> Option<&Position> {
        self.positions.get(key)
    }

    /// The policy of a host with these values.
    pub(crate) fn options(&self, anonymous: bool) -> HostOptions {
        let list = |entries: &Option<Entries>| entries.as_ref().map(Entries::list).unwrap_or_default();
        let mut deny_domains = self.deny_domains.clone().unwrap_or_default();
        if let Some(more) = &self.deny_file {
            deny_domains = deny_domains.with(more);
        }
        let mut pinned_domains = DomainList::default();
        for domain in self.pinned.keys() {
            // A domain is an entry.
            let _ = pinned_domains.insert(domain.as_str());
        }
        let disabled = |module| self.modules_disabled.as_ref().is_some_and(|modules| modules.contains(&module));
        let defaults = HostOptions::default();
        HostOptions {
            secure_auth: self.secure_auth.unwrap_or(defaults.secure_auth),
            require_encryption: self.require_encryption.unwrap_or(defaults.require_encryption),
            secure_domains: list(&self.secure_domains),
            pinned_domains,
            insecure_domains: list(&self.insecure_domains),
            allow_domains: list(&self.allow_domains),
            deny_domains: deny_domains.list(),
            dialback_to_verified: self.dialback_to_verified.unwrap_or(defaults.dialback_to_verified),
            s2s_disabled: disabled(Module::S2s),
            tls_disabled: disabled(Module::Tls),
            external_disabled: disabled(Module::External),
            dialback_disabled: disabled(Module::Dialback),
            tls_min_version: self.tls_min_version(),
            anonymous,
            allow_anonymous: self.allow_anonymous.unwrap_or(defaults.allow_anonymous),
        }
    }

    /// The oldest TLS version that is spoken.
    pub(crate) fn tls_min_version(&self) -> Version {
        self.tls_min_version.unwrap_or(Version::Tls12)
    }
}

/// Which entries of lists decide for no host at all.
#[derive(Debug, Default)]
pub(crate) struct Idle {
    by_entry: BTreeMap<(Position, String), Option<&'static str>>,
}

impl Idle {
    /// Takes in the lists of one host.
    pub(crate) fn host(&mut self, shared: &Shared) {
        let none = Entries::default();
        let secure = shared.secure_domains.as_ref().unwrap_or(&none);
        let insecure = shared.insecure_domains.as_ref().unwrap_or(&none);
        let allow = shared.allow_domains.as_ref().unwrap_or(&none);
        let deny = shared.deny_domains.as_ref().unwrap_or(&none);
        let deny_file = shared.deny_file.as_ref().unwrap_or(&none);
        let strict = shared.secure_auth.unwrap_or_default();
        let denied = |own: &Entries| {
            [
                (own.covered_by(deny), "s2s_deny_domains has it and wins"),
                (own.covered_by(deny_file), "s2s_deny_domains_file has it and wins"),
            ]
        };
        let excluded = |own: &Entries| {
            let not_allowed = if allow.is_empty() { Vec::new() } else { own.apart_from(allow) };
            let [by_list, by_file] = denied(own);
            vec![
                (own.exact(|domain| !domain.is_qualified()), "a name of one label never federates"),
                by_list,
                by_file,
                (not_allowed, "s2s_allow_domains does not have it"),
            ]
        };

        let mut redundant = excluded(secure);
        let is_pinned = |domain: &Domain| shared.pinned.contains_key(domain);
        redundant.push((secure.exact(is_pinned), "s2s_pins has it and demands a certificate already"));
        if strict {
            redundant.push((secure.apart_from(insecure), "s2s_secure_auth is on and demands a certificate already"));
        }
        self.list(secure, &redundant);
        let mut futile = excluded(insecure);
        futile.push(if strict {
            (insecure.covered_by(secure), "s2s_secure_domains has it and wins")
        } else {
            (insecure.all(), "s2s_secure_auth is off, so that nothing is to be waived")
        });
        self.list(insecure, &futile);
        self.list(allow, &denied(allow));
    }

    /// One line for each entry that never decides.
    pub(crate) fn warnings(self) -> impl Iterator<Item = (Position, String)> {
        self.by_entry.into_iter().filter_map(|((position, entry), why)| {
            Some((position, format!("the entry '{entry}' never decides: {}", why?)))
        })
    }

    /// Takes in one list, and which of its entries decide nothing for which reason. The first reason counts.
    fn list(&mut self, all: &Entries, idle: &[(Vec<Located<String>>, &'static str)]) {
        for entry in all.all() {
            let is_it = |other: &Located<String>| other.line == entry.line && other.value == entry.value;
            let why = idle.iter().find(|(entries, _)| entries.iter().any(is_it)).map(|(_, why)| *why);
            let position = Position { file: all.file().to_owned(), line: entry.line };
            let before = self.by_entry.entry((position, entry.value)).or_insert(why);
            if why.is_none() {
                *before = None;
            }
        }
    }
}

/// A switch.
pub(crate) fn switch<'t>(reader: &mut Reader<'t>, section: &Section<'t>, key: &'static str) -> Option<bool> {
    reader.value(section, key, SWITCH, DeValue::as_bool).map(|switch| switch.value)
}

fn domains<'t>(reader: &mut Reader<'t>, section: &Section<'t>, key: &'static str) -> Option<Entries> {
    let mut entries = Entries::new(reader.file());
    for entry in reader.list(section, key, DOMAINS, DeValue::as_str)? {
        if let Err(error) = entries.insert(entry.value, entry.line) {
            reader.problem(entry.line, Problem::Entry { key, entry: entry.value.to_owned(), error });
        }
    }
    Some(entries)
}

/// The entries of the file beside the list of those that may not federate.
fn deny_file<'t>(reader: &mut Reader<'t>, section: &Section<'t>) -> Option<Entries> {
    let key = "s2s_deny_domains_file";
    let file = reader.value(section, key, "a path", |value| value.as_str().filter(|path| !path.is_empty()))?;
    let path: PathBuf = resolve(reader.file(), file.value);
    reader.sources.push(path.clone());
    match fs::read_to_string(&path) {
        Ok(text) => {
            let (entries, problems) = Entries::of_file(&path, key, &text);
            reader.problems.extend(problems);
            Some(entries)
        }
        Err(error) => {
            reader.problem(file.line, Problem::File { key, path, error: error.kind() });
            None
        }
    }
}

fn module(name: &str) -> Option<Module> {
    match name {
        "s2s" => Some(Module::S2s),
        "tls" => Some(Module::Tls),
        "saslauth" => Some(Module::External),
        "dialback" => Some(Module::Dialback),
        "s2s_bidi" | "smacks" => Some(Module::NotBuilt),
        _ => None,
    }
}
