//! TLS towards upstream and the shared store: the trusted authorities, and the client certificate for servers that request one.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use rustls::client::{ResolvesClientCert, Resumption, WebPkiServerVerifier};
use rustls::crypto::ring;
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, ClientConfig, RootCertStore, SignatureScheme};

use super::identity::{Identity, certificates};
use super::servers::{Servers, Sessions, Verifier};
use super::{HTTP_1_1, TlsError, alert, refuses_certificate};

/// The TLS client for connections to upstream. Clones share the setup, including later replacements. Two clients are
/// equal if they come from the same files.
#[derive(Clone)]
pub struct Client(Arc<ArcSwap<Setup>>);

struct Setup {
    ca_file: Option<PathBuf>,
    identity: Option<Identity>,
    resolver: Arc<ClientCertificate>,
    config: Arc<ClientConfig>,
    servers: Arc<Servers>,
}

/// Returns the client certificate for servers that request one.
#[derive(Debug)]
struct ClientCertificate {
    certified: Option<Arc<CertifiedKey>>,
    /// Whether a server has requested a certificate.
    was_requested: AtomicBool,
}

impl ResolvesClientCert for ClientCertificate {
    fn resolve(&self, _authorities: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.was_requested.store(true, Ordering::Relaxed);
        self.certified.clone()
    }

    fn has_certs(&self) -> bool {
        self.certified.is_some()
    }
}

impl Client {
    /// A client that trusts the built-in web roots and the certificates in `authorities` (a file and its content), and
    /// that sends `identity` to servers that request a certificate.
    ///
    /// # Errors
    /// The content has no usable certificate.
    pub fn new(authorities: Option<(PathBuf, &[u8])>, identity: Option<Identity>) -> Result<Self, TlsError> {
        Self::offering(vec![HTTP_1_1.to_vec()], authorities, identity)
    }

    /// The same without a client certificate and without ALPN, for a protocol that has no name in it.
    ///
    /// # Errors
    /// The content has no usable certificate.
    pub fn without_alpn(authorities: Option<(PathBuf, &[u8])>) -> Result<Self, TlsError> {
        Self::offering(Vec::new(), authorities, None)
    }

    fn offering(
        protocols: Vec<Vec<u8>>,
        authorities: Option<(PathBuf, &[u8])>,
        identity: Option<Identity>,
    ) -> Result<Self, TlsError> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let trusted =
            authorities.as_ref().map(|(path, text)| certificates(path, text)).transpose()?.unwrap_or_default();
        let ca_file = authorities.map(|(path, _)| path);
        for (index, authority) in trusted.iter().enumerate() {
            let path = || ca_file.clone().unwrap_or_default();
            roots.add(authority.clone()).map_err(|source| TlsError::Certificate {
                path: path(),
                number: index + 1,
                source,
            })?;
        }
        let provider = Arc::new(ring::default_provider());
        let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
        let webpki = webpki.expect("there are roots, and no revocation lists");
        let servers = Arc::new(Servers::default());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has cipher suites for TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier { webpki, trusted, servers: Arc::clone(&servers) }));
        let certified = identity.as_ref().map(|identity| Arc::clone(identity.certified()));
        let resolver = Arc::new(ClientCertificate { certified, was_requested: AtomicBool::new(false) });
        let mut config = config.with_client_cert_resolver(Arc::<ClientCertificate>::clone(&resolver));
        config.alpn_protocols = protocols;
        config.resumption = Resumption::store(Arc::new(Sessions::new(Arc::clone(&servers))));
        let setup = Setup { ca_file, identity, resolver, config: Arc::new(config), servers };
        Ok(Self(Arc::new(ArcSwap::from_pointee(setup))))
    }

    /// A client with the authorities in a file, and without a client certificate.
    ///
    /// # Errors
    /// The file cannot be read, or has no usable certificate.
    pub fn read(ca_file: Option<&Path>) -> Result<Self, TlsError> {
        let Some(path) = ca_file else { return Self::new(None, None) };
        let text = std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })?;
        Self::new(Some((path.to_owned(), &text)), None)
    }

    /// The configuration for the next connection.
    #[must_use]
    pub fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0.load().config)
    }

    /// Replaces the setup by that of `new`. Open connections are not affected.
    pub fn replace(&self, new: &Self) {
        self.0.store(new.0.load_full());
    }

    /// The file of the authorities that are trusted beside the built-in ones.
    #[must_use]
    pub fn ca_file(&self) -> Option<PathBuf> {
        self.0.load().ca_file.clone()
    }

    /// The client certificate.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        self.0.load().identity.clone()
    }

    /// Whether an error of a handshake is the server's alert that it requires a certificate or does not accept the one
    /// that was sent. With TLS 1.2 some servers send `handshake_failure` if they receive none (RFC 5246 7.4.6); it
    /// counts if a server has requested a certificate.
    #[must_use]
    pub fn is_refused(&self, error: &(dyn Error + 'static)) -> bool {
        refuses_certificate(error) || alert(error) == Some(AlertDescription::HandshakeFailure) && self.was_requested()
    }

    /// Whether a server has requested a certificate. A server that accepts TLS connections without one may still refuse
    /// each request, as nginx does with 400.
    #[must_use]
    pub fn was_requested(&self) -> bool {
        self.0.load().resolver.was_requested.load(Ordering::Relaxed)
    }

    /// The earliest expiry of upstream's certificates, in seconds since the Unix epoch. `None`: no certificate was
    /// verified yet.
    #[must_use]
    pub fn expires_at(&self) -> Option<i64> {
        self.0.load().servers.expires_at()
    }
}

impl Default for Client {
    /// A client that trusts the built-in web roots only.
    fn default() -> Self {
        Self::new(None, None).expect("without files there is nothing to fail")
    }
}

impl PartialEq for Client {
    fn eq(&self, other: &Self) -> bool {
        let (this, other) = (self.0.load(), other.0.load());
        this.ca_file == other.ca_file && this.identity == other.identity
    }
}

impl Eq for Client {}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let setup = self.0.load();
        f.debug_struct("Client")
            .field("ca_file", &setup.ca_file)
            .field("identity", &setup.identity)
            .finish_non_exhaustive()
    }
}
