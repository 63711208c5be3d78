//! The language: apps, channels, request signatures and triggers of the Pusher HTTP API. Pure: no I/O, no clock.

mod app;
pub(crate) mod channel;
mod hex;
pub(crate) mod json;
mod query;
mod signature;
mod trigger;

pub use app::{App, Secret};
pub use channel::{Kind, is_valid_name};
pub use query::Query;
pub use signature::{SignatureError, resign, sign_query, verify};
pub use trigger::{Endpoint, Event, Inexact, Oddity, Reach, Trigger};
