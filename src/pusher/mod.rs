//! The Pusher HTTP API: apps, channels, request signatures and triggers. No I/O, no clock.

mod answer;
mod app;
pub(crate) mod channel;
mod error_code;
mod hex;
pub(crate) mod json;
mod percent;
mod query;
mod signature;
mod socket_id;
mod subprotocol;
mod trigger;

pub use answer::Acceptance;
pub use app::{App, KeyPair, Secret};
pub use channel::{ChannelKind, is_valid_name};
pub use error_code::{ErrorCode, Warning};
pub use percent::{decode_path, decode_query};
pub use query::Query;
pub use signature::{
    Body, Grant, Pattern, SignatureClaim, SignatureError, SignedPath, TokenError, WebhookSignature, resign, sign_query,
    signed_text, verify,
};
pub use socket_id::socket_id;
pub use subprotocol::subprotocol;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub use trigger::agreement;
pub use trigger::{AffectedChannels, Endpoint, Event, Inexact, InexactReason, Trigger};
