//! The log: one structured line for each event, for people or for programs.
//!
//! A [`Record`] is made of every event of a node or hub that is worth a line. What a peer wrote is escaped and cut
//! when the record is made, so that nothing after it has to care.

use std::fmt;
use std::mem;
use std::net::SocketAddr;

use s2s_core::addr::Domain;
use s2s_core::auth::Method;
use s2s_core::component;
use s2s_core::machine::ConnId;
use s2s_core::node::{self, Direction, LinkInfo};
use s2s_core::policy::rule_behind;
use s2s_core::reason::Reason;
use s2s_core::tls::Version;
use tracing::field::{self, Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::config::{LogFormat, LogLevel, Settings};
use crate::init::hexadecimal;

/// Characters of a peer's text that are kept.
const DETAIL_CHARACTERS: usize = 256;

/// What one line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// How bad it is.
    pub(crate) level: Level,
    /// What happened: a stable word.
    pub(crate) event: &'static str,
    /// Why.
    pub(crate) reason: Option<Reason>,
    /// The option by which our policy decided so.
    pub(crate) decided_by: Option<&'static str>,
    /// Our domain.
    pub(crate) local: Option<Domain>,
    /// The peer's domain.
    pub(crate) remote: Option<Domain>,
    /// Who opened the stream.
    pub(crate) direction: Option<Direction>,
    /// The node, counted from 1, where there are several.
    pub(crate) node: Option<usize>,
    /// The connection. Each node, and the hub, has numbers of its own.
    pub(crate) link: Option<ConnId>,
    /// Its other end.
    pub(crate) addr: Option<SocketAddr>,
    /// How the pair was proved.
    pub(crate) method: Option<Method>,
    /// What protects the connection.
    pub(crate) tls: Option<(Version, &'static str)>,
    /// SHA-256 of the certificate that the peer showed, as `openssl x509 -fingerprint -sha256` shows it with colons.
    pub(crate) certificate: Option<[u8; 32]>,
    /// More, escaped and bounded.
    pub(crate) detail: Option<String>,
}

impl Record {
    const fn new(level: Level, event: &'static str) -> Self {
        Self {
            level,
            event,
            reason: None,
            decided_by: None,
            local: None,
            remote: None,
            direction: None,
            node: None,
            link: None,
            addr: None,
            method: None,
            tls: None,
            certificate: None,
            detail: None,
        }
    }

    /// The line for an event of a node. Stanzas that are delivered have none.
    pub(crate) fn of_node(event: &node::Event) -> Option<Self> {
        Some(match event {
            node::Event::PeerUp { pair, by, link } => Self {
                local: Some(pair.local.clone()),
                remote: Some(pair.remote.clone()),
                method: Some(*by),
                ..Self::new(Level::INFO, "peer-up").on(link)
            },
            node::Event::CertificateChanged { pair, link, before } => Self {
                local: Some(pair.local.clone()),
                remote: Some(pair.remote.clone()),
                detail: Some(format!("the one before was {}", hexadecimal(before))),
                ..Self::new(Level::WARN, "certificate-changed").on(link)
            },
            node::Event::PeerDown { pair, direction, reason, conn } => Self {
                local: Some(pair.local.clone()),
                remote: Some(pair.remote.clone()),
                direction: Some(*direction),
                reason: Some(*reason),
                link: Some(*conn),
                ..Self::new(Level::INFO, "peer-down")
            },
            node::Event::Refused { local, remote, link, direction, reason, detail } => {
                let record = Self::new(Level::WARN, "refused");
                let record = link.iter().fold(record, Self::on);
                Self {
                    local: local.clone(),
                    remote: remote.clone(),
                    direction: Some(*direction),
                    reason: Some(*reason),
                    detail: printable(detail),
                    ..record
                }
            }
            node::Event::Undeliverable { pair, reason, .. } => Self {
                local: Some(pair.local.clone()),
                remote: Some(pair.remote.clone()),
                direction: Some(Direction::Outbound),
                reason: Some(*reason),
                ..Self::new(Level::INFO, "undeliverable")
            },
            node::Event::Uncertain { pair, conn, stanzas } => Self {
                local: Some(pair.local.clone()),
                remote: Some(pair.remote.clone()),
                direction: Some(Direction::Outbound),
                link: Some(*conn),
                reason: Some(Reason::DeliveryUncertain),
                detail: Some(format!("{stanzas} stanzas")),
                ..Self::new(Level::WARN, "uncertain")
            },
            node::Event::TurnedAway { bound, times, addr } => Self {
                addr: Some(*addr),
                direction: Some(Direction::Inbound),
                reason: Some(Reason::Limit),
                detail: Some(format!("limit {} reached, {times} turned away", bound.as_str())),
                ..Self::new(Level::WARN, "turned-away")
            },
            _ => return None,
        })
    }

    /// The line for an event of a hub. Stanzas that go out have none.
    pub(crate) fn of_hub(event: &component::Event) -> Option<Self> {
        Some(match event {
            component::Event::ComponentUp { host, conn, addr } => Self {
                local: Some(host.clone()),
                link: Some(*conn),
                addr: Some(*addr),
                ..Self::new(Level::INFO, "component-up")
            },
            component::Event::ComponentDown { host, conn, reason } => Self {
                local: Some(host.clone()),
                link: Some(*conn),
                reason: Some(*reason),
                ..Self::new(Level::INFO, "component-down")
            },
            component::Event::Refused { host, conn, addr, reason, detail } => Self {
                local: host.clone(),
                link: Some(*conn),
                addr: Some(*addr),
                reason: Some(*reason),
                detail: printable(detail),
                ..Self::new(Level::WARN, "component-refused")
            },
            component::Event::TurnedAway { addr, times } => Self {
                addr: Some(*addr),
                reason: Some(Reason::Limit),
                detail: Some(format!("unattached components, {times} turned away")),
                ..Self::new(Level::WARN, "turned-away")
            },
            component::Event::Returned { host, sender, reason } => Self {
                local: Some(host.clone()),
                remote: Some(sender.clone()),
                reason: Some(*reason),
                ..Self::new(Level::DEBUG, "returned")
            },
            component::Event::Dropped { stanza, reason } => Self {
                local: Some(stanza.head().to.domain().clone()),
                remote: Some(stanza.head().from.domain().clone()),
                reason: Some(*reason),
                ..Self::new(Level::DEBUG, "dropped")
            },
            _ => return None,
        })
    }

    /// The same with the option behind it, if our policy is what refused, and with each domain in its place.
    pub(crate) fn explained(mut self, settings: &Settings) -> Self {
        // What was dropped may have been under way to one of our hosts or from one.
        let is_ours = |domain: &Option<Domain>| domain.as_ref().is_some_and(|name| settings.hosts.contains_key(name));
        if self.event == "dropped" && is_ours(&self.remote) && !is_ours(&self.local) {
            mem::swap(&mut self.local, &mut self.remote);
        }
        let decided_by = (|| {
            let remote = self.remote.as_ref()?;
            let host = settings.hosts.get(self.local.as_ref()?)?;
            let rule = rule_behind(&host.options, remote, self.direction?, self.reason?)?;
            Some(host.shared.decider(rule, remote).option)
        })();
        Self { decided_by, ..self }
    }

    /// The same, of the node of that number. Where it is the only one there is no need to say so.
    pub(crate) fn at(self, number: usize, nodes: usize) -> Self {
        Self { node: (nodes > 1).then_some(number + 1), ..self }
    }

    fn on(self, link: &LinkInfo) -> Self {
        Self {
            link: Some(link.conn),
            addr: Some(link.addr),
            direction: Some(link.direction),
            tls: link.tls,
            certificate: link.certificate,
            ..self
        }
    }

    /// Writes the line.
    pub(crate) fn write(&self) {
        macro_rules! line {
            ($level:expr) => {
                tracing::event!(
                    $level,
                    event = self.event,
                    reason = self.reason.map(Reason::code),
                    decided_by = self.decided_by,
                    local = self.local.as_ref().map(Domain::as_str),
                    remote = self.remote.as_ref().map(Domain::as_str),
                    direction = self.direction.map(Direction::as_str),
                    node = self.node,
                    link = self.link.map(|conn| conn.0),
                    addr = self.addr.map(field::display),
                    method = self.method.map(Method::as_str),
                    tls = self.tls.map(|(version, cipher)| field::display(format!("{version} {cipher}"))),
                    certificate = self.certificate.as_ref().map(|digest| field::display(hexadecimal(digest))),
                    detail = self.detail.as_deref(),
                )
            };
        }
        match self.level {
            Level::ERROR => line!(Level::ERROR),
            Level::WARN => line!(Level::WARN),
            Level::INFO => line!(Level::INFO),
            Level::DEBUG => line!(Level::DEBUG),
            Level::TRACE => line!(Level::TRACE),
        }
    }
}

impl fmt::Display for Record {
    /// As the line reads without time and level.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.event)?;
        for (name, value) in [
            ("reason", self.reason.map(|reason| reason.to_string())),
            ("local", self.local.as_ref().map(ToString::to_string)),
            ("remote", self.remote.as_ref().map(ToString::to_string)),
            ("direction", self.direction.map(|direction| direction.as_str().to_owned())),
            ("method", self.method.map(|method| method.to_string())),
            ("tls", self.tls.map(|(version, cipher)| format!("{version} {cipher}"))),
            ("detail", self.detail.clone()),
        ] {
            if let Some(value) = value {
                write!(f, " {name}={}", word(&value))?;
            }
        }
        Ok(())
    }
}

