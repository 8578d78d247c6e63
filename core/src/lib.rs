//! XMPP server-to-server federation as a pure state machine.
//!
//! This crate speaks server-to-server XMPP ([RFC 6120](https://www.rfc-editor.org/rfc/rfc6120)): it finds the servers
//! of a domain in DNS, opens and accepts streams, negotiates TLS, proves domains by SASL EXTERNAL or by dialback, and
//! carries stanzas between them. It does no I/O: no sockets, threads, clocks, files, environment or operating system
//! randomness. Reports go in, effects and events come out, and the same inputs give the same outputs however the
//! bytes were cut.
//!
//! There are two machines. [`node::Node`] federates with other servers. [`component::Hub`] serves the components
//! behind our own hosts ([XEP-0114](https://xmpp.org/extensions/xep-0114.html)); who embeds the crate into a server
//! of its own does not need it. Both are a [`machine::Machine`], so one adapter drives both.
//!
//! # The contract
//!
//! Whoever drives a [`Machine`](machine::Machine) repeats these steps:
//!
//! 1. Wait for a socket, for the moment of [`poll_timeout`](machine::Machine::poll_timeout), or for the application.
//! 2. Make **one** call of `handle_*`, with a `now` that is not before that of the last call.
//! 3. Drain [`poll_effect`](machine::Machine::poll_effect), and do what each effect says.
//! 4. Drain [`poll_event`](machine::Machine::poll_event) while the application has room. A machine whose events wait
//!    reads no more, and an event that is taken may raise effects: after it, drain step 3 again. One that has many to tell
//!    stops in between, with a `poll_timeout` that has come: step 5, and all sockets that are ready, go before the rest.
//! 5. For each connection that was named by [`Effect::Wake`](machine::Effect::Wake), just accepted, or just opened:
//!    write what is [`pending`](machine::Machine::pending) and report it by
//!    [`handle_sent`](machine::Machine::handle_sent); read only while
//!    [`interest`](machine::Machine::interest) says so, asked anew before each read, and no more once the peer's half has
//!    ended ([`handle_eof`](machine::Machine::handle_eof)).
//! 6. Arm the timer for what `poll_timeout` says now. It may have moved either way.
//!
//! And it can rely on these:
//!
//! - `handle_*` never fails. What goes wrong is told as an event.
//! - A [`handle_timeout`](machine::Machine::handle_timeout) that comes early changes nothing.
//! - An id is never reused. After [`Effect::Drop`](machine::Effect::Drop) or
//!   [`Effect::Forget`](machine::Effect::Forget) the machine never names it again.
//! - A report about an id that the machine does not know (any more) is ignored: such races are normal.
//! - While it is called it asks for nothing but [`SourceAddresses`](dns::SourceAddresses), if you gave it one. That must not
//!   block.
//! - [`is_finished`](machine::Machine::is_finished) turns true after a shutdown, when everything is closed.
//!
//! A machine counts the wall clock from the [`Anchor`](time::Anchor) that it was made with. Who drives one looks every
//! [`CLOCK_CHECK`](machine::CLOCK_CHECK) whether the clock of the system has been set, and tells it by
//! [`handle_clock`](machine::Machine::handle_clock).
//!
//! [`Driven`](machine::Driven) keeps the order of steps 2 to 4 for you, watches the wall clock, reports what failed at once,
//! and says again what found no descriptor or thread. What the machine cannot see is left to the adapter: connections should send small
//! writes at once (`TCP_NODELAY`), acknowledge at once while [`is_negotiating`](machine::Machine::is_negotiating)
//! (`TCP_QUICKACK` after each read: it does not last), and end when the peer's system is gone (`TCP_USER_TIMEOUT` of a
//! minute, and keepalive that probes after a minute of silence).
//!
//! # The way of the bytes
//!
//! ```text
//!        adapter                                     core
//! socket --read--> handle_bytes --> [link: tunnel --plain--> framer --frame--> stream] --event--> [node: routes, dns,
//! socket <-write-- pending, sent <- [link: tunnel <--------- plain <---------- stream] <-command--  dialback, policy]
//! timer  <-------- poll_timeout <--------------------- the earliest deadline ---------------------------------+
//! dial, ask, drop <----------------------------------- poll_effect <------------------------------------------+
//! application <--------------------------------------- poll_event                   handle_command <-- application
//! ```
//!
//! # The modules
//!
//! Imports go one way: what stands below may use what stands above it.
//!
//! ```text
//! addr  ns  limits  reason  time  entropy  machine
//! xml
//! stanza
//! sasl  starttls  dialback  tls  dns
//! auth
//! policy
//! stream
//! link  route  component
//! node
//! ```
//!
//! There are three exceptions, for names only: [`reason`] knows the conditions that [`stanza`] and [`stream`] define,
//! each error of [`xml`] knows its stream condition, and [`policy::explain`](policy::explain()) names a direction of [`node`].
//!
//! - [`addr`]: domains, pairs, addresses; [`ns`]: namespaces; [`limits`]: every bound; [`reason`]: every reason.
//! - [`time`], [`entropy`]: wall-clock time; randomness from one seed.
//! - [`machine`]: what an adapter drives.
//! - [`xml`]: bytes to frames; [`stanza`]: heads and errors; [`sasl`], [`starttls`], [`dialback`]: their elements.
//! - [`tls`]: sessions, and the judgement of certificates; [`dns`]: a stub resolver.
//! - [`auth`]: the evidence that a pair was proved, which is made of other evidence only: of a certificate that was judged,
//!   of the answer of an authoritative server; [`policy`]: who may federate and how each side must prove itself, as pure
//!   functions.
//! - [`stream`]: the negotiation of one XML stream, in either role; [`link`]: one connection, that is tunnel, framer
//!   and stream; [`route`]: which addresses may be dialled; [`component`]: the hub.
//! - [`node`]: the machine that joins it all.
//!
//! # How to begin
//!
//! Beside this crate, a program names those whose types it gives to it, with a provider of cryptography to choose, and one
//! for randomness:
//!
//! ```toml
//! rustls = { version = "0.23", default-features = false, features = ["std", "tls12", "ring"] } # or "aws_lc_rs"
//! rustls-pki-types = { version = "1", features = ["std"] }                                     # reads PEM
//! getrandom = "0.4"                                                                            # fills Seed and Secret
//!
//! # In debug builds rustls asserts that it sends one alert at most, and a peer can make that fail.
//! [profile.dev.package.rustls]
//! debug-assertions = false
//! ```
//!
//! Make a [`node::Config`] from a [`tls::Provider`] ([`tls::RustlsProvider`] is the real one), a
//! [`tls::verify::Trust`] and a [`dialback::Secret`]; add a [`policy::HostOptions`] for each domain that you serve;
//! make the [`node::Node`] from it, a [`Seed`](entropy::Seed) and an [`Anchor`](time::Anchor). Seed and secret are random
//! bytes of the operating system: the seed is drawn at every start, the secret kept. Name your listeners in
//! [`own_listeners`](node::Config::own_listeners), or DNS can make you dial yourself. Give the resolver
//! [`sources`](dns::ResolverConfig::sources), such as `SystemSources` of our adapters, or it tries IPv6 first even where you
//! have none. Send with
//! [`node::Command::Send`], receive [`node::Event::Stanza`], and answer [`node::Event::Undeliverable`] with
//! [`Stanza::bounce`](stanza::Stanza::bounce).
//!
//! From PEM files, with `rustls_pki_types::pem::PemObject`, a provider and a trust are made like this:
//!
//! ```no_run
//! # use std::{error::Error, sync::Arc};
//! # use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
//! # use s2s_core::tls::{HostIdentity, RustlsProvider, Version, verify::Trust};
//! # fn main() -> Result<(), Box<dyn Error>> {
//! let crypto = rustls::crypto::ring::default_provider();
//! let chain = CertificateDer::pem_file_iter("ours.crt")?.collect::<Result<_, _>>()?;
//! let identity = HostIdentity::new("ours.example".parse()?, chain, PrivateKeyDer::from_pem_file("ours.key")?);
//! let mut trust = Trust::new(crypto.signature_verification_algorithms.all);
//! trust.add_anchor(&CertificateDer::from_pem_file("authority.pem")?)?;
//! let provider = RustlsProvider::new(Arc::new(crypto), vec![identity], Version::Tls12)?;
//! # Ok(())
//! # }
//! ```
//!
//! Three programs in `examples` go further: `in_memory` with TLS, timers and a shutdown, `poll_loop` with sockets in a
//! loop of its own, `link_alone` without a node. Who does not want a loop takes `s2s-smol` or `s2s-std`.
//!
//! In a program around an asynchronous runtime (tokio, for instance) one task has the machine in a [`Driven`](machine::Driven)
//! and takes reports from a channel, beside a timer for its [`deadline`](machine::Driven::deadline). Each socket has a task
//! that only waits until it is readable or writable, and says so; the machine's task then reads or writes once, without
//! waiting. That way nothing is read that was not asked for, and a task that is aborted at [`Effect::Drop`](machine::Effect::Drop)
//! takes nothing with it. Such a task waits for what [`interest`](machine::Machine::interest) says and for room to write while
//! something is pending, and is told anew at each [`Effect::Wake`](machine::Effect::Wake); whoever waits to read behind the end
//! of the peer's half is woken for ever. With tokio, `socket2::SockRef` sets the options that its sockets have not, and shuts
//! down the writing half by reference. `s2s-smol` has such tasks, and a machine that they share.
//!
//! Two servers to federate with are there at once: `s2sd demo --guest DIRECTORY` starts them with a DNS server, and writes
//! a certificate for the domain `guest.example` and that of their authority. It says where that domain is looked for, which
//! address to ask, and which messages are answered. They are on loopback: where DNS leads there
//! [`private_addresses`](node::Config::private_addresses) has to allow it. Two of their four hosts show self-signed
//! certificates, and are refused while [`secure_auth`](policy::HostOptions::secure_auth) demands valid ones.
//!
//! Here two nodes federate in memory. They have no certificates and no objection to that, so the message goes in
//! clear and dialback proves its sender, over a second connection that the receiving node opens:
//!
//! ```
//! use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::{Duration, Instant}};
//! use s2s_core::addr::Domain;
//! use s2s_core::dialback::Secret;
//! use s2s_core::dns::Security;
//! use s2s_core::entropy::Seed;
//! use s2s_core::machine::{ConnId, Effect, Listener, Machine};
//! use s2s_core::node::{Command, Config, Event, Node, StaticRoute};
//! use s2s_core::policy::HostOptions;
//! use s2s_core::stanza::Stanza;
//! use s2s_core::time::Anchor;
//! use s2s_core::tls::{Provider, Session, TlsError, verify::Trust};
//!
//! #[derive(Debug)]
//! struct NoTls;
//!
//! impl Provider for NoTls {
//!     fn client(&self, _: &Domain, _: &Domain, _: bool) -> Result<Box<dyn Session>, TlsError> {
//!         Err(TlsError::NoCertificate)
//!     }
//!     fn server(&self, _: Option<&Domain>) -> Result<Box<dyn Session>, TlsError> {
//!         Err(TlsError::NoCertificate)
//!     }
//!     fn has_certificate(&self, _: &Domain) -> bool {
//!         false
//!     }
//! }
//!
//! let now = Instant::now();
//! let addrs: [SocketAddr; 2] = ["192.0.2.1:5269".parse()?, "192.0.2.2:5269".parse()?];
//! let domains: [Domain; 2] = ["a.example".parse()?, "b.example".parse()?];
//! let mut nodes = [0, 1].map(|own: usize| {
//!     let secret = Secret::new(&[7; 32]).expect("long enough");
//!     let mut config = Config::new(Arc::new(NoTls), Arc::new(Trust::new(&[])), secret, Vec::new());
//!     config.hosts.insert(domains[own].clone(), HostOptions::default());
//!     let route = StaticRoute { addr: addrs[1 - own], security: Security::StartTls };
//!     config.routes.insert(domains[1 - own].clone(), route); // in place of DNS
//!     Node::new(config, Seed([own as u8; 32]), Anchor { instant: now, unix: Duration::ZERO })
//! });
//!
//! let message = Stanza::parse("<message from='x@a.example' to='y@b.example'><body>hello</body></message>")?;
//! nodes[0].handle_command(now, Command::Send(message.clone()));
//!
//! let mut wires: BTreeMap<(usize, ConnId), ConnId> = BTreeMap::new(); // from either end to the other
//! let mut received = Vec::new();
//! while received.is_empty() {
//!     for own in [0, 1] {
//!         let peer = 1 - own;
//!         while let Some(effect) = nodes[own].poll_effect() {
//!             if let Effect::Dial { conn, .. } = effect {
//!                 let far = nodes[peer].handle_accept(now, addrs[own], Listener::StartTls).expect("accepted");
//!                 wires.extend([((own, conn), far), ((peer, far), conn)]);
//!                 nodes[own].handle_connected(now, conn);
//!             } // nothing waits, fails or ends here: an adapter does what each of the others says
//!         }
//!         for ((_, conn), far) in wires.iter().filter(|((end, _), _)| *end == own) {
//!             let bytes = nodes[own].pending(*conn).to_vec();
//!             nodes[own].handle_sent(now, *conn, bytes.len());
//!             if !bytes.is_empty() {
//!                 nodes[peer].handle_bytes(now, *far, &bytes);
//!             }
//!         }
//!         while let Some(event) = nodes[own].poll_event() {
//!             match event {
//!                 Event::Stanza { pair, stanza } => received.push((pair, stanza)),
//!                 Event::PeerUp { .. } => {}
//!                 event => panic!("{event:?}"),
//!             }
//!         }
//!     }
//! }
//! let (pair, stanza) = &received[0];
//! assert_eq!([&pair.remote, &pair.local], [&domains[0], &domains[1]], "proved by dialback");
//! assert_eq!(stanza.head(), message.head());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
// A server stays up whatever a peer sends: nothing here may panic. What cannot fail says so by its type, and arithmetic
// saturates. Tests may.
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

pub mod addr;
pub mod auth;
mod buf;
pub mod component;
pub mod dialback;
pub mod dns;
pub mod entropy;
pub mod limits;
pub mod link;
pub mod machine;
pub mod node;
pub mod ns;
pub mod policy;
mod rate;
pub mod reason;
pub mod route;
pub mod sasl;
pub mod stanza;
pub mod starttls;
pub mod stream;
pub mod time;
pub mod tls;
pub mod xml;
