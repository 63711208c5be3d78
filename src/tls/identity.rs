//! A certificate with its key. The content of both files is checked completely before it is used.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::InconsistentKeys;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::TlsError;
use super::content::{self, Content, ExpectedContent};
use super::x509::{self, Fields};
use crate::clock::Clock;

const DAY: i64 = 86_400;

/// The files of a certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The certificate chain in PEM, the own certificate first.
    pub certificate: PathBuf,
    /// The private key in PEM.
    pub key: PathBuf,
}

/// The purpose of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The certificate of a server.
    Server,
    /// The certificate of a client.
    Client,
}

/// A reason why peers may refuse a certificate although it is usable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateWarning {
    /// What kind of reason it is, for programs.
    pub code: &'static str,
    /// A sentence with the remedy, without its full stop.
    pub message: String,
}

/// A certificate chain with its key. Two identities are equal if they come from the same files.
#[derive(Clone)]
pub struct Identity {
    files: Files,
    certified: Arc<CertifiedKey>,
}

impl Identity {
    /// The identity in the content of the files.
    ///
    /// # Errors
    /// There is no usable certificate or key, or they do not belong together.
    pub fn new(files: Files, certificate: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain = match certificates(&files.certificate, certificate) {
            Err(TlsError::Content { found: Content::Key | Content::EncryptedKey, .. })
                if Content::of(key) == Content::Certificate =>
            {
                return Err(TlsError::Swapped { certificate: files.certificate, key: files.key });
            }
            chain => chain?,
        };
        let der = private_key(&files.key, key)?;
        let kind = content::unusable_kind(der.secret_der());
        let key = ring::default_provider().key_provider.load_private_key(der);
        let certified =
            CertifiedKey::new(chain, key.map_err(|source| TlsError::Key { path: files.key.clone(), kind, source })?);
        match certified.keys_match() {
            // `Unknown`: the public key cannot be derived from this kind of private key, so the two cannot be compared.
            // It can for all kinds that ring supports.
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {
                Ok(Self { files, certified: Arc::new(certified) })
            }
            Err(rustls::Error::InconsistentKeys(_)) => {
                Err(TlsError::Mismatch { certificate: files.certificate, key: files.key })
            }
            Err(source) => Err(TlsError::Certificate { path: files.certificate, number: 1, source }),
        }
    }

    /// The files of the identity.
    #[must_use]
    pub const fn files(&self) -> &Files {
        &self.files
    }

    /// When the certificate expires, in seconds since the Unix epoch. `None` if its expiry is not encoded according to
    /// RFC 5280 4.1.2.5.
    #[must_use]
    pub fn expires_at(&self) -> Option<i64> {
        self.certified.cert.first().and_then(|own| x509::not_after(own))
    }

    /// Reasons why peers may refuse the certificate although it is usable: sentences with the remedy.
    #[must_use]
    pub fn warnings(&self, purpose: Purpose) -> Vec<CertificateWarning> {
        self.warnings_at(purpose, Clock::unix_now().try_into().unwrap_or(i64::MAX))
    }

    fn warnings_at(&self, purpose: Purpose, now: i64) -> Vec<CertificateWarning> {
        let path = self.files.certificate.display();
        let chain: Vec<Fields<'_>> =
            self.certified.cert.iter().filter_map(|certificate| Fields::read(certificate)).collect();
        let Some((own, issuers)) = chain.split_first() else {
            let message = format!("the certificate in {path} is not built as RFC 5280 says: others may refuse it");
            return vec![CertificateWarning { code: "certificate_malformed", message }];
        };
        let (peers, usage, role) = match purpose {
            Purpose::Server => ("clients", x509::SERVER_USAGE, "serverAuth"),
            Purpose::Client => ("the upstream server", x509::CLIENT_USAGE, "clientAuth"),
        };
        let mut warnings = Vec::new();
        let mut warn = |code, message| warnings.push(CertificateWarning { code, message });
        if let Some(expired) = own.not_after.filter(|end| *end < now) {
            let days = (now - expired) / DAY;
            warn(
                "certificate_expired",
                format!(
                    "the certificate in {path} expired {days} days ago, and {peers} will refuse it: renew it, then send SIGHUP"
                ),
            );
        }
        if own.not_before.is_some_and(|begin| begin > now) {
            warn(
                "certificate_not_yet_valid",
                format!(
                    "the certificate in {path} is not valid yet, and {peers} will refuse it: check this machine's clock, or wait"
                ),
            );
        }
        if !own.is_for(usage) {
            warn(
                "certificate_purpose",
                format!(
                    "the certificate in {path} is for another purpose (its extended key usage is without {role}), and {peers} will refuse it: have it \
                 issued with {role}"
                ),
            );
        }
        if issuers.is_empty() && own.issuer != own.subject {
            warn(
                "certificate_without_chain",
                format!(
                    "{path} holds the own certificate alone: {peers} will refuse it, unless its issuer is known there. Give the whole chain (often \
                 called fullchain.pem)"
                ),
            );
        }
        if chain.windows(2).any(|pair| pair[0].issuer != pair[1].subject) {
            warn(
                "certificate_chain_broken",
                format!(
                    "the certificates in {path} are no chain: each must be followed by that of its issuer, the own one first"
                ),
            );
        }
        warnings
    }

    pub(super) const fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.files == other.files
    }
}

impl Eq for Identity {}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("files", &self.files)
            .field("expires_at", &self.expires_at())
            .finish_non_exhaustive()
    }
}

/// The certificates in a PEM file, at least one.
pub(super) fn certificates(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = check_text(path, text, ExpectedContent::Certificate).and_then(|()| {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
        found.map_err(|source| TlsError::Pem { path: path.to_owned(), source })
    });
    let found: Vec<CertificateDer<'static>> = found?;
    if found.is_empty() {
        return Err(TlsError::Content {
            path: path.to_owned(),
            expected: ExpectedContent::Certificate,
            found: Content::of(text),
        });
    }
    if let Some(broken) = found.iter().position(|certificate| Fields::read(certificate).is_none()) {
        let source = rustls::CertificateError::BadEncoding.into();
        return Err(TlsError::Certificate { path: path.to_owned(), number: broken + 1, source });
    }
    Ok(found)
}

/// The first private key in a PEM file.
fn private_key(path: &Path, text: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    check_text(path, text, ExpectedContent::Key)?;
    PrivateKeyDer::from_pem_slice(text).map_err(|source| match (source, Content::of(text)) {
        (pem::Error::NoItemsFound, found) | (_, found @ Content::EncryptedKey) => {
            TlsError::Content { path: path.to_owned(), expected: ExpectedContent::Key, found }
        }
        (source, _) => TlsError::Pem { path: path.to_owned(), source },
    })
}

/// Refuses text that the PEM parser would skip in part: it does not recognise the first line of a block after a byte
/// order mark.
fn check_text(path: &Path, text: &[u8], expected: ExpectedContent) -> Result<(), TlsError> {
    match Content::of(text) {
        found @ (Content::Utf16 | Content::ByteOrderMark) => {
            Err(TlsError::Content { path: path.to_owned(), expected, found })
        }
        _ => Ok(()),
    }
}
