//! The certificates that upstream has shown: whether they are trusted, and until when they are good.
//!
//! Beside what WebPKI takes, a certificate is trusted that stands in `upstream.ca_file` itself, byte for byte, even if
//! it says of itself that it is an authority's (`CA:TRUE`, as `openssl req -x509` writes). WebPKI refuses such a one as
//! a server's own; OpenSSL, and so curl and Python, take it. Its name and its time are checked all the same, and
//! whoever shows it proves that he has its key as always.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue,
    WebPkiServerVerifier,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, NamedGroup, SignatureScheme};

use super::x509::{self, Fields};

/// Sessions that are remembered to be resumed: rustls' own default.
const SESSIONS: usize = 256;

/// Sessions of a server are no longer resumed once its certificate has less time left, in seconds: two weeks. So a
/// renewed one is seen before anybody is alarmed, and one that has expired at once.
const LAST_DAYS: i64 = 14 * 86_400;

/// Until when the certificate of each server is good that was verified last, in seconds since the Unix epoch. As many
/// as there are addresses upstream.
#[derive(Debug, Default)]
pub(super) struct Servers(Mutex<HashMap<ServerName<'static>, i64>>);

impl Servers {
    fn note(&self, server: &ServerName<'_>, certificate: &CertificateDer<'_>) {
        if let Some(end) = x509::not_after(certificate) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(server.to_owned(), end);
        }
    }

    /// Whether a session of the server may be resumed.
    fn may_resume(&self, server: &ServerName<'_>, now: UnixTime) -> bool {
        let servers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        servers.get(&server.to_owned()).is_some_and(|end| seconds(now) + LAST_DAYS <= *end)
    }

    /// When the first of the certificates expires.
    pub(super) fn expires_at(&self) -> Option<i64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().min().copied()
    }
}

fn seconds(now: UnixTime) -> i64 {
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

/// Verifies what a server shows.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) webpki: Arc<WebPkiServerVerifier>,
    /// The certificates in `ca_file`.
    pub(super) given: Vec<CertificateDer<'static>>,
    pub(super) servers: Arc<Servers>,
}

impl Verifier {
    /// Whether the certificate is one of those that were given, for this server, and at this time.
    fn verify_given(
        &self,
        certificate: &CertificateDer<'_>,
        server: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        verify_server_name(&ParsedCertificate::try_from(certificate)?, server)?;
        let fields = Fields::read(certificate).ok_or(CertificateError::BadEncoding)?;
        let (Some(begin), Some(end)) = (fields.not_before, fields.not_after) else {
            return Err(CertificateError::BadEncoding.into());
        };
        if seconds(now) < begin {
            return Err(CertificateError::NotValidYet.into());
        }
        if seconds(now) > end {
            return Err(CertificateError::Expired.into());
        }
        if fields.is_for(x509::SERVER_USAGE) { Ok(()) } else { Err(CertificateError::InvalidPurpose.into()) }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.webpki.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Ok(_) => {}
            // The second is WebPKI's `CaUsedAsEndEntity`, which rustls has no name for.
            Err(Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::Other(_)))
                if self.given.contains(end_entity) =>
            {
                self.verify_given(end_entity, server_name, now)?;
            }
            Err(error) => return Err(error),
        }
        self.servers.note(server_name, end_entity);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

/// The sessions that may be resumed: those of a server whose certificate is good for a while. A resumed session shows
/// no certificate (RFC 8446 2.2), so that one that has expired would be noticed only when no session is left, or usher
/// restarts.
#[derive(Debug)]
pub(super) struct Sessions {
    cache: ClientSessionMemoryCache,
    servers: Arc<Servers>,
}

impl Sessions {
    pub(super) fn new(servers: Arc<Servers>) -> Self {
        Self { cache: ClientSessionMemoryCache::new(SESSIONS), servers }
    }
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, server_name: ServerName<'static>, group: NamedGroup) {
        self.cache.set_kx_hint(server_name, group);
    }

    fn kx_hint(&self, server_name: &ServerName<'_>) -> Option<NamedGroup> {
        self.cache.kx_hint(server_name)
    }

    fn set_tls12_session(&self, server_name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.cache.set_tls12_session(server_name, value);
    }

    fn tls12_session(&self, server_name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        if self.servers.may_resume(server_name, UnixTime::now()) { self.cache.tls12_session(server_name) } else { None }
    }

    fn remove_tls12_session(&self, server_name: &ServerName<'static>) {
        self.cache.remove_tls12_session(server_name);
    }

    fn insert_tls13_ticket(&self, server_name: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.cache.insert_tls13_ticket(server_name, value);
    }

    fn take_tls13_ticket(&self, server_name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        if self.servers.may_resume(server_name, UnixTime::now()) {
            self.cache.take_tls13_ticket(server_name)
        } else {
            None
        }
    }
}
