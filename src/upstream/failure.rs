//! Why a request has no complete answer, and whether upstream may have received the request (ARCHITECTURE.md "When an
//! announcement is suppressed").

use std::error::Error as _;
use std::io;
use std::time::Duration;

use super::framing::{AnswerError, TOO_MANY_INTERIM};
use super::transport::InterimOverflow;
use crate::descriptors::Exhausted;
use crate::tls::{self, cause};

/// The error of a connection.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a request has no answer, or an answer to a trigger is not complete.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The look-up of upstream's name failed. Nothing was sent.
    #[error(
        "cannot look up the name of the upstream server {upstream}: {}; check upstream.url and the name server",
        cause(source)
    )]
    Resolve {
        /// Host and port as configured.
        upstream: String,
        /// The error of the look-up.
        source: io::Error,
    },
    /// No file descriptor is left to look the name up or to open a connection. The cause is usher's own machine, not
    /// upstream. Nothing was sent.
    #[error("usher has no file descriptor left for a connection to the upstream server {upstream}: {exhausted}")]
    OutOfDescriptors {
        /// Host and port as configured.
        upstream: String,
        /// Which limit is reached.
        exhausted: Exhausted,
        /// The error of the system.
        source: io::Error,
    },
    /// No TCP connection could be opened to any of the name's addresses. Nothing was sent.
    #[error(
        "cannot connect to the upstream server {upstream}: {}; check that it runs and that upstream.url is right",
        cause(source)
    )]
    Connect {
        /// Host and port as configured.
        upstream: String,
        /// The error of the last address tried.
        source: io::Error,
    },
    /// Name look-up, TCP and TLS together took longer than the connect timeout. Nothing was sent.
    #[error("the upstream server {upstream} accepted no connection within {period:?}")]
    ConnectTimeout {
        /// Host and port as configured.
        upstream: String,
        /// [`super::Options::connect_timeout`].
        period: Duration,
    },
    /// The TLS handshake failed: a certificate that is not trusted, or a server without TLS. Nothing was sent.
    #[error(
        "cannot agree on TLS with the upstream server {upstream}: {}; check its certificate and upstream.ca_file",
        cause(source)
    )]
    Tls {
        /// Host and port as configured.
        upstream: String,
        /// The error of the handshake.
        source: io::Error,
    },
    /// Upstream ended the TLS handshake because of the client's certificate: upstream requires one and received none,
    /// or does not accept the one received. With TLS 1.3 usher learns this only after its side of the handshake is
    /// complete, so bytes of the request may have been sent. A server should not read them (RFC 8446 4.4.2.4), but
    /// usher cannot know that it did not.
    #[error(
        "the upstream server {upstream} asks for a TLS client certificate that it accepts; set upstream.certificate and upstream.key"
    )]
    ClientCertificate {
        /// Host and port as configured.
        upstream: String,
        /// The error of the connection.
        source: Cause,
    },
    /// A new connection was closed before the first byte of the request was written. Nothing was sent.
    #[error("the upstream server {upstream} closed the connection before the request was sent")]
    ClosedUnsent {
        /// Host and port as configured.
        upstream: String,
        /// The error of the connection.
        source: Cause,
    },
    /// The connection was closed or reset after bytes may have been written, before the head of the answer was
    /// complete.
    #[error("the upstream server {upstream} closed the connection before it answered")]
    ConnectionLost {
        /// Host and port as configured.
        upstream: String,
        /// The error of the connection.
        source: Cause,
    },
    /// The head of the answer was not complete in time.
    #[error("the upstream server {upstream} did not answer within {period:?}")]
    AnswerTimeout {
        /// Host and port as configured.
        upstream: String,
        /// [`super::Options::timeout`].
        period: Duration,
    },
    /// The answer is not HTTP/1.x, or its head is too large.
    #[error("the upstream server {upstream} sent an answer that is not valid HTTP")]
    MalformedAnswer {
        /// Host and port as configured.
        upstream: String,
        /// What is wrong with the answer.
        source: Cause,
    },
    /// The answer is well-formed, but the request cannot have such an answer, or its length is ambiguous.
    #[error("the upstream server {upstream} sent an answer that cannot be passed on: {problem}")]
    UnacceptableAnswer {
        /// Host and port as configured.
        upstream: String,
        /// What is wrong with the answer.
        problem: &'static str,
    },
    /// The body of the answer to a trigger broke off, is malformed or too large.
    #[error("upstream's answer broke off: whether the trigger was applied is unknown")]
    AnswerCut {
        /// The status of the incomplete answer.
        status: u16,
    },
    /// The head of the answer to a trigger was complete in time, but its body was not.
    #[error("upstream's answer was not complete within {} ms: whether the trigger was applied is unknown", period.as_millis())]
    AnswerTooSlow {
        /// The status of the incomplete answer.
        status: u16,
        /// [`super::Options::timeout`].
        period: Duration,
    },
    /// The caller's body broke off while it was streamed to upstream, which received a part of the request.
    #[error("the caller's request body broke off while it was being forwarded")]
    CallerBody {
        /// The error of the caller's connection.
        source: hyper::Error,
    },
}

