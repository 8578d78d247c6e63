//! The sessions that may be resumed: so many, and none that is too old.
//!
//! They are kept in memory only. A ticket of ours is a random name for one, so that no key of tickets has to be kept or
//! rotated, and what is forgotten here is gone.
//!
//! Where we accept, the age of a session counts from the handshake that made it. A resumption makes none in TLS 1.2,
//! and new ones with keys of their own in TLS 1.3. Where we connect, it counts from the handshake that found nothing of
//! the server to resume: rustls stores the sessions of TLS 1.2 again at each resumption, as if they had just begun, and
//! goes by what the server says of its tickets, which may be that they live for ever.
//!
//! - [RFC 9325 section 3.4](https://www.rfc-editor.org/rfc/rfc9325#section-3.4)
//! - [RFC 8446 section 4.6.1](https://www.rfc-editor.org/rfc/rfc8446#section-4.6.1)

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::server::StoresServerSessions;
use rustls_pki_types::ServerName;
use zeroize::Zeroizing;

use super::Clock;
use crate::limits;
use crate::machine::CLOCK_TOLERANCE;

/// Servers that are remembered, so that all of their tickets are no more than [`limits::TLS_SESSIONS`].
const SERVERS: usize = limits::TLS_SESSIONS / limits::TLS_TICKETS;

/// What is remembered, the oldest first.
struct Aged<K, V> {
    most: usize,
    entries: VecDeque<Entry<K, V>>,
}

struct Entry<K, V> {
    key: K,
    /// Seconds since 1970.
    since: u64,
    value: V,
}

impl<K: PartialEq, V> Aged<K, V> {
    const fn new(most: usize) -> Self {
        Self { most, entries: VecDeque::new() }
    }

    /// Forgets what is too old at `now`. So is what begins later than now: the clock was set back, and nobody can tell
    /// how old it is. Machines that share a clock may disagree a little, though.
    //= RFC9325-3.4-1
    fn forget_old(&mut self, now: u64) {
        let (oldest, tolerance) = (limits::TLS_SESSION_AGE.as_secs(), CLOCK_TOLERANCE.as_secs());
        let begun = now.saturating_add(tolerance);
        self.entries
            .retain(|entry| begun.checked_sub(entry.since).is_some_and(|age| age <= oldest.saturating_add(tolerance)));
    }

    fn find(&mut self, key: &K) -> Option<&mut V> {
        self.entries.iter_mut().find(|entry| entry.key == *key).map(|entry| &mut entry.value)
    }

    fn forget(&mut self, key: &K) -> Option<V> {
        let at = self.entries.iter().position(|entry| entry.key == *key)?;
        self.entries.remove(at).map(|entry| entry.value)
    }

    /// Adds what is not there yet. The oldest make room.
    fn begin(&mut self, key: K, since: u64, value: V) {
        self.entries.push_back(Entry { key, since, value });
        while self.entries.len() > self.most {
            self.entries.pop_front();
        }
    }
}

/// What a panic left behind the lock is as good as before: each change is one of a single entry.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The sessions in which one of our domains accepted, by their names: ids in TLS 1.2, tickets in TLS 1.3.
pub(super) struct ServerSessions {
    clock: Arc<Clock>,
    sessions: Mutex<Aged<Vec<u8>, Zeroizing<Vec<u8>>>>,
}

impl ServerSessions {
    pub(super) const fn new(clock: Arc<Clock>) -> Self {
        Self { clock, sessions: Mutex::new(Aged::new(limits::TLS_SESSIONS)) }
    }

    /// Those that may be resumed now.
    fn fresh(&self) -> MutexGuard<'_, Aged<Vec<u8>, Zeroizing<Vec<u8>>>> {
        let mut sessions = lock(&self.sessions);
        sessions.forget_old(self.clock.seconds());
        sessions
    }
}

impl StoresServerSessions for ServerSessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        if value.len() > limits::TLS_SESSION_BYTES {
            return false;
        }
        let mut sessions = self.fresh();
        sessions.forget(&key);
        sessions.begin(key, self.clock.seconds(), Zeroizing::new(value));
        true
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.fresh().find(&key.to_vec()).map(|session| session.to_vec())
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.fresh().forget(&key.to_vec()).map(|session| session.to_vec())
    }

    fn can_cache(&self) -> bool {
        true
    }
}

