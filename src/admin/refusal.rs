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
    /// Recording is off.
    #[error(
        "Recording is off. Set admin.recording = true and reload usher: triggers are then shown whole, with their data, to whoever has admin.token."
    )]
    RecordingOff,
    /// As many as may be record.
    #[error("Two recordings are made already: end one of them.")]
    TooManyRecorders,
    /// No configured rule matches.
    #[error("No configured rule fits this app and rule; check their spelling and the configuration.")]
    NotWatched,
    /// No rule can enforce, because usher is configured to observe.
    #[error(
        "usher is configured to observe (--observe, USHER_OBSERVE or `observe = true`), so no rule can enforce. Set `observe = false` in the file and reload usher, or restart it without the flag or the variable; rules whose configured mode is enforce then enforce."
    )]
    Observing,
    /// There is no shared memory.
    #[error("usher shares its memory with no other: [cluster] is not configured.")]
    NoCluster,
    /// There is no such app in the shared memory.
    #[error("No app of this id is configured.")]
    NoApp,
    /// There is no such member.
    #[error("No member of the app's shared memory has this name; GET /cluster lists them.")]
    NoMember,
    /// The member's lease lasts.
    #[error(
        "The member's lease lasts, or may last: it is given up only once it is missing. To have it leave, end its process with SIGTERM."
    )]
    LeaseLasts,
    /// This process is no member.
    #[error("This usher is no member of the app's shared memory now, so it cannot change it; GET /cluster says why.")]
    NoMembership,
    /// The store refuses the change.
    #[error("The store refuses it: {0}.")]
    StoreRefuses(&'static str),
    /// The store has not answered.
    #[error("The store has not answered, and it may be done all the same ({0}); GET /cluster shows what is so.")]
    StoreFails(String),
    /// This process has not entered the shared memory of an app yet.
    #[error("usher has not entered the shared memory of all its apps yet; GET /cluster says why.")]
    NotEntered,
    /// This process was away from the shared memory of an app for too long.
    #[error(
        "usher was away from the shared memory of an app for so long that the others may have given it up, and refuses its triggers (cluster.isolated)."
    )]
    Isolated,
    /// Another process has the place of this one.
    #[error("Another process has taken the place of this usher in the cluster: cluster.node has to differ.")]
    Replaced,
    /// The end is announced.
    #[error("usher is draining: it is about to end, so send nothing new here.")]
    Draining,
    /// The shared memory says nothing.
    #[error("{0}.")]
    Unreached(String),
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
            Self::TokenNotSet | Self::TokenReadsOnly | Self::RecordingOff => StatusCode::FORBIDDEN,
            Self::NotFound | Self::NotWatched | Self::NoTrigger | Self::NoCluster | Self::NoApp | Self::NoMember => {
                StatusCode::NOT_FOUND
            }
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Observing | Self::LeaseLasts => StatusCode::CONFLICT,
            Self::ForeignHost => StatusCode::MISDIRECTED_REQUEST,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Draining
            | Self::TooManyStreams
            | Self::TooManyRecorders
            | Self::Unreached(_)
            | Self::NoMembership
            | Self::StoreRefuses(_)
            | Self::StoreFails(_)
            | Self::NotEntered
            | Self::Isolated
            | Self::Replaced => StatusCode::SERVICE_UNAVAILABLE,
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
            Self::RecordingOff => "recording_off",
            Self::TooManyRecorders => "too_many_recorders",
            Self::NotWatched => "not_watched",
            Self::Observing => "observing",
            Self::NoCluster => "no_cluster",
            Self::NoApp => "no_app",
            Self::NoMember => "no_member",
            Self::LeaseLasts => "lease_lasts",
            Self::NoMembership => "no_membership",
            Self::StoreRefuses(_) => "store_refuses",
            Self::StoreFails(_) => "store_fails",
            Self::NotEntered => "not_entered",
            Self::Isolated => "isolated",
            Self::Replaced => "replaced",
            Self::Draining => "draining",
            Self::Unreached(_) => "unreached",
            Self::Failed => "internal_error",
        }
    }
}
