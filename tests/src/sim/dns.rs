//! The DNS server of a run, and what becomes of its answers on their way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use s2s_core::machine::Transport;

use super::random::Random;
use super::swarm::Fault;
use crate::dns_server::Zone;

/// A DNS answer in which the name has this address is a lie.
pub(super) const LIE: [u8; 4] = [198, 51, 100, 66];

/// The server.
#[derive(Debug, Default)]
pub(super) struct NameServer {
    zone: Zone,
    /// What was asked already, without the ids of the messages.
    known: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

/// A message for whoever asked, after this time; or none, and the query has failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) after: Duration,
    pub(super) message: Option<Vec<u8>>,
}

impl NameServer {
    pub(super) fn serve(&mut self, zone: Zone) {
        self.zone = zone;
        self.known.clear();
    }

    /// What comes back to a query, with the faults that struck it.
    pub(super) fn answers(
        &mut self,
        query: &[u8],
        transport: Transport,
        faults: &BTreeSet<Fault>,
        random: &mut Random,
    ) -> (Vec<Answer>, Vec<Fault>) {
        let mut after = random.span(Duration::from_micros(100), Duration::from_millis(30));
        let Some(message) = self.respond(query) else {
            return (vec![Answer { after, message: None }], Vec::new());
        };
        let struck: Vec<Fault> = faults.iter().copied().filter(|fault| is_dns(*fault) && random.one_in(8)).collect();
        let mut message = Some(message);
        let mut answers = Vec::new();
        for fault in &struck {
            match fault {
                Fault::DnsDelay => after += random.span(Duration::from_millis(100), Duration::from_secs(4)),
                Fault::DnsLoss => message = None,
                Fault::DnsServfail => message = message.map(|_| refusal(query, 2)),
                Fault::DnsNxdomain => message = message.map(|_| refusal(query, 3)),
                Fault::DnsTruncation if transport == Transport::Udp => {
                    message = message.map(|_| [&refusal(query, 0)[..2], &[0x87], &refusal(query, 0)[3..]].concat());
                }
                Fault::DnsWrongId => {
                    let mut guess = lie(query);
                    guess[1] ^= 1 << random.below(8);
                    answers.push(Answer { after: after / 2, message: Some(guess) });
                }
                Fault::DnsSpoof => {
                    answers.push(Answer { after: after + Duration::from_millis(1), message: Some(lie(query)) });
                }
                Fault::DnsGarbage => {
                    let length = random.between(0, query.len());
                    answers.push(Answer { after: after / 2, message: Some(query[..length].to_vec()) });
                }
                _ => {}
            }
        }
        match (message, transport) {
            (None, Transport::Udp) => answers.retain(|answer| answer.after < after),
            (message, _) => answers.push(Answer { after, message }),
        }
        (answers, struck)
    }

    fn respond(&mut self, query: &[u8]) -> Option<Vec<u8>> {
        let (id, question) = query.split_at_checked(2)?;
        let zone = &self.zone;
        let answer = self.known.entry(question.to_vec()).or_insert_with(|| zone.respond(query));
        let mut answer = answer.clone()?;
        answer[..2].copy_from_slice(id);
        Some(answer)
    }
}

const fn is_dns(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::DnsDelay
            | Fault::DnsLoss
            | Fault::DnsServfail
            | Fault::DnsNxdomain
            | Fault::DnsTruncation
            | Fault::DnsWrongId
            | Fault::DnsSpoof
            | Fault::DnsGarbage
    )
}

/// Where the question of a query ends.
fn question_end(query: &[u8]) -> usize {
    let mut at = 12;
    while let Some(length) = query.get(at).copied().filter(|length| *length > 0) {
        at += 1 + usize::from(length);
    }
    (at + 5).min(query.len())
}

/// An answer without records: the question, and this response code.
fn refusal(query: &[u8], code: u8) -> Vec<u8> {
    let mut message = query[..question_end(query)].to_vec();
    message[2..12].copy_from_slice(&[0x85, 0x80 | code, 0, 1, 0, 0, 0, 0, 0, 0]);
    message
}

/// An answer with one record of the type that was asked for, whose data begins with the address of a liar.
fn lie(query: &[u8]) -> Vec<u8> {
    let mut message = refusal(query, 0);
    message[7] = 1;
    let kind = message[message.len() - 4..message.len() - 2].to_vec();
    let data = match kind.as_slice() {
        [0, 1] => LIE.to_vec(),
        [0, 28] => [&[0x20, 1, 0x0d, 0xb8], &LIE[..], &[0; 8]].concat(),
        _ => b"\0\0\0\0\x14\x95\x04liar\x07example\0".to_vec(),
    };
    message.extend([0xc0, 12]);
    message.extend(kind);
    message.extend([0, 1, 0, 0, 1, 0, 0]);
    message.push(data.len() as u8);
    message.extend(data);
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::{Message, Query, ResponseCode};
    use hickory_proto::rr::{Name, RecordType};

    #[test]
    fn refusals_and_lies_are_messages() {
        for kind in [RecordType::A, RecordType::AAAA, RecordType::SRV] {
            let mut query = Message::query();
            query.add_query(Query::query(Name::from_ascii("d1.example.").expect("a name"), kind));
            let query = query.to_vec().expect("a query");
            let denial = Message::from_vec(&refusal(&query, 3)).expect("a message");
            assert_eq!((denial.metadata.response_code, denial.queries.len()), (ResponseCode::NXDomain, 1));
            let lie = Message::from_vec(&lie(&query)).expect("a message");
            assert_eq!((lie.answers.len(), lie.answers[0].record_type()), (1, kind));
        }
    }
}
