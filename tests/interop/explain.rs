//! `s2sd explain` foretells what comes of a domain, and then it comes: each configuration is explained, what is said is
//! compared with what must be said, and then real servers meet the very program that runs with it.

use std::time::Instant;

use serde_json::{Value, json};

use crate::cells::First;
use crate::contact::{Contact, Ours, Scene};
use crate::failure::{Failure, While, fail};
use crate::lab::Lab;
use crate::peers::{ECHO, LOGGED, Policy, Software};
use crate::report::{Measured, Row};
use crate::s2sd::text;
use crate::talk::{Became, contact};

/// What the rows have in their names.
const NAME: &str = "explain";

/// What is said about one direction.
#[derive(Clone, Copy)]
struct Told {
    encryption: &'static str,
    certificate: &'static str,
    /// Empty where nothing passes, and then `reason` says why.
    methods: &'static [&'static str],
    reason: Option<&'static str>,
    decided_by: &'static str,
    /// How the line begins that decides.
    line: &'static str,
}

/// What comes of the first stanza of one direction.
#[derive(Clone, Copy)]
enum Comes {
    /// It arrives, its direction proved so.
    By { method: &'static str, encrypted: bool },
    /// Our policy refuses, for this reason.
    Refused(&'static str),
    /// The other side does not go on with what we demand.
    TheyLeave,
}

/// A configuration, the peer that it meets, and both directions: ours first.
struct Case {
    name: &'static str,
    theirs: Policy,
    ours: Ours,
    told: [Told; 2],
    comes: [Comes; 2],
}

const ALL_IN: &[&str] = &["external", "certificate", "dialback"];
const ALL_OUT: &[&str] = &["external", "dialback"];

/// Everything may come, because of the line that says that nothing is demanded.
const fn open(methods: &'static [&'static str]) -> Told {
    Told {
        encryption: "optional",
        certificate: "optional",
        methods,
        reason: None,
        decided_by: "s2s_secure_auth",
        line: "s2s_secure_auth = false",
    }
}

/// Certificates are demanded.
const fn strict(methods: &'static [&'static str], decided_by: &'static str, line: &'static str) -> Told {
    Told { encryption: "required", certificate: "required", methods, reason: None, decided_by, line }
}

impl Told {
    const fn encrypted(self) -> Self {
        Self { encryption: "required", ..self }
    }

    const fn because(self, decided_by: &'static str, line: &'static str) -> Self {
        Self { decided_by, line, ..self }
    }

    const fn refused(self, reason: &'static str) -> Self {
        Self { methods: &[], reason: Some(reason), ..self }
    }

    /// As it stands in the answer.
    fn object(&self, file: &str, configuration: &str) -> Result<Value, Failure> {
        let Some(line) = configuration.lines().position(|line| line.trim().starts_with(self.line)) else {
            return fail(format!("no line of the configuration begins with {}", self.line));
        };
        Ok(json!({
            "admitted": self.reason.is_none(),
            "reason": self.reason,
            "encryption": self.encryption,
            "certificate": self.certificate,
            "methods": self.methods,
            "decided_by": self.decided_by,
            "file": file,
            "line": line + 1,
        }))
    }
}

/// Runs the rows whose description `wanted` accepts.
pub(crate) fn run(lab: &mut Lab, wanted: impl Fn(&str) -> bool) -> Vec<Row> {
    let mut rows = Vec::new();
    for software in Software::ALL {
        for case in demands(software).into_iter().chain(admissions()) {
            let name = format!("{NAME}: {}", case.name);
            if wanted(&format!("{} {name}", software.name())) {
                let (policy, ours) = (case.theirs, case.ours.clone());
                let contact = Contact { name, software, policy, component: ECHO, ours, first: First::We };
                let row = contact.row(lab, |scene| replay(&case, scene));
                rows.push(Row { first: "both".to_owned(), ..row });
            }
        }
    }
    rows
}

/// What is demanded of streams and certificates.
fn demands(software: Software) -> Vec<Case> {
    let lists = |list: &str| format!("{list} = [\n  \"elsewhere.test\",\n  \"@REMOTE@\",\n]");
    let strictly = || Ours { strict: true, ..Ours::default() };
    let by = |method| Comes::By { method, encrypted: true };
    let secure_auth = |methods| strict(methods, "s2s_secure_auth", "s2s_secure_auth = true");
    let listed = |methods| strict(methods, "s2s_secure_domains", "\"echo.");
    let exempted = |methods| open(methods).because("s2s_insecure_domains", "\"echo.");
    let encrypted =
        |methods| open(methods).encrypted().because("s2s_require_encryption", "s2s_require_encryption = true");
    let self_signed = Comes::Refused("cert-self-signed");
    // Prosody sends its key all the same; ejabberd sees that TLS is required, and goes.
    let in_clear = if software == Software::Prosody { Comes::Refused("encryption-required") } else { Comes::TheyLeave };
    vec![
        Case {
            name: "nothing is demanded",
            theirs: Policy::Lax,
            ours: Ours::default(),
            told: [open(ALL_OUT), open(ALL_IN)],
            comes: [by("external"), by("dialback")],
        },
        Case {
            name: "s2s_secure_auth, their certificate is good",
            theirs: Policy::Secure,
            ours: strictly(),
            told: [secure_auth(&["external"]), secure_auth(&["external", "certificate"])],
            comes: [by("external"), by("external")],
        },
        Case {
            name: "s2s_secure_auth, their certificate is bad",
            theirs: Policy::Lax,
            ours: strictly(),
            told: [secure_auth(&["external"]), secure_auth(&["external", "certificate"])],
            comes: [self_signed, self_signed],
        },
        Case {
            name: "s2s_insecure_domains",
            theirs: Policy::Lax,
            ours: Ours { top: lists("s2s_insecure_domains"), ..strictly() },
            told: [exempted(ALL_OUT), exempted(ALL_IN)],
            comes: [by("external"), by("dialback")],
        },
        Case {
            name: "s2s_secure_domains",
            theirs: Policy::Lax,
            ours: Ours { top: lists("s2s_secure_domains"), ..Ours::default() },
            told: [listed(&["external"]), listed(&["external", "certificate"])],
            comes: [self_signed, self_signed],
        },
        Case {
            name: "s2s_require_encryption",
            theirs: Policy::Plain,
            ours: Ours { encrypted: true, ..Ours::default() },
            told: [encrypted(ALL_OUT), encrypted(ALL_IN)],
            comes: [Comes::Refused("starttls-not-offered"), in_clear],
        },
    ]
}

