//! Every bound, with its unit, its default and where it comes from.
//!
//! Nothing that a peer sends makes anything grow without one of these.

use std::time::Duration;

/// Bytes of a localpart, domainpart or resourcepart, [RFC 7622 section 3.1](https://www.rfc-editor.org/rfc/rfc7622#section-3.1).
pub const ADDRESS_PART_BYTES: usize = 1023;

/// Bytes of a stream header or first-level element before the peer is authenticated (decision D-15).
pub const UNAUTHENTICATED_ELEMENT_BYTES: usize = 10_000;

/// Bytes that a peer may send in all before it is authenticated, dialback and SASL exchanges included.
///
/// Room for the restarts and for the verification of dozens of pairs; a peer that needs more is not negotiating.
pub const UNAUTHENTICATED_TOTAL_BYTES: usize = 131_072;

/// Smallest stanza limit that may be configured, in bytes, [RFC 6120 section 13.12](https://www.rfc-editor.org/rfc/rfc6120#section-13.12).
pub const MIN_STANZA_BYTES: usize = 10_000;

/// Default stanza limit, in bytes: `s2s_stanza_size_limit`.
pub const STANZA_BYTES: usize = 10_485_760;

/// Elements open at once in one first-level element: each takes memory while it is open.
pub const ELEMENT_DEPTH: usize = 100;

/// Attributes of one start tag, namespace declarations not counted.
pub const ATTRIBUTES: usize = 256;

/// Namespace declarations of one start tag.
pub const DECLARATIONS: usize = 64;

/// Child elements of one first-level element before authentication.
pub const UNAUTHENTICATED_CHILDREN: usize = 256;

/// Child elements of one first-level element after authentication. A stanza becomes no tree, but an authenticated
/// peer can send something else, and a tree takes some thirty times its bytes.
pub const STANZA_CHILDREN: usize = 65_536;

/// Bytes of one XML token (a name, an attribute value, a run of text without markup that is kept in one piece): one may
/// fill the smallest stanza limit, [RFC 6120 section 13.12](https://www.rfc-editor.org/rfc/rfc6120#section-13.12).
///
/// The lexer takes a buffer of this size for each stream on which an element is under way, and anew for each reference,
/// so it does not grow with the limit that is configured.
//= RFC6120-13.12-5
pub const TOKEN_BYTES: usize = MIN_STANZA_BYTES;

/// Bytes handed to the XML lexer at once: it scans the whole slice for the next delimiter.
pub const LEXER_WINDOW_BYTES: usize = 4096;

/// Bytes of a stream's `xml:lang` that is repeated on stanzas without one. Language tags are shorter; something
/// longer would let one stream header multiply every stanza after it.
pub const LANGUAGE_BYTES: usize = 64;

/// White space between `<starttls/>` or `<proceed/>` and the first byte of TLS, in bytes.
pub const STARTTLS_WHITE_SPACE_BYTES: usize = 16;

/// SASL attempts on one stream, [RFC 6120 section 6.4.5](https://www.rfc-editor.org/rfc/rfc6120#section-6.4.5).
pub const SASL_ATTEMPTS: u8 = 3;

/// Bytes of a dialback key, [XEP-0220](https://xmpp.org/extensions/xep-0220.html). Deployed keys have 40 to 128.
pub const DIALBACK_KEY_BYTES: usize = 1024;

/// Bytes of a stream id that a peer gave to its stream.
pub const STREAM_ID_BYTES: usize = 1024;

/// Dialback verifications that one inbound stream may have pending.
pub const PENDING_VERIFICATIONS_PER_STREAM: usize = 16;

/// Dialback keys that may be refused on one inbound stream, within [`REFUSED_KEYS_INTERVAL`], once the certificate was judged
/// for them: that is a good part of what a TLS handshake costs, and there are limits for those.
pub const REFUSED_KEYS_PER_STREAM: usize = 32;

/// The time that [`REFUSED_KEYS_PER_STREAM`] is for.
pub const REFUSED_KEYS_INTERVAL: Duration = Duration::from_secs(60);

/// Pairs that one inbound stream may have proved.
pub const PAIRS_PER_STREAM: usize = 256;

/// Dialback verifications pending in one node.
pub const PENDING_VERIFICATIONS: usize = 1024;

/// Bytes of a peer's error text that are kept for events and logs.
pub const ERROR_TEXT_BYTES: usize = 256;

