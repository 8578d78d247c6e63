//! For how long a session is resumed.

use std::sync::Arc;
use std::time::Duration;

use rustls::server::ProducesTickets;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection, version};
use rustls_pki_types::ServerName;
use s2s_core::limits;
use s2s_core::tls::{Provider, RustlsProvider};
use s2s_tests::certificates::NOW;

use crate::sides::{
    Ours, Theirs, VERSIONS, domain, identity, real, shake, starttls, their_client, their_server_config,
};

const AGE: Duration = limits::TLS_SESSION_AGE;
const SECOND: Duration = Duration::from_secs(1);

/// Tickets that their server lets live for a week, which is the most. It keeps nothing of them, and takes each again.
#[derive(Debug)]
struct Weekly;

impl ProducesTickets for Weekly {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        7 * 86_400
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        Some(plain.to_vec())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        Some(cipher.to_vec())
    }
}

/// Whether a server of ours resumes at `at` what a client of somebody else, who keeps all that it gets, asks for.
fn accepts(provider: &RustlsProvider, theirs: &Arc<ClientConfig>, at: Duration) -> bool {
    provider.set_time(at);
    let name = ServerName::try_from("t.example").expect("a name");
    let client = ClientConnection::new(Arc::clone(theirs), name).expect("a client");
    let mut server = Ours::new(provider.server(Some(&domain("t.example"))));
    shake(&mut Theirs(Connection::Client(client)), &mut server);
    server.facts().resumed
}

/// Whether a client of ours asks at `at` to resume what a server of somebody else, which allows it, gave it.
fn asks(provider: &RustlsProvider, theirs: &Arc<ServerConfig>, at: Duration) -> bool {
    provider.set_time(at);
    let mut client = Ours::new(provider.client(&domain("m.example"), &domain("t.example"), false));
    let server = ServerConnection::new(Arc::clone(theirs)).expect("a server");
    shake(&mut client, &mut Theirs(Connection::Server(server)));
    client.facts().resumed
}

#[test]
//= RFC9325-3.4-1 test
fn a_session_between_hosts_of_ours_is_resumed_for_a_day_and_no_longer() {
    let provider = real(&["m.example", "t.example"]);
    let late = NOW + AGE + SECOND;
    for (at, resumed) in [(NOW, false), (NOW + AGE, true), (late, false), (late + AGE, true)] {
        provider.set_time(at);
        let (client, server) = starttls(&provider, "m.example", "t.example");
        assert_eq!((client.facts().resumed, server.facts().resumed), (resumed, resumed), "{at:?}");
    }
}

#[test]
//= RFC9325-3.4-1 test
fn a_session_that_we_accepted_is_resumed_for_a_day_and_no_longer() {
    for version in VERSIONS {
        let late = NOW + AGE + SECOND;
        for moments in [
            vec![(NOW, false), (NOW + AGE, true)],
            // A clock that is set back prolongs nothing.
            vec![(NOW, false), (late, false), (late + SECOND, true), (NOW, false)],
        ] {
            let provider = real(&["t.example"]);
            let mut theirs = None;
            their_client(version, &identity("m.example"), "t.example", |config| theirs = Some(config.clone()));
            let theirs = Arc::new(theirs.expect("a configuration"));
            for (at, resumed) in moments {
                assert_eq!(accepts(&provider, &theirs, at), resumed, "{version:?} {at:?}");
            }
        }
    }
}

#[test]
//= RFC9325-3.4-1 test
fn a_session_that_a_server_gave_us_is_asked_for_for_a_day_whatever_it_says_of_its_tickets() {
    for version in VERSIONS {
        // Without a ticketer: ids in TLS 1.2, of which nobody says how long they are good for, and tickets for a day.
        for ticketer in [None, Some(Arc::new(Weekly))] {
            let provider = real(&["m.example"]);
            let mut theirs = their_server_config(version, &identity("t.example"));
            if let Some(ticketer) = ticketer.clone() {
                theirs.ticketer = ticketer;
            }
            let theirs = Arc::new(theirs);
            let late = NOW + AGE + SECOND;
            // What a resumption brings is no younger than what was resumed; a clock that is set back prolongs nothing.
            for (at, resumed) in [
                (NOW, false),
                (NOW + AGE / 2, true),
                (NOW + AGE, true),
                (late, false),
                (late + SECOND, true),
                (NOW, false),
            ] {
                assert_eq!(asks(&provider, &theirs, at), resumed, "{version:?} {ticketer:?} {at:?}");
            }
        }
    }
}

#[test]
//= RFC6120-4.9.3.16-1 test
fn what_is_forgotten_is_not_asked_for_in_either_version() {
    for version in VERSIONS {
        let provider = real(&["m.example"]);
        let theirs = Arc::new(their_server_config(version, &identity("t.example")));
        assert!(!asks(&provider, &theirs, NOW), "{version:?}");
        assert!(asks(&provider, &theirs, NOW), "{version:?}");
        provider.forget_sessions(&domain("m.example"), &domain("t.example"));
        assert!(!asks(&provider, &theirs, NOW), "{version:?}");
    }
}

#[test]
fn of_all_the_tickets_that_a_server_gives_a_few_are_kept() {
    let provider = real(&["m.example"]);
    let mut theirs = their_server_config(&version::TLS13, &identity("t.example"));
    theirs.ticketer = Arc::new(Weekly);
    theirs.send_tls13_tickets = 3 * limits::TLS_TICKETS;
    let mut sparing = theirs.clone();
    sparing.send_tls13_tickets = 0;
    assert!(!asks(&provider, &Arc::new(theirs), NOW));
    let sparing = Arc::new(sparing);
    let resumed = (0..2 * limits::TLS_TICKETS).filter(|_| asks(&provider, &sparing, NOW)).count();
    assert_eq!(resumed, limits::TLS_TICKETS, "each is good for one resumption");
}
