//! XMPP server-to-server federation as a pure state machine.

pub mod addr;
pub mod auth;
pub mod buf;
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
pub mod reason;
pub mod route;
pub mod sasl;
pub mod stanza;
pub mod starttls;
pub mod stream;
pub mod time;
pub mod tls;
pub mod xml;
