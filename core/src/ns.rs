//! Namespaces, each with the document that defines it.

/// Stream elements, [RFC 6120 section 4.8.1](https://www.rfc-editor.org/rfc/rfc6120#section-4.8.1).
pub const STREAMS: &str = "http://etherx.jabber.org/streams";
/// Content of server-to-server streams, [RFC 6120 section 4.8.3](https://www.rfc-editor.org/rfc/rfc6120#section-4.8.3).
pub const SERVER: &str = "jabber:server";
/// Content of component streams, [XEP-0114](https://xmpp.org/extensions/xep-0114.html).
pub const COMPONENT: &str = "jabber:component:accept";
/// Server dialback, [XEP-0220](https://xmpp.org/extensions/xep-0220.html).
pub const DIALBACK: &str = "jabber:server:dialback";
/// The stream feature of dialback, [XEP-0220 section 2.4](https://xmpp.org/extensions/xep-0220.html#advertisement).
pub const DIALBACK_FEATURE: &str = "urn:xmpp:features:dialback";
/// STARTTLS, [RFC 6120 section 5](https://www.rfc-editor.org/rfc/rfc6120#section-5).
pub const TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
/// SASL, [RFC 6120 section 6](https://www.rfc-editor.org/rfc/rfc6120#section-6).
pub const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
/// Conditions of stream errors, [RFC 6120 section 4.9](https://www.rfc-editor.org/rfc/rfc6120#section-4.9).
pub const STREAM_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-streams";
/// Conditions of stanza errors, [RFC 6120 section 8.3](https://www.rfc-editor.org/rfc/rfc6120#section-8.3).
pub const STANZA_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
/// Ping, [XEP-0199](https://xmpp.org/extensions/xep-0199.html).
pub const PING: &str = "urn:xmpp:ping";
/// Service discovery, [XEP-0030](https://xmpp.org/extensions/xep-0030.html).
pub const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";
/// Data forms, [XEP-0004](https://xmpp.org/extensions/xep-0004.html).
pub const DATA_FORMS: &str = "jabber:x:data";
/// The form with the contact addresses of a server, [XEP-0157](https://xmpp.org/extensions/xep-0157.html).
pub const SERVER_INFO: &str = "http://jabber.org/network/serverinfo";
/// Stream compression, [XEP-0138](https://xmpp.org/extensions/xep-0138.html): only ever refused.
pub const COMPRESS: &str = "http://jabber.org/protocol/compress";
/// Stream limits, [XEP-0478](https://xmpp.org/extensions/xep-0478.html).
pub const STREAM_LIMITS: &str = "urn:xmpp:stream-limits:0";
/// The prefix `xml`, bound by definition.
pub const XML: &str = "http://www.w3.org/XML/1998/namespace";
/// The prefix `xmlns`, which nothing may be bound to.
pub const XMLNS: &str = "http://www.w3.org/2000/xmlns/";
