//! Why there is no answer, and, which matters most, whether upstream may have got the request (ARCHITECTURE.md "When an
//! announcement is dropped").

use std::error::Error as _;
use std::io;
use std::time::Duration;

use super::framing::TOO_MANY_INTERIM;
use super::transport::Flood;
use crate::descriptors::Exhausted;
use crate::tls;

/// What a connection said when it failed.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Looking up upstream's name. Nothing was sent.
    #[error("cannot look up the name of the upstream server {upstream}; check upstream.url and the name server")]
    Resolve {
        /// Host and port as configured.
        upstream: String,
        /// What the look-up said.
        source: io::Error,
    },
    /// There is no file descriptor left to look the name up or to open a connection: that is usher's own machine's
    /// fault, not upstream's. Nothing was sent.
    #[error("usher has no file descriptor left for a connection to the upstream server {upstream}: {exhausted}")]
    OutOfDescriptors {
        /// Host and port as configured.
        upstream: String,
        /// Whose are used up.
        exhausted: Exhausted,
        /// What the system said.
        source: io::Error,
    },
    /// Opening a TCP connection to any of the name's addresses. Nothing was sent.
    #[error("cannot connect to the upstream server {upstream}; check that it runs and that upstream.url is right")]
    Connect {
        /// Host and port as configured.
        upstream: String,
        /// What the last address tried said.
        source: io::Error,
    },
    /// Name look-up, TCP and TLS together took too long. Nothing was sent.
    #[error("the upstream server {upstream} accepted no connection within {period:?}")]
    ConnectTimeout {
        /// Host and port as configured.
        upstream: String,
        /// [`super::Options::connect_timeout`].
        period: Duration,
    },
    /// The TLS handshake: a certificate that is not trusted, or no TLS at all. Nothing was sent.
    #[error("cannot agree on TLS with the upstream server {upstream}; check its certificate and upstream.ca_file")]
    Tls {
        /// Host and port as configured.
        upstream: String,
        /// What the handshake said.
        source: io::Error,
    },
    /// Upstream ended the TLS handshake over the client's certificate: it asks for one and got none, or does not take
    /// the one that it got. With TLS 1.3 this is known only once the handshake is over for usher, so that bytes of the
    /// request may be on their way. A server should look at none of them (RFC 8446 4.4.2.4), but that is not known for
    /// certain.
    #[error(
        "the upstream server {upstream} asks for a TLS client certificate that it accepts; set upstream.certificate and upstream.key"
    )]
    ClientCertificate {
        /// Host and port as configured.
        upstream: String,
        /// What the connection said.
        source: Cause,
    },
    /// Even a fresh connection was closed before the first byte of the request was written. Nothing was sent.
    #[error("the upstream server {upstream} closed the connection before the request was sent")]
    ClosedUnsent {
        /// Host and port as configured.
        upstream: String,
        /// What the connection said.
        source: Cause,
    },
    /// The connection ended or broke after bytes may have been written, before the answer's head was complete.
    #[error("the upstream server {upstream} closed the connection before it answered")]
    ConnectionLost {
        /// Host and port as configured.
        upstream: String,
        /// What the connection said.
        source: Cause,
    },
    /// No complete head of an answer in time.
    #[error("the upstream server {upstream} did not answer within {period:?}")]
    AnswerTimeout {
        /// Host and port as configured.
        upstream: String,
        /// [`super::Options::timeout`].
        period: Duration,
    },
    /// What came is not an HTTP/1.x answer, or has too large a head.
    #[error("the upstream server {upstream} sent an answer that is not valid HTTP")]
    BadAnswer {
        /// Host and port as configured.
        upstream: String,
        /// What is wrong with it.
        source: Cause,
    },
    /// A well-formed answer that this request cannot have, or whose length cannot be told for certain.
    #[error("the upstream server {upstream} sent an answer that cannot be passed on: {problem}")]
    UnfitAnswer {
        /// Host and port as configured.
        upstream: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The caller's body broke off while it was streamed to upstream, which has got a part of the request.
    #[error("the caller's request body broke off while it was being forwarded")]
    CallerBody {
        /// What the caller's connection said.
        source: hyper::Error,
    },
}

