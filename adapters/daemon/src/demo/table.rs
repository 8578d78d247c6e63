//! The closing table, and the same facts as JSON.

use std::time::Duration;

use serde_json::{Value, json};

use crate::demo::outcome::Sight;
use crate::demo::plan::{Outcome, entrance};

/// One lane of the table.
#[derive(Clone, Debug)]
pub(crate) struct Row<'s> {
    /// What was seen.
    pub(crate) sight: &'s Sight,
    /// The hosts in the order in which the pair is named.
    pub(crate) pair: [&'static str; 2],
    /// The port of direct TLS of the recipient's server.
    pub(crate) direct: u16,
}

const HEAD: [&str; 7] =
    ["pair and direction", "stream", "TLS", "cipher", "authenticated by", "first stanza", "stanzas"];

impl Row<'_> {
    fn arrow(&self) -> &'static str {
        if self.sight.lane.from == self.pair[0] { "->" } else { "<-" }
    }

    fn tls(&self) -> Option<(String, &'static str)> {
        let (version, cipher) = self.sight.outbound.as_ref()?.tls?;
        Some((version.to_string(), cipher))
    }

    fn method(&self) -> Option<&'static str> {
        Some(self.sight.outbound.as_ref()?.method?.as_str())
    }

    /// Facts for a lane that is up, one cell for what a refused one has to say.
    fn cells(&self) -> Vec<String> {
        let mut cells = vec![format!("{} {} {}", self.pair[0], self.arrow(), self.pair[1])];
        if let (Some(reason), Outcome::Refused { by, .. }) = (self.sight.reason(), self.sight.lane.outcome) {
            cells.push(format!("refused by {by}: {reason}"));
            return cells;
        }
        let dash = || "-".to_owned();
        let (version, cipher) = self.tls().unwrap_or_else(|| (dash(), "-"));
        cells.push(self.sight.security(self.direct).map_or_else(dash, |security| entrance(security).to_owned()));
        cells.extend([version, cipher.to_owned(), self.method().unwrap_or("-").to_owned()]);
        cells.push(self.sight.first.map_or_else(dash, |first| format!("{:.1} ms", milliseconds(first))));
        cells.push(self.sight.stanzas.to_string());
        cells
    }

    fn json(&self) -> Value {
        let tls = self.tls();
        json!({
            "pair": self.pair,
            "direction": self.arrow(),
            "from": self.sight.lane.from,
            "to": self.sight.lane.to,
            "stream": self.sight.security(self.direct).map(entrance),
            "tls": tls.as_ref().map(|(version, _)| version),
            "cipher": tls.as_ref().map(|(_, cipher)| cipher),
            "method": self.method(),
            "first_stanza_ms": self.sight.first.map(milliseconds),
            "stanzas": self.sight.stanzas,
            "refused": self.sight.reason().map(s2s_core::reason::Reason::code),
            "bounce": self.sight.bounce.as_ref().map(|bounce| json!({
                "condition": bounce.condition.map(s2s_core::stanza::StanzaCondition::as_str),
                "text": bounce.text,
            })),
            "ok": self.sight.differences(self.direct).is_empty(),
        })
    }
}

/// The table.
pub(crate) fn human(rows: &[Row<'_>]) -> String {
    let mut lines = vec![HEAD.map(ToOwned::to_owned).to_vec()];
    lines.extend(rows.iter().map(Row::cells));
    let width = |column: usize| {
        // A refusal runs on over the columns to its right.
        let full = lines.iter().filter(|cells| cells.len() == HEAD.len());
        full.filter_map(|cells| cells.get(column)).map(String::len).max().unwrap_or_default()
    };
    let pairs = lines.iter().filter_map(|cells| cells.first()).map(String::len).max().unwrap_or_default();
    let mut text = String::new();
    for cells in &lines {
        let mut line = String::new();
        for (column, cell) in cells.iter().enumerate() {
            let width = if column == 0 { pairs } else { width(column) };
            line.push_str(&format!("{cell:width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// One object with the same facts.
pub(crate) fn json(rows: &[Row<'_>], elapsed: Duration, differences: &[String]) -> String {
    let rows: Vec<_> = rows.iter().map(Row::json).collect();
    json!({
        "ok": differences.is_empty(),
        "elapsed_ms": milliseconds(elapsed),
        "lanes": rows,
        "differences": differences,
    })
    .to_string()
}

/// With one decimal place.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}
