//! TLS of the harness: one identity for every listener, and one cipher suite, so that all targets do the same work.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{self, cipher_suite};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// The suite in OpenSSL's words, for those who configure it.
pub(crate) const SUITE: &str = "TLS_AES_128_GCM_SHA256";

/// A certificate for 127.0.0.1 that vouches for itself, and its key, as files.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// Where the files are.
    pub(crate) directory: PathBuf,
}

impl Identity {
    /// Makes one and writes its files into `directory`.
    pub(crate) fn make(directory: &Path) -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])
            .context("no certificate could be made")?;
        let identity = Self { directory: directory.to_owned() };
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        fs::write(identity.certificate(), &certificate)?;
        fs::write(identity.key(), &key)?;
        fs::write(identity.both(), format!("{certificate}{key}"))?;
        Ok(identity)
    }

    /// The one whose files are in `directory`.
    pub(crate) fn load(directory: &Path) -> Result<Self> {
        Ok(Self { directory: directory.to_owned() })
    }

    /// The certificate's file.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.directory.join("certificate.pem")
    }

    /// The key's file.
    pub(crate) fn key(&self) -> PathBuf {
        self.directory.join("key.pem")
    }

    /// The file with both, for HAProxy.
    pub(crate) fn both(&self) -> PathBuf {
        self.directory.join("both.pem")
    }

    /// The TLS configuration of a listener of the harness.
    pub(crate) fn server(&self) -> Result<Arc<ServerConfig>> {
        let key = PrivateKeyDer::from_pem_file(self.key()).context("no key")?;
        let config = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13])?;
        let mut config = config.with_no_client_auth().with_single_cert(vec![self.der()?], key)?;
        // Connections are kept, so no session is resumed, and nginx closes an idle connection on which tickets arrive.
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// The generator's trusted certificates.
    pub(crate) fn client(&self) -> Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der()?)?;
        let config = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13])?;
        Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
    }

    fn der(&self) -> Result<CertificateDer<'static>> {
        CertificateDer::from_pem_file(self.certificate()).context("no certificate")
    }
}

/// Ring with one cipher suite, so every peer of the harness uses it.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider { cipher_suites: vec![cipher_suite::TLS13_AES_128_GCM_SHA256], ..ring::default_provider() })
}
