//! The errors of the admin listener, with their HTTP statuses.

use http::StatusCode;

/// Why a request is refused. The text names the cause and the remedy, and contains nothing of the request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// The `Host` is absent, repeated or not text.
    #[error("The request needs exactly one Host header.")]
    BadHost,
    /// The `Host` is a name other than `localhost`.
    #[error(
        "This listener answers to an IP address, to localhost or to a name of admin.allowed_hosts in the Host header (DNS rebinding); where it is reachable by others, to any name along with a token."
    )]
    ForeignHost,
    /// No token is configured.
    #[error(
        "This call needs a token, and none is configured: set admin.token and reload usher, or USHER_ADMIN__TOKEN and restart it."
    )]
    TokenNotSet,
    /// There is no usable `Authorization`.
    #[error("This call needs the admin token: send Authorization: Bearer <admin.token>.")]
    TokenMissing,
    /// The token is wrong.
    #[error("The bearer token is neither the configured admin.token nor admin.read_token.")]
    TokenWrong,
    /// The token allows reading only.
    #[error("The bearer token is admin.read_token, which allows reading only; this call needs admin.token.")]
    TokenReadsOnly,
    /// There is no such path.
    #[error("There is no such endpoint; GET / lists them.")]
    NotFound,
    /// The endpoint does not support the method.
    #[error("This endpoint answers {allow}.")]
    MethodNotAllowed {
        /// The supported methods.
        allow: &'static str,
    },
    /// The query is invalid.
    #[error("{0}")]
    BadQuery(String),
    /// The body is invalid.
    #[error("{0}")]
    BadBody(&'static str),
    /// The body is not declared as JSON. The declaration is required in addition to the token, because a form of
    /// another page cannot send it.
    #[error("The body has to be JSON: send Content-Type: application/json.")]
    NotJson,
    /// There is no record of the trigger.
    #[error(
        "There is no record of this trigger: the id is wrong, of another process, or newer records needed its place (admin.triggers_bytes)."
    )]
    NoTrigger,
    /// The largest number of streams is open already.
    #[error("Too many streams of triggers are open: close another one.")]
    TooManyStreams,
    /// No configured rule matches.
    #[error("No configured rule fits this app and rule; check their spelling and the configuration.")]
    NotWatched,
    /// No rule can enforce, because usher is configured to observe.
    #[error(
        "usher is configured to observe (--observe, USHER_OBSERVE or `observe = true`), so no rule can enforce. Set `observe = false` in the file and reload usher, or restart it without the flag or the variable; rules whose configured mode is enforce then enforce."
    )]
    Observing,
    /// The end is announced.
    #[error("usher is draining: it is about to end, so send nothing new here.")]
    Draining,
    /// A defect of usher.
    #[error("The answer could not be made; usher's log says why.")]
    Failed,
}

impl Refusal {
    /// The HTTP status.
    pub(super) const fn status(&self) -> StatusCode {
        match self {
            Self::BadHost | Self::BadQuery(_) | Self::BadBody(_) => StatusCode::BAD_REQUEST,
            Self::TokenMissing | Self::TokenWrong => StatusCode::UNAUTHORIZED,
            Self::TokenNotSet | Self::TokenReadsOnly => StatusCode::FORBIDDEN,
            Self::NotFound | Self::NotWatched | Self::NoTrigger => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Observing => StatusCode::CONFLICT,
            Self::ForeignHost => StatusCode::MISDIRECTED_REQUEST,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Draining | Self::TooManyStreams => StatusCode::SERVICE_UNAVAILABLE,
            Self::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The machine-readable code.
    pub(super) const fn code(&self) -> &'static str {
        match self {
            Self::BadHost => "bad_host",
            Self::ForeignHost => "foreign_host",
            Self::TokenNotSet => "token_not_set",
            Self::TokenMissing => "token_missing",
            Self::TokenWrong => "token_wrong",
            Self::TokenReadsOnly => "token_reads_only",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::BadQuery(_) => "bad_query",
            Self::BadBody(_) => "bad_body",
            Self::NotJson => "not_json",
            Self::NoTrigger => "no_trigger",
            Self::TooManyStreams => "too_many_streams",
            Self::NotWatched => "not_watched",
            Self::Observing => "observing",
            Self::Draining => "draining",
            Self::Failed => "internal_error",
        }
    }
}
