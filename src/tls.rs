//! TLS on both sides: the certificate usher shows (re-read on SIGHUP) and the authorities it trusts upstream.
//! Both sides speak TLS 1.2 and 1.3, by ring, and HTTP/1.1 alone.

mod expiry;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, InconsistentKeys, RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

/// The one protocol offered by ALPN.
const HTTP_1_1: &[u8] = b"http/1.1";

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Reading a file.
    #[error("cannot read {}; check that the file exists and that usher may read it", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Finding the blocks in a PEM file.
    #[error("{} is not a valid PEM file; a block is damaged or cut short, so copy the file again", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// Looking for a certificate.
    #[error("{} holds no certificate; it needs at least one block that begins with `-----BEGIN CERTIFICATE-----`", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// Looking for a private key.
    #[error("{} holds no private key; it needs a block that begins with `-----BEGIN PRIVATE KEY-----`, unencrypted", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// Reading a certificate or an authority.
    #[error("{} holds a certificate that cannot be used; it must be an X.509 certificate, version 3", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// Reading the private key.
    #[error("{} holds a private key that cannot be used; it must be RSA, ECDSA (P-256, P-384) or Ed25519", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// Comparing the certificate with the key.
    #[error(
        "the key in {} is not the key of the first certificate in {}; give the pair that was issued together, the server's own certificate first",
        key.display(),
        certificate.display()
    )]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// Understanding where upstream is.
    #[error("{url} cannot be the upstream server: {problem}; write it like https://api-eu.pusher.com or http://127.0.0.1:6002")]
    Url {
        /// As configured.
        url: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// The files of the certificate that usher shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The certificate chain, PEM, the server's own certificate first.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

/// The certificate in use; re-read without dropping connections.
pub struct Certificate {
    files: Files,
    shown: Arc<Shown>,
    acceptor: TlsAcceptor,
}

/// What new handshakes show.
#[derive(Debug)]
struct Shown(ArcSwap<Pair>);

/// A certificate chain with its key.
#[derive(Debug)]
struct Pair {
    certified: Arc<CertifiedKey>,
    /// Seconds since the Unix epoch.
    expires_at: Option<i64>,
}

impl Certificate {
    /// Reads the files.
    ///
    /// # Errors
    /// If they cannot be read, hold no certificate or key, or do not belong together.
    pub fn load(files: Files) -> Result<Arc<Self>, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let shown = Arc::new(Shown(ArcSwap::from_pointee(Pair::read(&files, &provider)?)));
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Shown>::clone(&shown);
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has cipher suites for TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        Ok(Arc::new(Self { files, shown, acceptor: TlsAcceptor::from(Arc::new(config)) }))
    }

    /// Reads the files again; on an error the certificate in use stays. Connections made before go on.
    ///
    /// # Errors
    /// As for [`Certificate::load`].
    pub fn reload(&self) -> Result<(), TlsError> {
        let pair = Pair::read(&self.files, &ring::default_provider())?;
        self.shown.0.store(Arc::new(pair));
        Ok(())
    }

    /// When the certificate in use expires, in seconds since the Unix epoch. `None` if it does not say so in the way of RFC 5280 4.1.2.5.
    #[must_use]
    pub fn expires_at(&self) -> Option<i64> {
        self.shown.0.load().expires_at
    }

    /// The acceptor for new connections (ALPN `http/1.1`), always with the certificate in use.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("files", &self.files).field("expires_at", &self.expires_at()).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.load().certified))
    }
}

impl Pair {
    fn read(files: &Files, provider: &CryptoProvider) -> Result<Self, TlsError> {
        let chain = certificates(&files.certificate)?;
        let expires_at = chain.first().and_then(|own| expiry::not_after(own));
        let key = provider.key_provider.load_private_key(private_key(&files.key)?);
        let certified = CertifiedKey::new(chain, key.map_err(|source| TlsError::Key { path: files.key.clone(), source })?);
        match certified.keys_match() {
            // Unknown: the kind of key does not tell its public half, so there is nothing to compare. ring's kinds all do.
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(Self { certified: Arc::new(certified), expires_at }),
            Err(rustls::Error::InconsistentKeys(_)) => Err(TlsError::Mismatch { certificate: files.certificate.clone(), key: files.key.clone() }),
            Err(source) => Err(TlsError::Certificate { path: files.certificate.clone(), source }),
        }
    }
}

/// The client configuration for upstream: built-in web roots, and those of `ca_file`.
///
/// # Errors
/// If the file cannot be read or holds no certificate.
pub fn client(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = ca_file {
        for authority in certificates(path)? {
            roots.add(authority).map_err(|source| TlsError::Certificate { path: path.to_owned(), source })?;
        }
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has cipher suites for TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![HTTP_1_1.to_vec()];
    Ok(Arc::new(config))
}

/// When a certificate (DER) expires, in seconds since the Unix epoch. `None` if it does not say so in the way of RFC 5280 4.1.2.5.
#[must_use]
pub fn expires_at(certificate: &[u8]) -> Option<i64> {
    expiry::not_after(certificate)
}

/// The certificates in a PEM file, at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|source| TlsError::Pem { path: path.to_owned(), source })?;
    if found.is_empty() { Err(TlsError::NoCertificate { path: path.to_owned() }) } else { Ok(found) }
}

/// The first private key in a PEM file.
fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|source| match source {
        pem::Error::NoItemsFound => TlsError::NoKey { path: path.to_owned() },
        source => TlsError::Pem { path: path.to_owned(), source },
    })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}
