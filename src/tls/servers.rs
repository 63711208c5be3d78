//! Verifies upstream's certificates, and stores when they expire.
//!
//! In addition to the certificates that WebPKI accepts, a certificate is trusted that is itself contained in
//! `upstream.ca_file`, byte for byte, even if it is marked as an authority's (`CA:TRUE`, the default of
//! `openssl req -x509`). WebPKI refuses such a certificate as a server's own; OpenSSL, and with it curl and Python,
//! accepts it. Its name and its validity period are checked as well, and the server proves possession of the key as
//! usual.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue,
    WebPkiServerVerifier,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, NamedGroup, OtherError, SignatureScheme};

use super::cause::SelfSigned;
use super::x509::{self, Fields};

/// The number of stored sessions: rustls' default.
const SESSIONS: usize = 256;

/// A session is not resumed if the server's certificate expires in less than this time, in seconds: two weeks. So usher
/// sees a renewed certificate before alerts about the expiry are due, and notices an expired one immediately.
const RESUMPTION_MARGIN: i64 = 14 * 86_400;

/// The expiry of the last verified certificate of each server, in seconds since the Unix epoch. The configuration
/// bounds the number of servers.
#[derive(Debug, Default)]
pub(super) struct Servers(Mutex<HashMap<ServerName<'static>, i64>>);

impl Servers {
    fn note(&self, server: &ServerName<'_>, certificate: &CertificateDer<'_>) {
        if let Some(end) = x509::not_after(certificate) {
            self.0.lock().insert(server.to_owned(), end);
        }
    }

    /// Whether a session of the server may be resumed at `now`.
    fn may_resume(&self, server: &ServerName<'_>, now: UnixTime) -> bool {
        let servers = self.0.lock();
        servers.get(&server.to_owned()).is_some_and(|end| seconds(now) + RESUMPTION_MARGIN <= *end)
    }

    /// The earliest expiry.
    pub(super) fn expires_at(&self) -> Option<i64> {
        self.0.lock().values().min().copied()
    }
}

fn seconds(now: UnixTime) -> i64 {
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

/// Verifies the certificates of servers.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) webpki: Arc<WebPkiServerVerifier>,
    /// The certificates in `ca_file`.
    pub(super) trusted: Vec<CertificateDer<'static>>,
    pub(super) servers: Arc<Servers>,
}

impl Verifier {
    /// Checks name, validity period and purpose of a certificate that `ca_file` contains.
    fn verify_trusted(
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
            // `Other` is WebPKI's `CaUsedAsEndEntity`, for which rustls has no variant.
            Err(Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::Other(_)))
                if self.trusted.contains(end_entity) =>
            {
                self.verify_trusted(end_entity, server_name, now)?;
            }
            Err(Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::Other(_)))
                if Fields::read(end_entity).is_some_and(|fields| fields.issuer == fields.subject) =>
            {
                return Err(CertificateError::Other(OtherError(Arc::new(SelfSigned))).into());
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

/// A store of sessions that resumes only sessions of servers whose certificate does not expire soon. The server of a
/// resumed session sends no certificate (RFC 8446 2.2), so an expired certificate would be noticed only when no session
/// is left or usher restarts.
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
