//! TLS for the tests: certificates of their own, a client, and a terminator before the fake upstream.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientCertVerifierBuilder, WantsServerCert, WebPkiClientVerifier};
use rustls::{
    ClientConfig, ClientConnection, ConfigBuilder, RootCertStore, ServerConfig, StreamOwned, SupportedProtocolVersion,
};
use tokio::task::JoinSet;

use super::{BOUND, Request, Response};

/// A self-signed certificate for `localhost`.
#[derive(Debug, Clone)]
pub struct Identity {
    pub certificate: String,
    pub key: String,
}

impl Identity {
    pub fn new() -> Self {
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        Self { certificate: cert.pem(), key: signing_key.serialize_pem() }
    }

    /// The same, but expired.
    pub fn expired() -> Self {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        let key = KeyPair::generate().unwrap();
        Self { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
    }

    /// Writes certificate and key into `directory` and returns their paths.
    pub fn write_to(&self, directory: &Path) -> (PathBuf, PathBuf) {
        let (certificate, key) = (directory.join("cert.pem"), directory.join("key.pem"));
        fs::write(&certificate, &self.certificate).unwrap();
        fs::write(&key, &self.key).unwrap();
        (certificate, key)
    }

    fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()
    }
}

/// An authority that issues certificates for `localhost`.
#[derive(Debug)]
pub struct Authority {
    pub certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// By this name.
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).unwrap().pem();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    fn verifier(&self) -> ClientCertVerifierBuilder {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()).unwrap();
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
    }

    pub fn issue(&self) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Identity { certificate, key: key.serialize_pem() }
    }
}

/// A TLS connection that trusts a single identity.
#[derive(Debug)]
pub struct TlsClient(StreamOwned<ClientConnection, TcpStream>);

impl TlsClient {
    /// Connects and performs the handshake; fails if the other side is not `trusted`.
    pub fn connect(address: SocketAddr, trusted: &Identity) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(trusted.der()).unwrap();
        let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let mut stream = TcpStream::connect_timeout(&address, BOUND)?;
        stream.set_read_timeout(Some(BOUND))?;
        let mut session = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap())
            .map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        Ok(Self(StreamOwned::new(session, stream)))
    }

    pub fn call(&mut self, request: &Request) -> Response {
        self.0.write_all(&request.bytes()).unwrap();
        Response::read(&mut self.0).unwrap()
    }

    /// Fails unless the peer closes with a TLS close_notify and not by a reset, without sending anything more.
    #[track_caller]
    pub fn read_to_orderly_close(&mut self) {
        let mut bytes = Vec::new();
        let read = self.0.read_to_end(&mut bytes);
        assert!(read.is_ok() && bytes.is_empty(), "{read:?} after {bytes:?}");
    }
}

/// Listens on a free port for TLS by `identity` and hands the plain bytes on to `behind`, until the test ends.
pub fn terminate(behind: SocketAddr, identity: &Identity) -> SocketAddr {
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth();
    serve(behind, identity, config)
}

/// The same, but a certificate of `clients` is required, with this version of TLS.
pub fn terminate_for(
    behind: SocketAddr,
    identity: &Identity,
    clients: &Authority,
    version: &'static SupportedProtocolVersion,
) -> SocketAddr {
    let verifier = clients.verifier().build().unwrap();
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_client_cert_verifier(verifier);
    serve(behind, identity, config)
}

/// The same, but a certificate of `clients` is requested and not required: like nginx, which verifies it later.
pub fn terminate_asking(behind: SocketAddr, identity: &Identity, clients: &Authority) -> SocketAddr {
    let verifier = clients.verifier().allow_unauthenticated().build().unwrap();
    let config = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    serve(behind, identity, config.with_client_cert_verifier(verifier))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn serve(behind: SocketAddr, identity: &Identity, config: ConfigBuilder<ServerConfig, WantsServerCert>) -> SocketAddr {
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
    let config = config.with_single_cert(vec![identity.der()], key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let mut pumps = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                pumps.spawn(async move {
                    let mut near = acceptor.accept(stream).await?;
                    let mut far = tokio::net::TcpStream::connect(behind).await?;
                    tokio::io::copy_bidirectional(&mut near, &mut far).await
                });
            }
        });
    });
    address
}
