//! Why something was refused, failed or ended: one list, used in events, logs, bounces and on the command line.

use std::fmt;

use crate::stanza::StanzaCondition;
use crate::stream::Condition;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $code:literal,)*) => {
        /// A reason code. The texts are stable and only ever appended to.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Reason { $($(#[$doc])* $variant,)* }

        impl Reason {
            /// Every reason, in the order of the list.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable text, as it stands in logs and events.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }
        }
    };
}

reasons! {
    /// The remote domain does not exist in DNS.
    DnsNxdomain = "dns-nxdomain",
    /// DNS answered with a failure, or with nonsense.
    DnsFailure = "dns-failure",
    /// DNS did not answer.
    DnsTimeout = "dns-timeout",
    /// The domain declares that it offers no such service (SRV target `.`).
    SrvDot = "srv-dot",
    /// There are names but no addresses.
    NoAddress = "no-address",
    /// All addresses are of a kind that may not be dialled, or our own.
    AddressNotAllowed = "address-not-allowed",
    /// Nobody listens there.
    ConnectRefused = "connect-refused",
    /// The connection could not be opened in time.
    ConnectTimeout = "connect-timeout",
    /// The connection broke.
    ConnectionReset = "connection-reset",
    /// TLS is demanded and the peer does not offer it.
    StarttlsNotOffered = "starttls-not-offered",
    /// The peer answered STARTTLS with a failure.
    StarttlsRefused = "starttls-refused",
    /// The TLS handshake failed, a TLS record was bad, the peer wanted to renegotiate, or the version is older than the
    /// host takes.
    TlsFailed = "tls-failed",
    /// Encryption is demanded and the stream is in clear.
    EncryptionRequired = "encryption-required",
    /// A certificate is demanded and the peer has none.
    CertMissing = "cert-missing",
    /// The certificate, or one of its issuers, has expired.
    CertExpired = "cert-expired",
    /// The certificate is not valid yet.
    CertNotYetValid = "cert-not-yet-valid",
    /// The certificate is signed by itself.
    CertSelfSigned = "cert-self-signed",
    /// No trusted authority vouches for the certificate.
    CertUnknownIssuer = "cert-unknown-issuer",
    /// The certificate is for other names.
    CertNameMismatch = "cert-name-mismatch",
    /// The certificate is not for servers, or breaks another rule for its use.
    CertPurpose = "cert-purpose",
    /// The certificate was revoked.
    CertRevoked = "cert-revoked",
    /// The key is not the one that is configured for this domain.
    CertPinMismatch = "cert-pin-mismatch",
    /// SASL EXTERNAL was needed and not offered.
    ExternalNotOffered = "external-not-offered",
    /// SASL EXTERNAL was refused.
    ExternalRefused = "external-refused",
    /// Policy forbids dialback for this domain.
    DialbackDeniedByPolicy = "dialback-denied-by-policy",
    /// The authoritative server denied the key.
    DialbackInvalid = "dialback-invalid",
    /// The peer answered dialback with an error.
    DialbackError = "dialback-error",
    /// Dialback was not finished in time.
    DialbackTimeout = "dialback-timeout",
    /// The authoritative server could not be asked.
    AuthoritativeUnreachable = "authoritative-unreachable",
    /// The addressed domain is not served here.
    HostUnknown = "host-unknown",
    /// Federation is switched off for this host.
    HostDisabled = "host-disabled",
    /// The remote domain is on the deny list, or not on the allow list.
    DomainDenied = "domain-denied",
    /// An anonymous host may not send to remote domains.
    AnonymousHost = "anonymous-host",
    /// A stanza came before authentication.
    NotAuthenticated = "not-authenticated",
    /// The sender's domain was not proved on this stream.
    FromMismatch = "from-mismatch",
    /// The addressed domain does not belong to this stream.
    ToMismatch = "to-mismatch",
    /// The peer broke the rules of XML or of streams.
    Malformed = "malformed",
    /// A stanza was over the size limit.
    StanzaTooBig = "stanza-too-big",
    /// A limit was reached.
    Limit = "limit",
    /// The queue for the remote domain is full.
    QueueFull = "queue-full",
    /// A stanza waited too long for a stream.
    QueueExpired = "queue-expired",
    /// Reserved: nothing raises it. Where a domain is not tried again yet, the reason is the one it failed for.
    Backoff = "backoff",
    /// The peer did not finish negotiation in time.
    NegotiationTimeout = "negotiation-timeout",
    /// The peer ended the stream with an error.
    PeerStreamError = "peer-stream-error",
    /// The peer did not answer.
    Unresponsive = "unresponsive",
    /// Nothing happened for a long time.
    Idle = "idle",
    /// A reload of the configuration forbade it.
    Reload = "reload",
    /// We, or the peer, are going down.
    Shutdown = "shutdown",
    /// The stanza was written but the connection broke: it may or may not have arrived.
    DeliveryUncertain = "delivery-uncertain",
    /// The component of that host is not connected.
    ComponentAbsent = "component-absent",
}

