//! Why the operator's request is not answered, and how that is said in HTTP.

use http::StatusCode;

/// A refusal. Its text names the cause and the cure, and repeats nothing that the caller sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// Absent, repeated or not text.
    #[error("The request needs exactly one Host header.")]
    BadHost,
    /// A name that is not `localhost`.
    #[error(
        "This listener answers to an IP address or to localhost in the Host header (DNS rebinding); where it is reachable by others, to any name along with the admin token."
    )]
    ForeignHost,
    /// No token is configured.
    #[error(
        "This call needs a token, and none is configured: set admin.token (or USHER_ADMIN__TOKEN) and restart usher."
    )]
    TokenNotSet,
    /// No usable `Authorization`.
    #[error("This call needs the admin token: send Authorization: Bearer <admin.token>.")]
    TokenMissing,
    /// Another token.
    #[error("The bearer token is not the configured admin.token.")]
    TokenWrong,
    /// No such path.
    #[error("There is no such endpoint; GET / lists them.")]
    NotFound,
    /// The path exists, the method does not.
    #[error("This endpoint answers {allow}.")]
    MethodNotAllowed {
        /// The methods it answers.
        allow: &'static str,
    },
    /// The query cannot be used.
    #[error("{0}")]
    BadQuery(String),
    /// The body cannot be used.
    #[error("{0}")]
    BadBody(&'static str),
    /// The body is not declared as JSON. A form of another page's cannot declare that, so it is asked for even with the
    /// token.
    #[error("The body has to be JSON: send Content-Type: application/json.")]
    NotJson,
    /// As many as there may be already.
    #[error("Too many streams of decisions are open: close another one.")]
    TooManyStreams,
    /// No rule of the configuration watches what was named.
    #[error("No configured rule fits this app and rule; check their spelling and the configuration.")]
    NotWatched,
    /// Not ready.
    #[error("usher is draining: it takes no new connections and is about to end.")]
    Draining,
    /// A defect of usher.
    #[error("The answer could not be made; usher's log says why.")]
    Failed,
}

impl Refusal {
    /// The status to answer with.
    pub(super) const fn status(&self) -> StatusCode {
        match self {
            Self::BadHost | Self::BadQuery(_) | Self::BadBody(_) => StatusCode::BAD_REQUEST,
            Self::TokenMissing | Self::TokenWrong => StatusCode::UNAUTHORIZED,
            Self::TokenNotSet => StatusCode::FORBIDDEN,
            Self::NotFound | Self::NotWatched => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::ForeignHost => StatusCode::MISDIRECTED_REQUEST,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Draining | Self::TooManyStreams => StatusCode::SERVICE_UNAVAILABLE,
            Self::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The code for programs.
    pub(super) const fn code(&self) -> &'static str {
        match self {
            Self::BadHost => "bad_host",
            Self::ForeignHost => "foreign_host",
            Self::TokenNotSet => "token_not_set",
            Self::TokenMissing => "token_missing",
            Self::TokenWrong => "token_wrong",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::BadQuery(_) => "bad_query",
            Self::BadBody(_) => "bad_body",
            Self::NotJson => "not_json",
            Self::TooManyStreams => "too_many_streams",
            Self::NotWatched => "not_watched",
            Self::Draining => "draining",
            Self::Failed => "internal_error",
        }
    }
}