impl Failure {
    /// Classifies an error of a connection that had accepted the request, so that bytes of it may have been written.
    pub(super) fn after_sending(upstream: String, source: hyper::Error) -> Self {
        // hyper wraps the error of a request's body as the source of its own error. `Payload`'s error is a
        // `hyper::Error`; no other source of a user error is one.
        let callers = source.is_user() && source.source().is_some_and(|cause| cause.is::<hyper::Error>());
        let cause = source.source().and_then(|cause| cause.downcast_ref::<io::Error>()).and_then(io::Error::get_ref);
        if cause.is_some_and(|cause| cause.is::<InterimOverflow>()) {
            Self::UnacceptableAnswer { upstream, problem: TOO_MANY_INTERIM }
        } else if source.is_parse() {
            Self::MalformedAnswer { upstream, source: source.into() }
        } else if callers || source.is_body_write_aborted() {
            Self::CallerBody { source }
        } else {
            Self::lost(upstream, source.into())
        }
    }

    /// The failure for an answer that cannot be forwarded.
    pub(super) fn answer(upstream: String, error: AnswerError) -> Self {
        match error {
            AnswerError::Malformed(source) => Self::MalformedAnswer { upstream, source: source.into() },
            AnswerError::Unacceptable(problem) => Self::UnacceptableAnswer { upstream, problem },
        }
    }

    /// Classifies an error of a look-up of upstream's name.
    pub(super) fn unresolved(upstream: String, source: io::Error) -> Self {
        match Exhausted::of(&source) {
            Some(exhausted) => Self::OutOfDescriptors { upstream, exhausted, source },
            None => Self::Resolve { upstream, source },
        }
    }

    /// Classifies an error of an attempt to connect.
    pub(super) fn unconnected(upstream: String, source: io::Error) -> Self {
        match Exhausted::of(&source) {
            Some(exhausted) => Self::OutOfDescriptors { upstream, exhausted, source },
            None => Self::Connect { upstream, source },
        }
    }

    /// Classifies an error of a TLS handshake made with `client`.
    pub(super) fn handshake(upstream: String, client: &tls::Client, source: io::Error) -> Self {
        if client.is_refused(&source) {
            Self::ClientCertificate { upstream, source: source.into() }
        } else {
            Self::Tls { upstream, source }
        }
    }

    /// Classifies an error of a new connection before the first byte of the request.
    pub(super) fn unsent(upstream: String, source: Cause) -> Self {
        if tls::refuses_certificate(&*source) {
            Self::ClientCertificate { upstream, source }
        } else {
            Self::ClosedUnsent { upstream, source }
        }
    }

    /// Classifies the loss of a connection before the head of the answer.
    pub(super) fn lost(upstream: String, source: Cause) -> Self {
        if tls::refuses_certificate(&*source) {
            Self::ClientCertificate { upstream, source }
        } else {
            Self::ConnectionLost { upstream, source }
        }
    }

    /// The status of an answer whose head is complete, but not its body.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::AnswerCut { status } | Self::AnswerTooSlow { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether it is certain that nothing of the request reached upstream.
    #[must_use]
    pub const fn nothing_sent(&self) -> bool {
        match self {
            Self::Resolve { .. }
            | Self::OutOfDescriptors { .. }
            | Self::Connect { .. }
            | Self::ConnectTimeout { .. }
            | Self::Tls { .. }
            | Self::ClosedUnsent { .. } => true,
            // In TLS 1.3 the alert may arrive after the request was sent. Only the server knows then that it applied
            // nothing of the request.
            Self::ClientCertificate { .. }
            | Self::ConnectionLost { .. }
            | Self::AnswerTimeout { .. }
            | Self::MalformedAnswer { .. }
            | Self::UnacceptableAnswer { .. }
            | Self::AnswerCut { .. }
            | Self::AnswerTooSlow { .. }
            | Self::CallerBody { .. } => false,
        }
    }

    /// Whether a timeout was the cause: the status is 504 instead of 502.
    #[must_use]
    pub const fn is_timeout(&self) -> bool {
        match self {
            Self::ConnectTimeout { .. } | Self::AnswerTimeout { .. } | Self::AnswerTooSlow { .. } => true,
            Self::Resolve { .. }
            | Self::OutOfDescriptors { .. }
            | Self::Connect { .. }
            | Self::Tls { .. }
            | Self::ClientCertificate { .. }
            | Self::ClosedUnsent { .. }
            | Self::ConnectionLost { .. }
            | Self::MalformedAnswer { .. }
            | Self::UnacceptableAnswer { .. }
            | Self::AnswerCut { .. }
            | Self::CallerBody { .. } => false,
        }
    }

    /// The name in snake_case, for metrics and the `code` of the answer to the caller. A failure with a status is counted
    /// by the status instead.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Resolve { .. } => "upstream_name_unknown",
            Self::OutOfDescriptors { .. } => "out_of_descriptors",
            Self::Connect { .. } => "upstream_unreachable",
            Self::ConnectTimeout { .. } => "upstream_connect_timeout",
            Self::Tls { .. } => "upstream_tls_failed",
            Self::ClientCertificate { .. } => "upstream_client_certificate",
            Self::ClosedUnsent { .. } => "upstream_closed",
            Self::ConnectionLost { .. } => "upstream_connection_lost",
            Self::AnswerTimeout { .. } | Self::AnswerTooSlow { .. } => "upstream_timeout",
            Self::MalformedAnswer { .. } => "upstream_bad_answer",
            Self::UnacceptableAnswer { .. } => "upstream_unfit_answer",
            Self::AnswerCut { .. } => "upstream_answer_cut",
            Self::CallerBody { .. } => "request_body_broken",
        }
    }
}