/// Who takes part at all, and in what way.
fn admissions() -> Vec<Case> {
    let with = |line: &str| Ours { top: line.to_owned(), ..Ours::default() };
    let denied = |methods| open(methods).because("s2s_deny_domains", "s2s_deny_domains").refused("domain-denied");
    let in_clear = Told { encryption: "none", ..open(&["dialback"]).because("modules_disabled", "modules_disabled") };
    let by_key = Comes::By { method: "dialback", encrypted: false };
    vec![
        Case {
            name: "s2s_deny_domains",
            theirs: Policy::Secure,
            ours: with("s2s_deny_domains = [\"*.interop.test\"]"),
            told: [denied(ALL_OUT), denied(ALL_IN)],
            comes: [Comes::Refused("domain-denied"); 2],
        },
        Case {
            name: "modules_disabled",
            theirs: Policy::Plain,
            ours: with("modules_disabled = [\"tls\"]"),
            told: [in_clear; 2],
            comes: [by_key; 2],
        },
        Case {
            name: "anonymous",
            theirs: Policy::Secure,
            ours: Ours { below: "anonymous = true".to_owned(), ..Ours::default() },
            told: [open(&[]).because("anonymous", "anonymous = true").refused("anonymous-host"), open(ALL_IN)],
            comes: [Comes::Refused("anonymous-host"), Comes::By { method: "external", encrypted: true }],
        },
    ]
}

fn replay(case: &Case, scene: Scene<'_>) -> Result<Measured, Failure> {
    foretold(case, &scene)?;
    let mut seen = Vec::new();
    let mut first = None;
    for ((told, comes), who) in case.told.iter().zip(&case.comes).zip(First::BOTH) {
        let (from, to) = scene.order(who);
        let (became, took) = contact(from, to).when(who.name())?;
        seen.push(came(&scene, told, comes, who, &became).when(format!("{}: {became:?}", who.name()))?);
        first.get_or_insert(took);
    }
    scene.end()?;
    Ok(Scene::measured(first.unwrap_or_default(), &seen.join("/")))
}

/// What is said before anybody has spoken.
fn foretold(case: &Case, scene: &Scene<'_>) -> Result<(), Failure> {
    let file = scene.daemon.config.display().to_string();
    let configuration = std::fs::read_to_string(&file)?;
    let said = scene.daemon.explain(&scene.theirs.domain)?;
    let [out, inbound] = [&case.told[0], &case.told[1]].map(|told| told.object(&file, &configuration));
    let expected = json!({
        "domain": scene.theirs.domain,
        "hosts": [{ "local": scene.ours.domain, "out": out?, "in": inbound? }],
        "route": null,
    });
    if said == expected { Ok(()) } else { fail(format!("explain says {said}, and not {expected}")) }
}

/// What comes must be what was said. Returns how the direction was proved, or why it was refused.
fn came(scene: &Scene<'_>, told: &Told, comes: &Comes, who: First, became: &Became) -> Result<String, Failure> {
    let find = |matches: &dyn Fn(&Value) -> bool| {
        scene.daemon.wait_for(&scene.theirs.domain, who.direction(), Instant::now() + LOGGED, matches)
    };
    match (comes, became) {
        (Comes::By { method, encrypted }, Became::Arrived(_)) => {
            let Some(up) = find(&|event| text(event, "event") == "peer-up") else { return fail("no stream is up") };
            let secured = text(&up, "tls").starts_with("TLSv1.");
            if text(&up, "method") != *method || secured != *encrypted {
                return fail(format!("not by {method}, encrypted {encrypted}: {up}"));
            }
            let promised = match told.encryption {
                "required" => secured,
                "none" => !secured,
                _ => true,
            };
            if !promised || !told.methods.contains(method) {
                return fail(format!("that is not what explain has said: {up}"));
            }
            Ok((*method).to_owned())
        }
        (Comes::Refused(reason), Became::CameBack(_)) => {
            let Some(event) = find(&|event| text(event, "reason") == *reason) else {
                return fail(format!("{reason} is not in our log"));
            };
            if told.reason.is_some_and(|told| told != *reason) || text(&event, "decided_by") != told.decided_by {
                return fail(format!("that is not what explain has said: {event}"));
            }
            Ok((*reason).to_owned())
        }
        (Comes::TheyLeave, Became::CameBack(_)) if told.encryption == "required" => Ok("they leave".to_owned()),
        _ => fail("something else must come"),
    }
}