impl fmt::Debug for ServerSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerSessions").finish_non_exhaustive()
    }
}

/// The sessions in which one of our domains connected, by the domains that it connected to.
pub(super) struct ClientSessions {
    clock: Arc<Clock>,
    servers: Mutex<Aged<ServerName<'static>, Server>>,
}

/// What is remembered of a server.
#[derive(Default)]
struct Server {
    group: Option<NamedGroup>,
    tls12: Option<Tls12ClientSessionValue>,
    /// The newest last.
    tls13: VecDeque<Tls13ClientSessionValue>,
}

impl ClientSessions {
    pub(super) const fn new(clock: Arc<Clock>) -> Self {
        Self { clock, servers: Mutex::new(Aged::new(SERVERS)) }
    }

    /// Forgets all that there is of a server.
    pub(super) fn forget(&self, name: &ServerName<'static>) {
        lock(&self.servers).forget(name);
    }

    /// Looks at what there is of a server, unless it is too old.
    fn look<T>(&self, name: &ServerName<'_>, at: impl FnOnce(&mut Server) -> Option<T>) -> Option<T> {
        let mut servers = lock(&self.servers);
        servers.forget_old(self.clock.seconds());
        servers.find(&name.to_owned()).and_then(at)
    }

    /// Adds to what there is of a server, which does not make it younger. If it is too old by now, what is added comes
    /// of a resumption that began in time, and goes with it.
    fn add(&self, name: ServerName<'static>, to: impl FnOnce(&mut Server)) {
        let mut servers = lock(&self.servers);
        if let Some(server) = servers.find(&name) {
            to(server);
            return;
        }
        let mut server = Server::default();
        to(&mut server);
        servers.begin(name, self.clock.seconds(), server);
    }
}

impl ClientSessionStore for ClientSessions {
    fn set_kx_hint(&self, server_name: ServerName<'static>, group: NamedGroup) {
        self.add(server_name, |server| server.group = Some(group));
    }

    fn kx_hint(&self, server_name: &ServerName<'_>) -> Option<NamedGroup> {
        self.look(server_name, |server| server.group)
    }

    fn set_tls12_session(&self, server_name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.add(server_name, |server| server.tls12 = Some(value));
    }

    fn tls12_session(&self, server_name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.look(server_name, |server| server.tls12.clone())
    }

    fn remove_tls12_session(&self, server_name: &ServerName<'static>) {
        if let Some(server) = lock(&self.servers).find(server_name) {
            server.tls12 = None;
        }
    }

    fn insert_tls13_ticket(&self, server_name: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.add(server_name, |server| {
            server.tls13.push_back(value);
            if server.tls13.len() > limits::TLS_TICKETS {
                server.tls13.pop_front();
            }
        });
    }

    fn take_tls13_ticket(&self, server_name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.look(server_name, |server| server.tls13.pop_back())
    }
}

