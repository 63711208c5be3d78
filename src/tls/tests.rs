//! The certificate that is shown, its reload and its faults; over real handshakes.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::ServerName;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{Certificate, Files, TlsError, client, expiry};

/// A certificate authority with a folder for what it issues.
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
        fs::write(folder.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { folder, issuer: Issuer::new(params, key) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn files(&self) -> Files {
        Files { certificate: self.path("cert.pem"), key: self.path("key.pem") }
    }

    /// Writes a new certificate for localhost that expires with the beginning of `year`, and returns its DER.
    fn issue(&self, year: i32) -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.path("cert.pem"), certificate.pem()).unwrap();
        fs::write(self.path("key.pem"), key.serialize_pem()).unwrap();
        certificate.der().to_vec()
    }

    /// Shakes hands with `acceptor`; returns both ends.
    async fn connect(&self, acceptor: TlsAcceptor) -> (TlsStream<TcpStream>, tokio_rustls::server::TlsStream<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connector = TlsConnector::from(client(Some(&self.path("ca.pem"))).unwrap());
        let ours = async { acceptor.accept(listener.accept().await.unwrap().0).await.unwrap() };
        let theirs = async {
            let tcp = TcpStream::connect(address).await.unwrap();
            connector.connect(ServerName::try_from("localhost").unwrap(), tcp).await.unwrap()
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let authority = Authority::new();
    let first = authority.issue(2090);
    let certificate = Certificate::load(authority.files()).unwrap();
    let acceptor = certificate.acceptor();
    let (mut old, mut old_end) = authority.connect(acceptor.clone()).await;
    assert_eq!(shown(&old), first);

    let second = authority.issue(2091);
    certificate.reload().unwrap();
    // The acceptor made before the reload shows the new one.
    let (new, _new_end) = authority.connect(acceptor).await;
    assert_eq!(shown(&new), second);
    assert_ne!(first, second);
    assert_eq!(new.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));

    old.write_all(b"still here").await.unwrap();
    let mut got = [0; 10];
    old_end.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"still here");
}

#[tokio::test]
async fn a_failed_reload_leaves_the_certificate_in_use() {
    let authority = Authority::new();
    let first = authority.issue(2090);
    let certificate = Certificate::load(authority.files()).unwrap();
    fs::write(authority.path("cert.pem"), "nothing").unwrap();
    assert!(matches!(certificate.reload(), Err(TlsError::NoCertificate { .. })));
    assert_eq!(certificate.expires_at(), Some(date_time_ymd(2090, 1, 1).unix_timestamp()));
    let (stream, _end) = authority.connect(certificate.acceptor()).await;
    assert_eq!(shown(&stream), first);
}

#[test]
fn every_fault_names_the_file() {
    let authority = Authority::new();
    let load = || Certificate::load(authority.files()).unwrap_err();

    let error = load();
    assert!(matches!(error, TlsError::Read { .. }) && message(&error).contains("cert.pem"), "{error}");

    authority.issue(2090);
    let key = fs::read_to_string(authority.path("key.pem")).unwrap();
    fs::write(authority.path("key.pem"), "").unwrap();
    let error = load();
    assert!(matches!(error, TlsError::NoKey { .. }) && message(&error).contains("key.pem"), "{error}");

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
    assert!(matches!(client(Some(&authority.path("none.pem"))), Err(TlsError::Read { .. })));
    authority.issue(2090);
    assert!(matches!(client(Some(&authority.path("key.pem"))), Err(TlsError::NoCertificate { .. })));
    let config = client(None).unwrap();
    assert_eq!(config.alpn_protocols, [b"http/1.1".to_vec()]);
    assert_eq!(Arc::strong_count(&config), 1);
}

#[test]
fn the_expiry_is_read_from_both_forms_of_time() {
    let authority = Authority::new();
    // 2049 is the last year written with two digits.
    for year in [1951, 1970, 1999, 2000, 2024, 2049, 2050, 2100, 2401, 9999] {
        let der = authority.issue(year);
        assert_eq!(expiry::not_after(&der), Some(date_time_ymd(year, 1, 1).unix_timestamp()), "{year}");
    }
    // Every day of a leap year, of a common year, and around a century that is none.
    let key = KeyPair::generate().unwrap();
    for (year, month) in [2024, 2023, 2100].into_iter().flat_map(|year| (1..=12).map(move |month| (year, month))) {
        for day in [1, 28] {
            let mut params = CertificateParams::default();
            params.not_after = date_time_ymd(year, month, day);
            let der = params.self_signed(&key).unwrap();
            assert_eq!(expiry::not_after(der.der()), Some(date_time_ymd(year, month, day).unix_timestamp()), "{year}-{month}-{day}");
        }
    }
}

#[test]
fn a_damaged_certificate_has_no_expiry_and_does_not_panic() {
    let der = Authority::new().issue(2090);
    for length in 0..der.len() {
        // Cut, and each byte spoilt.
        let _ = expiry::not_after(&der[..length]);
        for value in [0x00, 0x7f, 0x80, 0x84, 0xff] {
            let mut spoilt = der.clone();
            spoilt[length] = value;
            let _ = expiry::not_after(&spoilt);
        }
    }
    assert_eq!(expiry::not_after(&der[..40]), None);
    assert_eq!(expiry::not_after(b"\x30\x84\xff\xff\xff\xff"), None);
}
