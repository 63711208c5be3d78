//! Why a signature was refused, in a sentence that names cause and remedy. No sentence repeats what was sent, the
//! secret or the right signature.

/// Why a request's signature was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// No `auth_key`.
    #[error(
        "auth_key is missing from the query: sign the request, as every Pusher server library does, and check that no proxy in between drops the query"
    )]
    MissingKey,
    /// A parameter of the authentication is given more than once.
    #[error("{parameter} stands more than once in the query: send each authentication parameter exactly once")]
    Repeated {
        /// Its name.
        parameter: &'static str,
    },
    /// `auth_key` is not the app's.
    #[error(
        "auth_key is not the key of app {app}: check the app id and the key in the caller's settings against the gateway's configuration"
    )]
    UnknownKey {
        /// The id of the app that the path names.
        app: Box<str>,
        /// The key that was sent, cut short.
        key: Box<str>,
    },
    /// No `auth_version`.
    #[error("auth_version is missing from the query: it must be 1.0")]
    MissingVersion,
    /// `auth_version` is not `1.0`.
    #[error("auth_version is not supported: it must be 1.0")]
    UnsupportedVersion,
    /// No `auth_timestamp`.
    #[error("auth_timestamp is missing from the query: it must be the time of signing in seconds since 1970")]
    MissingTimestamp,
    /// `auth_timestamp` is not a number of seconds.
    #[error("auth_timestamp is not a whole number of seconds since 1970: send digits only")]
    MalformedTimestamp,
    /// The request was signed too long ago.
    #[error(
        "auth_timestamp is {seconds} s behind the gateway's clock and must be less than 600 s off: compare `date -u` on both machines and set the \
         caller's clock if it is slow, the gateway's if it is fast; or the request is an old one sent again"
    )]
    TimestampTooOld {
        /// By how much the gateway's clock is ahead of it, in seconds.
        seconds: u64,
    },
    /// The request was signed in the future.
    #[error(
        "auth_timestamp is {seconds} s ahead of the gateway's clock and must be less than 600 s off: compare `date -u` on both machines and set the \
         caller's clock if it is fast, the gateway's if it is slow; or it was sent in milliseconds instead of seconds"
    )]
    TimestampTooNew {
        /// By how much the gateway's clock is behind it, in seconds.
        seconds: u64,
    },
    /// A body, but no `body_md5`.
    #[error("body_md5 is missing from the query although the request has a body: sign the body's MD5 too")]
    MissingBodyMd5,
    /// `body_md5` is not 32 lower-case hexadecimal digits.
    #[error("body_md5 is not 32 lower-case hexadecimal digits")]
    MalformedBodyMd5,
    /// `body_md5` is that of another body.
    #[error(
        "body_md5 is not the MD5 of the body that arrived: something between the caller and the gateway changed the body, or the caller serialised \
         it once for the signature and again for sending"
    )]
    BodyMd5Mismatch,
    /// No `auth_signature`.
    #[error(
        "auth_signature is missing from the query: sign the request, as every Pusher server library does, and check that no proxy in between drops \
         a part of the query"
    )]
    MissingSignature,
    /// `auth_signature` is not 64 lower-case hexadecimal digits.
    #[error("auth_signature is not 64 lower-case hexadecimal digits")]
    MalformedSignature,
    /// `auth_signature` is that of another request or of another secret.
    #[error(
        "auth_signature does not match this request: the caller's secret is not that of the app, or a proxy in between changed the query or the path"
    )]
    Mismatch,
}

impl SignatureError {
    /// The reason in snake_case: the `code` of the answer and the `reason` of the metric.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::MissingKey => "missing_auth_key",
            Self::Repeated { .. } => "repeated_auth_parameter",
            Self::UnknownKey { .. } => "unknown_auth_key",
            Self::MissingVersion => "missing_auth_version",
            Self::UnsupportedVersion => "unsupported_auth_version",
            Self::MissingTimestamp => "missing_auth_timestamp",
            Self::MalformedTimestamp => "malformed_auth_timestamp",
            Self::TimestampTooOld { .. } => "auth_timestamp_too_old",
            Self::TimestampTooNew { .. } => "auth_timestamp_too_new",
            Self::MissingBodyMd5 => "missing_body_md5",
            Self::MalformedBodyMd5 => "malformed_body_md5",
            Self::BodyMd5Mismatch => "body_md5_mismatch",
            Self::MissingSignature => "missing_auth_signature",
            Self::MalformedSignature => "malformed_auth_signature",
            Self::Mismatch => "auth_signature_mismatch",
        }
    }
}
