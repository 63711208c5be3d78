//! The language: apps, channels, request signatures and triggers of the Pusher HTTP API. Pure: no I/O, no clock.

mod answer;
mod app;
pub(crate) mod channel;
mod error_code;
mod hex;
pub(crate) mod json;
mod query;
mod signature;
mod subprotocol;
mod trigger;

pub use answer::Acceptance;
pub use app::{App, Secret};
pub use channel::{Kind, is_valid_name};
pub use error_code::{ErrorCode, Warning};
pub use query::{Query, decode_path};
pub use signature::{
    Body, Claim, Grant, Pattern, SignatureError, SignedPath, TokenError, resign, sign_query, signed_text, verify,
};
pub use subprotocol::subprotocol;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub use trigger::agreement;
pub use trigger::{Endpoint, Event, Inexact, Oddity, Reach, Trigger};
