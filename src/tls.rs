//! TLS on both sides: the certificate usher shows (re-read on SIGHUP) and the authorities it trusts upstream. Both
//! sides speak TLS 1.2 and 1.3, by ring, and HTTP/1.1 alone. Files are read by who calls; what they hold is checked
//! here.

mod client;
mod content;
mod error;
mod identity;
mod servers;
#[cfg(test)]
mod tests;
mod x509;

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, ServerConfig};
use tokio_rustls::TlsAcceptor;

pub use client::Client;
pub use content::{Content, Wanted};
pub use error::TlsError;
pub use identity::{Files, Identity, Purpose};

/// The one protocol offered by ALPN.
const HTTP_1_1: &[u8] = b"http/1.1";

/// The certificate in use; replaced without dropping connections.
pub struct Certificate {
    shown: Arc<Shown>,
    acceptor: TlsAcceptor,
}

/// What new handshakes show.
#[derive(Debug)]
struct Shown(ArcSwap<Identity>);

impl Certificate {
    /// Shows `identity`.
    #[must_use]
    pub fn new(identity: Identity) -> Arc<Self> {
        let shown = Arc::new(Shown(ArcSwap::from_pointee(identity)));
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Shown>::clone(&shown);
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has cipher suites for TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        Arc::new(Self { shown, acceptor: TlsAcceptor::from(Arc::new(config)) })
    }

    /// Shows `identity` from now on. Connections made before go on.
    pub fn replace(&self, identity: Identity) {
        self.shown.0.store(Arc::new(identity));
    }

    /// When the certificate in use expires, in seconds since the Unix epoch. `None` if it does not say so in the way of
    /// RFC 5280 4.1.2.5.
    #[must_use]
    pub fn expires_at(&self) -> Option<i64> {
        self.shown.0.load().expires_at()
    }

    /// The acceptor for new connections (ALPN `http/1.1`), always with the certificate in use.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("shown", &self.shown.0.load()).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(self.0.load().certified()))
    }
}

/// When a certificate (DER) expires, in seconds since the Unix epoch. `None` if it does not say so in the way of RFC
/// 5280 4.1.2.5.
#[must_use]
pub fn expires_at(certificate: &[u8]) -> Option<i64> {
    x509::not_after(certificate)
}

/// Whether an error of a connection, or what caused it, is the peer's alert that it needs a certificate, or does not
/// take the one it was shown (RFC 8446 6.2). `decrypt_error` is among them: it is what a certificate is refused with
/// whose authority bears the name of the right one.
#[must_use]
pub fn refuses_certificate(error: &(dyn Error + 'static)) -> bool {
    alert(error).is_some_and(|alert| {
        matches!(
            alert,
            AlertDescription::CertificateRequired
                | AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                | AlertDescription::AccessDenied
                | AlertDescription::DecryptError
        )
    })
}

/// The alert of the peer that an error is, or was caused by.
fn alert(error: &(dyn Error + 'static)) -> Option<AlertDescription> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(rustls::Error::AlertReceived(alert)) = error.downcast_ref() {
            return Some(*alert);
        }
        // The source of an `io::Error` is not what it wraps, but the source of that.
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}
