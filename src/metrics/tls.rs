//! TLS: when certificates expire, and handshakes that fail.

use std::fmt;
use std::sync::OnceLock;

use prometheus::{IntCounterVec, IntGaugeVec, Registry, opts};

use super::register;

/// Why a TLS handshake on the public listener failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// It did not end within `limits.head_timeout`.
    Timeout,
    /// The client went away in the midst of it.
    Closed,
    /// What came is no TLS, e.g. plain HTTP.
    NotTls,
    /// The client offers nothing that usher speaks: an old version, or other ciphers.
    Incompatible,
    /// The client does not take the certificate.
    CertificateRefused,
    /// Any other alert of the client's.
    Alert,
    /// Anything else.
    Other,
}

impl HandshakeFailure {
    const ALL: [Self; 7] = [
        Self::Timeout,
        Self::Closed,
        Self::NotTls,
        Self::Incompatible,
        Self::CertificateRefused,
        Self::Alert,
        Self::Other,
    ];

    const fn label(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::NotTls => "not_tls",
            Self::Incompatible => "incompatible",
            Self::CertificateRefused => "certificate_refused",
            Self::Alert => "alert",
            Self::Other => "other",
        }
    }
}

/// Tells when something expires, in seconds since the Unix epoch.
type Expiry = Box<dyn Fn() -> Option<i64> + Send + Sync>;

/// The series of TLS.
pub(super) struct Families {
    /// Families without labels: their one series exists from the first certificate on, since 0 would read as expired.
    expiry: IntGaugeVec,
    upstream_expiry: IntGaugeVec,
    upstream: OnceLock<Expiry>,
    failures: IntCounterVec,
}

impl Families {
    pub(super) fn new(registry: &Registry) -> Self {
        let expiry = opts!(
            "usher_tls_certificate_expires_at_timestamp_seconds",
            "When the public listener's certificate expires, in seconds since the Unix epoch."
        );
        let upstream_expiry = opts!(
            "usher_upstream_tls_certificate_expires_at_timestamp_seconds",
            "When the first of the certificates expires that upstream has shown, in seconds since the Unix epoch."
        );
        let failures =
            opts!("usher_tls_handshake_failures_total", "TLS handshakes on the public listener that failed.");
        let failures = register(registry, IntCounterVec::new(failures, &["reason"]));
        for reason in HandshakeFailure::ALL {
            let _at_zero = failures.with_label_values(&[reason.label()]);
        }
        Self {
            expiry: register(registry, IntGaugeVec::new(expiry, &[])),
            upstream_expiry: register(registry, IntGaugeVec::new(upstream_expiry, &[])),
            upstream: OnceLock::new(),
            failures,
        }
    }

    pub(super) fn expires_at(&self, unix_seconds: i64) {
        self.expiry.with_label_values::<&str>(&[]).set(unix_seconds);
    }

    pub(super) fn watch(&self, expiry: Expiry) {
        self.upstream.get_or_init(|| expiry);
    }

    /// Brings what is only asked for at a scrape up to date. What was told before stays where nothing is known.
    pub(super) fn tell(&self) {
        if let Some(unix_seconds) = self.upstream.get().and_then(|expiry| expiry()) {
            self.upstream_expiry.with_label_values::<&str>(&[]).set(unix_seconds);
        }
    }

    pub(super) fn failed(&self, reason: HandshakeFailure) {
        self.failures.with_label_values(&[reason.label()]).inc();
    }
}

impl fmt::Debug for Families {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Families")
            .field("expiry", &self.expiry)
            .field("failures", &self.failures)
            .finish_non_exhaustive()
    }
}
