//! A WebSocket client of protocol 7: the address (`address`), the protocol (`session`), and one connection
//! (`connection`).

mod address;
mod connection;
mod session;

pub(super) use address::Address;
pub(super) use connection::{Connection, ConnectionEvent};
pub(super) use session::{Effect, Event, Subscriptions};