impl Reason {
    /// Whether the peer's certificate was judged to prove nothing.
    #[must_use]
    pub(crate) const fn is_about_certificate(self) -> bool {
        matches!(
            self,
            Self::CertMissing
                | Self::CertExpired
                | Self::CertNotYetValid
                | Self::CertSelfSigned
                | Self::CertUnknownIssuer
                | Self::CertNameMismatch
                | Self::CertPurpose
                | Self::CertRevoked
                | Self::CertPinMismatch
        )
    }

    /// The condition of the bounce that the local sender gets.
    ///
    /// Nothing could be reached: `remote-server-not-found`. Something was: `remote-server-timeout`. Our own
    /// policy: `not-allowed`. Queues: `resource-constraint`. Size: `policy-violation`
    /// ([RFC 6120 section 8.3.3](https://www.rfc-editor.org/rfc/rfc6120#section-8.3.3)). A key of ours that was denied:
    /// `internal-server-error` ([XEP-0220 section 2.1.1](https://xmpp.org/extensions/xep-0220.html#outbound-originating)).
    /// Nobody is there on our side: `service-unavailable`.
    //= RFC6120-10.4.3-2
    //= XEP0220-2.1.1-14
    #[must_use]
    pub const fn bounce(self) -> StanzaCondition {
        match self {
            Self::DnsNxdomain
            | Self::DnsFailure
            | Self::DnsTimeout
            | Self::SrvDot
            | Self::NoAddress
            | Self::AddressNotAllowed
            | Self::ConnectRefused
            | Self::ConnectTimeout => StanzaCondition::RemoteServerNotFound,
            // Of an attempt of ours, encryption is required where we do not speak it, or not any more in clear.
            Self::HostDisabled | Self::DomainDenied | Self::AnonymousHost | Self::EncryptionRequired => {
                StanzaCondition::NotAllowed
            }
            Self::QueueFull | Self::QueueExpired | Self::Limit => StanzaCondition::ResourceConstraint,
            Self::StanzaTooBig => StanzaCondition::PolicyViolation,
            Self::ComponentAbsent | Self::HostUnknown => StanzaCondition::ServiceUnavailable,
            Self::DialbackInvalid => StanzaCondition::InternalServerError,
            _ => StanzaCondition::RemoteServerTimeout,
        }
    }

