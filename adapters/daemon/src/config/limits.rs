//! `[limits]`: how much of everything there may be.

use std::time::Duration;

use s2s_core::limits as defaults;
use s2s_core::node;
use toml::de::DeValue;

use crate::config::document::{Reader, Section, integer};
use crate::config::error::Problem;
use crate::config::keys::Place;

const COUNT: &str = "a whole number from 1 to 1000000";
const QUERIES: &str = "a whole number from 1 to 65536";
const BYTES: &str = "a whole number of bytes from 10000 to 1099511627776";
const RATE: &str = "a whole number of bytes a second from 1000 to 1099511627776";
const CONNECTIONS: &str = "a whole number of connections a second from 1 to 1000000";
const HANDSHAKES: &str = "a whole number of handshakes a second from 1 to 1000000";
const SECONDS: &str = "a whole number of seconds from 1 to 86400";

const MAX_COUNT: u64 = 1_000_000;
const MAX_QUERIES: u64 = 65_536;
const MAX_BYTES: u64 = 1 << 40;
const MIN_RATE: u64 = 1000;
const MAX_SECONDS: u64 = 86_400;

/// The limits of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Those of a node.
    pub(crate) node: node::Limits,
    /// `dns_queries`
    pub(crate) dns_queries: usize,
    /// `queue_bytes_per_component`
    pub(crate) component_bytes: usize,
}

impl Limits {
    /// The room that one stanza of the largest size takes where nothing else waits.
    pub(crate) const fn one_stanza(stanza_bytes: usize) -> usize {
        stanza_bytes.saturating_add(defaults::QUEUED_STANZA_BYTES)
    }

    /// Those of `[limits]`; `stanza_bytes` is the size that one stanza may have.
    pub(crate) fn read<'t>(reader: &mut Reader<'t>, top: &Section<'t>, stanza_bytes: usize) -> Self {
        let table = reader.value(top, "limits", "a table", DeValue::as_table);
        let section = table.map(|table| reader.section(table.value, Place::Limits)).unwrap_or_default();
        let mut table = Table { reader, section };
        let default = node::Limits::default();
        let one = Self::one_stanza(stanza_bytes);
        let limits = Self {
            node: node::Limits {
                connections: table.count("connections", default.connections),
                connections_per_address: table.count("connections_per_address", default.connections_per_address),
                connection_rate_per_address: table.rate(
                    "connection_rate_per_address",
                    CONNECTIONS,
                    default.connection_rate_per_address,
                ),
                unauthenticated: table.count("unauthenticated", default.unauthenticated),
                streams_per_pair: table.count("streams_per_pair", default.streams_per_pair),
                handshakes: table.count("handshakes", default.handshakes),
                handshakes_per_address: table.count("handshakes_per_address", default.handshakes_per_address),
                handshake_rate: table.rate("handshake_rate", HANDSHAKES, default.handshake_rate),
                handshake_rate_per_address: table.rate(
                    "handshake_rate_per_address",
                    HANDSHAKES,
                    default.handshake_rate_per_address,
                ),
                queue_bytes_per_pair: table.bytes("queue_bytes_per_pair", default.queue_bytes_per_pair),
                queue_bytes: table.bytes("queue_bytes", default.queue_bytes.max(one)),
                queue_age: table.seconds("queue_seconds", default.queue_age),
                verifications: table.count("verifications", default.verifications),
                rate_per_connection: table.read_rate("rate_per_connection"),
                rate_per_domain: table.read_rate("rate_per_domain"),
            },
            dns_queries: table.number("dns_queries", QUERIES, 1, MAX_QUERIES).unwrap_or(defaults::DNS_QUERIES),
            // Room for one stanza of the largest size beside what normally waits.
            component_bytes: table
                .number("queue_bytes_per_component", BYTES, defaults::MIN_STANZA_BYTES as u64, MAX_BYTES)
                .unwrap_or_else(|| stanza_bytes.saturating_add(defaults::OUTPUT_HIGH_WATER_BYTES)),
        };
        table.check(&limits.node, one);
        limits
    }
}

/// The table, and where it is read.
struct Table<'r, 't> {
    reader: &'r mut Reader<'t>,
    section: Section<'t>,
}

impl Table<'_, '_> {
    fn number(&mut self, key: &'static str, allowed: &'static str, min: u64, max: u64) -> Option<usize> {
        let number = self.reader.value(&self.section, key, allowed, |value| {
            integer(value).and_then(|n| u64::try_from(n).ok()).filter(|n| (min..=max).contains(n))
        });
        number.and_then(|number| usize::try_from(number.value).ok())
    }

    fn count(&mut self, key: &'static str, default: usize) -> usize {
        self.number(key, COUNT, 1, MAX_COUNT).unwrap_or(default)
    }

    fn bytes(&mut self, key: &'static str, default: usize) -> usize {
        self.number(key, BYTES, defaults::MIN_STANZA_BYTES as u64, MAX_BYTES).unwrap_or(default)
    }

    fn rate(&mut self, key: &'static str, allowed: &'static str, default: u64) -> u64 {
        self.number(key, allowed, 1, MAX_COUNT).map_or(default, |rate| rate as u64)
    }

    fn read_rate(&mut self, key: &'static str) -> Option<u64> {
        self.number(key, RATE, MIN_RATE, MAX_BYTES).map(|rate| rate as u64)
    }

    fn seconds(&mut self, key: &'static str, default: Duration) -> Duration {
        self.number(key, SECONDS, 1, MAX_SECONDS).map_or(default, |seconds| Duration::from_secs(seconds as u64))
    }

    /// Refuses limits that would keep others from ever being reached.
    fn check(&mut self, limits: &node::Limits, one: usize) {
        if limits.queue_bytes < one {
            let least = format!("room for one stanza of s2s_stanza_size_limit, which takes {one}");
            self.too_small("queue_bytes", limits.queue_bytes, least);
        }
        if limits.queue_bytes < limits.queue_bytes_per_pair {
            let least = format!("as much as queue_bytes_per_pair, {}", limits.queue_bytes_per_pair);
            self.too_small("queue_bytes", limits.queue_bytes, least);
        }
        let pairs = [
            ("unauthenticated", limits.unauthenticated, "connections", limits.connections),
            ("connections_per_address", limits.connections_per_address, "connections", limits.connections),
            ("handshakes_per_address", limits.handshakes_per_address, "handshakes", limits.handshakes),
        ];
        for (part, of_part, whole, of_whole) in pairs {
            // A default that is above a small limit in all does no harm.
            if of_part > of_whole && self.section.line_of(self.reader, part).is_some() {
                self.too_small(whole, of_whole, format!("as much as {part}, {of_part}"));
            }
        }
    }

    fn too_small(&mut self, key: &'static str, value: usize, least: String) {
        // The default is never at fault.
        let line = self.section.line_of(self.reader, key).or_else(|| self.section.first_line(self.reader));
        self.reader.problem(line.unwrap_or(1), Problem::TooSmall { key, value, least });
    }
}
