//! Certificates, their reload and their errors, over real handshakes.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd,
};
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, HandshakeKind};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, server};

use super::content::Content;
use super::{Certificate, Client, Files, Identity, Purpose, TlsError, x509};

/// A certificate authority with a folder for its files.
struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority");
        fs::write(folder.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { folder, issuer: Issuer::new(params, key) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn files(&self) -> Files {
        Files { certificate: self.path("cert.pem"), key: self.path("key.pem") }
    }

    /// The identity in the files.
    fn identity(&self) -> Result<Identity, TlsError> {
        let read = |name: &str| fs::read(self.path(name)).unwrap();
        Identity::new(self.files(), &read("cert.pem"), &read("key.pem"))
    }

    /// Writes a new certificate for localhost that expires with the beginning of `year`, and returns its DER.
    fn issue(&self, year: i32) -> Vec<u8> {
        self.issue_with(|params| params.not_after = date_time_ymd(year, 1, 1))
    }

    fn issue_with(&self, change: impl Fn(&mut CertificateParams)) -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.path("cert.pem"), certificate.pem()).unwrap();
        fs::write(self.path("key.pem"), key.serialize_pem()).unwrap();
        certificate.der().to_vec()
    }

    /// Performs a handshake with `acceptor`. Returns both ends.
    async fn connect(&self, acceptor: TlsAcceptor) -> (TlsStream<TcpStream>, server::TlsStream<TcpStream>) {
        self.connect_by(&Client::read(Some(&self.path("ca.pem"))).unwrap(), acceptor).await
    }

    async fn connect_by(
        &self,
        client: &Client,
        acceptor: TlsAcceptor,
    ) -> (TlsStream<TcpStream>, server::TlsStream<TcpStream>) {
        let (theirs, ours) = self.try_connect(client, acceptor).await;
        (theirs.unwrap(), ours.unwrap())
    }

    async fn try_connect(
        &self,
        client: &Client,
        acceptor: TlsAcceptor,
    ) -> (io::Result<TlsStream<TcpStream>>, io::Result<server::TlsStream<TcpStream>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connector = TlsConnector::from(client.config());
        let ours = async { acceptor.accept(listener.accept().await.unwrap().0).await };
        let theirs = async {
            let tcp = TcpStream::connect(address).await.unwrap();
            connector.connect(ServerName::try_from("localhost").unwrap(), tcp).await
        };
        tokio::join!(theirs, ours)
    }
}

fn shown(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

fn message(error: &TlsError) -> String {
    error.to_string()
}

#[tokio::test]
async fn a_reload_is_shown_to_new_connections_and_old_ones_go_on() {
    let authority = Authority::new();
    let first = authority.issue(2090);
    let certificate = Certificate::new(authority.identity().unwrap());
    let acceptor = certificate.acceptor();
    let (mut old, mut old_end) = authority.connect(acceptor.clone()).await;
    assert_eq!(shown(&old), first);

    let second = authority.issue(2091);
    certificate.replace(authority.identity().unwrap());
    // The acceptor made before the reload uses the new one.
    let (new, _new_end) = authority.connect(acceptor).await;
    assert_eq!(shown(&new), second);
    assert_ne!(first, second);
    assert_eq!(new.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));

    old.write_all(b"still here").await.unwrap();
    let mut got = [0; 10];
    old_end.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"still here");
}