/// Sends log lines to stderr from now on.
pub(crate) fn install(format: LogFormat, level: LogLevel) {
    let subscriber = tracing_subscriber::fmt()
        // A line that cannot be written is lost: to complain about that on the same stderr would panic.
        .log_internal_errors(false)
        .event_format(Lines { format })
        .with_writer(std::io::stderr)
        .with_max_level(most(level))
        .finish();
    // It fails if there is one already, which then stays.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// The level of lines that is the most that is logged.
const fn most(level: LogLevel) -> Level {
    match level {
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
    }
}

/// A peer's text without control characters, quotes and excess; nothing if it is empty.
fn printable(text: &str) -> Option<String> {
    let mut kept = String::new();
    for letter in text.chars().take(DETAIL_CHARACTERS) {
        match letter {
            '\'' => kept.push(letter),
            _ => kept.extend(letter.escape_debug()),
        }
    }
    (!kept.is_empty()).then_some(kept)
}

/// A value of a line for people: quoted if it is more than one word.
fn word(value: &str) -> String {
    if value.contains(' ') || value.is_empty() { format!("\"{value}\"") } else { value.to_owned() }
}

/// How lines look.
struct Lines {
    format: LogFormat,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let mut fields = Fields { format: self.format, text: String::new() };
        event.record(&mut fields);
        let level = event.metadata().level();
        match self.format {
            LogFormat::Human => writeln!(writer, "{time} {level:>5}{}", fields.text),
            LogFormat::Json => {
                let level = level.as_str().to_ascii_lowercase();
                writeln!(writer, "{{\"time\":\"{time}\",\"level\":\"{level}\"{}}}", fields.text)
            }
        }
    }
}