    /// What the local sender is told. Names the cause, never a domain or an address: in a room that hides
    /// addresses this text reaches everybody.
    #[must_use]
    pub const fn bounce_text(self) -> &'static str {
        match self {
            Self::DnsNxdomain => "The remote domain does not exist",
            Self::DnsFailure => "The lookup of the remote domain failed",
            Self::DnsTimeout => "The lookup of the remote domain was not answered",
            Self::SrvDot => "The remote domain offers no federation",
            Self::NoAddress => "The remote domain has no address",
            Self::AddressNotAllowed => "The remote domain leads to an address that is not allowed",
            Self::ConnectRefused => "The remote server refused the connection",
            Self::ConnectTimeout => "The remote server could not be reached in time",
            Self::ConnectionReset => "The connection to the remote server broke",
            Self::StarttlsNotOffered => "The remote server does not offer encryption",
            Self::StarttlsRefused => "The remote server refused encryption",
            Self::TlsFailed => "Encryption with the remote server failed",
            Self::EncryptionRequired => "Encryption is required",
            Self::CertMissing => "The remote server has no certificate",
            Self::CertExpired => "The certificate of the remote server has expired",
            Self::CertNotYetValid => "The certificate of the remote server is not valid yet",
            Self::CertSelfSigned => "The certificate of the remote server is self-signed",
            Self::CertUnknownIssuer => "The certificate of the remote server is not trusted",
            Self::CertNameMismatch => "The certificate of the remote server is for another name",
            Self::CertPurpose => "The certificate of the remote server is not fit for this use",
            Self::CertRevoked => "The certificate of the remote server was revoked",
            Self::CertPinMismatch => "The certificate of the remote server is not the expected one",
            Self::ExternalNotOffered => "The remote server did not accept our certificate",
            Self::ExternalRefused => "The remote server refused our certificate",
            Self::DialbackDeniedByPolicy => "Authentication by certificate is required",
            Self::DialbackInvalid => "The remote server could not verify us",
            Self::DialbackError => "The remote server answered our verification with an error",
            Self::DialbackTimeout => "The remote server did not finish our verification in time",
            Self::AuthoritativeUnreachable => "The authoritative server could not be reached",
            Self::HostUnknown => "The domain is not served here",
            Self::HostDisabled => "Communication with remote domains is not enabled",
            Self::DomainDenied => "Communication with this remote domain is not allowed",
            Self::AnonymousHost => "Anonymous users may not communicate with remote domains",
            Self::NotAuthenticated => "The stream is not authenticated",
            Self::FromMismatch => "The sender does not belong to this stream",
            Self::ToMismatch => "The recipient does not belong to this stream",
            Self::Malformed => "The remote server broke the protocol",
            Self::StanzaTooBig => "The stanza is too big",
            Self::Limit => "A limit was reached",
            Self::QueueFull => "Too much is waiting for the remote server",
            Self::QueueExpired => "The remote server could not be reached in time",
            Self::Backoff => "The remote server failed a short time ago",
            Self::NegotiationTimeout => "The remote server did not finish negotiation in time",
            Self::PeerStreamError => "The remote server ended the stream with an error",
            Self::Unresponsive => "The remote server does not answer",
            Self::Idle => "The stream was idle",
            Self::Reload => "The configuration was changed",
            Self::Shutdown => "The server is going down",
            Self::DeliveryUncertain => "The connection broke while the stanza was on its way",
            Self::ComponentAbsent => "The service is not available",
        }
    }

    /// The stream error that tells the peer, [RFC 6120 section 4.9.3](https://www.rfc-editor.org/rfc/rfc6120#section-4.9.3).
    #[must_use]
    pub const fn stream_condition(self) -> Condition {
        match self {
            Self::EncryptionRequired
            | Self::TlsFailed
            | Self::StarttlsNotOffered
            | Self::DomainDenied
            | Self::HostDisabled
            | Self::StanzaTooBig
            | Self::Limit => Condition::PolicyViolation,
            Self::FromMismatch => Condition::InvalidFrom,
            Self::ToMismatch | Self::HostUnknown => Condition::HostUnknown,
            Self::NegotiationTimeout | Self::Unresponsive => Condition::ConnectionTimeout,
            Self::Shutdown => Condition::SystemShutdown,
            Self::Malformed => Condition::BadFormat,
            Self::AuthoritativeUnreachable => Condition::RemoteConnectionFailed,
            Self::Reload => Condition::PolicyViolation,
            Self::QueueFull => Condition::ResourceConstraint,
            _ => Condition::NotAuthorized,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_unique_lower_case_words() {
        let codes: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
        assert!(codes.iter().all(|code| code.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')));
    }

    #[test]
    //= RFC6120-10.4.3-2 test
    //= XEP0220-2.1.1-12 test
    //= XEP0220-2.5-2 test
    //= XEP0220-2.1.1-14 test
    fn a_bounce_tells_what_could_not_be_reached_from_what_could() {
        assert_eq!(Reason::DnsNxdomain.bounce(), StanzaCondition::RemoteServerNotFound);
        assert_eq!(Reason::ConnectRefused.bounce(), StanzaCondition::RemoteServerNotFound);
        assert_eq!(Reason::CertExpired.bounce(), StanzaCondition::RemoteServerTimeout);
        assert_eq!(Reason::DomainDenied.bounce(), StanzaCondition::NotAllowed);
        assert_eq!(Reason::EncryptionRequired.bounce(), StanzaCondition::NotAllowed);
        assert_eq!(Reason::QueueFull.bounce(), StanzaCondition::ResourceConstraint);
        assert_eq!(Reason::StanzaTooBig.bounce(), StanzaCondition::PolicyViolation);
        assert_eq!(Reason::DialbackInvalid.bounce(), StanzaCondition::InternalServerError);
        assert_eq!(Reason::DialbackError.bounce(), StanzaCondition::RemoteServerTimeout);
    }

    #[test]
    fn every_certificate_problem_is_not_authorized_on_the_wire() {
        for reason in Reason::ALL.iter().filter(|reason| reason.code().starts_with("cert-")) {
            assert_eq!(reason.stream_condition(), Condition::NotAuthorized, "{reason}");
        }
        for reason in [Reason::EncryptionRequired, Reason::DomainDenied, Reason::HostDisabled] {
            assert_eq!(reason.stream_condition(), Condition::PolicyViolation, "{reason}");
        }
    }

    #[test]
    fn what_is_no_matter_of_the_peers_identity_is_not_told_as_not_authorized() {
        for (reason, condition) in [
            (Reason::FromMismatch, Condition::InvalidFrom),
            (Reason::HostUnknown, Condition::HostUnknown),
            (Reason::Unresponsive, Condition::ConnectionTimeout),
            (Reason::Shutdown, Condition::SystemShutdown),
            (Reason::Malformed, Condition::BadFormat),
            (Reason::AuthoritativeUnreachable, Condition::RemoteConnectionFailed),
            (Reason::Reload, Condition::PolicyViolation),
            (Reason::QueueFull, Condition::ResourceConstraint),
        ] {
            assert_eq!(reason.stream_condition(), condition, "{reason}");
        }
    }
}
