//! The matrix with real servers: our certificate, our policy, the policy of the peer, and who speaks first.
//!
//! The cells come from a list, and what must come of each from [`expected`], which was written from the documents.

use crate::cells::First;
use crate::contact::{Contact, Expected, Ours};
use crate::lab::Lab;
use crate::peers::{Policy, Software};
use crate::pki::Kind;
use crate::report::Row;

/// What the cells have in their names.
const NAME: &str = "matrix";

/// What s2sd demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Demand {
    /// The defaults: TLS first, dialback as fallback, clear text where there is nothing else.
    Open,
    /// `s2s_require_encryption`
    Encryption,
    /// `s2s_secure_auth` too.
    Certificates,
}

/// One cell.
#[derive(Clone, Copy, Debug)]
struct Cell {
    software: Software,
    certificate: Kind,
    demand: Demand,
    peer: Policy,
    first: First,
}

/// Runs the cells whose description `wanted` accepts.
pub(crate) fn run(lab: &mut Lab, wanted: impl Fn(&str) -> bool) -> Vec<Row> {
    let contacts = cells().into_iter().map(Cell::contact);
    let contacts: Vec<_> = contacts.filter(|it| wanted(&format!("{} {}", it.software.name(), it.name))).collect();
    contacts.iter().map(|contact| contact.run(lab)).collect()
}

/// All combinations, but for a demand of encryption alone: that differs from the defaults towards who has no TLS
/// only.
fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for software in Software::ALL {
        for certificate in [Kind::Valid, Kind::ServerAuthOnly, Kind::SelfSigned, Kind::Expired, Kind::WrongName] {
            for demand in [Demand::Open, Demand::Encryption, Demand::Certificates] {
                for peer in [Policy::Secure, Policy::Lax, Policy::Plain] {
                    if demand == Demand::Encryption && (peer != Policy::Plain || certificate != Kind::Valid) {
                        continue;
                    }
                    cells.extend(First::BOTH.map(|first| Cell { software, certificate, demand, peer, first }));
                }
            }
        }
    }
    cells
}

impl Cell {
    fn contact(self) -> Contact {
        let demand = match self.demand {
            Demand::Open => "open",
            Demand::Encryption => "encrypted",
            Demand::Certificates => "strict",
        };
        Contact {
            name: format!("{NAME}: {:?}, {demand}, they {}", self.certificate, self.peer.name()),
            software: self.software,
            policy: self.peer,
            ours: Ours {
                kind: self.certificate,
                strict: self.demand == Demand::Certificates,
                encrypted: self.demand != Demand::Open,
                ..Ours::default()
            },
            first: self.first,
            expected: expected(self),
        }
    }
}

/// What we are told, or see, when the peer refuses us. Dialling, s2sd is told; dialled, it may just see the peer go.
const REFUSED_BY_THEM: &[&str] =
    &["peer-stream-error", "external-refused", "external-not-offered", "connection-reset", "tls-failed"];

/// What must come of the first stanza of a cell.
fn expected(cell: Cell) -> Expected {
    let strict = cell.demand == Demand::Certificates;
    match cell.peer {
        // They have no TLS at all.
        Policy::Plain if cell.demand == Demand::Open => Expected::Arrives { method: "dialback", encrypted: false },
        Policy::Plain if cell.first == First::We => {
            Expected::Bounces { reasons: &["starttls-not-offered"], words: "does not offer encryption" }
        }
        // Their key comes in clear, or they go when they see that TLS is required.
        Policy::Plain => {
            Expected::Bounces { reasons: &["encryption-required", "connection-reset", "peer-stream-error"], words: "" }
        }
        // Their certificate is self-signed.
        Policy::Lax if strict => Expected::Bounces { reasons: &["cert-self-signed"], words: "is self-signed" },
        Policy::Lax if cell.first == First::They => Expected::Arrives { method: "dialback", encrypted: true },
        Policy::Lax => {
            let method = if they_take(cell, cell.first) { "external" } else { "dialback" };
            Expected::Arrives { method, encrypted: true }
        }
        // Their certificate is valid.
        Policy::Fallback | Policy::Secure if they_take(cell, cell.first) => {
            Expected::Arrives { method: "external", encrypted: true }
        }
        Policy::Fallback | Policy::Secure => Expected::Bounces { reasons: REFUSED_BY_THEM, words: "remote-server" },
    }
}

/// Whether our certificate is good in their eyes.
fn they_take(cell: Cell, first: First) -> bool {
    match cell.certificate {
        Kind::Valid => true,
        // ejabberd 23.01 demands the purpose of a client from who dials it.
        Kind::ServerAuthOnly => cell.software == Software::Prosody || first == First::They,
        Kind::SelfSigned | Kind::Expired | Kind::WrongName => false,
    }
}
