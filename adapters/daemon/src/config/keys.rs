//! The keys of the configuration: where each may stand, and whether this version has what it is for.

/// Where a key may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// At the top.
    Top,
    /// At the top, and in `[host."NAME"]`, where it overrides.
    TopAndHost,
    /// At the top, and at the top of the files in the directory of `include`.
    TopAndIncluded,
    /// At the top of such a file.
    Included,
    /// In `[host."NAME"]`.
    Host,
    /// In `[route."NAME"]`.
    Route,
    /// In `[limits]`.
    Limits,
}

/// Whether the key does something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// It does.
    Works,
    /// Its function is not in this version.
    Later,
}

/// A key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    /// As it is written.
    pub(crate) name: &'static str,
    /// Where.
    pub(crate) place: Place,
    /// Whether.
    pub(crate) status: Status,
}

macro_rules! keys {
    ($($name:literal $place:ident $status:ident,)*) => {
        &[$(Key { name: $name, place: Place::$place, status: Status::$status },)*]
    };
}

/// All keys.
pub(crate) const KEYS: &[Key] = keys! {
    "s2s_secure_auth" TopAndHost Works,
    "s2s_require_encryption" TopAndHost Works,
    "s2s_secure_domains" TopAndHost Works,
    "s2s_insecure_domains" TopAndHost Works,
    "s2s_allow_domains" TopAndHost Works,
    "s2s_deny_domains" TopAndHost Works,
    "s2s_deny_domains_file" TopAndHost Works,
    "s2s_dialback_to_verified" TopAndHost Works,
    "s2s_pins" Top Works,
    "s2s_crls" Top Works,
    "s2s_crl_policy" Top Works,
    "modules_disabled" TopAndHost Works,
    "allow_anonymous_s2s" TopAndHost Works,
    "anonymous" Host Works,
    "s2s_stanza_size_limit" Top Works,
    "s2s_timeout" Top Works,
    "s2s_attempt_timeout" Top Works,
    "s2s_close_timeout" Top Works,
    "s2s_idle_timeout" Top Works,
    "s2s_ports" Top Works,
    "s2s_direct_tls_ports" Top Works,
    "s2s_interfaces" Top Works,
    "s2s_outgoing_addresses" Top Works,
    "use_ipv4" Top Works,
    "use_ipv6" Top Works,
    "s2s_allow_private_addresses" Top Works,
    "tls_min_version" TopAndHost Works,
    "cafile" Top Works,
    "cadirectory" Top Works,
    "system_roots" Top Works,
    "certificates" Top Works,
    "certificate" Host Works,
    "key" Host Works,
    "component_secret" Host Works,
    "component_secret_file" Host Works,
    "dialback_secret" Top Works,
    "dialback_secret_file" Top Works,
    "component_interfaces" Top Works,
    "component_ports" Top Works,
    "dns_servers" Top Works,
    "nodes" Top Works,
    "runtime" Top Works,
    "log_format" Top Works,
    "log_level" Top Works,
    "control_socket" Top Later,
    "metrics_listen" Top Works,
    "limits" Top Works,
    "include" Top Works,
    "host" TopAndIncluded Works,
    "route" TopAndIncluded Works,
    "address" Route Works,
    "tls" Route Works,
    "connections" Limits Works,
    "connections_per_address" Limits Works,
    "connection_rate_per_address" Limits Works,
    "unauthenticated" Limits Works,
    "streams_per_pair" Limits Works,
    "handshakes" Limits Works,
    "handshakes_per_address" Limits Works,
    "handshake_rate" Limits Works,
    "handshake_rate_per_address" Limits Works,
    "queue_bytes_per_pair" Limits Works,
    "queue_bytes_per_component" Limits Works,
    "queue_bytes" Limits Works,
    "queue_seconds" Limits Works,
    "verifications" Limits Works,
    "dns_queries" Limits Works,
    "rate_per_connection" Limits Works,
    "rate_per_domain" Limits Works,
};

impl Place {
    /// Whether a key of this place may stand in a table of `table`.
    pub(crate) const fn allows(self, table: Self) -> bool {
        matches!(
            (self, table),
            (Self::Top | Self::TopAndHost | Self::TopAndIncluded, Self::Top)
                | (Self::TopAndIncluded, Self::Included)
                | (Self::Host | Self::TopAndHost, Self::Host)
                | (Self::Route, Self::Route)
                | (Self::Limits, Self::Limits)
        )
    }

    /// The place in words.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Top => "at the top of the main file",
            Self::TopAndIncluded | Self::Included => "at the top of a file",
            Self::TopAndHost => "at the top of the main file or in [host.\"NAME\"]",
            Self::Host => "in [host.\"NAME\"]",
            Self::Route => "in [route.\"NAME\"]",
            Self::Limits => "in [limits]",
        }
    }
}

/// The keys that may stand in a table of `table`.
pub(crate) fn allowed(table: Place) -> Vec<&'static str> {
    KEYS.iter().filter(|key| key.place.allows(table) && key.status == Status::Works).map(|key| key.name).collect()
}
