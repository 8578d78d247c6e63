//! The node: all an adapter sees of server-to-server federation.

mod config;
mod event;

pub use config::{Config, PrivateAddresses, StaticRoute};
pub use event::{Command, Direction, Event, LinkInfo};
