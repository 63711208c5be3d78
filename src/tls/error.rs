//! Why TLS could not be set up.

use std::io;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem;

use super::content::{Content, Wanted};

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Reading a file.
    #[error("{} cannot be read: {source}; check that the file exists and that usher may read it", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Looking for certificates or a key in a file of something else.
    #[error("{} holds {found}, but {wanted} is needed; {}", path.display(), found.cure(*wanted, path))]
    Content {
        /// The file.
        path: PathBuf,
        /// What should be in it.
        wanted: Wanted,
        /// What is in it.
        found: Content,
    },
    /// The certificate in the key's place, and the other way round.
    #[error("the files are swapped: {} holds the key, and {} the certificate; exchange them", certificate.display(), key.display())]
    Swapped {
        /// The file that was given for the certificate.
        certificate: PathBuf,
        /// The file that was given for the key.
        key: PathBuf,
    },
    /// Finding the blocks in a PEM file.
    #[error("{} is not a valid PEM file ({source}); a block is damaged or cut short, so copy the file again", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// Reading a certificate or an authority.
    #[error("certificate {number} in {} cannot be used ({source}); it must be an X.509 certificate, version 3", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Which of those in the file, counted from 1.
        number: usize,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// Reading the private key.
    #[error(
        "{} holds {kind}, which cannot be used; it must be RSA of 2048 to 4096 bits, EC on P-256 or P-384, or Ed25519: make one by \
         `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem`, and have the certificate issued anew for it",
        path.display()
    )]
    Key {
        /// The file.
        path: PathBuf,
        /// What kind of key it is.
        kind: &'static str,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// Comparing the certificate with the key.
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
    /// Understanding where upstream is.
    #[error(
        "{url} cannot be the upstream server: {problem}; write it like https://api-eu.pusher.com or http://127.0.0.1:6002"
    )]
    Url {
        /// As configured.
        url: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl TlsError {
    /// The file that is at fault, if it is one.
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
