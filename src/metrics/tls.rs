//! TLS: the expiry of certificates, and failed handshakes.

use std::fmt;
use std::sync::OnceLock;

use prometheus::{IntCounterVec, IntGaugeVec, Registry, opts};

use super::register;

/// Why a TLS handshake on the public listener failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// It did not end within `limits.head_timeout`.
    Timeout,
    /// The client disconnected during it.
    Closed,
    /// The bytes received are not TLS, e.g. plain HTTP.
    NotTls,
    /// The client offers no version or cipher that usher supports.
    Incompatible,
    /// The client rejects the certificate.
    CertificateRefused,
    /// Any other alert from the client.
    Alert,
    /// Any other failure.
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

/// Returns an expiry in seconds since the Unix epoch.
type Expiry = Box<dyn Fn() -> Option<i64> + Send + Sync>;

/// The metrics of TLS.
pub(super) struct Families {
    /// Families without labels: their only series exists from the first certificate on, since 0 would mean expired.
    expiry: IntGaugeVec,
    upstream_expiry: IntGaugeVec,
    upstream: OnceLock<Expiry>,
    failures: IntCounterVec,
}

impl Families {
    pub(super) fn new(registry: &Registry) -> Self {
        let expiry = opts!(
            "usher_tls_certificate_expires_at_timestamp_seconds",
            "The expiry of the public listener's certificate, in seconds since the Unix epoch."
        );
        let upstream_expiry = opts!(
            "usher_upstream_tls_certificate_expires_at_timestamp_seconds",
            "The earliest expiry of the certificates that upstream presented, in seconds since the Unix epoch."
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

    /// Updates the values that are read only at a scrape. If a value is unknown, the previous one is kept.
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
