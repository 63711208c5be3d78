//! TLS towards upstream: whom usher trusts, and the certificate it shows where one is asked for.

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

/// What connections to upstream are secured with. Clones share it, and what it is replaced by. Two are equal if they
/// come from the same files.
#[derive(Clone)]
pub struct Client(Arc<ArcSwap<Setup>>);

struct Setup {
    ca_file: Option<PathBuf>,
    identity: Option<Identity>,
    shown: Arc<Shown>,
    config: Arc<ClientConfig>,
    servers: Arc<Servers>,
}

/// What servers are shown that ask for a certificate.
#[derive(Debug)]
struct Shown {
    certified: Option<Arc<CertifiedKey>>,
    /// Whether one has asked.
    asked: AtomicBool,
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _authorities: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        self.certified.clone()
    }

    fn has_certs(&self) -> bool {
        self.certified.is_some()
    }
}

impl Client {
    /// Trusts the built-in web roots, and what `authorities` (a file and its content) holds; shows `identity` to a
    /// server that asks for a certificate.
    ///
    /// # Errors
    /// If the content holds no certificate that can be used.
    pub fn new(authorities: Option<(PathBuf, &[u8])>, identity: Option<Identity>) -> Result<Self, TlsError> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let given = authorities.as_ref().map(|(path, text)| certificates(path, text)).transpose()?.unwrap_or_default();
        let ca_file = authorities.map(|(path, _)| path);
        for (index, authority) in given.iter().enumerate() {
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
            .with_custom_certificate_verifier(Arc::new(Verifier { webpki, given, servers: Arc::clone(&servers) }));
        let certified = identity.as_ref().map(|identity| Arc::clone(identity.certified()));
        let shown = Arc::new(Shown { certified, asked: AtomicBool::new(false) });
        let mut config = config.with_client_cert_resolver(Arc::<Shown>::clone(&shown));
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        config.resumption = Resumption::store(Arc::new(Sessions::new(Arc::clone(&servers))));
        let setup = Setup { ca_file, identity, shown, config: Arc::new(config), servers };
        Ok(Self(Arc::new(ArcSwap::from_pointee(setup))))
    }

    /// The same with the authorities in a file, and without a certificate to show.
    ///
    /// # Errors
    /// If the file cannot be read, too.
    pub fn read(ca_file: Option<&Path>) -> Result<Self, TlsError> {
        let Some(path) = ca_file else { return Self::new(None, None) };
        let text = std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })?;
        Self::new(Some((path.to_owned(), &text)), None)
    }

    /// What the next connection is to be made with.
    #[must_use]
    pub fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0.load().config)
    }

    /// Takes over what `new` was made of; connections made before go on.
    pub fn replace(&self, new: &Self) {
        self.0.store(new.0.load_full());
    }

    /// The certificate that is shown to a server that asks for one.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        self.0.load().identity.clone()
    }

    /// Whether an error of a handshake is the server's word that it needs a certificate, or does not take the one it
    /// was shown. In TLS 1.2 some say only `handshake_failure` where they got none (RFC 5246 7.4.6), which counts if a
    /// server has asked for one.
    #[must_use]
    pub fn is_refused(&self, error: &(dyn Error + 'static)) -> bool {
        refuses_certificate(error) || alert(error) == Some(AlertDescription::HandshakeFailure) && self.was_asked()
    }

    /// Whether a server has asked for a certificate. One that lets everybody in by TLS may still refuse each request
    /// without one, as nginx does by 400.
    #[must_use]
    pub fn was_asked(&self) -> bool {
        self.0.load().shown.asked.load(Ordering::Relaxed)
    }

    /// When the first of the certificates expires that upstream has shown, in seconds since the Unix epoch. `None`:
    /// none was seen yet.
    #[must_use]
    pub fn expires_at(&self) -> Option<i64> {
        self.0.load().servers.expires_at()
    }
}

impl Default for Client {
    /// Trusts the built-in web roots alone.
    fn default() -> Self {
        Self::new(None, None).expect("without files nothing can be wrong with them")
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