/// Dialback verifications pending for streams from one address (IPv6: one /64).
pub const PENDING_VERIFICATIONS_PER_ADDRESS: usize = 64;

/// Streams of one pair that may end, one after the other, in the middle of the same stanza before it goes back to its
/// sender. It may be the stanza that ends them, for its size or its content, and others wait behind it.
pub const INTERRUPTIONS: u8 = 2;

/// Addresses that one attempt to reach a domain may try.
pub const CANDIDATES: usize = 16;

/// Connections that we are opening at once, beyond which no attempt opens a second one beside its first. Of attempts
/// there are no more than [`ROUTES`] and [`PENDING_VERIFICATIONS`] together.
pub const DIALS: usize = 8192;

/// Between the starts of two candidates while none has connected, [RFC 8305 section 8](https://www.rfc-editor.org/rfc/rfc8305#section-8).
pub const DIAL_STAGGER: Duration = Duration::from_millis(250);

/// The first wait after a failure, doubled with each further one. With its jitter a peer that refuses sees fewer
/// than ten attempts in the first minute.
pub const BACKOFF_BASE: Duration = Duration::from_secs(2);

/// The longest wait after a failure.
pub const BACKOFF_CAP: Duration = Duration::from_secs(300);

/// Refusals of one domain, of whichever pairs, that each only count for the pair that was refused. Further ones count for
/// all pairs that it has refused together.
pub const REFUSALS: u32 = 4;

/// A stream that the peer breaks sooner than this after it was dialled has not served.
pub const STEADY_STREAM: Duration = Duration::from_secs(60);

/// Streams of one pair that the peer may break, one after the other, before they have served, so that the next one is
/// still opened at once.
pub const BROKEN_STREAMS: u32 = 3;

/// How often a sign of life of the peer may end a wait.
pub const BACKOFF_END_INTERVAL: Duration = Duration::from_secs(60);

/// Pairs of which it is remembered how their peers took what we said, and domains of which certificates are.
pub const KNOWN_PEERS: usize = 4096;

/// Certificates of one domain that are remembered, to tell when it shows another: its servers may take turns.
pub const CERTIFICATES_PER_PEER: usize = 4;

/// Domains, pairs and addresses whose failures are remembered.
pub const BACKOFF_ENTRIES: usize = 4096;

/// Bytes that wait in one link for a peer that does not read, beyond which its side of us stops reading.
pub const OUTPUT_HIGH_WATER_BYTES: usize = 262_144;

/// Bytes that wait in one link, below which a route hands it further stanzas.
pub const OUTPUT_LOW_WATER_BYTES: usize = 65_536;

/// Events that wait for the application, beyond which a node or hub stops reading from its sockets.
pub const EVENTS_HIGH_WATER: usize = 256;

/// Events that wait for the application, beyond which stanzas of peers wait in their links, which are not read until
/// then, and the links take turns: who sends little does not wait behind all that a flood has sent.
pub const EVENTS_IN_ORDER: usize = 16;

/// Stanzas that a link has taken in one turn while others wait: what was read together is cheaper to frame together.
pub const STANZAS_A_TURN: usize = 4;

/// Stanzas that are taken in turn before the adapter looks at its sockets again: what peers have sent in large pieces delays
/// who was not read yet by so many, and by what is left of a turn.
pub const STANZAS_AT_ONCE: usize = 8;

/// The same after a read in between, so that one turn of who waited and one of who was read begin.
pub const STANZAS_AFTER_READ: usize = STANZAS_A_TURN + 1;

/// Connections to the component listener that are not attached to a host: before the handshake, or closing.
pub const UNATTACHED_COMPONENTS: usize = 64;

/// Domains whose read rate is remembered. Beyond that, those from which nothing was read lately are forgotten; where
/// there is none, all further domains share one rate.
pub const RATED_DOMAINS: usize = 4096;

/// How often a table that is full is searched for what may go: to look at all of it takes long.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Inbound connections in all.
pub const CONNECTIONS: usize = 10_000;

/// Inbound connections from one address (IPv6: one /64). Hosts of many domains open one for each pair.
pub const CONNECTIONS_PER_ADDRESS: usize = 500;

/// Inbound connections accepted in one second from one address (IPv6: one /64), after those of two quiet seconds. It is more
/// than [`HANDSHAKE_RATE_PER_ADDRESS`], so that it concerns only those who connect and do not even begin TLS.
pub const CONNECTION_RATE_PER_ADDRESS: u64 = 100;

