//! The options of the seed document, each in tests named after it, without sockets: what both sides do, and the reasons
//! that they give.

mod federations;

mod anonymous;
mod lists;
mod modules;
mod policy;
mod routes;
mod size;
mod timeouts;
mod tls;
