//! The request signature: verified on the way in, made anew for a reduced trigger and by usher's own client.

use super::{App, Query};

/// Why a request's signature was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Placeholder until the room is built.
    #[error("placeholder")]
    Placeholder,
}

impl SignatureError {
    /// The reason in snake_case: the `code` of the answer and the `reason` of the metric.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "placeholder"
    }
}

/// Verifies the signature of a request of `app`.
///
/// `path` is the path as received on the request line, `body` the raw body, `now` seconds since the Unix epoch.
///
/// # Errors
/// The first check that failed.
pub fn verify(app: &App, method: &str, path: &str, query: &Query<'_>, body: &[u8], now: u64) -> Result<(), SignatureError> {
    let _ = (app, method, path, query, body, now);
    todo!()
}

/// The raw query with `body_md5` and `auth_signature` replaced for `body`; everything else as it stands.
#[must_use]
pub fn resign(app: &App, method: &str, path: &str, query: &Query<'_>, body: &[u8]) -> String {
    let _ = (app, method, path, query, body);
    todo!()
}

/// A whole signed query for a request of our own. `parameters` beside the `auth_` ones; `body` is `None` when the request has none.
#[must_use]
pub fn sign_query(app: &App, method: &str, path: &str, parameters: &[(&str, &str)], body: Option<&[u8]>, timestamp: u64) -> String {
    let _ = (app, method, path, parameters, body, timestamp);
    todo!()
}