impl fmt::Debug for ClientSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSessions").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const AGE: u64 = limits::TLS_SESSION_AGE.as_secs();
    const NOW: u64 = 1_767_225_600;

    fn clock() -> Arc<Clock> {
        Arc::new(Clock(AtomicU64::new(NOW)))
    }

    fn set(clock: &Clock, now: u64) {
        clock.0.store(now, Ordering::Relaxed);
    }

    #[test]
    //= RFC9325-3.4-1 test
    fn a_session_is_found_until_it_is_too_old_and_is_forgotten_then() {
        let clock = clock();
        let sessions = ServerSessions::new(clock.clone());
        assert!(sessions.can_cache() && sessions.put(b"a name".to_vec(), b"a session".to_vec()));
        set(&clock, NOW + AGE);
        assert_eq!(sessions.get(b"a name"), Some(b"a session".to_vec()));
        assert_eq!(sessions.get(b"another"), None);
        set(&clock, NOW + AGE + 1);
        assert_eq!(sessions.get(b"a name"), None);
        assert!(lock(&sessions.sessions).entries.is_empty(), "it is not only hidden");
        assert!(sessions.put(b"a name".to_vec(), b"a new one".to_vec()));
        assert_eq!(sessions.take(b"a name"), Some(b"a new one".to_vec()));
        assert_eq!(sessions.take(b"a name"), None, "it is taken once");
    }

    #[test]
    //= RFC9325-3.4-1 test
    fn a_clock_that_is_set_back_ends_sessions_and_prolongs_none() {
        let clock = clock();
        let sessions = ServerSessions::new(clock.clone());
        sessions.put(b"a name".to_vec(), b"a session".to_vec());
        set(&clock, NOW - CLOCK_TOLERANCE.as_secs());
        assert!(sessions.get(b"a name").is_some(), "clocks may disagree a little");
        set(&clock, NOW - CLOCK_TOLERANCE.as_secs() - 1);
        assert_eq!(sessions.get(b"a name"), None);
        set(&clock, NOW);
        assert_eq!(sessions.get(b"a name"), None);
    }

    #[test]
    fn a_session_that_holds_too_much_is_not_kept() {
        let sessions = ServerSessions::new(clock());
        assert!(sessions.put(b"fits".to_vec(), vec![7; limits::TLS_SESSION_BYTES]));
        assert!(!sessions.put(b"does not".to_vec(), vec![7; limits::TLS_SESSION_BYTES + 1]));
        assert_eq!((sessions.get(b"fits").is_some(), sessions.get(b"does not")), (true, None));
    }

    #[test]
    fn the_oldest_session_makes_room_and_a_name_has_one() {
        let sessions = ServerSessions::new(clock());
        let name = |n: usize| n.to_string().into_bytes();
        for n in 0..=limits::TLS_SESSIONS {
            sessions.put(name(n), b"the first".to_vec());
        }
        assert_eq!(sessions.get(&name(0)), None);
        sessions.put(name(2), b"the second".to_vec());
        assert_eq!(sessions.get(&name(1)), Some(b"the first".to_vec()), "nothing had to make room for it");
        assert_eq!(sessions.get(&name(2)), Some(b"the second".to_vec()));
        assert_eq!(sessions.get(&name(limits::TLS_SESSIONS)), Some(b"the first".to_vec()));
    }

    #[test]
    //= RFC9325-3.4-1 test
    fn what_is_added_to_a_server_does_not_make_it_younger() {
        let clock = clock();
        let sessions = ClientSessions::new(clock.clone());
        let name = ServerName::try_from("m.example").expect("a name");
        sessions.set_kx_hint(name.clone(), NamedGroup::X25519);
        set(&clock, NOW + AGE);
        assert_eq!(sessions.kx_hint(&name), Some(NamedGroup::X25519));
        sessions.set_kx_hint(name.clone(), NamedGroup::secp256r1);
        assert_eq!(sessions.kx_hint(&name), Some(NamedGroup::secp256r1));
        set(&clock, NOW + AGE + 1);
        sessions.set_kx_hint(name.clone(), NamedGroup::X25519);
        assert_eq!(sessions.kx_hint(&name), None, "nobody looked in between");
        sessions.set_kx_hint(name.clone(), NamedGroup::X25519);
        set(&clock, NOW + 2 * AGE + 1);
        assert_eq!(sessions.kx_hint(&name), Some(NamedGroup::X25519), "it began anew");
        sessions.forget(&name);
        assert_eq!(sessions.kx_hint(&name), None);
    }

    #[test]
    fn all_servers_together_have_no_more_sessions_than_the_limit() {
        let sessions = ClientSessions::new(clock());
        let name = |n: usize| ServerName::try_from(format!("{n}.example")).expect("a name");
        for n in 0..=limits::TLS_SESSIONS / limits::TLS_TICKETS {
            sessions.set_kx_hint(name(n), NamedGroup::X25519);
        }
        assert_eq!(sessions.kx_hint(&name(0)), None);
        assert_eq!(sessions.kx_hint(&name(1)), Some(NamedGroup::X25519));
    }

    #[test]
    fn a_panic_beside_the_sessions_does_not_spread() {
        let sessions = ServerSessions::new(clock());
        sessions.put(b"a name".to_vec(), b"a session".to_vec());
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let held = sessions.sessions.lock();
            assert!(held.is_err(), "a panic while the lock is held");
        }));
        assert!(panicked.is_err() && sessions.sessions.is_poisoned());
        assert_eq!(sessions.get(b"a name"), Some(b"a session".to_vec()));
    }
}