/// Collects the fields of one line.
struct Fields {
    format: LogFormat,
    text: String,
}

impl Fields {
    fn add(&mut self, name: &str, value: &str) {
        self.text.push_str(&match (self.format, name) {
            // What happened comes first, wherever it stands among the fields.
            (LogFormat::Human, "event") => return self.text.insert_str(0, &format!(" {value}")),
            (LogFormat::Human, "message") => format!(" {value}"),
            (LogFormat::Human, _) => format!(" {name}={}", word(value)),
            (LogFormat::Json, _) => format!(",\"{name}\":{}", serde_json::Value::from(value)),
        });
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match self.format {
            LogFormat::Human => self.text.push_str(&format!(" {}={value}", field.name())),
            LogFormat::Json => self.text.push_str(&format!(",\"{}\":{value}", field.name())),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field.name(), &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::path::Path;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use s2s_core::stanza::Stanza;

    use crate::config;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("one thread").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines_of(format: LogFormat, records: &[Record]) -> Vec<String> {
        lines_at(LogLevel::Info, format, records)
    }

    fn lines_at(level: LogLevel, format: LogFormat, records: &[Record]) -> Vec<String> {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = tracing_subscriber::fmt()
            .event_format(Lines { format })
            .with_writer(move || writer.clone())
            .with_max_level(most(level))
            .finish();
        tracing::subscriber::with_default(subscriber, || records.iter().for_each(Record::write));
        let bytes = sink.0.lock().expect("one thread").clone();
        String::from_utf8(bytes).expect("text").lines().map(ToOwned::to_owned).collect()
    }

    fn refusal(detail: &str) -> Record {
        let domain = |text| Domain::parse(text).expect(text);
        let event = node::Event::Refused {
            local: Some(domain("m.example")),
            remote: Some(domain("p.example")),
            link: Some(LinkInfo {
                conn: ConnId(7),
                addr: "192.0.2.1:5269".parse().expect("an address"),
                direction: Direction::Inbound,
                tls: Some((Version::Tls13, "TLS13_AES_128_GCM_SHA256")),
                certificate: Some([0xa5; 32]),
                age: Duration::from_millis(5),
            }),
            direction: Direction::Inbound,
            reason: Reason::CertSelfSigned,
            detail: detail.to_owned(),
        };
        Record::of_node(&event).expect("worth a line")
    }

    #[test]
    fn a_json_line_is_one_object_with_every_key_that_is_promised() {
        let lines = lines_of(LogFormat::Json, &[refusal("no \"luck\"\n\u{202e}{\"event\":\"forged\"}")]);
        assert_eq!(lines.len(), 1);
        let line: serde_json::Value = serde_json::from_str(&lines[0]).expect(&lines[0]);
        for (key, value) in [
            ("level", "warn"),
            ("event", "refused"),
            ("reason", "cert-self-signed"),
            ("local", "m.example"),
            ("remote", "p.example"),
            ("direction", "in"),
            ("addr", "192.0.2.1:5269"),
            ("tls", "TLSv1.3 TLS13_AES_128_GCM_SHA256"),
            ("certificate", &"a5".repeat(32)),
            ("detail", r#"no \"luck\"\n\u{202e}{\"event\":\"forged\"}"#),
        ] {
            assert_eq!(line[key], value, "{key}");
        }
        assert_eq!(line["link"], 7);
        assert!(line["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{line}");
    }

    #[test]
    fn where_there_are_several_nodes_each_line_names_its_node_beside_the_number_of_the_connection() {
        let records = [refusal("").at(0, 1), refusal("").at(0, 3), refusal("").at(2, 3)];
        let told = lines_of(LogFormat::Json, &records).into_iter().map(|line| {
            let line: serde_json::Value = serde_json::from_str(&line).expect(&line);
            serde_json::json!([line["node"], line["link"]])
        });
        let told: Vec<_> = told.collect();
        assert_eq!(told, [serde_json::json!([null, 7]), serde_json::json!([1, 7]), serde_json::json!([3, 7])]);
        let lines = lines_of(LogFormat::Human, &records);
        assert!(!lines[0].contains(" node="), "{}", lines[0]);
        assert!(lines[2].contains(" direction=in node=3 link=7 addr="), "{}", lines[2]);
    }

    #[test]
    fn what_goes_back_to_peers_or_is_dropped_is_told_at_debug_with_its_domains_and_never_with_what_it_says() {
        let domain = |text| Domain::parse(text).expect(text);
        let dropped = |from: &str, to: &str, reason| {
            let text = format!("<message from='x@{from}/phone' to='y@{to}' type='error'><body>secret</body></message>");
            component::Event::Dropped { stanza: Stanza::parse(&text).expect("a stanza"), reason }
        };
        let (host, sender) = (domain("m.example"), domain("p.example"));
        let events = [
            component::Event::Returned { host, sender, reason: Reason::ComponentAbsent },
            dropped("p.example", "m.example", Reason::ComponentAbsent),
            dropped("m.example", "p.example", Reason::ConnectTimeout),
        ];
        let settings = config::parse("[host.\"m.example\"]", Path::new("s2sd.toml")).expect("one host");
        let records = events.map(|event| Record::of_hub(&event).expect("worth a line").explained(&settings));
        let both = "local=m.example remote=p.example";
        let said = |level| {
            let lines = lines_at(level, LogFormat::Human, &records);
            lines.iter().map(|line| line.split_once('Z').expect("a time").1.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(said(LogLevel::Info), [""; 0], "peers decide how many of those there are");
        let expected = [
            format!(" DEBUG returned reason=component-absent {both}"),
            format!(" DEBUG dropped reason=component-absent {both}"),
            format!(" DEBUG dropped reason=connect-timeout {both}"),
        ];
        assert_eq!(said(LogLevel::Debug), expected);
    }

    #[test]
    fn a_line_for_people_begins_with_what_happened_and_stays_one_line() {
        let lines = lines_of(LogFormat::Human, &[refusal("two\nlines"), refusal(&"x".repeat(10_000))]);
        assert_eq!(lines.len(), 2);
        let (_, said) = lines[0].split_once('Z').expect("a time");
        assert!(said.starts_with("  WARN refused reason=cert-self-signed local=m.example remote=p.example"), "{said}");
        assert!(said.ends_with(r"detail=two\nlines"), "{said}");
        assert!(lines[1].len() < 600, "{}", lines[1].len());
    }
}
