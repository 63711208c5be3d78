//! The TLS handshake of a connection to the gateway's listener.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use crate::metrics::HandshakeFailure;
use crate::tls::{self, Certificate};

/// Why a handshake failed.
#[derive(Debug)]
pub(super) struct FailedHandshake {
    /// For the metrics.
    pub(super) reason: HandshakeFailure,
    /// For the log.
    pub(super) error: String,
}

/// Accepts a TLS connection within `period`.
///
/// # Errors
/// [`FailedHandshake`].
pub(super) async fn accept(
    certificate: &Certificate,
    stream: TcpStream,
    period: Duration,
) -> Result<TlsStream<TcpStream>, FailedHandshake> {
    match timeout(period, certificate.acceptor().accept(stream)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(FailedHandshake { reason: reason(&error), error: error.to_string() }),
        Err(_elapsed) => {
            Err(FailedHandshake { reason: HandshakeFailure::Timeout, error: format!("not ended within {period:?}") })
        }
    }
}

fn reason(error: &io::Error) -> HandshakeFailure {
    if tls::refuses_certificate(error) {
        return HandshakeFailure::CertificateRefused;
    }
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(_)) => HandshakeFailure::Alert,
        Some(rustls::Error::PeerIncompatible(_)) => HandshakeFailure::Incompatible,
        Some(rustls::Error::InvalidMessage(_)) => HandshakeFailure::NotTls,
        Some(_) => HandshakeFailure::Other,
        // Errors of the system, and the end of the stream.
        None => HandshakeFailure::Closed,
    }
}
