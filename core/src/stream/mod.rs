//! One XML stream's negotiation, initiating or receiving, as states that hold only what is true in them.

mod error;

pub use error::Condition;