/// Inbound connections that have proved nothing yet.
pub const UNAUTHENTICATED_CONNECTIONS: usize = 2000;

/// Inbound TLS handshakes under way at once. Each takes some 40 kB until it is complete.
pub const HANDSHAKES: usize = 1000;

/// Inbound TLS handshakes under way at once from one address (IPv6: one /64).
pub const HANDSHAKES_PER_ADDRESS: usize = 100;

/// Inbound TLS handshakes begun in one second, after those of two quiet seconds. One takes up to a millisecond of a processor.
pub const HANDSHAKE_RATE: u64 = 500;

/// Inbound TLS handshakes begun in one second from one address (IPv6: one /64).
pub const HANDSHAKE_RATE_PER_ADDRESS: u64 = 50;

/// What an IPv6 /48 may have of what one address may have, its /64 together: it is one site as a rule.
pub const SHARES_PER_SITE: usize = 4;

/// Inbound streams on which one pair of domains may be proved at once, beyond which a further one is in conflict with them.
/// Servers open one for each direction; a cluster may open one from each of its machines.
pub const STREAMS_PER_PAIR: usize = 16;

/// Addresses whose rates of handshakes and of connections are remembered. No more handshakes can matter at the default rate
/// of all together; a connection is forgotten within a fraction of a second.
pub const RATED_PLACES: usize = 4096;

/// How often it is told, for one limit, how many connections it turned away.
pub const TURNED_AWAY_INTERVAL: Duration = Duration::from_secs(1);

/// Pairs for which something waits or a stream of ours is up. A route takes a few kilobytes beside its stanzas.
pub const ROUTES: usize = 16_384;

/// How many of [`ROUTES`] are kept free, by closing the streams that have carried nothing for longest. There are so many
/// fewer routes with nothing but answers to peers, and where only twice as many are left to those, their streams are closed.
pub const SPARE_ROUTES: usize = ROUTES / 4;

/// What a stanza that waits counts beside its bytes: its addresses, and its place in the queue.
pub const QUEUED_STANZA_BYTES: usize = 512;

/// How long a peer may take less than [`WRITE_PROGRESS_BYTES`] of what we have to write.
pub const WRITE_STALL: Duration = Duration::from_secs(60);

/// What a peer has to take in each [`WRITE_STALL`], or all there is: who takes a byte now and then would hold a queue for
/// ever. The slowest modem did a hundred times as much.
pub const WRITE_PROGRESS_BYTES: usize = 4096;

/// How long a stanza counts as perhaps lost if the connection that it was written to breaks. TCP gives up on what the other end does
/// not acknowledge within a quarter of an hour ([RFC 9293 section 3.8.3](https://www.rfc-editor.org/rfc/rfc9293#section-3.8.3)).
pub const UNCERTAIN_AGE: Duration = Duration::from_secs(900);

/// DNS queries under way at once; further ones wait for their turn. Each takes a socket.
pub const DNS_QUERIES: usize = 256;

/// Of so many DNS queries under way at once, peers may cause one: those that verify the domains which they want to
/// prove, and those that find out where answers to them go.
pub const DNS_QUERIES_PER_PEERS: usize = 2;

/// Domains that are looked up, beyond which a lookup ends with the attempt that it served. Below that it goes on for the
/// sake of what will be remembered; a peer that proves domain after domain must not make such lookups pile up.
pub const LATE_LOOKUPS: usize = 64;

/// Bytes of stanzas held for all pairs together, with [`QUEUED_STANZA_BYTES`] for each.
pub const QUEUE_BYTES: usize = 268_435_456;

/// Bytes of stanzas held for one pair, with [`QUEUED_STANZA_BYTES`] for each. One stanza may always wait.
pub const QUEUE_BYTES_PER_PAIR: usize = 1_048_576;

/// Time a stanza may wait for a stream.
pub const QUEUE_AGE: Duration = Duration::from_secs(90);

/// From the lookup to the end of authentication: `s2s_timeout`. Inbound: from the accept.
pub const NEGOTIATION: Duration = Duration::from_secs(90);

/// One candidate, from the dial to features that can be acted on, and the answer to a question about a key:
/// `s2s_attempt_timeout`.
pub const ATTEMPT: Duration = Duration::from_secs(10);

/// From features that do not offer what was asked for ahead of them to the answer, which should be right behind (decision
/// D-52).
pub const UNASKED_ANSWER: Duration = Duration::from_secs(2);