impl Failure {
    /// Sorts an error of a connection that had already taken the request in, so that bytes of it may have been written.
    pub(super) fn after_sending(upstream: String, source: hyper::Error) -> Self {
        // hyper wraps the error of a request's body as the source of its own; `Payload`'s is a `hyper::Error`, and
        // nothing else there is.
        let callers = source.is_user() && source.source().is_some_and(|cause| cause.is::<hyper::Error>());
        let cause = source.source().and_then(|cause| cause.downcast_ref::<io::Error>()).and_then(io::Error::get_ref);
        if cause.is_some_and(|cause| cause.is::<Flood>()) {
            Self::UnfitAnswer { upstream, problem: TOO_MANY_INTERIM }
        } else if source.is_parse() {
            Self::BadAnswer { upstream, source: source.into() }
        } else if callers || source.is_body_write_aborted() {
            Self::CallerBody { source }
        } else {
            Self::lost(upstream, source.into())
        }
    }

    /// Sorts an error of a look-up of upstream's name.
    pub(super) fn unresolved(upstream: String, source: io::Error) -> Self {
        match Exhausted::of(&source) {
            Some(exhausted) => Self::OutOfDescriptors { upstream, exhausted, source },
            None => Self::Resolve { upstream, source },
        }
    }

    /// Sorts an error of an attempt to connect.
    pub(super) fn unconnected(upstream: String, source: io::Error) -> Self {
        match Exhausted::of(&source) {
            Some(exhausted) => Self::OutOfDescriptors { upstream, exhausted, source },
            None => Self::Connect { upstream, source },
        }
    }

    /// Sorts an error of a TLS handshake of `client`'s.
    pub(super) fn handshake(upstream: String, client: &tls::Client, source: io::Error) -> Self {
        if client.is_refused(&source) {
            Self::ClientCertificate { upstream, source: source.into() }
        } else {
            Self::Tls { upstream, source }
        }
    }

    /// Sorts an error of a fresh connection before the first byte of the request.
    pub(super) fn unsent(upstream: String, source: Cause) -> Self {
        if tls::refuses_certificate(&*source) {
            Self::ClientCertificate { upstream, source }
        } else {
            Self::ClosedUnsent { upstream, source }
        }
    }

    /// Sorts the loss of a connection before the head of the answer.
    pub(super) fn lost(upstream: String, source: Cause) -> Self {
        if tls::refuses_certificate(&*source) {
            Self::ClientCertificate { upstream, source }
        } else {
            Self::ConnectionLost { upstream, source }
        }
    }

    /// Whether provably nothing of the request reached upstream.
    #[must_use]
    pub const fn nothing_sent(&self) -> bool {
        match self {
            Self::Resolve { .. }
            | Self::OutOfDescriptors { .. }
            | Self::Connect { .. }
            | Self::ConnectTimeout { .. }
            | Self::Tls { .. }
            | Self::ClosedUnsent { .. } => true,
            // In TLS 1.3 the alert may come after the request was sent: that nothing of it was applied is then the
            // server's word alone.
            Self::ClientCertificate { .. }
            | Self::ConnectionLost { .. }
            | Self::AnswerTimeout { .. }
            | Self::BadAnswer { .. }
            | Self::UnfitAnswer { .. }
            | Self::CallerBody { .. } => false,
        }
    }

    /// Whether time ran out, rather than the connection failing: 504 instead of 502.
    #[must_use]
    pub const fn is_timeout(&self) -> bool {
        match self {
            Self::ConnectTimeout { .. } | Self::AnswerTimeout { .. } => true,
            Self::Resolve { .. }
            | Self::OutOfDescriptors { .. }
            | Self::Connect { .. }
            | Self::Tls { .. }
            | Self::ClientCertificate { .. }
            | Self::ClosedUnsent { .. }
            | Self::ConnectionLost { .. }
            | Self::BadAnswer { .. }
            | Self::UnfitAnswer { .. }
            | Self::CallerBody { .. } => false,
        }
    }

    /// In snake_case, for metrics and the answer's `code`.
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
            Self::AnswerTimeout { .. } => "upstream_timeout",
            Self::BadAnswer { .. } => "upstream_bad_answer",
            Self::UnfitAnswer { .. } => "upstream_unfit_answer",
            Self::CallerBody { .. } => "request_body_broken",
        }
    }
}
