//! TLS on both sides: the certificate usher shows (re-read on SIGHUP) and the authorities it trusts upstream. (Stub.)

use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Placeholder until the room is built.
    #[error("placeholder")]
    Placeholder,
}

/// The files of the certificate that usher shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The certificate chain, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

/// The certificate in use; re-read without dropping connections.
#[derive(Debug)]
pub struct Certificate {}

impl Certificate {
    /// Reads the files.
    ///
    /// # Errors
    /// If they cannot be read, hold no certificate or key, or do not belong together.
    pub fn load(files: Files) -> Result<Arc<Self>, TlsError> {
        let _ = files;
        todo!()
    }

    /// Reads the files again; on an error the certificate in use stays.
    ///
    /// # Errors
    /// As for [`Certificate::load`].
    pub fn reload(&self) -> Result<(), TlsError> {
        todo!()
    }

    /// When the certificate in use expires, in seconds since the Unix epoch.
    #[must_use]
    pub fn expires_at(&self) -> Option<i64> {
        None
    }

    /// The acceptor for new connections (ALPN `http/1.1`), always with the certificate in use.
    #[must_use]
    pub fn acceptor(&self) -> tokio_rustls::TlsAcceptor {
        todo!()
    }
}

/// The client configuration for upstream: built-in web roots, and those of `ca_file`.
///
/// # Errors
/// If the file cannot be read or holds no certificate.
pub fn client(ca_file: Option<&Path>) -> Result<Arc<rustls::ClientConfig>, TlsError> {
    let _ = ca_file;
    todo!()
}