/// From our closing tag to the end of the connection: `s2s_close_timeout` (decision D-20).
pub const CLOSE: Duration = Duration::from_secs(5);

/// Without a byte from the peer or a stanza of ours: `s2s_idle_timeout`.
pub const IDLE: Duration = Duration::from_secs(840);

/// One DNS query over one transport to one server.
pub const DNS_QUERY: Duration = Duration::from_secs(3);

/// Hops of CNAME records that are followed.
pub const CNAME_HOPS: usize = 8;

/// Records of one DNS answer that are looked at.
pub const DNS_RECORDS: usize = 64;

/// Names of one certificate that are looked at; more are ignored. Public authorities issue for at most 100 to 250.
pub const CERTIFICATE_NAMES: usize = 1024;

/// Certificates of one chain that are looked at, the peer's own included. Real chains have 2 to 5.
pub const CHAIN_CERTIFICATES: usize = 10;

/// Certificates of one chain with the same subject that are looked at. Every further one multiplies the paths
/// that have to be tried; cross-signing needs 2.
pub const CHAIN_CERTIFICATES_PER_SUBJECT: usize = 3;

/// TLS sessions that are remembered for resumption, for each of our domains and for each direction.
pub const TLS_SESSIONS: usize = 256;

/// How long a TLS session may be resumed, whatever the peer says of its tickets,
/// [RFC 9325 section 3.4](https://www.rfc-editor.org/rfc/rfc9325#section-3.4). A day is what rustls says of ours; a week
/// is the most that [RFC 8446 section 4.6.1](https://www.rfc-editor.org/rfc/rfc8446#section-4.6.1) allows.
pub const TLS_SESSION_AGE: Duration = Duration::from_secs(86_400);

/// Bytes of a TLS session that is remembered where we accept: it holds the certificates that the peer has shown.
pub const TLS_SESSION_BYTES: usize = 16_384;

/// Tickets of one server that are remembered. Each is good for one resumption, and a server may give any number.
pub const TLS_TICKETS: usize = 8;

/// Bytes of a server's hello in TLS, which is kept until it can be judged. Those with a post-quantum key have 1200.
pub const SERVER_HELLO_BYTES: usize = 16_384;

/// From the beginning of a lookup to its answer, whatever the servers do.
pub const DNS_LOOKUP: Duration = Duration::from_secs(30);

/// Servers that one question is put to, one after the other.
pub const DNS_ATTEMPTS: usize = 2;

/// Distinct targets of one domain's SRV records that are resolved: with one address of each family they fill [`CANDIDATES`].
pub const DNS_TARGETS: usize = 8;

/// Bytes of a DNS datagram that servers may send us: fits the MTU of every path in use,
/// [RFC 9715 section 3](https://www.rfc-editor.org/rfc/rfc9715#section-3). Longer answers come over TCP.
pub const DNS_DATAGRAM_BYTES: u16 = 1232;

/// How long a DNS answer is remembered at most; servers may allow a week or more.
pub const DNS_LIFETIME: Duration = Duration::from_secs(86_400);

/// How long the absence of a DNS record is remembered at most. [RFC 2308 section 5](https://www.rfc-editor.org/rfc/rfc2308#section-5)
/// allows hours; but somebody may be waiting for the record to appear.
pub const DNS_ABSENCE: Duration = Duration::from_secs(300);

/// How long the failure of all DNS servers is remembered. [RFC 2308 section 7](https://www.rfc-editor.org/rfc/rfc2308#section-7)
/// allows up to five minutes; this much keeps repeated questions from servers in trouble and hides their recovery from nobody.
pub const DNS_FAILURE: Duration = Duration::from_secs(5);

/// Answers that one resolver remembers. Finding a domain's servers takes four to ten.
pub const DNS_CACHE_ENTRIES: usize = 8192;

/// Bytes of answers that one resolver remembers, bookkeeping included: some 500 of each of [`DNS_CACHE_ENTRIES`].
pub const DNS_CACHE_BYTES: usize = 4_194_304;

/// How long the IPv4 addresses of a host wait for its IPv6 addresses, and all but the first IPv6 address for the IPv4
/// addresses, [RFC 8305 section 3](https://www.rfc-editor.org/rfc/rfc8305#section-3).
pub const RESOLUTION_DELAY: Duration = Duration::from_millis(50);
