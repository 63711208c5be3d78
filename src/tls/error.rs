//! Errors of the TLS setup.

use std::io;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem;

use super::content::{Content, ExpectedContent};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{} cannot be read: {source}; check that the file exists and that usher may read it", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A file does not contain certificates or a key, but something else.
    #[error("{} holds {found}, but {expected} is needed; {}", path.display(), found.remedy(*expected, path))]
    Content {
        /// The file.
        path: PathBuf,
        /// The expected content.
        expected: ExpectedContent,
        /// The actual content.
        found: Content,
    },
    /// The files of the certificate and the key are swapped.
    #[error("the files are swapped: {} holds the key, and {} the certificate; exchange them", certificate.display(), key.display())]
    Swapped {
        /// The file that was given for the certificate.
        certificate: PathBuf,
        /// The file that was given for the key.
        key: PathBuf,
    },
    /// A file is not valid PEM.
    #[error("{} is not a valid PEM file ({source}); a block is damaged or cut short, so copy the file again", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: pem::Error,
    },
    /// A certificate or an authority is not usable.
    #[error("certificate {number} in {} cannot be used ({source}); it must be an X.509 certificate, version 3", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// The position of the certificate in the file, counted from 1.
        number: usize,
        /// What is wrong.
        source: rustls::Error,
    },
    /// The private key is not usable.
    #[error(
        "{} holds {kind}, which cannot be used; it must be RSA of 2048 to 4096 bits, EC on P-256 or P-384, or Ed25519: make one by \
         `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem`, and have the certificate issued anew for it",
        path.display()
    )]
    Key {
        /// The file.
        path: PathBuf,
        /// The kind of the key.
        kind: &'static str,
        /// What is wrong.
        source: rustls::Error,
    },
    /// The certificate and the key do not belong together.
    #[error(
        "the key in {} is not the key of the first certificate in {}; give the pair that was issued together, the server's own certificate first \
         (`openssl x509 -noout -pubkey -in {}` and `openssl pkey -pubout -in {}` must print the same)",
        key.display(), certificate.display(), certificate.display(), key.display()
    )]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The URL of upstream is invalid.
    #[error(
        "{url} cannot be the upstream server: {problem}; write it like https://api-eu.pusher.com or http://127.0.0.1:6002"
    )]
    Url {
        /// The configured URL.
        url: String,
        /// What is wrong.
        problem: String,
    },
}

impl TlsError {
    /// The file with the error, if the error is about one file.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Read { path, .. }
            | Self::Content { path, .. }
            | Self::Pem { path, .. }
            | Self::Certificate { path, .. }
            | Self::Key { path, .. } => Some(path),
            Self::Swapped { .. } | Self::Mismatch { .. } | Self::Url { .. } => None,
        }
    }
}