#[test]
fn every_fault_names_the_file() {
    let authority = Authority::new();
    let load = || authority.identity().unwrap_err();

    authority.issue(2090);
    let key = fs::read_to_string(authority.path("key.pem")).unwrap();
    fs::write(authority.path("key.pem"), "").unwrap();
    let error = load();
    assert!(
        matches!(error, TlsError::Content { found: Content::Nothing, .. }) && message(&error).contains("key.pem"),
        "{error}"
    );

    fs::write(authority.path("key.pem"), "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
    let error = load();
    assert!(matches!(error, TlsError::Key { .. }) && message(&error).contains("key.pem"), "{error}");

    fs::write(authority.path("key.pem"), "-----BEGIN PRIVATE KEY-----\nAAAA\n").unwrap();
    let error = load();
    assert!(matches!(error, TlsError::Pem { .. }) && message(&error).contains("key.pem"), "{error}");

    // The key of an earlier certificate.
    authority.issue(2091);
    fs::write(authority.path("key.pem"), key).unwrap();
    let error = load();
    assert!(matches!(error, TlsError::Mismatch { .. }) && message(&error).contains("cert.pem"), "{error}");

    fs::write(authority.path("cert.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let error = load();
    assert!(matches!(error, TlsError::Certificate { .. }) && message(&error).contains("cert.pem"), "{error}");
}

#[test]
fn a_ca_file_must_hold_a_certificate() {
    let authority = Authority::new();
    assert!(matches!(Client::read(Some(&authority.path("none.pem"))), Err(TlsError::Read { .. })));
    authority.issue(2090);
    assert!(matches!(
        Client::read(Some(&authority.path("key.pem"))),
        Err(TlsError::Content { found: Content::Key, .. })
    ));
    let config = Client::read(None).unwrap().config();
    assert_eq!(config.alpn_protocols, [b"http/1.1".to_vec()]);
}

#[test]
fn the_expiry_is_read_from_both_forms_of_time() {
    let authority = Authority::new();
    // 2049 is the last year written with two digits.
    for year in [1951, 1970, 1999, 2000, 2024, 2049, 2050, 2100, 2401, 9999] {
        let der = authority.issue(year);
        assert_eq!(x509::not_after(&der), Some(date_time_ymd(year, 1, 1).unix_timestamp()), "{year}");
    }
    // Every day of a leap year, of a common year, and of a century year that is not a leap year.
    let key = KeyPair::generate().unwrap();
    for (year, month) in [2024, 2023, 2100].into_iter().flat_map(|year| (1..=12).map(move |month| (year, month))) {
        for day in [1, 28] {
            let mut params = CertificateParams::default();
            params.not_after = date_time_ymd(year, month, day);
            let der = params.self_signed(&key).unwrap();
            assert_eq!(
                x509::not_after(der.der()),
                Some(date_time_ymd(year, month, day).unix_timestamp()),
                "{year}-{month}-{day}"
            );
        }
    }
}

#[test]
fn a_damaged_certificate_has_no_expiry_and_does_not_panic() {
    let der = Authority::new().issue(2090);
    for length in 0..der.len() {
        // Truncated, and each byte changed.
        let _ = x509::not_after(&der[..length]);
        for value in [0x00, 0x7f, 0x80, 0x84, 0xff] {
            let mut spoilt = der.clone();
            spoilt[length] = value;
            let _ = x509::not_after(&spoilt);
        }
    }
    assert_eq!(x509::not_after(&der[..40]), None);
    assert_eq!(x509::not_after(b"\x30\x84\xff\xff\xff\xff"), None);
}

fn warning_texts(authority: &Authority, purpose: Purpose) -> Vec<String> {
    authority.identity().unwrap().warnings(purpose).into_iter().map(|warning| warning.message).collect()
}

#[test]
fn certificates_that_peers_may_refuse_have_warnings() {
    let authority = Authority::new();
    let warnings = |change: &dyn Fn(&mut CertificateParams), purpose: Purpose| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        change(&mut params);
        fs::write(authority.path("cert.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(authority.path("key.pem"), key.serialize_pem()).unwrap();
        warning_texts(&authority, purpose).join("; ")
    };
    assert_eq!(warnings(&|_| {}, Purpose::Server), "");
    for (change, purpose, says) in [
        (
            (&|params: &mut CertificateParams| params.not_after = date_time_ymd(2020, 1, 1))
                as &dyn Fn(&mut CertificateParams),
            Purpose::Server,
            "days ago",
        ),
        (
            &|params: &mut CertificateParams| params.not_before = date_time_ymd(2090, 1, 1),
            Purpose::Server,
            "not valid yet",
        ),
        (
            &|params: &mut CertificateParams| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
            Purpose::Server,
            "serverAuth",
        ),
        (
            &|params: &mut CertificateParams| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
            Purpose::Client,
            "clientAuth",
        ),
    ] {
        assert!(warnings(change, purpose).contains(says), "{says}: {}", warnings(change, purpose));
    }
    for usage in [ExtendedKeyUsagePurpose::Any, ExtendedKeyUsagePurpose::ServerAuth] {
        assert_eq!(warnings(&|params| params.extended_key_usages = vec![usage.clone()], Purpose::Server), "");
    }
    authority.issue(2090);
    assert!(warning_texts(&authority, Purpose::Server).concat().contains("whole chain"));
    let own = fs::read_to_string(authority.path("cert.pem")).unwrap();
    let ca = fs::read_to_string(authority.path("ca.pem")).unwrap();
    fs::write(authority.path("cert.pem"), format!("{own}{ca}")).unwrap();
    assert_eq!(warning_texts(&authority, Purpose::Server), Vec::<String>::new());
    fs::write(authority.path("cert.pem"), format!("{own}{own}")).unwrap();
    assert!(warning_texts(&authority, Purpose::Server).concat().contains("no chain"));
}

/// Shortly before the certificate's expiry no session is resumed, because a resumed session has no certificate.
#[tokio::test]
async fn sessions_are_resumed_while_the_certificate_is_good_for_long_alone() {
    let authority = Authority::new();
    let ends = date_time_ymd(1970, 1, 1)
        + (SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_hours(13 * 24));
    for (end, resumes) in [(date_time_ymd(2090, 1, 1), true), (ends, false)] {
        authority.issue_with(|params| params.not_after = end);
        let certificate = Certificate::new(authority.identity().unwrap());
        let client = Client::read(Some(&authority.path("ca.pem"))).unwrap();
        assert_eq!(client.expires_at(), None);
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let (mut stream, mut end) = authority.connect_by(&client, certificate.acceptor()).await;
            // The tickets arrive with the first byte.
            end.write_all(b"x").await.unwrap();
            stream.read_exact(&mut [0]).await.unwrap();
            kinds.push(stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed));
        }
        assert_eq!(kinds, [false, resumes]);
        assert_eq!(client.expires_at(), certificate.expires_at());
    }
}

/// `openssl req -x509` makes a self-signed certificate that is marked as an authority's.
#[tokio::test]
async fn a_certificate_that_stands_in_the_ca_file_itself_is_trusted_for_its_name_and_time() {
    let authority = Authority::new();
    let verified = async |name: &str, year: i32, given: bool| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_after = date_time_ymd(year, 1, 1);
        let pem = params.self_signed(&key).unwrap().pem();
        fs::write(authority.path("cert.pem"), &pem).unwrap();
        fs::write(authority.path("key.pem"), key.serialize_pem()).unwrap();
        let client = if given { Client::read(Some(&authority.path("cert.pem"))) } else { Client::read(None) };
        let acceptor = Certificate::new(authority.identity().unwrap()).acceptor();
        authority.try_connect(&client.unwrap(), acceptor).await.0.map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(verified("localhost", 2090, true).await, Ok(()));
    for (name, year, given, says) in [
        ("localhost", 2020, true, "Expired"),
        ("otherhost", 2090, true, "otherhost"),
        ("localhost", 2090, false, "certificate"),
    ] {
        let error = verified(name, year, given).await.unwrap_err();
        assert!(error.to_lowercase().contains(&says.to_lowercase()), "{name} {year} {given}: {error}");
    }
}

/// OpenSSL sends this alert with TLS 1.2; other servers send it if there is no common cipher suite.
#[test]
fn a_handshake_failure_counts_as_a_refusal_if_a_certificate_was_requested() {
    let told = |alert| io::Error::new(io::ErrorKind::InvalidData, rustls::Error::AlertReceived(alert));
    let failed = told(AlertDescription::HandshakeFailure);
    let client = Client::default();
    assert!(!client.is_refused(&failed));
    assert!(client.config().client_auth_cert_resolver.resolve(&[], &[]).is_none());
    assert!(client.is_refused(&failed));
    assert!(!Client::default().is_refused(&failed), "that was another client");
    for alert in [
        AlertDescription::CertificateRequired,
        AlertDescription::UnknownCA,
        AlertDescription::DecryptError,
        AlertDescription::AccessDenied,
    ] {
        assert!(Client::default().is_refused(&told(alert)), "{alert:?}");
    }
    for other in [told(AlertDescription::ProtocolVersion), io::ErrorKind::UnexpectedEof.into()] {
        assert!(!client.is_refused(&other), "{other:?}");
    }
}
