//! A client of protocol 7 that listens: where to connect to (`address`), what the frames mean (`session`), and one
//! connection (`connection`).

mod address;
mod connection;
mod session;

pub(super) use address::Address;
pub(super) use connection::{Connection, ConnectionEvent};
pub(super) use session::{Effect, Event, Subscriptions};
