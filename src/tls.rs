//! TLS on both sides: the certificate of usher's listener, which SIGHUP reloads, and the trusted authorities and the
//! client certificate for upstream, and the authorities for the shared store. All use TLS 1.2 and 1.3 with ring, and to
//! callers and upstream HTTP/1.1 only. Callers read the files; this room checks their content.

mod cause;
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

pub use cause::cause;
pub use client::Client;
pub use content::{Content, ExpectedContent};
pub use error::TlsError;
pub use identity::{CertificateWarning, Files, Identity, Purpose};

/// The only protocol offered by ALPN.
const HTTP_1_1: &[u8] = b"http/1.1";

/// The certificate of the listener, which can be replaced without closing connections.
pub struct Certificate {
    resolver: Arc<CertificateResolver>,
    acceptor: TlsAcceptor,
}

/// Returns the current certificate for new handshakes.
#[derive(Debug)]
struct CertificateResolver(ArcSwap<Identity>);

impl Certificate {
    /// A listener's certificate: `identity`.
    #[must_use]
    pub fn new(identity: Identity) -> Arc<Self> {
        let resolver = Arc::new(CertificateResolver(ArcSwap::from_pointee(identity)));
        let dyn_resolver: Arc<dyn ResolvesServerCert> = Arc::<CertificateResolver>::clone(&resolver);
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has cipher suites for TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_cert_resolver(dyn_resolver);
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        Arc::new(Self { resolver, acceptor: TlsAcceptor::from(Arc::new(config)) })
    }

    /// Uses `identity` for new connections. Open connections are not affected.
    pub fn replace(&self, identity: Identity) {
        self.resolver.0.store(Arc::new(identity));
    }

    /// When the current certificate expires, in seconds since the Unix epoch. `None` if its expiry is not encoded
    /// according to RFC 5280 4.1.2.5.
    #[must_use]
    pub fn expires_at(&self) -> Option<i64> {
        self.resolver.0.load().expires_at()
    }

    /// The acceptor for new connections (ALPN `http/1.1`). It always uses the current certificate.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("identity", &self.resolver.0.load()).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for CertificateResolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(self.0.load().certified()))
    }
}

/// When a certificate (DER) expires, in seconds since the Unix epoch. `None` if its expiry is not encoded according to
/// RFC 5280 4.1.2.5.
#[must_use]
pub fn expires_at(certificate: &[u8]) -> Option<i64> {
    x509::not_after(certificate)
}

/// Whether an error of a connection, or one of its sources, is the peer's alert that it requires a certificate or does
/// not accept the certificate that was sent (RFC 8446 6.2). `decrypt_error` is included: peers send it for a
/// certificate whose authority has the same name as a trusted one, but another key.
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

/// The peer's alert in an error or in its sources.
fn alert(error: &(dyn Error + 'static)) -> Option<AlertDescription> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(rustls::Error::AlertReceived(alert)) = error.downcast_ref() {
            return Some(*alert);
        }
        // `io::Error::source` returns the source of the wrapped error, not the wrapped error.
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}
